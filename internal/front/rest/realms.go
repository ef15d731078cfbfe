package rest

import (
	"context"
	"net/http"
	"reflect"

	"github.com/go-json-experiment/json"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/protocol"
)

const jwksPath = "/.well-known/jwks.json"

type realmShape struct {
	Name       mfa.RealmID `json:"name"`
	Issuer     string      `json:"issuer"`
	Hosts      []string    `json:"hosts" doc:"Where nothing of another realm is served."`
	State      string      `json:"state" enum:"active,disabled"`
	DisabledAt instant     `json:"disabled_at,omitzero"`
	CreatedAt  instant     `json:"created_at"`
}

func showRealm(r realm.Info) realmShape {
	s := realmShape{
		Name: r.ID, Issuer: r.Issuer, Hosts: r.Hosts, State: "active", DisabledAt: instant(r.DisabledAt),
		CreatedAt: instant(r.CreatedAt),
	}
	if s.Hosts == nil {
		s.Hosts = []string{}
	}
	if r.DisabledAt != 0 {
		s.State = "disabled"
	}
	return s
}

type newRealmShape struct {
	Name  mfa.RealmID `json:"name" minLength:"1" maxLength:"63" doc:"Lower-case letters, digits and hyphens, with no hyphen at its ends."`
	Hosts []string    `json:"hosts,omitempty" maxItems:"16" doc:"As browsers write them, with a port unless it is the usual one."`
}

type realmChangeShape struct {
	Hosts []string `json:"hosts" maxItems:"16" doc:"All of them. Empty for none."`
}

type createdRealmShape struct {
	Realm       realmShape       `json:"realm"`
	Application applicationShape `json:"application" doc:"In the new realm."`
	Key         keyShape         `json:"key" doc:"With which the new realm is administered."`
}

type jwksShape struct {
	Keys []jwkShape `json:"keys"`
}

type realmKeysShape struct {
	Name         mfa.RealmID `json:"name"`
	Issuer       string      `json:"issuer"`
	PromptKeys   jwksShape   `json:"prompt_keys" doc:"The current key and the next one, in this order: what devices pin and receipts are checked with."`
	GrantKeysURL string      `json:"grant_keys_url"`
	KeySetSerial int64       `json:"key_set_serial"`
	PIN          string      `json:"pin" doc:"What enrolment links say of the key set."`
}

func (h *Handler) realmRoutes() {
	const tag = "realms"
	add(h, route{
		id: "listRealms", method: http.MethodGet, path: "/v1/realms", tag: tag,
		summary: "List realms", about: "A key of another realm than `default` sees its own only.", access: administer, query: paging(),
	}, h.listRealms)
	missing := []mfa.Code{mfa.NotFound}
	add(h, route{
		id: "createRealm", method: http.MethodPost, path: "/v1/realms", tag: tag, summary: "Make a realm",
		about: "With an application whose key administers it. For keys of `default`.", status: http.StatusCreated,
		access: administer, keyed: keyOptional, secret: true, made: "/v1/realms/",
	}, h.createRealm)
	add(h, route{
		id: "getRealm", method: http.MethodGet, path: "/v1/realms/{realm}", tag: tag, summary: "Read a realm",
		about: "A key of another realm than `default` finds its own only.", access: administer, codes: missing,
	}, h.getRealm)
	add(h, route{
		id: "updateRealm", method: http.MethodPatch, path: "/v1/realms/{realm}", tag: tag, summary: "Say which hosts belong to a realm",
		about: "The issuer stays. For keys of `default`.", access: administer, codes: []mfa.Code{mfa.NotFound, mfa.Conflict},
	}, h.updateRealm)
	add(h, route{
		id: "disableRealm", method: http.MethodPost, path: "/v1/realms/{realm}/disable", tag: tag, summary: "Stop a realm",
		about:  "Its keys and devices are refused as unknown ones are, and its live challenges are cancelled; its grant keys stay published. For keys of `default`.",
		access: administer, keyed: keyOptional, codes: missing,
	}, h.thenRealm(h.c.Accounts.DisableRealm))
	add(h, route{
		id: "enableRealm", method: http.MethodPost, path: "/v1/realms/{realm}/enable", tag: tag,
		summary: "Let a realm work again", about: "For keys of `default`.", access: administer, keyed: keyOptional, codes: missing,
	}, h.thenRealm(h.c.Accounts.EnableRealm))
	add(h, route{
		id: "getCurrentRealm", method: http.MethodGet, path: "/v1/realms/current", tag: tag,
		summary: "Read the caller's realm with its public keys", access: administer,
	}, h.currentRealm)
	add(h, route{
		id: "getGrantKeys", method: http.MethodGet, path: jwksPath, tag: tag,
		summary: "Read the keys that sign grants of the default realm", about: "On a host that belongs to a realm, of that one.",
	}, func(ctx context.Context, c *call, _ nothing) (jwksShape, error) {
		if at := h.c.Realms.At(c.r.Host); at != "" {
			return h.grantKeys(ctx, at)
		}
		return h.grantKeys(ctx, mfa.DefaultRealm)
	})
	add(h, route{
		id: "getRealmGrantKeys", method: http.MethodGet, path: "/r/{realm}" + jwksPath, tag: tag,
		summary: "Read the keys that sign grants of a realm", codes: []mfa.Code{mfa.NotFound},
	}, func(ctx context.Context, c *call, _ nothing) (jwksShape, error) {
		if !h.c.Realms.Serves(c.r.Host, mfa.RealmID(c.path("realm"))) {
			return jwksShape{}, mfa.ErrNotFound()
		}
		return h.grantKeys(ctx, mfa.RealmID(c.path("realm")))
	})
	h.documentRoute()
}

func (h *Handler) listRealms(ctx context.Context, c *call, _ nothing) (list[realmShape], error) {
	rows, err := h.c.Realms.List(ctx)
	if err != nil {
		return list[realmShape]{}, err
	}
	if c.by.Realm != mfa.DefaultRealm {
		own := rows[:0]
		for _, r := range rows {
			if r.ID == c.by.Realm {
				own = append(own, r)
			}
		}
		rows = own
	}
	return part(h, c, rows, func(r realm.Info) string { return string(r.ID) }, showRealm)
}

// overRealms returns Forbidden unless the caller administers realms: that is for keys of the default
// realm, whichever realm is named.
func (c *call) overRealms() error {
	if c.by.Realm == mfa.DefaultRealm {
		return nil
	}
	return mfa.Errorf(mfa.Forbidden, mfa.ReasonScope, "Only a key of the realm %q may do this.", mfa.DefaultRealm)
}

func (h *Handler) createRealm(ctx context.Context, c *call, in newRealmShape) (createdRealmShape, error) {
	if err := c.overRealms(); err != nil {
		return createdRealmShape{}, err
	}
	return makes(ctx, c, func(ctx context.Context) (account.MadeRealm, error) {
		return h.c.Accounts.CreateRealm(ctx, in.Name, in.Hosts)
	}, func(made account.MadeRealm) (string, createdRealmShape, error) {
		out := createdRealmShape{
			Realm: showRealm(made.Realm), Application: showApplication(made.Administration.Application),
			Key: showKey(made.Administration.Key),
		}
		out.Key.Secret = made.Administration.Secret.Reveal()
		return string(made.Realm.ID), out, nil
	})
}

func (h *Handler) getRealm(ctx context.Context, c *call, _ nothing) (realmShape, error) {
	name := mfa.RealmID(c.path("realm"))
	if c.by.Realm != mfa.DefaultRealm && c.by.Realm != name {
		return realmShape{}, mfa.ErrNotFound()
	}
	r, err := h.c.Realms.Current(ctx, name)
	return showRealm(r), err
}

func (h *Handler) updateRealm(ctx context.Context, c *call, in realmChangeShape) (realmShape, error) {
	return h.thenRealm(func(ctx context.Context, name mfa.RealmID) error {
		return h.c.Accounts.SetRealmHosts(ctx, name, in.Hosts)
	})(ctx, c, nothing{})
}

// thenRealm does something to a realm and gives what it is then.
func (h *Handler) thenRealm(do func(context.Context, mfa.RealmID) error) func(context.Context, *call, nothing) (realmShape, error) {
	return func(ctx context.Context, c *call, _ nothing) (realmShape, error) {
		if err := c.overRealms(); err != nil {
			return realmShape{}, err
		}
		if err := do(ctx, mfa.RealmID(c.path("realm"))); err != nil {
			return realmShape{}, err
		}
		return h.getRealm(ctx, c, nothing{})
	}
}

func (h *Handler) currentRealm(ctx context.Context, c *call, _ nothing) (realmKeysShape, error) {
	r, err := h.c.Realms.Current(ctx, c.by.Realm)
	if err != nil {
		return realmKeysShape{}, err
	}
	out := realmKeysShape{
		Name: r.ID, Issuer: r.Issuer, GrantKeysURL: r.Issuer + jwksPath, KeySetSerial: r.KeySet.Serial, PIN: r.Pin,
	}
	for _, k := range []protocol.JWK{r.KeySet.Current, r.KeySet.Next} {
		text, err := json.Marshal(k)
		if err != nil {
			return realmKeysShape{}, err
		}
		out.PromptKeys.Keys = append(out.PromptKeys.Keys, text)
	}
	return out, nil
}

func (h *Handler) grantKeys(ctx context.Context, of mfa.RealmID) (jwksShape, error) {
	set, err := h.c.Realms.JWKS(ctx, of)
	if err != nil {
		return jwksShape{}, err
	}
	var out jwksShape
	for _, k := range set.Keys {
		text, err := k.MarshalJSON()
		if err != nil {
			return jwksShape{}, err
		}
		out.Keys = append(out.Keys, text)
	}
	return out, nil
}

// documentRoute serves the document as it is committed.
func (h *Handler) documentRoute() {
	op, _ := describe(h.document, route{
		id: "getDocument", method: http.MethodGet, path: "/openapi.json", tag: "realms", status: http.StatusOK,
		summary: "Read this document",
	}, reflect.TypeFor[nothing](), reflect.TypeFor[documentShape]())
	h.mounts = append(h.mounts, mount{op, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openapi) // the caller is gone if this fails
	})})
}
