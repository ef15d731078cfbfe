package client

import (
	"context"
	"iter"
	"net/http"
	"time"
)

// What the link of an invitation leads to.
const (
	ToEnrol = "enrol" // a device
	ToReset = "reset" // a new password
)

// Invitation is a link that was made for a person.
type Invitation struct {
	ID          string    `json:"id"`
	UserID      string    `json:"user_id"`
	Name        string    `json:"name"`         // of the user
	Purpose     string    `json:"purpose"`      // ToEnrol or ToReset
	State       string    `json:"state"`        // live, used, revoked, superseded or expired
	SetPassword bool      `json:"set_password"` // somebody without a password may set one
	URL         Secret    `json:"url,omitzero"` // the link, in the answer to its creation only
	CreatedAt   time.Time `json:"created_at"`
	ExpiresAt   time.Time `json:"expires_at"`
	EndedAt     time.Time `json:"ended_at,omitzero"`
}

// NewInvitation is how an invitation is made; all of it may be left out.
type NewInvitation struct {
	Purpose     string        // ToEnrol or ToReset
	ExpiresIn   time.Duration // 1 h to 30 days; 7 days if zero
	SetPassword bool          // somebody without a password may set one
}

type invitationBody struct {
	Users       []string `json:"users,omitzero"`
	Fresh       bool     `json:"fresh,omitzero"`
	Purpose     string   `json:"purpose,omitzero"`
	ExpiresIn   int64    `json:"expires_in,omitzero"`
	SetPassword bool     `json:"set_password,omitzero"`
}

func (n NewInvitation) body() invitationBody {
	return invitationBody{Purpose: n.Purpose, ExpiresIn: int64(n.ExpiresIn / time.Second), SetPassword: n.SetPassword}
}

// Invited is what became of one of several who were to be invited.
type Invited struct {
	UserID     string      `json:"user_id"`
	Invitation *Invitation `json:"invitation"` // nil if there is none
	Skipped    string      `json:"skipped"`    // why: unknown, locked, enrolled or invited
}

// InvitationQuery narrows a list of invitations. The zero value matches all.
type InvitationQuery struct {
	Paging
	User  string // id
	State string
}

// Invitations are links for days; the key needs the scope administer.
type Invitations struct{ c *Client }

// Create invites a user. A former invitation of theirs ends.
func (s Invitations) Create(ctx context.Context, user string, n NewInvitation) (Invitation, error) {
	var i Invitation
	err := s.c.do(ctx, call{
		what: "invite " + user, method: http.MethodPost, path: "/v1/users/{}/invitations", ids: []string{user}, body: n.body(), out: &i,
	})
	return i, err
}

// CreateMany invites at most 100 users, named by id. With fresh, whoever ever had a factor or has a
// live invitation is left out. Answers come in the order of the users.
func (s Invitations) CreateMany(ctx context.Context, users []string, n NewInvitation, fresh bool) ([]Invited, error) {
	body := n.body()
	body.Users, body.Fresh = users, fresh
	var out Page[Invited]
	err := s.c.do(ctx, call{what: "invite users", method: http.MethodPost, path: "/v1/invitations", body: body, out: &out})
	return out.Items, err
}

// List reads a page of invitations, newest first.
func (s Invitations) List(ctx context.Context, q InvitationQuery) (Page[Invitation], error) {
	v := q.values()
	set(v, "user", q.User)
	set(v, "state", q.State)
	return list[Invitation](ctx, s.c, "list invitations", "/v1/invitations", nil, v)
}

// All goes through every invitation that the query matches; the pair with an error is the last.
func (s Invitations) All(ctx context.Context, q InvitationQuery) iter.Seq2[Invitation, error] {
	return all(q.Paging, func(p Paging) (Page[Invitation], error) {
		q.Paging = p
		return s.List(ctx, q)
	})
}

// Get reads an invitation.
func (s Invitations) Get(ctx context.Context, id string) (Invitation, error) {
	var i Invitation
	err := s.c.do(ctx, call{what: "read invitation " + id, method: http.MethodGet, path: "/v1/invitations/{}", ids: []string{id}, out: &i})
	return i, err
}

// Revoke ends an invitation. It returns an Error with code conflict for one that is over.
func (s Invitations) Revoke(ctx context.Context, id string) (Invitation, error) {
	return s.act(ctx, "revoke", id)
}

// Resend makes an invitation like this one with another link; the old link is dead.
func (s Invitations) Resend(ctx context.Context, id string) (Invitation, error) {
	return s.act(ctx, "resend", id)
}

func (s Invitations) act(ctx context.Context, verb, id string) (Invitation, error) {
	var i Invitation
	err := s.c.do(ctx, call{what: verb + " invitation " + id, method: http.MethodPost, path: "/v1/invitations/{}/" + verb, ids: []string{id}, out: &i})
	return i, err
}

// FirstEnrolment asks for the ticket of a person's first device.
type FirstEnrolment struct {
	UserID   string // or
	UserName string
	// Password is checked by the server. Without it the application asserts that it checked a first
	// factor, for which its key needs the scope assert_first_factor.
	Password Secret
	// Invitation is what follows # in the link of the person's invitation. Without it policy has to
	// allow the first enrolment at sign-in.
	Invitation Secret
	// QR asks for the link as a picture too: svg or png.
	QR string
}

// First begins to enrol the first device of a person who never had a factor; the key needs the scope
// authenticate. It returns an Error with reason first_enrolment for everybody else.
func (s Enrolments) First(ctx context.Context, f FirstEnrolment) (Enrolment, error) {
	type who struct {
		ID   string `json:"id,omitzero"`
		Name string `json:"name,omitzero"`
	}
	body := struct {
		User        who    `json:"user"`
		FirstFactor string `json:"first_factor,omitzero"`
		Password    string `json:"password,omitzero"`
		Invitation  string `json:"invitation,omitzero"`
	}{User: who{f.UserID, f.UserName}, Password: string(f.Password), Invitation: string(f.Invitation)}
	if f.Password == "" {
		body.FirstFactor = "asserted"
	}
	q := Paging{}.values()
	set(q, "qr", f.QR)
	var e Enrolment
	err := s.c.do(ctx, call{what: "enrol a first device", method: http.MethodPost, path: "/v1/enrolments", query: q, body: body, out: &e})
	return e, err
}

// Person is somebody as a directory has them. What is nil is not said, and stays as it is.
type Person struct {
	Name        string    `json:"name"`
	ExternalID  string    `json:"external_id,omitzero"`
	DisplayName *string   `json:"display_name,omitzero"`
	Aliases     *[]string `json:"aliases,omitzero"`
	Groups      *[]string `json:"groups,omitzero"`
}

// Imported is what an import did, or would do, with a person.
type Imported struct {
	Name    string         `json:"name"`
	UserID  string         `json:"user_id,omitzero"`
	Outcome string         `json:"outcome"` // created, changed, unchanged or refused
	Changes []MemberChange `json:"changes,omitzero"`
	Refusal *Refusal       `json:"refusal,omitzero"`
}

// MemberChange is one member that an import changes.
type MemberChange struct {
	Member string   `json:"member"` // display_name, external_id, groups or aliases
	Before []string `json:"before"`
	After  []string `json:"after"`
}

// Refusal is why a person was not imported.
type Refusal struct {
	Code   Code   `json:"code"`
	Reason string `json:"reason,omitzero"`
	Field  string `json:"field,omitzero"`
	Detail string `json:"detail"`
}

// Import makes at most 100 people, or changes what is different about those who are there, found by
// external id and else by name. With dryRun nothing is changed. Answers come in the order of the
// people; one who is refused keeps no other from being imported.
func (s Users) Import(ctx context.Context, people []Person, dryRun bool) ([]Imported, error) {
	body := struct {
		People []Person `json:"people"`
		DryRun bool     `json:"dry_run,omitzero"`
	}{people, dryRun}
	var out Page[Imported]
	err := s.c.do(ctx, call{what: "import users", method: http.MethodPost, path: "/v1/users/import", body: body, out: &out})
	return out.Items, err
}
