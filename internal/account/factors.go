package account

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// TOTP is what may be known of a TOTP factor.
type TOTP struct {
	ID          string
	Name        string
	Algorithm   string
	Digits      int
	Period      time.Duration
	State       store.FactorState
	CreatedAt   mfa.Instant
	ConfirmedAt mfa.Instant // 0 until confirmed
}

func totpView(t store.TOTP) TOTP {
	return TOTP{
		ID: t.ID, Name: t.Name, Algorithm: t.Algorithm, Digits: t.Digits, Period: time.Duration(t.Period) * time.Second,
		State: t.State, CreatedAt: t.CreatedAt, ConfirmedAt: t.ConfirmedAt,
	}
}

// NewTOTP is a TOTP factor that waits to be confirmed. Its seed is shown once.
type NewTOTP struct {
	TOTP
	Seed secret.Value // base32
	URI  secret.Value // otpauth://, holds the seed
}

// TOTPOptions say what a new TOTP factor is like. Zero values mean what every authenticator
// program can do.
type TOTPOptions struct {
	Name      string
	Algorithm string // SHA1, SHA256 or SHA512
	Digits    int    // 6 to 8
	Period    time.Duration
}

// CreateTOTP begins a TOTP factor, which does not count before ConfirmTOTP. It returns NotFound,
// Invalid, Conflict when there are too many, and Forbidden as Enrol does.
func (s *Service) CreateTOTP(ctx context.Context, in mfa.RealmID, who mfa.UserID, a Authority, o TOTPOptions) (NewTOTP, error) {
	var out NewTOTP
	err := s.update(ctx, in, func(j *job) error {
		u, err := j.user(who)
		if err != nil {
			return err
		}
		if err := j.adding(u, a); err != nil {
			return err
		}
		t, seed, uri, err := j.c.Factors.NewTOTP(j.tx, in, who, factor.TOTPOptions{
			Name: o.Name, Algorithm: o.Algorithm, Digits: o.Digits, Period: o.Period, Issuer: j.host, Account: u.Name,
		})
		if err != nil {
			return err
		}
		out = NewTOTP{TOTP: totpView(t), Seed: seed, URI: uri}
		err = j.record(store.Event{Kind: audit.TOTPCreated, User: who, Data: map[string]string{"totp": t.ID}})
		if err != nil {
			return err
		}
		return replay.Made(ctx, j.tx, out)
	})
	return out, err
}

// ConfirmTOTP takes the first code of a new TOTP factor, which counts from then on. It returns
// NotFound, Conflict for one that is confirmed already, and Forbidden wrong_code.
func (s *Service) ConfirmTOTP(ctx context.Context, in mfa.RealmID, who mfa.UserID, id, code string) error {
	return s.update(ctx, in, func(j *job) error {
		u, err := j.user(who)
		if err != nil {
			return err
		}
		right, err := j.c.Factors.ConfirmTOTP(j.tx, in, who, id, code)
		if err != nil {
			return err
		}
		if !right {
			j.refused = &mfa.Error{
				Code: mfa.Forbidden, Reason: mfa.ReasonWrongCode, Field: "code",
				Message: "This is not the code that the new authenticator program shows.",
			}
			return nil
		}
		if err := j.hadFactor(u); err != nil {
			return err
		}
		return j.factorChanged(who, audit.TOTPConfirmed, map[string]string{"totp": id})
	})
}

// factorChanged records a change of a factor and tells the user's devices.
func (j *job) factorChanged(who mfa.UserID, kind string, data map[string]string) error {
	if err := j.record(store.Event{Kind: kind, User: who, Data: data}); err != nil {
		return err
	}
	return j.tell(who, protocol.NoticeFactorChanged, nil)
}

// TOTPs lists a person's TOTP factors, oldest first. It returns NotFound.
func (s *Service) TOTPs(ctx context.Context, in mfa.RealmID, who mfa.UserID) ([]TOTP, error) {
	out := []TOTP{}
	err := s.view(ctx, in, func(j *job) error {
		if _, err := j.user(who); err != nil {
			return err
		}
		list, err := j.tx.UserTOTPs(in, who)
		for _, t := range list {
			out = append(out, totpView(t))
		}
		return err
	})
	return out, err
}

// RemoveTOTP removes a TOTP factor. It returns NotFound, and Forbidden for a user without fresh
// evidence.
func (s *Service) RemoveTOTP(ctx context.Context, in mfa.RealmID, who mfa.UserID, a Authority, id string) error {
	return s.update(ctx, in, func(j *job) error {
		u, err := j.user(who)
		if err != nil {
			return err
		}
		if err := j.changing(u, a); err != nil {
			return err
		}
		if _, err := factor.RemoveTOTP(j.tx, in, who, id); err != nil {
			return err
		}
		return j.factorChanged(who, audit.TOTPRemoved, map[string]string{"totp": id})
	})
}

// MakeBackupCodes gives a person ten new backup codes, shown once, and ends the former ones. It
// returns NotFound, Forbidden as Enrol does, and Unavailable when too many are made at once.
func (s *Service) MakeBackupCodes(ctx context.Context, in mfa.RealmID, who mfa.UserID, a Authority) ([]secret.Value, error) {
	allowed := func(j *job) (store.User, error) {
		u, err := j.user(who)
		if err == nil {
			err = j.adding(u, a)
		}
		return u, err
	}
	// Hashing is expensive, so nothing is hashed for whoever may not have them.
	err := s.update(ctx, in, func(j *job) error {
		_, err := allowed(j)
		return err
	})
	if err != nil {
		return nil, err
	}
	codes, rows, err := s.c.Factors.MakeBackupCodes(ctx)
	if err != nil {
		return nil, err
	}
	err = s.update(ctx, in, func(j *job) error {
		u, err := allowed(j)
		if err != nil {
			return err
		}
		if err := factor.ReplaceBackupCodes(j.tx, in, who, rows); err != nil {
			return err
		}
		if err := j.hadFactor(u); err != nil {
			return err
		}
		err = j.factorChanged(who, audit.BackupCodesMade, map[string]string{"codes": strconv.Itoa(len(rows))})
		if err != nil {
			return err
		}
		return replay.Made(ctx, j.tx, codes)
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}

// BackupCodes is what may be known of a person's backup codes.
type BackupCodes struct {
	Left      int // that can still be used; 0 for none
	Disabled  bool
	CreatedAt mfa.Instant // 0 for none
}

// BackupCodes reads how many backup codes a person has left. It returns NotFound.
func (s *Service) BackupCodes(ctx context.Context, in mfa.RealmID, who mfa.UserID) (BackupCodes, error) {
	var out BackupCodes
	err := s.view(ctx, in, func(j *job) error {
		if _, err := j.user(who); err != nil {
			return err
		}
		set, _, err := j.tx.BackupSet(in, who)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read backup codes of %s: %w", who, err)
		}
		left, err := factor.BackupCodesLeft(j.tx, in, who)
		out = BackupCodes{Left: left, Disabled: set.Disabled, CreatedAt: set.CreatedAt}
		return err
	})
	return out, err
}

// RemoveBackupCodes ends a person's backup codes. It returns NotFound, also when there are none,
// and Forbidden for a user without fresh evidence.
func (s *Service) RemoveBackupCodes(ctx context.Context, in mfa.RealmID, who mfa.UserID, a Authority) error {
	return s.update(ctx, in, func(j *job) error {
		u, err := j.user(who)
		if err != nil {
			return err
		}
		if err := j.changing(u, a); err != nil {
			return err
		}
		_, _, err = j.tx.BackupSet(in, who)
		if errors.Is(err, store.ErrNotFound) {
			return mfa.ErrNotFound()
		}
		if err != nil {
			return fmt.Errorf("read backup codes of %s: %w", who, err)
		}
		if err := factor.RemoveBackupCodes(j.tx, in, who); err != nil {
			return err
		}
		return j.factorChanged(who, audit.BackupCodesGone, nil)
	})
}

// BypassOptions say what a bypass code is for.
type BypassOptions struct {
	Uses   int           // 1 to 10; 0 for 1
	Life   time.Duration // up to 24 h; 0 for 60 min
	Reason string        // required
}

// Bypass is what may be known of a bypass code.
type Bypass struct {
	ID        string
	Reason    string
	By        string // who made it
	Actor     mfa.Actor
	UsesLeft  int
	ExpiresAt mfa.Instant
	CreatedAt mfa.Instant
}

func bypassView(b store.BypassCode) Bypass {
	return Bypass{
		ID: b.ID, Reason: b.Reason, By: b.By, Actor: b.Actor, UsesLeft: b.UsesLeft,
		ExpiresAt: b.ExpiresAt, CreatedAt: b.CreatedAt,
	}
}

// IssuedBypass is a bypass code that was just issued.
type IssuedBypass struct {
	Bypass
	Code secret.Value // shown once
}

// IssueBypass gives a person a bypass code, shown once, in place of a former one, and tells all
// their devices. It returns NotFound, Invalid, Forbidden owner for an owner and Forbidden scope for
// people themselves, and Unavailable when too many are made at once.
func (s *Service) IssueBypass(ctx context.Context, in mfa.RealmID, who mfa.UserID, o BypassOptions) (IssuedBypass, error) {
	by := audit.From(ctx)
	// Before the expensive hash; the owner is looked at again when the code is issued.
	err := s.update(ctx, in, func(j *job) error {
		u, err := j.user(who)
		switch {
		case err != nil:
			return err
		case by.Actor == mfa.ActorUser:
			return mfa.Errorf(mfa.Forbidden, mfa.ReasonScope, "A bypass code comes from the help desk or an administrator.")
		case u.Owner:
			return mfa.Errorf(mfa.Forbidden, mfa.ReasonOwner, "Owners cannot be given bypass codes.")
		}
		return nil
	})
	if err != nil {
		return IssuedBypass{}, err
	}
	code, made, err := s.c.Factors.MakeBypass(ctx, factor.BypassOptions{
		Uses: o.Uses, Life: o.Life, Reason: o.Reason, By: by.By, Actor: by.Actor,
	})
	if err != nil {
		return IssuedBypass{}, err
	}
	var out IssuedBypass
	err = s.update(ctx, in, func(j *job) error {
		if _, err := j.user(who); err != nil {
			return err
		}
		row, err := factor.IssueBypass(j.tx, in, who, made)
		if err != nil {
			return err
		}
		out = IssuedBypass{Bypass: bypassView(row), Code: code}
		err = j.record(store.Event{Kind: audit.BypassIssued, User: who, Data: map[string]string{
			"bypass": row.ID, "uses": strconv.Itoa(row.UsesLeft), "reason": row.Reason,
			"expires_at": row.ExpiresAt.Time().Format(time.RFC3339),
		}})
		if err != nil {
			return err
		}
		if err := j.tell(who, protocol.NoticeBypassIssued, nil); err != nil {
			return err
		}
		return replay.Made(ctx, j.tx, out)
	})
	if err != nil {
		return IssuedBypass{}, err
	}
	return out, nil
}

// Bypass reads a person's bypass code, while it can be used. It returns NotFound.
func (s *Service) Bypass(ctx context.Context, in mfa.RealmID, who mfa.UserID) (Bypass, error) {
	var out Bypass
	err := s.view(ctx, in, func(j *job) error {
		b, err := j.bypass(who)
		if err == nil && (b.UsesLeft == 0 || j.tx.Now() >= b.ExpiresAt) {
			err = mfa.ErrNotFound()
		}
		out = bypassView(b)
		return err
	})
	return out, err
}

func (j *job) bypass(who mfa.UserID) (store.BypassCode, error) {
	b, err := j.tx.BypassCode(j.realm, who)
	if errors.Is(err, store.ErrNotFound) {
		return store.BypassCode{}, mfa.ErrNotFound()
	}
	if err != nil {
		return store.BypassCode{}, fmt.Errorf("read bypass code of %s: %w", who, err)
	}
	return b, nil
}

// RevokeBypass ends a person's bypass code. It returns NotFound when there is none.
func (s *Service) RevokeBypass(ctx context.Context, in mfa.RealmID, who mfa.UserID) error {
	return s.update(ctx, in, func(j *job) error {
		b, err := j.bypass(who)
		if err != nil {
			return err
		}
		if err := factor.RemoveBypass(j.tx, in, who); err != nil {
			return err
		}
		return j.factorChanged(who, audit.BypassRevoked, map[string]string{"bypass": b.ID})
	})
}
