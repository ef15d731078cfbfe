// Package realm keeps the realms and the keys that they sign with.
//
// A realm has a prompt key, which signs what its devices are told, and a grant key, which signs
// what its applications are given.
//
// Devices pin the prompt key in a key set: the current key and the next one. Each rotation makes
// the next key current, makes a new next one and signs both with the key that has become current,
// so that a device can follow from the set that it pinned, and whoever has stolen a current key
// cannot rotate. All sets are kept.
//
// Applications take the grant keys from a JWKS. A new one is published for a day before it signs,
// and stays published for a day after it signed last.
//
//	prompt:  waits as next ─ rotation ─► current ─ rotation ─► retired
//	grant:   published ─ 24 h ─► signs ─ 24 h after the next rotation ─► retired ─ 24 h ─► not published
package realm

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// maxName is how many characters a realm's name has at most.
const maxName = 63

// Config of the Service.
type Config struct {
	Store store.Store
	Ring  *keys.Ring
	// PublicURL is the address at which devices and applications reach the server, without a
	// slash at its end. It becomes the issuer of realms when the first one is made.
	PublicURL string
	// Others are further addresses of the server. No other realm can have their hosts.
	Others []string
	// Move lets Ensure change the issuer of all realms to PublicURL. Devices know their realm by
	// its issuer, so every one has to be enrolled again.
	Move bool
}

// Service makes realms and finds their keys. It may be used by several goroutines.
type Service struct {
	c    Config
	base atomic.Pointer[string] // the default realm's issuer

	hosts atomic.Pointer[map[string]mfa.RealmID]
}

// New makes a Service. Ensure comes next.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Ring == nil {
		return nil, errors.New("realm: Config.Store and Config.Ring are required")
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || strings.ContainsAny(c.PublicURL, "?#") || strings.HasSuffix(c.PublicURL, "/") {
		return nil, fmt.Errorf("realm: %q is not a public URL, such as https://login.example.com", c.PublicURL)
	}
	s := &Service{c: c}
	s.base.Store(&c.PublicURL)
	s.hosts.Store(&map[string]mfa.RealmID{})
	return s, nil
}

// Ensure makes the default realm, with its keys, unless it is there. From then on the issuer is
// the one with which it was made, whatever PublicURL says, unless Move is set: several nodes, and
// a server that is given another address, go on speaking for the same realms.
func (s *Service) Ensure(ctx context.Context) error {
	var base string
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		var err error
		base, err = s.ensure(tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("prepare realms: %w", err)
	}
	s.base.Store(&base)
	return s.ReadHosts(ctx)
}

func (s *Service) ensure(tx Tx) (base string, err error) {
	_, err = tx.Realm(mfa.DefaultRealm)
	if errors.Is(err, store.ErrNotFound) {
		return s.c.PublicURL, s.insert(tx, mfa.DefaultRealm, s.c.PublicURL)
	}
	if err != nil {
		return "", fmt.Errorf("read realm %s: %w", mfa.DefaultRealm, err)
	}
	_, err = s.PromptSigner(tx, mfa.DefaultRealm)
	if errors.Is(err, keys.ErrSealed) { // found now, not at the first sign-in
		return "", errors.New("the sealing key does not open this database: put the seal.json of its other nodes into the data directory, or give it as seal_key")
	}
	if err != nil {
		return "", err
	}
	set, _, err := s.KeySet(tx, mfa.DefaultRealm)
	if err != nil || set.Issuer == s.c.PublicURL || !s.c.Move {
		return set.Issuer, err
	}
	all, err := tx.ListRealms()
	if err != nil {
		return "", fmt.Errorf("list realms: %w", err)
	}
	for _, r := range all {
		if _, err := s.rotatePrompt(tx, r.ID, issuer(s.c.PublicURL, r.ID)); err != nil {
			return "", err
		}
	}
	return s.c.PublicURL, nil
}

// Issuer gives the realm's issuer: the public address for the default realm, a path below it for
// any other. It is right once Ensure was called.
func (s *Service) Issuer(realm mfa.RealmID) string { return issuer(*s.base.Load(), realm) }

func issuer(base string, realm mfa.RealmID) string {
	if realm == mfa.DefaultRealm {
		return base
	}
	return base + "/r/" + string(realm)
}

// Tx is what making realms and rotating their keys needs of a transaction.
type Tx interface {
	Now() mfa.Instant
	Wake(keys ...string)
	store.Realms
}

// Create makes a realm and its keys. The name is 1 to 63 lower-case letters, digits and hyphens,
// with no hyphen at its ends, and not current, which names the caller's own. It returns Invalid, and Conflict with ReasonNameTaken.
func (s *Service) Create(tx Tx, name mfa.RealmID) error {
	if !validName(string(name)) {
		return mfa.InvalidField("name", "A realm's name is 1 to %d lower-case letters, digits and hyphens, with no hyphen at its ends; not current.", maxName)
	}
	_, err := tx.Realm(name)
	if err == nil {
		return &mfa.Error{
			Code: mfa.Conflict, Reason: mfa.ReasonNameTaken, Field: "name",
			Message: fmt.Sprintf("There is a realm named %q already.", name),
		}
	}
	if !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read realm %s: %w", name, err)
	}
	return s.insert(tx, name, s.Issuer(name))
}

func (s *Service) insert(tx Tx, name mfa.RealmID, issuer string) error {
	err := tx.InsertRealm(store.Realm{ID: name, CreatedAt: tx.Now()})
	if errors.Is(err, store.ErrExists) {
		// Another node was first; the transaction is run again and sees its realm.
		return fmt.Errorf("insert realm %s: %w", name, store.ErrStale)
	}
	if err != nil {
		return fmt.Errorf("insert realm %s: %w", name, err)
	}
	if _, err := s.newKey(tx, name, grantKeys, tx.Now()); err != nil {
		return err
	}
	current, err := s.newKey(tx, name, promptKeys, tx.Now())
	if err != nil {
		return err
	}
	next, err := s.newKey(tx, name, promptKeys, waiting)
	if err != nil {
		return err
	}
	_, err = s.putSet(tx, issuer, 1, current, next)
	return err
}

func validName(s string) bool {
	if s == "" || s == "current" || len(s) > maxName || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

// Info is what is told about a realm.
type Info struct {
	ID         mfa.RealmID
	Issuer     string
	Hosts      []string // that belong to it
	CreatedAt  mfa.Instant
	DisabledAt mfa.Instant   // 0 while enabled
	KeySet     protocol.Keys // the newest
	Pin        string        // by which an enrolment link names it
}

// Current tells about one realm. It returns NotFound.
func (s *Service) Current(ctx context.Context, name mfa.RealmID) (Info, error) {
	var out Info
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		var err error
		out, err = s.Info(tx, name)
		return err
	})
	return out, err
}

// Info tells about one realm, inside the caller's transaction. It returns NotFound.
func (s *Service) Info(tx Tx, name mfa.RealmID) (Info, error) {
	row, err := get(tx, name)
	if err != nil {
		return Info{}, err
	}
	return s.info(tx, row)
}

// List tells about every realm.
func (s *Service) List(ctx context.Context) ([]Info, error) {
	var out []Info
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		out = nil
		rows, err := tx.ListRealms()
		if err != nil {
			return fmt.Errorf("list realms: %w", err)
		}
		for _, row := range rows {
			i, err := s.info(tx, row)
			if err != nil {
				return err
			}
			out = append(out, i)
		}
		return nil
	})
	return out, err
}

func (s *Service) info(tx Reader, row store.Realm) (Info, error) {
	set, _, err := s.KeySet(tx, row.ID)
	if err != nil {
		return Info{}, err
	}
	pin, err := s.Pin(tx, row.ID)
	if err != nil {
		return Info{}, err
	}
	return Info{
		ID: row.ID, Issuer: s.Issuer(row.ID), Hosts: row.Hosts, CreatedAt: row.CreatedAt, DisabledAt: row.DisabledAt,
		KeySet: set, Pin: pin,
	}, nil
}
