package client

import (
	"context"
	"net/http"
	"time"
)

// Realm is a tenant.
type Realm struct {
	Name      string    `json:"name"`
	Issuer    string    `json:"issuer"`
	CreatedAt time.Time `json:"created_at"`
}

// RealmKeys are the public keys of the realm of the calling application.
type RealmKeys struct {
	Name         string         `json:"name"`
	Issuer       string         `json:"issuer"`
	PromptKeys   map[string]any `json:"prompt_keys"` // JSON Web Key Set
	GrantKeysURL string         `json:"grant_keys_url"`
	KeySetSerial int64          `json:"key_set_serial"`
	PIN          string         `json:"pin"` // that enrolment links carry
}

// Realms are the tenants; the key needs the scope administer.
type Realms struct{ c *Client }

// List reads a page of realms.
func (s Realms) List(ctx context.Context, p Paging) (Page[Realm], error) {
	return list[Realm](ctx, s.c, "list realms", "/v1/realms", nil, p.values())
}

// Current reads the realm of the calling application with its public keys.
func (s Realms) Current(ctx context.Context) (RealmKeys, error) {
	var r RealmKeys
	err := s.c.do(ctx, call{what: "read the realm", method: http.MethodGet, path: "/v1/realms/current", out: &r})
	return r, err
}
