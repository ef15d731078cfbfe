package test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/protocol"
)

// TestBombing starts 1 000 challenges against one user from 20 applications. At most what strangers
// may ring reaches the device; the owner goes on.
func TestBombing(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	app := n.app("vpn")
	who := n.user("ada")
	d := n.enrol(who)
	code := n.totp(who)
	backup := n.call(n.admin, "POST", "/v1/users/"+who+"/factors/backup-codes", nil).want(t, 201)
	source := obj{"context": obj{"source": "vpn.example.com", "ip": "198.51.100.9"}}
	sudo := obj{"context": obj{"source": "build-host", "ip": "198.51.100.9"}}
	for _, from := range []obj{source, sudo} { // the owner has approved from there before
		n.approve(app, d, n.challenge(app, "ada", from))
	}
	b := n.browser()
	b.remembered(app, "ada", d)
	rungBefore := rung(n, who)

	var apps []string
	for i := range 20 {
		apps = append(apps, n.app(fmt.Sprintf("app %d", i)))
	}
	var wg sync.WaitGroup
	listed := new(atomic.Int64)
	for i := range 1000 {
		wg.Go(func() {
			c, err := n.try(apps[i%20], "POST", "/v1/challenges", request(spelling("ada", i), obj{"context": obj{"ip": fmt.Sprintf("192.0.2.%d", i%250)}}))
			if err != nil || c.status != 201 {
				t.Errorf("create: %v %d %s", err, c.status, c.body)
				return
			}
			if c.get("push.listed") == "true" {
				listed.Add(1)
			}
		})
		if i%50 == 49 {
			wg.Wait()
		}
	}
	wg.Wait()
	if got := rung(n, who) - rungBefore; got > 3 || int(listed.Load()) != got {
		t.Errorf("%d prompts rang (%d said so), want at most 3", got, listed.Load())
	}
	if shown := d.prompts(""); len(shown) > 1 {
		t.Errorf("%d prompts of strangers are on the device, want at most 1", len(shown))
	}

	for _, from := range []obj{source, sudo, b.from("ada")} {
		c := n.challenge(app, "ada", from)
		if c.get("push.listed") != "true" {
			t.Errorf("the owner's own browser or source does not ring: %s", c.body)
		}
		n.approve(app, d, c)
	}
	c := n.challenge(app, "ada") // a new browser: not listed, and scanned
	if c.get("push.listed") != "false" || c.get("push.reason") == "" {
		t.Errorf("a stranger still rings: %s", c.body)
	}
	scan, err := protocol.ParseScan(c.get("match.qr"))
	if err != nil {
		t.Fatal(err)
	}
	d.decide(approval(d.prompt(c.get("id")), protocol.MatchScan, scan.Secret)).want(t, 200)
	n.redeem(app, c.get("id")).want(t, 200)
	for method, answer := range map[string]string{"totp": code(1), "backup_code": first(backup, "codes")} {
		c := n.challenge(app, "ada")
		v := n.call(app, "POST", "/v1/challenges/"+c.get("id")+"/verify", obj{"method": method, "code": answer}).want(t, 200)
		if v.get("state") != "approved" {
			t.Errorf("%s: %s", method, v.body)
		}
		n.redeem(app, c.get("id")).want(t, 200)
	}
}

// spelling gives one of many ways to write an ASCII name that are all the same name.
func spelling(name string, i int) string {
	switch i % 4 {
	case 1:
		return strings.ToUpper(name)
	case 2:
		return strings.ToUpper(name[:1]) + name[1:]
	case 3:
		var b strings.Builder
		for _, r := range name {
			b.WriteRune(r - 'a' + 'ａ') // full width
		}
		return b.String()
	}
	return name
}

// first gives the first element of a list in the body.
func first(a answer, member string) string {
	return between(string(a.body), `"`+member+`":["`, `"`)
}

// approve answers a challenge with the six digits and redeems it.
func (n *node) approve(app string, d *device, c answer) {
	n.t.Helper()
	d.decide(approval(d.prompt(c.get("id")), protocol.MatchDigits, c.get("match.digits"))).want(n.t, 200)
	n.redeem(app, c.get("id")).want(n.t, 200)
}

// rung counts the prompts that rang the user's devices, by the record.
func rung(n *node, user string) int {
	a := n.call(n.admin, "GET", "/v1/events?limit=200&kind=challenge.created&user="+user, nil)
	count := strings.Count(string(a.body), `"rung":"yes"`)
	for cursor := a.get("next"); cursor != ""; cursor = a.get("next") {
		a = n.call(n.admin, "GET", "/v1/events?limit=200&kind=challenge.created&user="+user+"&cursor="+cursor, nil)
		count += strings.Count(string(a.body), `"rung":"yes"`)
	}
	return count
}

// TestGuessing types 10 000 wrong codes for one user: in parallel, in many spellings, from many
// applications, with restarts in between. Ten are looked at; the owner's own source goes on.
func TestGuessing(t *testing.T) {
	t.Parallel()
	dir, offset := t.TempDir(), new(atomic.Int64)
	n, stop := startUntil(t, nodeOptions{dir: dir, offset: offset})
	var apps []string
	for i := range 10 {
		apps = append(apps, n.app(fmt.Sprintf("app %d", i)))
	}
	who := n.user("ada")
	d := n.enrol(who)
	code := n.totp(who)
	source := obj{"context": obj{"source": "vpn.example.com", "ip": "198.51.100.9"}}
	n.approve(apps[0], d, n.challenge(apps[0], "ada", source))
	looked, spent := new(atomic.Int64), new(atomic.Int64)
	for round := range 4 {
		if round > 0 {
			stop()
			n, stop = startUntil(t, nodeOptions{dir: dir, offset: offset})
		}
		var wg sync.WaitGroup
		for w := range 25 {
			id := n.challenge(apps[w%10], spelling("ada", w)).get("id")
			wg.Go(func() {
				for i := range 100 {
					a, err := n.try(apps[w%10], "POST", "/v1/challenges/"+id+"/verify", obj{"method": "totp", "code": fmt.Sprintf("%06d", w*100+i)})
					switch {
					case err != nil:
						t.Errorf("verify: %v", err)
					case a.status == 200:
						looked.Add(1)
					case a.status == 429 && a.get("reason") == "guesses_spent":
						spent.Add(1)
					default:
						t.Errorf("verify: %d %s", a.status, a.body)
					}
				}
			})
		}
		wg.Wait()
	}
	if looked.Load() != 10 || spent.Load() != 9990 {
		t.Errorf("%d codes were looked at and %d refused, want 10 and 9990", looked.Load(), spent.Load())
	}
	c := n.challenge(apps[0], "ada", source)
	v := n.call(apps[0], "POST", "/v1/challenges/"+c.get("id")+"/verify", obj{"method": "totp", "code": code(1)}).want(t, 200)
	if v.get("state") != "approved" {
		t.Errorf("the owner's right code from a known source: %s", v.body)
	}
	n.redeem(apps[0], c.get("id")).want(t, 200)
	offset.Add(int64(24*time.Hour + time.Minute))
	c = n.challenge(apps[1], "ada")
	v = n.call(apps[1], "POST", "/v1/challenges/"+c.get("id")+"/verify", obj{"method": "totp", "code": code(0)}).want(t, 200)
	if v.get("state") != "approved" {
		t.Errorf("a right code after a day: %s", v.body)
	}
	stop()
}
