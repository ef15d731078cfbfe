package storetest

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/wire/sealed"
)

// sealedRows puts a row with a sealed value into each column that there is, in a realm.
func sealedRows(t *testing.T, s store.Store, realm mfa.RealmID) {
	u := addUser(t, s, realm)
	k := store.Key{Realm: realm, Purpose: "grant", KID: "kid", Sealed: []byte("realm_keys.private")}
	totp := newTOTP(realm, u.ID)
	totp.Sealed = []byte("totps.seed")
	e := newEnrolment(realm, u.ID)
	e.SealedCode = []byte("enrolments.code")
	e.Answer = base64.RawURLEncoding.EncodeToString([]byte("enrolments.answer"))
	c := newChallenge(realm, u.ID, "app_1")
	c.Sealed, c.Grant = []byte("challenges.sealed"), []byte("challenges.grant")
	r := store.Replay{Realm: realm, Application: "app_1", Route: "POST /x", Key: "k", Answer: []byte("replays.answer")}
	var w store.Webhook
	fill(&w)
	w.Realm, w.DisabledWhy, w.Secret, w.FormerSecret = realm, "", []byte("webhooks.secret"), []byte("webhooks.former_secret")
	update(t, s, func(tx store.Tx) error {
		for _, err := range []error{
			tx.InsertKey(k), tx.InsertTOTP(totp), tx.InsertEnrolment(e), tx.InsertChallenge(c), tx.InsertReplay(r), tx.InsertWebhook(w),
			tx.InsertCertificate(store.Certificate{Name: string(realm), Sealed: []byte("certificates.sealed")}),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func sealedValues(t *testing.T, o Opened) {
	s := o.Store
	realms := []mfa.RealmID{newRealm(), newRealm(), newRealm()}
	slices.Sort(realms)
	for _, r := range realms {
		sealedRows(t, s, r)
	}
	for _, c := range sealed.Columns() {
		name := c.Table + "." + c.Column
		page := func(after store.SealedValue, n int) []store.SealedValue {
			return read(t, s, func(tx store.Tx) ([]store.SealedValue, error) { return tx.SealedValues(c, after, n) })
		}
		var all []store.SealedValue
		for after := (store.SealedValue{}); ; {
			next := page(after, 2)
			all = append(all, next...)
			if len(next) < 2 {
				break
			}
			after = next[1]
		}
		if len(all) != len(realms) {
			t.Fatalf("%s: %d values, want %d: does a row stand here in storetest?", name, len(all), len(realms))
		}
		for i, v := range all {
			if c.Realm != "" {
				equal(t, name+" realm", string(v.Realm), c.Realm)
			} else {
				equal(t, name+" realm", v.Realm, realms[i])
			}
			equal(t, name+" value", string(v.Sealed), name)
			equal(t, name+" key", len(v.Key), len(c.Key))
		}
		v := all[1]
		update(t, s, func(tx store.Tx) error { return tx.PutSealedValue(c, v, []byte("fresh")) })
		want(t, s, store.ErrStale, func(tx store.Tx) error { return tx.PutSealedValue(c, v, []byte("again")) })
		var now []string
		for _, v := range page(store.SealedValue{}, 10) {
			now = append(now, string(v.Sealed))
		}
		equal(t, name+" after a change", strings.Join(now, " "), name+" fresh "+name)
	}
}

func ringNodes(t *testing.T, o Opened) {
	s := o.Store
	var one, two store.RingNode
	fill(&one)
	fill(&two)
	one.Node, one.SeenAt, two.Node, two.SeenAt = "a", 10, "b", 20
	update(t, s, func(tx store.Tx) error {
		if err := tx.PutRingNode(two); err != nil {
			return err
		}
		return tx.PutRingNode(one)
	})
	list := func(since mfa.Instant) []store.RingNode {
		return read(t, s, func(tx store.Tx) ([]store.RingNode, error) { return tx.RingNodes(since) })
	}
	equal(t, "RingNodes", list(0), []store.RingNode{one, two})
	equal(t, "RingNodes since", list(20), []store.RingNode{two})
	one.Seals, one.SeenAt = "other", 30
	update(t, s, func(tx store.Tx) error { return tx.PutRingNode(one) })
	equal(t, "after PutRingNode", list(0), []store.RingNode{one, two})
	update(t, s, func(tx store.Tx) error { return tx.SweepRingNodes(30) })
	equal(t, "after SweepRingNodes", list(0), []store.RingNode{one})
	update(t, s, func(tx store.Tx) error { return tx.DeleteRingNode("a") })
	equal(t, "after DeleteRingNode", list(0), []store.RingNode{})
}
