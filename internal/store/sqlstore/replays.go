package sqlstore

import (
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const replayColumns = `realm, application_id, route, idempotency_key, body_hash, seed, done, lease_until,
	status, object, secret, answer, created_at`

func replayFields(r *store.Replay) []any {
	return []any{
		&r.Realm, &r.Application, &r.Route, &r.Key, &r.BodyHash, &r.Seed, &r.Done, &r.LeaseUntil,
		&r.Status, &r.Object, &r.Secret, &r.Answer, &r.CreatedAt,
	}
}

var insertReplay = insertText("replays", replayColumns)

const thisReplay = ` WHERE realm = $1 AND application_id = $2 AND route = $3 AND idempotency_key = $4`

// Replay implements store.Replays.
func (t *tx) Replay(realm mfa.RealmID, app mfa.ApplicationID, route, key string) (store.Replay, error) {
	return one(t, replayFields, `SELECT `+replayColumns+` FROM replays`+thisReplay, realm, app, route, key)
}

// InsertReplay implements store.Replays.
func (t *tx) InsertReplay(r store.Replay) error { return t.insert(insertReplay, replayFields(&r)...) }

// PutReplay implements store.Replays.
func (t *tx) PutReplay(r store.Replay) error {
	return t.change(`UPDATE replays SET body_hash = $5, seed = $6, done = $7, lease_until = $8, status = $9,
		object = $10, secret = $11, answer = $12, created_at = $13`+thisReplay, replayFields(&r)...)
}

// DeleteReplay implements store.Replays.
func (t *tx) DeleteReplay(realm mfa.RealmID, app mfa.ApplicationID, route, key string) error {
	return t.change(`DELETE FROM replays`+thisReplay, realm, app, route, key)
}

// SweepReplays implements store.Replays.
func (t *tx) SweepReplays(all, secrets mfa.Instant) error {
	if _, err := t.write(`DELETE FROM replays WHERE created_at < $1`, all); err != nil {
		return err
	}
	_, err := t.write(`UPDATE replays SET answer = NULL
		WHERE secret AND answer IS NOT NULL AND created_at < $1`, secrets)
	return err
}
