package test

import (
	"testing"

	"github.com/nodauth/nod/protocol"
)

// TestSourceBecomesKnown shows what makes a source known: an approval by the user's own factor, and
// neither a code of the help desk nor a sign-in that was denied.
func TestSourceBecomesKnown(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	app := n.app("vpn")
	who := n.user("ada")
	d := n.enrol(who)
	from := obj{"context": obj{"source": "vpn.example.com", "ip": "198.51.100.9"}}
	provenance := func() string {
		c := n.challenge(app, "ada", from)
		n.call(app, "POST", "/v1/challenges/"+c.get("id")+"/cancel", nil)
		events := n.call(n.admin, "GET", "/v1/events?kind=challenge.created&challenge="+c.get("id"), nil)
		return between(string(events.body), `"provenance":"`, `"`)
	}
	if got := provenance(); got != "stranger" {
		t.Errorf("before anything: %s", got)
	}
	c := n.challenge(app, "ada", from)
	d.decide(refuse(c.get("id"), protocol.VerdictDeny)).want(t, 200)
	if got := provenance(); got != "stranger" {
		t.Errorf("after a denial: %s", got)
	}
	code := n.call(n.admin, "POST", "/v1/users/"+who+"/bypass-codes", obj{"reason": "phone at home"}).want(t, 201).get("code")
	c = n.challenge(app, "ada", from)
	if v := n.call(app, "POST", "/v1/challenges/"+c.get("id")+"/verify", obj{"method": "bypass_code", "code": code}); v.get("state") != "approved" {
		t.Fatalf("bypass code: %s", v.body)
	}
	if got := provenance(); got != "stranger" {
		t.Errorf("after a bypass code: %s", got)
	}
	n.approve(app, d, n.challenge(app, "ada", from))
	if got := provenance(); got != "source" {
		t.Errorf("after an approval on the device: %s", got)
	}
}
