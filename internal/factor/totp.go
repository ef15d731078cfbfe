package factor

import (
	"errors"
	"fmt"
	"time"

	"github.com/nodauth/nod/internal/factor/totp"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/wire/plain"
)

// The bounds of TOTP factors.
const (
	// MaxTOTPs is how many a user may have, the pending one counted.
	MaxTOTPs = 10
	// MaxConfirmations is how many wrong codes end a pending one.
	MaxConfirmations = 10
	// PendingLife is how long one may be confirmed.
	PendingLife = time.Hour

	maxTOTPName = 64 // characters
)

// TOTPTx is what TOTP factors need of a transaction.
type TOTPTx interface {
	Now() mfa.Instant
	store.TOTPs
}

// TOTPOptions say what a new TOTP factor is like. Zero values mean what every authenticator
// program can do: SHA1, six digits, 30 seconds.
type TOTPOptions struct {
	Name      string        // for people who have several; at most 64 characters
	Algorithm string        // SHA1, SHA256 or SHA512
	Digits    int           // 6 to 8
	Period    time.Duration // 30 s or 60 s
	Issuer    string        // shown by the authenticator program
	Account   string        // likewise: the user's name
}

// NewTOTP begins a TOTP factor. It does not count before ConfirmTOTP; a former one that was not
// confirmed is replaced. The seed, in base32, and the otpauth address that holds it are shown once
// and can not be read again. It returns Invalid for options out of bounds, and Conflict with
// ReasonLimit when the user has too many.
func (s *Service) NewTOTP(tx TOTPTx, realm mfa.RealmID, user mfa.UserID, o TOTPOptions) (store.TOTP, secret.Value, secret.Value, error) {
	fail := func(err error) (store.TOTP, secret.Value, secret.Value, error) {
		return store.TOTP{}, secret.Value{}, secret.Value{}, err
	}
	o, err := o.complete()
	if err != nil {
		return fail(err)
	}
	if err := dropPending(tx, realm, user); err != nil {
		return fail(err)
	}
	code := totp.Code{
		Seed: secret.Random(totp.Algorithm(o.Algorithm).SeedBytes()), Algorithm: totp.Algorithm(o.Algorithm),
		Digits: o.Digits, Period: o.Period,
	}
	t := store.TOTP{
		Realm: realm, ID: secret.ID("totp_"), User: user, Name: o.Name,
		Algorithm: o.Algorithm, Digits: o.Digits, Period: int(o.Period / time.Second),
		State: store.FactorPending, CreatedAt: tx.Now(),
	}
	if t.Sealed, err = s.ring.Seal(code.Seed, seedPlace(t)); err != nil {
		return fail(fmt.Errorf("seal seed of %s: %w", t.ID, err))
	}
	if err := tx.InsertTOTP(t); err != nil {
		return fail(fmt.Errorf("insert %s: %w", t.ID, err))
	}
	return t, secret.New(code.Base32()), secret.New(code.URI(o.Issuer, o.Account)), nil
}

func (o TOTPOptions) complete() (TOTPOptions, error) {
	if o.Algorithm == "" {
		o.Algorithm = string(totp.SHA1)
	}
	if o.Digits == 0 {
		o.Digits = totp.MinDigits
	}
	if o.Period == 0 {
		o.Period = 30 * time.Second
	}
	switch {
	case totp.Algorithm(o.Algorithm).SeedBytes() == 0:
		return o, mfa.InvalidField("algorithm", "The algorithm is SHA1, SHA256 or SHA512.")
	case o.Digits < totp.MinDigits || o.Digits > totp.MaxDigits:
		return o, mfa.InvalidField("digits", "A code has 6 to 8 digits.")
	case o.Period != 30*time.Second && o.Period != time.Minute:
		return o, mfa.InvalidField("period", "A code changes every 30 or 60 seconds.")
	case !plain.Text(o.Name, maxTOTPName):
		return o, mfa.InvalidField("name", "A name is at most %d characters on one line.", maxTOTPName)
	}
	return o, nil
}

func dropPending(tx store.TOTPs, realm mfa.RealmID, user mfa.UserID) error {
	all, err := tx.UserTOTPs(realm, user)
	if err != nil {
		return fmt.Errorf("list TOTP factors of %s: %w", user, err)
	}
	kept := 0
	for _, t := range all {
		if t.State != store.FactorPending {
			kept++
			continue
		}
		if err := tx.DeleteTOTP(realm, t.ID); err != nil {
			return fmt.Errorf("replace %s: %w", t.ID, err)
		}
	}
	if kept >= MaxTOTPs {
		return mfa.Errorf(mfa.Conflict, mfa.ReasonLimit, "The user has %d TOTP factors already. Remove one first.", kept)
	}
	return nil
}

// ConfirmTOTP puts a pending factor in force if code is right, and uses that code up. A wrong one
// is counted and returned as false without an error, so that the caller commits; the tenth removes
// the factor. It returns NotFound for what is not a factor of this user, Conflict for one that is
// not pending, and Gone for one that was begun too long ago.
func (s *Service) ConfirmTOTP(tx TOTPTx, realm mfa.RealmID, user mfa.UserID, id, code string) (bool, error) {
	t, err := userTOTP(tx, realm, user, id)
	switch {
	case err != nil:
		return false, err
	case t.State != store.FactorPending:
		return false, mfa.Errorf(mfa.Conflict, "", "This TOTP factor is %s, not waiting to be confirmed.", t.State)
	case tx.Now() >= t.CreatedAt.Add(PendingLife):
		return false, mfa.Errorf(mfa.Gone, mfa.ReasonExpired, "This TOTP factor was begun too long ago. Begin again.")
	}
	c, err := s.code(t)
	if err != nil {
		return false, err
	}
	step, right := c.Match(code, tx.Now().Time())
	if !right {
		if t.Failures++; t.Failures >= MaxConfirmations {
			return false, tx.DeleteTOTP(realm, id)
		}
		return false, tx.PutTOTP(t)
	}
	t.State, t.Failures, t.ConfirmedAt = store.FactorActive, 0, tx.Now()
	if err := tx.PutTOTP(t); err != nil {
		return false, fmt.Errorf("confirm %s: %w", id, err)
	}
	if err := tx.ConsumeStep(realm, id, step); err != nil {
		return false, fmt.Errorf("use up the first code of %s: %w", id, err)
	}
	return true, nil
}

// RemoveTOTP removes a factor in whatever state. It returns NotFound for what is not a factor of
// this user.
func RemoveTOTP(tx store.TOTPs, realm mfa.RealmID, user mfa.UserID, id string) (store.TOTP, error) {
	t, err := userTOTP(tx, realm, user, id)
	if err != nil {
		return store.TOTP{}, err
	}
	if err := tx.DeleteTOTP(realm, id); err != nil {
		return store.TOTP{}, fmt.Errorf("remove %s: %w", id, err)
	}
	return t, nil
}

func userTOTP(tx store.TOTPs, realm mfa.RealmID, user mfa.UserID, id string) (store.TOTP, error) {
	t, err := tx.TOTP(realm, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && t.User != user {
		return store.TOTP{}, mfa.ErrNotFound()
	}
	if err != nil {
		return store.TOTP{}, fmt.Errorf("read %s: %w", id, err)
	}
	return t, nil
}

// CheckTOTP compares a typed code with the user's active factors and uses up the one that it is
// right for. Everything else, used up included, is not right and nothing more is said; the caller
// commits also then, since failures were counted.
func (s *Service) CheckTOTP(tx TOTPTx, realm mfa.RealmID, user mfa.UserID, code string) (Verdict, error) {
	if !totp.Digits(code) {
		return Verdict{}, nil
	}
	all, err := tx.UserTOTPs(realm, user)
	if err != nil {
		return Verdict{}, fmt.Errorf("list TOTP factors of %s: %w", user, err)
	}
	var v Verdict
	compared := false
	for _, t := range all {
		if t.State != store.FactorActive || t.Digits != len(code) || v.Right {
			continue
		}
		compared = true
		if err := s.checkOne(tx, t, code, &v); err != nil {
			return Verdict{}, fmt.Errorf("check %s: %w", t.ID, err)
		}
	}
	if !compared {
		nobody(len(code)).Match(code, tx.Now().Time())
	}
	return v, nil
}

func (s *Service) checkOne(tx TOTPTx, t store.TOTP, code string, v *Verdict) error {
	c, err := s.code(t)
	if err != nil {
		return err
	}
	step, matched := c.Match(code, tx.Now().Time())
	if !matched {
		if t.Failures++; t.Failures >= mfa.MaxFailures {
			t.State = store.FactorDisabled
			v.Disabled = append(v.Disabled, t.ID)
		}
		return tx.PutTOTP(t)
	}
	if step <= t.LastStep {
		return nil
	}
	if t.Failures > 0 {
		t.Failures = 0
		if err := tx.PutTOTP(t); err != nil {
			return err
		}
	}
	if err := tx.ConsumeStep(t.Realm, t.ID, step); errors.Is(err, store.ErrUsed) {
		return nil
	} else if err != nil {
		return err
	}
	v.Right, v.ID = true, fmt.Sprintf("%s:%d", t.ID, step)
	return nil
}

// nobody is compared with where a user has no factor, so that this takes about as long.
func nobody(digits int) totp.Code {
	return totp.Code{Seed: make([]byte, totp.SHA1.SeedBytes()), Algorithm: totp.SHA1, Digits: digits, Period: 30 * time.Second}
}

func (s *Service) code(t store.TOTP) (totp.Code, error) {
	seed, err := s.ring.Open(t.Sealed, seedPlace(t))
	if err != nil {
		return totp.Code{}, fmt.Errorf("open seed of %s: %w", t.ID, err)
	}
	return totp.Code{
		Seed: seed, Algorithm: totp.Algorithm(t.Algorithm), Digits: t.Digits,
		Period: time.Duration(t.Period) * time.Second,
	}, nil
}

func seedPlace(t store.TOTP) keys.AAD {
	return keys.AAD{Realm: string(t.Realm), Table: "totps", Row: t.ID, Column: "seed"}
}
