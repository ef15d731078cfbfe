package store

import "github.com/nodauth/nod/internal/mfa"

// FactorState is the state of a TOTP factor.
type FactorState string

// The states of a factor.
const (
	FactorPending  FactorState = "pending"  // its first code was not confirmed yet
	FactorActive   FactorState = "active"   // counts
	FactorDisabled FactorState = "disabled" // too many wrong codes in a row
)

// TOTP is a shared secret for time-based codes (RFC 6238).
type TOTP struct {
	Realm       mfa.RealmID
	ID          string // totp_
	User        mfa.UserID
	Name        string
	Sealed      []byte // the secret
	Algorithm   string // SHA1, SHA256 or SHA512
	Digits      int
	Period      int // seconds
	State       FactorState
	LastStep    int64 // every step up to this one is dead
	Failures    int   // wrong codes in a row
	CreatedAt   mfa.Instant
	ConfirmedAt mfa.Instant
	Version     int64
}

// TOTPs reads and writes TOTP factors.
type TOTPs interface {
	TOTP(realm mfa.RealmID, id string) (TOTP, error)
	InsertTOTP(TOTP) error
	// PutTOTP writes all but LastStep.
	PutTOTP(TOTP) error
	DeleteTOTP(realm mfa.RealmID, id string) error
	// UserTOTPs lists them oldest first.
	UserTOTPs(realm mfa.RealmID, user mfa.UserID) ([]TOTP, error)
	// ConsumeStep makes every step up to this one dead; ErrUsed if it was already.
	ConsumeStep(realm mfa.RealmID, id string, step int64) error
}

// BackupSet is one generation of backup codes. A user has at most one.
type BackupSet struct {
	Realm      mfa.RealmID
	User       mfa.UserID
	Generation int64
	Failures   int // wrong codes in a row
	Disabled   bool
	CreatedAt  mfa.Instant
}

// BackupCode is one code of the present generation.
type BackupCode struct {
	Index  int    // visible, part of the code
	Hash   string // argon2id in PHC form
	UsedAt mfa.Instant
}

// BypassCode is a code that the help desk gives. A user has at most one.
type BypassCode struct {
	Realm     mfa.RealmID
	ID        string // byp_
	User      mfa.UserID
	Hash      string // argon2id in PHC form
	Reason    string
	By        string // who made it
	Actor     mfa.Actor
	UsesLeft  int
	Failures  int
	ExpiresAt mfa.Instant // exclusive
	CreatedAt mfa.Instant
}

// Codes reads and writes codes that are used up.
type Codes interface {
	// BackupSet returns the present generation.
	BackupSet(realm mfa.RealmID, user mfa.UserID) (BackupSet, []BackupCode, error)
	// ReplaceBackupSet deletes the former generation and writes this one; no codes delete it.
	ReplaceBackupSet(BackupSet, []BackupCode) error
	// PutBackupSet writes Failures and Disabled.
	PutBackupSet(BackupSet) error
	// UseBackupCode consumes one code of exactly this generation; ErrUsed if it was.
	UseBackupCode(realm mfa.RealmID, user mfa.UserID, generation int64, index int, at mfa.Instant) error

	// BypassCode returns the user's code, spent or expired ones too.
	BypassCode(realm mfa.RealmID, user mfa.UserID) (BypassCode, error)
	// ReplaceBypassCode deletes the user's former one and writes this.
	ReplaceBypassCode(BypassCode) error
	// PutBypassCode writes Failures and UsesLeft.
	PutBypassCode(BypassCode) error
	DeleteBypassCode(realm mfa.RealmID, user mfa.UserID) error
	// UseBypassCode takes one use of exactly this code; ErrUsed if none is left at now.
	UseBypassCode(realm mfa.RealmID, user mfa.UserID, id string, now mfa.Instant) error
}
