package sqlstore

import (
	"errors"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// InsertGuess implements store.Rations.
func (t *tx) InsertGuess(g store.Guess) error {
	return t.insert(`INSERT INTO guesses (realm, user_id, id, bucket, at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`, g.Realm, g.User, g.ID, g.Bucket, g.At)
}

// ReturnGuess implements store.Rations. One that is not there is no error.
func (t *tx) ReturnGuess(realm mfa.RealmID, user mfa.UserID, id string) error {
	_, err := t.write(`DELETE FROM guesses WHERE realm = $1 AND user_id = $2 AND id = $3`, realm, user, id)
	return err
}

// Guesses implements store.Rations, oldest first.
func (t *tx) Guesses(realm mfa.RealmID, user mfa.UserID, bucket string, since mfa.Instant) ([]mfa.Instant, error) {
	return list(t, itself[mfa.Instant], `SELECT at FROM guesses
		WHERE realm = $1 AND user_id = $2 AND bucket = $3 AND at >= $4 ORDER BY at`, realm, user, bucket, since)
}

func waitFields(w *store.Wait) []any {
	return []any{&w.Realm, &w.User, &w.Provenance, &w.Length, &w.Until}
}

// Wait implements store.Rations.
func (t *tx) Wait(realm mfa.RealmID, user mfa.UserID, provenance string) (store.Wait, error) {
	w, err := keptOne(t, person(realm, user), cacheKey{"wait", string(realm), string(user), provenance}, func() (store.Wait, error) {
		return one(t, waitFields, `SELECT realm, user_id, provenance, micros, ends_at FROM waits
			WHERE realm = $1 AND user_id = $2 AND provenance = $3`, realm, user, provenance)
	})
	if errors.Is(err, store.ErrNotFound) {
		return store.Wait{}, nil
	}
	return w, err
}

// PutWait implements store.Rations.
func (t *tx) PutWait(w store.Wait) error {
	if err := t.touchPerson(w.Realm, w.User); err != nil {
		return err
	}
	if w.Length == 0 {
		_, err := t.write(`DELETE FROM waits WHERE realm = $1 AND user_id = $2 AND provenance = $3`,
			w.Realm, w.User, w.Provenance)
		return err
	}
	_, err := t.write(`INSERT INTO waits (realm, user_id, provenance, micros, ends_at)
		VALUES ($1, $2, $3, $4, $5) ON CONFLICT (realm, user_id, provenance)
		DO UPDATE SET micros = excluded.micros, ends_at = excluded.ends_at`,
		w.Realm, w.User, w.Provenance, w.Length, w.Until)
	return err
}

// Source implements store.Rations.
func (t *tx) Source(realm mfa.RealmID, user mfa.UserID, key string) (mfa.Instant, error) {
	at, err := keptOne(t, person(realm, user), cacheKey{"source", string(realm), string(user), key}, func() (mfa.Instant, error) {
		return one(t, itself[mfa.Instant], `SELECT at FROM sources
			WHERE realm = $1 AND user_id = $2 AND source = $3`, realm, user, key)
	})
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return at, err
}

// PutSource implements store.Rations.
func (t *tx) PutSource(realm mfa.RealmID, user mfa.UserID, key string, at mfa.Instant) error {
	if err := t.touchPerson(realm, user); err != nil {
		return err
	}
	_, err := t.write(`INSERT INTO sources (realm, user_id, source, at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (realm, user_id, source) DO UPDATE SET at = excluded.at`, realm, user, key, at)
	return err
}

// DeleteSources implements store.Rations.
func (t *tx) DeleteSources(realm mfa.RealmID, user mfa.UserID) error {
	if err := t.touchPerson(realm, user); err != nil {
		return err
	}
	_, err := t.write(`DELETE FROM sources WHERE realm = $1 AND user_id = $2`, realm, user)
	return err
}

// SweepRations implements store.Rations.
func (t *tx) SweepRations(before mfa.Instant) error {
	if _, err := t.write(`DELETE FROM guesses WHERE at < $1`, before); err != nil {
		return err
	}
	for _, text := range []string{
		`DELETE FROM waits WHERE ends_at < $1 RETURNING realm, user_id`,
		`DELETE FROM sources WHERE at < $1 RETURNING realm, user_id`,
	} {
		if err := t.touchOwners(text, before); err != nil {
			return err
		}
	}
	return nil
}
