package store

import "github.com/nodauth/nod/internal/mfa"

// Notice is a signed message to a user's devices.
type Notice struct {
	Realm     mfa.RealmID
	ID        string // ntc_
	User      mfa.UserID
	Except    mfa.DeviceID // that is not told; "" for none
	JWS       string
	At        mfa.Instant
	ExpiresAt mfa.Instant // exclusive
}

// Notices reads and writes notices.
type Notices interface {
	InsertNotice(Notice) error
	// UserNotices lists those that have not expired at now, oldest first.
	UserNotices(realm mfa.RealmID, user mfa.UserID, now mfa.Instant) ([]Notice, error)
	SweepNotices(before mfa.Instant) error
}

// Event is an audit record. Nothing in it is secret.
type Event struct {
	Realm       mfa.RealmID
	ID          mfa.EventID
	At          mfa.Instant
	Kind        string
	User        mfa.UserID
	Application mfa.ApplicationID
	Device      mfa.DeviceID
	Challenge   mfa.ChallengeID
	Actor       mfa.Actor
	By          string // the credential or administrator that acted
	Address     string // of the caller
	Request     string // request id
	Data        map[string]string
}

// EventFilter narrows a list of events. The zero value matches all of a realm.
type EventFilter struct {
	Realm       mfa.RealmID
	User        mfa.UserID
	Application mfa.ApplicationID
	Device      mfa.DeviceID
	Challenge   mfa.ChallengeID
	Kind        string // exact, or a prefix ending in "."
	Since       mfa.Instant
	Until       mfa.Instant // exclusive; 0 for no limit
	OldestFirst bool
}

// Change names what an event was about, for waking waiters.
type Change struct {
	Realm       mfa.RealmID
	User        mfa.UserID
	Application mfa.ApplicationID
	Challenge   mfa.ChallengeID
}

// Events writes and reads audit records. They are never changed.
type Events interface {
	// NextEvent gives numbers that grow: the place of an event among those that carry the
	// transaction's moment. It begins at 0 where no other transaction does.
	NextEvent() int
	InsertEvent(Event) error
	// ListEvents goes by (At, id), newest first unless the filter says otherwise.
	ListEvents(f EventFilter, p Page) ([]Event, error)
	// EventsBefore goes through the events of all realms by (At, id), oldest first, as far as they
	// are older than until.
	EventsBefore(until mfa.Instant, p Page) ([]Event, error)
	// ChangesSince lists, without repetition and over all realms, what events at or after since
	// were about.
	ChangesSince(since mfa.Instant) ([]Change, error)
	// SweepEvents deletes at most limit events older than before; it returns how many.
	SweepEvents(realm mfa.RealmID, before mfa.Instant, limit int) (int, error)
}

// Feed is how far one of the places to which events are sent has come, and which node sends them.
type Feed struct {
	Name       string
	Owner      string      // the node, by a name that it made for itself
	LeaseUntil mfa.Instant // exclusive; from then on another node may take it
	At         mfa.Instant // what lies at or before (At, ID) is sent
	ID         string
}

// Feeds reads and writes feeds, which belong to no realm: they carry the events of all.
type Feeds interface {
	// TakeFeed gives the feed to owner until the moment given, and returns how far it has come. A
	// feed that was not there begins now. It returns ErrUsed while another owner has it. A lease
	// beyond until was given by a clock that has been set back since, and is not kept.
	TakeFeed(name, owner string, until mfa.Instant) (Feed, error)
	// AdvanceFeed writes how far a feed has come. It returns ErrUsed if f.Owner has it no longer.
	AdvanceFeed(f Feed) error
}

// Replay is what is kept of a request that had an idempotency key.
type Replay struct {
	Realm       mfa.RealmID
	Application mfa.ApplicationID
	Route       string
	Key         string
	BodyHash    []byte
	Seed        []byte // for what the request makes, so that a second run makes the same
	Done        bool
	LeaseUntil  mfa.Instant // a request that is not done by then may be run again
	Status      int
	Object      string // id of what was made
	Secret      bool   // the answer holds a secret
	Answer      []byte // sealed; nil once dropped
	CreatedAt   mfa.Instant
}

// Replays reads and writes idempotency records.
type Replays interface {
	Replay(realm mfa.RealmID, app mfa.ApplicationID, route, key string) (Replay, error)
	InsertReplay(Replay) error
	// PutReplay writes everything but the key.
	PutReplay(Replay) error
	DeleteReplay(realm mfa.RealmID, app mfa.ApplicationID, route, key string) error
	// SweepReplays deletes those made before all, and the secret answers of those made before
	// secrets.
	SweepReplays(all, secrets mfa.Instant) error
}
