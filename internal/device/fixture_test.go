package device_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
	"github.com/nodauth/nod/protocol"
)

const (
	realm  = mfa.DefaultRealm
	other  = mfa.RealmID("other")
	issuer = "https://nod.example"
	day    = 24 * time.Hour
)

// world is a service on a database of its own, with a clock that tests move.
type world struct {
	t     *testing.T
	s     *device.Service
	db    *sqlstore.Store
	voice map[mfa.RealmID]device.Voice
	ahead atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, voice: map[mfa.RealmID]device.Voice{}}
	root, err := keys.NewRoot()
	must(t, err)
	ring, err := keys.Open(keys.Config{Root: root})
	must(t, err)
	w.s, err = device.New(device.Config{Ring: ring})
	must(t, err)
	w.db, err = sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:    filepath.Join(t.TempDir(), "nod.db"),
		Offset: func() time.Duration { return time.Duration(w.ahead.Load()) },
	})
	must(t, err)
	t.Cleanup(func() { must(t, w.db.Close()) })
	for _, r := range []mfa.RealmID{realm, other} {
		must(t, w.db.Update(t.Context(), func(tx store.Tx) error { return tx.InsertRealm(store.Realm{ID: r, CreatedAt: tx.Now()}) }))
		current, _, err := ring.NewSigner(string(r), "prompt")
		must(t, err)
		next, _, err := ring.NewSigner(string(r), "prompt")
		must(t, err)
		set := protocol.Keys{V: protocol.Version, Issuer: issuer, Realm: string(r), Serial: 1}
		set.Current, err = protocol.NewJWK(current.Public())
		must(t, err)
		set.Next, err = protocol.NewJWK(next.Public())
		must(t, err)
		payload, err := protocol.Encode(&set)
		must(t, err)
		jws, err := current.Sign(string(protocol.TypeKeys), payload)
		must(t, err)
		w.voice[r] = device.Voice{Issuer: issuer, Keys: jws, Signer: current}
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) pass(d time.Duration) { w.ahead.Add(int64(d)) }

// do runs fn in a transaction that commits.
func (w *world) do(fn func(tx store.Tx) error) {
	w.t.Helper()
	must(w.t, w.db.Update(w.t.Context(), fn))
}

func (w *world) user(r mfa.RealmID, name string) store.User {
	w.t.Helper()
	u := store.User{Realm: r, ID: mfa.UserID(secret.ID("usr_")), Name: name, Display: name, State: store.UserActive}
	w.do(func(tx store.Tx) error { return tx.InsertUser(u, nil) })
	return u
}

func (w *world) lock(u store.User) {
	w.t.Helper()
	w.do(func(tx store.Tx) error {
		row, err := tx.User(u.Realm, u.ID)
		if err != nil {
			return err
		}
		row.State = store.UserLocked
		return tx.PutUser(row)
	})
}

func newKey(t *testing.T) protocol.JWK {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	jwk, err := protocol.NewJWK(&private.PublicKey)
	must(t, err)
	return jwk
}

func (w *world) issue(u store.User, more ...func(*device.Invite)) device.Issued {
	w.t.Helper()
	i := device.Invite{Realm: u.Realm, User: u.ID, By: mfa.ActorAdministrator, Origin: issuer, Keys: w.voice[u.Realm].Keys}
	for _, m := range more {
		m(&i)
	}
	var out device.Issued
	w.do(func(tx store.Tx) error {
		var err error
		out, err = w.s.Issue(tx, i)
		return err
	})
	return out
}

func lost(i *device.Invite) { i.Lost = true }

func ticketOf(t *testing.T, i device.Issued) protocol.TicketLink {
	t.Helper()
	link, err := protocol.ParseTicketLink(i.Link.Reveal())
	must(t, err)
	return link
}

// claim returns what the caller is answered.
func (w *world) claim(ticket string, key protocol.JWK) (device.Outcome, error) {
	var out device.Outcome
	var refused error
	err := w.db.Update(w.t.Context(), func(tx store.Tx) error {
		e, err := w.s.ByTicket(tx, ticket)
		if err != nil {
			return err
		}
		u, err := tx.User(e.Realm, e.User)
		if err != nil {
			return err
		}
		c := protocol.Enrol{V: protocol.Version, Ticket: ticket, Name: "phone", Platform: protocol.PlatformCLI, Features: []string{}}
		out, refused, err = w.s.Claim(tx, e, c, key, u, w.voice[e.Realm])
		return err
	})
	if err == nil {
		err = refused
	}
	return out, err
}

func (w *world) confirm(r mfa.RealmID, id mfa.EnrolmentID, code string) (device.Outcome, error) {
	var out device.Outcome
	var refused error
	err := w.db.Update(w.t.Context(), func(tx store.Tx) error {
		e, err := w.s.Enrolment(tx, r, id)
		if err != nil {
			return err
		}
		u, err := tx.User(r, e.User)
		if err != nil {
			return err
		}
		out, refused, err = w.s.Confirm(tx, e, device.Confirmation{Code: code, UserActive: u.State == store.UserActive, Quarantine: day})
		return err
	})
	if err == nil {
		err = refused
	}
	return out, err
}

// enrolled reads the answer to a claim as the device does.
func enrolled(t *testing.T, i device.Issued, answer string) protocol.Enrolled {
	t.Helper()
	e, _, err := protocol.OpenEnrolled(answer, ticketOf(t, i).PIN)
	must(t, err)
	return e
}

// enrol goes the whole way and returns the active device.
func (w *world) enrol(u store.User, more ...func(*device.Invite)) store.Device {
	w.t.Helper()
	i := w.issue(u, more...)
	out, err := w.claim(ticketOf(w.t, i).Ticket, newKey(w.t))
	must(w.t, err)
	did, err := w.confirm(u.Realm, i.Enrolment.ID, enrolled(w.t, i, out.Answer).ConfirmCode)
	must(w.t, err)
	return did.Device
}

func (w *world) device(id mfa.DeviceID) store.Device {
	w.t.Helper()
	var d store.Device
	must(w.t, w.db.View(w.t.Context(), func(tx store.Tx) error {
		var err error
		d, err = tx.Device(id)
		return err
	}))
	return d
}

func (w *world) enrolment(r mfa.RealmID, id mfa.EnrolmentID) store.Enrolment {
	w.t.Helper()
	var e store.Enrolment
	must(w.t, w.db.View(w.t.Context(), func(tx store.Tx) error {
		var err error
		e, err = tx.Enrolment(r, id)
		return err
	}))
	return e
}

// wants checks what a caller is told.
func wants(t *testing.T, err error, code mfa.Code, reason mfa.Reason) {
	t.Helper()
	if mfa.CodeOf(err) != code || mfa.ReasonOf(err) != reason {
		t.Fatalf("got %v, want %s %s", err, code, reason)
	}
}
