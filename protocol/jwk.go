package protocol

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
)

// JWK is a public P-256 key with exactly the members of RFC 7517 that it needs.
type JWK struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
}

// NewJWK gives the JWK of a P-256 key; it returns ErrMalformed for any other.
func NewJWK(pub *ecdsa.PublicKey) (JWK, error) {
	if pub == nil || pub.Curve != elliptic.P256() {
		return JWK{}, malformed("jwk", "not a P-256 key")
	}
	point, err := pub.Bytes()
	if err != nil {
		return JWK{}, malformed("jwk", "not a point of P-256")
	}
	return JWK{Kty: "EC", Crv: "P-256", X: encode64(point[1:33]), Y: encode64(point[33:65])}, nil
}

// PublicKey gives the key; it returns ErrMalformed unless the JWK is canonical and a point of
// the curve.
func (k JWK) PublicKey() (*ecdsa.PublicKey, error) {
	if k.Kty != "EC" || k.Crv != "P-256" {
		return nil, malformed("jwk", "not a P-256 key")
	}
	x, okX := decode64(k.X)
	y, okY := decode64(k.Y)
	if !okX || !okY || len(x) != 32 || len(y) != 32 {
		return nil, malformed("jwk", "coordinates are not 32 bytes of base64url")
	}
	point := append(append([]byte{4}, x...), y...)
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, malformed("jwk", "not a point of P-256")
	}
	return pub, nil
}

// Thumbprint is the RFC 7638 thumbprint with SHA-256, base64url. Two JWKs of the same key have
// the same one.
func (k JWK) Thumbprint() string {
	sum := sha256.Sum256([]byte(`{"crv":"` + k.Crv + `","kty":"` + k.Kty + `","x":"` + k.X + `","y":"` + k.Y + `"}`))
	return encode64(sum[:])
}

// Thumbprint is the RFC 7638 thumbprint of a P-256 key; it returns ErrMalformed for any other.
func Thumbprint(pub *ecdsa.PublicKey) (string, error) {
	k, err := NewJWK(pub)
	if err != nil {
		return "", err
	}
	return k.Thumbprint(), nil
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// decode64 takes only the one canonical text of some bytes: the library skips line breaks and
// ignores the unused bits of the last character.
func decode64(s string) ([]byte, bool) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(s) != base64.RawURLEncoding.EncodedLen(len(b)) {
		return nil, false
	}
	return b, base64.RawURLEncoding.EncodeToString(b) == s
}
