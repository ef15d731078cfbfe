package application_test

import (
	"context"
	"crypto/sha256"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

const realm = mfa.DefaultRealm

// world is an application service over a store with two realms.
type world struct {
	*application.Service
	t     *testing.T
	store store.Store
	ahead atomic.Int64 // of the real time, in nanoseconds
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	st, err := sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:    filepath.Join(t.TempDir(), "nod.db"),
		Offset: func() time.Duration { return time.Duration(w.ahead.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	w.store = st
	if w.Service, err = application.New(application.Config{Store: st}); err != nil {
		t.Fatal(err)
	}
	for id, off := range map[mfa.RealmID]mfa.Instant{realm: 0, "other": 0, "closed": 1} {
		w.update(func(tx store.Tx) error {
			return tx.InsertRealm(store.Realm{ID: id, CreatedAt: tx.Now(), DisabledAt: off})
		})
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

func (w *world) create(in mfa.RealmID, name string) store.Application {
	w.t.Helper()
	var a store.Application
	w.update(func(tx store.Tx) (err error) {
		a, err = application.Create(tx, in, application.Changes{Name: &name})
		return err
	})
	return a
}

func (w *world) key(a store.Application, life time.Duration, scopes ...application.Scope) (store.APIKey, string) {
	w.t.Helper()
	var row store.APIKey
	var key secret.Value
	w.update(func(tx store.Tx) (err error) {
		row, key, err = application.NewKey(tx, a.Realm, a.ID, scopes, life)
		return err
	})
	return row, key.Reveal()
}

func (w *world) rotate(k store.APIKey, grace time.Duration) (store.APIKey, string, error) {
	w.t.Helper()
	var row store.APIKey
	var key secret.Value
	err := w.try(func(tx store.Tx) (err error) {
		row, key, err = application.RotateKey(tx, k.Realm, k.Application, k.ID, grace)
		return err
	})
	return row, key.Reveal(), err
}

// code is how authentication with a key ends, "" for well.
func (w *world) code(key string) mfa.Code {
	w.t.Helper()
	_, err := w.Authenticate(w.t.Context(), key)
	return mfa.CodeOf(err)
}

func ptr[T any](v T) *T { return &v }

func TestCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	icon := strings.Repeat("A", 43)
	var got store.Application
	w.update(func(tx store.Tx) (err error) {
		got, err = application.Create(tx, realm, application.Changes{
			Name: ptr("Payroll"), IconSHA256: &icon, UsernameForm: ptr("strip_suffix"), Disabled: ptr(false),
		})
		return err
	})
	want := store.Application{
		Realm: realm, ID: got.ID, Name: "Payroll", IconSHA256: icon, UsernameForm: "strip_suffix",
		CreatedAt: got.CreatedAt, Version: got.Version,
	}
	if d := cmp.Diff(want, got); d != "" || !secret.IsID("app_", string(got.ID)) || got.CreatedAt == 0 {
		t.Errorf("%s %s", got.ID, d)
	}
	if a := w.create(realm, "Plain"); a.UsernameForm != "as_is" || a.IconSHA256 != "" {
		t.Errorf("%+v", a)
	}
	w.create("other", "Payroll")
	for name, c := range map[string]application.Changes{
		"no name":      {},
		"empty name":   {Name: ptr("")},
		"long name":    {Name: ptr(strings.Repeat("x", 65))},
		"spaced name":  {Name: ptr(" Payroll")},
		"two lines":    {Name: ptr("Pay\nroll")},
		"direction":    {Name: ptr("Pay\u202eroll")},
		"icon":         {Name: ptr("x"), IconSHA256: ptr("AAAA")},
		"padded icon":  {Name: ptr("x"), IconSHA256: ptr(icon + "=")},
		"stray bits":   {Name: ptr("x"), IconSHA256: ptr(icon[:42] + "B")},
		"line in icon": {Name: ptr("x"), IconSHA256: ptr(icon + "\n")},
		"form":         {Name: ptr("x"), UsernameForm: ptr("AS_IS")},
	} {
		err := w.try(func(tx store.Tx) error {
			_, err := application.Create(tx, realm, c)
			return err
		})
		if mfa.CodeOf(err) != mfa.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := w.try(func(tx store.Tx) error {
		_, err := application.Create(tx, realm, application.Changes{Name: ptr("Payroll")})
		return err
	})
	if mfa.CodeOf(err) != mfa.Conflict || mfa.ReasonOf(err) != mfa.ReasonNameTaken {
		t.Errorf("the name again: %v", err)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.create(realm, "Payroll")
	w.create(realm, "Wiki")
	change := func(in mfa.RealmID, id mfa.ApplicationID, c application.Changes) (got store.Application, err error) {
		err = w.try(func(tx store.Tx) (err error) {
			got, err = application.Update(tx, in, id, c)
			return err
		})
		return got, err
	}
	got, err := change(realm, a.ID, application.Changes{Name: ptr("Salaries"), Disabled: ptr(true)})
	if err != nil || got.Name != "Salaries" || got.DisabledAt == 0 || got.UsernameForm != "as_is" {
		t.Errorf("%+v, %v", got, err)
	}
	w.ahead.Add(int64(time.Hour))
	again, err := change(realm, a.ID, application.Changes{Disabled: ptr(true)})
	if err != nil || again.DisabledAt != got.DisabledAt {
		t.Errorf("disabled again: %+v, %v", again, err)
	}
	if got, err = change(realm, a.ID, application.Changes{Disabled: ptr(false), Name: ptr("Salaries")}); err != nil || got.DisabledAt != 0 {
		t.Errorf("enabled: %+v, %v", got, err)
	}
	if _, err := change(realm, a.ID, application.Changes{Name: ptr("Wiki")}); mfa.ReasonOf(err) != mfa.ReasonNameTaken {
		t.Errorf("another's name: %v", err)
	}
	if _, err := change(realm, a.ID, application.Changes{Name: ptr("")}); mfa.CodeOf(err) != mfa.Invalid {
		t.Errorf("no name: %v", err)
	}
	for _, in := range []mfa.RealmID{"other", "none"} {
		if _, err := change(in, a.ID, application.Changes{}); mfa.CodeOf(err) != mfa.NotFound {
			t.Errorf("in realm %s: %v", in, err)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.create("other", "Payroll")
	row, key := w.key(a, 0, application.Administer, application.Authenticate)
	if !regexp.MustCompile(`^nod_sk_[a-z2-7]{32}$`).MatchString(key) {
		t.Errorf("key %s", key)
	}
	if sum := sha256.Sum256([]byte(key)); string(row.Hash) != string(sum[:]) {
		t.Error("the key is not kept as its hash")
	}
	got, err := w.Authenticate(t.Context(), key)
	want := application.Caller{
		Realm: "other", Application: a, KeyID: row.ID,
		Scopes: []application.Scope{application.Authenticate, application.Administer},
	}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	if !got.Has(application.Administer) || got.Has(application.AssertFirstFactor) || got.Require(application.Authenticate) != nil {
		t.Error("the scopes are others")
	}
	if err := got.Require(application.AssertFirstFactor); mfa.CodeOf(err) != mfa.Forbidden || mfa.ReasonOf(err) != mfa.ReasonScope {
		t.Errorf("a scope that the key has not: %v", err)
	}
	for _, wrong := range []string{
		"", "nod_sk_", key[:len(key)-1], key + "a", " " + key, key + " ", key + "\n", strings.ToUpper(key), "NOD_SK_" + key[7:],
		"nod_sk_" + strings.Repeat("a", 32), key[7:], "Bearer " + key, key[:len(key)-1] + "1", strings.Repeat(key, 1000),
		"nod_sk_" + strings.Repeat("ａ", 11)[:32],
	} {
		if got := w.code(wrong); got != mfa.Unauthenticated {
			t.Errorf("%q: %s", wrong, got)
		}
	}
	// Each character matters.
	for i := range key {
		c := byte('a')
		if key[i] == c {
			c = 'b'
		}
		if got := w.code(key[:i] + string(c) + key[i+1:]); got != mfa.Unauthenticated {
			t.Errorf("character %d changed: %s", i, got)
		}
	}
}

func TestAuthenticateWhatWasDisabled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.create(realm, "Payroll")
	_, key := w.key(a, 0, application.Authenticate)
	_, closed := w.key(w.create("closed", "Payroll"), 0, application.Authenticate)
	w.update(func(tx store.Tx) error {
		_, err := application.Update(tx, realm, a.ID, application.Changes{Disabled: ptr(true)})
		return err
	})
	if _, err := w.Authenticate(t.Context(), key); mfa.CodeOf(err) != mfa.Forbidden || mfa.ReasonOf(err) != mfa.ReasonApplicationOff {
		t.Errorf("application: %v", err)
	}
	_, unknown := w.Authenticate(t.Context(), application.NewSecret().Reveal())
	if _, err := w.Authenticate(t.Context(), closed); err == nil || err.Error() != unknown.Error() {
		t.Errorf("realm: %v, an unknown key gets %v", err, unknown)
	}
	w.update(func(tx store.Tx) error {
		_, err := application.Update(tx, realm, a.ID, application.Changes{Disabled: ptr(false)})
		return err
	})
	if got := w.code(key); got != "" {
		t.Errorf("enabled again: %s", got)
	}
}

func TestKeyLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.create(realm, "Payroll")
	row, key := w.key(a, time.Hour, application.Authenticate)
	w.ahead.Add(int64(time.Hour - time.Minute))
	if got := w.code(key); got != "" {
		t.Errorf("before its end: %s", got)
	}
	w.ahead.Add(int64(time.Minute))
	if got := w.code(key); got != mfa.Unauthenticated {
		t.Errorf("at its end: %s", got)
	}
	if _, _, err := w.rotate(row, 0); mfa.CodeOf(err) != mfa.Conflict {
		t.Errorf("rotated after its end: %v", err)
	}
}

func TestNewKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.create(realm, "Payroll")
	try := func(in mfa.RealmID, life time.Duration, scopes ...application.Scope) error {
		return w.try(func(tx store.Tx) error {
			_, _, err := application.NewKey(tx, in, a.ID, scopes, life)
			return err
		})
	}
	for name, err := range map[string]error{
		"no scopes":     try(realm, 0),
		"unknown scope": try(realm, 0, "root"),
		"scope twice":   try(realm, 0, application.Administer, application.Administer),
		"negative life": try(realm, -1, application.Administer),
	} {
		if mfa.CodeOf(err) != mfa.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := try("other", 0, application.Authenticate); mfa.CodeOf(err) != mfa.NotFound {
		t.Errorf("another realm's application: %v", err)
	}
	first, _ := w.key(a, 0, application.Authenticate)
	w.key(a, 0, application.Authenticate)
	if err := try(realm, 0, application.Authenticate); mfa.ReasonOf(err) != mfa.ReasonLimit {
		t.Errorf("a third live key: %v", err)
	}
	w.update(func(tx store.Tx) error {
		_, err := application.RevokeKey(tx, realm, a.ID, first.ID)
		return err
	})
	if err := try(realm, 0, application.Authenticate); err != nil {
		t.Errorf("after one was revoked: %v", err)
	}
}

func TestRotateKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.create(realm, "Payroll")
	first, old := w.key(a, 0, application.Authenticate, application.AssertFirstFactor)
	for _, grace := range []time.Duration{-1, application.MaxGrace + 1} {
		if _, _, err := w.rotate(first, grace); mfa.CodeOf(err) != mfa.Invalid {
			t.Errorf("grace %v: %v", grace, err)
		}
	}
	second, fresh, err := w.rotate(first, application.DefaultGrace)
	if err != nil || second.ID == first.ID || second.ExpiresAt != 0 || old == fresh {
		t.Fatalf("%+v, %v", second, err)
	}
	if d := cmp.Diff(first.Scopes, second.Scopes); d != "" {
		t.Error(d)
	}
	if w.code(old) != "" || w.code(fresh) != "" {
		t.Error("both keys work during the grace")
	}
	if _, _, err := w.rotate(second, time.Hour); mfa.ReasonOf(err) != mfa.ReasonLimit {
		t.Errorf("a third live key: %v", err)
	}
	w.ahead.Add(int64(application.DefaultGrace))
	if w.code(old) != mfa.Unauthenticated || w.code(fresh) != "" {
		t.Error("after the grace the new key alone works")
	}
	third, newest, err := w.rotate(second, 0)
	if err != nil || w.code(fresh) != mfa.Unauthenticated || w.code(newest) != "" {
		t.Errorf("without grace: %v", err)
	}
	other := third
	other.Application = w.create(realm, "Wiki").ID
	if _, _, err := w.rotate(other, 0); mfa.CodeOf(err) != mfa.NotFound {
		t.Errorf("by another application: %v", err)
	}
}

func TestRotateKeyThatEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.create(realm, "Payroll")
	first, old := w.key(a, 48*time.Hour, application.Authenticate)
	w.ahead.Add(int64(47 * time.Hour))
	second, fresh, err := w.rotate(first, 24*time.Hour)
	if err != nil || second.ExpiresAt.Sub(second.CreatedAt) != 48*time.Hour {
		t.Errorf("%+v, %v", second, err)
	}
	w.ahead.Add(int64(time.Hour))
	if w.code(old) != mfa.Unauthenticated || w.code(fresh) != "" {
		t.Error("the grace makes a key live longer")
	}
}

func TestRevokeKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.create(realm, "Payroll")
	row, key := w.key(a, 0, application.Authenticate)
	for range 2 {
		w.update(func(tx store.Tx) error {
			got, err := application.RevokeKey(tx, realm, a.ID, row.ID)
			if got.ID != row.ID || got.RevokedAt == 0 {
				t.Errorf("%+v", got)
			}
			return err
		})
		if got := w.code(key); got != mfa.Unauthenticated {
			t.Errorf("a revoked key: %s", got)
		}
	}
	for name, id := range map[string]mfa.ApplicationID{"another application": w.create(realm, "Wiki").ID, "unknown": "app_x"} {
		err := w.try(func(tx store.Tx) error {
			_, err := application.RevokeKey(tx, realm, id, row.ID)
			return err
		})
		if mfa.CodeOf(err) != mfa.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewNeedsAStore(t *testing.T) {
	t.Parallel()
	if _, err := application.New(application.Config{}); err == nil {
		t.Error("a service without a store")
	}
}
