package test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/server"
	"github.com/nodauth/nod/protocol"
)

// heap is text from several goroutines.
type heap struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{} // receives when something came
}

func newHeap() *heap { return &heap{more: make(chan struct{}, 1)} }

func (h *heap) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case h.more <- struct{}{}:
	default:
	}
	return h.text.Write(p)
}

func (h *heap) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// until waits until the heap holds a text.
func (h *heap) until(t *testing.T, want string) {
	t.Helper()
	patience, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !strings.Contains(h.String(), want) {
		select {
		case <-h.more:
		case <-patience.Done():
			t.Fatalf("%s does not come; there is\n%s", want, h)
		}
	}
}

// TestNoSecretLeaves signs somebody in in every way there is and looks for what is secret in
// everything that leaves the server by another way than an answer: log, metrics, traces, events by
// the API, in the file and over syslog.
func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	collected, syslogged, log := newHeap(), newHeap(), newHeap()
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(collected, r.Body) }))
	defer collector.Close()
	siem, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = siem.Close() }()
	go func() {
		for conn, err := siem.Accept(); err == nil; conn, err = siem.Accept() {
			go func() { _, _ = io.Copy(syslogged, conn) }()
		}
	}()
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "events.jsonl")
	n, stop := startUntil(t, nodeOptions{dir: dir, log: log, config: func(c *server.Config) {
		c.Log = server.Log{Level: "debug", Format: "json"}
		c.Operations.Listen = "127.0.0.1:0"
		c.Tracing.Endpoint, c.Tracing.Sample = collector.URL, 1
		c.Events.File, c.Events.Syslog.Address = file, "tcp://"+siem.Addr().String()
	}})
	syslogBegins(t, n, syslogged)
	secrets := signInEveryWay(t, n)
	seal, err := os.ReadFile(filepath.Join(dir, "seal.json"))
	if err != nil {
		t.Fatal(err)
	}
	secrets["sealing key"] = between(string(seal), `"value":"`, `"`)
	secrets["administration key"] = n.admin

	n.user("the-last-one")
	syslogged.until(t, "the-last-one")
	figures := n.get(t, n.ops+"/metrics")
	exported := n.call(n.admin, "GET", "/v1/events?settled=true&limit=200", nil).want(t, 200)
	if len(figures) == 0 || !strings.Contains(figures, "nod_challenge_transitions_total") {
		t.Errorf("figures: %.300s", figures)
	}
	stop()
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{
		"log": log.String(), "metrics": figures, "traces": collected.String(), "syslog": syslogged.String(),
		"file": string(written), "events": string(exported.body),
	} {
		if len(text) < 1000 {
			t.Errorf("%s: only %q", where, text)
		}
		for what, s := range secrets {
			if len(s) < 6 {
				t.Fatalf("%s: %q is too short to be looked for", what, s)
			}
			for form, s := range map[string]string{
				"": s, " in base64": base64.StdEncoding.EncodeToString([]byte(s)), " in hex": hex.EncodeToString([]byte(s)),
			} {
				if stands(s, text) {
					t.Errorf("the %s stands%s in the %s", what, form, where)
				}
			}
		}
		if where == "metrics" || where == "traces" {
			for what, form := range map[string]string{"name": "canary-jo", "address": `127\.0\.0\.1`, "id": `\b(usr|ch|dev|app)_[a-z2-7]{26}`} {
				if regexp.MustCompile(form).MatchString(text) {
					t.Errorf("the %s of a person stands in the %s", what, where)
				}
			}
		}
	}
}

// stands says whether a secret is in a text. Digits count only where no others stand beside them: any
// six are a part of some duration.
func stands(s, text string) bool {
	if strings.Trim(s, "0123456789") != "" {
		return strings.Contains(text, s)
	}
	return regexp.MustCompile(`\b` + s + `\b`).MatchString(text)
}

// syslogBegins waits until the feed has begun: what is written from then on comes.
func syslogBegins(t *testing.T, n *node, h *heap) {
	t.Helper()
	for i := 0; !strings.Contains(h.String(), "user.created"); i++ {
		n.user("before-" + string(rune('a'+i)))
		select {
		case <-h.more:
		case <-time.After(200 * time.Millisecond): // it may not have begun at the event before
		}
	}
}

// signInEveryWay gives what was secret on the way.
func signInEveryWay(t *testing.T, n *node) map[string]string {
	t.Helper()
	found := make(map[string]string)
	key := n.app("wiki")
	jo := n.user("canary-jo")
	found["API key"], found["password"] = key, "correct horse battery canary"
	n.call(n.admin, "PUT", "/v1/users/"+jo+"/password", obj{"password": found["password"]}).want(t, 204)
	d := n.enrol(jo)

	made := n.call(n.admin, "POST", "/v1/users/"+jo+"/enrolments", obj{}).want(t, 201)
	link, err := protocol.ParseTicketLink(made.get("url"))
	if err != nil {
		t.Fatal(err)
	}
	found["ticket"] = link.Ticket

	c := n.challenge(key, "canary-jo", obj{"password": found["password"], "first_factor": nil})
	found["digits"], found["scanned secret"] = c.get("match.digits"), between(c.get("match.qr"), "s=", "&")
	if found["scanned secret"] == "" {
		found["scanned secret"] = c.get("match.qr")
	}
	d.decide(approval(d.prompt(c.get("id")), protocol.MatchDigits, found["digits"])).want(t, 200)
	found["grant"] = n.redeem(key, c.get("id")).want(t, 200).get("grant")

	seed := n.call(n.admin, "POST", "/v1/users/"+jo+"/factors/totp", obj{}).want(t, 201)
	found["TOTP seed"] = seed.get("secret")
	codes := n.call(n.admin, "POST", "/v1/users/"+jo+"/factors/backup-codes", obj{}).want(t, 201)
	backup := between(string(codes.body), `["`, `"`)
	found["backup code"] = backup
	bypass := n.call(n.admin, "POST", "/v1/users/"+jo+"/bypass-codes", obj{"reason": "lost"}).want(t, 201).get("code")
	found["bypass code"] = bypass
	for method, code := range map[string]string{"backup_code": backup, "bypass_code": bypass, "totp": "canary-totp"} {
		c := n.challenge(key, "canary-jo")
		n.call(key, "POST", "/v1/challenges/"+c.get("id")+"/verify", obj{"method": method, "code": code})
		found["digits beside "+method] = c.get("match.digits")
	}
	n.call(key, "POST", "/v1/challenges", request("canary-jo", obj{"password": "wrong canary password", "first_factor": nil}))
	found["wrong password"] = "wrong canary password"
	return found
}
