package realm_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/wire/sealed"
)

// sealer is a node that seals, over the world's store.
type sealer struct {
	*realm.Sealing
	w    *world
	ring *keys.Ring
}

func (w *world) sealer(name string, root []byte) *sealer {
	w.t.Helper()
	ring, err := keys.Open(keys.Config{Root: root, Places: sealed.Places()})
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := realm.NewSealing(ring, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return &sealer{s, w, ring}
}

// follow does what a node does every few seconds.
func (s *sealer) follow() error {
	stale := false
	err := s.w.store.View(s.w.t.Context(), func(tx store.Tx) (err error) {
		stale, err = s.Look(tx)
		return err
	})
	if err != nil || !stale {
		return err
	}
	return s.w.store.Update(s.w.t.Context(), func(tx store.Tx) error {
		_, err := s.Say(tx)
		return err
	})
}

func (s *sealer) start() error {
	return s.w.store.Update(s.w.t.Context(), func(tx store.Tx) error {
		_, err := s.Start(tx)
		return err
	})
}

func (s *sealer) step() (more, done bool) {
	s.w.t.Helper()
	s.w.update(func(tx store.Tx) (err error) {
		more, done, err = s.Step(tx)
		return err
	})
	return more, done
}

func (s *sealer) state() (out realm.SealState) {
	s.w.t.Helper()
	s.w.update(func(tx store.Tx) (err error) {
		out, err = s.State(tx)
		return err
	})
	return out
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sealedBy gives how many values of realm keys each key sealed.
func (w *world) sealedBy() map[string]int {
	w.t.Helper()
	out := map[string]int{}
	w.update(func(tx store.Tx) error {
		clear(out)
		rows, err := tx.SealedValues(sealed.Columns()[0], store.SealedValue{}, 10_000)
		for _, v := range rows {
			out[keys.SealedBy(v.Sealed)]++
		}
		return err
	})
	return out
}

func TestSealingOfTwoNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []mfa.RealmID{"a", "b", "c", "d"} {
		w.update(func(tx store.Tx) error { return w.Create(tx, name) })
	}
	next, fresh, err := keys.AddSealKey(w.root)
	ok(t, err)
	old := w.sealer("late", w.root)
	ok(t, old.follow())
	before := old.ring.SealKey()
	total := w.sealedBy()[before]

	one := w.sealer("one", next)
	ok(t, one.follow())
	if got := one.ring.SealKey(); got != before {
		t.Fatalf("a node with a new key seals with it: %s", got)
	}
	if err := one.start(); mfa.CodeOf(err) != mfa.Conflict || !strings.Contains(err.Error(), "late") {
		t.Fatalf("the key turns while a node lacks it: %v", err)
	}
	w.update(func(tx store.Tx) error { return old.Leave(tx) })
	two := w.sealer("two", next)
	ok(t, two.follow())
	ok(t, one.start())
	if err := old.follow(); !errors.Is(err, keys.ErrNoSealKey) {
		t.Errorf("a node without the key comes back: %v", err)
	}
	place := keys.AAD{Realm: "a", Table: "totps", Row: "totp_1", Column: "seed"}
	if _, err := old.ring.Seal([]byte("seed"), place); !errors.Is(err, keys.ErrNoSealKey) {
		t.Errorf("it seals what no other node will open: %v", err)
	}

	ok(t, one.follow())
	w.ahead.Add(int64(10 * time.Second))
	if more, done := one.step(); more || done {
		t.Error("the walk begins before all nodes have turned")
	}
	ok(t, one.follow())
	ok(t, two.follow())
	if one.ring.SealKey() != fresh || two.ring.SealKey() != fresh {
		t.Fatal("the nodes did not turn")
	}
	if more, _ := two.step(); more {
		t.Error("the walk begins before what was sealed before is committed")
	}
	w.ahead.Add(int64(6 * time.Second))
	steps := 0
	for nodes := []*sealer{one, two}; ; steps++ { // in turns, as a node takes over from another
		if _, done := nodes[steps%2].step(); done {
			break
		}
		if steps > 200 {
			t.Fatalf("the walk does not end: %+v", one.state())
		}
	}
	if got := w.sealedBy(); got[fresh] != total || len(got) != 1 {
		t.Errorf("sealed by %v, want all %d by %s", got, total, fresh)
	}
	if s := one.state(); s.Walk != "done" || s.Sealed != total || s.Unreadable != 0 || s.Round != 2 {
		t.Errorf("state %+v", s)
	}

	kept, err := keys.KeepSealKey(next, fresh)
	ok(t, err)
	alone := w.sealer("alone", kept)
	ok(t, alone.follow())
	ring := alone.ring
	w.update(func(tx store.Tx) error {
		for _, name := range []mfa.RealmID{mfa.DefaultRealm, "a", "d"} {
			for _, purpose := range []string{"prompt", "grant"} {
				rows, err := tx.Keys(name, purpose)
				if err != nil {
					return err
				}
				for _, k := range rows {
					if _, err := ring.Signer(string(name), purpose, k.KID, k.Sealed); err != nil {
						t.Errorf("%s %s: %v", name, purpose, err)
					}
				}
			}
		}
		return nil
	})
}

// TestSealingWalksLongTables goes over more rows than one step takes, and past what no key opens.
func TestSealingWalksLongTables(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	next, fresh, err := keys.AddSealKey(w.root)
	ok(t, err)
	s := w.sealer("one", next)
	ok(t, s.follow())
	ring, err := keys.Open(keys.Config{Root: w.root})
	ok(t, err)
	const rows = 250
	w.update(func(tx store.Tx) error {
		for i := range rows {
			r := store.Replay{Realm: "default", Application: "app", Route: "POST /x", Key: strings.Repeat("k", i+1), CreatedAt: tx.Now()}
			place := keys.AAD{Realm: "default", Table: "replays", Column: "answer", Row: string(keys.Encode("app", r.Route, r.Key))}
			var err error
			if i == 8 {
				place.Realm = "elsewhere" // it opens nowhere
			}
			if r.Answer, err = ring.Seal([]byte("answer"), place); err != nil {
				return err
			}
			if i%3 == 1 {
				r.Answer = nil
			}
			if err := tx.InsertReplay(r); err != nil {
				return err
			}
		}
		return nil
	})
	ok(t, s.start())
	ok(t, s.follow())
	ok(t, s.follow())
	w.ahead.Add(int64(6 * time.Second))
	for steps := 0; ; steps++ {
		if _, done := s.step(); done {
			break
		}
		if steps > 200 {
			t.Fatalf("the walk does not end: %+v", s.state())
		}
	}
	if got := s.state().Unreadable; got != 1 {
		t.Errorf("%d values are unreadable, want 1", got)
	}
	w.update(func(tx store.Tx) error {
		for i := range rows {
			r, err := tx.Replay("default", "app", "POST /x", strings.Repeat("k", i+1))
			if err != nil {
				return err
			}
			if i%3 != 1 && i != 8 && keys.SealedBy(r.Answer) != fresh {
				t.Errorf("row %d is sealed by %s", i, keys.SealedBy(r.Answer))
			}
		}
		return nil
	})
}
