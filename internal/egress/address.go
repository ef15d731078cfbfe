package egress

import (
	"net/netip"
	"slices"
)

// special are the addresses that lead somewhere else than to a host of the public Internet: to
// this machine, to its network, to the services of a cloud, to many hosts or to none. They are
// those of the IANA registries of special-purpose addresses, with what clouds use besides.
var special = prefixes(
	"0.0.0.0/8",        // this network; some systems take it for this host
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // behind a carrier's NAT; metadata of some clouds
	"127.0.0.0/8",      // this host
	"168.63.129.16/32", // Azure's host agent, a public address that stays inside
	"169.254.0.0/16",   // link-local; metadata of most clouds
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // protocol assignments
	"192.0.2.0/24",     // documentation
	"192.31.196.0/24",  // AS112
	"192.52.193.0/24",  // AMT
	"192.88.99.0/24",   // 6to4 relays
	"192.168.0.0/16",   // private
	"192.175.48.0/24",  // AS112
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/3",      // multicast, reserved, broadcast
)

// global is the one part of IPv6 that is given out to hosts; all else is refused.
var global = netip.MustParsePrefix("2000::/3")

// special6 are the parts of it that lead somewhere else, or carry another address inside.
var special6 = prefixes(
	"2001::/23",         // protocol assignments, Teredo among them
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4, which carries an IPv4 address
	"2620:4f:8000::/48", // AS112
	"3fff::/20",         // documentation
)

func prefixes(all ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, s := range all {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// Public tells whether an address is that of a host on the public Internet. An IPv4 address in the
// clothes of IPv6 (mapped, compatible, NAT64, 6to4, Teredo) is none: whoever has such an address
// written down has not come by it in a usual way.
func Public(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
		return false
	}
	if a.Is4() {
		return !within(special, a)
	}
	return global.Contains(a) && !within(special6, a)
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// permitted tells whether the client may connect to an address.
func (c *Client) permitted(a netip.Addr) bool {
	return Public(a) || (a.IsValid() && a.Zone() == "" && within(c.c.Allow, a.Unmap()))
}
