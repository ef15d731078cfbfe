package sqlstore

import (
	"errors"
	"slices"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	realmColumns  = `realm, created_at, disabled_at, hosts, version`
	keyColumns    = `realm, purpose, kid, public, sealed, created_at, active_at, retired_at`
	keySetColumns = `realm, serial, jws, at`
	policyColumns = `realm, version, document, at, made_by`
)

func realmFields(r *store.Realm) []any {
	return []any{&r.ID, &r.CreatedAt, &r.DisabledAt, words[string]{&r.Hosts}, &r.Version}
}

func keyFields(k *store.Key) []any {
	return []any{
		&k.Realm, &k.Purpose, &k.KID,
		document{&k.Public},
		&k.Sealed,
		&k.CreatedAt, &k.ActiveAt, &k.RetiredAt,
	}
}

func keySetFields(k *store.KeySet) []any { return []any{&k.Realm, &k.Serial, &k.JWS, &k.At} }

func policyFields(p *store.Policy) []any {
	return []any{&p.Realm, &p.Version, document{&p.Document}, &p.At, &p.By}
}

var (
	insertRealm  = insertText("realms", realmColumns)
	insertKey    = insertText("realm_keys", keyColumns)
	insertKeySet = insertText("key_sets", keySetColumns)
	insertPolicy = insertText("policies", policyColumns)
)

// Realm implements store.Realms.
func (t *tx) Realm(id mfa.RealmID) (store.Realm, error) {
	return keptOne(t, house, cacheKey{"realm", string(id), "", ""}, func() (store.Realm, error) {
		return one(t, realmFields, `SELECT `+realmColumns+` FROM realms WHERE realm = $1`, id)
	})
}

// ListRealms implements store.Realms.
func (t *tx) ListRealms() ([]store.Realm, error) {
	return list(t, realmFields, `SELECT `+realmColumns+` FROM realms ORDER BY realm`)
}

// InsertRealm implements store.Realms.
func (t *tx) InsertRealm(r store.Realm) error {
	if err := t.touch(house); err != nil {
		return err
	}
	r.Version = 1
	return t.insert(insertRealm, realmFields(&r)...)
}

// PutRealm implements store.Realms.
func (t *tx) PutRealm(r store.Realm) error {
	if err := t.touch(house); err != nil {
		return err
	}
	return t.put(`SELECT 1 FROM realms WHERE realm = $1`, []any{r.ID},
		`UPDATE realms SET disabled_at = $3, hosts = $4, version = version + 1 WHERE realm = $1 AND version = $2`,
		r.ID, r.Version, r.DisabledAt, words[string]{&r.Hosts})
}

// disabledAt says since when a realm is disabled, 0 for one that is not. It is looked up apart from
// the rows that it is told with, since those stay in the cache when it changes.
func (t *tx) disabledAt(realm mfa.RealmID) (mfa.Instant, error) {
	r, err := t.Realm(realm)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return r.DisabledAt, err
}

// InsertKey implements store.Realms.
func (t *tx) InsertKey(k store.Key) error {
	if err := t.touch(house); err != nil {
		return err
	}
	return t.insert(insertKey, keyFields(&k)...)
}

// PutKey implements store.Realms.
func (t *tx) PutKey(k store.Key) error {
	if err := t.touch(house); err != nil {
		return err
	}
	return t.change(`UPDATE realm_keys SET active_at = $4, retired_at = $5
		WHERE realm = $1 AND purpose = $2 AND kid = $3`,
		k.Realm, k.Purpose, k.KID, k.ActiveAt, k.RetiredAt)
}

// Keys implements store.Realms.
func (t *tx) Keys(realm mfa.RealmID, purpose string) ([]store.Key, error) {
	return keptList(t, house, cacheKey{"keys", string(realm), purpose, ""}, func() ([]store.Key, error) {
		return list(t, keyFields, `SELECT `+keyColumns+` FROM realm_keys
			WHERE realm = $1 AND purpose = $2 ORDER BY created_at, kid`, realm, purpose)
	})
}

// InsertKeySet implements store.Realms.
func (t *tx) InsertKeySet(k store.KeySet) error {
	if err := t.touch(house); err != nil {
		return err
	}
	return t.insert(insertKeySet, keySetFields(&k)...)
}

// KeySetsAfter implements store.Realms.
func (t *tx) KeySetsAfter(realm mfa.RealmID, serial int64) ([]store.KeySet, error) {
	rows, err := keptList(t, house, cacheKey{"key sets", string(realm), "", ""}, func() ([]store.KeySet, error) {
		return list(t, keySetFields, `SELECT `+keySetColumns+` FROM key_sets
			WHERE realm = $1 ORDER BY serial`, realm)
	})
	return slices.DeleteFunc(rows, func(k store.KeySet) bool { return k.Serial <= serial }), err
}

// Setting implements store.Realms.
func (t *tx) Setting(name string) (string, error) {
	return one(t, itself[string], `SELECT value FROM settings WHERE name = $1`, name)
}

// PutSetting implements store.Realms.
func (t *tx) PutSetting(name, value string) error {
	_, err := t.write(`INSERT INTO settings (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}

// Policy implements store.Policies.
func (t *tx) Policy(realm mfa.RealmID, version int) (store.Policy, error) {
	if version == 0 {
		return keptOne(t, house, cacheKey{"policy", string(realm), "", ""}, func() (store.Policy, error) {
			return one(t, policyFields, `SELECT `+policyColumns+` FROM policies
				WHERE realm = $1 ORDER BY version DESC LIMIT 1`, realm)
		})
	}
	return one(t, policyFields, `SELECT `+policyColumns+` FROM policies
		WHERE realm = $1 AND version = $2`, realm, version)
}

// InsertPolicy implements store.Policies.
func (t *tx) InsertPolicy(p store.Policy) error {
	if err := t.touch(house); err != nil {
		return err
	}
	return t.insert(insertPolicy, policyFields(&p)...)
}

// ListPolicies implements store.Policies, newest first.
func (t *tx) ListPolicies(realm mfa.RealmID, n int) ([]store.Policy, error) {
	return list(t, policyFields, `SELECT `+policyColumns+` FROM policies
		WHERE realm = $1 ORDER BY version DESC LIMIT $2`, realm, limit(n))
}
