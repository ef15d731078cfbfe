package protocol

import (
	"crypto/ecdsa"
	"strconv"
	"time"
)

const (
	maxReceipt  = 1 << 20
	receiptTime = "2006-01-02T15:04:05.000Z"
)

// ReceiptDevice is the device of a receipt, as the server knows it.
type ReceiptDevice struct {
	ID         string `json:"id"`
	JWK        JWK    `json:"jwk"`
	EnrolledAt string `json:"enrolled_at"` // RFC 3339 UTC with milliseconds
}

// Receipt is a stored decision with the prompt that it answers. A receipt for another factor
// than a device has Method, Challenge and At in place of all else and proves nothing of a
// device.
type Receipt struct {
	V        int            `json:"v"`
	Prompt   string         `json:"prompt,omitzero"`
	Decision string         `json:"decision,omitzero"`
	Device   *ReceiptDevice `json:"device,omitzero"`
	Keys     []string       `json:"keys,omitzero"` // the realm's key sets, in order; never trusted by themselves

	Method    string `json:"method,omitzero"` // such as totp
	Challenge string `json:"challenge,omitzero"`
	At        string `json:"at,omitzero"` // RFC 3339 UTC with milliseconds
}

var receiptShape = shapeOf[Receipt]()

// ReceiptTime writes a time as receipts have it.
func ReceiptTime(t time.Time) string { return t.UTC().Format(receiptTime) }

// ParseReceipt reads a receipt as strictly as a message. It returns ErrMalformed.
func ParseReceipt(data []byte) (Receipt, error) {
	if len(data) > maxReceipt {
		return Receipt{}, malformed("", "receipt longer than 1 MiB")
	}
	r, err := decodeStrict[Receipt](data, receiptShape)
	if err != nil {
		return Receipt{}, err
	}
	return *r, r.check()
}

// ByDevice reports whether the receipt is for a device's decision.
func (r *Receipt) ByDevice() bool { return r.Method == "" }

func (r *Receipt) check() error {
	var c checker
	c.version(r.V)
	other := r.Method != ""
	c.want((r.Prompt != "") != other, "prompt", "missing, or beside another factor")
	c.want((r.Decision != "") != other, "decision", "missing, or beside another factor")
	c.want((r.Device != nil) != other, "device", "missing, or beside another factor")
	c.want((len(r.Keys) > 0) != other, "keys", "missing, or beside another factor")
	c.want((r.Challenge != "") == other, "challenge", "missing, or of another factor")
	c.want((r.At != "") == other, "at", "missing, or of another factor")
	if other {
		c.want(featureForm.MatchString(r.Method), "method", "not a method")
		c.id(r.Challenge, "challenge")
		c.moment(r.At, "at")
	}
	if r.Device != nil {
		c.id(r.Device.ID, "device.id")
		_, err := r.Device.JWK.PublicKey()
		c.want(err == nil, "device.jwk", "not a P-256 key")
		c.moment(r.Device.EnrolledAt, "device.enrolled_at")
	}
	return c.err
}

func (c *checker) moment(s, member string) {
	_, err := time.Parse(receiptTime, s)
	c.want(err == nil, member, "not RFC 3339 UTC with three decimals")
}

// Proof is what a verified receipt proves.
type Proof struct {
	// Decision is what the device said; the device's key proves it.
	Decision Decision
	// Prompt is what it said it to: its digest is in the decision, unless a deny or a report
	// left it out.
	Prompt Prompt
	// Device is the id of the device, which it signed.
	Device string
	// Bound says that the decision names the digest of the prompt.
	Bound bool
	// Issued says that one of the realm's keys given signed the prompt.
	Issued bool
}

// VerifyReceipt checks a receipt with keys taken from elsewhere: the device's, and the realm's
// prompt keys that were pinned, if any. Keys inside the receipt are compared with these, never
// trusted. Member of the error names the first part that differs, such as "device.jwk",
// "decision signature", "prompt signature" or "decision.prompt_sha256".
//
// It returns ErrOtherFactor for a receipt of another factor, ErrReceipt for parts that do not
// hold together, ErrMalformed and ErrUpdateRequired. When the device was enrolled is the
// server's word: neither key proves device.enrolled_at.
func VerifyReceipt(r Receipt, device *ecdsa.PublicKey, realm ...*ecdsa.PublicKey) (Proof, error) {
	if err := r.check(); err != nil {
		return Proof{}, err
	}
	if !r.ByDevice() {
		return Proof{}, &Error{Kind: ErrOtherFactor, Member: "method", Detail: "it proves nothing of a device"}
	}
	dm, d, err := receiptPart[Decision](TypeDecision, r.Decision, "decision")
	if err != nil {
		return Proof{}, err
	}
	if err := dm.Verify(device); err != nil {
		return Proof{}, differs("decision signature", "not by the device's key")
	}
	given, err := NewJWK(device)
	if err != nil {
		return Proof{}, err
	}
	if r.Device.JWK != given {
		return Proof{}, differs("device.jwk", "not the device's key")
	}
	if r.Device.ID != dm.Header.KeyID {
		return Proof{}, differs("device.id", "not the device that signed")
	}
	pm, p, err := receiptPart[Prompt](TypePrompt, r.Prompt, "prompt")
	if err != nil {
		return Proof{}, err
	}
	proof := Proof{Decision: d, Prompt: p, Device: dm.Header.KeyID, Bound: d.PromptSHA256 != "", Issued: len(realm) > 0}
	if len(realm) > 0 && !verifiesWithOne(pm, realm) {
		return Proof{}, differs("prompt signature", "not by a key of the realm")
	}
	if d.Challenge != p.Challenge {
		return Proof{}, differs("decision.challenge", "the decision answers another prompt")
	}
	if proof.Bound && d.PromptSHA256 != PromptSHA256(pm.Payload) {
		return Proof{}, differs("decision.prompt_sha256", "the decision answers another prompt")
	}
	return proof, r.checkKeys(pm, p)
}

// checkKeys wants the key sets in the receipt to be a chain that holds the prompt's signer.
func (r *Receipt) checkKeys(pm *Message, p Prompt) error {
	var last *KeySet
	signed := false
	for i, raw := range r.Keys {
		name := "keys." + strconv.Itoa(i)
		set, err := ParseKeySet(raw)
		if err == nil && last != nil {
			set, err = last.Advance(raw)
		}
		if err != nil {
			return differs(name, "not a key set, or not the one that follows")
		}
		if err := set.same(p.Issuer, p.Realm); err != nil {
			return differs(name, "of another realm than the prompt")
		}
		if set.kid == pm.Header.KeyID {
			if err := set.Verify(pm); err != nil {
				return differs("prompt signature", "not by the key that the prompt names")
			}
			signed = true
		}
		last = set
	}
	if !signed {
		return differs("keys", "none is the key that signed the prompt")
	}
	return nil
}

func verifiesWithOne(m *Message, keys []*ecdsa.PublicKey) bool {
	for _, pub := range keys {
		kid, err := Thumbprint(pub)
		if err == nil && kid == m.Header.KeyID && m.Verify(pub) == nil {
			return true
		}
	}
	return false
}

func receiptPart[T any](typ Type, raw, name string) (*Message, T, error) {
	m, err := Parse(typ, []byte(raw))
	if err == nil {
		var v T
		v, err = Decode[T](m)
		if err == nil {
			return m, v, nil
		}
	}
	var zero T
	return nil, zero, differs(name, err.Error())
}

func differs(member, detail string) error {
	return &Error{Kind: ErrReceipt, Member: member, Detail: detail}
}
