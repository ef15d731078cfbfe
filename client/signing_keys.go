package client

import (
	"context"
	"net/http"
	"time"
)

// SigningKey is a key that signs prompts or grants of the realm.
type SigningKey struct {
	Purpose   string    `json:"purpose"` // prompt or grant
	KID       string    `json:"kid"`
	State     string    `json:"state"` // next, signs, retired or withdrawn
	CreatedAt time.Time `json:"created_at"`
	ActiveAt  time.Time `json:"active_at,omitzero"`
	RetiredAt time.Time `json:"retired_at,omitzero"`
}

// Seal says where the replacement of the sealing key stands.
type Seal struct {
	Key        string     `json:"key"`   // in use
	Holds      []string   `json:"holds"` // by the node that answered, oldest first
	Nodes      []SealNode `json:"nodes"`
	Walk       string     `json:"walk"` // none, waiting, running or done
	Column     string     `json:"column,omitzero"`
	Round      int        `json:"round"`
	Sealed     int        `json:"sealed"`     // values that were sealed again
	Unreadable int        `json:"unreadable"` // values that no key opens
	DoneAt     time.Time  `json:"done_at,omitzero"`
}

// SealNode is a running node and its sealing keys.
type SealNode struct {
	Node   string    `json:"node"`
	Holds  []string  `json:"holds"`
	Seals  string    `json:"seals"`
	SeenAt time.Time `json:"seen_at"`
}

// SigningKeys are the keys with which a realm signs, and with which the server seals what it stores; the
// API key needs the scope administer.
type SigningKeys struct{ c *Client }

// List reads the realm's signing keys.
func (s SigningKeys) List(ctx context.Context) ([]SigningKey, error) {
	return s.signing(ctx, call{what: "list keys", method: http.MethodGet, path: "/v1/keys"})
}

// RotatePrompt makes the next prompt key the current one.
func (s SigningKeys) RotatePrompt(ctx context.Context) ([]SigningKey, error) {
	return s.signing(ctx, call{what: "rotate the prompt key", method: http.MethodPost, path: "/v1/keys/{}/rotate", ids: []string{"prompt"}})
}

// RotateGrant makes a grant key that signs a day later, or at once in an emergency: then all others
// leave the JWKS.
func (s SigningKeys) RotateGrant(ctx context.Context, emergency bool) ([]SigningKey, error) {
	body := struct {
		Emergency bool `json:"emergency,omitzero"`
	}{emergency}
	return s.signing(ctx, call{what: "rotate the grant key", method: http.MethodPost, path: "/v1/keys/{}/rotate", ids: []string{"grant"}, body: body})
}

func (s SigningKeys) signing(ctx context.Context, q call) ([]SigningKey, error) {
	var out struct {
		Keys []SigningKey `json:"keys"`
	}
	q.out = &out
	err := s.c.do(ctx, q)
	return out.Keys, err
}

// Seal reads where the replacement of the sealing key stands; only a key of the realm default may.
func (s SigningKeys) Seal(ctx context.Context) (Seal, error) {
	return s.seal(ctx, call{what: "read the sealing keys", method: http.MethodGet, path: "/v1/keys/seal"})
}

// Reseal seals everything with the newest sealing key, once every node holds it.
func (s SigningKeys) Reseal(ctx context.Context) (Seal, error) {
	return s.seal(ctx, call{what: "seal again", method: http.MethodPost, path: "/v1/keys/seal/reseal"})
}

func (s SigningKeys) seal(ctx context.Context, q call) (Seal, error) {
	var out Seal
	q.out = &out
	err := s.c.do(ctx, q)
	return out, err
}
