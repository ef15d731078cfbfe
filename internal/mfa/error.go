package mfa

import (
	"errors"
	"fmt"
	"time"
)

// Code is the closed set of ways in which a request can fail. Each front end maps every code to
// its own protocol in one switch.
type Code string

// The codes.
const (
	Invalid         Code = "invalid"         // the request itself is wrong; sending it again will not help
	Unauthenticated Code = "unauthenticated" // who asks could not be established
	Forbidden       Code = "forbidden"       // who asks may not do this
	NotFound        Code = "not_found"       // no such thing, or none that the caller may know of
	Conflict        Code = "conflict"        // the thing is in another state than the request needs
	Gone            Code = "gone"            // it was there and its time is over
	Unsupported     Code = "unsupported"     // understood, and not offered here
	RateLimited     Code = "rate_limited"    // an allowance is spent; see RetryAfter
	Internal        Code = "internal"        // a fault of the server
	Unavailable     Code = "unavailable"     // the server cannot answer now
)

// Codes returns every code, in a fixed order.
func Codes() []Code {
	return []Code{
		Invalid, Unauthenticated, Forbidden, NotFound, Conflict,
		Gone, Unsupported, RateLimited, Internal, Unavailable,
	}
}

// Reason is finer than a Code, stable, and meant for programs. [Reasons] lists all of them.
type Reason string

// The reasons.
const (
	ReasonAlreadyCreated     Reason = "already_created"
	ReasonAlreadyRedeemed    Reason = "already_redeemed"
	ReasonApplicationOff     Reason = "application_disabled"
	ReasonBodyTooLarge       Reason = "body_too_large"
	ReasonBusy               Reason = "busy"
	ReasonChallengeClosed    Reason = "challenge_closed"
	ReasonCredentials        Reason = "credentials"
	ReasonDeviceNotActive    Reason = "device_not_active"
	ReasonDeviceQuarantined  Reason = "device_quarantined"
	ReasonDeviceRevoked      Reason = "device_revoked"
	ReasonEnrolmentClosed    Reason = "enrolment_closed"
	ReasonExpired            Reason = "expired"
	ReasonFirstEnrolment     Reason = "first_enrolment"
	ReasonFirstFactor        Reason = "first_factor_required"
	ReasonFreshFactor        Reason = "fresh_factor_required"
	ReasonGrantExpired       Reason = "grant_expired"
	ReasonGuessesSpent       Reason = "guesses_spent"
	ReasonIdempotency        Reason = "idempotency_mismatch"
	ReasonInvitation         Reason = "invitation_not_valid"
	ReasonKeyUsed            Reason = "key_already_used"
	ReasonLimit              Reason = "limit_reached"
	ReasonMalformed          Reason = "malformed"
	ReasonMatchNotAllowed    Reason = "match_not_allowed"
	ReasonMediaType          Reason = "media_type"
	ReasonMethodNotAllowed   Reason = "method_not_allowed"
	ReasonNameTaken          Reason = "name_taken"
	ReasonNotOffered         Reason = "not_offered"
	ReasonOwner              Reason = "owner"
	ReasonPasswordWeak       Reason = "password_weak"
	ReasonPromptMismatch     Reason = "prompt_mismatch"
	ReasonScope              Reason = "scope"
	ReasonSequence           Reason = "sequence"
	ReasonSignature          Reason = "signature"
	ReasonStaleNonce         Reason = "stale_nonce"
	ReasonTooManyRequests    Reason = "too_many_requests"
	ReasonUnsatisfiable      Reason = "policy_unsatisfiable"
	ReasonUserVerification   Reason = "user_verification_required"
	ReasonVersion            Reason = "version_mismatch"
	ReasonVetoNotAllowed     Reason = "veto_not_allowed"
	ReasonWrongCode          Reason = "wrong_code"
	ReasonReportNotLiftable  Reason = "report_not_liftable"
	ReasonServerStopping     Reason = "server_stopping"
	ReasonTimeout            Reason = "timeout"
	ReasonMethodNotSupported Reason = "method_not_supported"
	ReasonWebhookOff         Reason = "webhook_disabled"
)

// Reasons returns every reason, in a fixed order, for documents that list them.
func Reasons() []Reason {
	return []Reason{
		ReasonAlreadyCreated, ReasonAlreadyRedeemed, ReasonApplicationOff, ReasonBodyTooLarge, ReasonBusy,
		ReasonChallengeClosed, ReasonCredentials, ReasonDeviceNotActive, ReasonDeviceQuarantined, ReasonDeviceRevoked,
		ReasonEnrolmentClosed, ReasonExpired, ReasonFirstEnrolment, ReasonFirstFactor, ReasonFreshFactor, ReasonGrantExpired, ReasonGuessesSpent,
		ReasonIdempotency, ReasonInvitation, ReasonKeyUsed, ReasonLimit, ReasonMalformed, ReasonMatchNotAllowed, ReasonMediaType,
		ReasonMethodNotAllowed, ReasonMethodNotSupported, ReasonNameTaken, ReasonNotOffered, ReasonOwner,
		ReasonPasswordWeak, ReasonPromptMismatch, ReasonReportNotLiftable, ReasonScope, ReasonSequence,
		ReasonServerStopping, ReasonSignature, ReasonStaleNonce, ReasonTimeout, ReasonTooManyRequests,
		ReasonUnsatisfiable, ReasonUserVerification, ReasonVersion, ReasonVetoNotAllowed, ReasonWebhookOff, ReasonWrongCode,
	}
}

// Error is what a caller is told. Message is written for the person who reads it and may be shown;
// Err is for the log and never leaves the server.
type Error struct {
	Code       Code
	Reason     Reason
	Message    string
	Field      string        // the member of the request that is wrong, in the request's own words
	State      State         // of the challenge, when that is why
	RetryAfter time.Duration // when to try again; 0 when that is not known or does not help
	Err        error
}

// Error gives code, reason, message and cause, for logs.
func (e *Error) Error() string {
	s := string(e.Code)
	if e.Reason != "" {
		s += " (" + string(e.Reason) + ")"
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error with a message for the caller.
func Errorf(code Code, reason Reason, format string, args ...any) *Error {
	return &Error{Code: code, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// InvalidField makes the error of a request whose named member is wrong.
func InvalidField(field, format string, args ...any) *Error {
	return &Error{Code: Invalid, Reason: ReasonMalformed, Field: field, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first Error that err wraps, Internal for any other error, and ""
// for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

// ReasonOf returns the reason of the first Error that err wraps, or "".
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// ErrNotFound is the one answer for an unknown id, another realm's and another application's
// object: nothing in it tells these apart.
func ErrNotFound() *Error {
	return &Error{Code: NotFound, Message: "There is no such object, or it is not visible to this caller."}
}
