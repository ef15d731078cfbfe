// Package device keeps authenticators and the tickets by which they come: it applies
// [mfa.StepEnrolment] and [mfa.StepDevice] inside its callers' transactions and writes what the
// steps ask for.
//
//	Issue ─► invited ─ Claim (ticket, key) ─► claimed ─ Confirm (six digits) ─► device active
//	            │                                │
//	            └── Cancel, Expire, a newer ticket, three wrong codes ─► device, if any, refused
//
// It writes no audit events and cancels no challenges: it returns what happened, and the caller
// does both in the same transaction.
package device

import (
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// SeenEvery is how often at most the moment at which a device was last seen is written.
const SeenEvery = time.Hour

// maxName is how long a device's name may be, in characters.
const maxName = 64

// Config of the Service.
type Config struct {
	Ring *keys.Ring
}

// Service makes, reads and changes devices and enrolments inside its callers' transactions. It is
// safe for concurrent use.
type Service struct{ c Config }

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Ring == nil {
		return nil, errors.New("device: Config.Ring is required")
	}
	return &Service{c: c}, nil
}

// Signer signs what the realm says.
type Signer interface {
	Sign(typ string, payload []byte) (string, error)
}

// Voice is how a realm speaks to its devices.
type Voice struct {
	Issuer string
	Keys   string // the realm's current nod-keys+jws
	Signer Signer // with the key that is current in Keys
}

// Changer is what changing a device needs of a transaction.
type Changer interface {
	Now() mfa.Instant
	Wake(keys ...string)
	store.Devices
}

// Load reads a device of a realm. It returns NotFound, also for a device of another realm.
func (s *Service) Load(tx interface {
	Device(id mfa.DeviceID) (store.Device, error)
}, realm mfa.RealmID, id mfa.DeviceID,
) (store.Device, error) {
	d, err := tx.Device(id)
	if errors.Is(err, store.ErrNotFound) || (err == nil && d.Realm != realm) {
		return store.Device{}, mfa.ErrNotFound()
	}
	if err != nil {
		return store.Device{}, fmt.Errorf("read device %s: %w", id, err)
	}
	return d, nil
}

// Current re-reads, inside the transaction that is to act on it, a device whose signature was
// checked before. It returns Unauthenticated if the device is gone, its key is another one by now
// or its realm is disabled, and Forbidden device_revoked if it may say nothing any more: it was
// revoked, refused or not confirmed in time.
func (s *Service) Current(tx interface {
	Now() mfa.Instant
	Device(id mfa.DeviceID) (store.Device, error)
	Enrolment(realm mfa.RealmID, id mfa.EnrolmentID) (store.Enrolment, error)
}, seen store.Device,
) (store.Device, error) {
	d, err := tx.Device(seen.ID)
	if errors.Is(err, store.ErrNotFound) ||
		(err == nil && (d.Realm != seen.Realm || d.Thumbprint != seen.Thumbprint || d.RealmDisabledAt != 0)) {
		return store.Device{}, mfa.Errorf(mfa.Unauthenticated, mfa.ReasonSignature, "The message is not signed by a key that is known here.")
	}
	if err != nil {
		return store.Device{}, fmt.Errorf("read device %s: %w", seen.ID, err)
	}
	if _, err := s.State(tx, d); err != nil {
		return store.Device{}, err
	}
	return d, nil
}

func errRevoked() error {
	return mfa.Errorf(mfa.Forbidden, mfa.ReasonDeviceRevoked, "This device was removed. Enrol it again to use it.")
}

// State says what a device is told about itself. It returns Forbidden device_revoked for one that
// was revoked, refused or not confirmed in time.
func (s *Service) State(tx interface {
	Now() mfa.Instant
	Enrolment(realm mfa.RealmID, id mfa.EnrolmentID) (store.Enrolment, error)
}, d store.Device,
) (protocol.DeviceState, error) {
	switch d.State {
	case mfa.DeviceActive:
		if d.Quarantined(tx.Now()) {
			return protocol.DeviceQuarantined, nil
		}
		return protocol.DeviceActive, nil
	case mfa.DeviceSuspended:
		return protocol.DeviceSuspended, nil
	case mfa.DeviceClaimed:
		e, err := tx.Enrolment(d.Realm, d.Enrolment)
		if err != nil {
			return "", fmt.Errorf("read enrolment %s: %w", d.Enrolment, err)
		}
		if e.At(tx.Now()).State == mfa.EnrolmentClaimed {
			return protocol.DeviceClaimed, nil
		}
	case mfa.DeviceRevoked, mfa.DeviceRefused:
	}
	return "", errRevoked()
}

// Apply runs one step on a device and stores what came of it. The step's answer to the caller is
// in refused; the transaction is to be committed when only that is set.
func (s *Service) Apply(tx Changer, d *store.Device, event mfa.DeviceEvent) (fx mfa.DeviceEffects, refused, err error) {
	next, fx, refused := mfa.StepDevice(d.Device, event, tx.Now())
	if next == d.Device {
		return fx, refused, nil
	}
	d.Device = next
	return fx, refused, s.save(tx, d)
}

func (s *Service) save(tx Changer, d *store.Device) error {
	if d.EndedAt == 0 && (d.State == mfa.DeviceRevoked || d.State == mfa.DeviceRefused) {
		d.EndedAt = tx.Now()
	}
	if err := tx.PutDevice(*d); err != nil {
		return fmt.Errorf("write device %s: %w", d.ID, err)
	}
	d.Version++
	tx.Wake(store.WakeUser(d.Realm, d.User))
	return nil
}

// Seen notes that the device was heard of, at most once an hour. It wakes nobody.
func (s *Service) Seen(tx Changer, d *store.Device) error {
	now := tx.Now()
	if now < d.SeenAt.Add(SeenEvery) {
		return nil
	}
	d.SeenAt = now
	if err := tx.PutDevice(*d); err != nil {
		return fmt.Errorf("note device %s: %w", d.ID, err)
	}
	d.Version++
	return nil
}

// Answered counts a right or wrong answer of the device. A hundred wrong ones in a row suspend it,
// and the effects then say what else is to be done.
func (s *Service) Answered(tx Changer, d *store.Device, right bool) (mfa.DeviceEffects, error) {
	fx, _, err := s.Apply(tx, d, mfa.DeviceAnswered{Right: right})
	return fx, err
}

// Revoke removes a device for good. One that waits to be confirmed is refused together with its
// enrolment.
func (s *Service) Revoke(tx Writer, d *store.Device) (mfa.DeviceEffects, error) {
	if d.State == mfa.DeviceClaimed {
		e, err := s.Enrolment(tx, d.Realm, d.Enrolment)
		if err != nil {
			return mfa.DeviceEffects{}, err
		}
		out, err := s.Cancel(tx, e)
		if err != nil {
			return mfa.DeviceEffects{}, err
		}
		if out.Device.ID == d.ID {
			*d = out.Device
			return mfa.DeviceEffects{}, nil
		}
	}
	fx, _, err := s.Apply(tx, d, mfa.Revoke{})
	return fx, err
}

// Veto is an older device's objection to a newcomer. unsuspected says whether the older one was
// active, not suspended, when the newcomer was confirmed. It returns the newcomer.
func (s *Service) Veto(tx Changer, by store.Device, newcomer mfa.DeviceID, enrolment mfa.EnrolmentID, unsuspected bool) (d store.Device, fx mfa.DeviceEffects, err error) {
	if d, err = s.Load(tx, by.Realm, newcomer); err != nil {
		return store.Device{}, fx, err
	}
	fx, refused, err := s.Apply(tx, &d, mfa.Veto{By: by.Device, Enrolment: enrolment, Unsuspected: unsuspected})
	if err == nil {
		err = refused
	}
	return d, fx, err
}

// checkName wants what every device can show.
func checkName(name string) error {
	n := utf8.RuneCountInString(name)
	if n < 1 || n > maxName || !utf8.ValidString(name) {
		return mfa.InvalidField("name", "A device's name has 1 to %d characters.", maxName)
	}
	for _, r := range name {
		if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) {
			return mfa.InvalidField("name", "A device's name has no control, direction or line characters.")
		}
	}
	return nil
}
