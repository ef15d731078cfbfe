package sqlstore

import (
	"errors"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const feedColumns = `name, owner, lease_until, at, id`

func feedFields(f *store.Feed) []any {
	return []any{&f.Name, &f.Owner, &f.LeaseUntil, &f.At, &f.ID}
}

// beforeAll is before every id of its moment.
const beforeAll = "-"

var insertFeed = insertText("feeds", feedColumns)

// TakeFeed implements store.Feeds.
func (t *tx) TakeFeed(name, owner string, until mfa.Instant) (store.Feed, error) {
	f := store.Feed{Name: name, Owner: owner, LeaseUntil: until, At: t.now, ID: beforeAll}
	switch err := t.insert(insertFeed, feedFields(&f)...); {
	case err == nil:
		return f, nil
	case !errors.Is(err, store.ErrExists):
		return store.Feed{}, err
	}
	err := t.consume(`UPDATE feeds SET owner = $2, lease_until = $3
		WHERE name = $1 AND (owner = $2 OR lease_until <= $4 OR lease_until > $3)`, name, owner, until, t.now)
	if err != nil {
		return store.Feed{}, err
	}
	return one(t, feedFields, `SELECT `+feedColumns+` FROM feeds WHERE name = $1`, name)
}

// AdvanceFeed implements store.Feeds.
func (t *tx) AdvanceFeed(f store.Feed) error {
	return t.consume(`UPDATE feeds SET lease_until = $3, at = $4, id = $5 WHERE name = $1 AND owner = $2`,
		f.Name, f.Owner, f.LeaseUntil, f.At, f.ID)
}
