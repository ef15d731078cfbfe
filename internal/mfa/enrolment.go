package mfa

import "time"

// TicketLife is how long an enrolment ticket can be claimed, and how long after the claim it can
// be confirmed.
const TicketLife = 10 * time.Minute

// FreshFor is how old a factor may be that lets its user add a device.
const FreshFor = 20 * time.Minute

// EnrolmentState is the state of an enrolment.
type EnrolmentState string

// The states of an enrolment. Only invited and claimed move.
const (
	EnrolmentInvited   EnrolmentState = "invited"
	EnrolmentClaimed   EnrolmentState = "claimed"
	EnrolmentConfirmed EnrolmentState = "confirmed"
	EnrolmentExpired   EnrolmentState = "expired"
	EnrolmentCancelled EnrolmentState = "cancelled"
	EnrolmentRefused   EnrolmentState = "refused"
)

// Live says whether the state can still change.
func (s EnrolmentState) Live() bool { return s == EnrolmentInvited || s == EnrolmentClaimed }

// Enrolment is the part of an enrolment that StepEnrolment reads and changes. It is comparable.
type Enrolment struct {
	ID         EnrolmentID
	User       UserID
	State      EnrolmentState
	By         Actor
	Lost       bool // replaces a lost or stolen device: the others are revoked at confirmation
	CreatedAt  Instant
	ClaimBy    Instant  // exclusive
	ConfirmBy  Instant  // exclusive; 0 until claimed
	Device     DeviceID // that claimed it
	Thumbprint string   // of the key that claimed it
	Code       Code6    // that the device shows and the asking side types
	Wrong      int
}

// Code6 is a six-digit secret. Printing it gives nothing.
type Code6 string

// String redacts.
func (Code6) String() string { return "[redacted]" }

// GoString redacts.
func (Code6) GoString() string { return "[redacted]" }

// EnrolmentEvent is something that happens to an enrolment.
type EnrolmentEvent interface{ enrolmentEvent() }

// The events of an enrolment.
type (
	// Claim is a device's key together with the ticket, whose possession is proved by the caller
	// having found the enrolment.
	Claim struct {
		Device     DeviceID // fresh
		Thumbprint string
		KeyUsed    bool // the thumbprint was used in this realm before
		Code       Code6
		UserActive bool
	}
	// Confirm is the six digits, typed at the side that asked.
	Confirm struct {
		Code       string
		UserActive bool
	}
	// CancelEnrolment ends it: by its maker, by a newer ticket, or because the user was locked.
	CancelEnrolment struct{}
	// EnrolmentTick is the passing of time.
	EnrolmentTick struct{}
)

func (Claim) enrolmentEvent()           {}
func (Confirm) enrolmentEvent()         {}
func (CancelEnrolment) enrolmentEvent() {}
func (EnrolmentTick) enrolmentEvent()   {}

// EnrolmentEffects is what the transaction has to do besides storing the enrolment.
type EnrolmentEffects struct {
	Record   []Recorded
	Repeat   bool // the same key claimed it before: give the same answer
	Create   bool // the device is to be stored as claimed
	Activate bool // the device becomes active
	Refuse   bool // the claimed device becomes refused
}

// The records of an enrolment's life.
const (
	RecordEnrolmentClaimed   Recorded = "enrolment.claimed"
	RecordEnrolmentConfirmed Recorded = "enrolment.confirmed"
	RecordEnrolmentWrong     Recorded = "enrolment.wrong_code"
	RecordEnrolmentRefused   Recorded = "enrolment.refused"
	RecordEnrolmentExpired   Recorded = "enrolment.expired"
	RecordEnrolmentCancelled Recorded = "enrolment.cancelled"
)

// At returns the enrolment as every reader sees it at now.
func (e Enrolment) At(now Instant) Enrolment {
	if (e.State == EnrolmentInvited && now >= e.ClaimBy) || (e.State == EnrolmentClaimed && now >= e.ConfirmBy) {
		e.State = EnrolmentExpired
	}
	return e
}

// StepEnrolment applies one event to an enrolment. State and effects are to be stored even if err
// is not nil.
func StepEnrolment(e Enrolment, event EnrolmentEvent, now Instant) (Enrolment, EnrolmentEffects, error) {
	var fx EnrolmentEffects
	if at := e.At(now); at.State != e.State {
		fx.Record = append(fx.Record, RecordEnrolmentExpired)
		fx.Refuse = e.State == EnrolmentClaimed
		e = at
	}
	var err error
	switch ev := event.(type) {
	case Claim:
		e, err = claim(e, ev, now, &fx)
	case Confirm:
		e, err = confirm(e, ev, now, &fx)
	case CancelEnrolment:
		if e.State.Live() {
			fx.Refuse = e.State == EnrolmentClaimed
			fx.Record = append(fx.Record, RecordEnrolmentCancelled)
			e.State = EnrolmentCancelled
		}
	case EnrolmentTick:
	}
	return e, fx, err
}

func enrolmentOpen(e Enrolment, want EnrolmentState, now Instant) error {
	if now < e.CreatedAt.Add(-ClockSlack) {
		return Errorf(Unavailable, ReasonBusy, "The server's clock is behind this enrolment. Try again shortly.")
	}
	if e.State == want {
		return nil
	}
	if e.State == EnrolmentExpired {
		return Errorf(Gone, ReasonExpired, "The enrolment has expired. Ask for a new link.")
	}
	return Errorf(Conflict, ReasonEnrolmentClosed, "The enrolment is %s.", e.State)
}

func claim(e Enrolment, c Claim, now Instant, fx *EnrolmentEffects) (Enrolment, error) {
	if (e.State == EnrolmentClaimed || e.State == EnrolmentConfirmed) && c.Thumbprint == e.Thumbprint {
		fx.Repeat = true
		return e, nil
	}
	if err := enrolmentOpen(e, EnrolmentInvited, now); err != nil {
		return e, err
	}
	if !c.UserActive {
		return e, Errorf(Gone, ReasonExpired, "The enrolment has expired. Ask for a new link.")
	}
	if c.KeyUsed {
		return e, Errorf(Conflict, ReasonKeyUsed, "This key was enrolled before. Make a new one.")
	}
	e.State = EnrolmentClaimed
	e.Device, e.Thumbprint, e.Code = c.Device, c.Thumbprint, c.Code
	e.ConfirmBy = now.Add(TicketLife)
	fx.Create = true
	fx.Record = append(fx.Record, RecordEnrolmentClaimed)
	return e, nil
}

func confirm(e Enrolment, c Confirm, now Instant, fx *EnrolmentEffects) (Enrolment, error) {
	if err := enrolmentOpen(e, EnrolmentClaimed, now); err != nil {
		return e, err
	}
	if !c.UserActive {
		return e, Errorf(Conflict, ReasonEnrolmentClosed, "The user is locked.")
	}
	if !equal(c.Code, string(e.Code)) {
		e.Wrong++
		fx.Record = append(fx.Record, RecordEnrolmentWrong)
		if e.Wrong >= MaxTries {
			e.State = EnrolmentRefused
			fx.Refuse = true
			fx.Record = append(fx.Record, RecordEnrolmentRefused)
			return e, Errorf(Conflict, ReasonEnrolmentClosed, "That was the third wrong code: the enrolment is refused. Ask for a new link.")
		}
		return e, &Error{
			Code: Forbidden, Reason: ReasonWrongCode, Field: "code",
			Message: "These are not the six digits that the new device shows.",
		}
	}
	e.State = EnrolmentConfirmed
	fx.Activate = true
	fx.Record = append(fx.Record, RecordEnrolmentConfirmed)
	return e, nil
}

// Freshness is what a user shows to add a device without an administrator: a challenge that was
// redeemed for them.
type Freshness struct {
	User        UserID
	State       State
	At          Instant // auth_time
	Method      Method
	Match       Match
	Kind        Kind
	Quarantined bool // by a device that was or is in quarantine
}

// MayAddDevice says whether the evidence lets its user add a device or a factor at now: a factor
// of at least StrongBits, redeemed, not older than FreshFor, not by a device in quarantine, and
// never a bypass code or e-mail.
func MayAddDevice(user UserID, f Freshness, now Instant) error {
	strong := f.Method == Passkey || f.Method == TOTP || f.Method == OATH || f.Method == BackupCode ||
		(f.Method == Push && f.Match.Bits() >= StrongBits)
	if f.User != user || f.State != Redeemed || !strong || f.Quarantined ||
		now >= f.At.Add(FreshFor) || now < f.At.Add(-ClockSlack) {
		return Errorf(Forbidden, ReasonFreshFactor, "Sign in again with a strong factor first: adding a device needs one that is not older than 20 minutes and not from a device in quarantine.")
	}
	return nil
}

// Records returns every record that a step can ask for.
func Records() []Recorded {
	return []Recorded{
		RecordAnswered, RecordApproved, RecordDenied, RecordReported, RecordWrong, RecordWrongCode, RecordFailed,
		RecordExpired, RecordCancelled, RecordRedeemed, RecordEnrolmentClaimed, RecordEnrolmentConfirmed,
		RecordEnrolmentWrong, RecordEnrolmentRefused, RecordEnrolmentExpired, RecordEnrolmentCancelled,
	}
}
