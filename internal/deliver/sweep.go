package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nodauth/nod/internal/store"
)

const (
	// DefaultKeep is how long deliveries are kept after they were made.
	DefaultKeep = 30 * 24 * time.Hour
	// DefaultKeepDead is how long those are kept that were given up.
	DefaultKeepDead = 90 * 24 * time.Hour

	// sweepBatch is how many rows one transaction deletes, sweepRounds how many of these one sweep
	// does; the next one goes on.
	sweepBatch  = 200
	sweepRounds = 50
)

// Sweep deletes deliveries that ended long ago, with their attempts. Every node may run it.
func (w *Worker) Sweep(ctx context.Context) error {
	return errors.Join(
		w.sweep(ctx, store.DeliveryDelivered, w.c.Keep),
		w.sweep(ctx, store.DeliveryDead, w.c.KeepDead),
	)
}

func (w *Worker) sweep(ctx context.Context, state store.DeliveryState, keep time.Duration) error {
	for range sweepRounds {
		n := 0
		err := w.c.Store.Update(ctx, func(tx store.Tx) error {
			var err error
			n, err = tx.SweepDeliveries(state, tx.Now().Add(-keep), sweepBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("sweep deliveries: %w", err)
		}
		if n < sweepBatch || ctx.Err() != nil {
			return nil
		}
	}
	return nil
}
