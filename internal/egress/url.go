package egress

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/nodauth/nod/internal/mfa"
)

// maxURL is the longest address that is called.
const maxURL = 2048

// target is an address that was read and is in order.
type target struct {
	url   *url.URL
	host  string
	plain bool // http, which is for this machine
}

// parse reads the address of a service strictly: what programs read in different ways is refused.
func parse(raw string) (target, bool) {
	if raw == "" || len(raw) > maxURL || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`\"<>^{|}`+"`", r) }) {
		return target{}, false
	}
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Fragment != "" || strings.Contains(raw, "#") || u.Opaque != "" || u.Host == "" ||
		(!strings.HasPrefix(raw, "https://") && !strings.HasPrefix(raw, "http://")) {
		return target{}, false
	}
	t := target{url: u, host: u.Hostname(), plain: u.Scheme == "http"}
	if strings.HasSuffix(u.Host, ":") {
		return target{}, false
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != p {
			return target{}, false
		}
	}
	return t, hostInOrder(u.Host, t.host)
}

// hostInOrder takes an IPv6 address in brackets, an IPv4 address of four decimal numbers, or a name
// of letters, digits and hyphens whose last part could be no number: 127.1, 0x7f.0.0.1 and
// 2130706433 are addresses to some resolvers.
func hostInOrder(authority, host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Zone() == "" && a.Is6() == strings.HasPrefix(authority, "[")
	}
	if len(host) > 253 {
		return false
	}
	last := ""
	for part := range strings.SplitSeq(host, ".") {
		if part == "" || len(part) > 63 || part[0] == '-' || part[len(part)-1] == '-' ||
			strings.ContainsFunc(part, func(r rune) bool { return !inName(r) }) {
			return false
		}
		last = part
	}
	return last[0] < '0' || last[0] > '9'
}

func inName(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

// Check tells whether the client would call an address now, and returns Invalid if it would not.
// It says nothing of what a name leads to: neither which addresses nor whether it leads anywhere.
// The address that a call connects to is looked at again then.
func (c *Client) Check(ctx context.Context, field, raw string) error {
	t, ok := parse(raw)
	if !ok {
		return mfa.InvalidField(field, "Give an address such as https://hooks.example.com/nod: https, a name or an IP address, no user name, no fragment.")
	}
	if _, err := c.resolve(ctx, t); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return mfa.InvalidField(field, "This server does not call this address: it must be https and lead to public addresses only, unless the server's configuration allows others (egress.allow).")
	}
	return nil
}

// resolve gives the addresses of a target if all of them are permitted.
func (c *Client) resolve(ctx context.Context, t target) ([]netip.Addr, error) {
	var list []netip.Addr
	if a, err := netip.ParseAddr(t.host); err == nil {
		list = []netip.Addr{a}
	} else {
		inner, cancel := context.WithTimeout(ctx, lookupTime)
		defer cancel()
		if list, err = c.c.Lookup(inner, t.host); err != nil {
			return nil, &Error{Kind: Unresolved, Err: err}
		}
	}
	if len(list) == 0 {
		return nil, &Error{Kind: Unresolved, Err: &net.DNSError{Err: "no address", IsNotFound: true}}
	}
	for i, a := range list {
		// The system's resolver gives IPv4 addresses mapped into IPv6.
		if a.Is4In6() && t.host != a.String() {
			a = a.Unmap()
			list[i] = a
		}
		if !c.permitted(a) || (t.plain && !a.IsLoopback()) {
			return nil, &Error{Kind: Refused}
		}
	}
	return list, nil
}
