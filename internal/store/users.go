package store

import "github.com/nodauth/nod/internal/mfa"

// UserState is the state of a user.
type UserState string

// The states of a user.
const (
	UserActive UserState = "active"
	UserLocked UserState = "locked"
)

// User is a person.
type User struct {
	Realm      mfa.RealmID
	ID         mfa.UserID
	Name       string // canonical
	Display    string // as it was first given
	ExternalID string // the directory's; unique in the realm when not empty
	Groups     []string
	State      UserState
	Owner      bool   // may not be helped by bypass codes
	Password   string // argon2id in PHC form; "" for none
	PasswordAt mfa.Instant
	HadFactor  bool        // a device or factor was ever active
	ReportedAt mfa.Instant // strangers are locked down since; 0 when not
	CreatedAt  mfa.Instant
	SeenAt     mfa.Instant // last approved sign-in
	Version    int64
}

// UserName is one name of a user: canonical, in one key space with every other name and alias of
// the realm.
type UserName struct {
	Realm   mfa.RealmID
	Name    string
	User    mfa.UserID
	Alias   bool
	Display string
}

// UserFilter narrows a list of users. The zero value matches all.
type UserFilter struct {
	Prefix   string // of a canonical name or alias
	State    UserState
	Enrolled string // "yes", "no" or ""
}

// Users reads and writes people.
type Users interface {
	User(realm mfa.RealmID, id mfa.UserID) (User, error)
	UserByName(realm mfa.RealmID, canonical string) (User, error)
	// UserByExternalID finds whom the directory knows by this id, which is not empty.
	UserByExternalID(realm mfa.RealmID, external string) (User, error)
	// InsertUser writes the user and its names together; ErrExists if a name or the external id is
	// taken.
	InsertUser(User, []UserName) error
	PutUser(User) error
	// SetAliases replaces the user's aliases; ErrExists if one is taken.
	SetAliases(realm mfa.RealmID, id mfa.UserID, aliases []UserName) error
	UserNames(realm mfa.RealmID, id mfa.UserID) ([]UserName, error)
	// DeleteUser removes the person with names, factors, browsers, sources and devices. Challenges
	// and events stay. Ids are never given out again.
	DeleteUser(realm mfa.RealmID, id mfa.UserID) error
	// ListUsers goes by creation, newest first.
	ListUsers(realm mfa.RealmID, f UserFilter, p Page) ([]User, error)
}

// Application is a relying party.
type Application struct {
	Realm        mfa.RealmID
	ID           mfa.ApplicationID
	Name         string // shown on prompts; unique in the realm
	IconSHA256   string // base64url; "" for none
	UsernameForm string // as_is, strip_domain or strip_suffix
	DisabledAt   mfa.Instant
	CreatedAt    mfa.Instant
	Version      int64

	RealmDisabledAt mfa.Instant // of its realm, 0 while that is enabled; told by Application alone, never written
}

// APIKey is one credential of an application. The key itself is kept nowhere.
type APIKey struct {
	Realm       mfa.RealmID
	ID          string // key_
	Application mfa.ApplicationID
	Hash        []byte // SHA-256 of the key
	Scopes      []string
	CreatedAt   mfa.Instant
	ExpiresAt   mfa.Instant // exclusive; 0 for never
	RevokedAt   mfa.Instant
}

// Applications reads and writes relying parties and their credentials.
type Applications interface {
	Application(realm mfa.RealmID, id mfa.ApplicationID) (Application, error)
	ApplicationByName(realm mfa.RealmID, name string) (Application, error)
	InsertApplication(Application) error
	PutApplication(Application) error
	// ListApplications goes by creation, newest first.
	ListApplications(realm mfa.RealmID, p Page) ([]Application, error)

	// APIKeyByHash finds a credential in whichever realm it is: the key names its realm.
	APIKeyByHash(hash []byte) (APIKey, error)
	InsertAPIKey(APIKey) error
	// PutAPIKey writes ExpiresAt and RevokedAt.
	PutAPIKey(APIKey) error
	APIKeys(realm mfa.RealmID, app mfa.ApplicationID) ([]APIKey, error)
}
