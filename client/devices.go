package client

import (
	"context"
	"net/http"
	"time"
)

// JWK is a public P-256 key (RFC 7517).
type JWK struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
}

// Device is an enrolled authenticator.
type Device struct {
	ID              string    `json:"id"`
	UserID          string    `json:"user_id"`
	Name            string    `json:"name"`
	Platform        string    `json:"platform"`
	AppVersion      string    `json:"app_version"`
	State           string    `json:"state"` // claimed, active, quarantined, suspended, revoked or refused
	Thumbprint      string    `json:"thumbprint"`
	JWK             JWK       `json:"jwk"`
	EnrolmentID     string    `json:"enrolment_id"`
	ClaimedAt       time.Time `json:"claimed_at"`
	ConfirmedAt     time.Time `json:"confirmed_at,omitzero"`
	QuarantineUntil time.Time `json:"quarantine_until,omitzero"`
	EndedAt         time.Time `json:"ended_at,omitzero"` // revoked or refused
	LastSeenAt      time.Time `json:"last_seen_at,omitzero"`
}

// Devices are enrolled authenticators; the key needs the scope administer.
type Devices struct{ c *Client }

// List reads a page of a user's devices.
func (s Devices) List(ctx context.Context, user string, p Paging) (Page[Device], error) {
	return list[Device](ctx, s.c, "list the devices of "+user, "/v1/users/{}/devices", []string{user}, p.values())
}

// Get reads a device.
func (s Devices) Get(ctx context.Context, id string) (Device, error) {
	var d Device
	err := s.c.do(ctx, call{what: "read device " + id, method: http.MethodGet, path: "/v1/devices/{}", ids: []string{id}, out: &d})
	return d, err
}

// Rename changes the name of a device. It is sent once.
func (s Devices) Rename(ctx context.Context, id, name string) (Device, error) {
	body := struct {
		Name string `json:"name"`
	}{name}
	var d Device
	err := s.c.do(ctx, call{what: "rename device " + id, method: http.MethodPatch, path: "/v1/devices/{}", ids: []string{id}, body: body, out: &d})
	return d, err
}

// Revoke ends a device for good, and its approvals that are not redeemed.
func (s Devices) Revoke(ctx context.Context, id string) error {
	return s.c.do(ctx, call{what: "revoke device " + id, method: http.MethodDelete, path: "/v1/devices/{}", ids: []string{id}})
}

// Settle decides about a device that a veto suspended: it is restored, or revoked.
func (s Devices) Settle(ctx context.Context, id string, restore bool) (Device, error) {
	body := struct {
		Restore bool `json:"restore"`
	}{restore}
	var d Device
	err := s.c.do(ctx, call{what: "settle device " + id, method: http.MethodPost, path: "/v1/devices/{}/settle", ids: []string{id}, body: body, out: &d})
	return d, err
}

// Who issues tickets and codes.
const (
	ByAdministrator = "administrator"
	ByHelpDesk      = "help_desk"
)

// NewEnrolment is how a ticket is made; all of it may be left out.
type NewEnrolment struct {
	// Lost replaces a lost or stolen device: at confirmation the user's others are revoked.
	Lost bool `json:"lost,omitzero"`
	// By is ByAdministrator or ByHelpDesk.
	By string `json:"by,omitzero"`
	// Challenge is a fresh, strong, redeemed one of this application for this user: what a key
	// without the scope administer needs.
	Challenge string `json:"challenge,omitzero"`
	// QR asks for the link as a picture too: svg or png.
	QR string `json:"-"`
}

// Enrolment is a ticket by which one device is enrolled.
type Enrolment struct {
	ID        string    `json:"id"`
	UserID    string    `json:"user_id"`
	State     string    `json:"state"`        // invited, claimed, confirmed, expired, cancelled or refused
	URL       Secret    `json:"url,omitzero"` // the link, in the answer to Create only
	QR        Secret    `json:"qr,omitzero"`  // SVG text, or PNG in base64; likewise
	DeviceID  string    `json:"device_id,omitzero"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Enrolments are tickets by which devices are enrolled. The key needs the scope administer, or a
// challenge as NewEnrolment says.
type Enrolments struct{ c *Client }

// Create makes a ticket for a user; an older one of the same user ends.
func (s Enrolments) Create(ctx context.Context, user string, n NewEnrolment) (Enrolment, error) {
	q := call{
		what: "create an enrolment for " + user, method: http.MethodPost, path: "/v1/users/{}/enrolments", ids: []string{user}, body: n,
	}
	if n.QR != "" {
		q.query = map[string][]string{"qr": {n.QR}}
	}
	var e Enrolment
	q.out = &e
	err := s.c.do(ctx, q)
	return e, err
}

// Get reads an enrolment.
func (s Enrolments) Get(ctx context.Context, id string) (Enrolment, error) {
	var e Enrolment
	err := s.c.do(ctx, call{what: "read enrolment " + id, method: http.MethodGet, path: "/v1/enrolments/{}", ids: []string{id}, out: &e})
	return e, err
}

// Confirm gives the six digits that the new device shows. It returns an Error with reason
// wrong_code; the third wrong code refuses the device.
func (s Enrolments) Confirm(ctx context.Context, id string, code Secret) (Enrolment, error) {
	body := struct {
		Code string `json:"code"`
	}{string(code)}
	var e Enrolment
	err := s.c.do(ctx, call{what: "confirm enrolment " + id, method: http.MethodPost, path: "/v1/enrolments/{}/confirm", ids: []string{id}, body: body, out: &e})
	return e, err
}

// Cancel ends an enrolment that is not confirmed.
func (s Enrolments) Cancel(ctx context.Context, id string) (Enrolment, error) {
	var e Enrolment
	err := s.c.do(ctx, call{what: "cancel enrolment " + id, method: http.MethodPost, path: "/v1/enrolments/{}/cancel", ids: []string{id}, out: &e})
	return e, err
}
