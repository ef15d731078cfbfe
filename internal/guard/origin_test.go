package guard_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/session"
	"github.com/nodauth/nod/internal/store"
)

func TestSourceKey(t *testing.T) {
	t.Parallel()
	host := func(ip string) guard.Origin { return guard.Origin{Application: "app_1", Source: "vpn.example", IP: ip} }
	tests := []struct {
		name string
		a, b guard.Origin
		same bool
	}{
		{"one /24", host("192.0.2.1"), host("192.0.2.254"), true},
		{"two /24", host("192.0.2.1"), host("192.0.3.1"), false},
		{"one /64", host("2001:db8:0:1::1"), host("2001:db8:0:1:ffff::9"), true},
		{"two /64", host("2001:db8::1"), host("2001:db8:0:1::1"), false},
		{"an address in both forms", host("192.0.2.1"), host("::ffff:192.0.2.1"), true},
		{"mapped addresses of two /24", host("::ffff:192.0.2.1"), host("::ffff:192.0.3.1"), false},
		{"an address with its interface", host("fe80::1%eth0"), host("fe80::2%eth1"), true},
		{"an address and none", host("192.0.2.1"), host(""), false},
		{"the whole IPv4 network and none", host("0.0.0.0"), host(""), false},
		{"what is no address and none", host("192.0.2.1:443"), host(""), true},
		{"a host in two cases", host("192.0.2.1"), guard.Origin{Application: "app_1", Source: "VPN.Example", IP: "192.0.2.1"}, true},
		{"two hosts", host("192.0.2.1"), guard.Origin{Application: "app_1", Source: "vpn2.example", IP: "192.0.2.1"}, false},
		{"two applications", host("192.0.2.1"), guard.Origin{Application: "app_2", Source: "vpn.example", IP: "192.0.2.1"}, false},
		{"a browser at two addresses", guard.Origin{Application: "app_1", BrowserID: "b", IP: "192.0.2.1"}, guard.Origin{Application: "app_1", BrowserID: "b", IP: "198.51.100.1", Source: "h"}, true},
		{"two browsers", guard.Origin{Application: "app_1", BrowserID: "b"}, guard.Origin{Application: "app_1", BrowserID: "B"}, false},
		{"one browser id in two applications", guard.Origin{Application: "app_1", BrowserID: "b"}, guard.Origin{Application: "app_2", BrowserID: "b"}, false},
		{"a browser named as a host", guard.Origin{Application: "app_1", BrowserID: "vpn.example"}, guard.Origin{Application: "app_1", Source: "vpn.example"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, b := test.a.SourceKey(), test.b.SourceKey()
			if a == "" || b == "" || (a == b) != test.same {
				t.Errorf("keys %q and %q, want the same: %t", a, b, test.same)
			}
		})
	}
	for _, o := range []guard.Origin{{}, {Application: "app_1", IP: "192.0.2.1"}, {Application: "app_1", Browser: "thumbprint"}} {
		if key := o.SourceKey(); key != "" {
			t.Errorf("%+v names no source and has key %q", o, key)
		}
	}
}

// TestSourceKeysAreApart wants one key for one meaning and another for each other, also where
// names look like keys.
func TestSourceKeysAreApart(t *testing.T) {
	t.Parallel()
	type meaning struct {
		app, browser, source, network string
	}
	mean := func(o guard.Origin) meaning {
		if o.BrowserID != "" {
			return meaning{app: string(o.Application), browser: o.BrowserID}
		}
		m := meaning{app: string(o.Application), source: strings.ToLower(o.Source)}
		if a, err := netip.ParseAddr(o.IP); err == nil && a.Unmap().Is4() {
			b := a.Unmap().As4()
			m.network = string(b[:3])
		} else if err == nil {
			b := a.As16()
			m.network = string(b[:8])
		}
		return m
	}
	text := rapid.StringOfN(rapid.RuneFrom([]rune("0123456789:/.aB")), 1, 12, -1)
	pick := func(from ...string) *rapid.Generator[string] {
		return rapid.OneOf(text, rapid.SampledFrom(append(from, "7:browser", "4:host", "1:a0:", "0:", "", "5:192.0")))
	}
	origin := rapid.Custom(func(t *rapid.T) guard.Origin {
		o := guard.Origin{
			Application: mfa.ApplicationID(pick("a", "aB").Draw(t, "application")),
			Source:      "h" + pick("ost").Draw(t, "source"),
			IP: pick("192.0.2.1", "192.0.2.2", "::ffff:192.0.2.3", "192.0.3.1", "2001:db8::1", "2001:db8::2", "2001:db8:1::", "::1", "0.0.0.1").
				Draw(t, "address"),
		}
		if rapid.Bool().Draw(t, "has a browser") {
			o.BrowserID = pick("h", "192.0.2.0/24").Draw(t, "browser")
		}
		return o
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := origin.Draw(t, "a"), origin.Draw(t, "b")
		if (a.SourceKey() == b.SourceKey()) != (mean(a) == mean(b)) {
			t.Fatalf("keys %q and %q of %+v and %+v", a.SourceKey(), b.SourceKey(), a, b)
		}
	})
}

func (w *world) provenance(in mfa.RealmID, user mfa.UserID, o guard.Origin) mfa.Provenance {
	w.t.Helper()
	var p mfa.Provenance
	w.update(func(tx store.Tx) (err error) {
		p, err = guard.Provenance(tx, in, user, o)
		return err
	})
	return p
}

func TestProvenanceOfBrowsers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		user, neighbour := w.user(realm), w.user(realm)
		var made mfa.Instant
		w.update(func(tx store.Tx) error {
			made = tx.Now()
			_, err := session.Remember(tx, realm, user, "thumb", []byte("{}"), "Laptop")
			return err
		})
		here := guard.Origin{Application: "app_1", Browser: "thumb"}
		known := mfa.Provenance{Class: mfa.KnownBrowser, Key: "thumb"}
		for _, test := range []struct {
			name string
			at   mfa.Instant
			o    guard.Origin
			user mfa.UserID
			in   mfa.RealmID
			want mfa.Provenance
		}{
			{"its user", made, here, user, realm, known},
			{"in another application", made, guard.Origin{Application: "app_2", Browser: "thumb"}, user, realm, known},
			{"another user", made, here, neighbour, realm, mfa.Strangers},
			{"the same user id in another realm", made, here, user, "other", mfa.Strangers},
			{"another key", made, guard.Origin{Application: "app_1", Browser: "thumb2"}, user, realm, mfa.Strangers},
			{"its name as a source", made, guard.Origin{Application: "app_1", BrowserID: "thumb"}, user, realm, mfa.Strangers},
			{"no key", made, guard.Origin{Application: "app_1"}, user, realm, mfa.Strangers},
			{"a user whom nobody knows", made, here, "usr_nobody", realm, mfa.Strangers},
			{"just before its end", made.Add(session.BrowserLife) - 1, here, user, realm, known},
			{"at its end", made.Add(session.BrowserLife), here, user, realm, mfa.Strangers},
			{"by a clock that is a little behind", made.Add(-mfa.ClockSlack), here, user, realm, known},
			{"by a clock that went back", made.Add(-mfa.ClockSlack) - 1, here, user, realm, mfa.Strangers},
		} {
			w.to(test.at)
			if got := w.provenance(test.in, test.user, test.o); got != test.want {
				t.Errorf("%s: %v, want %v", test.name, got, test.want)
			}
		}
	})
}

func TestProvenanceOfSources(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		user, neighbour := w.user(realm), w.user(realm)
		host := guard.Origin{Application: "app_1", Source: "vpn", IP: "192.0.2.1"}
		known := mfa.Provenance{Class: mfa.KnownSource, Key: host.SourceKey()}
		if got := w.provenance(realm, user, host); got != mfa.Strangers {
			t.Errorf("before any approval: %v", got)
		}
		var approved mfa.Instant
		w.update(func(tx store.Tx) error {
			approved = tx.Now()
			return guard.Settle(tx, won(user, host), mfa.Effects{ReturnRing: true, Wait: mfa.WaitClear})
		})
		near, far, unproved := host, host, host
		near.IP, far.IP, unproved.Browser = "192.0.2.99", "192.0.3.1", "thumb"
		for _, test := range []struct {
			name string
			at   mfa.Instant
			o    guard.Origin
			user mfa.UserID
			want mfa.Provenance
		}{
			{"there", approved, host, user, known},
			{"next to it", approved, near, user, known},
			{"elsewhere", approved, far, user, mfa.Strangers},
			{"with a browser that is not known", approved, unproved, user, known},
			{"another user", approved, host, neighbour, mfa.Strangers},
			{"just before thirty days", approved.Add(guard.SourceLife) - 1, host, user, known},
			{"at thirty days", approved.Add(guard.SourceLife), host, user, mfa.Strangers},
			{"by a clock that is a little behind", approved.Add(-mfa.ClockSlack), host, user, known},
			{"by a clock that went back", approved.Add(-mfa.ClockSlack) - 1, host, user, mfa.Strangers},
		} {
			w.to(test.at)
			if got := w.provenance(realm, test.user, test.o); got != test.want {
				t.Errorf("%s: %v, want %v", test.name, got, test.want)
			}
		}

		// A later approval makes it known for longer.
		again := approved.Add(20 * 24 * time.Hour)
		w.to(again)
		w.update(func(tx store.Tx) error {
			return guard.Settle(tx, won(user, host), mfa.Effects{ReturnRing: true, Wait: mfa.WaitClear})
		})
		w.to(again.Add(guard.SourceLife) - 1)
		if got := w.provenance(realm, user, host); got != known {
			t.Errorf("thirty days after the last approval: %v", got)
		}
	})
}

// won is an approved challenge that came from o.
func won(user mfa.UserID, o guard.Origin) store.Challenge {
	return store.Challenge{
		Challenge: mfa.Challenge{User: user, Provenance: mfa.Strangers, State: mfa.Approved, Evidence: mfa.Evidence{Method: mfa.TOTP}},
		Realm:     realm, Source: o.SourceKey(),
	}
}

// TestWhatMakesNoSourceKnown wants nothing but an approval, by somebody who may vouch, to make a
// source known.
func TestWhatMakesNoSourceKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	host := guard.Origin{Application: "app_1", Source: "vpn"}
	approval := mfa.Effects{ReturnRing: true, Wait: mfa.WaitClear}
	for _, test := range []struct {
		name string
		edit func(*store.Challenge)
		fx   mfa.Effects
	}{
		{"an approval by a device in quarantine", func(c *store.Challenge) { c.Evidence.Quarantined = true }, approval},
		{"an approval by a bypass code", func(c *store.Challenge) { c.Evidence.Method = mfa.BypassCode }, approval},
		{"an approval that is bound to nothing", func(c *store.Challenge) {
			c.Evidence = mfa.Evidence{Method: mfa.Push, Match: mfa.Tap}
		}, approval},
		{"an approval from nowhere", func(c *store.Challenge) { c.Source = "" }, approval},
		{"a denial", func(c *store.Challenge) { c.State = mfa.Denied }, mfa.Effects{Wait: mfa.WaitDouble}},
		{"a redemption", func(c *store.Challenge) { c.State = mfa.Redeemed }, mfa.Effects{Grant: true}},
		{"a repetition", func(*store.Challenge) {}, mfa.Effects{Repeat: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			user := w.user(realm)
			c := won(user, host)
			test.edit(&c)
			w.update(func(tx store.Tx) error { return guard.Settle(tx, c, test.fx) })
			if got := w.provenance(realm, user, host); got != mfa.Strangers {
				t.Errorf("the source is %v", got)
			}
		})
	}
}
