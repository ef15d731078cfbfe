package sqlstore

import (
	"errors"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	browserColumns = `realm, user_id, thumbprint, jwk, name, created_at, seen_at, expires_at`
	proofColumns   = `realm, hash, name, thumbprint, jwk, expires_at`
)

func browserFields(b *store.Browser) []any {
	return []any{
		&b.Realm, &b.User, &b.Thumbprint, document{&b.JWK}, &b.Name, &b.CreatedAt, &b.SeenAt, &b.ExpiresAt,
	}
}

func proofFields(p *store.Proof) []any {
	return []any{&p.Realm, &p.Hash, &p.Name, &p.Thumbprint, document{&p.JWK}, &p.ExpiresAt}
}

var insertProof = insertText("browser_proofs", proofColumns)

// Browser implements store.Browsers.
func (t *tx) Browser(realm mfa.RealmID, user mfa.UserID, thumbprint string) (store.Browser, error) {
	return keptOne(t, person(realm, user), cacheKey{"browser", string(realm), string(user), thumbprint}, func() (store.Browser, error) {
		return one(t, browserFields, `SELECT `+browserColumns+` FROM browsers
			WHERE realm = $1 AND user_id = $2 AND thumbprint = $3`, realm, user, thumbprint)
	})
}

// ListBrowsers implements store.Browsers.
func (t *tx) ListBrowsers(realm mfa.RealmID, user mfa.UserID) ([]store.Browser, error) {
	return list(t, browserFields, `SELECT `+browserColumns+` FROM browsers
		WHERE realm = $1 AND user_id = $2 ORDER BY seen_at, thumbprint`, realm, user)
}

// PutBrowser implements store.Browsers.
func (t *tx) PutBrowser(b store.Browser) error {
	if err := t.touchPerson(b.Realm, b.User); err != nil {
		return err
	}
	_, err := t.write(`INSERT INTO browsers (`+browserColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (realm, user_id, thumbprint) DO UPDATE SET jwk = excluded.jwk, name = excluded.name,
		created_at = excluded.created_at, seen_at = excluded.seen_at, expires_at = excluded.expires_at`,
		browserFields(&b)...)
	return err
}

// DeleteBrowser implements store.Browsers.
func (t *tx) DeleteBrowser(realm mfa.RealmID, user mfa.UserID, thumbprint string) error {
	if err := t.touchPerson(realm, user); err != nil {
		return err
	}
	return t.change(`DELETE FROM browsers WHERE realm = $1 AND user_id = $2 AND thumbprint = $3`,
		realm, user, thumbprint)
}

// InsertProof implements store.Browsers.
func (t *tx) InsertProof(p store.Proof) error { return t.insert(insertProof, proofFields(&p)...) }

// ConsumeProof implements store.Browsers.
func (t *tx) ConsumeProof(realm mfa.RealmID, hash []byte) (store.Proof, error) {
	p, err := one(t, proofFields, `DELETE FROM browser_proofs WHERE realm = $1 AND hash = $2
		RETURNING `+proofColumns, realm, hash)
	if errors.Is(err, store.ErrNotFound) {
		return p, store.ErrUsed
	}
	return p, err
}

// SweepProofs implements store.Browsers.
func (t *tx) SweepProofs(before mfa.Instant) error {
	_, err := t.write(`DELETE FROM browser_proofs WHERE expires_at < $1`, before)
	return err
}
