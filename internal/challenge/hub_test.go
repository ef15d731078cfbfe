package challenge_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodauth/nod/internal/challenge"
)

// parked parks for an hour and says after how long, by the bubble's clock, it came back.
func parked(ctx context.Context, w *challenge.Waiter) (again bool, after time.Duration) {
	start := time.Now()
	again = w.Park(ctx, time.Hour)
	return again, time.Since(start)
}

func TestPark(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		run   func(h *challenge.Hub, w *challenge.Waiter, end context.CancelFunc)
		again bool
		after time.Duration
	}{
		{"nothing happens", func(*challenge.Hub, *challenge.Waiter, context.CancelFunc) {}, true, time.Hour},
		{"woken before", func(h *challenge.Hub, _ *challenge.Waiter, _ context.CancelFunc) { h.Wake("a") }, true, 0},
		{"woken by the other key", func(h *challenge.Hub, _ *challenge.Waiter, _ context.CancelFunc) { h.Wake("x", "b") }, true, 0},
		{"others are woken", func(h *challenge.Hub, _ *challenge.Waiter, _ context.CancelFunc) { h.Wake("c", "aa", "") }, true, time.Hour},
		{"woken while parked", func(h *challenge.Hub, _ *challenge.Waiter, _ context.CancelFunc) {
			time.AfterFunc(time.Minute, func() { h.Wake("a") })
		}, true, time.Minute},
		{"the caller went away", func(_ *challenge.Hub, _ *challenge.Waiter, end context.CancelFunc) { end() }, false, 0},
		{"the caller goes away", func(_ *challenge.Hub, _ *challenge.Waiter, end context.CancelFunc) { time.AfterFunc(time.Minute, end) }, false, time.Minute},
		{"the hub has stopped", func(h *challenge.Hub, _ *challenge.Waiter, _ context.CancelFunc) { h.Stop() }, false, 0},
		{"the hub stops", func(h *challenge.Hub, _ *challenge.Waiter, _ context.CancelFunc) { time.AfterFunc(time.Minute, h.Stop) }, false, time.Minute},
		{"closed, and woken then", func(h *challenge.Hub, w *challenge.Waiter, _ context.CancelFunc) {
			w.Close()
			w.Close()
			h.Wake("a", "b")
		}, true, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := challenge.NewHub()
				w := h.Register("a", "b")
				defer w.Close()
				ctx, end := context.WithCancel(t.Context())
				defer end()
				test.run(h, w, end)
				if again, after := parked(ctx, w); again != test.again || after != test.after {
					t.Errorf("%t after %s, want %t after %s", again, after, test.again, test.after)
				}
			})
		})
	}
}

// TestParkOnce wants several wakes before one parking to be one, and none to be left over.
func TestParkOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := challenge.NewHub()
		w := h.Register("a", "b", "a")
		h.Wake("a", "b", "a")
		h.Wake("b")
		if _, after := parked(t.Context(), w); after != 0 {
			t.Errorf("parked for %s although it was woken", after)
		}
		if _, after := parked(t.Context(), w); after != time.Hour {
			t.Errorf("woken again after %s", after)
		}
		if !w.Park(t.Context(), 0) || !w.Park(t.Context(), -time.Second) {
			t.Error("no time to wait is no reason to give up")
		}
		w.Close()
		if n := h.Waiting(); n != 0 {
			t.Errorf("%d are still registered", n)
		}
	})
}

// TestCloseForgetsOnlyItself closes one waiter of many: those on the same key and on every other
// key are woken as before.
func TestCloseForgetsOnlyItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := challenge.NewHub()
		key := func(i int) string { return fmt.Sprint("key ", i) }
		var stay []*challenge.Waiter
		for i := range 1000 {
			stay = append(stay, h.Register(key(i)))
			h.Register(key(i)).Close()
			h.Register(fmt.Sprint("another ", i)).Close()
		}
		if n := h.Waiting(); n != len(stay) {
			t.Errorf("%d are registered, want %d", n, len(stay))
		}
		for i, w := range stay {
			h.Wake(key(i))
			if _, after := parked(t.Context(), w); after != 0 {
				t.Fatalf("the waiter on %s was not woken", key(i))
			}
			w.Close()
		}
	})
}

// TestNoWakeIsLost lets many write and many wait: whoever registers, reads and then parks sees the
// last write without an hour going by.
func TestNoWakeIsLost(t *testing.T) {
	t.Parallel()
	const (
		keys    = 8
		writers = 4
		waiters = 12 // of each key
		writes  = 200
	)
	for name, once := range map[string]bool{"registered once": true, "registered for each wait": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := challenge.NewHub()
				start := time.Now()
				var truth [keys]atomic.Int64
				key := func(k int) string { return fmt.Sprint("key ", k) }
				var all sync.WaitGroup
				for k := range keys {
					for range waiters {
						all.Go(func() { await(t.Context(), h, key(k), &truth[k], writers*writes, once) })
					}
					for range writers {
						all.Go(func() {
							for i := range writes {
								truth[k].Add(1) // the store is the truth
								h.Wake(key(k), key((k+1)%keys))
								if i%7 == 0 {
									runtime.Gosched()
								}
							}
						})
					}
				}
				all.Wait()
				if waited := time.Since(start); waited != 0 {
					t.Errorf("somebody waited for %s: a wake was lost", waited)
				}
				if n := h.Waiting(); n != 0 {
					t.Errorf("%d are still registered", n)
				}
			})
		})
	}
}

// await waits until n reaches the end, as a long poll does.
func await(ctx context.Context, h *challenge.Hub, key string, n *atomic.Int64, end int64, once bool) {
	w := h.Register(key)
	defer func() { w.Close() }()
	for n.Load() < end {
		w.Park(ctx, time.Hour)
		if !once {
			w.Close()
			w = h.Register(key)
		}
	}
}

// TestResync wakes everybody, spread over the time given.
func TestResync(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const waiters = 2000
		h := challenge.NewHub()
		var mu sync.Mutex
		var after []time.Duration
		var all sync.WaitGroup
		for i := range waiters {
			w := h.Register(fmt.Sprint("key ", i))
			all.Go(func() {
				defer w.Close()
				_, d := parked(t.Context(), w)
				mu.Lock()
				after = append(after, d)
				mu.Unlock()
			})
		}
		synctest.Wait()
		start := time.Now()
		h.Resync(t.Context(), 2*time.Second)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
		all.Wait()
		slices.Sort(after)
		if len(after) != waiters || after[waiters-1] > 2*time.Second {
			t.Fatalf("%d were woken, the last after %s", len(after), after[waiters-1])
		}
		if len(slices.Compact(slices.Clone(after))) < 32 || after[waiters/2] < 500*time.Millisecond {
			t.Errorf("they were woken at %d moments, half of them before %s", len(slices.Compact(after)), after[waiters/2])
		}
		h.Resync(t.Context(), 0) // nobody is there, and there is no time

		ctx, end := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, end)
		start = time.Now()
		h.Resync(ctx, time.Hour)
		if took := time.Since(start); took != time.Second {
			t.Errorf("it ended %s after the node began to stop, want at once", took-time.Second)
		}
	})
}

func TestStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := challenge.NewHub()
		start := time.Now()
		var free atomic.Int32
		var all sync.WaitGroup
		for i := range 1000 {
			all.Go(func() {
				w := h.Register(fmt.Sprint("key ", i%10))
				defer w.Close()
				for w.Park(t.Context(), time.Hour) {
				}
				free.Add(1)
			})
		}
		synctest.Wait()
		select {
		case <-h.Stopped():
			t.Error("stopped before Stop")
		default:
		}
		var stops sync.WaitGroup
		for range 4 {
			stops.Go(h.Stop)
		}
		stops.Wait()
		all.Wait()
		<-h.Stopped()
		w := h.Register("late")
		for w.Park(t.Context(), time.Hour) {
		}
		w.Close()
		if waited := time.Since(start); free.Load() != 1000 || waited != 0 || h.Waiting() != 0 {
			t.Errorf("%d went free within %s, %d are still registered", free.Load(), waited, h.Waiting())
		}
	})
}

// TestManyWaiters parks fifty thousand, each on two keys of its own and one that all share.
func TestManyWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const waiters = 50_000
		h := challenge.NewHub()
		var woken atomic.Int32
		var all sync.WaitGroup
		for i := range waiters {
			w := h.Register(fmt.Sprint("u/", i), fmt.Sprint("c/", i), "r/default")
			all.Go(func() {
				defer w.Close()
				for w.Park(t.Context(), time.Hour) {
					woken.Add(1)
				}
			})
		}
		synctest.Wait()
		if n := h.Waiting(); n != 3*waiters {
			t.Errorf("%d registrations, want %d", n, 3*waiters)
		}
		for _, test := range []struct {
			keys        []string
			least, most int32 // a waiter that is woken twice may see that as once
		}{
			{[]string{"u/7"}, 1, 1},
			{[]string{"u/7", "c/7"}, 1, 2},
			{[]string{"u/1", "c/2", "c/49999"}, 3, 3},
			{[]string{"u/50000", ""}, 0, 0},
			{[]string{"r/default"}, waiters, waiters},
		} {
			woken.Store(0)
			h.Wake(test.keys...)
			synctest.Wait()
			if got := woken.Load(); got < test.least || got > test.most {
				t.Errorf("%v woke %d, want %d to %d", test.keys, got, test.least, test.most)
			}
		}
		h.Stop()
		all.Wait()
		if n := h.Waiting(); n != 0 {
			t.Errorf("%d are still registered", n)
		}
	})
}

// TestHubIsCheap counts bytes and allocations, so nothing may run beside it.
func TestHubIsCheap(t *testing.T) {
	const waiters = 50_000
	names := make([]string, waiters)
	for i := range names {
		names[i] = fmt.Sprint("u/default/usr_", i)
	}
	h := challenge.NewHub()
	kept := make([]*challenge.Waiter, waiters)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range kept {
		kept[i] = h.Register(names[i])
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / waiters; each > 2048 {
		t.Errorf("a registration allocates %d bytes", each)
	}
	if n := testing.AllocsPerRun(100, func() { h.Wake(names[7], "u/default/usr_nobody") }); n != 0 {
		t.Errorf("a wake allocates %g times", n)
	}
	for _, w := range kept {
		w.Close()
	}
	if n := h.Waiting(); n != 0 {
		t.Errorf("%d are still registered", n)
	}
}

func BenchmarkWake(b *testing.B) {
	h := challenge.NewHub()
	for i := range 50_000 {
		w := h.Register(fmt.Sprint("u/", i))
		defer w.Close()
	}
	b.ReportAllocs()
	for b.Loop() {
		h.Wake("u/7", "c/7", "a/7")
	}
}
