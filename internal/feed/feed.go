// Package feed sends every event of every realm to the places that collect them: a syslog server, a
// file.
//
// Each place is a feed. How far it has come stands in the database, so it goes on there after a
// restart; one node at a time sends it, by a lease. Events are read up to a moment before which
// nothing is written any more ([store.Store.Horizon]), in the order of their writing, and the position
// moves after the place has taken them: each event comes at least once, and none is passed over
// because its transaction took longer than another's.
//
// Nobody waits for a feed. One that does not get through leaves its events where they are, in the
// database, for as long as policy keeps them.
package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

// Sink is a place to which events are sent.
type Sink interface {
	// Send takes events, each with its line of JSON. It returns nil when the place has all of them,
	// as far as can be known; after an error all of them are sent again. One call at a time.
	Send(ctx context.Context, events []store.Event, lines [][]byte) error
	// Close lets connections and files go. Send may be called again after it.
	Close() error
}

// Gauge is told how a feed does.
type Gauge interface {
	Leads(feed string, leads bool)
	Sent(feed string, n int)
	Failed(feed string)
	Lag(feed string, behind time.Duration)
}

// Config of the Service. All members are required.
type Config struct {
	Store  store.Store
	Logger *slog.Logger
	Gauge  Gauge
	Sinks  map[string]Sink // by the name of their feed, which stays the same over restarts
}

const (
	batch = 500
	// idle is how often a feed that has sent everything looks again.
	idle = time.Second
	// leaseTime is longer than a batch takes; renewAt is what is left of it when it is renewed, which
	// is longer than a batch takes too.
	leaseTime = time.Minute
	renewAt   = 40 * time.Second
	// sendTime is how long a place may take for a batch.
	sendTime = 20 * time.Second
	// lastRetry is the longest pause after an error; the first one is idle.
	lastRetry = time.Minute
	// goBack is how far a feed goes back when the clock of the store was set back: events that were
	// written since then lie before its position.
	goBack = time.Minute
)

// Service sends feeds.
type Service struct {
	c     Config
	owner string // this process
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Logger == nil || c.Gauge == nil {
		return nil, errors.New("feed: every member of Config is required")
	}
	return &Service{c: c, owner: secret.ID("node_")}, nil
}

// Run sends until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for name, sink := range s.c.Sinks {
		f := &feed{s: s, name: name, sink: sink}
		all.Go(func() { f.run(ctx) })
	}
	all.Wait()
	return nil
}

// feed is one feed on this node.
type feed struct {
	s      *Service
	name   string
	sink   Sink
	at     store.Feed // where it is, while this node has it
	leads  bool
	renew  time.Time // when the lease is to be renewed
	broken bool      // the last attempt failed
}

func (f *feed) run(ctx context.Context) {
	retry := idle
	for ctx.Err() == nil {
		pause, err := f.step(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.s.c.Gauge.Failed(f.name)
			f.s.c.Logger.WarnContext(ctx, "events not sent", slog.String("feed", f.name), slog.Any("error", err))
			f.broken = true
			f.leave(ctx) // another node may get through
			pause, retry = retry, min(2*retry, lastRetry)
		default:
			if f.broken && pause == 0 {
				f.s.c.Logger.InfoContext(ctx, "events are sent again", slog.String("feed", f.name))
				f.broken = false
			}
			retry = idle
		}
		wait(ctx, pause)
	}
	f.leave(ctx)
	if err := f.sink.Close(); err != nil {
		f.s.c.Logger.WarnContext(ctx, "end of a feed", slog.String("feed", f.name), slog.Any("error", err))
	}
}

// step sends a batch, and says how long to wait before the next one.
func (f *feed) step(ctx context.Context) (pause time.Duration, err error) {
	if mine, err := f.take(ctx); err != nil || !mine {
		return leaseTime / 4, err
	}
	until, err := f.s.c.Store.Horizon(ctx)
	if err != nil {
		return 0, fmt.Errorf("find settled events: %w", err)
	}
	if f.at.At > until && f.at.ID != "" && f.at.ID[0] == 'e' { // it was sent, so the clock was later then
		f.s.c.Logger.WarnContext(ctx, "the clock of the database was set back, some events are sent again", slog.String("feed", f.name))
		f.at.At, f.at.ID = until.Add(-goBack), "-"
	}
	var events []store.Event
	err = f.s.c.Store.View(ctx, func(tx store.Tx) error {
		var err error
		events, err = tx.EventsBefore(until, store.Page{At: f.at.At, ID: f.at.ID, Limit: batch})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read events: %w", err)
	}
	if len(events) == 0 {
		f.s.c.Gauge.Lag(f.name, 0)
		return idle, nil
	}
	f.s.c.Gauge.Lag(f.name, until.Sub(events[0].At))
	if err := f.send(ctx, events); err != nil {
		return 0, err
	}
	last := events[len(events)-1]
	f.at.At, f.at.ID = last.At, string(last.ID)
	if err := f.advance(ctx, leaseTime); err != nil {
		return 0, err
	}
	f.s.c.Gauge.Sent(f.name, len(events))
	return 0, nil
}

func (f *feed) send(ctx context.Context, events []store.Event) error {
	lines := make([][]byte, len(events))
	for i, e := range events {
		lines[i] = Line(e)
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	return f.sink.Send(ctx, events, lines)
}

// take gets or renews the lease. It returns false while another node has it.
func (f *feed) take(ctx context.Context) (bool, error) {
	began := time.Now()
	if f.leads && began.Before(f.renew) {
		return true, nil
	}
	var at store.Feed
	err := f.s.c.Store.Update(ctx, func(tx store.Tx) error {
		var err error
		at, err = tx.TakeFeed(f.name, f.s.owner, tx.Now().Add(leaseTime))
		return err
	})
	if errors.Is(err, store.ErrUsed) {
		f.lead(false)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("take feed: %w", err)
	}
	f.at, f.renew = at, began.Add(leaseTime-renewAt)
	f.lead(true)
	return true, nil
}

func (f *feed) lead(leads bool) {
	if f.leads && !leads {
		_ = f.sink.Close() // another node sends now
	}
	f.leads = leads
	f.s.c.Gauge.Leads(f.name, leads)
}

// advance writes the position and keeps the lease for as long as said.
func (f *feed) advance(ctx context.Context, keep time.Duration) error {
	err := f.s.c.Store.Update(ctx, func(tx store.Tx) error {
		f.at.LeaseUntil = tx.Now().Add(keep)
		return tx.AdvanceFeed(f.at)
	})
	if errors.Is(err, store.ErrUsed) {
		f.lead(false)
		return nil // who has it now goes on from where this node said it was
	}
	if err != nil {
		return fmt.Errorf("write position of feed: %w", err)
	}
	return nil
}

// leave gives the lease back, where it was reached.
func (f *feed) leave(ctx context.Context) {
	if !f.leads {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = f.advance(ctx, 0) // otherwise it ends by itself
	f.lead(false)
}

func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// line is an event as JSON. Its members stand in this order in every line.
type line struct {
	ID          mfa.EventID       `json:"id"`
	At          string            `json:"at"`
	Realm       mfa.RealmID       `json:"realm"`
	Kind        string            `json:"kind"`
	User        mfa.UserID        `json:"user,omitempty"`
	Application mfa.ApplicationID `json:"application,omitempty"`
	Device      mfa.DeviceID      `json:"device,omitempty"`
	Challenge   mfa.ChallengeID   `json:"challenge,omitempty"`
	Actor       mfa.Actor         `json:"actor,omitempty"`
	By          string            `json:"by,omitempty"`
	Address     string            `json:"address,omitempty"`
	Request     string            `json:"request_id,omitempty"`
	Data        map[string]string `json:"data,omitempty"`
}

// Line gives an event as one line of JSON, without its end.
func Line(e store.Event) []byte {
	text, err := json.Marshal(line{
		ID: e.ID, At: e.At.Time().UTC().Format("2006-01-02T15:04:05.000000Z"), Realm: e.Realm, Kind: e.Kind, User: e.User,
		Application: e.Application, Device: e.Device, Challenge: e.Challenge, Actor: e.Actor, By: e.By, Address: e.Address,
		Request: e.Request, Data: e.Data,
	})
	if err != nil {
		panic("feed: " + err.Error()) // texts and a map of texts
	}
	return text
}
