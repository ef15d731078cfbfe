// Package account changes people, their devices and factors, and the applications: whatever
// reaches across services. Each method is one transaction, in which it changes what it is asked to,
// cancels the live challenges that lose their ground, writes the audit events and tells the user's
// other devices.
//
// No method checks scopes: the fronts have done that, and say who acts with [audit.With]. A method
// that a user may call without an administrator takes an [Authority] and checks its evidence.
package account

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"

	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/user"
	"github.com/nodauth/nod/protocol"
)

// Config of the Service. All members are required.
type Config struct {
	Store      store.Store
	Challenges *challenge.Service
	Devices    *device.Service
	Factors    *factor.Service
	Users      *user.Service
	Realms     *realm.Service
	Policies   *policy.Service
	Sealing    *realm.Sealing
	PublicURL  string // scheme and host of it begin the enrolment links
}

// Service is safe for concurrent use, on as many nodes as share the store.
type Service struct {
	c      Config
	origin string // of enrolment links
	host   string // shown by TOTP programs
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Challenges == nil || c.Devices == nil || c.Factors == nil ||
		c.Users == nil || c.Realms == nil || c.Policies == nil || c.Sealing == nil {
		return nil, errors.New("account: every member of Config is required")
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return nil, fmt.Errorf("account: %q is not a public URL", c.PublicURL)
	}
	return &Service{c: c, origin: u.Scheme + "://" + u.Host, host: u.Hostname()}, nil
}

// Page is a place in a list: at most Limit rows after (At, ID), from the beginning when ID is
// empty.
type Page = store.Page

// job is one run of one transaction.
type job struct {
	*Service
	ctx     context.Context // lives no longer than the call that made it
	tx      store.Tx
	realm   mfa.RealmID
	refused error       // to be answered although the transaction is committed
	about   store.Event // whom and what the job is about, for the record of a refusal
}

// update runs fn in a transaction. fn may run several times. That somebody may not do what they ask
// for is recorded, after their own transaction was undone.
func (s *Service) update(ctx context.Context, in mfa.RealmID, fn func(*job) error) error {
	var refused error
	var about store.Event
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		j := &job{Service: s, ctx: ctx, tx: tx, realm: in}
		err := j.enabled()
		if err == nil {
			err = fn(j)
		}
		refused, about = j.refused, j.about
		return err
	})
	if err == nil {
		return refused
	}
	if mfa.CodeOf(err) == mfa.Forbidden && about.User != "" {
		return s.refuse(ctx, in, about, err)
	}
	return err
}

// enabled returns what an unknown credential gets if the job's realm was disabled since the
// credential was looked at. The default realm never is.
func (j *job) enabled() error {
	if j.realm == "" || j.realm == mfa.DefaultRealm {
		return nil
	}
	r, err := j.tx.Realm(j.realm)
	if errors.Is(err, store.ErrNotFound) {
		return mfa.ErrNotFound()
	}
	if err != nil {
		return fmt.Errorf("read realm %s: %w", j.realm, err)
	}
	if r.DisabledAt != 0 {
		return application.ErrKey()
	}
	return nil
}

// refuse records a refusal and returns it.
func (s *Service) refuse(ctx context.Context, in mfa.RealmID, about store.Event, refusal error) error {
	about.Kind = audit.AccountRefused
	data := map[string]string{"reason": string(mfa.ReasonOf(refusal))}
	maps.Copy(data, about.Data)
	about.Data = data
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		return (&job{Service: s, ctx: ctx, tx: tx, realm: in}).record(about)
	})
	if err != nil {
		return err // what cannot be recorded is not answered either
	}
	return refusal
}

// view runs fn in a transaction that only reads.
func (s *Service) view(ctx context.Context, in mfa.RealmID, fn func(*job) error) error {
	return s.c.Store.View(ctx, func(tx store.Tx) error {
		return fn(&job{Service: s, ctx: ctx, tx: tx, realm: in})
	})
}

// user reads a person. It returns NotFound.
func (j *job) user(id mfa.UserID) (store.User, error) {
	u, err := user.Get(j.tx, j.realm, id)
	j.about.User = u.ID
	return u, err
}

// put stores a person after a change.
func (j *job) put(u store.User) error {
	if err := j.tx.PutUser(u); err != nil {
		return fmt.Errorf("write user %s: %w", u.ID, err)
	}
	return nil
}

// record writes an audit event of the job's realm.
func (j *job) record(e store.Event) error {
	e.Realm = j.realm
	return audit.Record(j.ctx, j.tx, e)
}

// actor is who acts, as notices and rows say it.
func (j *job) actor() mfa.Actor { return audit.From(j.ctx).Actor }

// voice is how the realm speaks to its devices at the moment of this transaction.
func (j *job) voice() (device.Voice, error) {
	signer, err := j.c.Realms.PromptSigner(j.tx, j.realm)
	return device.Voice{Issuer: j.c.Realms.Issuer(j.realm), Signer: signer}, err
}

// voiceWithKeys adds the key set that a new device pins.
func (j *job) voiceWithKeys() (device.Voice, error) {
	v, err := j.voice()
	if err != nil {
		return device.Voice{}, err
	}
	_, v.Keys, err = j.c.Realms.KeySet(j.tx, j.realm)
	return v, err
}

// tell writes a notice for the user's devices, apart from the one that it is about.
func (j *job) tell(who mfa.UserID, kind protocol.NoticeKind, about *store.Device) error {
	return j.tellBy(who, kind, about, j.actor())
}

func (j *job) tellBy(who mfa.UserID, kind protocol.NoticeKind, about *store.Device, by mfa.Actor) error {
	v, err := j.voice()
	if err != nil {
		return err
	}
	return j.c.Devices.Notify(j.tx, device.News{Realm: j.realm, User: who, Kind: kind, By: by, Device: about}, v)
}

// cancelOf cancels the user's live challenges, or those that the event's device approved.
func (j *job) cancelOf(who mfa.UserID, e mfa.Cancel) error {
	rows, err := j.tx.LiveChallenges(j.realm, who)
	if err != nil {
		return fmt.Errorf("list live challenges of %s: %w", who, err)
	}
	_, err = j.cancel(rows, e)
	return err
}

// cancel cancels the challenges among rows that are live at this moment; of one whose time is over
// the sweep records that, and what follows from it.
func (j *job) cancel(rows []store.Challenge, e mfa.Cancel) (int, error) {
	live := make([]store.Challenge, 0, len(rows))
	for _, c := range rows {
		if c.Challenge.At(j.tx.Now()).State.Live() {
			live = append(live, c)
		}
	}
	ended, err := j.c.Challenges.CancelLive(j.tx, live, e, func(h challenge.Held) challenge.Recorder {
		return func(kind string, data map[string]string) error {
			return j.record(store.Event{
				Kind: kind, User: h.User, Application: h.Application, Challenge: h.ID, Device: e.Device, Data: data,
			})
		}
	})
	return len(ended), err
}
