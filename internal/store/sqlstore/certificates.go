package sqlstore

import (
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	certificateColumns = `name, sealed, changed_at, expires_at, version`
	orderColumns       = `host, failures, not_again`
)

func certificateFields(c *store.Certificate) []any {
	return []any{&c.Name, &c.Sealed, &c.ChangedAt, &c.ExpiresAt, &c.Version}
}

func orderFields(o *store.CertificateOrder) []any { return []any{&o.Host, &o.Failures, &o.NotAgain} }

var insertCertificate = insertText("certificates", certificateColumns)

// Certificate implements store.Certificates.
func (t *tx) Certificate(name string) (store.Certificate, error) {
	return one(t, certificateFields, `SELECT `+certificateColumns+` FROM certificates WHERE name = $1`, name)
}

// InsertCertificate implements store.Certificates.
func (t *tx) InsertCertificate(c store.Certificate) error {
	c.Version = 1
	return t.insert(insertCertificate, certificateFields(&c)...)
}

// PutCertificate implements store.Certificates.
func (t *tx) PutCertificate(c store.Certificate) error {
	_, err := t.write(`INSERT INTO certificates (`+certificateColumns+`) VALUES ($1, $2, $3, $4, 1)
		ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, changed_at = excluded.changed_at,
		expires_at = excluded.expires_at, version = certificates.version + 1`,
		c.Name, c.Sealed, c.ChangedAt, c.ExpiresAt)
	return err
}

// DeleteCertificate implements store.Certificates.
func (t *tx) DeleteCertificate(name string) error {
	return t.change(`DELETE FROM certificates WHERE name = $1`, name)
}

// SweepCertificates implements store.Certificates.
func (t *tx) SweepCertificates(before mfa.Instant) error {
	_, err := t.write(`DELETE FROM certificates WHERE expires_at > 0 AND expires_at < $1`, before)
	return err
}

// CertificateOrder implements store.Certificates.
func (t *tx) CertificateOrder(host string) (store.CertificateOrder, error) {
	return one(t, orderFields, `SELECT `+orderColumns+` FROM certificate_orders WHERE host = $1`, host)
}

// BeginCertificateOrder implements store.Certificates.
func (t *tx) BeginCertificateOrder(host string, now, notAgain mfa.Instant) error {
	return t.consume(`INSERT INTO certificate_orders (`+orderColumns+`) VALUES ($1, 1, $3)
		ON CONFLICT (host) DO UPDATE SET failures = certificate_orders.failures + 1, not_again = excluded.not_again
		WHERE certificate_orders.not_again <= $2`, host, now, notAgain)
}

// EndCertificateOrder implements store.Certificates.
func (t *tx) EndCertificateOrder(host string) error {
	_, err := t.write(`DELETE FROM certificate_orders WHERE host = $1`, host)
	return err
}
