package policy_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

const realm = mfa.DefaultRealm

// world is a policy service over a store with one realm.
type world struct {
	*policy.Service
	t     *testing.T
	store store.Store
}

func newWorld(t *testing.T, dsn string) *world {
	t.Helper()
	st, err := sqlstore.Open(t.Context(), sqlstore.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := policy.New(policy.Config{Store: st})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Service: s, t: t, store: st}
	w.realm(realm)
	return w
}

func onSQLite(t *testing.T) *world {
	t.Helper()
	return newWorld(t, filepath.Join(t.TempDir(), "nod.db"))
}

func (w *world) realm(id mfa.RealmID) {
	w.t.Helper()
	w.update(func(tx store.Tx) error { return tx.InsertRealm(store.Realm{ID: id, CreatedAt: tx.Now()}) })
}

func (w *world) update(fn func(store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.WithoutCancel(w.t.Context()), fn); err != nil {
		w.t.Fatal(err)
	}
}

// apply applies text and gives the version that is then in force.
func (w *world) apply(in mfa.RealmID, text string, expect int) (version int, changed bool, err error) {
	w.t.Helper()
	d := parse(w.t, text)
	err = w.store.Update(context.WithoutCancel(w.t.Context()), func(tx store.Tx) error {
		p, c, err := w.Apply(tx, in, d, expect, "adm_1")
		version, changed = p.Version, c
		return err
	})
	return version, changed, err
}

func (w *world) current(in mfa.RealmID) policy.Policy {
	w.t.Helper()
	p, err := w.Show(w.t.Context(), in, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestNewNeedsAStore(t *testing.T) {
	t.Parallel()
	if _, err := policy.New(policy.Config{}); err == nil {
		t.Error("a service without a store")
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	if diff := cmp.Diff(policy.Policy{Document: policy.Default()}, w.current(realm)); diff != "" {
		t.Errorf("a realm without a policy (-want +got):\n%s", diff)
	}
	for _, step := range []struct {
		text    string
		expect  int
		version int
		changed bool
		code    mfa.Code
	}{
		{text: "", expect: -1, version: 0},                                        // what is in force already
		{text: "decide_by: 90s", expect: 1, code: mfa.Conflict},                   // of a version that never was
		{text: "decide_by: 90s", expect: 0, version: 1, changed: true},            // the first
		{text: "decide_by: 1m30s", expect: 1, version: 1},                         // the same in other words
		{text: "decide_by: 1m30s", expect: 0, code: mfa.Conflict},                 // even the same, if the author saw another
		{text: "", expect: -1, version: 2, changed: true},                         // back to the built-in rules
		{text: "decide_by: 90s", expect: 1, code: mfa.Conflict},                   // an old version
		{text: "decide_by: 90s", expect: 2, version: 3, changed: true},            // rules of an old version
		{text: "applications: {vpn: {}}", expect: 3, version: 4, changed: true},   // overrides count
		{text: "applications: {'vpn': {}}", expect: -1, version: 4, code: ""},     // and are compared
		{text: "applications: {vpn2: {}}", expect: -1, version: 5, changed: true}, // by name
	} {
		version, changed, err := w.apply(realm, step.text, step.expect)
		if got := mfa.CodeOf(err); got != step.code {
			t.Fatalf("%q on %d: got %v, want code %q", step.text, step.expect, err, step.code)
		}
		if step.code != "" {
			if mfa.ReasonOf(err) != mfa.ReasonVersion {
				t.Errorf("%q on %d: reason %q", step.text, step.expect, mfa.ReasonOf(err))
			}
			continue
		}
		if version != step.version || changed != step.changed {
			t.Errorf("%q on %d: version %d, changed %t; want %d, %t", step.text, step.expect, version, changed, step.version, step.changed)
		}
		now := w.current(realm)
		if now.Version != step.version {
			t.Errorf("%q: version %d is in force, want %d", step.text, now.Version, step.version)
		}
		if diff := cmp.Diff(parse(t, step.text), now.Document); diff != "" {
			t.Errorf("%q is in force (-want +got):\n%s", step.text, diff)
		}
	}
}

func TestShow(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	w.realm("other")
	for _, text := range []string{"decide_by: 11s", "decide_by: 12s"} {
		if _, _, err := w.apply(realm, text, -1); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := w.apply("other", "decide_by: 13s", 0); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		realm   mfa.RealmID
		version int
		decide  time.Duration
	}{{realm, 1, 11 * time.Second}, {realm, 2, 12 * time.Second}, {realm, 0, 12 * time.Second}, {"other", 1, 13 * time.Second}, {"other", 0, 13 * time.Second}} {
		p, err := w.Show(t.Context(), test.realm, test.version)
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Duration(*p.Document.DecideBy); got != test.decide {
			t.Errorf("%s %d: decide_by %s, want %s", test.realm, test.version, got, test.decide)
		}
	}
	for _, version := range []int{3, -1} {
		if _, err := w.Show(t.Context(), realm, version); mfa.CodeOf(err) != mfa.NotFound {
			t.Errorf("version %d: got %v, want NotFound", version, err)
		}
	}
	if _, err := w.Show(t.Context(), "other", 2); mfa.CodeOf(err) != mfa.NotFound {
		t.Errorf("another realm's version: got %v, want NotFound", err)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	w.realm("other")
	var want []policy.Policy
	for i, text := range []string{"decide_by: 11s", "decide_by: 12s", "decide_by: 13s"} {
		w.update(func(tx store.Tx) error {
			p, changed, err := w.Apply(tx, realm, parse(t, text), i, "adm_"+text)
			if err == nil && (!changed || p.At != tx.Now()) {
				t.Errorf("%q: changed %t, at %d, now %d", text, changed, p.At, tx.Now())
			}
			want = append([]policy.Policy{p}, want...)
			return err
		})
	}
	if _, _, err := w.apply("other", "decide_by: 14s", 0); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{1, 3, 10} {
		got, err := w.Versions(t.Context(), realm, limit)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[:min(limit, 3)], got); diff != "" {
			t.Errorf("%d newest (-want +got):\n%s", limit, diff)
		}
	}
	if diff := cmp.Diff(want[0], w.current(realm)); diff != "" {
		t.Errorf("in force (-want +got):\n%s", diff)
	}
}

// TestCurrentForgetsWhatWasUndone reads a version inside a transaction that comes to nothing: the
// version's number is given to another document afterwards.
func TestCurrentForgetsWhatWasUndone(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	undone := errors.New("undone")
	err := w.store.Update(t.Context(), func(tx store.Tx) error {
		if _, _, err := w.Apply(tx, realm, parse(t, "matches: [tap]\nmin_bits: 0"), -1, "adm_1"); err != nil {
			return err
		}
		if p, err := w.Current(tx, realm); err != nil || p.Version != 1 || *p.Document.MinBits != 0 {
			t.Errorf("a transaction sees its own policy: version %d, %v", p.Version, err)
		}
		return undone
	})
	if !errors.Is(err, undone) {
		t.Fatal(err)
	}
	if _, _, err := w.apply(realm, "min_bits: 128", -1); err != nil {
		t.Fatal(err)
	}
	if p := w.current(realm); p.Version != 1 || *p.Document.MinBits != 128 {
		t.Errorf("version %d with min_bits %d, want 1 with 128", p.Version, *p.Document.MinBits)
	}
}

// TestUnreadablePolicy wants a stored document that this program cannot read to refuse, not to
// fall back to anything.
func TestUnreadablePolicy(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	w.update(func(tx store.Tx) error {
		return tx.InsertPolicy(store.Policy{Realm: realm, Version: 1, Document: []byte("rule_of_the_future: 1\n"), At: tx.Now()})
	})
	if _, err := w.Show(t.Context(), realm, 0); err == nil {
		t.Error("an unreadable policy was answered for")
	}
}

func TestConcurrentApply(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) *world{
		"SQLite":     onSQLite,
		"PostgreSQL": func(t *testing.T) *world { t.Helper(); return newWorld(t, pgtest.Database(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t)
			const authors = 16
			won := make([]bool, authors)
			var all sync.WaitGroup
			for i := range authors {
				all.Go(func() {
					d := policy.Default()
					by := policy.Duration(time.Duration(10+i) * time.Second)
					d.DecideBy = &by
					err := w.store.Update(context.Background(), func(tx store.Tx) error {
						_, changed, err := w.Apply(tx, realm, d, 0, "adm_1")
						won[i] = changed && err == nil
						return err
					})
					if err != nil && mfa.CodeOf(err) != mfa.Conflict {
						t.Errorf("author %d: %v", i, err)
					}
				})
			}
			all.Wait()
			winner := -1
			for i, ok := range won {
				if ok && winner >= 0 {
					t.Errorf("both %d and %d wrote version 1", winner, i)
				}
				if ok {
					winner = i
				}
			}
			p := w.current(realm)
			if winner < 0 || p.Version != 1 || time.Duration(*p.Document.DecideBy) != time.Duration(10+winner)*time.Second {
				t.Errorf("author %d won; version %d with decide_by %s is in force", winner, p.Version, time.Duration(*p.Document.DecideBy))
			}
		})
	}
}
