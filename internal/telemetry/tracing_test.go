package telemetry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// receiver is a collector that keeps the spans it gets.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*otlp.Span
	sent  []string // Authorization headers
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	v := &receiver{}
	v.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var m collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &m)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.sent = append(v.sent, r.Header.Get("Authorization"))
		for _, rs := range m.GetResourceSpans() {
			for _, ss := range rs.GetScopeSpans() {
				v.spans = append(v.spans, ss.GetSpans()...)
			}
		}
	}))
	t.Cleanup(v.Close)
	return v
}

// names gives the spans as text: name, and that of the parent.
func (v *receiver) names() []string {
	byID := make(map[string]string)
	for _, s := range v.spans {
		byID[string(s.GetSpanId())] = s.GetName()
	}
	out := []string{}
	for _, s := range v.spans {
		out = append(out, s.GetName()+" < "+byID[string(s.GetParentSpanId())])
	}
	slices.Sort(out)
	return out
}

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestTraces(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		sample float64
		trust  bool
		header string
		spans  int
		trace  string
	}{
		{"all", 1, false, "", 4, ""},
		{"a caller who is not believed", 1, false, parent, 4, ""},
		{"a caller who is believed", 0.000001, true, parent, 4, "0af7651916cd43dd8448eb211c80319c"},
		{"a caller who is believed and wants none", 1, true, parent[:len(parent)-1] + "0", 0, ""},
		{"malformed", 1, true, "00-zz", 4, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v := newReceiver(t)
			tel, err := New(Config{Tracing: Tracing{
				Endpoint: v.URL, Sample: test.sample, TrustParent: test.trust, Authorization: secret.New("Bearer of news"),
			}})
			if err != nil {
				t.Fatal(err)
			}
			st := openStore(t, tel)
			step := tel.Steps()
			h := func(w http.ResponseWriter, r *http.Request) {
				ctx, end := step(r.Context(), "authn.create")
				defer end()
				_ = st.Update(ctx, func(tx store.Tx) error { return tx.PutSetting("a", "b") })
				_ = st.View(ctx, func(store.Tx) error { return mfa.Errorf(mfa.Conflict, mfa.ReasonNameTaken, "canary") })
				httpkitError(w, r)
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/things/canary?canary", strings.NewReader("canary"))
			r.Header.Set("User-Agent", "canary")
			if test.header != "" {
				r.Header.Set("traceparent", test.header)
			}
			serve(tel, h, r)
			if err := st.View(t.Context(), func(store.Tx) error { return nil }); err != nil { // in no request
				t.Fatal(err)
			}
			text := scrape(t, tel)
			if err := tel.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Fatal(err)
			}
			if len(v.spans) != test.spans {
				t.Fatalf("spans: %v", v.names())
			}
			if test.spans == 0 {
				return
			}
			want := []string{
				"POST /v1/things/{id} < ", "authn.create < POST /v1/things/{id}",
				"store.update < authn.create", "store.view < authn.create",
			}
			if diff := cmp.Diff(want, v.names()); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
			for _, s := range v.spans {
				if id := hex(s.GetTraceId()); test.trace != "" && id != test.trace {
					t.Errorf("%s belongs to trace %s", s.GetName(), id)
				}
				if strings.Contains(s.String(), "canary") || strings.Contains(s.String(), "192.0.2.1") {
					t.Errorf("a span says too much: %s", s)
				}
			}
			if v.sent[0] != "Bearer of news" {
				t.Errorf("authorization %q", v.sent[0])
			}
			if !strings.Contains(text, `trace_id="`+hex(v.spans[0].GetTraceId())+`"`) {
				t.Error("no exemplar names the trace")
			}
		})
	}
}

func httpkitError(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusServiceUnavailable)
}

func hex(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, c := range b {
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}

// TestNoTraces wants nothing at all where nothing is to be traced.
func TestNoTraces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Tracing{"no endpoint": {Sample: 1}, "no sample": {Endpoint: "http://127.0.0.1:1"}} {
		tel := newTelemetry(t, Config{Tracing: c})
		if tel.tracer != nil || tel.Steps() != nil {
			t.Errorf("%s: there is a tracer", name)
		}
		ctx, end := tel.Span(t.Context(), "x")
		end(errors.New("nothing"))
		if ctx != t.Context() {
			t.Errorf("%s: another context", name)
		}
	}
}

// BenchmarkSignIn is what a sign-in costs here: seven requests, six updates with nine events and three
// changes of the challenge, ten views, three commits.
func BenchmarkSignIn(b *testing.B) {
	tel, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	st := tel.Store(still{})
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil)
	c := store.Challenge{Challenge: mfa.Challenge{ID: "ch_1", Provenance: mfa.Strangers}}
	c.Evidence.Match = mfa.Scan
	created := map[string]string{"provenance": "stranger", "rung": "yes"}
	update := func(n int, kinds ...string) func(store.Tx) error {
		return func(tx store.Tx) error {
			for _, k := range kinds {
				_ = tx.InsertEvent(store.Event{Kind: k, At: 10_000_000, Challenge: "ch_1", Data: created})
			}
			for range n {
				_ = tx.PutChallenge(c)
			}
			return nil
		}
	}
	updates := []func(store.Tx) error{
		update(0, "challenge.created"), update(0, "challenge.delivered", "challenge.received"), update(0, "challenge.shown", "challenge.opened"),
		update(2, "challenge.approved"), update(0, "challenge.told"), update(2, "challenge.redeemed"),
	}
	b.ReportAllocs()
	for b.Loop() {
		for range 7 {
			ctx, _ := tel.Begin(r)
			tel.End(ctx, httpkit.Answered{Route: "POST /v1/challenges", Status: 200, Took: 1_000_000})
		}
		for _, u := range updates {
			_ = st.Update(b.Context(), u)
		}
		for range 10 {
			_ = st.View(b.Context(), nil)
		}
		for range 3 {
			tel.Committed(2, 1_000_000)
		}
	}
}

// still is a store that does nothing.
type still struct{ store.Store }

func (still) Update(_ context.Context, fn func(store.Tx) error) error { return fn(stillTx{}) }
func (still) View(context.Context, func(store.Tx) error) error        { return nil }

type stillTx struct{ store.Tx }

func (stillTx) InsertEvent(store.Event) error      { return nil }
func (stillTx) PutChallenge(store.Challenge) error { return nil }
