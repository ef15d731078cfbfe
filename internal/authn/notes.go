package authn

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// note is something seen that decides nothing: a stamp of a device, a poll that was answered. The
// first of each counts: of the stamps over all nodes, of the others on this one. Notes are written
// in batches and may be lost with the node.
type note struct {
	stamp string
	event store.Event
}

type notes struct {
	mu     sync.Mutex
	queue  []note
	made   map[madeNote]bool // that are no stamps, lately
	before map[madeNote]bool // and before that
	filled chan struct{}
}

type madeNote struct {
	challenge mfa.ChallengeID
	kind      string
}

// The notes that are no stamps.
const (
	noteDelivered = "delivered" // the prompt was in the answer to a device's poll
	noteTold      = "told"      // the application was told the outcome
)

const (
	noteEvery = 50 * time.Millisecond
	maxNotes  = 10_000
	noteBatch = 256
)

func newNotes() *notes {
	return &notes{filled: make(chan struct{}, 1), made: make(map[madeNote]bool)}
}

func (n *notes) add(x note) {
	n.mu.Lock()
	if len(n.queue) < maxNotes && n.first(x) {
		n.queue = append(n.queue, x)
	}
	n.mu.Unlock()
	select {
	case n.filled <- struct{}{}:
	default:
	}
}

// first says whether a note that is no stamp was not made before; of stamps the store knows.
func (n *notes) first(x note) bool {
	if x.stamp != noteDelivered && x.stamp != noteTold {
		return true
	}
	k := madeNote{x.event.Challenge, x.stamp}
	if n.made[k] || n.before[k] {
		return false
	}
	if len(n.made) == maxNotes {
		n.made, n.before = make(map[madeNote]bool), n.made
	}
	n.made[k] = true
	return true
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
	n.event.Kind = "challenge." + n.stamp
	if n.stamp == noteDelivered || n.stamp == noteTold {
		return audit.Record(ctx, tx, n.event)
	}
	first, err := tx.PutStamp(store.Stamp{Realm: n.event.Realm, Challenge: n.event.Challenge, Stamp: n.stamp, At: n.event.At})
	if err != nil {
		return fmt.Errorf("stamp challenge %s: %w", n.event.Challenge, err)
	}
	if !first {
		return nil
	}
	tx.Wake(store.WakeChallenge(n.event.Realm, n.event.Challenge))
	return audit.Record(ctx, tx, n.event)
}
