package sqlstore

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/wire/sealed"
)

const ringNodeColumns = `node, holds, seals, since, seen_at`

func ringNodeFields(n *store.RingNode) []any {
	return []any{&n.Node, words[string]{&n.Holds}, &n.Seals, &n.Since, &n.SeenAt}
}

// base64url is a sealed value in a TEXT column.
type base64url struct{ to *[]byte }

func (b base64url) value() (any, error) { //nolint:unparam // as every column
	return base64.RawURLEncoding.EncodeToString(*b.to), nil
}

// Scan implements sql.Scanner.
func (b base64url) Scan(from any) error {
	s, err := textOf(from)
	if err != nil || s == "" {
		*b.to = nil
		return err
	}
	*b.to, err = base64.RawURLEncoding.DecodeString(s)
	return err
}

// sealedField is a value as its column holds it.
func sealedField(c sealed.Column, to *[]byte) any {
	if c.Text {
		return base64url{to}
	}
	return to
}

// SealedValues implements store.Sealed. The names in the statement come from the list in the
// program.
func (t *tx) SealedValues(c sealed.Column, after store.SealedValue, n int) ([]store.SealedValue, error) {
	key, args := sealedKey(c), sealedKeyOf(c, after)
	places := make([]string, len(key))
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	fields := func(v *store.SealedValue) []any {
		v.Realm, v.Key = mfa.RealmID(c.Realm), make([]string, len(c.Key))
		var to []any
		if c.Realm == "" {
			to = append(to, &v.Realm)
		}
		for i := range v.Key {
			to = append(to, &v.Key[i])
		}
		return append(to, sealedField(c, &v.Sealed))
	}
	columns := strings.Join(key, ", ")
	return list(t, fields, fmt.Sprintf(`SELECT %s, %s FROM %s WHERE (%s) > (%s) ORDER BY %s LIMIT $%d`,
		columns, c.Stored, c.Table, columns, strings.Join(places, ", "), columns, len(args)+1), append(args, limit(n))...)
}

// sealedKey gives the columns that name a row.
func sealedKey(c sealed.Column) []string {
	if c.Realm != "" {
		return c.Key
	}
	return append([]string{"realm"}, c.Key...)
}

// sealedKeyOf gives what is in them, empty texts for the zero value.
func sealedKeyOf(c sealed.Column, v store.SealedValue) []any {
	var out []any
	if c.Realm == "" {
		out = append(out, v.Realm)
	}
	for i := range c.Key {
		part := ""
		if i < len(v.Key) {
			part = v.Key[i]
		}
		out = append(out, part)
	}
	return out
}

// PutSealedValue implements store.Sealed.
func (t *tx) PutSealedValue(c sealed.Column, v store.SealedValue, fresh []byte) error {
	if err := t.touchSealed(c); err != nil {
		return err
	}
	args := append([]any{sealedField(c, &fresh), sealedField(c, &v.Sealed)}, sealedKeyOf(c, v)...)
	where := []string{c.Stored + " = $2"}
	for i, name := range sealedKey(c) {
		where = append(where, fmt.Sprintf("%s = $%d", name, i+3))
	}
	n, err := t.write(fmt.Sprintf(`UPDATE %s SET %s = $1 WHERE %s`, c.Table, c.Stored, strings.Join(where, " AND ")), args...)
	if err == nil && n == 0 {
		return store.ErrStale
	}
	return err
}

// touchSealed has the cache forget the rows of a table. They say the same as before, and would open
// with a key that goes.
func (t *tx) touchSealed(c sealed.Column) error {
	switch keptTables[c.Table] {
	case 0:
		return nil
	case houseKind:
		return t.touch(house)
	case personKind, flowKind:
	}
	return t.touchEverybody()
}

// PutRingNode implements store.Sealed.
func (t *tx) PutRingNode(n store.RingNode) error {
	_, err := t.write(`INSERT INTO ring_nodes (`+ringNodeColumns+`) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (node) DO UPDATE SET holds = excluded.holds, seals = excluded.seals, since = excluded.since,
		seen_at = excluded.seen_at`, ringNodeFields(&n)...)
	return err
}

// DeleteRingNode implements store.Sealed.
func (t *tx) DeleteRingNode(node string) error {
	_, err := t.write(`DELETE FROM ring_nodes WHERE node = $1`, node)
	return err
}

// RingNodes implements store.Sealed.
func (t *tx) RingNodes(since mfa.Instant) ([]store.RingNode, error) {
	return list(t, ringNodeFields, `SELECT `+ringNodeColumns+` FROM ring_nodes WHERE seen_at >= $1 ORDER BY node`, since)
}

// SweepRingNodes implements store.Sealed.
func (t *tx) SweepRingNodes(before mfa.Instant) error {
	_, err := t.write(`DELETE FROM ring_nodes WHERE seen_at < $1`, before)
	return err
}
