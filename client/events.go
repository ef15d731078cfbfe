package client

import (
	"context"
	"iter"
	"net/url"
	"time"
)

// Event is an audit record. Nothing in it is secret.
type Event struct {
	ID          string            `json:"id"`
	At          time.Time         `json:"at"`
	Kind        string            `json:"kind"` // such as challenge.approved
	User        string            `json:"user,omitzero"`
	Application string            `json:"application,omitzero"`
	Device      string            `json:"device,omitzero"`
	Challenge   string            `json:"challenge,omitzero"`
	Actor       string            `json:"actor,omitzero"`      // user, administrator, help_desk …
	By          string            `json:"by,omitzero"`         // the credential that acted
	Address     string            `json:"address,omitzero"`    // of the caller
	RequestID   string            `json:"request_id,omitzero"` // by which the server's log names the request
	Data        map[string]string `json:"data,omitzero"`
}

// EventQuery narrows a list of events. The zero value matches all, newest first.
type EventQuery struct {
	Paging
	User, Application, Device, Challenge string    // ids
	Kind                                 string    // exact, or a prefix ending in "."
	Since                                time.Time // zero for no limit
	Until                                time.Time // exclusive; zero for no limit
	OldestFirst                          bool
	// Settled lists, oldest first, only events before which none can come any more. Every page has a
	// Next, also the last one, and who goes on from there later misses nothing.
	Settled bool
}

// Events are the audit records; the key needs the scope administer.
type Events struct{ c *Client }

// List reads a page of events.
func (s Events) List(ctx context.Context, q EventQuery) (Page[Event], error) {
	return list[Event](ctx, s.c, "list events", "/v1/events", nil, q.query())
}

func (q EventQuery) query() url.Values {
	v := q.values()
	set(v, "user", q.User)
	set(v, "application", q.Application)
	set(v, "device", q.Device)
	set(v, "challenge", q.Challenge)
	set(v, "kind", q.Kind)
	setTime(v, "since", q.Since)
	setTime(v, "until", q.Until)
	if q.OldestFirst {
		v.Set("order", "asc")
	}
	if q.Settled {
		v.Set("settled", "true")
	}
	return v
}

// All goes through every event that the query matches; the pair with an error is the last. Settled
// events have no last page: List them.
func (s Events) All(ctx context.Context, q EventQuery) iter.Seq2[Event, error] {
	return all(q.Paging, func(p Paging) (Page[Event], error) {
		q.Paging = p
		return s.List(ctx, q)
	})
}
