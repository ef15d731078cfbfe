package endpoint

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/deliver"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/notice"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

// Delivery, Attempt, Page and State are the store's, for callers above it.
type (
	State    = store.DeliveryState
	Delivery = store.Delivery
	Attempt  = store.Attempt
	Page     = store.Page
)

const (
	// replayBatch is how many deliveries one transaction makes pending again, replayRounds how
	// many of these one call does.
	replayBatch  = 500
	replayRounds = 20
)

// Send implements deliver.Sender: it makes one attempt at a delivery to a webhook.
func (s *Service) Send(ctx context.Context, d store.Delivery, now mfa.Instant) notice.Outcome {
	var w store.Webhook
	off := false
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		var err error
		if w, err = tx.Webhook(d.Realm, d.Target); err != nil {
			return err
		}
		off, err = realmOff(tx, d.Realm)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return notice.Outcome{Class: notice.Permanent, Text: "The webhook was deleted."}
	case err != nil:
		return notice.Outcome{Class: notice.Temporary, Text: "The webhook could not be read."}
	case !w.Enabled:
		return notice.Outcome{Class: notice.Permanent, Text: "The webhook is disabled."}
	case off:
		return notice.Outcome{Class: notice.Temporary, Text: "The realm is disabled."}
	}
	m := notice.Message{ID: d.ID, At: now.Time(), To: w.URL, Payload: d.Payload}
	if m.Keys, err = s.keys(w, now); err != nil {
		return notice.Outcome{Class: notice.Temporary, Text: "The webhook's secret could not be opened: is the sealing key the database's?"}
	}
	out := s.c.Sender.Send(ctx, m)
	if !errors.Is(ctx.Err(), context.Canceled) { // else this server has cut it off
		s.noteFailing(ctx, w, out.Class != notice.Delivered, now)
	}
	if out.Class == notice.Gone && s.gone(ctx, w) != nil {
		return notice.Outcome{Class: notice.Temporary, Status: out.Status, Text: "The receiver wants nothing more, and the webhook could not be disabled."}
	}
	return out
}

// keys are the secrets that sign: the present one first.
func (s *Service) keys(w store.Webhook, now mfa.Instant) ([]secret.Value, error) {
	present, err := s.open(w, "secret", w.Secret)
	if err != nil {
		return nil, err
	}
	if now >= w.FormerUntil {
		return []secret.Value{present}, nil
	}
	former, err := s.open(w, "former_secret", w.FormerSecret)
	return []secret.Value{present, former}, err
}

// gone disables a webhook whose receiver wants nothing more, unless it was given another address
// meanwhile.
func (s *Service) gone(ctx context.Context, asked store.Webhook) error {
	return s.c.Store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		w, err := tx.Webhook(asked.Realm, asked.ID)
		if errors.Is(err, store.ErrNotFound) || (err == nil && (!w.Enabled || w.URL != asked.URL)) {
			return nil
		}
		if err != nil {
			return err
		}
		w.Enabled, w.DisabledWhy, w.ChangedAt, w.FailingSince = false, whyGone, tx.Now(), 0
		if err := tx.PutWebhook(w); err != nil {
			return fmt.Errorf("put webhook %s: %w", w.ID, err)
		}
		return record(ctx, tx, w, audit.WebhookDisabled, map[string]string{"reason": w.DisabledWhy})
	})
}

// Ping sends an event of the kind webhook.pinged to a webhook, whatever its filter says, and returns
// the delivery. It returns NotFound, and Conflict webhook_disabled.
func (s *Service) Ping(ctx context.Context, in mfa.RealmID, id string) (Delivery, error) {
	var out Delivery
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		w, err := enabled(tx, in, id)
		if err != nil {
			return err
		}
		p := &pinged{Tx: tx}
		if err := record(ctx, p, w, audit.WebhookPinged, nil); err != nil {
			return err
		}
		payload, err := Payload(p.event)
		if err != nil {
			return err
		}
		m := deliver.Message{Realm: in, Kind: Kind, Target: id, About: audit.WebhookPinged, Payload: payload}
		if out, err = s.c.Outbox.Add(tx, m); err != nil {
			return err
		}
		return replay.Made(ctx, tx, out)
	})
	return out, err
}

// pinged keeps the event that is recorded through it.
type pinged struct {
	store.Tx
	event store.Event
}

// InsertEvent implements store.Events.
func (p *pinged) InsertEvent(e store.Event) error {
	p.event = e
	return p.Tx.InsertEvent(e)
}

// enabled reads a webhook that something is to be sent to.
func enabled(tx store.Webhooks, in mfa.RealmID, id string) (store.Webhook, error) {
	w, err := get(tx, in, id)
	if err == nil && !w.Enabled {
		err = mfa.Errorf(mfa.Conflict, mfa.ReasonWebhookOff, "The webhook is disabled. Enable it first.")
	}
	return w, err
}

// Deliveries lists a webhook's, newest first; state "" for all. It returns NotFound.
func (s *Service) Deliveries(ctx context.Context, in mfa.RealmID, id string, state State, p Page) ([]Delivery, error) {
	var out []Delivery
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		if _, err := get(tx, in, id); err != nil {
			return err
		}
		var err error
		out, err = tx.ListDeliveries(store.DeliveryFilter{Realm: in, Kind: Kind, Target: id, State: state}, p)
		return err
	})
	return out, err
}

// delivery reads a delivery of a webhook.
func delivery(tx store.Tx, in mfa.RealmID, hook, id string) (Delivery, error) {
	if _, err := get(tx, in, hook); err != nil {
		return Delivery{}, err
	}
	d, err := tx.Delivery(in, id)
	if errors.Is(err, store.ErrNotFound) || (err == nil && (d.Kind != Kind || d.Target != hook)) {
		return Delivery{}, mfa.ErrNotFound()
	}
	return d, err
}

// Delivery reads a delivery of a webhook with its attempts. It returns NotFound.
func (s *Service) Delivery(ctx context.Context, in mfa.RealmID, hook, id string) (Delivery, []Attempt, error) {
	var d Delivery
	var made []Attempt
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		var err error
		if d, err = delivery(tx, in, hook, id); err != nil {
			return err
		}
		made, err = tx.DeliveryAttempts(in, id)
		return err
	})
	return d, made, err
}

// Replay sends a delivery once more, under its old id. One that is pending stays as it is. It
// returns NotFound, and Conflict webhook_disabled.
func (s *Service) Replay(ctx context.Context, in mfa.RealmID, hook, id string) (Delivery, error) {
	var d Delivery
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		w, err := enabled(tx, in, hook)
		if err != nil {
			return err
		}
		if d, err = delivery(tx, in, hook, id); err != nil || d.State == store.DeliveryPending {
			return err
		}
		if d, err = s.c.Outbox.Replay(tx, in, id); err != nil {
			return err
		}
		return record(ctx, tx, w, audit.WebhookReplayed, map[string]string{"delivery": id})
	})
	return d, err
}

// ReplayDead sends all deliveries of a webhook once more that were given up and made at or after a
// moment. It returns how many, and whether there are more than one call takes. It returns NotFound,
// and Conflict webhook_disabled.
func (s *Service) ReplayDead(ctx context.Context, in mfa.RealmID, hook string, since mfa.Instant) (int, bool, error) {
	f := store.DeliveryFilter{Realm: in, Kind: Kind, Target: hook}
	total := 0
	for range replayRounds {
		n := 0
		err := s.c.Store.Update(ctx, func(tx store.Tx) error {
			w, err := enabled(tx, in, hook)
			if err != nil {
				return err
			}
			if n, err = tx.ReplayDead(f, since, tx.Now(), replayBatch); err != nil || n == 0 {
				return err
			}
			return record(ctx, tx, w, audit.WebhookReplayed, map[string]string{"count": strconv.Itoa(n)})
		})
		if err != nil {
			return total, false, err
		}
		if total += n; n < replayBatch {
			return total, false, nil
		}
	}
	return total, true, nil
}
