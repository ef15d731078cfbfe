// Package factor keeps what a person knows or types: passwords, time-based codes (TOTP), backup
// codes and bypass codes. It makes them, compares them, and uses them up.
//
// # Cheap and expensive comparisons
//
// A TOTP code is compared inside the transaction that decides ([Service.CheckTOTP]). Passwords,
// backup codes and bypass codes are kept as argon2id hashes, far too slow for a transaction, so
// they take three steps:
//
//	c := BackupCandidate(tx, ...)            inside a transaction: what to compare with
//	right, err := s.Compare(ctx, c, input)   outside any transaction
//	id, ok, err := Consume(tx, c, right)     inside the deciding transaction
//
// There is a candidate for everybody, also for a user who does not exist, has no code or used it
// up, and comparing with it costs the same. Consume looks again at what it uses: a code that was
// replaced, used up or disabled between the steps is not right any more.
//
// Whoever calls has paid for the guess before Compare or CheckTOTP (budgets are not kept here).
// What is kept here is how often an authenticator was answered wrong in a row; after
// [mfa.MaxFailures] it is disabled. So a wrong answer is not an error: it is a result that the
// caller commits. An answer that is right and used up already is neither right nor counted, since
// it is no guess.
//
// Events, notices, and whether the caller may do what it asks for are for the packages above.
package factor

import (
	"errors"

	"github.com/nodauth/nod/internal/factor/password"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// Config of the Service.
type Config struct {
	Ring *keys.Ring
	// HashSlots is how many hashes are made at once, each in 19 MiB and on one processor; as
	// many as there are processors if it is not positive.
	HashSlots int
}

// Service makes and checks factors. It may be used by several goroutines.
type Service struct {
	ring   *keys.Ring
	hasher *password.Hasher
	dummy  string // hash that stands for what does not exist
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Ring == nil {
		return nil, errors.New("factor: Config.Ring is required")
	}
	return &Service{ring: c.Ring, hasher: password.NewHasher(c.HashSlots), dummy: password.Dummy()}, nil
}

// Hashing tells how many password hashes are made at this moment, and how many wait for their turn.
func (s *Service) Hashing() (running, waiting int) { return s.hasher.Busy() }

// Usable returns the methods of this package that the user could answer with now: an active TOTP,
// an unused backup code, a bypass code with uses and time left. What policy allows is not asked.
func (s *Service) Usable(tx interface {
	Now() mfa.Instant
	store.TOTPs
	store.Codes
}, realm mfa.RealmID, user mfa.UserID,
) (mfa.Methods, error) {
	var usable mfa.Methods
	totps, err := tx.UserTOTPs(realm, user)
	if err != nil {
		return 0, err
	}
	for _, t := range totps {
		if t.State == store.FactorActive {
			usable |= mfa.MethodsOf(mfa.TOTP)
		}
	}
	left, err := BackupCodesLeft(tx, realm, user)
	if err != nil {
		return 0, err
	}
	if left > 0 {
		usable |= mfa.MethodsOf(mfa.BackupCode)
	}
	b, err := tx.BypassCode(realm, user)
	switch {
	case err == nil && bypassLive(b, tx.Now()):
		usable |= mfa.MethodsOf(mfa.BypassCode)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return 0, err
	}
	return usable, nil
}
