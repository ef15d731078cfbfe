package sqlstore

import (
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const deviceColumns = `realm, id, user_id, enrolment_id, state, confirmed_at, quarantine_until, vetoable,
	failures, seq, name, platform, app_version, features, jwk, thumbprint, targets, app_lock,
	claimed_at, ended_at, seen_at, version`

func deviceFields(d *store.Device) []any {
	return []any{
		&d.Realm, &d.ID, &d.User, &d.Enrolment, &d.State, &d.ConfirmedAt, &d.QuarantineUntil, &d.Vetoable,
		&d.Failures, &d.Seq, &d.Name, &d.Platform, &d.AppVersion,
		words[string]{&d.Features},
		document{&d.JWK},
		&d.Thumbprint,
		document{&d.Targets},
		&d.Lock,
		&d.ClaimedAt, &d.EndedAt, &d.SeenAt, &d.Version,
	}
}

var insertDevice = insertText("devices", deviceColumns)

// Device implements store.Devices.
func (t *tx) Device(id mfa.DeviceID) (store.Device, error) {
	d, err := keptOne(t, deviceScope(id), cacheKey{"device", string(id), "", ""}, func() (store.Device, error) {
		return one(t, deviceFields, `SELECT `+deviceColumns+` FROM devices WHERE id = $1`, id)
	})
	if err == nil {
		d.RealmDisabledAt, err = t.disabledAt(d.Realm)
	}
	return d, err
}

// deviceScope is the scope of a device whose user is not known yet.
func deviceScope(id mfa.DeviceID) scope { return person("", "device "+mfa.UserID(id)) }

func (t *tx) touchDevice(d store.Device) error {
	if err := t.touch(deviceScope(d.ID)); err != nil {
		return err
	}
	return t.touchPerson(d.Realm, d.User)
}

// InsertDevice implements store.Devices.
func (t *tx) InsertDevice(d store.Device) error {
	d.Version = 1
	if err := t.touchDevice(d); err != nil {
		return err
	}
	return t.insert(insertDevice, deviceFields(&d)...)
}

// PutDevice implements store.Devices. User, enrolment and the moment of the claim stay.
func (t *tx) PutDevice(d store.Device) error {
	if err := t.touchDevice(d); err != nil {
		return err
	}
	return t.put(`SELECT 1 FROM devices WHERE realm = $1 AND id = $2`, []any{d.Realm, d.ID},
		`UPDATE devices SET state = $4, confirmed_at = $5, quarantine_until = $6, vetoable = $7,
		failures = $8, seq = $9, name = $10, platform = $11, app_version = $12, features = $13, jwk = $14,
		thumbprint = $15, targets = $16, app_lock = $17, ended_at = $18, seen_at = $19,
		version = version + 1 WHERE realm = $1 AND id = $2 AND version = $3`,
		d.Realm, d.ID, d.Version, d.State, d.ConfirmedAt, d.QuarantineUntil, d.Vetoable,
		d.Failures, d.Seq, d.Name, d.Platform, d.AppVersion, words[string]{&d.Features}, document{&d.JWK},
		d.Thumbprint, document{&d.Targets}, d.Lock, d.EndedAt, d.SeenAt)
}

// UserDevices implements store.Devices.
func (t *tx) UserDevices(realm mfa.RealmID, user mfa.UserID, all bool) ([]store.Device, error) {
	which, query := ` AND state IN ('claimed', 'active', 'suspended')`, "devices"
	if all {
		which, query = "", "all devices"
	}
	return keptList(t, person(realm, user), cacheKey{query, string(realm), string(user), ""}, func() ([]store.Device, error) {
		return list(t, deviceFields, `SELECT `+deviceColumns+` FROM devices
			WHERE realm = $1 AND user_id = $2`+which+` ORDER BY claimed_at, id`, realm, user)
	})
}

// SweepDevices implements store.Devices.
func (t *tx) SweepDevices(realm mfa.RealmID, before mfa.Instant, n int) (int, error) {
	swept, err := list(t, deviceFields, `DELETE FROM devices WHERE realm = $1 AND id IN (
		SELECT d.id FROM devices d WHERE d.realm = $1 AND d.state IN ('revoked', 'refused') AND d.ended_at < $2
		ORDER BY d.ended_at LIMIT $3) RETURNING `+deviceColumns, realm, before, limit(n))
	if err != nil {
		return 0, err
	}
	for _, d := range swept {
		if err := t.touchDevice(d); err != nil {
			return 0, err
		}
	}
	return len(swept), nil
}

// UseThumbprint implements store.Devices.
func (t *tx) UseThumbprint(realm mfa.RealmID, thumbprint string) error {
	return t.insert(`INSERT INTO thumbprints (realm, thumbprint) VALUES ($1, $2) ON CONFLICT DO NOTHING`,
		realm, thumbprint)
}

// ThumbprintUsed implements store.Devices.
func (t *tx) ThumbprintUsed(realm mfa.RealmID, thumbprint string) (bool, error) {
	return t.there(`SELECT 1 FROM thumbprints WHERE realm = $1 AND thumbprint = $2`, realm, thumbprint)
}
