package httpkit

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/nodauth/nod/internal/mfa"
)

// ProblemType is the media type of a [Problem].
const ProblemType = "application/problem+json"

// problemURN begins the type of a problem; its code follows.
const problemURN = "urn:nod:problem:"

// Problem is the body of every refusal (RFC 9457). It holds nothing of an error's cause. It
// is an error with GetStatus and ContentType, as the huma framework wants one.
type Problem struct {
	Type       string `json:"type" doc:"urn:nod:problem: and the code"`
	Title      string `json:"title" doc:"what the code means"`
	Status     int    `json:"status" doc:"the HTTP status"`
	Detail     string `json:"detail" doc:"what is wrong here, for the person who reads it"`
	Code       string `json:"code" doc:"the kind of refusal, for programs"`
	Reason     string `json:"reason,omitempty" doc:"finer than the code, stable"`
	Field      string `json:"field,omitempty" doc:"the member of the request that is wrong"`
	State      string `json:"state,omitempty" doc:"the state of the challenge, when that is why"`
	RetryAfter int64  `json:"retry_after,omitempty,omitzero" doc:"seconds after which to try again"`
	RequestID  string `json:"request_id" doc:"names this request in the server's log"`
}

// Error gives the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus gives the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType gives [ProblemType], whatever was negotiated.
func (p *Problem) ContentType(string) string { return ProblemType }

// NewProblem makes the problem of err for the request r. An error that is not an
// [mfa.Error] is internal, and says nothing of itself; one that stems from the end of the
// request's own context is unavailable.
func NewProblem(r *http.Request, err error) *Problem {
	e := asError(err)
	p := &Problem{
		Type:      problemURN + string(e.Code),
		Title:     title(e.Code),
		Status:    Status(err),
		Detail:    e.Message,
		Code:      string(e.Code),
		Reason:    string(e.Reason),
		Field:     e.Field,
		State:     string(e.State),
		RequestID: RequestID(r),
	}
	if p.Detail == "" {
		p.Detail = p.Title + "."
	}
	if e.RetryAfter > 0 {
		p.RetryAfter = int64(math.Ceil(e.RetryAfter.Seconds()))
	}
	return p
}

// WriteError answers r with the problem of err, and with Retry-After where it has one. An
// internal error is logged as an error with its cause, an unavailable one as a warning;
// all others are the caller's and are named by code and reason in the access log only. If
// the answer has begun, nothing can be written any more and the connection is cut.
func WriteError(w http.ResponseWriter, r *http.Request, logger *slog.Logger, err error) {
	p := NewProblem(r, err)
	logError(r, logger, mfa.Code(p.Code), err)
	x := exchangeOf(r.Context())
	if x != nil {
		x.code, x.reason = p.Code, p.Reason
		if x.wrote {
			panic(http.ErrAbortHandler) // net/http's way to cut a connection
		}
	}
	h := w.Header()
	h.Set("Content-Type", ProblemType)
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Length")
	h.Del("Content-Encoding")
	h.Del("ETag")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(p.RetryAfter, 10))
	}
	body, err := json.Marshal(p, json.Deterministic(true))
	if err != nil {
		// A member is not UTF-8; the code is ours and always is.
		p.Detail, p.Field, p.State = p.Title+".", "", ""
		body, _ = json.Marshal(p, json.Deterministic(true))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) //nolint:gosec // JSON, of a type that no browser renders; the caller is gone if this fails
}

func logError(r *http.Request, logger *slog.Logger, code mfa.Code, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return // the caller left, and nobody is at fault
	}
	switch code {
	case mfa.Internal:
		logger.ErrorContext(r.Context(), "request failed", slog.Any("error", err))
	case mfa.Unavailable:
		logger.WarnContext(r.Context(), "request could not be served", slog.Any("error", err))
	case mfa.Invalid, mfa.Unauthenticated, mfa.Forbidden, mfa.NotFound, mfa.Conflict,
		mfa.Gone, mfa.Unsupported, mfa.RateLimited:
	}
}

// retrySoon is what a caller is told to wait when a request ran out of time.
const retrySoon = time.Second

func asError(err error) *mfa.Error {
	if e, ok := errors.AsType[*mfa.Error](err); ok {
		if e.Code == mfa.Internal {
			return &mfa.Error{Code: mfa.Internal, Reason: e.Reason}
		}
		return e
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &mfa.Error{Code: mfa.Unavailable, Reason: mfa.ReasonTimeout, RetryAfter: retrySoon}
	}
	return &mfa.Error{Code: mfa.Internal}
}

type statusError struct {
	status int
	error
}

func (e statusError) Unwrap() error { return e.error }

// WithStatus gives err with an HTTP status finer than its code's, such as 405.
func WithStatus(status int, err error) error { return statusError{status, err} }

// Status gives the HTTP status of err: that of [WithStatus], else 413 and 415 by reason,
// else the code's.
func Status(err error) int {
	if s, ok := errors.AsType[statusError](err); ok {
		return s.status
	}
	e := asError(err)
	if e.Code == mfa.Invalid && e.Reason == mfa.ReasonBodyTooLarge {
		return http.StatusRequestEntityTooLarge
	}
	if e.Code == mfa.Invalid && e.Reason == mfa.ReasonMediaType {
		return http.StatusUnsupportedMediaType
	}
	status, _ := meaning(e.Code)
	return status
}

func title(c mfa.Code) string {
	_, t := meaning(c)
	return t
}

// meaning is the one place where codes become HTTP.
func meaning(c mfa.Code) (status int, title string) {
	switch c {
	case mfa.Invalid:
		return http.StatusBadRequest, "The request is not valid"
	case mfa.Unauthenticated:
		return http.StatusUnauthorized, "Who asks could not be established"
	case mfa.Forbidden:
		return http.StatusForbidden, "This is not allowed"
	case mfa.NotFound:
		return http.StatusNotFound, "There is no such thing"
	case mfa.Conflict:
		return http.StatusConflict, "It is in another state"
	case mfa.Gone:
		return http.StatusGone, "Its time is over"
	case mfa.Unsupported:
		return http.StatusUnprocessableEntity, "This is not offered here"
	case mfa.RateLimited:
		return http.StatusTooManyRequests, "An allowance is spent"
	case mfa.Internal:
		return http.StatusInternalServerError, "The server failed"
	case mfa.Unavailable:
		return http.StatusServiceUnavailable, "The server cannot answer now"
	}
	return http.StatusInternalServerError, "The server failed"
}
