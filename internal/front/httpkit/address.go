package httpkit

import (
	"net/http"
	"net/netip"
	"strings"
)

// ClientAddr finds the address of a client behind reverse proxies.
type ClientAddr struct {
	// Trusted are the networks of the proxies whose X-Forwarded-For is believed.
	Trusted []netip.Prefix
}

// Of gives the address of the client of r: the peer's, or, where the peer is a trusted
// proxy, the last in X-Forwarded-For that is not one. Each trusted proxy appends the
// address that it saw, so only the right end is known to be true; what a client wrote
// itself stands left of it. Where an entry is no address, the proxy that passed it on is
// the answer. The result has no zone, is IPv4 where it can be, and is not valid if the
// peer has no address.
func (c ClientAddr) Of(r *http.Request) netip.Addr {
	client := c.peer(r)
	if !c.trusts(client) {
		return client
	}
	chain := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	for chain != "" {
		entry := chain
		if i := strings.LastIndexByte(chain, ','); i >= 0 {
			chain, entry = chain[:i], chain[i+1:]
		} else {
			chain = ""
		}
		a := parseAddress(strings.Trim(entry, " \t"))
		if !a.IsValid() {
			return client
		}
		client = a
		if !c.trusts(client) {
			return client
		}
	}
	return client
}

// FromProxy tells whether the peer of r is a trusted proxy.
func (c ClientAddr) FromProxy(r *http.Request) bool { return c.trusts(c.peer(r)) }

func (c ClientAddr) peer(r *http.Request) netip.Addr { return parseAddress(r.RemoteAddr) }

func (c ClientAddr) trusts(a netip.Addr) bool {
	for _, p := range c.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// parseAddress reads an address with or without a port, IPv6 with or without brackets. It
// gives the zero value for anything else.
func parseAddress(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return plain(ap.Addr())
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if a, err := netip.ParseAddr(inner); ok && err == nil && a.Is6() {
			return plain(a)
		}
		return netip.Addr{}
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return plain(a)
	}
	return netip.Addr{}
}

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
