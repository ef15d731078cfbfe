package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/mfa"
)

type applicationShape struct {
	ID           mfa.ApplicationID `json:"id"`
	Name         string            `json:"name" doc:"Shown on prompts."`
	UsernameForm string            `json:"username_form" enum:"as_is,strip_domain,strip_suffix"`
	IconSHA256   string            `json:"icon_sha256,omitempty" doc:"Base64url."`
	State        string            `json:"state" enum:"active,disabled"`
	DisabledAt   instant           `json:"disabled_at,omitzero"`
	CreatedAt    instant           `json:"created_at"`
}

func showApplication(a account.Application) applicationShape {
	s := applicationShape{
		ID: a.ID, Name: a.Name, UsernameForm: a.UsernameForm, IconSHA256: a.IconSHA256, State: "active",
		DisabledAt: instant(a.DisabledAt), CreatedAt: instant(a.CreatedAt),
	}
	if a.DisabledAt != 0 {
		s.State = "disabled"
	}
	return s
}

type keyShape struct {
	ID        string              `json:"id"`
	Secret    string              `json:"secret,omitempty" doc:"The key, in the answer to its creation only."`
	Scopes    []application.Scope `json:"scopes"`
	Live      bool                `json:"live"`
	CreatedAt instant             `json:"created_at"`
	ExpiresAt instant             `json:"expires_at,omitzero" doc:"Exclusive."`
	RevokedAt instant             `json:"revoked_at,omitzero"`
}

func showKey(k account.Key) keyShape {
	return keyShape{
		ID: k.ID, Scopes: k.Scopes, Live: k.Live, CreatedAt: instant(k.CreatedAt), ExpiresAt: instant(k.ExpiresAt),
		RevokedAt: instant(k.RevokedAt),
	}
}

type newApplicationShape struct {
	Name         string              `json:"name" minLength:"1" maxLength:"64"`
	UsernameForm string              `json:"username_form,omitempty" enum:"as_is,strip_domain,strip_suffix" doc:"as_is without it."`
	IconSHA256   string              `json:"icon_sha256,omitempty" pattern:"^[A-Za-z0-9_-]{43}$"`
	Scopes       []application.Scope `json:"scopes,omitempty" minItems:"1" uniqueItems:"true" enum:"authenticate,assert_first_factor,administer" doc:"Of its first key; authenticate without it."`
}

type createdApplicationShape struct {
	Application applicationShape `json:"application"`
	Key         keyShape         `json:"key"`
}

type applicationChangeShape struct {
	Name         *string `json:"name,omitempty" minLength:"1" maxLength:"64"`
	UsernameForm *string `json:"username_form,omitempty" enum:"as_is,strip_domain,strip_suffix"`
	IconSHA256   *string `json:"icon_sha256,omitempty" pattern:"^([A-Za-z0-9_-]{43})?$" doc:"Empty for none."`
}

type newKeyShape struct {
	Scopes    []application.Scope `json:"scopes,omitempty" minItems:"1" uniqueItems:"true" enum:"authenticate,assert_first_factor,administer" doc:"authenticate without it."`
	ExpiresAt instant             `json:"expires_at,omitzero" doc:"Exclusive; never without it."`
}

type rotateShape struct {
	Key   string `json:"key,omitempty" maxLength:"64" doc:"The key to replace; the newest live one without it."`
	Grace *int   `json:"grace_seconds,omitzero" minimum:"0" maximum:"604800" doc:"How long the replaced key goes on working; 86400 without it."`
}

func (h *Handler) applicationRoutes() {
	const tag = "applications"
	missing := []mfa.Code{mfa.NotFound}
	add(h, route{
		id: "createApplication", method: http.MethodPost, path: "/v1/applications", tag: tag,
		summary: "Make an application and its first key", status: http.StatusCreated, made: "/v1/applications/", access: administer, keyed: keyOptional, secret: true,
	}, h.createApplication)
	add(h, route{
		id: "listApplications", method: http.MethodGet, path: "/v1/applications", tag: tag,
		summary: "List applications, newest first", access: administer, query: paging(),
	}, h.listApplications)
	add(h, route{
		id: "getApplication", method: http.MethodGet, path: "/v1/applications/{id}", tag: tag,
		summary: "Read an application", access: administer, codes: missing,
	}, h.getApplication)
	add(h, route{
		id: "updateApplication", method: http.MethodPatch, path: "/v1/applications/{id}", tag: tag,
		summary: "Change an application", about: "Members that are left out stay.", access: administer,
		codes: []mfa.Code{mfa.NotFound, mfa.Conflict},
	}, h.updateApplication)
	add(h, route{
		id: "disableApplication", method: http.MethodPost, path: "/v1/applications/{id}/disable", tag: tag,
		summary: "Stop an application", about: "Its keys work no more, and its live challenges are cancelled.",
		access: administer, keyed: keyOptional, codes: missing,
	}, h.thenApplication(h.c.Accounts.DisableApplication))
	add(h, route{
		id: "enableApplication", method: http.MethodPost, path: "/v1/applications/{id}/enable", tag: tag,
		summary: "Let an application work again", access: administer, keyed: keyOptional, codes: missing,
	}, h.thenApplication(h.c.Accounts.EnableApplication))
	add(h, route{
		id: "listKeys", method: http.MethodGet, path: "/v1/applications/{id}/keys", tag: tag,
		summary: "List an application's keys, without their secrets", access: administer, query: paging(), codes: missing,
	}, h.listKeys)
	add(h, route{
		id: "createKey", method: http.MethodPost, path: "/v1/applications/{id}/keys", tag: tag, summary: "Make another key",
		about: "At most two are live.", status: http.StatusCreated, access: administer, keyed: keyOptional, secret: true, codes: missing,
	}, h.createKey)
	add(h, route{
		id: "rotateKey", method: http.MethodPost, path: "/v1/applications/{id}/keys/rotate", tag: tag, summary: "Replace a key",
		status: http.StatusCreated, access: administer, keyed: keyOptional, secret: true, codes: missing,
	}, h.rotateKey)
	add(h, route{
		id: "revokeKey", method: http.MethodDelete, path: "/v1/applications/{id}/keys/{key}", tag: tag,
		summary: "End a key at once", access: administer, codes: missing,
	}, h.revokeKey)
}

func (c *call) application() mfa.ApplicationID { return mfa.ApplicationID(c.path("id")) }

func scopesOr(s []application.Scope) []application.Scope {
	if s == nil {
		return []application.Scope{application.Authenticate}
	}
	return s
}

func (h *Handler) createApplication(ctx context.Context, c *call, in newApplicationShape) (createdApplicationShape, error) {
	n := account.NewApplication{ApplicationChange: account.ApplicationChange{Name: &in.Name}, Scopes: scopesOr(in.Scopes)}
	if in.UsernameForm != "" {
		n.UsernameForm = &in.UsernameForm
	}
	if in.IconSHA256 != "" {
		n.IconSHA256 = &in.IconSHA256
	}
	return makes(ctx, c, func(ctx context.Context) (account.MadeApplication, error) {
		return h.c.Accounts.CreateApplication(ctx, c.by.Realm, n)
	}, func(made account.MadeApplication) (string, createdApplicationShape, error) {
		out := createdApplicationShape{Application: showApplication(made.Application), Key: showKey(made.Key)}
		out.Key.Secret = made.Secret.Reveal()
		return string(made.ID), out, nil
	})
}

func (h *Handler) listApplications(ctx context.Context, c *call, _ nothing) (list[applicationShape], error) {
	return page(h, c, func(p account.Page) ([]account.Application, error) {
		return h.c.Accounts.Applications(ctx, c.by.Realm, p)
	}, func(a account.Application) (mfa.Instant, string) { return a.CreatedAt, string(a.ID) }, showApplication)
}

func (h *Handler) getApplication(ctx context.Context, c *call, _ nothing) (applicationShape, error) {
	a, err := h.c.Accounts.Application(ctx, c.by.Realm, c.application())
	return showApplication(a), err
}

func (h *Handler) updateApplication(ctx context.Context, c *call, in applicationChangeShape) (applicationShape, error) {
	a, err := h.c.Accounts.UpdateApplication(ctx, c.by.Realm, c.application(), account.ApplicationChange{
		Name: in.Name, UsernameForm: in.UsernameForm, IconSHA256: in.IconSHA256,
	})
	return showApplication(a), err
}

// thenApplication does something to an application and answers with what it is like then.
func (h *Handler) thenApplication(do func(context.Context, mfa.RealmID, mfa.ApplicationID) error) func(context.Context, *call, nothing) (applicationShape, error) {
	return func(ctx context.Context, c *call, _ nothing) (applicationShape, error) {
		if err := do(ctx, c.by.Realm, c.application()); err != nil {
			return applicationShape{}, err
		}
		return h.getApplication(ctx, c, nothing{})
	}
}

func (h *Handler) listKeys(ctx context.Context, c *call, _ nothing) (list[keyShape], error) {
	rows, err := h.c.Accounts.Keys(ctx, c.by.Realm, c.application())
	if err != nil {
		return list[keyShape]{}, err
	}
	return part(h, c, rows, func(k account.Key) string { return k.ID }, showKey)
}

func (h *Handler) createKey(ctx context.Context, c *call, in newKeyShape) (keyShape, error) {
	var life time.Duration
	if in.ExpiresAt != 0 {
		now, err := h.c.Pipeline.Now(ctx)
		if err != nil {
			return keyShape{}, err
		}
		if life = mfa.Instant(in.ExpiresAt).Sub(now); life <= 0 {
			return keyShape{}, mfa.InvalidField("expires_at", "This moment is past.")
		}
	}
	return makes(ctx, c, func(ctx context.Context) (account.MadeKey, error) {
		return h.c.Accounts.CreateKey(ctx, c.by.Realm, c.application(), scopesOr(in.Scopes), life)
	}, showMadeKey)
}

func showMadeKey(k account.MadeKey) (string, keyShape, error) {
	out := showKey(k.Key)
	out.Secret = k.Secret.Reveal()
	return k.ID, out, nil
}

func (h *Handler) rotateKey(ctx context.Context, c *call, in rotateShape) (keyShape, error) {
	grace := application.DefaultGrace
	if in.Grace != nil {
		grace = time.Duration(*in.Grace) * time.Second
	}
	return makes(ctx, c, func(ctx context.Context) (account.MadeKey, error) {
		return h.c.Accounts.RotateKey(ctx, c.by.Realm, c.application(), in.Key, grace)
	}, showMadeKey)
}

func (h *Handler) revokeKey(ctx context.Context, c *call, _ nothing) (nothing, error) {
	return nothing{}, h.c.Accounts.RevokeKey(ctx, c.by.Realm, c.application(), c.path("key"))
}
