package client

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrNoReply: the request may or may not have reached the server, and asking again did not
	// help.
	ErrNoReply = errors.New("no reply from the server")
	// ErrNotNod: something answered that does not speak nod's API, such as a proxy or another
	// server.
	ErrNotNod = errors.New("the answer is not nod's")
	// ErrGrant: a grant does not prove what was asked for.
	ErrGrant = errors.New("the grant does not verify")
)

// Code says in which way a request failed. The set is closed.
type Code string

// The codes.
const (
	Invalid         Code = "invalid"
	Unauthenticated Code = "unauthenticated"
	Forbidden       Code = "forbidden"
	NotFound        Code = "not_found"
	Conflict        Code = "conflict"
	Gone            Code = "gone"
	Unsupported     Code = "unsupported"
	RateLimited     Code = "rate_limited"
	Internal        Code = "internal"
	Unavailable     Code = "unavailable"
)

// Error is a refusal by the server (RFC 9457).
type Error struct {
	Status     int           // of HTTP
	Code       Code          // in which way
	Reason     string        // finer than Code, stable, such as guesses_spent
	Detail     string        // for people
	Field      string        // the member of the request at fault
	State      State         // of the challenge, where that is why
	RetryAfter time.Duration // when to try again; 0 when that is not known or does not help
	RequestID  string        // by which the server's log names the request
}

// Error gives what a person needs first.
func (e *Error) Error() string {
	text := e.Detail
	if text == "" {
		text = "the server answered " + strconv.Itoa(e.Status) + " " + string(e.Code)
	}
	var more []string
	for _, part := range []struct{ name, value string }{
		{"", e.Reason}, {"field ", e.Field}, {"state ", string(e.State)}, {"request ", e.RequestID},
	} {
		if part.value != "" {
			more = append(more, part.name+part.value)
		}
	}
	if len(more) > 0 {
		text += " (" + strings.Join(more, ", ") + ")"
	}
	return text
}

// CodeOf returns the code of the first Error that err wraps, or "".
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// problem is an error answer as it comes.
type problem struct {
	Detail     string `json:"detail"`
	Code       Code   `json:"code"`
	Reason     string `json:"reason"`
	Field      string `json:"field"`
	State      State  `json:"state"`
	RetryAfter int64  `json:"retry_after"`
	RequestID  string `json:"request_id"`
}

const maxRetryAfter = 7 * 24 * 3600 // seconds; more is no advice

func (p problem) error(status int, header string) *Error {
	after := p.RetryAfter
	if n, err := strconv.ParseInt(header, 10, 64); err == nil {
		after = max(after, n)
	}
	return &Error{
		Status: status, Code: p.Code, Reason: printable(p.Reason), Detail: printable(p.Detail), Field: printable(p.Field),
		State: State(printable(string(p.State))), RequestID: printable(p.RequestID),
		RetryAfter: time.Duration(min(max(after, 0), maxRetryAfter)) * time.Second,
	}
}

// printable keeps a server's words from steering a terminal.
func printable(s string) string {
	const most = 500 // bytes
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			q := strconv.QuoteRuneToGraphic(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// temporary reports whether the same request may succeed a little later, and what the server says
// of when.
func temporary(err error) (time.Duration, bool) {
	if e, ok := errors.AsType[*Error](err); ok {
		switch e.Status {
		case http.StatusTooManyRequests:
			// Guesses come back after hours, and each would be another guess.
			return e.RetryAfter, e.Reason != reasonGuessesSpent
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return e.RetryAfter, true
		}
		return 0, false
	}
	return 0, errors.Is(err, ErrNoReply)
}

const reasonGuessesSpent = "guesses_spent"

func notNod(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNotNod, fmt.Sprintf(format, args...))
}
