package account_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
	"github.com/nodauth/nod/internal/user"
	"github.com/nodauth/nod/protocol"
)

const (
	in   = mfa.DefaultRealm
	host = "https://nod.example"
	day  = 24 * time.Hour
)

// world is the services on a database of their own, with a clock that tests move.
type world struct {
	t          *testing.T
	ctx        context.Context // of an administrator
	s          *account.Service
	db         *sqlstore.Store
	challenges *challenge.Service
	devices    *device.Service
	realms     *realm.Service
	app        account.Application
	ahead      atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	w.ctx = audit.With(t.Context(), audit.Origin{Actor: mfa.ActorAdministrator, By: "key_admin", Address: "192.0.2.1", Request: "req_1"})
	root, err := keys.NewRoot()
	must(t, err)
	ring, err := keys.Open(keys.Config{Root: root})
	must(t, err)
	w.db, err = sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:    filepath.Join(t.TempDir(), "nod.db"),
		Offset: func() time.Duration { return time.Duration(w.ahead.Load()) },
	})
	must(t, err)
	t.Cleanup(func() { must(t, w.db.Close()) })
	w.realms, err = realm.New(realm.Config{Store: w.db, Ring: ring, PublicURL: host})
	must(t, err)
	must(t, w.realms.Ensure(t.Context()))
	policies, err := policy.New(policy.Config{Store: w.db})
	must(t, err)
	w.challenges, err = challenge.New(challenge.Config{Ring: ring})
	must(t, err)
	w.devices, err = device.New(device.Config{Ring: ring})
	must(t, err)
	factors, err := factor.New(factor.Config{Ring: ring})
	must(t, err)
	users, err := user.New(user.Config{Ring: ring})
	must(t, err)
	sealing, err := realm.NewSealing(ring, "node")
	must(t, err)
	w.s, err = account.New(account.Config{
		Store: w.db, Challenges: w.challenges, Devices: w.devices, Factors: factors, Users: users, Realms: w.realms,
		Policies: policies, Sealing: sealing, PublicURL: host,
	})
	must(t, err)
	w.app = w.application("Portal")
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

func ptr[T any](v T) *T { return &v }

func (w *world) pass(d time.Duration) { w.ahead.Add(int64(d)) }

func (w *world) application(name string) account.Application {
	w.t.Helper()
	a, err := w.s.CreateApplication(w.ctx, in, account.NewApplication{ApplicationChange: account.ApplicationChange{Name: &name}})
	must(w.t, err)
	return a.Application
}

func (w *world) user(name string) account.User {
	w.t.Helper()
	u, err := w.s.CreateUser(w.ctx, in, account.NewUser{Name: name})
	must(w.t, err)
	return u
}

var byAdmin = account.Authority{By: mfa.ActorAdministrator}

// byUser is the authority of a person who shows a challenge to the application.
func (w *world) byUser(id mfa.ChallengeID) account.Authority {
	return account.Authority{By: mfa.ActorUser, Challenge: id, Asker: w.app.ID}
}

// phone is an authenticator.
type phone struct {
	id        mfa.DeviceID
	enrolment mfa.EnrolmentID
	key       *ecdsa.PrivateKey
	jwk       protocol.JWK
	ticket    string
	pin       string
	answer    protocol.Enrolled
	seq       int64
}

func newPhone(t *testing.T) *phone {
	t.Helper()
	p := new(phone)
	p.key, p.jwk = newKey(t)
	return p
}

func newKey(t *testing.T) (*ecdsa.PrivateKey, protocol.JWK) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	jwk, err := protocol.NewJWK(&private.PublicKey)
	must(t, err)
	return private, jwk
}

func (p *phone) next() int64 {
	p.seq++
	return p.seq
}

// invite begins an enrolment for a phone.
func (w *world) invite(u account.User, e account.Enrol) (*phone, error) {
	w.t.Helper()
	t, err := w.s.Enrol(w.ctx, in, u.ID, e)
	if err != nil {
		return nil, err
	}
	link, err := protocol.ParseTicketLink(t.Link.Reveal())
	must(w.t, err)
	p := newPhone(w.t)
	p.enrolment, p.ticket, p.pin = t.ID, link.Ticket, link.PIN
	return p, nil
}

func (w *world) claim(p *phone) error {
	w.t.Helper()
	answer, err := w.s.Claim(w.t.Context(), "", protocol.Enrol{
		V: 1, Ticket: p.ticket, Name: "phone", Platform: protocol.PlatformCLI, Features: []string{},
	}, p.jwk)
	if err != nil {
		return err
	}
	p.answer, _, err = protocol.OpenEnrolled(answer, p.pin)
	must(w.t, err)
	p.id = mfa.DeviceID(p.answer.Device)
	return nil
}

func (w *world) confirm(p *phone) error {
	_, err := w.s.Confirm(w.ctx, in, p.enrolment, p.answer.ConfirmCode)
	return err
}

// enrol goes the whole way.
func (w *world) enrol(u account.User, e account.Enrol) *phone {
	w.t.Helper()
	p, err := w.invite(u, e)
	must(w.t, err)
	must(w.t, w.claim(p))
	must(w.t, w.confirm(p))
	w.pass(time.Second)
	return p
}

func (w *world) add(u account.User) *phone {
	w.t.Helper()
	return w.enrol(u, account.Enrol{Authority: byAdmin})
}

// says gives the device as the front has it after checking a signature.
func (w *world) says(p *phone) account.Speaker {
	w.t.Helper()
	d, key, err := w.s.Identify(w.t.Context(), string(p.id))
	must(w.t, err)
	if !key.Equal(&p.key.PublicKey) {
		w.t.Fatal("the device is known by another key")
	}
	return d
}

func (w *world) device(id mfa.DeviceID) account.Device {
	w.t.Helper()
	d, err := w.s.Device(w.ctx, in, id)
	must(w.t, err)
	return d
}

// challenge makes a challenge and lets set bring it to where a test needs it.
func (w *world) challenge(u account.User, app account.Application, set func(c *store.Challenge, now mfa.Instant)) mfa.ChallengeID {
	w.t.Helper()
	id := w.pending(u, app)
	must(w.t, w.db.Update(w.ctx, func(tx store.Tx) error {
		row, err := tx.Challenge(in, id)
		if err != nil {
			return err
		}
		set(&row, tx.Now())
		return tx.PutChallenge(row)
	}))
	return id
}

func (w *world) state(id mfa.ChallengeID) (mfa.State, mfa.CancelReason) {
	w.t.Helper()
	var c store.Challenge
	must(w.t, w.db.View(w.ctx, func(tx store.Tx) error {
		var err error
		c, err = tx.Challenge(in, id)
		return err
	}))
	return c.State, c.Challenge.Reason
}

// redeemed makes a sign-in that was answered in this way and redeemed.
func (w *world) redeemed(u account.User, e mfa.Evidence) mfa.ChallengeID {
	w.t.Helper()
	return w.challenge(u, w.app, func(c *store.Challenge, now mfa.Instant) { redeem(c, e, now) })
}

func redeem(c *store.Challenge, e mfa.Evidence, now mfa.Instant) {
	c.State, c.Evidence = mfa.Redeemed, e
	c.Evidence.At, c.RedeemBy = now, now.Add(time.Minute)
}

// approved makes a sign-in that the phone approved and nobody redeemed yet.
func (w *world) approved(u account.User, p *phone) mfa.ChallengeID {
	w.t.Helper()
	return w.challenge(u, w.app, func(c *store.Challenge, now mfa.Instant) {
		c.State = mfa.Approved
		c.Evidence = mfa.Evidence{Method: mfa.Push, At: now, Match: mfa.Digits, Device: p.id}
		c.RedeemBy = now.Add(time.Minute)
	})
}

// pending makes a sign-in that has a prompt and that nobody answered.
func (w *world) pending(u account.User, app account.Application) mfa.ChallengeID {
	w.t.Helper()
	return w.many(u, app, 1)[0]
}

func (w *world) many(u account.User, app account.Application, n int) []mfa.ChallengeID {
	w.t.Helper()
	ids := make([]mfa.ChallengeID, n)
	for i := range ids {
		ids[i] = mfa.ChallengeID(secret.ID("ch_"))
	}
	must(w.t, w.db.Update(w.ctx, func(tx store.Tx) error {
		signer, err := w.realms.PromptSigner(tx, in)
		for _, id := range ids {
			if err != nil {
				return err
			}
			_, err = w.challenges.Make(tx, signer, challenge.Spec{
				Realm: in, Issuer: host, ID: id, User: u.ID, UserName: u.Name, Name: u.Name, Known: true, Application: app,
				Kind: mfa.Login, FirstFactor: mfa.FirstFactorAsserted, From: mfa.Strangers,
				Matches: []mfa.Match{mfa.Scan, mfa.Digits}, Methods: mfa.MethodsOf(mfa.Push, mfa.TOTP), DecideIn: 2 * time.Minute,
			})
		}
		return err
	}))
	return ids
}

var totp = mfa.Evidence{Method: mfa.TOTP, Code: "totp_x:1"}

// events lists what was recorded of a kind, oldest first.
func (w *world) events(kind string) []store.Event {
	w.t.Helper()
	var list []store.Event
	must(w.t, w.db.View(w.ctx, func(tx store.Tx) error {
		var err error
		list, err = tx.ListEvents(store.EventFilter{Realm: in, Kind: kind, OldestFirst: true}, store.Page{Limit: 100})
		return err
	}))
	return list
}

// recorded checks that the last event of a kind is there and who acted.
func (w *world) recorded(kind string, by mfa.Actor) store.Event {
	w.t.Helper()
	list := w.events(kind)
	if len(list) == 0 {
		w.t.Fatalf("no event %s", kind)
	}
	e := list[len(list)-1]
	if e.Actor != by {
		w.t.Errorf("event %s is by %s, want %s", kind, e.Actor, by)
	}
	return e
}

// told lists the kinds of notices that wait for the phone, after checking their signatures.
func (w *world) told(p *phone) []protocol.NoticeKind {
	w.t.Helper()
	set, err := protocol.ParseKeySet(p.answer.Keys)
	must(w.t, err)
	var kinds []protocol.NoticeKind
	must(w.t, w.db.View(w.ctx, func(tx store.Tx) error {
		d, err := tx.Device(p.id)
		if err != nil {
			return err
		}
		list, err := w.devices.Notices(tx, d)
		if err != nil {
			return err
		}
		for _, n := range list {
			got, err := set.OpenNotice(n.JWS)
			if err != nil {
				return err
			}
			kinds = append(kinds, got.Kind)
		}
		return nil
	}))
	return kinds
}

// suspend stops the phone as a hundred wrong answers do.
func (w *world) suspend(p *phone) {
	w.t.Helper()
	must(w.t, w.db.Update(w.ctx, func(tx store.Tx) error {
		d, err := tx.Device(p.id)
		if err != nil {
			return err
		}
		if _, _, err := w.devices.Apply(tx, &d, mfa.Suspend{}); err != nil {
			return err
		}
		return audit.Record(w.ctx, tx, store.Event{Realm: in, Kind: audit.DeviceSuspended, User: d.User, Device: d.ID})
	}))
}

func policyOf(t *testing.T, text string) policy.Document {
	t.Helper()
	d, err := policy.Parse([]byte(text))
	must(t, err)
	return d
}
