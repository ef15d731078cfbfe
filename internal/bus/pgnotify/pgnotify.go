// Package pgnotify is the bus of nodes that share a PostgreSQL: LISTEN and NOTIFY.
//
// Each node has two connections. One listens. The other sends what the node published since
// it last sent, in one statement, so that the number of commits does not grow with the
// number of keys; it is never the connection of a transaction that writes, as NOTIFY takes a
// lock of the whole database at commit. A node's own subscribers are woken without the
// detour, also while PostgreSQL is away.
//
// A pooler in transaction mode (PgBouncer) cannot carry the listening connection.
package pgnotify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nodauth/nod/internal/bus"
	"github.com/nodauth/nod/internal/secret"
)

const (
	// quiet is how long the listening connection may say nothing before it is asked for a
	// sign of life.
	quiet = 15 * time.Second
	// answerTime is how long PostgreSQL may take to connect or to answer a statement.
	answerTime = 5 * time.Second
	// firstDelay and maxDelay bound the wait between attempts to connect.
	firstDelay = 50 * time.Millisecond
	maxDelay   = 5 * time.Second
	// farewellTime is how long the last wake-ups may take when the node stops.
	farewellTime = time.Second
)

// DefaultChannel is the channel of a [Config] that names none.
const DefaultChannel = "nod_wake"

// Config is what a [Bus] needs.
type Config struct {
	// DSN is the URL or key-value string of the database.
	DSN string
	// Channel is the NOTIFY channel; empty is [DefaultChannel]. Servers that share a database
	// and are not one cluster have different ones.
	Channel string
	// Logger gets lost and regained connections.
	Logger *slog.Logger
	// Filter, if set, is asked for each key that another node sent; false loses it. It shows
	// in tests that a lost wake-up does no harm.
	Filter func(key string) bool
}

// Bus is a [bus.Bus] over PostgreSQL.
type Bus struct {
	c      Config
	config *pgx.ConnConfig
	node   string
	fan    *bus.Fanout
	out    *bus.Queue

	listening, sending atomic.Bool
}

var _ bus.Bus = (*Bus)(nil)

// New checks c and makes a Bus. It does not connect: Run does.
func New(c Config) (*Bus, error) {
	config, err := pgx.ParseConfig(c.DSN)
	if err != nil {
		return nil, fmt.Errorf("read address of the bus: %w", err) // pgx leaves the password out
	}
	if c.Logger == nil {
		return nil, errors.New("make bus: no logger")
	}
	if c.Channel == "" {
		c.Channel = DefaultChannel
	}
	config.ConnectTimeout = answerTime
	// A wake-up is not worth a sync, and after a crash nobody waits for it any more.
	config.RuntimeParams["synchronous_commit"] = "off"
	config.RuntimeParams["application_name"] = "nod bus"
	return &Bus{
		c: c, config: config, node: secret.Token("", 80),
		fan: bus.NewFanout(), out: bus.NewQueue(),
	}, nil
}

// Publish wakes the subscribers of this node and has the other nodes told.
func (b *Bus) Publish(keys ...string) {
	b.fan.Publish(keys...)
	if len(keys) > 0 {
		b.out.Put(keys...)
	}
}

// Subscribe has s called from now on.
func (b *Bus) Subscribe(s bus.Subscriber) (cancel func()) { return b.fan.Subscribe(s) }

// Healthy tells whether both connections stand.
func (b *Bus) Healthy() bool { return b.listening.Load() && b.sending.Load() }

// Run keeps both connections and moves wake-ups until ctx ends. What was published before
// that is still sent where the connection stands; a stop takes a second, or five if
// PostgreSQL does not answer.
func (b *Bus) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { b.keep(ctx, "listen", &b.listening, b.listen) })
	wg.Go(func() { b.keep(ctx, "send", &b.sending, b.send) })
	err := b.fan.Run(ctx)
	wg.Wait()
	return err
}

// keep connects, and connects again when use returned, until ctx ends.
func (b *Bus) keep(ctx context.Context, name string, up *atomic.Bool, use func(context.Context, *pgx.Conn, func()) error) {
	delay := firstDelay
	for ctx.Err() == nil {
		err := b.once(ctx, up, func(ctx context.Context, conn *pgx.Conn) error {
			return use(ctx, conn, func() {
				delay = firstDelay
				if !up.Swap(true) {
					b.c.Logger.InfoContext(ctx, "bus is connected", slog.String("connection", name))
				}
			})
		})
		if ctx.Err() != nil {
			return
		}
		b.c.Logger.WarnContext(ctx, "bus lost its connection",
			slog.String("connection", name), slog.Any("error", err))
		// Nodes that lost the same server do not come back in one wave.
		pause := time.NewTimer(delay/2 + rand.N(delay/2)) //nolint:gosec // spreads, hides nothing
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
		delay = min(2*delay, maxDelay)
	}
}

// once connects, uses the connection and closes it.
func (b *Bus) once(ctx context.Context, up *atomic.Bool, use func(context.Context, *pgx.Conn) error) error {
	conn, err := pgx.ConnectConfig(ctx, b.config)
	if err != nil {
		return err
	}
	defer func() {
		up.Store(false)
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTime)
		defer cancel()
		_ = conn.Close(closing)
	}()
	return use(ctx, conn)
}

// listen tells the subscribers what other nodes publish, until the connection fails.
func (b *Bus) listen(ctx context.Context, conn *pgx.Conn, up func()) error {
	if err := b.answer(ctx, conn, "LISTEN "+pgx.Identifier{b.c.Channel}.Sanitize()); err != nil {
		return err
	}
	up()
	b.fan.Resync() // whatever was sent before LISTEN is lost
	for {
		waiting, cancel := context.WithTimeout(ctx, quiet)
		n, err := conn.WaitForNotification(waiting)
		cancel()
		switch {
		case err == nil:
			b.receive(n.Payload)
		case ctx.Err() != nil || conn.IsClosed():
			return err
		default: // quiet: a dead network looks the same
			if err := b.answer(ctx, conn, "SELECT 1"); err != nil {
				return err
			}
		}
	}
}

func (b *Bus) receive(payload string) {
	node, keys, lost := parsePayload(payload)
	if node == b.node {
		return // its subscribers were woken when it was published
	}
	if lost {
		b.fan.Resync()
	}
	for _, k := range keys {
		if b.c.Filter == nil || b.c.Filter(k) {
			b.fan.Publish(k)
		}
	}
}

// send sends what this node publishes, until the connection fails.
func (b *Bus) send(ctx context.Context, conn *pgx.Conn, up func()) error {
	if err := b.answer(ctx, conn, "SELECT 1"); err != nil {
		return err
	}
	up()
	// A statement under way is not cut off by the stop: it may be the last word.
	whole := context.WithoutCancel(ctx)
	for {
		select {
		case <-ctx.Done():
			return b.sendQueued(whole, conn, farewellTime)
		case <-b.out.Ready():
			if err := b.sendQueued(whole, conn, answerTime); err != nil {
				return err
			}
		}
	}
}

// sendQueued sends everything that waits, and puts it back if that fails: a part may then be
// sent twice.
func (b *Bus) sendQueued(ctx context.Context, conn *pgx.Conn, limit time.Duration) error {
	keys, lost := b.out.Take()
	if len(keys) == 0 && !lost {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := b.answer(ctx, conn, "SELECT pg_notify($1, p) FROM unnest($2::text[]) AS p",
		b.c.Channel, payloads(b.node, keys, lost))
	if err != nil {
		b.out.Put(keys...)
		if lost {
			b.out.Lose()
		}
	}
	return err
}

func (b *Bus) answer(ctx context.Context, conn *pgx.Conn, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_, err := conn.Exec(ctx, sql, args...)
	return err
}
