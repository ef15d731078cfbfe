package sqlstore

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nodauth/nod/internal/store"
)

// job is one Update on its way through a writer.
type job struct {
	ctx  context.Context // of the caller, asked by the writer before it starts
	fn   func(store.Tx) error
	held atomic.Bool // by a writer, or withdrawn by the caller: whoever sets it first

	turn chan *tx   // lent by the writer, once for each run
	back chan error // what the function returned
	done chan error // what became of it

	// What follows is the writer's.
	result error
	wakes  []string
	gone   bool // its function panicked or left its goroutine: nobody waits for it
	spoilt bool // it failed when there was something to undo, and its transaction was rolled back for it
}

// errGone is what comes back when a function did not return.
var errGone = errors.New("the function of the transaction did not return")

// run runs the function on the caller's goroutine, and gives the transaction back however it ends.
func (j *job) run(t *tx) {
	err := errGone
	defer func() {
		t.over = true
		j.back <- err
	}()
	err = j.fn(t)
}

// lend runs the job's function in t. It returns an error of the database, which leaves what to do
// to the writer; what the function said is in result.
func (j *job) lend(t *tx) error {
	j.turn <- t
	err := <-j.back
	j.gone = errors.Is(err, errGone)
	j.result = t.outcome(err)
	j.wakes = t.wakes
	return t.failed
}

// queue holds the jobs that wait for a writer.
type queue struct {
	jobs chan *job
}

func newQueue() *queue { return &queue{jobs: make(chan *job, 512)} }

func (q *queue) close() { close(q.jobs) }

// patienceInQueue is how long a caller waits for a writer to take its job. A writer that has taken
// none for so long waits for a database that does not answer, and callers would only pile up.
const patienceInQueue = 5 * time.Second

// do hands fn to a writer and waits for its outcome. A caller whose context ends before a writer
// has taken the job leaves, and so does one that has waited for patienceInQueue; later it waits for
// the outcome, which ctx cannot change any more.
func (q *queue) do(ctx context.Context, fn func(store.Tx) error) error {
	j := &job{ctx: ctx, fn: fn, turn: make(chan *tx), back: make(chan error), done: make(chan error, 1)}
	late := time.NewTimer(patienceInQueue)
	defer late.Stop()
	select {
	case q.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return errSilent()
	}
	ended := ctx.Done()
	for {
		select {
		case t := <-j.turn:
			j.run(t)
			ended = nil
		case err := <-j.done:
			return err
		case <-ended:
			if j.held.CompareAndSwap(false, true) {
				return ctx.Err()
			}
			ended = nil
		case <-late.C:
			if j.held.CompareAndSwap(false, true) {
				return errSilent()
			}
		}
	}
}

func errSilent() error {
	return unavailable("The database does not answer.", errors.New("no writer has taken the transaction"))
}

// next returns a job that its caller still waits for. It waits for one if it must; else it lets
// other goroutines run and returns nil when none has come.
func (q *queue) next(must bool) *job {
	for {
		j := q.pick(must)
		if j == nil || j.held.CompareAndSwap(false, true) {
			return j
		}
	}
}

// yields is how often others are let run before the queue counts as quiet. Callers that have just
// been answered come back with their next request within a few turns.
const yields = 32

func (q *queue) pick(must bool) *job {
	for range yields {
		select {
		case j := <-q.jobs:
			return j
		default:
			runtime.Gosched()
		}
	}
	if must {
		return <-q.jobs
	}
	return nil
}

// settle tells the callers what became of their jobs: err for all of them, or each its own result
// if err is nil, after those who wait were woken.
func settle(jobs []*job, err error, committed func([]string)) {
	if err == nil {
		var keys []string
		for _, j := range jobs {
			if j.result == nil {
				keys = append(keys, j.wakes...)
			}
		}
		if len(keys) > 0 {
			slices.Sort(keys)
			committed(slices.Compact(keys))
		}
	}
	for _, j := range jobs {
		if err != nil {
			j.result = err
		}
		j.done <- j.result
	}
}
