// Package authn is the one pipeline of a sign-in. Every front end asks it, and only it makes
// grants: who asks, what policy demands, whether the devices ring, which factors may answer, what
// was answered, what is recorded, and who gets the grant.
//
//	Create ─► policy, guard ─► challenge ─► device: Prompts, Decide ─► approved
//	                                    └─► login page: Verify ──────► approved ─► Redeem ─► grant
//
// Each step is one transaction that re-reads the user, the application, the policy and the other
// live challenges before it judges.
package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/user"
)

// Config of the Service. All members but Span are required.
type Config struct {
	Store      store.Store
	Challenges *challenge.Service
	Devices    *device.Service
	Hub        *challenge.Hub
	Factors    *factor.Service
	Users      *user.Service
	Realms     *realm.Service
	Policies   *policy.Service
	Gate       *guard.Gate
	Logger     *slog.Logger
	// Span, if set, is told of each step, so that it can be traced.
	Span func(ctx context.Context, name string) (_ context.Context, end func())
}

// Service is the pipeline. It is safe for concurrent use, on as many nodes as share the store.
type Service struct {
	c     Config
	notes *notes
	told  *lastTold
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Challenges == nil || c.Devices == nil || c.Hub == nil || c.Factors == nil || c.Users == nil ||
		c.Realms == nil || c.Policies == nil || c.Gate == nil || c.Logger == nil {
		return nil, errors.New("authn: every member of Config is required")
	}
	if c.Span == nil {
		c.Span = func(ctx context.Context, _ string) (context.Context, func()) { return ctx, func() {} }
	}
	return &Service{c: c, notes: newNotes(), told: newLastTold()}, nil
}

// Caller is the application that asks, as its credential says.
type Caller = application.Caller

// scene is everything around a challenge that a step judges by, read in its transaction.
type scene struct {
	user  store.User // zero for an unknown name
	app   store.Application
	need  policy.Requirement
	live  map[mfa.Provenance]int // the user's live challenges
	facts mfa.Facts
}

// look reads the scene of a user and an application. The user may be unknown.
func (s *Service) look(tx store.Tx, realm mfa.RealmID, who mfa.UserID, app store.Application, env policy.Env) (scene, error) {
	sc := scene{app: app}
	var err error
	sc.user, err = tx.User(realm, who)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return scene{}, fmt.Errorf("read user %s: %w", who, err)
	}
	p, err := s.c.Policies.Current(tx, realm)
	if err != nil {
		return scene{}, err
	}
	env.Application, env.ApplicationName = app.ID, app.Name
	sc.need = p.Evaluate(env)
	if sc.live, err = tx.LiveCounts(realm, who, tx.Now()); err != nil {
		return scene{}, fmt.Errorf("count live challenges of %s: %w", who, err)
	}
	sc.facts = mfa.Facts{
		UserActive:        sc.user.State == store.UserActive,
		ApplicationActive: app.DisabledAt == 0 && app.RealmDisabledAt == 0,
		Policy:            sc.need.Requirement,
		LockedDown:        sc.user.ReportedAt != 0,
	}
	return sc, nil
}

// sceneOf reads the scene of a challenge.
func (s *Service) sceneOf(tx store.Tx, h challenge.Held) (scene, error) {
	app, err := tx.Application(h.Realm, h.Application)
	if err != nil {
		return scene{}, fmt.Errorf("read application %s: %w", h.Application, err)
	}
	sc, err := s.look(tx, h.Realm, h.User, app, policy.Env{Kind: h.Kind, Provenance: h.Provenance})
	if err != nil {
		return scene{}, err
	}
	sc.facts.Simultaneous = sc.others(h) > 0
	return sc, nil
}

// others counts the live challenges of another provenance than h's.
func (sc scene) others(h challenge.Held) int {
	n := 0
	for from, count := range sc.live {
		if from != h.Provenance {
			n += count
		}
	}
	return n
}

// mine loads a challenge that belongs to the caller.
func (s *Service) mine(tx store.Tx, by Caller, id mfa.ChallengeID) (challenge.Held, error) {
	h, err := s.c.Challenges.Load(tx, by.Realm, id)
	if err != nil {
		return challenge.Held{}, err
	}
	if h.Application != by.Application.ID {
		return challenge.Held{}, mfa.ErrNotFound()
	}
	return h, nil
}

// recorder writes audit events about a challenge.
func recorder(ctx context.Context, tx store.Tx, h challenge.Held, device mfa.DeviceID) challenge.Recorder {
	return func(kind string, data map[string]string) error {
		return audit.Record(ctx, tx, store.Event{
			Realm: h.Realm, Kind: kind, User: h.User, Application: h.Application, Challenge: h.ID,
			Device: device, Data: data,
		})
	}
}

// step applies an event to a challenge and carries out what follows from it everywhere but in the
// grant, which complete adds. refused is the answer to the caller; the transaction is committed all
// the same.
func (s *Service) step(ctx context.Context, tx store.Tx, h *challenge.Held, e mfa.Event, sc scene, device mfa.DeviceID, complete func(before mfa.State, fx mfa.Effects) error) (fx mfa.Effects, refused, err error) {
	fx, refused, err = s.c.Challenges.Apply(tx, h, e, sc.facts, recorder(ctx, tx, *h, device), complete)
	if err != nil {
		return fx, refused, err
	}
	if err := guard.Settle(tx, h.Challenge, fx); err != nil {
		return fx, refused, err
	}
	if fx.Remember {
		if err := s.remember(ctx, tx, *h); err != nil {
			return fx, refused, err
		}
	}
	if h.State == mfa.Approved && fx.ReturnRing {
		if err := s.welcome(tx, *h, sc.user); err != nil {
			return fx, refused, err
		}
	}
	if fx.LockDown {
		if err := s.lockDown(ctx, tx, *h); err != nil {
			return fx, refused, err
		}
	}
	return fx, refused, nil
}
