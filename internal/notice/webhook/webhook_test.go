package webhook_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/egress"
	"github.com/nodauth/nod/internal/notice"
	"github.com/nodauth/nod/internal/notice/webhook"
	"github.com/nodauth/nod/internal/secret"
)

// published is the example of the Standard Webhooks specification.
func published() notice.Message {
	return notice.Message{
		ID: "msg_p5jXN8AQM9LWM0D4loKWxJek", At: time.Unix(1614265330, 0), Payload: []byte(`{"test": 2432232314}`),
		Keys: []secret.Value{secret.New("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")},
	}
}

func TestSign(t *testing.T) {
	t.Parallel()
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	m := published()
	if got, err := webhook.Sign(m); err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	m.Keys = append(m.Keys, webhook.NewSecret())
	if got, err := webhook.Sign(m); err != nil || !strings.HasPrefix(got, want+" v1,") || len(got) != 2*len(want)+1 {
		t.Errorf("with two keys: %s, %v", got, err)
	}
	for _, bad := range []string{"", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_AAAA", "whsec_!!!!", "whsec_" + strings.Repeat("A", 88)} {
		m.Keys = []secret.Value{secret.New(bad)}
		if _, err := webhook.Sign(m); err == nil || (bad != "" && strings.Contains(err.Error(), bad)) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	m.Keys = nil
	if _, err := webhook.Sign(m); err == nil {
		t.Error("signed without a key")
	}
}

func send(t *testing.T, h http.HandlerFunc) notice.Outcome {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	m := published()
	m.To = srv.URL
	client := egress.New(egress.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	defer client.Close()
	return webhook.New(client).Send(t.Context(), m)
}

func TestSend(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		want   notice.Outcome
	}{
		{"taken", 204, nil, "", notice.Outcome{Class: notice.Delivered, Status: 204}},
		{"taken, with words", 200, nil, "thanks", notice.Outcome{Class: notice.Delivered, Status: 200}},
		{"gone", 410, nil, "bye", notice.Outcome{Class: notice.Gone, Status: 410, Text: "The receiver says that it wants nothing more."}},
		{"moved", 301, map[string]string{"Location": "http://127.0.0.1:1/"}, "", notice.Outcome{Class: notice.Temporary, Status: 301, Text: "Redirects are not followed."}},
		{"fault", 500, nil, "oh\n no", notice.Outcome{Class: notice.Temporary, Status: 500, Text: "oh no"}},
		{"not found", 404, nil, "", notice.Outcome{Class: notice.Temporary, Status: 404}},
		{"busy", 429, map[string]string{"Retry-After": "90"}, "", notice.Outcome{Class: notice.Temporary, Status: 429, RetryAfter: 90 * time.Second}},
		{"busy for long", 503, map[string]string{"Retry-After": "999999"}, "", notice.Outcome{Class: notice.Temporary, Status: 503, RetryAfter: 24 * time.Hour}},
		{"busy, in other words", 503, map[string]string{"Retry-After": "-5"}, "", notice.Outcome{Class: notice.Temporary, Status: 503}},
		{"escapes", 400, nil, "a\x1b[31m\u202eb\xff\x00c", notice.Outcome{Class: notice.Temporary, Status: 400, Text: "a [31m b c"}},
		{"much", 400, nil, strings.Repeat("ä", 5000), notice.Outcome{Class: notice.Temporary, Status: 400, Text: strings.Repeat("ä", 200)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := send(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("webhook-id") != published().ID || r.Header.Get("webhook-timestamp") != "1614265330" || r.Header.Get("webhook-signature") == "" {
					t.Errorf("headers %v", r.Header)
				}
				for name, value := range test.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFailuresNameNoAddress has nothing of the network's own errors in what is kept.
func TestFailuresNameNoAddress(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, to := range []string{"https://127.0.0.1:1/", "https://10.9.8.7/", "https://secret-name.invalid/", "not an address"} {
		for _, ctx := range []context.Context{t.Context(), ended} {
			m := published()
			m.To = to
			o := webhook.New(egress.New(egress.Config{})).Send(ctx, m)
			if o.Class != notice.Temporary || o.Text == "" || strings.ContainsAny(o.Text, "0123456789") || strings.Contains(o.Text, "secret-name") {
				t.Errorf("%s: %+v", to, o)
			}
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add("body", "5")
	f.Add("\x1b[2J\u202e", "999999999999")
	client := egress.New(egress.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	var body, after string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Retry-After"] = []string{after}
		w.WriteHeader(500)
		_, _ = w.Write([]byte(body))
	}))
	f.Cleanup(srv.Close)
	f.Fuzz(func(t *testing.T, b, a string) {
		body, after = b, a
		m := published()
		m.To = srv.URL
		o := webhook.New(client).Send(t.Context(), m)
		if o.RetryAfter < 0 || o.RetryAfter > 24*time.Hour || utf8.RuneCountInString(o.Text) > 200 || !utf8.ValidString(o.Text) ||
			strings.ContainsFunc(o.Text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q, %q give %+v", b, a, o)
		}
	})
}
