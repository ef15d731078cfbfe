package factor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/factor/bypass"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/wire/plain"
)

// The bounds of a bypass code.
const (
	MaxBypassUses     = 10
	MaxBypassLife     = 24 * time.Hour
	DefaultBypassLife = 60 * time.Minute

	maxReason = 200 // characters
)

// BypassOptions say what a bypass code is for.
type BypassOptions struct {
	Uses   int           // 1 to 10; 0 for 1
	Life   time.Duration // up to 24 h; 0 for 60 min
	Reason string        // required, at most 200 characters
	By     string        // who makes it
	Actor  mfa.Actor     // help desk or administrator
}

// Bypass is a bypass code that was made and is not in force yet.
type Bypass struct {
	row  store.BypassCode
	life time.Duration
}

// MakeBypass makes a bypass code, outside any transaction; IssueBypass puts it in force. The code
// is shown once and kept nowhere. It returns Invalid for options out of bounds, and Unavailable
// as Compare does.
func (s *Service) MakeBypass(ctx context.Context, o BypassOptions) (secret.Value, Bypass, error) {
	if o.Uses == 0 {
		o.Uses = 1
	}
	if o.Life == 0 {
		o.Life = DefaultBypassLife
	}
	switch {
	case o.Uses < 1 || o.Uses > MaxBypassUses:
		return secret.Value{}, Bypass{}, mfa.InvalidField("uses", "A bypass code has 1 to %d uses.", MaxBypassUses)
	case o.Life < 0 || o.Life > MaxBypassLife:
		return secret.Value{}, Bypass{}, mfa.InvalidField("expires_in", "A bypass code lives at most 24 hours.")
	case strings.TrimSpace(o.Reason) == "":
		return secret.Value{}, Bypass{}, mfa.InvalidField("reason", "Say why the person needs a bypass code.")
	case !plain.Text(o.Reason, maxReason):
		return secret.Value{}, Bypass{}, mfa.InvalidField("reason", "A reason is at most %d characters on one line.", maxReason)
	}
	code := bypass.Make()
	hash, err := s.hasher.Hash(ctx, code)
	if err != nil {
		return secret.Value{}, Bypass{}, fmt.Errorf("hash bypass code: %w", err)
	}
	return secret.New(code), Bypass{
		row: store.BypassCode{
			ID: secret.ID("byp_"), Hash: hash, UsesLeft: o.Uses,
			Reason: o.Reason, By: o.By, Actor: o.Actor,
		},
		life: o.Life,
	}, nil
}

// IssueBypass puts a bypass code in force for a user and ends a former one. It returns NotFound
// for an unknown user and Forbidden with ReasonOwner for an owner, whom nobody may help so.
func IssueBypass(tx CodeTx, realm mfa.RealmID, user mfa.UserID, b Bypass) (store.BypassCode, error) {
	u, err := tx.User(realm, user)
	if errors.Is(err, store.ErrNotFound) {
		return store.BypassCode{}, mfa.ErrNotFound()
	}
	if err != nil {
		return store.BypassCode{}, fmt.Errorf("read user %s: %w", user, err)
	}
	if u.Owner {
		return store.BypassCode{}, mfa.Errorf(mfa.Forbidden, mfa.ReasonOwner, "Owners cannot be given bypass codes.")
	}
	b.row.Realm, b.row.User = realm, user
	b.row.CreatedAt, b.row.ExpiresAt = tx.Now(), tx.Now().Add(b.life)
	if err := tx.ReplaceBypassCode(b.row); err != nil {
		return store.BypassCode{}, fmt.Errorf("issue bypass code for %s: %w", user, err)
	}
	return b.row, nil
}

// RemoveBypass ends the user's bypass code. That there is none is no error.
func RemoveBypass(tx store.Codes, realm mfa.RealmID, user mfa.UserID) error {
	if err := tx.DeleteBypassCode(realm, user); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("remove bypass code of %s: %w", user, err)
	}
	return nil
}

func bypassLive(b store.BypassCode, now mfa.Instant) bool {
	return b.UsesLeft > 0 && now < b.ExpiresAt && now >= b.CreatedAt.Add(-mfa.ClockSlack)
}

// BypassCandidate gives what a typed bypass code is compared with: the user's one, if it has uses
// and time left.
func (s *Service) BypassCandidate(tx interface {
	Now() mfa.Instant
	store.Codes
}, realm mfa.RealmID, user mfa.UserID,
) (Candidate, error) {
	c := Candidate{kind: kindBypass, realm: realm, user: user, hash: s.dummy}
	b, err := tx.BypassCode(realm, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Candidate{}, fmt.Errorf("read bypass code of %s: %w", user, err)
	}
	if err == nil && bypassLive(b, tx.Now()) {
		c.hash, c.real, c.bypass = b.Hash, true, b.ID
	}
	return c, nil
}

func consumeBypass(tx CodeTx, c Candidate, right bool) (Verdict, error) {
	if right {
		err := tx.UseBypassCode(c.realm, c.user, c.bypass, tx.Now())
		if errors.Is(err, store.ErrUsed) {
			return Verdict{}, nil
		}
		if err != nil {
			return Verdict{}, fmt.Errorf("use bypass code of %s: %w", c.user, err)
		}
	}
	b, err := tx.BypassCode(c.realm, c.user) // read after the use: it has one less now
	if errors.Is(err, store.ErrNotFound) || err == nil && (b.ID != c.bypass || !right && b.UsesLeft == 0) {
		return Verdict{}, nil
	}
	if err != nil {
		return Verdict{}, fmt.Errorf("read bypass code of %s: %w", c.user, err)
	}
	v := Verdict{Right: right}
	if right {
		v.ID = fmt.Sprintf("%s:%d", c.bypass, b.UsesLeft)
		b.Failures = 0
	} else if b.Failures++; b.Failures >= mfa.MaxFailures {
		b.UsesLeft = 0
		v.Disabled = append(v.Disabled, c.bypass)
	}
	if err := tx.PutBypassCode(b); err != nil {
		return Verdict{}, fmt.Errorf("count bypass code of %s: %w", c.user, err)
	}
	return v, nil
}
