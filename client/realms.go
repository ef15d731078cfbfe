package client

import (
	"context"
	"net/http"
	"time"
)

// Realm is a tenant.
type Realm struct {
	Name       string    `json:"name"`
	Issuer     string    `json:"issuer"`
	Hosts      []string  `json:"hosts"`
	State      string    `json:"state"` // active or disabled
	DisabledAt time.Time `json:"disabled_at,omitzero"`
	CreatedAt  time.Time `json:"created_at"`
}

// CreatedRealm is a new realm with the application and the key that administer it. The key's secret
// is shown once.
type CreatedRealm struct {
	Realm       Realm       `json:"realm"`
	Application Application `json:"application"`
	Key         Key         `json:"key"`
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

// Create makes a realm; only a key of the realm default may.
func (s Realms) Create(ctx context.Context, name string, hosts []string) (CreatedRealm, error) {
	var r CreatedRealm
	body := struct {
		Name  string   `json:"name"`
		Hosts []string `json:"hosts,omitzero"`
	}{name, hosts}
	err := s.c.do(ctx, call{what: "create realm " + printable(name), method: http.MethodPost, path: "/v1/realms", body: body, out: &r})
	return r, err
}

// Get reads a realm.
func (s Realms) Get(ctx context.Context, name string) (Realm, error) {
	return s.one(ctx, call{what: "read realm " + printable(name), method: http.MethodGet, path: "/v1/realms/{}", ids: []string{name}})
}

// SetHosts says which hosts belong to a realm: all of them, none for an empty list.
func (s Realms) SetHosts(ctx context.Context, name string, hosts []string) (Realm, error) {
	body := struct {
		Hosts []string `json:"hosts"`
	}{append([]string{}, hosts...)}
	return s.one(ctx, call{what: "change realm " + printable(name), method: http.MethodPatch, path: "/v1/realms/{}", ids: []string{name}, body: body})
}

// Disable refuses everything of the realm and cancels what is live in it.
func (s Realms) Disable(ctx context.Context, name string) (Realm, error) {
	return s.one(ctx, call{what: "disable realm " + printable(name), method: http.MethodPost, path: "/v1/realms/{}/disable", ids: []string{name}})
}

// Enable takes a disabling back.
func (s Realms) Enable(ctx context.Context, name string) (Realm, error) {
	return s.one(ctx, call{what: "enable realm " + printable(name), method: http.MethodPost, path: "/v1/realms/{}/enable", ids: []string{name}})
}

func (s Realms) one(ctx context.Context, q call) (Realm, error) {
	var r Realm
	q.out = &r
	err := s.c.do(ctx, q)
	return r, err
}

// Current reads the realm of the calling application with its public keys.
func (s Realms) Current(ctx context.Context) (RealmKeys, error) {
	var r RealmKeys
	err := s.c.do(ctx, call{what: "read the realm", method: http.MethodGet, path: "/v1/realms/current", out: &r})
	return r, err
}
