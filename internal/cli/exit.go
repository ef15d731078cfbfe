package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/client"
)

// The exit codes.
const (
	codeOK      = 0
	codeError   = 1
	codeUsage   = 2
	codeDenied  = 3
	codeExpired = 4
	codeLimited = 5
)

// outcome ends the program with a code, after what there was to say was said.
type outcome int

func (o outcome) Error() string { return fmt.Sprintf("exit code %d", int(o)) }

// usageError is a wrong use that the grammar cannot see.
type usageError string

func (e usageError) Error() string { return string(e) }

func usagef(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

// fail tells the person what happened and returns the exit code.
func (a *app) fail(err error) int {
	if o, ok := errors.AsType[outcome](err); ok {
		return int(o)
	}
	if errors.Is(err, context.Canceled) && a.ctx.Err() != nil {
		a.say("Stopped.")
		return codeError
	}
	fmt.Fprintf(a.stderr, "nod: %s\n", err)
	if hint := a.hint(err); hint != "" {
		fmt.Fprintln(a.stderr, hint)
	}
	return codeOf(err)
}

func codeOf(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return codeUsage
	}
	code, state := "", ""
	if e, ok := errors.AsType[*client.Error](err); ok {
		code, state = string(e.Code), string(e.State)
	}
	if e, ok := errors.AsType[*authenticator.Error](err); ok {
		code, state = e.Code, e.State
	}
	if code == string(client.RateLimited) {
		return codeLimited
	}
	// An error is never a success, also where the challenge has one behind it.
	return cmp.Or(codeOfState(client.State(state)), codeError)
}

// codeOfState is how the program ends when a challenge is in that state.
func codeOfState(s client.State) int {
	switch s {
	case client.Approved, client.Redeemed:
		return codeOK
	case client.Denied, client.Failed, client.Cancelled:
		return codeDenied
	case client.Expired:
		return codeExpired
	case client.Pending, client.Answered:
	}
	return codeError
}

// hint says what the person can do about an error.
func (a *app) hint(err error) string {
	var refused *client.Error
	switch {
	case errors.As(err, &refused):
		return a.hintRefused(refused)
	case errors.Is(err, syscall.EADDRINUSE):
		return "Another program has that address, perhaps another nod. Stop it, or name a free one: listen in the configuration, or NOD_LISTEN."
	case errors.Is(err, syscall.ECONNREFUSED) && errors.Is(err, authenticator.ErrNoReply):
		return "Nothing listens there: the server is down, or has moved."
	case errors.Is(err, syscall.ECONNREFUSED) && errors.Is(err, client.ErrNoReply):
		return "Nothing listens at " + a.conn.where() + ". Is the server running? \"nod serve\" starts one; --url or NOD_URL names another."
	case errors.Is(err, client.ErrNotNod):
		return "What answers at " + a.conn.where() + " is not nod's API. Check --url or NOD_URL."
	case isUnknownHost(err):
		return "The name in " + a.conn.where() + " is not known. Check --url or NOD_URL."
	case errors.Is(err, authenticator.ErrPassphrase):
		return "Give the passphrase of the key file: at the prompt, or by NOD_AUTHENTICATOR_PASSPHRASE_FILE."
	case errors.Is(err, authenticator.ErrRevoked):
		return "Ask an administrator for a new enrolment link, then: nod authenticator enrol LINK"
	case errors.Is(err, authenticator.ErrNoPrompt):
		return "It may be over, answered, or for another user. \"nod authenticator answer\" without --challenge answers what is listed now."
	case errors.Is(err, authenticator.ErrUpdate):
		return "Install a newer nod on this machine, or answer with another device."
	}
	return ""
}

func (a *app) hintRefused(e *client.Error) string {
	switch {
	case e.Code == client.Unauthenticated && a.conn.key == "":
		return "No API key was given. Set NOD_API_KEY or NOD_API_KEY_FILE, or --api-key-file; a local server leaves one in its data directory, as admin.key."
	case e.Code == client.Unauthenticated:
		return "The API key from " + a.conn.keyFrom + " is not one of the server's at " + a.conn.where() + "."
	case e.Code == client.Forbidden && e.Reason == "scope":
		return "The API key from " + a.conn.keyFrom + " may not do this. \"nod application create NAME --scope SCOPE --key-file FILE\" makes one that may."
	case e.Reason == "first_factor_required":
		return "Add --asserted, with the key of an application that checks first factors itself, or --password-file."
	case e.Code == client.NotFound && strings.HasSuffix(strings.TrimSuffix(a.conn.URL, "/"), "/v1"):
		return "The server's URL goes without the /v1. Check --url or NOD_URL."
	case e.Reason == "wrong_code":
		return "Look at the code again; a few wrong ones end it."
	case e.Reason == "enrolment_closed":
		return "It takes digits once a device has opened the link, and until it is confirmed or over. \"nod enrolment show\" says how far it is, \"nod enrolment create\" begins another."
	case e.Reason == "version_mismatch":
		return "Somebody changed it meanwhile. Look at what is in force (nod policy show) and apply again."
	case e.Reason == "limit_reached":
		return "There are as many as there may be. Revoke one first."
	case e.RetryAfter > 0:
		return "Try again in " + e.RetryAfter.Round(time.Second).String() + "."
	}
	return ""
}

func isUnknownHost(err error) bool {
	d, ok := errors.AsType[*net.DNSError](err)
	return ok && d.IsNotFound
}
