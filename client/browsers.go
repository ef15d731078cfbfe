package client

import (
	"context"
	"net/http"
	"time"
)

// Browser is a known browser of a user.
type Browser struct {
	Thumbprint string    `json:"thumbprint"` // of its key
	Name       string    `json:"name,omitzero"`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at,omitzero"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// Browsers are the known browsers of a user; the key needs the scope administer.
type Browsers struct{ c *Client }

// List reads a page of a user's known browsers.
func (s Browsers) List(ctx context.Context, user string, p Paging) (Page[Browser], error) {
	return list[Browser](ctx, s.c, "list the browsers of "+user, "/v1/users/{}/browsers", []string{user}, p.values())
}

// Forget makes a known browser a stranger.
func (s Browsers) Forget(ctx context.Context, user, thumbprint string) error {
	return s.c.do(ctx, call{
		what: "forget a browser of " + user, method: http.MethodDelete, path: "/v1/users/{}/browsers/{}", ids: []string{user, thumbprint},
	})
}

// Prompt is what a user was asked.
type Prompt struct {
	ID          string    `json:"id"` // of the challenge
	Application string    `json:"application_id"`
	Kind        Kind      `json:"kind"`
	State       State     `json:"state"`
	Reason      string    `json:"reason,omitzero"` // of a cancellation
	Reported    bool      `json:"reported,omitzero"`
	Listed      bool      `json:"listed"`
	Rung        bool      `json:"rung"`
	Method      Method    `json:"method,omitzero"` // that answered
	Match       MatchKind `json:"match,omitzero"`  // that the approving device used
	Device      string    `json:"device_id,omitzero"`
	CreatedAt   time.Time `json:"created_at"`
	DecidedAt   time.Time `json:"decided_at,omitzero"`
}

// Prompts are what was asked of a user; the key needs the scope administer.
type Prompts struct{ c *Client }

// List reads a page of what a user was asked, newest first.
func (s Prompts) List(ctx context.Context, user string, p Paging) (Page[Prompt], error) {
	return list[Prompt](ctx, s.c, "list the prompts of "+user, "/v1/users/{}/prompts", []string{user}, p.values())
}
