package httpkit_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/front/httpkit"
)

func TestCORS(t *testing.T) {
	t.Parallel()
	c := httpkit.CORS{
		Origin: "https://auth.example.org", Methods: []string{"POST"}, Headers: []string{"Content-Type"},
		Expose: []string{"Nod-Nonce", "Retry-After"}, MaxAge: time.Hour,
	}
	marked := http.Header{
		"Access-Control-Allow-Origin":   {c.Origin},
		"Access-Control-Expose-Headers": {"Nod-Nonce, Retry-After"},
		"Vary":                          {"Origin"},
	}
	permitted := http.Header{
		"Access-Control-Allow-Origin":  {c.Origin},
		"Access-Control-Allow-Methods": {"POST"},
		"Access-Control-Allow-Headers": {"Content-Type"},
		"Access-Control-Max-Age":       {"3600"},
		"Vary":                         {"Origin"},
	}
	unmarked := http.Header{"Vary": {"Origin"}}
	for _, tc := range []struct {
		name    string
		c       httpkit.CORS
		method  string
		origins []string
		ask     string
		status  int
		want    http.Header
	}{
		{"admitted", c, "POST", []string{c.Origin}, "", 200, marked},
		{"admitted asks", c, "OPTIONS", []string{c.Origin}, "POST", 204, permitted},
		{"no origin", c, "POST", nil, "", 200, unmarked},
		{"other scheme", c, "POST", []string{"http://auth.example.org"}, "", 200, unmarked},
		{"other port", c, "POST", []string{"https://auth.example.org:8443"}, "", 200, unmarked},
		{"other case", c, "POST", []string{"https://AUTH.example.org"}, "", 200, unmarked},
		{"prefix", c, "POST", []string{"https://auth.example.org.evil.test"}, "", 200, unmarked},
		{"sub-domain", c, "POST", []string{"https://x.auth.example.org"}, "", 200, unmarked},
		{"null", c, "POST", []string{"null"}, "", 200, unmarked},
		{"two origins", c, "POST", []string{c.Origin, "https://evil.test"}, "", 200, unmarked},
		{"stranger asks", c, "OPTIONS", []string{"https://evil.test"}, "POST", 204, unmarked},
		{"plain OPTIONS", c, "OPTIONS", nil, "", 200, unmarked},
		{"OPTIONS without a question", c, "OPTIONS", []string{c.Origin}, "", 200, marked},
		{"none admitted, empty origin", httpkit.CORS{}, "POST", []string{""}, "", 200, unmarked},
	} {
		r := httptest.NewRequest(tc.method, "/", http.NoBody)
		if tc.origins != nil {
			r.Header["Origin"] = tc.origins
		}
		if tc.ask != "" {
			r.Header.Set("Access-Control-Request-Method", tc.ask)
		}
		w := httptest.NewRecorder()
		tc.c.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })).ServeHTTP(w, r)
		if d := cmp.Diff(tc.want, w.Header()); w.Code != tc.status || d != "" {
			t.Errorf("%s: status %d, headers (-want +got):\n%s", tc.name, w.Code, d)
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	for _, https := range []bool{false, true} {
		w := httptest.NewRecorder()
		httpkit.SecurityHeaders(https, http.NotFoundHandler()).ServeHTTP(w, get("/"))
		for name, want := range map[string]string{
			"X-Content-Type-Options":  "nosniff",
			"X-Frame-Options":         "DENY",
			"Referrer-Policy":         "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
			"Cache-Control":           "no-store",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if got := w.Header().Get("Strict-Transport-Security") != ""; got != https {
			t.Errorf("https %v: told to come by https only: %v", https, got)
		}
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/things/{id}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Got", r.PathValue("id"))
	})
	mux.HandleFunc("PUT /v1/things/{id}", func(http.ResponseWriter, *http.Request) {})
	h := httpkit.Routes(discard, mux)
	for _, tc := range []struct {
		method, target string
		status         int
		allow, body    string
	}{
		{"POST", "/v1/things/a%2Fb", 200, "", ""},
		{"GET", "/v1/things/a", 405, "POST, PUT", "invalid"},
		{"POST", "/v1/none", 404, "", "not_found"},
		{"POST", "/", 404, "", "not_found"},
		{"OPTIONS", "*", 404, "", "not_found"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tc.method, tc.target, http.NoBody))
		if w.Code != tc.status || w.Header().Get("Allow") != tc.allow {
			t.Errorf("%s %s: status %d, Allow %q", tc.method, tc.target, w.Code, w.Header().Get("Allow"))
		}
		if tc.body == "" {
			if got := w.Header().Get("Got"); got != "a/b" {
				t.Errorf("the route got %q", got)
			}
		} else if w.Header().Get("Content-Type") != httpkit.ProblemType {
			t.Errorf("%s %s: no problem: %s", tc.method, tc.target, w.Body)
		}
	}
}
