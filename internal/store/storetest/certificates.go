package storetest

import (
	"testing"

	"github.com/nodauth/nod/internal/store"
)

func certificates(t *testing.T, s store.Store) {
	name, other := id[string]("name-"), id[string]("name-")
	get := func(tx store.Tx) (store.Certificate, error) { return tx.Certificate(name) }
	missing(t, s, get)
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.DeleteCertificate(name) })

	var c store.Certificate
	fill(&c)
	c.Name, c.ExpiresAt = name, 0
	update(t, s, func(tx store.Tx) error { return tx.PutCertificate(c) })
	c.Version = 1
	equal(t, "Certificate", read(t, s, get), c)
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertCertificate(store.Certificate{Name: name}) })
	fill(&c)
	c.Name, c.Version = name, 2
	update(t, s, func(tx store.Tx) error { return tx.PutCertificate(c) })
	equal(t, "after a second PutCertificate", read(t, s, get), c)

	update(t, s, func(tx store.Tx) error {
		return tx.InsertCertificate(store.Certificate{Name: other, Sealed: []byte("x")})
	})
	update(t, s, func(tx store.Tx) error { return tx.SweepCertificates(c.ExpiresAt) })
	equal(t, "before it expires", read(t, s, get), c)
	update(t, s, func(tx store.Tx) error { return tx.SweepCertificates(c.ExpiresAt + 1) })
	missing(t, s, get)
	read(t, s, func(tx store.Tx) (store.Certificate, error) { return tx.Certificate(other) }) // which never expires
	update(t, s, func(tx store.Tx) error { return tx.DeleteCertificate(other) })
	missing(t, s, func(tx store.Tx) (store.Certificate, error) { return tx.Certificate(other) })
}

func certificateOrders(t *testing.T, s store.Store) {
	host := id[string]("host-")
	get := func(tx store.Tx) (store.CertificateOrder, error) { return tx.CertificateOrder(host) }
	missing(t, s, get)
	update(t, s, func(tx store.Tx) error { return tx.BeginCertificateOrder(host, 10, 20) })
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.BeginCertificateOrder(host, 19, 40) })
	equal(t, "CertificateOrder", read(t, s, get), store.CertificateOrder{Host: host, Failures: 1, NotAgain: 20})
	update(t, s, func(tx store.Tx) error { return tx.BeginCertificateOrder(host, 20, 40) })
	equal(t, "after the second attempt", read(t, s, get), store.CertificateOrder{Host: host, Failures: 2, NotAgain: 40})
	update(t, s, func(tx store.Tx) error { return tx.BeginCertificateOrder(id[string]("host-"), 20, 40) })
	update(t, s, func(tx store.Tx) error { return tx.EndCertificateOrder(host) })
	missing(t, s, get)
	update(t, s, func(tx store.Tx) error { return tx.EndCertificateOrder(host) })
}
