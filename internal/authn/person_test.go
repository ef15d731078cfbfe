package authn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

var byAdmin = account.Authority{By: mfa.ActorAdministrator}

// phone is an authenticator.
type phone struct {
	id    mfa.DeviceID
	key   *ecdsa.PrivateKey
	jwk   protocol.JWK
	keys  *protocol.KeySet
	claim protocol.Enrolled
	enrol mfa.EnrolmentID
	seq   int64
}

func newKey(t *testing.T) (*ecdsa.PrivateKey, protocol.JWK) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	jwk, err := protocol.NewJWK(&private.PublicKey)
	must(t, err)
	return private, jwk
}

// claimed is a phone that has claimed a ticket and was not confirmed yet.
func (w *world) claimed(u account.User) *phone {
	w.t.Helper()
	ticket, err := w.accounts.Enrol(w.ctx, in, u.ID, account.Enrol{Authority: byAdmin})
	must(w.t, err)
	link, err := protocol.ParseTicketLink(ticket.Link.Reveal())
	must(w.t, err)
	p := &phone{enrol: ticket.ID}
	p.key, p.jwk = newKey(w.t)
	answer, err := w.accounts.Claim(w.t.Context(), "", protocol.Enrol{
		V: 1, Ticket: link.Ticket, Name: "phone", Platform: protocol.PlatformCLI, Features: []string{},
	}, p.jwk)
	must(w.t, err)
	p.claim, p.keys, err = protocol.OpenEnrolled(answer, link.PIN)
	must(w.t, err)
	p.id = mfa.DeviceID(p.claim.Device)
	return p
}

// phone enrols one. It is quarantined if the user has another.
func (w *world) phone(u account.User) *phone {
	w.t.Helper()
	p := w.claimed(u)
	_, err := w.accounts.Confirm(w.ctx, in, p.enrol, p.claim.ConfirmCode)
	must(w.t, err)
	w.pass(time.Second)
	return p
}

// person is a user with a phone.
func (w *world) person(name string) (account.User, *phone) {
	w.t.Helper()
	u := w.user(name)
	return u, w.phone(u)
}

// says gives the device as the front has it after checking a signature.
func (w *world) says(p *phone) authn.Device {
	w.t.Helper()
	d, key, err := w.accounts.Identify(w.t.Context(), string(p.id))
	must(w.t, err)
	if !key.Equal(&p.key.PublicKey) {
		w.t.Fatal("the device is known by another key")
	}
	return d
}

// poll asks for what there is now.
func (w *world) poll(p *phone, named mfa.ChallengeID, have ...string) protocol.PollAnswer {
	w.t.Helper()
	a, err := w.s.Prompts(w.t.Context(), w.asks(p, named, 0, have...))
	must(w.t, err)
	return a
}

func (w *world) asks(p *phone, named mfa.ChallengeID, wait time.Duration, have ...string) authn.Poll {
	w.t.Helper()
	return authn.Poll{Device: w.says(p), Wait: wait, Named: named, KeysSerial: p.keys.Serial, Have: have}
}

// prompts opens the prompts of an answer as a device does.
func (w *world) prompts(p *phone, a protocol.PollAnswer) []protocol.Prompt {
	w.t.Helper()
	list := []protocol.Prompt{}
	for _, item := range a.Prompts {
		prompt, _, err := p.keys.OpenPrompt(item.JWS)
		must(w.t, err)
		list = append(list, prompt)
	}
	return list
}

// listed gives the ids of the prompts that the phone shows, in their order.
func (w *world) listed(p *phone, named mfa.ChallengeID) []mfa.ChallengeID {
	w.t.Helper()
	ids := []mfa.ChallengeID{}
	for _, prompt := range w.prompts(p, w.poll(p, named)) {
		ids = append(ids, mfa.ChallengeID(prompt.Challenge))
	}
	return ids
}

// signed is a decision as the front has it after checking the signature.
func (w *world) signed(p *phone, d protocol.Decision) authn.Signed {
	w.t.Helper()
	d.V = 1
	if d.Decision == protocol.VerdictApprove {
		d.Locale = "en"
	}
	raw, err := protocol.Sign(p.key, protocol.Header{KeyID: string(p.id), URL: host + protocol.PathDecisions}, &d)
	must(w.t, err)
	m, err := protocol.Parse(protocol.TypeDecision, []byte(raw))
	must(w.t, err)
	got, err := protocol.Decode[protocol.Decision](m)
	must(w.t, err)
	must(w.t, m.Verify(&p.key.PublicKey))
	return authn.Signed{Device: w.says(p), Decision: got, Sighted: mfa.Sighted(m.RepetitionKey()), Raw: m.Raw()}
}

// answers is the approval of a challenge as the phone sees it.
func (w *world) answers(id mfa.ChallengeID, m mfa.Match, answer string) protocol.Decision {
	w.t.Helper()
	return protocol.Decision{
		Challenge: string(id), Decision: protocol.VerdictApprove, PromptSHA256: w.row(id).Prompt,
		Match: protocol.Match(m), Answer: answer,
	}
}

func (w *world) decide(p *phone, d protocol.Decision) (authn.Decided, error) {
	w.t.Helper()
	return w.s.Decide(w.t.Context(), w.signed(p, d))
}

// right is the answer that the login page of a challenge shows.
func right(v authn.View, m mfa.Match) string {
	switch m {
	case mfa.Scan:
		_, secret, _ := strings.Cut(v.Secrets.QR, ".")
		return secret
	case mfa.Digits:
		return v.Secrets.Digits
	case mfa.Number, mfa.Choice:
		return v.Secrets.Number
	case mfa.DigitsBack, mfa.Tap:
	}
	return ""
}

// other is a wrong answer of the same form, a different one for each n below 99.
func other(answer string, n int) string {
	if len(answer) > 6 {
		return strings.Repeat("A", 20) + string(rune('A'+n/4)) + string("AQgw"[n%4])
	}
	var v int
	_, _ = fmt.Sscan(answer, &v)
	m := 100
	if len(answer) == 6 {
		m = 1_000_000
	}
	return fmt.Sprintf("%0*d", len(answer), (v+1+n)%m)
}

// wrong answers a challenge wrongly.
func (w *world) wrong(p *phone, v authn.View, m mfa.Match, n int) authn.Decided {
	w.t.Helper()
	out, err := w.decide(p, w.answers(v.ID, m, other(right(v, m), n)))
	must(w.t, err)
	return out
}

// approve approves a challenge rightly.
func (w *world) approve(p *phone, v authn.View, m mfa.Match) {
	w.t.Helper()
	out, err := w.decide(p, w.answers(v.ID, m, right(v, m)))
	must(w.t, err)
	equal(w.t, "state after the approval", out.State, mfa.Approved)
}

func (w *world) deny(p *phone, id mfa.ChallengeID) {
	w.t.Helper()
	out, err := w.decide(p, protocol.Decision{Challenge: string(id), Decision: protocol.VerdictDeny})
	must(w.t, err)
	equal(w.t, "state after the denial", out.State, mfa.Denied)
}

func (w *world) report(p *phone, id mfa.ChallengeID) authn.Decided {
	w.t.Helper()
	out, err := w.decide(p, protocol.Decision{Challenge: string(id), Decision: protocol.VerdictReport})
	must(w.t, err)
	return out
}

// login is a stranger's request after a first factor that the application checked.
func login(name string) authn.Request {
	return authn.Request{UserName: name, Kind: mfa.Login, Asserted: true}
}

func (w *world) create(r authn.Request) authn.View {
	w.t.Helper()
	v, err := w.s.Create(w.t.Context(), w.app, r)
	must(w.t, err)
	return v
}

func (w *world) get(id mfa.ChallengeID) authn.View {
	w.t.Helper()
	v, err := w.s.Get(w.t.Context(), w.app, id, mfa.Pending, 0)
	must(w.t, err)
	return v
}

func (w *world) redeem(id mfa.ChallengeID) (authn.Grant, error) {
	w.t.Helper()
	return w.s.Redeem(w.t.Context(), w.app, id, "key-1")
}

func (w *world) redeemed(id mfa.ChallengeID) authn.Grant {
	w.t.Helper()
	g, err := w.redeem(id)
	must(w.t, err)
	if g.JWT == "" {
		w.t.Fatal("a grant without a token")
	}
	return g
}

func (w *world) state(id mfa.ChallengeID, state mfa.State, why mfa.CancelReason) {
	w.t.Helper()
	v := w.get(id)
	if v.State != state || v.Reason != why {
		w.t.Fatalf("the challenge is %s %s, want %s %s", v.State, v.Reason, state, why)
	}
}

// signIn is the honest control: a stranger's sign-in, approved by scanning and redeemed.
func (w *world) signIn(p *phone, r authn.Request) authn.Grant {
	w.t.Helper()
	v := w.create(r)
	w.approve(p, v, mfa.Scan)
	return w.redeemed(v.ID)
}

// browser is a browser with a key of its own.
type browser struct {
	thumbprint string
	jwk        []byte
}

func (w *world) newBrowser() browser {
	w.t.Helper()
	_, jwk := newKey(w.t)
	text, err := protocol.Encode(jwk)
	must(w.t, err)
	return browser{jwk.Thumbprint(), text}
}

// from is a request by a browser that proves its key.
func (w *world) from(b browser, r authn.Request) authn.Request {
	w.t.Helper()
	proof, err := w.s.ProveBrowser(w.t.Context(), in, r.UserName, b.thumbprint, b.jwk)
	must(w.t, err)
	r.BrowserProof = proof
	return r
}

// remembered makes a browser known in the honest way.
func (w *world) remembered(u account.User, p *phone) browser {
	w.t.Helper()
	b := w.newBrowser()
	w.remember(u, p, b)
	return b
}

func (w *world) remember(u account.User, p *phone, b browser) {
	w.t.Helper()
	v := w.create(w.from(b, login(u.Name)))
	d := w.answers(v.ID, mfa.Scan, right(v, mfa.Scan))
	d.Remember = true
	out, err := w.decide(p, d)
	must(w.t, err)
	equal(w.t, "state", out.State, mfa.Approved)
	w.redeemed(v.ID)
}

// source is a request from a host that the person signs in to.
func source(name, from string) authn.Request {
	r := login(name)
	r.Source, r.IP = from, "198.51.100.7"
	return r
}

func (w *world) known(u account.User, b browser) bool {
	w.t.Helper()
	found := false
	w.read(func(tx store.Tx) error {
		list, err := tx.ListBrowsers(in, u.ID)
		for _, k := range list {
			found = found || k.Thumbprint == b.thumbprint && w.now() < k.ExpiresAt
		}
		return err
	})
	return found
}

// provenance is where a challenge comes from.
func (w *world) provenance(v authn.View) mfa.ProvenanceClass {
	w.t.Helper()
	return w.row(v.ID).Provenance.Class
}

// generator makes the codes of a TOTP factor.
type generator struct {
	id   string
	seed []byte
}

func (w *world) totp(u account.User) generator {
	w.t.Helper()
	f, err := w.accounts.CreateTOTP(w.ctx, in, u.ID, byAdmin, account.TOTPOptions{})
	must(w.t, err)
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(f.Seed.Reveal())
	must(w.t, err)
	g := generator{f.ID, seed}
	must(w.t, w.accounts.ConfirmTOTP(w.ctx, in, u.ID, f.ID, g.code(w.now())))
	w.pass(time.Minute)
	return g
}

// code is RFC 6238 with SHA-1, six digits and 30 seconds.
func (g generator) code(at mfa.Instant) string {
	h := hmac.New(sha1.New, g.seed)
	_ = binary.Write(h, binary.BigEndian, at.Seconds()/30)
	sum := h.Sum(nil)
	at4 := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at4:])&0x7fffffff%1_000_000)
}

func (w *world) verify(id mfa.ChallengeID, m mfa.Method, code string) (authn.View, error) {
	w.t.Helper()
	return w.s.Verify(w.t.Context(), w.app, id, m, code)
}

// types answers a challenge with a code that is right.
func (w *world) types(id mfa.ChallengeID, m mfa.Method, code string) {
	w.t.Helper()
	v, err := w.verify(id, m, code)
	must(w.t, err)
	equal(w.t, "state after the code", v.State, mfa.Approved)
}

// guesses counts what was paid by one side for codes or passwords.
func (w *world) guesses(who mfa.UserID, bucket string) int {
	w.t.Helper()
	n := 0
	w.read(func(tx store.Tx) error {
		list, err := tx.Guesses(in, who, bucket, 0)
		n = len(list)
		return err
	})
	return n
}
