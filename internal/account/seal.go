package account

import (
	"context"
	"strconv"
	"strings"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/store"
)

// SealState is where the replacement of the sealing key stands.
type SealState = realm.SealState

// SealState tells where the replacement of the sealing key stands.
func (s *Service) SealState(ctx context.Context) (SealState, error) {
	var out SealState
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		var err error
		out, err = s.c.Sealing.State(tx)
		return err
	})
	return out, err
}

// Reseal makes the newest sealing key that this node holds the one that seals, and has everything
// that an older one sealed sealed again. It returns Conflict while a node lacks the key.
func (s *Service) Reseal(ctx context.Context) error {
	return s.update(ctx, mfa.DefaultRealm, func(j *job) error {
		key, err := s.c.Sealing.Start(j.tx)
		if err != nil {
			return err
		}
		return j.record(store.Event{Kind: audit.SealStarted, Data: map[string]string{"key": key}})
	})
}

// FollowSeal takes the sealing key that the database names, and says in the database which keys
// this node holds. A node does so when it starts and every few seconds. It returns an error that
// wraps keys.ErrNoSealKey for a node that lacks the key that seals.
func (s *Service) FollowSeal(ctx context.Context) error {
	stale := false
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		var err error
		stale, err = s.c.Sealing.Look(tx)
		return err
	})
	if err != nil || !stale {
		return err
	}
	ctx = audit.With(ctx, audit.Origin{Actor: mfa.ActorServer})
	return s.update(ctx, mfa.DefaultRealm, func(j *job) error {
		changed, err := s.c.Sealing.Say(j.tx)
		if err != nil || !changed {
			return err
		}
		state, err := s.c.Sealing.State(j.tx)
		if err != nil {
			return err
		}
		return j.record(store.Event{Kind: audit.SealKeysHeld, Data: map[string]string{
			"node": s.c.Sealing.Node(), "keys": strings.Join(state.Holds, " "), "seals": state.Key,
		}})
	})
}

// SealStep seals a few values again, if that is going on. more says whether there is more to do.
func (s *Service) SealStep(ctx context.Context) (more bool, err error) {
	due := false
	err = s.c.Store.View(ctx, func(tx store.Tx) error {
		due, err = s.c.Sealing.Due(tx)
		return err
	})
	if err != nil || !due {
		return false, err
	}
	ctx = audit.With(ctx, audit.Origin{Actor: mfa.ActorServer})
	err = s.update(ctx, mfa.DefaultRealm, func(j *job) error {
		var done bool
		var err error
		more, done, err = s.c.Sealing.Step(j.tx)
		if err != nil || !done {
			return err
		}
		state, err := s.c.Sealing.State(j.tx)
		if err != nil {
			return err
		}
		return j.record(store.Event{Kind: audit.SealFinished, Data: map[string]string{
			"key": state.Key, "values": strconv.Itoa(state.Sealed), "unreadable": strconv.Itoa(state.Unreadable),
		}})
	})
	return more && err == nil, err
}

// LeaveSeal says that this node stops.
func (s *Service) LeaveSeal(ctx context.Context) error {
	return s.c.Store.Update(ctx, func(tx store.Tx) error { return s.c.Sealing.Leave(tx) })
}
