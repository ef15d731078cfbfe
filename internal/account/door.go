package account

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/user"
)

// Needs is what a person has to give before an invitation does anything.
type Needs struct {
	Password    bool // their present one
	NewPassword bool
	Code        bool // of TOTP, or a backup code: they have, or for a device ever had, a second factor
	// Elsewhere says that this cannot go on here: an application has to vouch for the person, or
	// they have no code that could be typed.
	Elsewhere bool
}

// Door is what a link leads to.
type Door struct {
	Realm     mfa.RealmID
	ID        mfa.InvitationID
	Name      string // of the person
	Purpose   mfa.InvitationPurpose
	Needs     Needs
	ExpiresAt mfa.Instant
}

// ErrInvitation makes the one answer for every invitation that is not live, or not here.
func ErrInvitation() *mfa.Error {
	return mfa.Errorf(mfa.NotFound, mfa.ReasonInvitation, "This invitation is not valid, or not any more. Ask for a new one.")
}

// OpenInvitation finds what the secret of a link leads to, in whichever realm it is. It changes
// nothing. It returns NotFound, the same for a secret that nobody has, for one that was used or
// revoked and for one whose time is over.
func (s *Service) OpenInvitation(ctx context.Context, text secret.Value) (Door, error) {
	var d Door
	err := s.view(ctx, "", func(j *job) error {
		i, err := j.tx.InvitationByHash(hashInvitation(text.Reveal()))
		if errors.Is(err, store.ErrNotFound) {
			return ErrInvitation()
		}
		if err != nil {
			return fmt.Errorf("read invitation: %w", err)
		}
		j.realm = i.Realm
		d, err = j.door(i.ID)
		return err
	})
	return d, err
}

// Door reads what an invitation that was opened leads to now. It returns NotFound as OpenInvitation
// does.
func (s *Service) Door(ctx context.Context, in mfa.RealmID, id mfa.InvitationID) (Door, error) {
	var d Door
	err := s.view(ctx, in, func(j *job) error {
		var err error
		d, err = j.door(id)
		return err
	})
	return d, err
}

func (j *job) door(id mfa.InvitationID) (Door, error) {
	if err := j.enabled(); mfa.CodeOf(err) == mfa.Unauthenticated {
		return Door{}, ErrInvitation()
	} else if err != nil {
		return Door{}, err
	}
	i, u, err := j.opened(id)
	if err != nil {
		return Door{}, err
	}
	needs, err := j.needs(i, u)
	return Door{Realm: j.realm, ID: i.ID, Name: u.Name, Purpose: i.Purpose, Needs: needs, ExpiresAt: i.ExpiresAt}, err
}

// opened reads an invitation that can be used now, with its user.
func (j *job) opened(id mfa.InvitationID) (store.Invitation, store.User, error) {
	i, err := j.tx.Invitation(j.realm, id)
	if errors.Is(err, store.ErrNotFound) {
		return i, store.User{}, ErrInvitation()
	}
	if err != nil {
		return i, store.User{}, fmt.Errorf("read invitation %s: %w", id, err)
	}
	realm, err := j.tx.Realm(j.realm)
	if err != nil {
		return i, store.User{}, fmt.Errorf("read realm %s: %w", j.realm, err)
	}
	u, err := j.user(i.User)
	if err != nil {
		return i, u, err
	}
	now := j.tx.Now()
	if i.At(now).State != mfa.InvitationLive || now < i.CreatedAt.Add(-mfa.ClockSlack) ||
		u.State != store.UserActive || realm.DisabledAt != 0 {
		return i, u, ErrInvitation()
	}
	return i, u, nil
}

// needs says what has to be given. Whoever ever had a factor adds none by a password alone, and
// nobody who has one gets another password by a link alone.
func (j *job) needs(i store.Invitation, u store.User) (Needs, error) {
	n := Needs{NewPassword: true}
	if i.Purpose == mfa.InviteToEnrol {
		n = Needs{Password: u.Password != "", NewPassword: u.Password == "" && i.SetPassword, Code: u.HadFactor}
		n.Elsewhere = !n.Password && !n.NewPassword
	} else {
		has, err := j.ownsFactor(u.ID)
		if err != nil {
			return n, err
		}
		n.Code = has
	}
	if n.Code {
		usable, err := j.c.Factors.Usable(j.tx, j.realm, u.ID)
		if err != nil {
			return n, err
		}
		n.Elsewhere = n.Elsewhere || usable&mfa.MethodsOf(mfa.TOTP, mfa.BackupCode) == 0
	}
	return n, nil
}

// ownsFactor says whether the user has a second factor, be it suspended, disabled or used up: what
// was put out of use by wrong answers must not open the way around it.
func (j *job) ownsFactor(who mfa.UserID) (bool, error) {
	devices, err := j.tx.UserDevices(j.realm, who, false)
	if err != nil {
		return false, fmt.Errorf("list devices of %s: %w", who, err)
	}
	for _, d := range devices {
		if d.State != mfa.DeviceClaimed {
			return true, nil
		}
	}
	totps, err := j.tx.UserTOTPs(j.realm, who)
	if err != nil {
		return false, fmt.Errorf("list TOTP factors of %s: %w", who, err)
	}
	for _, t := range totps {
		if t.State != store.FactorPending {
			return true, nil
		}
	}
	_, _, err = j.tx.BackupSet(j.realm, who)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read backup codes of %s: %w", who, err)
	}
	return true, nil
}

// Answers are what a person gives to pass.
type Answers struct {
	Password    secret.Value
	NewPassword secret.Value
	Code        secret.Value
}

func (a Answers) complete(n Needs) error {
	switch {
	case n.Elsewhere:
		return mfa.Errorf(mfa.Forbidden, mfa.ReasonFirstFactor, "This invitation cannot be used here: sign in to an application that takes it, or ask an administrator.")
	case n.Password && a.Password.IsZero():
		return mfa.InvalidField("password", "The password is missing.")
	case n.NewPassword && a.NewPassword.IsZero():
		return mfa.InvalidField("new_password", "The new password is missing.")
	case n.Code && a.Code.IsZero():
		return mfa.InvalidField("code", "The code is missing.")
	}
	return nil
}

// passage is somebody on their way through an invitation.
type passage struct {
	Answers
	id       mfa.InvitationID
	user     mfa.UserID
	needs    Needs
	called   []string
	second   bool
	password checked
	hash     string // of the new password
	guess    string // paid for the code
	backup   factor.Candidate
	equal    bool // the backup code was that of the candidate
}

// PassInvitation takes what the invitation needs and does what it is for: it makes a ticket, or sets
// the new password, which uses the invitation up. Until the ticket's device is confirmed the same
// invitation makes another ticket, which ends the former. It returns NotFound as OpenInvitation does,
// Invalid for what is missing and for a weak password, Forbidden for what is wrong, and RateLimited.
func (s *Service) PassInvitation(ctx context.Context, in mfa.RealmID, id mfa.InvitationID, a Answers) (Ticket, error) {
	ctx = invited(ctx, id)
	p := passage{Answers: a, id: id}
	err := s.view(ctx, in, func(j *job) error { return j.begin(&p) })
	if err != nil {
		return Ticket{}, err
	}
	if p.needs.NewPassword {
		if err := s.c.Factors.CheckNewPassword(a.NewPassword.Reveal(), p.called, p.second); err != nil {
			return Ticket{}, err
		}
	}
	if p.needs.Password {
		p.password, err = s.checkPassword(ctx, in, a.Password, func(j *job) (store.User, bool, error) {
			_, u, err := j.opened(id)
			return u, true, err
		})
		if err != nil {
			return Ticket{}, err
		}
	}
	if p.needs.Code {
		if err := s.payForCode(ctx, in, &p); err != nil {
			return Ticket{}, err
		}
	}
	if p.needs.NewPassword {
		if p.hash, err = s.c.Factors.HashPassword(ctx, a.NewPassword.Reveal()); err != nil {
			return Ticket{}, err
		}
	}
	var t Ticket
	err = s.update(ctx, in, func(j *job) error {
		t = Ticket{}
		var err error
		t, err = j.passed(p)
		return err
	})
	return t, err
}

// invited says that the person acts, through an invitation.
func invited(ctx context.Context, id mfa.InvitationID) context.Context {
	o := audit.From(ctx)
	o.Actor, o.By = mfa.ActorUser, string(id)
	return audit.With(ctx, o)
}

// begin reads what the passage takes and sees that it was given.
func (j *job) begin(p *passage) error {
	i, u, err := j.opened(p.id)
	if err != nil {
		return err
	}
	p.user = u.ID
	if p.needs, err = j.needs(i, u); err != nil {
		return err
	}
	if err := p.complete(p.needs); err != nil {
		return err
	}
	if p.called, err = user.Called(j.tx, u); err != nil {
		return err
	}
	p.second, err = j.hasSecondFactor(u.ID)
	return err
}

// payForCode pays for a typed code, and compares a backup code, outside any transaction.
func (s *Service) payForCode(ctx context.Context, in mfa.RealmID, p *passage) error {
	err := s.update(ctx, in, func(j *job) error {
		var err error
		if p.guess, err = j.pay(p.user, guard.Typed); err != nil || j.refused != nil || isTOTP(p.Code) {
			return err
		}
		p.backup, err = j.c.Factors.BackupCandidate(j.tx, j.realm, p.user, p.Code.Reveal())
		return err
	})
	if err != nil || isTOTP(p.Code) {
		return err
	}
	p.equal, err = s.c.Factors.Compare(ctx, p.backup, p.Code.Reveal())
	return err
}

// isTOTP tells a TOTP code from a backup code, which holds letters.
func isTOTP(code secret.Value) bool { return strings.Trim(code.Reveal(), "0123456789") == "" }

// passed looks at everything again and does what the invitation is for.
func (j *job) passed(p passage) (Ticket, error) {
	i, u, err := j.opened(p.id)
	if err != nil {
		return Ticket{}, err
	}
	needs, err := j.needs(i, u)
	if err != nil {
		return Ticket{}, err
	}
	if needs != p.needs {
		return Ticket{}, mfa.Errorf(mfa.Conflict, mfa.ReasonInvitation, "Something changed meanwhile. Open the link again.")
	}
	if needs.Password {
		if err := j.accept(u, p.password); err != nil {
			return Ticket{}, err
		}
	}
	if needs.Code {
		if err := j.takeCode(u, p); err != nil || j.refused != nil {
			return Ticket{}, err
		}
	}
	through := map[string]string{"invitation": string(i.ID)}
	if needs.NewPassword {
		if err := j.changePassword(u, p.hash, through); err != nil {
			return Ticket{}, err
		}
	}
	if i.Purpose == mfa.InviteToReset {
		return Ticket{}, j.useInvitation(i)
	}
	return j.ticketFor(u, i, Enrol{Authority: Authority{By: mfa.ActorUser}})
}

// ticketFor makes a ticket through an invitation.
func (j *job) ticketFor(u store.User, i store.Invitation, e Enrol) (Ticket, error) {
	t, err := j.issue(u, e, map[string]string{"invitation": string(i.ID)})
	if err != nil {
		return Ticket{}, err
	}
	if err := j.tx.BindInvitation(i.Realm, i.ID, t.ID); err != nil {
		return Ticket{}, fmt.Errorf("bind invitation %s: %w", i.ID, err)
	}
	return t, nil
}

// takeCode uses the typed code up; a wrong one refuses the job, which counts it.
func (j *job) takeCode(u store.User, p passage) error {
	var verdict factor.Verdict
	var err error
	if isTOTP(p.Code) {
		verdict, err = j.c.Factors.CheckTOTP(j.tx, j.realm, u.ID, p.Code.Reveal())
	} else {
		verdict, err = factor.Consume(j.tx, p.backup, p.equal)
	}
	if err != nil {
		return err
	}
	for _, id := range verdict.Disabled {
		if err := j.record(store.Event{Kind: audit.FactorDisabled, User: u.ID, Data: map[string]string{"factor": id}}); err != nil {
			return err
		}
	}
	if verdict.Right {
		return j.giveBack(u.ID, p.guess)
	}
	j.refused = &mfa.Error{Code: mfa.Forbidden, Reason: mfa.ReasonWrongCode, Field: "code", Message: "The code is wrong, or was used before."}
	return j.record(store.Event{Kind: audit.AccountRefused, User: u.ID, Data: map[string]string{
		"reason": string(mfa.ReasonWrongCode), "invitation": string(p.id),
	}})
}

// InvitedEnrolment reads the enrolment that was begun through an invitation. It returns NotFound,
// also for one that was begun otherwise or is no longer the invitation's.
func (s *Service) InvitedEnrolment(ctx context.Context, in mfa.RealmID, id mfa.InvitationID, enrolment mfa.EnrolmentID) (Enrolment, error) {
	err := s.view(ctx, in, func(j *job) error {
		i, err := j.tx.Invitation(in, id)
		if errors.Is(err, store.ErrNotFound) || (err == nil && (enrolment == "" || i.Enrolment != enrolment)) {
			return ErrInvitation()
		}
		return err
	})
	if err != nil {
		return Enrolment{}, err
	}
	return s.Enrolment(ctx, in, enrolment)
}

// ConfirmInvited takes the six digits that the new device shows, from whoever passed the invitation,
// which is used up by them. It returns what InvitedEnrolment and Confirm return.
func (s *Service) ConfirmInvited(ctx context.Context, in mfa.RealmID, id mfa.InvitationID, enrolment mfa.EnrolmentID, code string) (Device, error) {
	if code == "" {
		return Device{}, mfa.InvalidField("code", "The six digits are missing.")
	}
	if _, err := s.InvitedEnrolment(ctx, in, id, enrolment); err != nil {
		return Device{}, err
	}
	return s.Confirm(invited(ctx, id), in, enrolment, code)
}
