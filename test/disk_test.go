package test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/protocol"
)

// load is a server under sign-ins, and the client's memory of them.
type load struct {
	t    *testing.T
	app  string
	devs []*device
	l    *ledger

	mu      sync.Mutex
	refused map[string]int // details of the problems answered, in words
	made    []string       // challenges
}

func newLoad(t *testing.T, n *node, people int) *load {
	t.Helper()
	o := &load{t: t, app: n.app("load"), refused: map[string]int{}, l: &ledger{
		decided: map[string]string{}, redeemed: map[string]string{}, keys: map[string]string{}, enrolled: map[string]bool{},
		wrong: map[string]int{}, consumed: map[string]string{},
	}}
	for i := range people {
		o.devs = append(o.devs, n.enrol(n.user(fmt.Sprintf("user%d", i))))
	}
	return o
}

// run signs in with every device on the nodes in turn, until done says so.
func (o *load) run(done func() bool, nodes ...*node) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i, d := range o.devs {
		wg.Go(func() {
			for at := i; ctx.Err() == nil; at++ {
				o.signIn(nodes[at%len(nodes)], nodes[(at/2)%len(nodes)], d, fmt.Sprintf("user%d", i))
			}
		})
	}
	o.await("what the load was for", done)
	cancel()
	wg.Wait()
}

// await waits for another process to come to something.
func (o *load) await(what string, done func() bool) {
	o.t.Helper()
	for deadline := time.Now().Add(time.Minute + 2*long(o.t)); !done(); {
		if time.Now().After(deadline) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.t.Fatalf("not yet: %s; %d sign-ins so far, refused: %v", what, o.l.completed.Load(), o.refused)
		}
		pause(5 * time.Millisecond)
	}
}

// signIn makes, approves and redeems a challenge on a, with the device on b, as far as it goes.
func (o *load) signIn(a, b *node, d *device, user string) bool {
	c, err := a.try(o.app, "POST", "/v1/challenges", request(user, obj{"context": obj{"browser_id": secret.ID("b_")}}), "Idempotency-Key", secret.ID("k_"))
	if !o.good(c, err, 201) {
		return false
	}
	id := c.get("id")
	o.mu.Lock()
	o.made = append(o.made, id)
	o.mu.Unlock()
	on := *d
	on.n = b
	p, err := on.tryPost(protocol.PathPrompts, on.sign(&protocol.Poll{V: 1, Challenge: id, KeysSerial: d.serial, Have: []string{}},
		protocol.Header{KeyID: d.id, URL: b.url + protocol.PathPrompts}))
	if !o.good(p, err, 200) {
		return false
	}
	got, err := protocol.ReadAnswer[protocol.PollAnswer](p.body)
	if err != nil {
		return false
	}
	for _, item := range got.Prompts {
		prompt, sum, err := d.keys.OpenPrompt(item.JWS)
		if err != nil || prompt.Challenge != id {
			continue
		}
		r, err := on.tryPost(protocol.PathDecisions, on.decision(approval(shown{prompt, sum, item}, protocol.MatchDigits, c.get("match.digits"))))
		if !o.good(r, err, 200) {
			return false
		}
		o.l.mu.Lock()
		o.l.decided[id] = r.get("state")
		o.l.mu.Unlock()
	}
	key := secret.ID("k_")
	r, err := a.try(o.app, "POST", "/v1/challenges/"+id+"/redeem", nil, "Idempotency-Key", key)
	if !o.good(r, err, 200) {
		return false
	}
	o.l.mu.Lock()
	o.l.redeemed[id], o.l.keys[id] = r.get("grant"), key
	o.l.mu.Unlock()
	o.l.completed.Add(1)
	return true
}

// good notes a refusal.
func (o *load) good(a answer, err error, want int) bool {
	if err != nil {
		o.l.unknown.Add(1)
		return false
	}
	if a.status == want {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refused[fmt.Sprint(a.status, " ", a.get("detail"))]++
	return false
}

// saw says how often a refusal was answered whose words have these in them.
func (o *load) saw(words string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for text, times := range o.refused {
		if strings.Contains(text, words) {
			n += times
		}
	}
	return n
}

// check asks the server whether all that was acknowledged is so, whether each grant has its event,
// and whether nothing was refused but with 503, and with 409 and 410 where an answer was lost.
func (o *load) check(n *node) {
	o.t.Helper()
	o.mu.Lock()
	made := o.made
	for text := range o.refused {
		if !strings.HasPrefix(text, "503 ") && !strings.HasPrefix(text, "409 ") && !strings.HasPrefix(text, "410 ") {
			o.t.Errorf("refused with %s", text)
		}
	}
	o.mu.Unlock()
	for _, id := range made[max(0, len(made)-100):] {
		events := n.call(n.admin, "GET", "/v1/events?limit=200&challenge="+id, nil).want(o.t, 200)
		grants := bytes.Count(events.body, []byte(`"kind":"challenge.redeemed"`))
		if state := n.state(o.app, id); (state == "redeemed") != (grants == 1) || grants > 1 {
			o.t.Errorf("challenge %s is %s and has %d events of a grant", id, state, grants)
		}
	}
	o.l.check(o.t, n, o.app)
}

// TestDiskFull fills the disk under a server with sign-ins going on. It refuses with words that name
// the disk, stays, and goes on by itself when there is room again; what it acknowledged is there.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := newSpace(t, "24m")
	options := processOptions{dir: filepath.Join(s.dir, "data"), seen: s.path("data"), prefix: s.enter(t)}
	p := spawn(t, options)
	o := newLoad(t, &p.node, 8)
	o.run(func() bool { return o.l.completed.Load() > 50 }, &p.node)
	for round := range 3 {
		s.fill(t)
		before := o.saw("The disk of the database is full")
		o.run(func() bool { return o.saw("The disk of the database is full") > before+20 }, &p.node)
		o.await("/readyz fails", func() bool { return p.call("", "GET", "/readyz", nil).status == 503 })
		s.free(t)
		kept := o.l.completed.Load()
		o.run(func() bool { return o.l.completed.Load() > kept+50 }, &p.node)
		o.await("/readyz is well", func() bool { return p.call("", "GET", "/readyz", nil).status == 200 })
		o.check(&p.node)
		if t.Failed() {
			t.Fatalf("round %d; the log ends with\n%s", round, tail(p.log.String()))
		}
	}
	if !strings.Contains(p.log.String(), "database or disk is full") {
		t.Errorf("the log does not name the disk:\n%s", tail(p.log.String()))
	}
	t.Logf("%d sign-ins, refused: %v", o.l.completed.Load(), o.refused)
	p.stop(t)
	s.fill(t)
	said, err := startFails(t, options)
	if err == nil || !strings.Contains(said, "the disk of the database is full") && !strings.Contains(said, "no space left on device") {
		t.Errorf("start on a full disk: %v\n%s", err, said)
	}
	s.free(t)
	options.listen = p.url[len("http://"):]
	p = spawn(t, options)
	o.check(&p.node)
}

// startFails runs a server that is not to start, and gives what it says.
func startFails(t *testing.T, o processOptions) (string, error) {
	t.Helper()
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	args := append(append([]string(nil), o.prefix...), file, "serve")
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(cmd.Environ(), append([]string{"NOD_DATA_DIR=" + o.dir, "NOD_LISTEN=127.0.0.1:0"}, o.env...)...)
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// tail is the end of a log.
func tail(log string) string { return log[max(0, len(log)-4000):] }
