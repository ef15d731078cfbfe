package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

// world is a store and what two nodes over it order.
type world struct {
	t      *testing.T
	c      IssuedConfig
	offset atomic.Int64
	sent   int               // orders that reached the authority
	said   map[string]string // what it answers, by URL
	log    strings.Builder
}

func newRing(t *testing.T) *keys.Ring {
	t.Helper()
	root, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	r, err := keys.Open(keys.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, said: map[string]string{"https://ca/dir": `{"newOrder":"https://ca/order"}`}}
	st, err := sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:    filepath.Join(t.TempDir(), "nod.db"),
		Offset: func() time.Duration { return time.Duration(w.offset.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	w.c = IssuedConfig{
		Store: st, Ring: newRing(t), Hosts: []string{"nod.example.com"}, Directory: "https://ca/dir",
		Logger: slog.New(slog.NewTextHandler(&w.log, nil)), Now: time.Now,
	}
	return w
}

// RoundTrip is the authority.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/order" {
		w.sent++
	}
	status := http.StatusOK
	text := w.said[r.URL.String()]
	if strings.Contains(text, "urn:") && r.URL.Path == "/order" {
		status = http.StatusBadRequest
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// node gives the orders of a node that has read the directory.
func (w *world) node() *orders {
	w.t.Helper()
	o := newOrders(w.c)
	o.next = w
	w.t.Cleanup(o.stop)
	if err := w.do(o, http.MethodGet, "https://ca/dir", ""); err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) do(o *orders, method, url, body string) error {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := o.RoundTrip(r)
	if err == nil {
		res.Body.Close()
	}
	return err
}

func orderFor(host string) string {
	payload, _ := json.Marshal(map[string]any{"identifiers": []map[string]string{{"type": "dns", "value": host}}})
	return `{"protected":"x","payload":"` + base64.RawURLEncoding.EncodeToString(payload) + `","signature":"y"}`
}

func (w *world) order(o *orders, host string) error {
	w.t.Helper()
	return w.do(o, http.MethodPost, "https://ca/order", orderFor(host))
}

// TestOneOrder has one node order, and no node again for longer and longer, until it succeeds.
func TestOneOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.node(), w.node()
	for i := range attemptOrders {
		if err := w.order(a, "nod.example.com"); err != nil {
			t.Fatalf("order %d of one attempt: %v", i, err)
		}
	}
	refused := func(what string) {
		t.Helper()
		for name, o := range map[string]*orders{"a": a, "b": b, "after a start": w.node()} {
			before := w.sent
			if err := w.order(o, "nod.example.com"); !errors.Is(err, errNotNow) || w.sent != before {
				t.Errorf("%s, %s: %v", what, name, err)
			}
		}
	}
	refused("at once")
	if err := w.order(b, "other.example.com"); err != nil {
		t.Errorf("another host: %v", err)
	}
	w.offset.Add(int64(time.Hour - time.Minute))
	refused("within the hour")
	w.offset.Add(int64(time.Minute))
	if err := w.order(b, "nod.example.com"); err != nil {
		t.Errorf("after the hour: %v", err)
	}
	a.attempts, b.attempts = map[string]*attempt{}, map[string]*attempt{}
	w.offset.Add(int64(2*time.Hour - time.Minute))
	refused("within two hours of the second")

	cert := make509(t, wanted{1, []string{"nod.example.com"}, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)})
	rows := &rows{c: w.c, orders: b, take: func(string, *tls.Certificate) {}}
	if err := rows.Put(t.Context(), "nod.example.com", append(cert.key, cert.cert...)); err != nil {
		t.Fatal(err)
	}
	if err := w.order(a, "nod.example.com"); err != nil {
		t.Errorf("after a success: %v", err)
	}
	b.stop()
	if err := w.do(b, http.MethodGet, "https://ca/dir", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{
		0: time.Hour, 1: 2 * time.Hour, 2: 4 * time.Hour, 4: 16 * time.Hour, 5: 24 * time.Hour, 1000: 24 * time.Hour,
	} {
		if got := pause(failures); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
}

// TestRefusedNonce sends an order again without that being another one.
func TestRefusedNonce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.node()
	w.said["https://ca/order"] = `{"type":"urn:ietf:params:acme:error:badNonce"}`
	for i := range 10 {
		if err := w.order(o, "nod.example.com"); err != nil {
			t.Fatalf("order %d: %v", i, err)
		}
	}
	if o.reason("nod.example.com") != "" || strings.Contains(w.log.String(), "refused") {
		t.Errorf("it is told: %s", w.log.String())
	}
}

// TestReason keeps what the authority said, wherever it said it.
func TestReason(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"problem":   `{"type":"urn:x:rateLimited","detail":"too many"}`,
		"order":     `{"status":"invalid","error":{"type":"urn:x","detail":"too many"}}`,
		"challenge": `{"status":"invalid","challenges":[{"status":"pending"},{"status":"invalid","error":{"type":"urn:x","detail":"too many"}}]}`,
	} {
		w := newWorld(t)
		o := w.node()
		w.said["https://ca/order"] = text
		_ = w.order(o, "nod.example.com")
		_ = w.order(o, "nod.example.com")
		if name == "problem" {
			if err := o.explain("nod.example.com", errNotNow); !errors.Is(err, errNotNow) || !strings.Contains(err.Error(), "too many") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := o.reason("nod.example.com"); got != "too many" || strings.Count(w.log.String(), "refused") != 1 {
			t.Errorf("%s: %q, %s", name, got, w.log.String())
		}
		o.succeeded("nod.example.com")
		if o.explain("nod.example.com", nil) != nil || o.reason("nod.example.com") != "" {
			t.Errorf("%s: it is not forgotten", name)
		}
	}
}

// FuzzAuthority reads any answer.
func FuzzAuthority(f *testing.F) {
	f.Add([]byte(`{"newOrder":"https://ca/order"}`), 200)
	f.Add([]byte(`{"type":"urn:x","detail":"no"}`), 429)
	f.Add([]byte(`{"challenges":[{"error":{}}]}`), 200)
	f.Add([]byte(`[`), 500)
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		o := newOrders(IssuedConfig{Directory: "https://ca/dir", Logger: slog.New(slog.DiscardHandler)})
		for _, url := range []string{"https://ca/dir", "https://ca/order"} {
			r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			o.read(r, status, body)
			_, _ = orderedHost(r)
		}
	})
}

func TestRowsAreSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := &rows{c: w.c, orders: newOrders(w.c), take: func(string, *tls.Certificate) {}}
	if _, err := r.Get(t.Context(), accountKey); !errors.Is(err, autocert.ErrCacheMiss) {
		t.Errorf("what is not there: %v", err)
	}
	for _, name := range []string{accountKey, "nod.example.com", "nod.example.com+token", "x+http-01"} {
		if err := r.Put(t.Context(), name, []byte("canary")); err != nil {
			t.Fatal(err)
		}
		var row store.Certificate
		err := w.c.Store.View(t.Context(), func(tx store.Tx) (err error) {
			row, err = tx.Certificate(name)
			return err
		})
		if err != nil || bytes.Contains(row.Sealed, []byte("canary")) || (row.ExpiresAt == 0) != (name == accountKey || name == "nod.example.com") {
			t.Errorf("%s: %+v, %v", name, row, err)
		}
		if got, err := r.Get(t.Context(), name); err != nil || string(got) != "canary" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if err := r.Put(t.Context(), accountKey, []byte("another")); !errors.Is(err, store.ErrExists) {
		t.Errorf("a second account: %v", err)
	}
	other := &rows{c: w.c, orders: r.orders, take: func(string, *tls.Certificate) {}}
	other.c.Ring = newRing(t)
	if _, err := other.Get(t.Context(), "nod.example.com"); !errors.Is(err, keys.ErrSealed) {
		t.Errorf("with another ring: %v", err)
	}
	for range 2 {
		if err := r.Delete(t.Context(), "x+http-01"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	closed := &rows{c: w.c, orders: r.orders, take: func(string, *tls.Certificate) {}}
	if err := w.c.Store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := closed.Get(t.Context(), "x+http-01"); !errors.Is(err, autocert.ErrCacheMiss) {
		t.Errorf("a stranger who asks without a database: %v", err)
	}
	if _, err := closed.Get(t.Context(), "nod.example.com"); err == nil || errors.Is(err, autocert.ErrCacheMiss) {
		t.Errorf("without a database there is no certificate to order: %v", err)
	}
}
