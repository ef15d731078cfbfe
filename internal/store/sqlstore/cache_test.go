package sqlstore

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/store"
)

// TestViewOfKeptRowsAlone changes two rows of different scopes between the reads of a View that finds
// everything in memory: it sees both as they were or both as they are.
func TestViewOfKeptRowsAlone(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		viewOfKeptRowsAlone(t, filepath.Join(t.TempDir(), "nod.db"))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		viewOfKeptRowsAlone(t, pgtest.Database(t))
	})
}

func viewOfKeptRowsAlone(t *testing.T, dsn string) {
	s := mustOpen(t, Config{DSN: dsn})
	const realm, user = mfa.RealmID("default"), mfa.UserID("usr_1")
	read := func(tx store.Tx, between func()) (u store.User, p store.Policy, err error) {
		if u, err = tx.User(realm, user); err != nil {
			return u, p, err
		}
		between()
		p, err = tx.Policy(realm, 0)
		return u, p, err
	}
	warm := func() {
		if err := s.View(t.Context(), func(tx store.Tx) error {
			_, _, err := read(tx, func() {})
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	if err := s.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(
			tx.InsertUser(store.User{Realm: realm, ID: user, Name: "a", State: store.UserActive, SeenAt: 1}, nil),
			tx.InsertPolicy(store.Policy{Realm: realm, Version: 1, Document: []byte("{}")}))
	}); err != nil {
		t.Fatal(err)
	}
	warm()
	runs, seen := 0, [2]int{}
	err := s.View(t.Context(), func(tx store.Tx) error {
		runs++
		u, p, err := read(tx, func() {
			if runs > 1 {
				return
			}
			if err := s.Update(t.Context(), func(tx store.Tx) error {
				u, err := tx.User(realm, user)
				if err != nil {
					return err
				}
				u.SeenAt = 2
				return errors.Join(tx.PutUser(u), tx.InsertPolicy(store.Policy{Realm: realm, Version: 2, Document: []byte("{}")}))
			}); err != nil {
				t.Error(err)
			}
			warm()
		})
		if err == nil {
			seen = [2]int{int(u.SeenAt), p.Version}
		}
		return err
	})
	if err != nil || seen[0] == 0 || seen[0] != seen[1] {
		t.Errorf("after %d runs: the user of state %d, the policy of state %d, %v", runs, seen[0], seen[1], err)
	}
}

// TestChallengesDriveNobodyOut reads more challenges than are kept: they are the largest rows, and new
// with every sign-in. Few of them are kept, and a person's rows stay.
func TestChallengesDriveNobodyOut(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Config{DSN: filepath.Join(t.TempDir(), "nod.db")})
	look := func(fn func(store.Tx) error) {
		t.Helper()
		if err := s.View(t.Context(), fn); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
	}
	person := func(tx store.Tx) error {
		_, err := tx.User("r", "usr_1")
		return err
	}
	look(person)
	look(func(tx store.Tx) error {
		var err error
		for i := range 2*cacheShards*cacheShare + 1 {
			_, err = tx.Challenge("r", mfa.ChallengeID(strconv.Itoa(i)))
		}
		return err
	})
	before := s.Stats().Ran
	look(person)
	if ran := s.Stats().Ran - before; ran != 0 {
		t.Errorf("%d statements to read a person again", ran)
	}
	kept := 0
	db, _ := s.engine.(*sqliteDB)
	for i := range db.cache.flows {
		h := &db.cache.flows[i]
		kept += len(h.young) + len(h.old)
	}
	if most := 2 * cacheShards * flowShare; kept == 0 || kept > most || most > 20_000 {
		t.Errorf("%d challenges are kept, want at most %d", kept, most)
	}
}

// TestPostgresPutBackUnderANode puts the database back to what it was, under a node that has read what
// came later, and has others write: the node does not take its row for theirs.
func TestPostgresPutBackUnderANode(t *testing.T) {
	t.Parallel()
	c := Config{DSN: pgtest.Database(t)}.withDefaults()
	s, db := mustOpen(t, c), raw(t, c)
	policy := func() (n int) {
		t.Helper()
		if err := s.View(t.Context(), func(tx store.Tx) error {
			p, err := tx.Policy("r", 0)
			n = p.Version
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	write := func(n int) {
		t.Helper()
		if err := s.Update(t.Context(), func(tx store.Tx) error {
			return tx.InsertPolicy(store.Policy{Realm: "r", Version: n, Document: []byte("{}")})
		}); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	execute(t, db, `CREATE TABLE copied AS SELECT * FROM cache_stamps`)
	write(3)
	if got := policy(); got != 3 {
		t.Fatalf("policy %d", got)
	}
	// As PostgreSQL's tools do it: without triggers, and sequences go back too.
	execute(t, db, `ALTER TABLE policies DISABLE TRIGGER touch; DELETE FROM policies WHERE version = 3;
		ALTER TABLE policies ENABLE TRIGGER touch;
		UPDATE cache_stamps s SET stamp = c.stamp FROM copied c WHERE s.place = c.place`)
	execute(t, db, `DO $$ DECLARE q TEXT; BEGIN
		FOR q IN SELECT c.relname FROM pg_class c WHERE c.relkind = 'S' AND c.relname LIKE 'cache%' LOOP
			PERFORM setval(q::regclass, (SELECT max(stamp) FROM cache_stamps));
		END LOOP; END $$`)
	write(2)
	if got := policy(); got != 2 {
		t.Errorf("policy %d, which is gone", got)
	}
}

// TestLongNamesAreNotKept asks for what has a name of many kilobytes, as whoever asks may choose: the
// cache counts its rows and not how long their names are.
func TestLongNamesAreNotKept(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Config{DSN: filepath.Join(t.TempDir(), "nod.db")})
	ask := func(name string) (statements int64) {
		t.Helper()
		before := s.Stats().Ran
		if err := s.View(t.Context(), func(tx store.Tx) error {
			_, err := tx.UserByName("r", name)
			return err
		}); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		return s.Stats().Ran - before
	}
	for length, kept := range map[int]bool{longestName - len("r"): true, longestName: false, 1 << 14: false} {
		name := strings.Repeat("n", length)
		if first, second := ask(name), ask(name); first == 0 || (second == 0) != kept {
			t.Errorf("a name of %d bytes: %d statements, then %d; kept should be %v", length, first, second, kept)
		}
	}
}

// TestForgottenTouch writes rows that may be in the cache without naming the right scope, as a method
// that forgets it would: each is an error.
func TestForgottenTouch(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Config{DSN: filepath.Join(t.TempDir(), "nod.db")})
	if err := s.Update(t.Context(), func(tx store.Tx) error {
		return tx.InsertUser(store.User{Realm: "r", ID: "usr_1", Name: "a", State: store.UserActive}, nil)
	}); err != nil {
		t.Fatal(err)
	}
	const write, writeAndRead = `UPDATE users SET display = 'b'`, `UPDATE users SET display = 'b' RETURNING id`
	for name, c := range map[string]struct {
		do func(*tx) error
		ok bool
	}{
		"nothing named": {func(t *tx) error { _, err := t.write(write); return err }, false},
		"named": {func(t *tx) error {
			err := t.touchPerson("r", "usr_1")
			_, failed := t.write(write)
			return errors.Join(err, failed)
		}, true},
		"another kind of scope named": {func(t *tx) error {
			err := t.touch(house)
			_, failed := t.write(write)
			return errors.Join(err, failed)
		}, false},
		"rows returned":               {func(t *tx) error { _, err := list(t, itself[string], writeAndRead); return err }, false},
		"rows returned, and named":    {func(t *tx) error { return t.touchOwner("r", writeAndRead) }, true},
		"no row returned, none named": {func(t *tx) error { return t.touchOwners(`DELETE FROM waits RETURNING realm, user_id`) }, true},
	} {
		err := s.Update(t.Context(), func(own store.Tx) error {
			inner, _ := own.(*tx)
			return c.do(inner)
		})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v, want success: %v", name, err, c.ok)
		}
	}
}
