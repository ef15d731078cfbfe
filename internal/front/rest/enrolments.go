package rest

import (
	"context"
	"net/http"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

type newEnrolmentShape struct {
	Lost      bool   `json:"lost,omitzero" doc:"Replaces what was lost or stolen: the confirmation revokes the user's other devices. Administrators only."`
	By        string `json:"by,omitempty" enum:"administrator,help_desk" doc:"Who stands behind the request; administrator without it."`
	Challenge string `json:"challenge,omitempty" maxLength:"64" doc:"Of this user, redeemed by this application at most 20 minutes ago, answered by a strong factor: the user asks for themselves. Required without the scope administer."`
}

func (n *newEnrolmentShape) check() error {
	if n.Challenge != "" && (n.Lost || n.By != "") {
		return mfa.InvalidField("challenge", "A user who asks for themselves is no administrator: leave out lost and by.")
	}
	return nil
}

type enrolmentShape struct {
	ID        mfa.EnrolmentID    `json:"id"`
	UserID    mfa.UserID         `json:"user_id"`
	State     mfa.EnrolmentState `json:"state" enum:"invited,claimed,confirmed,expired,cancelled,refused"`
	URL       string             `json:"url,omitempty" doc:"The link with the ticket, in the answer to the creation only."`
	QR        string             `json:"qr,omitempty" doc:"The link as a picture, with ?qr=: SVG text, or PNG in base64."`
	DeviceID  mfa.DeviceID       `json:"device_id,omitempty"`
	ExpiresAt instant            `json:"expires_at" doc:"Exclusive: until then it is to be claimed, or confirmed."`
}

type codeShape struct {
	Code secret.Value `json:"code" minLength:"1" maxLength:"16"`
}

func (h *Handler) enrolmentRoutes() {
	const tag = "enrolments"
	add(h, route{
		id: "createEnrolment", method: http.MethodPost, path: "/v1/users/{id}/enrolments", tag: tag,
		summary: "Begin to enrol a device", about: "A newer enrolment of the user ends the older.",
		status: http.StatusCreated, made: "/v1/enrolments/", access: selfService, keyed: keyOptional, secret: true,
		query: []param{pictureParam()}, codes: []mfa.Code{mfa.NotFound},
	}, h.createEnrolment)
	add(h, route{
		id: "getEnrolment", method: http.MethodGet, path: "/v1/enrolments/{id}", tag: tag, summary: "Read an enrolment",
		access: selfService, codes: []mfa.Code{mfa.NotFound},
	}, h.getEnrolment)
	add(h, route{
		id: "confirmEnrolment", method: http.MethodPost, path: "/v1/enrolments/{id}/confirm", tag: tag,
		summary: "Confirm a claimed enrolment", about: "With the six digits that the new device shows. The third wrong code refuses the device.",
		access: selfService, keyed: keyOptional, codes: []mfa.Code{mfa.NotFound, mfa.Gone},
	}, h.confirmEnrolment)
	add(h, route{
		id: "cancelEnrolment", method: http.MethodPost, path: "/v1/enrolments/{id}/cancel", tag: tag,
		summary: "End an enrolment", access: selfService, keyed: keyOptional, codes: []mfa.Code{mfa.NotFound, mfa.Gone},
	}, h.cancelEnrolment)
}

func (h *Handler) createEnrolment(ctx context.Context, c *call, in newEnrolmentShape) (enrolmentShape, error) {
	e := account.Enrol{Lost: in.Lost, Authority: c.byAdministrator()}
	if in.Challenge != "" {
		e.By, e.Challenge = mfa.ActorUser, mfa.ChallengeID(in.Challenge)
		ctx = c.asUser(ctx)
	} else {
		if err := c.by.Require(application.Administer); err != nil {
			return enrolmentShape{}, err
		}
		if in.By != "" {
			e.By = mfa.Actor(in.By)
		}
		ctx = c.asActor(ctx, in.By)
	}
	return makes(ctx, c, func(ctx context.Context) (account.Ticket, error) {
		return h.c.Accounts.Enrol(ctx, c.by.Realm, c.user(), e)
	}, c.showTicket)
}

// showTicket shows an enrolment that was begun.
func (c *call) showTicket(t account.Ticket) (id string, out enrolmentShape, err error) {
	out = enrolmentShape{
		ID: t.ID, UserID: t.User, State: mfa.EnrolmentInvited, URL: t.Link.Reveal(), ExpiresAt: instant(t.ExpiresAt),
	}
	out.QR, err = picture(c.query["qr"], out.URL)
	return string(t.ID), out, err
}

// enrolment reads one that the caller may know of: any for an administrator, else what a user asked
// for through this application. What an administrator began is for administrators to confirm, even
// if the application is the same.
func (h *Handler) enrolment(ctx context.Context, c *call) (account.Enrolment, error) {
	e, err := h.c.Accounts.Enrolment(ctx, c.by.Realm, mfa.EnrolmentID(c.path("id")))
	own := e.Asker == c.by.Application.ID && e.By == mfa.ActorUser
	if err == nil && !own && !c.by.Has(application.Administer) {
		err = mfa.ErrNotFound()
	}
	return e, err
}

func (h *Handler) getEnrolment(ctx context.Context, c *call, _ nothing) (enrolmentShape, error) {
	e, err := h.enrolment(ctx, c)
	if err != nil {
		return enrolmentShape{}, err
	}
	out := enrolmentShape{ID: e.ID, UserID: e.User, State: e.State, DeviceID: e.Device, ExpiresAt: instant(e.ClaimBy)}
	if e.ConfirmBy != 0 {
		out.ExpiresAt = instant(e.ConfirmBy)
	}
	return out, nil
}

func (h *Handler) confirmEnrolment(ctx context.Context, c *call, in codeShape) (enrolmentShape, error) {
	e, err := h.enrolment(ctx, c)
	if err != nil {
		return enrolmentShape{}, err
	}
	if _, err := h.c.Accounts.Confirm(c.forEnrolment(ctx, e), c.by.Realm, e.ID, in.Code.Reveal()); err != nil {
		return enrolmentShape{}, err
	}
	return h.getEnrolment(ctx, c, nothing{})
}

func (h *Handler) cancelEnrolment(ctx context.Context, c *call, _ nothing) (enrolmentShape, error) {
	e, err := h.enrolment(ctx, c)
	if err != nil {
		return enrolmentShape{}, err
	}
	if err := h.c.Accounts.CancelEnrolment(c.forEnrolment(ctx, e), c.by.Realm, e.ID); err != nil {
		return enrolmentShape{}, err
	}
	return h.getEnrolment(ctx, c, nothing{})
}

// forEnrolment gives a context in which whoever asked for the enrolment acts.
func (c *call) forEnrolment(ctx context.Context, e account.Enrolment) context.Context {
	if e.By == mfa.ActorUser {
		return c.asUser(ctx)
	}
	return c.asActor(ctx, string(e.By))
}
