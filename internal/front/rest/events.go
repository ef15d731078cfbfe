package rest

import (
	"context"
	"net/http"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
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
		),
	}, h.listEvents)
}

func (h *Handler) listEvents(ctx context.Context, c *call, _ nothing) (list[eventShape], error) {
	f := audit.Filter{
		Realm: c.by.Realm, User: mfa.UserID(c.query["user"]), Application: mfa.ApplicationID(c.query["application"]),
		Device: mfa.DeviceID(c.query["device"]), Challenge: mfa.ChallengeID(c.query["challenge"]), Kind: c.query["kind"],
		Since: c.instant("since"), Until: c.instant("until"), OldestFirst: c.query["order"] == "asc",
	}
	return page(h, c, func(p audit.Page) ([]audit.Event, error) {
		return h.c.Events.List(ctx, f, p)
	}, func(e audit.Event) (mfa.Instant, string) { return e.At, string(e.ID) }, showEvent)
}
