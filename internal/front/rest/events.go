package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/wire/cursor"
)

type eventShape struct {
	ID          mfa.EventID       `json:"id"`
	At          instant           `json:"at"`
	Kind        string            `json:"kind" doc:"Such as challenge.created."`
	User        mfa.UserID        `json:"user,omitempty"`
	Application mfa.ApplicationID `json:"application,omitempty"`
	Device      mfa.DeviceID      `json:"device,omitempty"`
	Challenge   mfa.ChallengeID   `json:"challenge,omitempty"`
	Actor       mfa.Actor         `json:"actor,omitempty" enum:"user,administrator,help_desk,application,server"`
	By          string            `json:"by,omitempty" doc:"The credential or device that acted."`
	Address     string            `json:"address,omitempty" doc:"Of the caller."`
	RequestID   string            `json:"request_id,omitempty"`
	Data        map[string]string `json:"data,omitempty"`
}

func showEvent(e audit.Event) eventShape {
	return eventShape{
		ID: e.ID, At: instant(e.At), Kind: e.Kind, User: e.User, Application: e.Application, Device: e.Device,
		Challenge: e.Challenge, Actor: e.Actor, By: e.By, Address: e.Address, RequestID: e.Request, Data: e.Data,
	}
}

func (h *Handler) eventRoutes() {
	add(h, route{
		id: "listEvents", method: http.MethodGet, path: "/v1/events", tag: "events", summary: "List what happened, newest first",
		access: administer,
		query: paging(
			param{name: "user", max: 64}, param{name: "application", max: 64}, param{name: "device", max: 64},
			param{name: "challenge", max: 64},
			param{name: "kind", max: 64, about: "Exact, or the beginning of several that ends in a full stop: `challenge.`"},
			param{name: "since", time: true}, param{name: "until", time: true, about: "Exclusive."},
			param{name: "order", values: []string{"asc", "desc"}, about: "desc, the newest first, without it."},
			param{name: "settled", values: []string{"true"}, about: "For whoever follows: oldest first, only events before which none can " +
				"come any more, and `next` also on the last page. To go on from there misses nothing; `since` and `until` may change."},
		),
	}, h.listEvents)
}

func (h *Handler) listEvents(ctx context.Context, c *call, _ nothing) (list[eventShape], error) {
	f := audit.Filter{
		Realm: c.by.Realm, User: mfa.UserID(c.query["user"]), Application: mfa.ApplicationID(c.query["application"]),
		Device: mfa.DeviceID(c.query["device"]), Challenge: mfa.ChallengeID(c.query["challenge"]), Kind: c.query["kind"],
		Since: c.instant("since"), Until: c.instant("until"), OldestFirst: c.query["order"] == "asc",
	}
	if c.query["settled"] != "" {
		return h.settledEvents(ctx, c, f)
	}
	return page(h, c, func(p audit.Page) ([]audit.Event, error) {
		return h.c.Events.List(ctx, f, p)
	}, func(e audit.Event) (mfa.Instant, string) { return e.At, string(e.ID) }, showEvent)
}

// setBack is how far a follower goes back when the clock of the database was set back.
const setBack = time.Minute

// settledEvents answers a listing that has no end: its cursor is good for the same filters whatever
// its limits in time, and is given on every page.
func (h *Handler) settledEvents(ctx context.Context, c *call, f audit.Filter) (list[eventShape], error) {
	if c.query["order"] == "desc" {
		return list[eventShape]{}, mfa.InvalidField("order", "Settled events come oldest first.")
	}
	scope := string(keys.Encode(string(c.by.Realm), string(c.by.Application.ID), "settled events", string(f.User), string(f.Application),
		string(f.Device), string(f.Challenge), f.Kind))
	out := list[eventShape]{Items: []eventShape{}, Next: c.query["cursor"]}
	p := audit.Page{Limit: defaultLimit}
	if n := c.number("limit"); n > 0 {
		p.Limit = n
	}
	if out.Next != "" {
		place, err := h.cursors.Parse(scope, out.Next)
		if err != nil {
			return list[eventShape]{}, mfa.InvalidField("cursor", "This cursor does not belong to this listing.")
		}
		p.At, p.ID = mfa.Instant(place.At), place.ID
	}
	events, until, err := h.c.Events.Settled(ctx, f, p)
	if err != nil {
		return list[eventShape]{}, err
	}
	for _, e := range events {
		out.Items = append(out.Items, showEvent(e))
	}
	switch n := len(events); {
	case n > 0:
		out.Next = h.cursors.Encode(scope, cursor.Position{At: int64(events[n-1].At), ID: string(events[n-1].ID)})
	case out.Next == "": // and nothing before until
		if f.Until > 0 {
			until = min(until, f.Until)
		}
		out.Next = h.cursors.Encode(scope, cursor.Position{At: int64(until), ID: first})
	case p.At > until: // the clock was set back, and what was written since then lies before the place
		out.Next = h.cursors.Encode(scope, cursor.Position{At: int64(until.Add(-setBack)), ID: first})
	}
	return out, nil
}
