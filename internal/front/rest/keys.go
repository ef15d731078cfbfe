package rest

import (
	"context"
	"net/http"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/realm"
)

type signingKeyShape struct {
	Purpose   string         `json:"purpose" enum:"prompt,grant"`
	KID       string         `json:"kid" doc:"RFC 7638 thumbprint."`
	State     realm.KeyState `json:"state" enum:"next,signs,retired,withdrawn"`
	CreatedAt instant        `json:"created_at"`
	ActiveAt  instant        `json:"active_at,omitzero" doc:"It signs from then on."`
	RetiredAt instant        `json:"retired_at,omitzero" doc:"It signs no more from then on."`
}

func showSigningKey(k realm.Key) signingKeyShape {
	return signingKeyShape{
		Purpose: k.Purpose, KID: k.KID, State: k.State, CreatedAt: instant(k.CreatedAt), ActiveAt: instant(k.ActiveAt),
		RetiredAt: instant(k.RetiredAt),
	}
}

type signingKeysShape struct {
	Keys []signingKeyShape `json:"keys"`
}

type rotationShape struct {
	Emergency bool `json:"emergency,omitzero" doc:"Of grant keys: the new one signs at once, and every other one leaves the JWKS."`
}

type sealNodeShape struct {
	Node   string   `json:"node"`
	Holds  []string `json:"holds" doc:"Sealing keys, oldest first."`
	Seals  string   `json:"seals"`
	SeenAt instant  `json:"seen_at"`
}

type sealShape struct {
	Key        string          `json:"key" doc:"The sealing key in use."`
	Holds      []string        `json:"holds" doc:"The sealing keys of the node that answers, oldest first."`
	Nodes      []sealNodeShape `json:"nodes"`
	Walk       string          `json:"walk" enum:"none,waiting,running,done" doc:"How far everything is sealed with that key: waiting until all nodes use it, running, or done."`
	Column     string          `json:"column,omitempty" doc:"Being walked."`
	Round      int             `json:"round"`
	Sealed     int             `json:"sealed" doc:"Values that were sealed again."`
	Unreadable int             `json:"unreadable" doc:"Values that no key opens."`
	DoneAt     instant         `json:"done_at,omitzero"`
}

func showSeal(s account.SealState) sealShape {
	out := sealShape{
		Key: s.Key, Holds: s.Holds, Nodes: make([]sealNodeShape, len(s.Nodes)), Walk: s.Walk, Column: s.Column,
		Round: s.Round, Sealed: s.Sealed, Unreadable: s.Unreadable, DoneAt: instant(s.DoneAt),
	}
	for i, n := range s.Nodes {
		out.Nodes[i] = sealNodeShape{Node: n.Node, Holds: n.Holds, Seals: n.Seals, SeenAt: instant(n.SeenAt)}
	}
	return out
}

func (h *Handler) keyRoutes() {
	const tag = "keys"
	add(h, route{
		id: "listSigningKeys", method: http.MethodGet, path: "/v1/keys", tag: tag,
		summary: "List the keys that sign prompts and grants", access: administer,
	}, h.listSigningKeys)
	add(h, route{
		id: "rotateSigningKey", method: http.MethodPost, path: "/v1/keys/{purpose}/rotate", tag: tag,
		summary: "Replace the key that signs prompts or grants",
		about:   "`prompt`: the next key signs at once, devices follow, and pending challenges are cancelled. `grant`: a new key is published and signs a day later.",
		access:  administer, keyed: keyOptional, codes: []mfa.Code{mfa.NotFound},
	}, h.rotateSigningKey)
	add(h, route{
		id: "getSeal", method: http.MethodGet, path: "/v1/keys/seal", tag: tag,
		summary: "Read where the replacement of the sealing key stands", about: "For keys of `default`.", access: administer,
	}, h.getSeal)
	add(h, route{
		id: "reseal", method: http.MethodPost, path: "/v1/keys/seal/reseal", tag: tag,
		summary: "Seal everything with the newest sealing key", about: "409 while a node does not hold it. For keys of `default`.",
		access: administer, keyed: keyOptional,
	}, h.reseal)
}

func (h *Handler) listSigningKeys(ctx context.Context, c *call, _ nothing) (signingKeysShape, error) {
	rows, err := h.c.Realms.Keys(ctx, c.by.Realm)
	out := signingKeysShape{Keys: make([]signingKeyShape, len(rows))}
	for i, k := range rows {
		out.Keys[i] = showSigningKey(k)
	}
	return out, err
}

func (h *Handler) rotateSigningKey(ctx context.Context, c *call, in rotationShape) (signingKeysShape, error) {
	var err error
	switch purpose := c.path("purpose"); {
	case purpose == "prompt" && in.Emergency:
		err = mfa.InvalidField("emergency", "A prompt key is replaced at once in any case.")
	case purpose == "prompt":
		err = h.c.Accounts.RotatePromptKey(ctx, c.by.Realm)
	case purpose == "grant":
		err = h.c.Accounts.RotateGrantKey(ctx, c.by.Realm, in.Emergency)
	default:
		err = mfa.ErrNotFound()
	}
	if err != nil {
		return signingKeysShape{}, err
	}
	return h.listSigningKeys(ctx, c, nothing{})
}

func (h *Handler) getSeal(ctx context.Context, c *call, _ nothing) (sealShape, error) {
	if err := c.overRealms(); err != nil {
		return sealShape{}, err
	}
	s, err := h.c.Accounts.SealState(ctx)
	return showSeal(s), err
}

func (h *Handler) reseal(ctx context.Context, c *call, _ nothing) (sealShape, error) {
	if err := c.overRealms(); err != nil {
		return sealShape{}, err
	}
	if err := h.c.Accounts.Reseal(ctx); err != nil {
		return sealShape{}, err
	}
	return h.getSeal(ctx, c, nothing{})
}
