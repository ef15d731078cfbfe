package sqlstore

import (
	"errors"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const totpColumns = `realm, id, user_id, name, sealed, algorithm, digits, period, state, last_step,
	failures, created_at, confirmed_at, version`

func totpFields(f *store.TOTP) []any {
	return []any{
		&f.Realm, &f.ID, &f.User, &f.Name, &f.Sealed, &f.Algorithm, &f.Digits, &f.Period, &f.State,
		&f.LastStep, &f.Failures, &f.CreatedAt, &f.ConfirmedAt, &f.Version,
	}
}

var insertTOTP = insertText("totps", totpColumns)

// TOTP implements store.TOTPs.
func (t *tx) TOTP(realm mfa.RealmID, id string) (store.TOTP, error) {
	return one(t, totpFields, `SELECT `+totpColumns+` FROM totps WHERE realm = $1 AND id = $2`, realm, id)
}

// InsertTOTP implements store.TOTPs.
func (t *tx) InsertTOTP(f store.TOTP) error {
	f.Version = 1
	if err := t.touchPerson(f.Realm, f.User); err != nil {
		return err
	}
	return t.insert(insertTOTP, totpFields(&f)...)
}

// PutTOTP implements store.TOTPs. User and creation stay.
func (t *tx) PutTOTP(f store.TOTP) error {
	if err := t.touchPerson(f.Realm, f.User); err != nil {
		return err
	}
	return t.put(`SELECT 1 FROM totps WHERE realm = $1 AND id = $2`, []any{f.Realm, f.ID},
		`UPDATE totps SET name = $4, sealed = $5, algorithm = $6, digits = $7, period = $8, state = $9,
		failures = $10, confirmed_at = $11, version = version + 1
		WHERE realm = $1 AND id = $2 AND version = $3`,
		f.Realm, f.ID, f.Version, f.Name, f.Sealed, f.Algorithm, f.Digits, f.Period, f.State,
		f.Failures, f.ConfirmedAt)
}

// DeleteTOTP implements store.TOTPs.
func (t *tx) DeleteTOTP(realm mfa.RealmID, id string) error {
	return t.touchOwner(realm, `DELETE FROM totps WHERE realm = $1 AND id = $2 RETURNING user_id`, realm, id)
}

// UserTOTPs implements store.TOTPs.
func (t *tx) UserTOTPs(realm mfa.RealmID, user mfa.UserID) ([]store.TOTP, error) {
	return keptList(t, person(realm, user), cacheKey{"totps", string(realm), string(user), ""}, func() ([]store.TOTP, error) {
		return list(t, totpFields, `SELECT `+totpColumns+` FROM totps
			WHERE realm = $1 AND user_id = $2 ORDER BY created_at, id`, realm, user)
	})
}

// ConsumeStep implements store.TOTPs. It leaves the version as it is.
func (t *tx) ConsumeStep(realm mfa.RealmID, id string, step int64) error {
	err := t.touchOwner(realm, `UPDATE totps SET last_step = $3 WHERE realm = $1 AND id = $2 AND last_step < $3
		RETURNING user_id`, realm, id, step)
	if errors.Is(err, store.ErrNotFound) {
		return store.ErrUsed
	}
	return err
}
