package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// Config of the Service.
type Config struct {
	Store store.Store
}

// Service keeps the documents of all realms. It is safe for concurrent use.
type Service struct {
	c      Config
	parsed sync.Map // versionKey -> parsed; documents are immutable
}

type versionKey struct {
	realm   mfa.RealmID
	version int
}

// parsed is a document with the text that it was read from. A version that was seen inside a
// transaction may come to nothing, and its number then belongs to another text.
type parsed struct {
	text     []byte
	document Document
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Store == nil {
		return nil, errors.New("policy: Config.Store is required")
	}
	return &Service{c: c}, nil
}

// Reader is what reading the present policy needs of a transaction.
type Reader interface {
	Policy(realm mfa.RealmID, version int) (store.Policy, error)
}

// Current returns the realm's present policy as the transaction sees it.
func (s *Service) Current(tx Reader, realm mfa.RealmID) (Policy, error) {
	row, err := tx.Policy(realm, 0)
	if errors.Is(err, store.ErrNotFound) {
		return Policy{Document: Default()}, nil
	}
	if err != nil {
		return Policy{}, fmt.Errorf("read policy of realm %s: %w", realm, err)
	}
	return s.parse(row)
}

func (s *Service) parse(row store.Policy) (Policy, error) {
	key := versionKey{row.Realm, row.Version}
	if v, ok := s.parsed.Load(key); ok {
		if p := v.(parsed); bytes.Equal(p.text, row.Document) {
			return Policy{Version: row.Version, Document: p.document, At: row.At, By: row.By}, nil
		}
	}
	d, err := Parse(row.Document)
	if err != nil {
		return Policy{}, fmt.Errorf("policy %d of realm %s: %w", row.Version, row.Realm, err)
	}
	s.parsed.Store(key, parsed{text: row.Document, document: d})
	return Policy{Version: row.Version, Document: d, At: row.At, By: row.By}, nil
}

// Versions lists a realm's policies, newest first, without the built-in one.
func (s *Service) Versions(ctx context.Context, realm mfa.RealmID, limit int) ([]Policy, error) {
	var out []Policy
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		out = nil
		rows, err := tx.ListPolicies(realm, limit)
		if err != nil {
			return fmt.Errorf("list policies of realm %s: %w", realm, err)
		}
		for _, row := range rows {
			p, err := s.parse(row)
			if err != nil {
				return err
			}
			out = append(out, p)
		}
		return nil
	})
	return out, err
}

// Show returns one version of a realm's policy; the present one for version 0.
func (s *Service) Show(ctx context.Context, realm mfa.RealmID, version int) (Policy, error) {
	var p Policy
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		if version == 0 {
			var err error
			p, err = s.Current(tx, realm)
			return err
		}
		row, err := tx.Policy(realm, version)
		if errors.Is(err, store.ErrNotFound) {
			return mfa.ErrNotFound()
		}
		if err != nil {
			return fmt.Errorf("read policy %d of realm %s: %w", version, realm, err)
		}
		p, err = s.parse(row)
		return err
	})
	return p, err
}

// Writer is what applying a policy needs of a transaction.
type Writer interface {
	Reader
	Now() mfa.Instant
	InsertPolicy(store.Policy) error
}

// Compare gives the policy in force and says whether d would change it. It returns Conflict if
// expect is not -1 and not the version in force.
func (s *Service) Compare(tx Reader, realm mfa.RealmID, d Document, expect int) (now Policy, changes bool, err error) {
	if now, err = s.Current(tx, realm); err != nil {
		return Policy{}, false, err
	}
	if expect >= 0 && expect != now.Version {
		return Policy{}, false, mfa.Errorf(mfa.Conflict, mfa.ReasonVersion, "The policy is at version %d now, not at %d. Look at it and apply again.", now.Version, expect)
	}
	return now, string(now.Document.Canonical()) != string(d.Canonical()), nil
}

// Apply stores a new version inside the caller's transaction. Applying what is in force already
// changes nothing. expect is the version that the author saw, or -1 not to check it.
func (s *Service) Apply(tx Writer, realm mfa.RealmID, d Document, expect int, by string) (Policy, bool, error) {
	now, changes, err := s.Compare(tx, realm, d, expect)
	if err != nil || !changes {
		return now, false, err
	}
	row := store.Policy{Realm: realm, Version: now.Version + 1, Document: d.Canonical(), At: tx.Now(), By: by}
	if err := tx.InsertPolicy(row); err != nil {
		return Policy{}, false, fmt.Errorf("write policy %d of realm %s: %w", row.Version, realm, err)
	}
	return Policy{Version: row.Version, Document: d, At: row.At, By: by}, true, nil
}
