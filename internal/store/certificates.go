package store

import "github.com/nodauth/nod/internal/mfa"

// Certificate is what the installation's certificates are made of: a certificate with its key, the
// key of the account with the authority, or the answer to a question of the authority's. Like a
// setting it belongs to the installation, and to no realm.
type Certificate struct {
	Name      string
	Sealed    []byte
	ChangedAt mfa.Instant
	ExpiresAt mfa.Instant // when it can be swept; 0 for never
	Version   int         // counted by the store
}

// CertificateOrder is what is known of attempts to get a certificate that have not succeeded.
type CertificateOrder struct {
	Host     string
	Failures int         // attempts begun since the last success, the one under way among them
	NotAgain mfa.Instant // before this moment
}

// Certificates reads and writes what certificates are made of.
type Certificates interface {
	Certificate(name string) (Certificate, error)
	// PutCertificate inserts or replaces, and counts the version up.
	PutCertificate(Certificate) error
	// InsertCertificate returns ErrExists if the name is taken.
	InsertCertificate(Certificate) error
	DeleteCertificate(name string) error
	// SweepCertificates deletes those whose ExpiresAt is not 0 and before the moment given.
	SweepCertificates(before mfa.Instant) error

	// CertificateOrder returns ErrNotFound where nothing failed and nothing is under way.
	CertificateOrder(host string) (CertificateOrder, error)
	// BeginCertificateOrder notes an attempt in one conditional write. It returns ErrUsed while
	// the one before holds: now lies before its NotAgain.
	BeginCertificateOrder(host string, now, notAgain mfa.Instant) error
	// EndCertificateOrder forgets the attempts, after a success.
	EndCertificateOrder(host string) error
}
