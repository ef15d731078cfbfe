package store

import "github.com/nodauth/nod/internal/mfa"

// Invitation is a link that was given to a person. The secret in it is kept nowhere.
type Invitation struct {
	Realm       mfa.RealmID
	ID          mfa.InvitationID
	User        mfa.UserID
	Hash        []byte // SHA-256 of the secret
	Purpose     mfa.InvitationPurpose
	State       mfa.InvitationState
	SetPassword bool            // a person without a password may set one
	Enrolment   mfa.EnrolmentID // the last ticket that was made through it; "" for none
	Actor       mfa.Actor       // who made it
	By          string          // their credential
	CreatedAt   mfa.Instant
	ExpiresAt   mfa.Instant // exclusive
	EndedAt     mfa.Instant // 0 while live
}

// At returns the invitation as every reader sees it at now.
func (i Invitation) At(now mfa.Instant) Invitation {
	if i.State == mfa.InvitationLive && now >= i.ExpiresAt {
		i.State, i.EndedAt = mfa.InvitationExpired, i.ExpiresAt
	}
	return i
}

// InvitationFilter narrows a list of invitations. The zero value matches all of a realm.
type InvitationFilter struct {
	User  mfa.UserID
	State mfa.InvitationState // as stored: one that is over may be live until the sweep has seen it
}

// Invitations reads and writes invitations. At most one of a user is live.
type Invitations interface {
	Invitation(realm mfa.RealmID, id mfa.InvitationID) (Invitation, error)
	// InvitationByHash finds one in whichever realm it is: the secret names its realm.
	InvitationByHash(hash []byte) (Invitation, error)
	// InvitationByEnrolment finds the one through which a ticket was made last.
	InvitationByEnrolment(realm mfa.RealmID, id mfa.EnrolmentID) (Invitation, error)
	// LiveInvitation returns the user's live one, over or not.
	LiveInvitation(realm mfa.RealmID, user mfa.UserID) (Invitation, error)
	// ListInvitations goes by creation, newest first.
	ListInvitations(realm mfa.RealmID, f InvitationFilter, p Page) ([]Invitation, error)
	// InsertInvitation returns ErrExists if the user has a live one.
	InsertInvitation(Invitation) error
	// BindInvitation notes the ticket that was made through it; ErrUsed unless it is live.
	BindInvitation(realm mfa.RealmID, id mfa.InvitationID, enrolment mfa.EnrolmentID) error
	// UseInvitation uses it up; ErrUsed unless it is live and not over at now.
	UseInvitation(realm mfa.RealmID, id mfa.InvitationID, now mfa.Instant) error
	// EndInvitation gives a live one its end; ErrUsed unless it is live.
	EndInvitation(realm mfa.RealmID, id mfa.InvitationID, state mfa.InvitationState, at mfa.Instant) error
	// DueInvitations lists live ones, of all realms, that are over at now.
	DueInvitations(now mfa.Instant, limit int) ([]Invitation, error)
	// SweepInvitations deletes those of all realms that ended before the moment.
	SweepInvitations(before mfa.Instant) error
}
