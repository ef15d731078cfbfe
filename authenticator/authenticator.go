package authenticator

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/nodauth/nod/protocol"
)

// Config is what an Authenticator needs.
type Config struct {
	// Store keeps the accounts; required.
	Store *Store
	// Client sends the requests; nil for one of our own. Redirects are never followed and time
	// limits are set per request, whatever it says.
	Client *http.Client
	// Platform is told at enrolment; empty for other.
	Platform protocol.Platform
	// AppVersion is told at enrolment; may be empty.
	AppVersion string
}

// Authenticator holds accounts and talks to their servers.
type Authenticator struct {
	store      *Store
	http       *http.Client
	platform   protocol.Platform
	appVersion string

	mu      sync.Mutex
	devices map[AccountID]*Device
}

// New gives an authenticator over a store.
func New(c Config) (*Authenticator, error) {
	if c.Store == nil {
		return nil, errors.New("an authenticator needs a store")
	}
	client := &http.Client{}
	if c.Client != nil {
		own := *c.Client
		client = &own
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	client.Timeout = 0
	return &Authenticator{
		store: c.Store, http: client, platform: cmp.Or(c.Platform, protocol.PlatformOther), appVersion: c.AppVersion,
		devices: make(map[AccountID]*Device),
	}, nil
}

// Accounts lists the accounts in the order of their enrolment.
func (a *Authenticator) Accounts() ([]Account, error) { return a.store.accounts() }

// Device opens an account. It returns ErrNoAccount, or ErrPassphrase if its key cannot be
// opened. The same account is opened once; every caller shares it.
func (a *Authenticator) Device(id AccountID) (*Device, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if d, ok := a.devices[id]; ok {
		return d, nil
	}
	r, err := a.store.get(id)
	if err != nil {
		return nil, err
	}
	key, err := a.store.open(id, r.Key)
	if err != nil {
		return nil, err
	}
	d := newDevice(a, r, key)
	if r.NewKey != nil {
		if d.newKey, err = a.store.open(id, r.NewKey); err != nil {
			return nil, err
		}
	}
	a.devices[id] = d
	return d, nil
}

// Forget removes an account and its key here, without a word to the server. It returns
// ErrNoAccount.
func (a *Authenticator) Forget(ctx context.Context, id AccountID) error {
	err := a.store.update(ctx, func(doc *document) error {
		i := index(doc, id)
		if i < 0 {
			return ErrNoAccount
		}
		doc.Accounts = append(doc.Accounts[:i], doc.Accounts[i+1:]...)
		return nil
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.devices, id)
	return nil
}

func newDevice(a *Authenticator, r record, key *ecdsa.PrivateKey) *Device {
	return &Device{a: a, id: r.id(), base: r.DeviceURL, user: r.UserID, key: key, held: make(map[string]bool), told: make(map[string]bool)}
}

// sleep waits, or returns the context's error as soon as it ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
