package challenge

import (
	"context"
	"strings"
	"sync"
	"time"
)

// Hub parks waiters of this node until a key of theirs is woken. A wake carries nothing: a waiter
// registers, reads, and only then parks, so that nothing is missed in between. It is safe for
// concurrent use and for many thousands of waiters.
type Hub struct {
	shards  [64]shard
	stop    sync.Once
	stopped chan struct{}
}

type shard struct {
	mu      sync.Mutex
	waiters map[string]map[*Waiter]struct{}
}

// NewHub makes a Hub. Subscribe its Wake and Resync to the bus.
func NewHub() *Hub {
	h := &Hub{stopped: make(chan struct{})}
	for i := range h.shards {
		h.shards[i].waiters = make(map[string]map[*Waiter]struct{})
	}
	return h
}

// Stop lets every waiter go, now and from now on, so that whoever waits is answered before the
// server ends.
func (h *Hub) Stop() { h.stop.Do(func() { close(h.stopped) }) }

// Stopped is closed by Stop.
func (h *Hub) Stopped() <-chan struct{} { return h.stopped }

// Waiter is registered on its keys until Close.
type Waiter struct {
	hub   *Hub
	keys  []string
	woken chan struct{}
}

// Register begins to listen on the keys.
func (h *Hub) Register(keys ...string) *Waiter {
	w := &Waiter{hub: h, keys: keys, woken: make(chan struct{}, 1)}
	for _, k := range keys {
		s := h.shard(k)
		s.mu.Lock()
		if s.waiters[k] == nil {
			s.waiters[k] = make(map[*Waiter]struct{}, 1)
		}
		s.waiters[k][w] = struct{}{}
		s.mu.Unlock()
	}
	return w
}

// Close ends the registration.
func (w *Waiter) Close() {
	for _, k := range w.keys {
		s := w.hub.shard(k)
		s.mu.Lock()
		delete(s.waiters[k], w)
		if len(s.waiters[k]) == 0 {
			delete(s.waiters, k)
		}
		s.mu.Unlock()
	}
}

// Park waits until a key is woken, the time is over, ctx ends or the hub stops. It returns whether
// there is any use in waiting again.
func (w *Waiter) Park(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-w.woken:
		return true
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-w.hub.stopped:
		return false
	}
}

func (w *Waiter) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// Wake wakes the waiters of the keys.
func (h *Hub) Wake(keys ...string) {
	for _, k := range keys {
		s := h.shard(k)
		s.mu.Lock()
		for w := range s.waiters[k] {
			w.wake()
		}
		s.mu.Unlock()
	}
}

// Resync wakes every waiter, spread evenly over the time given, because wake-ups may have been
// lost. It returns when it is done or ctx ends.
func (h *Hub) Resync(ctx context.Context, over time.Duration) {
	pause := over / time.Duration(len(h.shards))
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		for _, set := range s.waiters {
			for w := range set {
				w.wake()
			}
		}
		s.mu.Unlock()
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// Waiting counts the registrations.
func (h *Hub) Waiting() int {
	n := 0
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		for _, set := range s.waiters {
			n += len(set)
		}
		s.mu.Unlock()
	}
	return n
}

// WaitingBy counts the registrations by the beginning of their keys, up to the first slash.
func (h *Hub) WaitingBy() map[string]int {
	out := make(map[string]int)
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		for k, set := range s.waiters {
			kind, _, _ := strings.Cut(k, "/")
			out[kind] += len(set)
		}
		s.mu.Unlock()
	}
	return out
}

func (h *Hub) shard(key string) *shard {
	var sum uint32 = 2166136261 // FNV-1a
	for i := range len(key) {
		sum = (sum ^ uint32(key[i])) * 16777619
	}
	return &h.shards[sum%uint32(len(h.shards))]
}
