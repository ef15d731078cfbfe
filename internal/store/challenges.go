package store

import "github.com/nodauth/nod/internal/mfa"

// Challenge is one request to authenticate a user, with all that was said about it.
type Challenge struct {
	mfa.Challenge // without Expect, which is in Sealed
	Realm         mfa.RealmID
	Name          string // of the user, as the application sent it
	MatchOrder    []mfa.Match
	Sealed        []byte // the right answers
	Reason        string
	Details       []byte // JSON; nil for none
	Context       []byte // JSON; nil for none
	Nonce         string // of the application, for the grant
	Browser       string // thumbprint of the proved browser key, known or not
	BrowserJWK    []byte
	Source        string // key of the source, known or not
	PromptJWS     string // "" when nobody can answer
	PolicyVersion int
	Others        int // live challenges of other provenance at creation

	Rung         bool // and so listed on the devices
	RingReason   mfa.RingReason
	RetryAt      mfa.Instant
	RingReturned bool

	Decision    string // the device's JWS that decided
	DecisionKey []byte // the JWK that signed it, as JSON
	Grant       []byte // the grant, sealed; nil until redeemed
	Received    mfa.Instant
	Shown       mfa.Instant
	Opened      mfa.Instant
	ChangedAt   mfa.Instant
	Version     int64
}

// The stamps, which are what a device says.
const (
	StampReceived = "received"
	StampShown    = "shown"
	StampOpened   = "opened"
)

// Stamp is a moment in the life of a challenge that decides nothing and is kept once.
type Stamp struct {
	Realm     mfa.RealmID
	Challenge mfa.ChallengeID
	Stamp     string
	At        mfa.Instant
}

// Challenges reads and writes challenges.
type Challenges interface {
	Challenge(realm mfa.RealmID, id mfa.ChallengeID) (Challenge, error)
	// InsertChallenge sets ChangedAt and Version.
	InsertChallenge(Challenge) error
	// PutChallenge writes everything that can change after creation, except stamps.
	PutChallenge(Challenge) error
	// LiveChallenges lists the user's challenges that are pending, answered or approved, newest
	// first, also those whose limit has passed and is not recorded yet.
	LiveChallenges(realm mfa.RealmID, user mfa.UserID) ([]Challenge, error)
	// LiveCounts counts the user's challenges that are live at now, by provenance. It stays cheap
	// when somebody makes thousands of them.
	LiveCounts(realm mfa.RealmID, user mfa.UserID, now mfa.Instant) (map[mfa.Provenance]int, error)
	// ListedChallenges lists those that were rung and are pending or answered, newest first, also
	// those whose limit has passed and is not recorded yet.
	ListedChallenges(realm mfa.RealmID, user mfa.UserID) ([]Challenge, error)
	// LiveInRealm counts the realm's challenges that are pending, answered or approved, by
	// application; up to limit in all.
	LiveInRealm(realm mfa.RealmID, limit int) (map[mfa.ApplicationID]int, error)
	// ApplicationLive lists the live challenges of an application.
	ApplicationLive(realm mfa.RealmID, app mfa.ApplicationID, limit int) ([]Challenge, error)
	// Rung lists the user's prompts that were rung at or after since and gave no place back.
	Rung(realm mfa.RealmID, user mfa.UserID, since mfa.Instant) ([]mfa.Rung, error)
	// UserChallenges goes by creation, newest first.
	UserChallenges(realm mfa.RealmID, user mfa.UserID, p Page) ([]Challenge, error)
	// ApplicationChanges lists challenges of an application changed after the page's place
	// (ChangedAt, id), oldest change first.
	ApplicationChanges(realm mfa.RealmID, app mfa.ApplicationID, p Page) ([]Challenge, error)
	// DueChallenges lists live ones, of all realms, whose time is over at now.
	DueChallenges(now mfa.Instant, limit int) ([]Challenge, error)
	// PutStamp keeps the first of each stamp; it returns whether this was it.
	PutStamp(Stamp) (first bool, err error)
	// SweepChallenges deletes at most limit challenges that are over and were created before; it
	// returns how many.
	SweepChallenges(realm mfa.RealmID, before mfa.Instant, limit int) (int, error)
}

// Rations keeps what is counted: guesses, waits and sources.
type Rations interface {
	// InsertGuess pays for one guess before it is known whether it is right. id is unique.
	InsertGuess(g Guess) error
	// ReturnGuess gives it back: a right answer costs nothing.
	ReturnGuess(realm mfa.RealmID, user mfa.UserID, id string) error
	// Guesses lists the moments paid for at or after since.
	Guesses(realm mfa.RealmID, user mfa.UserID, bucket string, since mfa.Instant) ([]mfa.Instant, error)

	// Wait returns the growing wait of a provenance, zero if there is none.
	Wait(realm mfa.RealmID, user mfa.UserID, provenance string) (Wait, error)
	// PutWait writes it; a zero Length deletes it.
	PutWait(Wait) error

	// Source returns when the user last approved from there, 0 if never.
	Source(realm mfa.RealmID, user mfa.UserID, key string) (mfa.Instant, error)
	PutSource(realm mfa.RealmID, user mfa.UserID, key string, at mfa.Instant) error

	// DeleteSources forgets all places from which the user approved.
	DeleteSources(realm mfa.RealmID, user mfa.UserID) error

	// SweepRations deletes guesses, waits and sources that are older than before.
	SweepRations(before mfa.Instant) error
}

// Guess is one paid guess. User may be the id that stands for an unknown name.
type Guess struct {
	Realm  mfa.RealmID
	User   mfa.UserID
	Bucket string // kind of guess and provenance
	ID     string
	At     mfa.Instant
}

// Wait is the growing wait between prompts of one provenance.
type Wait struct {
	Realm      mfa.RealmID
	User       mfa.UserID
	Provenance string
	Length     int64 // microseconds
	Until      mfa.Instant
}

// Browser is a known browser of a user.
type Browser struct {
	Realm      mfa.RealmID
	User       mfa.UserID
	Thumbprint string
	JWK        []byte
	Name       string
	CreatedAt  mfa.Instant
	SeenAt     mfa.Instant
	ExpiresAt  mfa.Instant // exclusive
}

// Proof is a browser's proof of its key, good once.
type Proof struct {
	Realm      mfa.RealmID
	Hash       []byte // SHA-256 of the opaque proof
	Name       string // canonical user name that it was made for
	Thumbprint string
	JWK        []byte
	ExpiresAt  mfa.Instant // exclusive
}

// Browsers reads and writes browser keys.
type Browsers interface {
	Browser(realm mfa.RealmID, user mfa.UserID, thumbprint string) (Browser, error)
	// ListBrowsers gives the oldest sighted first.
	ListBrowsers(realm mfa.RealmID, user mfa.UserID) ([]Browser, error)
	// PutBrowser inserts or replaces.
	PutBrowser(Browser) error
	DeleteBrowser(realm mfa.RealmID, user mfa.UserID, thumbprint string) error

	InsertProof(Proof) error
	// ConsumeProof returns the proof and deletes it; ErrUsed if there is none.
	ConsumeProof(realm mfa.RealmID, hash []byte) (Proof, error)
	SweepProofs(before mfa.Instant) error
}
