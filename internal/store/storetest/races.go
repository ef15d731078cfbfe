package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// race runs fn n times at once, on both handles in turn, and returns the errors.
func race(o Opened, n int, fn func(s store.Store, i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		s := []store.Store{o.Store, o.Other}[i%2]
		group.Go(func() {
			<-start
			errs[i] = fn(s, i)
		})
	}
	close(start)
	group.Wait()
	return errs
}

// oneWinner fails the test unless one error is nil and all others are what losers get.
func oneWinner(t *testing.T, what string, errs []error, lost error) (winner int) {
	t.Helper()
	winner = -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Errorf("%s: %d and %d both win", what, winner, i)
		case !errors.Is(err, lost):
			t.Errorf("%s: %d gets %v, want %v", what, i, err, lost)
		}
	}
	if winner < 0 {
		t.Fatalf("%s: nobody wins", what)
	}
	return winner
}

var errRefused = errors.New("refused")

// facts are those of a user and an application that may do everything.
func facts(active bool) mfa.Facts {
	return mfa.Facts{
		UserActive: active, ApplicationActive: true,
		Policy: mfa.Requirement{
			Matches: mfa.MatchesOf(mfa.AllMatches()...), Methods: mfa.MethodsOf(mfa.AllMethods()...),
		},
	}
}

// liveChallenge is one that devices of its user can decide.
func liveChallenge(realm mfa.RealmID, user mfa.UserID, now mfa.Instant) store.Challenge {
	c := store.Challenge{Realm: realm, Version: 1, Challenge: mfa.Challenge{
		ID: id[mfa.ChallengeID]("ch_"), User: user, Application: "app_1", Kind: mfa.Login,
		Provenance: mfa.Strangers, FirstFactor: mfa.FirstFactorNone, Prompt: "prompt", Answerable: true,
		Matches: mfa.MatchesOf(mfa.Digits), Methods: mfa.MethodsOf(mfa.Push),
		State: mfa.Pending, CreatedAt: now, DecideBy: now.Add(time.Hour),
	}}
	return c
}

// step applies an event in one transaction, as the services do, and records what the step records.
func step(tx store.Tx, realm mfa.RealmID, ch mfa.ChallengeID, e mfa.Event, f mfa.Facts) (mfa.Effects, error, error) {
	c, err := tx.Challenge(realm, ch)
	if err != nil {
		return mfa.Effects{}, nil, err
	}
	c.Expect.Digits = "123456"
	next, fx, answer := mfa.Step(c.Challenge, e, f, tx.Now())
	c.Challenge = next
	if err := tx.PutChallenge(c); err != nil {
		return fx, answer, err
	}
	for _, r := range fx.Record {
		err := tx.InsertEvent(store.Event{
			Realm: realm, ID: id[mfa.EventID]("evt_"), At: tx.Now(), Kind: string(r), User: c.User,
			Challenge: ch, Actor: mfa.ActorServer,
		})
		if err != nil {
			return fx, answer, err
		}
	}
	return fx, answer, nil
}

func kinds(t *testing.T, s store.Store, realm mfa.RealmID, ch mfa.ChallengeID) map[string]int {
	t.Helper()
	count := map[string]int{}
	for _, e := range read(t, s, func(tx store.Tx) ([]store.Event, error) {
		return tx.ListEvents(store.EventFilter{Realm: realm, Challenge: ch}, store.Page{Limit: 1000})
	}) {
		count[e.Kind]++
	}
	return count
}

func redeemRace(t *testing.T, o Opened) {
	realm := newRealm()
	var c store.Challenge
	update(t, o.Store, func(tx store.Tx) error {
		c = liveChallenge(realm, "usr_1", tx.Now())
		c.State, c.RedeemBy = mfa.Approved, c.DecideBy
		c.Evidence = mfa.Evidence{Method: mfa.Push, Match: mfa.Digits, Device: "dev_1"}
		return tx.InsertChallenge(c)
	})
	var grants atomic.Int64
	errs := race(o, 200, func(s store.Store, i int) error {
		var fx mfa.Effects
		var answer error
		err := s.Update(t.Context(), func(tx store.Tx) (err error) {
			fx, answer, err = step(tx, realm, c.ID, mfa.Redeem{
				Application: "app_1", Key: fmt.Sprint(i), GrantFor: time.Minute,
				Device: mfa.DeviceFacts{ID: "dev_1", User: "usr_1", State: mfa.DeviceActive},
			}, facts(true))
			return err
		})
		if err != nil {
			return err
		}
		if fx.Grant {
			grants.Add(1)
		}
		if mfa.ReasonOf(answer) == mfa.ReasonAlreadyRedeemed {
			return errRefused
		}
		return answer
	})
	winner := oneWinner(t, "redeem", errs, errRefused)
	got := challenge(t, o.Store, c)
	if got.State != mfa.Redeemed || got.RedeemKey != fmt.Sprint(winner) || grants.Load() != 1 {
		t.Errorf("%d won; the challenge is %s by key %s, with %d grants", winner, got.State, got.RedeemKey, grants.Load())
	}
	equal(t, "records", kinds(t, o.Store, realm, c.ID), map[string]int{"challenge.redeemed": 1})
}

// decideRace lets devices approve and deny, the application cancel and an administrator lock the
// user, all at once. The lock reads what approvals write and the other way round: whatever the
// order, nothing live is left behind.
func decideRace(t *testing.T, o Opened) {
	realm := newRealm()
	u := addUser(t, o.Store, realm)
	all := make([]store.Challenge, 12)
	update(t, o.Store, func(tx store.Tx) error {
		v, err := tx.User(realm, u.ID)
		v.State = store.UserActive
		errs := []error{err, tx.PutUser(v)}
		for i := range all {
			all[i] = liveChallenge(realm, u.ID, tx.Now())
			errs = append(errs, tx.InsertChallenge(all[i]))
		}
		return errors.Join(errs...)
	})
	errs := race(o, 5*len(all)+1, func(s store.Store, i int) error {
		if i == 3*len(all) {
			return s.Update(t.Context(), func(tx store.Tx) error { return lock(tx, realm, u.ID) })
		}
		c := all[i%len(all)]
		decision := mfa.Decision{
			By:        mfa.DeviceFacts{ID: "dev_1", User: u.ID, State: mfa.DeviceActive},
			Challenge: c.ID, Prompt: "prompt", Sighted: mfa.Sighted(fmt.Sprint(i)),
		}
		event := []mfa.Event{
			mfa.Approve{Decision: decision, Match: mfa.Digits, Answer: "123456", RedeemWithin: time.Hour},
			mfa.Deny{Decision: decision},
			mfa.Cancel{Reason: mfa.CancelByApplication, Application: "app_1"},
		}[i%3]
		return s.Update(t.Context(), func(tx store.Tx) error {
			user, err := tx.User(realm, u.ID)
			if err != nil {
				return err
			}
			_, _, err = step(tx, realm, c.ID, event, facts(user.State == store.UserActive))
			return err
		})
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		got, count := challenge(t, o.Store, c), kinds(t, o.Store, realm, c.ID)
		if got.State.Live() {
			t.Errorf("%s is %s although its user is locked", c.ID, got.State)
		}
		ends := count[string(mfa.RecordDenied)] + count[string(mfa.RecordCancelled)]
		if ends != 1 || count[string(mfa.RecordApproved)] > 1 || count["challenge."+string(got.State)] != 1 {
			t.Errorf("%s is %s, with the records %v", c.ID, got.State, count)
		}
	}
}

func lock(tx store.Tx, realm mfa.RealmID, user mfa.UserID) error {
	u, err := tx.User(realm, user)
	if err != nil {
		return err
	}
	u.State = store.UserLocked
	if err := tx.PutUser(u); err != nil {
		return err
	}
	live, err := tx.LiveChallenges(realm, user)
	if err != nil {
		return err
	}
	for _, c := range live {
		if _, _, err := step(tx, realm, c.ID, mfa.Cancel{Reason: mfa.CancelUserLocked}, facts(false)); err != nil {
			return err
		}
	}
	return nil
}

func consumeRace(t *testing.T, o Opened) {
	realm := newRealm()
	u := addUser(t, o.Store, realm)
	f := newTOTP(realm, u.ID)
	update(t, o.Store, func(tx store.Tx) error {
		return errors.Join(
			tx.InsertTOTP(f),
			tx.ReplaceBackupSet(store.BackupSet{Realm: realm, User: u.ID, Generation: 1}, []store.BackupCode{{Index: 1}}),
			tx.ReplaceBypassCode(store.BypassCode{
				Realm: realm, User: u.ID, ID: "byp_1", Actor: mfa.ActorUser, UsesLeft: 1, ExpiresAt: 100,
			}),
			tx.InsertProof(store.Proof{Realm: realm, Hash: []byte("proof")}),
		)
	})
	for what, consume := range map[string]func(store.Tx) error{
		"ConsumeStep":   func(tx store.Tx) error { return tx.ConsumeStep(realm, f.ID, f.LastStep+5) },
		"UseBackupCode": func(tx store.Tx) error { return tx.UseBackupCode(realm, u.ID, 1, 1, 5) },
		"UseBypassCode": func(tx store.Tx) error { return tx.UseBypassCode(realm, u.ID, "byp_1", 50) },
		"ConsumeProof": func(tx store.Tx) error {
			_, err := tx.ConsumeProof(realm, []byte("proof"))
			return err
		},
		"BeginCertificateOrder": func(tx store.Tx) error { return tx.BeginCertificateOrder(string(realm), 50, 100) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			oneWinner(t, what, race(o, 100, func(s store.Store, _ int) error {
				return s.Update(t.Context(), consume)
			}), store.ErrUsed)
		})
	}
}

// countRace is a budget: everybody counts the rows before adding one.
func countRace(t *testing.T, o Opened) {
	realm := newRealm()
	errs := race(o, 100, func(s store.Store, i int) error {
		return s.Update(t.Context(), func(tx store.Tx) error {
			paid, err := tx.Guesses(realm, "usr_1", "typed", 0)
			if err != nil {
				return err
			}
			if len(paid) >= 10 {
				return errRefused
			}
			return tx.InsertGuess(store.Guess{Realm: realm, User: "usr_1", Bucket: "typed", ID: fmt.Sprint(i), At: tx.Now()})
		})
	})
	paid := 0
	for _, err := range errs {
		switch {
		case err == nil:
			paid++
		case !errors.Is(err, errRefused):
			t.Errorf("Update: %v", err)
		}
	}
	left := read(t, o.Store, func(tx store.Tx) ([]mfa.Instant, error) { return tx.Guesses(realm, "usr_1", "typed", 0) })
	if paid != 10 || len(left) != 10 {
		t.Errorf("%d guesses were let through and %d paid for, of a budget of 10", paid, len(left))
	}
}

func nameRace(t *testing.T, o Opened) {
	realm := newRealm()
	insert := func(fill func(i int, u *store.User) []store.UserName) []error {
		return race(o, 40, func(s store.Store, i int) error {
			u := store.User{Realm: realm, ID: id[mfa.UserID]("usr_"), Name: id[string]("n"), State: store.UserActive}
			names := fill(i, &u)
			return s.Update(t.Context(), func(tx store.Tx) error { return tx.InsertUser(u, names) })
		})
	}
	oneWinner(t, "a name that is another's alias", insert(func(i int, u *store.User) []store.UserName {
		if i%2 == 0 {
			u.Name = "same"
			return nil
		}
		return []store.UserName{{Name: "same", Alias: true}}
	}), store.ErrExists)
	oneWinner(t, "an external id", insert(func(_ int, u *store.User) []store.UserName {
		u.ExternalID = "same"
		return nil
	}), store.ErrExists)

	users := make([]store.User, 20)
	for i := range users {
		users[i] = addUser(t, o.Store, realm)
	}
	oneWinner(t, "an external id given later", race(o, len(users), func(s store.Store, i int) error {
		return s.Update(t.Context(), func(tx store.Tx) error {
			u, err := tx.User(realm, users[i].ID)
			if err != nil {
				return err
			}
			u.ExternalID = "later"
			return tx.PutUser(u)
		})
	}), store.ErrExists)
}
