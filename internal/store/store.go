// Package store is the contract between nod and its database. It declares what is kept and how it
// is read and written; package sqlstore keeps it in SQLite or PostgreSQL, package storetest says
// what every implementation must do.
//
// Everything carries its realm, and every unique key begins with it. Times are [mfa.Instant]; one
// clock per store gives them ([Tx.Now]). Reads and writes happen inside [Store.View] and
// [Store.Update]; an aggregate has an interface of its own so that a function inside a transaction
// can take the narrowest set it needs.
//
// # Versions
//
// Users, applications, devices, enrolments, challenges, TOTP factors and webhooks carry a Version. Put
// methods write only if the stored version is still the one that was read, and return [ErrStale]
// otherwise; a function given to Update passes that error on and is run again. What is used up is
// consumed by one conditional write (ConsumeStep, UseBackupCode, UseBypassCode, ConsumeProof,
// UseInvitation).
package store

import (
	"context"
	"errors"

	"github.com/nodauth/nod/internal/mfa"
)

// Errors that every implementation returns, wrapped or not; test with errors.Is.
var (
	// ErrNotFound is returned when no row has the key asked for.
	ErrNotFound = errors.New("no such row")
	// ErrExists is returned by Insert methods when the key, or another unique value of the row,
	// is taken. The transaction can go on.
	ErrExists = errors.New("row exists already")
	// ErrStale is returned by Put methods when another transaction changed the row in between.
	ErrStale = errors.New("row was changed meanwhile")
	// ErrUsed is returned when what should be consumed was consumed already, or never was there.
	ErrUsed = errors.New("used already")
)

// Store is a database. It is safe for concurrent use.
type Store interface {
	// View runs fn in a transaction that reads one consistent state. Writing in it is an error. fn may
	// be run several times, so it begins by emptying what it fills.
	View(ctx context.Context, fn func(Tx) error) error

	// Update runs fn in a serializable transaction, together with those of other callers, and
	// returns after it is durable. fn may be run several times, on another goroutine, so it
	// touches nothing but tx and its own results. An error or panic of fn undoes its own writes,
	// reaches its own caller and nobody else's. When the error says that the outcome is unknown
	// (errors.Is ErrUnknown), the writes may or may not have happened.
	Update(ctx context.Context, fn func(Tx) error) error

	// Horizon gives a moment before which nothing is written any more: every event that carries an
	// earlier one is there for a View that begins afterwards. It lies behind the clock by as long
	// as the oldest transaction under way has taken. It is at least what it was before, unless the
	// clock was set back.
	Horizon(ctx context.Context) (mfa.Instant, error)

	// Ready says whether the database answers, has room to write and a clock that can be trusted.
	// Where a write has failed for want of room it tries one.
	Ready(ctx context.Context) error

	// Close waits for running transactions and closes the database.
	Close() error
}

// ErrUnknown marks an Update whose commit was sent and never acknowledged.
var ErrUnknown = errors.New("outcome unknown: the commit was not acknowledged")

// Tx is one transaction. It is used by one goroutine and not after the function that got it has
// returned.
type Tx interface {
	// Now is the moment of this transaction by the store's clock. It does not change while the
	// transaction runs.
	Now() mfa.Instant

	// Wake asks that waiters on the keys be woken after the commit. Keys of a transaction that
	// does not commit are forgotten.
	Wake(keys ...string)

	Realms
	Policies
	Users
	Applications
	Devices
	Enrolments
	Invitations
	Challenges
	Rations
	Browsers
	TOTPs
	Codes
	Notices
	Events
	Feeds
	Replays
	Deliveries
	Attempts
	Webhooks
	Certificates
	Sealed
}

// WakeUser is the key of everything that concerns a user's devices.
func WakeUser(r mfa.RealmID, u mfa.UserID) string { return "u/" + string(r) + "/" + string(u) }

// WakeChallenge is the key of one challenge.
func WakeChallenge(r mfa.RealmID, c mfa.ChallengeID) string {
	return "c/" + string(r) + "/" + string(c)
}

// WakeApplication is the key of all challenges of an application.
func WakeApplication(r mfa.RealmID, a mfa.ApplicationID) string {
	return "a/" + string(r) + "/" + string(a)
}

// WakeRealm wakes every device of the realm: its keys changed.
func WakeRealm(r mfa.RealmID) string { return "r/" + string(r) }

// WakeWebhooks tells every node that the webhooks of a realm have changed.
func WakeWebhooks(r mfa.RealmID) string { return "w/" + string(r) }

// Page is a place in a list: at most Limit rows after (At, ID) in the list's order, from the
// beginning when ID is empty.
type Page struct {
	At    mfa.Instant
	ID    string
	Limit int
}
