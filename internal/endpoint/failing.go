package endpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	// FailingLife is how long a receiver may take nothing, while it is called, before its webhook is
	// disabled: longer than the attempts at one delivery go on.
	FailingLife = 5 * 24 * time.Hour
	// maxPending is how much may wait for a receiver that takes nothing: what calls it one by one
	// never catches up with more, and every node looks through it again and again.
	maxPending = 100_000
)

// Why a webhook is disabled, unless by an administrator.
const (
	whyGone    = "gone"    // its receiver has said so
	whyFailing = "failing" // its receiver took nothing for too long; stored as gone, with since when
)

func whyDisabled(w store.Webhook) string {
	if w.DisabledWhy == whyGone && w.FailingSince != 0 {
		return whyFailing
	}
	return w.DisabledWhy
}

// realmOff says whether a realm is disabled. Nothing of one leaves the server.
func realmOff(tx store.Realms, in mfa.RealmID) (bool, error) {
	if in == mfa.DefaultRealm {
		return false, nil // cannot be
	}
	r, err := tx.Realm(in)
	if err != nil {
		return false, fmt.Errorf("read realm %s: %w", in, err)
	}
	return r.DisabledAt != 0, nil
}

// noteFailing notes the first failure, and the first success after failures. What cannot be noted is
// noted with the next attempt.
func (s *Service) noteFailing(ctx context.Context, w store.Webhook, fails bool, now mfa.Instant) {
	if fails == (w.FailingSince != 0) {
		return
	}
	since := mfa.Instant(0)
	if fails {
		since = now
	}
	_ = s.c.Store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error { return tx.SetFailing(w.Realm, w.ID, since) })
}

// Sweep disables webhooks whose receivers have taken nothing for FailingLife, or for whom too much
// waits, and records it. Every node may run it.
func (s *Service) Sweep(ctx context.Context) error {
	var failing []store.Webhook
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		all, err := tx.EnabledWebhooks()
		failing = nil
		for _, w := range all {
			if w.FailingSince != 0 {
				failing = append(failing, w)
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("list webhooks that fail: %w", err)
	}
	var failed []error
	for _, w := range failing {
		failed = append(failed, s.c.Store.Update(ctx, func(tx store.Tx) error { return giveUp(ctx, tx, w.Realm, w.ID, maxPending) }))
	}
	return errors.Join(failed...)
}

// giveUp disables a webhook that has failed long enough, or for which so much is pending, as it is
// now. One in a disabled realm is not called, so it does not fail.
func giveUp(ctx context.Context, tx store.Tx, in mfa.RealmID, id string, most int) error {
	w, err := tx.Webhook(in, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read webhook %s: %w", id, err)
	}
	off, err := realmOff(tx, in)
	if err != nil || off || !w.Enabled || w.FailingSince == 0 {
		return err
	}
	if tx.Now() < w.FailingSince.Add(FailingLife) {
		if more, err := tx.PendingBeyond(in, Kind, id, most); err != nil || !more {
			return err
		}
	}
	since := w.FailingSince.Time().Format(time.RFC3339)
	// Since when it fails tells it from one that is gone by its own word, and from one that an
	// administrator has disabled.
	w.Enabled, w.DisabledWhy, w.ChangedAt = false, whyGone, tx.Now()
	if err := tx.PutWebhook(w); err != nil {
		return fmt.Errorf("put webhook %s: %w", id, err)
	}
	return record(audit.With(ctx, audit.Origin{Actor: mfa.ActorServer}), tx, w, audit.WebhookDisabled,
		map[string]string{"reason": whyFailing, "since": since})
}
