package account

import (
	"context"
	"maps"
	"strconv"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// Enrol asks for a ticket.
type Enrol struct {
	Authority
	// Lost replaces what was lost or stolen: the confirmation revokes the user's other devices, the
	// new one has no quarantine, and nobody can veto it. Administrators only.
	Lost bool
}

// Ticket is an enrolment that was begun.
type Ticket struct {
	ID        mfa.EnrolmentID
	User      mfa.UserID
	Link      secret.Value // https://HOST/enrol#TICKET.PIN, shown once
	ExpiresAt mfa.Instant
}

// Enrol makes a ticket for a new device of the user. A newer one ends the older. It returns
// NotFound, Conflict for a locked user, and Forbidden for a user without fresh evidence, or where
// policy leaves enrolling to administrators.
func (s *Service) Enrol(ctx context.Context, in mfa.RealmID, who mfa.UserID, e Enrol) (Ticket, error) {
	var t Ticket
	err := s.update(ctx, in, func(j *job) error {
		u, err := j.user(who)
		if err != nil {
			return err
		}
		if u.State != store.UserActive {
			return errLocked()
		}
		if e.Lost && (e.By == mfa.ActorUser || e.By == mfa.ActorHelpDesk) {
			return mfa.Errorf(mfa.Forbidden, mfa.ReasonScope, "Only an administrator may replace a lost or stolen device.")
		}
		if err := j.adding(u, e.Authority); err != nil {
			return err
		}
		if t, err = j.issue(u, e, nil); err != nil {
			return err
		}
		return replay.Made(ctx, j.tx, t)
	})
	return t, err
}

// issue makes a ticket. through is what else the record says of how it came about.
func (j *job) issue(u store.User, e Enrol, through map[string]string) (Ticket, error) {
	v, err := j.voiceWithKeys()
	if err != nil {
		return Ticket{}, err
	}
	origin, err := j.c.Realms.Address(j.tx, j.realm, j.origin)
	if err != nil {
		return Ticket{}, err
	}
	i, err := j.c.Devices.Issue(j.tx, device.Invite{
		Realm: j.realm, User: u.ID, By: e.By, Lost: e.Lost, Asker: e.Asker, Origin: origin, Keys: v.Keys,
	})
	if err != nil {
		return Ticket{}, err
	}
	for _, out := range i.Ended {
		if err := j.recordEnrolment(out); err != nil {
			return Ticket{}, err
		}
	}
	data := map[string]string{"enrolment": string(i.Enrolment.ID), "lost": strconv.FormatBool(e.Lost)}
	maps.Copy(data, through)
	if e.Challenge != "" {
		data["evidence"] = string(e.Challenge)
	}
	err = j.record(store.Event{Kind: audit.EnrolmentCreated, User: u.ID, Application: e.Asker, Data: data})
	return Ticket{ID: i.Enrolment.ID, User: u.ID, Link: i.Link, ExpiresAt: i.Enrolment.ClaimBy}, err
}

func (j *job) recordEnrolment(out device.Outcome) error {
	e := out.Enrolment
	for _, kind := range out.Effects.Record {
		event := store.Event{
			Kind: string(kind), User: e.User, Application: e.Asker, Device: e.Device,
			Data: map[string]string{"enrolment": string(e.ID)},
		}
		if kind == mfa.RecordEnrolmentClaimed {
			event.Actor, event.By = mfa.ActorUser, string(e.Device)
		}
		if kind == mfa.RecordEnrolmentWrong {
			event.Data["wrong"] = strconv.Itoa(e.Wrong)
		}
		if err := j.record(event); err != nil {
			return err
		}
	}
	return nil
}

// Enrolment is what may be known of an enrolment.
type Enrolment struct {
	ID        mfa.EnrolmentID
	User      mfa.UserID
	State     mfa.EnrolmentState
	By        mfa.Actor
	Lost      bool
	Asker     mfa.ApplicationID
	Device    mfa.DeviceID // "" until claimed
	Name      string       // of the device
	Platform  string
	CreatedAt mfa.Instant
	ClaimBy   mfa.Instant
	ConfirmBy mfa.Instant // 0 until claimed
}

// Enrolment reads an enrolment as it is now. It returns NotFound.
func (s *Service) Enrolment(ctx context.Context, in mfa.RealmID, id mfa.EnrolmentID) (Enrolment, error) {
	var out Enrolment
	err := s.view(ctx, in, func(j *job) error {
		e, err := j.c.Devices.Enrolment(j.tx, in, id)
		if err != nil {
			return err
		}
		out = Enrolment{
			ID: e.ID, User: e.User, State: e.At(j.tx.Now()).State, By: e.By, Lost: e.Lost, Asker: e.Asker,
			Device: e.Device, CreatedAt: e.CreatedAt, ClaimBy: e.ClaimBy, ConfirmBy: e.ConfirmBy,
		}
		if e.Device == "" {
			return nil
		}
		d, err := j.c.Devices.Load(j.tx, in, e.Device)
		if mfa.CodeOf(err) == mfa.NotFound {
			return nil // deleted with its user
		}
		out.Name, out.Platform = d.Name, d.Platform
		return err
	})
	return out, err
}

// Claim binds the key with which the claim was signed to the ticket in it, in whichever realm that
// is, or in the realm at alone if that is not "", and returns the nod-enrolled+jws. The same key gets the same answer again. It returns
// NotFound for an unknown ticket, Conflict for one that is taken or closed and for a key that was
// ever used, and Gone for one that is late.
func (s *Service) Claim(ctx context.Context, at mfa.RealmID, c protocol.Enrol, key protocol.JWK) (string, error) {
	var answer string
	err := s.update(ctx, "", func(j *job) error {
		e, err := j.c.Devices.ByTicket(j.tx, c.Ticket)
		if err != nil {
			return err
		}
		j.realm = e.Realm
		if at != "" && at != e.Realm {
			return mfa.ErrNotFound()
		}
		if err := j.enabled(); err != nil {
			if mfa.CodeOf(err) == mfa.Unauthenticated {
				err = mfa.ErrNotFound()
			}
			return err
		}
		u, err := j.user(e.User)
		if err != nil && mfa.CodeOf(err) != mfa.NotFound { // a deleted user is as a locked one
			return err
		}
		v, err := j.voiceWithKeys()
		if err != nil {
			return err
		}
		out, refused, err := j.c.Devices.Claim(j.tx, e, c, key, u, v)
		if err != nil {
			return err
		}
		answer, j.refused = out.Answer, refused
		if err := j.recordEnrolment(out); err != nil {
			return err
		}
		if !out.Effects.Create {
			return nil
		}
		return j.tellBy(e.User, protocol.NoticeDeviceClaimed, &out.Device, e.By)
	})
	return answer, err
}

// Confirm takes the six digits that the new device shows and makes it active. It returns NotFound,
// Forbidden wrong_code, Conflict for an enrolment that is closed, was refused by the third wrong
// code or whose user is locked, and Gone for one that is late, or whose invitation is over. The
// invitation through which its ticket was made is used up.
func (s *Service) Confirm(ctx context.Context, in mfa.RealmID, id mfa.EnrolmentID, code string) (Device, error) {
	var out Device
	err := s.update(ctx, in, func(j *job) error {
		e, err := j.c.Devices.Enrolment(j.tx, in, id)
		if err != nil {
			return err
		}
		u, err := j.user(e.User)
		if err != nil {
			return err
		}
		through, over, err := j.throughInvitation(e)
		if err != nil || over {
			return err
		}
		need, err := j.policyFor(e.Asker)
		if err != nil {
			return err
		}
		did, refused, err := j.c.Devices.Confirm(j.tx, e, device.Confirmation{
			Code: code, UserActive: u.State == store.UserActive, Quarantine: need.Quarantine,
		})
		if err != nil {
			return err
		}
		j.refused = refused
		if err := j.recordEnrolment(did); err != nil {
			return err
		}
		if !did.Effects.Activate {
			return nil
		}
		out = deviceView(did.Device, j.tx.Now())
		if through.ID != "" {
			if err := j.useInvitation(through); err != nil {
				return err
			}
		}
		return j.joined(u, did)
	})
	return out, err
}

// joined carries out what follows from a confirmed enrolment.
func (j *job) joined(u store.User, did device.Outcome) error {
	d := did.Device
	for _, old := range did.Revoked {
		if err := j.gone(old, audit.DeviceRevoked, mfa.DeviceEffects{CancelApprovals: true}, map[string]string{"reason": "lost"}); err != nil {
			return err
		}
	}
	data := map[string]string{
		"enrolment": string(d.Enrolment), "name": d.Name, "platform": d.Platform,
		"quarantined": strconv.FormatBool(d.Quarantined(j.tx.Now())), "lost": strconv.FormatBool(did.Enrolment.Lost),
	}
	if err := j.record(store.Event{Kind: audit.DeviceAdded, User: u.ID, Device: d.ID, Data: data}); err != nil {
		return err
	}
	if err := j.hadFactor(u); err != nil {
		return err
	}
	return j.tellBy(u.ID, protocol.NoticeDeviceAdded, &d, did.Enrolment.By)
}

// hadFactor notes that the user is nobody who never had a factor.
func (j *job) hadFactor(u store.User) error {
	if u.HadFactor {
		return nil
	}
	u.HadFactor = true
	return j.put(u)
}

// CancelEnrolment ends an enrolment that is not over. It returns NotFound, and Conflict for one that
// is.
func (s *Service) CancelEnrolment(ctx context.Context, in mfa.RealmID, id mfa.EnrolmentID) error {
	return s.update(ctx, in, func(j *job) error {
		e, err := j.c.Devices.Enrolment(j.tx, in, id)
		if err != nil {
			return err
		}
		out, err := j.c.Devices.Cancel(j.tx, e)
		if err != nil {
			return err
		}
		if out.Enrolment.State != mfa.EnrolmentCancelled || e.State == mfa.EnrolmentCancelled {
			j.refused = mfa.Errorf(mfa.Conflict, mfa.ReasonEnrolmentClosed, "The enrolment is %s.", out.Enrolment.State)
		}
		return j.recordEnrolment(out)
	})
}
