package realm

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// What keys are for.
const (
	promptKeys = "prompt"
	grantKeys  = "grant"
)

// waiting is the ActiveAt of a key that is next.
const waiting mfa.Instant = 0

// Published is for how long a grant key is in the JWKS before it signs, and after it signed last.
const Published = 24 * time.Hour

// Reader is what finding keys needs of a transaction.
type Reader interface {
	Now() mfa.Instant
	Keys(realm mfa.RealmID, purpose string) ([]store.Key, error)
	KeySetsAfter(realm mfa.RealmID, serial int64) ([]store.KeySet, error)
}

// PromptSigner gives the key that signs prompts, notices and enrolment answers now. It is read in
// the transaction, since a device that has followed a rotation refuses what the former key signed.
// It returns NotFound for an unknown realm.
func (s *Service) PromptSigner(tx Reader, realm mfa.RealmID) (*keys.Signer, error) {
	current, _, err := promptPair(tx, realm)
	if err != nil {
		return nil, err
	}
	return s.open(current)
}

// GrantSigner gives the key that signs grants now. It returns NotFound for an unknown realm.
func (s *Service) GrantSigner(tx Reader, realm mfa.RealmID) (*keys.Signer, error) {
	all, err := tx.Keys(realm, grantKeys)
	if err != nil {
		return nil, fmt.Errorf("list grant keys of %s: %w", realm, err)
	}
	for _, k := range all {
		if signing(k, tx.Now()) {
			return s.open(k)
		}
	}
	return nil, mfa.ErrNotFound()
}

func signing(k store.Key, now mfa.Instant) bool {
	return now >= k.ActiveAt && (k.RetiredAt == 0 || now < k.RetiredAt)
}

// JWKS gives the realm's grant keys, for applications to verify grants with. It returns NotFound
// for an unknown realm.
func (s *Service) JWKS(ctx context.Context, realm mfa.RealmID) (jose.JSONWebKeySet, error) {
	var set jose.JSONWebKeySet
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		set = jose.JSONWebKeySet{}
		all, err := tx.Keys(realm, grantKeys)
		if err != nil {
			return fmt.Errorf("list grant keys of %s: %w", realm, err)
		}
		for _, k := range all {
			if k.RetiredAt != 0 && tx.Now() >= k.RetiredAt.Add(Published) {
				continue
			}
			var jwk jose.JSONWebKey
			if err := json.Unmarshal(k.Public, &jwk); err != nil {
				return fmt.Errorf("read public key %s: %w", k.KID, err)
			}
			set.Keys = append(set.Keys, jwk)
		}
		return nil
	})
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	if len(set.Keys) == 0 {
		return jose.JSONWebKeySet{}, mfa.ErrNotFound()
	}
	return set, nil
}

// KeySet gives the newest key set of a realm's prompt keys, read and as signed. It returns
// NotFound for an unknown realm.
func (s *Service) KeySet(tx interface {
	KeySetsAfter(realm mfa.RealmID, serial int64) ([]store.KeySet, error)
}, realm mfa.RealmID,
) (protocol.Keys, string, error) {
	all, err := tx.KeySetsAfter(realm, 0)
	if err != nil {
		return protocol.Keys{}, "", fmt.Errorf("list key sets of %s: %w", realm, err)
	}
	if len(all) == 0 {
		return protocol.Keys{}, "", mfa.ErrNotFound()
	}
	jws := all[len(all)-1].JWS
	set, err := protocol.ParseKeySet(jws)
	if err != nil {
		return protocol.Keys{}, "", fmt.Errorf("read key set %d of %s: %w", all[len(all)-1].Serial, realm, err)
	}
	return set.Keys, jws, nil
}

// Pin gives what an enrolment link says of the realm's newest key set. It returns NotFound for an
// unknown realm.
func (s *Service) Pin(tx Reader, realm mfa.RealmID) (string, error) {
	_, jws, err := s.KeySet(tx, realm)
	if err != nil {
		return "", err
	}
	pin, err := protocol.KeyPIN(jws)
	if err != nil {
		return "", fmt.Errorf("make PIN of %s: %w", realm, err)
	}
	return pin, nil
}

// KeySetsAfter gives the signed key sets that follow the one a device has, in order; none if it
// has the newest.
func KeySetsAfter(tx interface {
	KeySetsAfter(realm mfa.RealmID, serial int64) ([]store.KeySet, error)
}, realm mfa.RealmID, serial int64,
) ([]string, error) {
	rows, err := tx.KeySetsAfter(realm, serial)
	if err != nil {
		return nil, fmt.Errorf("list key sets of %s after %d: %w", realm, serial, err)
	}
	sets := make([]string, 0, len(rows))
	for _, row := range rows {
		sets = append(sets, row.JWS)
	}
	return sets, nil
}

// RotatePrompt makes the realm's next prompt key current and returns the new set, which waiting
// devices are woken for. What the former key signed is refused by devices that follow: the
// prompts of live challenges are the caller's to cancel. It returns NotFound.
func (s *Service) RotatePrompt(tx Tx, realm mfa.RealmID) (protocol.Keys, error) {
	return s.rotatePrompt(tx, realm, s.Issuer(realm))
}

func (s *Service) rotatePrompt(tx Tx, realm mfa.RealmID, issuer string) (protocol.Keys, error) {
	current, next, err := promptPair(tx, realm)
	if err != nil {
		return protocol.Keys{}, err
	}
	set, _, err := s.KeySet(tx, realm)
	if err != nil {
		return protocol.Keys{}, err
	}
	current.RetiredAt, next.ActiveAt = tx.Now(), tx.Now()
	for _, k := range []store.Key{current, next} {
		if err := tx.PutKey(k); err != nil {
			return protocol.Keys{}, fmt.Errorf("rotate key %s: %w", k.KID, err)
		}
	}
	fresh, err := s.newKey(tx, realm, promptKeys, waiting)
	if err != nil {
		return protocol.Keys{}, err
	}
	tx.Wake(store.WakeRealm(realm))
	return s.putSet(tx, issuer, set.Serial+1, next, fresh)
}

// RotateGrant makes a grant key that signs a day from now, when the one before it stops. In an
// emergency the new key signs at once and every other one leaves the JWKS: what it signed before is
// believed by nobody who reads that again. It returns NotFound.
func (s *Service) RotateGrant(tx Tx, realm mfa.RealmID, emergency bool) error {
	all, err := tx.Keys(realm, grantKeys)
	if err != nil {
		return fmt.Errorf("list grant keys of %s: %w", realm, err)
	}
	if len(all) == 0 {
		return mfa.ErrNotFound()
	}
	from := tx.Now().Add(Published)
	retired := from
	if emergency {
		from, retired = tx.Now(), tx.Now().Add(-Published)
	}
	for _, k := range all {
		if k.RetiredAt != 0 && (!emergency || k.RetiredAt <= retired) {
			continue
		}
		k.RetiredAt = retired
		if err := tx.PutKey(k); err != nil {
			return fmt.Errorf("retire key %s: %w", k.KID, err)
		}
	}
	_, err = s.newKey(tx, realm, grantKeys, from)
	return err
}

// promptPair finds the prompt key that signs and the one that follows it.
func promptPair(tx interface {
	Keys(realm mfa.RealmID, purpose string) ([]store.Key, error)
}, realm mfa.RealmID,
) (current, next store.Key, err error) {
	all, err := tx.Keys(realm, promptKeys)
	if err != nil {
		return current, next, fmt.Errorf("list prompt keys of %s: %w", realm, err)
	}
	for _, k := range all {
		switch {
		case k.ActiveAt == waiting:
			next = k
		case k.RetiredAt == 0:
			current = k
		}
	}
	if current.KID == "" || next.KID == "" {
		return current, next, mfa.ErrNotFound()
	}
	return current, next, nil
}

func (s *Service) open(k store.Key) (*keys.Signer, error) {
	signer, err := s.c.Ring.Signer(string(k.Realm), k.Purpose, k.KID, k.Sealed)
	if err != nil {
		return nil, fmt.Errorf("open %s key of %s: %w", k.Purpose, k.Realm, err)
	}
	return signer, nil
}

// newKey makes a key that signs from the moment given. A transaction that is run again makes
// another; the one before is known to nobody.
func (s *Service) newKey(tx Tx, realm mfa.RealmID, purpose string, from mfa.Instant) (store.Key, error) {
	fail := func(err error) (store.Key, error) {
		return store.Key{}, fmt.Errorf("make %s key of %s: %w", purpose, realm, err)
	}
	signer, sealed, err := s.c.Ring.NewSigner(string(realm), purpose)
	if err != nil {
		return fail(err)
	}
	public, err := json.Marshal(signer.JWK())
	if err != nil {
		return fail(err)
	}
	k := store.Key{
		Realm: realm, Purpose: purpose, KID: signer.KID(), Public: public, Sealed: sealed,
		CreatedAt: tx.Now(), ActiveAt: from,
	}
	if err := tx.InsertKey(k); err != nil {
		return fail(err)
	}
	return k, nil
}

// putSet writes the key set of current and next, signed by current.
func (s *Service) putSet(tx Tx, issuer string, serial int64, current, next store.Key) (protocol.Keys, error) {
	set, err := s.signSet(issuer, serial, current, next)
	if err != nil {
		return protocol.Keys{}, fmt.Errorf("make key set %d of %s: %w", serial, current.Realm, err)
	}
	err = tx.InsertKeySet(store.KeySet{Realm: current.Realm, Serial: serial, JWS: set.Raw(), At: tx.Now()})
	if err != nil {
		return protocol.Keys{}, fmt.Errorf("insert key set %d of %s: %w", serial, current.Realm, err)
	}
	return set.Keys, nil
}

func (s *Service) signSet(issuer string, serial int64, current, next store.Key) (*protocol.KeySet, error) {
	signer, err := s.open(current)
	if err != nil {
		return nil, err
	}
	follower, err := s.open(next)
	if err != nil {
		return nil, err
	}
	set := protocol.Keys{V: protocol.Version, Issuer: issuer, Realm: string(current.Realm), Serial: serial}
	if set.Current, err = protocol.NewJWK(signer.Public()); err != nil {
		return nil, err
	}
	if set.Next, err = protocol.NewJWK(follower.Public()); err != nil {
		return nil, err
	}
	payload, err := protocol.Encode(set)
	if err != nil {
		return nil, err
	}
	jws, err := signer.Sign(string(protocol.TypeKeys), payload)
	if err != nil {
		return nil, err
	}
	return protocol.ParseKeySet(jws) // what devices would refuse is not stored
}
