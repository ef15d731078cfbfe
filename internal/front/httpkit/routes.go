package httpkit

import (
	"log/slog"
	"net/http"

	"github.com/nodauth/nod/internal/mfa"
)

// Routes serves mux, with a problem where it has no route: 404, or 405 with Allow where the
// path has other methods.
func Routes(logger *slog.Logger, mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		// The mux says which of the two it is only by answering.
		answer := &dry{header: http.Header{}}
		h.ServeHTTP(answer, r)
		if answer.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", answer.header.Get("Allow"))
			WriteError(w, r, logger, WithStatus(http.StatusMethodNotAllowed,
				&mfa.Error{Code: mfa.Invalid, Message: "This address does not take requests of this method; Allow lists those it takes."}))
			return
		}
		WriteError(w, r, logger, mfa.ErrNotFound())
	})
}

// dry is an answer that nobody gets.
type dry struct {
	header http.Header
	status int
}

// Header gives the headers.
func (d *dry) Header() http.Header { return d.header }

// WriteHeader notes the status.
func (d *dry) WriteHeader(status int) { d.status = status }

// Write lets b go.
func (d *dry) Write(b []byte) (int, error) { return len(b), nil }
