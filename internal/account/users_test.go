package account_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

const goodPassword = "copper lantern under seven rivers"

func field(t *testing.T, err error, want string) {
	t.Helper()
	var e *mfa.Error
	if !errors.As(err, &e) || e.Field != want {
		t.Errorf("got %v, want it to name the member %s", err, want)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made, err := w.s.CreateUser(w.ctx, in, account.NewUser{
		Name: "Ada", Password: secret.New(goodPassword),
		UserChange: account.UserChange{
			Display: ptr("Ada Lovelace"), Aliases: ptr([]string{"Ada@Example.com"}), Groups: ptr([]string{"staff"}),
			ExternalID: ptr("x-1"), Owner: ptr(true),
		},
	})
	must(t, err)
	want := account.User{
		ID: made.ID, Name: "ada", Display: "Ada Lovelace", Aliases: []string{"Ada@Example.com"}, ExternalID: "x-1",
		Groups: []string{"staff"}, Owner: true, HasPassword: true, CreatedAt: made.CreatedAt,
	}
	if d := cmp.Diff(want, made); d != "" {
		t.Errorf("user (-want +got):\n%s", d)
	}
	for _, name := range []string{"ADA", "ada@example.COM"} {
		got, err := w.s.UserByName(w.ctx, in, name)
		must(t, err)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("user by %s (-want +got):\n%s", name, d)
		}
	}
	w.recorded(audit.UserCreated, mfa.ActorAdministrator)
	w.recorded(audit.PasswordSet, mfa.ActorAdministrator)

	_, err = w.s.CreateUser(w.ctx, in, account.NewUser{Name: "ADA@example.com"})
	wants(t, err, mfa.Conflict, mfa.ReasonNameTaken)
	field(t, err, "name")
	_, err = w.s.CreateUser(w.ctx, in, account.NewUser{Name: "eve", UserChange: account.UserChange{Aliases: ptr([]string{"ada"})}})
	wants(t, err, mfa.Conflict, mfa.ReasonNameTaken)
	field(t, err, "aliases")
	_, err = w.s.CreateUser(w.ctx, in, account.NewUser{Name: "eve", UserChange: account.UserChange{ExternalID: ptr("x-1")}})
	wants(t, err, mfa.Conflict, mfa.ReasonNameTaken)
	field(t, err, "external_id")
	_, err = w.s.CreateUser(w.ctx, in, account.NewUser{Name: "a b"})
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	_, err = w.s.CreateUser(w.ctx, in, account.NewUser{Name: "eve", Password: secret.New("password")})
	wants(t, err, mfa.Invalid, mfa.ReasonPasswordWeak)

	eve := w.user("eve")
	_, err = w.s.UpdateUser(w.ctx, in, eve.ID, account.UserChange{ExternalID: ptr("x-1")})
	wants(t, err, mfa.Conflict, mfa.ReasonNameTaken)
	field(t, err, "external_id")
	_, err = w.s.UpdateUser(w.ctx, in, eve.ID, account.UserChange{Aliases: ptr([]string{"ada@example.com"})})
	wants(t, err, mfa.Conflict, mfa.ReasonNameTaken)
	got, err := w.s.UpdateUser(w.ctx, in, made.ID, account.UserChange{Aliases: ptr([]string{}), Owner: ptr(false)})
	must(t, err)
	if len(got.Aliases) != 0 || got.Owner || got.Display != "Ada Lovelace" {
		t.Errorf("got %+v", got)
	}
	if e := w.recorded(audit.UserChanged, mfa.ActorAdministrator); e.Data["members"] != "aliases owner" {
		t.Errorf("got event %+v", e)
	}
	_, err = w.s.UpdateUser(w.ctx, in, "usr_unknown", account.UserChange{})
	wants(t, err, mfa.NotFound, "")
	_, err = w.s.User(w.ctx, "other", made.ID)
	wants(t, err, mfa.NotFound, "")
	_, err = w.s.UserByName(w.ctx, in, "nobody")
	wants(t, err, mfa.NotFound, "")
	_, err = w.s.UserByName(w.ctx, in, " ")
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)

	list, err := w.s.Users(w.ctx, in, account.UserFilter{Prefix: "EV"}, account.Page{Limit: 10})
	must(t, err)
	if d := cmp.Diff([]account.User{eve}, list, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("list (-want +got):\n%s", d)
	}
}

func TestDeleteUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	p := w.add(u)
	ch := w.pending(u, w.app)
	late, err := w.invite(u, account.Enrol{Authority: byAdmin})
	must(t, err)
	must(t, w.s.DeleteUser(w.ctx, in, u.ID))
	wants(t, w.s.DeleteUser(w.ctx, in, u.ID), mfa.NotFound, "")
	if s, _ := w.state(ch); s != mfa.Cancelled {
		t.Errorf("the live challenge is %s, want cancelled", s)
	}
	wants(t, w.claim(late), mfa.Conflict, mfa.ReasonEnrolmentClosed)
	_, _, err = w.s.Identify(w.ctx, string(p.id))
	wants(t, err, mfa.Unauthenticated, mfa.ReasonSignature)
	w.recorded(audit.UserDeleted, mfa.ActorAdministrator)
	if again := w.user("ada"); again.ID == u.ID {
		t.Error("the id was given out again")
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	p := w.add(u)
	open, done := w.approved(u, p), w.redeemed(u, totp)
	must(t, w.s.Lock(w.ctx, in, u.ID))
	must(t, w.s.Lock(w.ctx, in, u.ID))
	if s, why := w.state(open); s != mfa.Cancelled || why != mfa.CancelUserLocked {
		t.Errorf("the live challenge is %s %s", s, why)
	}
	if s, _ := w.state(done); s != mfa.Redeemed {
		t.Errorf("the redeemed challenge became %s", s)
	}
	if n := len(w.events(audit.UserLocked)); n != 1 {
		t.Errorf("recorded %d times, want once", n)
	}
	if got, err := w.s.User(w.ctx, in, u.ID); err != nil || !got.Locked {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err := w.s.CreateTOTP(w.ctx, in, u.ID, w.byUser(done), account.TOTPOptions{})
	wants(t, err, mfa.Conflict, mfa.ReasonEnrolmentClosed)
	must(t, w.s.Unlock(w.ctx, in, u.ID))
	must(t, w.s.Unlock(w.ctx, in, u.ID))
	if d := cmp.Diff([]protocol.NoticeKind{protocol.NoticeLockLifted}, w.told(p)); d != "" {
		t.Errorf("notices (-want +got):\n%s", d)
	}
	wants(t, w.s.Lock(w.ctx, in, "usr_unknown"), mfa.NotFound, "")
	wants(t, w.s.Unlock(w.ctx, in, "usr_unknown"), mfa.NotFound, "")
}

func TestSetPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	short := secret.New("vQ7#rZ2!mKp")
	wants(t, w.s.SetPassword(w.ctx, in, u.ID, byAdmin, short), mfa.Invalid, mfa.ReasonPasswordWeak)
	p := w.add(u)
	must(t, w.s.SetPassword(w.ctx, in, u.ID, byAdmin, short))
	if got, _ := w.s.User(w.ctx, in, u.ID); !got.HasPassword {
		t.Error("no password was set")
	}
	must(t, w.s.SetPassword(w.ctx, in, u.ID, byAdmin, secret.Value{}))
	if got, _ := w.s.User(w.ctx, in, u.ID); got.HasPassword {
		t.Error("the password was not taken")
	}
	if e := w.recorded(audit.PasswordSet, mfa.ActorAdministrator); e.Data["removed"] != "true" {
		t.Errorf("got event %+v", e)
	}
	if !slices.Contains(w.told(p), protocol.NoticeFactorChanged) {
		t.Error("the device is not told")
	}
	wants(t, w.s.SetPassword(w.ctx, in, "usr_unknown", byAdmin, short), mfa.NotFound, "")
}

func (w *world) report(u account.User) {
	w.t.Helper()
	must(w.t, w.db.Update(w.ctx, func(tx store.Tx) error {
		row, err := tx.User(in, u.ID)
		if err != nil {
			return err
		}
		row.ReportedAt = tx.Now()
		return tx.PutUser(row)
	}))
	w.pass(time.Second)
}

func TestLiftReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	p := w.add(u)
	wants(t, w.s.LiftReport(w.ctx, in, u.ID), mfa.Conflict, mfa.ReasonReportNotLiftable)
	w.report(u)
	must(t, w.s.LiftReport(w.ctx, in, u.ID))
	if got, _ := w.s.User(w.ctx, in, u.ID); got.ReportedAt != 0 {
		t.Error("the report stands")
	}
	w.recorded(audit.UserReportLifted, mfa.ActorAdministrator)
	if d := cmp.Diff([]protocol.NoticeKind{protocol.NoticeReportLifted}, w.told(p)); d != "" {
		t.Errorf("notices (-want +got):\n%s", d)
	}
	wants(t, w.s.LiftReport(w.ctx, in, "usr_unknown"), mfa.NotFound, "")
}

func TestLiftReportByUser(t *testing.T) {
	t.Parallel()
	backup := mfa.Evidence{Method: mfa.BackupCode, Code: "backup:1:1"}
	scan := func(p *phone) mfa.Evidence { return mfa.Evidence{Method: mfa.Push, Match: mfa.Scan, Device: p.id} }
	digits := func(p *phone) mfa.Evidence {
		return mfa.Evidence{Method: mfa.Push, Match: mfa.Digits, Device: p.id}
	}
	for _, tt := range []struct {
		name   string
		show   func(w *world, u account.User, p *phone) []mfa.ChallengeID
		lifted bool
	}{
		{name: "scan and TOTP", lifted: true, show: func(w *world, u account.User, p *phone) []mfa.ChallengeID {
			return []mfa.ChallengeID{w.redeemed(u, scan(p)), w.redeemed(u, totp)}
		}},
		{name: "TOTP and backup code", lifted: true, show: func(w *world, u account.User, p *phone) []mfa.ChallengeID {
			return []mfa.ChallengeID{w.redeemed(u, totp), w.redeemed(u, backup)}
		}},
		{name: "passkey alone", lifted: true, show: func(w *world, u account.User, p *phone) []mfa.ChallengeID {
			return []mfa.ChallengeID{w.redeemed(u, mfa.Evidence{Method: mfa.Passkey})}
		}},
		{name: "nothing", show: func(*world, account.User, *phone) []mfa.ChallengeID { return nil }},
		{name: "one kind twice", show: func(w *world, u account.User, p *phone) []mfa.ChallengeID {
			return []mfa.ChallengeID{w.redeemed(u, totp), w.redeemed(u, totp)}
		}},
		{name: "one challenge twice", show: func(w *world, u account.User, p *phone) []mfa.ChallengeID {
			id := w.redeemed(u, totp)
			return []mfa.ChallengeID{id, id}
		}},
		{name: "digits and TOTP", show: func(w *world, u account.User, p *phone) []mfa.ChallengeID {
			return []mfa.ChallengeID{w.redeemed(u, digits(p)), w.redeemed(u, totp)}
		}},
		{name: "scan in quarantine and TOTP", show: func(w *world, u account.User, p *phone) []mfa.ChallengeID {
			return []mfa.ChallengeID{w.redeemed(u, scan(w.add(u))), w.redeemed(u, totp)}
		}},
		{name: "one too old", show: func(w *world, u account.User, p *phone) []mfa.ChallengeID {
			old := w.redeemed(u, backup)
			w.pass(mfa.FreshFor)
			return []mfa.ChallengeID{old, w.redeemed(u, totp)}
		}},
		{name: "one of somebody else", show: func(w *world, u account.User, p *phone) []mfa.ChallengeID {
			return []mfa.ChallengeID{w.redeemed(w.user("eve"), backup), w.redeemed(u, totp)}
		}},
		{name: "bypass code and TOTP", show: func(w *world, u account.User, p *phone) []mfa.ChallengeID {
			return []mfa.ChallengeID{w.redeemed(u, mfa.Evidence{Method: mfa.BypassCode}), w.redeemed(u, totp)}
		}},
		{name: "from before the report", show: func(w *world, u account.User, p *phone) []mfa.ChallengeID {
			ids := []mfa.ChallengeID{w.redeemed(u, backup), w.redeemed(u, totp)}
			w.pass(time.Second)
			w.report(u)
			return ids
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			u := w.user("ada")
			p := w.add(u)
			w.report(u)
			err := w.s.LiftReportByUser(w.ctx, in, u.ID, w.app.ID, tt.show(w, u, p))
			got, _ := w.s.User(w.ctx, in, u.ID)
			if tt.lifted {
				must(t, err)
			} else {
				wants(t, err, mfa.Forbidden, mfa.ReasonFreshFactor)
			}
			if tt.lifted != (got.ReportedAt == 0) {
				t.Errorf("reported at %d after %v", got.ReportedAt, err)
			}
		})
	}
}

func TestLiftReportByUserRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	wants(t, w.s.LiftReportByUser(w.ctx, in, u.ID, w.app.ID, nil), mfa.Conflict, mfa.ReasonReportNotLiftable)
	wants(t, w.s.LiftReportByUser(w.ctx, in, "usr_unknown", w.app.ID, nil), mfa.NotFound, "")
	wants(t, w.s.LiftReportByUser(w.ctx, in, u.ID, w.app.ID, make([]mfa.ChallengeID, 9)), mfa.Invalid, mfa.ReasonMalformed)
}

func TestBrowsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	must(t, w.db.Update(w.ctx, func(tx store.Tx) error {
		for i, name := range []string{"k1", "k2"} {
			b := store.Browser{Realm: in, User: u.ID, Thumbprint: name, JWK: []byte("{}"), Name: "Firefox", SeenAt: tx.Now(), ExpiresAt: tx.Now().Add(time.Duration(i+1) * day)}
			if err := tx.PutBrowser(b); err != nil {
				return err
			}
		}
		return nil
	}))
	w.pass(day)
	list, err := w.s.Browsers(w.ctx, in, u.ID)
	must(t, err)
	if len(list) != 1 || list[0].Thumbprint != "k2" {
		t.Errorf("got %+v, want the one that has not expired", list)
	}
	must(t, w.s.ForgetBrowser(w.ctx, in, u.ID, "k2"))
	wants(t, w.s.ForgetBrowser(w.ctx, in, u.ID, "k2"), mfa.NotFound, "")
	if e := w.recorded(audit.BrowserForgotten, mfa.ActorAdministrator); e.Data["browser"] != "k2" {
		t.Errorf("got event %+v", e)
	}
	_, err = w.s.Browsers(w.ctx, in, "usr_unknown")
	wants(t, err, mfa.NotFound, "")
}
