package authn

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	expireEvery = time.Second
	expireBatch = 256
	// sweepEvery is how often a node reads what changed elsewhere, and overlap how far back it
	// looks again: a transaction's events carry the moment it began, and it may commit later.
	sweepEvery = 5 * time.Second
	overlap    = 15 * time.Second
)

// RunExpiry records what has expired, within two seconds, until ctx ends. Expiry is true for every
// reader before that; this makes it an event.
func (s *Service) RunExpiry(ctx context.Context) error {
	return every(ctx, expireEvery, func() {
		if err := s.Expire(ctx); err != nil && ctx.Err() == nil {
			s.c.Logger.WarnContext(ctx, "expiry not recorded", slog.Any("error", err))
		}
	})
}

// Expire records what has expired by now.
func (s *Service) Expire(ctx context.Context) error {
	for {
		var due []store.Challenge
		err := s.c.Store.View(ctx, func(tx store.Tx) error {
			var err error
			due, err = tx.DueChallenges(tx.Now(), expireBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("read due challenges: %w", err)
		}
		for _, c := range due {
			if err := s.expire(ctx, c); err != nil {
				return err
			}
		}
		if len(due) < expireBatch {
			return nil
		}
	}
}

func (s *Service) expire(ctx context.Context, c store.Challenge) error {
	return s.c.Store.Update(ctx, func(tx store.Tx) error {
		h, err := s.c.Challenges.Load(tx, c.Realm, c.ID)
		if err != nil {
			return err
		}
		_, _, err = s.step(ctx, tx, &h, mfa.Tick{}, scene{}, "", nil)
		return err
	})
}

// RunWakeSweep wakes, every few seconds, the waiters of this node whose challenges changed on any
// node, until ctx ends: a wake-up that was lost costs one period.
func (s *Service) RunWakeSweep(ctx context.Context) error {
	var since mfa.Instant
	return every(ctx, sweepEvery, func() {
		next, err := s.WakeSweep(ctx, since)
		if err != nil {
			if ctx.Err() == nil {
				s.c.Logger.WarnContext(ctx, "changes not read", slog.Any("error", err))
			}
			return
		}
		since = next
	})
}

// RunQuota counts the live challenges of busy realms every few seconds, until ctx ends.
func (s *Service) RunQuota(ctx context.Context) error {
	return every(ctx, sweepEvery, func() {
		if err := s.Recount(ctx); err != nil && ctx.Err() == nil {
			s.c.Logger.WarnContext(ctx, "live challenges not counted", slog.Any("error", err))
		}
	})
}

// Recount counts the live challenges of the realms in which this node made some.
func (s *Service) Recount(ctx context.Context) error {
	return s.c.Gate.Recount(func(realm mfa.RealmID, limit int) (map[mfa.ApplicationID]int, error) {
		var n map[mfa.ApplicationID]int
		err := s.c.Store.View(ctx, func(tx store.Tx) error {
			var err error
			n, err = tx.LiveInRealm(realm, limit)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("count live challenges of %s: %w", realm, err)
		}
		return n, nil
	})
}

// WakeSweep wakes the waiters of what changed since, and gives where the next sweep begins.
func (s *Service) WakeSweep(ctx context.Context, since mfa.Instant) (mfa.Instant, error) {
	var now mfa.Instant
	var changes []store.Change
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		now = tx.Now()
		var err error
		changes, err = tx.ChangesSince(max(since, now.Add(-time.Minute)))
		return err
	})
	if err != nil {
		return since, fmt.Errorf("read changes: %w", err)
	}
	var keys []string
	for _, c := range changes {
		if c.User == "" && c.Application == "" && c.Challenge == "" {
			keys = append(keys, store.WakeRealm(c.Realm)) // its keys or its policy
		}
		if c.User != "" {
			keys = append(keys, store.WakeUser(c.Realm, c.User))
		}
		if c.Application != "" {
			keys = append(keys, store.WakeApplication(c.Realm, c.Application))
		}
		if c.Challenge != "" {
			keys = append(keys, store.WakeChallenge(c.Realm, c.Challenge))
		}
	}
	s.c.Hub.Wake(keys...)
	return now.Add(-overlap), nil
}

func every(ctx context.Context, period time.Duration, do func()) error {
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			do()
		case <-ctx.Done():
			return nil
		}
	}
}
