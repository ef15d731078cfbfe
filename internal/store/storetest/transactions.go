package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

var errOwn = errors.New("the function's own error")

// mark writes something that marked finds.
func mark(tx store.Tx, name string) error { return tx.PutSetting(name, "marked") }

func marked(t *testing.T, s store.Store, name string) bool {
	t.Helper()
	var there bool
	view(t, s, func(tx store.Tx) error {
		_, err := tx.Setting(name)
		there = err == nil
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	return there
}

// broken is a row that no database takes.
var broken = store.Event{ID: "evt_broken", Actor: "nobody"}

func transactions(t *testing.T, o Opened) {
	s := o.Store
	err := s.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(mark(tx, "error"), errOwn)
	})
	is(t, "Update", err, errOwn)
	if marked(t, s, "error") {
		t.Error("a function's error does not undo what it wrote")
	}

	err = s.Update(t.Context(), func(tx store.Tx) error {
		if err := mark(tx, "swallowed"); err != nil {
			return err
		}
		_ = tx.InsertEvent(broken)
		return nil
	})
	if err == nil || marked(t, s, "swallowed") {
		t.Errorf("an error of the database that the function forgets: got %v, and it is written: %v", err, marked(t, s, "swallowed"))
	}

	func() {
		defer func() {
			if r := recover(); r != any(errOwn) {
				t.Errorf("recovered %v, want the function's own panic", r)
			}
		}()
		_ = s.Update(t.Context(), func(tx store.Tx) error {
			_ = mark(tx, "panic")
			panic(errOwn)
		})
		t.Error("Update returns after a panic")
	}()
	if marked(t, s, "panic") {
		t.Error("a panic does not undo what was written")
	}
	func() {
		defer func() { _ = recover() }()
		_ = s.View(t.Context(), func(store.Tx) error { panic(errOwn) })
	}()

	for what, write := range map[string]func(store.Tx) error{
		"PutSetting":   func(tx store.Tx) error { return mark(tx, "view") },
		"ConsumeProof": func(tx store.Tx) error { _, err := tx.ConsumeProof("r", []byte("h")); return err },
		"SweepEvents":  func(tx store.Tx) error { _, err := tx.SweepEvents("r", 1, 1); return err },
	} {
		err := s.View(t.Context(), write)
		if err == nil || errors.Is(err, store.ErrUsed) {
			t.Errorf("%s inside View: got %v, want an error", what, err)
		}
	}
	if marked(t, s, "view") {
		t.Error("View writes")
	}

	// A View sees one state, whatever is committed meanwhile.
	view(t, s, func(tx store.Tx) error {
		_, before := tx.Setting("meanwhile")
		if err := o.Other.Update(t.Context(), func(tx store.Tx) error { return mark(tx, "meanwhile") }); err != nil {
			return err
		}
		_, after := tx.Setting("meanwhile")
		is(t, "Setting before", before, store.ErrNotFound)
		is(t, "Setting after, in the same View", after, store.ErrNotFound)
		return nil
	})
	if !marked(t, s, "meanwhile") {
		t.Error("an Update is not seen after it has returned")
	}

	var kept store.Tx
	update(t, s, func(tx store.Tx) error {
		kept = tx
		return nil
	})
	if err := mark(kept, "late"); err == nil {
		t.Error("a transaction can be used after its function has returned")
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

func wakes(t *testing.T, o Opened) {
	s := o.Store
	wake := func(err error, keys ...string) func(store.Tx) error {
		return func(tx store.Tx) error {
			tx.Wake(keys...)
			if slices.Contains(o.Woken(), keys[0]) {
				t.Errorf("%s is woken before the commit", keys[0])
			}
			return errors.Join(mark(tx, keys[0]), err)
		}
	}
	update(t, s, wake(nil, "a", "b", "a"))
	equal(t, "woken", slices.Sorted(slices.Values(o.Woken())), []string{"a", "b"})
	is(t, "Update", s.Update(t.Context(), wake(errOwn, "c")), errOwn)
	view(t, s, func(tx store.Tx) error {
		tx.Wake("d")
		return nil
	})
	runs := 0
	update(t, s, func(tx store.Tx) error {
		runs++
		if runs < 3 {
			tx.Wake(fmt.Sprintf("run %d", runs))
			return store.ErrStale
		}
		return wake(nil, "e")(tx)
	})
	equal(t, "woken", slices.Sorted(slices.Values(o.Woken())), []string{"a", "b", "e"})
}

func clock(t *testing.T, o Opened) {
	now := func(s store.Store) mfa.Instant {
		t.Helper()
		var at mfa.Instant
		update(t, s, func(tx store.Tx) error {
			at = tx.Now()
			for range 3 {
				if _, err := tx.ListRealms(); err != nil {
					return err
				}
			}
			if tx.Now() != at {
				t.Error("Now changes while the transaction runs")
			}
			return nil
		})
		return at
	}
	last := now(o.Store)
	for i := range 20 {
		at := now([]store.Store{o.Store, o.Other}[i%2])
		if at < last {
			t.Fatalf("Now went from %d back to %d", last, at)
		}
		last = at
	}
	o.Advance(24 * time.Hour)
	if at := now(o.Store); at < last.Add(24*time.Hour) || at > last.Add(25*time.Hour) {
		t.Errorf("a day after %d it is %d", last, at)
	}
	view(t, o.Store, func(tx store.Tx) error {
		if at := tx.Now(); at < last.Add(24*time.Hour) || at > last.Add(25*time.Hour) {
			t.Errorf("a day after %d it is %d in View", last, at)
		}
		return nil
	})
}

func stale(t *testing.T, o Opened) {
	runs := 0
	err := o.Store.Update(t.Context(), func(tx store.Tx) error {
		runs++
		return fmt.Errorf("read what was: %w", errors.Join(mark(tx, "stale"), store.ErrStale))
	})
	if mfa.CodeOf(err) != mfa.Unavailable || !errors.Is(err, store.ErrStale) || runs != 10 {
		t.Errorf("a function that is always stale: got %v after %d runs, want unavailable after 10", err, runs)
	}
	if marked(t, o.Store, "stale") {
		t.Error("a stale run is written")
	}

	// However often functions run, each has its effect once.
	const callers, each = 8, 20
	var group sync.WaitGroup
	for c := range callers {
		s := []store.Store{o.Store, o.Other}[c%2]
		group.Go(func() {
			for i := range each {
				runs := 0
				err := s.Update(t.Context(), func(tx store.Tx) error {
					runs++
					n, err := tx.Setting("count")
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						return err
					}
					if err := tx.PutSetting("count", n+"x"); err != nil {
						return err
					}
					if runs <= (c+i)%3 {
						return store.ErrStale
					}
					return nil
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	group.Wait()
	count := read(t, o.Store, func(tx store.Tx) (string, error) { return tx.Setting("count") })
	equal(t, "effects", len(count), callers*each)
}

// joined puts 64 Updates, of which some fail in each way there is, behind one that holds the
// writer: whoever fails fails alone.
func joined(t *testing.T, o Opened) {
	s := o.Store
	release := make(chan struct{})
	var group, arriving sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			if err := s.Update(t.Context(), func(tx store.Tx) error {
				<-release
				return mark(tx, fmt.Sprintf("holder %d", i))
			}); err != nil {
				t.Errorf("holder: %v", err)
			}
		})
	}
	const callers = 64
	outcomes := make([]error, callers)
	for i := range callers {
		arriving.Add(1)
		group.Go(func() { outcomes[i] = joinedUpdate(t.Context(), s, i, arriving.Done) })
	}
	arriving.Wait()
	for range 100 {
		runtime.Gosched()
	}
	close(release)
	group.Wait()

	for i, err := range outcomes {
		written := marked(t, s, fmt.Sprintf("joined %d", i))
		switch i % 8 {
		case 1, 2: // a failing constraint, told or forgotten
			if err == nil || errors.Is(err, errOwn) || mfa.CodeOf(err) == mfa.Unavailable {
				t.Errorf("%d, a failing constraint: got %v", i, err)
			}
		case 3, 4:
			is(t, "a cancelled context", err, context.Canceled)
		case 5, 6:
			is(t, "a panic or an exit", err, errOwn)
		default:
			is(t, "a good Update", err, nil)
			if !written {
				t.Errorf("%d is acknowledged and not written", i)
			}
			continue
		}
		if written {
			t.Errorf("%d has failed with %v and is written", i, err)
		}
	}
}

func joinedUpdate(ctx context.Context, s store.Store, i int, arrived func()) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fn := func(tx store.Tx) error {
		if err := mark(tx, fmt.Sprintf("joined %d", i)); err != nil {
			return err
		}
		switch i % 8 {
		case 1:
			return tx.InsertEvent(broken)
		case 2:
			_ = tx.InsertEvent(broken)
		case 3:
			cancel()
			_, _ = tx.Setting("x")
		case 5:
			panic(errOwn)
		case 6:
			runtime.Goexit()
		}
		return nil
	}
	if i%8 == 4 {
		cancel()
	}
	// In a goroutine of its own, which Goexit may end.
	done := make(chan error, 1)
	go func() {
		outcome := errOwn
		defer func() {
			_ = recover()
			done <- outcome
		}()
		arrived()
		outcome = s.Update(ctx, fn)
	}()
	return <-done
}

func contexts(t *testing.T, o Opened) {
	s := o.Store
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	ran := false
	fn := func(store.Tx) error {
		ran = true
		return nil
	}
	is(t, "Update with an ended context", s.Update(ended, fn), context.Canceled)
	is(t, "View with an ended context", s.View(ended, fn), context.Canceled)
	if ran {
		t.Error("a function runs although its context had ended")
	}

	ctx, cancel := context.WithCancel(t.Context())
	err := s.View(ctx, func(tx store.Tx) error {
		cancel()
		_, err := tx.Setting("x")
		return err
	})
	is(t, "View whose context ends between statements", err, context.Canceled)

	// The end of a context after the last statement changes nothing any more.
	ctx, cancel = context.WithCancel(t.Context())
	err = s.Update(ctx, func(tx store.Tx) error {
		defer cancel()
		return mark(tx, "last")
	})
	if err != nil || !marked(t, s, "last") {
		t.Errorf("a context that ends after the last statement: got %v, written: %v", err, marked(t, s, "last"))
	}

	// Whenever a context ends, the answer is true.
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			name := fmt.Sprintf("context %d", i)
			err := s.Update(ctx, func(tx store.Tx) error { return mark(tx, name) })
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("Update: %v", err)
			}
			if marked(t, s, name) != (err == nil) {
				t.Errorf("Update returns %v, and it is written: %v", err, err != nil)
			}
		})
	}
	group.Wait()
}

func closed(t *testing.T, o Opened) {
	s := o.Store
	started, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Update(t.Context(), func(tx store.Tx) error {
			close(started)
			<-release
			return mark(tx, "running")
		}); err != nil {
			t.Errorf("Update while the store closes: %v", err)
		}
	}()
	<-started
	closing := make(chan error)
	go func() { closing <- s.Close() }()
	close(release)
	<-done
	is(t, "Close", <-closing, nil)
	is(t, "Close again", s.Close(), nil)
	nothing := func(store.Tx) error { return nil }
	for what, err := range map[string]error{
		"Update": s.Update(t.Context(), nothing), "View": s.View(t.Context(), nothing), "Ready": s.Ready(t.Context()),
	} {
		if mfa.CodeOf(err) != mfa.Unavailable {
			t.Errorf("%s after Close: got %v, want unavailable", what, err)
		}
	}
}

func sweeps(t *testing.T, o Opened) {
	s, realm := o.Store, newRealm()
	u := addUser(t, s, realm)
	secret := store.Replay{Realm: realm, Application: "a", Route: "r", Key: "secret", Secret: true, Answer: []byte("x"), CreatedAt: 20}
	public, old := secret, secret
	public.Key, public.Secret = "public", false
	old.Key, old.CreatedAt = "old", 9
	update(t, s, func(tx store.Tx) error {
		var errs []error
		for at := mfa.Instant(8); at < 13; at++ {
			errs = append(errs,
				tx.InsertGuess(store.Guess{Realm: realm, User: u.ID, Bucket: "b", ID: fmt.Sprint(at), At: at}),
				tx.PutSource(realm, u.ID, fmt.Sprint(at), at),
				tx.PutWait(store.Wait{Realm: realm, User: u.ID, Provenance: fmt.Sprint(at), Length: 1, Until: at}),
				tx.InsertProof(store.Proof{Realm: realm, Hash: []byte(fmt.Sprint(at)), ExpiresAt: at}),
				tx.InsertNotice(store.Notice{Realm: realm, ID: fmt.Sprint(at), User: u.ID, At: at, ExpiresAt: at}),
				tx.InsertEvent(newEvent(realm, at)),
			)
		}
		return errors.Join(append(errs, tx.InsertReplay(secret), tx.InsertReplay(public), tx.InsertReplay(old))...)
	})
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.SweepRations(10), tx.SweepProofs(10), tx.SweepNotices(10), tx.SweepReplays(10, 21))
	})
	update(t, s, func(tx store.Tx) error {
		g, err := tx.Guesses(realm, u.ID, "b", 0)
		equal(t, "guesses that stay", g, []mfa.Instant{10, 11, 12})
		n, nerr := tx.UserNotices(realm, u.ID, 0)
		equal(t, "notices that stay", len(n), 3)
		errs := []error{err, nerr}
		for at := mfa.Instant(8); at < 13; at++ {
			source, serr := tx.Source(realm, u.ID, fmt.Sprint(at))
			equal(t, "Source", source != 0, at >= 10)
			w, werr := tx.Wait(realm, u.ID, fmt.Sprint(at))
			equal(t, "Wait", w.Length != 0, at >= 10)
			_, perr := tx.ConsumeProof(realm, []byte(fmt.Sprint(at)))
			equal(t, "ConsumeProof", errors.Is(perr, store.ErrUsed), at < 10)
			errs = append(errs, serr, werr)
		}
		got, rerr := tx.Replay(realm, "a", "r", "secret")
		secret.Answer = nil
		equal(t, "Replay with a secret", got, secret)
		kept, kerr := tx.Replay(realm, "a", "r", "public")
		equal(t, "Replay", kept, public)
		_, oerr := tx.Replay(realm, "a", "r", "old")
		is(t, "an old Replay", oerr, store.ErrNotFound)
		return errors.Join(append(errs, rerr, kerr)...)
	})
	sweepByLimit(t, s, realm)
}

func sweepByLimit(t *testing.T, s store.Store, realm mfa.RealmID) {
	events := func() []mfa.Instant {
		t.Helper()
		var at []mfa.Instant
		for _, e := range read(t, s, func(tx store.Tx) ([]store.Event, error) {
			return tx.ListEvents(store.EventFilter{Realm: realm, OldestFirst: true}, store.Page{Limit: 99})
		}) {
			at = append(at, e.At)
		}
		return at
	}
	for _, test := range []struct {
		before mfa.Instant
		limit  int
		swept  int
		left   []mfa.Instant
	}{
		{10, 1, 1, []mfa.Instant{9, 10, 11, 12}},
		{10, 5, 1, []mfa.Instant{10, 11, 12}},
		{10, 5, 0, []mfa.Instant{10, 11, 12}},
		{100, 2, 2, []mfa.Instant{12}},
	} {
		update(t, s, func(tx store.Tx) error {
			n, err := tx.SweepEvents(realm, test.before, test.limit)
			equal(t, "events swept", n, test.swept)
			return err
		})
		equal(t, "events left", events(), test.left)
	}

	for i, state := range mfa.States() {
		c := newChallenge(realm, "usr_1", "app_1")
		c.State, c.CreatedAt = state, mfa.Instant(10+i)
		insertChallenge(t, s, c)
	}
	var swept int
	for range 5 {
		update(t, s, func(tx store.Tx) error {
			n, err := tx.SweepChallenges(realm, 17, 2)
			swept += n
			return err
		})
	}
	equal(t, "challenges swept", swept, 4) // of eight, three are live and one is not old enough
	left := read(t, s, func(tx store.Tx) ([]store.Challenge, error) {
		return tx.UserChallenges(realm, "usr_1", store.Page{Limit: 99})
	})
	for _, c := range left {
		if !c.State.Live() && c.CreatedAt < 17 {
			t.Errorf("a challenge %s of %d is left", c.State, c.CreatedAt)
		}
	}
	equal(t, "challenges left", len(left), 4)
}

func due(t *testing.T, o Opened) {
	s := o.Store
	var challenges, enrolments []string
	for i, state := range mfa.States() {
		for j, at := range []mfa.Instant{99, 100, 101} {
			c := newChallenge(newRealm(), "usr_1", "app_1")
			c.State, c.DecideBy, c.RedeemBy = state, at, 0
			if state == mfa.Approved {
				c.DecideBy, c.RedeemBy = 1, at
			}
			insertChallenge(t, s, c)
			if state.Live() && at <= 100 {
				challenges = append(challenges, string(c.ID))
			}
			e := newEnrolment(newRealm(), "usr_1")
			e.State = []mfa.EnrolmentState{mfa.EnrolmentInvited, mfa.EnrolmentClaimed, mfa.EnrolmentRefused}[i%3]
			e.ClaimBy, e.ConfirmBy = at, 1000
			if e.State == mfa.EnrolmentClaimed {
				e.ClaimBy, e.ConfirmBy = 1, at
			}
			update(t, s, func(tx store.Tx) error { return tx.InsertEnrolment(e) })
			if e.State.Live() && j < 2 {
				enrolments = append(enrolments, string(e.ID))
			}
		}
	}
	view(t, s, func(tx store.Tx) error {
		for limit, n := range map[int]int{1: 1, 4: 4, 99: len(challenges)} {
			c, err := tx.DueChallenges(100, limit)
			if err != nil {
				return err
			}
			var got []string
			for _, c := range c {
				got = append(got, string(c.ID))
			}
			checkDue(t, "DueChallenges", got, challenges, n)
			e, err := tx.DueEnrolments(100, limit)
			if err != nil {
				return err
			}
			got = nil
			for _, e := range e {
				got = append(got, string(e.ID))
			}
			checkDue(t, "DueEnrolments", got, enrolments, min(limit, len(enrolments)))
		}
		return nil
	})
}

func checkDue(t *testing.T, what string, got, all []string, n int) {
	t.Helper()
	for _, id := range got {
		if !slices.Contains(all, id) {
			t.Errorf("%s: %s is not due", what, id)
		}
	}
	slices.Sort(got)
	equal(t, what, len(slices.Compact(got)), n)
}
