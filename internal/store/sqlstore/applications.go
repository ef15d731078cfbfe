package sqlstore

import (
	"errors"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	applicationColumns = `realm, id, name, icon_sha256, username_form, disabled_at, created_at, version`
	apiKeyColumns      = `realm, id, application_id, hash, scopes, created_at, expires_at, revoked_at`
)

func applicationFields(a *store.Application) []any {
	return []any{
		&a.Realm, &a.ID, &a.Name, &a.IconSHA256, &a.UsernameForm, &a.DisabledAt, &a.CreatedAt, &a.Version,
	}
}

func apiKeyFields(k *store.APIKey) []any {
	return []any{
		&k.Realm, &k.ID, &k.Application, &k.Hash,
		words[string]{&k.Scopes},
		&k.CreatedAt, &k.ExpiresAt, &k.RevokedAt,
	}
}

var (
	insertApplication = insertText("applications", applicationColumns)
	insertAPIKey      = insertText("api_keys", apiKeyColumns)
)

// Application implements store.Applications.
func (t *tx) Application(realm mfa.RealmID, id mfa.ApplicationID) (store.Application, error) {
	a, err := keptOne(t, house, cacheKey{"application", string(realm), string(id), ""}, func() (store.Application, error) {
		return one(t, applicationFields, `SELECT `+applicationColumns+` FROM applications
			WHERE realm = $1 AND id = $2`, realm, id)
	})
	if err == nil {
		a.RealmDisabledAt, err = t.disabledAt(realm)
	}
	return a, err
}

// ApplicationByName implements store.Applications.
func (t *tx) ApplicationByName(realm mfa.RealmID, name string) (store.Application, error) {
	return one(t, applicationFields, `SELECT `+applicationColumns+` FROM applications
		WHERE realm = $1 AND name = $2`, realm, name)
}

// InsertApplication implements store.Applications.
func (t *tx) InsertApplication(a store.Application) error {
	a.Version = 1
	if err := t.touch(house); err != nil {
		return err
	}
	return t.insert(insertApplication, applicationFields(&a)...)
}

// PutApplication implements store.Applications. It returns ErrExists if another one has the name.
func (t *tx) PutApplication(a store.Application) error {
	there, err := t.there(`SELECT 1 FROM applications WHERE realm = $1 AND name = $2 AND id <> $3`,
		a.Realm, a.Name, a.ID)
	if err != nil || there {
		return errors.Join(err, taken(there))
	}
	if err := t.touch(house); err != nil {
		return err
	}
	return t.put(`SELECT 1 FROM applications WHERE realm = $1 AND id = $2`, []any{a.Realm, a.ID},
		`UPDATE applications SET name = $4, icon_sha256 = $5, username_form = $6, disabled_at = $7,
		version = version + 1 WHERE realm = $1 AND id = $2 AND version = $3`,
		a.Realm, a.ID, a.Version, a.Name, a.IconSHA256, a.UsernameForm, a.DisabledAt)
}

// ListApplications implements store.Applications.
func (t *tx) ListApplications(realm mfa.RealmID, p store.Page) ([]store.Application, error) {
	at, id := before(p)
	return list(t, applicationFields, `SELECT `+applicationColumns+` FROM applications
		WHERE realm = $1 AND (created_at, id) < ($2, $3)
		ORDER BY created_at DESC, id DESC LIMIT $4`, realm, at, id, limit(p.Limit))
}

// APIKeyByHash implements store.Applications.
func (t *tx) APIKeyByHash(hash []byte) (store.APIKey, error) {
	return keptOne(t, house, cacheKey{"key", string(hash), "", ""}, func() (store.APIKey, error) {
		return one(t, apiKeyFields, `SELECT `+apiKeyColumns+` FROM api_keys WHERE hash = $1`, hash)
	})
}

// InsertAPIKey implements store.Applications.
func (t *tx) InsertAPIKey(k store.APIKey) error {
	if err := t.touch(house); err != nil {
		return err
	}
	return t.insert(insertAPIKey, apiKeyFields(&k)...)
}

// PutAPIKey implements store.Applications.
func (t *tx) PutAPIKey(k store.APIKey) error {
	if err := t.touch(house); err != nil {
		return err
	}
	return t.change(`UPDATE api_keys SET expires_at = $3, revoked_at = $4 WHERE realm = $1 AND id = $2`,
		k.Realm, k.ID, k.ExpiresAt, k.RevokedAt)
}

// APIKeys implements store.Applications, oldest first.
func (t *tx) APIKeys(realm mfa.RealmID, app mfa.ApplicationID) ([]store.APIKey, error) {
	return list(t, apiKeyFields, `SELECT `+apiKeyColumns+` FROM api_keys
		WHERE realm = $1 AND application_id = $2 ORDER BY created_at, id`, realm, app)
}
