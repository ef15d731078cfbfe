package client

import (
	"context"
	"iter"
	"net/http"
	"time"
)

// User is a person.
type User struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`         // canonical, never changes
	DisplayName string    `json:"display_name"` // as it was first given
	Aliases     []string  `json:"aliases"`
	Groups      []string  `json:"groups"`
	ExternalID  string    `json:"external_id,omitzero"` // the directory's
	State       string    `json:"state"`                // active or locked
	Owner       bool      `json:"owner"`                // may not be helped by bypass codes
	HasPassword bool      `json:"has_password"`
	ReportedAt  time.Time `json:"reported_at,omitzero"` // strangers are locked down since
	CreatedAt   time.Time `json:"created_at"`
	LastSeenAt  time.Time `json:"last_seen_at,omitzero"` // last approved sign-in
}

// NewUser is a person to be created. Everything but Name may be left out.
type NewUser struct {
	Name       string   `json:"name"`
	Aliases    []string `json:"aliases,omitzero"`
	Groups     []string `json:"groups,omitzero"`
	ExternalID string   `json:"external_id,omitzero"`
	Owner      bool     `json:"owner,omitzero"`
	Password   Secret   `json:"password,omitzero"`
}

// UserChange changes what is not nil.
type UserChange struct {
	Aliases    *[]string `json:"aliases,omitzero"`
	Groups     *[]string `json:"groups,omitzero"`
	ExternalID *string   `json:"external_id,omitzero"`
	Owner      *bool     `json:"owner,omitzero"`
}

// UserQuery narrows a list of users. The zero value matches all.
type UserQuery struct {
	Paging
	Name     string // exactly, or an alias
	Prefix   string // of a name or alias
	State    string // active or locked
	Enrolled string // yes or no
}

// Users are the people of the realm; the key needs the scope administer.
type Users struct{ c *Client }

// Create makes a user. It returns an Error with code conflict if a name is taken.
func (s Users) Create(ctx context.Context, n NewUser) (User, error) {
	var u User
	err := s.c.do(ctx, call{what: "create user " + printable(n.Name), method: http.MethodPost, path: "/v1/users", body: n, out: &u})
	return u, err
}

// List reads a page of users, newest first.
func (s Users) List(ctx context.Context, q UserQuery) (Page[User], error) {
	v := q.values()
	set(v, "name", q.Name)
	set(v, "prefix", q.Prefix)
	set(v, "state", q.State)
	set(v, "enrolled", q.Enrolled)
	return list[User](ctx, s.c, "list users", "/v1/users", nil, v)
}

// All goes through every user that the query matches; the pair with an error is the last.
func (s Users) All(ctx context.Context, q UserQuery) iter.Seq2[User, error] {
	return all(q.Paging, func(p Paging) (Page[User], error) {
		q.Paging = p
		return s.List(ctx, q)
	})
}

// Get reads a user.
func (s Users) Get(ctx context.Context, id string) (User, error) {
	var u User
	err := s.c.do(ctx, call{what: "read user " + id, method: http.MethodGet, path: "/v1/users/{}", ids: []string{id}, out: &u})
	return u, err
}

// Update changes a user. It is sent once.
func (s Users) Update(ctx context.Context, id string, change UserChange) (User, error) {
	var u User
	err := s.c.do(ctx, call{what: "update user " + id, method: http.MethodPatch, path: "/v1/users/{}", ids: []string{id}, body: change, out: &u})
	return u, err
}

// Delete removes a user with devices and factors.
func (s Users) Delete(ctx context.Context, id string) error {
	return s.c.do(ctx, call{what: "delete user " + id, method: http.MethodDelete, path: "/v1/users/{}", ids: []string{id}})
}

// Lock cancels what is live of the user's and lets nobody sign in by that name.
func (s Users) Lock(ctx context.Context, id string) (User, error) {
	return s.act(ctx, "lock", id, nil)
}

// Unlock takes a lock away.
func (s Users) Unlock(ctx context.Context, id string) (User, error) {
	return s.act(ctx, "unlock", id, nil)
}

// LiftReport ends what a "not me" brought about. An administrator names no challenges; the user
// lifts it through an application with challenges that they approved.
func (s Users) LiftReport(ctx context.Context, id string, challenges ...string) (User, error) {
	return s.act(ctx, "lift-report", id, struct {
		Challenges []string `json:"challenges,omitzero"`
	}{challenges})
}

// SetPassword sets the user's password, and ends what began under the former one. It returns an
// Error with reason password_weak.
func (s Users) SetPassword(ctx context.Context, id string, password Secret) error {
	return s.ChangePassword(ctx, id, password, "")
}

// ChangePassword sets the password of a user who changes it themselves: challenge is a fresh, strong,
// redeemed one of this application for this user, which stands for the scope administer. It returns
// an Error with reason password_weak.
func (s Users) ChangePassword(ctx context.Context, id string, password Secret, challenge string) error {
	body := struct {
		Password  string `json:"password"`
		Challenge string `json:"challenge,omitzero"`
	}{string(password), challenge}
	return s.c.do(ctx, call{what: "set the password of " + id, method: http.MethodPut, path: "/v1/users/{}/password", ids: []string{id}, body: body})
}

func (s Users) act(ctx context.Context, verb, id string, body any) (User, error) {
	var u User
	err := s.c.do(ctx, call{what: verb + " user " + id, method: http.MethodPost, path: "/v1/users/{}/" + verb, ids: []string{id}, body: body, out: &u})
	return u, err
}
