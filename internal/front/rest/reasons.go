package rest

import "github.com/nodauth/nod/internal/mfa"

// codeTexts say what each code means, for the document.
var codeTexts = map[mfa.Code]string{
	mfa.Invalid:         "The request is wrong; sending it again does not help. 413 and 415 are of this code too, and so is 405.",
	mfa.Unauthenticated: "There is no API key, or it is unknown, expired or revoked.",
	mfa.Forbidden:       "The caller may not do this.",
	mfa.NotFound:        "There is no such object, or it is not visible to this caller. Nothing tells these apart.",
	mfa.Conflict:        "The object is in another state; `state` says in which, where it is a challenge.",
	mfa.Gone:            "It was there, and its time is over.",
	mfa.Unsupported:     "Understood, and not offered here.",
	mfa.RateLimited:     "An allowance is spent. `retry_after` says when to come again, where that is known.",
	mfa.Internal:        "A fault of the server. `request_id` names it in the server's log.",
	mfa.Unavailable:     "The server cannot answer now.",
}

// reasonText says what a reason means where it goes with a code.
type reasonText struct {
	code   mfa.Code
	reason mfa.Reason
	text   string
}

// reasonTexts are the reasons, for the document.
var reasonTexts = []reasonText{
	{mfa.Invalid, mfa.ReasonMalformed, "a member, header or parameter has a value that it does not take; `field` names it"},
	{mfa.Invalid, mfa.ReasonBodyTooLarge, "the body is larger than this route takes (413)"},
	{mfa.Invalid, mfa.ReasonMediaType, "the body is not application/json (415)"},
	{mfa.Invalid, mfa.ReasonPasswordWeak, "the password is too short or too easy to guess"},
	{mfa.Invalid, mfa.ReasonMatchNotAllowed, "device protocol: the prompt does not offer this kind of match"},
	{mfa.Invalid, mfa.ReasonPromptMismatch, "device protocol: another prompt was signed"},
	{mfa.Invalid, mfa.ReasonTimeout, "the body took too long to come"},
	{mfa.Unauthenticated, mfa.ReasonSignature, "device protocol: the message is not signed by a known key"},
	{mfa.Unauthenticated, mfa.ReasonStaleNonce, "device protocol: send again with the nonce of this answer"},
	{mfa.Forbidden, mfa.ReasonScope, "the API key has not the scope that this needs"},
	{mfa.Forbidden, mfa.ReasonApplicationOff, "the application, or its realm, is disabled"},
	{mfa.Forbidden, mfa.ReasonCredentials, "the password is wrong, or there is no such user"},
	{mfa.Forbidden, mfa.ReasonFirstEnrolment, "no first device can be enrolled here for this user; the same for unknown users. The event account.refused says why"},
	{mfa.Forbidden, mfa.ReasonFirstFactor, "policy asks for a first factor"},
	{mfa.Forbidden, mfa.ReasonFreshFactor, "the evidence that was named does not suffice: a challenge of this user, redeemed by this application at most 20 minutes ago, answered by a strong factor"},
	{mfa.Forbidden, mfa.ReasonNotOffered, "policy leaves this to administrators"},
	{mfa.Forbidden, mfa.ReasonOwner, "owners are not given bypass codes"},
	{mfa.Forbidden, mfa.ReasonWrongCode, "the code is wrong"},
	{mfa.Forbidden, mfa.ReasonMatchNotAllowed, "this kind of match does not count at this moment"},
	{mfa.Forbidden, mfa.ReasonMethodNotAllowed, "this method cannot answer the challenge now"},
	{mfa.Forbidden, mfa.ReasonDeviceNotActive, "the device is not active"},
	{mfa.Forbidden, mfa.ReasonDeviceQuarantined, "the device is too new for this"},
	{mfa.Forbidden, mfa.ReasonDeviceRevoked, "device protocol: the device was removed"},
	{mfa.Forbidden, mfa.ReasonUserVerification, "policy asks for the device's app lock"},
	{mfa.Forbidden, mfa.ReasonVetoNotAllowed, "device protocol: this device may not veto that one"},
	{mfa.Conflict, mfa.ReasonAlreadyCreated, "the request was carried out before; the answer held secrets and is kept no longer. `detail` names what it made"},
	{mfa.Conflict, mfa.ReasonAlreadyRedeemed, "the challenge was redeemed with another idempotency key"},
	{mfa.Conflict, mfa.ReasonChallengeClosed, "the challenge is in another state; `state` says in which"},
	{mfa.Conflict, mfa.ReasonDeviceNotActive, "the device is in another state"},
	{mfa.Conflict, mfa.ReasonEnrolmentClosed, "the enrolment, or its user, is in another state"},
	{mfa.Conflict, mfa.ReasonIdempotency, "the idempotency key was used for another request"},
	{mfa.Conflict, mfa.ReasonInvitation, "the invitation is in another state"},
	{mfa.Conflict, mfa.ReasonKeyUsed, "device protocol: the key was enrolled before"},
	{mfa.Conflict, mfa.ReasonLimit, "there are as many as there may be"},
	{mfa.Conflict, mfa.ReasonNameTaken, "the name, alias or external id belongs to somebody else"},
	{mfa.Conflict, mfa.ReasonReportNotLiftable, "nothing is reported"},
	{mfa.Conflict, mfa.ReasonSequence, "device protocol: a later change was made before"},
	{mfa.Conflict, mfa.ReasonVersion, "the policy changed since the version that was expected"},
	{mfa.Conflict, mfa.ReasonVetoNotAllowed, "device protocol: the device is not in a quarantine that can be vetoed"},
	{mfa.Conflict, mfa.ReasonWebhookOff, "the webhook is disabled"},
	{mfa.NotFound, mfa.ReasonInvitation, "the invitation is not valid, or not any more; nothing tells these apart"},
	{mfa.Gone, mfa.ReasonExpired, "it came too late"},
	{mfa.Gone, mfa.ReasonGrantExpired, "the grant was given before and has expired"},
	{mfa.Unsupported, mfa.ReasonMethodNotSupported, "this release does not have this method"},
	{mfa.Unsupported, mfa.ReasonNotOffered, "device protocol: this release does not know app locks"},
	{mfa.Unsupported, mfa.ReasonUnsatisfiable, "policy allows none of the ways that were asked for"},
	{mfa.RateLimited, mfa.ReasonGuessesSpent, "too many wrong codes or passwords; the same for unknown users"},
	{mfa.RateLimited, mfa.ReasonTooManyRequests, "the application, or the address, asks too fast"},
	{mfa.Unavailable, mfa.ReasonBusy, "too much at once; try again shortly"},
	{mfa.Unavailable, mfa.ReasonServerStopping, "the server is stopping"},
	{mfa.Unavailable, mfa.ReasonTimeout, "it took too long"},
}
