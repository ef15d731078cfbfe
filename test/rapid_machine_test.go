package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/server"
)

type machineOptions struct {
	two  bool // servers, over one PostgreSQL
	part int  // only one run of so many is done; 0 for all
}

// bridge lets the helpers of this package fail a run of rapid, which is not the test itself.
type bridge struct {
	testing.TB
	rt *rapid.T
}

func (b bridge) Helper()                   { b.rt.Helper() }
func (b bridge) Cleanup(f func())          { b.rt.Cleanup(f) }
func (b bridge) Error(a ...any)            { b.rt.Error(a...) }
func (b bridge) Errorf(f string, a ...any) { b.rt.Errorf(f, a...) }
func (b bridge) Fatal(a ...any)            { b.rt.Fatal(a...) }
func (b bridge) Fatalf(f string, a ...any) { b.rt.Fatalf(f, a...) }
func (b bridge) FailNow()                  { b.rt.FailNow() }
func (b bridge) Failed() bool              { return b.rt.Failed() }
func (b bridge) Log(a ...any)              { b.rt.Log(a...) }
func (b bridge) Logf(f string, a ...any)   { b.rt.Logf(f, a...) }

// machine is servers with everybody who uses them, and what the oracle holds.
type machine struct {
	*node // reached through the address that the servers share
	rt    *rapid.T
	sites []*site
	turn  atomic.Uint64 // bits that say which server answers next
	born  time.Time     // with its monotonic reading
	clock atomic.Int64  // nanoseconds since born, by everybody's clock

	clients  []*client
	people   []*human
	browsers []*browser
	asks     []*ask
	gadgets  []*gadget
	said     []said
	law      document
	version  int // of the policy in force
	touched  map[*ask]bool
	lap      int // of checks
	vain     int // actions that had nothing to act on
	sum      *tally
}

// site is one server; it can be stopped and started again on what it left.
type site struct {
	dir   string
	dsn   string
	seal  string
	at    atomic.Pointer[url.URL]
	cease func()
}

// run is one run of the machine.
func run(t testing.TB, rt *rapid.T, o machineOptions, sum *tally) {
	if sum.tries++; o.part > 1 && sum.tries%o.part != 1 && !sum.failing {
		return
	}
	sum.runs++
	sum.failing = true // until this run has ended: a failure is tried again and again, to make it short
	m := newMachine(t, rt, o, sum)
	defer m.stop()
	m.populate()
	rt.Repeat(m.actions())
	m.checkAll()
	sum.failing = false
}

func newMachine(t testing.TB, rt *rapid.T, o machineOptions, sum *tally) *machine {
	m := &machine{rt: rt, born: time.Now(), touched: make(map[*ask]bool), sum: sum, law: documents()[0]}
	// Each run begins at the same place between two steps of TOTP, so that the same choices do the same.
	m.clock.Store(int64(m.born.Truncate(30 * time.Second).Add(35*time.Second + 500*time.Millisecond).Sub(m.born)))
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(m.next()) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 16},
	})
	rt.Cleanup(front.Close)
	m.node = &node{t: bridge{t, rt}, url: front.URL}
	m.add(o, t)
	if o.two {
		m.add(o, t)
	}
	key, err := os.ReadFile(filepath.Join(m.sites[0].dir, "admin.key"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.admin = strings.TrimSpace(string(key))
	return m
}

// add starts one more server.
func (m *machine) add(o machineOptions, t testing.TB) {
	dir, err := os.MkdirTemp("/dev/shm", "nod-rapid-") // in memory where that is, which does not wait for disks
	if err != nil {
		dir, err = os.MkdirTemp("", "nod-rapid-")
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.rt.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &site{dir: dir}
	if o.two {
		if len(m.sites) == 0 {
			s.dsn = pgtest.Database(t)
		} else {
			s.dsn = m.sites[0].dsn
			seal, err := os.ReadFile(filepath.Join(m.sites[0].dir, "seal.json"))
			if err != nil {
				m.t.Fatal(err)
			}
			s.seal = string(seal)
		}
	}
	m.sites = append(m.sites, s)
	m.boot(s)
}

// boot starts a server on its directory.
func (m *machine) boot(s *site) {
	c := server.DefaultConfig()
	c.Listen, c.DataDir, c.PublicURL = "127.0.0.1:0", s.dir, []string{m.url}
	c.Limits.CreatePerAddress = 10_000
	if s.dsn != "" {
		c.Database = secret.New(s.dsn)
	}
	if s.seal != "" {
		c.SealKey = secret.New(s.seal)
	}
	srv, err := server.New(context.Background(), c, server.Options{Offset: func() time.Duration {
		return time.Duration(m.clock.Load()) - time.Since(m.born)
	}})
	if err != nil {
		m.t.Fatalf("start server: %v", err)
	}
	at, err := url.Parse(srv.LocalURL())
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	s.at.Store(at)
	s.cease = func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Errorf("server: %v", err)
		}
	}
}

func (m *machine) stop() {
	for _, s := range m.sites {
		s.cease()
	}
}

// next says which server answers.
func (m *machine) next() *url.URL {
	bits := m.turn.Load()
	m.turn.Store(bits>>1 | bits<<63)
	return m.sites[bits%uint64(len(m.sites))].at.Load()
}

// now is the time by everybody's clock.
func (m *machine) now() time.Time { return m.born.Add(time.Duration(m.clock.Load())) }

// margin is how far from a limit everything happens: what is exactly at it belongs to the
// exhaustive exploration, and PostgreSQL's clock is read at another moment than the offset.
const margin = 4 * time.Second

// wait moves the clock, at least as far as said and away from every limit, and lets expire what
// does.
func (m *machine) wait(d time.Duration) {
	m.clock.Add(int64(d))
	for m.clear() {
	}
	m.expire()
}

// clear moves the clock away from the limits around it.
func (m *machine) clear() bool {
	now := m.now()
	to := now
	for _, b := range m.limits() {
		if !b.Before(now.Add(-margin/2)) && !b.After(now.Add(margin)) && to.Before(b.Add(margin)) {
			to = b.Add(margin)
		}
	}
	m.clock.Add(int64(to.Sub(now)))
	return to.After(now)
}

// call sends a request and fails the run on a fault of the server.
func (m *machine) call(key, method, path string, body any, extra ...string) answer {
	return m.sound(method+" "+path, m.node.call(key, method, path, body, extra...))
}

func (m *machine) sound(what string, a answer) answer {
	m.clock.Add(int64(time.Millisecond))
	m.sum.requests++
	if a.status >= 500 {
		m.t.Fatalf("%s: %d %s", what, a.status, a.body)
	}
	return a
}

// actions are what can happen, often enough for each to matter.
func (m *machine) actions() map[string]func(*rapid.T) {
	out := map[string]func(*rapid.T){"": func(*rapid.T) { m.check() }}
	for i, a := range []struct {
		name string
		do   func()
	}{
		// rapid prefers the first of many, so what leads to a grant comes first, and what matters
		// comes more than once.
		{"sign in", m.doSignIn},
		{"ask", m.doAsk},
		{"approve", m.doApprove},
		{"redeem", m.doRedeem},
		{"sign in", m.doSignIn},
		{"poll", m.doPoll},
		{"type a code", m.doType},
		{"type digits back", m.doTypeBack},
		{"redeem", m.doRedeem},
		{"wait", m.doWait},
		{"enrol", m.doEnrol},
		{"confirm", m.doConfirm},
		{"policy", m.doPolicy},
		{"replay", m.doReplay},
		{"deny", m.doDeny},
		{"report", m.doReport},
		{"ask", m.doAsk},
		{"approve", m.doApprove},
		{"unlock", m.doUnlock},
		{"enable", m.doEnable},
		{"lift", m.doLift},
		{"settle", m.doSettle},
		{"veto", m.doVeto},
		{"confirm", m.doConfirm},
		{"redeem", m.doRedeem},
		{"sign in", m.doSignIn},
		{"approve", m.doApprove},
		{"type a code", m.doType},
		{"type digits back", m.doTypeBack},
		{"sign in", m.doSignIn},
		{"unlock", m.doUnlock},
		{"enable", m.doEnable},
		{"guess", m.doGuess},
		{"cancel", m.doCancel},
		{"revoke", m.doRevoke},
		{"lock", m.doLock},
		{"disable", m.doDisable},
		{"make codes", m.doCodes},
		{"claim again", m.doClaimAgain},
		{"cancel enrolment", m.doCancelEnrolment},
		{"restart", m.doRestart},
		{"unlock", m.doUnlock},
		{"enable", m.doEnable},
		{"veto", m.doVeto},
		{"sign in", m.doSignIn},
	} {
		out[fmt.Sprintf("%02d %s", i, a.name)] = func(*rapid.T) {
			m.begin()
			a.do()
			m.sum.acts[a.name]++
		}
	}
	return out
}

// begin moves the clock a little before each action, and says which servers answer. That needs no
// drawing: it is as good as random, and the same in each run of the same choices.
func (m *machine) begin() {
	m.turn.Store(rand.New(rand.NewPCG(uint64(m.lap), 0)).Uint64())
	m.wait(time.Second)
}

// apt lets another action have its turn if this one has nothing to act on, four times of five.
func (m *machine) apt(ok bool) {
	if ok {
		return
	}
	if m.vain++; m.vain%5 != 0 {
		m.rt.SkipNow()
	}
}

// draw chooses one of a list; what stands in it twice comes twice as often.
func draw[T any](m *machine, label string, list ...T) T {
	return list[rapid.IntRange(0, len(list)-1).Draw(m.rt, label)]
}

// chance is true once in so many.
func (m *machine) chance(label string, in int) bool {
	return rapid.IntRange(0, in-1).Draw(m.rt, label) == in-1
}

func (m *machine) doWait() {
	steps := []time.Duration{
		5 * time.Second, 20 * time.Second, 45 * time.Second, 45 * time.Second, 65 * time.Second, 65 * time.Second,
		2 * time.Minute, 5 * time.Minute, 11 * time.Minute,
	}
	if time.Duration(m.clock.Load()) < 20*24*time.Hour { // what is kept for 30 days is not swept under way
		steps = append(steps, time.Hour, 25*time.Hour, 8*24*time.Hour)
	}
	m.wait(draw(m, "how long", steps...))
}

func (m *machine) doRestart() {
	s := draw(m, "server", m.sites...)
	s.cease()
	m.boot(s)
}

// tally counts over all runs what came of them, so that a machine that does nothing shows.
type tally struct {
	tries, runs      int
	failing          bool
	requests, grants int
	acts             map[string]int
	states           map[string]int
	laws             map[string]int // broken by a request that was refused
}

func newTally() *tally {
	return &tally{acts: make(map[string]int), states: make(map[string]int), laws: make(map[string]int)}
}

func (s *tally) report(t *testing.T) {
	t.Helper()
	t.Logf("%d runs, %d requests, %d grants, challenges %v, actions %v", s.runs, s.requests, s.grants, s.states, s.acts)
	names := make([]string, 0, len(s.laws))
	for law, n := range s.laws {
		names = append(names, fmt.Sprintf("%6d × %s", n, law))
	}
	slices.Sort(names)
	t.Logf("requests refused by law:\n%s", strings.Join(names, "\n"))
}
