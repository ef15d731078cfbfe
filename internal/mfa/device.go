package mfa

import "time"

// DeviceState is the state of an enrolled authenticator. Quarantine is not a state but a time
// beside it.
type DeviceState string

// The states of a device. Revoked and refused are final.
const (
	DeviceClaimed   DeviceState = "claimed"   // its key is known, the asking side has not confirmed
	DeviceActive    DeviceState = "active"    // may answer prompts
	DeviceSuspended DeviceState = "suspended" // vetoed, or failed too often; an administrator settles it
	DeviceRevoked   DeviceState = "revoked"   // removed
	DeviceRefused   DeviceState = "refused"   // never confirmed
)

// Device is the part of a device that StepDevice reads and changes. It is comparable.
type Device struct {
	ID              DeviceID
	User            UserID
	Enrolment       EnrolmentID
	State           DeviceState
	ConfirmedAt     Instant // 0 until confirmed
	QuarantineUntil Instant // exclusive; 0 for none
	Vetoable        bool    // false for a "lost or stolen" enrolment and after the quarantine
	Failures        int     // wrong answers in a row
	Seq             int64   // last accepted change of the device itself
}

// Quarantined says whether the device is in quarantine at now.
func (d Device) Quarantined(now Instant) bool {
	return d.State == DeviceActive && now < d.QuarantineUntil
}

// Facts gives what a decision of the device needs.
func (d Device) Facts(now Instant) DeviceFacts {
	return DeviceFacts{ID: d.ID, User: d.User, State: d.State, Quarantined: d.Quarantined(now)}
}

// MaxFailures is how many wrong answers in a row disable an authenticator.
const MaxFailures = 100

// DeviceEvent is something that happens to a device.
type DeviceEvent interface{ deviceEvent() }

// The events of a device.
type (
	// Activate follows the confirmation of the enrolment. Quarantine is how long the newcomer is
	// restricted; 0 when the user had no active device or an administrator replaced a lost one.
	Activate struct {
		Enrolment  EnrolmentID
		Quarantine time.Duration
		Lost       bool
	}
	// Refuse ends a claimed device whose enrolment came to nothing.
	Refuse struct{}
	// Veto is an older device's signed objection to a newcomer.
	Veto struct {
		By          Device
		Enrolment   EnrolmentID // that the signed message names
		Unsuspected bool        // the vetoing device's state was active when the newcomer was confirmed
	}
	// Revoke removes a device, for good.
	Revoke struct{}
	// Suspend stops a device until an administrator settles it.
	Suspend struct{}
	// Restore settles a suspension in the device's favour.
	Restore struct{}
	// Change is a signed change of the device itself. NewKey starts a quarantine unless a verified
	// app lock went with it.
	Change struct {
		Seq        int64
		NewKey     bool
		Quarantine time.Duration
	}
	// DeviceAnswered counts a right or wrong answer given by the device.
	DeviceAnswered struct{ Right bool }
)

func (Activate) deviceEvent()       {}
func (Refuse) deviceEvent()         {}
func (Veto) deviceEvent()           {}
func (Revoke) deviceEvent()         {}
func (Suspend) deviceEvent()        {}
func (Restore) deviceEvent()        {}
func (Change) deviceEvent()         {}
func (DeviceAnswered) deviceEvent() {}

// DeviceEffects is what the transaction has to do besides storing the device.
type DeviceEffects struct {
	CancelApprovals bool // unredeemed approvals by this device
	Revoked         bool
	Suspended       bool
}

// StepDevice applies one event to a device. State and effects are to be stored even if err is not
// nil.
func StepDevice(d Device, event DeviceEvent, now Instant) (Device, DeviceEffects, error) {
	switch e := event.(type) {
	case Activate:
		return activate(d, e, now)
	case Refuse:
		if d.State == DeviceClaimed {
			d.State = DeviceRefused
		}
		return d, DeviceEffects{}, nil
	case Veto:
		return veto(d, e, now)
	case Revoke:
		if d.State == DeviceRevoked || d.State == DeviceRefused {
			return d, DeviceEffects{}, nil
		}
		d.State = DeviceRevoked
		return d, DeviceEffects{CancelApprovals: true, Revoked: true}, nil
	case Suspend:
		if d.State != DeviceActive {
			return d, DeviceEffects{}, nil
		}
		d.State = DeviceSuspended
		return d, DeviceEffects{CancelApprovals: true, Suspended: true}, nil
	case Restore:
		if d.State != DeviceSuspended {
			return d, DeviceEffects{}, Errorf(Conflict, ReasonDeviceNotActive, "The device is %s, not suspended.", d.State)
		}
		d.State = DeviceActive
		d.Failures = 0
		d.Vetoable = false
		return d, DeviceEffects{}, nil
	case Change:
		return change(d, e, now)
	case DeviceAnswered:
		return countAnswer(d, e)
	}
	return d, DeviceEffects{}, nil
}

func activate(d Device, e Activate, now Instant) (Device, DeviceEffects, error) {
	if d.State != DeviceClaimed || d.Enrolment != e.Enrolment {
		return d, DeviceEffects{}, Errorf(Conflict, ReasonEnrolmentClosed, "The device is %s and cannot be confirmed.", d.State)
	}
	d.State = DeviceActive
	d.ConfirmedAt = now
	if e.Quarantine > 0 {
		d.QuarantineUntil = now.Add(e.Quarantine)
		d.Vetoable = !e.Lost
	}
	return d, DeviceEffects{}, nil
}

func veto(d Device, e Veto, now Instant) (Device, DeviceEffects, error) {
	if e.By.User != d.User || e.By.ID == d.ID || e.Enrolment != d.Enrolment {
		return d, DeviceEffects{}, ErrNotFound()
	}
	if e.By.State != DeviceActive || e.By.Quarantined(now) {
		return d, DeviceEffects{}, Errorf(Forbidden, ReasonVetoNotAllowed, "Only a device that is active and out of quarantine may veto.")
	}
	if e.By.ConfirmedAt == 0 || e.By.ConfirmedAt >= d.ConfirmedAt || e.By.QuarantineUntil > d.ConfirmedAt || !e.Unsuspected {
		return d, DeviceEffects{}, Errorf(Forbidden, ReasonVetoNotAllowed, "Only a device that was active and out of quarantine when the new one was confirmed may veto it.")
	}
	if d.State == DeviceSuspended {
		return d, DeviceEffects{}, nil
	}
	if !d.Quarantined(now) || !d.Vetoable {
		return d, DeviceEffects{}, Errorf(Conflict, ReasonVetoNotAllowed, "The device is not in a quarantine that can be vetoed.")
	}
	d.State = DeviceSuspended
	return d, DeviceEffects{CancelApprovals: true, Suspended: true}, nil
}

func change(d Device, e Change, now Instant) (Device, DeviceEffects, error) {
	if d.State != DeviceActive {
		return d, DeviceEffects{}, Errorf(Forbidden, ReasonDeviceNotActive, "The device is %s and cannot be changed.", d.State)
	}
	if e.Seq <= d.Seq {
		return d, DeviceEffects{}, &Error{
			Code: Conflict, Reason: ReasonSequence, Field: "seq",
			Message: "This change is older than one that was accepted already.",
		}
	}
	d.Seq = e.Seq
	if e.NewKey && e.Quarantine > 0 {
		d.Vetoable = d.Vetoable && d.Quarantined(now) // the new key's quarantine is not a newcomer's
		d.QuarantineUntil = max(d.QuarantineUntil, now.Add(e.Quarantine))
	}
	return d, DeviceEffects{}, nil
}

func countAnswer(d Device, e DeviceAnswered) (Device, DeviceEffects, error) {
	if e.Right {
		d.Failures = 0
		return d, DeviceEffects{}, nil
	}
	d.Failures++
	if d.Failures < MaxFailures || d.State != DeviceActive {
		return d, DeviceEffects{}, nil
	}
	d.State = DeviceSuspended
	return d, DeviceEffects{CancelApprovals: true, Suspended: true}, nil
}
