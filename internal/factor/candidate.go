package factor

import (
	"context"
	"errors"
	"fmt"

	"github.com/nodauth/nod/internal/factor/backup"
	"github.com/nodauth/nod/internal/factor/bypass"
	"github.com/nodauth/nod/internal/factor/password"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// Candidate is what an answer is compared with. It is read in one transaction, compared outside,
// and consumed in another.
type Candidate struct {
	kind  kind
	realm mfa.RealmID
	user  mfa.UserID
	hash  string
	real  bool // the hash is the user's, not one that stands for none

	bypass     string // id of the bypass code
	generation int64  // of the backup codes
	index      int    // of the backup code
}

type kind int

const (
	kindPassword kind = iota + 1
	kindBackup
	kindBypass
)

// Compare tells whether input is the candidate's secret. It takes tens of milliseconds and never
// touches a store. It returns Unavailable when too many comparisons wait, or ctx ends.
func (s *Service) Compare(ctx context.Context, c Candidate, input string) (bool, error) {
	text, formed := c.text(input)
	right, err := s.hasher.Compare(ctx, c.hash, text)
	if err != nil {
		return false, fmt.Errorf("compare with the secret of %s: %w", c.user, err)
	}
	return right && formed && c.real, nil
}

// text gives what is hashed of an input, and whether it has the form that a right one has. What
// has not is hashed all the same, cut to a length that no right one has.
func (c Candidate) text(input string) (string, bool) {
	switch c.kind {
	case kindPassword:
		if len(input) > password.MaxBytes {
			return input[:password.MaxBytes], false
		}
		return password.Normalize(input), true
	case kindBackup:
		_, code, ok := backup.Parse(input)
		return code, ok
	case kindBypass:
		return bypass.Parse(input)
	}
	return "", false
}

// CodeTx is what consuming needs of a transaction.
type CodeTx interface {
	Now() mfa.Instant
	User(realm mfa.RealmID, id mfa.UserID) (store.User, error)
	store.Codes
}

// Verdict is what came of a typed answer.
type Verdict struct {
	// Right says that the answer counts: it was right and, where it can be used up, was not.
	Right bool
	// ID names what was used, and differs for each use: "totp_…:STEP", "backup:GENERATION:INDEX",
	// "byp_…:USES LEFT" or "password". It is empty unless Right.
	ID string
	// Disabled names the authenticators that this wrong answer disabled.
	Disabled []string
}

// Consume takes a comparison's result into the deciding transaction. An answer that was right is
// so only if what it was compared with is still in force and is now used up; a password must still
// be the user's. A wrong answer is counted against the authenticator: the caller commits also
// then.
func Consume(tx CodeTx, c Candidate, right bool) (Verdict, error) {
	if !c.real {
		return Verdict{}, nil
	}
	switch c.kind {
	case kindPassword:
		return consumePassword(tx, c, right)
	case kindBackup:
		return consumeBackup(tx, c, right)
	case kindBypass:
		return consumeBypass(tx, c, right)
	}
	return Verdict{}, nil
}

// PasswordCandidate gives the candidate of a user's password. nil stands for a user who does not
// exist; a user without a password is compared likewise.
func (s *Service) PasswordCandidate(u *store.User) Candidate {
	c := Candidate{kind: kindPassword, hash: s.dummy}
	if u != nil {
		c.realm, c.user = u.Realm, u.ID
		if u.Password != "" {
			c.hash, c.real = u.Password, true
		}
	}
	return c
}

func consumePassword(tx CodeTx, c Candidate, right bool) (Verdict, error) {
	if !right {
		return Verdict{}, nil
	}
	u, err := tx.User(c.realm, c.user)
	if errors.Is(err, store.ErrNotFound) {
		return Verdict{}, nil
	}
	if err != nil {
		return Verdict{}, fmt.Errorf("look at user %s again: %w", c.user, err)
	}
	if !c.Still(&u) {
		return Verdict{}, nil
	}
	return Verdict{Right: true, ID: "password"}, nil
}

// Still tells whether the password that the candidate was made of is still the user's. It was not
// set again in between, not even to the same, since every hash has a salt of its own.
func (c Candidate) Still(u *store.User) bool {
	return c.kind == kindPassword && c.real && u.Realm == c.realm && u.ID == c.user && u.Password == c.hash
}

// CheckNewPassword says whether pw may be a new password. names are all that the user is called.
// It returns Invalid, with ReasonPasswordWeak for one that is too short or can be guessed.
func (s *Service) CheckNewPassword(pw string, names []string, hasSecondFactor bool) error {
	return password.Check(pw, names, hasSecondFactor)
}

// HashPassword gives what is stored of a password. It returns Unavailable as Compare does.
func (s *Service) HashPassword(ctx context.Context, pw string) (string, error) {
	hash, err := s.hasher.Hash(ctx, password.Normalize(pw))
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return hash, nil
}
