package authn_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// pair is two nodes over one PostgreSQL that share nothing else.
func pair(t *testing.T) (a, b *world) {
	t.Helper()
	at := newSite(t, pgtest.Database(t))
	a = newNode(t, at)
	a.app = a.application("Portal")
	b = newNode(t, at)
	b.app = a.app
	return a, b
}

// TestOneGrant: of two hundred redemptions by two nodes at once one makes a grant.
func TestOneGrant(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	_, p := a.person("alice")
	v := a.create(login("alice"))
	b.approve(p, v, mfa.Scan)
	var grants, refused atomic.Int64
	var tokens sync.Map
	crowd(200, 100, func(i int) {
		node := []*world{a, b}[i%2]
		key := []string{"key-a", "key-b", "key-c"}[i%3]
		g, err := node.s.Redeem(t.Context(), node.app, v.ID, key)
		switch {
		case err == nil:
			grants.Add(1)
			tokens.Store(key+" "+g.JWT, true)
		case mfa.ReasonOf(err) == mfa.ReasonAlreadyRedeemed:
			refused.Add(1)
		default:
			t.Errorf("redeem: %v", err)
		}
	})
	n := 0
	tokens.Range(func(any, any) bool { n++; return true })
	if n != 1 || grants.Load() < 66 || grants.Load() > 67 {
		t.Fatalf("%d different grants, %d answers with one, %d without", n, grants.Load(), refused.Load())
	}
	equal(t, "redeemed events", a.recorded(string(mfa.RecordRedeemed), v.ID), 1)
	a.signIn(p, login("alice"))
}

// TestOneCode: one right code, submitted two hundred times at once for ten challenges on two
// nodes, approves one.
func TestOneCode(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	u, p := a.person("alice")
	a.signIn(p, login("alice"))
	totp := a.totp(u)
	list := make([]authn.View, 10)
	for i := range list {
		list[i] = a.create(login("alice"))
	}
	code := totp.code(a.now())
	var won atomic.Int64
	crowd(200, 100, func(i int) {
		node := []*world{a, b}[i%2]
		v, err := node.s.Verify(t.Context(), node.app, list[i/2%len(list)].ID, mfa.TOTP, code)
		if err == nil && v.State == mfa.Approved {
			won.Add(1)
		}
		if why := mfa.ReasonOf(err); err != nil && why != mfa.ReasonChallengeClosed && why != mfa.ReasonGuessesSpent {
			t.Errorf("verify: %v", err)
		}
	})
	equal(t, "winners", won.Load(), int64(1))
	grants := 0
	for _, v := range list {
		if g, err := b.redeem(v.ID); err == nil && g.JWT != "" {
			grants++
		}
	}
	equal(t, "grants", grants, 1)
	equal(t, "consumed", len(a.events(store.EventFilter{Kind: string(mfa.RecordApproved), User: u.ID})), 2)
	if n := a.guesses(u.ID, typedByStrangers); n > 10 {
		t.Errorf("%d guesses paid", n)
	}
	a.pass(day)
	v := a.create(login("alice"))
	a.types(v.ID, mfa.TOTP, totp.code(a.now()))
	b.redeemed(v.ID)
}

// TestGuessesAreExact: on two nodes at once, ten of a hundred wrong codes are looked at.
func TestGuessesAreExact(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	u, p := a.person("alice")
	totp := a.totp(u)
	list := []authn.View{a.create(login("alice")), a.create(login("ALICE"))}
	wrong := other(totp.code(a.now()), 40)
	var looked atomic.Int64
	crowd(100, 100, func(i int) {
		node := []*world{a, b}[i%2]
		_, err := node.s.Verify(t.Context(), node.app, list[i/2%2].ID, mfa.TOTP, wrong)
		if err == nil {
			looked.Add(1)
		} else if mfa.ReasonOf(err) != mfa.ReasonGuessesSpent {
			t.Errorf("verify: %v", err)
		}
	})
	equal(t, "codes looked at", looked.Load(), int64(10))
	equal(t, "guesses paid", b.guesses(u.ID, typedByStrangers), 10)
	a.signIn(p, login("alice"))
}

// TestFirstDecisionWins: an approval, a denial, a report, a cancellation and a lock meet on two
// nodes; there is one outcome, and a grant only of an approval that stood.
func TestFirstDecisionWins(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	for i := range 8 {
		u, p := a.person("user" + string(rune('a'+i)))
		v := a.create(login(u.Name))
		yes := a.signed(p, a.answers(v.ID, mfa.Digits, right(v, mfa.Digits)))
		no := a.signed(p, protocol.Decision{Challenge: string(v.ID), Decision: protocol.VerdictDeny})
		acts := []func() error{
			func() error { _, err := a.s.Decide(t.Context(), yes); return err },
			func() error { _, err := b.s.Decide(t.Context(), yes); return err },
			func() error { _, err := b.s.Decide(t.Context(), no); return err },
			func() error { _, err := a.s.Cancel(t.Context(), a.app, v.ID); return err },
			func() error { _, err := b.s.Redeem(t.Context(), b.app, v.ID, "key-1"); return err },
			func() error { _, err := a.s.Redeem(t.Context(), a.app, v.ID, "key-1"); return err },
			func() error { return b.accounts.Lock(b.ctx, in, u.ID) },
		}
		crowd(len(acts)*3, len(acts)*3, func(i int) {
			if err := acts[i%len(acts)](); mfa.CodeOf(err) == mfa.Internal || mfa.CodeOf(err) == mfa.Unavailable {
				t.Error(err)
			}
		})
		c := a.row(v.ID)
		grants := a.recorded(string(mfa.RecordRedeemed), v.ID)
		if (c.State == mfa.Redeemed) != (grants == 1) || (c.Grant != nil) != (grants == 1) {
			t.Fatalf("%s with %d grants", c.State, grants)
		}
		outcomes := grants
		for _, kind := range []mfa.Recorded{mfa.RecordDenied, mfa.RecordCancelled, mfa.RecordFailed, mfa.RecordExpired} {
			outcomes += a.recorded(string(kind), v.ID)
		}
		equal(t, "outcomes recorded", outcomes, 1)
		must(t, a.accounts.Unlock(a.ctx, in, u.ID))
		a.signIn(p, login(u.Name))
	}
}

// TestTwoNodes: request on one, device on the other, application waiting on the first, which is
// woken by nothing but the sweep.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.silent.Store(true)
	b.silent.Store(true)
	_, p := a.person("alice")
	v := a.create(login("alice"))
	a.db.viewed = make(chan struct{}, 64)
	answer := make(chan authn.View, 1)
	go func() {
		got, err := a.s.Get(t.Context(), a.app, v.ID, mfa.Pending, time.Minute)
		if err != nil {
			t.Error(err)
		}
		answer <- got
	}()
	<-a.db.viewed // registered, read, and about to park
	b.approve(p, v, mfa.Scan)
	next, err := a.s.WakeSweep(t.Context(), 0)
	must(t, err)
	got := <-answer
	equal(t, "state", got.State, mfa.Approved)
	if next >= a.now() {
		t.Errorf("the next sweep begins at %d and would miss what commits late", next)
	}
	a.db.viewed = nil
	a.redeemed(v.ID)
}

// TestExpiryIsRecordedOnce by two nodes that sweep at once.
func TestExpiryIsRecordedOnce(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	u, p := a.person("alice")
	known := a.remembered(u, p)
	rung := a.rung(a.from(known, login("alice")), "")
	first, second := a.rung(login("alice"), ""), a.rung(login("alice"), mfa.RingSlotTaken)
	approved := a.rung(login("alice"), mfa.RingSlotTaken)
	a.approve(p, approved, mfa.Scan)
	a.pass(540 * time.Second)
	crowd(8, 8, func(i int) {
		if err := []*world{a, b}[i%2].s.Expire(t.Context()); err != nil {
			t.Error(err)
		}
	})
	for _, v := range []authn.View{rung, first, second, approved} {
		equal(t, "expiries recorded", a.recorded(string(mfa.RecordExpired), v.ID), 1)
		equal(t, "stored", a.row(v.ID).State, mfa.Expired)
	}
	for _, r := range []authn.Request{login("alice"), a.from(known, login("alice"))} {
		v := a.rung(r, mfa.RingWaiting)
		equal(t, "the wait of one ignored prompt", v.RetryAt, a.now().Add(time.Minute))
	}
	must(t, a.s.Expire(t.Context()))
	equal(t, "expiries recorded", a.recorded(string(mfa.RecordExpired), first.ID), 1)
	a.pass(time.Hour)
	a.signIn(p, login("alice"))
}

// TestRemovedWhileApproving: a device that is revoked while it approves leaves no grant behind.
func TestRemovedWhileApproving(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	for i := range 6 {
		u, p := a.person("user" + string(rune('a'+i)))
		v := a.create(login(u.Name))
		yes := a.signed(p, a.answers(v.ID, mfa.Digits, right(v, mfa.Digits)))
		crowd(2, 2, func(i int) {
			if i == 0 {
				if err := a.accounts.Revoke(a.ctx, in, p.id, account.Authority{By: mfa.ActorAdministrator}); err != nil {
					t.Error(err)
				}
				return
			}
			if _, err := b.s.Decide(t.Context(), yes); err != nil && mfa.ReasonOf(err) != mfa.ReasonDeviceRevoked {
				t.Error(err)
			}
		})
		_, err := b.redeem(v.ID)
		wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
		a.signIn(a.phone(u), login(u.Name))
	}
}
