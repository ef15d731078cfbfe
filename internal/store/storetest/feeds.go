package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

func feeds(t *testing.T, o Opened) {
	s := o.Store
	name := id[string]("feed-")
	take := func(owner string, until mfa.Instant) func(store.Tx) (store.Feed, error) {
		return func(tx store.Tx) (f store.Feed, err error) { return tx.TakeFeed(name, owner, until) }
	}
	var f store.Feed
	var now mfa.Instant
	update(t, s, func(tx store.Tx) (err error) {
		now = tx.Now()
		f, err = take("one", now.Add(time.Minute))(tx)
		return err
	})
	equal(t, "a new feed", f, store.Feed{Name: name, Owner: "one", LeaseUntil: now.Add(time.Minute), At: now, ID: f.ID})
	if f.ID == "" || f.ID >= "evt_" {
		t.Errorf("a new feed begins after id %q of its moment", f.ID)
	}
	want(t, o.Other, store.ErrUsed, func(tx store.Tx) error { _, err := take("two", now.Add(time.Hour))(tx); return err })
	f.At, f.ID, f.LeaseUntil = 7, "evt_7", now.Add(2*time.Minute)
	update(t, s, func(tx store.Tx) error { return tx.AdvanceFeed(f) })
	update(t, s, func(tx store.Tx) error {
		again, err := take("one", now.Add(3*time.Minute))(tx)
		equal(t, "the feed of its owner", again, store.Feed{Name: name, Owner: "one", LeaseUntil: now.Add(3 * time.Minute), At: 7, ID: "evt_7"})
		return err
	})
	o.Advance(3*time.Minute + time.Second)
	update(t, o.Other, func(tx store.Tx) error {
		taken, err := take("two", now.Add(time.Hour))(tx)
		equal(t, "a feed whose lease is over", taken, store.Feed{Name: name, Owner: "two", LeaseUntil: now.Add(time.Hour), At: 7, ID: "evt_7"})
		return err
	})
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.AdvanceFeed(f) })
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.AdvanceFeed(store.Feed{Name: "none", Owner: "one"}) })
}

func eventsBefore(t *testing.T, o Opened) {
	s := o.Store
	var all []string
	for i := range 6 {
		e := newEvent(newRealm(), mfa.Instant(1000+i/2))
		update(t, s, func(tx store.Tx) error { return tx.InsertEvent(e) })
		all = append(all, fmt.Sprint(e.At, e.ID))
	}
	slices.Sort(all)
	for until, n := range map[mfa.Instant]int{1000: 0, 1001: 2, 1003: 6, 9999: 6} {
		got := []string{}
		p := store.Page{At: 1000, ID: "-", Limit: 2}
		for {
			list := read(t, s, func(tx store.Tx) ([]store.Event, error) { return tx.EventsBefore(until, p) })
			if len(list) == 0 {
				break
			}
			for _, e := range list {
				got = append(got, fmt.Sprint(e.At, e.ID))
				p.At, p.ID = e.At, string(e.ID)
			}
		}
		equal(t, "EventsBefore", got, all[:n])
	}
}

// horizon has writers of both handles, some of whose transactions take long, and a reader who goes
// on where it was: it misses nothing.
func horizon(t *testing.T, o Opened) {
	realm := newRealm()
	var mu sync.Mutex
	written := map[mfa.EventID]bool{}
	var writers sync.WaitGroup
	for w := range 6 {
		s := []store.Store{o.Store, o.Other}[w%2]
		writers.Go(func() {
			for i := range 15 {
				var e store.Event
				err := s.Update(t.Context(), func(tx store.Tx) error {
					e = newEvent(realm, tx.Now())
					if i%5 == 0 { // the transaction stays open while others commit
						time.Sleep(time.Duration(rand.IntN(15)) * time.Millisecond) //nolint:forbidigo,gosec // the length of a transaction
					}
					return tx.InsertEvent(e)
				})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				written[e.ID] = true
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	seen := map[mfa.EventID]bool{}
	last := store.Page{At: 0, ID: "-", Limit: 50}
	var before mfa.Instant
	look := func() (more bool) {
		until, err := o.Store.Horizon(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if until < before {
			t.Errorf("the horizon goes back from %d to %d", before, until)
		}
		before = until
		list := read(t, o.Other, func(tx store.Tx) ([]store.Event, error) { return tx.EventsBefore(until, last) })
		for _, e := range list {
			seen[e.ID] = true
			last.At, last.ID = e.At, string(e.ID)
		}
		return len(list) > 0
	}
	for open := true; open; {
		select {
		case <-done:
			open = false
		default:
			look()
		}
	}
	o.Advance(time.Second)
	for look() {
	}
	equal(t, "what a follower has seen", seen, written)
}

func endedRows(t *testing.T, o Opened) {
	s := o.Store
	u := addUser(t, s, newRealm())
	left := func() (states []mfa.DeviceState) {
		t.Helper()
		for _, d := range read(t, s, func(tx store.Tx) ([]store.Device, error) { return tx.UserDevices(u.Realm, u.ID, true) }) {
			states = append(states, d.State)
		}
		slices.Sort(states)
		return states
	}
	for _, state := range []mfa.DeviceState{mfa.DeviceActive, mfa.DeviceClaimed, mfa.DeviceSuspended, mfa.DeviceRevoked, mfa.DeviceRefused} {
		d := newDevice(u.Realm, u.ID)
		d.State, d.EndedAt = state, 10
		update(t, s, func(tx store.Tx) error { return tx.InsertDevice(d) })
	}
	sweep := func(before mfa.Instant, limit, n int) {
		t.Helper()
		update(t, s, func(tx store.Tx) error {
			got, err := tx.SweepDevices(u.Realm, before, limit)
			equal(t, "devices swept", got, n)
			return err
		})
	}
	sweep(10, 9, 0)
	sweep(11, 1, 1)
	sweep(11, 9, 1)
	equal(t, "devices left", left(), []mfa.DeviceState{mfa.DeviceActive, mfa.DeviceClaimed, mfa.DeviceSuspended})

	tickets := map[mfa.EnrolmentState]store.Enrolment{}
	for _, state := range []mfa.EnrolmentState{
		mfa.EnrolmentInvited, mfa.EnrolmentClaimed, mfa.EnrolmentConfirmed, mfa.EnrolmentExpired, mfa.EnrolmentCancelled, mfa.EnrolmentRefused,
	} {
		e := newEnrolment(u.Realm, u.ID)
		e.State, e.ClaimBy = state, 10
		update(t, s, func(tx store.Tx) error { return tx.InsertEnrolment(e) })
		tickets[state] = e
	}
	update(t, s, func(tx store.Tx) error {
		got, err := tx.SweepEnrolments(10, 99)
		equal(t, "enrolments swept before their time", got, 0)
		return err
	})
	update(t, s, func(tx store.Tx) error {
		first, err := tx.SweepEnrolments(11, 3)
		if err != nil {
			return err
		}
		second, err := tx.SweepEnrolments(11, 3)
		equal(t, "enrolments swept", []int{first, second}, []int{3, 1})
		return err
	})
	for state, e := range tickets {
		err := s.View(t.Context(), func(tx store.Tx) error { _, err := tx.Enrolment(e.Realm, e.ID); return err })
		if (err == nil) != state.Live() {
			t.Errorf("an enrolment that is %s: %v", state, err)
		}
	}
}
