package account

import (
	"context"
	"fmt"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/user"
	"github.com/nodauth/nod/protocol"
)

// SetPassword gives a person a password, or takes it for the zero value. One that stands alone has
// to be longer than one beside a second factor. Whatever began under the former one ends. It
// returns NotFound, Invalid password_weak, Forbidden for a user without fresh evidence, and
// Unavailable when too many are set at once.
func (s *Service) SetPassword(ctx context.Context, in mfa.RealmID, who mfa.UserID, a Authority, password secret.Value) error {
	var called []string
	second := false
	allowed := func(j *job) (store.User, error) {
		u, err := j.user(who)
		if err == nil {
			err = j.changing(u, a)
		}
		return u, err
	}
	// Hashing is expensive, so nothing is hashed for whoever may not set it.
	err := s.update(ctx, in, func(j *job) error {
		u, err := allowed(j)
		if err != nil {
			return err
		}
		if called, err = user.Called(j.tx, u); err != nil {
			return err
		}
		second, err = j.hasSecondFactor(who)
		return err
	})
	if err != nil {
		return err
	}
	hash := ""
	if !password.IsZero() {
		if err := s.c.Factors.CheckNewPassword(password.Reveal(), called, second); err != nil {
			return err
		}
		if hash, err = s.c.Factors.HashPassword(ctx, password.Reveal()); err != nil {
			return err
		}
	}
	return s.update(ctx, in, func(j *job) error {
		u, err := allowed(j)
		if err != nil {
			return err
		}
		// A link that leads to another password would undo this one.
		if err := j.revokeReset(u.ID); err != nil {
			return err
		}
		return j.changePassword(u, hash, nil)
	})
}

// changePassword stores the hash and ends what began under the former password: live challenges and
// approvals that nobody redeemed, tickets, and known browsers.
func (j *job) changePassword(u store.User, hash string, data map[string]string) error {
	if _, err := user.Update(j.tx, j.realm, u.ID, user.Changes{Password: &hash}); err != nil {
		return err
	}
	if err := j.cancelOf(u.ID, mfa.Cancel{Reason: mfa.CancelPolicy}); err != nil {
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
	browsers, err := j.tx.ListBrowsers(j.realm, u.ID)
	if err != nil {
		return fmt.Errorf("list browsers of %s: %w", u.ID, err)
	}
	for _, b := range browsers {
		if err := j.tx.DeleteBrowser(j.realm, u.ID, b.Thumbprint); err != nil {
			return fmt.Errorf("forget browser of %s: %w", u.ID, err)
		}
		e := store.Event{Kind: audit.BrowserForgotten, User: u.ID, Data: map[string]string{"browser": b.Thumbprint, "reason": "password"}}
		if err := j.record(e); err != nil {
			return err
		}
	}
	e := store.Event{Kind: audit.PasswordSet, User: u.ID, Data: data}
	if hash == "" {
		e.Data = map[string]string{"removed": "true"}
	}
	if err := j.record(e); err != nil {
		return err
	}
	return j.tell(u.ID, protocol.NoticeFactorChanged, nil)
}

// checked is a password that was right when it was compared.
type checked struct {
	candidate factor.Candidate
	guess     string
	user      mfa.UserID
}

// checkPassword pays for a guess, compares outside any transaction and records a wrong one. find
// gives the person whose guess it is; one who does not exist is found by nobody, costs the same work
// and gets the same answer. It returns RateLimited, Unavailable and Forbidden credentials.
func (s *Service) checkPassword(ctx context.Context, in mfa.RealmID, password secret.Value, find func(*job) (store.User, bool, error)) (checked, error) {
	var c checked
	err := s.update(ctx, in, func(j *job) error {
		c = checked{}
		u, found, err := find(j)
		if err != nil {
			return err
		}
		c.user = u.ID
		if c.guess, err = j.pay(u.ID, guard.Password); err != nil || j.refused != nil {
			return err
		}
		if !found {
			c.candidate = j.c.Factors.PasswordCandidate(nil)
			return nil
		}
		c.candidate = j.c.Factors.PasswordCandidate(&u)
		return nil
	})
	if err != nil {
		return checked{}, err
	}
	right, err := s.c.Factors.Compare(ctx, c.candidate, password.Reveal())
	if err != nil || right {
		return c, err
	}
	err = s.update(ctx, in, func(j *job) error {
		j.refused = errCredentials()
		return j.record(store.Event{Kind: audit.PasswordWrong, User: c.user})
	})
	return checked{}, err
}

// pay pays for a guess by a stranger. An allowance that is spent is recorded and refuses the job.
func (j *job) pay(who mfa.UserID, k guard.Kind) (string, error) {
	guess, err := guard.Guess(j.tx, j.realm, who, k, mfa.Strangers, mfa.DefaultGuessBudget())
	if mfa.CodeOf(err) == mfa.RateLimited {
		j.refused = err
		return "", j.record(store.Event{Kind: audit.GuessesSpent, User: who, Data: map[string]string{"kind": string(k)}})
	}
	return guess, err
}

// accept says whether a password that was compared is still the person's, and gives the guess back.
func (j *job) accept(u store.User, c checked) error {
	if c.user != u.ID || !c.candidate.Still(&u) {
		return errCredentials()
	}
	return j.giveBack(u.ID, c.guess)
}

func (j *job) giveBack(who mfa.UserID, guess string) error {
	if err := j.tx.ReturnGuess(j.realm, who, guess); err != nil {
		return fmt.Errorf("return guess of %s: %w", who, err)
	}
	return nil
}

func errCredentials() error {
	return mfa.Errorf(mfa.Forbidden, mfa.ReasonCredentials, "User name or password is wrong.")
}

// hasSecondFactor says whether the user has a device or a code of their own. A bypass code is none.
func (j *job) hasSecondFactor(who mfa.UserID) (bool, error) {
	methods, err := j.c.Factors.Usable(j.tx, j.realm, who)
	if err != nil {
		return false, err
	}
	if methods&^mfa.MethodsOf(mfa.BypassCode) != 0 {
		return true, nil
	}
	devices, err := j.tx.UserDevices(j.realm, who, false)
	if err != nil {
		return false, fmt.Errorf("list devices of %s: %w", who, err)
	}
	for _, d := range devices {
		if d.State == mfa.DeviceActive {
			return true, nil
		}
	}
	return false, nil
}
