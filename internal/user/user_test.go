package user_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
	"github.com/nodauth/nod/internal/user"
)

const realm = mfa.DefaultRealm

// world is a user service over a store with two realms.
type world struct {
	*user.Service
	t     *testing.T
	store store.Store
}

func service(t *testing.T) *user.Service {
	t.Helper()
	root, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keys.Open(keys.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	s, err := user.New(user.Config{Ring: ring})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newWorld(t *testing.T) *world {
	t.Helper()
	st, err := sqlstore.Open(t.Context(), sqlstore.Config{DSN: filepath.Join(t.TempDir(), "nod.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{Service: service(t), t: t, store: st}
	for _, id := range []mfa.RealmID{realm, "other"} {
		w.update(func(tx store.Tx) error { return tx.InsertRealm(store.Realm{ID: id, CreatedAt: tx.Now()}) })
	}
	return w
}

func (w *world) try(fn func(store.Tx) error) error { return w.store.Update(context.Background(), fn) }

func (w *world) update(fn func(store.Tx) error) {
	w.t.Helper()
	if err := w.try(fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(in mfa.RealmID, name string, c user.Changes) (u store.User, err error) {
	err = w.try(func(tx store.Tx) (err error) {
		u, err = user.Create(tx, in, name, c)
		return err
	})
	return u, err
}

func (w *world) mustCreate(in mfa.RealmID, name string, c user.Changes) store.User {
	w.t.Helper()
	u, err := w.create(in, name, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func (w *world) change(u store.User, c user.Changes) (store.User, error) {
	var out store.User
	err := w.try(func(tx store.Tx) (err error) {
		out, err = user.Update(tx, u.Realm, u.ID, c)
		return err
	})
	return out, err
}

func (w *world) find(in mfa.RealmID, form, name string) (u store.User, canonical string, found bool) {
	w.t.Helper()
	w.update(func(tx store.Tx) (err error) {
		u, canonical, found, err = w.Find(tx, in, form, name)
		return err
	})
	return u, canonical, found
}

func ptr[T any](v T) *T { return &v }

func TestCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := w.mustCreate(realm, "Alice@Example.COM", user.Changes{
		Display: ptr("Alice Liddell"), ExternalID: ptr("S-1-5-21"), Groups: ptr([]string{"wheel", "admins", "wheel"}),
		Aliases: ptr([]string{"ALICE", `al`}), Password: ptr("$hash"), Owner: ptr(true),
	})
	want := store.User{
		Realm: realm, ID: got.ID, Name: "alice@example.com", Display: "Alice Liddell", ExternalID: "S-1-5-21",
		Groups: []string{"admins", "wheel"}, State: store.UserActive, Owner: true, Password: "$hash",
		PasswordAt: got.CreatedAt, CreatedAt: got.CreatedAt, Version: got.Version,
	}
	if d := cmp.Diff(want, got); d != "" || !secret.IsID("usr_", string(got.ID)) || !user.ValidID(got.ID) || got.CreatedAt == 0 {
		t.Errorf("%s %s", got.ID, d)
	}
	w.update(func(tx store.Tx) error {
		called, err := user.Called(tx, got)
		if d := cmp.Diff([]string{"ALICE", "Alice Liddell", "Alice@Example.COM", "al", "alice", "alice@example.com"}, called); d != "" {
			t.Error(d)
		}
		return err
	})
	if u := w.mustCreate(realm, "Bob", user.Changes{}); u.Display != "Bob" || u.Name != "bob" {
		t.Errorf("%+v", u)
	}
}

// TestOneKeySpace holds that every spelling of a name and of an alias belongs to one person of a
// realm.
func TestOneKeySpace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.mustCreate(realm, "alice", user.Changes{Aliases: ptr([]string{"a.liddell"}), ExternalID: ptr("1")})
	w.mustCreate("other", "alice", user.Changes{Aliases: ptr([]string{"a.liddell"}), ExternalID: ptr("1")})
	for name, tc := range map[string]struct {
		name string
		c    user.Changes
	}{
		"name":                   {"alice", user.Changes{}},
		"capitals":               {"ALICE", user.Changes{}},
		"full width":             {"ａｌｉｃｅ", user.Changes{}},
		"another's alias":        {"A.Liddell", user.Changes{}},
		"alias is another's":     {"bob", user.Changes{Aliases: ptr([]string{"Alice"})}},
		"alias is another's too": {"bob", user.Changes{Aliases: ptr([]string{"A.LIDDELL"})}},
		"external id":            {"bob", user.Changes{ExternalID: ptr("1")}},
	} {
		if _, err := w.create(realm, tc.name, tc.c); mfa.CodeOf(err) != mfa.Conflict || mfa.ReasonOf(err) != mfa.ReasonNameTaken {
			t.Errorf("%s: %v", name, err)
		}
	}
	bob := w.mustCreate(realm, "bob", user.Changes{})
	for name, c := range map[string]user.Changes{
		"alias": {Aliases: ptr([]string{"Alice"})}, "external id": {ExternalID: ptr("1")},
	} {
		if _, err := w.change(bob, c); mfa.ReasonOf(err) != mfa.ReasonNameTaken {
			t.Errorf("changing the %s: %v", name, err)
		}
	}
	for _, form := range []string{"alice", "Alice", "ＡＬＩＣＥ", "A.LIDDELL"} {
		if u, _, found := w.find(realm, "as_is", form); !found || u.ID != alice.ID {
			t.Errorf("%s is %s, %v", form, u.ID, found)
		}
	}
	if _, err := w.change(alice, user.Changes{Aliases: ptr([]string{"liddell", "A.Liddell"})}); err != nil {
		t.Errorf("keeping an alias: %v", err)
	}
	if _, err := w.change(alice, user.Changes{Aliases: ptr([]string{})}); err != nil {
		t.Error(err)
	}
	if _, _, found := w.find(realm, "as_is", "liddell"); found {
		t.Error("an alias that was taken away is found")
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := strings.Repeat("x", 129)
	many := func(n int) *[]string {
		list := make([]string, n)
		for i := range list {
			list[i] = secret.Token("x", 60)
		}
		return &list
	}
	for field, cs := range map[string][]user.Changes{
		"display":     {{Display: ptr("")}, {Display: ptr("a\nb")}, {Display: &long}, {Display: ptr(" a")}, {Display: ptr("a\u202e")}},
		"external_id": {{ExternalID: ptr(" a")}, {ExternalID: ptr(strings.Repeat("x", 256))}, {ExternalID: ptr("a\x00")}},
		"groups":      {{Groups: ptr([]string{""})}, {Groups: ptr([]string{"a\tb"})}, {Groups: &[]string{long}}, {Groups: many(user.MaxGroups + 1)}},
		"aliases": {
			{Aliases: ptr([]string{" bob"})},
			{Aliases: ptr([]string{""})},
			{Aliases: ptr([]string{"x", "X"})},
			{Aliases: ptr([]string{"Bob"})},
			{Aliases: many(user.MaxAliases + 1)},
		},
		"state": {{State: ptr(store.UserState("gone"))}},
	} {
		for _, c := range cs {
			_, err := w.create(realm, "bob", c)
			if e, ok := errors.AsType[*mfa.Error](err); !ok || e.Code != mfa.Invalid || e.Field != field {
				t.Errorf("%s %+v: %v", field, c, err)
			}
		}
	}
	for _, name := range []string{"", " bob", "bob ", "b ob", "bob\n", "bob\x00", `dom\bob`, "b/ob", "b|ob", "b#ob", "<bob>", `"bob"`, "b\u200bob", "\xff", strings.Repeat("x", 256)} {
		if _, err := w.create(realm, name, user.Changes{}); mfa.CodeOf(err) != mfa.Invalid {
			t.Errorf("%q: %v", name, err)
		}
		err := w.try(func(tx store.Tx) error {
			_, _, _, err := w.Find(tx, realm, "as_is", name)
			return err
		})
		if mfa.CodeOf(err) != mfa.Invalid || strings.Contains(err.Error(), "bob") {
			t.Errorf("finding %q: %v", name, err)
		}
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.mustCreate(realm, "alice", user.Changes{Groups: ptr([]string{"a"}), ExternalID: ptr("1")})
	got, err := w.change(alice, user.Changes{State: ptr(store.UserLocked), Password: ptr("$hash")})
	if err != nil {
		t.Fatal(err)
	}
	want := alice
	want.State, want.Password, want.PasswordAt, want.Version = store.UserLocked, "$hash", got.PasswordAt, got.Version
	if d := cmp.Diff(want, got); d != "" || got.PasswordAt == 0 {
		t.Error(d)
	}
	got, err = w.change(alice, user.Changes{State: ptr(store.UserActive), Groups: &[]string{}, ExternalID: ptr(""), Password: ptr("")})
	if err != nil || len(got.Groups) != 0 || got.ExternalID != "" || got.Password != "" || got.State != store.UserActive {
		t.Errorf("%+v, %v", got, err)
	}
	for name, u := range map[string]store.User{
		"another realm": {Realm: "other", ID: alice.ID}, "nobody": {Realm: realm, ID: mfa.UserID(secret.ID("usr_"))},
	} {
		if _, err := w.change(u, user.Changes{}); mfa.CodeOf(err) != mfa.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFindByForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.mustCreate(realm, "alice", user.Changes{})
	full := w.mustCreate(realm, "alice@example.com", user.Changes{})
	for _, tc := range []struct {
		form, name string
		want       mfa.UserID
	}{
		{"as_is", "alice@example.com", full.ID},
		{"strip_suffix", "alice@example.com", alice.ID},
		{"strip_suffix", "ALICE＠EXAMPLE.com", alice.ID},
		{"strip_suffix", "alice", alice.ID},
		{"strip_domain", `EXAMPLE\Alice`, alice.ID},
		{"strip_domain", "alice@example.com", full.ID},
	} {
		if u, canonical, found := w.find(realm, tc.form, tc.name); !found || u.ID != tc.want || canonical != u.Name {
			t.Errorf("%s %s: %s %s, %v", tc.form, tc.name, u.ID, canonical, found)
		}
	}
	err := w.try(func(tx store.Tx) error {
		_, _, _, err := w.Find(tx, realm, "other", "alice")
		return err
	})
	if err == nil {
		t.Error("an unknown form is used")
	}
}

// TestNobody holds that a name that belongs to nobody has one id, which looks like any other.
func TestNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := make(map[mfa.UserID]bool)
	for _, spelling := range []string{"nobody", "Nobody", "ＮＯＢＯＤＹ"} {
		u, canonical, found := w.find(realm, "as_is", spelling)
		if found || canonical != "nobody" || !user.ValidID(u.ID) || u.ID != w.Shadow(realm, canonical) {
			t.Errorf("%s: %+v", spelling, u)
		}
		if d := cmp.Diff(store.User{Realm: realm, ID: u.ID, Name: "nobody"}, u); d != "" {
			t.Error(d)
		}
		ids[u.ID] = true
	}
	if len(ids) != 1 {
		t.Errorf("one name has the ids %v", ids)
	}
	for name, id := range map[string]mfa.UserID{
		"another name": w.Shadow(realm, "nobody2"), "another realm": w.Shadow("other", "nobody"),
		"parts moved": w.Shadow(realm+"n", "obody"), "another installation": service(t).Shadow(realm, "nobody"),
	} {
		if ids[id] {
			t.Errorf("%s has the same id", name)
		}
	}
	err := w.try(func(tx store.Tx) error {
		_, err := user.Get(tx, realm, w.Shadow(realm, "nobody"))
		return err
	})
	if mfa.CodeOf(err) != mfa.NotFound {
		t.Errorf("a shadow is somebody: %v", err)
	}
}

func TestValidID(t *testing.T) {
	t.Parallel()
	for id, want := range map[mfa.UserID]bool{
		mfa.UserID(secret.ID("usr_")): true, "": false, "usr_": false, mfa.UserID(secret.ID("app_")): false,
		"usr_" + mfa.UserID(strings.Repeat("1", 26)): false, mfa.UserID(strings.ToUpper(secret.ID("usr_"))): false,
	} {
		if got := user.ValidID(id); got != want {
			t.Errorf("%s: %v", id, got)
		}
	}
}

// TestSpellingsMeetInOneId draws names and respells them: whether a person has the name or nobody,
// all spellings find the same.
func TestSpellingsMeetInOneId(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9.äßéσ]{1,12}`).Draw(t, "name")
		spelling := strings.Map(func(r rune) rune {
			switch {
			case r < '!' || r > '~':
				return r
			case rapid.Bool().Draw(t, "wide"):
				return r - '!' + '！'
			}
			return r
		}, name)
		if rapid.Bool().Draw(t, "upper") {
			spelling = strings.ToUpper(spelling)
		}
		a, canonical, _ := w.find(realm, "as_is", name)
		b, other, _ := w.find(realm, "as_is", spelling)
		if a.ID != b.ID || canonical != other {
			t.Fatalf("%q and %q are two", name, spelling)
		}
	})
}

func TestCalledHasEachOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.mustCreate(realm, "alice", user.Changes{Aliases: ptr([]string{"al"})})
	w.update(func(tx store.Tx) error {
		called, err := user.Called(tx, u)
		if !slices.Equal(called, []string{"al", "alice"}) {
			t.Errorf("called %v", called)
		}
		return err
	})
}

func TestNewNeedsARing(t *testing.T) {
	t.Parallel()
	if _, err := user.New(user.Config{}); err == nil {
		t.Error("a service without a keyring")
	}
}
