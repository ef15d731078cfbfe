package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/server"
	"github.com/nodauth/nod/internal/store"
)

// node is a whole server in this process, reached over TCP like any other.
type node struct {
	t      testing.TB
	url    string
	ops    string // operations listener, "" without one
	admin  string // administration key
	dir    string
	offset *atomic.Int64 // nanoseconds added to the clock
}

type nodeOptions struct {
	dir    string // data directory; a fresh one if empty
	dsn    string // database; SQLite in dir if empty
	seal   string // sealing key of another node
	urls   []string
	offset *atomic.Int64
	heard  func(string) bool
	store  func(store.Store) store.Store

	authenticator string // origin of its web app
	config        func(*server.Config)
	log           io.Writer // shown if nil and NOD_TEST_LOG is set
}

// start runs a server until the test ends.
func start(t testing.TB, o nodeOptions) *node {
	t.Helper()
	n, stop := startUntil(t, o)
	t.Cleanup(stop)
	return n
}

// startUntil runs a server until stop is called.
func startUntil(t testing.TB, o nodeOptions) (*node, func()) {
	t.Helper()
	if o.dir == "" {
		o.dir = t.TempDir()
	}
	if o.offset == nil {
		o.offset = new(atomic.Int64)
	}
	c := server.DefaultConfig()
	c.Listen, c.DataDir, c.PublicURL = "127.0.0.1:0", o.dir, o.urls
	c.Limits.CreatePerAddress = 10_000
	c.Authenticator = o.authenticator
	if o.dsn != "" {
		c.Database = secret.New(o.dsn)
	}
	if o.seal != "" {
		c.SealKey = secret.New(o.seal)
	}
	if o.config != nil {
		o.config(&c)
	}
	if o.log == nil {
		o.log = logBuffer{}
	}
	s, err := server.New(t.Context(), c, server.Options{
		Log: o.log, Offset: func() time.Duration { return time.Duration(o.offset.Load()) }, Heard: o.heard, Store: o.store,
	})
	if err != nil {
		t.Fatalf("start server: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	n := &node{t: t, url: s.LocalURL(), ops: s.OperationsURL(), dir: o.dir, offset: o.offset}
	if key, err := os.ReadFile(filepath.Join(o.dir, "admin.key")); err == nil {
		n.admin = strings.TrimSpace(string(key))
	}
	return n, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	}
}

// logBuffer shows the log of a server when NOD_TEST_LOG is set.
type logBuffer struct{}

func (logBuffer) Write(p []byte) (int, error) {
	if os.Getenv("NOD_TEST_LOG") != "" {
		fmt.Fprint(os.Stderr, string(p))
	}
	return len(p), nil
}

// answer is what a request came to.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// get reads a member of the JSON body, by a dotted path; "" if it is not there.
func (a answer) get(path string) string {
	var v any
	if json.Unmarshal(a.body, &v) != nil {
		return ""
	}
	for _, p := range strings.Split(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = m[p]
	}
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	}
	return fmt.Sprint(v)
}

// call sends a JSON request with a key. extra are header names and values in turn.
func (n *node) call(key, method, path string, body any, extra ...string) answer {
	n.t.Helper()
	a, err := n.try(key, method, path, body, extra...)
	if err != nil {
		n.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (n *node) try(key, method, path string, body any, extra ...string) (answer, error) {
	var r io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, n.url+path, r)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(extra); i += 2 {
		req.Header.Set(extra[i], extra[i+1])
	}
	return do(req)
}

var transport = &http.Transport{MaxIdleConnsPerHost: 256, DialContext: dial}

// secondHost is an address of this machine on which no server listens; what is sent there reaches the
// one on the first, under this name.
const secondHost = "127.0.0.2"

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(address); err == nil && host == secondHost {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func do(req *http.Request) (answer, error) {
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, text}, err
}

// want fails the test unless the answer has the status.
func (a answer) want(t testing.TB, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("got status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

type obj = map[string]any

// app makes an application with a key that may authenticate and assert a first factor.
func (n *node) app(name string) string {
	n.t.Helper()
	a := n.call(n.admin, "POST", "/v1/applications", obj{"name": name, "scopes": []string{"authenticate", "assert_first_factor"}}).want(n.t, 201)
	return a.get("key.secret")
}

// user makes a user and gives the id.
func (n *node) user(name string) string {
	n.t.Helper()
	return n.call(n.admin, "POST", "/v1/users", obj{"name": name}).want(n.t, 201).get("id")
}

// challenge asks for a sign-in; more changes the request.
func (n *node) challenge(key, user string, more ...obj) answer {
	n.t.Helper()
	return n.call(key, "POST", "/v1/challenges", request(user, more...)).want(n.t, 201)
}

func request(user string, more ...obj) obj {
	r := obj{"user": obj{"name": user}, "kind": "login", "first_factor": "asserted"}
	for _, m := range more {
		for k, v := range m {
			r[k] = v
			if v == nil {
				delete(r, k)
			}
		}
	}
	return r
}

// state reads a challenge's state.
func (n *node) state(key, id string) string {
	n.t.Helper()
	return n.call(key, "GET", "/v1/challenges/"+id, nil).want(n.t, 200).get("state")
}

// redeem tries to redeem with a fresh key.
func (n *node) redeem(key, id string) answer {
	n.t.Helper()
	return n.call(key, "POST", "/v1/challenges/"+id+"/redeem", nil, "Idempotency-Key", secret.ID("k_"))
}

// noGrant fails the test if the challenge can be redeemed.
func (n *node) noGrant(key, id string) {
	n.t.Helper()
	if a := n.redeem(key, id); a.status == http.StatusOK {
		n.t.Fatalf("a grant was given: %s", a.body)
	}
}

// get reads an address that asks for no credential.
func (n *node) get(t testing.TB, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := do(req)
	if err != nil {
		t.Fatal(err)
	}
	return string(a.want(t, http.StatusOK).body)
}

// between gives what stands between two texts.
func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}
