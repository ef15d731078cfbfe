package test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/protocol"
)

// TestEqualNames holds that what is called the same in two realms is not the same.
func TestEqualNames(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	one, two := newTenant(n.in("one")), newTenant(n.in("two"))
	for _, x := range []*tenant{one, two} {
		for _, list := range []string{"/v1/users", "/v1/applications?limit=1"} {
			body := string(x.n.call(x.n.admin, "GET", list, nil).want(t, 200).body)
			for kind, id := range map[*tenant]map[string]string{one: two.ids, two: one.ids}[x] {
				if len(id) > 8 && strings.Contains(body, id) {
					t.Errorf("%s tells of another realm's %s", list, kind)
				}
			}
		}
	}
	// One key in two devices: each realm knows its own.
	c := one.n.challenge(one.app, "jo", obj{"context": obj{"source": "till"}})
	mixed := *two.device
	mixed.key = one.device.key
	if a := mixed.decide(refuse(c.get("id"), protocol.VerdictDeny)); a.status != 401 {
		t.Errorf("a key of one realm under a device id of another: %d", a.status)
	}
	// A cursor is good where it was given.
	for range 2 {
		two.n.user("guest-" + strings.ToLower(secret.ID("")[:6]))
	}
	cursor := two.n.call(two.n.admin, "GET", "/v1/users?limit=1", nil).want(t, 200).get("next")
	two.n.call(two.n.admin, "GET", "/v1/users?limit=1&cursor="+cursor, nil).want(t, 200)
	known := one.n.call(one.n.admin, "GET", "/v1/users?limit=1&cursor="+cursor, nil).want(t, 400)
	unknown := one.n.call(one.n.admin, "GET", "/v1/users?limit=1&cursor="+secret.Base64(48), nil).want(t, 400)
	if essence(known, cursor) != essence(unknown, "") {
		t.Errorf("another realm's cursor: %s, a random one: %s", known.body, unknown.body)
	}
	// Idempotency keys are counted apart.
	for _, x := range []*tenant{one, two} {
		x.n.call(x.n.admin, "POST", "/v1/users", obj{"name": "kim"}, "Idempotency-Key", "same").want(t, 201)
	}
}

// TestHosts holds that a host which belongs to a realm serves that realm alone.
func TestHosts(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	host := strings.Replace(strings.TrimPrefix(n.url, "http://"), "127.0.0.1", secondHost, 1)
	inside := n.in("one", host)
	one, other := newTenant(inside), newTenant(n.in("two"))
	here := *n
	here.url = "http://" + host
	here.call(one.n.admin, "GET", "/v1/users", nil).want(t, 200)
	n.call(one.n.admin, "GET", "/v1/users", nil).want(t, 200) // a host of nobody
	unknown := here.call("nod_sk_"+strings.Repeat("a", 32), "GET", "/v1/users", nil).want(t, 401)
	for _, key := range []string{n.admin, other.n.admin, other.app} {
		if a := here.call(key, "GET", "/v1/users", nil); essence(a, "") != essence(unknown, "") {
			t.Errorf("a key of another realm gets %s", a.body)
		}
	}
	if got := here.call("", "GET", protocol.PathWellKnown, nil).want(t, 200).get("device_url"); got != here.url {
		t.Errorf("devices are sent to %s, want %s", got, here.url)
	}
	if link := n.call(one.n.admin, "POST", "/v1/users/"+one.ids["user"]+"/enrolments", obj{}).want(t, 201).get("url"); !strings.HasPrefix(link, here.url+"/enrol#") {
		t.Errorf("the link is %s", strings.Split(link, "#")[0])
	}
	for device, want := range map[*device]int{one.device: 200, other.device: 401} {
		moved := *device
		moved.n, moved.nonce = &here, ""
		if a := moved.say(&protocol.Poll{V: 1, KeysSerial: 1, Have: []string{}}); a.status != want {
			t.Errorf("a device gets %d, want %d: %s", a.status, want, a.body)
		}
	}
	here.call("", "GET", "/r/two/.well-known/jwks.json", nil).want(t, 404)
	if a, b := here.call("", "GET", "/.well-known/jwks.json", nil), n.call("", "GET", "/r/one/.well-known/jwks.json", nil); string(a.body) != string(b.body) {
		t.Error("the host gives other grant keys than the realm's")
	}
	b := here.browser()
	b.prove("jo")
	b.path = "/r/two"
	if a := b.once("jo"); a.status != 404 {
		t.Errorf("another realm's login page answers %d", a.status)
	}
}

// TestDisabledRealm holds that nothing of a disabled realm works, from that moment.
func TestDisabledRealm(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	x := newTenant(n.in("one"))
	approved := x.n.challenge(x.app, "jo")
	x.device.decide(approval(x.device.prompt(approved.get("id")), protocol.MatchDigits, approved.get("match.digits"))).want(t, 200)
	waiting, body := x.n.unclaimed(x.ids["user"])
	jwks := n.call("", "GET", "/r/one/.well-known/jwks.json", nil).want(t, 200)
	n.call(n.admin, "POST", "/v1/realms/one/disable", nil).want(t, 200)

	unknown := n.call("nod_sk_"+strings.Repeat("a", 32), "GET", "/v1/users", nil).want(t, 401)
	for _, key := range []string{x.n.admin, x.app} {
		if a := n.call(key, "GET", "/v1/users", nil); essence(a, "") != essence(unknown, "") {
			t.Errorf("a key of a disabled realm gets %s", a.body)
		}
	}
	if a := x.device.say(&protocol.Poll{V: 1, KeysSerial: 1, Have: []string{}}); a.status != 401 {
		t.Errorf("a device gets %d", a.status)
	}
	if a := waiting.post(protocol.PathEnrol, body); a.status != 404 {
		t.Errorf("a ticket gets %d", a.status)
	}
	b := n.browser()
	b.path = "/r/one"
	if a := b.once("jo"); a.status != 404 {
		t.Errorf("the login page gets %d", a.status)
	}
	if a := n.call("", "GET", "/r/one/.well-known/jwks.json", nil).want(t, 200); string(a.body) != string(jwks.body) {
		t.Error("old grants cannot be verified any more")
	}
	n.call(n.admin, "POST", "/v1/realms/one/enable", nil).want(t, 200)
	for _, id := range []string{approved.get("id"), x.ids["challenge"]} {
		if got := x.n.state(x.app, id); got != "cancelled" {
			t.Errorf("enabled again, a challenge of before is %s", got)
		}
		x.n.noGrant(x.app, id)
	}
	x.n.approve(x.app, x.device, x.n.challenge(x.app, "jo"))
	if got := n.events("kind=realm."); len(got) < 3 {
		t.Errorf("the record has %v", got)
	}
}

// TestNobodySeesAnother runs many sign-ins at once, of which each has a mark of its own in whatever it can choose:
// no answer holds another's.
func TestNobodySeesAnother(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	apart := []*node{n.in("one"), n.in("two")}
	apps := []string{apart[0].app("Till"), apart[1].app("Till")}
	mark := regexp.MustCompile(`mk[0-9]+x`)
	var all sync.WaitGroup
	for i := range 24 {
		own := fmt.Sprintf("mk%dx", i)
		in, app := apart[i%2], apps[i%2]
		device := in.enrol(in.user("jo-" + own))
		check := func(what string, a answer) answer {
			for _, m := range mark.FindAllString(string(a.body), -1) {
				if m != own {
					t.Errorf("%s of %s holds %s", what, own, m)
				}
			}
			return a
		}
		all.Go(func() {
			for range 3 {
				c, err := in.try(app, "POST", "/v1/challenges", request("jo-"+own, obj{
					"reason": "buy " + own, "nonce": own, "details": []obj{{"label": own, "value": own}},
					"context": obj{"source": own, "ip": fmt.Sprintf("192.0.2.%d", i)},
				}))
				if err != nil || check("create", c).status != http.StatusCreated {
					t.Errorf("create: %v %s", err, c.body)
					return
				}
				id := c.get("id")
				poll, err := device.tryPost(protocol.PathPrompts, device.sign(&protocol.Poll{V: 1, Challenge: id, KeysSerial: device.serial, Have: []string{}},
					protocol.Header{KeyID: device.id, URL: n.url + protocol.PathPrompts}))
				if err != nil {
					t.Error(err)
					return
				}
				body, err := protocol.ReadAnswer[protocol.PollAnswer](poll.body)
				if err != nil {
					t.Errorf("poll: %v %s", err, poll.body)
					return
				}
				for _, item := range body.Prompts {
					p, sum, err := device.keys.OpenPrompt(item.JWS)
					if err != nil || p.Reason != "buy "+own || p.User.Name != "jo-"+own {
						t.Errorf("prompt for %s: %v %+v", own, err, p)
						continue
					}
					if p.Challenge != id {
						continue
					}
					check("decision", device.decide(approval(shown{p, sum, item}, protocol.MatchDigits, c.get("match.digits"))))
				}
				if g := check("redeem", in.redeem(app, id)); g.status != http.StatusOK {
					t.Errorf("redeem: %s", g.body)
				}
				check("list", in.call(in.admin, "GET", "/v1/events?challenge="+id, nil))
			}
		})
	}
	all.Wait()
}
