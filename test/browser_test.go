package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"

	"github.com/nodauth/nod/protocol"
)

// browser is a browser with a key of its own under the login origin.
type browser struct {
	n     *node
	key   *ecdsa.PrivateKey
	nonce string
	path  string // of a realm's login page, "" for the default realm's
}

func (n *node) browser() *browser {
	n.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	return &browser{n: n, key: key}
}

// prove gives a proof for a user name.
func (b *browser) prove(user string) string {
	b.n.t.Helper()
	return b.say(user).want(b.n.t, 200).get("proof")
}

func (b *browser) say(user string) answer {
	b.n.t.Helper()
	a := b.once(user)
	if a.get("reason") == "stale_nonce" {
		a = b.once(user)
	}
	return a
}

// once sends one message with the last nonce that came.
func (b *browser) once(user string) answer {
	b.n.t.Helper()
	h := protocol.Header{URL: b.n.url + b.path + protocol.PathBrowserProofs, Nonce: b.nonce}
	if h.Nonce == "" {
		h.Nonce = "AAAA" // stale for sure: the answer brings one
	}
	raw, err := protocol.Sign(b.key, h, &protocol.Browser{V: 1, User: user})
	if err != nil {
		b.n.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, h.URL, strings.NewReader(raw))
	if err != nil {
		b.n.t.Fatal(err)
	}
	req.Header.Set("Content-Type", protocol.ContentType)
	a, err := do(req)
	if err != nil {
		b.n.t.Fatal(err)
	}
	b.nonce = a.header.Get(protocol.NonceHeader)
	return a
}

// from is a request's context with a fresh proof of this browser.
func (b *browser) from(user string) obj {
	b.n.t.Helper()
	return obj{"context": obj{"browser_proof": b.prove(user)}}
}

// remembered makes the browser known: the person says so in an approval.
func (b *browser) remembered(app, user string, d *device) {
	b.n.t.Helper()
	c := b.n.challenge(app, user, b.from(user))
	p := d.prompt(c.get("id"))
	yes := approval(p, protocol.MatchDigits, c.get("match.digits"))
	yes.Remember = true
	d.decide(yes).want(b.n.t, 200)
	b.n.redeem(app, c.get("id")).want(b.n.t, 200)
}

// TestKnownBrowser follows a browser from stranger to known: only the approving decision makes it
// so, a proof is good once and for its user only, and one that is reported is forgotten.
func TestKnownBrowser(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	app := n.app("wiki")
	d := n.enrol(n.user("ada"))
	n.user("bob")
	b := n.browser()
	known := func(more obj) bool {
		c := n.challenge(app, "ada", more)
		defer n.call(app, "POST", "/v1/challenges/"+c.get("id")+"/cancel", nil)
		return d.prompt(c.get("id")).Context.KnownBrowser
	}
	if known(b.from("ada")) {
		t.Error("a browser is known by its proof alone")
	}
	n.approve(app, d, n.challenge(app, "ada", b.from("ada")))
	if known(b.from("ada")) {
		t.Error("a browser is known by a sign-in alone")
	}
	b.remembered(app, "ada", d)
	if !known(b.from("ADA")) {
		t.Error("a remembered browser is not known")
	}
	if known(b.from("bob")) {
		t.Error("a proof for one user names another's browser")
	}
	once := b.from("ada")
	if !known(once) || known(once) {
		t.Error("a proof is not good exactly once")
	}
	if known(n.browser().from("ada")) {
		t.Error("another browser is known")
	}
	if a := b.say("a b"); a.status != 400 {
		t.Errorf("a name that nobody can have: %d %s", a.status, a.body)
	}
	stranger := b.prove("nobody")
	if len(stranger) != len(b.prove("ada")) {
		t.Error("proofs for known and unknown names differ")
	}
	c := n.challenge(app, "ada", b.from("ada"))
	d.decide(refuse(c.get("id"), protocol.VerdictReport)).want(t, 200)
	if known(b.from("ada")) {
		t.Error("a reported browser is still known")
	}
}
