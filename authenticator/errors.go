package authenticator

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrRevoked: the server no longer knows this device: it was revoked, refused, or not
	// confirmed in time. Every [Error] with reason device_revoked matches it.
	ErrRevoked = errors.New("this device is revoked")
	// ErrNoAccount: the store has no such account.
	ErrNoAccount = errors.New("no such account")
	// ErrNoPrompt: the challenge is not one that this device may answer now.
	ErrNoPrompt = errors.New("no such prompt for this device")
	// ErrPassphrase: the keys of the store cannot be opened with this keyring.
	ErrPassphrase = errors.New("the keys cannot be opened: wrong passphrase, or the file was changed")
	// ErrNotTrusted: what came was not signed by the realm that this device enrolled in.
	ErrNotTrusted = errors.New("not signed by the enrolled realm")
	// ErrUpdate: the prompt needs a newer authenticator and cannot be approved with this one.
	ErrUpdate = errors.New("update the authenticator to approve this")
	// ErrNoReply: the request may or may not have reached the server.
	ErrNoReply = errors.New("no reply from the server")
)

// Error is a refusal by the server (RFC 9457).
type Error struct {
	Status     int    // of HTTP
	Code       string // such as conflict, gone, forbidden; "" if the answer was not nod's
	Reason     string // finer than Code, such as device_revoked
	State      string // of the challenge, where one is meant
	Field      string // the member at fault
	Detail     string // for people
	RetryAfter time.Duration
	RequestID  string
}

// Error gives what a person needs first.
func (e *Error) Error() string {
	text := fmt.Sprintf("the server answered %d", e.Status)
	for _, part := range []string{e.Code, e.Reason} {
		if part != "" {
			text += " " + part
		}
	}
	if e.State != "" {
		text += " (state " + e.State + ")"
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Is reports whether the target is ErrRevoked and this error says so.
func (e *Error) Is(target error) bool {
	return target == ErrRevoked && e.Reason == reasonRevoked
}

const (
	reasonRevoked    = "device_revoked"
	reasonStaleNonce = "stale_nonce"
)
