package test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// outboundEnv lets a server process call this machine, with little patience.
var outboundEnv = []string{"NOD_EGRESS_ALLOW=127.0.0.0/8", "NOD_DELIVERIES_TIMEOUT=1s"}

// told is one webhook as it came.
type told struct {
	path       string
	id         string
	signatures []string
	stamp      string
	body       []byte
	kind       string
	event      string // id
	challenge  string
}

// receiver is somebody's server, which nod tells of events.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []told
	events map[string]int // times that each event came
	faults []string       // what no webhook looks like
	secret map[string]string
	answer func(w http.ResponseWriter, m told) // nil for 204
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{events: map[string]int{}, secret: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	m := told{
		path: q.URL.Path, id: q.Header.Get("webhook-id"), stamp: q.Header.Get("webhook-timestamp"),
		signatures: strings.Fields(q.Header.Get("webhook-signature")), body: body,
	}
	var in struct {
		Type string
		Data struct{ ID, Kind, Challenge string }
	}
	if err != nil || json.Unmarshal(body, &in) != nil || in.Type == "" || in.Type != in.Data.Kind || q.Method != http.MethodPost ||
		q.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(m.id, "dlv_") {
		r.fault("not a webhook: %s %s", q.Header, body)
	}
	m.kind, m.event, m.challenge = in.Type, in.Data.ID, in.Data.Challenge
	r.mu.Lock()
	r.got = append(r.got, m)
	if len(r.got) > 10_000 {
		r.got = r.got[5_000:]
	}
	answer, secret := r.answer, r.secret[m.path]
	r.mu.Unlock()
	if secret != "" && !m.signed(secret) {
		r.fault("not signed with the secret: %s", body)
	}
	if answer != nil {
		answer(w, m)
		return
	}
	r.count(m)
	w.WriteHeader(http.StatusNoContent)
}

// count notes that an event has come for good.
func (r *receiver) count(m told) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events[m.event]++
}

func (r *receiver) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// as has the receiver answer in another way.
func (r *receiver) as(answer func(http.ResponseWriter, told)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// signed checks a webhook as its receivers do, by the words of the specification.
func (m told) signed(secret string) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	at, stampErr := strconv.ParseInt(m.stamp, 10, 64)
	if err != nil || stampErr != nil || time.Since(time.Unix(at, 0)).Abs() > 5*time.Minute {
		return false
	}
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "%s.%s.%s", m.id, m.stamp, m.body)
	want := "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
	for _, s := range m.signatures {
		if s == want {
			return true
		}
	}
	return false
}

// until waits until the condition holds for what has come.
func (r *receiver) until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; pause(5 * time.Millisecond) {
		r.mu.Lock()
		ok := holds()
		r.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it never came: %s", what)
		}
	}
}

// last is the newest webhook of a kind.
func (r *receiver) last(kind string) (told, bool) {
	for i := len(r.got) - 1; i >= 0; i-- {
		if r.got[i].kind == kind {
			return r.got[i], true
		}
	}
	return told{}, false
}

// clean fails the test if anything came that is no webhook.
func (r *receiver) clean(t testing.TB) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		t.Error(f)
	}
}

// webhook makes a webhook to a path of the receiver and gives its id.
func (r *receiver) webhook(n *node, path string, events ...string) string {
	n.t.Helper()
	if events == nil {
		events = []string{}
	}
	a := n.call(n.admin, "POST", "/v1/webhooks", obj{"url": r.URL + path, "events": events}).want(n.t, 201)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret[path] = a.get("secret")
	return a.get("id")
}

// listed gives the events that the API lists, by id.
func listed(n *node, query string) map[string]json.RawMessage {
	n.t.Helper()
	out := map[string]json.RawMessage{}
	for next := ""; ; {
		a := n.call(n.admin, "GET", "/v1/events?order=asc&limit=200&"+query+next, nil).want(n.t, 200)
		var page struct {
			Items []json.RawMessage
			Next  string
		}
		if err := json.Unmarshal(a.body, &page); err != nil {
			n.t.Fatal(err)
		}
		for _, item := range page.Items {
			var e struct{ ID string }
			if err := json.Unmarshal(item, &e); err != nil {
				n.t.Fatal(err)
			}
			out[e.ID] = item
		}
		if page.Next == "" {
			return out
		}
		next = "&cursor=" + page.Next
	}
}
