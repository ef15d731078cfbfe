package httpkit

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/nodauth/nod/internal/mfa"
)

// Limit is how large a request's body may be and how long it may take to come.
type Limit struct {
	Bytes int64
	Time  time.Duration
}

// Body reads the whole body of a request before next sees it. A larger one than the limit is
// answered with 413, a slower or broken one with 400. The time does not count any further:
// next may keep the request waiting as long as it likes.
func Body(logger *slog.Logger, l Limit, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(w, r, l)
		if err != nil {
			// What the client still sends is not read, so the connection is of no use.
			w.Header().Set("Connection", "close")
			WriteError(w, r, logger, err)
			return
		}
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		next.ServeHTTP(w, r)
	})
}

func readBody(w http.ResponseWriter, r *http.Request, l Limit) ([]byte, error) {
	tooLarge := mfa.Errorf(mfa.Invalid, mfa.ReasonBodyTooLarge, "The body of this request has at most %d bytes.", l.Bytes)
	if r.ContentLength > l.Bytes {
		return nil, tooLarge
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	control := http.NewResponseController(w)
	// A recorder has no deadline to set, which does no harm.
	_ = control.SetReadDeadline(time.Now().Add(l.Time))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, l.Bytes))
	// The server goes on reading to notice that the client leaves; a deadline left behind
	// would look like that, and end a long poll. HTTP/1 lifts it itself, which is nowhere
	// promised.
	_ = control.SetReadDeadline(time.Time{})
	if err == nil {
		return body, nil
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, tooLarge
	}
	if timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && timeout.Timeout() {
		return nil, &mfa.Error{
			Code: mfa.Invalid, Reason: mfa.ReasonTimeout, Err: err,
			Message: "The body of the request took too long to come.",
		}
	}
	return nil, &mfa.Error{
		Code: mfa.Invalid, Reason: mfa.ReasonMalformed, Err: err,
		Message: "The body of the request could not be read to its end.",
	}
}

// Admission lets at most n requests into next at once. Whoever finds no place is answered
// with 503 and told to come back after a second, at once and before anything is read.
func Admission(logger *slog.Logger, n int, next http.Handler) http.Handler {
	places := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next.ServeHTTP(w, r)
		default:
			WriteError(w, r, logger, &mfa.Error{
				Code: mfa.Unavailable, Reason: mfa.ReasonBusy, RetryAfter: time.Second,
				Message: "The server is busy. Try again shortly.",
			})
		}
	})
}
