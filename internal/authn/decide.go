package authn

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/session"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// Signed is a device's decision whose signature was checked against Device.JWK.
type Signed struct {
	Device   store.Device // as it was when the signature was checked
	Decision protocol.Decision
	Sighted  mfa.Sighted // digest of kid and payload bytes
	Raw      string      // the JWS
}

// Decided is what the device is told.
type Decided struct {
	State      mfa.State
	Wrong      bool // this answer was wrong; TriesLeft counts
	TriesLeft  int
	DigitsBack string // to be typed into the login page
}

// Decide applies a device's decision. A wrong answer is no error: its state and tries are told. It
// returns NotFound, Invalid, Forbidden, Conflict, Gone or Unauthenticated (the device's key changed
// meanwhile).
func (s *Service) Decide(ctx context.Context, d Signed) (Decided, error) {
	ctx, done := s.c.Span(ctx, "authn.decide")
	defer done()
	var out Decided
	var refused error
	back := challenge.FreshBack()
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		out, refused = Decided{}, nil
		device, err := s.c.Devices.Current(tx, d.Device)
		if err != nil {
			return err
		}
		h, err := s.c.Challenges.Load(tx, device.Realm, mfa.ChallengeID(d.Decision.Challenge))
		if err != nil {
			return err
		}
		sc, err := s.sceneOf(tx, h)
		if err != nil {
			return err
		}
		fx, no, err := s.step(ctx, tx, &h, s.event(d, device, sc, tx.Now(), back), sc, device.ID, func(before mfa.State, _ mfa.Effects) error {
			if h.State != before && proves(h.State) {
				h.Decision, h.DecisionKey = d.Raw, device.JWK
			}
			return nil
		})
		if err != nil {
			return err
		}
		if no != nil {
			refused = no
			return s.noteRefusal(ctx, tx, h, device, no)
		}
		if err := s.countAnswer(ctx, tx, device, fx, h); err != nil {
			return err
		}
		out = decided(h, fx, tx.Now(), device.ID)
		return nil
	})
	if err != nil {
		return Decided{}, err
	}
	return out, refused
}

// proves says whether a challenge that came into this state by a device's decision keeps it: an
// approval with a wrong answer, or a report of what had expired, is no proof of an outcome.
func proves(now mfa.State) bool {
	return now == mfa.Answered || now == mfa.Approved || now == mfa.Denied
}

func (s *Service) event(d Signed, device store.Device, sc scene, now mfa.Instant, back string) mfa.Event {
	common := mfa.Decision{
		By: device.Facts(now), Challenge: mfa.ChallengeID(d.Decision.Challenge),
		Prompt: d.Decision.PromptSHA256, Sighted: d.Sighted,
	}
	switch d.Decision.Decision {
	case protocol.VerdictDeny:
		return mfa.Deny{Decision: common}
	case protocol.VerdictReport:
		return mfa.Report{Decision: common}
	case protocol.VerdictApprove:
	}
	return mfa.Approve{
		Decision: common, Match: mfa.Match(d.Decision.Match), Answer: d.Decision.Answer, FreshBack: back,
		RedeemWithin: sc.need.RedeemWithin, Remember: d.Decision.Remember,
	}
}

func decided(h challenge.Held, fx mfa.Effects, now mfa.Instant, by mfa.DeviceID) Decided {
	at := h.At(now)
	out := Decided{State: at.State, Wrong: fx.Wrong, TriesLeft: at.TriesLeft()}
	if fx.Repeat && at.State == mfa.Pending {
		out.Wrong = true // only a wrong answer leaves a challenge pending
	}
	if at.State == mfa.Answered && h.Evidence.Device == by {
		out.DigitsBack = h.Expect.Back
	}
	return out
}

// countAnswer keeps the device's run of wrong answers, which ends in its suspension.
func (s *Service) countAnswer(ctx context.Context, tx store.Tx, d store.Device, fx mfa.Effects, h challenge.Held) error {
	if !fx.Wrong && (!fx.Right || d.Failures == 0) {
		return nil
	}
	dfx, err := s.c.Devices.Answered(tx, &d, fx.Right)
	if err != nil {
		return err
	}
	if !dfx.Suspended {
		return nil
	}
	if err := s.takeBack(ctx, tx, d); err != nil {
		return err
	}
	return audit.Record(ctx, tx, store.Event{
		Realm: d.Realm, Kind: audit.DeviceSuspended, User: d.User, Device: d.ID, Challenge: h.ID,
		Actor: mfa.ActorServer, Data: map[string]string{"reason": "wrong_answers"},
	})
}

// liveOf reads the user's challenges that are live at the transaction's moment.
func liveOf(tx store.Tx, realm mfa.RealmID, who mfa.UserID) ([]store.Challenge, error) {
	rows, err := tx.LiveChallenges(realm, who)
	if err != nil {
		return nil, fmt.Errorf("read live challenges of %s: %w", who, err)
	}
	return slices.DeleteFunc(rows, func(c store.Challenge) bool { return !c.At(tx.Now()).State.Live() }), nil
}

// takeBack cancels what a suspended device approved and nobody redeemed yet, and tells the others.
func (s *Service) takeBack(ctx context.Context, tx store.Tx, d store.Device) error {
	live, err := liveOf(tx, d.Realm, d.User)
	if err != nil {
		return err
	}
	_, err = s.c.Challenges.CancelLive(tx, live, mfa.Cancel{Reason: mfa.CancelDeviceGone, Device: d.ID}, func(h challenge.Held) challenge.Recorder {
		return recorder(ctx, tx, h, d.ID)
	})
	if err != nil {
		return err
	}
	signer, err := s.c.Realms.PromptSigner(tx, d.Realm)
	if err != nil {
		return err
	}
	return s.c.Devices.Notify(tx, device.News{
		Realm: d.Realm, User: d.User, Kind: protocol.NoticeFactorChanged, By: mfa.ActorServer, Device: &d,
	}, device.Voice{Issuer: s.c.Realms.Issuer(d.Realm), Signer: signer})
}

func (s *Service) noteRefusal(ctx context.Context, tx store.Tx, h challenge.Held, d store.Device, refused error) error {
	if mfa.CodeOf(refused) == mfa.NotFound {
		return nil // another user's challenge: nothing is written about it
	}
	return recorder(ctx, tx, h, d.ID)(audit.ChallengeRefused, map[string]string{"reason": string(mfa.ReasonOf(refused))})
}

// remember makes the approved challenge's browser known.
func (s *Service) remember(ctx context.Context, tx store.Tx, h challenge.Held) error {
	if h.Browser == "" {
		return nil
	}
	forgotten, err := session.Remember(tx, h.Realm, h.User, h.Browser, h.BrowserJWK, h.Where().Browser)
	if err != nil {
		return err
	}
	if forgotten != "" {
		err := recorder(ctx, tx, h, "")(audit.BrowserForgotten, map[string]string{"browser": forgotten, "reason": "too_many"})
		if err != nil {
			return err
		}
	}
	return recorder(ctx, tx, h, h.Evidence.Device)(audit.BrowserRemembered, map[string]string{"browser": h.Browser})
}

// welcome notes that the user signed in.
func (s *Service) welcome(tx store.Tx, h challenge.Held, u store.User) error {
	if u.ID == "" || u.SeenAt.Add(seenEvery) > tx.Now() {
		return nil
	}
	u.SeenAt = tx.Now()
	if err := tx.PutUser(u); err != nil {
		return fmt.Errorf("write user %s: %w", h.User, err)
	}
	return nil
}

// lockDown carries out "not me" beyond the reported challenge.
func (s *Service) lockDown(ctx context.Context, tx store.Tx, h challenge.Held) error {
	u, err := tx.User(h.Realm, h.User) // welcome may have written it in this transaction
	if err != nil {
		return fmt.Errorf("read user %s: %w", h.User, err)
	}
	if u.ReportedAt == 0 {
		u.ReportedAt = tx.Now()
		if err := tx.PutUser(u); err != nil {
			return fmt.Errorf("lock strangers out of %s: %w", u.ID, err)
		}
	}
	live, err := liveOf(tx, h.Realm, h.User)
	if err != nil {
		return err
	}
	same := slices.DeleteFunc(live, func(c store.Challenge) bool { return c.ID == h.ID || !fromThere(c, h) })
	_, err = s.c.Challenges.CancelLive(tx, same, mfa.Cancel{Reason: mfa.CancelReported}, func(c challenge.Held) challenge.Recorder {
		return recorder(ctx, tx, c, "")
	})
	if err != nil {
		return err
	}
	if err := s.forget(ctx, tx, h); err != nil {
		return err
	}
	if err := s.endEnrolments(ctx, tx, h); err != nil {
		return err
	}
	tx.Wake(store.WakeUser(h.Realm, h.User))
	return recorder(ctx, tx, h, "")(audit.UserReported, map[string]string{"provenance": string(h.Provenance.Class)})
}

// endEnrolments ends what somebody began to enrol as the user: it may have been the one who is
// reported. What an administrator began goes on.
func (s *Service) endEnrolments(ctx context.Context, tx store.Tx, h challenge.Held) error {
	live, err := tx.LiveEnrolments(h.Realm, h.User)
	if err != nil {
		return fmt.Errorf("list live enrolments of %s: %w", h.User, err)
	}
	for _, e := range live {
		if e.By != mfa.ActorUser {
			continue
		}
		out, err := s.c.Devices.Cancel(tx, e)
		if err != nil {
			return err
		}
		for _, kind := range out.Effects.Record {
			data := map[string]string{"enrolment": string(e.ID), "reason": "reported"}
			if err := recorder(ctx, tx, h, e.Device)(string(kind), data); err != nil {
				return err
			}
		}
	}
	return nil
}

// fromThere says whether a challenge is of the reported one's provenance, or of what that one's
// approval made known.
func fromThere(c store.Challenge, h challenge.Held) bool {
	switch c.Provenance {
	case h.Provenance:
		return true
	case mfa.Provenance{Class: mfa.KnownBrowser, Key: h.Browser}, mfa.Provenance{Class: mfa.KnownSource, Key: h.Source}:
		return true
	}
	return false
}

// forget makes a reported challenge's browser and source strangers, also when they became known by
// that very challenge.
func (s *Service) forget(ctx context.Context, tx store.Tx, h challenge.Held) error {
	if h.Source != "" {
		if err := tx.PutSource(h.Realm, h.User, h.Source, 0); err != nil {
			return fmt.Errorf("forget reported source: %w", err)
		}
	}
	if h.Browser == "" {
		return nil
	}
	err := tx.DeleteBrowser(h.Realm, h.User, h.Browser)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("forget reported browser: %w", err)
	}
	return recorder(ctx, tx, h, "")(audit.BrowserForgotten, map[string]string{"browser": h.Browser, "reason": "reported"})
}
