package guard_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/store"
)

// guess pays for one guess, durably, and says whether it could.
func (w *world) guess(in mfa.RealmID, user mfa.UserID, k guard.Kind, from mfa.Provenance) (id string, err error) {
	w.t.Helper()
	err = w.store.Update(context.Background(), func(tx store.Tx) error {
		var err error
		id, err = guard.Guess(tx, in, user, k, from, mfa.DefaultGuessBudget())
		return err
	})
	return id, err
}

func (w *world) spend(in mfa.RealmID, user mfa.UserID, k guard.Kind, from mfa.Provenance, n int) {
	w.t.Helper()
	for i := range n {
		if _, err := w.guess(in, user, k, from); err != nil {
			w.t.Fatalf("guess %d of %d: %v", i+1, n, err)
		}
	}
}

func spent(t *testing.T, err error, retry time.Duration) {
	t.Helper()
	e, ok := errors.AsType[*mfa.Error](err)
	if !ok || e.Code != mfa.RateLimited || e.Reason != mfa.ReasonGuessesSpent || e.RetryAfter != retry {
		t.Errorf("got %+v, want the guesses spent for %s", err, retry)
	}
}

func TestGuessWindows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, test := range []struct {
			kind guard.Kind
			max  int
			per  time.Duration
		}{{guard.Typed, 10, 24 * time.Hour}, {guard.Password, 20, time.Hour}} {
			for _, from := range []mfa.Provenance{mfa.Strangers, laptop, vpn} {
				user := w.user(realm)
				first := w.now()
				w.spend(realm, user, test.kind, from, test.max-1)
				w.forward(time.Minute)
				w.spend(realm, user, test.kind, from, 1)
				_, err := w.guess(realm, user, test.kind, from)
				spent(t, err, test.per-time.Minute)
				w.to(first.Add(test.per) - 1)
				_, err = w.guess(realm, user, test.kind, from) // that a refusal costs nothing shows below
				spent(t, err, time.Microsecond)
				w.to(first.Add(test.per))
				w.spend(realm, user, test.kind, from, test.max-1)
				_, err = w.guess(realm, user, test.kind, from)
				spent(t, err, time.Minute)
			}
		}
	})
}

// TestGuessesAreApart spends one allowance and finds the others whole.
func TestGuessesAreApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	user := w.user(realm)
	w.spend(realm, user, guard.Typed, mfa.Strangers, 10)
	for name, other := range map[string]func() (string, error){
		"passwords of strangers": func() (string, error) { return w.guess(realm, user, guard.Password, mfa.Strangers) },
		"a known browser":        func() (string, error) { return w.guess(realm, user, guard.Typed, laptop) },
		"a known source":         func() (string, error) { return w.guess(realm, user, guard.Typed, vpn) },
		"another user":           func() (string, error) { return w.guess(realm, "usr_unknown", guard.Typed, mfa.Strangers) },
		"another realm":          func() (string, error) { return w.guess("other", user, guard.Typed, mfa.Strangers) },
	} {
		if _, err := other(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.spend(realm, user, guard.Typed, laptop, 9)
	if _, err := w.guess(realm, user, guard.Typed, laptop); mfa.CodeOf(err) != mfa.RateLimited {
		t.Errorf("a known browser's eleventh: %v", err)
	}
	if _, err := w.guess(realm, user, guard.Typed, phone); err != nil {
		t.Errorf("another known browser: %v", err)
	}
}

// TestGuessesOfNobody wants a name that nobody has to be rationed as any other: the answer must
// not tell who exists.
func TestGuessesOfNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.spend(realm, "usr_unknown", guard.Typed, mfa.Strangers, 10)
	if _, err := w.guess(realm, "usr_unknown", guard.Typed, mfa.Strangers); mfa.ReasonOf(err) != mfa.ReasonGuessesSpent {
		t.Errorf("the eleventh: %v", err)
	}
}

func TestRightAnswersCostNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	user := w.user(realm)
	w.spend(realm, user, guard.Typed, mfa.Strangers, 9)
	for i := range 30 {
		id, err := w.guess(realm, user, guard.Typed, mfa.Strangers)
		if err != nil {
			t.Fatalf("after %d right answers: %v", i, err)
		}
		w.update(func(tx store.Tx) error { return tx.ReturnGuess(realm, user, id) })
	}
	w.spend(realm, user, guard.Typed, mfa.Strangers, 1)
	if _, err := w.guess(realm, user, guard.Typed, mfa.Strangers); mfa.CodeOf(err) != mfa.RateLimited {
		t.Errorf("wrong answers cost as before: %v", err)
	}
}

// TestGuessesThatAreNotCommittedCostNothing runs a guess in a transaction that comes to nothing.
func TestGuessesThatAreNotCommittedCostNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	user := w.user(realm)
	undone := errors.New("undone")
	for range 30 {
		err := w.store.Update(t.Context(), func(tx store.Tx) error {
			if _, err := guard.Guess(tx, realm, user, guard.Typed, mfa.Strangers, mfa.DefaultGuessBudget()); err != nil {
				return err
			}
			return undone
		})
		if !errors.Is(err, undone) {
			t.Fatal(err)
		}
	}
	w.spend(realm, user, guard.Typed, mfa.Strangers, 10)
}

// TestGuessesInParallel lets two hundred guesses go at once: exactly as many are paid for as the
// allowance holds.
func TestGuessesInParallel(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) []*world{
		"SQLite": func(t *testing.T) []*world {
			t.Helper()
			return []*world{newWorld(t)}
		},
		"PostgreSQL, two nodes": func(t *testing.T) []*world {
			t.Helper()
			dsn := pgtest.Database(t)
			one := openWorld(t, dsn)
			two := &world{t: t}
			two.store = two.open(dsn)
			return []*world{one, two}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := open(t)
			user := nodes[0].user(realm)
			var paid, known atomic.Int32
			var all sync.WaitGroup
			for i := range 200 {
				w := nodes[i%len(nodes)]
				all.Go(func() {
					_, err := w.guess(realm, user, guard.Typed, mfa.Strangers)
					count(t, &paid, err)
				})
				if i%20 == 0 {
					all.Go(func() {
						_, err := w.guess(realm, user, guard.Typed, laptop)
						count(t, &known, err)
					})
				}
			}
			all.Wait()
			if paid.Load() != 10 || known.Load() != 10 {
				t.Errorf("strangers had %d guesses and the owner %d, want 10 and 10", paid.Load(), known.Load())
			}
			rows := 0
			nodes[0].update(func(tx store.Tx) error {
				list, err := tx.Guesses(realm, user, string(guard.Typed)+"|"+mfa.Strangers.String(), 0)
				rows = len(list)
				return err
			})
			if rows != 10 {
				t.Errorf("%d guesses of strangers are on record, want 10", rows)
			}
		})
	}
}

func count(t *testing.T, paid *atomic.Int32, err error) {
	t.Helper()
	switch {
	case err == nil:
		paid.Add(1)
	case mfa.ReasonOf(err) != mfa.ReasonGuessesSpent:
		t.Error(err)
	}
}

// TestGuessesAfterARestore wants two thirds of each allowance to count as paid when the database was
// put back, for a name that nobody has as for any other.
func TestGuessesAfterARestore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		user := w.user(realm)
		w.spend(realm, user, guard.Typed, mfa.Strangers, 2)
		w.forward(time.Hour)
		raised := w.now()
		err := w.store.Update(t.Context(), func(tx store.Tx) error {
			return tx.PutSetting(store.SettingEpoch, store.Epoch{N: 1, At: tx.Now()}.String())
		})
		if err != nil {
			t.Fatal(err)
		}
		w.spend(realm, "usr_unknown", guard.Typed, mfa.Strangers, 4)
		_, err = w.guess(realm, "usr_unknown", guard.Typed, mfa.Strangers)
		spent(t, err, raised.Add(24*time.Hour).Sub(w.now()))
		w.spend(realm, user, guard.Typed, mfa.Strangers, 2)
		_, err = w.guess(realm, user, guard.Typed, mfa.Strangers)
		spent(t, err, 23*time.Hour) // when the first of the former ones is over
		w.spend(realm, user, guard.Password, mfa.Strangers, 7)
		_, err = w.guess(realm, user, guard.Password, mfa.Strangers)
		spent(t, err, time.Hour)
		w.forward(time.Hour)
		w.spend(realm, user, guard.Password, mfa.Strangers, 13)
		w.forward(23 * time.Hour)
		w.spend(realm, user, guard.Typed, mfa.Strangers, 8)
	})
}
