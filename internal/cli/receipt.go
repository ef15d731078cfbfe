package cli

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nodauth/nod/protocol"
)

type receiptCmd struct {
	Show   receiptShow   `cmd:"" help:"Print the receipt of a challenge."`
	Verify receiptVerify `cmd:"" help:"Verify a receipt with nothing but two keys taken at enrolment."`
}

type receiptShow struct {
	connection
	challengeArg
}

// Help gives examples.
func (receiptShow) Help() string {
	return "With --json it prints the receipt as it is stored, to be kept and verified.\n\nExamples:\n\n    nod receipt show ch_…\n    nod receipt show ch_… --json > receipt.json\n"
}

// Run shows a receipt.
func (v *receiptShow) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	raw, err := c.Challenges.Receipt(a.ctx, v.Challenge)
	if err != nil {
		return err
	}
	if a.json {
		_, err := fmt.Fprintln(a.stdout, strings.TrimSpace(string(raw)))
		return err
	}
	r, err := protocol.ParseReceipt(raw)
	if err != nil {
		return fmt.Errorf("read the receipt: %w", err)
	}
	if !r.ByDevice() {
		fields(a.stdout, "challenge", r.Challenge, "method", r.Method, "at", r.At)
		a.say("It was answered by another factor than a device, of which a receipt proves nothing.")
		return nil
	}
	var d protocol.Decision
	var p protocol.Prompt
	dm, err := protocol.Parse(protocol.TypeDecision, []byte(r.Decision))
	if err == nil {
		d, err = protocol.Decode[protocol.Decision](dm)
	}
	if err != nil {
		return fmt.Errorf("read the decision of the receipt: %w", err)
	}
	pm, err := protocol.Parse(protocol.TypePrompt, []byte(r.Prompt))
	if err == nil {
		p, err = protocol.Decode[protocol.Prompt](pm)
	}
	if err != nil {
		return fmt.Errorf("read the prompt of the receipt: %w", err)
	}
	showDecision(a.stdout, d, p, r.Device.ID)
	a.say("Nothing is verified here; \"nod receipt verify\" does that.")
	return nil
}

func showDecision(w io.Writer, d protocol.Decision, p protocol.Prompt, device string) {
	pairs := []string{
		"decision", string(d.Decision), "match", string(d.Match), "device", device, "challenge", p.Challenge, "user", p.User.Name + " (" + p.User.ID + ")",
		"application", p.App.Name + " (" + p.App.ID + ")", "kind", string(p.Kind), "reason", p.Reason,
	}
	for _, detail := range p.Details {
		pairs = append(pairs, "  "+detail.Label, detail.Value)
	}
	fields(w, append(pairs, "place", p.Context.Place, "address", p.Context.IP, "browser", p.Context.Browser,
		"asked", moment(time.UnixMilli(p.At)), "issuer", p.Issuer+" ("+p.Realm+")")...)
}

type receiptVerify struct {
	Receipt   string   `arg:"" default:"-" help:"File with the receipt; - for standard input."`
	DeviceKey string   `required:"" placeholder:"FILE|JWK" help:"The device's public key, taken at enrolment."`
	RealmKey  []string `required:"" sep:"none" placeholder:"FILE|JWK" help:"The realm's prompt key or keys, pinned at enrolment. May be repeated."`
}

// Help gives examples.
func (receiptVerify) Help() string {
	return "Says whether the device with this key decided so, on a prompt that the realm with this key issued. It asks no server, and trusts no key inside the receipt. " +
		"A key is a JWK, a key set, or the output of \"nod authenticator keys --json\". Ends with 0 if all of it holds; otherwise it names the first part that differs and ends with 1.\n\n" +
		"Examples:\n\n    nod authenticator keys --json > keys.json\n    nod receipt verify receipt.json --device-key keys.json --realm-key keys.json\n"
}

// verdict is what verify says as JSON.
type verdict struct {
	Verified bool   `json:"verified"`
	Member   string `json:"member,omitempty"` // the first part that differs
	Detail   string `json:"detail,omitempty"`

	Decision  string `json:"decision,omitempty"`
	Match     string `json:"match,omitempty"`
	Device    string `json:"device,omitempty"`
	Challenge string `json:"challenge,omitempty"`
	User      string `json:"user,omitempty"`
	App       string `json:"application,omitempty"`
	Bound     bool   `json:"bound"` // the decision names the digest of the prompt
}

// Run verifies a receipt.
func (v *receiptVerify) Run(a *app) error {
	device, err := readKeys("device key", v.DeviceKey, func(k keysOutput) []protocol.JWK { return []protocol.JWK{k.DeviceKey} })
	if err != nil {
		return err
	}
	if len(device) != 1 {
		return usagef("the device key must be one key: %d were given.", len(device))
	}
	var realm []*ecdsa.PublicKey
	for _, text := range v.RealmKey {
		keys, err := readKeys("realm key", text, func(k keysOutput) []protocol.JWK { return k.RealmKeys.Keys })
		if err != nil {
			return err
		}
		realm = append(realm, keys...)
	}
	var data []byte
	if v.Receipt == "-" {
		data, err = io.ReadAll(io.LimitReader(a.stdin, 2<<20))
	} else {
		data, err = os.ReadFile(v.Receipt)
	}
	if err != nil {
		return fmt.Errorf("read the receipt: %w", err)
	}
	r, err := protocol.ParseReceipt([]byte(strings.TrimSpace(string(data))))
	if err != nil {
		return a.notVerified(err)
	}
	proof, err := protocol.VerifyReceipt(r, device[0], realm...)
	if err != nil {
		return a.notVerified(err)
	}
	d, p := proof.Decision, proof.Prompt
	return a.show(verdict{
		Verified: true, Decision: string(d.Decision), Match: string(d.Match), Device: proof.Device, Challenge: p.Challenge, User: p.User.ID, App: p.App.ID, Bound: proof.Bound,
	}, func(w io.Writer) {
		fmt.Fprintln(w, "Verified: this device decided so, on a prompt that this realm issued.")
		if !proof.Bound {
			fmt.Fprintln(w, "The decision names the challenge, not the text of the prompt.")
		}
		showDecision(w, d, p, proof.Device)
	})
}

// notVerified says which part of the receipt differs.
func (a *app) notVerified(err error) error {
	out := verdict{Detail: err.Error()}
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		out.Member, out.Detail = e.Member, e.Detail
	}
	if errors.Is(err, protocol.ErrOtherFactor) {
		out.Detail = "the challenge was answered by another factor than a device, of which a receipt proves nothing"
	}
	if errShow := a.show(out, func(w io.Writer) {
		fmt.Fprintln(w, "NOT VERIFIED")
		fields(w, "differs", out.Member, "because", out.Detail)
	}); errShow != nil {
		return errShow
	}
	return outcome(codeError)
}

// keysOutput is what "nod authenticator keys --json" prints.
type keysOutput struct {
	Issuer    string       `json:"issuer"`
	Realm     string       `json:"realm"`
	Device    string       `json:"device"`
	DeviceKey protocol.JWK `json:"device_key"`
	RealmKeys struct {
		Keys []protocol.JWK `json:"keys"`
	} `json:"realm_keys"`
	Serial int64  `json:"key_set_serial"`
	PIN    string `json:"pin"`
}

// readKeys reads public keys: a JWK, a set of them, or what the authenticator printed, each as
// such or in a file.
func readKeys(what, text string, from func(keysOutput) []protocol.JWK) ([]*ecdsa.PublicKey, error) {
	data := []byte(text)
	if !strings.HasPrefix(strings.TrimSpace(text), "{") {
		var err error
		if data, err = os.ReadFile(text); err != nil {
			return nil, fmt.Errorf("read the %s: %w", what, err)
		}
	}
	var got struct {
		keysOutput
		protocol.JWK
		Keys []protocol.JWK `json:"keys"`
	}
	if err := json.Unmarshal(data, &got); err != nil {
		return nil, fmt.Errorf("read the %s: it is not JSON: %w", what, err)
	}
	var jwks []protocol.JWK
	switch {
	case got.DeviceKey != (protocol.JWK{}):
		jwks = from(got.keysOutput)
	case got.JWK != (protocol.JWK{}):
		jwks = []protocol.JWK{got.JWK}
	default:
		jwks = got.Keys
	}
	if len(jwks) == 0 {
		return nil, fmt.Errorf("read the %s: no key is in it", what)
	}
	var out []*ecdsa.PublicKey
	for _, jwk := range jwks {
		pub, err := jwk.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("read the %s: %w", what, err)
		}
		out = append(out, pub)
	}
	return out, nil
}
