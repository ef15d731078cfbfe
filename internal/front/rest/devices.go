package rest

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/mfa"
)

// jwkShape is a public key as it is stored (RFC 7517).
type jwkShape jsontext.Value

// MarshalJSON gives the stored text.
func (k jwkShape) MarshalJSON() ([]byte, error) { return k, nil }

// Schema describes a P-256 key.
func (jwkShape) Schema(huma.Registry) *huma.Schema {
	text := &huma.Schema{Type: huma.TypeString}
	return &huma.Schema{
		Type: huma.TypeObject, Description: "Public key on P-256 (RFC 7517).", Required: []string{"kty", "crv", "x", "y"},
		Properties: map[string]*huma.Schema{"kty": text, "crv": text, "x": text, "y": text},
	}
}

type deviceShape struct {
	ID              mfa.DeviceID    `json:"id"`
	UserID          mfa.UserID      `json:"user_id"`
	Name            string          `json:"name"`
	Platform        string          `json:"platform"`
	AppVersion      string          `json:"app_version"`
	State           string          `json:"state" enum:"claimed,active,quarantined,suspended,revoked,refused"`
	Thumbprint      string          `json:"thumbprint" doc:"Of the key (RFC 7638)."`
	JWK             jwkShape        `json:"jwk"`
	EnrolmentID     mfa.EnrolmentID `json:"enrolment_id"`
	ClaimedAt       instant         `json:"claimed_at"`
	ConfirmedAt     instant         `json:"confirmed_at,omitzero"`
	QuarantineUntil instant         `json:"quarantine_until,omitzero"`
	EndedAt         instant         `json:"ended_at,omitzero" doc:"Revoked or refused."`
	LastSeenAt      instant         `json:"last_seen_at,omitzero"`
}

func showDevice(d account.Device) deviceShape {
	s := deviceShape{
		ID: d.ID, UserID: d.User, Name: d.Name, Platform: d.Platform, AppVersion: d.AppVersion, State: string(d.State),
		Thumbprint: d.Thumbprint, JWK: d.JWK, EnrolmentID: d.Enrolment, ClaimedAt: instant(d.ClaimedAt),
		ConfirmedAt: instant(d.ConfirmedAt), QuarantineUntil: instant(d.QuarantineUntil), EndedAt: instant(d.EndedAt),
		LastSeenAt: instant(d.SeenAt),
	}
	if d.State == mfa.DeviceActive && d.Quarantined {
		s.State = "quarantined"
	}
	return s
}

type deviceNameShape struct {
	Name string `json:"name" minLength:"1" maxLength:"64"`
}

type settleShape struct {
	Restore bool `json:"restore" doc:"Let the suspended device work again; otherwise it is revoked."`
}

func (h *Handler) deviceRoutes() {
	const tag = "devices"
	add(h, route{
		id: "listDevices", method: http.MethodGet, path: "/v1/users/{id}/devices", tag: tag,
		summary: "List a user's devices, oldest first", access: administer,
		query: paging(param{name: "all", values: []string{"yes", "no"}, about: "With revoked and refused ones."}),
		codes: []mfa.Code{mfa.NotFound},
	}, h.listDevices)
	add(h, route{
		id: "getDevice", method: http.MethodGet, path: "/v1/devices/{id}", tag: tag, summary: "Read a device",
		access: administer, codes: []mfa.Code{mfa.NotFound},
	}, h.getDevice)
	add(h, route{
		id: "renameDevice", method: http.MethodPatch, path: "/v1/devices/{id}", tag: tag, summary: "Name a device",
		access: administer, codes: []mfa.Code{mfa.NotFound, mfa.Conflict},
	}, h.renameDevice)
	add(h, route{
		id: "revokeDevice", method: http.MethodDelete, path: "/v1/devices/{id}", tag: tag, summary: "Remove a device for good",
		about: "What it approved and nobody redeemed is cancelled.", access: administer, codes: []mfa.Code{mfa.NotFound},
	}, h.revokeDevice)
	add(h, route{
		id: "settleDevice", method: http.MethodPost, path: "/v1/devices/{id}/settle", tag: tag,
		summary: "Decide about a suspended device", access: administer, keyed: keyOptional, codes: []mfa.Code{mfa.NotFound},
	}, h.settleDevice)
}

func (c *call) device() mfa.DeviceID { return mfa.DeviceID(c.path("id")) }

// byAdministrator is the right of whoever has the scope administer.
func (c *call) byAdministrator() account.Authority {
	return account.Authority{By: mfa.ActorAdministrator, Asker: c.by.Application.ID}
}

func (h *Handler) listDevices(ctx context.Context, c *call, _ nothing) (list[deviceShape], error) {
	rows, err := h.c.Accounts.Devices(ctx, c.by.Realm, c.user(), c.query["all"] == "yes")
	if err != nil {
		return list[deviceShape]{}, err
	}
	return part(h, c, rows, func(d account.Device) string { return string(d.ID) }, showDevice)
}

func (h *Handler) getDevice(ctx context.Context, c *call, _ nothing) (deviceShape, error) {
	d, err := h.c.Accounts.Device(ctx, c.by.Realm, c.device())
	return showDevice(d), err
}

func (h *Handler) renameDevice(ctx context.Context, c *call, in deviceNameShape) (deviceShape, error) {
	d, err := h.c.Accounts.Rename(ctx, c.by.Realm, c.device(), in.Name)
	return showDevice(d), err
}

func (h *Handler) revokeDevice(ctx context.Context, c *call, _ nothing) (nothing, error) {
	return nothing{}, h.c.Accounts.Revoke(ctx, c.by.Realm, c.device(), c.byAdministrator())
}

func (h *Handler) settleDevice(ctx context.Context, c *call, in settleShape) (deviceShape, error) {
	settle := h.c.Accounts.Revoke
	if in.Restore {
		settle = h.c.Accounts.Restore
	}
	if err := settle(ctx, c.by.Realm, c.device(), c.byAdministrator()); err != nil {
		return deviceShape{}, err
	}
	return h.getDevice(ctx, c, nothing{})
}
