package sqlstore

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

func TestClockFollowsMonotonicTime(t *testing.T) {
	t.Parallel()
	var passed, stepped, offset time.Duration
	c := newClock(func() time.Duration { return offset })
	c.since = func(time.Time) time.Duration { return passed }
	c.wall = func() time.Time { return c.start.Add(passed + stepped) }
	begun := c.now()
	for _, test := range []struct {
		pass, step, offset time.Duration
		now                time.Duration // since it began
		trusted            bool
	}{
		{now: 0, trusted: true},
		{pass: time.Hour, now: time.Hour, trusted: true},
		{step: 2 * time.Second, now: time.Hour, trusted: true},
		{pass: 2 * time.Minute, now: time.Hour + 2*time.Minute, trusted: true},
		{step: time.Millisecond, now: time.Hour + 2*time.Minute, trusted: true}, // first seen
		{pass: 59 * time.Second, now: time.Hour + 179*time.Second, trusted: true},
		{pass: time.Second, now: time.Hour + 3*time.Minute, trusted: false},
		{step: -time.Second, now: time.Hour + 3*time.Minute, trusted: true},
		{step: -time.Hour, now: time.Hour + 3*time.Minute, trusted: true},
		{pass: time.Minute, now: time.Hour + 4*time.Minute, trusted: false},
		{step: time.Hour, offset: time.Hour, now: 2*time.Hour + 4*time.Minute, trusted: true},
	} {
		passed += test.pass
		stepped += test.step
		offset += test.offset
		if got := c.now().Sub(begun); got != test.now {
			t.Errorf("after %+v: %s have passed", test, got)
		}
		if err := c.trusted(); (err == nil) != test.trusted {
			t.Errorf("after %+v: trusted says %v", test, err)
		}
	}
}

func TestSQLiteRefusesAClockBehindItsRows(t *testing.T) {
	t.Parallel()
	event := func(tx store.Tx) error {
		return tx.InsertEvent(store.Event{Realm: "r", ID: "e", At: tx.Now(), Actor: mfa.ActorServer})
	}
	guess := func(tx store.Tx) error {
		return tx.InsertGuess(store.Guess{Realm: "r", User: "u", ID: "g", At: tx.Now()})
	}
	challenge := func(tx store.Tx) error {
		if err := tx.InsertApplication(store.Application{Realm: "r", ID: "a", UsernameForm: "as_is"}); err != nil {
			return err
		}
		return tx.InsertChallenge(store.Challenge{Realm: "r", Challenge: mfa.Challenge{
			ID: "ch", Application: "a", Kind: mfa.Login, State: mfa.Pending, Provenance: mfa.Strangers,
			FirstFactor: mfa.FirstFactorNone,
		}})
	}
	for name, write := range map[string]func(store.Tx) error{"event": event, "guess": guess, "challenge": challenge} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var offset atomic.Int64
				c := Config{
					DSN:    filepath.Join(t.TempDir(), "nod.db"),
					Offset: func() time.Duration { return time.Duration(offset.Load()) },
				}
				open := func() error {
					s, err := Open(t.Context(), c)
					if err == nil {
						err = s.Update(t.Context(), func(store.Tx) error { return nil })
						_ = s.Close()
					}
					return err
				}
				s, err := Open(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Update(t.Context(), write); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				offset.Store(int64(-2 * time.Second))
				if err := open(); err != nil {
					t.Errorf("Open with a clock two seconds behind: %v", err)
				}
				offset.Store(int64(-2*time.Second - time.Microsecond))
				if err := open(); err == nil || !strings.Contains(err.Error(), "set the clock right") {
					t.Errorf("Open with a clock that lies further behind: %v", err)
				}
				offset.Store(int64(time.Hour))
				if err := open(); err != nil {
					t.Errorf("Open with a clock ahead: %v", err)
				}
			})
		})
	}
}

// TestBubble is how services are tested: their time is the bubble's.
func TestBubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, Config{DSN: filepath.Join(t.TempDir(), "nod.db")})
		now := func() (at mfa.Instant) {
			if err := s.Update(t.Context(), func(tx store.Tx) error {
				at = tx.Now()
				return tx.PutSetting("a", "b")
			}); err != nil {
				t.Fatal(err)
			}
			return at
		}
		before := now()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if passed := now().Sub(before); passed != 24*time.Hour {
			t.Errorf("a day took %s", passed)
		}
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("Ready: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
