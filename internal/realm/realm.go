// Package realm keeps the realms with their signing keys. A realm has one key per purpose: prompts
// (which also sign notices, enrolment answers and key sets) and grants. Devices pin the prompt keys
// as a signed set: the current key and the next one. Set serial+1 has the old next as current, a new
// next, and is signed by it, so that a stolen current key cannot put its own successor in place.
package realm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// The purposes of signing keys.
const (
	Prompt = "prompt"
	Grant  = "grant"
)

// Overlap is how long a grant key is published before it signs and after it stops.
const Overlap = 24 * time.Hour

// Config of the Service. All members are required.
type Config struct {
	Store     store.Store
	Ring      *keys.Ring
	PublicURL string // issuer of the default realm
}

// Service is safe for concurrent use, on as many nodes as share the store.
type Service struct{ c Config }

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Ring == nil || c.PublicURL == "" {
		return nil, errors.New("realm: every member of Config is required")
	}
	return &Service{c: c}, nil
}

// Tx is what realms need of a transaction.
type Tx interface {
	Now() mfa.Instant
	store.Realms
}

// Issuer is how the realm names itself in what it signs.
func (s *Service) Issuer(id mfa.RealmID) string {
	if id == mfa.DefaultRealm {
		return s.c.PublicURL
	}
	return s.c.PublicURL + "/r/" + string(id)
}

// Ensure makes the default realm if it is not there. Nodes that start together make one.
func (s *Service) Ensure(ctx context.Context) error {
	return s.c.Store.Update(ctx, func(tx store.Tx) error {
		_, err := tx.Realm(mfa.DefaultRealm)
		if errors.Is(err, store.ErrNotFound) {
			return s.Create(tx, mfa.DefaultRealm)
		}
		if err != nil {
			return fmt.Errorf("read default realm: %w", err)
		}
		// A sealing key that is not this database's is found now, not at the first sign-in.
		_, err = s.PromptSigner(tx, mfa.DefaultRealm)
		if errors.Is(err, keys.ErrSealed) {
			return errors.New("the sealing key does not open this database: put the seal.json of its other nodes into the data directory, or give it as seal_key")
		}
		return err
	})
}

// Create makes a realm with its first keys. It returns Conflict if there is one of that name.
func (s *Service) Create(tx Tx, id mfa.RealmID) error {
	err := tx.InsertRealm(store.Realm{ID: id, CreatedAt: tx.Now()})
	if errors.Is(err, store.ErrExists) {
		return mfa.Errorf(mfa.Conflict, mfa.ReasonNameTaken, "There is a realm %q already.", id)
	}
	if err != nil {
		return fmt.Errorf("insert realm %s: %w", id, err)
	}
	current, err := s.newKey(tx, id, Prompt, tx.Now())
	if err != nil {
		return err
	}
	next, err := s.newKey(tx, id, Prompt, 0)
	if err != nil {
		return err
	}
	if err := s.publish(tx, id, 1, current, next); err != nil {
		return err
	}
	_, err = s.newKey(tx, id, Grant, tx.Now())
	return err
}

func (s *Service) newKey(tx Tx, id mfa.RealmID, purpose string, active mfa.Instant) (*keys.Signer, error) {
	signer, sealed, err := s.c.Ring.NewSigner(string(id), purpose)
	if err != nil {
		return nil, fmt.Errorf("make %s key of realm %s: %w", purpose, id, err)
	}
	public, err := json.Marshal(signer.JWK())
	if err != nil {
		return nil, fmt.Errorf("write %s key of realm %s: %w", purpose, id, err)
	}
	row := store.Key{Realm: id, Purpose: purpose, KID: signer.KID(), Public: public, Sealed: sealed, CreatedAt: tx.Now(), ActiveAt: active}
	if err := tx.InsertKey(row); err != nil {
		return nil, fmt.Errorf("insert %s key of realm %s: %w", purpose, id, err)
	}
	return signer, nil
}

// publish writes a key set, signed by its own current key: for serial+1 that is the old next.
func (s *Service) publish(tx Tx, id mfa.RealmID, serial int64, current, next *keys.Signer) error {
	set := protocol.Keys{V: protocol.Version, Issuer: s.Issuer(id), Realm: string(id), Serial: serial}
	var err error
	if set.Current, err = protocol.NewJWK(current.Public()); err != nil {
		return err
	}
	if set.Next, err = protocol.NewJWK(next.Public()); err != nil {
		return err
	}
	payload, err := protocol.Encode(&set)
	if err != nil {
		return fmt.Errorf("write key set of realm %s: %w", id, err)
	}
	jws, err := current.Sign(string(protocol.TypeKeys), payload)
	if err != nil {
		return fmt.Errorf("sign key set of realm %s: %w", id, err)
	}
	if err := tx.InsertKeySet(store.KeySet{Realm: id, Serial: serial, JWS: jws, At: tx.Now()}); err != nil {
		return fmt.Errorf("insert key set %d of realm %s: %w", serial, id, err)
	}
	return nil
}

// active picks the key that signs now: the last one that is active and not retired.
func active(rows []store.Key, now mfa.Instant) (store.Key, bool) {
	for _, k := range slices.Backward(rows) {
		if k.ActiveAt != 0 && k.ActiveAt <= now && (k.RetiredAt == 0 || now < k.RetiredAt) {
			return k, true
		}
	}
	return store.Key{}, false
}

func (s *Service) signer(tx Tx, id mfa.RealmID, purpose string) (*keys.Signer, error) {
	rows, err := tx.Keys(id, purpose)
	if err != nil {
		return nil, fmt.Errorf("read %s keys of realm %s: %w", purpose, id, err)
	}
	row, ok := active(rows, tx.Now())
	if !ok {
		return nil, fmt.Errorf("realm %s has no active %s key", id, purpose)
	}
	return s.c.Ring.Signer(string(id), purpose, row.KID, row.Sealed)
}

// PromptSigner gives the key that signs for devices at this transaction's moment.
func (s *Service) PromptSigner(tx Tx, id mfa.RealmID) (*keys.Signer, error) {
	return s.signer(tx, id, Prompt)
}

// GrantSigner gives the key that signs grants at this transaction's moment.
func (s *Service) GrantSigner(tx Tx, id mfa.RealmID) (*keys.Signer, error) {
	return s.signer(tx, id, Grant)
}

// KeySet gives the present set of prompt keys and its signed form.
func (s *Service) KeySet(tx Tx, id mfa.RealmID) (protocol.Keys, string, error) {
	sets, err := tx.KeySetsAfter(id, 0)
	if err != nil {
		return protocol.Keys{}, "", fmt.Errorf("read key sets of realm %s: %w", id, err)
	}
	if len(sets) == 0 {
		return protocol.Keys{}, "", fmt.Errorf("realm %s has no key set", id)
	}
	jws := sets[len(sets)-1].JWS
	set, err := protocol.ParseKeySet(jws)
	if err != nil {
		return protocol.Keys{}, "", fmt.Errorf("read key set of realm %s: %w", id, err)
	}
	return set.Keys, jws, nil
}

// Pin gives the text by which an enrolment link names the present key set.
func (s *Service) Pin(tx Tx, id mfa.RealmID) (string, error) {
	_, jws, err := s.KeySet(tx, id)
	if err != nil {
		return "", err
	}
	return protocol.KeyPIN(jws)
}

// RotatePrompt makes the next prompt key current and a new one next. Devices follow with their next
// poll; what the old key signed and is not answered yet is refused by those that have followed.
func (s *Service) RotatePrompt(tx Tx, id mfa.RealmID) (protocol.Keys, error) {
	set, _, err := s.KeySet(tx, id)
	if err != nil {
		return protocol.Keys{}, err
	}
	rows, err := tx.Keys(id, Prompt)
	if err != nil {
		return protocol.Keys{}, fmt.Errorf("read prompt keys of realm %s: %w", id, err)
	}
	var current *keys.Signer
	for _, k := range rows {
		switch k.KID {
		case set.Current.Thumbprint():
			k.RetiredAt = tx.Now()
		case set.Next.Thumbprint():
			k.ActiveAt = tx.Now()
			if current, err = s.c.Ring.Signer(string(id), Prompt, k.KID, k.Sealed); err != nil {
				return protocol.Keys{}, err
			}
		default:
			continue
		}
		if err := tx.PutKey(k); err != nil {
			return protocol.Keys{}, fmt.Errorf("write prompt key of realm %s: %w", id, err)
		}
	}
	if current == nil {
		return protocol.Keys{}, fmt.Errorf("realm %s has lost its next prompt key", id)
	}
	next, err := s.newKey(tx, id, Prompt, 0)
	if err != nil {
		return protocol.Keys{}, err
	}
	if err := s.publish(tx, id, set.Serial+1, current, next); err != nil {
		return protocol.Keys{}, err
	}
	set, _, err = s.KeySet(tx, id)
	return set, err
}

// RotateGrant makes a grant key that signs in 24 hours; the present one is published for 24 hours
// more after that.
func (s *Service) RotateGrant(tx Tx, id mfa.RealmID) error {
	rows, err := tx.Keys(id, Grant)
	if err != nil {
		return fmt.Errorf("read grant keys of realm %s: %w", id, err)
	}
	from := tx.Now().Add(Overlap)
	for _, k := range rows {
		if k.RetiredAt != 0 {
			continue
		}
		k.RetiredAt = from
		if err := tx.PutKey(k); err != nil {
			return fmt.Errorf("write grant key of realm %s: %w", id, err)
		}
	}
	_, err = s.newKey(tx, id, Grant, from)
	return err
}

// JWKS gives the grant keys of a realm that verify: those that sign, will sign, or stopped less
// than 24 hours ago. It returns NotFound for an unknown realm.
func (s *Service) JWKS(ctx context.Context, id mfa.RealmID) (jose.JSONWebKeySet, error) {
	var set jose.JSONWebKeySet
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		set = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
		rows, err := tx.Keys(id, Grant)
		if err != nil {
			return fmt.Errorf("read grant keys of realm %s: %w", id, err)
		}
		for _, k := range rows {
			if k.RetiredAt != 0 && tx.Now() >= k.RetiredAt.Add(Overlap) {
				continue
			}
			var jwk jose.JSONWebKey
			if err := json.Unmarshal(k.Public, &jwk); err != nil {
				return fmt.Errorf("read grant key %s: %w", k.KID, err)
			}
			set.Keys = append(set.Keys, jwk)
		}
		if len(rows) == 0 {
			return mfa.ErrNotFound()
		}
		return nil
	})
	return set, err
}

// Info is what is told about a realm.
type Info struct {
	ID        mfa.RealmID
	Issuer    string
	CreatedAt mfa.Instant
	KeySet    protocol.Keys
	Pin       string
}

// Current tells about one realm. It returns NotFound.
func (s *Service) Current(ctx context.Context, id mfa.RealmID) (Info, error) {
	var out Info
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		row, err := tx.Realm(id)
		if errors.Is(err, store.ErrNotFound) {
			return mfa.ErrNotFound()
		}
		if err != nil {
			return fmt.Errorf("read realm %s: %w", id, err)
		}
		out, err = s.info(tx, row)
		return err
	})
	return out, err
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

func (s *Service) info(tx Tx, row store.Realm) (Info, error) {
	set, jws, err := s.KeySet(tx, row.ID)
	if err != nil {
		return Info{}, err
	}
	pin, err := protocol.KeyPIN(jws)
	if err != nil {
		return Info{}, fmt.Errorf("pin of realm %s: %w", row.ID, err)
	}
	return Info{ID: row.ID, Issuer: s.Issuer(row.ID), CreatedAt: row.CreatedAt, KeySet: set, Pin: pin}, nil
}

// KeySetsAfter gives the signed sets that a device with this serial has to follow, in order.
func KeySetsAfter(tx store.Realms, id mfa.RealmID, serial int64) ([]string, error) {
	rows, err := tx.KeySetsAfter(id, serial)
	if err != nil {
		return nil, fmt.Errorf("read key sets of realm %s: %w", id, err)
	}
	out := make([]string, len(rows))
	for i, k := range rows {
		out[i] = k.JWS
	}
	return out, nil
}
