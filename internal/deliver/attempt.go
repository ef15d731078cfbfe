package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/notice"
	"github.com/nodauth/nod/internal/store"
)

// interrupted is the outcome of an attempt that the server's stop cut off. It counts for nothing.
const interrupted = notice.Class("interrupted")

// waits are the pauses after the first, second, … attempt that failed, as the Standard Webhooks
// specification proposes them. After the last of them there is one more attempt.
func waits() []time.Duration {
	return []time.Duration{
		5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour,
		20 * time.Hour, 24 * time.Hour,
	}
}

// MaxTries is how many attempts a delivery has.
func MaxTries() int { return len(waits()) + 1 }

// attempt makes one attempt, unless the delivery is another's by now, and returns what it came to.
func (w *Worker) attempt(it item) notice.Class {
	log := w.c.Logger.With(slog.String("delivery", it.id), slog.String("target", it.target.target))
	d, now, err := w.hold(&it)
	if err != nil {
		if !errors.Is(err, store.ErrUsed) && !errors.Is(err, store.ErrNotFound) && w.ended.Err() == nil {
			log.Warn("delivery not read", slog.Any("error", err))
		}
		return ""
	}
	out := notice.Outcome{Class: notice.Permanent, Text: "There is nobody here who sends this."}
	ctx, cancel := context.WithTimeout(w.ended, w.timeout)
	defer cancel()
	start := time.Now()
	if s := w.c.Senders[d.Kind]; s != nil {
		out = s.Send(ctx, d, now)
	}
	took := time.Since(start)
	if w.ended.Err() != nil && out.Class == notice.Temporary {
		out = notice.Outcome{Class: interrupted, Text: "The server stopped."}
	}
	state, err := w.record(it, d, now, took, out)
	switch {
	case errors.Is(err, store.ErrUsed):
		log.Info("delivery was taken over by another node", slog.String("outcome", string(out.Class)))
	case err != nil:
		log.Warn("outcome of a delivery not recorded, it will be sent again", slog.Any("error", err))
	case state == store.DeliveryDead:
		log.Warn("delivery given up", slog.Int("attempts", d.Attempts+1), slog.Int("status", out.Status))
	}
	return out.Class
}

// hold reads a delivery that this node still holds, with at least two timeouts to go. It takes a
// lease anew that has less. It returns ErrUsed if another node has the delivery.
func (w *Worker) hold(it *item) (store.Delivery, mfa.Instant, error) {
	var d store.Delivery
	var now mfa.Instant
	read := func(tx store.Tx) error {
		var err error
		now = tx.Now()
		if d, err = tx.Delivery(it.realm, it.id); err != nil {
			return err
		}
		if d.State != store.DeliveryPending || d.Node != w.c.Outbox.node || d.DueAt != it.until {
			return store.ErrUsed
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(w.ended, w.timeout)
	defer cancel()
	if time.Since(it.since) < w.timeout {
		err := w.c.Store.View(ctx, read)
		return d, now, err
	}
	since, was := time.Now(), it.until
	err := w.c.Store.Update(ctx, func(tx store.Tx) error {
		it.until, it.since = tx.Now().Add(w.c.Outbox.lease), since
		if err := tx.TakeDelivery(it.realm, it.id, was, w.c.Outbox.node, it.until); err != nil {
			return err
		}
		return read(tx)
	})
	return d, now, err
}

// record writes what an attempt came to, and returns what became of the delivery.
func (w *Worker) record(it item, d store.Delivery, at mfa.Instant, took time.Duration, out notice.Outcome) (store.DeliveryState, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ended), w.timeout)
	defer cancel()
	var state store.DeliveryState
	err := w.c.Store.Update(ctx, func(tx store.Tx) error {
		next := after(d, out, tx.Now())
		state = next.State
		if err := tx.PutDelivery(next, w.c.Outbox.node, it.until); err != nil {
			return fmt.Errorf("put delivery %s: %w", d.ID, err)
		}
		return tx.InsertAttempt(store.Attempt{
			Realm: d.Realm, Delivery: d.ID, Number: next.Attempts, At: at, Outcome: string(out.Class), Status: out.Status,
			TookMS: int(took.Milliseconds()), Text: out.Text,
		})
	})
	return state, err
}

// after is the delivery after an attempt.
func after(d store.Delivery, out notice.Outcome, now mfa.Instant) store.Delivery {
	d.Node = ""
	d.Attempts++
	end := func(s store.DeliveryState) { d.State, d.DueAt, d.EndedAt = s, 0, now }
	switch out.Class {
	case notice.Delivered:
		d.Tries++
		end(store.DeliveryDelivered)
	case notice.Temporary:
		d.Tries++
		if d.Tries >= MaxTries() {
			end(store.DeliveryDead)
			break
		}
		wait := waits()[d.Tries-1]
		wait += rand.N(wait / 10) //nolint:gosec // spreads attempts, decides nothing
		d.DueAt = now.Add(max(wait, out.RetryAfter))
	case interrupted:
		d.DueAt = now
	default:
		d.Tries++
		end(store.DeliveryDead)
	}
	return d
}
