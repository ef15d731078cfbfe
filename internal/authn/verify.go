package authn

import (
	"context"
	"fmt"
	"time"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// seenEvery is how often a user's last sign-in is written.
const seenEvery = time.Hour

// DigitsBackMethod is what Verify calls the six digits that a device shows.
const DigitsBackMethod mfa.Method = "digits_back"

// Verify answers a challenge with a code typed at the login page. A wrong code is no error: the
// state stays. It returns NotFound, Conflict, Gone, Forbidden (the method cannot answer),
// RateLimited (guesses spent) or Invalid.
func (s *Service) Verify(ctx context.Context, by Caller, id mfa.ChallengeID, method mfa.Method, code string) (View, error) {
	ctx, done := s.c.Span(ctx, "authn.verify")
	defer done()
	switch method {
	case DigitsBackMethod:
		return s.change(ctx, by, id, func(_ mfa.Instant, sc scene) mfa.Event {
			return mfa.TypedBack{Application: by.Application.ID, Answer: code, RedeemWithin: sc.need.RedeemWithin}
		})
	case mfa.TOTP:
		return s.verifyTOTP(ctx, by, id, code)
	case mfa.BackupCode, mfa.BypassCode:
		return s.verifySlow(ctx, by, id, method, code)
	case mfa.Push:
		return View{}, mfa.InvalidField("method", "A push is answered on the device, not here.")
	case mfa.Passkey, mfa.SMS, mfa.Email, mfa.OATH:
		return View{}, &mfa.Error{Code: mfa.Unsupported, Reason: mfa.ReasonMethodNotSupported, Field: "method", Message: "This release does not have this method."}
	}
	return View{}, mfa.InvalidField("method", "There is no such method.")
}

// attempt is a typed code on its way.
type attempt struct {
	h     challenge.Held
	sc    scene
	guess string
	blind bool // the code is not looked at
}

// begin checks that the method may answer now and pays for the guess.
func (s *Service) begin(ctx context.Context, tx store.Tx, by Caller, id mfa.ChallengeID, method mfa.Method) (attempt, error, error) {
	h, err := s.mine(tx, by, id)
	if err != nil {
		return attempt{}, nil, err
	}
	sc, err := s.sceneOf(tx, h)
	if err != nil {
		return attempt{}, nil, err
	}
	if err := mfa.MayType(h.Challenge.Challenge, by.Application.ID, method, sc.facts, tx.Now()); err != nil {
		return attempt{}, err, nil
	}
	a := attempt{h: h, sc: sc}
	// A stranger's code is looked at only after a first factor, where the user has one.
	a.blind = h.Provenance.Class == mfa.Stranger && h.FirstFactor == mfa.FirstFactorNone && sc.user.Password != ""
	a.guess, err = guard.Guess(tx, h.Realm, h.User, guard.Typed, h.Provenance, sc.need.Guess)
	if mfa.CodeOf(err) == mfa.RateLimited {
		return attempt{}, err, recorder(ctx, tx, h, "")(audit.GuessesSpent, map[string]string{"kind": string(guard.Typed)})
	}
	return a, nil, err
}

// settle applies the outcome of a typed code; a right one costs nothing.
func (s *Service) settle(ctx context.Context, tx store.Tx, by Caller, a attempt, method mfa.Method, verdict factor.Verdict) (View, error, error) {
	h := a.h
	for _, id := range verdict.Disabled {
		if err := recorder(ctx, tx, h, "")(audit.FactorDisabled, map[string]string{"factor": id}); err != nil {
			return View{}, nil, err
		}
	}
	_, refused, err := s.step(ctx, tx, &h, mfa.Typed{
		Application: by.Application.ID, Method: method, Right: verdict.Right, Code: verdict.ID, RedeemWithin: a.sc.need.RedeemWithin,
	}, a.sc, "", nil)
	if err != nil {
		return View{}, nil, err
	}
	if verdict.Right {
		if err := tx.ReturnGuess(h.Realm, h.User, a.guess); err != nil {
			return View{}, nil, fmt.Errorf("return guess: %w", err)
		}
	}
	v, err := s.view(tx, h, a.sc)
	return v, refused, err
}

// verifyTOTP compares in the transaction that pays for the guess and consumes the step.
func (s *Service) verifyTOTP(ctx context.Context, by Caller, id mfa.ChallengeID, code string) (View, error) {
	var v View
	var refused error
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		v, refused = View{}, nil
		a, no, err := s.begin(ctx, tx, by, id, mfa.TOTP)
		if err != nil || no != nil {
			refused = no
			return err
		}
		var verdict factor.Verdict
		if !a.blind && a.h.Answerable {
			if verdict, err = s.c.Factors.CheckTOTP(tx, a.h.Realm, a.h.User, code); err != nil {
				return err
			}
		}
		v, refused, err = s.settle(ctx, tx, by, a, mfa.TOTP, verdict)
		return err
	})
	if err != nil {
		return View{}, err
	}
	return v, refused
}

// verifySlow pays first, compares outside any transaction, and consumes in a second one. The work
// is the same whether or not there is a code to compare with.
func (s *Service) verifySlow(ctx context.Context, by Caller, id mfa.ChallengeID, method mfa.Method, code string) (View, error) {
	var a attempt
	var candidate factor.Candidate
	var refused error
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		var err error
		if a, refused, err = s.begin(ctx, tx, by, id, method); err != nil || refused != nil {
			return err
		}
		if method == mfa.BackupCode {
			candidate, err = s.c.Factors.BackupCandidate(tx, a.h.Realm, a.h.User, code)
		} else {
			candidate, err = s.c.Factors.BypassCandidate(tx, a.h.Realm, a.h.User)
		}
		return err
	})
	if err != nil {
		return View{}, err
	}
	if refused != nil {
		return View{}, refused
	}
	equal, err := s.c.Factors.Compare(ctx, candidate, code)
	if err != nil {
		return View{}, err
	}
	var v View
	err = s.c.Store.Update(ctx, func(tx store.Tx) error {
		v, refused = View{}, nil
		h, err := s.mine(tx, by, id)
		if err != nil {
			return err
		}
		sc, err := s.sceneOf(tx, h)
		if err != nil {
			return err
		}
		now := attempt{h: h, sc: sc, guess: a.guess}
		if refused = mfa.MayType(h.Challenge.Challenge, by.Application.ID, method, sc.facts, tx.Now()); refused != nil {
			return nil // closed meanwhile: the code is not used up
		}
		// A code that must not be looked at counts against nobody's authenticator.
		var verdict factor.Verdict
		if !a.blind && h.Answerable && sc.facts.UserActive {
			if verdict, err = factor.Consume(tx, candidate, equal); err != nil {
				return err
			}
		}
		v, refused, err = s.settle(ctx, tx, by, now, method, verdict)
		return err
	})
	if err != nil {
		return View{}, err
	}
	return v, refused
}
