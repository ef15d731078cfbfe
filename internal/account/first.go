package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/user"
)

const (
	// firstWithin is how long after somebody was made an application may enrol their first device.
	firstWithin = 7 * 24 * time.Hour
	// idleAfter is how long somebody must not have been seen for that to be over.
	idleAfter = 90 * 24 * time.Hour
)

// FirstEnrolment asks for the ticket of a person's first device, by an application that has
// established the first factor or lets nod check it.
type FirstEnrolment struct {
	Asker    mfa.ApplicationID
	Form     string // how the application writes names
	UserID   mfa.UserID
	UserName string       // if there is no UserID
	Password secret.Value // to be checked; zero if the application asserts a first factor
	// Invitation is the secret of the person's invitation; zero for an enrolment at sign-in.
	Invitation secret.Value
}

func (f FirstEnrolment) find(j *job) (store.User, bool, error) {
	if f.UserID == "" {
		u, _, found, err := j.c.Users.Find(j.tx, j.realm, f.Form, f.UserName)
		return u, found, err
	}
	if !user.ValidID(f.UserID) {
		return store.User{}, false, mfa.InvalidField("user.id", "This is not the id of a user.")
	}
	u, err := user.Get(j.tx, j.realm, f.UserID)
	if mfa.CodeOf(err) == mfa.NotFound {
		return store.User{Realm: j.realm, ID: f.UserID}, false, nil
	}
	return u, err == nil, err
}

// EnrolFirst makes a ticket for the first device of a person who never had a factor: within a week
// of their creation where policy lets applications do so at sign-in, or through their invitation. It
// returns Forbidden first_enrolment for everybody else, unknown ones too; the record says why. It
// returns Forbidden credentials for a wrong password, and RateLimited.
func (s *Service) EnrolFirst(ctx context.Context, in mfa.RealmID, f FirstEnrolment) (Ticket, error) {
	first := mfa.FirstFactorAsserted
	var pw checked
	if !f.Password.IsZero() {
		first = mfa.FirstFactorPassword
		var err error
		if pw, err = s.checkPassword(ctx, in, f.Password, f.find); err != nil {
			return Ticket{}, err
		}
	}
	var t Ticket
	err := s.update(ctx, in, func(j *job) error {
		t = Ticket{}
		u, found, err := f.find(j)
		if err != nil {
			return err
		}
		j.about.User, j.about.Application = u.ID, f.Asker
		if first == mfa.FirstFactorPassword {
			if err := j.accept(u, pw); err != nil {
				return err
			}
		}
		if !found {
			return j.notFirst("unknown")
		}
		if t, err = j.enrolFirst(u, f, first); err != nil {
			return err
		}
		return replay.Made(ctx, j.tx, t)
	})
	return t, err
}

func (j *job) enrolFirst(u store.User, f FirstEnrolment, first mfa.FirstFactor) (Ticket, error) {
	need, err := j.policyFor(f.Asker)
	if err != nil {
		return Ticket{}, err
	}
	now := j.tx.Now()
	switch {
	case u.State != store.UserActive:
		return Ticket{}, j.notFirst("locked")
	case u.HadFactor:
		return Ticket{}, j.notFirst("had_factor")
	case !first.Satisfies(need.FirstFactor):
		return Ticket{}, j.notFirst("first_factor")
	}
	e := Enrol{Authority: Authority{By: mfa.ActorUser, Asker: f.Asker}}
	if !f.Invitation.IsZero() {
		i, err := j.tx.InvitationByHash(hashInvitation(f.Invitation.Reveal()))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return Ticket{}, fmt.Errorf("read invitation: %w", err)
		}
		if err != nil || i.Realm != j.realm || i.User != u.ID || i.Purpose != mfa.InviteToEnrol ||
			i.At(now).State != mfa.InvitationLive || now < i.CreatedAt.Add(-mfa.ClockSlack) {
			return Ticket{}, j.notFirst("invitation")
		}
		return j.ticketFor(u, i, e)
	}
	switch {
	case !need.EnrolAtSignIn:
		return Ticket{}, j.notFirst("policy")
	case now >= u.CreatedAt.Add(firstWithin) || now < u.CreatedAt.Add(-mfa.ClockSlack):
		return Ticket{}, j.notFirst("too_late")
	case now >= max(u.CreatedAt, u.SeenAt).Add(idleAfter):
		return Ticket{}, j.notFirst("idle")
	}
	return j.issue(u, e, map[string]string{"through": "sign_in"})
}

// notFirst refuses with the one answer that everybody gets, and has the record say why.
func (j *job) notFirst(why string) error {
	j.about.Data = map[string]string{"why": why}
	return mfa.Errorf(mfa.Forbidden, mfa.ReasonFirstEnrolment, "No first device can be enrolled here for this person. An administrator can, or can send an invitation.")
}
