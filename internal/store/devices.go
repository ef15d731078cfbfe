package store

import "github.com/nodauth/nod/internal/mfa"

// Device is an enrolled authenticator.
type Device struct {
	mfa.Device
	Realm      mfa.RealmID
	Name       string
	Platform   string
	AppVersion string
	Features   []string
	JWK        []byte // public key as JSON: kty, crv, x, y
	Thumbprint string // RFC 7638, of the present key
	Targets    []byte // push targets as JSON; nil for none
	Lock       []byte // the app lock's registration; nil for none
	ClaimedAt  mfa.Instant
	EndedAt    mfa.Instant // revoked or refused
	SeenAt     mfa.Instant // written at most once an hour
	Version    int64

	RealmDisabledAt mfa.Instant // of its realm, 0 while that is enabled; told by Device alone, never written
}

// Devices reads and writes authenticators.
type Devices interface {
	// Device finds a device in whichever realm it is: the id names its realm.
	Device(id mfa.DeviceID) (Device, error)
	InsertDevice(Device) error
	PutDevice(Device) error
	// UserDevices lists those that are claimed, active or suspended, oldest first; with all,
	// revoked and refused ones too.
	UserDevices(realm mfa.RealmID, user mfa.UserID, all bool) ([]Device, error)
	// UseThumbprint notes that a key was enrolled; ErrExists if it ever was in this realm.
	UseThumbprint(realm mfa.RealmID, thumbprint string) error
	ThumbprintUsed(realm mfa.RealmID, thumbprint string) (bool, error)
	// SweepDevices deletes at most limit devices that were revoked or refused before the moment
	// given, and returns how many. That their keys were used is kept.
	SweepDevices(realm mfa.RealmID, before mfa.Instant, limit int) (int, error)
}

// Enrolment is a ticket and what became of it.
type Enrolment struct {
	mfa.Enrolment
	Realm      mfa.RealmID
	TicketHash []byte            // SHA-256 of the ticket
	SealedCode []byte            // mfa.Enrolment.Code, which is not kept otherwise
	Asker      mfa.ApplicationID // that may confirm it besides administrators
	Answer     string            // the signed answer to the claim, for its repetition
	Version    int64
}

// Enrolments reads and writes tickets.
type Enrolments interface {
	Enrolment(realm mfa.RealmID, id mfa.EnrolmentID) (Enrolment, error)
	// EnrolmentByTicket finds a ticket in whichever realm it is: the ticket names its realm.
	EnrolmentByTicket(hash []byte) (Enrolment, error)
	InsertEnrolment(Enrolment) error
	PutEnrolment(Enrolment) error
	// LiveEnrolments lists the user's invited and claimed ones.
	LiveEnrolments(realm mfa.RealmID, user mfa.UserID) ([]Enrolment, error)
	// DueEnrolments lists live ones, of all realms, whose time is over at now.
	DueEnrolments(now mfa.Instant, limit int) ([]Enrolment, error)
	// SweepEnrolments deletes at most limit ended ones, of all realms, whose ticket was good until
	// before the moment given. It returns how many.
	SweepEnrolments(before mfa.Instant, limit int) (int, error)
}
