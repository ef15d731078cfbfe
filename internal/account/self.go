package account

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// Speaker is a device that says something about itself, as it was when its signature was checked.
// It is read again inside the transaction that acts on it.
type Speaker = store.Device

// Identify gives the device that a message names and the key that must have signed it. It returns
// Unauthenticated for an unknown one and for one of a disabled realm. A device that was revoked is given too: it is told so once
// its signature is right.
func (s *Service) Identify(ctx context.Context, kid string) (Speaker, *ecdsa.PublicKey, error) {
	var d store.Device
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		var err error
		d, err = tx.Device(mfa.DeviceID(kid))
		return err
	})
	if errors.Is(err, store.ErrNotFound) || (err == nil && d.RealmDisabledAt != 0) {
		return Speaker{}, nil, errSignature()
	}
	if err != nil {
		return Speaker{}, nil, fmt.Errorf("read device %s: %w", kid, err)
	}
	var jwk protocol.JWK
	if err := json.Unmarshal(d.JWK, &jwk); err != nil {
		return Speaker{}, nil, fmt.Errorf("read key of device %s: %w", kid, err)
	}
	key, err := jwk.PublicKey()
	if err != nil {
		return Speaker{}, nil, fmt.Errorf("read key of device %s: %w", kid, err)
	}
	return d, key, nil
}

func errSignature() error {
	return mfa.Errorf(mfa.Unauthenticated, mfa.ReasonSignature, "The message is not signed by a key that is known here.")
}

// self runs fn on the device that speaks. It returns Unauthenticated if the device is gone or has
// another key by now, and Forbidden device_revoked.
func (s *Service) self(ctx context.Context, seen Speaker, fn func(*job, store.Device) error) error {
	return s.update(audit.With(ctx, spoken(ctx, seen)), seen.Realm, func(j *job) error {
		j.about.User, j.about.Device = seen.User, seen.ID
		d, err := j.c.Devices.Current(j.tx, seen)
		if err != nil {
			return err
		}
		return fn(j, d)
	})
}

// spoken says that the user acts, with the device.
func spoken(ctx context.Context, seen Speaker) audit.Origin {
	o := audit.From(ctx)
	o.Actor, o.By = mfa.ActorUser, string(seen.ID)
	return o
}

// RenameSelf gives the device the name that it asks for. It returns Invalid, Conflict for a seq
// that is not above the last one, and Forbidden for a device that is not active.
func (s *Service) RenameSelf(ctx context.Context, seen Speaker, m protocol.Name) error {
	return s.self(ctx, seen, func(j *job, d store.Device) error {
		if err := j.c.Devices.Rename(j.tx, &d, m.Seq, m.Name); err != nil {
			return err
		}
		return j.renamed(d)
	})
}

// SetTargets replaces the addresses at which the device can be rung. It returns what RenameSelf
// returns.
func (s *Service) SetTargets(ctx context.Context, seen Speaker, m protocol.Targets) error {
	return s.self(ctx, seen, func(j *job, d store.Device) error {
		if err := j.c.Devices.Targets(j.tx, &d, m.Seq, m.Targets); err != nil {
			return err
		}
		return j.record(store.Event{
			Kind: audit.DeviceTargets, User: d.User, Device: d.ID,
			Data: map[string]string{"targets": strconv.Itoa(len(m.Targets))},
		})
	})
}

// Rotate gives the device a new key, after checking that the key signed the inner message and that
// this names the device and its present key. A quarantine begins, as policy says. It returns what
// RenameSelf returns, Unauthenticated for a wrong inner signature, and Conflict key_already_used.
func (s *Service) Rotate(ctx context.Context, seen Speaker, m protocol.Rotate) error {
	inner, key, err := m.Open()
	if errors.Is(err, protocol.ErrSignature) {
		return errSignature()
	}
	if err != nil || inner.Device != string(seen.ID) || inner.OldThumbprint != seen.Thumbprint {
		return mfa.InvalidField("inner", "The new key has not signed that it takes over from this device's present key.")
	}
	return s.self(ctx, seen, func(j *job, d store.Device) error {
		need, err := j.policyFor("")
		if err != nil {
			return err
		}
		old := d.Thumbprint
		if err := j.c.Devices.Rotate(j.tx, &d, m.Seq, key, need.Quarantine); err != nil {
			return err
		}
		err = j.record(store.Event{
			Kind: audit.DeviceRotated, User: d.User, Device: d.ID,
			Data: map[string]string{"old": old, "new": d.Thumbprint},
		})
		if err != nil {
			return err
		}
		return j.tell(d.User, protocol.NoticeFactorChanged, &d)
	})
}

// Unenrol removes the device at its own word. It returns what RenameSelf returns.
func (s *Service) Unenrol(ctx context.Context, seen Speaker, m protocol.Unenrol) error {
	return s.self(ctx, seen, func(j *job, d store.Device) error {
		fx, err := j.c.Devices.Unenrol(j.tx, &d, m.Seq)
		if err != nil {
			return err
		}
		return j.gone(d, audit.DeviceUnenrolled, fx, nil)
	})
}

// LockSelf registers the device's app lock. This release has none: it returns Unsupported.
func (s *Service) LockSelf(context.Context, Speaker, protocol.Lock) error {
	return mfa.Errorf(mfa.Unsupported, mfa.ReasonNotOffered, "This server does not know app locks yet.")
}

// Veto suspends a newcomer that is in its quarantine and cancels what it approved. The device that
// speaks must be active and out of quarantine, now and when the newcomer was confirmed. The same
// veto again changes nothing. It returns NotFound for another user's device, and Forbidden and
// Conflict veto_not_allowed.
func (s *Service) Veto(ctx context.Context, seen Speaker, m protocol.Veto) error {
	return s.self(ctx, seen, func(j *job, d store.Device) error {
		newcomer, err := j.c.Devices.Load(j.tx, j.realm, mfa.DeviceID(m.Device))
		if err != nil {
			return err
		}
		if newcomer.User == d.User {
			j.about.Device = newcomer.ID
		}
		clean, err := j.unsuspected(d.ID, newcomer.ConfirmedAt)
		if err != nil {
			return err
		}
		newcomer, fx, err := j.c.Devices.Veto(j.tx, d, newcomer.ID, mfa.EnrolmentID(m.Enrolment), clean)
		if err != nil || !fx.Suspended {
			return err
		}
		err = j.record(store.Event{Kind: audit.DeviceVetoed, User: d.User, Device: newcomer.ID})
		if err != nil {
			return err
		}
		return j.gone(newcomer, audit.DeviceSuspended, fx, map[string]string{"reason": "veto"})
	})
}

// unsuspected says whether a device that is active now was so at a moment in the past too, and not
// suspended and restored since. The record is the witness: the first thing that happened to its
// state since then is no restoration.
func (j *job) unsuspected(id mfa.DeviceID, at mfa.Instant) (bool, error) {
	first := func(kind string) (mfa.Instant, error) {
		f := store.EventFilter{Realm: j.realm, Device: id, Kind: kind, Since: at, OldestFirst: true}
		list, err := j.tx.ListEvents(f, store.Page{Limit: 1})
		if err != nil || len(list) == 0 {
			return 0, err
		}
		return list[0].At, nil
	}
	restored, err := first(audit.DeviceRestored)
	if err != nil || restored == 0 {
		return err == nil, err
	}
	suspended, err := first(audit.DeviceSuspended)
	return suspended != 0 && suspended < restored, err
}
