package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// running is the run that a context belongs to.
type running struct {
	service *Service
	row     store.Replay
	answer  func(made any) (Answer, error)
	kept    bool // Made was called; the transaction may be undone since
}

type runningKey struct{}

// Answering says how the run that ctx belongs to answers for what it makes. [Made] calls answer
// inside the transaction that makes it, perhaps several times. Without a run it does nothing.
func Answering(ctx context.Context, answer func(made any) (Answer, error)) {
	if r, ok := ctx.Value(runningKey{}).(*running); ok {
		r.answer = answer
	}
}

// Made closes the row of the run that ctx belongs to with the answer that tells of what was made:
// both are committed together, so that no crash comes between them and no repetition makes it
// again. It does nothing in a context that has no run, or none that said how it answers. It returns
// Unavailable for a run that lost its lease, which undoes what it made; any other error too has to
// undo the transaction.
func Made(ctx context.Context, tx interface {
	Wake(keys ...string)
	store.Replays
}, made any,
) error {
	r, ok := ctx.Value(runningKey{}).(*running)
	if !ok || r.answer == nil {
		return nil
	}
	now, err := tx.Replay(r.row.Realm, r.row.Application, r.row.Route, r.row.Key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read idempotency record: %w", err)
	}
	if err != nil || now.Done || now.LeaseUntil != r.row.LeaseUntil {
		return mfa.Errorf(mfa.Unavailable, mfa.ReasonBusy, "Another request with this idempotency key has taken over.")
	}
	a, err := r.answer(made)
	if err != nil {
		return err
	}
	r.kept = true
	return r.service.close(tx, now, a)
}

// close stores the answer of a row and wakes those who wait for it.
func (s *Service) close(tx interface {
	Wake(keys ...string)
	store.Replays
}, row store.Replay, a Answer,
) error {
	var err error
	row.Done, row.Status, row.Object, row.Secret = true, a.Status, a.Object, a.Secret
	if row.Answer, err = s.c.Ring.Seal(a.Body, place(row)); err != nil {
		return fmt.Errorf("seal answer: %w", err)
	}
	tx.Wake(wakeOf(row))
	return tx.PutReplay(row)
}
