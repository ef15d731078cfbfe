package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/protocol"
)

// killsWanted is how often each database's server is killed; KILLS=500 for the long form.
func killsWanted(t *testing.T) int {
	text := os.Getenv("KILLS")
	if text == "" {
		return 3
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("KILLS=%q is not a number", text)
	}
	return n
}

// ledger is the client's memory of what it asked for and what it was told. Only what was
// acknowledged is claimed; what was sent and not answered is unknown.
type ledger struct {
	mu        sync.Mutex
	decided   map[string]string // challenge -> state acknowledged to the device
	redeemed  map[string]string // challenge -> grant acknowledged to the application
	keys      map[string]string // challenge -> idempotency key of that redemption
	enrolled  map[string]bool   // device -> confirmation acknowledged
	wrong     map[string]int    // user -> wrong codes acknowledged
	consumed  map[string]string // user -> TOTP code acknowledged as right
	inFlight  atomic.Int64
	unknown   atomic.Int64 // operations that got no answer
	completed atomic.Int64
	kept      [5]int // decisions, grants, enrolments, codes and counters found as acknowledged
}

// op counts an operation as in flight while it runs. It tells whether an answer came.
func (l *ledger) op(f func() error) bool {
	l.inFlight.Add(1)
	err := f()
	l.inFlight.Add(-1)
	if err != nil {
		l.unknown.Add(1)
		return false
	}
	l.completed.Add(1)
	return true
}

// TestKill kills the server under load, again and again, and asks after each start whether all that
// was ever acknowledged is still so. A kill counts only if something was unanswered when it fell.
func TestKill(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) { killTest(t, nil) })
	t.Run("postgres", func(t *testing.T) { killTest(t, []string{"NOD_DATABASE=" + pgtest.Database(t)}) })
}

func killTest(t *testing.T, env []string) {
	const workers = 48
	dir := t.TempDir()
	env = append(env, "NOD_EGRESS_ALLOW=127.0.0.0/8", "NOD_DELIVERIES_TIMEOUT=2s")
	p := spawn(t, processOptions{dir: dir, env: env})
	app := p.app("load")
	l := &ledger{
		decided: map[string]string{}, redeemed: map[string]string{}, keys: map[string]string{}, enrolled: map[string]bool{},
		wrong: map[string]int{}, consumed: map[string]string{},
	}
	listen := p.url[len("http://"):]
	hear := newHearing(t, &p.node)
	var devices []*device
	for i := range workers {
		devices = append(devices, p.enrol(p.user(fmt.Sprintf("user%d", i))))
	}
	kills := 0
	for round := 0; kills < killsWanted(t); round++ {
		if round > 20*killsWanted(t) {
			t.Fatalf("only %d of %d kills fell on something unanswered", kills, round)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i, d := range devices {
			wg.Go(func() { l.work(ctx, &p.node, d, app, fmt.Sprintf("user%d", i), i%4) })
		}
		target := l.completed.Load() + int64(200+rand.IntN(600))
		for l.completed.Load() < target || l.inFlight.Load() < 32 {
			pause(time.Millisecond)
		}
		before := l.unknown.Load()
		flying := l.inFlight.Load()
		p.kill()
		cancel()
		wg.Wait()
		if l.unknown.Load() > before && flying >= 32 {
			kills++
		}
		p = spawn(t, processOptions{dir: dir, env: env, listen: listen})
		for _, d := range devices {
			d.n = &p.node
		}
		hear.check(t, &p.node, l.grants())
		l.check(t, &p.node, app)
	}
	for i, what := range []string{"decisions", "grants", "enrolments", "codes", "counters"} {
		if l.kept[i] == 0 {
			t.Errorf("no %s were acknowledged: the load does not test them", what)
		}
	}
	if len(hear.known) == 0 {
		t.Error("no webhooks came: the load does not test them")
	}
	t.Logf("%d kills, %d operations acknowledged, %d unknown; decisions, grants, enrolments, codes and counters kept: %v; %d events told, %d of them again",
		kills, l.completed.Load(), l.unknown.Load(), l.kept, len(hear.known), hear.again())
}

// work does one kind of operation after another until the server is gone.
func (l *ledger) work(ctx context.Context, n *node, d *device, app, user string, kind int) {
	for ctx.Err() == nil {
		ok := false
		switch kind {
		case 0, 1:
			ok = l.signIn(n, d, app, user)
		case 2:
			ok = l.addDevice(n, user)
		case 3:
			ok = l.typeCodes(n, app)
		}
		if !ok {
			return
		}
	}
}

// signIn creates, approves and redeems a challenge.
func (l *ledger) signIn(n *node, d *device, app, user string) bool {
	var c, p, a answer
	if !l.op(func() (err error) {
		c, err = n.try(app, "POST", "/v1/challenges", request(user, obj{"context": obj{"browser_id": secret.ID("b_")}}))
		return err
	}) || c.status != 201 {
		return false
	}
	id := c.get("id")
	if !l.op(func() (err error) {
		body := d.sign(&protocol.Poll{V: 1, Challenge: id, KeysSerial: d.serial, Have: []string{}},
			protocol.Header{KeyID: d.id, URL: n.url + protocol.PathPrompts})
		p, err = d.tryPost(protocol.PathPrompts, body)
		return err
	}) || p.status != 200 {
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
		body := d.decision(approval(shown{prompt, sum, item}, protocol.MatchDigits, c.get("match.digits")))
		if !l.op(func() (err error) { a, err = d.tryPost(protocol.PathDecisions, body); return err }) {
			return false
		}
		if a.status == 200 {
			l.mu.Lock()
			l.decided[id] = a.get("state")
			l.mu.Unlock()
		}
	}
	key := secret.ID("k_")
	var r answer
	if !l.op(func() (err error) {
		r, err = n.try(app, "POST", "/v1/challenges/"+id+"/redeem", nil, "Idempotency-Key", key)
		return err
	}) {
		return false
	}
	if r.status == 200 {
		l.mu.Lock()
		l.redeemed[id], l.keys[id] = r.get("grant"), key
		l.mu.Unlock()
	}
	return true
}

// addDevice enrols one more device of a user and removes it again, so that the list stays short.
func (l *ledger) addDevice(n *node, user string) bool {
	var u answer
	if !l.op(func() (err error) {
		u, err = n.try(n.admin, "POST", "/v1/users", obj{"name": user + "-" + secret.ID("")[:12]})
		return err
	}) || u.status != 201 {
		return false
	}
	ok := l.op(func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("%v", r)
			}
		}()
		q := *n
		q.t = panicker{n.t}
		d, code := q.claim(u.get("id"))
		a, err := n.try(n.admin, "POST", "/v1/enrolments/"+d.enrol+"/confirm", obj{"code": code})
		if err == nil && a.status == 200 {
			l.mu.Lock()
			l.enrolled[d.id] = true
			l.mu.Unlock()
		}
		return err
	})
	return ok
}

// panicker turns the failures of helpers into panics: the server may be gone at any moment.
type panicker struct{ testing.TB }

func (p panicker) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (p panicker) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (p panicker) Helper()                           {}

// typeCodes makes a user with a TOTP factor, types some wrong codes and then the right one.
func (l *ledger) typeCodes(n *node, app string) bool {
	return l.op(func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("%v", r)
			}
		}()
		q := *n
		q.t = panicker{n.t}
		user := "typist-" + secret.ID("")[:12]
		code := q.totp(q.user(user))
		id := q.challenge(app, user).get("id")
		for range 1 + rand.IntN(3) {
			a := q.call(app, "POST", "/v1/challenges/"+id+"/verify", obj{"method": "totp", "code": "000000"})
			if a.status == 200 {
				l.mu.Lock()
				l.wrong[user]++
				l.mu.Unlock()
			}
		}
		right := code(1)
		if a := q.call(app, "POST", "/v1/challenges/"+id+"/verify", obj{"method": "totp", "code": right}); a.get("state") == "approved" {
			l.mu.Lock()
			l.consumed[user] = right
			l.mu.Unlock()
		}
		return nil
	})
}

// check asks the server about everything that was acknowledged.
func (l *ledger) check(t *testing.T, n *node, app string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, n := range []int{len(l.decided), len(l.redeemed), len(l.enrolled), len(l.consumed), len(l.wrong)} {
		l.kept[i] += n
	}
	for id, state := range l.decided {
		got := n.state(app, id)
		if got == "pending" || (state == "approved" && got != "approved" && got != "redeemed" && got != "expired") {
			t.Fatalf("challenge %s was acknowledged as %s and is %s", id, state, got)
		}
		if again := n.state(app, id); again != got && again != "expired" {
			t.Fatalf("challenge %s was read as %s and then as %s", id, got, again)
		}
	}
	for id, grant := range l.redeemed {
		a := n.call(app, "POST", "/v1/challenges/"+id+"/redeem", nil, "Idempotency-Key", l.keys[id])
		if a.status == 410 {
			continue // the grant has expired meanwhile
		}
		if a.status != 200 || a.get("grant") != grant {
			t.Fatalf("challenge %s: the acknowledged grant is not given again: %d %s", id, a.status, a.body)
		}
	}
	for id := range l.enrolled {
		if got := n.call(n.admin, "GET", "/v1/devices/"+id, nil).want(t, 200).get("state"); got != "active" && got != "quarantined" {
			t.Fatalf("device %s was acknowledged as active and is %s", id, got)
		}
	}
	for user, code := range l.consumed {
		id := n.challenge(app, user).get("id")
		if a := n.call(app, "POST", "/v1/challenges/"+id+"/verify", obj{"method": "totp", "code": code}); a.get("state") == "approved" {
			t.Fatalf("user %s: a consumed code was accepted again", user)
		}
		delete(l.consumed, user) // asking cost a guess
		l.wrong[user]++
	}
	for user, wrong := range l.wrong {
		id := n.challenge(app, user).get("id")
		left := 0
		for n.call(app, "POST", "/v1/challenges/"+id+"/verify", obj{"method": "totp", "code": "000000"}).status == 200 {
			left++
		}
		if left > 10-wrong {
			t.Fatalf("user %s: %d wrong codes were acknowledged, and %d more were taken", user, wrong, left)
		}
		delete(l.wrong, user)
	}
	clear(l.decided)
	clear(l.redeemed)
	clear(l.enrolled)
}
