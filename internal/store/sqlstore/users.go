package sqlstore

import (
	"errors"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	userColumns = `realm, id, name, display, external_id, groups, state, owner, password, password_at,
		had_factor, reported_at, created_at, seen_at, version`
	nameColumns = `realm, name, user_id, alias, display`
)

func userFields(u *store.User) []any {
	return []any{
		&u.Realm, &u.ID, &u.Name, &u.Display, &u.ExternalID,
		words[string]{&u.Groups},
		&u.State, &u.Owner,
		&u.Password, &u.PasswordAt, &u.HadFactor, &u.ReportedAt, &u.CreatedAt, &u.SeenAt, &u.Version,
	}
}

func nameFields(n *store.UserName) []any {
	return []any{&n.Realm, &n.Name, &n.User, &n.Alias, &n.Display}
}

var (
	insertUser = insertText("users", userColumns)
	insertName = insertText("user_names", nameColumns)
)

const (
	userExists    = `SELECT 1 FROM users WHERE realm = $1 AND id = $2`
	nameTaken     = `SELECT 1 FROM user_names WHERE realm = $1 AND name = $2`
	externalTaken = `SELECT 1 FROM users
		WHERE realm = $1 AND external_id = $2 AND external_id <> '' AND id <> $3`
)

// User implements store.Users.
func (t *tx) User(realm mfa.RealmID, id mfa.UserID) (store.User, error) {
	return keptOne(t, person(realm, id), cacheKey{"user", string(realm), string(id), ""}, func() (store.User, error) {
		return one(t, userFields, `SELECT `+userColumns+` FROM users WHERE realm = $1 AND id = $2`, realm, id)
	})
}

// UserByName implements store.Users.
func (t *tx) UserByName(realm mfa.RealmID, canonical string) (store.User, error) {
	id, err := keptOne(t, named(realm, canonical), cacheKey{"name", string(realm), canonical, ""}, func() (mfa.UserID, error) {
		return one(t, itself[mfa.UserID], `SELECT user_id FROM user_names WHERE realm = $1 AND name = $2`, realm, canonical)
	})
	if err != nil {
		return store.User{}, err
	}
	return t.User(realm, id)
}

// named is the scope of who has a name.
func named(realm mfa.RealmID, canonical string) scope {
	return person(realm, mfa.UserID("name "+canonical))
}

// UserByExternalID implements store.Users.
func (t *tx) UserByExternalID(realm mfa.RealmID, external string) (store.User, error) {
	return one(t, userFields, `SELECT `+userColumns+` FROM users
		WHERE realm = $1 AND external_id = $2 AND external_id <> ''`, realm, external)
}

// InsertUser implements store.Users. The user's own name is written whether or not it is among the
// names.
func (t *tx) InsertUser(u store.User, names []store.UserName) error {
	own := store.UserName{Name: u.Name, Display: u.Display}
	for i, n := range names {
		if n.Name == u.Name {
			own, names = n, append(append([]store.UserName(nil), names[:i]...), names[i+1:]...)
			break
		}
	}
	own.Alias = false
	if err := t.free(u, append([]store.UserName{own}, names...)); err != nil {
		return err
	}
	u.Version = 1
	if err := t.touchPerson(u.Realm, u.ID); err != nil {
		return err
	}
	if err := t.insert(insertUser, userFields(&u)...); err != nil {
		return err
	}
	if err := t.addName(u.Realm, u.ID, own); err != nil {
		return err
	}
	return t.addAliases(u.Realm, u.ID, names)
}

// free returns ErrExists before anything is written, so that a transaction that goes on has no half
// of a user in it.
func (t *tx) free(u store.User, names []store.UserName) error {
	if there, err := t.there(userExists, u.Realm, u.ID); err != nil || there {
		return errors.Join(err, taken(there))
	}
	if there, err := t.there(externalTaken, u.Realm, u.ExternalID, u.ID); err != nil || there {
		return errors.Join(err, taken(there))
	}
	return t.namesFree(u.Realm, "", names)
}

// namesFree says whether nobody but the user has the names as aliases, and none is there twice.
func (t *tx) namesFree(realm mfa.RealmID, user mfa.UserID, names []store.UserName) error {
	mine := make(map[string]bool, len(names))
	for _, n := range names {
		there, err := t.there(nameTaken+` AND NOT (user_id = $3 AND alias)`, realm, n.Name, user)
		if err != nil {
			return err
		}
		if there || mine[n.Name] {
			return store.ErrExists
		}
		mine[n.Name] = true
	}
	return nil
}

func taken(is bool) error {
	if is {
		return store.ErrExists
	}
	return nil
}

func (t *tx) addName(realm mfa.RealmID, user mfa.UserID, n store.UserName) error {
	n.Realm, n.User = realm, user
	if err := t.touch(named(realm, n.Name)); err != nil {
		return err
	}
	return t.insert(insertName, nameFields(&n)...)
}

func (t *tx) addAliases(realm mfa.RealmID, user mfa.UserID, aliases []store.UserName) error {
	for _, n := range aliases {
		n.Alias = true
		if err := t.addName(realm, user, n); err != nil {
			return err
		}
	}
	return nil
}

// PutUser implements store.Users. The name and the moment of creation stay.
func (t *tx) PutUser(u store.User) error {
	there, err := t.there(externalTaken, u.Realm, u.ExternalID, u.ID)
	if err != nil || there {
		return errors.Join(err, taken(there))
	}
	if err := t.touchPerson(u.Realm, u.ID); err != nil {
		return err
	}
	return t.put(userExists, []any{u.Realm, u.ID}, `UPDATE users SET display = $4, external_id = $5,
		groups = $6, state = $7, owner = $8, password = $9, password_at = $10, had_factor = $11,
		reported_at = $12, seen_at = $13, version = version + 1
		WHERE realm = $1 AND id = $2 AND version = $3`,
		u.Realm, u.ID, u.Version, u.Display, u.ExternalID, words[string]{&u.Groups}, u.State, u.Owner,
		u.Password, u.PasswordAt, u.HadFactor, u.ReportedAt, u.SeenAt)
}

// SetAliases implements store.Users.
func (t *tx) SetAliases(realm mfa.RealmID, id mfa.UserID, aliases []store.UserName) error {
	there, err := t.there(userExists, realm, id)
	if err != nil {
		return err
	}
	if !there {
		return store.ErrNotFound
	}
	if err := t.namesFree(realm, id, aliases); err != nil {
		return err
	}
	if err := t.touchEverybody(); err != nil { // the names that go are not known here
		return err
	}
	if _, err := t.write(`DELETE FROM user_names WHERE realm = $1 AND user_id = $2 AND alias`, realm, id); err != nil {
		return err
	}
	return t.addAliases(realm, id, aliases)
}

// UserNames implements store.Users, the user's own name first.
func (t *tx) UserNames(realm mfa.RealmID, id mfa.UserID) ([]store.UserName, error) {
	return list(t, nameFields, `SELECT `+nameColumns+` FROM user_names
		WHERE realm = $1 AND user_id = $2 ORDER BY alias, name`, realm, id)
}

// DeleteUser implements store.Users. What belongs to the user goes with the row.
func (t *tx) DeleteUser(realm mfa.RealmID, id mfa.UserID) error {
	if err := t.touchEverybody(); err != nil { // devices and names go too
		return err
	}
	return t.change(`DELETE FROM users WHERE realm = $1 AND id = $2`, realm, id)
}

// ListUsers implements store.Users. Enrolled is who has an active device or TOTP factor.
func (t *tx) ListUsers(realm mfa.RealmID, f store.UserFilter, p store.Page) ([]store.User, error) {
	at, id := before(p)
	text := `SELECT ` + userColumns + ` FROM users WHERE realm = $1 AND (created_at, id) < ($2, $3)`
	args := []any{realm, at, id, limit(p.Limit)}
	if f.Prefix != "" {
		args = append(args, f.Prefix, prefixEnd(f.Prefix))
		text += ` AND id IN (SELECT n.user_id FROM user_names n WHERE n.realm = $1 AND n.name >= $5 AND n.name < $6)`
	}
	switch f.State {
	case store.UserActive:
		text += ` AND state = 'active'`
	case store.UserLocked:
		text += ` AND state = 'locked'`
	}
	const enrolled = `(EXISTS (SELECT 1 FROM devices d
			WHERE d.realm = users.realm AND d.user_id = users.id AND d.state = 'active')
		OR EXISTS (SELECT 1 FROM totps f
			WHERE f.realm = users.realm AND f.user_id = users.id AND f.state = 'active'))`
	switch f.Enrolled {
	case "yes":
		text += ` AND ` + enrolled
	case "no":
		text += ` AND NOT ` + enrolled
	}
	return list(t, userFields, text+` ORDER BY created_at DESC, id DESC LIMIT $4`, args...)
}
