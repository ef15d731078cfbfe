package account

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

const (
	invitationBytes = 16 // of the secret in a link

	// PathInvitation is the page to which an invitation's link leads.
	PathInvitation = "/invitation"

	// MaxInvited is how many people are invited at once.
	MaxInvited = 100
)

// Invite says what an invitation is like. The zero value leads to a device and lasts a week.
type Invite struct {
	Purpose     mfa.InvitationPurpose // InviteToEnrol if empty
	Life        time.Duration         // 1 h to 30 days; 7 days if 0
	SetPassword bool                  // a person without a password may set one
}

func (i *Invite) complete() error {
	if i.Purpose == "" {
		i.Purpose = mfa.InviteToEnrol
	}
	if i.Purpose != mfa.InviteToEnrol && i.Purpose != mfa.InviteToReset {
		return mfa.InvalidField("purpose", "An invitation is there to enrol or to reset.")
	}
	if i.Life == 0 {
		i.Life = mfa.InvitationLife
	}
	if i.Life < mfa.MinInvitationLife || i.Life > mfa.MaxInvitationLife {
		return mfa.InvalidField("expires_in", "An invitation lasts from an hour to 30 days.")
	}
	return nil
}

// Invitation is what may be known of an invitation.
type Invitation struct {
	ID          mfa.InvitationID
	User        mfa.UserID
	Name        string // of the user
	Purpose     mfa.InvitationPurpose
	State       mfa.InvitationState
	SetPassword bool
	Actor       mfa.Actor
	By          string
	CreatedAt   mfa.Instant
	ExpiresAt   mfa.Instant
	EndedAt     mfa.Instant  // 0 while live
	Link        secret.Value // of a new one, which is shown once; else zero
}

// InvitationFilter narrows a list of invitations. The zero value matches all.
type InvitationFilter = store.InvitationFilter

// Invite makes an invitation, which ends a former one of the person. It returns NotFound, Invalid,
// and Conflict for a locked user.
func (s *Service) Invite(ctx context.Context, in mfa.RealmID, who mfa.UserID, o Invite) (Invitation, error) {
	if err := o.complete(); err != nil {
		return Invitation{}, err
	}
	var out Invitation
	err := s.update(ctx, in, func(j *job) error {
		u, err := j.user(who)
		if err != nil {
			return err
		}
		if u.State != store.UserActive {
			return errLocked()
		}
		if out, err = j.invite(u, o); err != nil {
			return err
		}
		return replay.Made(ctx, j.tx, out)
	})
	return out, err
}

// Invited is what became of one of many who were to be invited.
type Invited struct {
	User       mfa.UserID
	Invitation Invitation
	Skipped    string // "" or why there is none: unknown, locked, enrolled or invited
}

// InviteMany makes an invitation for each person, at most MaxInvited. With fresh, whoever ever had a
// factor or has a live invitation is left out, so that repeating it ends no link that was sent.
func (s *Service) InviteMany(ctx context.Context, in mfa.RealmID, who []mfa.UserID, o Invite, fresh bool) ([]Invited, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if len(who) == 0 || len(who) > MaxInvited {
		return nil, mfa.InvalidField("users", "1 to %d people are invited at once.", MaxInvited)
	}
	var out []Invited
	err := s.update(ctx, in, func(j *job) error {
		out = make([]Invited, len(who))
		for i, id := range who {
			out[i].User = id
			u, err := j.user(id)
			if mfa.CodeOf(err) == mfa.NotFound {
				out[i].Skipped = "unknown"
				continue
			}
			if err != nil {
				return err
			}
			if out[i].Skipped, err = j.leaveOut(u, fresh); err != nil || out[i].Skipped != "" {
				if err != nil {
					return err
				}
				continue
			}
			if out[i].Invitation, err = j.invite(u, o); err != nil {
				return err
			}
		}
		return replay.Made(ctx, j.tx, out)
	})
	return out, err
}

// leaveOut says why a person is not to be invited, "" for no reason.
func (j *job) leaveOut(u store.User, fresh bool) (string, error) {
	if u.State != store.UserActive {
		return "locked", nil
	}
	if !fresh {
		return "", nil
	}
	if u.HadFactor {
		return "enrolled", nil
	}
	live, err := j.liveInvitation(u.ID)
	if err != nil || live == nil || live.At(j.tx.Now()).State != mfa.InvitationLive {
		return "", err
	}
	return "invited", nil
}

func (j *job) invite(u store.User, o Invite) (Invitation, error) {
	if err := j.endInvitationOf(u.ID, mfa.InvitationSuperseded); err != nil {
		return Invitation{}, err
	}
	text := secret.Base64(invitationBytes)
	by := audit.From(j.ctx)
	now := j.tx.Now()
	i := store.Invitation{
		Realm: j.realm, ID: mfa.InvitationID(secret.ID("inv_")), User: u.ID, Hash: hashInvitation(text), Purpose: o.Purpose,
		State: mfa.InvitationLive, SetPassword: o.SetPassword, Actor: by.Actor, By: by.By, CreatedAt: now, ExpiresAt: now.Add(o.Life),
	}
	if err := j.tx.InsertInvitation(i); err != nil {
		return Invitation{}, fmt.Errorf("insert invitation: %w", err)
	}
	origin, err := j.c.Realms.Address(j.tx, j.realm, j.origin)
	if err != nil {
		return Invitation{}, err
	}
	out := invitationView(i, u.Name, now)
	out.Link = secret.New(origin + PathInvitation + "#" + text)
	return out, j.record(store.Event{Kind: audit.InvitationCreated, User: u.ID, Data: map[string]string{
		"invitation": string(i.ID), "purpose": string(i.Purpose), "set_password": strconv.FormatBool(i.SetPassword),
		"expires_at": i.ExpiresAt.Time().Format(time.RFC3339),
	}})
}

func hashInvitation(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func invitationView(i store.Invitation, name string, now mfa.Instant) Invitation {
	i = i.At(now)
	return Invitation{
		ID: i.ID, User: i.User, Name: name, Purpose: i.Purpose, State: i.State, SetPassword: i.SetPassword, Actor: i.Actor,
		By: i.By, CreatedAt: i.CreatedAt, ExpiresAt: i.ExpiresAt, EndedAt: i.EndedAt,
	}
}

// Invitation reads an invitation. It returns NotFound.
func (s *Service) Invitation(ctx context.Context, in mfa.RealmID, id mfa.InvitationID) (Invitation, error) {
	var out Invitation
	err := s.view(ctx, in, func(j *job) error {
		var err error
		out, _, err = j.invitation(id)
		return err
	})
	return out, err
}

func (j *job) invitation(id mfa.InvitationID) (Invitation, store.Invitation, error) {
	i, err := j.tx.Invitation(j.realm, id)
	if errors.Is(err, store.ErrNotFound) {
		return Invitation{}, i, mfa.ErrNotFound()
	}
	if err != nil {
		return Invitation{}, i, fmt.Errorf("read invitation %s: %w", id, err)
	}
	u, err := j.user(i.User)
	return invitationView(i, u.Name, j.tx.Now()), i, err
}

// Invitations lists invitations, newest first.
func (s *Service) Invitations(ctx context.Context, in mfa.RealmID, f InvitationFilter, p Page) ([]Invitation, error) {
	var out []Invitation
	err := s.view(ctx, in, func(j *job) error {
		list, err := j.tx.ListInvitations(in, f, p)
		if err != nil {
			return fmt.Errorf("list invitations: %w", err)
		}
		out = make([]Invitation, len(list))
		for k, i := range list {
			u, err := j.user(i.User)
			if err != nil {
				return err
			}
			out[k] = invitationView(i, u.Name, j.tx.Now())
		}
		return nil
	})
	return out, err
}

// RevokeInvitation ends an invitation, and the enrolment that was begun through it. It returns
// NotFound, and Conflict for one that is over.
func (s *Service) RevokeInvitation(ctx context.Context, in mfa.RealmID, id mfa.InvitationID) (Invitation, error) {
	var out Invitation
	err := s.update(ctx, in, func(j *job) error {
		seen, i, err := j.invitation(id)
		if err != nil {
			return err
		}
		if seen.State != mfa.InvitationLive {
			return errInvitationState(seen.State)
		}
		if err := j.endInvitation(i, mfa.InvitationRevoked); err != nil {
			return err
		}
		out, _, err = j.invitation(id)
		return err
	})
	return out, err
}

func errInvitationState(is mfa.InvitationState) error {
	return mfa.Errorf(mfa.Conflict, mfa.ReasonInvitation, "The invitation is %s.", is)
}

// ResendInvitation makes another invitation like this one, with a new secret; the old link is dead.
// One that is over can be sent again too, a used one cannot. It returns NotFound, and Conflict for a
// used one and a locked user.
func (s *Service) ResendInvitation(ctx context.Context, in mfa.RealmID, id mfa.InvitationID) (Invitation, error) {
	var out Invitation
	err := s.update(ctx, in, func(j *job) error {
		seen, i, err := j.invitation(id)
		if err != nil {
			return err
		}
		if seen.State == mfa.InvitationUsed {
			return errInvitationState(seen.State)
		}
		u, err := j.user(i.User)
		if err != nil {
			return err
		}
		if u.State != store.UserActive {
			return errLocked()
		}
		out, err = j.invite(u, Invite{Purpose: i.Purpose, Life: i.ExpiresAt.Sub(i.CreatedAt), SetPassword: i.SetPassword})
		if err != nil {
			return err
		}
		return replay.Made(ctx, j.tx, out)
	})
	return out, err
}

// liveInvitation gives the user's live invitation, nil for none.
func (j *job) liveInvitation(who mfa.UserID) (*store.Invitation, error) {
	i, err := j.tx.LiveInvitation(j.realm, who)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // none is no error
	}
	if err != nil {
		return nil, fmt.Errorf("read invitation of %s: %w", who, err)
	}
	return &i, nil
}

func (j *job) endInvitationOf(who mfa.UserID, state mfa.InvitationState) error {
	i, err := j.liveInvitation(who)
	if err != nil || i == nil {
		return err
	}
	return j.endInvitation(*i, state)
}

// revokeReset revokes the person's invitation if it leads to a new password.
func (j *job) revokeReset(who mfa.UserID) error {
	i, err := j.liveInvitation(who)
	if err != nil || i == nil || i.Purpose != mfa.InviteToReset {
		return err
	}
	return j.endInvitation(*i, mfa.InvitationRevoked)
}

// endInvitation gives a live invitation its end, and with it the enrolment that was begun through it.
// One whose time is over has expired, whatever else is to end it.
func (j *job) endInvitation(i store.Invitation, state mfa.InvitationState) error {
	at := j.tx.Now()
	if was := i.At(at); was.State != mfa.InvitationLive {
		state, at = was.State, was.EndedAt
	}
	if err := j.tx.EndInvitation(i.Realm, i.ID, state, at); err != nil {
		return fmt.Errorf("end invitation %s: %w", i.ID, err)
	}
	kind := audit.InvitationRevoked
	switch state {
	case mfa.InvitationSuperseded:
		kind = audit.InvitationSuperseded
	case mfa.InvitationExpired:
		kind = audit.InvitationExpired
	case mfa.InvitationLive, mfa.InvitationUsed, mfa.InvitationRevoked:
	}
	if err := j.record(store.Event{Kind: kind, User: i.User, Data: map[string]string{"invitation": string(i.ID)}}); err != nil {
		return err
	}
	if i.Enrolment == "" {
		return nil
	}
	e, err := j.c.Devices.Enrolment(j.tx, i.Realm, i.Enrolment)
	if mfa.CodeOf(err) == mfa.NotFound || (err == nil && !e.State.Live()) {
		return nil
	}
	if err != nil {
		return err
	}
	out, err := j.c.Devices.Cancel(j.tx, e)
	if err != nil {
		return err
	}
	return j.recordEnrolment(out)
}

// throughInvitation gives the invitation through which an enrolment came about, zero for none. If
// that is over, the enrolment ends and the job is refused.
func (j *job) throughInvitation(e store.Enrolment) (i store.Invitation, over bool, err error) {
	i, err = j.tx.InvitationByEnrolment(j.realm, e.ID)
	if errors.Is(err, store.ErrNotFound) {
		return store.Invitation{}, false, nil
	}
	if err != nil {
		return store.Invitation{}, false, fmt.Errorf("read invitation of %s: %w", e.ID, err)
	}
	if !e.At(j.tx.Now()).State.Live() || i.At(j.tx.Now()).State == mfa.InvitationLive {
		return i, false, nil
	}
	j.refused = ErrInvitation()
	out, err := j.c.Devices.Cancel(j.tx, e)
	if err != nil {
		return i, true, err
	}
	return i, true, j.recordEnrolment(out)
}

// useInvitation uses an invitation up.
func (j *job) useInvitation(i store.Invitation) error {
	err := j.tx.UseInvitation(i.Realm, i.ID, j.tx.Now())
	if errors.Is(err, store.ErrUsed) {
		return ErrInvitation()
	}
	if err != nil {
		return fmt.Errorf("use invitation %s: %w", i.ID, err)
	}
	return j.record(store.Event{Kind: audit.InvitationUsed, User: i.User, Data: map[string]string{
		"invitation": string(i.ID), "purpose": string(i.Purpose),
	}})
}

// sweepInvitations records the end of invitations whose time is over.
func (s *Service) sweepInvitations(ctx context.Context) error {
	return rounds(ctx, func() (int, error) {
		n := 0
		err := s.update(ctx, "", func(j *job) error {
			due, err := j.tx.DueInvitations(j.tx.Now(), sweepBatch)
			if err != nil {
				return fmt.Errorf("list due invitations: %w", err)
			}
			for _, i := range due {
				j.realm = i.Realm
				if err := j.endInvitation(i, mfa.InvitationExpired); err != nil {
					return err
				}
			}
			n = len(due)
			return nil
		})
		return n, err
	})
}
