package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// fresh has two nodes write rows that implementations may keep in memory, some of the writes undone,
// while others read them: nobody reads less than what was acknowledged before it began, and no
// transaction sees two of them from different states.
func fresh(t *testing.T, o Opened) {
	const rounds = 60
	realm, user := newRealm(), id[mfa.UserID]("usr_")
	u := store.User{Realm: realm, ID: user, Name: "fresh", Display: "fresh", State: store.UserActive, CreatedAt: 1, SeenAt: 1}
	k := store.Wait{Realm: realm, User: user, Provenance: "stranger", Length: 1, Until: 1 << 60}
	update(t, o.Store, func(tx store.Tx) error {
		return errors.Join(tx.InsertUser(u, nil), tx.PutWait(k), tx.InsertPolicy(store.Policy{Realm: realm, Version: 1, Document: []byte("{}")}))
	})
	undone := errors.New("undone")
	var acknowledged atomic.Int64
	acknowledged.Store(1)
	// raise writes the next number into the person, the wait and the policy.
	raise := func(s store.Store, spoil bool) error {
		var n int64
		err := s.Update(t.Context(), func(tx store.Tx) error {
			row, err := tx.User(realm, user)
			if err != nil {
				return err
			}
			n = int64(row.SeenAt) + 1
			row.SeenAt = mfa.Instant(n)
			if err := tx.PutUser(row); err != nil {
				return err
			}
			k := k
			k.Length = n
			err = errors.Join(tx.PutWait(k), tx.InsertPolicy(store.Policy{Realm: realm, Version: int(n), Document: []byte("{}")}))
			if err != nil {
				return err
			}
			if own, err := tx.User(realm, user); err != nil || own.SeenAt != row.SeenAt {
				return fmt.Errorf("a transaction does not see its own write: %d, %w", own.SeenAt, err)
			}
			if spoil {
				return undone
			}
			return nil
		})
		if err == nil {
			for old := acknowledged.Load(); old < n && !acknowledged.CompareAndSwap(old, n); old = acknowledged.Load() {
			}
		}
		return err
	}
	check := func(tx store.Tx, least int64) error {
		row, err := tx.User(realm, user)
		if err != nil {
			return err
		}
		if _, err := tx.LiveChallenges(realm, user); err != nil { // which is kept nowhere
			return err
		}
		w, err := tx.Wait(realm, user, "stranger")
		if err != nil {
			return err
		}
		p, err := tx.Policy(realm, 0)
		if err != nil {
			return err
		}
		if int64(row.SeenAt) < least || int64(row.SeenAt) != w.Length || p.Version != int(w.Length) {
			return fmt.Errorf("%d was acknowledged; the user says %d, the wait %d, the policy %d", least, row.SeenAt, w.Length, p.Version)
		}
		return nil
	}
	ctx, done := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for _, s := range []store.Store{o.Store, o.Other} {
		for _, run := range []func(context.Context, func(store.Tx) error) error{s.View, s.Update} {
			readers.Go(func() {
				for ctx.Err() == nil {
					least := acknowledged.Load()
					if err := run(t.Context(), func(tx store.Tx) error { return check(tx, least) }); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writers.Go(func() {
			for i := range rounds {
				spoil := i%3 == 2
				if err := raise(s, spoil); spoil && !errors.Is(err, undone) || !spoil && err != nil && mfa.CodeOf(err) != mfa.Unavailable {
					t.Errorf("round %d: %v", i, err)
				}
			}
		})
	}
	writers.Wait()
	done()
	readers.Wait()
	if acknowledged.Load() < rounds {
		t.Errorf("only %d writes of %d", acknowledged.Load(), 2*rounds)
	}
}
