package storetest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

func newTOTP(realm mfa.RealmID, user mfa.UserID) store.TOTP {
	var f store.TOTP
	fill(&f)
	f.Realm, f.ID, f.User, f.Version = realm, id[string]("totp_"), user, 1
	return f
}

func totps(t *testing.T, s store.Store) {
	realm := newRealm()
	u := addUser(t, s, realm)
	f, later := newTOTP(realm, u.ID), newTOTP(realm, u.ID)
	f.CreatedAt, later.CreatedAt = 1, 2
	update(t, s, func(tx store.Tx) error {
		if err := tx.InsertTOTP(later); err != nil {
			return err
		}
		return tx.InsertTOTP(f)
	})
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertTOTP(f) })
	get := func() store.TOTP {
		t.Helper()
		return read(t, s, func(tx store.Tx) (store.TOTP, error) { return tx.TOTP(realm, f.ID) })
	}
	equal(t, "UserTOTPs", read(t, s, func(tx store.Tx) ([]store.TOTP, error) { return tx.UserTOTPs(realm, u.ID) }),
		[]store.TOTP{f, later})

	step := f.LastStep + 10
	update(t, s, func(tx store.Tx) error { return tx.ConsumeStep(realm, f.ID, step) })
	for _, dead := range []int64{step, step - 1, 0} {
		want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.ConsumeStep(realm, f.ID, dead) })
	}
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.ConsumeStep(realm, "totp_none", 1) })

	// PutTOTP revives no step, and a consumed step makes no Put stale.
	changed := newTOTP(realm, u.ID)
	changed.ID, changed.CreatedAt, changed.State, changed.LastStep = f.ID, f.CreatedAt, store.FactorDisabled, 0
	update(t, s, func(tx store.Tx) error { return tx.PutTOTP(changed) })
	changed.Version, changed.LastStep = 2, step
	equal(t, "after PutTOTP", get(), changed)
	update(t, s, func(tx store.Tx) error {
		is(t, "PutTOTP with an old version", tx.PutTOTP(f), store.ErrStale)
		is(t, "PutTOTP of none", tx.PutTOTP(newTOTP(realm, u.ID)), store.ErrNotFound)
		return nil
	})
	update(t, s, func(tx store.Tx) error { return tx.DeleteTOTP(realm, f.ID) })
	missing(t, s, func(tx store.Tx) (store.TOTP, error) { return tx.TOTP(realm, f.ID) })
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.DeleteTOTP(realm, f.ID) })
}

func backupSet(s store.Store, t *testing.T, realm mfa.RealmID, user mfa.UserID) (store.BackupSet, []store.BackupCode) {
	t.Helper()
	var set store.BackupSet
	var codes []store.BackupCode
	view(t, s, func(tx store.Tx) (err error) {
		set, codes, err = tx.BackupSet(realm, user)
		return err
	})
	return set, codes
}

func backupCodes(t *testing.T, s store.Store) {
	realm := newRealm()
	u := addUser(t, s, realm)
	none := func() {
		t.Helper()
		missing(t, s, func(tx store.Tx) (store.BackupSet, error) {
			set, _, err := tx.BackupSet(realm, u.ID)
			return set, err
		})
	}
	none()
	set := store.BackupSet{Realm: realm, User: u.ID, Generation: 1, Failures: 2, Disabled: true, CreatedAt: 3}
	codes := []store.BackupCode{{Index: 1, Hash: "h1"}, {Index: 2, Hash: "h2", UsedAt: 9}}
	update(t, s, func(tx store.Tx) error { return tx.ReplaceBackupSet(set, codes) })
	got, gotCodes := backupSet(s, t, realm, u.ID)
	equal(t, "BackupSet", got, set)
	equal(t, "its codes", gotCodes, codes)

	set.Generation = 2
	codes = []store.BackupCode{{Index: 1, Hash: "n1"}, {Index: 3, Hash: "n3"}}
	update(t, s, func(tx store.Tx) error { return tx.ReplaceBackupSet(set, codes) })
	for _, test := range []struct {
		generation int64
		index      int
		want       error
	}{{1, 1, store.ErrUsed}, {2, 2, store.ErrUsed}, {2, 1, nil}, {2, 1, store.ErrUsed}, {3, 3, store.ErrUsed}} {
		want(t, s, test.want, func(tx store.Tx) error {
			return tx.UseBackupCode(realm, u.ID, test.generation, test.index, 50)
		})
	}
	codes[0].UsedAt = 50
	put := set
	put.Failures, put.Disabled, put.CreatedAt = 0, false, 99
	update(t, s, func(tx store.Tx) error { return tx.PutBackupSet(put) })
	set.Failures, set.Disabled = 0, false
	got, gotCodes = backupSet(s, t, realm, u.ID)
	equal(t, "BackupSet", got, set)
	equal(t, "its codes", gotCodes, codes)
	former := set
	former.Generation = 1
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.PutBackupSet(former) })

	update(t, s, func(tx store.Tx) error { return tx.ReplaceBackupSet(set, nil) })
	none()
}

func bypassCodes(t *testing.T, s store.Store) {
	realm := newRealm()
	u := addUser(t, s, realm)
	get := func(tx store.Tx) (store.BypassCode, error) { return tx.BypassCode(realm, u.ID) }
	missing(t, s, get)
	var former, c store.BypassCode
	fill(&former)
	fill(&c)
	former.Realm, former.User, c.Realm, c.User = realm, u.ID, realm, u.ID
	c.UsesLeft, c.ExpiresAt = 2, 100
	update(t, s, func(tx store.Tx) error { return tx.ReplaceBypassCode(former) })
	equal(t, "BypassCode", read(t, s, get), former)
	update(t, s, func(tx store.Tx) error { return tx.ReplaceBypassCode(c) })
	equal(t, "BypassCode", read(t, s, get), c)
	for _, test := range []struct {
		id   string
		now  mfa.Instant
		want error
	}{
		{former.ID, 50, store.ErrUsed},
		{c.ID, 100, store.ErrUsed},
		{c.ID, 99, nil},
		{c.ID, 99, nil},
		{c.ID, 99, store.ErrUsed},
	} {
		want(t, s, test.want, func(tx store.Tx) error { return tx.UseBypassCode(realm, u.ID, test.id, test.now) })
	}
	put := c
	put.Failures, put.UsesLeft, put.Hash = 4, 1, "other"
	update(t, s, func(tx store.Tx) error { return tx.PutBypassCode(put) })
	c.Failures, c.UsesLeft = 4, 1
	equal(t, "after PutBypassCode", read(t, s, get), c)
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.PutBypassCode(former) })
	update(t, s, func(tx store.Tx) error { return tx.DeleteBypassCode(realm, u.ID) })
	missing(t, s, get)
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.DeleteBypassCode(realm, u.ID) })
}

func deleteUser(t *testing.T, s store.Store) {
	realm := newRealm()
	u, other := addUser(t, s, realm), addUser(t, s, realm)
	d, kept := newDevice(realm, u.ID), newDevice(realm, other.ID)
	f, b := newTOTP(realm, u.ID), newBrowser(realm, u.ID)
	c := newChallenge(realm, u.ID, "app_1")
	e := store.Event{Realm: realm, ID: id[mfa.EventID]("evt_"), At: 1, User: u.ID, Actor: mfa.ActorServer}
	update(t, s, func(tx store.Tx) error {
		return errors.Join(
			tx.InsertDevice(d), tx.InsertDevice(kept), tx.InsertTOTP(f), tx.PutBrowser(b),
			tx.PutSource(realm, u.ID, "vpn", 5),
			tx.ReplaceBackupSet(store.BackupSet{Realm: realm, User: u.ID}, []store.BackupCode{{Index: 1}}),
			tx.ReplaceBypassCode(store.BypassCode{Realm: realm, User: u.ID, ID: "byp_1", Actor: mfa.ActorHelpDesk}),
			tx.InsertChallenge(c), tx.InsertEvent(e),
		)
	})
	update(t, s, func(tx store.Tx) error { return tx.DeleteUser(realm, u.ID) })
	missing(t, s, func(tx store.Tx) (store.User, error) { return tx.User(realm, u.ID) })
	missing(t, s, func(tx store.Tx) (store.User, error) { return tx.UserByName(realm, u.Name) })
	missing(t, s, func(tx store.Tx) (store.Device, error) { return tx.Device(d.ID) })
	missing(t, s, func(tx store.Tx) (store.TOTP, error) { return tx.TOTP(realm, f.ID) })
	missing(t, s, func(tx store.Tx) (store.Browser, error) { return tx.Browser(realm, u.ID, b.Thumbprint) })
	missing(t, s, func(tx store.Tx) (store.BypassCode, error) { return tx.BypassCode(realm, u.ID) })
	missing(t, s, func(tx store.Tx) (store.BackupSet, error) {
		set, _, err := tx.BackupSet(realm, u.ID)
		return set, err
	})
	view(t, s, func(tx store.Tx) error {
		source, err := tx.Source(realm, u.ID, "vpn")
		equal(t, "Source", source, 0)
		_, challengeErr := tx.Challenge(realm, c.ID)
		events, eventErr := tx.ListEvents(store.EventFilter{Realm: realm, User: u.ID}, store.Page{Limit: 5})
		equal(t, "events that stay", len(events), 1)
		_, deviceErr := tx.Device(kept.ID)
		_, userErr := tx.User(realm, other.ID)
		return errors.Join(err, challengeErr, eventErr, deviceErr, userErr)
	})
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.DeleteUser(realm, u.ID) })
}

func notices(t *testing.T, s store.Store) {
	realm := newRealm()
	var all []store.Notice
	for i := range 3 {
		var n store.Notice
		fill(&n)
		n.Realm, n.ID, n.User, n.At, n.ExpiresAt = realm, id[string]("ntc_"), "usr_1", mfa.Instant(10-i), mfa.Instant(100-i)
		update(t, s, func(tx store.Tx) error { return tx.InsertNotice(n) })
		all = append([]store.Notice{n}, all...)
	}
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertNotice(all[0]) })
	for now, left := range map[mfa.Instant][]store.Notice{0: all, 97: all, 98: all[1:], 100: nil} {
		equal(t, "UserNotices", read(t, s, func(tx store.Tx) ([]store.Notice, error) {
			return tx.UserNotices(realm, "usr_1", now)
		}), left)
	}
}

func newEvent(realm mfa.RealmID, at mfa.Instant) store.Event {
	var e store.Event
	fill(&e)
	e.Realm, e.ID, e.At = realm, id[mfa.EventID]("evt_"), at
	return e
}

func events(t *testing.T, s store.Store) {
	realm := newRealm()
	var all []store.Event
	for i := range 8 {
		e := newEvent(realm, mfa.Instant(1000+i/3))
		e.User, e.Application = []mfa.UserID{"usr_1", "usr_2"}[i%2], []mfa.ApplicationID{"app_1", "app_2", ""}[i%3]
		e.Device, e.Challenge = []mfa.DeviceID{"dev_1", ""}[i/4], []mfa.ChallengeID{"ch_1", "ch_2"}[i/2%2]
		e.Kind = []string{"challenge.created", "challenge.approved", "challenger", "user.locked"}[i%4]
		if i == 5 {
			e.Data = nil
		}
		update(t, s, func(tx store.Tx) error { return tx.InsertEvent(e) })
		all = append(all, e)
	}
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertEvent(all[0]) })
	slices.SortFunc(all, func(a, b store.Event) int { return newestFirst(a.At, string(a.ID), b.At, string(b.ID)) })
	for _, test := range []struct {
		filter store.EventFilter
		keep   func(store.Event) bool
	}{
		{store.EventFilter{}, func(store.Event) bool { return true }},
		{store.EventFilter{User: "usr_1"}, func(e store.Event) bool { return e.User == "usr_1" }},
		{store.EventFilter{Application: "app_2"}, func(e store.Event) bool { return e.Application == "app_2" }},
		{store.EventFilter{Device: "dev_1"}, func(e store.Event) bool { return e.Device == "dev_1" }},
		{store.EventFilter{Challenge: "ch_2"}, func(e store.Event) bool { return e.Challenge == "ch_2" }},
		{store.EventFilter{Kind: "challenge."}, func(e store.Event) bool { return strings.HasPrefix(e.Kind, "challenge.") }},
		{store.EventFilter{Kind: "challenge"}, func(store.Event) bool { return false }},
		{store.EventFilter{Kind: "user.locked"}, func(e store.Event) bool { return e.Kind == "user.locked" }},
		{store.EventFilter{Since: 1001}, func(e store.Event) bool { return e.At >= 1001 }},
		{store.EventFilter{Until: 1001}, func(e store.Event) bool { return e.At < 1001 }},
		{store.EventFilter{Since: 1001, Until: 1002, User: "usr_2"}, func(e store.Event) bool {
			return e.At == 1001 && e.User == "usr_2"
		}},
	} {
		var kept []store.Event
		for _, e := range all {
			if test.keep(e) {
				kept = append(kept, e)
			}
		}
		place := func(e store.Event) (mfa.Instant, string) { return e.At, string(e.ID) }
		list := func(tx store.Tx, p store.Page) ([]store.Event, error) { return tx.ListEvents(test.filter, p) }
		test.filter.Realm = realm
		equal(t, "ListEvents by pages", walk(t, s, list, place), kept)
		test.filter.OldestFirst = true
		slices.Reverse(kept)
		equal(t, "ListEvents, oldest first", walk(t, s, list, place), kept)
	}

	changes := read(t, s, func(tx store.Tx) ([]store.Change, error) { return tx.ChangesSince(1002) })
	found := map[store.Change]int{}
	for _, c := range changes {
		if c.Realm == realm {
			found[c]++
		}
	}
	expected := map[store.Change]int{}
	for _, e := range all {
		if e.At >= 1002 {
			expected[store.Change{Realm: realm, User: e.User, Application: e.Application, Challenge: e.Challenge}] = 1
		}
	}
	equal(t, "ChangesSince", found, expected)
}

func replays(t *testing.T, s store.Store) {
	realm := newRealm()
	var r store.Replay
	fill(&r)
	r.Realm, r.Application, r.Route, r.Key = realm, "app_1", "POST /v1/x", "key"
	get := func(tx store.Tx) (store.Replay, error) { return tx.Replay(realm, "app_1", "POST /v1/x", "key") }
	missing(t, s, get)
	update(t, s, func(tx store.Tx) error { return tx.InsertReplay(r) })
	equal(t, "Replay", read(t, s, get), r)
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertReplay(r) })
	for _, other := range []store.Replay{
		{Realm: realm, Application: "app_2", Route: r.Route, Key: r.Key},
		{Realm: realm, Application: "app_1", Route: "POST /v1/y", Key: r.Key},
		{Realm: realm, Application: "app_1", Route: r.Route, Key: "KEY"},
	} {
		update(t, s, func(tx store.Tx) error { return tx.InsertReplay(other) })
	}
	changed := r
	fill(&changed)
	changed.Realm, changed.Application, changed.Route, changed.Key = r.Realm, r.Application, r.Route, r.Key
	changed.Done, changed.Secret, changed.Answer = false, false, nil
	update(t, s, func(tx store.Tx) error { return tx.PutReplay(changed) })
	equal(t, "after PutReplay", read(t, s, get), changed)
	update(t, s, func(tx store.Tx) error { return tx.DeleteReplay(realm, "app_1", r.Route, r.Key) })
	missing(t, s, get)
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.PutReplay(changed) })
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.DeleteReplay(realm, "app_1", r.Route, r.Key) })
}

// text is kept as it is or refused, in the same way by every database.
func text(t *testing.T, s store.Store) {
	realm := newRealm()
	for _, v := range []string{"", " ", "O'Brien; --", "日本語", "\U0001F511", "ß", "é", "\u0065\u0301", "%_\\", "\u0001\r\n"} {
		update(t, s, func(tx store.Tx) error { return tx.PutSetting(string(realm), v) })
		equal(t, "text", read(t, s, func(tx store.Tx) (string, error) { return tx.Setting(string(realm)) }), v)
	}
	for _, v := range []string{"a\x00b", "\xff", "a\xc3"} {
		err := s.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting(string(realm), v) })
		if mfa.CodeOf(err) != mfa.Invalid {
			t.Errorf("PutSetting(%q): got %v, want an error with the code invalid", v, err)
		}
		err = s.View(t.Context(), func(tx store.Tx) error {
			_, err := tx.UserByName(realm, v)
			return err
		})
		if mfa.CodeOf(err) != mfa.Invalid {
			t.Errorf("UserByName(%q): got %v, want an error with the code invalid", v, err)
		}
	}
}

// isolation puts the same keys into two realms: neither sees the other's.
func isolation(t *testing.T, s store.Store) {
	mine, theirs := newRealm(), newRealm()
	user := store.User{ID: "usr_same", Name: "same", ExternalID: "x", State: store.UserActive, Version: 1}
	app := store.Application{ID: "app_same", Name: "same", UsernameForm: "as_is", Version: 1}
	c := newChallenge("", user.ID, app.ID)
	c.State, c.RingReturned = mfa.Pending, false
	f, b := newTOTP("", user.ID), newBrowser("", user.ID)
	p := store.Proof{Hash: []byte("same")}
	e := newEnrolment("", user.ID)
	put := func(realm mfa.RealmID, mark string) {
		t.Helper()
		user.Realm, user.Display, app.Realm, app.IconSHA256 = realm, mark, realm, mark
		c.Realm, c.Name, f.Realm, f.Name, b.Realm, b.Name, p.Realm, p.Name = realm, mark, realm, mark, realm, mark, realm, mark
		e.Realm, e.Answer = realm, mark
		e.TicketHash = []byte("ticket " + mark) // which names its realm
		update(t, s, func(tx store.Tx) error {
			return errors.Join(
				tx.InsertRealm(store.Realm{ID: realm}), tx.InsertUser(user, nil), tx.InsertApplication(app),
				tx.InsertChallenge(c), tx.InsertTOTP(f), tx.PutBrowser(b), tx.InsertProof(p), tx.InsertEnrolment(e),
				tx.InsertPolicy(store.Policy{Realm: realm, Version: 1, By: mark}),
				tx.InsertKey(store.Key{Realm: realm, Purpose: "grant", KID: "same"}),
				tx.InsertKeySet(store.KeySet{Realm: realm, Serial: 1, JWS: mark}),
				tx.InsertGuess(store.Guess{Realm: realm, User: user.ID, Bucket: "b", ID: "same", At: 1}),
				tx.PutWait(store.Wait{Realm: realm, User: user.ID, Provenance: "p", Length: 1}),
				tx.PutSource(realm, user.ID, "s", 1), tx.UseThumbprint(realm, "same"),
				tx.ReplaceBackupSet(store.BackupSet{Realm: realm, User: user.ID}, []store.BackupCode{{Index: 1}}),
				tx.ReplaceBypassCode(store.BypassCode{Realm: realm, User: user.ID, ID: "same", Actor: mfa.ActorUser, UsesLeft: 1, ExpiresAt: 9}),
				tx.InsertNotice(store.Notice{Realm: realm, ID: "same", User: user.ID, JWS: mark, ExpiresAt: 9}),
				tx.InsertEvent(store.Event{Realm: realm, ID: "same", At: 1, Kind: mark, User: user.ID, Actor: mfa.ActorUser}),
				tx.InsertReplay(store.Replay{Realm: realm, Application: app.ID, Route: "r", Key: "same", Object: mark}),
				tx.InsertAPIKey(store.APIKey{Realm: realm, ID: "same", Application: app.ID, Hash: []byte(mark)}),
				tx.InsertWebhook(store.Webhook{Realm: realm, ID: "same", URL: mark, Version: 1}),
				tx.InsertDelivery(store.Delivery{Realm: realm, ID: "same", Target: "same", About: mark, State: store.DeliveryPending, DueAt: 5}),
				tx.InsertDelivery(store.Delivery{Realm: realm, ID: "dead", Target: "same", About: mark, State: store.DeliveryDead}),
				tx.InsertAttempt(store.Attempt{Realm: realm, Delivery: "same", Number: 1, Outcome: "gone", Text: mark}),
			)
		})
	}
	put(mine, "mine")
	put(theirs, "theirs")

	// Everything that can be changed or used up in one realm is.
	update(t, s, func(tx store.Tx) error {
		u, err := tx.User(mine, user.ID)
		u.State = store.UserLocked
		errs := []error{
			err, tx.PutUser(u),
			tx.ConsumeStep(mine, f.ID, 1<<40), tx.UseBackupCode(mine, user.ID, 0, 1, 5),
			tx.UseBypassCode(mine, user.ID, "same", 5), tx.ReturnGuess(mine, user.ID, "same"),
			tx.DeleteBrowser(mine, user.ID, b.Thumbprint), tx.DeleteReplay(mine, app.ID, "r", "same"),
			tx.PutWait(store.Wait{Realm: mine, User: user.ID, Provenance: "p"}),
			tx.DeleteWebhook(mine, "same"), tx.TakeDelivery(mine, "same", 5, "n", 6),
			tx.PutDelivery(store.Delivery{Realm: mine, ID: "same", State: store.DeliveryDead}, "n", 6),
			tx.ReplayDelivery(mine, "same", "n", 9),
		}
		_, err = tx.ReplayDead(store.DeliveryFilter{Realm: mine, Target: "same"}, 0, 9, 9)
		errs = append(errs, err)
		_, err = tx.ConsumeProof(mine, p.Hash)
		errs = append(errs, err, tx.DeleteUser(mine, user.ID))
		_, err = tx.SweepChallenges(mine, 1<<60, 100)
		errs = append(errs, err)
		_, err = tx.SweepEvents(mine, 1<<60, 100)
		return errors.Join(append(errs, err)...)
	})

	view(t, s, func(tx store.Tx) error {
		var errs []error
		check := func(what string, same bool, err error) {
			errs = append(errs, err)
			if !same {
				t.Errorf("%s: the other realm's is touched", what)
			}
		}
		u, err := tx.UserByName(theirs, "same")
		check("user", u.Display == "theirs" && u.State == store.UserActive, err)
		a, err := tx.ApplicationByName(theirs, "same")
		check("application", a.IconSHA256 == "theirs", err)
		got, err := tx.Challenge(theirs, c.ID)
		check("challenge", got.Name == "theirs", err)
		live, err := tx.LiveChallenges(theirs, user.ID)
		check("live challenges", len(live) == 1 && live[0].Name == "theirs", err)
		rung, err := tx.Rung(theirs, user.ID, 0)
		check("rung", len(rung) == 1, err)
		totp, err := tx.TOTP(theirs, f.ID)
		check("TOTP", totp.Name == "theirs" && totp.LastStep == f.LastStep, err)
		browser, err := tx.Browser(theirs, user.ID, b.Thumbprint)
		check("browser", browser.Name == "theirs", err)
		enrolled, err := tx.LiveEnrolments(theirs, user.ID)
		check("enrolment", len(enrolled) == 1 && enrolled[0].Answer == "theirs", err)
		policy, err := tx.Policy(theirs, 0)
		check("policy", policy.By == "theirs", err)
		sets, err := tx.KeySetsAfter(theirs, 0)
		check("key sets", len(sets) == 1 && sets[0].JWS == "theirs", err)
		g, err := tx.Guesses(theirs, user.ID, "b", 0)
		check("guesses", len(g) == 1, err)
		w, err := tx.Wait(theirs, user.ID, "p")
		check("wait", w.Length == 1, err)
		at, err := tx.Source(theirs, user.ID, "s")
		check("source", at == 1, err)
		_, codes, err := tx.BackupSet(theirs, user.ID)
		check("backup codes", len(codes) == 1 && codes[0].UsedAt == 0, err)
		bypass, err := tx.BypassCode(theirs, user.ID)
		check("bypass code", bypass.UsesLeft == 1, err)
		n, err := tx.UserNotices(theirs, user.ID, 0)
		check("notices", len(n) == 1 && n[0].JWS == "theirs", err)
		ev, err := tx.ListEvents(store.EventFilter{Realm: theirs}, store.Page{Limit: 9})
		check("events", len(ev) == 1 && ev[0].Kind == "theirs", err)
		r, err := tx.Replay(theirs, app.ID, "r", "same")
		check("replay", r.Object == "theirs", err)
		hook, err := tx.Webhook(theirs, "same")
		check("webhook", hook.URL == "theirs", err)
		d, err := tx.Delivery(theirs, "same")
		check("delivery", d.About == "theirs" && d.State == store.DeliveryPending && d.DueAt == 5, err)
		dead, err := tx.ListDeliveries(store.DeliveryFilter{Realm: theirs, Target: "same", State: store.DeliveryDead}, store.Page{Limit: 9})
		check("dead delivery", len(dead) == 1 && dead[0].About == "theirs", err)
		made, err := tx.DeliveryAttempts(theirs, "same")
		check("attempts", len(made) == 1 && made[0].Text == "theirs", err)
		k, err := tx.APIKeys(theirs, app.ID)
		check("API keys", len(k) == 1 && string(k[0].Hash) == "theirs", err)
		return errors.Join(errs...)
	})
	update(t, s, func(tx store.Tx) error {
		_, err := tx.ConsumeProof(theirs, p.Hash)
		return err
	})
}
