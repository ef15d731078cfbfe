package protocol

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"errors"

	"github.com/go-json-experiment/json"
)

// Keys is the payload of a key set: the realm's prompt key and the one that follows it. The
// first signs it. Serial grows by one with every rotation.
type Keys struct {
	V       int    `json:"v"`
	Issuer  string `json:"iss"`
	Realm   string `json:"realm"`
	Serial  int64  `json:"serial"`
	Current JWK    `json:"current"`
	Next    JWK    `json:"next"`
}

// Type is TypeKeys.
func (*Keys) Type() Type { return TypeKeys }

func (k *Keys) check() error {
	var c checker
	c.version(k.V)
	c.issuer(k.Issuer, k.Realm)
	c.want(k.Serial >= 1, "serial", "not positive")
	for _, jwk := range []struct {
		key  JWK
		name string
	}{{k.Current, "current"}, {k.Next, "next"}} {
		_, err := jwk.key.PublicKey()
		c.want(err == nil, jwk.name, "not a P-256 key")
	}
	c.want(k.Current != k.Next, "next", "the same as current")
	return c.err
}

// KeySet is a key set whose signature was checked. How far it can be trusted depends on how it
// was reached: [OpenKeySet] with a PIN, or [KeySet.Advance] from a trusted one.
type KeySet struct {
	Keys

	raw     string
	current *ecdsa.PublicKey
	kid     string
}

// ParseKeySet reads a key set that was trusted before, such as one from the caller's own
// storage. It returns ErrMalformed, ErrType, ErrUpdateRequired, or ErrSignature if the set is
// not signed by its own current key.
func ParseKeySet(raw string) (*KeySet, error) {
	m, err := Parse(TypeKeys, []byte(raw))
	if err != nil {
		return nil, err
	}
	k, err := Decode[Keys](m)
	if err != nil {
		return nil, err
	}
	pub, err := k.Current.PublicKey()
	if err != nil {
		return nil, err
	}
	set := &KeySet{Keys: k, raw: raw, current: pub, kid: k.Current.Thumbprint()}
	if err := set.Verify(m); err != nil {
		return nil, err
	}
	return set, nil
}

// KeyPIN is what an enrolment link says about a key set: the first 16 bytes of the SHA-256 of
// its payload bytes, in base64url. It returns what ParseKeySet returns.
func KeyPIN(raw string) (string, error) {
	if _, err := ParseKeySet(raw); err != nil {
		return "", err
	}
	m, err := Parse(TypeKeys, []byte(raw))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(m.Payload)
	return encode64(sum[:16]), nil
}

// OpenKeySet reads the key set of an enrolment answer and trusts it because the link's PIN
// names it. It returns ErrKeySet for another PIN, and what ParseKeySet returns.
func OpenKeySet(raw, pin string) (*KeySet, error) {
	set, err := ParseKeySet(raw)
	if err != nil {
		return nil, err
	}
	got, err := KeyPIN(raw)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(pin)) != 1 {
		return nil, &Error{Kind: ErrKeySet, Detail: "the PIN of the link names another one"}
	}
	return set, nil
}

// Raw is the signed form, to be stored.
func (k *KeySet) Raw() string { return k.raw }

// PromptKey is the key that signs prompts, notices and enrolment answers now.
func (k *KeySet) PromptKey() *ecdsa.PublicKey { return k.current }

// Verify returns ErrSignature unless the set's current key signed the message.
func (k *KeySet) Verify(m *Message) error {
	if m.Header.KeyID != k.kid {
		return &Error{Kind: ErrSignature, Member: "kid", Detail: "not the realm's current key"}
	}
	return m.Verify(k.current)
}

// Advance follows a rotation: the set given must be of the same issuer and realm, have the next
// serial, the next key of this set as current, be signed by it, and name a new next key. It
// returns ErrKeySet otherwise, or what ParseKeySet returns.
func (k *KeySet) Advance(raw string) (*KeySet, error) {
	next, err := ParseKeySet(raw)
	if err != nil {
		return nil, err
	}
	for _, rule := range []struct {
		ok     bool
		member string
	}{
		{next.Issuer == k.Issuer, "iss"},
		{next.Realm == k.Realm, "realm"},
		{next.Serial == k.Serial+1, "serial"},
		{next.Current == k.Next, "current"},
		{next.Next != k.Current, "next"},
	} {
		if !rule.ok {
			return nil, &Error{Kind: ErrKeySet, Member: rule.member, Detail: "does not follow from the set before"}
		}
	}
	return next, nil
}

// Follow advances over all sets in order and gives the last one, or this one for none.
func (k *KeySet) Follow(raws []string) (*KeySet, error) {
	for _, raw := range raws {
		next, err := k.Advance(raw)
		if err != nil {
			return nil, err
		}
		k = next
	}
	return k, nil
}

// OpenPrompt verifies a prompt with the set and reads it, and gives the digest that a decision
// names. It returns ErrSignature for another signer, ErrKeySet for another issuer or realm,
// ErrMalformed, and ErrUpdateRequired for a genuine prompt that this package is too old to
// show; such a prompt must not be approved, and has only Challenge, if that can be read.
func (k *KeySet) OpenPrompt(raw string) (Prompt, string, error) {
	p, m, err := open[Prompt](k, TypePrompt, raw)
	if errors.Is(err, ErrUpdateRequired) {
		return Prompt{Challenge: peekChallenge(m.Payload)}, "", err
	}
	if err != nil {
		return Prompt{}, "", err
	}
	return p, PromptSHA256(m.Payload), k.same(p.Issuer, p.Realm)
}

// OpenNotice verifies a notice with the set and reads it; errors as OpenPrompt.
func (k *KeySet) OpenNotice(raw string) (Notice, error) {
	n, _, err := open[Notice](k, TypeNotice, raw)
	if err != nil {
		return Notice{}, err
	}
	return n, k.same(n.Issuer, n.Realm)
}

// OpenEnrolled verifies an enrolment answer with the key set inside it, which the PIN of the
// link must name, and gives both. It returns ErrKeySet for another PIN, issuer or realm,
// ErrSignature, ErrMalformed and ErrUpdateRequired.
func OpenEnrolled(raw, pin string) (Enrolled, *KeySet, error) {
	m, err := Parse(TypeEnrolled, []byte(raw))
	if err != nil {
		return Enrolled{}, nil, err
	}
	e, err := Decode[Enrolled](m)
	if err != nil {
		return Enrolled{}, nil, err
	}
	set, err := OpenKeySet(e.Keys, pin)
	if err != nil {
		return Enrolled{}, nil, err
	}
	if err := set.Verify(m); err != nil {
		return Enrolled{}, nil, err
	}
	return e, set, set.same(e.Issuer, e.Realm)
}

func peekChallenge(payload []byte) string {
	var peek struct {
		Challenge string `json:"challenge"`
	}
	if err := json.Unmarshal(payload, &peek); err != nil || !validID(peek.Challenge) {
		return ""
	}
	return peek.Challenge
}

func open[T any](k *KeySet, typ Type, raw string) (T, *Message, error) {
	var zero T
	m, err := Parse(typ, []byte(raw))
	if err != nil {
		return zero, nil, err
	}
	if err := k.Verify(m); err != nil {
		return zero, nil, err
	}
	v, err := Decode[T](m)
	return v, m, err
}

func (k *KeySet) same(issuer, realm string) error {
	if issuer != k.Issuer {
		return &Error{Kind: ErrKeySet, Member: "iss", Detail: "another issuer"}
	}
	if realm != k.Realm {
		return &Error{Kind: ErrKeySet, Member: "realm", Detail: "another realm"}
	}
	return nil
}
