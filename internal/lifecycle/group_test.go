package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/nodauth/nod/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

// journal records what was called, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) step(line string, err error) lifecycle.Func {
	return func(context.Context) error {
		j.add(line)
		return err
	}
}

func (j *journal) part(g *lifecycle.Group, name string, startErr, stopErr error) {
	g.Add(name, j.step("start "+name, startErr), j.step("stop "+name, stopErr))
}

// worker runs until it is told to stop.
func (j *journal) worker(g *lifecycle.Group, name string) {
	g.Go(name, func(ctx context.Context) error {
		<-ctx.Done()
		j.add("end " + name)
		return ctx.Err()
	})
}

func (j *journal) check(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if d := cmp.Diff(want, j.lines); d != "" {
		t.Errorf("order (-want +got):\n%s", d)
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	var j journal
	g := lifecycle.New()
	j.part(g, "a", nil, nil)
	j.worker(g, "w")
	j.part(g, "b", nil, nil)
	g.Add("only a start", j.step("start c", nil), nil)
	g.Add("only a stop", nil, j.step("stop d", nil))
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.Start(t.Context()); !errors.Is(err, lifecycle.ErrUsed) {
		t.Errorf("second start: %v", err)
	}
	for range 2 {
		if err := g.Stop(t.Context()); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	<-g.Stopped()
	j.check(t, "start a", "start b", "start c", "stop d", "stop b", "end w", "stop a")
}

func TestFailedStartStopsWhatRan(t *testing.T) {
	t.Parallel()
	var j journal
	errStop := errors.New("will not stop")
	g := lifecycle.New()
	j.part(g, "a", nil, nil)
	j.part(g, "b", nil, errStop)
	j.part(g, "c", errBroken, nil)
	j.part(g, "d", nil, nil)
	err := g.Start(t.Context())
	if !errors.Is(err, errBroken) || !errors.Is(err, errStop) {
		t.Errorf("start: %v", err)
	}
	if want := "start c: broken\nstop b: will not stop"; err.Error() != want {
		t.Errorf("start: got %q, want %q", err, want)
	}
	j.check(t, "start a", "start b", "start c", "stop b", "stop a")
	if err := g.Stop(t.Context()); !errors.Is(err, errStop) {
		t.Errorf("later stop: %v", err)
	}
	j.check(t, "start a", "start b", "start c", "stop b", "stop a")
}

func TestEveryStopIsCalled(t *testing.T) {
	t.Parallel()
	var j journal
	g := lifecycle.New()
	j.part(g, "a", nil, errBroken)
	j.part(g, "b", nil, nil)
	j.part(g, "c", nil, errBroken)
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	err := g.Stop(ended)
	if want := "stop c: broken\nstop a: broken"; err == nil || err.Error() != want {
		t.Errorf("stop: got %v, want %q", err, want)
	}
	j.check(t, "start a", "start b", "start c", "stop c", "stop b", "stop a")
}

func TestStopBeforeStart(t *testing.T) {
	t.Parallel()
	var j journal
	g := lifecycle.New()
	j.part(g, "a", nil, nil)
	if err := g.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := g.Start(t.Context()); !errors.Is(err, lifecycle.ErrUsed) {
		t.Errorf("start after stop: %v", err)
	}
	j.check(t)
}

func TestStopCancelsStart(t *testing.T) {
	t.Parallel()
	var j journal
	g := lifecycle.New()
	j.part(g, "a", nil, nil)
	entered := make(chan struct{})
	g.Add("slow", func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}, j.step("stop slow", nil))
	j.part(g, "c", nil, nil)
	started := make(chan error)
	go func() { started <- g.Start(t.Context()) }()
	<-entered
	if err := g.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := <-started; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "start slow") {
		t.Errorf("start: %v", err)
	}
	j.check(t, "start a", "stop a")
}

func TestEndedContextStartsNothing(t *testing.T) {
	t.Parallel()
	var j journal
	g := lifecycle.New()
	j.part(g, "a", nil, nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Start(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("start: %v", err)
	}
	j.check(t)
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := lifecycle.New()
		j.part(g, "a", nil, nil)
		j.worker(g, "w")
		g.Go("done early", func(context.Context) error { return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := g.Run(ctx, time.Minute); err != nil {
			t.Errorf("run: %v", err)
		}
		if ctx.Err() == nil {
			t.Error("run ended before its context")
		}
		j.check(t, "start a", "end w", "stop a")
	})
}

func TestRunEndsWithStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New()
		g.Add("a", nil, func(context.Context) error { return errBroken })
		ran := make(chan error)
		go func() { ran <- g.Run(t.Context(), time.Minute) }()
		synctest.Wait()
		if err := g.Stop(t.Context()); !errors.Is(err, errBroken) {
			t.Errorf("stop: %v", err)
		}
		if err := <-ran; !errors.Is(err, errBroken) {
			t.Errorf("run: %v", err)
		}
	})
}

func TestFailedWorkerIsFatal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := lifecycle.New()
		j.part(g, "a", nil, nil)
		g.Go("bad", func(ctx context.Context) error {
			select {
			case <-time.After(time.Hour):
				return errBroken
			case <-ctx.Done():
				return nil
			}
		})
		j.worker(g, "good")
		err := g.Run(t.Context(), time.Minute)
		if want := "run bad: broken"; err == nil || err.Error() != want {
			t.Errorf("run: got %v, want %q", err, want)
		}
		if !errors.Is(g.Err(), errBroken) {
			t.Errorf("Err: %v", g.Err())
		}
		<-g.Failed()
		j.check(t, "start a", "end good", "stop a")
	})
}

func TestWorkerThatFailsDuringStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := lifecycle.New()
		g.Go("bad", func(context.Context) error { return errBroken })
		g.Add("slow", func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		}, j.step("stop slow", nil))
		j.part(g, "never", nil, nil)
		err := g.Start(t.Context())
		if want := "run bad: broken"; err == nil || err.Error() != want {
			t.Errorf("start: got %v, want %q", err, want)
		}
		j.check(t, "stop slow")
	})
}

func TestErrorsOfTheEnd(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end  func(ctx context.Context) error
		want error
	}{
		"nil":                {func(context.Context) error { return nil }, nil},
		"its context":        {func(ctx context.Context) error { return ctx.Err() }, nil},
		"wraps its context":  {func(ctx context.Context) error { return fmt.Errorf("x: %w", ctx.Err()) }, nil},
		"something was lost": {func(context.Context) error { return errBroken }, errBroken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := lifecycle.New()
			g.Go("w", func(ctx context.Context) error {
				<-ctx.Done()
				return tc.end(ctx)
			})
			if err := g.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := g.Stop(t.Context()); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if g.Err() != nil {
				t.Errorf("an error of the end is fatal: %v", g.Err())
			}
		})
	}
}

func TestWorkerThatDoesNotStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		release := make(chan struct{})
		g := lifecycle.New()
		j.part(g, "a", nil, nil)
		g.Go("stuck", func(context.Context) error {
			<-release
			return nil
		})
		if err := g.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := g.Stop(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stop stuck: still running") {
			t.Errorf("stop: %v", err)
		}
		j.check(t, "start a", "stop a")
		close(release)
	})
}

// TestStress starts and stops groups from many goroutines at once, with parts that fail at
// random: every call returns, what was started is stopped once and in reverse, and no
// goroutine is left.
func TestStress(t *testing.T) {
	t.Parallel()
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var mu sync.Mutex
		var started, stopped []int
		g := lifecycle.New()
		for i := range 1 + rnd.IntN(6) {
			if rnd.IntN(3) == 0 {
				var end error
				early := rnd.IntN(4) == 0
				if rnd.IntN(4) == 0 {
					end = errBroken
				}
				g.Go(fmt.Sprint("worker ", i), func(ctx context.Context) error {
					if !early {
						<-ctx.Done()
					}
					return end
				})
				continue
			}
			var startErr, stopErr error
			if rnd.IntN(8) == 0 {
				startErr = errBroken
			}
			if rnd.IntN(4) == 0 {
				stopErr = errBroken
			}
			g.Add(fmt.Sprint("part ", i), func(context.Context) error {
				mu.Lock()
				defer mu.Unlock()
				if startErr == nil {
					started = append(started, i)
				}
				return startErr
			}, func(context.Context) error {
				mu.Lock()
				defer mu.Unlock()
				stopped = append(stopped, i)
				return stopErr
			})
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _ = g.Start(t.Context()) })
			wg.Go(func() { _ = g.Stop(t.Context()) })
			wg.Go(func() { _ = g.Run(t.Context(), time.Minute) })
		}
		wg.Wait()
		<-g.Stopped()
		slices.Reverse(stopped)
		if d := cmp.Diff(started, stopped); d != "" {
			t.Fatalf("seed %d: started and stopped differ:\n%s", seed, d)
		}
	}
}
