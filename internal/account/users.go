package account

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/user"
	"github.com/nodauth/nod/protocol"
)

// User is what may be known of a person.
type User struct {
	ID          mfa.UserID
	Name        string   // canonical
	Display     string   // what people read instead
	Aliases     []string // as they were given
	ExternalID  string
	Groups      []string
	Locked      bool
	Owner       bool
	HasPassword bool
	HadFactor   bool
	ReportedAt  mfa.Instant // strangers are shut out since; 0 when not
	CreatedAt   mfa.Instant
	SeenAt      mfa.Instant // last approved sign-in; 0 for never
}

// person gives what may be known of a user.
func (j *job) person(u store.User) (User, error) {
	names, err := j.tx.UserNames(j.realm, u.ID)
	if err != nil {
		return User{}, fmt.Errorf("read names of %s: %w", u.ID, err)
	}
	v := User{
		ID: u.ID, Name: u.Name, Display: u.Display, ExternalID: u.ExternalID, Groups: u.Groups,
		Locked: u.State == store.UserLocked, Owner: u.Owner, HasPassword: u.Password != "",
		HadFactor: u.HadFactor, ReportedAt: u.ReportedAt, CreatedAt: u.CreatedAt, SeenAt: u.SeenAt,
	}
	for _, n := range names {
		if n.Alias {
			v.Aliases = append(v.Aliases, n.Display)
		}
	}
	return v, nil
}

// UserChange says what a person is to be like; a nil member stays as it is.
type UserChange struct {
	Display    *string
	Aliases    *[]string
	Groups     *[]string
	ExternalID *string
	Owner      *bool
}

func (c UserChange) changes() user.Changes {
	return user.Changes{Display: c.Display, Aliases: c.Aliases, Groups: c.Groups, ExternalID: c.ExternalID, Owner: c.Owner}
}

func (c UserChange) members() string {
	var m []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"display", c.Display != nil},
		{"aliases", c.Aliases != nil},
		{"groups", c.Groups != nil},
		{"external_id", c.ExternalID != nil},
		{"owner", c.Owner != nil},
	} {
		if f.set {
			m = append(m, f.name)
		}
	}
	return strings.Join(m, " ")
}

// NewUser is a person to be made.
type NewUser struct {
	Name string
	UserChange
	Password secret.Value // the zero value for none
}

// CreateUser makes a person. It returns Invalid, also for a weak password, and Conflict name_taken
// with the member whose value belongs to somebody.
func (s *Service) CreateUser(ctx context.Context, in mfa.RealmID, n NewUser) (User, error) {
	c := n.changes()
	if !n.Password.IsZero() {
		called := []string{n.Name}
		if n.Display != nil {
			called = append(called, *n.Display)
		}
		if n.Aliases != nil {
			called = append(called, *n.Aliases...)
		}
		if err := s.c.Factors.CheckNewPassword(n.Password.Reveal(), called, false); err != nil {
			return User{}, err
		}
		hash, err := s.c.Factors.HashPassword(ctx, n.Password.Reveal())
		if err != nil {
			return User{}, err
		}
		c.Password = &hash
	}
	var out User
	err := s.update(ctx, in, func(j *job) error {
		u, err := user.Create(j.tx, in, n.Name, c)
		if err != nil {
			return j.whoseName(n, err)
		}
		if err := j.record(store.Event{Kind: audit.UserCreated, User: u.ID, Data: map[string]string{"name": u.Name}}); err != nil {
			return err
		}
		if u.Password != "" {
			if err := j.record(store.Event{Kind: audit.PasswordSet, User: u.ID}); err != nil {
				return err
			}
		}
		if out, err = j.person(u); err != nil {
			return err
		}
		return replay.Made(ctx, j.tx, out)
	})
	return out, err
}

// whoseName says which member of a new user belongs to somebody, where that is why it was refused.
func (j *job) whoseName(n NewUser, refused error) error {
	var e *mfa.Error
	if !errors.As(refused, &e) || e.Reason != mfa.ReasonNameTaken || e.Field != "" {
		return refused
	}
	said := *e
	said.Field = "external_id"
	names := []string{n.Name}
	if n.Aliases != nil {
		names = append(names, *n.Aliases...)
	}
	for i, name := range names {
		canonical, err := user.Canonical("name", name)
		if err != nil {
			return err
		}
		_, err = j.tx.UserByName(j.realm, canonical)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("find user by name: %w", err)
		}
		said.Field = "aliases"
		if i == 0 {
			said.Field = "name"
		}
		break
	}
	return &said
}

// UpdateUser changes a person. It returns NotFound, Invalid and Conflict name_taken.
func (s *Service) UpdateUser(ctx context.Context, in mfa.RealmID, who mfa.UserID, c UserChange) (User, error) {
	var out User
	err := s.update(ctx, in, func(j *job) error {
		u, err := user.Update(j.tx, in, who, c.changes())
		if err != nil {
			return err
		}
		e := store.Event{Kind: audit.UserChanged, User: who, Data: map[string]string{"members": c.members()}}
		if err := j.record(e); err != nil {
			return err
		}
		out, err = j.person(u)
		return err
	})
	return out, err
}

// User reads a person. It returns NotFound.
func (s *Service) User(ctx context.Context, in mfa.RealmID, who mfa.UserID) (User, error) {
	var out User
	err := s.view(ctx, in, func(j *job) error {
		u, err := j.user(who)
		if err != nil {
			return err
		}
		out, err = j.person(u)
		return err
	})
	return out, err
}

// UserByName reads a person by name or alias, in any spelling. It returns Invalid and NotFound.
func (s *Service) UserByName(ctx context.Context, in mfa.RealmID, name string) (User, error) {
	canonical, err := user.Canonical("name", name)
	if err != nil {
		return User{}, err
	}
	var out User
	err = s.view(ctx, in, func(j *job) error {
		u, err := j.tx.UserByName(in, canonical)
		if errors.Is(err, store.ErrNotFound) {
			return mfa.ErrNotFound()
		}
		if err != nil {
			return fmt.Errorf("find user by name: %w", err)
		}
		out, err = j.person(u)
		return err
	})
	return out, err
}

// UserFilter narrows a list of users. The zero value matches all.
type UserFilter = store.UserFilter

// Users lists people, newest first. It returns Invalid for a prefix that no name can begin with.
func (s *Service) Users(ctx context.Context, in mfa.RealmID, f UserFilter, p Page) ([]User, error) {
	if f.Prefix != "" {
		var err error
		if f.Prefix, err = user.Canonical("prefix", f.Prefix); err != nil {
			return nil, err
		}
	}
	var out []User
	err := s.view(ctx, in, func(j *job) error {
		list, err := j.tx.ListUsers(in, f, p)
		if err != nil {
			return fmt.Errorf("list users: %w", err)
		}
		out = make([]User, len(list))
		for i, u := range list {
			if out[i], err = j.person(u); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// DeleteUser removes a person with everything that is theirs, and ends what is live. Challenges
// and events stay. It returns NotFound.
func (s *Service) DeleteUser(ctx context.Context, in mfa.RealmID, who mfa.UserID) error {
	return s.update(ctx, in, func(j *job) error {
		u, err := j.user(who)
		if err != nil {
			return err
		}
		if err := j.endAll(u); err != nil {
			return err
		}
		if err := j.tx.DeleteUser(in, who); err != nil {
			return fmt.Errorf("delete user %s: %w", who, err)
		}
		j.tx.Wake(store.WakeUser(in, who))
		return j.record(store.Event{Kind: audit.UserDeleted, User: who, Data: map[string]string{"name": u.Name}})
	})
}

// endAll cancels the user's live challenges and enrolments, and revokes their invitation.
func (j *job) endAll(u store.User) error {
	if err := j.cancelOf(u.ID, mfa.Cancel{Reason: mfa.CancelUserLocked}); err != nil {
		return err
	}
	ended, err := j.c.Devices.CancelLive(j.tx, j.realm, u.ID)
	if err != nil {
		return err
	}
	for _, out := range ended {
		if err := j.recordEnrolment(out); err != nil {
			return err
		}
	}
	return j.endInvitationOf(u.ID, mfa.InvitationRevoked)
}

// Lock shuts a person out: live challenges and enrolments are cancelled. Locking again changes
// nothing. It returns NotFound.
func (s *Service) Lock(ctx context.Context, in mfa.RealmID, who mfa.UserID) error {
	return s.update(ctx, in, func(j *job) error {
		u, err := j.user(who)
		if err != nil || u.State == store.UserLocked {
			return err
		}
		u.State = store.UserLocked
		if err := j.put(u); err != nil {
			return err
		}
		if err := j.record(store.Event{Kind: audit.UserLocked, User: who}); err != nil {
			return err
		}
		return j.endAll(u)
	})
}

// Unlock lets a person in again and tells their devices. It returns NotFound.
func (s *Service) Unlock(ctx context.Context, in mfa.RealmID, who mfa.UserID) error {
	return s.update(ctx, in, func(j *job) error {
		u, err := j.user(who)
		if err != nil || u.State == store.UserActive {
			return err
		}
		u.State = store.UserActive
		if err := j.put(u); err != nil {
			return err
		}
		if err := j.record(store.Event{Kind: audit.UserUnlocked, User: who}); err != nil {
			return err
		}
		return j.tell(who, protocol.NoticeLockLifted, nil)
	})
}
