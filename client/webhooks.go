package client

import (
	"context"
	"iter"
	"net/http"
	"time"
)

// Webhook is an address that is told of events. Secret is in the answers to its creation and its
// rotation only.
type Webhook struct {
	ID                string    `json:"id"`
	URL               string    `json:"url"`
	Events            []string  `json:"events"` // kinds, or beginnings of kinds that end in "."; none for all
	Description       string    `json:"description,omitzero"`
	State             string    `json:"state"`                        // enabled or disabled
	DisabledReason    string    `json:"disabled_reason,omitzero"`     // administrator, gone or failing
	Secret            Secret    `json:"secret,omitzero"`              // whsec_…
	FormerSecretUntil time.Time `json:"former_secret_until,omitzero"` // exclusive
	CreatedAt         time.Time `json:"created_at"`
	ChangedAt         time.Time `json:"changed_at"`
}

// NewWebhook is a webhook to be created. Everything but URL may be left out.
type NewWebhook struct {
	URL         string   `json:"url"`
	Events      []string `json:"events,omitzero"` // all if left out
	Description string   `json:"description,omitzero"`
}

// WebhookChange changes what is not nil.
type WebhookChange struct {
	URL         *string   `json:"url,omitzero"`
	Events      *[]string `json:"events,omitzero"`
	Description *string   `json:"description,omitzero"`
	State       *string   `json:"state,omitzero"` // enabled or disabled
}

// WebhookDelivery is what was or is to be sent to a webhook.
type WebhookDelivery struct {
	ID        string            `json:"id"` // the header webhook-id
	Webhook   string            `json:"webhook"`
	Type      string            `json:"type"`  // kind of the event
	State     string            `json:"state"` // pending, delivered or dead
	Attempts  int               `json:"attempts"`
	NextAt    time.Time         `json:"next_at,omitzero"` // while it is pending
	CreatedAt time.Time         `json:"created_at"`
	EndedAt   time.Time         `json:"ended_at,omitzero"`
	Payload   string            `json:"payload,omitzero"` // of a delivery that was read by itself
	History   []DeliveryAttempt `json:"history,omitzero"` // likewise
}

// DeliveryAttempt is what one attempt came to.
type DeliveryAttempt struct {
	Number  int       `json:"number"`
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome"` // delivered, temporary, permanent, gone or interrupted
	Status  int       `json:"status,omitzero"`
	TookMS  int       `json:"took_ms"`
	Text    string    `json:"text,omitzero"` // why it failed, or how the reply begins
}

// DeliveryQuery narrows a list of deliveries.
type DeliveryQuery struct {
	Paging
	State string // pending, delivered or dead; all if empty
}

// Replayed is what came of replaying deliveries that were given up.
type Replayed struct {
	Replayed int  `json:"replayed"`
	More     bool `json:"more"` // than one call takes
}

// Webhooks are the addresses that are told of events; the key needs the scope administer.
type Webhooks struct{ c *Client }

// Create makes a webhook, whose secret is shown once. It returns an Error with reason limit_reached
// if there are as many as there may be.
func (s Webhooks) Create(ctx context.Context, n NewWebhook) (Webhook, error) {
	return s.one(ctx, call{what: "create webhook", method: http.MethodPost, path: "/v1/webhooks", body: n})
}

// List reads a page of webhooks, oldest first.
func (s Webhooks) List(ctx context.Context, p Paging) (Page[Webhook], error) {
	return list[Webhook](ctx, s.c, "list webhooks", "/v1/webhooks", nil, p.values())
}

// Get reads a webhook, without its secret.
func (s Webhooks) Get(ctx context.Context, id string) (Webhook, error) {
	return s.one(ctx, call{what: "read webhook " + id, method: http.MethodGet, path: "/v1/webhooks/{}", ids: []string{id}})
}

// Update changes a webhook. It is sent once.
func (s Webhooks) Update(ctx context.Context, id string, change WebhookChange) (Webhook, error) {
	return s.one(ctx, call{what: "update webhook " + id, method: http.MethodPatch, path: "/v1/webhooks/{}", ids: []string{id}, body: change})
}

// Delete ends a webhook; what waits for it is given up.
func (s Webhooks) Delete(ctx context.Context, id string) error {
	return s.c.do(ctx, call{what: "delete webhook " + id, method: http.MethodDelete, path: "/v1/webhooks/{}", ids: []string{id}})
}

// RotateSecret gives a webhook another secret, which is shown once. For 24 hours each delivery is
// signed by either.
func (s Webhooks) RotateSecret(ctx context.Context, id string) (Webhook, error) {
	return s.one(ctx, call{what: "rotate the secret of " + id, method: http.MethodPost, path: "/v1/webhooks/{}/rotate-secret", ids: []string{id}})
}

func (s Webhooks) one(ctx context.Context, q call) (Webhook, error) {
	var w Webhook
	q.out = &w
	err := s.c.do(ctx, q)
	return w, err
}

// Ping sends a webhook an event of the kind webhook.pinged.
func (s Webhooks) Ping(ctx context.Context, id string) (WebhookDelivery, error) {
	return s.delivery(ctx, call{what: "ping webhook " + id, method: http.MethodPost, path: "/v1/webhooks/{}/ping", ids: []string{id}})
}

// Deliveries reads a page of what was sent to a webhook, newest first.
func (s Webhooks) Deliveries(ctx context.Context, id string, q DeliveryQuery) (Page[WebhookDelivery], error) {
	v := q.values()
	set(v, "state", q.State)
	return list[WebhookDelivery](ctx, s.c, "list the deliveries of "+id, "/v1/webhooks/{}/deliveries", []string{id}, v)
}

// AllDeliveries goes through every delivery that the query matches; the pair with an error is the
// last.
func (s Webhooks) AllDeliveries(ctx context.Context, id string, q DeliveryQuery) iter.Seq2[WebhookDelivery, error] {
	return all(q.Paging, func(p Paging) (Page[WebhookDelivery], error) {
		q.Paging = p
		return s.Deliveries(ctx, id, q)
	})
}

// Delivery reads a delivery with its payload and its attempts.
func (s Webhooks) Delivery(ctx context.Context, webhook, id string) (WebhookDelivery, error) {
	return s.delivery(ctx, call{what: "read delivery " + id, method: http.MethodGet, path: "/v1/webhooks/{}/deliveries/{}", ids: []string{webhook, id}})
}

// Replay sends a delivery once more, under its old id.
func (s Webhooks) Replay(ctx context.Context, webhook, id string) (WebhookDelivery, error) {
	return s.delivery(ctx, call{what: "replay delivery " + id, method: http.MethodPost, path: "/v1/webhooks/{}/deliveries/{}/replay", ids: []string{webhook, id}})
}

// ReplayDead sends once more what was given up of what was made at or after a moment, all of it for
// the zero time.
func (s Webhooks) ReplayDead(ctx context.Context, webhook string, since time.Time) (Replayed, error) {
	body := struct {
		Since time.Time `json:"since,omitzero"`
	}{since}
	var r Replayed
	err := s.c.do(ctx, call{what: "replay the dead deliveries of " + webhook, method: http.MethodPost, path: "/v1/webhooks/{}/replay", ids: []string{webhook}, body: body, out: &r})
	return r, err
}

func (s Webhooks) delivery(ctx context.Context, q call) (WebhookDelivery, error) {
	var d WebhookDelivery
	q.out = &d
	err := s.c.do(ctx, q)
	return d, err
}
