package sqlstore

import (
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	backupSetColumns = `realm, user_id, generation, failures, disabled, created_at`
	bypassColumns    = `realm, user_id, id, hash, reason, made_by, actor, uses_left, failures, expires_at,
		created_at`
)

func backupSetFields(s *store.BackupSet) []any {
	return []any{&s.Realm, &s.User, &s.Generation, &s.Failures, &s.Disabled, &s.CreatedAt}
}

func backupCodeFields(c *store.BackupCode) []any { return []any{&c.Index, &c.Hash, &c.UsedAt} }

func bypassFields(c *store.BypassCode) []any {
	return []any{
		&c.Realm, &c.User, &c.ID, &c.Hash, &c.Reason, &c.By, &c.Actor, &c.UsesLeft, &c.Failures,
		&c.ExpiresAt, &c.CreatedAt,
	}
}

var (
	insertBackupSet = insertText("backup_sets", backupSetColumns)
	insertBypass    = insertText("bypass_codes", bypassColumns)
)

// BackupSet implements store.Codes, the codes by their index.
func (t *tx) BackupSet(realm mfa.RealmID, user mfa.UserID) (store.BackupSet, []store.BackupCode, error) {
	set, err := keptOne(t, person(realm, user), cacheKey{"backup set", string(realm), string(user), ""}, func() (store.BackupSet, error) {
		return one(t, backupSetFields, `SELECT `+backupSetColumns+` FROM backup_sets
			WHERE realm = $1 AND user_id = $2`, realm, user)
	})
	if err != nil {
		return store.BackupSet{}, nil, err
	}
	codes, err := keptList(t, person(realm, user), cacheKey{"backup codes", string(realm), string(user), ""}, func() ([]store.BackupCode, error) {
		return list(t, backupCodeFields, `SELECT idx, hash, used_at FROM backup_codes
			WHERE realm = $1 AND user_id = $2 ORDER BY idx`, realm, user)
	})
	return set, codes, err
}

// ReplaceBackupSet implements store.Codes.
func (t *tx) ReplaceBackupSet(s store.BackupSet, codes []store.BackupCode) error {
	if err := t.touchPerson(s.Realm, s.User); err != nil {
		return err
	}
	_, err := t.write(`DELETE FROM backup_sets WHERE realm = $1 AND user_id = $2`, s.Realm, s.User)
	if err != nil || len(codes) == 0 {
		return err
	}
	if err := t.insert(insertBackupSet, backupSetFields(&s)...); err != nil {
		return err
	}
	for _, c := range codes {
		err := t.insert(`INSERT INTO backup_codes (realm, user_id, idx, generation, hash, used_at)
			VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
			s.Realm, s.User, c.Index, s.Generation, c.Hash, c.UsedAt)
		if err != nil {
			return err
		}
	}
	return nil
}

// PutBackupSet implements store.Codes.
func (t *tx) PutBackupSet(s store.BackupSet) error {
	if err := t.touchPerson(s.Realm, s.User); err != nil {
		return err
	}
	return t.change(`UPDATE backup_sets SET failures = $4, disabled = $5
		WHERE realm = $1 AND user_id = $2 AND generation = $3`,
		s.Realm, s.User, s.Generation, s.Failures, s.Disabled)
}

// UseBackupCode implements store.Codes.
func (t *tx) UseBackupCode(realm mfa.RealmID, user mfa.UserID, generation int64, index int, at mfa.Instant) error {
	if err := t.touchPerson(realm, user); err != nil {
		return err
	}
	return t.consume(`UPDATE backup_codes SET used_at = $5
		WHERE realm = $1 AND user_id = $2 AND generation = $3 AND idx = $4 AND used_at = 0`,
		realm, user, generation, index, at)
}

// BypassCode implements store.Codes.
func (t *tx) BypassCode(realm mfa.RealmID, user mfa.UserID) (store.BypassCode, error) {
	return keptOne(t, person(realm, user), cacheKey{"bypass code", string(realm), string(user), ""}, func() (store.BypassCode, error) {
		return one(t, bypassFields, `SELECT `+bypassColumns+` FROM bypass_codes
			WHERE realm = $1 AND user_id = $2`, realm, user)
	})
}

// ReplaceBypassCode implements store.Codes.
func (t *tx) ReplaceBypassCode(c store.BypassCode) error {
	if err := t.touchPerson(c.Realm, c.User); err != nil {
		return err
	}
	_, err := t.write(`DELETE FROM bypass_codes WHERE realm = $1 AND user_id = $2`, c.Realm, c.User)
	if err != nil {
		return err
	}
	return t.insert(insertBypass, bypassFields(&c)...)
}

// PutBypassCode implements store.Codes.
func (t *tx) PutBypassCode(c store.BypassCode) error {
	if err := t.touchPerson(c.Realm, c.User); err != nil {
		return err
	}
	return t.change(`UPDATE bypass_codes SET failures = $4, uses_left = $5
		WHERE realm = $1 AND user_id = $2 AND id = $3`, c.Realm, c.User, c.ID, c.Failures, c.UsesLeft)
}

// DeleteBypassCode implements store.Codes.
func (t *tx) DeleteBypassCode(realm mfa.RealmID, user mfa.UserID) error {
	if err := t.touchPerson(realm, user); err != nil {
		return err
	}
	return t.change(`DELETE FROM bypass_codes WHERE realm = $1 AND user_id = $2`, realm, user)
}

// UseBypassCode implements store.Codes.
func (t *tx) UseBypassCode(realm mfa.RealmID, user mfa.UserID, id string, now mfa.Instant) error {
	if err := t.touchPerson(realm, user); err != nil {
		return err
	}
	return t.consume(`UPDATE bypass_codes SET uses_left = uses_left - 1
		WHERE realm = $1 AND user_id = $2 AND id = $3 AND uses_left > 0 AND expires_at > $4`,
		realm, user, id, now)
}
