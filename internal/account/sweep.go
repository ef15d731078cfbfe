package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/store"
)

const (
	// sweepBatch is how many rows one transaction of a sweep touches: others wait behind it.
	sweepBatch = 200
	// sweepTime is how long one sweep deletes rows of a kind; the next one goes on.
	sweepTime = 20 * time.Second

	// keepEnrolments is how long an ended enrolment can be looked at.
	keepEnrolments = 30 * 24 * time.Hour
	// keepDevices is how long a removed device can be looked at, at least: as long as there are
	// events or challenges that name it, if that is longer.
	keepDevices = 365 * 24 * time.Hour

	// keepInvitations is how long invitations that are over can be looked at and sent again.
	keepInvitations = 30 * 24 * time.Hour

	// vetoLooksBack is how far back a veto may need events: the longest quarantine there is.
	vetoLooksBack = 7 * 24 * time.Hour
)

// Sweep records what has expired, and deletes what nobody needs any more. It does so in small
// transactions and is made to be run by every node, again and again; what one run leaves the next
// one takes. An error in one part does not keep it from the others.
func (s *Service) Sweep(ctx context.Context) error {
	return errors.Join(
		s.sweepEnrolments(ctx),
		s.sweepInvitations(ctx),
		s.sweepMeans(ctx),
		s.sweepOld(ctx, keepEnrolments, func(tx store.Tx, before mfa.Instant) (int, error) {
			return tx.SweepEnrolments(before, sweepBatch)
		}),
		s.sweepRecords(ctx),
	)
}

// sweepEnrolments records the end of tickets whose time is over.
func (s *Service) sweepEnrolments(ctx context.Context) error {
	return rounds(ctx, func() (int, error) {
		n := 0
		err := s.update(ctx, "", func(j *job) error {
			due, err := j.tx.DueEnrolments(j.tx.Now(), sweepBatch)
			if err != nil {
				return fmt.Errorf("list due enrolments: %w", err)
			}
			for _, e := range due {
				j.realm = e.Realm
				out, err := j.c.Devices.Expire(j.tx, e)
				if err != nil {
					return err
				}
				if err := j.recordEnrolment(out); err != nil {
					return err
				}
			}
			n = len(due)
			return nil
		})
		return n, err
	})
}

// sweepMeans deletes what was of use for a time: notices, proofs, counters, repeated answers.
func (s *Service) sweepMeans(ctx context.Context) error {
	parts := []func(store.Tx, mfa.Instant) error{
		func(tx store.Tx, now mfa.Instant) error { return tx.SweepNotices(now) },
		func(tx store.Tx, now mfa.Instant) error { return tx.SweepProofs(now) },
		func(tx store.Tx, now mfa.Instant) error { return tx.SweepInvitations(now.Add(-keepInvitations)) },
		func(tx store.Tx, now mfa.Instant) error { return tx.SweepRations(now.Add(-guard.SourceLife)) },
		func(tx store.Tx, _ mfa.Instant) error { return replay.Sweep(tx) },
	}
	var failed []error
	for _, sweep := range parts {
		failed = append(failed, s.c.Store.Update(ctx, func(tx store.Tx) error { return sweep(tx, tx.Now()) }))
	}
	return errors.Join(failed...)
}

// sweepRecords deletes challenges and events that are older than each realm's policy keeps them, and
// removed devices that nothing names any more.
func (s *Service) sweepRecords(ctx context.Context) error {
	type keep struct {
		realm mfa.RealmID
		need  policy.Requirement
	}
	var all []keep
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		all = nil
		realms, err := tx.ListRealms()
		if err != nil {
			return fmt.Errorf("list realms: %w", err)
		}
		for _, r := range realms {
			p, err := s.c.Policies.Current(tx, r.ID)
			if err != nil {
				return err
			}
			all = append(all, keep{r.ID, p.Evaluate(policy.Env{Kind: mfa.Login, Provenance: mfa.Strangers})})
		}
		return nil
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, k := range all {
		events := max(k.need.KeepEvents, vetoLooksBack)
		failed = append(failed,
			s.sweepOld(ctx, k.need.KeepChallenges, func(tx store.Tx, before mfa.Instant) (int, error) {
				return tx.SweepChallenges(k.realm, before, sweepBatch)
			}),
			s.sweepOld(ctx, events, func(tx store.Tx, before mfa.Instant) (int, error) {
				return tx.SweepEvents(k.realm, before, sweepBatch)
			}),
			s.sweepOld(ctx, max(keepDevices, k.need.KeepChallenges, events), func(tx store.Tx, before mfa.Instant) (int, error) {
				return tx.SweepDevices(k.realm, before, sweepBatch)
			}))
	}
	return errors.Join(failed...)
}

func (s *Service) sweepOld(ctx context.Context, keep time.Duration, sweep func(store.Tx, mfa.Instant) (int, error)) error {
	return rounds(ctx, func() (int, error) {
		n := 0
		err := s.c.Store.Update(ctx, func(tx store.Tx) error {
			var err error
			n, err = sweep(tx, tx.Now().Add(-keep))
			return err
		})
		return n, err
	})
}

// rounds runs one batch after the other until one is not full, or for sweepTime: batches that are
// full come from a rate of sign-ins that deleting has to keep up with.
func rounds(ctx context.Context, batch func() (int, error)) error {
	for began := time.Now(); time.Since(began) < sweepTime; {
		n, err := batch()
		if err != nil || n < sweepBatch || ctx.Err() != nil {
			return err
		}
	}
	return nil
}
