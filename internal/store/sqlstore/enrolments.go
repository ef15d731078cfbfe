package sqlstore

import (
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const enrolmentColumns = `realm, id, user_id, state, made_by, lost, created_at, claim_by, confirm_by,
	device_id, thumbprint, wrong, ticket_hash, sealed_code, asker, answer, version`

func enrolmentFields(e *store.Enrolment) []any {
	return []any{
		&e.Realm, &e.ID, &e.User, &e.State, &e.By, &e.Lost, &e.CreatedAt, &e.ClaimBy, &e.ConfirmBy,
		&e.Device, &e.Thumbprint, &e.Wrong, &e.TicketHash, &e.SealedCode, &e.Asker, &e.Answer, &e.Version,
	}
}

var insertEnrolment = insertText("enrolments", enrolmentColumns)

// Enrolment implements store.Enrolments.
func (t *tx) Enrolment(realm mfa.RealmID, id mfa.EnrolmentID) (store.Enrolment, error) {
	return one(t, enrolmentFields, `SELECT `+enrolmentColumns+` FROM enrolments
		WHERE realm = $1 AND id = $2`, realm, id)
}

// EnrolmentByTicket implements store.Enrolments.
func (t *tx) EnrolmentByTicket(hash []byte) (store.Enrolment, error) {
	return one(t, enrolmentFields, `SELECT `+enrolmentColumns+` FROM enrolments WHERE ticket_hash = $1`, hash)
}

// InsertEnrolment implements store.Enrolments.
func (t *tx) InsertEnrolment(e store.Enrolment) error {
	e.Version = 1
	return t.insert(insertEnrolment, enrolmentFields(&e)...)
}

// PutEnrolment implements store.Enrolments. Who it is for and by whom, its ticket and its creation
// stay.
func (t *tx) PutEnrolment(e store.Enrolment) error {
	return t.put(`SELECT 1 FROM enrolments WHERE realm = $1 AND id = $2`, []any{e.Realm, e.ID},
		`UPDATE enrolments SET state = $4, claim_by = $5, confirm_by = $6, device_id = $7,
		thumbprint = $8, wrong = $9, sealed_code = $10, answer = $11, version = version + 1
		WHERE realm = $1 AND id = $2 AND version = $3`,
		e.Realm, e.ID, e.Version, e.State, e.ClaimBy, e.ConfirmBy, e.Device,
		e.Thumbprint, e.Wrong, e.SealedCode, e.Answer)
}

// LiveEnrolments implements store.Enrolments, oldest first.
func (t *tx) LiveEnrolments(realm mfa.RealmID, user mfa.UserID) ([]store.Enrolment, error) {
	return list(t, enrolmentFields, `SELECT `+enrolmentColumns+` FROM enrolments
		WHERE realm = $1 AND user_id = $2 AND state IN ('invited', 'claimed')
		ORDER BY created_at, id`, realm, user)
}

// DueEnrolments implements store.Enrolments, the longest overdue of each state first.
func (t *tx) DueEnrolments(now mfa.Instant, n int) ([]store.Enrolment, error) {
	due, err := list(t, enrolmentFields, `SELECT `+enrolmentColumns+` FROM enrolments
		WHERE state = 'claimed' AND confirm_by <= $1 ORDER BY confirm_by LIMIT $2`, now, limit(n))
	if err != nil {
		return nil, err
	}
	more, err := list(t, enrolmentFields, `SELECT `+enrolmentColumns+` FROM enrolments
		WHERE state = 'invited' AND claim_by <= $1 ORDER BY claim_by LIMIT $2`, now, limit(n-len(due)))
	return append(due, more...), err
}

// SweepEnrolments implements store.Enrolments.
func (t *tx) SweepEnrolments(before mfa.Instant, n int) (int, error) {
	swept, err := t.write(`DELETE FROM enrolments WHERE (realm, id) IN (
		SELECT e.realm, e.id FROM enrolments e
		WHERE e.state IN ('confirmed', 'expired', 'cancelled', 'refused') AND e.claim_by < $1
		ORDER BY e.claim_by LIMIT $2)`, before, limit(n))
	return int(swept), err
}
