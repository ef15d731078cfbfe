package test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/nodauth/nod/protocol"
)

// device is an authenticator made by hand, so that a test can say anything.
type device struct {
	n      *node
	key    *ecdsa.PrivateKey
	id     string
	enrol  string // id of the enrolment
	pin    string // of the key set, from the link
	keys   *protocol.KeySet
	nonce  string
	serial int64
}

// enrol makes a device for the user and confirms it. more is added to the request for the ticket.
func (n *node) enrol(user string, more ...obj) *device {
	n.t.Helper()
	d, code := n.claim(user, more...)
	n.call(n.admin, "POST", "/v1/enrolments/"+d.enrol+"/confirm", obj{"code": code}).want(n.t, 200)
	return d
}

// claim makes a device that waits to be confirmed, and gives the code.
func (n *node) claim(user string, more ...obj) (*device, string) {
	n.t.Helper()
	d, body := n.unclaimed(user, more...)
	a := d.post(protocol.PathEnrol, body).want(n.t, 201)
	enrolled, set, err := protocol.OpenEnrolled(a.get("enrolled"), d.pin)
	if err != nil {
		n.t.Fatalf("open enrolment: %v", err)
	}
	d.id, d.keys, d.serial = enrolled.Device, set, set.Keys.Serial
	return d, enrolled.ConfirmCode
}

// unclaimed makes a device that has a ticket, and the message that claims it.
func (n *node) unclaimed(user string, more ...obj) (*device, string) {
	n.t.Helper()
	req := obj{}
	for _, m := range more {
		for k, v := range m {
			req[k] = v
		}
	}
	ticket := n.call(n.admin, "POST", "/v1/users/"+user+"/enrolments", req).want(n.t, 201)
	link, err := protocol.ParseTicketLink(ticket.get("url"))
	if err != nil {
		n.t.Fatalf("ticket link: %v", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	d := &device{n: n, key: key, enrol: ticket.get("id"), pin: link.PIN}
	return d, d.sign(&protocol.Enrol{
		V: 1, Ticket: link.Ticket, Name: "test device", Platform: protocol.PlatformCLI, AppVersion: "1", Features: []string{},
	}, protocol.Header{URL: n.url + protocol.PathEnrol})
}

// sign makes a message.
func (d *device) sign(p protocol.Payload, h protocol.Header) string {
	d.n.t.Helper()
	raw, err := protocol.Sign(d.key, h, p)
	if err != nil {
		d.n.t.Fatalf("sign: %v", err)
	}
	return raw
}

// post sends a body to a path of the device protocol.
func (d *device) post(path, body string) answer {
	d.n.t.Helper()
	a, err := d.tryPost(path, body)
	if err != nil {
		d.n.t.Fatalf("POST %s: %v", path, err)
	}
	return a
}

// tryPost asks once more for prompts whose answer was cut off on the way, as devices do.
func (d *device) tryPost(path, body string) (answer, error) {
	a, err := d.postOnce(path, body)
	if path == protocol.PathPrompts && errors.Is(err, io.ErrUnexpectedEOF) {
		d.n.t.Logf("the answer to a poll was cut off")
		return d.postOnce(path, body)
	}
	return a, err
}

func (d *device) postOnce(path, body string) (answer, error) {
	req, err := http.NewRequestWithContext(context.Background(), "POST", d.n.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", protocol.ContentType)
	return do(req)
}

// say signs and sends a message that needs a nonce.
func (d *device) say(p protocol.Payload) answer {
	d.n.t.Helper()
	path := p.Type().Path()
	for range 2 {
		h := protocol.Header{KeyID: d.id, URL: d.n.url + path, Nonce: d.nonce}
		if d.nonce == "" {
			h.Nonce = "AAAA" // stale for sure: the answer brings one
		}
		a := d.post(path, d.sign(p, h))
		d.nonce = a.header.Get(protocol.NonceHeader)
		if a.get("reason") != "stale_nonce" {
			return a
		}
	}
	d.n.t.Fatal("the server refuses its own nonce")
	return answer{}
}

// poll asks for prompts, naming a challenge if it is not "".
func (d *device) poll(named string) answer {
	d.n.t.Helper()
	p := &protocol.Poll{V: 1, Challenge: named, KeysSerial: d.serial, Have: []string{}}
	if named == "" {
		return d.say(p)
	}
	return d.post(protocol.PathPrompts, d.sign(p, protocol.Header{KeyID: d.id, URL: d.n.url + protocol.PathPrompts}))
}

// prompts gives what a poll lists, verified.
func (d *device) prompts(named string) []shown {
	d.n.t.Helper()
	a := d.poll(named).want(d.n.t, 200)
	body, err := protocol.ReadAnswer[protocol.PollAnswer](a.body)
	if err != nil {
		d.n.t.Fatalf("poll: %v", err)
	}
	var list []shown
	for _, item := range body.Prompts {
		p, sum, err := d.keys.OpenPrompt(item.JWS)
		if err != nil {
			d.n.t.Fatalf("open prompt: %v", err)
		}
		list = append(list, shown{p, sum, item})
	}
	return list
}

type shown struct {
	protocol.Prompt
	sum  string
	item protocol.PromptItem
}

// prompt gives the prompt of one challenge.
func (d *device) prompt(id string) shown {
	d.n.t.Helper()
	for _, p := range d.prompts(id) {
		if p.Challenge == id {
			return p
		}
	}
	d.n.t.Fatalf("challenge %s is not shown to the device", id)
	return shown{}
}

// approval is a decision that approves.
func approval(p shown, m protocol.Match, answer string) *protocol.Decision {
	return &protocol.Decision{
		V: 1, Challenge: p.Challenge, Decision: protocol.VerdictApprove, PromptSHA256: p.sum, Match: m, Answer: answer,
		ShownMS: 1200, Locale: "en",
	}
}

// decision signs a decision.
func (d *device) decision(p *protocol.Decision) string {
	d.n.t.Helper()
	return d.sign(p, protocol.Header{KeyID: d.id, URL: d.n.url + protocol.PathDecisions})
}

// decide signs and sends a decision.
func (d *device) decide(p *protocol.Decision) answer {
	d.n.t.Helper()
	return d.post(protocol.PathDecisions, d.decision(p))
}

// refuse is a denial or a report.
func refuse(id string, v protocol.Verdict) *protocol.Decision {
	return &protocol.Decision{V: 1, Challenge: id, Decision: v}
}

// TestSignIn is the honest way, the control of every attack.
func TestSignIn(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	key := n.app("wiki")
	d := n.enrol(n.user("ada"))
	c := n.challenge(key, "ada")
	p := d.prompt(c.get("id"))
	d.decide(approval(p, protocol.MatchDigits, c.get("match.digits"))).want(t, 200)
	first := n.call(key, "POST", "/v1/challenges/"+c.get("id")+"/redeem", nil, "Idempotency-Key", "one").want(t, 200)
	again := n.call(key, "POST", "/v1/challenges/"+c.get("id")+"/redeem", nil, "Idempotency-Key", "one").want(t, 200)
	if !bytes.Equal(first.body, again.body) {
		t.Errorf("the same key got another grant:\n%s\n%s", first.body, again.body)
	}
	if a := n.call(key, "POST", "/v1/challenges/"+c.get("id")+"/redeem", nil, "Idempotency-Key", "two").want(t, 409); a.get("reason") != "already_redeemed" {
		t.Errorf("another key: %s", a.body)
	}
	n.call(key, "POST", "/v1/challenges/"+c.get("id")+"/redeem", nil).want(t, 400)
}

// signBytes signs a decision payload exactly as given, however wrong it is.
func (d *device) signBytes(payload []byte) string {
	d.n.t.Helper()
	header := fmt.Sprintf(`{"alg":"ES256","kid":%q,"url":%q,"typ":"nod-decision+jws"}`, d.id, d.n.url+protocol.PathDecisions)
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, d.key, sum[:])
	if err != nil {
		d.n.t.Fatal(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}
