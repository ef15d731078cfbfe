package egress_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nodauth/nod/internal/egress"
	"github.com/nodauth/nod/internal/mfa"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// names resolves from a table; a name with several lines gives one after the other.
func names(table map[string][]string) func(context.Context, string) ([]netip.Addr, error) {
	asked := map[string]*atomic.Int64{}
	for name := range table {
		asked[name] = new(atomic.Int64)
	}
	return func(_ context.Context, host string) ([]netip.Addr, error) {
		lines, ok := table[host]
		if !ok {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		var out []netip.Addr
		for _, s := range strings.Fields(lines[min(int(asked[host].Add(1)), len(lines))-1]) {
			out = append(out, netip.MustParseAddr(s))
		}
		return out, nil
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	lookup := names(map[string][]string{
		"public.test": {"8.8.8.8 2606:4700::1111"}, "mapped.test": {"::ffff:8.8.8.8"}, "private.test": {"10.1.2.3"},
		"mixed.test": {"8.8.8.8 169.254.169.254"}, "empty.test": {""}, "local.test": {"127.0.0.1"}, "a_b.test": {"8.8.8.8"},
		"localhost": {"127.0.0.1"},
	})
	strict := egress.New(egress.Config{Lookup: lookup})
	lenient := egress.New(egress.Config{Lookup: lookup, Allow: append([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, loopback...)})
	for _, test := range []struct {
		url             string
		strict, lenient bool
	}{
		{"https://public.test", true, true},
		{"https://public.test/", true, true},
		{"https://PUBLIC-x.test", false, false}, // unknown
		{"https://public.test:8443/a/b?c=d%20e", true, true},
		{"https://mapped.test/", true, true},
		{"https://a_b.test/", true, true},
		{"https://8.8.8.8/", true, true},
		{"https://[2606:4700::1111]/", true, true},
		{"https://private.test/", false, true},
		{"https://10.1.2.3/", false, true},
		{"https://[::ffff:10.1.2.3]/", false, true},
		{"https://10.2.2.3/", false, false},
		{"https://mixed.test/", false, false},
		{"https://empty.test/", false, false},
		{"https://unknown.test/", false, false},
		{"https://local.test/", false, true},
		{"http://local.test/", false, true},
		{"http://127.0.0.1:9/x", false, true},
		{"http://localhost:9/x", false, true},
		{"http://public.test/", false, false},
		{"http://private.test/", false, false},
		{"http://10.1.2.3/", false, false},

		{"", false, false},
		{"public.test", false, false},
		{"//public.test/", false, false},
		{"ftp://public.test/", false, false},
		{"HTTPS://public.test/", false, false},
		{"https:public.test", false, false},
		{"https:///public.test", false, false},
		{"https://public.test:0/", false, false},
		{"https://public.test:/", false, false},
		{"https://public.test:65536/", false, false},
		{"https://public.test:0443/", false, false},
		{"https://public.test:443x/", false, false},
		{"https://user@public.test/", false, false},
		{"https://user:pass@public.test/", false, false},
		{"https://@public.test/", false, false},
		{"https://public.test@10.1.2.3/", false, false},
		{"https://public.test/#x", false, false},
		{"https://public.test/#", false, false},
		{"https://public.test\\@10.1.2.3/", false, false},
		{"https://public.test/a b", false, false},
		{"https://public.test/a\r\nHost: x", false, false},
		{"https://public.test/\x00", false, false},
		{"https://public.test/ä", false, false},
		{"https://püblic.test/", false, false},
		{"https://public.test./", false, false},
		{"https://.public.test/", false, false},
		{"https://-a.test/", false, false},
		{"https://%70ublic.test/", false, false},
		{"https://127.1/", false, false},
		{"https://2130706433/", false, false},
		{"https://0x7f000001/", false, false},
		{"https://0x7f.0.0.1/", false, false},
		{"https://0177.0.0.1/", false, false},
		{"https://127.0.0.1./", false, false},
		{"https://[::1]/", false, false},
		{"https://[fe80::1%25eth0]/", false, false},
		{"https://[::ffff:127.0.0.1]/", false, true},
		{"https://::1/", false, false},
		{"https://[8.8.8.8]/", false, false},
		{"https://169.254.169.254/latest/meta-data", false, false},
		{"https://[64:ff9b::a01:203]/", false, false},
		{"https://[2002:a01:203::]/", false, false},
		{"https://public.test/" + strings.Repeat("a", 2048), false, false},
	} {
		for name, c := range map[string]*egress.Client{"strict": strict, "lenient": lenient} {
			want := test.strict
			if name == "lenient" {
				want = test.lenient
			}
			err := c.Check(t.Context(), "url", test.url)
			if (err == nil) != want {
				t.Errorf("%s %q: %v, want good: %t", name, test.url, err, want)
			}
			if e, ok := errors.AsType[*mfa.Error](err); err != nil && (!ok || e.Code != mfa.Invalid || e.Field != "url") {
				t.Errorf("%s %q: %v is not invalid", name, test.url, err)
			}
		}
	}
	// What a name leads to is not told.
	if a, b := strict.Check(t.Context(), "url", "https://private.test/"), strict.Check(t.Context(), "url", "https://unknown.test/"); a.Error() != b.Error() {
		t.Errorf("%v and %v tell names apart", a, b)
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"https://a.test/", "https://[::1]:1/", "http://127.0.0.1", "https://a@b", "https://8.8.8.8:443/?#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		asked := ""
		c := egress.New(egress.Config{Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			asked = host
			return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
		}})
		if c.Check(t.Context(), "url", raw) != nil {
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q is taken", raw)
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil {
			if !egress.Public(a) {
				t.Fatalf("%q is taken", raw)
			}
		} else if asked != u.Hostname() {
			t.Fatalf("%q: %q was looked up and %q is called", raw, asked, u.Hostname())
		}
	})
}

// kind fails the test unless a call comes to nothing in this way.
func kind(t *testing.T, c *egress.Client, raw string, want egress.Kind) {
	t.Helper()
	r, err := c.Do(t.Context(), egress.Request{Method: "POST", URL: raw})
	e, ok := errors.AsType[*egress.Error](err)
	if !ok || e.Kind != want {
		t.Errorf("%s: %+v, %v, want %s", raw, r, err, want)
	}
}

// TestNothingPrivateIsReached calls a server of this machine in every way there is.
func TestNothingPrivateIsReached(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer srv.Close()
	port := srv.URL[strings.LastIndex(srv.URL, ":"):]
	c := egress.New(egress.Config{Lookup: names(map[string][]string{
		"rebind.test": {"8.8.8.8", "127.0.0.1"}, "inside.test": {"127.0.0.1"}, "mapped.test": {"::ffff:127.0.0.1"}, "zero.test": {"0.0.0.0"},
		"mixed.test": {"8.8.8.8 127.0.0.1"}, "v6.test": {"::1"}, "nat64.test": {"64:ff9b::7f00:1"},
	})})
	if err := c.Check(t.Context(), "url", "https://rebind.test"+port); err != nil {
		t.Fatalf("the first look finds nothing wrong: %v", err)
	}
	for _, host := range []string{
		"rebind.test", "inside.test", "mapped.test", "zero.test", "mixed.test", "v6.test", "nat64.test", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]",
		"0.0.0.0", "[::]",
	} {
		for _, scheme := range []string{"https://", "http://"} {
			kind(t, c, scheme+host+port, egress.Refused)
		}
	}
	kind(t, c, "http://localhost\r\nX: y"+port, egress.Refused)
	if n := hits.Load(); n != 0 {
		t.Errorf("it was reached %d times", n)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer inside.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := httptest.NewServer(http.RedirectHandler(inside.URL, status))
		r, err := egress.New(egress.Config{Allow: loopback}).Do(t.Context(), egress.Request{Method: "POST", URL: srv.URL})
		if err != nil || r.Status != status {
			t.Errorf("%d: %+v, %v", status, r, err)
		}
		srv.Close()
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d were followed", n)
	}
}

func TestReplyIsCut(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat("x", 4096)); err != nil {
					return
				}
			}
		case "/headers":
			w.Header().Set("X-Long", strings.Repeat("y", 64<<10))
		case "/exact":
			_, _ = io.WriteString(w, strings.Repeat("x", 100))
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "not unpacked")
		}
	}))
	defer srv.Close()
	c := egress.New(egress.Config{Allow: loopback})
	for path, want := range map[string]egress.Reply{
		"/endless": {Status: 200, Body: []byte(strings.Repeat("x", 100)), Cut: true},
		"/exact":   {Status: 200, Body: []byte(strings.Repeat("x", 100))},
		"/gzip":    {Status: 200, Body: []byte("not unpacked")},
	} {
		r, err := c.Do(t.Context(), egress.Request{Method: "POST", URL: srv.URL + path, Reply: 100})
		if err != nil || string(r.Body) != string(want.Body) || r.Cut != want.Cut {
			t.Errorf("%s: %d bytes, cut: %t, %v", path, len(r.Body), r.Cut, err)
		}
	}
	kind(t, c, srv.URL+"/headers", egress.Broken)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	good := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 {
			t.Error("cookies come back")
		}
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
	}))
	defer good.Close()
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.StartTLS()
	defer old.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	roots := x509.NewCertPool()
	roots.AddCert(good.Certificate())
	c := egress.New(egress.Config{Allow: loopback, Roots: roots})
	defer c.Close()
	for range 2 {
		if r, err := c.Do(t.Context(), egress.Request{Method: "POST", URL: good.URL}); err != nil || r.Status != 200 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	kind(t, egress.New(egress.Config{Allow: loopback}), good.URL, egress.Untrusted)
	kind(t, c, old.URL, egress.Untrusted)
	kind(t, c, strings.Replace(plain.URL, "http:", "https:", 1), egress.Untrusted)
	plain.Close()
	kind(t, c, plain.URL, egress.Unreached)
	kind(t, c, "https://unknown.invalid/", egress.Unresolved)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Do(ctx, egress.Request{Method: "POST", URL: good.URL}); err == nil {
		t.Error("a call after its end")
	}
}

func TestHeaderCannotBeInjected(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	_, err := egress.New(egress.Config{Allow: loopback}).Do(t.Context(), egress.Request{
		Method: "POST", URL: srv.URL, Header: map[string]string{"X-A": "b\r\nX-C: d"},
	})
	if err == nil {
		t.Error("a value with a line break was sent")
	}
}
