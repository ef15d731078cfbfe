package realm_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
	"github.com/nodauth/nod/protocol"
)

const address = "https://login.example.com"

// world is a realm service over a store.
type world struct {
	*realm.Service
	t     *testing.T
	store store.Store
	root  []byte
	ahead atomic.Int64 // of the real time, in nanoseconds
	woken sync.Map
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	st, err := sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:    filepath.Join(t.TempDir(), "nod.db"),
		Offset: func() time.Duration { return time.Duration(w.ahead.Load()) },
		Committed: func(keys []string) {
			for _, k := range keys {
				w.woken.Store(k, true)
			}
		},
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
	if w.root, err = keys.NewRoot(); err != nil {
		t.Fatal(err)
	}
	w.Service = w.node(address, false)
	return w
}

// node is another server over the same store and root.
func (w *world) node(address string, move bool) *realm.Service {
	w.t.Helper()
	ring, err := keys.Open(keys.Config{Root: w.root})
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := realm.New(realm.Config{Store: w.store, Ring: ring, PublicURL: address, Others: []string{address, "https://Second.example.com"}, Move: move})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := s.Ensure(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) try(fn func(store.Tx) error) error {
	w.t.Helper()
	return w.store.Update(context.Background(), fn)
}

func (w *world) update(fn func(store.Tx) error) {
	w.t.Helper()
	if err := w.try(fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) set(name mfa.RealmID) (set protocol.Keys, jws string) {
	w.t.Helper()
	w.update(func(tx store.Tx) (err error) {
		set, jws, err = w.KeySet(tx, name)
		return err
	})
	return set, jws
}

// promptKID names the key with which a node signs prompts now.
func (w *world) promptKID(s *realm.Service, name mfa.RealmID) string {
	w.t.Helper()
	var kid string
	w.update(func(tx store.Tx) error {
		signer, err := s.PromptSigner(tx, name)
		if err == nil {
			kid = signer.KID()
		}
		return err
	})
	return kid
}

func (w *world) grantKID(s *realm.Service, name mfa.RealmID) string {
	w.t.Helper()
	var kid string
	w.update(func(tx store.Tx) error {
		signer, err := s.GrantSigner(tx, name)
		if err == nil {
			kid = signer.KID()
		}
		return err
	})
	return kid
}

func (w *world) published(name mfa.RealmID) []string {
	w.t.Helper()
	set, err := w.JWKS(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	var kids []string
	for _, k := range set.Keys {
		kids = append(kids, k.KeyID)
	}
	return kids
}

func TestEnsure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set, jws := w.set(mfa.DefaultRealm)
	if set.Issuer != address || set.Realm != "default" || set.Serial != 1 {
		t.Errorf("key set is %+v", set)
	}
	if got := w.promptKID(w.Service, mfa.DefaultRealm); got != set.Current.Thumbprint() {
		t.Errorf("prompts are signed by %s, which is not current", got)
	}
	if w.promptKID(w.Service, mfa.DefaultRealm) == w.grantKID(w.Service, mfa.DefaultRealm) {
		t.Error("one key for both purposes")
	}
	w.update(func(tx store.Tx) error {
		pin, err := w.Pin(tx, mfa.DefaultRealm)
		if err != nil {
			return err
		}
		_, err = protocol.OpenKeySet(jws, pin)
		return err
	})
	if err := w.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	restarted := w.node(address, false)
	if _, again := w.set(mfa.DefaultRealm); again != jws {
		t.Error("a restart makes another key set")
	}
	if w.promptKID(restarted, mfa.DefaultRealm) != set.Current.Thumbprint() || w.grantKID(restarted, mfa.DefaultRealm) != w.grantKID(w.Service, mfa.DefaultRealm) {
		t.Error("a restart signs with other keys")
	}
}

func TestFirstStartsTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fresh, err := sqlstore.Open(t.Context(), sqlstore.Config{DSN: filepath.Join(t.TempDir(), "fresh.db")})
	if err != nil {
		t.Fatal(err)
	}
	w.store = fresh
	t.Cleanup(func() { _ = fresh.Close() })
	issuers := make(chan string, 8)
	var wg sync.WaitGroup
	for i := range cap(issuers) {
		wg.Go(func() {
			issuers <- w.node("http://127.0.0.1:808"+string(rune('0'+i)), false).Issuer("tenant")
		})
	}
	wg.Wait()
	close(issuers)
	first := <-issuers
	for got := range issuers {
		if got != first {
			t.Errorf("issuers %s and %s", first, got)
		}
	}
	if set, _ := w.set(mfa.DefaultRealm); set.Serial != 1 || set.Issuer+"/r/tenant" != first {
		t.Errorf("key set is %+v", set)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []mfa.RealmID{"tenant", "a", "0", "a-b", mfa.RealmID(strings.Repeat("x", 63))} {
		w.update(func(tx store.Tx) error {
			if err := w.Create(tx, name); err != nil {
				return err
			}
			r, err := tx.Realm(name)
			if r.CreatedAt != tx.Now() {
				t.Errorf("realm is %+v", r)
			}
			return err
		})
		set, _ := w.set(name)
		if want := address + "/r/" + string(name); set.Issuer != want || w.Issuer(name) != want || set.Realm != string(name) {
			t.Errorf("key set of %s is %+v", name, set)
		}
		if w.promptKID(w.Service, name) == w.promptKID(w.Service, mfa.DefaultRealm) || w.grantKID(w.Service, name) == w.grantKID(w.Service, mfa.DefaultRealm) {
			t.Errorf("%s has the default realm's keys", name)
		}
	}
	for name, want := range map[mfa.RealmID]mfa.Code{
		"": mfa.Invalid, "Tenant": mfa.Invalid, "-a": mfa.Invalid, "a-": mfa.Invalid, "a/b": mfa.Invalid, "a b": mfa.Invalid, "..": mfa.Invalid,
		"ä": mfa.Invalid, "current": mfa.Invalid, mfa.RealmID(strings.Repeat("x", 64)): mfa.Invalid, "tenant": mfa.Conflict, "default": mfa.Conflict,
	} {
		err := w.try(func(tx store.Tx) error {
			return w.Create(tx, name)
		})
		if mfa.CodeOf(err) != want {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
}

func TestUnknownRealm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, fn := range map[string]func(store.Tx) error{
		"PromptSigner": func(tx store.Tx) error { _, err := w.PromptSigner(tx, "none"); return err },
		"GrantSigner":  func(tx store.Tx) error { _, err := w.GrantSigner(tx, "none"); return err },
		"KeySet":       func(tx store.Tx) error { _, _, err := w.KeySet(tx, "none"); return err },
		"Pin":          func(tx store.Tx) error { _, err := w.Pin(tx, "none"); return err },
		"RotatePrompt": func(tx store.Tx) error { _, err := w.RotatePrompt(tx, "none"); return err },
		"RotateGrant":  func(tx store.Tx) error { return w.RotateGrant(tx, "none", false) },
	} {
		if err := w.try(fn); mfa.CodeOf(err) != mfa.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.JWKS(t.Context(), "none"); mfa.CodeOf(err) != mfa.NotFound {
		t.Errorf("JWKS: %v", err)
	}
	if _, err := w.Current(t.Context(), "none"); mfa.CodeOf(err) != mfa.NotFound {
		t.Errorf("Current: %v", err)
	}
}

// TestRotatePrompt follows rotations as a device does.
func TestRotatePrompt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.node(address, false)
	_, first := w.set(mfa.DefaultRealm)
	pinned, err := protocol.ParseKeySet(first)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		w.ahead.Add(int64(time.Second))
		next := pinned.Next.Thumbprint()
		w.update(func(tx store.Tx) error {
			set, err := w.RotatePrompt(tx, mfa.DefaultRealm)
			if set.Serial != int64(i)+2 {
				t.Errorf("serial %d", set.Serial)
			}
			return err
		})
		if _, ok := w.woken.Load(store.WakeRealm(mfa.DefaultRealm)); !ok {
			t.Error("waiting devices are not woken")
		}
		var sets []string
		w.update(func(tx store.Tx) (err error) {
			sets, err = realm.KeySetsAfter(tx, mfa.DefaultRealm, pinned.Serial)
			return err
		})
		if len(sets) != 1 {
			t.Fatalf("%d sets follow", len(sets))
		}
		if pinned, err = pinned.Follow(sets); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*realm.Service{w.Service, other} {
			if got := w.promptKID(s, mfa.DefaultRealm); got != next || got != pinned.Current.Thumbprint() {
				t.Errorf("a node signs with %s after rotation %d", got, i+1)
			}
		}
	}
	w.update(func(tx store.Tx) error {
		sets, err := realm.KeySetsAfter(tx, mfa.DefaultRealm, 1)
		if err != nil || len(sets) != 3 {
			t.Errorf("%d sets, %v", len(sets), err)
		}
		set, err := protocol.ParseKeySet(first)
		if err != nil {
			return err
		}
		if _, err := set.Follow(sets); err != nil {
			t.Errorf("a device that slept: %v", err)
		}
		none, err := realm.KeySetsAfter(tx, mfa.DefaultRealm, 99)
		if len(none) != 0 {
			t.Errorf("%d sets after the last", len(none))
		}
		return err
	})
}

func TestRotateGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rotate := func() string {
		w.update(func(tx store.Tx) error { return w.RotateGrant(tx, mfa.DefaultRealm, false) })
		kids := w.published(mfa.DefaultRealm)
		return kids[len(kids)-1]
	}
	first := w.grantKID(w.Service, mfa.DefaultRealm)
	second := rotate()
	var third string
	for _, step := range []struct {
		at        time.Duration // since the first rotation
		rotate    bool
		signs     int
		published []int
	}{
		{at: 0, signs: 1, published: []int{1, 2}},
		{at: 12 * time.Hour, rotate: true, signs: 1, published: []int{1, 2, 3}},
		{at: 23*time.Hour + 59*time.Minute, signs: 1, published: []int{1, 2, 3}},
		{at: 24*time.Hour + time.Minute, signs: 2, published: []int{1, 2, 3}},
		{at: 35*time.Hour + 59*time.Minute, signs: 2, published: []int{1, 2, 3}},
		{at: 36*time.Hour + time.Minute, signs: 3, published: []int{1, 2, 3}},
		{at: 47*time.Hour + 59*time.Minute, signs: 3, published: []int{1, 2, 3}},
		{at: 48*time.Hour + time.Minute, signs: 3, published: []int{2, 3}},
		{at: 60*time.Hour + time.Minute, signs: 3, published: []int{3}},
	} {
		w.ahead.Store(int64(step.at))
		if step.rotate {
			third = rotate()
		}
		number := map[string]int{first: 1, second: 2, third: 3}
		if got := number[w.grantKID(w.Service, mfa.DefaultRealm)]; got != step.signs {
			t.Errorf("at %v key %d signs, want %d", step.at, got, step.signs)
		}
		var published []int
		for _, kid := range w.published(mfa.DefaultRealm) {
			published = append(published, number[kid])
		}
		if d := cmp.Diff(step.published, published); d != "" {
			t.Errorf("at %v: %s", step.at, d)
		}
	}
}

// TestAnotherSealingKey starts with a root that is not the database's.
func TestAnotherSealingKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keys.Open(keys.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	s, err := realm.New(realm.Config{Store: w.store, Ring: ring, PublicURL: address})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "sealing key") {
		t.Errorf("%v", err)
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.update(func(tx store.Tx) error { return w.Create(tx, "tenant") })
	all, err := w.List(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%d realms, %v", len(all), err)
	}
	for i, name := range []mfa.RealmID{mfa.DefaultRealm, "tenant"} {
		info, err := w.Current(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(all[i], info); d != "" {
			t.Error(d)
		}
		set, jws := w.set(name)
		pin, err := protocol.KeyPIN(jws)
		if err != nil {
			t.Fatal(err)
		}
		want := realm.Info{ID: name, Issuer: w.Issuer(name), CreatedAt: info.CreatedAt, KeySet: set, Pin: pin}
		if d := cmp.Diff(want, info); d != "" {
			t.Error(d)
		}
	}
}

func TestJWKS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set, err := w.JWKS(t.Context(), mfa.DefaultRealm)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(set)
	if err != nil || strings.Contains(string(text), `"d"`) {
		t.Fatalf("%s, %v", text, err)
	}
	var grant string
	w.update(func(tx store.Tx) error {
		signer, err := w.GrantSigner(tx, mfa.DefaultRealm)
		if err != nil {
			return err
		}
		grant, err = signer.Sign("nod-grant+jwt", []byte(`{"sub":"x"}`))
		return err
	})
	jws, err := jose.ParseSignedCompact(grant, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	found := set.Key(jws.Signatures[0].Header.KeyID)
	if len(found) != 1 {
		t.Fatalf("%d keys have the grant's kid", len(found))
	}
	if payload, err := jws.Verify(found[0]); err != nil || string(payload) != `{"sub":"x"}` {
		t.Errorf("%s, %v", payload, err)
	}
}

// TestAnotherAddress starts the server under another address.
func TestAnotherAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.update(func(tx store.Tx) error { return w.Create(tx, "tenant") })
	other := w.node("http://localhost:9999", false)
	if got := other.Issuer(mfa.DefaultRealm); got != address {
		t.Errorf("the issuer became %s", got)
	}
	w.update(func(tx store.Tx) error { return other.Create(tx, "second") })
	if set, _ := w.set("second"); set.Issuer != address+"/r/second" {
		t.Errorf("a realm made there has the issuer %s", set.Issuer)
	}
	moved := w.node("https://new.example.com", true)
	for name, want := range map[mfa.RealmID]string{
		mfa.DefaultRealm: "https://new.example.com", "tenant": "https://new.example.com/r/tenant", "second": "https://new.example.com/r/second",
	} {
		if set, _ := w.set(name); set.Issuer != want || moved.Issuer(name) != want || set.Serial != 2 {
			t.Errorf("moved to %+v, want %s", set, want)
		}
	}
	w.node("https://new.example.com", true)
	if set, _ := w.set(mfa.DefaultRealm); set.Serial != 2 {
		t.Error("moved again without need")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ring, err := keys.Open(keys.Config{Root: w.root})
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{
		"", "login.example.com", "https://", "https://login.example.com/", "https://login.example.com/?", "https://login.example.com#x",
		"https://user@login.example.com", "://", "/path",
	} {
		if _, err := realm.New(realm.Config{Store: w.store, Ring: ring, PublicURL: address}); err == nil {
			t.Errorf("%q is taken", address)
		}
	}
	if _, err := realm.New(realm.Config{Ring: ring, PublicURL: address}); err == nil {
		t.Error("no store is needed")
	}
	if _, err := realm.New(realm.Config{Store: w.store, PublicURL: address}); err == nil {
		t.Error("no keyring is needed")
	}
}

// TestPlainHTTP holds that no realm is made whose devices would refuse its issuer.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fresh, err := sqlstore.Open(t.Context(), sqlstore.Config{DSN: filepath.Join(t.TempDir(), "fresh.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fresh.Close() })
	ring, err := keys.Open(keys.Config{Root: w.root})
	if err != nil {
		t.Fatal(err)
	}
	s, err := realm.New(realm.Config{Store: fresh, Ring: ring, PublicURL: "http://login.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ensure(t.Context()); err == nil {
		t.Error("a realm with an issuer in plain http")
	}
}

// TestServersOwnHosts has a realm ask for hosts at which the server is reached.
func TestServersOwnHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.update(func(tx store.Tx) error { return w.Create(tx, "tenant") })
	for host, want := range map[string]mfa.Code{
		strings.TrimPrefix(address, "https://"): mfa.Conflict, "second.example.com": mfa.Conflict, "third.example.com": "",
	} {
		err := w.try(func(tx store.Tx) error { return w.SetHosts(tx, "tenant", []string{host}) })
		if got := mfa.CodeOf(err); (err == nil) != (want == "") || err != nil && got != want {
			t.Errorf("%s: %v, want %q", host, err, want)
		}
	}
}
