package storetest

import (
	"cmp"
	"slices"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// newChallenge has a value in every field that is kept.
func newChallenge(realm mfa.RealmID, user mfa.UserID, app mfa.ApplicationID) store.Challenge {
	var c store.Challenge
	fill(&c)
	c.Realm, c.ID, c.User, c.Application, c.Version = realm, id[mfa.ChallengeID]("ch_"), user, app, 1
	c.Expect = mfa.Expect{} // which is kept sealed only
	return c
}

// insertChallenge returns what must be read back.
func insertChallenge(t *testing.T, s store.Store, c store.Challenge) store.Challenge {
	t.Helper()
	update(t, s, func(tx store.Tx) error {
		given := c
		given.ChangedAt, given.Version = 1, 77
		c.ChangedAt = tx.Now()
		return tx.InsertChallenge(given)
	})
	return c
}

func challenge(t *testing.T, s store.Store, c store.Challenge) store.Challenge {
	t.Helper()
	return read(t, s, func(tx store.Tx) (store.Challenge, error) { return tx.Challenge(c.Realm, c.ID) })
}

func challenges(t *testing.T, s store.Store) {
	realm := newRealm()
	c := insertChallenge(t, s, newChallenge(realm, "usr_1", "app_1"))
	equal(t, "Challenge", challenge(t, s, c), c)
	missing(t, s, func(tx store.Tx) (store.Challenge, error) { return tx.Challenge(realm, "ch_none") })
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertChallenge(c) })

	// What can change after creation changes, the rest stays.
	put := newChallenge(realm, "usr_2", "app_2")
	put.ID = c.ID
	put.State, put.Challenge.Reason, put.Reported, put.Wrong = mfa.Redeemed, "", false, 0
	put.Seen = [mfa.MaxSeen]mfa.Sighted{"one"}
	put.Evidence = mfa.Evidence{}
	put.Rung, put.RingReturned, put.Grant, put.DecisionKey = false, false, nil, nil
	expect := c
	expect.State, expect.Challenge.Reason, expect.Reported, expect.Wrong = put.State, "", false, 0
	expect.Seen, expect.Evidence, expect.Sealed, expect.RedeemBy = put.Seen, put.Evidence, put.Sealed, put.RedeemBy
	expect.RedeemKey, expect.GrantEnds = put.RedeemKey, put.GrantEnds
	expect.Rung, expect.RingReason, expect.RetryAt, expect.RingReturned = false, put.RingReason, put.RetryAt, false
	expect.Decision, expect.DecisionKey, expect.Grant = put.Decision, nil, nil
	update(t, s, func(tx store.Tx) error {
		expect.ChangedAt = tx.Now()
		return tx.PutChallenge(put)
	})
	expect.Version = 2
	equal(t, "after PutChallenge", challenge(t, s, c), expect)
	update(t, s, func(tx store.Tx) error {
		is(t, "PutChallenge with an old version", tx.PutChallenge(put), store.ErrStale)
		none := put
		none.ID = "ch_none"
		is(t, "PutChallenge of none", tx.PutChallenge(none), store.ErrNotFound)
		return nil
	})
}

func liveChallenges(t *testing.T, s store.Store) {
	realm := newRealm()
	user, app := id[mfa.UserID]("usr_"), id[mfa.ApplicationID]("app_")
	var all []store.Challenge
	for i, state := range mfa.States() {
		c := newChallenge(realm, user, app)
		c.State, c.CreatedAt, c.DecideBy, c.RedeemBy = state, mfa.Instant(100+i/2), 1, 1
		c.RingReturned = i%3 == 0
		c.Rung = i%5 != 1
		all = append(all, insertChallenge(t, s, c))
	}
	insertChallenge(t, s, newChallenge(realm, "usr_other", "app_other"))
	slices.SortFunc(all, func(a, b store.Challenge) int {
		return newestFirst(a.CreatedAt, string(a.ID), b.CreatedAt, string(b.ID))
	})
	var live []store.Challenge
	var rung []mfa.Rung
	for _, c := range all {
		if c.State.Live() {
			live = append(live, c)
		}
		if c.Rung && !c.RingReturned && c.CreatedAt >= 101 {
			rung = append([]mfa.Rung{{At: c.CreatedAt, Provenance: c.Provenance}}, rung...)
		}
	}
	equal(t, "LiveChallenges", read(t, s, func(tx store.Tx) ([]store.Challenge, error) {
		return tx.LiveChallenges(realm, user)
	}), live)
	listed := slices.DeleteFunc(slices.Clone(live), func(c store.Challenge) bool { return !c.Rung || c.State == mfa.Approved })
	equal(t, "ListedChallenges", read(t, s, func(tx store.Tx) ([]store.Challenge, error) {
		return tx.ListedChallenges(realm, user)
	}), listed)
	for _, now := range []mfa.Instant{0, live[0].DecideBy - 1, live[0].DecideBy, 1 << 60} {
		counts := map[mfa.Provenance]int{}
		for _, c := range live {
			if c.At(now).State.Live() {
				counts[c.Provenance]++
			}
		}
		equal(t, "LiveCounts", read(t, s, func(tx store.Tx) (map[mfa.Provenance]int, error) {
			return tx.LiveCounts(realm, user, now)
		}), counts)
	}
	byID := func(a, b store.Challenge) int { return cmp.Compare(a.ID, b.ID) }
	of := read(t, s, func(tx store.Tx) ([]store.Challenge, error) { return tx.ApplicationLive(realm, app, len(live)+1) })
	slices.SortFunc(of, byID)
	slices.SortFunc(live, byID)
	equal(t, "ApplicationLive", of, live)
	if few := read(t, s, func(tx store.Tx) ([]store.Challenge, error) { return tx.ApplicationLive(realm, app, 2) }); len(few) != 2 {
		t.Errorf("ApplicationLive gives %d of 2", len(few))
	}
	for limit, counted := range map[int]int{1: 1, 2: 2, 1000: len(live) + 1} {
		by := read(t, s, func(tx store.Tx) (map[mfa.ApplicationID]int, error) { return tx.LiveInRealm(realm, limit) })
		all := 0
		for _, n := range by {
			all += n
		}
		equal(t, "LiveInRealm", all, counted)
		if all > limit-1 {
			continue
		}
		equal(t, "LiveInRealm of the application", by[app], len(live))
	}
	if got := read(t, s, func(tx store.Tx) ([]mfa.Rung, error) { return tx.Rung(realm, user, 101) }); true {
		byProvenance := func(a, b mfa.Rung) int {
			return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Provenance.Key, b.Provenance.Key))
		}
		slices.SortFunc(got, byProvenance)
		slices.SortFunc(rung, byProvenance)
		equal(t, "Rung", got, rung)
	}
}

func listChallenges(t *testing.T, s store.Store) {
	realm := newRealm()
	user, app := id[mfa.UserID]("usr_"), id[mfa.ApplicationID]("app_")
	var all []store.Challenge
	update(t, s, func(tx store.Tx) error { // of one moment each, so that the ids order them
		all = nil
		for i := range 5 {
			c := newChallenge(realm, user, app)
			c.CreatedAt, c.ChangedAt = mfa.Instant(100+i/3), tx.Now()
			all = append(all, c)
			if err := tx.InsertChallenge(c); err != nil {
				return err
			}
		}
		return nil
	})
	insertChallenge(t, s, newChallenge(realm, "usr_other", "app_other"))

	slices.SortFunc(all, func(a, b store.Challenge) int {
		return newestFirst(a.CreatedAt, string(a.ID), b.CreatedAt, string(b.ID))
	})
	equal(t, "UserChallenges by pages", walk(t, s, func(tx store.Tx, p store.Page) ([]store.Challenge, error) {
		return tx.UserChallenges(realm, user, p)
	}, func(c store.Challenge) (mfa.Instant, string) { return c.CreatedAt, string(c.ID) }), all)

	slices.SortFunc(all, func(a, b store.Challenge) int { return cmp.Compare(a.ID, b.ID) })
	changes := func(tx store.Tx, p store.Page) ([]store.Challenge, error) {
		return tx.ApplicationChanges(realm, app, p)
	}
	place := func(c store.Challenge) (mfa.Instant, string) { return c.ChangedAt, string(c.ID) }
	equal(t, "ApplicationChanges by pages", walk(t, s, changes, place), all)

	// What changes goes to the end.
	moved := all[0]
	update(t, s, func(tx store.Tx) error {
		moved.ChangedAt = tx.Now()
		return tx.PutChallenge(moved)
	})
	moved.Version++
	equal(t, "ApplicationChanges after a change", walk(t, s, changes, place), append(all[1:], moved))
}

// walk reads a list by pages of two.
func walk[T any](
	t *testing.T, s store.Store, list func(store.Tx, store.Page) ([]T, error), place func(T) (mfa.Instant, string),
) []T {
	t.Helper()
	var all []T
	for p := (store.Page{Limit: 2}); ; {
		got := read(t, s, func(tx store.Tx) ([]T, error) { return list(tx, p) })
		if len(got) > 2 {
			t.Fatalf("a page of 2 has %d rows", len(got))
		}
		all = append(all, got...)
		if len(got) < 2 || len(all) > 100 {
			return all
		}
		p.At, p.ID = place(got[1])
	}
}

func stamps(t *testing.T, s store.Store) {
	realm := newRealm()
	c := newChallenge(realm, "usr_1", "app_1")
	c.Received, c.Shown, c.Opened = 0, 0, 0
	c = insertChallenge(t, s, c)
	stamp := func(name string, at mfa.Instant) store.Stamp {
		return store.Stamp{Realm: realm, Challenge: c.ID, Stamp: name, At: at}
	}
	put := func(want bool, st store.Stamp) {
		t.Helper()
		update(t, s, func(tx store.Tx) error {
			if want {
				c.ChangedAt = tx.Now()
			}
			first, err := tx.PutStamp(st)
			if err == nil && first != want {
				t.Errorf("stamp %v is the first: %v, want %v", st, first, want)
			}
			return err
		})
	}
	put(true, stamp(store.StampReceived, 10))
	put(true, stamp(store.StampShown, 20))
	put(false, stamp(store.StampReceived, 5))
	put(false, store.Stamp{Realm: realm, Challenge: "ch_none", Stamp: store.StampOpened, At: 1})
	c.Received, c.Shown = 10, 20
	equal(t, "after stamps", challenge(t, s, c), c)
	put(false, stamp(store.StampShown, 30))
	equal(t, "after a second stamp", challenge(t, s, c), c)
	put(true, stamp(store.StampOpened, 40))
	c.Opened = 40
	equal(t, "after every stamp", challenge(t, s, c), c)
	// A stamp makes nobody's Put stale, and a Put loses no stamp.
	bare := c
	bare.Received, bare.Shown, bare.Opened = 0, 0, 0
	update(t, s, func(tx store.Tx) error {
		c.ChangedAt = tx.Now()
		return tx.PutChallenge(bare)
	})
	c.Version++
	equal(t, "after PutChallenge", challenge(t, s, c), c)
	if err := s.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.PutStamp(stamp("state", 1))
		return err
	}); err == nil {
		t.Error("PutStamp takes a stamp that there is not")
	}
}

func guesses(t *testing.T, s store.Store) {
	realm := newRealm()
	list := func(bucket string, since mfa.Instant) []mfa.Instant {
		t.Helper()
		return read(t, s, func(tx store.Tx) ([]mfa.Instant, error) { return tx.Guesses(realm, "usr_1", bucket, since) })
	}
	g := func(id, bucket string, at mfa.Instant) store.Guess {
		return store.Guess{Realm: realm, User: "usr_1", Bucket: bucket, ID: id, At: at}
	}
	update(t, s, func(tx store.Tx) error {
		for _, g := range []store.Guess{g("1", "a", 30), g("2", "a", 10), g("3", "b", 20), g("4", "a", 20)} {
			if err := tx.InsertGuess(g); err != nil {
				return err
			}
		}
		return tx.InsertGuess(store.Guess{Realm: realm, User: "usr_2", Bucket: "a", ID: "1", At: 20})
	})
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertGuess(g("1", "b", 1)) })
	equal(t, "Guesses", list("a", 20), []mfa.Instant{20, 30})
	equal(t, "Guesses", list("a", 0), []mfa.Instant{10, 20, 30})
	equal(t, "Guesses", list("b", 0), []mfa.Instant{20})
	equal(t, "Guesses", list("none", 0), nil)
	for range 2 { // given back twice is given back
		update(t, s, func(tx store.Tx) error { return tx.ReturnGuess(realm, "usr_1", "4") })
		equal(t, "Guesses after ReturnGuess", list("a", 0), []mfa.Instant{10, 30})
	}
}

func waits(t *testing.T, s store.Store) {
	realm := newRealm()
	get := func() store.Wait {
		t.Helper()
		return read(t, s, func(tx store.Tx) (store.Wait, error) { return tx.Wait(realm, "usr_1", "stranger") })
	}
	equal(t, "Wait before", get(), store.Wait{})
	w := store.Wait{Realm: realm, User: "usr_1", Provenance: "stranger", Length: 5, Until: 6}
	for range 2 {
		update(t, s, func(tx store.Tx) error { return tx.PutWait(w) })
		equal(t, "Wait", get(), w)
		w.Length, w.Until = 10, 20
	}
	w.Length = 0
	for range 2 {
		update(t, s, func(tx store.Tx) error { return tx.PutWait(w) })
		equal(t, "Wait cleared", get(), store.Wait{})
	}

	u := addUser(t, s, realm)
	source := func(key string) mfa.Instant {
		t.Helper()
		return read(t, s, func(tx store.Tx) (mfa.Instant, error) { return tx.Source(realm, u.ID, key) })
	}
	equal(t, "Source before", source("vpn"), 0)
	for _, at := range []mfa.Instant{7, 9} {
		update(t, s, func(tx store.Tx) error { return tx.PutSource(realm, u.ID, "vpn", at) })
		equal(t, "Source", source("vpn"), at)
		equal(t, "another Source", source("sudo"), 0)
	}
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.PutSource(realm, "usr_none", "vpn", 1) })
	other := addUser(t, s, realm)
	update(t, s, func(tx store.Tx) error { return tx.PutSource(realm, other.ID, "vpn", 3) })
	for range 2 {
		update(t, s, func(tx store.Tx) error { return tx.DeleteSources(realm, u.ID) })
		equal(t, "Source after DeleteSources", source("vpn"), 0)
	}
	equal(t, "another user's Source", read(t, s, func(tx store.Tx) (mfa.Instant, error) {
		return tx.Source(realm, other.ID, "vpn")
	}), 3)
}

func newBrowser(realm mfa.RealmID, user mfa.UserID) store.Browser {
	var b store.Browser
	fill(&b)
	b.Realm, b.User = realm, user
	return b
}

func browsers(t *testing.T, s store.Store) {
	realm := newRealm()
	u := addUser(t, s, realm)
	older, newer := newBrowser(realm, u.ID), newBrowser(realm, u.ID)
	older.SeenAt, newer.SeenAt = 1, 2
	update(t, s, func(tx store.Tx) error {
		if err := tx.PutBrowser(newer); err != nil {
			return err
		}
		return tx.PutBrowser(older)
	})
	list := func() []store.Browser {
		t.Helper()
		return read(t, s, func(tx store.Tx) ([]store.Browser, error) { return tx.ListBrowsers(realm, u.ID) })
	}
	equal(t, "ListBrowsers", list(), []store.Browser{older, newer})
	changed := newBrowser(realm, u.ID)
	changed.Thumbprint, changed.SeenAt = older.Thumbprint, 3
	update(t, s, func(tx store.Tx) error { return tx.PutBrowser(changed) })
	equal(t, "ListBrowsers", list(), []store.Browser{newer, changed})
	equal(t, "Browser", read(t, s, func(tx store.Tx) (store.Browser, error) {
		return tx.Browser(realm, u.ID, changed.Thumbprint)
	}), changed)
	update(t, s, func(tx store.Tx) error { return tx.DeleteBrowser(realm, u.ID, newer.Thumbprint) })
	missing(t, s, func(tx store.Tx) (store.Browser, error) { return tx.Browser(realm, u.ID, newer.Thumbprint) })
	equal(t, "ListBrowsers", list(), []store.Browser{changed})
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.DeleteBrowser(realm, u.ID, "none") })
}

func proofs(t *testing.T, s store.Store) {
	realm := newRealm()
	var p store.Proof
	fill(&p)
	p.Realm = realm
	update(t, s, func(tx store.Tx) error { return tx.InsertProof(p) })
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertProof(p) })
	want(t, s, store.ErrUsed, func(tx store.Tx) error {
		_, err := tx.ConsumeProof(realm, []byte("none"))
		return err
	})
	update(t, s, func(tx store.Tx) error {
		got, err := tx.ConsumeProof(realm, p.Hash)
		if err == nil {
			equal(t, "ConsumeProof", got, p)
		}
		return err
	})
	want(t, s, store.ErrUsed, func(tx store.Tx) error {
		_, err := tx.ConsumeProof(realm, p.Hash)
		return err
	})
}
