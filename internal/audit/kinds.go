package audit

import "github.com/nodauth/nod/internal/mfa"

// The kinds of events, besides those that mfa's steps ask for.
const (
	ChallengeCreated   = "challenge.created"
	ChallengeDelivered = "challenge.delivered" // a device's poll was answered with the prompt
	ChallengeReceived  = "challenge.received"  // stamps, as the device says
	ChallengeShown     = "challenge.shown"
	ChallengeOpened    = "challenge.opened"
	ChallengeTold      = "challenge.told" // the application was told the outcome
	ChallengeRefused   = "challenge.refused"
	GuessesSpent       = "guesses.spent"
	PasswordWrong      = "password.wrong"

	UserCreated      = "user.created"
	UserChanged      = "user.changed"
	UserDeleted      = "user.deleted"
	UserLocked       = "user.locked"
	UserUnlocked     = "user.unlocked"
	UserReported     = "user.reported"
	UserReportLifted = "user.report_lifted"
	PasswordSet      = "user.password_set"
	AccountRefused   = "account.refused" // somebody may not change this person, device or factor
	EnrolmentCreated = "enrolment.created"

	InvitationCreated    = "invitation.created"
	InvitationUsed       = "invitation.used"
	InvitationRevoked    = "invitation.revoked"
	InvitationSuperseded = "invitation.superseded" // by a newer one of the same person
	InvitationExpired    = "invitation.expired"

	DeviceAdded       = "device.added"
	DeviceRenamed     = "device.renamed"
	DeviceRotated     = "device.key_rotated"
	DeviceTargets     = "device.targets_changed"
	DeviceRevoked     = "device.revoked"
	DeviceSuspended   = "device.suspended"
	DeviceRestored    = "device.restored"
	DeviceVetoed      = "device.vetoed"
	DeviceUnenrolled  = "device.unenrolled"
	TOTPCreated       = "totp.created"
	TOTPConfirmed     = "totp.confirmed"
	TOTPRemoved       = "totp.removed"
	FactorDisabled    = "factor.disabled"
	BackupCodesMade   = "backup_codes.created"
	BackupCodesGone   = "backup_codes.removed"
	BypassIssued      = "bypass_code.issued"
	BypassRevoked     = "bypass_code.revoked"
	BrowserRemembered = "browser.remembered"
	BrowserForgotten  = "browser.forgotten"

	ApplicationCreated   = "application.created"
	ApplicationChanged   = "application.changed"
	ApplicationDisabled  = "application.disabled"
	ApplicationEnabled   = "application.enabled"
	KeyCreated           = "application.key_created"
	KeyRevoked           = "application.key_revoked"
	PolicyApplied        = "policy.applied"
	RealmCreated         = "realm.created"
	RealmChanged         = "realm.changed"
	RealmDisabled        = "realm.disabled"
	RealmEnabled         = "realm.enabled"
	RealmKeysRotated     = "realm.keys_rotated"
	SealKeysHeld         = "seal.keys_held" // a node has other sealing keys than there were
	SealStarted          = "seal.started"   // a new sealing key seals, and the walk begins
	SealFinished         = "seal.finished"
	WebhookCreated       = "webhook.created"
	WebhookChanged       = "webhook.changed"
	WebhookDisabled      = "webhook.disabled" // its receiver wants nothing more, or takes nothing
	WebhookDeleted       = "webhook.deleted"
	WebhookSecretRotated = "webhook.secret_rotated"
	WebhookPinged        = "webhook.pinged"
	WebhookReplayed      = "webhook.replayed"
	StoreRestored        = "store.restored"
)

// Kinds returns every kind of event there is.
func Kinds() []string {
	out := []string{
		ChallengeCreated, ChallengeDelivered, ChallengeReceived, ChallengeShown, ChallengeOpened, ChallengeTold,
		ChallengeRefused, GuessesSpent, PasswordWrong, UserCreated, UserChanged, UserDeleted, UserLocked, UserUnlocked,
		UserReported, UserReportLifted, PasswordSet, EnrolmentCreated, InvitationCreated, InvitationUsed,
		InvitationRevoked, InvitationSuperseded, InvitationExpired, DeviceAdded, DeviceRenamed, DeviceRotated,
		DeviceTargets, DeviceRevoked, DeviceSuspended, DeviceRestored, DeviceVetoed, DeviceUnenrolled, TOTPCreated,
		TOTPConfirmed, TOTPRemoved, FactorDisabled, BackupCodesMade, BackupCodesGone, BypassIssued, BypassRevoked,
		BrowserRemembered, BrowserForgotten, AccountRefused, ApplicationCreated, ApplicationChanged, ApplicationDisabled,
		ApplicationEnabled, KeyCreated, KeyRevoked, PolicyApplied, RealmCreated, RealmChanged,
		RealmDisabled, RealmEnabled, RealmKeysRotated, SealKeysHeld, SealStarted, SealFinished, StoreRestored,
	}
	out = append(out, WebhookCreated, WebhookChanged, WebhookDisabled, WebhookDeleted, WebhookSecretRotated, WebhookPinged,
		WebhookReplayed)
	for _, r := range mfa.Records() {
		out = append(out, string(r))
	}
	return out
}
