// Package audit writes and reads the record of what happened: every transition, credential change,
// administrative act and refusal, in the transaction that caused it. Nothing secret is in it.
package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

// Origin is who acts, as the front that took the request established it.
type Origin struct {
	Actor   mfa.Actor
	By      string // id of the credential, device or person
	Address string // of the caller
	Request string // request id
}

type originKey struct{}

// With returns a context that carries who acts.
func With(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// From returns who acts; the server itself if nobody was named.
func From(ctx context.Context) Origin {
	if o, ok := ctx.Value(originKey{}).(Origin); ok {
		return o
	}
	return Origin{Actor: mfa.ActorServer}
}

// Log is what writing a record needs of a transaction.
type Log interface {
	Now() mfa.Instant
	NextEvent() int
	InsertEvent(store.Event) error
}

// Record writes one event. Its id and its time, which is the transaction's, are filled in; who acted
// comes from the context unless the event says so itself.
func Record(ctx context.Context, tx Log, e store.Event) error {
	o := From(ctx)
	e.At = tx.Now()
	if e.Actor == "" {
		e.Actor, e.By = o.Actor, o.By
	}
	e.Address, e.Request = o.Address, o.Request
	e.ID = eventID(tx.NextEvent())
	if err := tx.InsertEvent(e); err != nil {
		return fmt.Errorf("record %s: %w", e.Kind, err)
	}
	return nil
}

const (
	idPrefix = "evt_"
	// inOrder are the characters of an id in the order in which ids are compared.
	inOrder = "234567abcdefghijklmnopqrstuvwxyz"
	// placeChars of them tell an event's place in its transaction; the rest is random.
	placeChars = 3
)

// eventID makes the id of an event that has the place given in its transaction: the events of one
// transaction have the same time, and so (At, id) is the order in which they were written. Those
// beyond the 32 768th share the last place.
func eventID(place int) mfa.EventID {
	id := []byte(secret.ID(idPrefix))
	for i := range placeChars {
		shift := 5 * (placeChars - 1 - i)
		id[len(idPrefix)+i] = inOrder[min(place, 1<<(5*placeChars)-1)>>shift&31]
	}
	return mfa.EventID(id)
}

// Config of the Service.
type Config struct {
	Store store.Store
}

// Service reads the record.
type Service struct{ c Config }

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Store == nil {
		return nil, errors.New("audit: Config.Store is required")
	}
	return &Service{c: c}, nil
}

// Event, Filter and Page are the store's, for callers above it.
type (
	Event  = store.Event
	Filter = store.EventFilter
	Page   = store.Page
)

// Settled returns events that match the filter, oldest first, as far as nothing can be written
// before them any more: whoever goes on after the last of them misses none. It returns the moment up
// to which that holds.
func (s *Service) Settled(ctx context.Context, f Filter, p Page) ([]Event, mfa.Instant, error) {
	horizon, err := s.c.Store.Horizon(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("find settled events: %w", err)
	}
	f.OldestFirst = true
	if f.Until == 0 || f.Until > horizon {
		f.Until = horizon
	}
	out, err := s.List(ctx, f, p)
	return out, horizon, err
}

// List returns events that match the filter, a page at a time.
func (s *Service) List(ctx context.Context, f Filter, p Page) ([]Event, error) {
	var out []Event
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		var err error
		out, err = tx.ListEvents(f, p)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return out, nil
}
