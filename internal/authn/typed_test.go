package authn_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

const (
	typedByStrangers    = "typed|stranger"
	passwordByStrangers = "password|stranger"
)

// crowd runs n calls, at most width at once, and waits for them.
func crowd(n, width int, do func(i int)) {
	var all sync.WaitGroup
	slots := make(chan struct{}, width)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			do(i)
			<-slots
		})
	}
	all.Wait()
}

// TestTenThousandCodes: wrong codes by strangers cost ten guesses, whatever name, application and
// challenge they come by, over a restart; the owner's own sides go on.
func TestTenThousandCodes(t *testing.T) {
	t.Parallel()
	at := newSite(t, filepath.Join(t.TempDir(), "nod.db"))
	w := newNode(t, at)
	w.app = w.application("Portal")
	u, p := w.person("alice")
	_, err := w.accounts.UpdateUser(w.ctx, in, u.ID, account.UserChange{Aliases: &[]string{"Alice.Liddell@example.com", "liddell"}})
	must(t, err)
	b := w.remembered(u, p)
	w.signIn(p, source("alice", "vpn"))
	totp := w.totp(u)
	name, form := "Suffix", "strip_suffix"
	own, apps := w.app, []authn.Caller{w.app, w.application("Two"), w.caller(application.Changes{Name: &name, UsernameForm: &form})}
	names := [][]string{{"alice", "ALICE", "liddell", "ALICE.LIDDELL@EXAMPLE.COM"}, {"Alice", "ａｌｉｃｅ"}, {"Alice@corp.example"}}
	type target struct {
		app authn.Caller
		id  mfa.ChallengeID
	}
	targets := func() (list []target) {
		for i, app := range apps {
			for _, n := range names[i] {
				v, err := w.s.Create(t.Context(), app, login(n))
				must(t, err)
				list = append(list, target{app, v.ID})
			}
		}
		return list
	}
	const all = 10_000
	var looked, spent atomic.Int64
	wrong := other(totp.code(w.now()), 50)
	attack := func(n int) {
		list := targets()
		crowd(n, 48, func(i int) {
			to := list[i%len(list)]
			v, err := w.s.Verify(t.Context(), to.app, to.id, mfa.TOTP, wrong)
			switch {
			case err == nil && v.State == mfa.Pending:
				looked.Add(1)
			case mfa.ReasonOf(err) == mfa.ReasonGuessesSpent:
				spent.Add(1)
			default:
				t.Errorf("a wrong code is answered with %v", err)
			}
		})
	}
	attack(7)
	must(t, w.db.Close())
	w = newNode(t, at)
	w.app = own
	attack(all - 7)
	if looked.Load() != 10 || spent.Load() != all-10 {
		t.Fatalf("%d codes were looked at, %d not", looked.Load(), spent.Load())
	}
	equal(t, "guesses paid", w.guesses(u.ID, typedByStrangers), 10)
	v := w.create(login("alice"))
	_, err = w.verify(v.ID, mfa.TOTP, totp.code(w.now()))
	wants(t, err, mfa.RateLimited, mfa.ReasonGuessesSpent)
	for _, r := range []authn.Request{w.from(b, login("alice")), source("alice", "vpn")} {
		w.pass(time.Minute)
		v := w.create(r)
		w.types(v.ID, mfa.TOTP, totp.code(w.now()))
		w.redeemed(v.ID)
	}
	w.pass(day)
	v = w.create(login("alice"))
	w.types(v.ID, mfa.TOTP, totp.code(w.now()))
	w.redeemed(v.ID)
}

// TestGuessesOfNobody: a name that is nobody's has the same budget.
func TestGuessesOfNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 12 {
		v := w.create(login([]string{"nobody", "NOBODY", "Nobody"}[i%3]))
		got, err := w.verify(v.ID, mfa.TOTP, "123456")
		if i >= 10 {
			wants(t, err, mfa.RateLimited, mfa.ReasonGuessesSpent)
			continue
		}
		must(t, err)
		equal(t, "state", got.State, mfa.Pending)
	}
}

// TestRightCodesCostNothing, however many there are.
func TestRightCodesCostNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, _ := w.person("alice")
	totp := w.totp(u)
	for range 12 {
		v := w.create(login("alice"))
		_, err := w.verify(v.ID, mfa.TOTP, other(totp.code(w.now()), 7))
		if w.guesses(u.ID, typedByStrangers) > 9 {
			break
		}
		must(t, err)
		w.types(v.ID, mfa.TOTP, totp.code(w.now()))
		_, err = w.verify(v.ID, mfa.TOTP, totp.code(w.now()))
		wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
		w.redeemed(v.ID)
		v = w.create(login("alice"))
		w.pass(time.Minute)
		w.types(v.ID, mfa.TOTP, totp.code(w.now()))
		w.pass(time.Minute)
	}
	equal(t, "guesses paid", w.guesses(u.ID, typedByStrangers), 10)
}

// TestStrangersCodeIsNotLookedAt where the user has a password and nobody checked it.
func TestStrangersCodeIsNotLookedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy("first_factor: none\n")
	u, p := w.person("alice")
	b := w.remembered(u, p)
	totp := w.totp(u)
	codes, err := w.accounts.MakeBackupCodes(w.ctx, in, u.ID, byAdmin)
	must(t, err)
	bare := login("alice")
	bare.Asserted = false
	v := w.create(bare)
	w.types(v.ID, mfa.TOTP, totp.code(w.now())) // without a password there is nothing to check first
	w.pass(time.Minute)
	w.password(u)
	v = w.create(bare)
	code := totp.code(w.now())
	got, err := w.verify(v.ID, mfa.TOTP, code)
	must(t, err)
	equal(t, "state", got.State, mfa.Pending)
	got, err = w.verify(v.ID, mfa.BackupCode, codes[0].Reveal())
	must(t, err)
	equal(t, "state", got.State, mfa.Pending)
	equal(t, "guesses paid", w.guesses(u.ID, typedByStrangers), 2)
	checked := w.create(withPassword(bare, rightPassword))
	w.types(checked.ID, mfa.TOTP, code) // not used up
	w.redeemed(checked.ID)
	known := w.create(w.from(b, bare))
	w.types(known.ID, mfa.BackupCode, codes[0].Reveal())
	w.redeemed(known.ID)
	w.read(func(tx store.Tx) error {
		set, _, err := tx.BackupSet(in, u.ID)
		equal(t, "failures of the codes", set.Failures, 0)
		return err
	})
}

// TestBackupCodes: each is good once, of a hundred at once one wins, and new ones end the old.
func TestBackupCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	old, err := w.accounts.MakeBackupCodes(w.ctx, in, u.ID, byAdmin)
	must(t, err)
	list := make([]authn.View, 10)
	for i := range list {
		list[i] = w.create(login("alice"))
	}
	var won atomic.Int64
	crowd(100, 100, func(i int) {
		v, err := w.s.Verify(t.Context(), w.app, list[i%len(list)].ID, mfa.BackupCode, old[3].Reveal())
		if err == nil && v.State == mfa.Approved {
			won.Add(1)
		}
	})
	equal(t, "winners", won.Load(), int64(1))
	grants := 0
	for _, v := range list {
		if _, err := w.redeem(v.ID); err == nil {
			grants++
		}
	}
	equal(t, "grants", grants, 1)
	w.pass(day)
	v := w.create(login("alice"))
	got, err := w.verify(v.ID, mfa.BackupCode, old[3].Reveal())
	must(t, err)
	equal(t, "state after a used code", got.State, mfa.Pending)
	w.types(v.ID, mfa.BackupCode, old[4].Reveal())
	w.redeemed(v.ID)
	fresh, err := w.accounts.MakeBackupCodes(w.ctx, in, u.ID, byAdmin)
	must(t, err)
	v = w.create(login("alice"))
	got, err = w.verify(v.ID, mfa.BackupCode, old[5].Reveal())
	must(t, err)
	equal(t, "state after a code of the former set", got.State, mfa.Pending)
	w.types(v.ID, mfa.BackupCode, fresh[5].Reveal())
	w.redeemed(v.ID)
	w.signIn(p, login("alice"))
}

// TestBypassCodes: so many uses, so long, for a plain login, and told to the devices.
func TestBypassCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	issued, err := w.accounts.IssueBypass(w.ctx, in, u.ID, account.BypassOptions{Uses: 2, Reason: "lost her phone"})
	must(t, err)
	equal(t, "notices", len(w.poll(p, "").Notices), 1)
	stepUp := login("alice")
	stepUp.Kind = mfa.StepUp
	_, err = w.verify(w.create(stepUp).ID, mfa.BypassCode, issued.Code.Reveal())
	wants(t, err, mfa.Forbidden, mfa.ReasonMethodNotAllowed)
	for i := range 3 {
		v := w.create(login("alice"))
		got, err := w.verify(v.ID, mfa.BypassCode, issued.Code.Reveal())
		must(t, err)
		if (got.State == mfa.Approved) != (i < 2) {
			t.Errorf("use %d: %s", i+1, got.State)
		}
	}
	issued, err = w.accounts.IssueBypass(w.ctx, in, u.ID, account.BypassOptions{Reason: "lost it again"})
	must(t, err)
	_, err = w.s.Verify(t.Context(), w.application("Elsewhere"), w.create(login("alice")).ID, mfa.BypassCode, issued.Code.Reveal())
	wants(t, err, mfa.NotFound, "")
	begin := w.now()
	w.move(begin.Add(time.Hour))
	v := w.create(login("alice"))
	got, err := w.verify(v.ID, mfa.BypassCode, issued.Code.Reveal())
	must(t, err)
	equal(t, "state at the end of its life", got.State, mfa.Pending)
	issued, err = w.accounts.IssueBypass(w.ctx, in, u.ID, account.BypassOptions{Reason: "and again"})
	must(t, err)
	w.policy("methods: [push, totp]\n")
	_, err = w.verify(v.ID, mfa.BypassCode, issued.Code.Reveal())
	wants(t, err, mfa.Forbidden, mfa.ReasonMethodNotAllowed)
	w.policy("")
	w.types(v.ID, mfa.BypassCode, issued.Code.Reveal())
	w.redeemed(v.ID)
	_, err = w.accounts.UpdateUser(w.ctx, in, u.ID, account.UserChange{Owner: new(true)})
	must(t, err)
	_, err = w.accounts.IssueBypass(w.ctx, in, u.ID, account.BypassOptions{Reason: "owner"})
	wants(t, err, mfa.Forbidden, mfa.ReasonOwner)
}

// TestPaidBeforeCompared: whoever goes away between the payment and the comparison has paid.
func TestPaidBeforeCompared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	w.password(u)
	codes, err := w.accounts.MakeBackupCodes(w.ctx, in, u.ID, byAdmin)
	must(t, err)
	v := w.create(login("alice"))
	gone := func(do func(context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		leave := func() { cancel() }
		w.db.after.Store(&leave)
		defer w.db.after.Store(nil)
		if err := do(ctx); err == nil {
			t.Fatal("whoever has gone is answered")
		}
	}
	for i := range 3 {
		gone(func(ctx context.Context) error {
			_, err := w.s.Verify(ctx, w.app, v.ID, mfa.BackupCode, codes[0].Reveal())
			return err
		})
		equal(t, "guesses of codes", w.guesses(u.ID, typedByStrangers), i+1)
		gone(func(ctx context.Context) error {
			_, err := w.s.Create(ctx, w.app, withPassword(login("alice"), rightPassword))
			return err
		})
		equal(t, "guesses of passwords", w.guesses(u.ID, passwordByStrangers), i+1)
	}
	w.state(v.ID, mfa.Pending, "")
	w.types(v.ID, mfa.BackupCode, codes[0].Reveal())
	equal(t, "guesses of codes", w.guesses(u.ID, typedByStrangers), 3)
	v = w.create(withPassword(login("alice"), rightPassword))
	equal(t, "guesses of passwords", w.guesses(u.ID, passwordByStrangers), 3)
	w.approve(p, v, mfa.Scan)
	w.redeemed(v.ID)
}

// TestPasswords: a wrong one and an unknown name are told apart by nothing, at the same cost, and
// both have twenty guesses in an hour.
func TestPasswords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy("first_factor: password\n")
	u, p := w.person("alice")
	b := w.remembered2(u, p)
	names := []string{"alice", "nobody"}
	bare := w.user("bare") // has no password
	cost := map[string]string{}
	for i := range 20 {
		for _, name := range names {
			before, events := w.db.updates.Load(), len(w.events(store.EventFilter{}))
			_, err := w.s.Create(t.Context(), w.app, withPassword(login(name), fmt.Sprintf("wrong %d", i)))
			wants(t, err, mfa.Forbidden, mfa.ReasonCredentials)
			cost[name] = fmt.Sprint(err, w.db.updates.Load()-before, len(w.events(store.EventFilter{}))-events)
		}
		equal(t, "cost of an unknown name", cost["nobody"], cost["alice"])
		switch i {
		case 0:
			names = append(names, "bare")
		case 1:
			equal(t, "cost of a user without one", cost["bare"], cost["alice"])
			names = names[:2]
		}
	}
	for _, name := range names {
		_, err := w.s.Create(t.Context(), w.app, withPassword(login(name), rightPassword))
		wants(t, err, mfa.RateLimited, mfa.ReasonGuessesSpent)
		if e, ok := errors.AsType[*mfa.Error](err); !ok || e.RetryAfter != time.Hour {
			t.Errorf("%s may try again after %s", name, e.RetryAfter)
		}
	}
	equal(t, "guesses paid", w.guesses(u.ID, passwordByStrangers), 20)
	equal(t, "guesses paid", w.guesses(bare.ID, passwordByStrangers), 1)
	v := w.create(w.from(b, withPassword(login("alice"), rightPassword)))
	w.approve(p, v, mfa.Scan)
	w.redeemed(v.ID)
	w.pass(time.Hour)
	w.signIn(p, withPassword(login("alice"), rightPassword))
	must(t, w.accounts.SetPassword(w.ctx, in, u.ID, account.Authority{By: mfa.ActorAdministrator}, secret.Value{}))
	_, err := w.s.Create(t.Context(), w.app, withPassword(login("alice"), rightPassword))
	wants(t, err, mfa.Forbidden, mfa.ReasonCredentials)
	_, err = w.s.Create(t.Context(), w.app, login("alice"))
	wants(t, err, mfa.Forbidden, mfa.ReasonFirstFactor)
}

// remembered2 makes a browser known where policy wants a password.
func (w *world) remembered2(u account.User, p *phone) browser {
	w.t.Helper()
	w.password(u)
	b := w.newBrowser()
	v := w.create(w.from(b, withPassword(login(u.Name), rightPassword)))
	d := w.answers(v.ID, mfa.Scan, right(v, mfa.Scan))
	d.Remember = true
	_, err := w.decide(p, d)
	must(w.t, err)
	w.redeemed(v.ID)
	return b
}
