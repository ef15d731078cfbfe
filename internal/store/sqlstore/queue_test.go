package sqlstore

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// TestNobodyPilesUp hands transactions to a writer that takes none, as many as the queue holds and
// more: all are told so in the same time, and none of them runs later.
func TestNobodyPilesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		const callers = 600
		told := make(chan error, callers)
		for range callers {
			go func() {
				told <- q.do(t.Context(), func(store.Tx) error {
					t.Error("a transaction ran whose caller was told that it did not")
					return nil
				})
			}()
		}
		begin := time.Now()
		for range callers {
			if err := <-told; mfa.CodeOf(err) != mfa.Unavailable || errors.Is(err, store.ErrUnknown) {
				t.Fatalf("got %v, want unavailable", err)
			}
		}
		if took := time.Since(begin); took != patienceInQueue {
			t.Errorf("the last was told after %s, want %s", took, patienceInQueue)
		}
		if j := q.next(false); j != nil {
			t.Error("the queue gives a job whose caller has left")
		}
	})
}
