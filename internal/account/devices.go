package account

import (
	"context"
	"fmt"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// Device is what may be known of a device.
type Device struct {
	ID              mfa.DeviceID
	User            mfa.UserID
	Enrolment       mfa.EnrolmentID
	State           mfa.DeviceState
	Quarantined     bool
	QuarantineUntil mfa.Instant // 0 for never
	Name            string
	Platform        string
	AppVersion      string
	Features        []string
	JWK             []byte // public key as JSON
	Thumbprint      string
	ClaimedAt       mfa.Instant
	ConfirmedAt     mfa.Instant // 0 until confirmed
	EndedAt         mfa.Instant // 0 until revoked or refused
	SeenAt          mfa.Instant
}

func deviceView(d store.Device, now mfa.Instant) Device {
	return Device{
		ID: d.ID, User: d.User, Enrolment: d.Enrolment, State: d.State, Quarantined: d.Quarantined(now),
		QuarantineUntil: d.QuarantineUntil, Name: d.Name, Platform: d.Platform, AppVersion: d.AppVersion,
		Features: d.Features, JWK: d.JWK, Thumbprint: d.Thumbprint, ClaimedAt: d.ClaimedAt,
		ConfirmedAt: d.ConfirmedAt, EndedAt: d.EndedAt, SeenAt: d.SeenAt,
	}
}

// Devices lists a user's devices, oldest first; with all, revoked and refused ones too. It returns
// NotFound for an unknown user.
func (s *Service) Devices(ctx context.Context, in mfa.RealmID, who mfa.UserID, all bool) ([]Device, error) {
	var out []Device
	err := s.view(ctx, in, func(j *job) error {
		if _, err := j.user(who); err != nil {
			return err
		}
		list, err := j.tx.UserDevices(in, who, all)
		if err != nil {
			return fmt.Errorf("list devices of %s: %w", who, err)
		}
		out = make([]Device, len(list))
		for i, d := range list {
			out[i] = deviceView(d, j.tx.Now())
		}
		return nil
	})
	return out, err
}

// Device reads a device. It returns NotFound.
func (s *Service) Device(ctx context.Context, in mfa.RealmID, id mfa.DeviceID) (Device, error) {
	var out Device
	err := s.view(ctx, in, func(j *job) error {
		d, err := j.c.Devices.Load(j.tx, in, id)
		out = deviceView(d, j.tx.Now())
		return err
	})
	return out, err
}

// Revoke removes a device for good and cancels what it approved and nobody redeemed yet. Revoking
// it again changes nothing. It returns NotFound, and Forbidden for a user without fresh evidence.
func (s *Service) Revoke(ctx context.Context, in mfa.RealmID, id mfa.DeviceID, a Authority) error {
	return s.update(ctx, in, func(j *job) error {
		d, u, err := j.device(id)
		if err != nil {
			return err
		}
		if err := j.changing(u, a); err != nil {
			return err
		}
		return j.revoke(d, audit.DeviceRevoked)
	})
}

// device reads a device with its user.
func (j *job) device(id mfa.DeviceID) (store.Device, store.User, error) {
	d, err := j.c.Devices.Load(j.tx, j.realm, id)
	if err != nil {
		return store.Device{}, store.User{}, err
	}
	j.about.Device = d.ID
	u, err := j.user(d.User)
	return d, u, err
}

func (j *job) revoke(d store.Device, kind string) error {
	was := d.State
	fx, err := j.c.Devices.Revoke(j.tx, &d)
	if err != nil || d.State == was {
		return err
	}
	if was == mfa.DeviceClaimed {
		return j.record(store.Event{
			Kind: string(mfa.RecordEnrolmentCancelled), User: d.User, Device: d.ID,
			Data: map[string]string{"enrolment": string(d.Enrolment)},
		})
	}
	return j.gone(d, kind, fx, nil)
}

// gone carries out what follows when a device was revoked or suspended.
func (j *job) gone(d store.Device, kind string, fx mfa.DeviceEffects, data map[string]string) error {
	if fx.CancelApprovals {
		if err := j.cancelOf(d.User, mfa.Cancel{Reason: mfa.CancelDeviceGone, Device: d.ID}); err != nil {
			return err
		}
	}
	if err := j.record(store.Event{Kind: kind, User: d.User, Device: d.ID, Data: data}); err != nil {
		return err
	}
	return j.tell(d.User, protocol.NoticeFactorChanged, &d)
}

// Restore settles a suspension in the device's favour: an administrator's word, or the user's with
// a backup code or passkey as fresh evidence. The device cannot be vetoed again. It returns
// NotFound, Conflict for a device that is not suspended, and Forbidden without evidence.
func (s *Service) Restore(ctx context.Context, in mfa.RealmID, id mfa.DeviceID, a Authority) error {
	return s.update(ctx, in, func(j *job) error {
		d, u, err := j.device(id)
		if err != nil {
			return err
		}
		if err := j.settling(u, a); err != nil {
			return err
		}
		_, refused, err := j.c.Devices.Apply(j.tx, &d, mfa.Restore{})
		if err != nil {
			return err
		}
		if refused != nil {
			return refused
		}
		if err := j.record(store.Event{Kind: audit.DeviceRestored, User: d.User, Device: d.ID}); err != nil {
			return err
		}
		return j.tell(d.User, protocol.NoticeFactorChanged, &d)
	})
}

// settling says whether the authority may end a suspension. A device could be the very one that is
// in question, so no push counts.
func (j *job) settling(u store.User, a Authority) error {
	if a.By != mfa.ActorUser {
		return nil
	}
	c, err := j.evidence(u, a.Asker, a.Challenge)
	if err != nil {
		return err
	}
	if m := c.Evidence.Method; m != mfa.BackupCode && m != mfa.Passkey {
		return mfa.Errorf(mfa.Forbidden, mfa.ReasonFreshFactor, "A suspended device is settled by an administrator, or after signing in with a backup code.")
	}
	return nil
}

// Rename gives a device a name. It returns NotFound, Conflict for a device that is gone, and
// Invalid for a name that cannot be shown.
func (s *Service) Rename(ctx context.Context, in mfa.RealmID, id mfa.DeviceID, name string) (Device, error) {
	var out Device
	err := s.update(ctx, in, func(j *job) error {
		d, err := j.c.Devices.Load(j.tx, in, id)
		if err != nil {
			return err
		}
		if d.EndedAt != 0 {
			return mfa.Errorf(mfa.Conflict, mfa.ReasonDeviceNotActive, "The device is %s.", d.State)
		}
		if err := j.c.Devices.Label(j.tx, &d, name); err != nil {
			return err
		}
		out = deviceView(d, j.tx.Now())
		return j.renamed(d)
	})
	return out, err
}

func (j *job) renamed(d store.Device) error {
	return j.record(store.Event{
		Kind: audit.DeviceRenamed, User: d.User, Device: d.ID, Data: map[string]string{"name": d.Name},
	})
}
