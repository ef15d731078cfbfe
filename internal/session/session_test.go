package session_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/session"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

const realm = mfa.DefaultRealm

// world is a store with people in it and a clock that tests move. Inside a synctest bubble the
// clock moves in no other way.
type world struct {
	t     *testing.T
	store store.Store
	ahead atomic.Int64 // of the real time, in nanoseconds
	path  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(t.TempDir(), "nod.db")}
	st, err := sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:    w.path,
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
	w.store = st
	for _, id := range []mfa.RealmID{realm, "other"} {
		w.update(func(tx store.Tx) error { return tx.InsertRealm(store.Realm{ID: id, CreatedAt: tx.Now()}) })
	}
	return w
}

func (w *world) update(fn func(store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) forward(d time.Duration) { w.ahead.Add(int64(d)) }

func (w *world) user() mfa.UserID {
	w.t.Helper()
	id := mfa.UserID(secret.ID("usr_"))
	w.update(func(tx store.Tx) error {
		u := store.User{Realm: realm, ID: id, Name: string(id), Display: string(id), State: store.UserActive, CreatedAt: tx.Now()}
		return tx.InsertUser(u, []store.UserName{{Realm: realm, Name: string(id), User: id, Display: string(id)}})
	})
	return id
}

func (w *world) prove(name, thumbprint string) string {
	w.t.Helper()
	var proof string
	w.update(func(tx store.Tx) (err error) {
		proof, err = session.Prove(tx, realm, name, thumbprint, []byte(`{"kty":"EC"}`))
		return err
	})
	return proof
}

func (w *world) consume(in mfa.RealmID, proof string, names ...string) (p store.Proof, ok bool) {
	w.t.Helper()
	w.update(func(tx store.Tx) (err error) {
		p, ok, err = session.Consume(tx, in, proof, names)
		return err
	})
	return p, ok
}

func TestProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proof := w.prove("ada", "thumb")
	if len(proof) < 32 || proof == w.prove("ada", "thumb") {
		t.Errorf("a proof is not long, or comes twice: %q", proof)
	}
	for _, file := range []string{w.path, w.path + "-wal"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(proof)) {
			t.Errorf("%s holds the proof itself", filepath.Base(file))
		}
		if strings.HasSuffix(file, "-wal") && !bytes.Contains(content, []byte("thumb")) {
			t.Errorf("%s does not hold the row: this test looks in the wrong place", filepath.Base(file))
		}
	}
	p, ok := w.consume(realm, proof, "lovelace", "ada")
	if !ok || p.Name != "ada" || p.Thumbprint != "thumb" || string(p.JWK) != `{"kty":"EC"}` || p.Realm != realm {
		t.Errorf("the proof gives %t, %+v", ok, p)
	}
	if p, ok := w.consume(realm, proof, "ada"); ok || p.Thumbprint != "" {
		t.Errorf("a second time: %t, %+v", ok, p)
	}
}

// TestProofsThatProveNothing wants each of them to be no error, to give nothing, and to be used up.
func TestProofsThatProveNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, test := range []struct {
			name   string
			in     mfa.RealmID
			proof  func(string) string
			names  []string
			after  time.Duration
			ok     bool
			usedUp bool
		}{
			{name: "the right one", names: []string{"ada"}, ok: true, usedUp: true},
			{name: "just in time", names: []string{"ada"}, after: session.ProofLife - time.Microsecond, ok: true, usedUp: true},
			{name: "late", names: []string{"ada"}, after: session.ProofLife, usedUp: true},
			{name: "by a clock that is a little behind", names: []string{"ada"}, after: -mfa.ClockSlack, ok: true, usedUp: true},
			{name: "by a clock that went back", names: []string{"ada"}, after: -mfa.ClockSlack - time.Microsecond, usedUp: true},
			{name: "for somebody else", names: []string{"bob"}, usedUp: true},
			{name: "for a name in another case", names: []string{"Ada"}, usedUp: true},
			{name: "for nobody", usedUp: true},
			{name: "in another realm", in: "other", names: []string{"ada"}},
			{name: "unknown", names: []string{"ada"}, proof: func(string) string { return "x" }},
			{name: "none", names: []string{"ada"}, proof: func(string) string { return "" }},
			{name: "with something behind it", names: []string{"ada"}, proof: func(p string) string { return p + "x" }},
			{name: "its hash", names: []string{"ada"}, proof: func(p string) string {
				sum := sha256.Sum256([]byte(p))
				return string(sum[:])
			}},
		} {
			proof := w.prove("ada", "thumb")
			w.forward(test.after)
			shown, in := proof, realm
			if test.proof != nil {
				shown = test.proof(proof)
			}
			if test.in != "" {
				in = test.in
			}
			p, ok := w.consume(in, shown, test.names...)
			if ok != test.ok || (p.Thumbprint == "thumb") != test.ok {
				t.Errorf("%s: %t, %+v", test.name, ok, p)
			}
			w.forward(-test.after)
			if _, ok := w.consume(realm, proof, "ada"); ok == test.usedUp {
				t.Errorf("%s: good afterwards: %t", test.name, ok)
			}
		}
	})
}

// TestProofIsUsedOnce shows one proof a hundred times at once.
func TestProofIsUsedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proof := w.prove("ada", "thumb")
	var won atomic.Int32
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			var ok bool
			err := w.store.Update(context.Background(), func(tx store.Tx) (err error) {
				_, ok, err = session.Consume(tx, realm, proof, []string{"ada"})
				return err
			})
			if err != nil {
				t.Error(err)
			}
			if ok {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("it proved %d times", won.Load())
	}
}

// TestUndoneConsumption lets the transaction that used a proof come to nothing: the proof is good.
func TestUndoneConsumption(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proof := w.prove("ada", "thumb")
	undone := errors.New("undone")
	err := w.store.Update(t.Context(), func(tx store.Tx) error {
		if _, ok, err := session.Consume(tx, realm, proof, []string{"ada"}); !ok || err != nil {
			t.Errorf("%t, %v", ok, err)
		}
		return undone
	})
	if !errors.Is(err, undone) {
		t.Fatal(err)
	}
	if _, ok := w.consume(realm, proof, "ada"); !ok {
		t.Error("a proof is gone with nothing to show for it")
	}
}

func (w *world) remember(user mfa.UserID, thumbprint string) (forgotten string) {
	w.t.Helper()
	w.update(func(tx store.Tx) (err error) {
		forgotten, err = session.Remember(tx, realm, user, thumbprint, []byte("{}"), "browser "+thumbprint)
		return err
	})
	return forgotten
}

func (w *world) known(user mfa.UserID) map[string]store.Browser {
	w.t.Helper()
	out := map[string]store.Browser{}
	w.update(func(tx store.Tx) error {
		clear(out)
		list, err := tx.ListBrowsers(realm, user)
		for _, b := range list {
			out[b.Thumbprint] = b
		}
		return err
	})
	return out
}

func TestRemember(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ada, bob := w.user(), w.user()
		start := mfa.At(time.Now())
		w.remember(ada, "a")
		w.remember(bob, "a") // the same browser, for another person
		w.forward(time.Hour)
		w.remember(ada, "b")
		w.forward(time.Hour)
		if forgotten := w.remember(ada, "a"); forgotten != "" { // again
			t.Errorf("%q is forgotten", forgotten)
		}
		end := func(hours int) mfa.Instant {
			return start.Add(time.Duration(hours)*time.Hour + session.BrowserLife)
		}
		row := func(user mfa.UserID, thumbprint string, made, seen int) store.Browser {
			return store.Browser{
				Realm: realm, User: user, Thumbprint: thumbprint, JWK: []byte("{}"), Name: "browser " + thumbprint,
				CreatedAt: start.Add(time.Duration(made) * time.Hour), SeenAt: start.Add(time.Duration(seen) * time.Hour), ExpiresAt: end(seen),
			}
		}
		want := map[string]store.Browser{"a": row(ada, "a", 0, 2), "b": row(ada, "b", 1, 1)}
		if diff := cmp.Diff(want, w.known(ada)); diff != "" {
			t.Errorf("ada (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]store.Browser{"a": row(bob, "a", 0, 0)}, w.known(bob)); diff != "" {
			t.Errorf("bob (-want +got):\n%s", diff)
		}
	})
}

func TestSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ada := w.user()
		w.remember(ada, "a")
		before := w.known(ada)["a"]
		w.forward(6 * 24 * time.Hour)
		w.update(func(tx store.Tx) error { return session.Seen(tx, realm, ada, "a") })
		want := before
		want.SeenAt = before.SeenAt.Add(6 * 24 * time.Hour)
		if diff := cmp.Diff(want, w.known(ada)["a"]); diff != "" {
			t.Errorf("a sign-in is noted and makes nothing last longer (-want +got):\n%s", diff)
		}
		err := w.store.Update(t.Context(), func(tx store.Tx) error { return session.Seen(tx, realm, ada, "b") })
		if !errors.Is(err, store.ErrNotFound) || len(w.known(ada)) != 1 {
			t.Errorf("a browser that nobody knows: %v", err)
		}
	})
}

// TestAtMostTen remembers more browsers than there is room for: the one that was not seen for
// longest gives way.
func TestAtMostTen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ada, bob := w.user(), w.user()
		w.remember(bob, "b1")
		name := func(i int) string { return fmt.Sprint("a", i) }
		for i := range session.MaxBrowsers {
			w.forward(time.Minute)
			if forgotten := w.remember(ada, name(i)); forgotten != "" {
				t.Fatalf("browser %d pushes %q out", i+1, forgotten)
			}
		}
		w.forward(time.Minute)
		w.update(func(tx store.Tx) error { return session.Seen(tx, realm, ada, name(0)) })
		w.forward(time.Minute)
		w.remember(ada, name(1)) // known for longer, and pushes nobody out
		if n := len(w.known(ada)); n != session.MaxBrowsers {
			t.Fatalf("%d are known", n)
		}
		w.forward(time.Minute)
		for i, gone := range []int{2, 3, 4} {
			w.forward(time.Minute)
			if forgotten := w.remember(ada, fmt.Sprint("new", i)); forgotten != name(gone) {
				t.Errorf("%q gives way, want %q", forgotten, name(gone))
			}
			known := w.known(ada)
			if _, there := known[name(gone)]; there || len(known) != session.MaxBrowsers {
				t.Errorf("%d are known, %q among them: %t", len(known), name(gone), there)
			}
		}
		if len(w.known(bob)) != 1 {
			t.Error("another person's browser gave way")
		}
	})
}

// TestExpiredOnesGiveWayFirst has a browser that is known no longer, and was seen last of all.
func TestExpiredOnesGiveWayFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ada := w.user()
		w.remember(ada, "old")
		w.forward(24 * time.Hour)
		for i := range session.MaxBrowsers - 1 {
			w.remember(ada, fmt.Sprint("a", i))
		}
		w.forward(6*24*time.Hour - time.Hour)
		w.update(func(tx store.Tx) error { return session.Seen(tx, realm, ada, "old") })
		w.forward(time.Hour)
		if forgotten := w.remember(ada, "new"); forgotten != "old" {
			t.Errorf("%q gives way, want the one that is known no longer", forgotten)
		}
		if n := len(w.known(ada)); n != session.MaxBrowsers {
			t.Errorf("%d are known", n)
		}
	})
}

// TestRememberInParallel lets more devices than there is room for say "remember" at once.
func TestRememberInParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.user()
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			err := w.store.Update(context.Background(), func(tx store.Tx) error {
				_, err := session.Remember(tx, realm, ada, fmt.Sprint("a", i), nil, "")
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(w.known(ada)); n != session.MaxBrowsers {
		t.Errorf("%d are known, want %d", n, session.MaxBrowsers)
	}
}
