// Package endpoint tells the outside of events: it keeps the webhooks of realms, sees every event
// that is recorded, and writes a delivery for each webhook that wants it, in the transaction of the
// event.
package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/deliver"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// Kind is the kind of the deliveries of webhooks.
const Kind = "webhook"

const (
	// Stale is the age at which a node's memory of which webhooks there are is no longer believed.
	// A webhook made on one node misses events on another for at most this long, and only if the
	// wake-up between them was lost.
	Stale = 5 * time.Second
	// refreshEvery is how often that memory is renewed, so that no transaction has to.
	refreshEvery = 4 * time.Second
	// refreshPause is how long it takes to try again when that failed.
	refreshPause = time.Second
)

// Watcher writes the deliveries that events cause. Where a realm has no webhook an event costs no
// statement of the database. It is safe for concurrent use.
type Watcher struct {
	outbox     *deliver.Outbox
	log        *slog.Logger
	below      store.Store
	known      atomic.Pointer[snapshot]
	generation atomic.Int64
	changed    chan struct{}
}

// hook is what the watcher knows of a webhook.
type hook struct {
	id     string
	events []string
}

// snapshot is which webhooks there were.
type snapshot struct {
	generation int64
	at         time.Time // when reading began, by this process's clock
	hooks      map[mfa.RealmID][]hook
}

// NewWatcher makes a Watcher of the events of a store. Its other methods may be called once Over was.
func NewWatcher(outbox *deliver.Outbox, log *slog.Logger) *Watcher {
	return &Watcher{outbox: outbox, log: log, changed: make(chan struct{}, 1)}
}

// Over returns the store with every event that is recorded through it watched. It is called once.
func (w *Watcher) Over(s store.Store) store.Store {
	w.below = s
	return watchedStore{s, w}
}

// Wake is told which keys were woken, by this node's commits before they are acknowledged and by
// those of others.
func (w *Watcher) Wake(keys ...string) {
	if slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, store.WakeWebhooks("")) }) {
		w.Forget()
	}
}

// Forget makes the watcher read anew which webhooks there are: wake-ups may have been lost.
func (w *Watcher) Forget() {
	w.generation.Add(1)
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// Run keeps the watcher's memory fresh until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.changed:
		case <-pause.C:
		}
		next := refreshEvery
		if err := w.refresh(ctx); err != nil {
			if ctx.Err() == nil {
				w.log.WarnContext(ctx, "webhooks not read", slog.Any("error", err))
			}
			next = refreshPause
		}
		pause.Reset(next)
	}
}

func (w *Watcher) refresh(ctx context.Context) error {
	s := &snapshot{generation: w.generation.Load(), at: time.Now()}
	err := w.below.View(ctx, func(tx store.Tx) error {
		rows, err := tx.EnabledWebhooks()
		s.hooks = map[mfa.RealmID][]hook{}
		for _, r := range rows {
			s.hooks[r.Realm] = append(s.hooks[r.Realm], hook{r.ID, r.Events})
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read webhooks: %w", err)
	}
	w.known.Store(s)
	return nil
}

// fresh is what the watcher remembers, or nil if it cannot be believed.
func (w *Watcher) fresh() *snapshot {
	s := w.known.Load()
	if s == nil || s.generation != w.generation.Load() || time.Since(s.at) >= Stale {
		return nil
	}
	return s
}

// wants tells whether a webhook with this filter is told of events of a kind.
func wants(filter []string, kind string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool {
		return f == kind || (strings.HasSuffix(f, ".") && strings.HasPrefix(kind, f))
	})
}

// watchedStore is the store as services see it.
type watchedStore struct {
	store.Store
	w *Watcher
}

// Update implements store.Store.
func (s watchedStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return fn(&watchedTx{Tx: tx, w: s.w}) })
}

// watchedTx is one transaction whose events are watched.
type watchedTx struct {
	store.Tx
	w    *Watcher
	seen *snapshot // for all events of the transaction alike
}

// InsertEvent implements store.Events.
func (t *watchedTx) InsertEvent(e store.Event) error {
	if err := t.Tx.InsertEvent(e); err != nil {
		return err
	}
	hooks, err := t.hooks(e.Realm)
	if err != nil {
		return err
	}
	var payload []byte
	for _, h := range hooks {
		if !wants(h.events, e.Kind) || (e.Kind == audit.WebhookPinged && e.Data["webhook"] == h.id) { // Ping writes that one
			continue
		}
		if payload == nil {
			if payload, err = Payload(e); err != nil {
				return err
			}
		}
		m := deliver.Message{Realm: e.Realm, Kind: Kind, Target: h.id, About: e.Kind, Payload: payload}
		if _, err := t.w.outbox.Add(t.Tx, m); err != nil {
			return err
		}
	}
	return nil
}

// hooks are the realm's webhooks: as remembered, or as they are if the memory is not fresh.
func (t *watchedTx) hooks(realm mfa.RealmID) ([]hook, error) {
	if t.seen == nil {
		if t.seen = t.w.fresh(); t.seen == nil {
			t.seen = &snapshot{generation: -1, hooks: map[mfa.RealmID][]hook{}}
		}
	}
	if hooks, ok := t.seen.hooks[realm]; ok || t.seen.generation >= 0 {
		return hooks, nil
	}
	rows, err := t.ListWebhooks(realm)
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	var hooks []hook
	for _, r := range rows {
		if r.Enabled {
			hooks = append(hooks, hook{r.ID, r.Events})
		}
	}
	t.seen.hooks[realm] = hooks
	return hooks, nil
}

// message is the body of a webhook.
type message struct {
	Type      string `json:"type"`
	Timestamp moment `json:"timestamp"`
	Data      any    `json:"data"`
}

// eventData is an event as the API shows it.
type eventData struct {
	ID          mfa.EventID       `json:"id"`
	At          moment            `json:"at"`
	Kind        string            `json:"kind"`
	User        mfa.UserID        `json:"user,omitempty"`
	Application mfa.ApplicationID `json:"application,omitempty"`
	Device      mfa.DeviceID      `json:"device,omitempty"`
	Challenge   mfa.ChallengeID   `json:"challenge,omitempty"`
	Actor       mfa.Actor         `json:"actor,omitempty"`
	By          string            `json:"by,omitempty"`
	Address     string            `json:"address,omitempty"`
	RequestID   string            `json:"request_id,omitempty"`
	Data        map[string]string `json:"data,omitempty"`
}

type moment mfa.Instant

// MarshalText writes RFC 3339 in UTC with milliseconds, as the API does.
func (m moment) MarshalText() ([]byte, error) {
	return mfa.Instant(m).Time().AppendFormat(nil, "2006-01-02T15:04:05.000Z07:00"), nil
}

// Payload is the body by which a webhook tells of an event: its kind, its time, and the event as the
// API shows it.
func Payload(e store.Event) ([]byte, error) {
	b, err := json.Marshal(message{
		Type: e.Kind, Timestamp: moment(e.At), Data: eventData{
			ID: e.ID, At: moment(e.At), Kind: e.Kind, User: e.User, Application: e.Application, Device: e.Device,
			Challenge: e.Challenge, Actor: e.Actor, By: e.By, Address: e.Address, RequestID: e.Request, Data: e.Data,
		},
	}, json.Deterministic(true))
	if err != nil {
		return nil, errors.Join(errors.New("write webhook"), err)
	}
	return b, nil
}
