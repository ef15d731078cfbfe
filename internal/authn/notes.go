package authn

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/store"
)

// note is something seen that decides nothing: a stamp of a device, a poll that was answered. The
// first of each counts. Notes are written in batches and may be lost with the node.
type note struct {
	stamp string
	event store.Event
}

type notes struct {
	mu     sync.Mutex
	queue  []note
	filled chan struct{}
}

const (
	noteEvery = 50 * time.Millisecond
	maxNotes  = 10_000
	noteBatch = 256
)

func newNotes() *notes { return &notes{filled: make(chan struct{}, 1)} }

func (n *notes) add(x note) {
	n.mu.Lock()
	if len(n.queue) < maxNotes {
		n.queue = append(n.queue, x)
	}
	n.mu.Unlock()
	select {
	case n.filled <- struct{}{}:
	default:
	}
}

func (n *notes) take() []note {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := min(len(n.queue), noteBatch)
	batch := n.queue[:k:k]
	n.queue = n.queue[k:]
	return batch
}

// RunNotes writes notes in batches until ctx ends, and then those that are left.
func (s *Service) RunNotes(ctx context.Context) error {
	for {
		select {
		case <-s.notes.filled:
		case <-ctx.Done():
			s.flush(context.WithoutCancel(ctx))
			return nil
		}
		t := time.NewTimer(noteEvery)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		s.flush(context.WithoutCancel(ctx))
	}
}

func (s *Service) flush(ctx context.Context) {
	for {
		batch := s.notes.take()
		if len(batch) == 0 {
			return
		}
		err := s.c.Store.Update(ctx, func(tx store.Tx) error {
			for _, n := range batch {
				if err := write(ctx, tx, n); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			s.c.Logger.WarnContext(ctx, "notes lost", slog.Int("count", len(batch)), slog.Any("error", err))
		}
	}
}

func write(ctx context.Context, tx store.Tx, n note) error {
	first, err := tx.PutStamp(store.Stamp{Realm: n.event.Realm, Challenge: n.event.Challenge, Stamp: n.stamp, At: n.event.At})
	if err != nil {
		return fmt.Errorf("stamp challenge %s: %w", n.event.Challenge, err)
	}
	if !first {
		return nil
	}
	tx.Wake(store.WakeChallenge(n.event.Realm, n.event.Challenge))
	n.event.Kind = "challenge." + n.stamp
	return audit.Record(ctx, tx, n.event)
}
