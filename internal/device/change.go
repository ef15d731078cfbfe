package device

import (
	"errors"
	"fmt"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// change accepts a signed change of the device itself, numbered seq, and lets set make it. It
// returns Forbidden device_not_active, and Conflict for a number that is not above the last one.
func (s *Service) change(tx Changer, d *store.Device, e mfa.Change, set func(*store.Device) error) error {
	next, _, refused := mfa.StepDevice(d.Device, e, tx.Now())
	if refused != nil {
		return refused
	}
	d.Device = next
	if err := set(d); err != nil {
		return err
	}
	return s.save(tx, d)
}

// Rename gives the device the name that it asks for. It returns Invalid for a name that cannot be
// shown, and Forbidden or Conflict as every change of a device.
func (s *Service) Rename(tx Changer, d *store.Device, seq int64, name string) error {
	return s.change(tx, d, mfa.Change{Seq: seq}, func(d *store.Device) error { return setName(d, name) })
}

func setName(d *store.Device, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	d.Name = name
	return nil
}

// Label gives the device a name that somebody else chose. It returns Invalid for a name that
// cannot be shown.
func (s *Service) Label(tx Changer, d *store.Device, name string) error {
	if err := setName(d, name); err != nil {
		return err
	}
	return s.save(tx, d)
}

// Targets replaces the addresses at which the device can be rung.
func (s *Service) Targets(tx Changer, d *store.Device, seq int64, targets []protocol.Target) error {
	return s.change(tx, d, mfa.Change{Seq: seq}, func(d *store.Device) error {
		d.Targets = nil
		if len(targets) == 0 {
			return nil
		}
		text, err := protocol.Encode(targets)
		if err != nil {
			return fmt.Errorf("write targets of %s: %w", d.ID, err)
		}
		d.Targets = text
		return nil
	})
}

// Rotate gives the device a new key, which has signed that it takes over. The device is in
// quarantine from then on for the time given. It returns Conflict key_already_used for a key that
// was ever enrolled in the realm.
func (s *Service) Rotate(tx Changer, d *store.Device, seq int64, key protocol.JWK, quarantine time.Duration) error {
	return s.change(tx, d, mfa.Change{Seq: seq, NewKey: true, Quarantine: quarantine}, func(d *store.Device) error {
		return useKey(tx, d, key)
	})
}

// Unenrol removes the device at its own word.
func (s *Service) Unenrol(tx Writer, d *store.Device, seq int64) (mfa.DeviceEffects, error) {
	next, _, refused := mfa.StepDevice(d.Device, mfa.Change{Seq: seq}, tx.Now())
	if refused != nil {
		return mfa.DeviceEffects{}, refused
	}
	d.Device = next
	return s.Revoke(tx, d)
}

// useKey makes the key the device's, once per realm and for ever.
func useKey(tx store.Devices, d *store.Device, key protocol.JWK) error {
	if _, err := key.PublicKey(); err != nil {
		return mfa.InvalidField("jwk", "The key is not a P-256 key in canonical form.")
	}
	jwk, err := protocol.Encode(key)
	if err != nil {
		return fmt.Errorf("write key of %s: %w", d.ID, err)
	}
	d.JWK, d.Thumbprint = jwk, key.Thumbprint()
	err = tx.UseThumbprint(d.Realm, d.Thumbprint)
	if errors.Is(err, store.ErrExists) {
		return mfa.Errorf(mfa.Conflict, mfa.ReasonKeyUsed, "This key was enrolled before. Make a new one.")
	}
	if err != nil {
		return fmt.Errorf("note key of %s: %w", d.ID, err)
	}
	return nil
}
