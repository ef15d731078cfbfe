package factor_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

const realm = mfa.DefaultRealm

// world is a factor service over a store with a few people in it.
type world struct {
	*factor.Service
	t     *testing.T
	store store.Store
	ahead atomic.Int64 // of the real time, in nanoseconds
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	st, err := sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:    filepath.Join(t.TempDir(), "nod.db"),
		Offset: func() time.Duration { return time.Duration(w.ahead.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	root, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keys.Open(keys.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if w.Service, err = factor.New(factor.Config{Ring: ring}); err != nil {
		t.Fatal(err)
	}
	w.store = st
	w.update(func(tx store.Tx) error { return tx.InsertRealm(store.Realm{ID: realm, CreatedAt: tx.Now()}) })
	return w
}

func (w *world) update(fn func(store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// refused runs fn and returns the error that it ends with.
func (w *world) refused(fn func(store.Tx) error) error {
	w.t.Helper()
	err := w.store.Update(context.Background(), fn)
	if err == nil {
		w.t.Fatal("not refused")
	}
	return err
}

func (w *world) forward(d time.Duration) { w.ahead.Add(int64(d)) }

func (w *world) user(name string) store.User {
	w.t.Helper()
	u := store.User{Realm: realm, ID: mfa.UserID(secret.ID("usr_")), Name: name, Display: name, State: store.UserActive}
	w.update(func(tx store.Tx) error {
		u.CreatedAt = tx.Now()
		return tx.InsertUser(u, []store.UserName{{Realm: realm, Name: name, User: u.ID, Display: name}})
	})
	return w.read(u.ID)
}

func (w *world) read(id mfa.UserID) store.User {
	w.t.Helper()
	var u store.User
	w.update(func(tx store.Tx) (err error) {
		u, err = tx.User(realm, id)
		return err
	})
	return u
}

// answer takes a candidate through comparison and consumption.
func (w *world) answer(c factor.Candidate, input string) factor.Verdict {
	w.t.Helper()
	right, err := w.Compare(context.Background(), c, input)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.consume(c, right)
}

func (w *world) consume(c factor.Candidate, right bool) factor.Verdict {
	w.t.Helper()
	var v factor.Verdict
	w.update(func(tx store.Tx) (err error) {
		v, err = factor.Consume(tx, c, right)
		return err
	})
	return v
}

func (w *world) usable(id mfa.UserID) mfa.Methods {
	w.t.Helper()
	var m mfa.Methods
	w.update(func(tx store.Tx) (err error) {
		m, err = w.Usable(tx, realm, id)
		return err
	})
	return m
}

func TestNewNeedsARing(t *testing.T) {
	t.Parallel()
	if _, err := factor.New(factor.Config{}); err == nil {
		t.Error("a service without a keyring")
	}
}

func (w *world) setPassword(u store.User, password string) store.User {
	w.t.Helper()
	hash, err := w.HashPassword(context.Background(), password)
	if err != nil {
		w.t.Fatal(err)
	}
	w.update(func(tx store.Tx) error {
		u, err := tx.User(realm, u.ID)
		if err != nil {
			return err
		}
		u.Password = hash
		return tx.PutUser(u)
	})
	return w.read(u.ID)
}

func TestPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.setPassword(w.user("alice"), "sturdy walrus café gravel")
	bob := w.user("bob")
	if bob := w.setPassword(bob, "sturdy walrus café gravel"); bob.Password == alice.Password {
		t.Error("two people with the same password have the same hash")
	}
	for name, tc := range map[string]struct {
		user  *store.User
		input string
		right bool
	}{
		"right":               {&alice, "sturdy walrus café gravel", true},
		"right, decomposed":   {&alice, "sturdy walrus cafe\u0301 gravel", true},
		"space before":        {&alice, " sturdy walrus café gravel", false},
		"space after":         {&alice, "sturdy walrus café gravel ", false},
		"capital":             {&alice, "Sturdy walrus café gravel", false},
		"empty":               {&alice, "", false},
		"no password":         {&bob, "", false},
		"nobody":              {nil, "sturdy walrus café gravel", false},
		"nobody, empty":       {nil, "", false},
		"far too long":        {&alice, "sturdy walrus café gravel" + string(make([]byte, 1<<20)), false},
		"longer than allowed": {&alice, "sturdy walrus café gravel" + string(make([]byte, 1024)), false},
	} {
		c := w.PasswordCandidate(tc.user)
		if v := w.answer(c, tc.input); v.Right != tc.right || v.Right != (v.ID != "") {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestPasswordThatWasChangedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.setPassword(w.user("alice"), "right")
	c := w.PasswordCandidate(&alice)
	if !c.Still(&alice) {
		t.Error("the password is not the user's")
	}
	if bob := w.user("bob"); c.Still(&bob) || w.PasswordCandidate(nil).Still(&bob) {
		t.Error("the password is another user's")
	}
	again := w.setPassword(alice, "right")
	if c.Still(&again) {
		t.Error("a password that was set again is the old one")
	}
	if v := w.answer(c, "right"); v.Right {
		t.Errorf("a password that was set again: %+v", v)
	}
	c = w.PasswordCandidate(&again)
	w.update(func(tx store.Tx) error { return tx.DeleteUser(realm, alice.ID) })
	if v := w.answer(c, "right"); v.Right {
		t.Errorf("a user who was deleted: %+v", v)
	}
}

func TestCheckNewPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.CheckNewPassword("kH7$qpz!", nil, true); err != nil {
		t.Error(err)
	}
	if err := w.CheckNewPassword("kH7$qpz!", nil, false); mfa.ReasonOf(err) != mfa.ReasonPasswordWeak {
		t.Errorf("eight characters alone: %v", err)
	}
}

func TestCompareGivesUpWithItsCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	busy := 0
	for range 20 {
		// The slot may be free at the same moment, and then either is right.
		if _, err := w.Compare(ctx, w.PasswordCandidate(nil), "x"); err != nil {
			if mfa.CodeOf(err) != mfa.Unavailable {
				t.Fatal(err)
			}
			busy++
		}
	}
	if busy == 0 {
		t.Error("the end of the caller's context is not noticed")
	}
}
