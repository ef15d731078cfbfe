package mfa

import "time"

// Identifiers. Each is opaque, compared as bytes, and never used again once given out. A RealmID
// is the realm's name; the others are a prefix and 26 characters of lower-case base32.
type (
	RealmID       string
	UserID        string // usr_
	ApplicationID string // app_
	DeviceID      string // dev_
	ChallengeID   string // ch_
	EnrolmentID   string // enr_
	EventID       string // evt_
	InvitationID  string // inv_
)

// DefaultRealm exists from the start.
const DefaultRealm RealmID = "default"

// Instant is a moment in microseconds since 1970-01-01 UTC, by the store's clock.
type Instant int64

// At converts a time to an Instant.
func At(t time.Time) Instant { return Instant(t.UnixMicro()) }

// Time returns the moment as UTC time.
func (i Instant) Time() time.Time { return time.UnixMicro(int64(i)).UTC() }

// Add returns the moment d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d.Microseconds()) }

// Sub returns how long after j the moment is.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i-j) * time.Microsecond }

// Millis returns the moment in milliseconds since 1970, as device messages carry it.
func (i Instant) Millis() int64 { return int64(i) / 1000 }

// Seconds returns the moment in seconds since 1970, as JOSE claims carry it.
func (i Instant) Seconds() int64 { return int64(i) / 1_000_000 }

// ClockSlack is how far a clock may have gone back before a row made "in the future" stops being
// live.
const ClockSlack = 2 * time.Second

// State is the state of a challenge.
type State string

// The states of a challenge. Only pending, answered and approved move.
const (
	Pending   State = "pending"
	Answered  State = "answered"
	Approved  State = "approved"
	Redeemed  State = "redeemed"
	Denied    State = "denied"
	Failed    State = "failed"
	Expired   State = "expired"
	Cancelled State = "cancelled"
)

// States returns every state of a challenge.
func States() []State {
	return []State{Pending, Answered, Approved, Redeemed, Denied, Failed, Expired, Cancelled}
}

// Live says whether the state can still change.
func (s State) Live() bool { return s == Pending || s == Answered || s == Approved }

// CancelReason says why a challenge was cancelled.
type CancelReason string

// The reasons of a cancellation.
const (
	CancelUserLocked     CancelReason = "user_locked"
	CancelDeviceGone     CancelReason = "device_revoked"
	CancelApplicationOff CancelReason = "application_disabled"
	CancelPolicy         CancelReason = "policy"
	CancelSuperseded     CancelReason = "superseded"
	CancelReported       CancelReason = "reported"
	CancelByApplication  CancelReason = "application"
)

// Kind is what a challenge asks for.
type Kind string

// The kinds of a challenge.
const (
	Login       Kind = "login"
	StepUp      Kind = "step_up"
	Transaction Kind = "transaction"
)

// StrongBits is the strength from which an approval is bound well enough for AAL2.
const StrongBits = 20

// Match is how a prompt is bound to the login page.
type Match string

// The match kinds.
const (
	Scan       Match = "scan"
	Digits     Match = "digits"
	DigitsBack Match = "digits_back"
	Number     Match = "number"
	Choice     Match = "choice"
	Tap        Match = "tap"
)

// AllMatches returns every match kind, strongest first.
func AllMatches() []Match { return []Match{Scan, Digits, DigitsBack, Number, Choice, Tap} }

// Bits is the strength of the binding: log2 of the number of equally likely secrets, as a whole
// number.
func (m Match) Bits() int {
	switch m {
	case Scan:
		return 128
	case Digits, DigitsBack:
		return 20
	case Number:
		return 6
	case Choice:
		return 1
	case Tap:
		return 0
	}
	return -1
}

// Tries is how many answers of this kind one challenge takes, together with those of the other
// kinds that have as many.
func (m Match) Tries() int {
	if m == Number || m == Choice || m == Tap {
		return 1
	}
	return MaxTries
}

// MaxTries is how many wrong answers end a challenge.
const MaxTries = 3

// Matches is a set of match kinds. It is comparable.
type Matches uint8

func (m Match) bit() Matches {
	for i, k := range AllMatches() {
		if k == m {
			return 1 << i
		}
	}
	return 0
}

// MatchesOf returns the set of the kinds given; unknown kinds are left out.
func MatchesOf(kinds ...Match) Matches {
	var s Matches
	for _, k := range kinds {
		s |= k.bit()
	}
	return s
}

// Has says whether the kind is in the set.
func (s Matches) Has(m Match) bool { return m.bit() != 0 && s&m.bit() != 0 }

// List returns the kinds of the set, strongest first.
func (s Matches) List() []Match {
	list := make([]Match, 0, 6)
	for _, k := range AllMatches() {
		if s.Has(k) {
			list = append(list, k)
		}
	}
	return list
}

// AtLeast returns the kinds of the set that have at least bits.
func (s Matches) AtLeast(bits int) Matches {
	var out Matches
	for _, k := range s.List() {
		if k.Bits() >= bits {
			out |= k.bit()
		}
	}
	return out
}

// Method is a way to answer a challenge.
type Method string

// The methods.
const (
	Push       Method = "push"
	TOTP       Method = "totp"
	BackupCode Method = "backup_code"
	BypassCode Method = "bypass_code"
	Passkey    Method = "passkey"
	SMS        Method = "sms"
	Email      Method = "email"
	OATH       Method = "oath"
)

// AllMethods returns every method, in the order in which they are offered.
func AllMethods() []Method {
	return []Method{Push, Passkey, TOTP, OATH, BackupCode, SMS, Email, BypassCode}
}

// Methods is a set of methods. It is comparable.
type Methods uint8

func (m Method) bit() Methods {
	for i, k := range AllMethods() {
		if k == m {
			return 1 << i
		}
	}
	return 0
}

// MethodsOf returns the set of the methods given; unknown ones are left out.
func MethodsOf(list ...Method) Methods {
	var s Methods
	for _, k := range list {
		s |= k.bit()
	}
	return s
}

// Has says whether the method is in the set.
func (s Methods) Has(m Method) bool { return m.bit() != 0 && s&m.bit() != 0 }

// List returns the methods of the set in the order of AllMethods.
func (s Methods) List() []Method {
	list := make([]Method, 0, 8)
	for _, k := range AllMethods() {
		if s.Has(k) {
			list = append(list, k)
		}
	}
	return list
}

// SuitableFor returns the methods of the set that may answer a challenge of this kind when at
// least bits are asked for. A typed code is bound neither to what a transaction describes nor to
// the login page, so it answers no transaction and nothing that asks for more than StrongBits; a
// bypass code answers a plain login only.
func (s Methods) SuitableFor(kind Kind, bits int) Methods {
	out := s
	if kind == Transaction || bits > StrongBits {
		out &= MethodsOf(Push, Passkey)
	}
	if kind != Login {
		out &^= MethodsOf(BypassCode)
	}
	return out
}

// FirstFactor says what was established before the prompt, and by whom.
type FirstFactor string

// The first factors, from weakest to strongest.
const (
	FirstFactorNone     FirstFactor = "none"
	FirstFactorAsserted FirstFactor = "asserted" // an application with the scope for it says so
	FirstFactorPassword FirstFactor = "password" // nod checked it
)

func (f FirstFactor) rank() int {
	switch f {
	case FirstFactorPassword:
		return 2
	case FirstFactorAsserted:
		return 1
	case FirstFactorNone:
		return 0
	}
	return 0
}

// Satisfies says whether f is at least as strong as what is required. An empty requirement is
// none.
func (f FirstFactor) Satisfies(required FirstFactor) bool { return f.rank() >= required.rank() }

// ProvenanceClass tells how well the side that asks is known.
type ProvenanceClass string

// The classes of provenance.
const (
	KnownBrowser ProvenanceClass = "known_browser"
	KnownSource  ProvenanceClass = "source"
	Stranger     ProvenanceClass = "stranger"
)

// Provenance is where a challenge comes from: one of the user's known browsers (Key is the
// thumbprint of its key), one of the user's sources (Key is the source's), or a stranger (no Key:
// all strangers are one).
type Provenance struct {
	Class ProvenanceClass
	Key   string
}

// Strangers is the provenance of everybody who is not known.
var Strangers = Provenance{Class: Stranger}

// String gives the form under which allowances are kept: "stranger", or class and key.
func (p Provenance) String() string {
	if p.Class == Stranger {
		return string(Stranger)
	}
	return string(p.Class) + ":" + p.Key
}

// Actor is who did something, for events and notices.
type Actor string

// The actors.
const (
	ActorUser          Actor = "user"
	ActorAdministrator Actor = "administrator"
	ActorHelpDesk      Actor = "help_desk"
	ActorApplication   Actor = "application"
	ActorServer        Actor = "server"
)
