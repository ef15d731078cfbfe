package deliver

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/notice"
	"github.com/nodauth/nod/internal/store"
)

const (
	// pollEvery is how often a node looks for deliveries that are due, more or less.
	pollEvery = time.Second
	// pollFailed is the pause when it could not look, pollMore when there is more to be had.
	pollFailed = 5 * time.Second
	pollMore   = 50 * time.Millisecond
	// pollWindow is how many it takes at once.
	pollWindow = 128

	// atOnce is how many attempts run at once on a node, atOnceEach at one target, and afterFailure
	// at a target whose last attempt has failed: one that hangs holds up itself alone.
	atOnce       = 256
	atOnceEach   = 8
	afterFailure = 1
	// waitingEach is how many deliveries to one target wait in memory.
	waitingEach = 256
	// maxIdle is how many idle targets are remembered for having failed.
	maxIdle = 1024

	// stopGrace is how long attempts go on when the server stops.
	stopGrace = 2 * time.Second
)

// Sender makes one attempt at a delivery of its kind, at the moment now of the store's clock. The
// attempt ends when ctx does.
type Sender interface {
	Send(ctx context.Context, d store.Delivery, now mfa.Instant) notice.Outcome
}

// Config of a Worker. Keep and KeepDead say how long deliveries that have ended are kept; all else is
// required.
type Config struct {
	Outbox   *Outbox
	Store    store.Store
	Senders  map[string]Sender // by kind
	Logger   *slog.Logger
	Keep     time.Duration // those delivered; 30 days if 0
	KeepDead time.Duration // those given up; 90 days if 0
}

// Worker attempts deliveries. Any number of nodes may share a store.
type Worker struct {
	c       Config
	timeout time.Duration

	// What follows is of the goroutine of Run.
	targets map[targetKey]*target
	running int
	done    chan result
	ended   context.Context // of attempts
	end     context.CancelFunc
}

// target is whom deliveries of this node go to.
type target struct {
	waiting []item
	running int
	failed  bool // at the last attempt
}

func (t *target) limit() int {
	if t.failed {
		return afterFailure
	}
	return atOnceEach
}

type result struct {
	target  targetKey
	outcome notice.Class // "" if no attempt was made
}

// New makes a Worker.
func New(c Config) (*Worker, error) {
	if c.Outbox == nil || c.Store == nil || len(c.Senders) == 0 || c.Logger == nil {
		return nil, errors.New("deliver: Outbox, Store, Senders and Logger are required")
	}
	if c.Keep == 0 {
		c.Keep = DefaultKeep
	}
	if c.KeepDead == 0 {
		c.KeepDead = DefaultKeepDead
	}
	return &Worker{
		c: c, timeout: c.Outbox.lease / leaseTimeouts, targets: map[targetKey]*target{}, done: make(chan result),
	}, nil
}

// Run attempts what is due until ctx ends. Then what runs has a moment to end, and the rest is left
// to other nodes, which need not wait for the end of its leases.
func (w *Worker) Run(ctx context.Context) error {
	w.ended, w.end = context.WithCancel(context.WithoutCancel(ctx))
	defer w.end()
	poll := time.NewTimer(0)
	defer poll.Stop()
	for {
		w.start()
		select {
		case <-ctx.Done():
			w.stop()
			return nil
		case <-w.c.Outbox.ready:
			for _, it := range w.c.Outbox.take() {
				w.enqueue(it)
			}
		case r := <-w.done:
			w.finished(r)
		case <-poll.C:
			poll.Reset(w.claim(ctx))
		}
	}
}

// enqueue puts a delivery behind the others to its target. Where there are too many it is left to
// the end of its lease.
func (w *Worker) enqueue(it item) {
	t := w.targets[it.target]
	if t == nil {
		t = &target{}
		w.targets[it.target] = t
	}
	if len(t.waiting) < waitingEach {
		t.waiting = append(t.waiting, it)
	}
}

// start starts what may run.
func (w *Worker) start() {
	for key, t := range w.targets {
		for len(t.waiting) > 0 && t.running < t.limit() && w.running < atOnce {
			it := t.waiting[0]
			t.waiting = t.waiting[1:]
			t.running++
			w.running++
			go func() { w.done <- result{key, w.attempt(it)} }()
		}
	}
}

func (w *Worker) finished(r result) {
	t := w.targets[r.target]
	t.running--
	w.running--
	if r.outcome != "" {
		t.failed = r.outcome != notice.Delivered
	}
	if t.running == 0 && len(t.waiting) == 0 && (!t.failed || len(w.targets) > maxIdle) {
		delete(w.targets, r.target)
	}
}

// claim takes deliveries that are due, and returns when to look again.
func (w *Worker) claim(ctx context.Context) time.Duration {
	var full []string
	for key, t := range w.targets {
		if len(t.waiting) >= waitingEach {
			full = append(full, key.target)
		}
	}
	var due []store.Delivery
	err := w.c.Store.View(ctx, func(tx store.Tx) error {
		var err error
		due, err = tx.DueDeliveries(tx.Now(), strings.Join(full, " "), pollWindow)
		return err
	})
	if err != nil {
		return w.notClaimed(ctx, err)
	}
	if len(due) == 0 {
		return pollEvery/2 + rand.N(pollEvery) //nolint:gosec // spreads nodes, decides nothing
	}
	since := time.Now()
	var held []item
	err = w.c.Store.Update(ctx, func(tx store.Tx) error {
		held = held[:0]
		room := map[targetKey]int{}
		for _, d := range due {
			it := item{
				realm: d.Realm, id: d.ID, target: targetKey{d.Realm, d.Kind, d.Target},
				until: tx.Now().Add(w.c.Outbox.lease), since: since,
			}
			if room[it.target]++; room[it.target] > w.room(it.target) {
				continue
			}
			err := tx.TakeDelivery(d.Realm, d.ID, d.DueAt, w.c.Outbox.node, it.until)
			if errors.Is(err, store.ErrUsed) {
				continue // another node was faster
			}
			if err != nil {
				return err
			}
			held = append(held, it)
		}
		return nil
	})
	if err != nil {
		return w.notClaimed(ctx, err)
	}
	for _, it := range held {
		w.enqueue(it)
	}
	if len(due) == pollWindow && len(held) > 0 {
		return pollMore
	}
	return pollEvery
}

// room is how many more deliveries to a target may wait here.
func (w *Worker) room(key targetKey) int {
	if t := w.targets[key]; t != nil {
		return waitingEach - len(t.waiting)
	}
	return waitingEach
}

func (w *Worker) notClaimed(ctx context.Context, err error) time.Duration {
	if ctx.Err() == nil {
		w.c.Logger.WarnContext(ctx, "due deliveries not taken", slog.Any("error", err))
	}
	return pollFailed
}

// stop waits for what runs, for a while, and gives back what waits.
func (w *Worker) stop() {
	grace := time.AfterFunc(stopGrace, w.end)
	defer grace.Stop()
	for w.running > 0 {
		w.finished(<-w.done)
	}
	left := w.c.Outbox.take()
	for _, t := range w.targets {
		left = append(left, t.waiting...)
	}
	if len(left) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ended), stopGrace)
	defer cancel()
	err := w.c.Store.Update(ctx, func(tx store.Tx) error {
		for _, it := range left {
			err := tx.TakeDelivery(it.realm, it.id, it.until, "", tx.Now())
			if err != nil && !errors.Is(err, store.ErrUsed) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.c.Logger.WarnContext(ctx, "deliveries wait for the end of their leases", slog.Int("count", len(left)), slog.Any("error", err))
	}
}
