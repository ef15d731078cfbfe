package test

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/protocol"
)

// pair starts two server processes that share nothing but a PostgreSQL and the sealing key. They
// are reached under both addresses.
func pair(t *testing.T, more ...string) (a, b *process) {
	t.Helper()
	env := append(slices.Clone(more), "NOD_DATABASE="+pgtest.Database(t))
	first := t.TempDir()
	a = spawn(t, processOptions{dir: first, env: env})
	env = append(env, "NOD_SEAL_KEY_FILE="+filepath.Join(first, "seal.json"))
	b = spawn(t, processOptions{dir: t.TempDir(), env: env})
	b.admin = a.admin
	return a, b
}

// TestTwoProcesses signs in with the request on one process and the device on the other, while the
// application waits on the first, and then redeems 200 times in parallel on both.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	app := a.app("wiki")
	d := b.enrol(a.user("ada"))
	c := a.challenge(app, "ada")
	id := c.get("id")
	told := make(chan answer, 1)
	go func() {
		w, _ := a.try(app, "GET", "/v1/challenges/"+id+"?wait=60", nil)
		told <- w
	}()
	p := d.prompt(id)
	d.decide(approval(p, protocol.MatchDigits, c.get("match.digits"))).want(t, 200)
	if w := <-told; w.get("state") != "approved" {
		t.Fatalf("the application was told %d %s", w.status, w.body)
	}
	if n := redeemAll(t, app, id, &a.node, &b.node); n != 1 {
		t.Errorf("%d grants for one challenge", n)
	}
	a.stop(t)
	b.stop(t)
}

// redeemAll redeems 200 times in parallel with 200 keys and counts the grants.
func redeemAll(t *testing.T, app, id string, nodes ...*node) int {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	grants := 0
	for i := range 200 {
		wg.Go(func() {
			r, err := nodes[i%len(nodes)].try(app, "POST", "/v1/challenges/"+id+"/redeem", nil, "Idempotency-Key", secret.ID("k_"))
			if err != nil {
				t.Errorf("redeem: %v", err)
				return
			}
			switch r.status {
			case 200:
				mu.Lock()
				grants++
				mu.Unlock()
			case 409:
			default:
				t.Errorf("redeem: %d %s", r.status, r.body)
			}
		})
	}
	wg.Wait()
	return grants
}

// TestOneCodeManyTimes types one right code 200 times in parallel, on two processes.
func TestOneCodeManyTimes(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	app := a.app("wiki")
	code := a.totp(a.user("ada"))(1)
	var ids []string
	for range 5 { // five challenges, so that a second approval would be possible
		ids = append(ids, a.challenge(app, "ada").get("id"))
	}
	var wg sync.WaitGroup
	for i := range 200 {
		n := []*node{&a.node, &b.node}[i%2]
		wg.Go(func() {
			if r, err := n.try(app, "POST", "/v1/challenges/"+ids[i%5]+"/verify", obj{"method": "totp", "code": code}); err != nil || r.status >= 500 {
				t.Errorf("verify: %v %d %s", err, r.status, r.body)
			}
		})
	}
	wg.Wait()
	grants := 0
	for _, id := range ids {
		if b.redeem(app, id).status == 200 {
			grants++
		}
	}
	if grants != 1 {
		t.Errorf("%d grants for one code, want 1", grants)
	}
}

// TestLostWakeUps loses every wake-up between two servers over one PostgreSQL: each waiter is right
// after one sweep.
func TestLostWakeUps(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	deaf := func(string) bool { return false }
	a := start(t, nodeOptions{dsn: dsn, heard: deaf})
	seal, err := os.ReadFile(filepath.Join(a.dir, "seal.json"))
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, nodeOptions{dsn: dsn, seal: string(seal), heard: deaf})
	b.admin = a.admin
	app := a.app("wiki")
	d := b.enrol(a.user("ada"))
	d.poll("") // so that what it is told next is news

	waiting := make(chan answer, 1)
	go func() {
		p := &protocol.Poll{V: 1, Wait: 25, KeysSerial: d.serial, Have: []string{}}
		body := d.sign(p, protocol.Header{KeyID: d.id, URL: b.url + protocol.PathPrompts, Nonce: d.nonce})
		w, _ := d.tryPost(protocol.PathPrompts, body)
		waiting <- w
	}()
	c := a.challenge(app, "ada") // on the other node
	w := <-waiting
	got, err := protocol.ReadAnswer[protocol.PollAnswer](w.body)
	if err != nil || len(got.Prompts) != 1 {
		t.Fatalf("the device was told %d %s", w.status, w.body)
	}
	told := make(chan answer, 1)
	go func() {
		w, _ := a.try(app, "GET", "/v1/challenges/"+c.get("id")+"?wait=60", nil)
		told <- w
	}()
	prompt, sum, err := d.keys.OpenPrompt(got.Prompts[0].JWS)
	if err != nil {
		t.Fatal(err)
	}
	pause(100 * time.Millisecond) // let the application wait; it is right either way
	d.decide(approval(shown{prompt, sum, got.Prompts[0]}, protocol.MatchDigits, c.get("match.digits"))).want(t, 200)
	if w := <-told; w.get("state") != "approved" {
		t.Fatalf("the application was told %d %s", w.status, w.body)
	}
}
