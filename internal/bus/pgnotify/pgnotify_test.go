package pgnotify_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/nodauth/nod/internal/bus"
	"github.com/nodauth/nod/internal/bus/bustest"
	"github.com/nodauth/nod/internal/bus/pgnotify"
	"github.com/nodauth/nod/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func node(t testing.TB, c pgnotify.Config) *pgnotify.Bus {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	b, err := pgnotify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// exec carries out one statement on a connection of its own.
func exec(t testing.TB, dsn, sql string, args ...any) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		t.Fatal(err)
	}
}

func TestBus(t *testing.T) {
	t.Parallel()
	bustest.Run(t, bustest.Subject{Open: func(t testing.TB, n int) ([]bus.Bus, func()) {
		dsn := pgtest.Database(t)
		nodes := make([]bus.Bus, n)
		for i := range nodes {
			nodes[i] = node(t, pgnotify.Config{DSN: dsn})
		}
		return nodes, func() {
			exec(t, dsn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		}
	}})
}

// run runs b until the test ends, and waits until it is connected.
func run(t *testing.T, b *pgnotify.Bus) (keys chan string) {
	t.Helper()
	keys = make(chan string, 1000)
	resynced := make(chan struct{}, 100)
	b.Subscribe(bus.Subscriber{
		Wake:   func(key string) { keys <- key },
		Resync: func() { resynced <- struct{}{} },
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if b.Healthy() {
			t.Error("a stopped bus says that it is healthy")
		}
	})
	<-resynced
	return keys
}

// expect fails unless the next keys are want, in order.
func expect(t *testing.T, keys <-chan string, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := <-keys; got != w {
			t.Fatalf("got %q, want %q", got, w)
		}
	}
}

func TestFilterLosesKeysOfOthers(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	a := node(t, pgnotify.Config{DSN: dsn})
	b := node(t, pgnotify.Config{DSN: dsn, Filter: func(key string) bool { return !strings.HasPrefix(key, "ch_") }})
	fromA, fromB := run(t, a), run(t, b)
	a.Publish("ch_lost", "usr_kept")
	expect(t, fromA, "ch_lost", "usr_kept")
	expect(t, fromB, "usr_kept")
	b.Publish("ch_own")
	expect(t, fromB, "ch_own")
	expect(t, fromA, "ch_own")
}

func TestEachKeyComesOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	a, b := node(t, pgnotify.Config{DSN: dsn}), node(t, pgnotify.Config{DSN: dsn})
	fromA, fromB := run(t, a), run(t, b)
	for _, key := range []string{"ch_1", "ch_2", "ch_3"} {
		a.Publish(key)
		expect(t, fromB, key)
		expect(t, fromA, key) // and not again by way of PostgreSQL
	}
}

func TestChannelsAreApart(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	a := node(t, pgnotify.Config{DSN: dsn, Channel: `odd "name`})
	b := node(t, pgnotify.Config{DSN: dsn, Channel: `odd "name`})
	other := node(t, pgnotify.Config{DSN: dsn})
	fromB, fromOther := run(t, b), run(t, other)
	run(t, a)
	a.Publish("ch_a")
	expect(t, fromB, "ch_a")
	other.Publish("ch_other")
	expect(t, fromOther, "ch_other")
}

func TestStrangePayloads(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	b := node(t, pgnotify.Config{DSN: dsn})
	keys := run(t, b)
	for _, payload := range []string{"", "x", "x\n", "\n\n\n", "x\na b\nü\n\x01", "x\nch_good"} {
		exec(t, dsn, "SELECT pg_notify($1, $2)", pgnotify.DefaultChannel, payload)
	}
	expect(t, keys, "ch_good")
}

// TestWhatWasPublishedWhileAwayIsSent publishes before the node ever connected.
func TestWhatWasPublishedWhileAwayIsSent(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	a, b := node(t, pgnotify.Config{DSN: dsn}), node(t, pgnotify.Config{DSN: dsn})
	a.Publish("ch_early")
	fromB := run(t, b)
	run(t, a)
	expect(t, fromB, "ch_early")
}

// TestLastWordsAreSent stops a node right after it published.
func TestLastWordsAreSent(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	a, b := node(t, pgnotify.Config{DSN: dsn}), node(t, pgnotify.Config{DSN: dsn})
	fromB := run(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	a.Subscribe(bus.Subscriber{Wake: func(string) {}, Resync: func() {}})
	healthy := make(chan struct{})
	b.Subscribe(bus.Subscriber{Wake: func(key string) {
		if key == "ch_first" {
			once.Do(func() { close(healthy) })
		}
	}})
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	a.Publish("ch_first")
	<-healthy
	a.Publish("ch_last")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	expect(t, fromB, "ch_first", "ch_last")
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	b := node(t, pgnotify.Config{DSN: "postgres://nobody@127.0.0.1:1/none"})
	woken := make(chan string, 1)
	b.Subscribe(bus.Subscriber{Wake: func(key string) { woken <- key }})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	b.Publish("ch_a")
	if got := <-woken; got != "ch_a" || b.Healthy() {
		t.Errorf("got %q, healthy %v", got, b.Healthy())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]pgnotify.Config{
		"no address": {DSN: "postgres://user:hunter2@host:port/", Logger: slog.New(slog.DiscardHandler)},
		"no logger":  {DSN: "postgres://host/"},
	} {
		if _, err := pgnotify.New(c); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
