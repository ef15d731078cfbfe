package authn_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
	"github.com/nodauth/nod/internal/user"
)

const (
	in   = mfa.DefaultRealm
	host = "https://nod.example"
	day  = 24 * time.Hour
)

// clock stands still unless a test moves it, so that boundaries can be met to the microsecond.
type clock struct {
	start mfa.Instant
	ahead atomic.Int64
}

// newClock stands in the middle of a step of time-based codes, not at a whole second, and in the
// past, so that a database can be opened again.
func newClock() *clock {
	minute := time.Now().Add(-time.Minute).Truncate(time.Minute)
	return &clock{start: mfa.At(minute.Add(10*time.Second + 345678*time.Microsecond))}
}

func (c *clock) now() mfa.Instant      { return c.start.Add(c.offset()) }
func (c *clock) offset() time.Duration { return time.Duration(c.ahead.Load()) }
func (c *clock) pass(d time.Duration)  { c.ahead.Add(int64(d)) }
func (c *clock) move(to mfa.Instant)   { c.ahead.Store(int64(to.Sub(c.start))) }
func (c *clock) back(d time.Duration)  { c.ahead.Add(-int64(d)) }

// still is a store whose transactions see a clock's time, and which counts them.
type still struct {
	store.Store
	clock   *clock
	updates atomic.Int64
	viewed  chan struct{}          // gets one for each View, if a test made it
	after   atomic.Pointer[func()] // is called after each Update
}

type stillTx struct {
	store.Tx
	now mfa.Instant
}

func (t stillTx) Now() mfa.Instant { return t.now }

func (s *still) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := s.Store.Update(ctx, func(tx store.Tx) error { return fn(stillTx{tx, s.clock.now()}) })
	s.updates.Add(1)
	if f := s.after.Load(); f != nil {
		(*f)()
	}
	return err
}

func (s *still) View(ctx context.Context, fn func(store.Tx) error) error {
	err := s.Store.View(ctx, func(tx store.Tx) error { return fn(stillTx{tx, s.clock.now()}) })
	if s.viewed != nil {
		s.viewed <- struct{}{}
	}
	return err
}

// site is what the nodes of one server share.
type site struct {
	dsn   string
	root  []byte
	clock *clock
}

func newSite(t *testing.T, dsn string) site {
	t.Helper()
	root, err := keys.NewRoot()
	must(t, err)
	return site{dsn: dsn, root: root, clock: newClock()}
}

// world is the services of one node.
type world struct {
	t *testing.T
	*clock
	ctx        context.Context // of an administrator
	s          *authn.Service
	accounts   *account.Service
	factors    *factor.Service
	devices    *device.Service
	challenges *challenge.Service
	realms     *realm.Service
	hub        *challenge.Hub
	db         *still
	app        authn.Caller
	silent     atomic.Bool // no wake-up leaves this node's commits
}

// fresh is the root and the database of a server that was started once: making the schema takes
// longer than most tests.
var fresh = sync.OnceValues(func() ([]byte, []byte) {
	panicked := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "nod-authn-*")
	panicked(err)
	defer func() { panicked(os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "nod.db")
	root, err := keys.NewRoot()
	panicked(err)
	ring, err := keys.Open(keys.Config{Root: root})
	panicked(err)
	db, err := sqlstore.Open(context.Background(), sqlstore.Config{DSN: file})
	panicked(err)
	realms, err := realm.New(realm.Config{Store: &still{Store: db, clock: newClock()}, Ring: ring, PublicURL: host})
	panicked(err)
	panicked(realms.Ensure(context.Background()))
	panicked(db.Close())
	text, err := os.ReadFile(file)
	panicked(err)
	return root, text
})

// newWorld is a server of one node on SQLite, with an application.
func newWorld(t *testing.T) *world {
	t.Helper()
	root, text := fresh()
	file := filepath.Join(t.TempDir(), "nod.db")
	must(t, os.WriteFile(file, text, 0o600))
	w := newNode(t, site{dsn: file, root: root, clock: newClock()})
	w.app = w.application("Portal")
	return w
}

// newNode is one node of a server.
func newNode(t *testing.T, at site) *world {
	t.Helper()
	w := &world{t: t, clock: at.clock, hub: challenge.NewHub()}
	w.ctx = audit.With(t.Context(), audit.Origin{Actor: mfa.ActorAdministrator, By: "key_admin"})
	ring, err := keys.Open(keys.Config{Root: at.root})
	must(t, err)
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{
		DSN: at.dsn, Offset: at.clock.offset,
		Committed: func(keys []string) {
			if !w.silent.Load() {
				w.hub.Wake(keys...)
			}
		},
	})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	w.db = &still{Store: db, clock: at.clock}
	w.realms, err = realm.New(realm.Config{Store: w.db, Ring: ring, PublicURL: host})
	must(t, err)
	must(t, w.realms.Ensure(t.Context()))
	policies, err := policy.New(policy.Config{Store: w.db})
	must(t, err)
	w.challenges, err = challenge.New(challenge.Config{Ring: ring})
	must(t, err)
	w.devices, err = device.New(device.Config{Ring: ring})
	must(t, err)
	w.factors, err = factor.New(factor.Config{Ring: ring})
	must(t, err)
	users, err := user.New(user.Config{Ring: ring})
	must(t, err)
	w.s, err = authn.New(authn.Config{
		Store: w.db, Challenges: w.challenges, Devices: w.devices, Hub: w.hub, Factors: w.factors, Users: users,
		Realms: w.realms, Policies: policies, Logger: slog.New(slog.DiscardHandler),
		Gate: guard.NewGate(guard.Rates{PerApplication: 1e6, PerAddress: 1e6, Burst: time.Second}),
	})
	must(t, err)
	sealing, err := realm.NewSealing(ring, "node")
	must(t, err)
	w.accounts, err = account.New(account.Config{
		Store: w.db, Challenges: w.challenges, Devices: w.devices, Factors: w.factors, Users: users, Realms: w.realms,
		Policies: policies, Sealing: sealing, PublicURL: host,
	})
	must(t, err)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants checks what a caller is told.
func wants(t *testing.T, err error, code mfa.Code, reason mfa.Reason) {
	t.Helper()
	if mfa.CodeOf(err) != code || mfa.ReasonOf(err) != reason {
		t.Fatalf("got %v, want %s %s", err, code, reason)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func (w *world) application(name string) authn.Caller {
	w.t.Helper()
	return w.caller(application.Changes{Name: &name})
}

func (w *world) caller(c application.Changes) authn.Caller {
	w.t.Helper()
	var a store.Application
	w.change(func(tx store.Tx) (err error) {
		a, err = application.Create(tx, in, c)
		return err
	})
	return authn.Caller{Realm: in, Application: a, KeyID: "key_" + a.Name, Scopes: application.Scopes()}
}

// policy puts a document in force.
func (w *world) policy(text string) {
	w.t.Helper()
	d, err := policy.Parse([]byte(text))
	must(w.t, err)
	_, _, err = w.accounts.ApplyPolicy(w.ctx, in, d, -1)
	must(w.t, err)
}

// everyMatch lets every kind of match count where the floor of the rules allows it.
const everyMatch = "matches: [scan, digits, digits_back, number, choice, tap]\nmin_bits: 0\n"

// change writes rows past the services, as a transaction of another node may have done between the
// steps of this one.
func (w *world) change(fn func(store.Tx) error) {
	w.t.Helper()
	must(w.t, w.db.Store.Update(w.ctx, func(tx store.Tx) error { return fn(stillTx{tx, w.now()}) }))
}

func (w *world) read(fn func(store.Tx) error) {
	w.t.Helper()
	must(w.t, w.db.Store.View(w.ctx, func(tx store.Tx) error { return fn(stillTx{tx, w.now()}) }))
}

// row is a challenge as it is stored.
func (w *world) row(id mfa.ChallengeID) (c store.Challenge) {
	w.t.Helper()
	w.read(func(tx store.Tx) (err error) {
		c, err = tx.Challenge(in, id)
		return err
	})
	return c
}

// events lists what was recorded of a kind, oldest first.
func (w *world) events(f store.EventFilter) (list []store.Event) {
	w.t.Helper()
	f.Realm, f.OldestFirst = in, true
	w.read(func(tx store.Tx) (err error) {
		list, err = tx.ListEvents(f, store.Page{Limit: 1000})
		return err
	})
	return list
}

func (w *world) recorded(kind string, id mfa.ChallengeID) int {
	w.t.Helper()
	return len(w.events(store.EventFilter{Kind: kind, Challenge: id}))
}

func (w *world) user(name string) account.User {
	w.t.Helper()
	u, err := w.accounts.CreateUser(w.ctx, in, account.NewUser{Name: name})
	must(w.t, err)
	return u
}

func (w *world) stored(u account.User) (row store.User) {
	w.t.Helper()
	w.read(func(tx store.Tx) (err error) {
		row, err = tx.User(in, u.ID)
		return err
	})
	return row
}

const rightPassword = "correct horse battery staple"

// hashed is made once: it is slow on purpose.
var hashed = sync.OnceValue(func() string {
	root, err := keys.NewRoot()
	if err != nil {
		panic(err)
	}
	ring, err := keys.Open(keys.Config{Root: root})
	if err != nil {
		panic(err)
	}
	f, err := factor.New(factor.Config{Ring: ring})
	if err != nil {
		panic(err)
	}
	hash, err := f.HashPassword(context.Background(), rightPassword)
	if err != nil {
		panic(err)
	}
	return hash
})

func (w *world) password(u account.User) {
	w.t.Helper()
	hash := hashed()
	w.change(func(tx store.Tx) error {
		_, err := user.Update(tx, in, u.ID, user.Changes{Password: &hash})
		return err
	})
}

func withPassword(r authn.Request, text string) authn.Request {
	r.Password, r.HasPassword, r.Asserted = secret.New(text), true, false
	return r
}
