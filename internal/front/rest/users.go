package rest

import (
	"context"
	"net/http"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

type userShape struct {
	ID          mfa.UserID `json:"id"`
	Name        string     `json:"name" doc:"Canonical; it never changes."`
	DisplayName string     `json:"display_name" doc:"As it was first given."`
	Aliases     []string   `json:"aliases"`
	Groups      []string   `json:"groups"`
	ExternalID  string     `json:"external_id,omitempty"`
	State       string     `json:"state" enum:"active,locked"`
	Owner       bool       `json:"owner" doc:"May not be given bypass codes."`
	HasPassword bool       `json:"has_password"`
	ReportedAt  instant    `json:"reported_at,omitzero" doc:"The user said \"not me\": strangers are shut out since."`
	CreatedAt   instant    `json:"created_at"`
	LastSeenAt  instant    `json:"last_seen_at,omitzero" doc:"Last approved sign-in."`
}

func showUser(u account.User) userShape {
	s := userShape{
		ID: u.ID, Name: u.Name, DisplayName: u.Display, Aliases: u.Aliases, Groups: u.Groups, ExternalID: u.ExternalID,
		State: "active", Owner: u.Owner, HasPassword: u.HasPassword, ReportedAt: instant(u.ReportedAt),
		CreatedAt: instant(u.CreatedAt), LastSeenAt: instant(u.SeenAt),
	}
	if u.Locked {
		s.State = "locked"
	}
	return s
}

type newUserShape struct {
	Name       string        `json:"name" minLength:"1" maxLength:"255"`
	Aliases    []string      `json:"aliases,omitempty" maxItems:"20" doc:"Other names, in one key space with the names."`
	Groups     []string      `json:"groups,omitempty" maxItems:"200"`
	ExternalID string        `json:"external_id,omitempty" minLength:"1" maxLength:"255" doc:"The directory's id."`
	Owner      bool          `json:"owner,omitzero"`
	Password   *secret.Value `json:"password,omitempty" minLength:"1" maxLength:"1024"`
}

type userChangeShape struct {
	Aliases    *[]string `json:"aliases,omitempty" maxItems:"20" doc:"Replaces all."`
	Groups     *[]string `json:"groups,omitempty" maxItems:"200" doc:"Replaces all."`
	ExternalID *string   `json:"external_id,omitempty" maxLength:"255" doc:"Empty for none."`
	Owner      *bool     `json:"owner,omitzero"`
}

type passwordShape struct {
	Password  secret.Value `json:"password" minLength:"1" maxLength:"1024" doc:"15 characters alone, 8 beside a second factor."`
	Challenge string       `json:"challenge,omitempty" maxLength:"64" doc:"Of this user, redeemed by this application at most 20 minutes ago, answered by a strong factor: the user changes it themselves. Required without the scope administer."`
}

type liftShape struct {
	Challenges []string `json:"challenges,omitempty" maxItems:"8" doc:"Redeemed by this application for this user since the report, at most 20 minutes ago: one by passkey, or by two of scan, TOTP and backup code. Administrators need none."`
}

type promptShape struct {
	ID          mfa.ChallengeID   `json:"id"`
	Application mfa.ApplicationID `json:"application_id"`
	Kind        mfa.Kind          `json:"kind" enum:"login,step_up,transaction"`
	State       mfa.State         `json:"state" enum:"pending,answered,approved,redeemed,denied,failed,expired,cancelled"`
	Reason      mfa.CancelReason  `json:"reason,omitempty"`
	Reported    bool              `json:"reported,omitzero"`
	Listed      bool              `json:"listed"`
	Rung        bool              `json:"rung"`
	Method      mfa.Method        `json:"method,omitempty" doc:"That answered."`
	Match       mfa.Match         `json:"match,omitempty" doc:"That the approving device used."`
	Device      mfa.DeviceID      `json:"device_id,omitempty" doc:"That decided."`
	CreatedAt   instant           `json:"created_at"`
	DecidedAt   instant           `json:"decided_at,omitzero"`
}

func (h *Handler) userRoutes() {
	const tag = "users"
	add(h, route{
		id: "createUser", method: http.MethodPost, path: "/v1/users", tag: tag, summary: "Make a user",
		status: http.StatusCreated, made: "/v1/users/", access: administer, keyed: keyOptional,
	}, h.createUser)
	add(h, route{
		id: "listUsers", method: http.MethodGet, path: "/v1/users", tag: tag, summary: "List users, newest first",
		access: administer,
		query: paging(
			param{name: "name", max: maxText, about: "A name or alias, in any spelling: that user or nobody."},
			param{name: "prefix", max: maxText, about: "Of a name or alias."},
			param{name: "state", values: []string{"active", "locked"}},
			param{name: "enrolled", values: []string{"yes", "no"}, about: "Has an active device, or has none."},
		),
	}, h.listUsers)
	add(h, route{
		id: "getUser", method: http.MethodGet, path: "/v1/users/{id}", tag: tag, summary: "Read a user",
		access: administer, codes: []mfa.Code{mfa.NotFound},
	}, h.getUser)
	add(h, route{
		id: "updateUser", method: http.MethodPatch, path: "/v1/users/{id}", tag: tag, summary: "Change a user",
		about: "Members that are left out stay. Names never change.", access: administer,
		codes: []mfa.Code{mfa.NotFound, mfa.Conflict},
	}, h.updateUser)
	add(h, route{
		id: "deleteUser", method: http.MethodDelete, path: "/v1/users/{id}", tag: tag,
		summary: "Delete a user with devices and factors", about: "Challenges and events stay.", access: administer,
		codes: []mfa.Code{mfa.NotFound},
	}, h.deleteUser)
	add(h, route{
		id: "lockUser", method: http.MethodPost, path: "/v1/users/{id}/lock", tag: tag, summary: "Shut a user out",
		about: "Live challenges and enrolments are cancelled.", access: administer, keyed: keyOptional,
		codes: []mfa.Code{mfa.NotFound},
	}, h.thenUser(h.c.Accounts.Lock))
	add(h, route{
		id: "unlockUser", method: http.MethodPost, path: "/v1/users/{id}/unlock", tag: tag, summary: "Let a user in again",
		access: administer, keyed: keyOptional, codes: []mfa.Code{mfa.NotFound},
	}, h.thenUser(h.c.Accounts.Unlock))
	add(h, route{
		id: "liftReport", method: http.MethodPost, path: "/v1/users/{id}/lift-report", tag: tag,
		summary: "End what a user's \"not me\" began", access: selfService, keyed: keyOptional,
		codes: []mfa.Code{mfa.NotFound},
	}, h.liftReport)
	add(h, route{
		id: "setPassword", method: http.MethodPut, path: "/v1/users/{id}/password", tag: tag, summary: "Set a user's password",
		about:  "What began under the former one ends: live challenges, enrolments, known browsers, an invitation to reset it.",
		access: selfService, codes: []mfa.Code{mfa.NotFound},
	}, h.setPassword)
	add(h, route{
		id: "listPrompts", method: http.MethodGet, path: "/v1/users/{id}/prompts", tag: tag,
		summary: "List what a user was asked, newest first", access: administer, query: paging(),
		codes: []mfa.Code{mfa.NotFound},
	}, h.listPrompts)
	add(h, route{
		id: "listBrowsers", method: http.MethodGet, path: "/v1/users/{id}/browsers", tag: tag,
		summary: "List a user's known browsers", access: administer, query: paging(), codes: []mfa.Code{mfa.NotFound},
	}, h.listBrowsers)
	add(h, route{
		id: "forgetBrowser", method: http.MethodDelete, path: "/v1/users/{id}/browsers/{thumbprint}", tag: tag,
		summary: "Make a known browser a stranger", access: administer, codes: []mfa.Code{mfa.NotFound},
	}, h.forgetBrowser)
}

func (c *call) user() mfa.UserID { return mfa.UserID(c.path("id")) }

func (h *Handler) createUser(ctx context.Context, c *call, in newUserShape) (userShape, error) {
	n := account.NewUser{Name: in.Name, UserChange: account.UserChange{Owner: &in.Owner}}
	if in.Aliases != nil {
		n.Aliases = &in.Aliases
	}
	if in.Groups != nil {
		n.Groups = &in.Groups
	}
	if in.ExternalID != "" {
		n.ExternalID = &in.ExternalID
	}
	if in.Password != nil {
		n.Password = *in.Password
	}
	return makes(ctx, c, func(ctx context.Context) (account.User, error) {
		return h.c.Accounts.CreateUser(ctx, c.by.Realm, n)
	}, func(u account.User) (string, userShape, error) { return string(u.ID), showUser(u), nil })
}

func (h *Handler) listUsers(ctx context.Context, c *call, _ nothing) (list[userShape], error) {
	if name, ok := c.query["name"]; ok {
		u, err := h.c.Accounts.UserByName(ctx, c.by.Realm, name)
		if mfa.CodeOf(err) == mfa.NotFound {
			return all([]account.User{}, showUser), nil
		}
		if err != nil {
			return list[userShape]{}, err
		}
		return all([]account.User{u}, showUser), nil
	}
	filter := account.UserFilter{Prefix: c.query["prefix"], Enrolled: c.query["enrolled"]}
	// The type of a user's state belongs to the store, which a front does not know.
	setText(&filter.State, c.query["state"])
	return page(h, c, func(p account.Page) ([]account.User, error) {
		return h.c.Accounts.Users(ctx, c.by.Realm, filter, p)
	}, func(u account.User) (mfa.Instant, string) { return u.CreatedAt, string(u.ID) }, showUser)
}

func setText[T ~string](to *T, text string) { *to = T(text) }

func (h *Handler) getUser(ctx context.Context, c *call, _ nothing) (userShape, error) {
	u, err := h.c.Accounts.User(ctx, c.by.Realm, c.user())
	return showUser(u), err
}

func (h *Handler) updateUser(ctx context.Context, c *call, in userChangeShape) (userShape, error) {
	u, err := h.c.Accounts.UpdateUser(ctx, c.by.Realm, c.user(), account.UserChange{
		Aliases: in.Aliases, Groups: in.Groups, ExternalID: in.ExternalID, Owner: in.Owner,
	})
	return showUser(u), err
}

func (h *Handler) deleteUser(ctx context.Context, c *call, _ nothing) (nothing, error) {
	return nothing{}, h.c.Accounts.DeleteUser(ctx, c.by.Realm, c.user())
}

// thenUser does something to a user and answers with what they are like then.
func (h *Handler) thenUser(do func(context.Context, mfa.RealmID, mfa.UserID) error) func(context.Context, *call, nothing) (userShape, error) {
	return func(ctx context.Context, c *call, _ nothing) (userShape, error) {
		if err := do(ctx, c.by.Realm, c.user()); err != nil {
			return userShape{}, err
		}
		return h.getUser(ctx, c, nothing{})
	}
}

func (h *Handler) liftReport(ctx context.Context, c *call, in liftShape) (userShape, error) {
	var err error
	switch {
	case in.Challenges != nil:
		shown := make([]mfa.ChallengeID, len(in.Challenges))
		for i, id := range in.Challenges {
			shown[i] = mfa.ChallengeID(id)
		}
		err = h.c.Accounts.LiftReportByUser(c.asUser(ctx), c.by.Realm, c.user(), c.by.Application.ID, shown)
	default:
		if err = c.by.Require(application.Administer); err == nil {
			err = h.c.Accounts.LiftReport(ctx, c.by.Realm, c.user())
		}
	}
	if err != nil {
		return userShape{}, err
	}
	return h.getUser(ctx, c, nothing{})
}

func (h *Handler) setPassword(ctx context.Context, c *call, in passwordShape) (nothing, error) {
	a := c.byAdministrator()
	if in.Challenge != "" {
		a.By, a.Challenge = mfa.ActorUser, mfa.ChallengeID(in.Challenge)
		ctx = c.asUser(ctx)
	} else if err := c.by.Require(application.Administer); err != nil {
		return nothing{}, err
	}
	return nothing{}, h.c.Accounts.SetPassword(ctx, c.by.Realm, c.user(), a, in.Password)
}

func (h *Handler) listBrowsers(ctx context.Context, c *call, _ nothing) (list[browserShape], error) {
	rows, err := h.c.Accounts.Browsers(ctx, c.by.Realm, c.user())
	if err != nil {
		return list[browserShape]{}, err
	}
	return part(h, c, rows, func(b account.Browser) string { return b.Thumbprint }, func(b account.Browser) browserShape {
		return browserShape{
			Thumbprint: b.Thumbprint, Name: b.Name, CreatedAt: instant(b.CreatedAt), LastSeenAt: instant(b.SeenAt), ExpiresAt: instant(b.ExpiresAt),
		}
	})
}

type browserShape struct {
	Thumbprint string  `json:"thumbprint" doc:"Of its key (RFC 7638)."`
	Name       string  `json:"name,omitempty"`
	CreatedAt  instant `json:"created_at"`
	LastSeenAt instant `json:"last_seen_at,omitzero"`
	ExpiresAt  instant `json:"expires_at" doc:"Exclusive."`
}

func (h *Handler) forgetBrowser(ctx context.Context, c *call, _ nothing) (nothing, error) {
	return nothing{}, h.c.Accounts.ForgetBrowser(ctx, c.by.Realm, c.user(), c.path("thumbprint"))
}

func (h *Handler) listPrompts(ctx context.Context, c *call, _ nothing) (list[promptShape], error) {
	if _, err := h.c.Accounts.User(ctx, c.by.Realm, c.user()); err != nil {
		return list[promptShape]{}, err
	}
	return page(h, c, func(p account.Page) ([]promptShape, error) {
		rows, now, err := h.c.Pipeline.List(ctx, c.by.Realm, c.user(), p)
		out := make([]promptShape, len(rows))
		for i, r := range rows {
			at := r.Challenge.At(now)
			out[i] = promptShape{
				ID: r.ID, Application: r.Application, Kind: r.Kind, State: at.State, Reason: at.Reason, Reported: r.Reported,
				Listed: r.Rung, Rung: r.Rung, Method: r.Evidence.Method, Match: r.Evidence.Match, Device: r.Evidence.Device,
				CreatedAt: instant(r.CreatedAt), DecidedAt: instant(r.Evidence.At),
			}
		}
		return out, err
	}, func(s promptShape) (mfa.Instant, string) { return mfa.Instant(s.CreatedAt), string(s.ID) }, same)
}

func same[T any](v T) T { return v }
