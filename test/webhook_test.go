package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/server"
)

// outbound lets a server of a test call this machine.
func outbound(c *server.Config) {
	c.Egress.Allow = []string{"127.0.0.0/8"}
	c.Deliveries.Timeout = 500 * time.Millisecond
}

// deliveryOf waits until a delivery has the state and gives it.
func deliveryOf(n *node, hook, delivery, state string) answer {
	n.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; pause(10 * time.Millisecond) {
		a := n.call(n.admin, "GET", "/v1/webhooks/"+hook+"/deliveries/"+delivery, nil).want(n.t, 200)
		if a.get("state") == state {
			return a
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("the delivery is not %s: %s", state, a.body)
		}
	}
}

// TestWebhook follows events from their cause to a receiver.
func TestWebhook(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{config: outbound})
	r := newReceiver(t)
	hook := r.webhook(n, "/a", "user.", "webhook.secret_rotated")
	everything := r.webhook(n, "/all")
	n.user("ada")
	n.app("wiki") // which /a is not told of

	r.until(t, "user.created", func() bool { m, ok := r.last("user.created"); return ok && len(r.events) > 0 && m.event != "" })
	var seen told
	r.until(t, "application.created", func() bool { _, ok := r.last("application.created"); seen, _ = r.last("user.created"); return ok })
	r.mu.Lock()
	all := slices.Clone(r.got)
	r.mu.Unlock()
	for _, m := range all {
		if m.path == "/a" && !strings.HasPrefix(m.kind, "user.") {
			t.Errorf("/a is told of %s", m.kind)
		}
	}
	// The data are the event as the API shows it.
	var sent struct{ Data json.RawMessage }
	if err := json.Unmarshal(seen.body, &sent); err != nil {
		t.Fatal(err)
	}
	if shown := listed(n, "kind=user.created")[seen.event]; !bytes.Equal(shown, sent.Data) {
		t.Errorf("told %s, listed %s", sent.Data, shown)
	}

	// Of a rotation on each delivery has two signatures, of which each receiver takes its own.
	r.mu.Lock()
	before := r.secret["/a"]
	r.mu.Unlock()
	after := n.call(n.admin, "POST", "/v1/webhooks/"+hook+"/rotate-secret", nil).want(t, 200).get("secret")
	r.until(t, "webhook.secret_rotated", func() bool {
		m, ok := r.last("webhook.secret_rotated")
		for i := len(r.got) - 1; ok && i >= 0; i-- {
			if m = r.got[i]; m.path == "/a" && m.kind == "webhook.secret_rotated" {
				if len(m.signatures) != 2 || !m.signed(before) || !m.signed(after) {
					t.Fatalf("signatures %q", m.signatures)
				}
				return true
			}
		}
		return false
	})
	n.offset.Add(int64(24*time.Hour + time.Minute))
	r.as(func(w http.ResponseWriter, m told) { // whose clock stands still
		if m.path == "/a" && len(m.signatures) != 1 {
			r.fault("%d signatures a day after the rotation", len(m.signatures))
		}
		w.WriteHeader(http.StatusNoContent)
	})
	r.mu.Lock()
	clear(r.secret)
	r.mu.Unlock()
	ping := n.call(n.admin, "POST", "/v1/webhooks/"+hook+"/ping", nil).want(t, 202).get("id")
	deliveryOf(n, hook, ping, "delivered")
	n.call(n.admin, "DELETE", "/v1/webhooks/"+everything, nil).want(t, 204)
	r.clean(t)

	// Nothing of the secrets stands anywhere but in the two answers.
	for _, file := range []string{"nod.db", "nod.db-wal"} {
		text, err := os.ReadFile(filepath.Join(n.dir, file))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, secret := range []string{before, after, strings.TrimPrefix(after, "whsec_")} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds a secret", file)
			}
		}
	}
}

// TestWebhookFaults has receivers answer in every bad way.
func TestWebhookFaults(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{config: outbound})
	var followed atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	t.Cleanup(elsewhere.Close)
	r := newReceiver(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) }) // before the receiver closes
	r.as(func(w http.ResponseWriter, m told) {
		switch m.path {
		case "/redirect":
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		case "/huge":
			w.WriteHeader(http.StatusInternalServerError)
			for range 1 << 10 {
				if _, err := w.Write(bytes.Repeat([]byte("<\x1b[31m\u202eA"), 1<<10)); err != nil {
					return
				}
			}
		case "/slow":
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-release
		case "/gone":
			w.WriteHeader(http.StatusGone)
		}
	})
	hooks := map[string]string{}
	pings := map[string]string{}
	for _, path := range []string{"/redirect", "/huge", "/slow", "/gone"} {
		hooks[path] = r.webhook(n, path, "webhook.pinged")
		pings[path] = n.call(n.admin, "POST", "/v1/webhooks/"+hooks[path]+"/ping", nil).want(t, 202).get("id")
	}
	first := func(path string) answer {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); pause(10 * time.Millisecond) {
			a := n.call(n.admin, "GET", "/v1/webhooks/"+hooks[path]+"/deliveries/"+pings[path], nil).want(t, 200)
			if a.get("attempts") != "0" {
				return a
			}
		}
		t.Fatalf("%s was never attempted", path)
		return answer{}
	}
	for path, want := range map[string]string{
		"/redirect": `"text":"Redirects are not followed."`, "/slow": "There was no whole reply in time.", "/huge": `"status":500`,
		"/gone": `"outcome":"gone","status":410`,
	} {
		a := first(path)
		if !bytes.Contains(a.body, []byte(want)) {
			t.Errorf("%s: %s", path, a.body)
		}
		if len(a.body) > 2000 || bytes.ContainsAny(a.body, "\x1b\u202e") || bytes.Contains(a.body, []byte(`\u001b`)) {
			t.Errorf("%s: the reply is shown as it is: %d bytes", path, len(a.body))
		}
	}
	if followed.Load() != 0 {
		t.Error("a redirect was followed")
	}
	// 410 disables, and what is dead can be replayed once the webhook is enabled again.
	deliveryOf(n, hooks["/gone"], pings["/gone"], "dead")
	gone := n.call(n.admin, "GET", "/v1/webhooks/"+hooks["/gone"], nil).want(t, 200)
	if gone.get("state") != "disabled" || gone.get("disabled_reason") != "gone" {
		t.Errorf("after 410: %s", gone.body)
	}
	n.call(n.admin, "POST", "/v1/webhooks/"+hooks["/gone"]+"/ping", nil).want(t, 409)
	if len(listed(n, "kind=webhook.disabled")) != 1 {
		t.Error("there is no event of it")
	}
	n.call(n.admin, "PATCH", "/v1/webhooks/"+hooks["/gone"], obj{"state": "enabled"}).want(t, 200)
	r.as(nil)
	if a := n.call(n.admin, "POST", "/v1/webhooks/"+hooks["/gone"]+"/replay", nil).want(t, 202); a.get("replayed") != "1" {
		t.Errorf("replayed %s", a.body)
	}
	deliveryOf(n, hooks["/gone"], pings["/gone"], "delivered")
	// A delivery is found under its own webhook only.
	n.call(n.admin, "GET", "/v1/webhooks/"+hooks["/slow"]+"/deliveries/"+pings["/gone"], nil).want(t, 404)
	n.call(n.admin, "POST", "/v1/webhooks/"+hooks["/slow"]+"/deliveries/"+pings["/gone"]+"/replay", nil).want(t, 404)
}

// TestWebhookGoesNowherePrivate asks a server as it is configured to call itself.
func TestWebhookGoesNowherePrivate(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	port := n.url[strings.LastIndex(n.url, ":"):]
	for _, url := range []string{
		n.url + "/v1/users", "https://127.0.0.1" + port, "https://localhost" + port, "https://[::1]" + port, "https://[::ffff:127.0.0.1]" + port,
		"https://0.0.0.0" + port, "https://127.1" + port, "https://2130706433" + port, "https://169.254.169.254/latest/meta-data/",
		"https://10.0.0.1/", "https://[fd00:ec2::254]/", "gopher://8.8.8.8/", "https://8.8.8.8@127.0.0.1/",
	} {
		n.call(n.admin, "POST", "/v1/webhooks", obj{"url": url}).want(t, 400)
	}
}

// TestWebhooksSurviveAKill kills one of two processes in the middle of deliveries: every event that
// is recorded arrives, and nothing else does.
func TestWebhooksSurviveAKill(t *testing.T) {
	t.Parallel()
	a, b := pair(t, outboundEnv...)
	r := newReceiver(t)
	hook := r.webhook(&a.node, "/", "user.created")
	var hung atomic.Int64
	hang := make(chan struct{})
	r.as(func(w http.ResponseWriter, _ told) {
		hung.Add(1)
		select { // until its caller is dead, or has given up
		case <-hang:
		case <-time.After(10 * time.Second):
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			n := []*node{&a.node, &b.node}[i%2]
			name := fmt.Sprintf("user%d", i%30) // some are refused
			if got, err := n.try(n.admin, "POST", "/v1/users", obj{"name": name}); err != nil || (got.status != 201 && got.status != 409) {
				t.Errorf("create %s: %v %s", name, err, got.body)
			}
		})
	}
	wg.Wait()
	for hung.Load() < 10 {
		pause(time.Millisecond)
	}
	b.kill()
	r.as(nil)
	close(hang)
	events := listed(&a.node, "kind=user.created")
	if len(events) != 30 {
		t.Errorf("%d events of 30 people", len(events))
	}
	r.until(t, "all events", func() bool {
		for id := range events {
			if r.events[id] == 0 {
				return false
			}
		}
		return true
	})
	for id := range r.events {
		if events[id] == nil {
			t.Errorf("event %s was told and is none", id)
		}
	}
	r.clean(t)
	for deadline := time.Now().Add(time.Minute); ; pause(20 * time.Millisecond) {
		left := a.call(a.admin, "GET", "/v1/webhooks/"+hook+"/deliveries?state=pending", nil).want(t, 200)
		if bytes.Contains(left.body, []byte(`"items":[]`)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still pending: %s", left.body)
		}
	}
	a.stop(t)
}

// TestWebhookOnAnotherNode tells of what one process records from the moment at which another has
// answered that there is a webhook, or a little later where the wake-up between them is lost.
func TestWebhookOnAnotherNode(t *testing.T) {
	t.Parallel()
	a, b := pair(t, outboundEnv...)
	r := newReceiver(t)
	b.user("before")
	r.webhook(&a.node, "/", "user.created")
	made := 0
	r.until(t, "an event of the other node", func() bool {
		if made == 0 || made%100 == 0 {
			r.mu.Unlock()
			b.user(fmt.Sprintf("user%d", made))
			r.mu.Lock()
		}
		made++
		return len(r.events) > 0
	})
	r.clean(t)
}
