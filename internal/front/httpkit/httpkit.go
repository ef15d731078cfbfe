// Package httpkit is what all HTTP fronts share: problems, request ids, client addresses,
// access log, recovery, limits, CORS, headers and strict JSON.
//
// A listener's handler is built from the outside in:
//
//	entry.Wrap(                    // request id, client address, access log, recovery
//		httpkit.SecurityHeaders(   // on every answer, problems too
//			httpkit.Routes(mux)))  // problems for unknown routes and methods
//
// and a front wraps its routes with [Body], [Admission] and [CORS] as they need.
package httpkit

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

const (
	headerTime     = 10 * time.Second
	idleTime       = 2 * time.Minute
	maxHeaderBytes = 16 << 10
	// answerTime is longer than any long poll: what is not taken by then is taken by nobody. A
	// stream sets deadlines of its own.
	answerTime = 2 * time.Minute
	// restTime is how long a client may go on sending a request that was answered already.
	restTime = 5 * time.Second
)

// NewServer makes the server of a listener, with limits for headers, idle connections, answers
// that nobody takes and the rest of requests that nobody reads. Bodies that are read are limited
// by [Body]. What net/http itself reports, such as failed TLS handshakes, is logged at level
// debug, since strangers cause it; that no connection can be taken is a warning.
func NewServer(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           limitRest(h),
		ReadHeaderTimeout: headerTime,
		WriteTimeout:      answerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(reports{logger}, "", 0),
	}
}

// reports logs what net/http reports, line by line.
type reports struct{ logger *slog.Logger }

// Write logs one line.
func (r reports) Write(line []byte) (int, error) {
	if cause, ok := bytes.CutPrefix(line, []byte("http: Accept error: ")); ok {
		r.logger.Warn("no connection can be taken", slog.String("error", string(bytes.TrimSpace(cause))))
	} else {
		r.logger.Debug("http server", slog.String("error", string(bytes.TrimSpace(line))))
	}
	return len(line), nil
}

// limitRest ends the connection of a client that goes on sending, byte by byte, what next did not
// read: the server waits for the rest of a request before it takes another one.
func limitRest(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { _ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(restTime)) }()
		next.ServeHTTP(w, r)
	})
}

// exchange is what is known of a request under way. It is written by the goroutine of the
// request only.
type exchange struct {
	id     string
	trace  string
	client netip.Addr
	wrote  bool
	status int
	bytes  int64
	code   string
	reason string
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// RequestID gives the id of the request, or "" outside [Entry.Wrap].
func RequestID(r *http.Request) string {
	if x := exchangeOf(r.Context()); x != nil {
		return x.id
	}
	return ""
}

// Client gives the address of the client as [ClientAddr] found it. It is not valid outside
// [Entry.Wrap] and where the peer has no address (a Unix socket).
func Client(r *http.Request) netip.Addr {
	if x := exchangeOf(r.Context()); x != nil {
		return x.client
	}
	return netip.Addr{}
}

// Address gives the address of the client as text, or "" where [Client] gives none.
func Address(r *http.Request) string {
	if a := Client(r); a.IsValid() {
		return a.String()
	}
	return ""
}
