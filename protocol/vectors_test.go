package protocol

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/json"
	"flag"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata anew")

// fixedKey signs deterministically (RFC 6979), so that the vectors are the same each time.
type fixedKey struct{ *ecdsa.PrivateKey }

func (k fixedKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.PrivateKey.Sign(nil, digest, opts)
}

func (k fixedKey) jwk() JWK {
	j, err := NewJWK(&k.PublicKey)
	if err != nil {
		panic(err)
	}
	return j
}

func newFixedKey(seed string) fixedKey {
	d := sha256.Sum256([]byte("nod test key " + seed))
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	if err != nil {
		panic(err)
	}
	return fixedKey{k}
}

const (
	testIssuer = "https://login.example.com"
	testDevice = "dev_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	testOther  = "dev_bbbbbbbbbbbbbbbbbbbbbbbbbb"
	testChal   = "ch_cccccccccccccccccccccccccc"
	testEnrol  = "enr_dddddddddddddddddddddddddd"
	testUser   = "usr_eeeeeeeeeeeeeeeeeeeeeeeeee"
	testApp    = "app_ffffffffffffffffffffffffff"
	testEvent  = "evt_gggggggggggggggggggggggggg"
	testTicket = "AAECAwQFBgcICQoLDA0ODw"
	testSecret = "Dw4NDAsKCQgHBgUEAwIBAA"
	testNonce  = "AAAAAGkhBYBm3l7y1qfV0l4yX0Zc6p6L"
)

type world struct {
	device, newKey, browser, realm1, realm2, realm3, stranger fixedKey

	keys1, keys2 string
	prompt       string
	promptBytes  []byte
}

func sign(k fixedKey, h Header, p Payload) string {
	raw, err := Sign(k, h, p)
	if err != nil {
		panic(string(p.Type()) + ": " + err.Error())
	}
	return raw
}

func newWorld() *world {
	w := &world{
		device: newFixedKey("device"), newKey: newFixedKey("new device"), browser: newFixedKey("browser"),
		realm1: newFixedKey("realm 1"), realm2: newFixedKey("realm 2"), realm3: newFixedKey("realm 3"),
		stranger: newFixedKey("stranger"),
	}
	w.keys1 = sign(w.realm1, Header{}, w.keySet(1, w.realm1, w.realm2))
	w.keys2 = sign(w.realm2, Header{}, w.keySet(2, w.realm2, w.realm3))
	w.prompt = sign(w.realm1, Header{}, w.promptPayload())
	m, err := Parse(TypePrompt, []byte(w.prompt))
	if err != nil {
		panic(err)
	}
	w.promptBytes = m.Payload
	return w
}

func (w *world) keySet(serial int64, current, next fixedKey) *Keys {
	return &Keys{V: 1, Issuer: testIssuer, Realm: "default", Serial: serial, Current: current.jwk(), Next: next.jwk()}
}

func (w *world) promptPayload() *Prompt {
	return &Prompt{
		V: 1, Issuer: testIssuer, Realm: "default", Challenge: testChal,
		User: User{ID: testUser, Name: "jo.müller"}, App: App{ID: testApp, Name: "Payroll"},
		Kind: KindLogin, Reason: "", Details: []Detail{{Label: "Amount", Value: "1 200 €"}},
		Context: Context{IP: "192.0.2.7", Place: "Lisbon", PlaceConfidence: ConfidenceLow, Browser: "Firefox on Linux", ReportedBy: ReportedByNod},
		Match:   []Match{MatchScan, MatchDigits, MatchChoice}, Choices: []string{"07", "42", "99"},
		At: 1763788800000, DecideBy: 1763788920000,
	}
}

func (w *world) approval() *Decision {
	return &Decision{
		V: 1, Challenge: testChal, Decision: VerdictApprove, PromptSHA256: PromptSHA256(w.promptBytes),
		Match: MatchDigits, Answer: "042137", ShownMS: 4210, Locale: "pt-PT",
	}
}

func deviceHeader(t Type) Header {
	return Header{KeyID: testDevice, URL: testIssuer + t.Path(), Nonce: testNonce}
}

func noNonceHeader(t Type) Header {
	h := deviceHeader(t)
	h.Nonce = ""
	return h
}

// vector is one message of testdata/messages.json.
type vector struct {
	Name  string `json:"name"`
	Rule  string `json:"rule,omitempty"`
	Type  Type   `json:"typ"`
	JWS   string `json:"jws"`
	Key   string `json:"key,omitempty"`   // good: who signed
	Error string `json:"error,omitempty"` // refused: malformed, typ, url, nonce, signature, update

	Payload json.RawMessage `json:"payload,omitempty"` // good: the payload as JSON
}

type messageVectors struct {
	Comment string         `json:"comment"`
	URL     string         `json:"url"`
	Keys    map[string]JWK `json:"keys"`
	Good    []vector       `json:"good"`
	Refused []vector       `json:"refused"`
}

func (w *world) signers() map[string]fixedKey {
	return map[string]fixedKey{
		"device": w.device, "new_device": w.newKey, "browser": w.browser, "stranger": w.stranger,
		"realm1": w.realm1, "realm2": w.realm2, "realm3": w.realm3,
	}
}

func (w *world) good() []vector {
	var out []vector
	add := func(name, key string, h Header, p Payload) {
		raw := sign(w.signers()[key], h, p)
		payload, _ := decode64(strings.Split(raw, ".")[1])
		out = append(out, vector{Name: name, Type: p.Type(), JWS: raw, Key: key, Payload: payload})
	}
	dev := func(name string, p Payload) { add(name, "device", deviceHeader(p.Type()), p) }
	bare := func(name string, p Payload) { add(name, "device", noNonceHeader(p.Type()), p) }

	add("enrol", "device", Header{URL: testIssuer + PathEnrol}, &Enrol{V: 1, Ticket: testTicket, Name: "Jo's phone", Platform: PlatformIOS, AppVersion: "1.4.0", Features: []string{FeatureUV}})
	add("enrol, nothing known", "device", Header{URL: testIssuer + PathEnrol}, &Enrol{V: 1, Ticket: testTicket, Name: "x", Platform: PlatformOther})
	dev("poll", &Poll{V: 1, KeysSerial: 1})
	dev("poll that waits", &Poll{V: 1, Wait: 25, KeysSerial: 1, Have: []string{testChal, testEvent}})
	bare("poll for a challenge", &Poll{V: 1, Challenge: testChal, KeysSerial: 1})
	bare("approve by digits", w.approval())
	scan := w.approval()
	scan.Match, scan.Answer, scan.Remember = MatchScan, testSecret, true
	bare("approve by scan, remember the browser", scan)
	number := w.approval()
	number.Match, number.Answer = MatchNumber, "07"
	bare("approve by number", number)
	choice := w.approval()
	choice.Match, choice.Answer = MatchChoice, "42"
	bare("approve by choice", choice)
	tap := w.approval()
	tap.Match, tap.Answer, tap.Locale = MatchTap, "", ""
	bare("approve by tap", tap)
	back := w.approval()
	back.Match, back.Answer = MatchDigitsBack, ""
	bare("approve by digits_back", back)
	uv := w.approval()
	uv.UV = &Assertion{ID: "AQID", ClientData: "e30", AuthenticatorData: "AAEC", Signature: "MAA"}
	bare("approve with user verification", uv)
	bare("deny", &Decision{V: 1, Challenge: testChal, Decision: VerdictDeny, PromptSHA256: PromptSHA256(w.promptBytes)})
	bare("deny from a notification", &Decision{V: 1, Challenge: testChal, Decision: VerdictDeny})
	bare("report", &Decision{V: 1, Challenge: testChal, Decision: VerdictReport})
	bare("stamp", &Stamp{V: 1, Challenge: testChal, Stamp: StampShown, MS: 12})
	dev("targets", &Targets{V: 1, Seq: 3, Targets: []Target{
		{Kind: TargetWebPush, Endpoint: "https://push.example.net/x", P256DH: encode64(append([]byte{4}, make([]byte, 64)...)), Auth: testSecret, VAPID: "k1"},
		{Kind: TargetFCM, Token: "fcm:token", App: "com.example.nod"},
		{Kind: TargetNtfy, URL: "https://ntfy.example.net/topic"},
	}})
	dev("no targets", &Targets{V: 1, Seq: 4})
	inner := sign(w.newKey, Header{}, &NewKey{V: 1, Device: testDevice, OldThumbprint: w.device.jwk().Thumbprint()})
	add("new key", "new_device", Header{}, &NewKey{V: 1, Device: testDevice, OldThumbprint: w.device.jwk().Thumbprint()})
	dev("rotate", &Rotate{V: 1, Seq: 5, Inner: inner})
	dev("name", &Name{V: 1, Seq: 6, Name: "Büro"})
	dev("lock", &Lock{V: 1, Seq: 7, Registration: Registration{ID: "AQID", ClientData: "e30", Attestation: "oA"}})
	dev("history", &History{V: 1})
	dev("history, next page", &History{V: 1, Cursor: "b2Zmc2V0"})
	dev("veto", &Veto{V: 1, Device: testOther, Enrolment: testEnrol})
	dev("unenrol", &Unenrol{V: 1, Seq: 8})
	add("browser", "browser", Header{URL: testIssuer + PathBrowserProofs, Nonce: testNonce}, &Browser{V: 1, User: "jo.müller"})
	add("keys", "realm1", Header{}, w.keySet(1, w.realm1, w.realm2))
	add("keys after a rotation", "realm2", Header{}, w.keySet(2, w.realm2, w.realm3))
	add("enrolled", "realm1", Header{}, &Enrolled{V: 1, Issuer: testIssuer, Realm: "default", Device: testDevice, User: User{testUser, "jo.müller"}, Keys: w.keys1, ConfirmCode: "013579", ConfirmBy: 1763789400000})
	add("prompt", "realm1", Header{}, w.promptPayload())
	plain := w.promptPayload()
	plain.Match, plain.Choices, plain.Details = []Match{MatchDigitsBack}, nil, nil
	add("prompt without choices", "realm1", Header{}, plain)
	add("notice", "realm1", Header{}, &Notice{V: 1, Issuer: testIssuer, Realm: "default", ID: testEvent, Kind: NoticeDeviceAdded, At: 1763788800000, Device: &NoticeDevice{ID: testOther, Name: "New phone", Enrolment: testEnrol}, By: ByUser})
	add("notice without device", "realm1", Header{}, &Notice{V: 1, Issuer: testIssuer, Realm: "default", ID: testEvent, Kind: NoticeBypassIssued, At: 1763788800000, By: ByHelpDesk})
	out = append(out, vector{Name: "the other form of the same signature, (r, n-s)", Type: TypeDecision, Key: "device", JWS: otherForm(out[5].JWS), Payload: out[5].Payload})
	return out
}

// otherForm replaces s by n-s, which is as valid.
func otherForm(raw string) string {
	at := strings.LastIndexByte(raw, '.') + 1
	sig, _ := decode64(raw[at:])
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(elliptic.P256().Params().N, s)
	return raw[:at] + encode64(append(sig[:32:32], s.FillBytes(make([]byte, 32))...))
}

// signRaw signs any header and payload, so that only the rule in question is broken.
func signRaw(k fixedKey, header, payload []byte) string {
	input := encode64(header) + "." + encode64(payload)
	return input + "." + encode64(signDigest(k, input))
}

func signDigest(k fixedKey, input string) []byte {
	sum := sha256.Sum256([]byte(input))
	der, err := k.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		panic(err)
	}
	return append(rs.R.FillBytes(make([]byte, 32)), rs.S.FillBytes(make([]byte, 32))...)
}

func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}

func (w *world) vectors() messageVectors {
	keys := make(map[string]JWK)
	for name, k := range w.signers() {
		keys[name] = k.jwk()
	}
	good := w.good()
	return messageVectors{
		Comment: "Made by go test ./protocol -update. See README.md.",
		URL:     testIssuer,
		Keys:    keys,
		Good:    good,
		Refused: slices.Concat(w.refusedBytes(good), w.refusedHeaders(good), w.refusedMembers(good), w.refusedRules(good)),
	}
}

// golden compares v with a file of testdata, or writes it with -update.
func golden(t *testing.T, name string, v any) {
	t.Helper()
	path := filepath.Join("testdata", name)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s is not what the code makes; run with -update (-file +made):\n%s", name, diff)
	}
}
