package protocol

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVectorsAreFresh(t *testing.T) {
	golden(t, "messages.json", newWorld().vectors())
}

func readVectors(t *testing.T) messageVectors {
	t.Helper()
	data, err := os.ReadFile("testdata/messages.json")
	if err != nil {
		t.Fatal(err)
	}
	var v messageVectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestGoodMessages(t *testing.T) {
	t.Parallel()
	all := readVectors(t)
	seen := make(map[Type]bool)
	for _, v := range all.Good {
		t.Run(v.Name, func(t *testing.T) {
			m, err := Parse(v.Type, []byte(v.JWS))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decodeAny(m); err != nil {
				t.Fatal(err)
			}
			if m.NonceMissing() {
				t.Error("nonce missing")
			}
			pub, err := all.Keys[v.Key].PublicKey()
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Verify(pub); err != nil {
				t.Error(err)
			}
			if m.Header.URL != "" {
				if err := m.CheckURL("https://other.example"+v.Type.Path(), all.URL+v.Type.Path()); err != nil {
					t.Error(err)
				}
			}
			if m.Header.JWK != nil {
				if _, err := m.VerifySelf(); err != nil {
					t.Error(err)
				}
			}
			again, err := Encode(m.value)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := json.Unmarshal(again, &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(v.Payload, &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("payload changed in reading and writing (-want +got):\n%s", diff)
			}
		})
		seen[v.Type] = true
	}
	for typ := range codecs {
		if !seen[typ] {
			t.Errorf("no good vector for %s", typ)
		}
	}
}

// decodeAny is Decode for a type known at run time.
func decodeAny(m *Message) (any, error) { return m.value, m.valueErr }

// judge does everything that a reader does and says how it ends.
func judge(all messageVectors, v vector, key JWK) string {
	m, err := Parse(v.Type, []byte(v.JWS))
	if err == nil {
		_, err = decodeAny(m)
	}
	if err == nil && m.Header.URL != "" {
		err = m.CheckURL(all.URL + v.Type.Path())
	}
	if err == nil && m.NonceMissing() {
		return "nonce"
	}
	if err == nil {
		pub, errKey := key.PublicKey()
		if errKey != nil {
			return errKey.Error()
		}
		err = m.Verify(pub)
	}
	switch {
	case err == nil:
		return "accepted"
	case errors.Is(err, ErrMalformed):
		return "malformed"
	case errors.Is(err, ErrType):
		return "typ"
	case errors.Is(err, ErrURL):
		return "url"
	case errors.Is(err, ErrSignature):
		return "signature"
	case errors.Is(err, ErrUpdateRequired):
		return "update"
	}
	return err.Error()
}

func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	all := readVectors(t)
	for _, v := range all.Refused {
		t.Run(v.Name, func(t *testing.T) {
			if got := judge(all, v, all.Keys["device"]); got != v.Error {
				t.Errorf("got %s, want %s", got, v.Error)
			}
		})
	}
}

// TestEveryOtherCharacter changes each character of a signed approval to each other one of the
// alphabet, to a line break and to padding. The only other accepted bytes are (r, n-s).
func TestEveryOtherCharacter(t *testing.T) {
	t.Parallel()
	all := readVectors(t)
	v := find(all.Good, "approve by digits")
	if got := judge(all, v, all.Keys["device"]); got != "accepted" {
		t.Fatalf("the unchanged message: %s", got)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_\n=\r .+/"
	for i := range v.JWS {
		for _, c := range []byte(alphabet) {
			if v.JWS[i] == c {
				continue
			}
			changed := v
			changed.JWS = v.JWS[:i] + string(c) + v.JWS[i+1:]
			if got := judge(all, changed, all.Keys["device"]); got == "accepted" {
				t.Fatalf("accepted with character %d changed to %q", i, c)
			}
			changed.JWS = v.JWS[:i] + string(c) + v.JWS[i:]
			if c == '\n' || c == '=' {
				if got := judge(all, changed, all.Keys["device"]); got != "malformed" {
					t.Fatalf("%s with %q put in at %d", got, c, i)
				}
			}
		}
	}
}

func TestDecodeOfAnotherType(t *testing.T) {
	t.Parallel()
	v := find(readVectors(t).Good, "poll")
	m, err := Parse(TypePoll, []byte(v.JWS))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode[Decision](m); !errors.Is(err, ErrType) {
		t.Errorf("got %v, want ErrType", err)
	}
	p, err := Decode[Poll](m)
	if diff := cmp.Diff(Poll{V: 1, KeysSerial: 1}, p); err != nil || diff != "" {
		t.Errorf("%v, (-want +got)\n%s", err, diff)
	}
}

func TestRepetitionKey(t *testing.T) {
	t.Parallel()
	all := readVectors(t)
	key := func(name string) string {
		m, err := Parse(TypeDecision, []byte(find(all.Good, name).JWS))
		if err != nil {
			t.Fatal(err)
		}
		return m.RepetitionKey()
	}
	if key("approve by digits") != key("the other form of the same signature, (r, n-s)") {
		t.Error("the other form of a signature is not the same decision")
	}
	if key("approve by digits") == key("deny") {
		t.Error("two decisions are the same")
	}
}

func TestSignRefusesWhatParseWould(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for name, c := range map[string]struct {
		h Header
		p Payload
	}{
		"nonce beside challenge":     {deviceHeader(TypePoll), &Poll{V: 1, Challenge: testChal}},
		"no url":                     {Header{KeyID: testDevice}, &Stamp{V: 1, Challenge: testChal, Stamp: StampShown}},
		"no version":                 {deviceHeader(TypeName), &Name{Seq: 1, Name: "x"}},
		"deny that has a match":      {noNonceHeader(TypeDecision), &Decision{V: 1, Challenge: testChal, Decision: VerdictDeny, Match: MatchTap}},
		"approve without a digest":   {noNonceHeader(TypeDecision), &Decision{V: 1, Challenge: testChal, Decision: VerdictApprove, Match: MatchTap}},
		"message longer than 16 KiB": {deviceHeader(TypeTarget), &Targets{V: 1, Seq: 1, Targets: []Target{{Kind: TargetFCM, Token: strings.Repeat("t", 4096), App: "a"}, {Kind: TargetFCM, Token: strings.Repeat("t", 4096), App: "a"}, {Kind: TargetFCM, Token: strings.Repeat("t", 4096), App: "a"}}}},
	} {
		if raw, err := Sign(w.device, c.h, c.p); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %q, %v, want ErrMalformed", name, raw, err)
		}
	}
}

func TestSignWithoutNonce(t *testing.T) {
	t.Parallel()
	raw := sign(newWorld().device, noNonceHeader(TypePoll), &Poll{V: 1})
	m, err := Parse(TypePoll, []byte(raw))
	if err != nil || !m.NonceMissing() || !m.NonceWanted() {
		t.Errorf("%+v, %v", m, err)
	}
	raw = sign(newWorld().device, noNonceHeader(TypePoll), &Poll{V: 1, Challenge: testChal})
	m, err = Parse(TypePoll, []byte(raw))
	if err != nil || m.NonceMissing() || m.NonceWanted() {
		t.Errorf("with a challenge: %+v, %v", m, err)
	}
}

func TestUVText(t *testing.T) {
	t.Parallel()
	got := UVText(testChal, "SHA", MatchTap, "")
	if want := `["nod-uv","` + testChal + `","approve","SHA","tap",""]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	w := newWorld()
	all := w.vectors()
	for _, v := range all.Good {
		f.Add(string(v.Type), v.JWS)
	}
	for _, v := range all.Refused[:60] {
		f.Add(string(v.Type), v.JWS)
	}
	f.Fuzz(func(t *testing.T, typ, raw string) {
		m, err := Parse(Type(typ), []byte(raw))
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if m.Raw() != raw || m.Header.Alg != "ES256" || string(m.Header.Type) != typ {
			t.Fatalf("parsed to something else: %+v", m.Header)
		}
	})
}

func FuzzPayload(f *testing.F) {
	for _, v := range newWorld().vectors().Good {
		f.Add(string(v.Type), []byte(v.Payload))
	}
	f.Fuzz(func(t *testing.T, typ string, data []byte) {
		codec, ok := codecs[Type(typ)]
		if !ok {
			return
		}
		v, err := codec.decode(data)
		if err != nil {
			return
		}
		out, err := Encode(v)
		if err != nil {
			t.Fatalf("%s was read and cannot be written: %v", data, err)
		}
		again, err := codec.decode(out)
		if err != nil {
			t.Fatalf("%s was written and cannot be read: %v", out, err)
		}
		twice, err := Encode(again)
		if err != nil || string(out) != string(twice) {
			t.Fatalf("%s became %s, %v", out, twice, err)
		}
	})
}

func BenchmarkParseDecodeVerify(b *testing.B) {
	w := newWorld()
	raw := []byte(sign(w.device, noNonceHeader(TypeDecision), w.approval()))
	for _, verify := range []bool{false, true} {
		name := map[bool]string{false: "parse", true: "parse+verify"}[verify]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m, err := Parse(TypeDecision, raw)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := Decode[Decision](m); err != nil {
					b.Fatal(err)
				}
				if verify {
					if err := m.Verify(&w.device.PublicKey); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
