package sqlstore

import (
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const invitationColumns = `realm, id, user_id, secret_hash, purpose, state, set_password, enrolment_id, actor,
	made_by, created_at, expires_at, ended_at`

func invitationFields(i *store.Invitation) []any {
	return []any{
		&i.Realm, &i.ID, &i.User, &i.Hash, &i.Purpose, &i.State, &i.SetPassword, &i.Enrolment, &i.Actor,
		&i.By, &i.CreatedAt, &i.ExpiresAt, &i.EndedAt,
	}
}

var insertInvitation = insertText("invitations", invitationColumns)

// Invitation implements store.Invitations.
func (t *tx) Invitation(realm mfa.RealmID, id mfa.InvitationID) (store.Invitation, error) {
	return one(t, invitationFields, `SELECT `+invitationColumns+` FROM invitations
		WHERE realm = $1 AND id = $2`, realm, id)
}

// InvitationByHash implements store.Invitations.
func (t *tx) InvitationByHash(hash []byte) (store.Invitation, error) {
	return one(t, invitationFields, `SELECT `+invitationColumns+` FROM invitations WHERE secret_hash = $1`, hash)
}

// InvitationByEnrolment implements store.Invitations.
func (t *tx) InvitationByEnrolment(realm mfa.RealmID, id mfa.EnrolmentID) (store.Invitation, error) {
	return one(t, invitationFields, `SELECT `+invitationColumns+` FROM invitations
		WHERE realm = $1 AND enrolment_id = $2 AND enrolment_id <> ''`, realm, id)
}

// LiveInvitation implements store.Invitations.
func (t *tx) LiveInvitation(realm mfa.RealmID, user mfa.UserID) (store.Invitation, error) {
	return one(t, invitationFields, `SELECT `+invitationColumns+` FROM invitations
		WHERE realm = $1 AND user_id = $2 AND state = 'live'`, realm, user)
}

// ListInvitations implements store.Invitations.
func (t *tx) ListInvitations(realm mfa.RealmID, f store.InvitationFilter, p store.Page) ([]store.Invitation, error) {
	at, id := before(p)
	text := `SELECT ` + invitationColumns + ` FROM invitations WHERE realm = $1 AND (created_at, id) < ($2, $3)`
	args := []any{realm, at, id, limit(p.Limit)}
	if f.User != "" {
		args = append(args, f.User)
		text += ` AND user_id = $5`
	}
	switch f.State {
	case mfa.InvitationLive:
		text += ` AND state = 'live'`
	case mfa.InvitationUsed:
		text += ` AND state = 'used'`
	case mfa.InvitationRevoked:
		text += ` AND state = 'revoked'`
	case mfa.InvitationSuperseded:
		text += ` AND state = 'superseded'`
	case mfa.InvitationExpired:
		text += ` AND state = 'expired'`
	}
	return list(t, invitationFields, text+` ORDER BY created_at DESC, id DESC LIMIT $4`, args...)
}

// InsertInvitation implements store.Invitations.
func (t *tx) InsertInvitation(i store.Invitation) error {
	return t.insert(insertInvitation, invitationFields(&i)...)
}

// BindInvitation implements store.Invitations.
func (t *tx) BindInvitation(realm mfa.RealmID, id mfa.InvitationID, enrolment mfa.EnrolmentID) error {
	return t.consume(`UPDATE invitations SET enrolment_id = $3
		WHERE realm = $1 AND id = $2 AND state = 'live'`, realm, id, enrolment)
}

// UseInvitation implements store.Invitations.
func (t *tx) UseInvitation(realm mfa.RealmID, id mfa.InvitationID, now mfa.Instant) error {
	return t.consume(`UPDATE invitations SET state = 'used', ended_at = $3
		WHERE realm = $1 AND id = $2 AND state = 'live' AND expires_at > $3`, realm, id, now)
}

// EndInvitation implements store.Invitations.
func (t *tx) EndInvitation(realm mfa.RealmID, id mfa.InvitationID, state mfa.InvitationState, at mfa.Instant) error {
	return t.consume(`UPDATE invitations SET state = $3, ended_at = $4
		WHERE realm = $1 AND id = $2 AND state = 'live'`, realm, id, state, at)
}

// DueInvitations implements store.Invitations, the longest overdue first.
func (t *tx) DueInvitations(now mfa.Instant, n int) ([]store.Invitation, error) {
	return list(t, invitationFields, `SELECT `+invitationColumns+` FROM invitations
		WHERE state = 'live' AND expires_at <= $1 ORDER BY expires_at LIMIT $2`, now, limit(n))
}

// SweepInvitations implements store.Invitations.
func (t *tx) SweepInvitations(before mfa.Instant) error {
	_, err := t.write(`DELETE FROM invitations WHERE state <> 'live' AND ended_at < $1`, before)
	return err
}
