package sqlstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/checkup"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

func found(t *testing.T, all []checkup.Check, name string, status checkup.Status, words string) {
	t.Helper()
	for _, c := range all {
		if c.Name != name {
			continue
		}
		if c.Status != status || !strings.Contains(c.Found, words) || (c.Advice == "") != (status == checkup.OK) {
			t.Errorf("%+v, want %s with %q", c, status, words)
		}
		return
	}
	t.Errorf("no check %q in %+v", name, all)
}

func nothing(store.Tx) error { return nil }

// TestInspect looks at databases that are in use, and writes nothing.
func TestInspect(t *testing.T) {
	t.Parallel()
	everyDatabase(t, func(t *testing.T, c Config) {
		if c.postgres() {
			found(t, Inspect(t.Context(), c, false, nothing), checkSchema, checkup.Warn, "none yet")
		} else {
			found(t, Inspect(t.Context(), c, false, nothing), checkDatabase, checkup.Warn, "no file")
			path, _ := c.path()
			if _, err := os.Stat(path); err == nil {
				t.Error("it made a database")
			}
		}
		if _, err := migrate(t.Context(), c, 1); err != nil {
			t.Fatal(err)
		}
		found(t, Inspect(t.Context(), c, false, func(store.Tx) error {
			t.Error("an old schema is read")
			return nil
		}), checkSchema, checkup.Warn, "version 1, older")

		s := mustOpen(t, c)
		if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting("a", "b") }); err != nil {
			t.Fatal(err)
		}
		read := ""
		all := Inspect(t.Context(), c, true, func(tx store.Tx) error {
			var err error
			read, err = tx.Setting("a")
			if tx.PutSetting("a", "c") == nil {
				t.Error("it can write")
			}
			return err
		})
		if read != "b" || checkup.Failed(all) {
			t.Errorf("read %q, %+v", read, all)
		}
		found(t, all, checkSchema, checkup.OK, "version")
		found(t, Inspect(t.Context(), c, false, func(store.Tx) error { return errors.New("no such row") }), checkContent, checkup.Fail, "no such row")

		execute(t, raw(t, c), `INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, $2)`, Version+1, true)
		found(t, Inspect(t.Context(), c, false, nothing), checkSchema, checkup.Fail, "newer")
	})
}

func TestInspectSQLite(t *testing.T) {
	t.Parallel()
	c := Config{DSN: filepath.Join(t.TempDir(), "nod.db")}.withDefaults()
	s := mustOpen(t, c)
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting("a", strings.Repeat("x", 100_000)) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	found(t, Inspect(t.Context(), c, true, nothing), checkContent, checkup.OK, "consistent")

	long := filepath.Join(t.TempDir(), "long.db")
	for file, size := range map[string]int64{long: 0, long + "-wal": tooLongLog + 1} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, size); err != nil { // without taking the room
			t.Fatal(err)
		}
	}
	found(t, []checkup.Check{judgeLog(long)}, checkLog, checkup.Warn, "1024 MiB")

	text, err := os.ReadFile(c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	page := bytes.Index(text, bytes.Repeat([]byte("x"), 4000)) / 4096 * 4096 // one of those that hold the long value
	copy(text[page:], bytes.Repeat([]byte{0xff}, 4096))
	if err := os.WriteFile(c.DSN, text, 0o600); err != nil {
		t.Fatal(err)
	}
	found(t, Inspect(t.Context(), c, true, nothing), checkContent, checkup.Fail, "damaged")
	if err := os.WriteFile(c.DSN, []byte(strings.Repeat("this is no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	found(t, Inspect(t.Context(), c, false, nothing), checkDatabase, checkup.Fail, "cannot be read")
	found(t, Inspect(t.Context(), Config{DSN: ":memory:"}, false, nothing), checkDatabase, checkup.Fail, "neither")
}

func TestInspectPostgres(t *testing.T) {
	t.Parallel()
	good := facts{version: "150004", fsync: "on", commits: "on", pages: "on", encoding: "UTF8", connections: 100, reserved: 3, others: 5}
	with := func(change func(*facts)) facts {
		f := good
		change(&f)
		return f
	}
	for _, tc := range []struct {
		name   string
		f      facts
		check  string
		status checkup.Status
		words  string
	}{
		{"good", good, checkDatabase, checkup.OK, "PostgreSQL 15.4"},
		{"durable", good, checkDurability, checkup.OK, ""},
		{"room", good, checkConnections, checkup.OK, "7 nodes"},
		{"old", with(func(f *facts) { f.version = "140010" }), checkDatabase, checkup.Fail, "too old"},
		{"encoding", with(func(f *facts) { f.encoding = "LATIN1" }), checkDatabase, checkup.Fail, "LATIN1"},
		{"standby", with(func(f *facts) { f.standby = true }), checkDatabase, checkup.Fail, "standby"},
		{"fsync", with(func(f *facts) { f.fsync = "off" }), checkDurability, checkup.Fail, "fsync is off"},
		{"synchronous_commit", with(func(f *facts) { f.commits = "off" }), checkDurability, checkup.Fail, "synchronous_commit off"},
		{"full_page_writes", with(func(f *facts) { f.pages = "off" }), checkDurability, checkup.Warn, "full_page_writes"},
		{"connections", with(func(f *facts) { f.others = 90 }), checkConnections, checkup.Warn, "7 of 100"},
		{"no connections", with(func(f *facts) { f.others = 120 }), checkConnections, checkup.Warn, "0 of 100"},
	} {
		found(t, tc.f.judge("db"), tc.check, tc.status, tc.words)
	}
	found(t, Inspect(t.Context(), Config{DSN: "postgres://nod@127.0.0.1:1/nod"}, false, nothing), checkDatabase, checkup.Fail, "cannot be reached")
	found(t, Inspect(t.Context(), Config{DSN: "postgres://%zz"}, false, nothing), checkDatabase, checkup.Fail, "cannot be read")
	found(t, []checkup.Check{judgeClock(mfa.At(time.Now().Add(3*time.Second)), time.Now())}, checkClock, checkup.Fail, "3")
}
