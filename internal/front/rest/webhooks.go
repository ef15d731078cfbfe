package rest

import (
	"context"
	"net/http"

	webhooks "github.com/nodauth/nod/internal/endpoint"
	"github.com/nodauth/nod/internal/mfa"
)

type webhookShape struct {
	ID             string   `json:"id"`
	URL            string   `json:"url"`
	Events         []string `json:"events" doc:"Kinds, or beginnings of kinds that end in a full stop; none for all."`
	Description    string   `json:"description,omitempty"`
	State          string   `json:"state" enum:"enabled,disabled"`
	DisabledReason string   `json:"disabled_reason,omitempty" enum:"administrator,gone,failing" doc:"gone: its receiver answered 410. failing: it took nothing for five days, or while 100,000 deliveries gathered."`
	Secret         string   `json:"secret,omitempty" doc:"In the answer to its creation and its rotation only."`
	FormerUntil    instant  `json:"former_secret_until,omitzero" doc:"Until then the replaced secret signs as well. Exclusive."`
	CreatedAt      instant  `json:"created_at"`
	ChangedAt      instant  `json:"changed_at"`
}

func showWebhook(w webhooks.Webhook) webhookShape {
	s := webhookShape{
		ID: w.ID, URL: w.URL, Events: w.Events, Description: w.Description, State: "enabled", DisabledReason: w.DisabledWhy,
		FormerUntil: instant(w.FormerUntil), CreatedAt: instant(w.CreatedAt), ChangedAt: instant(w.ChangedAt),
	}
	if s.Events == nil {
		s.Events = []string{}
	}
	if !w.Enabled {
		s.State = "disabled"
	}
	return s
}

func showMadeWebhook(w webhooks.MadeWebhook) (string, webhookShape, error) {
	s := showWebhook(w.Webhook)
	s.Secret = w.Secret.Reveal()
	return w.ID, s, nil
}

type newWebhookShape struct {
	URL         string   `json:"url" minLength:"1" maxLength:"2048" doc:"https. It has to lead to public addresses only, unless the configuration allows others."`
	Events      []string `json:"events,omitempty" maxItems:"50" uniqueItems:"true" doc:"Kinds such as challenge.approved, or beginnings of kinds that end in a full stop: challenge. All without it."`
	Description string   `json:"description,omitempty" maxLength:"200"`
}

type webhookChangeShape struct {
	URL         *string   `json:"url,omitempty" minLength:"1" maxLength:"2048"`
	Events      *[]string `json:"events,omitempty" maxItems:"50" uniqueItems:"true" doc:"None for all."`
	Description *string   `json:"description,omitempty" maxLength:"200"`
	State       *string   `json:"state,omitempty" enum:"enabled,disabled" doc:"Nothing is recorded for a disabled webhook, and what waits for it is given up."`
}

type webhookDeliveryShape struct {
	ID        string         `json:"id" doc:"The header webhook-id, the same at every attempt."`
	Webhook   string         `json:"webhook"`
	Type      string         `json:"type" doc:"Kind of the event."`
	State     string         `json:"state" enum:"pending,delivered,dead"`
	Attempts  int            `json:"attempts"`
	NextAt    instant        `json:"next_at,omitzero" doc:"When it is attempted again at the latest, while it is pending."`
	CreatedAt instant        `json:"created_at"`
	EndedAt   instant        `json:"ended_at,omitzero"`
	Payload   string         `json:"payload,omitempty" doc:"What is sent, as text. In the answer about one delivery only."`
	History   []attemptShape `json:"history,omitempty" doc:"First to last. In the answer about one delivery only."`
}

type attemptShape struct {
	Number  int     `json:"number"`
	At      instant `json:"at"`
	Outcome string  `json:"outcome" enum:"delivered,temporary,permanent,gone,interrupted"`
	Status  int     `json:"status,omitzero" doc:"Of the reply; absent without one."`
	Took    int     `json:"took_ms"`
	Text    string  `json:"text,omitempty" doc:"Why it failed, or how the reply begins: 200 characters at most."`
}

func showDelivery(d webhooks.Delivery) webhookDeliveryShape {
	return webhookDeliveryShape{
		ID: d.ID, Webhook: d.Target, Type: d.About, State: string(d.State), Attempts: d.Attempts, NextAt: instant(d.DueAt),
		CreatedAt: instant(d.CreatedAt), EndedAt: instant(d.EndedAt),
	}
}

type replayDeadShape struct {
	Since instant `json:"since,omitzero" doc:"Of those made at or after this moment; of all without it."`
}

type replayedShape struct {
	Replayed int  `json:"replayed"`
	More     bool `json:"more" doc:"There are more than one call takes: ask again."`
}

func (h *Handler) webhookRoutes() {
	const tag = "webhooks"
	missing := []mfa.Code{mfa.NotFound}
	closed := []mfa.Code{mfa.NotFound, mfa.Conflict}
	add(h, route{
		id: "createWebhook", method: http.MethodPost, path: "/v1/webhooks", tag: tag,
		summary: "Have an address told of events", about: "Deliveries are signed as the Standard Webhooks specification has it.",
		status: http.StatusCreated, made: "/v1/webhooks/", access: administer, keyed: keyOptional, secret: true, codes: []mfa.Code{mfa.Conflict},
	}, h.createWebhook)
	add(h, route{
		id: "listWebhooks", method: http.MethodGet, path: "/v1/webhooks", tag: tag, summary: "List webhooks, oldest first",
		access: administer, query: paging(),
	}, h.listWebhooks)
	add(h, route{
		id: "getWebhook", method: http.MethodGet, path: "/v1/webhooks/{id}", tag: tag, summary: "Read a webhook, without its secret",
		access: administer, codes: missing,
	}, h.getWebhook)
	add(h, route{
		id: "updateWebhook", method: http.MethodPatch, path: "/v1/webhooks/{id}", tag: tag, summary: "Change a webhook",
		about: "Members that are left out stay.", access: administer, codes: missing,
	}, h.updateWebhook)
	add(h, route{
		id: "deleteWebhook", method: http.MethodDelete, path: "/v1/webhooks/{id}", tag: tag, summary: "End a webhook",
		about: "What waits for it is given up.", access: administer, codes: missing,
	}, h.deleteWebhook)
	add(h, route{
		id: "rotateWebhookSecret", method: http.MethodPost, path: "/v1/webhooks/{id}/rotate-secret", tag: tag,
		summary: "Give a webhook another secret", about: "For 24 hours each delivery has a signature by either secret.",
		access: administer, keyed: keyOptional, secret: true, codes: missing,
	}, h.rotateWebhookSecret)
	add(h, route{
		id: "pingWebhook", method: http.MethodPost, path: "/v1/webhooks/{id}/ping", tag: tag,
		summary: "Send a webhook an event of the kind webhook.pinged", about: "Whatever its filter says.", status: http.StatusAccepted,
		access: administer, keyed: keyOptional, codes: closed,
	}, h.pingWebhook)
	add(h, route{
		id: "listDeliveries", method: http.MethodGet, path: "/v1/webhooks/{id}/deliveries", tag: tag,
		summary: "List what was sent to a webhook, newest first", access: administer, codes: missing,
		query: paging(param{name: "state", values: []string{"pending", "delivered", "dead"}, about: "All without it."}),
	}, h.listDeliveries)
	add(h, route{
		id: "getDelivery", method: http.MethodGet, path: "/v1/webhooks/{id}/deliveries/{delivery}", tag: tag,
		summary: "Read a delivery with its attempts", access: administer, codes: missing,
	}, h.getDelivery)
	add(h, route{
		id: "replayDelivery", method: http.MethodPost, path: "/v1/webhooks/{id}/deliveries/{delivery}/replay", tag: tag,
		summary: "Send a delivery once more", about: "Under its old id. One that is pending stays as it is.", status: http.StatusAccepted,
		access: administer, keyed: keyOptional, codes: closed,
	}, h.replayDelivery)
	add(h, route{
		id: "replayDead", method: http.MethodPost, path: "/v1/webhooks/{id}/replay", tag: tag,
		summary: "Send once more what was given up", status: http.StatusAccepted, access: administer, keyed: keyOptional, codes: closed,
	}, h.replayDead)
}

func (h *Handler) createWebhook(ctx context.Context, c *call, in newWebhookShape) (webhookShape, error) {
	return makes(ctx, c, func(ctx context.Context) (webhooks.MadeWebhook, error) {
		return h.c.Webhooks.Create(ctx, c.by.Realm, webhooks.Change{URL: &in.URL, Events: &in.Events, Description: &in.Description})
	}, showMadeWebhook)
}

func (h *Handler) listWebhooks(ctx context.Context, c *call, _ nothing) (list[webhookShape], error) {
	rows, err := h.c.Webhooks.Webhooks(ctx, c.by.Realm)
	if err != nil {
		return list[webhookShape]{}, err
	}
	return part(h, c, rows, func(w webhooks.Webhook) string { return w.ID }, showWebhook)
}

func (h *Handler) getWebhook(ctx context.Context, c *call, _ nothing) (webhookShape, error) {
	w, err := h.c.Webhooks.Webhook(ctx, c.by.Realm, c.path("id"))
	return showWebhook(w), err
}

func (h *Handler) updateWebhook(ctx context.Context, c *call, in webhookChangeShape) (webhookShape, error) {
	change := webhooks.Change{URL: in.URL, Events: in.Events, Description: in.Description}
	if in.State != nil {
		on := *in.State == "enabled"
		change.Enabled = &on
	}
	w, err := h.c.Webhooks.Update(ctx, c.by.Realm, c.path("id"), change)
	return showWebhook(w), err
}

func (h *Handler) deleteWebhook(ctx context.Context, c *call, _ nothing) (nothing, error) {
	return nothing{}, h.c.Webhooks.Delete(ctx, c.by.Realm, c.path("id"))
}

func (h *Handler) rotateWebhookSecret(ctx context.Context, c *call, _ nothing) (webhookShape, error) {
	return makes(ctx, c, func(ctx context.Context) (webhooks.MadeWebhook, error) {
		return h.c.Webhooks.RotateSecret(ctx, c.by.Realm, c.path("id"))
	}, showMadeWebhook)
}

func (h *Handler) pingWebhook(ctx context.Context, c *call, _ nothing) (webhookDeliveryShape, error) {
	return makes(ctx, c, func(ctx context.Context) (webhooks.Delivery, error) {
		return h.c.Webhooks.Ping(ctx, c.by.Realm, c.path("id"))
	}, func(d webhooks.Delivery) (string, webhookDeliveryShape, error) { return d.ID, showDelivery(d), nil })
}

func (h *Handler) listDeliveries(ctx context.Context, c *call, _ nothing) (list[webhookDeliveryShape], error) {
	return page(h, c, func(p webhooks.Page) ([]webhooks.Delivery, error) {
		return h.c.Webhooks.Deliveries(ctx, c.by.Realm, c.path("id"), webhooks.State(c.query["state"]), p)
	}, func(d webhooks.Delivery) (mfa.Instant, string) { return d.CreatedAt, d.ID }, showDelivery)
}

func (h *Handler) getDelivery(ctx context.Context, c *call, _ nothing) (webhookDeliveryShape, error) {
	d, made, err := h.c.Webhooks.Delivery(ctx, c.by.Realm, c.path("id"), c.path("delivery"))
	out := showDelivery(d)
	out.Payload = string(d.Payload)
	for _, a := range made {
		out.History = append(out.History, attemptShape{
			Number: a.Number, At: instant(a.At), Outcome: a.Outcome, Status: a.Status, Took: a.TookMS, Text: a.Text,
		})
	}
	return out, err
}

func (h *Handler) replayDelivery(ctx context.Context, c *call, _ nothing) (webhookDeliveryShape, error) {
	d, err := h.c.Webhooks.Replay(ctx, c.by.Realm, c.path("id"), c.path("delivery"))
	return showDelivery(d), err
}

func (h *Handler) replayDead(ctx context.Context, c *call, in replayDeadShape) (replayedShape, error) {
	n, more, err := h.c.Webhooks.ReplayDead(ctx, c.by.Realm, c.path("id"), mfa.Instant(in.Since))
	return replayedShape{Replayed: n, More: more}, err
}
