package protocol

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

type receiptVectors struct {
	Comment   string           `json:"comment"`
	DeviceKey JWK              `json:"device_key"`
	RealmKeys []JWK            `json:"realm_keys"`
	Good      []goodReceipt    `json:"good"`
	Refused   []refusedReceipt `json:"refused"`
}

type goodReceipt struct {
	Name    string          `json:"name"`
	Receipt json.RawMessage `json:"receipt"`
}

type refusedReceipt struct {
	Name    string          `json:"name"`
	Receipt json.RawMessage `json:"receipt"`
	Member  string          `json:"member"` // named by the error
}

func (w *world) receipt() Receipt {
	return Receipt{
		V: 1, Prompt: w.prompt, Decision: sign(w.device, noNonceHeader(TypeDecision), w.approval()),
		Device: &ReceiptDevice{ID: testDevice, JWK: w.device.jwk(), EnrolledAt: ReceiptTime(time.UnixMilli(1763700000123))},
		Keys:   []string{w.keys1, w.keys2},
	}
}

func encoded(r Receipt) []byte {
	data, err := Encode(r)
	if err != nil {
		panic(err)
	}
	return data
}

func receipts(w *world) receiptVectors {
	v := receiptVectors{
		Comment:   "device_key and realm_keys are what a verifier has from elsewhere; keys inside a receipt are not trusted.",
		DeviceKey: w.device.jwk(), RealmKeys: []JWK{w.realm1.jwk(), w.realm2.jwk()},
	}
	good := func(name string, d *Decision) {
		r := w.receipt()
		r.Decision = sign(w.device, noNonceHeader(TypeDecision), d)
		v.Good = append(v.Good, goodReceipt{name, encoded(r)})
	}
	good("approve", w.approval())
	good("deny", &Decision{V: 1, Challenge: testChal, Decision: VerdictDeny, PromptSHA256: PromptSHA256(w.promptBytes)})
	good("report without a digest", &Decision{V: 1, Challenge: testChal, Decision: VerdictReport})

	other := w.promptPayload()
	other.App.Name = "Wire transfer"
	otherChallenge := w.promptPayload()
	otherChallenge.Challenge = "ch_zzzzzzzzzzzzzzzzzzzzzzzzzz"
	forged := sign(w.stranger, Header{}, other)
	changed := func(raw, old, new string) string {
		p := strings.Split(raw, ".")
		body, _ := decode64(p[1])
		return p[0] + "." + encode64(bytes.Replace(body, []byte(old), []byte(new), 1)) + "." + p[2]
	}
	for _, c := range []struct {
		name, member string
		f            func(*Receipt)
	}{
		{"the answer in the decision was changed", "decision signature", func(r *Receipt) { r.Decision = changed(r.Decision, "042137", "042138") }},
		{"the locale in the decision was changed", "decision signature", func(r *Receipt) { r.Decision = changed(r.Decision, `"locale":"pt-PT"`, `"locale":"en-GB"`) }},
		{"the decision was signed by another key", "decision signature", func(r *Receipt) {
			r.Decision = sign(w.stranger, noNonceHeader(TypeDecision), w.approval())
			r.Device.JWK = w.stranger.jwk()
		}},
		{"the decision is no message", "decision", func(r *Receipt) { r.Decision = "x" }},
		{"the decision is a stamp", "decision", func(r *Receipt) {
			r.Decision = sign(w.device, noNonceHeader(TypeStamp), &Stamp{V: 1, Challenge: testChal, Stamp: StampShown})
		}},
		{"the device's key was changed", "device.jwk", func(r *Receipt) { r.Device.JWK = w.stranger.jwk() }},
		{"the device's id was changed", "device.id", func(r *Receipt) { r.Device.ID = testOther }},
		{"the prompt was changed", "prompt signature", func(r *Receipt) { r.Prompt = changed(r.Prompt, "Payroll", "Payment") }},
		{"the prompt was made by a stranger", "prompt signature", func(r *Receipt) { r.Prompt = forged }},
		{"stranger's prompt, and a key set that says so", "prompt signature", func(r *Receipt) {
			r.Prompt = forged
			r.Keys = []string{sign(w.stranger, Header{}, w.keySet(1, w.stranger, w.realm2))}
		}},
		{"another genuine prompt of the same challenge", "decision.prompt_sha256", func(r *Receipt) { r.Prompt = sign(w.realm1, Header{}, other) }},
		{"a genuine prompt of another challenge", "decision.challenge", func(r *Receipt) { r.Prompt = sign(w.realm1, Header{}, otherChallenge) }},
		{"the prompt is a notice", "prompt", func(r *Receipt) {
			r.Prompt = sign(w.realm1, Header{}, &Notice{V: 1, Issuer: testIssuer, Realm: "default", ID: testEvent, Kind: NoticeBypassIssued, At: 1, By: ByUser})
		}},
		{"a key set was changed", "keys.1", func(r *Receipt) { r.Keys[1] = changed(r.Keys[1], `"serial":2`, `"serial":3`) }},
		{"a key set is missing", "keys", func(r *Receipt) { r.Keys = r.Keys[1:] }},
		{"key sets in another order", "keys.1", func(r *Receipt) { r.Keys[0], r.Keys[1] = r.Keys[1], r.Keys[0] }},
		{"no key sets", "keys", func(r *Receipt) { r.Keys = nil }},
		{"no device", "device", func(r *Receipt) { r.Device = nil }},
		{"another version", "v", func(r *Receipt) { r.V = 2 }},
		{"enrolled_at in another form", "device.enrolled_at", func(r *Receipt) { r.Device.EnrolledAt = "2025-11-21" }},
		{"a method beside a device", "prompt", func(r *Receipt) { r.Method = "totp" }},
		{"another factor", "method", func(r *Receipt) {
			*r = Receipt{V: 1, Method: "totp", Challenge: testChal, At: ReceiptTime(time.UnixMilli(1763788800000))}
		}},
	} {
		r := w.receipt()
		c.f(&r)
		v.Refused = append(v.Refused, refusedReceipt{c.name, encoded(r), c.member})
	}
	return v
}

func publicKeys(t *testing.T, keys ...JWK) []*ecdsa.PublicKey {
	t.Helper()
	out := make([]*ecdsa.PublicKey, len(keys))
	for i, k := range keys {
		pub, err := k.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = pub
	}
	return out
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	v := receipts(newWorld())
	golden(t, "receipts.json", v)
	device, realm := publicKeys(t, v.DeviceKey)[0], publicKeys(t, v.RealmKeys...)
	for _, g := range v.Good {
		r, err := ParseReceipt(g.Receipt)
		if err != nil {
			t.Errorf("%s: %v", g.Name, err)
			continue
		}
		p, err := VerifyReceipt(r, device, realm...)
		if err != nil || !p.Issued || p.Device != testDevice || p.Bound != (p.Decision.PromptSHA256 != "") {
			t.Errorf("%s: %+v, %v", g.Name, p, err)
		}
		if p, err := VerifyReceipt(r, device); err != nil || p.Issued {
			t.Errorf("%s, with the device's key alone: %+v, %v", g.Name, p, err)
		}
		if _, err := VerifyReceipt(r, device, publicKeys(t, newFixedKey("stranger").jwk())...); member(err) != "prompt signature" {
			t.Errorf("%s, with a stranger's realm key: %v", g.Name, err)
		}
		if _, err := VerifyReceipt(r, publicKeys(t, newFixedKey("stranger").jwk())[0], realm...); member(err) != "decision signature" {
			t.Errorf("%s, with a stranger's device key: %v", g.Name, err)
		}
	}
	for _, c := range v.Refused {
		r, err := ParseReceipt(c.Receipt)
		if err == nil {
			_, err = VerifyReceipt(r, device, realm...)
		}
		if got := member(err); got != c.Member {
			t.Errorf("%s: %v names %q, want %q", c.Name, err, got, c.Member)
		}
	}
}

// TestReceiptWithoutRealmKeys: the device's key alone still ties the decision to the digest.
func TestReceiptWithoutRealmKeys(t *testing.T) {
	t.Parallel()
	w := newWorld()
	other := w.promptPayload()
	other.App.Name = "Wire transfer"
	r := w.receipt()
	r.Prompt = sign(w.realm1, Header{}, other)
	if _, err := VerifyReceipt(r, &w.device.PublicKey); member(err) != "decision.prompt_sha256" {
		t.Errorf("another prompt: %v", err)
	}
}

func TestReceiptOfAnotherFactor(t *testing.T) {
	t.Parallel()
	w := newWorld()
	r := Receipt{V: 1, Method: "totp", Challenge: testChal, At: ReceiptTime(time.UnixMilli(1))}
	if r.ByDevice() {
		t.Error("by a device")
	}
	if _, err := VerifyReceipt(r, &w.device.PublicKey); !errors.Is(err, ErrOtherFactor) {
		t.Errorf("got %v, want ErrOtherFactor", err)
	}
}

func member(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Member
	}
	return ""
}

func FuzzReceipt(f *testing.F) {
	w := newWorld()
	v := receipts(w)
	for _, g := range v.Good {
		f.Add([]byte(g.Receipt))
	}
	for _, r := range v.Refused {
		f.Add([]byte(r.Receipt))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseReceipt(data)
		if err != nil {
			return
		}
		p, err := VerifyReceipt(r, &w.device.PublicKey, &w.realm1.PublicKey)
		if err == nil && (p.Prompt.Challenge != p.Decision.Challenge || !p.Issued) {
			t.Fatalf("verified %+v", p)
		}
	})
}
