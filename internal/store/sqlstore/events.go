package sqlstore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	noticeColumns = `realm, id, user_id, except_device, jws, at, expires_at`
	eventColumns  = `realm, at, id, kind, user_id, application_id, device_id, challenge_id, actor, made_by,
		address, request, data`
)

func noticeFields(n *store.Notice) []any {
	return []any{&n.Realm, &n.ID, &n.User, &n.Except, &n.JWS, &n.At, &n.ExpiresAt}
}

func eventFields(e *store.Event) []any {
	return []any{
		&e.Realm, &e.At, &e.ID, &e.Kind, &e.User, &e.Application, &e.Device, &e.Challenge, &e.Actor, &e.By,
		&e.Address, &e.Request,
		table{&e.Data},
	}
}

func changeFields(c *store.Change) []any {
	return []any{&c.Realm, &c.User, &c.Application, &c.Challenge}
}

// frequentKinds are those that the index by kind leaves out.
const frequentKinds = `'challenge.created', 'challenge.delivered', 'challenge.approved', 'challenge.told', 'challenge.redeemed'`

var (
	insertNotice = insertText("notices", noticeColumns)
	insertEvent  = insertText("events", eventColumns)
)

// InsertNotice implements store.Notices.
func (t *tx) InsertNotice(n store.Notice) error {
	if err := t.touchPerson(n.Realm, n.User); err != nil {
		return err
	}
	return t.insert(insertNotice, noticeFields(&n)...)
}

// UserNotices implements store.Notices.
func (t *tx) UserNotices(realm mfa.RealmID, user mfa.UserID, now mfa.Instant) ([]store.Notice, error) {
	rows, err := keptList(t, person(realm, user), cacheKey{"notices", string(realm), string(user), ""}, func() ([]store.Notice, error) {
		return list(t, noticeFields, `SELECT `+noticeColumns+` FROM notices
			WHERE realm = $1 AND user_id = $2 ORDER BY at, id`, realm, user)
	})
	return slices.DeleteFunc(rows, func(n store.Notice) bool { return n.ExpiresAt <= now }), err
}

// SweepNotices implements store.Notices.
func (t *tx) SweepNotices(before mfa.Instant) error {
	return t.touchOwners(`DELETE FROM notices WHERE expires_at < $1 RETURNING realm, user_id`, before)
}

// NextEvent implements store.Events.
func (t *tx) NextEvent() int {
	t.events++
	return t.events - 1
}

// EventsBefore implements store.Events.
func (t *tx) EventsBefore(until mfa.Instant, p store.Page) ([]store.Event, error) {
	if err := t.eventsWritten(); err != nil {
		return nil, err
	}
	at, id := after(p)
	return list(t, eventFields, `SELECT `+eventColumns+` FROM events
		WHERE at >= $1 AND at < $2 AND (at > $1 OR id > $3) ORDER BY at, id LIMIT $4`,
		at, until, id, limit(p.Limit))
}

// InsertEvent implements store.Events.
func (t *tx) InsertEvent(e store.Event) error {
	if t.later == nil {
		return t.insert(insertEvent, eventFields(&e)...)
	}
	if err := t.ready(); err != nil {
		return err
	}
	if _, err := plain(eventFields(&e)); err != nil {
		return err
	}
	*t.later = append(*t.later, e)
	return nil
}

// eventsWritten comes before every statement that reads or deletes them.
func (t *tx) eventsWritten() error {
	if t.later == nil {
		return nil
	}
	if err := t.ready(); err != nil {
		return err
	}
	if len(*t.later) > 0 {
		t.wrote = true
	}
	return t.fail(t.flush(t.later))
}

// insertEvents writes several with one statement.
func (s postgresSession) insertEvents(events []store.Event) error {
	columns := make([][]string, 13)
	at := make([]int64, len(events))
	for i := range events {
		values, err := plain(eventFields(&events[i]))
		if err != nil {
			return err
		}
		for c, v := range values {
			if n, ok := v.(int64); ok {
				at[i] = n
				continue
			}
			text, _ := v.(string)
			columns[c] = append(columns[c], text)
		}
	}
	args := make([]any, len(columns))
	for c := range columns {
		args[c] = columns[c]
	}
	args[1] = at
	n, err := s.exec(`INSERT INTO events (`+eventColumns+`) SELECT * FROM unnest($1::text[], $2::bigint[],
		$3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
		$12::text[], $13::text[]) ON CONFLICT DO NOTHING`, args)
	if err == nil && n < int64(len(events)) {
		return store.ErrExists
	}
	return err
}

// ListEvents implements store.Events.
func (t *tx) ListEvents(f store.EventFilter, p store.Page) ([]store.Event, error) {
	if err := t.eventsWritten(); err != nil {
		return nil, err
	}
	text, args := eventsText(f, p)
	return list(t, eventFields, text, args...)
}

// eventsText makes one of a few dozen texts, so that each can be prepared once. The terms that are
// not equal to "" are there for the partial indexes.
func eventsText(f store.EventFilter, p store.Page) (string, []any) {
	var b strings.Builder
	b.WriteString(`SELECT ` + eventColumns + ` FROM events WHERE realm = $1`)
	args := []any{f.Realm}
	arg := func(a any) int {
		args = append(args, a)
		return len(args)
	}
	for _, c := range []struct{ column, value string }{
		{"user_id", string(f.User)},
		{"application_id", string(f.Application)},
		{"device_id", string(f.Device)},
		{"challenge_id", string(f.Challenge)},
	} {
		if c.value != "" {
			fmt.Fprintf(&b, ` AND %s = $%d AND %s <> ''`, c.column, arg(c.value), c.column)
		}
	}
	switch {
	case strings.HasSuffix(f.Kind, "."):
		fmt.Fprintf(&b, ` AND kind >= $%d`, arg(f.Kind))
		fmt.Fprintf(&b, ` AND kind < $%d`, arg(prefixEnd(f.Kind)))
	case f.Kind != "":
		fmt.Fprintf(&b, ` AND kind = $%d`, arg(f.Kind))
		if !strings.Contains(frequentKinds, "'"+f.Kind+"'") {
			b.WriteString(` AND kind NOT IN (` + frequentKinds + `)`) // which is what the index says
		}
	}
	if f.Since != 0 {
		fmt.Fprintf(&b, ` AND at >= $%d`, arg(f.Since))
	}
	if f.Until != 0 {
		fmt.Fprintf(&b, ` AND at < $%d`, arg(f.Until))
	}
	if f.OldestFirst {
		at, id := after(p)
		fmt.Fprintf(&b, ` AND (at, id) > ($%d, $%d) ORDER BY at, id`, arg(at), arg(id))
	} else {
		at, id := before(p)
		fmt.Fprintf(&b, ` AND (at, id) < ($%d, $%d) ORDER BY at DESC, id DESC`, arg(at), arg(id))
	}
	fmt.Fprintf(&b, ` LIMIT $%d`, arg(limit(p.Limit)))
	return b.String(), args
}

// ChangesSince implements store.Events.
func (t *tx) ChangesSince(since mfa.Instant) ([]store.Change, error) {
	if err := t.eventsWritten(); err != nil {
		return nil, err
	}
	return list(t, changeFields, `SELECT DISTINCT realm, user_id, application_id, challenge_id FROM events
		WHERE at >= $1`, since)
}

// SweepEvents implements store.Events.
func (t *tx) SweepEvents(realm mfa.RealmID, before mfa.Instant, n int) (int, error) {
	if err := t.eventsWritten(); err != nil {
		return 0, err
	}
	swept, err := t.write(`DELETE FROM events WHERE realm = $1 AND (at, id) IN (
		SELECT e.at, e.id FROM events e WHERE e.realm = $1 AND e.at < $2
		ORDER BY e.at, e.id LIMIT $3)`, realm, before, limit(n))
	return int(swept), err
}
