package mfa

import "time"

// How long an invitation is good for.
const (
	InvitationLife    = 7 * 24 * time.Hour
	MinInvitationLife = time.Hour
	MaxInvitationLife = 30 * 24 * time.Hour
)

// InvitationPurpose is what the link of an invitation leads to.
type InvitationPurpose string

// The purposes of an invitation.
const (
	InviteToEnrol InvitationPurpose = "enrol" // a device
	InviteToReset InvitationPurpose = "reset" // a new password
)

// InvitationState is the state of an invitation. Only live moves.
type InvitationState string

// The states of an invitation.
const (
	InvitationLive       InvitationState = "live"
	InvitationUsed       InvitationState = "used"
	InvitationRevoked    InvitationState = "revoked"
	InvitationSuperseded InvitationState = "superseded"
	InvitationExpired    InvitationState = "expired"
)
