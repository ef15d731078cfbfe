package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// signersTable and signersColumn are where the rows of signing keys keep the sealed key.
const (
	signersTable  = "realm_keys"
	signersColumn = "private"
)

// maxSigners is how many opened signing keys are kept in memory; then all are let go.
const maxSigners = 4096

type signerID struct{ realm, purpose, kid string }

func (id signerID) place() AAD {
	// A kid is base64url, so the last colon is where it begins.
	return AAD{Realm: id.realm, Table: signersTable, Row: id.purpose + ":" + id.kid, Column: signersColumn}
}

// Signer signs for one realm and purpose with one P-256 key. It may be used by several
// goroutines.
type Signer struct {
	kid     string
	private *ecdsa.PrivateKey
}

// NewSigner makes a signing key for a purpose of a realm. It gives the signer and the
// private key sealed for the row that the caller is about to write.
func (r *Ring) NewSigner(realm, purpose string) (signer *Signer, sealed []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make signing key: %w", err)
	}
	s, err := newSigner(private)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("write signing key: %w", err)
	}
	id := signerID{realm, purpose, s.kid}
	if sealed, err = r.Seal(der, id.place()); err != nil {
		return nil, nil, err
	}
	r.keep(id, s)
	return s, sealed, nil
}

// Signer gives the signer of a row: its kid and the sealed private key, which NewSigner gave
// for this realm and purpose. Opened keys are kept in memory. A key that was sealed for
// another realm, purpose or kid gives [ErrSealed].
func (r *Ring) Signer(realm, purpose, kid string, sealed []byte) (*Signer, error) {
	id := signerID{realm, purpose, kid}
	r.mu.Lock()
	s, kept := r.signers[id]
	r.mu.Unlock()
	if kept {
		return s, nil
	}
	der, err := r.Open(sealed, id.place())
	if err != nil {
		return nil, fmt.Errorf("open signing key: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("open signing key: its content is not a key")
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("open signing key: it is not a P-256 key")
	}
	if s, err = newSigner(private); err != nil {
		return nil, err
	}
	if s.kid != kid {
		return nil, errors.New("open signing key: it has another thumbprint")
	}
	r.keep(id, s)
	return s, nil
}

func (r *Ring) keep(id signerID, s *Signer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.signers) >= maxSigners {
		clear(r.signers)
	}
	r.signers[id] = s
}

func newSigner(private *ecdsa.PrivateKey) (*Signer, error) {
	kid, err := Thumbprint(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	return &Signer{kid: kid, private: private}, nil
}

// KID gives the key's RFC 7638 thumbprint (SHA-256, base64url without padding).
func (s *Signer) KID() string { return s.kid }

// Public gives the public key.
func (s *Signer) Public() *ecdsa.PublicKey { return &s.private.PublicKey }

// JWK gives the public key as it stands in a key set: with kid, use and alg.
func (s *Signer) JWK() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.Public(), KeyID: s.kid, Algorithm: string(jose.ES256), Use: "sig"}
}

// Sign gives the compact JWS of payload with the header {alg: ES256, kid, typ}.
func (s *Signer) Sign(typ string, payload []byte) (string, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.private, KeyID: s.kid}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)),
	)
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", typ, err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", typ, err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", typ, err)
	}
	return compact, nil
}

// Thumbprint gives the RFC 7638 thumbprint (SHA-256, base64url without padding) of a P-256
// key, and an error for any other.
func Thumbprint(public *ecdsa.PublicKey) (string, error) {
	if public.Curve != elliptic.P256() {
		return "", errors.New("make thumbprint: not a P-256 key")
	}
	jwk := jose.JSONWebKey{Key: public}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("make thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
