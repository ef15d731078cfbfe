// Package lifecycle starts the parts of a program in order and stops them in reverse.
//
//	g := lifecycle.New()
//	g.Add("store", open, closeStore)
//	g.Go("sweeper", sweeper.Run)
//	g.Add("listener", listen, shutDown)
//	err := g.Run(ctx, 20*time.Second)
//
// A part may rely on every part added before it, from its start to the end of its stop. A
// group lives once:
//
//	new ── Start ──► starting ──► started ── Stop ──► stopping ──► stopped
//	 │                  └── a start failed ─────────────▲              ▲
//	 └── Stop ─────────────────────────────────────────────────────────┘
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrUsed is what Start gives when the group was started or stopped before.
var ErrUsed = errors.New("group was started or stopped before")

// Func is a step of a part's life. It returns soon after its context ends.
type Func func(ctx context.Context) error

type part struct {
	name        string
	start, stop Func
}

type phase int

const (
	isNew phase = iota
	isUsed
	isStopped
)

// Group is an ordered list of parts. Make it with [New]. Add and Go are called before Start,
// by one goroutine; all other methods may be called at any time by any number.
type Group struct {
	parts []part

	mu      sync.Mutex
	phase   phase
	running []part             // started parts, in order; owned by Start, then by the stop
	cancel  context.CancelFunc // ends a Start that is under way
	failure error

	started chan struct{} // closed when Start has done all that it will do
	failed  chan struct{} // closed when a worker failed
	stopped chan struct{} // closed when every part has stopped
	stopErr error         // written before stopped is closed
}

// New makes an empty group.
func New() *Group {
	return &Group{
		started: make(chan struct{}),
		failed:  make(chan struct{}),
		stopped: make(chan struct{}),
	}
}

// Add appends a part with its start and its stop; either may be nil. The stop is called once,
// and only if the start returned nil. The context of the start ends when Stop is called or
// when Start returns, so a part that goes on working must not keep it.
func (g *Group) Add(name string, start, stop Func) {
	g.parts = append(g.parts, part{name: name, start: start, stop: stop})
}

// Go appends a worker: run is called in a goroutine of its own at its place in the order, with
// a context that ends when the worker is to stop, and its return is waited for. An error
// while the worker should be running is fatal: it closes [Group.Failed] and is part of what
// Stop and Run return. An error after that, other than [context.Canceled], is one of its stop.
// Returning nil early means that the work is done.
func (g *Group) Go(name string, run Func) {
	w := &worker{name: name, run: run, fail: g.fail, done: make(chan struct{})}
	g.Add(name, w.start, w.stop)
}

type worker struct {
	name   string
	run    Func
	fail   func(error)
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of a run that was told to stop; written before done is closed
}

func (w *worker) start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go func() {
		defer close(w.done)
		err := w.run(ctx)
		switch {
		case err == nil:
		case ctx.Err() == nil:
			w.fail(fmt.Errorf("run %s: %w", w.name, err))
		case !errors.Is(err, context.Canceled):
			w.err = err
		}
	}()
	return nil
}

func (w *worker) stop(ctx context.Context) error {
	w.cancel()
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
	}
	select {
	case <-w.done: // it ended in time, and the choice above was by chance
		return w.err
	default:
		return fmt.Errorf("still running: %w", context.Cause(ctx))
	}
}

func (g *Group) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failure == nil {
		g.failure = err
		close(g.failed)
		if g.cancel != nil {
			g.cancel()
		}
	}
}

// Failed is closed when a worker has failed. Whoever started the group then stops it.
func (g *Group) Failed() <-chan struct{} { return g.failed }

// Err gives the error of the worker that failed first, or nil.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failure
}

// Start starts the parts in order. If a start fails, a worker fails meanwhile, ctx ends or
// Stop is called, it stops what it had started, in reverse, and returns the joined errors.
// The stops then get a context without a limit of its own, that keeps the values of ctx.
// A second Start, or one after Stop, returns [ErrUsed] and does nothing.
func (g *Group) Start(ctx context.Context) error {
	g.mu.Lock()
	if g.phase != isNew {
		g.mu.Unlock()
		return ErrUsed
	}
	g.phase = isUsed
	starting, cancel := context.WithCancel(ctx)
	g.cancel = cancel
	g.mu.Unlock()
	defer cancel()

	complete, err := g.startParts(starting)
	close(g.started)
	if complete {
		return nil
	}
	return errors.Join(err, g.Stop(context.WithoutCancel(ctx)))
}

// startParts tells whether every part was started. It gives no error of its own where a worker
// failed, as Stop reports that.
func (g *Group) startParts(ctx context.Context) (complete bool, err error) {
	for _, p := range g.parts {
		if g.Err() != nil {
			return false, nil
		}
		if err := ctx.Err(); err != nil {
			return false, fmt.Errorf("start %s: %w", p.name, err)
		}
		if p.start != nil {
			if err := p.start(ctx); err != nil {
				return false, fmt.Errorf("start %s: %w", p.name, err)
			}
		}
		g.running = append(g.running, p)
	}
	return true, nil
}

// Stop stops the parts in reverse and returns the joined errors of their stops, each with the
// part's name, and the error of a worker that failed. Every part's stop is called even if
// others fail or ctx ends. Calls while it is under way wait for its end and get the same
// errors; the context of the first counts. A Start under way is cancelled and waited for.
func (g *Group) Stop(ctx context.Context) error {
	g.mu.Lock()
	before := g.phase
	g.phase = isStopped
	cancel := g.cancel
	g.mu.Unlock()

	switch before {
	case isStopped:
		<-g.stopped
		return g.stopErr
	case isUsed:
		cancel()
		<-g.started
	case isNew:
	}
	var errs []error
	for i := len(g.running) - 1; i >= 0; i-- {
		p := g.running[i]
		if p.stop == nil {
			continue
		}
		if err := p.stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", p.name, err))
		}
	}
	if err := g.Err(); err != nil {
		errs = append([]error{err}, errs...)
	}
	g.stopErr = errors.Join(errs...)
	close(g.stopped)
	return g.stopErr
}

// Stopped is closed when every part has stopped.
func (g *Group) Stopped() <-chan struct{} { return g.stopped }

// Run starts the group, waits until ctx ends, a worker fails or somebody stops the group, and
// then stops it, giving the stops together at most grace. The end of ctx is not an error.
func (g *Group) Run(ctx context.Context, grace time.Duration) error {
	if err := g.Start(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-g.failed:
	case <-g.stopped:
	}
	stopping, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), grace, errGrace)
	defer cancel()
	return g.Stop(stopping)
}

var errGrace = errors.New("time to stop is over")
