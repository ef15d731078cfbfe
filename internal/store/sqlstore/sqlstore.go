// Package sqlstore keeps the contract of package store in SQLite or PostgreSQL.
//
// Both run the same statements, with $1, $2 for their arguments. Updates are not committed one by
// one: a writer takes the functions of all callers that are waiting, runs them one after the other
// in one transaction, each under a savepoint of its own, and commits once. A function runs on the
// goroutine of its caller, to which the writer lends the transaction, so that a panic in it
// unwinds there.
//
// SQLite has one writer, readers beside it, and a checkpointer that keeps the write-ahead log
// short away from the commits. PostgreSQL has one writer in each process, with serializable
// transactions: several in one process meet on the same few pages of small indexes, and run again
// more often than they gain. Those of other processes do meet, and what conflicts is run again.
//
// In a synctest bubble, open the store inside the bubble.
package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// Config says which database to open and who is told what. DSN is required.
type Config struct {
	// DSN is a file path, sqlite:PATH, or a postgres:// URL. The file is created, readable by its
	// owner alone, if it is not there; its directory must be.
	DSN string

	// Committed is called once for every commit that has keys to wake, with each key once, before
	// the Updates that asked for it return. It may be called from several goroutines and must not
	// wait.
	Committed func(keys []string)

	// Observe is told of every commit: how many transactions it holds, and how long the database
	// took to make it durable. It may be called from several goroutines and must not wait.
	Observe func(transactions int, took time.Duration)

	// Fatal is called when the database has had a fault after which nothing of it can be
	// believed, a failed sync above all. It is to end the process; the store is unusable from then
	// on, and nothing is acknowledged any more. The default panics.
	Fatal func(error)

	// Logger gets what no caller is told. The default discards it.
	Logger *slog.Logger

	// Offset is added to the clock, for tests that move it.
	Offset func() time.Duration
}

func (c Config) withDefaults() Config {
	if c.Committed == nil {
		c.Committed = func([]string) {}
	}
	if c.Observe == nil {
		c.Observe = func(int, time.Duration) {}
	}
	if c.Fatal == nil {
		c.Fatal = func(err error) { panic(err) }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Offset == nil {
		c.Offset = func() time.Duration { return 0 }
	}
	return c
}

// postgres says whether the DSN is a URL of PostgreSQL.
func (c Config) postgres() bool {
	return strings.HasPrefix(c.DSN, "postgres://") || strings.HasPrefix(c.DSN, "postgresql://")
}

// path is the file of a SQLite DSN.
func (c Config) path() (string, error) {
	path := strings.TrimPrefix(c.DSN, "sqlite:")
	if path == "" || path == ":memory:" || strings.HasPrefix(path, "file:") || strings.Contains(path, "://") {
		shown := c.DSN
		if u, err := url.Parse(c.DSN); err == nil {
			shown = u.Redacted()
		}
		return "", fmt.Errorf("the database %q is neither a file path, sqlite:PATH nor a postgres:// URL", shown)
	}
	return path, nil
}

// engine is one kind of database.
type engine interface {
	// view runs fn once, on the caller's goroutine, in a transaction that reads.
	view(ctx context.Context, fn func(*tx) error) error
	// write takes jobs from the queue until it is closed.
	write(q *queue)
	// horizon is asked by way of the queue where the queue knows it.
	horizon(ctx context.Context, q *queue) (mfa.Instant, error)
	ready(ctx context.Context) error
	// stats adds what the engine knows.
	stats(*Stats)
	close() error
}

// Store is an open database. It implements store.Store.
type Store struct {
	engine engine
	queue  *queue
	health *health
	stale  atomic.Int64 // runs that found their rows changed

	writing sync.WaitGroup
	inside  sync.WaitGroup // callers
	closing sync.Once

	mu     sync.Mutex
	closed bool // and nobody comes in any more
}

var _ store.Store = (*Store)(nil)

// Open brings the schema up to date and opens the database. It returns an error for a database of
// a newer schema, for one whose newest row lies more than two seconds ahead of the machine's clock
// (SQLite), and for one that acknowledges commits before they are durable (PostgreSQL).
func Open(ctx context.Context, c Config) (*Store, error) {
	c = c.withDefaults()
	if _, err := Migrate(ctx, c); err != nil {
		return nil, err
	}
	h := &health{fatal: c.Fatal}
	var e engine
	var err error
	if c.postgres() {
		e, err = openPostgres(ctx, c, h)
	} else {
		e, err = openSQLite(c, h)
	}
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	s := &Store{engine: e, queue: newQueue(), health: h}
	s.writing.Go(func() { e.write(s.queue) })
	return s, nil
}

// tries is how often a function is run that finds its rows changed.
const tries = 10

// View implements store.Store.
func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.engine.view(ctx, func(t *tx) error { return fn(t) })
}

// Update implements store.Store. A function that returns an error wrapping store.ErrStale is run
// again, ten times at most.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for range tries {
		err = s.queue.do(ctx, fn)
		if !errors.Is(err, store.ErrStale) || ctx.Err() != nil {
			return err
		}
		s.stale.Add(1)
		time.Sleep(rand.N(time.Millisecond)) //nolint:gosec // spreads callers, decides nothing
	}
	return unavailable("Others kept changing the same data. Try again.", err)
}

func (s *Store) enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.health.error(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, &mfa.Error{Code: mfa.Unavailable, Reason: mfa.ReasonServerStopping, Message: "The server is stopping."}
	}
	s.inside.Add(1)
	return s.inside.Done, nil
}

// Horizon implements store.Store.
func (s *Store) Horizon(ctx context.Context) (mfa.Instant, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	return s.engine.horizon(ctx, s.queue)
}

// Ready implements store.Store.
func (s *Store) Ready(ctx context.Context) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := s.engine.ready(ctx); err != nil {
		return err
	}
	if !s.health.full.Load() {
		return nil
	}
	// Nobody writes through a store that is not ready, so it finds out by itself.
	if err := s.queue.do(ctx, proveWritable); err != nil {
		return err
	}
	s.health.full.Store(false)
	return nil
}

// proveWritable writes a row that nobody reads, large enough to need pages of its own.
func proveWritable(tx store.Tx) error {
	return tx.PutSetting("proof_of_room", fmt.Sprintf("%-10000d", tx.Now()))
}

// Close implements store.Store. It may be called again, and waits then for the first call.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.inside.Wait()
		s.queue.close()
		s.writing.Wait()
		err = s.engine.close()
	})
	return err
}

// health is whether the database can be believed. It is safe for concurrent use.
type health struct {
	fatal func(error)
	once  sync.Once
	why   atomic.Pointer[error]
	full  atomic.Bool // a write has failed for want of room, and none was seen to succeed since
}

// outOfRoom notes and says that the disk is full.
func (h *health) outOfRoom(err error) error {
	h.full.Store(true)
	return unavailable("The disk of the database is full.", err)
}

func (h *health) error() error {
	if why := h.why.Load(); why != nil {
		return *why
	}
	return nil
}

// fault ends the store: what was asked of the database and not acknowledged stays unknown.
func (h *health) fault(cause error) error {
	h.once.Do(func() {
		err := unknown(fmt.Errorf("the database is at fault and nod cannot go on: %w", cause))
		h.why.Store(&err)
		h.fatal(err)
	})
	return h.error()
}

func unavailable(message string, err error) error {
	return &mfa.Error{Code: mfa.Unavailable, Reason: mfa.ReasonBusy, Message: message, RetryAfter: time.Second, Err: err}
}

func unknown(err error) error {
	return &mfa.Error{
		Code: mfa.Unavailable, Reason: mfa.ReasonBusy,
		Message: "It is not known whether this was done. Ask again.",
		Err:     fmt.Errorf("%w: %w", store.ErrUnknown, err),
	}
}

func isUnknown(err error) bool { return errors.Is(err, store.ErrUnknown) }
