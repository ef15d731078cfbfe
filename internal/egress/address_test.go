package egress_test

import (
	"net/netip"
	"testing"

	"github.com/nodauth/nod/internal/egress"
)

func TestPublic(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"1.1.1.1": true, "8.8.8.8": true, "100.63.255.255": true, "100.128.0.0": true, "126.255.255.255": true, "128.0.0.0": true,
		"169.253.255.255": true, "169.255.0.0": true, "172.15.255.255": true, "172.32.0.0": true, "192.167.255.255": true,
		"192.169.0.0": true, "198.17.255.255": true, "198.20.0.0": true, "223.255.255.255": true, "9.255.255.255": true, "11.0.0.0": true,
		"2606:4700::1111": true, "2001:4860:4860::8888": true, "2a00:1450::1": true,

		"0.0.0.0": false, "0.1.2.3": false, "127.0.0.1": false, "127.255.255.255": false, "10.0.0.1": false, "172.16.0.1": false,
		"172.31.255.255": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "100.100.100.200": false,
		"100.127.255.255": false, "192.0.0.192": false, "192.0.2.1": false, "198.18.0.1": false, "198.19.255.255": false,
		"198.51.100.7": false, "203.0.113.9": false, "192.88.99.1": false, "168.63.129.16": false, "224.0.0.1": false,
		"239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false,

		"::": false, "::1": false, "::127.0.0.1": false, "::ffff:127.0.0.1": false, "::ffff:8.8.8.8": false, "::ffff:0:8.8.8.8": false,
		"64:ff9b::7f00:1": false, "64:ff9b::8.8.8.8": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2002:808:808::1": false,
		"2001::1": false, "2001:0:7f00:1::": false, "2001:db8::1": false, "3fff::1": false, "fc00::1": false, "fd00:ec2::254": false,
		"fd20:ce::254": false, "fe80::1": false, "febf::1": false, "fec0::1": false, "ff02::1": false, "100::1": false, "5f00::1": false,
		"2620:4f:8000::1": false, "2606:4700::1111%eth0": false, "fe80::1%lo": false,
	} {
		if got := egress.Public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: public is %t, want %t", address, got, want)
		}
	}
	if egress.Public(netip.Addr{}) {
		t.Error("no address at all is public")
	}
}

func FuzzPublic(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "::ffff:10.0.0.1", "2002:a00:1::", "8.8.8.8", "2606:4700::1111"} {
		f.Add(netip.MustParseAddr(s).AsSlice())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok || !egress.Public(a) {
			return
		}
		if a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || !a.IsGlobalUnicast() || a.Is4In6() {
			t.Errorf("%s passes as public", a)
		}
	})
}
