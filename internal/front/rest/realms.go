package rest

import (
	"context"
	"net/http"
	"reflect"

	"github.com/go-json-experiment/json"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/protocol"
)

const jwksPath = "/.well-known/jwks.json"

type realmShape struct {
	Name      mfa.RealmID `json:"name"`
	Issuer    string      `json:"issuer"`
	CreatedAt instant     `json:"created_at"`
}

func showRealm(r realm.Info) realmShape {
	return realmShape{Name: r.ID, Issuer: r.Issuer, CreatedAt: instant(r.CreatedAt)}
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
	add(h, route{
		id: "getCurrentRealm", method: http.MethodGet, path: "/v1/realms/current", tag: tag,
		summary: "Read the caller's realm with its public keys", access: administer,
	}, h.currentRealm)
	add(h, route{
		id: "getGrantKeys", method: http.MethodGet, path: jwksPath, tag: tag,
		summary: "Read the keys that sign grants of the default realm",
	}, func(ctx context.Context, _ *call, _ nothing) (jwksShape, error) {
		return h.grantKeys(ctx, mfa.DefaultRealm)
	})
	add(h, route{
		id: "getRealmGrantKeys", method: http.MethodGet, path: "/r/{realm}" + jwksPath, tag: tag,
		summary: "Read the keys that sign grants of a realm", codes: []mfa.Code{mfa.NotFound},
	}, func(ctx context.Context, c *call, _ nothing) (jwksShape, error) {
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
