package authn

import (
	"context"
	"fmt"
	"time"

	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// View is a challenge as its application sees it at one moment.
type View struct {
	ID        mfa.ChallengeID
	User      mfa.UserID // "" for an unknown name
	Name      string     // as the application sent it
	Kind      mfa.Kind
	State     mfa.State
	Reason    mfa.CancelReason
	Reported  bool
	Kinds     []mfa.Match // that the prompt lists
	MatchNow  []mfa.Match
	Others    int
	Methods   []mfa.Method
	Rung      bool
	RingWhy   mfa.RingReason
	RetryAt   mfa.Instant
	Sent      bool
	Delivery  *Delivery // only for a known browser or after a checked password
	DecideBy  mfa.Instant
	RedeemBy  mfa.Instant // 0 unless approved
	CreatedAt mfa.Instant
	ChangedAt mfa.Instant
	TriesLeft int
	Secrets   *Secrets // in the answer to the creation only
}

// Delivery is what devices said they did with the prompt; 0 when they did not.
type Delivery struct {
	Received, Shown, Opened mfa.Instant
}

// Secrets are what the login page shows.
type Secrets struct {
	Digits string
	Number string
	QR     string
}

// view renders a challenge at the transaction's moment.
func (s *Service) view(tx store.Tx, h challenge.Held, sc scene) (View, error) {
	at := h.At(tx.Now())
	v := View{
		ID: h.ID, Name: h.Name, Kind: h.Kind, State: at.State, Reason: at.Reason, Reported: h.Reported,
		Kinds: h.MatchOrder, Others: sc.others(h), Rung: h.Rung, RingWhy: h.RingReason, RetryAt: h.RetryAt,
		Sent: h.Rung, DecideBy: h.DecideBy, CreatedAt: h.CreatedAt, ChangedAt: h.ChangedAt, TriesLeft: at.TriesLeft(),
		MatchNow: []mfa.Match{}, Methods: []mfa.Method{},
	}
	if sc.user.ID != "" {
		v.User = sc.user.ID
	}
	if at.State == mfa.Approved || at.State == mfa.Redeemed {
		v.RedeemBy = h.RedeemBy
	}
	if at.State == mfa.Pending || at.State == mfa.Answered {
		now := at.MatchNow(sc.facts)
		for _, m := range h.MatchOrder {
			if now.Has(m) {
				v.MatchNow = append(v.MatchNow, m)
			}
		}
		methods := at.MethodsNow(sc.facts)
		if h.FirstFactor != mfa.FirstFactorNone {
			own, err := s.own(tx, h.Realm, h.User) // also for a user who does not exist: the same work
			if err != nil {
				return View{}, err
			}
			if h.Answerable {
				methods &= own
			}
		}
		v.Methods = methods.List()
	}
	if h.Provenance.Class == mfa.KnownBrowser || h.FirstFactor == mfa.FirstFactorPassword {
		v.Delivery = &Delivery{Received: h.Received, Shown: h.Shown, Opened: h.Opened}
	}
	return v, nil
}

// own gives the methods that the user has something for.
func (s *Service) own(tx store.Tx, realm mfa.RealmID, who mfa.UserID) (mfa.Methods, error) {
	have, err := s.c.Factors.Usable(tx, realm, who)
	if err != nil {
		return 0, err
	}
	devices, err := tx.UserDevices(realm, who, false)
	if err != nil {
		return 0, fmt.Errorf("read devices of %s: %w", who, err)
	}
	for _, d := range devices {
		if d.State == mfa.DeviceActive {
			have |= mfa.MethodsOf(mfa.Push)
		}
	}
	return have, nil
}

// Get returns a challenge of the caller as soon as its state differs from the one named, or after
// wait. It returns NotFound.
func (s *Service) Get(ctx context.Context, by Caller, id mfa.ChallengeID, differs mfa.State, wait time.Duration) (View, error) {
	ctx, done := s.c.Span(ctx, "authn.wait")
	defer done()
	w := s.c.Hub.Register(store.WakeChallenge(by.Realm, id))
	defer w.Close()
	end := time.Now().Add(wait)
	for again := true; ; {
		v, at, err := s.read(ctx, by, id)
		if err != nil {
			return View{}, err
		}
		left := time.Until(end)
		if v.State != differs || left <= 0 || !again {
			s.noteTold(by, v, at)
			return v, nil
		}
		again = w.Park(ctx, min(left, limitOf(v, at)))
	}
}

// limitOf is how long it takes until time alone changes the challenge.
func limitOf(v View, now mfa.Instant) time.Duration {
	limit := v.DecideBy
	if v.State == mfa.Approved {
		limit = v.RedeemBy
	}
	if d := limit.Sub(now); d > 0 && v.State.Live() {
		return d
	}
	return time.Hour
}

func (s *Service) read(ctx context.Context, by Caller, id mfa.ChallengeID) (View, mfa.Instant, error) {
	var v View
	var at mfa.Instant
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		h, err := s.mine(tx, by, id)
		if err != nil {
			return err
		}
		sc, err := s.sceneOf(tx, h)
		if err != nil {
			return err
		}
		at = tx.Now()
		v, err = s.view(tx, h, sc)
		return err
	})
	return v, at, err
}

// Changes returns challenges of the caller that changed after the place given, oldest change
// first; it waits for one if there is none.
func (s *Service) Changes(ctx context.Context, by Caller, after store.Page, wait time.Duration) ([]View, error) {
	w := s.c.Hub.Register(store.WakeApplication(by.Realm, by.Application.ID))
	defer w.Close()
	end := time.Now().Add(wait)
	for again := true; ; {
		var list []View
		err := s.c.Store.View(ctx, func(tx store.Tx) error {
			list = nil
			rows, err := tx.ApplicationChanges(by.Realm, by.Application.ID, after)
			if err != nil {
				return fmt.Errorf("read changes: %w", err)
			}
			for _, row := range rows {
				h := challenge.Held{Challenge: row}
				sc, err := s.sceneOf(tx, h)
				if err != nil {
					return err
				}
				v, err := s.view(tx, h, sc)
				if err != nil {
					return err
				}
				list = append(list, v)
			}
			return nil
		})
		left := time.Until(end)
		if err != nil || len(list) > 0 || left <= 0 || !again {
			return list, err
		}
		again = w.Park(ctx, left)
	}
}

// Stopping is closed when the server stops: whoever keeps a stream open ends it.
func (s *Service) Stopping() <-chan struct{} { return s.c.Hub.Stopped() }

// Now gives the store's time, as the beginning of a stream of changes.
func (s *Service) Now(ctx context.Context) (mfa.Instant, error) {
	var now mfa.Instant
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		now = tx.Now()
		return nil
	})
	return now, err
}

// List returns challenges of a user, newest first, for administrators.
func (s *Service) List(ctx context.Context, realm mfa.RealmID, who mfa.UserID, p store.Page) ([]store.Challenge, mfa.Instant, error) {
	var rows []store.Challenge
	var now mfa.Instant
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		var err error
		now = tx.Now()
		rows, err = tx.UserChallenges(realm, who, p)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list challenges of %s: %w", who, err)
	}
	return rows, now, nil
}

// Cancel ends a challenge on its application's word. It returns NotFound, Conflict or Gone.
func (s *Service) Cancel(ctx context.Context, by Caller, id mfa.ChallengeID) (View, error) {
	return s.change(ctx, by, id, func(mfa.Instant, scene) mfa.Event {
		return mfa.Cancel{Reason: mfa.CancelByApplication, Application: by.Application.ID}
	})
}

// change applies one event to a challenge of the caller and gives what it is then.
func (s *Service) change(ctx context.Context, by Caller, id mfa.ChallengeID, event func(mfa.Instant, scene) mfa.Event) (View, error) {
	var v View
	var refused error
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		v, refused = View{}, nil
		h, err := s.mine(tx, by, id)
		if err != nil {
			return err
		}
		sc, err := s.sceneOf(tx, h)
		if err != nil {
			return err
		}
		if _, refused, err = s.step(ctx, tx, &h, event(tx.Now(), sc), sc, "", nil); err != nil {
			return err
		}
		v, err = s.view(tx, h, sc)
		return err
	})
	if err != nil {
		return View{}, err
	}
	return v, refused
}

func (s *Service) noteTold(by Caller, v View, at mfa.Instant) {
	if v.State == mfa.Pending || v.State == mfa.Answered || v.State == mfa.Redeemed {
		return
	}
	s.notes.add(note{
		stamp: noteTold, event: store.Event{
			Realm: by.Realm, User: v.User, Application: by.Application.ID, Challenge: v.ID,
			At: at, Actor: mfa.ActorApplication, By: by.KeyID, Data: map[string]string{"state": string(v.State)},
		},
	})
}
