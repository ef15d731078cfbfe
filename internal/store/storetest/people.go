package storetest

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

func realms(t *testing.T, s store.Store) {
	realm := newRealm()
	r := store.Realm{ID: realm, CreatedAt: 5, DisabledAt: 6, Hosts: []string{"one.example", "two.example:8443"}, Version: 1}
	update(t, s, func(tx store.Tx) error { return tx.InsertRealm(r) })
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertRealm(store.Realm{ID: realm}) })
	equal(t, "Realm", read(t, s, func(tx store.Tx) (store.Realm, error) { return tx.Realm(realm) }), r)
	missing(t, s, func(tx store.Tx) (store.Realm, error) { return tx.Realm("no such realm") })
	all := read(t, s, func(tx store.Tx) ([]store.Realm, error) { return tx.ListRealms() })
	if !slices.ContainsFunc(all, func(other store.Realm) bool { return cmp.Equal(other, r) }) {
		t.Errorf("ListRealms: %v lacks %v", all, r)
	}
	put := func(r store.Realm) (err error) {
		update(t, s, func(tx store.Tx) error {
			err = tx.PutRealm(r)
			return nil
		})
		return err
	}
	changed := r
	changed.CreatedAt, changed.DisabledAt, changed.Hosts = 1, 0, nil
	is(t, "PutRealm", put(changed), nil)
	r.DisabledAt, r.Hosts, r.Version = 0, nil, 2
	equal(t, "after PutRealm", read(t, s, func(tx store.Tx) (store.Realm, error) { return tx.Realm(realm) }), r)
	is(t, "PutRealm with an old version", put(changed), store.ErrStale)
	is(t, "PutRealm of none", put(store.Realm{ID: "no such realm"}), store.ErrNotFound)

	var older, newer store.Key
	fill(&older)
	fill(&newer)
	older.Realm, older.CreatedAt = realm, 10
	newer.Realm, newer.CreatedAt = realm, 20
	other := newer
	other.Purpose = "prompt"
	update(t, s, func(tx store.Tx) error {
		for _, k := range []store.Key{newer, older, other} {
			if err := tx.InsertKey(k); err != nil {
				return err
			}
		}
		return nil
	})
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertKey(older) })
	older.ActiveAt, older.RetiredAt = 30, 40
	elsewhere := older
	elsewhere.Sealed, elsewhere.Public, elsewhere.CreatedAt = []byte("other"), nil, 1
	update(t, s, func(tx store.Tx) error { return tx.PutKey(elsewhere) })
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.PutKey(store.Key{Realm: realm, Purpose: "grant", KID: "no"}) })
	equal(t, "Keys", read(t, s, func(tx store.Tx) ([]store.Key, error) { return tx.Keys(realm, "grant") }),
		[]store.Key{older, newer})

	sets := make([]store.KeySet, 3)
	update(t, s, func(tx store.Tx) error {
		for i := range sets {
			fill(&sets[i])
			sets[i].Realm, sets[i].Serial = realm, int64(i+1)
			if err := tx.InsertKeySet(sets[i]); err != nil {
				return err
			}
		}
		return nil
	})
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertKeySet(sets[0]) })
	equal(t, "KeySetsAfter", read(t, s, func(tx store.Tx) ([]store.KeySet, error) { return tx.KeySetsAfter(realm, 1) }), sets[1:])

	name := string(realm)
	missing(t, s, func(tx store.Tx) (string, error) { return tx.Setting(name) })
	for _, v := range []string{"one", "two"} {
		update(t, s, func(tx store.Tx) error { return tx.PutSetting(name, v) })
		equal(t, "Setting", read(t, s, func(tx store.Tx) (string, error) { return tx.Setting(name) }), v)
	}
}

func policies(t *testing.T, s store.Store) {
	realm := newRealm()
	missing(t, s, func(tx store.Tx) (store.Policy, error) { return tx.Policy(realm, 0) })
	all := make([]store.Policy, 3)
	for i := range all {
		fill(&all[i])
		all[i].Realm, all[i].Version = realm, i+1
		update(t, s, func(tx store.Tx) error { return tx.InsertPolicy(all[i]) })
	}
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertPolicy(all[1]) })
	for version, i := range map[int]int{0: 2, 1: 0, 2: 1, 3: 2} {
		equal(t, "Policy", read(t, s, func(tx store.Tx) (store.Policy, error) { return tx.Policy(realm, version) }), all[i])
	}
	missing(t, s, func(tx store.Tx) (store.Policy, error) { return tx.Policy(realm, 4) })
	equal(t, "ListPolicies", read(t, s, func(tx store.Tx) ([]store.Policy, error) { return tx.ListPolicies(realm, 2) }),
		[]store.Policy{all[2], all[1]})
}

func users(t *testing.T, s store.Store) {
	realm := newRealm()
	u := addUser(t, s, realm)
	get := func() store.User {
		t.Helper()
		return read(t, s, func(tx store.Tx) (store.User, error) { return tx.User(realm, u.ID) })
	}
	equal(t, "User", get(), u)
	equal(t, "UserByName", read(t, s, func(tx store.Tx) (store.User, error) { return tx.UserByName(realm, u.Name) }), u)
	missing(t, s, func(tx store.Tx) (store.User, error) { return tx.User(realm, "usr_none") })
	missing(t, s, func(tx store.Tx) (store.User, error) { return tx.UserByName(realm, "none") })
	equal(t, "UserByExternalID", read(t, s, func(tx store.Tx) (store.User, error) {
		return tx.UserByExternalID(realm, u.ExternalID)
	}), u)
	missing(t, s, func(tx store.Tx) (store.User, error) { return tx.UserByExternalID(newRealm(), u.ExternalID) })
	missing(t, s, func(tx store.Tx) (store.User, error) { return tx.UserByExternalID(realm, "") })

	changed := u
	fill(&changed)
	changed.Realm, changed.ID, changed.Name, changed.CreatedAt, changed.Version = realm, u.ID, u.Name, u.CreatedAt, u.Version
	changed.State, changed.Owner, changed.HadFactor, changed.Groups = store.UserActive, false, false, nil
	update(t, s, func(tx store.Tx) error { return tx.PutUser(changed) })
	changed.Version++
	equal(t, "after PutUser", get(), changed)

	outcome := func(u store.User) (err error) {
		update(t, s, func(tx store.Tx) error {
			err = tx.PutUser(u)
			return nil
		})
		return err
	}
	is(t, "PutUser with an old version", outcome(u), store.ErrStale)
	gone := changed
	gone.ID = "usr_none"
	gone.ExternalID = ""
	is(t, "PutUser of nobody", outcome(gone), store.ErrNotFound)
	other := addUser(t, s, realm)
	other.ExternalID = changed.ExternalID
	is(t, "PutUser with another's external id", outcome(other), store.ErrExists)

	twin := store.User{Realm: realm, ID: id[mfa.UserID]("usr_"), Name: id[string]("n"), State: store.UserActive}
	twin.ExternalID = changed.ExternalID
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertUser(twin, nil) })
	twin.ExternalID, twin.ID = "", u.ID
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertUser(twin, nil) })
	for range 2 {
		twin.ID, twin.Name = id[mfa.UserID]("usr_"), id[string]("n")
		update(t, s, func(tx store.Tx) error { return tx.InsertUser(twin, nil) }) // no external id is nobody's
	}
}

func userNames(t *testing.T, s store.Store) {
	realm := newRealm()
	u := store.User{Realm: realm, ID: id[mfa.UserID]("usr_"), Name: "anna", Display: "Anna", State: store.UserActive}
	names := func(list ...string) []store.UserName {
		var all []store.UserName
		for _, n := range list {
			all = append(all, store.UserName{Realm: realm, Name: n, User: u.ID, Alias: n != "anna", Display: "D-" + n})
		}
		return all
	}
	stored := func() []store.UserName {
		t.Helper()
		return read(t, s, func(tx store.Tx) ([]store.UserName, error) { return tx.UserNames(realm, u.ID) })
	}
	update(t, s, func(tx store.Tx) error { return tx.InsertUser(u, names("anna", "a@example.org", "ann")) })
	equal(t, "UserNames", stored(), names("anna", "a@example.org", "ann"))
	found := read(t, s, func(tx store.Tx) (store.User, error) { return tx.UserByName(realm, "ann") })
	equal(t, "UserByName by an alias", found.ID, u.ID)

	for _, taken := range [][]string{{"ann"}, {"bert", "anna"}, {"bert", "carl", "carl"}} {
		v := store.User{Realm: realm, ID: id[mfa.UserID]("usr_"), Name: taken[0], State: store.UserActive}
		var list []store.UserName
		for _, n := range taken {
			list = append(list, store.UserName{Name: n, Alias: n != taken[0]})
		}
		update(t, s, func(tx store.Tx) error { // and the transaction goes on with nothing of it
			is(t, "InsertUser with a taken name", tx.InsertUser(v, list), store.ErrExists)
			return nil
		})
		missing(t, s, func(tx store.Tx) (store.User, error) { return tx.User(realm, v.ID) })
		missing(t, s, func(tx store.Tx) (store.User, error) { return tx.UserByName(realm, "bert") })
	}

	other := addUser(t, s, realm)
	for _, taken := range [][]string{{"new", other.Name}, {"new", "anna"}, {"new", "new"}} {
		update(t, s, func(tx store.Tx) error {
			is(t, "SetAliases with a taken name", tx.SetAliases(realm, u.ID, names(taken...)), store.ErrExists)
			return nil
		})
		equal(t, "UserNames after a refusal", stored(), names("anna", "a@example.org", "ann"))
	}
	update(t, s, func(tx store.Tx) error { return tx.SetAliases(realm, u.ID, names("ann", "annie")) })
	equal(t, "UserNames", stored(), names("anna", "ann", "annie"))
	update(t, s, func(tx store.Tx) error { return tx.SetAliases(realm, other.ID, names("a@example.org")) })
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.SetAliases(realm, "usr_none", nil) })
}

func listUsers(t *testing.T, s store.Store) {
	realm := newRealm()
	var all []store.User
	for i, name := range []string{"adam", "abel", "bert", "carl", "cara"} {
		u := store.User{
			Realm: realm, ID: id[mfa.UserID]("usr_"), Name: name, State: store.UserActive, Version: 1,
			CreatedAt: mfa.Instant(100 + i/2), // two at a time
		}
		if name == "bert" {
			u.State = store.UserLocked
		}
		update(t, s, func(tx store.Tx) error {
			return tx.InsertUser(u, []store.UserName{{Name: name}, {Name: "x-" + name, Alias: true}})
		})
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b store.User) int { return newestFirst(a.CreatedAt, string(a.ID), b.CreatedAt, string(b.ID)) })
	enrol := all[1]
	update(t, s, func(tx store.Tx) error {
		if err := tx.InsertDevice(newDevice(realm, enrol.ID)); err != nil {
			return err
		}
		f := newTOTP(realm, all[2].ID)
		f.State = store.FactorPending
		return tx.InsertTOTP(f)
	})
	page := func(f store.UserFilter, p store.Page) []store.User {
		t.Helper()
		return read(t, s, func(tx store.Tx) ([]store.User, error) { return tx.ListUsers(realm, f, p) })
	}
	var walked []store.User
	for p := (store.Page{Limit: 2}); ; {
		got := page(store.UserFilter{}, p)
		walked = append(walked, got...)
		if len(got) < 2 {
			break
		}
		p.At, p.ID = got[1].CreatedAt, string(got[1].ID)
	}
	equal(t, "ListUsers by pages", walked, all)
	for _, test := range []struct {
		filter store.UserFilter
		keep   func(store.User) bool
	}{
		{store.UserFilter{Prefix: "a"}, func(u store.User) bool { return u.Name[0] == 'a' }},
		{store.UserFilter{Prefix: "x-c"}, func(u store.User) bool { return u.Name[0] == 'c' }},
		{store.UserFilter{Prefix: "adam"}, func(u store.User) bool { return u.Name == "adam" }},
		{store.UserFilter{Prefix: "%"}, func(store.User) bool { return false }},
		{store.UserFilter{State: store.UserLocked}, func(u store.User) bool { return u.State == store.UserLocked }},
		{store.UserFilter{State: store.UserActive}, func(u store.User) bool { return u.State == store.UserActive }},
		{store.UserFilter{Enrolled: "yes"}, func(u store.User) bool { return u.ID == enrol.ID }},
		{store.UserFilter{Enrolled: "no", Prefix: "x-"}, func(u store.User) bool { return u.ID != enrol.ID }},
	} {
		var kept []store.User
		for _, u := range all {
			if test.keep(u) {
				kept = append(kept, u)
			}
		}
		equal(t, "ListUsers", page(test.filter, store.Page{Limit: 10}), kept)
	}
}

func applications(t *testing.T, s store.Store) {
	realm := newRealm()
	var all []store.Application
	for i := range 3 {
		var a store.Application
		fill(&a)
		a.Realm, a.ID, a.Version, a.CreatedAt = realm, id[mfa.ApplicationID]("app_"), 1, mfa.Instant(50+i/2)
		update(t, s, func(tx store.Tx) error { return tx.InsertApplication(a) })
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b store.Application) int {
		return newestFirst(a.CreatedAt, string(a.ID), b.CreatedAt, string(b.ID))
	})
	list := func(p store.Page) []store.Application {
		t.Helper()
		return read(t, s, func(tx store.Tx) ([]store.Application, error) { return tx.ListApplications(realm, p) })
	}
	equal(t, "ListApplications", list(store.Page{Limit: 2}), all[:2])
	equal(t, "ListApplications", list(store.Page{At: all[1].CreatedAt, ID: string(all[1].ID), Limit: 2}), all[2:])
	a := all[0]
	equal(t, "ApplicationByName", read(t, s, func(tx store.Tx) (store.Application, error) {
		return tx.ApplicationByName(realm, a.Name)
	}), a)
	missing(t, s, func(tx store.Tx) (store.Application, error) { return tx.ApplicationByName(realm, "none") })
	missing(t, s, func(tx store.Tx) (store.Application, error) { return tx.Application(realm, "app_none") })
	twin := a
	twin.ID = id[mfa.ApplicationID]("app_")
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertApplication(twin) })

	changed := a
	fill(&changed)
	changed.Realm, changed.ID, changed.CreatedAt, changed.Version = a.Realm, a.ID, a.CreatedAt, a.Version
	changed.UsernameForm = "as_is"
	update(t, s, func(tx store.Tx) error { return tx.PutApplication(changed) })
	changed.Version++
	equal(t, "after PutApplication", read(t, s, func(tx store.Tx) (store.Application, error) {
		return tx.Application(realm, a.ID)
	}), changed)
	update(t, s, func(tx store.Tx) error {
		is(t, "PutApplication with an old version", tx.PutApplication(a), store.ErrStale)
		named := changed
		named.Name = all[1].Name
		is(t, "PutApplication with another's name", tx.PutApplication(named), store.ErrExists)
		none := changed
		none.ID, none.Name = "app_none", "none"
		is(t, "PutApplication of none", tx.PutApplication(none), store.ErrNotFound)
		return nil
	})
}

func apiKeys(t *testing.T, s store.Store) {
	realm := newRealm()
	var all []store.APIKey
	for i := range 2 {
		var k store.APIKey
		fill(&k)
		k.Realm, k.ID, k.Application, k.CreatedAt = realm, id[string]("key_"), "app_1", mfa.Instant(i)
		update(t, s, func(tx store.Tx) error { return tx.InsertAPIKey(k) })
		all = append(all, k)
	}
	k := all[0]
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertAPIKey(k) })
	twin := k
	twin.ID = id[string]("key_")
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertAPIKey(twin) })
	k.ExpiresAt, k.RevokedAt = 1, 2
	changed := k
	changed.Scopes, changed.Hash = nil, []byte("other")
	update(t, s, func(tx store.Tx) error { return tx.PutAPIKey(changed) })
	equal(t, "APIKeyByHash", read(t, s, func(tx store.Tx) (store.APIKey, error) { return tx.APIKeyByHash(k.Hash) }), k)
	missing(t, s, func(tx store.Tx) (store.APIKey, error) { return tx.APIKeyByHash([]byte("none")) })
	equal(t, "APIKeys", read(t, s, func(tx store.Tx) ([]store.APIKey, error) { return tx.APIKeys(realm, "app_1") }),
		[]store.APIKey{k, all[1]})
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.PutAPIKey(store.APIKey{Realm: realm, ID: "key_none"}) })
}

func newDevice(realm mfa.RealmID, user mfa.UserID) store.Device {
	var d store.Device
	fill(&d)
	d.Realm, d.ID, d.User, d.Version = realm, id[mfa.DeviceID]("dev_"), user, 1
	d.State = mfa.DeviceActive
	return d
}

func devices(t *testing.T, s store.Store) {
	realm := newRealm()
	u := addUser(t, s, realm)
	var all []store.Device
	for i, state := range []mfa.DeviceState{
		mfa.DeviceRefused, mfa.DeviceActive, mfa.DeviceClaimed, mfa.DeviceSuspended, mfa.DeviceRevoked,
	} {
		d := newDevice(realm, u.ID)
		d.State, d.ClaimedAt = state, mfa.Instant(10-i)
		update(t, s, func(tx store.Tx) error { return tx.InsertDevice(d) })
		all = append([]store.Device{d}, all...)
	}
	list := func(every bool) []store.Device {
		t.Helper()
		return read(t, s, func(tx store.Tx) ([]store.Device, error) { return tx.UserDevices(realm, u.ID, every) })
	}
	equal(t, "UserDevices, all", list(true), all)
	equal(t, "UserDevices", list(false), all[1:4])
	d := all[0]
	equal(t, "Device", read(t, s, func(tx store.Tx) (store.Device, error) { return tx.Device(d.ID) }), d)
	missing(t, s, func(tx store.Tx) (store.Device, error) { return tx.Device("dev_none") })
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertDevice(d) })
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.InsertDevice(newDevice(realm, "usr_none")) })

	changed := newDevice(realm, u.ID)
	changed.ID, changed.Enrolment, changed.ClaimedAt = d.ID, d.Enrolment, d.ClaimedAt
	changed.Vetoable, changed.Targets, changed.Lock, changed.Features = false, nil, nil, nil
	update(t, s, func(tx store.Tx) error { return tx.PutDevice(changed) })
	changed.Version++
	equal(t, "after PutDevice", read(t, s, func(tx store.Tx) (store.Device, error) { return tx.Device(d.ID) }), changed)
	update(t, s, func(tx store.Tx) error {
		is(t, "PutDevice with an old version", tx.PutDevice(d), store.ErrStale)
		is(t, "PutDevice of none", tx.PutDevice(newDevice(realm, u.ID)), store.ErrNotFound)
		return nil
	})

	used := func(thumbprint string) bool {
		t.Helper()
		return read(t, s, func(tx store.Tx) (bool, error) { return tx.ThumbprintUsed(realm, thumbprint) })
	}
	equal(t, "ThumbprintUsed before", used("T"), false)
	update(t, s, func(tx store.Tx) error { return tx.UseThumbprint(realm, "T") })
	equal(t, "ThumbprintUsed", used("T"), true)
	equal(t, "ThumbprintUsed in another case", used("t"), false)
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.UseThumbprint(realm, "T") })
}

func newEnrolment(realm mfa.RealmID, user mfa.UserID) store.Enrolment {
	var e store.Enrolment
	fill(&e)
	e.Realm, e.ID, e.User, e.Version = realm, id[mfa.EnrolmentID]("enr_"), user, 1
	e.Code = "" // which is kept sealed only
	return e
}

func enrolments(t *testing.T, s store.Store) {
	realm := newRealm()
	user := id[mfa.UserID]("usr_")
	e, invited := newEnrolment(realm, user), newEnrolment(realm, user)
	invited.State, invited.CreatedAt = mfa.EnrolmentInvited, e.CreatedAt+1
	over := newEnrolment(realm, user)
	over.State = mfa.EnrolmentExpired
	update(t, s, func(tx store.Tx) error {
		for _, e := range []store.Enrolment{over, invited, e} {
			if err := tx.InsertEnrolment(e); err != nil {
				return err
			}
		}
		return nil
	})
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertEnrolment(e) })
	equal(t, "EnrolmentByTicket", read(t, s, func(tx store.Tx) (store.Enrolment, error) {
		return tx.EnrolmentByTicket(e.TicketHash)
	}), e)
	missing(t, s, func(tx store.Tx) (store.Enrolment, error) { return tx.EnrolmentByTicket([]byte("none")) })
	missing(t, s, func(tx store.Tx) (store.Enrolment, error) { return tx.Enrolment(realm, "enr_none") })
	equal(t, "LiveEnrolments", read(t, s, func(tx store.Tx) ([]store.Enrolment, error) {
		return tx.LiveEnrolments(realm, user)
	}), []store.Enrolment{e, invited})

	changed := newEnrolment(realm, user)
	changed.ID, changed.By, changed.Lost, changed.CreatedAt = e.ID, e.By, e.Lost, e.CreatedAt
	changed.TicketHash, changed.Asker, changed.SealedCode = e.TicketHash, e.Asker, nil
	changed.State = mfa.EnrolmentConfirmed
	update(t, s, func(tx store.Tx) error { return tx.PutEnrolment(changed) })
	changed.Version++
	equal(t, "after PutEnrolment", read(t, s, func(tx store.Tx) (store.Enrolment, error) {
		return tx.Enrolment(realm, e.ID)
	}), changed)
	update(t, s, func(tx store.Tx) error {
		is(t, "PutEnrolment with an old version", tx.PutEnrolment(e), store.ErrStale)
		is(t, "PutEnrolment of none", tx.PutEnrolment(newEnrolment(realm, user)), store.ErrNotFound)
		return nil
	})
}
