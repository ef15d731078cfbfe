package httpkit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

// RequestIDHeader carries the id of a request in the answer, and from a trusted proxy.
const RequestIDHeader = "X-Request-Id"

// maxRequestID is the greatest length of a proxy's request id in bytes.
const maxRequestID = 64

// Entry is the outermost layer of a listener.
type Entry struct {
	// Logger gets one line for each request.
	Logger *slog.Logger
	// Client finds the client's address.
	Client ClientAddr
	// Observer, if there is one, is told of every request.
	Observer Observer
	// Quiet are route patterns that are logged at level debug, such as that of /healthz.
	Quiet []string
}

// Observer is told of requests, by the goroutine of each.
type Observer interface {
	// Begin is told of a request that came. It gives the context in which the request goes on, and
	// the id of the trace that records it, "" for none.
	Begin(r *http.Request) (ctx context.Context, trace string)
	// End is told of its answer, with the context that Begin gave.
	End(ctx context.Context, a Answered)
}

// Answered is what an Observer is told of an answer. Nothing in it was chosen by the caller.
type Answered struct {
	Route  string // pattern with its method, "" if no route takes the request
	Status int
	Code   string // of a refusal
	Reason string
	Trace  string
	Took   time.Duration
}

// Wrap gives each request an id and a client address, logs it when it is done, and answers a
// panic as an internal error.
//
// The line holds method, route pattern, status, bytes, duration, code and reason, and trace_id where
// the request is traced. It never
// holds a path, a query, a header or a body: these can carry names and secrets.
func (e Entry) Wrap(next http.Handler) http.Handler {
	logger := slog.New(LogHandler(e.Logger.Handler()))
	quiet := make(map[string]bool, len(e.Quiet))
	for _, p := range e.Quiet {
		quiet[p] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		x := &exchange{id: e.requestID(r), client: e.Client.Of(r)}
		ctx := r.Context()
		if e.Observer != nil {
			ctx, x.trace = e.Observer.Begin(r)
		}
		r = r.WithContext(context.WithValue(ctx, exchangeKey{}, x))
		w.Header().Set(RequestIDHeader, x.id)
		rec := &recorder{ResponseWriter: w, x: x}

		abort := serve(rec, r, logger, next)

		level := slog.LevelInfo
		if quiet[r.Pattern] {
			level = slog.LevelDebug
		}
		status := x.status
		if status == 0 {
			status = http.StatusOK // what net/http writes for a handler that wrote nothing
		}
		took := time.Since(start)
		if e.Observer != nil {
			e.Observer.End(ctx, Answered{
				Route: r.Pattern, Status: status, Code: x.code, Reason: x.reason, Trace: x.trace, Took: took,
			})
		}
		attrs := []slog.Attr{
			slog.String("method", method(r)),
			slog.String("route", r.Pattern),
			slog.Int("status", status),
			slog.Int64("bytes", x.bytes),
			slog.Duration("duration", took),
		}
		if x.code != "" {
			attrs = append(attrs, slog.String("code", x.code))
		}
		if x.reason != "" {
			attrs = append(attrs, slog.String("reason", x.reason))
		}
		if abort {
			attrs = append(attrs, slog.Bool("aborted", true))
		}
		logger.LogAttrs(r.Context(), level, "request", attrs...)
		if abort {
			panic(http.ErrAbortHandler) // net/http's way to cut a connection
		}
	})
}

// serve calls next and tells whether the connection is to be cut: a panic came after the
// answer had begun, or was meant to cut it.
func serve(w *recorder, r *http.Request, logger *slog.Logger, next http.Handler) (abort bool) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, and wraps it never
			abort = true
			return
		}
		logger.ErrorContext(r.Context(), "handler panicked",
			slog.String("panic", fmt.Sprint(v)), slog.String("stack", string(bytes.TrimSpace(debug.Stack()))))
		w.x.code, w.x.reason = string(mfa.Internal), ""
		if w.x.wrote {
			abort = true
			return
		}
		w.Header().Set("Connection", "close") // what the handler left behind is not known
		WriteError(w, r, slog.New(slog.DiscardHandler), &mfa.Error{Code: mfa.Internal})
	}()
	next.ServeHTTP(w, r)
	return false
}

// method gives the method for the log. A client may send any token; only known ones are
// worth a word.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return r.Method
	}
	return "other"
}

// requestID gives a new id, or the one that a trusted proxy sent.
func (e Entry) requestID(r *http.Request) string {
	if sent := r.Header.Get(RequestIDHeader); e.Client.FromProxy(r) && validRequestID(sent) {
		return sent
	}
	return secret.ID("req_")
}

func validRequestID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// recorder notes status and size of an answer.
type recorder struct {
	http.ResponseWriter
	x *exchange
}

// WriteHeader passes the status on and notes the final one.
func (w *recorder) WriteHeader(status int) {
	if status >= 200 && !w.x.wrote {
		w.x.wrote, w.x.status = true, status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write passes b on and counts it.
func (w *recorder) Write(b []byte) (int, error) {
	w.began()
	n, err := w.ResponseWriter.Write(b)
	w.x.bytes += int64(n)
	return n, err
}

// Flush sends what was written, for event streams.
func (w *recorder) Flush() {
	w.began()
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for [http.ResponseController].
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) began() {
	if !w.x.wrote {
		w.x.wrote, w.x.status = true, http.StatusOK
	}
}

// LogHandler gives h with request_id, client and, where there is one, trace_id on every record whose context is a request's.
// A handler that it made is given back as it is.
func LogHandler(h slog.Handler) slog.Handler {
	if _, done := h.(requestHandler); done {
		return h
	}
	return requestHandler{h}
}

type requestHandler struct{ slog.Handler }

// Handle adds the attributes of the request.
func (h requestHandler) Handle(ctx context.Context, rec slog.Record) error {
	if x := exchangeOf(ctx); x != nil {
		rec = rec.Clone()
		rec.AddAttrs(slog.String("request_id", x.id), slog.String("client", clientText(x)))
		if x.trace != "" {
			rec.AddAttrs(slog.String("trace_id", x.trace))
		}
	}
	return h.Handler.Handle(ctx, rec)
}

// WithAttrs keeps the adding of the request.
func (h requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the adding of the request.
func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name)}
}

func clientText(x *exchange) string {
	if x.client.IsValid() {
		return x.client.String()
	}
	return ""
}
