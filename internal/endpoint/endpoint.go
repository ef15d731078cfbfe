package endpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/deliver"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/notice"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/wire/plain"
)

const (
	// MaxWebhooks is how many webhooks a realm has at most: each event may be written as often.
	MaxWebhooks = 20
	// FormerLife is how long a replaced secret goes on signing beside its successor.
	FormerLife = 24 * time.Hour

	maxDescription = 200
	maxEvents      = 50
)

// Config of the Service. All members are required.
type Config struct {
	Store  store.Store // with its events watched
	Ring   *keys.Ring
	Outbox *deliver.Outbox
	Sender notice.Sender
	// Check returns Invalid, for the member named, if an address is not one to be called.
	Check func(ctx context.Context, field, url string) error
	// NewSecret makes a secret for Sender.
	NewSecret func() secret.Value
}

// Service administers webhooks and sends their deliveries. No method checks scopes: the fronts have
// done that. It is safe for concurrent use.
type Service struct{ c Config }

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Ring == nil || c.Outbox == nil || c.Sender == nil || c.Check == nil || c.NewSecret == nil {
		return nil, errors.New("endpoint: every member of Config is required")
	}
	return &Service{c: c}, nil
}

// Webhook is an address that is told of events, without its secrets.
type Webhook struct {
	ID          string
	URL         string
	Events      []string // kinds, or beginnings of kinds that end in "."; none for all
	Description string
	Enabled     bool
	DisabledWhy string      // "administrator", "gone" where its receiver wanted nothing more, or "failing"
	FormerUntil mfa.Instant // until then its former secret signs as well; 0 for none
	CreatedAt   mfa.Instant
	ChangedAt   mfa.Instant
}

func view(w store.Webhook, now mfa.Instant) Webhook {
	v := Webhook{
		ID: w.ID, URL: w.URL, Events: w.Events, Description: w.Description, Enabled: w.Enabled, DisabledWhy: whyDisabled(w),
		CreatedAt: w.CreatedAt, ChangedAt: w.ChangedAt,
	}
	if now < w.FormerUntil {
		v.FormerUntil = w.FormerUntil
	}
	return v
}

// Change says what a webhook is to be like; a nil member stays as it is.
type Change struct {
	URL         *string
	Events      *[]string
	Description *string
	Enabled     *bool
}

func (s *Service) check(ctx context.Context, c Change) error {
	if c.Description != nil && !plain.Text(*c.Description, maxDescription) {
		return mfa.InvalidField("description", "The description has characters that cannot be shown, or is longer than %d.", maxDescription)
	}
	if c.Events != nil {
		if err := checkEvents(*c.Events); err != nil {
			return err
		}
	}
	if c.URL != nil {
		return s.c.Check(ctx, "url", *c.URL)
	}
	return nil
}

// checkEvents takes kinds that there are, and beginnings of these.
func checkEvents(list []string) error {
	if len(list) > maxEvents {
		return mfa.InvalidField("events", "There can be %d at most.", maxEvents)
	}
	for i, f := range list {
		known := slices.ContainsFunc(audit.Kinds(), func(kind string) bool { return wants([]string{f}, kind) })
		if !known || slices.Contains(list[:i], f) {
			return mfa.InvalidField(fmt.Sprintf("events.%d", i), "There is no such kind of event, or it stands there twice. Give a kind such as challenge.approved, or the beginning of several that ends in a full stop.")
		}
	}
	return nil
}

func (c Change) apply(w *store.Webhook) {
	if c.URL != nil {
		if w.Enabled && *c.URL != w.URL {
			w.FailingSince = 0
		}
		w.URL = *c.URL
	}
	if c.Events != nil {
		w.Events = slices.Clone(*c.Events)
	}
	if c.Description != nil {
		w.Description = *c.Description
	}
	if c.Enabled != nil && *c.Enabled != w.Enabled {
		w.Enabled, w.DisabledWhy, w.FailingSince = *c.Enabled, "", 0
		if !w.Enabled {
			w.DisabledWhy = "administrator"
		}
	}
}

// MadeWebhook is a webhook with the secret that it was just given, which is shown once.
type MadeWebhook struct {
	Webhook
	Secret secret.Value
}

// Create makes a webhook. It returns Invalid and Conflict limit_reached.
func (s *Service) Create(ctx context.Context, in mfa.RealmID, c Change) (MadeWebhook, error) {
	if c.URL == nil {
		return MadeWebhook{}, mfa.InvalidField("url", "Give an address.")
	}
	if err := s.check(ctx, c); err != nil {
		return MadeWebhook{}, err
	}
	key := s.c.NewSecret()
	var out MadeWebhook
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		there, err := tx.ListWebhooks(in)
		if err != nil {
			return fmt.Errorf("list webhooks: %w", err)
		}
		if len(there) >= MaxWebhooks {
			return mfa.Errorf(mfa.Conflict, mfa.ReasonLimit, "A realm has %d webhooks at most. Delete one first.", MaxWebhooks)
		}
		w := store.Webhook{
			Realm: in, ID: secret.ID("whk_"), Enabled: true, CreatedAt: tx.Now(), ChangedAt: tx.Now(), Version: 1,
		}
		c.apply(&w)
		if w.Secret, err = s.seal(w, "secret", key); err != nil {
			return err
		}
		if err := tx.InsertWebhook(w); err != nil {
			return fmt.Errorf("insert webhook: %w", err)
		}
		out = MadeWebhook{view(w, tx.Now()), key}
		if err := record(ctx, tx, w, audit.WebhookCreated, nil); err != nil {
			return err
		}
		return replay.Made(ctx, tx, out)
	})
	return out, err
}

func (s *Service) aad(w store.Webhook, column string) keys.AAD {
	return keys.AAD{Realm: string(w.Realm), Table: "webhooks", Row: w.ID, Column: column}
}

func (s *Service) seal(w store.Webhook, column string, key secret.Value) ([]byte, error) {
	b, err := s.c.Ring.Seal(key.Bytes(), s.aad(w, column))
	if err != nil {
		return nil, fmt.Errorf("seal the %s of webhook %s: %w", column, w.ID, err)
	}
	return b, nil
}

// record writes what was done to a webhook. The address is no secret of nod's, but its query may be
// one of the receiver's, and so the host is told alone.
func record(ctx context.Context, tx store.Tx, w store.Webhook, kind string, data map[string]string) error {
	tx.Wake(store.WakeWebhooks(w.Realm))
	all := map[string]string{"webhook": w.ID, "host": host(w.URL)}
	for name, value := range data {
		all[name] = value
	}
	return audit.Record(ctx, tx, store.Event{Realm: w.Realm, Kind: kind, Data: all})
}

func host(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		rest = rest[:i]
	}
	return rest
}

// get reads a webhook. It returns NotFound.
func get(tx store.Webhooks, in mfa.RealmID, id string) (store.Webhook, error) {
	w, err := tx.Webhook(in, id)
	if errors.Is(err, store.ErrNotFound) {
		return w, mfa.ErrNotFound()
	}
	return w, err
}

// Webhook reads one. It returns NotFound.
func (s *Service) Webhook(ctx context.Context, in mfa.RealmID, id string) (Webhook, error) {
	var out Webhook
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		w, err := get(tx, in, id)
		out = view(w, tx.Now())
		return err
	})
	return out, err
}

// Webhooks lists a realm's, oldest first.
func (s *Service) Webhooks(ctx context.Context, in mfa.RealmID) ([]Webhook, error) {
	var out []Webhook
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		rows, err := tx.ListWebhooks(in)
		out = nil
		for _, w := range rows {
			out = append(out, view(w, tx.Now()))
		}
		return err
	})
	return out, err
}

// change reads a webhook, lets fn change it and writes it with its event. Then it calls done.
func (s *Service) change(
	ctx context.Context, in mfa.RealmID, id, kind string,
	fn func(tx store.Tx, w *store.Webhook) (map[string]string, error), done func(tx store.Tx, v Webhook) error,
) error {
	return s.c.Store.Update(ctx, func(tx store.Tx) error {
		w, err := get(tx, in, id)
		if err != nil {
			return err
		}
		data, err := fn(tx, &w)
		if err != nil {
			return err
		}
		w.ChangedAt = tx.Now()
		if err := tx.PutWebhook(w); err != nil {
			return fmt.Errorf("put webhook %s: %w", id, err)
		}
		if err := record(ctx, tx, w, kind, data); err != nil {
			return err
		}
		return done(tx, view(w, tx.Now()))
	})
}

// Update changes a webhook. Nothing is recorded for it while it is disabled, and what waits for it is
// given up when its turn comes. It returns NotFound and Invalid.
func (s *Service) Update(ctx context.Context, in mfa.RealmID, id string, c Change) (Webhook, error) {
	if err := s.check(ctx, c); err != nil {
		return Webhook{}, err
	}
	var out Webhook
	err := s.change(ctx, in, id, audit.WebhookChanged, func(_ store.Tx, w *store.Webhook) (map[string]string, error) {
		was := host(w.URL)
		c.apply(w)
		return map[string]string{"was": was, "enabled": fmt.Sprint(w.Enabled)}, nil
	}, func(_ store.Tx, v Webhook) error {
		out = v
		return nil
	})
	return out, err
}

// Delete ends a webhook. What waits for it is given up, and its deliveries are kept as long as
// others. It returns NotFound.
func (s *Service) Delete(ctx context.Context, in mfa.RealmID, id string) error {
	return s.c.Store.Update(ctx, func(tx store.Tx) error {
		w, err := get(tx, in, id)
		if err != nil {
			return err
		}
		if err := tx.DeleteWebhook(in, id); err != nil {
			return fmt.Errorf("delete webhook %s: %w", id, err)
		}
		return record(ctx, tx, w, audit.WebhookDeleted, nil)
	})
}

// RotateSecret gives a webhook another secret, which is shown once. The one that it replaces signs
// beside it for FormerLife; one replaced before that, no longer. It returns NotFound.
func (s *Service) RotateSecret(ctx context.Context, in mfa.RealmID, id string) (MadeWebhook, error) {
	key := s.c.NewSecret()
	var out MadeWebhook
	err := s.change(ctx, in, id, audit.WebhookSecretRotated, func(tx store.Tx, w *store.Webhook) (map[string]string, error) {
		former, err := s.open(*w, "secret", w.Secret)
		if err != nil {
			return nil, err
		}
		if w.FormerSecret, err = s.seal(*w, "former_secret", former); err != nil {
			return nil, err
		}
		w.FormerUntil = tx.Now().Add(FormerLife)
		w.Secret, err = s.seal(*w, "secret", key)
		return nil, err
	}, func(tx store.Tx, v Webhook) error {
		out = MadeWebhook{v, key}
		return replay.Made(ctx, tx, out)
	})
	return out, err
}

func (s *Service) open(w store.Webhook, column string, sealed []byte) (secret.Value, error) {
	b, err := s.c.Ring.Open(sealed, s.aad(w, column))
	if err != nil {
		return secret.Value{}, fmt.Errorf("open the %s of webhook %s: %w", column, w.ID, err)
	}
	return secret.FromBytes(b), nil
}
