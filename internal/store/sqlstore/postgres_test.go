package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/store"
)

func TestPostgresThatForgetsIsRefused(t *testing.T) {
	t.Parallel()
	c := Config{DSN: pgtest.Database(t)}.withDefaults()
	db := raw(t, c)
	var name string
	if err := db.QueryRowContext(t.Context(), `SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	execute(t, db, `ALTER DATABASE `+name+` SET synchronous_commit = off`)
	if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "synchronous_commit = off") {
		t.Errorf("Open: %v", err)
	}
	execute(t, db, `ALTER DATABASE `+name+` SET synchronous_commit = local`)
	mustOpen(t, c)
}

// kill ends all connections of stores to the database.
const kill = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE datname = current_database() AND application_name = 'nod'`

func TestPostgresConnectionBreaksBeforeCommit(t *testing.T) {
	t.Parallel()
	c := Config{DSN: pgtest.Database(t)}.withDefaults()
	db, s := raw(t, c), mustOpen(t, c)
	runs := 0
	err := s.Update(t.Context(), func(tx store.Tx) error {
		runs++
		n, err := tx.Setting("n")
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if runs == 1 {
			execute(t, db, kill)
		}
		return tx.PutSetting("n", n+"x")
	})
	if err != nil || runs != 2 || setting(t, s, "n") != "x" {
		t.Errorf("Update: %v after %d runs, and the row is %q", err, runs, setting(t, s, "n"))
	}

	err = s.Update(t.Context(), func(tx store.Tx) error {
		execute(t, db, kill)
		return tx.PutSetting("n", "never")
	})
	if mfa.CodeOf(err) != mfa.Unavailable || errors.Is(err, store.ErrUnknown) {
		t.Errorf("an Update that is cut off every time: %v, want unavailable", err)
	}
	execute(t, db, kill)
	if got := setting(t, s, "n"); got != "x" { // and View takes a new connection
		t.Errorf("the row is %q", got)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

// cutter stands between a store and the server, and breaks the connection when the server answers
// a COMMIT.
type cutter struct {
	cut    atomic.Bool
	server string
}

func (p *cutter) serve(t *testing.T, l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.server)
		if err != nil {
			t.Errorf("dial the server: %v", err)
			return
		}
		var committing atomic.Bool
		go func() {
			_, _ = io.Copy(writer(func(b []byte) (int, error) {
				committing.Store(p.cut.Load() && bytes.Contains(b, []byte("COMMIT\x00")))
				return server.Write(b)
			}), client)
			_ = server.Close()
		}()
		go func() {
			_, _ = io.Copy(writer(func(b []byte) (int, error) {
				if committing.Load() {
					return 0, io.ErrClosedPipe
				}
				return client.Write(b)
			}), server)
			_ = client.Close()
			_ = server.Close()
		}()
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestPostgresAnswerToCommitIsLost(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	const name = ".s.PGSQL.5432"
	query := at.Query()
	host := query.Get("host")
	if !filepath.IsAbs(host) {
		t.Skip("the server is not on a Unix socket")
	}
	dir, err := os.MkdirTemp("/tmp", "nod-cutter") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &cutter{server: filepath.Join(host, name)}
	go p.serve(t, l)
	query.Set("host", dir)
	at.RawQuery = query.Encode()

	s := mustOpen(t, Config{DSN: at.String()})
	put := func(v string) error {
		return s.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting("a", v) })
	}
	if err := put("before"); err != nil {
		t.Fatal(err)
	}
	p.cut.Store(true)
	err = put("unknown")
	if !errors.Is(err, store.ErrUnknown) || mfa.CodeOf(err) != mfa.Unavailable {
		t.Errorf("Update whose commit is not answered: %v, want ErrUnknown", err)
	}
	p.cut.Store(false)
	if got := setting(t, s, "a"); got != "unknown" {
		t.Errorf("the row is %q, and the server had committed", got)
	}
	if err := put("after"); err != nil || setting(t, s, "a") != "after" {
		t.Errorf("the next Update: %v", err)
	}
}

// onCommit makes the server do something when a row of settings is committed.
func onCommit(t *testing.T, c Config, do string) {
	t.Helper()
	db := raw(t, c)
	execute(t, db, `CREATE FUNCTION on_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN `+do+` RETURN NULL; END $$`)
	execute(t, db, `CREATE CONSTRAINT TRIGGER on_commit AFTER INSERT ON settings
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION on_commit()`)
}

func TestPostgresBreaksInCommit(t *testing.T) {
	t.Parallel()
	c := Config{DSN: pgtest.Database(t)}.withDefaults()
	s := mustOpen(t, c)
	onCommit(t, c, `PERFORM pg_terminate_backend(pg_backend_pid());`)
	err := s.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting("a", "b") })
	if !errors.Is(err, store.ErrUnknown) {
		t.Errorf("Update: %v, want ErrUnknown", err)
	}
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.UseThumbprint("r", "t") }); err != nil {
		t.Errorf("the next Update: %v", err)
	}
}

func TestPostgresRefusesTheCommit(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]string{
		"check_violation":       "",
		"disk_full":             "The disk of the database is full.",
		"serialization_failure": "The database is busy.",
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			c := Config{DSN: pgtest.Database(t), Fatal: func(err error) { t.Errorf("fatal: %v", err) }}.withDefaults()
			s := mustOpen(t, c)
			onCommit(t, c, `RAISE EXCEPTION 'no' USING ERRCODE = '`+state+`';`)
			err := s.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting("a", "b") })
			if err == nil || errors.Is(err, store.ErrUnknown) || !strings.Contains(err.Error(), want) {
				t.Errorf("Update: %v, want %q", err, want)
			}
			if got := setting(t, s, "a"); got != "" {
				t.Errorf("the row is %q", got)
			}
			if err := s.Ready(t.Context()); (err != nil) != (state == "disk_full") {
				t.Errorf("Ready: %v", err)
			}
		})
	}
}

func TestPostgresFaultIsFatal(t *testing.T) {
	t.Parallel()
	var fatal []error
	var mu sync.Mutex
	c := Config{DSN: pgtest.Database(t), Fatal: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		fatal = append(fatal, err)
	}}.withDefaults()
	s := mustOpen(t, c)
	onCommit(t, c, `RAISE EXCEPTION 'could not fsync' USING ERRCODE = 'io_error';`)
	put := func(tx store.Tx) error { return tx.PutSetting("a", "b") }
	for range 2 {
		if err := s.Update(t.Context(), put); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("Update: %v, want ErrUnknown", err)
		}
	}
	if err := s.View(t.Context(), func(store.Tx) error { return nil }); err == nil {
		t.Error("View answers after a fault")
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("Ready after a fault")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(fatal) != 1 || !strings.Contains(fatal[0].Error(), "could not fsync") {
		t.Errorf("Fatal was called with %v, want once", fatal)
	}
}

// TestPostgresConflictsAreRunAgain makes two stores meet over the same row, with others beside
// them that have nothing to do with it.
func TestPostgresConflictsAreRunAgain(t *testing.T) {
	t.Parallel()
	c := Config{DSN: pgtest.Database(t)}.withDefaults()
	stores := []*Store{mustOpen(t, c), mustOpen(t, c), mustOpen(t, c)}
	const each = 40
	var group sync.WaitGroup
	for i := range 12 {
		s := stores[i%len(stores)]
		group.Go(func() {
			for range each {
				if err := s.Update(context.WithoutCancel(t.Context()), func(tx store.Tx) error {
					n, err := tx.Setting("n")
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						return err
					}
					return tx.PutSetting("n", n+"x")
				}); err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	group.Wait()
	if got := len(setting(t, stores[0], "n")); got != 12*each {
		t.Errorf("%d of %d are left", got, 12*each)
	}
}

// TestPostgresSeesWhatWasAcknowledged has one node acknowledge a write while another one is in the
// middle of a transaction. Who asks the other node afterwards has to see it.
func TestPostgresSeesWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	c := Config{DSN: pgtest.Database(t)}.withDefaults()
	a, b := mustOpen(t, c), mustOpen(t, c)
	var seen string
	asked := make(chan error, 1)
	ask := func() {
		asked <- b.Update(t.Context(), func(tx store.Tx) (err error) {
			seen, err = tx.Setting("n")
			return err
		})
	}
	if err := b.Update(t.Context(), func(tx store.Tx) error {
		if _, err := tx.Setting("n"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Setting: %v", err)
		}
		if err := a.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting("n", "told") }); err != nil {
			return err
		}
		go ask()
		for len(b.queue.jobs) == 0 {
			runtime.Gosched()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-asked; err != nil || seen != "told" {
		t.Errorf("after it was acknowledged, another node reads %q, %v", seen, err)
	}
}

// TestPostgresEventsOfABatch has three transactions come together of which the first writes an event
// that is there already and the others read: it alone is told so, and the events of the others are in
// the order in which they were written though they have one moment.
func TestPostgresEventsOfABatch(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Config{DSN: pgtest.Database(t)})
	e := store.Event{Realm: "r", At: 1, ID: "evt_1", Kind: "k", Actor: mfa.ActorServer}
	write := func(tx store.Tx) error { return tx.InsertEvent(e) }
	if err := s.Update(t.Context(), write); err != nil {
		t.Fatal(err)
	}
	places := make([][]int, 3)
	reading := func(i int) func(store.Tx) error {
		return func(tx store.Tx) error {
			places[i] = []int{tx.NextEvent(), tx.NextEvent()}
			list, err := tx.ListEvents(store.EventFilter{Realm: "r"}, store.Page{Limit: 9})
			if err == nil && len(list) != 1 {
				t.Errorf("%d events", len(list))
			}
			return err
		}
	}
	release := hold(t, s)
	var group sync.WaitGroup
	told := make([]error, len(places))
	for i, fn := range []func(store.Tx) error{write, reading(1), reading(2)} {
		group.Go(func() { told[i] = s.Update(t.Context(), fn) })
		waiting(s, i+1)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	group.Wait()
	if !errors.Is(told[0], store.ErrExists) || told[1] != nil || told[2] != nil {
		t.Errorf("they were told %v", told)
	}
	if got := slices.Concat(places...); !slices.IsSorted(got) || len(slices.Compact(got)) != 4 {
		t.Errorf("the events have the places %v", places)
	}
}

// TestPostgresInAnotherLanguage has a server that translates what it says.
func TestPostgresInAnotherLanguage(t *testing.T) {
	t.Parallel()
	for severity, want := range map[string]class{"PANIC": classLost, "FATAL": classLost, "ERROR": classStatement} {
		err := &pgconn.PgError{Severity: "in other words", SeverityUnlocalized: severity, Code: "42000"}
		if got := postgresClass(err); got != want {
			t.Errorf("%s: %d, want %d", severity, got, want)
		}
	}
}
