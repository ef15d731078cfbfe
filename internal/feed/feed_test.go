package feed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/feed"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

// place is a sink that remembers, and fails as long as it is told to.
type place struct {
	mu     sync.Mutex
	down   bool
	got    []store.Event
	lines  []string
	tries  int
	change chan struct{} // receives after each attempt
}

func newPlace() *place { return &place{change: make(chan struct{}, 1)} }

var errDown = errors.New("the place is down")

func (p *place) Send(_ context.Context, events []store.Event, lines [][]byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() {
		select {
		case p.change <- struct{}{}:
		default:
		}
	}()
	p.tries++
	if p.down {
		return errDown
	}
	p.got = append(p.got, events...)
	for _, l := range lines {
		p.lines = append(p.lines, string(l))
	}
	return nil
}

func (p *place) Close() error { return nil }

func (p *place) set(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// numbers gives the n of the events that came.
func (p *place) numbers() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, e := range p.got {
		out = append(out, e.Data["n"])
	}
	return out
}

// until waits until done says so after an attempt.
func (p *place) until(t *testing.T, done func() bool) {
	t.Helper()
	for !done() {
		select {
		case <-p.change:
		case <-t.Context().Done():
			t.Fatal("the test ended")
		}
	}
}

// gauge counts.
type gauge struct{ sent, failed, leads atomic.Int64 }

func (g *gauge) Leads(_ string, leads bool) {
	if leads {
		g.leads.Store(1)
	} else {
		g.leads.Store(0)
	}
}
func (g *gauge) Sent(_ string, n int)      { g.sent.Add(int64(n)) }
func (g *gauge) Failed(string)             { g.failed.Add(1) }
func (g *gauge) Lag(string, time.Duration) {}

func eachStore(t *testing.T, test func(t *testing.T, open func() store.Store, offset *atomic.Int64)) {
	t.Helper()
	for name, dsn := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { t.Helper(); return filepath.Join(t.TempDir(), "nod.db") },
		"postgres": func(t *testing.T) string { t.Helper(); return pgtest.Database(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := dsn(t)
			var offset atomic.Int64
			var only store.Store
			test(t, func() store.Store {
				if only != nil && name == "sqlite" { // which has one process
					return only
				}
				st, err := sqlstore.Open(t.Context(), sqlstore.Config{DSN: dsn, Offset: func() time.Duration { return time.Duration(offset.Load()) }})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = st.Close() })
				only = st
				return st
			}, &offset)
		})
	}
}

// run sends to p until stop is called.
func run(t *testing.T, st store.Store, p *place) (g *gauge, stop func()) {
	t.Helper()
	g = &gauge{}
	s, err := feed.New(feed.Config{
		Store: st, Logger: slog.New(slog.DiscardHandler), Gauge: g, Sinks: map[string]feed.Sink{"place": p},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return g, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func write(t *testing.T, st store.Store, realm mfa.RealmID, n int) {
	t.Helper()
	err := st.Update(t.Context(), func(tx store.Tx) error {
		return audit.Record(t.Context(), tx, store.Event{Realm: realm, Kind: audit.UserChanged, Data: map[string]string{"n": strconv.Itoa(n)}})
	})
	if err != nil {
		t.Error(err)
	}
}

func count(from, to int) []string {
	out := []string{}
	for i := from; i < to; i++ {
		out = append(out, strconv.Itoa(i))
	}
	return out
}

// begun has a feed that begins where the events of the test do.
func begun(t *testing.T, st store.Store, p *place) {
	t.Helper()
	_, stop := run(t, st, p)
	for len(p.numbers()) == 0 {
		write(t, st, "r", 0)
		select {
		case <-p.change:
		case <-time.After(100 * time.Millisecond): // it may not have begun at the event before
		}
	}
	write(t, st, "r", -1)
	p.until(t, func() bool { return slices.Contains(p.numbers(), "-1") })
	stop()
	p.got, p.lines = nil, nil
}

// TestFeed sends what two nodes write, over a failure of the place, a restart and a change of the
// node that sends: everything comes, in order.
func TestFeed(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func() store.Store, _ *atomic.Int64) {
		one, two := open(), open()
		p := newPlace()
		begun(t, one, p)
		for i := range 20 {
			write(t, []store.Store{one, two}[i%2], mfa.RealmID(fmt.Sprint("r", i%3)), i)
		}
		_, stop := run(t, one, p)
		p.until(t, func() bool { return len(p.numbers()) >= 20 })
		stop()
		if diff := cmp.Diff(count(0, 20), p.numbers()); diff != "" {
			t.Fatalf("events (-want +got):\n%s", diff)
		}

		// The place is down: nobody waits for it, and it gets them all in the end, from the other node.
		p.set(true)
		g, stop := run(t, two, p)
		for i := 20; i < 40; i++ {
			write(t, one, "r", i)
		}
		p.until(t, func() bool { return g.failed.Load() > 0 })
		p.set(false)
		p.until(t, func() bool { return len(p.numbers()) >= 40 })
		stop()
		if diff := cmp.Diff(count(0, 40), p.numbers()); diff != "" {
			t.Errorf("events after a failure (-want +got):\n%s", diff)
		}
	})
}

// TestOneSends has two nodes that could send, and writers on both whose transactions overlap: each
// event comes once.
func TestOneSends(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func() store.Store, _ *atomic.Int64) {
		one, two := open(), open()
		p := newPlace()
		begun(t, one, p)
		_, stopOne := run(t, one, p)
		_, stopTwo := run(t, two, p)
		const writers, each = 6, 25
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range each {
					write(t, []store.Store{one, two}[w%2], "r", w*each+i)
				}
			})
		}
		all.Wait()
		p.until(t, func() bool { return len(p.numbers()) >= writers*each })
		stopOne()
		stopTwo()
		seen := make(map[string]int)
		for _, n := range p.numbers() {
			seen[n]++
		}
		want := make(map[string]int)
		for _, n := range count(0, writers*each) {
			want[n] = 1
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("how often each came (-want +got):\n%s", diff)
		}
		for i := 1; i < len(p.got); i++ {
			if a, b := p.got[i-1], p.got[i]; a.At > b.At || (a.At == b.At && a.ID >= b.ID) {
				t.Errorf("%s of %d comes before %s of %d", a.ID, a.At, b.ID, b.At)
			}
		}
	})
}

// TestClockSetBack wants nothing left out when the clock of the database goes back.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func() store.Store, offset *atomic.Int64) {
		st := open()
		p := newPlace()
		begun(t, st, p)
		offset.Store(int64(time.Hour))
		write(t, st, "r", 1)
		_, stop := run(t, st, p)
		p.until(t, func() bool { return len(p.numbers()) > 0 })
		stop()
		offset.Store(0)
		write(t, st, "r", 2)
		_, stop = run(t, st, p)
		p.until(t, func() bool { return strings.Contains(strings.Join(p.numbers(), ","), "2") })
		stop()
	})
}

func TestLine(t *testing.T) {
	t.Parallel()
	e := store.Event{
		Realm: "r", ID: "evt_1", At: 1_700_000_000_000_001, Kind: "user.changed", User: "usr_1", Application: "app_1", Device: "dev_1",
		Challenge: "ch_1", Actor: mfa.ActorUser, By: "dev_1", Address: "192.0.2.1", Request: "req_1",
		Data: map[string]string{"b": "two\nlines", "a": "é"},
	}
	want := `{"id":"evt_1","at":"2023-11-14T22:13:20.000001Z","realm":"r","kind":"user.changed","user":"usr_1","application":"app_1",` +
		`"device":"dev_1","challenge":"ch_1","actor":"user","by":"dev_1","address":"192.0.2.1","request_id":"req_1",` +
		`"data":{"a":"é","b":"two\nlines"}}`
	if diff := cmp.Diff(want, string(feed.Line(e))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	if _, err := feed.New(feed.Config{}); err == nil {
		t.Error("a service of nothing")
	}
}
