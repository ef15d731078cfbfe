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
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

const (
	headerTime     = 10 * time.Second
	idleTime       = 2 * time.Minute
	maxHeaderBytes = 16 << 10
)

// NewServer makes the server of a listener, with limits for headers and idle connections.
// It has no limit for a whole exchange, since a long poll is one: bodies are limited by
// [Body]. What net/http itself reports, such as failed TLS handshakes, is logged at level
// debug: strangers cause it.
func NewServer(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// exchange is what is known of a request under way. It is written by the goroutine of the
// request only.
type exchange struct {
	id     string
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
