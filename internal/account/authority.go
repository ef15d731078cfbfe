package account

import (
	"errors"
	"fmt"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/store"
)

// Authority is by what right somebody changes a person's devices or factors.
type Authority struct {
	// By is ActorUser if the person acts for themselves; any other actor acts with an
	// administrator's rights.
	By mfa.Actor
	// Challenge is, for ActorUser, a challenge that was redeemed for this person within the last 20
	// minutes, answered by a strong factor: the evidence.
	Challenge mfa.ChallengeID
	// Asker is the application through which the request comes. The evidence must be its own.
	Asker mfa.ApplicationID
}

// adding says whether the authority lets a device or a factor be added.
func (j *job) adding(u store.User, a Authority) error {
	if a.By != mfa.ActorUser {
		return nil
	}
	need, err := j.policyFor(a.Asker)
	if err != nil {
		return err
	}
	if !need.SelfEnrolment {
		return mfa.Errorf(mfa.Forbidden, mfa.ReasonNotOffered, "Only an administrator may add devices and factors here.")
	}
	return j.changing(u, a)
}

// changing says whether the authority lets a device or a factor be removed.
func (j *job) changing(u store.User, a Authority) error {
	if a.By != mfa.ActorUser {
		return nil
	}
	_, err := j.evidence(u, a.Asker, a.Challenge)
	return err
}

// evidence reads a challenge that a user shows, and wants it fresh, strong, redeemed by the
// application that shows it, and by a device out of quarantine now as well as then. What cannot be
// shown is told apart by nobody.
func (j *job) evidence(u store.User, asker mfa.ApplicationID, id mfa.ChallengeID) (store.Challenge, error) {
	if u.State != store.UserActive {
		return store.Challenge{}, errLocked()
	}
	c, err := j.tx.Challenge(j.realm, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Challenge{}, fmt.Errorf("read challenge %s: %w", id, err)
	}
	f := mfa.Freshness{
		User: c.User, State: c.State, At: c.Evidence.At, Method: c.Evidence.Method,
		Match: c.Evidence.Match, Kind: c.Kind, Quarantined: c.Evidence.Quarantined,
	}
	if err != nil || c.Application != asker || c.Reported {
		f = mfa.Freshness{}
	}
	epoch, err := store.ReadEpoch(j.tx)
	if err != nil {
		return store.Challenge{}, err
	}
	if c.CreatedAt < epoch.At { // it may have been shown, and its device revoked, since the backup
		f = mfa.Freshness{}
	}
	if c.Evidence.Device != "" {
		trusted, err := j.trusted(c.Evidence.Device)
		if err != nil {
			return store.Challenge{}, err
		}
		f.Quarantined = f.Quarantined || !trusted
	}
	return c, mfa.MayAddDevice(u.ID, f, j.tx.Now())
}

// trusted says whether a device is active and out of quarantine now.
func (j *job) trusted(id mfa.DeviceID) (bool, error) {
	d, err := j.tx.Device(id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read device %s: %w", id, err)
	}
	return d.Realm == j.realm && d.State == mfa.DeviceActive && !d.Quarantined(j.tx.Now()), nil
}

func errLocked() error {
	return mfa.Errorf(mfa.Conflict, mfa.ReasonEnrolmentClosed, "The user is locked.")
}

// policyFor asks policy what it demands where an application asks, or of the realm for "".
func (j *job) policyFor(app mfa.ApplicationID) (policy.Requirement, error) {
	p, err := j.c.Policies.Current(j.tx, j.realm)
	if err != nil {
		return policy.Requirement{}, err
	}
	env := policy.Env{Application: app, Kind: mfa.Login, Provenance: mfa.Strangers}
	if app != "" {
		a, err := j.tx.Application(j.realm, app)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return policy.Requirement{}, fmt.Errorf("read application %s: %w", app, err)
		}
		env.ApplicationName = a.Name
	}
	return p.Evaluate(env), nil
}
