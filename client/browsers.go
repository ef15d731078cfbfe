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

// Prompts are what was asked of a user; the key needs the scope administer.
type Prompts struct{ c *Client }

// List reads a page of a user's challenges, newest first.
func (s Prompts) List(ctx context.Context, user string, p Paging) (Page[Challenge], error) {
	return list[Challenge](ctx, s.c, "list the prompts of "+user, "/v1/users/{}/prompts", []string{user}, p.values())
}
