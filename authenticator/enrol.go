package authenticator

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nodauth/nod/protocol"
)

const (
	confirmWait = 5                      // seconds that a poll for the confirmation waits
	pollPace    = 200 * time.Millisecond // least time between two polls
)

// Enrolment is a claimed ticket that the side which asked for it has to confirm.
type Enrolment struct {
	// Account is the new account, stored already.
	Account Account
	// ConfirmCode is six digits to show; they are typed where the enrolment was asked for.
	ConfirmCode string
	// ConfirmBy is when the code ends, by the server's clock.
	ConfirmBy time.Time

	a *Authenticator
}

// Enrol claims the ticket of an enrolment link with a new key and pins the realm's keys, which
// the link names. The caller shows host and user of the result and the confirm code, then waits.
//
// It returns an [Error] with code conflict for a ticket used before, gone for one that is too
// old, and ErrNotTrusted if the answer is not from the realm that made the link.
func (a *Authenticator) Enrol(ctx context.Context, link, name string) (*Enrolment, error) {
	l, err := protocol.ParseTicketLink(link)
	if err != nil {
		return nil, fmt.Errorf("read the enrolment link: %w", err)
	}
	base, err := a.discover(ctx, l.Origin)
	if err != nil {
		return nil, fmt.Errorf("ask %s about nod: %w", l.Origin, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	raw, err := protocol.Sign(key, protocol.Header{URL: base + protocol.PathEnrol}, &protocol.Enrol{
		V: protocol.Version, Ticket: l.Ticket, Name: name, Platform: a.platform, AppVersion: a.appVersion,
	})
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	var got protocol.EnrolAnswer
	err = insist(ctx, func() error {
		res, err := a.exchange(ctx, http.MethodPost, base+protocol.PathEnrol, raw, replyTimeout)
		if err != nil {
			return err
		}
		if err := res.refusal(); err != nil {
			return err
		}
		got, err = readAnswer[protocol.EnrolAnswer](res.body)
		return err
	})
	if err != nil {
		return nil, explainEnrol(base, err)
	}
	e, set, err := protocol.OpenEnrolled(got.Enrolled, l.PIN)
	if err != nil {
		return nil, fmt.Errorf("%w: the answer of %s does not fit the enrolment link: %w", ErrNotTrusted, base, err)
	}
	return a.keep(ctx, e, set, base, name, key)
}

func explainEnrol(base string, err error) error {
	switch {
	case isStatus(err, http.StatusConflict):
		return fmt.Errorf("the enrolment link was used, or replaced by a newer one; ask for a new one: %w", err)
	case isStatus(err, http.StatusGone):
		return fmt.Errorf("the enrolment link is too old; ask for a new one: %w", err)
	default:
		return fmt.Errorf("enrol at %s: %w", base, err)
	}
}

// discover asks where the device protocol of a host is. The answer is not trusted: whoever gives
// a false one cannot sign for the realm that the link's PIN names.
func (a *Authenticator) discover(ctx context.Context, origin string) (string, error) {
	var found protocol.WellKnown
	err := insist(ctx, func() error {
		res, err := a.exchange(ctx, http.MethodGet, origin+protocol.PathWellKnown, "", replyTimeout)
		if err != nil {
			return err
		}
		if err := res.refusal(); err != nil {
			return err
		}
		found, err = readAnswer[protocol.WellKnown](res.body)
		return err
	})
	if err != nil {
		return "", err
	}
	if found.V != protocol.Version {
		return "", fmt.Errorf("the server speaks version %d of the protocol, this authenticator version %d", found.V, protocol.Version)
	}
	return found.DeviceURL, checkServer(found.DeviceURL)
}

func (a *Authenticator) keep(ctx context.Context, e protocol.Enrolled, set *protocol.KeySet, base, name string, key *ecdsa.PrivateKey) (*Enrolment, error) {
	r := record{
		Issuer: e.Issuer, Realm: e.Realm, Device: e.Device, UserID: e.User.ID, UserName: e.User.Name,
		Name: name, DeviceURL: base, State: string(protocol.DeviceClaimed), Keys: set.Raw(),
		EnrolledAt: time.Now().UnixMilli(),
	}
	var err error
	if r.Key, err = a.store.seal(r.id(), key); err != nil {
		return nil, err
	}
	err = a.store.update(ctx, func(doc *document) error {
		if index(doc, r.id()) >= 0 {
			return fmt.Errorf("%s is enrolled here already", r.id())
		}
		doc.Accounts = append(doc.Accounts, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	account, err := r.account()
	return &Enrolment{Account: account, ConfirmCode: e.ConfirmCode, ConfirmBy: time.UnixMilli(e.ConfirmBy).UTC(), a: a}, err
}

// Wait returns when the code was confirmed: the device is then active, or in quarantine beside
// older ones. If it was refused, cancelled or not confirmed in time, Wait removes the account
// and returns ErrRevoked. Lost connections are waited out.
func (e *Enrolment) Wait(ctx context.Context) (Account, error) {
	d, err := e.a.Device(e.Account.ID)
	if err != nil {
		return Account{}, err
	}
	for {
		started := time.Now()
		u, err := d.Poll(ctx, confirmWait)
		switch {
		case errors.Is(err, ErrRevoked):
			return Account{}, errors.Join(fmt.Errorf("the enrolment was refused or not confirmed in time: %w", err), e.a.Forget(ctx, d.id))
		case err != nil && !unsure(err):
			return Account{}, err
		case err == nil && u.State != protocol.DeviceClaimed:
			return d.Account()
		}
		if err := sleep(ctx, pollPace-time.Since(started)); err != nil {
			return Account{}, err
		}
	}
}
