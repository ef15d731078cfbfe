package bus

import (
	"context"
	"slices"
	"sync"
)

// Fanout wakes the subscribers of one process. It is the inner half of every [Bus]. Make it
// with [NewFanout].
type Fanout struct {
	queue *Queue

	mu   sync.Mutex
	subs []*subscription
}

type subscription struct {
	Subscriber
	mu        sync.Mutex // held during a call
	cancelled bool
}

// NewFanout makes a Fanout without subscribers.
func NewFanout() *Fanout { return &Fanout{queue: NewQueue()} }

// Publish has the subscribers woken with each key by [Fanout.Run]. It panics if a key is not
// [Valid].
func (f *Fanout) Publish(keys ...string) {
	for _, k := range keys {
		if !Valid(k) {
			panic("bus: a key is empty, too long or not visible ASCII")
		}
	}
	f.queue.Put(keys...)
}

// Resync has the subscribers read everything again.
func (f *Fanout) Resync() { f.queue.Lose() }

// Subscribe is [Bus].Subscribe.
func (f *Fanout) Subscribe(s Subscriber) (cancel func()) {
	sub := &subscription{Subscriber: s}
	f.mu.Lock()
	f.subs = append(f.subs, sub)
	f.mu.Unlock()
	return func() {
		f.mu.Lock()
		if i := slices.Index(f.subs, sub); i >= 0 {
			// A copy: Run may be walking along the old one.
			f.subs = append(slices.Clone(f.subs[:i]), f.subs[i+1:]...)
		}
		f.mu.Unlock()
		sub.mu.Lock()
		sub.cancelled = true
		sub.mu.Unlock()
	}
}

// Run calls the subscribers until ctx ends. It is called once.
func (f *Fanout) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.queue.Ready():
		}
		keys, lost := f.queue.Take()
		f.mu.Lock()
		subs := f.subs
		f.mu.Unlock()
		for _, s := range subs {
			if lost && s.Resync != nil {
				s.call(s.Resync)
			}
			for _, k := range keys {
				s.call(func() { s.Wake(k) })
			}
		}
	}
}

func (s *subscription) call(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cancelled {
		f()
	}
}
