package challenge_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
	"github.com/nodauth/nod/protocol"
)

const (
	realm  = mfa.DefaultRealm
	issuer = "https://nod.example"
)

// world is a challenge service over a store with two realms, and a device that pins the keys of
// one.
type world struct {
	*challenge.Service
	t      testing.TB
	store  store.Store
	path   string
	ring   *keys.Ring
	signer *keys.Signer
	pinned *protocol.KeySet
	ahead  atomic.Int64 // of the real time, in nanoseconds

	mu     sync.Mutex
	wakes  []string
	events []recorded
}

type recorded struct {
	kind string
	data map[string]string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(t.TempDir(), "nod.db")}
	st, err := sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:    w.path,
		Offset: func() time.Duration { return time.Duration(w.ahead.Load()) },
		Committed: func(keys []string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.wakes = append(w.wakes, keys...)
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
	root, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	if w.ring, err = keys.Open(keys.Config{Root: root}); err != nil {
		t.Fatal(err)
	}
	if w.Service, err = challenge.New(challenge.Config{Ring: w.ring}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []mfa.RealmID{realm, "other"} {
		w.update(func(tx store.Tx) error { return tx.InsertRealm(store.Realm{ID: id, CreatedAt: tx.Now()}) })
	}
	w.pin()
	return w
}

// pin makes the realm's prompt key and the set of keys that devices pin.
func (w *world) pin() {
	w.t.Helper()
	var jwks []protocol.JWK
	for range 2 {
		signer, _, err := w.ring.NewSigner(string(realm), "prompt")
		if err != nil {
			w.t.Fatal(err)
		}
		jwk, err := protocol.NewJWK(signer.Public())
		if err != nil {
			w.t.Fatal(err)
		}
		if jwks = append(jwks, jwk); w.signer == nil {
			w.signer = signer
		}
	}
	payload, err := protocol.Encode(&protocol.Keys{V: 1, Issuer: issuer, Realm: string(realm), Serial: 1, Current: jwks[0], Next: jwks[1]})
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := w.signer.Sign(string(protocol.TypeKeys), payload)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.pinned, err = protocol.ParseKeySet(raw); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) update(fn func(store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) forward(d time.Duration) { w.ahead.Add(int64(d)) }

// woken gives the keys that were woken since the last call, in order.
func (w *world) woken() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.wakes
	w.wakes = nil
	slices.Sort(out)
	return out
}

// said gives the records since the last call.
func (w *world) said() []recorded {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.events
	w.events = nil
	return out
}

func (w *world) record(kind string, data map[string]string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, recorded{kind, data})
	return nil
}

func spec(matches ...mfa.Match) challenge.Spec {
	return challenge.Spec{
		Realm: realm, Issuer: issuer, User: "usr_ada", UserName: "ada", Name: "Ada", Known: true,
		Application: store.Application{Realm: realm, ID: "app_vpn", Name: "VPN"},
		Kind:        mfa.Login, FirstFactor: mfa.FirstFactorPassword, From: mfa.Strangers,
		Matches: matches, Methods: mfa.MethodsOf(mfa.Push, mfa.TOTP), DecideIn: 120 * time.Second,
		Ringing: mfa.Ringing{Rung: true},
	}
}

func (w *world) make(s challenge.Spec) challenge.Held {
	w.t.Helper()
	var h challenge.Held
	w.update(func(tx store.Tx) (err error) {
		h, err = w.Make(tx, w.signer, s)
		return err
	})
	return h
}

func (w *world) load(id mfa.ChallengeID) challenge.Held {
	w.t.Helper()
	var h challenge.Held
	w.update(func(tx store.Tx) (err error) {
		h, err = w.Load(tx, realm, id)
		return err
	})
	return h
}

// apply runs one step on the stored challenge.
func (w *world) apply(id mfa.ChallengeID, e mfa.Event) (h challenge.Held, fx mfa.Effects, refused error) {
	w.t.Helper()
	w.update(func(tx store.Tx) error {
		var err error
		if h, err = w.Load(tx, realm, id); err != nil {
			return err
		}
		fx, refused, err = w.Apply(tx, &h, e, facts, w.record, nil)
		return err
	})
	return h, fx, refused
}

var facts = mfa.Facts{
	UserActive: true, ApplicationActive: true,
	Policy: mfa.Requirement{Methods: mfa.MethodsOf(mfa.Push, mfa.TOTP), Matches: mfa.MatchesOf(mfa.AllMatches()...)},
}

func decision(h challenge.Held, sighted mfa.Sighted) mfa.Decision {
	return mfa.Decision{
		By:        mfa.DeviceFacts{ID: "dev_1", User: h.User, State: mfa.DeviceActive},
		Challenge: h.ID, Prompt: h.Prompt, Sighted: sighted,
	}
}

func approval(h challenge.Held, m mfa.Match, answer string) mfa.Approve {
	return mfa.Approve{
		Decision: decision(h, mfa.Sighted("approve "+answer)), Match: m, Answer: answer, FreshBack: challenge.FreshBack(),
		RedeemWithin: time.Minute,
	}
}

// other gives as many digits that are not these.
func other(digits string) string {
	return strings.Map(func(r rune) rune { return '0' + (r-'0'+1)%10 }, digits)
}
