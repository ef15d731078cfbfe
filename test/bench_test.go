package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/protocol"
)

// BenchmarkRoundTrip drives complete sign-ins against a server in a process of its own: the device's
// long poll is parked, the application creates a challenge, the device signs, the application's
// long poll answers, the grant is redeemed. It reports the server's CPU for each, beside what the
// signatures alone cost in the same run.
func BenchmarkRoundTrip(b *testing.B) {
	for _, db := range []string{"sqlite", "postgres"} {
		for _, flight := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", db, flight), func(b *testing.B) {
				var env []string
				if db == "postgres" {
					env = append(env, "NOD_DATABASE="+pgtest.Database(b))
				}
				env = append(env, "NOD_LOG_LEVEL=error")
				benchmark(b, env, flight)
			})
		}
	}
}

func benchmark(b *testing.B, env []string, flight int) {
	p := spawn(b, processOptions{dir: b.TempDir(), env: env})
	app := p.app("bench")
	lanes := make([]*lane, flight)
	for i := range lanes {
		l := &lane{n: &p.node, app: app, user: fmt.Sprintf("user%d", i)}
		l.d = p.enrol(p.user(l.user))
		l.d.poll("") // brings the first nonce
		p.approve(app, l.d, p.challenge(app, l.user, l.from()))
		lanes[i] = l
	}
	limit := signatures(b)
	var next atomic.Int64
	b.ResetTimer()
	before := cpu(b, p.cmd.Process.Pid)
	var wg sync.WaitGroup
	for _, l := range lanes {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if err := l.roundTrip(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	used := cpu(b, p.cmd.Process.Pid) - before
	each := float64(used.Microseconds()) / float64(b.N)
	b.ReportMetric(each, "server-cpu-µs/op")
	b.ReportMetric(limit, "signatures-µs/op")
	b.ReportMetric(each/limit, "server/signatures")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "round-trips/s")
}

// lane is one user with a device, at the same source each time.
type lane struct {
	n    *node
	app  string
	user string
	d    *device
}

func (l *lane) from() obj { return obj{"context": obj{"browser_id": l.user}} }

func (l *lane) roundTrip() error {
	type polled struct {
		a   answer
		err error
	}
	told := make(chan polled, 1)
	go func() {
		h := protocol.Header{KeyID: l.d.id, URL: l.n.url + protocol.PathPrompts, Nonce: l.d.nonce}
		raw, err := protocol.Sign(l.d.key, h, &protocol.Poll{V: 1, Wait: 25, KeysSerial: l.d.serial, Have: []string{}})
		if err != nil {
			told <- polled{err: err}
			return
		}
		a, err := l.d.tryPost(protocol.PathPrompts, raw)
		told <- polled{a, err}
	}()
	c, err := l.n.try(l.app, "POST", "/v1/challenges", request(l.user, l.from()))
	if err != nil || c.status != 201 {
		return fmt.Errorf("create: %w %s", err, c.body)
	}
	got := <-told
	l.d.nonce = got.a.header.Get(protocol.NonceHeader)
	body, err := protocol.ReadAnswer[protocol.PollAnswer](got.a.body)
	if got.err != nil || err != nil {
		return fmt.Errorf("poll: %w %w %s", got.err, err, got.a.body)
	}
	for len(body.Prompts) == 0 { // the poll was answered for something else
		a := l.d.poll(c.get("id"))
		if body, err = protocol.ReadAnswer[protocol.PollAnswer](a.body); err != nil {
			return err
		}
	}
	item := body.Prompts[0]
	prompt, sum, err := l.d.keys.OpenPrompt(item.JWS)
	if err != nil {
		return err
	}
	waited := make(chan polled, 1)
	go func() {
		a, err := l.n.try(l.app, "GET", "/v1/challenges/"+c.get("id")+"?wait=60", nil)
		waited <- polled{a, err}
	}()
	if a := l.d.decide(approval(shown{prompt, sum, item}, protocol.MatchDigits, c.get("match.digits"))); a.get("state") != "approved" {
		return fmt.Errorf("decide: %d %s", a.status, a.body)
	}
	if w := <-waited; w.err != nil || w.a.get("state") != "approved" {
		return fmt.Errorf("wait: %w %s", w.err, w.a.body)
	}
	r, err := l.n.try(l.app, "POST", "/v1/challenges/"+c.get("id")+"/redeem", nil, "Idempotency-Key", secret.ID("k_"))
	if err != nil || r.status != 200 {
		return fmt.Errorf("redeem: %w %s", err, r.body)
	}
	return nil
}

// signatures measures what a sign-in's signatures cost the server: two to verify, two to make.
func signatures(b *testing.B) float64 {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte("measure"))
	const rounds = 500
	start := time.Now()
	for range rounds {
		sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		if err != nil || !ecdsa.VerifyASN1(&key.PublicKey, sum[:], sig) {
			b.Fatal("signature")
		}
	}
	return 2 * float64(time.Since(start).Microseconds()) / rounds
}

// cpu is what a process has used so far.
func cpu(b *testing.B, pid int) time.Duration {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		b.Skipf("no CPU accounting here: %v", err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	ticks := 0
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
