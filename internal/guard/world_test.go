package guard_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

const realm = mfa.DefaultRealm

var (
	laptop = mfa.Provenance{Class: mfa.KnownBrowser, Key: "laptop"}
	phone  = mfa.Provenance{Class: mfa.KnownBrowser, Key: "phone"}
	vpn    = mfa.Provenance{Class: mfa.KnownSource, Key: "vpn"}
)

// world is a store with people in it and a clock that tests move. Inside a synctest bubble the
// clock moves in no other way.
type world struct {
	t     testing.TB
	store store.Store
	ahead atomic.Int64 // of the real time, in nanoseconds
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return openWorld(t, filepath.Join(t.TempDir(), "nod.db"))
}

func openWorld(t testing.TB, dsn string) *world {
	t.Helper()
	w := &world{t: t}
	w.store = w.open(dsn)
	for _, id := range []mfa.RealmID{realm, "other"} {
		w.update(func(tx store.Tx) error { return tx.InsertRealm(store.Realm{ID: id, CreatedAt: tx.Now()}) })
	}
	return w
}

func (w *world) open(dsn string) store.Store {
	w.t.Helper()
	st, err := sqlstore.Open(w.t.Context(), sqlstore.Config{
		DSN:    dsn,
		Offset: func() time.Duration { return time.Duration(w.ahead.Load()) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := st.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return st
}

func (w *world) update(fn func(store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) forward(d time.Duration) { w.ahead.Add(int64(d)) }

// to moves the clock to a moment, for a clock that stands otherwise.
func (w *world) to(at mfa.Instant) {
	w.t.Helper()
	w.forward(at.Sub(w.now()))
	if now := w.now(); now != at {
		w.t.Fatalf("the clock says %d, want %d", now, at)
	}
}

func (w *world) now() mfa.Instant {
	var now mfa.Instant
	w.update(func(tx store.Tx) error {
		now = tx.Now()
		return nil
	})
	return now
}

func (w *world) user(in mfa.RealmID) mfa.UserID {
	w.t.Helper()
	id := mfa.UserID(secret.ID("usr_"))
	w.update(func(tx store.Tx) error {
		name := string(id)
		u := store.User{Realm: in, ID: id, Name: name, Display: name, State: store.UserActive, CreatedAt: tx.Now()}
		return tx.InsertUser(u, []store.UserName{{Realm: in, Name: name, User: id, Display: name}})
	})
	return id
}

// ask makes a challenge that is rung if the guard says so, and gives what it said. Those that it
// supersedes are cancelled.
func (w *world) ask(user mfa.UserID, b mfa.Bell) (store.Challenge, mfa.Ringing) {
	w.t.Helper()
	var c store.Challenge
	var r mfa.Ringing
	w.update(func(tx store.Tx) error {
		live, err := tx.LiveChallenges(realm, user)
		if err != nil {
			return err
		}
		if r, err = guard.Ring(tx, realm, user, b, live); err != nil {
			return err
		}
		for _, id := range r.Supersede {
			if err := step(tx, id, mfa.Cancel{Reason: mfa.CancelSuperseded}); err != nil {
				return err
			}
		}
		c = store.Challenge{
			Challenge: mfa.Challenge{
				ID: mfa.ChallengeID(secret.ID("ch_")), User: user, Application: "app_1", Kind: mfa.Login, Provenance: b.From,
				FirstFactor: b.FirstFactor, Methods: mfa.MethodsOf(mfa.TOTP), Answerable: true, State: mfa.Pending,
				CreatedAt: tx.Now(), DecideBy: tx.Now().Add(120 * time.Second),
			},
			Realm: realm, Rung: r.Rung, RingReason: r.Reason, RetryAt: r.RetryAt,
		}
		return tx.InsertChallenge(c)
	})
	return c, r
}

// step applies an event to a challenge and settles what it asks for.
func (w *world) step(id mfa.ChallengeID, e mfa.Event) {
	w.t.Helper()
	w.update(func(tx store.Tx) error { return step(tx, id, e) })
}

func step(tx store.Tx, id mfa.ChallengeID, e mfa.Event) error {
	c, err := tx.Challenge(realm, id)
	if err != nil {
		return err
	}
	f := mfa.Facts{UserActive: true, ApplicationActive: true, Policy: mfa.Requirement{Methods: mfa.MethodsOf(mfa.TOTP)}}
	next, fx, err := mfa.Step(c.Challenge, e, f, tx.Now())
	if err != nil {
		return err
	}
	c.Challenge = next
	c.RingReturned = c.RingReturned || fx.ReturnRing
	if err := guard.Settle(tx, c, fx); err != nil {
		return err
	}
	return tx.PutChallenge(c)
}

func deny(c store.Challenge) mfa.Event {
	return mfa.Deny{Decision: mfa.Decision{
		By:        mfa.DeviceFacts{ID: "dev_1", User: c.User, State: mfa.DeviceActive},
		Challenge: c.ID, Sighted: "1",
	}}
}

var (
	approve = mfa.Typed{Application: "app_1", Method: mfa.TOTP, Right: true, RedeemWithin: time.Minute}
	cancel  = mfa.Cancel{Reason: mfa.CancelByApplication}
)

func bell(from mfa.Provenance) mfa.Bell {
	return mfa.Bell{From: from, FirstFactor: mfa.FirstFactorPassword, Budget: mfa.DefaultRingBudget()}
}
