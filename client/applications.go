package client

import (
	"context"
	"iter"
	"net/http"
	"time"
)

// The scopes of keys.
const (
	ScopeAuthenticate      = "authenticate"
	ScopeAssertFirstFactor = "assert_first_factor"
	ScopeAdminister        = "administer"
)

// Application is a relying party.
type Application struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`                 // shown on prompts
	UsernameForm string    `json:"username_form"`        // as_is, strip_domain or strip_suffix
	IconSHA256   string    `json:"icon_sha256,omitzero"` // base64url
	State        string    `json:"state,omitzero"`       // active or disabled
	DisabledAt   time.Time `json:"disabled_at,omitzero"`
	CreatedAt    time.Time `json:"created_at"`
}

// NewApplication is a relying party to be created. Everything but Name may be left out.
type NewApplication struct {
	Name         string   `json:"name"`
	UsernameForm string   `json:"username_form,omitzero"`
	IconSHA256   string   `json:"icon_sha256,omitzero"` // base64url
	Scopes       []string `json:"scopes,omitzero"`      // of its first key; authenticate if left out
}

// ApplicationChange changes what is not nil.
type ApplicationChange struct {
	Name         *string `json:"name,omitzero"`
	UsernameForm *string `json:"username_form,omitzero"`
	IconSHA256   *string `json:"icon_sha256,omitzero"`
}

// Key is a credential of an application. Secret is in the answer to its creation only.
type Key struct {
	ID        string    `json:"id"`
	Secret    Secret    `json:"secret,omitzero"`
	Scopes    []string  `json:"scopes"`
	Live      bool      `json:"live"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // exclusive
	RevokedAt time.Time `json:"revoked_at,omitzero"`
}

// CreatedApplication is a new application with its first key.
type CreatedApplication struct {
	Application Application `json:"application"`
	Key         Key         `json:"key"`
}

// Applications are the relying parties; the key needs the scope administer.
type Applications struct{ c *Client }

// Create makes an application and its first key, whose secret is shown once.
func (s Applications) Create(ctx context.Context, n NewApplication) (CreatedApplication, error) {
	var a CreatedApplication
	err := s.c.do(ctx, call{what: "create application " + printable(n.Name), method: http.MethodPost, path: "/v1/applications", body: n, out: &a})
	return a, err
}

// List reads a page of applications, newest first.
func (s Applications) List(ctx context.Context, p Paging) (Page[Application], error) {
	return list[Application](ctx, s.c, "list applications", "/v1/applications", nil, p.values())
}

// All goes through every application; the pair with an error is the last.
func (s Applications) All(ctx context.Context) iter.Seq2[Application, error] {
	return all(Paging{Limit: 200}, func(p Paging) (Page[Application], error) { return s.List(ctx, p) })
}

// Get reads an application.
func (s Applications) Get(ctx context.Context, id string) (Application, error) {
	return s.one(ctx, call{what: "read application " + id, method: http.MethodGet, path: "/v1/applications/{}", ids: []string{id}})
}

// Update changes an application. It is sent once.
func (s Applications) Update(ctx context.Context, id string, change ApplicationChange) (Application, error) {
	return s.one(ctx, call{what: "update application " + id, method: http.MethodPatch, path: "/v1/applications/{}", ids: []string{id}, body: change})
}

// Disable refuses the application's keys and cancels what is live of its challenges.
func (s Applications) Disable(ctx context.Context, id string) (Application, error) {
	return s.one(ctx, call{what: "disable application " + id, method: http.MethodPost, path: "/v1/applications/{}/disable", ids: []string{id}})
}

// Enable takes a disabling back.
func (s Applications) Enable(ctx context.Context, id string) (Application, error) {
	return s.one(ctx, call{what: "enable application " + id, method: http.MethodPost, path: "/v1/applications/{}/enable", ids: []string{id}})
}

func (s Applications) one(ctx context.Context, q call) (Application, error) {
	var a Application
	q.out = &a
	err := s.c.do(ctx, q)
	return a, err
}

// NewKey is how a key is made; all of it may be left out.
type NewKey struct {
	Scopes    []string  `json:"scopes,omitzero"` // authenticate if left out
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// Keys are the credentials of applications; the key in use needs the scope administer.
type Keys struct{ c *Client }

// List reads a page of an application's keys, without their secrets.
func (s Keys) List(ctx context.Context, app string, p Paging) (Page[Key], error) {
	return list[Key](ctx, s.c, "list the keys of "+app, "/v1/applications/{}/keys", []string{app}, p.values())
}

// Create makes a key beside the present one, whose secret is shown once. It returns an Error with
// reason limit_reached if two are live.
func (s Keys) Create(ctx context.Context, app string, n NewKey) (Key, error) {
	var k Key
	err := s.c.do(ctx, call{what: "create a key for " + app, method: http.MethodPost, path: "/v1/applications/{}/keys", ids: []string{app}, body: n, out: &k})
	return k, err
}

// Rotation is how a key is replaced; all of it may be left out.
type Rotation struct {
	// Key is the id of the key to replace; the newest live one if left out.
	Key string
	// Grace is how long the replaced key goes on working, in whole seconds, at most 7 days; nil
	// for a day.
	Grace *time.Duration
}

// Rotate makes a key in place of one, whose secret is shown once.
func (s Keys) Rotate(ctx context.Context, app string, r Rotation) (Key, error) {
	body := struct {
		Key   string `json:"key,omitzero"`
		Grace *int64 `json:"grace_seconds,omitzero"`
	}{Key: r.Key}
	if r.Grace != nil {
		body.Grace = new(int64(*r.Grace / time.Second))
	}
	var k Key
	err := s.c.do(ctx, call{what: "rotate the key of " + app, method: http.MethodPost, path: "/v1/applications/{}/keys/rotate", ids: []string{app}, body: body, out: &k})
	return k, err
}

// Revoke ends a key at once.
func (s Keys) Revoke(ctx context.Context, app, key string) error {
	return s.c.do(ctx, call{what: "revoke key " + key, method: http.MethodDelete, path: "/v1/applications/{}/keys/{}", ids: []string{app, key}})
}
