package store

import "github.com/nodauth/nod/internal/mfa"

// Realm is a tenant or environment.
type Realm struct {
	ID         mfa.RealmID
	CreatedAt  mfa.Instant
	DisabledAt mfa.Instant // 0 while enabled
	Hosts      []string    // that belong to it, with their port where it is not the usual one
	Version    int64
}

// Key is a signing key of a realm. Its private part is sealed with the row's identity.
type Key struct {
	Realm     mfa.RealmID
	Purpose   string // "prompt" or "grant"
	KID       string // RFC 7638 thumbprint
	Public    []byte // JWK as JSON
	Sealed    []byte // PKCS #8, sealed
	CreatedAt mfa.Instant
	ActiveAt  mfa.Instant // signs from then on; 0 while it waits to be next
	RetiredAt mfa.Instant // signs no more; 0 while in use
}

// KeySet is one signed set of a realm's prompt keys, as devices pin it.
type KeySet struct {
	Realm  mfa.RealmID
	Serial int64
	JWS    string
	At     mfa.Instant
}

// Realms reads and writes realms and their keys.
type Realms interface {
	Realm(id mfa.RealmID) (Realm, error)
	ListRealms() ([]Realm, error)
	InsertRealm(Realm) error
	// PutRealm writes DisabledAt and Hosts.
	PutRealm(Realm) error

	InsertKey(Key) error
	// PutKey writes ActiveAt and RetiredAt.
	PutKey(Key) error
	// Keys lists the realm's keys of one purpose, oldest first.
	Keys(realm mfa.RealmID, purpose string) ([]Key, error)

	InsertKeySet(KeySet) error
	// KeySetsAfter lists the sets with a serial above the one given, in order.
	KeySetsAfter(realm mfa.RealmID, serial int64) ([]KeySet, error)

	// Setting and PutSetting keep facts about the installation itself, outside any realm.
	Setting(name string) (string, error)
	PutSetting(name, value string) error
}

// Policy is one immutable version of a realm's policy document.
type Policy struct {
	Realm    mfa.RealmID
	Version  int
	Document []byte // canonical YAML
	At       mfa.Instant
	By       string
}

// Policies reads and writes policy documents.
type Policies interface {
	// Policy returns one version, or the newest for version 0.
	Policy(realm mfa.RealmID, version int) (Policy, error)
	// InsertPolicy returns ErrExists if the version is taken.
	InsertPolicy(Policy) error
	ListPolicies(realm mfa.RealmID, limit int) ([]Policy, error)
}
