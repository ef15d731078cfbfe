package httpkit_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/front/httpkit"
)

func proxies(t testing.TB, networks ...string) httpkit.ClientAddr {
	t.Helper()
	var c httpkit.ClientAddr
	for _, n := range networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			t.Fatal(err)
		}
		c.Trusted = append(c.Trusted, p)
	}
	return c
}

func TestClientAddr(t *testing.T) {
	t.Parallel()
	behind := proxies(t, "10.0.0.0/8", "fd00::/8", "127.0.0.1/32")
	for _, tc := range []struct {
		name string
		c    httpkit.ClientAddr
		peer string
		xff  []string
		want string
	}{
		{"no proxy", httpkit.ClientAddr{}, "203.0.113.7:1234", nil, "203.0.113.7"},
		{"no proxy, forged header", httpkit.ClientAddr{}, "203.0.113.7:1234", []string{"198.51.100.1"}, "203.0.113.7"},
		{"stranger, forged header", behind, "203.0.113.7:1234", []string{"198.51.100.1"}, "203.0.113.7"},
		{"one proxy", behind, "10.0.0.1:99", []string{"198.51.100.1"}, "198.51.100.1"},
		{"one proxy, client forged the left", behind, "10.0.0.1:99", []string{"1.1.1.1, 198.51.100.1"}, "198.51.100.1"},
		{"one proxy, client forged a trusted one", behind, "10.0.0.1:99", []string{"10.9.9.9, 198.51.100.1"}, "198.51.100.1"},
		{"two proxies", behind, "10.0.0.1:99", []string{"1.1.1.1, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"two headers", behind, "10.0.0.1:99", []string{"1.1.1.1", "198.51.100.1 ,10.0.0.2"}, "198.51.100.1"},
		{"all trusted", behind, "10.0.0.1:99", []string{"10.0.0.3,10.0.0.2"}, "10.0.0.3"},
		{"proxy without header", behind, "10.0.0.1:99", nil, "10.0.0.1"},
		{"empty header", behind, "10.0.0.1:99", []string{""}, "10.0.0.1"},
		{"unknown", behind, "10.0.0.1:99", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		{"garbage behind a second proxy", behind, "10.0.0.1:99", []string{"198.51.100.1, x, 10.0.0.2"}, "10.0.0.2"},
		{"empty entry", behind, "10.0.0.1:99", []string{"198.51.100.1,,10.0.0.2"}, "10.0.0.2"},
		{"trailing comma", behind, "10.0.0.1:99", []string{"198.51.100.1,"}, "10.0.0.1"},
		{"port in header", behind, "10.0.0.1:99", []string{"198.51.100.1:443"}, "198.51.100.1"},
		{"IPv6", behind, "[fd00::1]:99", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets", behind, "[fd00::1]:99", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 with port", behind, "[fd00::1]:99", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"IPv4 in brackets", behind, "[fd00::1]:99", []string{"[198.51.100.1]"}, "fd00::1"},
		{"open bracket", behind, "[fd00::1]:99", []string{"[2001:db8::1"}, "fd00::1"},
		{"mapped peer", behind, "[::ffff:10.0.0.1]:99", []string{"198.51.100.1"}, "198.51.100.1"},
		{"mapped entry is trusted", behind, "10.0.0.1:99", []string{"198.51.100.1, ::ffff:10.0.0.2"}, "198.51.100.1"},
		{"mapped client", behind, "10.0.0.1:99", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"zone", httpkit.ClientAddr{}, "[fe80::1%eth0]:99", nil, "fe80::1"},
		{"Unix socket", behind, "@", []string{"198.51.100.1"}, "invalid IP"},
		{"no peer", behind, "", []string{"198.51.100.1"}, "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: tc.peer, Header: http.Header{"X-Forwarded-For": tc.xff}}
		if got := tc.c.Of(r).String(); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

// FuzzClientAddr checks that what stands left of the last untrusted address changes nothing,
// and that a stranger's header is never looked at.
func FuzzClientAddr(f *testing.F) {
	c := proxies(f, "10.0.0.0/8", "fd00::/8")
	for _, s := range []string{"", ",", "1.2.3.4", "[::1]:80", "unknown, 10.0.0.1", "fe80::1%x", "\x00", "10.0.0.1:99999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		of := func(peer string, xff ...string) string {
			return c.Of(&http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": xff}}).String()
		}
		if got := of("203.0.113.7:1", s); got != "203.0.113.7" {
			t.Fatalf("a stranger's %q gave %s", s, got)
		}
		if got := of("10.0.0.1:1", s+", 198.51.100.1"); got != "198.51.100.1" {
			t.Fatalf("%q, left of the client, gave %s", s, got)
		}
		if got := of("10.0.0.1:1", s, "198.51.100.1", "10.0.0.2"); got != "198.51.100.1" {
			t.Fatalf("%q, in a header before, gave %s", s, got)
		}
		got := of("10.0.0.1:1", s)
		a, err := netip.ParseAddr(got)
		if err != nil || a.Is4In6() || a.Zone() != "" {
			t.Fatalf("%q gave %s", s, got)
		}
		if !strings.ContainsAny(s, "0123456789:") && got != "10.0.0.1" {
			t.Fatalf("%q, which has no address, gave %s", s, got)
		}
	})
}
