package protocol

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"slices"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
)

// Header is the protected header of a message. Which members a message has follows from its
// typ alone; the others are empty.
type Header struct {
	Alg   string `json:"alg"`
	KeyID string `json:"kid,omitzero"`
	JWK   *JWK   `json:"jwk,omitzero"`
	URL   string `json:"url,omitzero"`
	Type  Type   `json:"typ"`
	Nonce string `json:"nonce,omitzero"`
}

var headerShape = shapeOf[Header]()

// Message is a parsed message whose signature may not have been checked yet.
type Message struct {
	// Header is the protected header.
	Header Header
	// Payload is the decoded payload, the bytes that digests are taken of.
	Payload []byte

	raw        string
	value      any
	valueErr   error
	wantsNonce bool
}

// Parse reads a compact JWS of the type named, without a key. It returns ErrMalformed for
// bytes, header or payload that break a rule, and ErrType for a well-formed header with another
// typ. A payload signed by a newer server parses; [Decode] then returns ErrUpdateRequired.
//
// A message that needs a nonce and has none parses; see [Message.NonceMissing].
func Parse(typ Type, body []byte) (*Message, error) {
	m, err := parseEnvelope(body)
	if err != nil {
		return nil, err
	}
	if m.Header.Type != typ {
		return nil, &Error{Kind: ErrType, Member: "typ", Detail: "another message was expected here"}
	}
	codec, ok := codecs[typ]
	if !ok {
		return nil, &Error{Kind: ErrType, Member: "typ", Detail: "no such message"}
	}
	m.value, m.valueErr = codec.decode(m.Payload)
	if m.valueErr != nil && !codec.signedByServer {
		return nil, m.valueErr
	}
	if err := m.checkHeader(codec.header); err != nil {
		return nil, err
	}
	return m, nil
}

// parseEnvelope checks everything that does not depend on typ.
func parseEnvelope(body []byte) (*Message, error) {
	if len(body) > MaxMessage {
		return nil, malformed("", "message longer than 16 KiB")
	}
	parts := bytes.Split(body, []byte{'.'})
	if len(parts) != 3 {
		return nil, malformed("", "not three parts")
	}
	var decoded [3][]byte
	for i, part := range parts {
		b, ok := decode64(string(part))
		if !ok {
			return nil, malformed("", "not canonical base64url")
		}
		decoded[i] = b
	}
	if len(decoded[0]) > MaxHeader {
		return nil, malformed("", "header longer than 2 KiB")
	}
	if len(decoded[2]) != 64 {
		return nil, malformed("", "signature is not 64 bytes")
	}
	h, err := decodeStrict[Header](decoded[0], headerShape)
	if err != nil {
		return nil, err
	}
	if h.Alg != string(jose.ES256) {
		return nil, malformed("alg", "not ES256")
	}
	return &Message{Header: *h, Payload: decoded[1], raw: string(body)}, nil
}

// headerForm is which members beside alg and typ a header has.
type headerForm struct {
	kid, jwk, url, nonce bool
}

func (m *Message) checkHeader(form headerForm) error {
	if poll, ok := m.value.(*Poll); ok && poll.Challenge != "" {
		form.nonce = false
	}
	h := m.Header
	var c checker
	c.want((h.KeyID != "") == form.kid, "kid", "missing, or not in this header")
	c.want((h.JWK != nil) == form.jwk, "jwk", "missing, or not in this header")
	c.want((h.URL != "") == form.url, "url", "missing, or not in this header")
	c.want(h.Nonce == "" || form.nonce, "nonce", "not in this header")
	c.want(h.KeyID == "" || validID(h.KeyID), "kid", "not a key id")
	c.want(len(h.URL) <= 512 && only(h.URL, visible), "url", "not a URL")
	c.want(len(h.Nonce) <= 128 && only(h.Nonce, visible), "nonce", "not a nonce")
	if h.JWK != nil && c.err == nil {
		_, c.err = h.JWK.PublicKey()
	}
	m.wantsNonce = form.nonce
	return c.err
}

// NonceMissing reports whether the message should name a nonce and does not. Where it should
// not, [Message.NonceWanted] is false too.
func (m *Message) NonceMissing() bool { return m.wantsNonce && m.Header.Nonce == "" }

// NonceWanted reports whether this message names a nonce. Messages that name a ticket or a
// challenge do not, since that id is one.
func (m *Message) NonceWanted() bool { return m.wantsNonce }

// Raw is the message as it was received.
func (m *Message) Raw() string { return m.raw }

// CheckURL returns ErrURL unless the header names one of the addresses, compared as bytes.
// Give public URLs with the path of the type.
func (m *Message) CheckURL(allowed ...string) error {
	if !slices.Contains(allowed, m.Header.URL) {
		return &Error{Kind: ErrURL, Member: "url", Detail: "not an address of this server"}
	}
	return nil
}

// Verify returns ErrSignature unless the key signed exactly this message.
func (m *Message) Verify(pub *ecdsa.PublicKey) error {
	if pub == nil || pub.Curve != elliptic.P256() {
		return &Error{Kind: ErrSignature, Detail: "not a P-256 key"}
	}
	sig, err := jose.ParseSignedCompact(m.raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return &Error{Kind: ErrSignature, Detail: "not a signature"}
	}
	if _, err := sig.Verify(pub); err != nil {
		return &Error{Kind: ErrSignature}
	}
	return nil
}

// VerifySelf verifies a message that brings its own key in jwk and returns that key. It
// returns ErrSignature if there is none or it did not sign.
func (m *Message) VerifySelf() (*ecdsa.PublicKey, error) {
	if m.Header.JWK == nil {
		return nil, &Error{Kind: ErrSignature, Member: "jwk", Detail: "missing"}
	}
	pub, err := m.Header.JWK.PublicKey()
	if err != nil {
		return nil, err
	}
	return pub, m.Verify(pub)
}

// RepetitionKey is the same for a message sent again and for no other: a digest over kid and
// payload bytes. Signature bytes are no key, since one signature has two forms.
func (m *Message) RepetitionKey() string {
	sum := sha256.Sum256(append([]byte(m.Header.KeyID+"\x00"), m.Payload...))
	return encode64(sum[:])
}

// Decode gives the typed payload. It returns ErrType if T is not the payload of this message,
// and ErrMalformed or ErrUpdateRequired if the server signed something that cannot be read.
func Decode[T any](m *Message) (T, error) {
	var zero T
	if m.valueErr != nil {
		return zero, m.valueErr
	}
	v, ok := m.value.(*T)
	if !ok {
		return zero, &Error{Kind: ErrType, Member: "typ", Detail: "another payload was expected here"}
	}
	return *v, nil
}

// Sign makes a message of the payload; the payload decides typ. Of the header only kid, url and
// nonce are taken: alg and typ are set, jwk and the realm's kid are taken from the signer where
// the type has them. The signer holds a P-256 key and gives ASN.1 signatures, as every
// crypto.Signer does. Without a nonce the member is left out, as by a device that has none yet.
// Sign returns ErrMalformed for a header or payload that Parse would refuse, and the signer's
// error as it is.
func Sign(signer crypto.Signer, h Header, p Payload) (string, error) {
	pub, ok := signer.Public().(*ecdsa.PublicKey)
	if !ok {
		return "", malformed("jwk", "not a P-256 key")
	}
	jwk, err := NewJWK(pub)
	if err != nil {
		return "", err
	}
	codec := codecs[p.Type()]
	h.Alg, h.Type, h.JWK = string(jose.ES256), p.Type(), nil
	if codec.header.jwk {
		h.JWK = &jwk
	}
	if codec.signedByServer {
		h.KeyID = jwk.Thumbprint()
	}
	payload, err := Encode(p)
	if err != nil {
		return "", err
	}
	header, err := Encode(h)
	if err != nil {
		return "", err
	}
	input := encode64(header) + "." + encode64(payload)
	sig, err := cryptosigner.Opaque(signer).SignPayload([]byte(input), jose.ES256)
	if err != nil {
		return "", err
	}
	raw := input + "." + encode64(sig)
	m, err := Parse(p.Type(), []byte(raw))
	if err != nil {
		return "", err
	}
	return raw, m.valueErr
}
