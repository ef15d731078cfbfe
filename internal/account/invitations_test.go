package account_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

const (
	phrase  = "four boats under a slow moon"
	another = "nine lamps beyond the old mill"
)

// person makes a user with a password, or without for "".
func (w *world) person(name, password string) account.User {
	w.t.Helper()
	n := account.NewUser{Name: name}
	if password != "" {
		n.Password = secret.New(password)
	}
	u, err := w.s.CreateUser(w.ctx, in, n)
	must(w.t, err)
	return u
}

func (w *world) invited(u account.User, o account.Invite) account.Invitation {
	w.t.Helper()
	i, err := w.s.Invite(w.ctx, in, u.ID, o)
	must(w.t, err)
	return i
}

func secretOf(t *testing.T, i account.Invitation) secret.Value {
	t.Helper()
	_, text, ok := strings.Cut(i.Link.Reveal(), account.PathInvitation+"#")
	if !ok || len(text) != 22 {
		t.Fatalf("link %s", i.Link.Reveal())
	}
	return secret.New(text)
}

// walk goes through an invitation to a phone that shows its digits.
func (w *world) walk(i account.Invitation, a account.Answers) (*phone, error) {
	w.t.Helper()
	t, err := w.s.PassInvitation(w.t.Context(), in, i.ID, a)
	if err != nil {
		return nil, err
	}
	link, err := protocol.ParseTicketLink(t.Link.Reveal())
	must(w.t, err)
	p := newPhone(w.t)
	p.enrolment, p.ticket, p.pin = t.ID, link.Ticket, link.PIN
	return p, w.claim(p)
}

func (w *world) finish(i account.Invitation, p *phone) error {
	_, err := w.s.ConfirmInvited(w.t.Context(), in, i.ID, p.enrolment, p.answer.ConfirmCode)
	return err
}

func (w *world) invitation(id mfa.InvitationID) mfa.InvitationState {
	w.t.Helper()
	i, err := w.s.Invitation(w.ctx, in, id)
	must(w.t, err)
	return i.State
}

func (w *world) over(i account.Invitation) {
	w.t.Helper()
	_, err := w.s.OpenInvitation(w.t.Context(), secretOf(w.t, i))
	wants(w.t, err, mfa.NotFound, mfa.ReasonInvitation)
	_, err = w.s.PassInvitation(w.t.Context(), in, i.ID, answer(phrase, "", ""))
	wants(w.t, err, mfa.NotFound, mfa.ReasonInvitation)
}

func answer(password, fresh, code string) account.Answers {
	var a account.Answers
	for to, text := range map[*secret.Value]string{&a.Password: password, &a.NewPassword: fresh, &a.Code: code} {
		if text != "" {
			*to = secret.New(text)
		}
	}
	return a
}

func TestInvitationEnrolsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.person("jo", phrase)
	i := w.invited(u, account.Invite{})
	if got := i.ExpiresAt.Sub(i.CreatedAt); got != 7*day {
		t.Errorf("it lasts %s", got)
	}
	for range 3 { // whoever reads the link uses nothing up
		d, err := w.s.OpenInvitation(t.Context(), secretOf(t, i))
		must(t, err)
		if diff := cmp.Diff(account.Door{Realm: in, ID: i.ID, Name: "jo", Purpose: mfa.InviteToEnrol, Needs: account.Needs{Password: true}, ExpiresAt: i.ExpiresAt}, d); diff != "" {
			t.Error(diff)
		}
	}
	_, err := w.s.PassInvitation(t.Context(), in, i.ID, account.Answers{})
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	_, err = w.s.PassInvitation(t.Context(), in, i.ID, answer("", another, "")) // a password is not set beside one
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	_, err = w.s.PassInvitation(t.Context(), in, i.ID, answer("wrong", "", ""))
	wants(t, err, mfa.Forbidden, mfa.ReasonCredentials)

	lost, err := w.walk(i, answer(phrase, "", "")) // a page that was closed
	must(t, err)
	p, err := w.walk(i, answer(phrase, "", ""))
	must(t, err)
	wants(t, w.finish(i, lost), mfa.NotFound, mfa.ReasonInvitation)
	wants(t, w.confirm(lost), mfa.Conflict, mfa.ReasonEnrolmentClosed)
	must(t, w.finish(i, p))
	if got := w.device(p.id); got.State != mfa.DeviceActive || got.Quarantined {
		t.Errorf("the device is %s, quarantined %v", got.State, got.Quarantined)
	}
	if got := w.invitation(i.ID); got != mfa.InvitationUsed {
		t.Errorf("the invitation is %s", got)
	}
	w.over(i)
	e := w.recorded(audit.InvitationUsed, mfa.ActorUser)
	if e.By != string(i.ID) || e.Data["invitation"] != string(i.ID) {
		t.Errorf("event %+v", e)
	}
	for _, e := range w.events("") {
		for _, v := range e.Data {
			if strings.Contains(v, secretOf(t, i).Reveal()) {
				t.Errorf("event %s has the secret", e.Kind)
			}
		}
	}
}

func TestInvitationEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		end   func(w *world, u account.User, i account.Invitation)
		state mfa.InvitationState
		kind  string
	}{
		"expired": {func(w *world, _ account.User, _ account.Invitation) { w.pass(7 * day) }, mfa.InvitationExpired, audit.InvitationExpired},
		"revoked": {func(w *world, _ account.User, i account.Invitation) {
			_, err := w.s.RevokeInvitation(w.ctx, in, i.ID)
			must(w.t, err)
		}, mfa.InvitationRevoked, audit.InvitationRevoked},
		"superseded": {func(w *world, u account.User, _ account.Invitation) { w.invited(u, account.Invite{}) }, mfa.InvitationSuperseded, audit.InvitationSuperseded},
		"sent again": {func(w *world, _ account.User, i account.Invitation) {
			n, err := w.s.ResendInvitation(w.ctx, in, i.ID)
			must(w.t, err)
			if n.Link.Reveal() == i.Link.Reveal() || n.ID == i.ID {
				w.t.Error("the link is the old one")
			}
			_, err = w.s.OpenInvitation(w.t.Context(), secretOf(w.t, n))
			must(w.t, err)
		}, mfa.InvitationSuperseded, audit.InvitationSuperseded},
		"locked": {func(w *world, u account.User, _ account.Invitation) {
			must(w.t, w.s.Lock(w.ctx, in, u.ID))
			must(w.t, w.s.Unlock(w.ctx, in, u.ID))
		}, mfa.InvitationRevoked, audit.InvitationRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			u := w.person("jo", phrase)
			i := w.invited(u, account.Invite{})
			w.pass(7*day - time.Minute)
			p, err := w.walk(i, answer(phrase, "", "")) // begun, and not confirmed
			must(t, err)
			tt.end(w, u, i)
			w.over(i)
			if w.finish(i, p) == nil || w.confirm(p) == nil {
				t.Error("the enrolment that was begun is confirmed")
			}
			if got := w.device(p.id).State; got == mfa.DeviceActive {
				t.Errorf("the device is %s", got)
			}
			if got := w.invitation(i.ID); got != tt.state {
				t.Errorf("it is %s, want %s", got, tt.state)
			}
			must(t, w.s.Sweep(t.Context()))
			if n := len(w.events(tt.kind)); n != 1 {
				t.Errorf("%d events %s", n, tt.kind)
			}
		})
	}
}

func TestInvitationOfAnotherRealm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i := w.invited(w.person("jo", phrase), account.Invite{})
	other := mfa.RealmID("other")
	must(t, w.db.Update(w.ctx, func(tx store.Tx) error { return tx.InsertRealm(store.Realm{ID: other, CreatedAt: tx.Now()}) }))
	_, err := w.s.PassInvitation(t.Context(), other, i.ID, answer(phrase, "", ""))
	wants(t, err, mfa.NotFound, mfa.ReasonInvitation)
	_, err = w.s.Invitation(w.ctx, other, i.ID)
	wants(t, err, mfa.NotFound, "")
	_, err = w.s.RevokeInvitation(w.ctx, other, i.ID)
	wants(t, err, mfa.NotFound, "")
	list, err := w.s.Invitations(w.ctx, other, account.InvitationFilter{}, account.Page{Limit: 9})
	if err != nil || len(list) != 0 {
		t.Errorf("the other realm has %v, %v", list, err)
	}
	_, err = w.s.OpenInvitation(t.Context(), secret.New("AAAAAAAAAAAAAAAAAAAAAA"))
	unknown := err.Error()
	_, err = w.s.RevokeInvitation(w.ctx, in, i.ID)
	must(t, err)
	_, err = w.s.OpenInvitation(t.Context(), secretOf(t, i))
	if err.Error() != unknown {
		t.Errorf("revoked: %v, unknown: %s", err, unknown)
	}
}

// TestInvitationOnOther uses what was begun through one invitation with another.
func TestInvitationOnOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mine, theirs := w.invited(w.person("eve", phrase), account.Invite{}), w.invited(w.person("ada", phrase), account.Invite{})
	p, err := w.walk(mine, answer(phrase, "", ""))
	must(t, err)
	_, err = w.s.ConfirmInvited(t.Context(), in, theirs.ID, p.enrolment, p.answer.ConfirmCode)
	wants(t, err, mfa.NotFound, mfa.ReasonInvitation)
	_, err = w.s.ConfirmInvited(t.Context(), in, theirs.ID, "", p.answer.ConfirmCode) // the first factor left out
	wants(t, err, mfa.NotFound, mfa.ReasonInvitation)
	_, err = w.s.ConfirmInvited(t.Context(), in, mine.ID, p.enrolment, "")
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	must(t, w.finish(mine, p))
	if got := w.invitation(theirs.ID); got != mfa.InvitationLive {
		t.Errorf("the other is %s", got)
	}
}

func TestInvitationPasswordBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.person("jo", phrase)
	i := w.invited(u, account.Invite{})
	for range 20 {
		_, err := w.s.PassInvitation(t.Context(), in, i.ID, answer("wrong", "", ""))
		wants(t, err, mfa.Forbidden, mfa.ReasonCredentials)
	}
	i = w.invited(u, account.Invite{}) // a new link brings no new guesses
	_, err := w.s.PassInvitation(t.Context(), in, i.ID, answer(phrase, "", ""))
	wants(t, err, mfa.RateLimited, mfa.ReasonGuessesSpent)
	w.recorded(audit.GuessesSpent, mfa.ActorUser)
	w.pass(time.Hour)
	for range 25 { // what is right costs nothing
		_, err = w.s.PassInvitation(t.Context(), in, i.ID, answer(phrase, "", ""))
		must(t, err)
	}
}

func TestInvitationSetsPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.person("jo", "")
	plain := w.invited(u, account.Invite{})
	_, err := w.s.PassInvitation(t.Context(), in, plain.ID, answer("", another, ""))
	wants(t, err, mfa.Forbidden, mfa.ReasonFirstFactor) // an application has to vouch
	i := w.invited(u, account.Invite{SetPassword: true})
	_, err = w.s.PassInvitation(t.Context(), in, i.ID, answer("", "short one", ""))
	wants(t, err, mfa.Invalid, mfa.ReasonPasswordWeak)
	p, err := w.walk(i, answer("", another, ""))
	must(t, err)
	_, err = w.walk(i, answer("", phrase, "")) // whoever else has the link cannot set it again
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	must(t, w.finish(i, p))
	w.recorded(audit.PasswordSet, mfa.ActorUser)
}

// TestInvitationOfSomebodyWithAFactor: no password and no link adds to the factors of a person who
// ever had one.
func TestInvitationOfSomebodyWithAFactor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.person("jo", phrase)
	old := w.add(u)
	i := w.invited(u, account.Invite{})
	_, err := w.s.PassInvitation(t.Context(), in, i.ID, answer(phrase, "", ""))
	wants(t, err, mfa.Forbidden, mfa.ReasonFirstFactor)
	must(t, w.s.Revoke(w.ctx, in, old.id, byAdmin)) // had one, even if not now
	_, err = w.s.PassInvitation(t.Context(), in, i.ID, answer(phrase, "", ""))
	wants(t, err, mfa.Forbidden, mfa.ReasonFirstFactor)

	codes, err := w.s.MakeBackupCodes(w.ctx, in, u.ID, byAdmin)
	must(t, err)
	must(t, ignore(w.add(u)))
	_, err = w.s.PassInvitation(t.Context(), in, i.ID, answer(phrase, "", ""))
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	_, err = w.s.PassInvitation(t.Context(), in, i.ID, answer(phrase, "", "1-aaaa-aaaa-aaaa-aaaa"))
	wants(t, err, mfa.Forbidden, mfa.ReasonWrongCode)
	_, err = w.s.PassInvitation(t.Context(), in, i.ID, answer("wrong", "", codes[0].Reveal()))
	wants(t, err, mfa.Forbidden, mfa.ReasonCredentials)
	p, err := w.walk(i, answer(phrase, "", codes[0].Reveal())) // which the wrong password did not use up
	must(t, err)
	_, err = w.s.PassInvitation(t.Context(), in, i.ID, answer(phrase, "", codes[0].Reveal()))
	wants(t, err, mfa.Forbidden, mfa.ReasonWrongCode)
	must(t, w.finish(i, p))
	if got := w.device(p.id); !got.Quarantined {
		t.Error("it joins an active device without a quarantine")
	}
}

func ignore(any) error { return nil }

func TestResetByInvitation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.person("jo", phrase)
	i := w.invited(u, account.Invite{Purpose: mfa.InviteToReset})
	live := w.pending(u, w.app)
	must(t, w.db.Update(w.ctx, func(tx store.Tx) error {
		return tx.PutBrowser(store.Browser{Realm: in, User: u.ID, Thumbprint: "b", ExpiresAt: tx.Now().Add(day)})
	}))
	ticket, err := w.invite(u, account.Enrol{Authority: byAdmin})
	must(t, err)
	_, err = w.s.PassInvitation(t.Context(), in, i.ID, answer("", "weak", ""))
	wants(t, err, mfa.Invalid, mfa.ReasonPasswordWeak)
	made, err := w.s.PassInvitation(t.Context(), in, i.ID, answer("", another, ""))
	if err != nil || made.ID != "" {
		t.Fatalf("got %+v, %v", made, err)
	}
	w.over(i)
	if state, _ := w.state(live); state != mfa.Cancelled {
		t.Errorf("the challenge is %s", state)
	}
	wants(t, w.claim(ticket), mfa.Conflict, mfa.ReasonEnrolmentClosed)
	if list, err := w.s.Browsers(w.ctx, in, u.ID); err != nil || len(list) != 0 {
		t.Errorf("browsers %v, %v", list, err)
	}

	p := w.add(u)
	i = w.invited(u, account.Invite{Purpose: mfa.InviteToReset})
	_, err = w.s.PassInvitation(t.Context(), in, i.ID, answer("", phrase, "")) // a link alone, and a second factor is there
	wants(t, err, mfa.Forbidden, mfa.ReasonFirstFactor)
	codes, err := w.s.MakeBackupCodes(w.ctx, in, u.ID, byAdmin)
	must(t, err)
	approved := w.approved(u, p)
	_, err = w.s.PassInvitation(t.Context(), in, i.ID, answer("", phrase, codes[3].Reveal()))
	must(t, err)
	if state, _ := w.state(approved); state != mfa.Cancelled {
		t.Errorf("the approval is %s", state)
	}
	if kinds := w.told(p); kinds[len(kinds)-1] != protocol.NoticeFactorChanged {
		t.Errorf("the device was told %v", kinds)
	}
	if w.device(p.id).State != mfa.DeviceActive {
		t.Error("the reset touched the device")
	}

	i = w.invited(u, account.Invite{Purpose: mfa.InviteToReset})
	must(t, w.s.SetPassword(w.ctx, in, u.ID, byAdmin, secret.New(another)))
	w.over(i) // it would undo the new password
}

func TestOwnPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.person("jo", phrase)
	err := w.s.SetPassword(t.Context(), in, u.ID, w.byUser("ch_none"), secret.New(another))
	wants(t, err, mfa.Forbidden, mfa.ReasonFreshFactor)
	must(t, w.s.SetPassword(t.Context(), in, u.ID, w.byUser(w.redeemed(u, totp)), secret.New(another)))
	err = w.s.SetPassword(t.Context(), in, u.ID, w.byUser(w.redeemed(w.user("eve"), totp)), secret.New(phrase))
	wants(t, err, mfa.Forbidden, mfa.ReasonFreshFactor)
}

func TestInviteMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plain, device, locked, sent := w.user("plain"), w.user("device"), w.user("locked"), w.user("sent")
	w.add(device)
	must(t, w.s.Lock(w.ctx, in, locked.ID))
	w.invited(sent, account.Invite{})
	ids := []mfa.UserID{plain.ID, device.ID, locked.ID, sent.ID, "usr_unknown"}
	skipped := func(fresh bool) []string {
		t.Helper()
		list, err := w.s.InviteMany(w.ctx, in, ids, account.Invite{}, fresh)
		must(t, err)
		var out []string
		for _, i := range list {
			if (i.Skipped == "") != (!i.Invitation.Link.IsZero()) {
				t.Errorf("%+v", i)
			}
			out = append(out, i.Skipped)
		}
		return out
	}
	if d := cmp.Diff([]string{"", "enrolled", "locked", "invited", "unknown"}, skipped(true)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"invited", "enrolled", "locked", "invited", "unknown"}, skipped(true)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"", "", "locked", "", "unknown"}, skipped(false)); d != "" {
		t.Error(d)
	}
	_, err := w.s.InviteMany(w.ctx, in, make([]mfa.UserID, account.MaxInvited+1), account.Invite{}, true)
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	_, err = w.s.Invite(w.ctx, in, plain.ID, account.Invite{Life: 31 * day})
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	_, err = w.s.Invite(w.ctx, in, locked.ID, account.Invite{})
	wants(t, err, mfa.Conflict, mfa.ReasonEnrolmentClosed)
}

// TestParallelConfirmations has many confirm what was begun through one invitation.
func TestParallelConfirmations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i := w.invited(w.person("jo", phrase), account.Invite{})
	p, err := w.walk(i, answer(phrase, "", ""))
	must(t, err)
	errs := make([]error, 50)
	var group sync.WaitGroup
	for n := range errs {
		group.Go(func() {
			_, errs[n] = w.s.ConfirmInvited(t.Context(), in, i.ID, p.enrolment, p.answer.ConfirmCode)
		})
	}
	group.Wait()
	won := 0
	for _, err := range errs {
		var e *mfa.Error
		switch {
		case err == nil:
			won++
		case !errors.As(err, &e) || (e.Code != mfa.Conflict && e.Code != mfa.NotFound):
			t.Errorf("a loser gets %v", err)
		}
	}
	if won != 1 || len(w.events(audit.InvitationUsed)) != 1 {
		t.Errorf("%d win, %d events", won, len(w.events(audit.InvitationUsed)))
	}
}
