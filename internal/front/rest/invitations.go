package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

type newInvitationShape struct {
	Purpose     mfa.InvitationPurpose `json:"purpose,omitempty" enum:"enrol,reset" doc:"enrol without it: the link leads to a device. reset: to a new password."`
	ExpiresIn   int                   `json:"expires_in,omitzero" minimum:"3600" maximum:"2592000" doc:"Seconds; 7 days without it."`
	SetPassword bool                  `json:"set_password,omitzero" doc:"A person without a password may set one."`
}

func (n newInvitationShape) invite() account.Invite {
	return account.Invite{Purpose: n.Purpose, Life: time.Duration(n.ExpiresIn) * time.Second, SetPassword: n.SetPassword}
}

type newInvitationsShape struct {
	Users       []string              `json:"users" minItems:"1" maxItems:"100" doc:"Ids."`
	Fresh       bool                  `json:"fresh,omitzero" doc:"Leave out whoever ever had a factor or has a live invitation."`
	Purpose     mfa.InvitationPurpose `json:"purpose,omitempty" enum:"enrol,reset"`
	ExpiresIn   int                   `json:"expires_in,omitzero" minimum:"3600" maximum:"2592000" doc:"Seconds; 7 days without it."`
	SetPassword bool                  `json:"set_password,omitzero" doc:"A person without a password may set one."`
}

type invitationShape struct {
	ID          mfa.InvitationID      `json:"id"`
	UserID      mfa.UserID            `json:"user_id"`
	Name        string                `json:"name" doc:"Of the user."`
	Purpose     mfa.InvitationPurpose `json:"purpose" enum:"enrol,reset"`
	State       mfa.InvitationState   `json:"state" enum:"live,used,revoked,superseded,expired"`
	SetPassword bool                  `json:"set_password"`
	URL         string                `json:"url,omitempty" doc:"The link, in the answer to its creation only."`
	CreatedAt   instant               `json:"created_at"`
	ExpiresAt   instant               `json:"expires_at" doc:"Exclusive."`
	EndedAt     instant               `json:"ended_at,omitzero"`
}

func showInvitation(i account.Invitation) invitationShape {
	return invitationShape{
		ID: i.ID, UserID: i.User, Name: i.Name, Purpose: i.Purpose, State: i.State, SetPassword: i.SetPassword,
		URL: i.Link.Reveal(), CreatedAt: instant(i.CreatedAt), ExpiresAt: instant(i.ExpiresAt), EndedAt: instant(i.EndedAt),
	}
}

type invitedShape struct {
	UserID     mfa.UserID       `json:"user_id"`
	Invitation *invitationShape `json:"invitation,omitempty"`
	Skipped    string           `json:"skipped,omitempty" enum:"unknown,locked,enrolled,invited" doc:"Why there is no invitation."`
}

type firstEnrolmentShape struct {
	User        firstUserShape `json:"user"`
	FirstFactor string         `json:"first_factor,omitempty" enum:"asserted" doc:"The application checked the user's first factor itself; needs the scope assert_first_factor."`
	Password    *secret.Value  `json:"password,omitempty" minLength:"1" maxLength:"1024" doc:"To be checked by nod."`
	Invitation  *secret.Value  `json:"invitation,omitempty" minLength:"1" maxLength:"64" doc:"What follows # in the link of the user's invitation. Without it policy has to allow the first enrolment at sign-in."`
}

type firstUserShape struct {
	ID   mfa.UserID `json:"id,omitempty" maxLength:"64"`
	Name string     `json:"name,omitempty" maxLength:"255" doc:"As the user wrote it."`
}

func (f *firstEnrolmentShape) check() error {
	if (f.User.ID == "") == (f.User.Name == "") {
		return mfa.InvalidField("user", "Name the user by id or by name.")
	}
	if (f.Password == nil) == (f.FirstFactor == "") {
		return mfa.InvalidField("first_factor", "Give either the password or first_factor.")
	}
	return nil
}

func (h *Handler) invitationRoutes() {
	const tag = "invitations"
	add(h, route{
		id: "createInvitation", method: http.MethodPost, path: "/v1/users/{id}/invitations", tag: tag,
		summary: "Invite a user", about: "A newer invitation of the user ends the older.",
		status: http.StatusCreated, made: "/v1/invitations/", access: administer, keyed: keyOptional, secret: true,
		codes: []mfa.Code{mfa.NotFound, mfa.Conflict},
	}, func(ctx context.Context, c *call, in newInvitationShape) (invitationShape, error) {
		return makes(ctx, c, func(ctx context.Context) (account.Invitation, error) {
			return h.c.Accounts.Invite(ctx, c.by.Realm, c.user(), in.invite())
		}, madeInvitation)
	})
	add(h, route{
		id: "createInvitations", method: http.MethodPost, path: "/v1/invitations", tag: tag, summary: "Invite many users",
		about:  "Each gets an answer of their own, in the order in which they were named.",
		access: administer, keyed: keyOptional, secret: true,
	}, h.createInvitations)
	add(h, route{
		id: "listInvitations", method: http.MethodGet, path: "/v1/invitations", tag: tag, summary: "List invitations, newest first",
		access: administer, query: paging(
			param{name: "user", max: maxText, about: "Id of a user."},
			param{name: "state", values: []string{"live", "used", "revoked", "superseded", "expired"}},
		),
	}, h.listInvitations)
	add(h, route{
		id: "getInvitation", method: http.MethodGet, path: "/v1/invitations/{id}", tag: tag, summary: "Read an invitation",
		access: administer, codes: []mfa.Code{mfa.NotFound},
	}, func(ctx context.Context, c *call, _ nothing) (invitationShape, error) {
		i, err := h.c.Accounts.Invitation(ctx, c.by.Realm, c.invitation())
		return showInvitation(i), err
	})
	add(h, route{
		id: "revokeInvitation", method: http.MethodPost, path: "/v1/invitations/{id}/revoke", tag: tag, summary: "End an invitation",
		about: "The enrolment that was begun through it ends too.", access: administer, keyed: keyOptional,
		codes: []mfa.Code{mfa.NotFound, mfa.Conflict},
	}, func(ctx context.Context, c *call, _ nothing) (invitationShape, error) {
		i, err := h.c.Accounts.RevokeInvitation(ctx, c.by.Realm, c.invitation())
		return showInvitation(i), err
	})
	add(h, route{
		id: "resendInvitation", method: http.MethodPost, path: "/v1/invitations/{id}/resend", tag: tag,
		summary: "Make an invitation like this one", about: "With a new link; the old one is dead. One that was used cannot be sent again.",
		status: http.StatusCreated, made: "/v1/invitations/", access: administer, keyed: keyOptional, secret: true, codes: []mfa.Code{mfa.NotFound, mfa.Conflict},
	}, func(ctx context.Context, c *call, _ nothing) (invitationShape, error) {
		return makes(ctx, c, func(ctx context.Context) (account.Invitation, error) {
			return h.c.Accounts.ResendInvitation(ctx, c.by.Realm, c.invitation())
		}, madeInvitation)
	})
	add(h, route{
		id: "createFirstEnrolment", method: http.MethodPost, path: "/v1/enrolments", tag: "enrolments",
		summary: "Begin to enrol a user's first device",
		about: "For a user who never had a factor: through their invitation, or, where policy says so, within seven days of " +
			"the user's creation. The application shows the link and confirms the enrolment.",
		status: http.StatusCreated, made: "/v1/enrolments/", access: authenticate, keyed: keyOptional, secret: true, query: []param{pictureParam()},
		codes: []mfa.Code{mfa.RateLimited},
	}, h.createFirstEnrolment)
}

func (c *call) invitation() mfa.InvitationID { return mfa.InvitationID(c.path("id")) }

func madeInvitation(i account.Invitation) (string, invitationShape, error) {
	return string(i.ID), showInvitation(i), nil
}

func (h *Handler) createInvitations(ctx context.Context, c *call, in newInvitationsShape) (list[invitedShape], error) {
	users := make([]mfa.UserID, len(in.Users))
	for i, id := range in.Users {
		users[i] = mfa.UserID(id)
	}
	how := newInvitationShape{Purpose: in.Purpose, ExpiresIn: in.ExpiresIn, SetPassword: in.SetPassword}
	return makes(ctx, c, func(ctx context.Context) ([]account.Invited, error) {
		return h.c.Accounts.InviteMany(ctx, c.by.Realm, users, how.invite(), in.Fresh)
	}, func(rows []account.Invited) (string, list[invitedShape], error) {
		return "the invitations", all(rows, showInvited), nil
	})
}

func showInvited(i account.Invited) invitedShape {
	out := invitedShape{UserID: i.User, Skipped: i.Skipped}
	if i.Skipped == "" {
		shown := showInvitation(i.Invitation)
		out.Invitation = &shown
	}
	return out
}

func (h *Handler) listInvitations(ctx context.Context, c *call, _ nothing) (list[invitationShape], error) {
	filter := account.InvitationFilter{User: mfa.UserID(c.query["user"]), State: mfa.InvitationState(c.query["state"])}
	return page(h, c, func(p account.Page) ([]account.Invitation, error) {
		return h.c.Accounts.Invitations(ctx, c.by.Realm, filter, p)
	}, func(i account.Invitation) (mfa.Instant, string) { return i.CreatedAt, string(i.ID) }, showInvitation)
}

func (h *Handler) createFirstEnrolment(ctx context.Context, c *call, in firstEnrolmentShape) (enrolmentShape, error) {
	f := account.FirstEnrolment{
		Asker: c.by.Application.ID, Form: c.by.Application.UsernameForm, UserID: in.User.ID, UserName: in.User.Name,
	}
	if in.Password != nil {
		f.Password = *in.Password
	} else if err := c.by.Require(application.AssertFirstFactor); err != nil {
		return enrolmentShape{}, err
	}
	if in.Invitation != nil {
		f.Invitation = *in.Invitation
	}
	return makes(c.asUser(ctx), c, func(ctx context.Context) (account.Ticket, error) {
		return h.c.Accounts.EnrolFirst(ctx, c.by.Realm, f)
	}, c.showTicket)
}
