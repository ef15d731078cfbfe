package httpkit

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// SecurityHeaders puts on every answer what keeps a browser from guessing, framing, caching
// and telling others. A handler that serves pages sets its own Content-Security-Policy and
// Cache-Control over these. With https it tells browsers to come by https only, for a year.
func SecurityHeaders(https bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if https {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// CORS admits one origin, by name, without cookies.
type CORS struct {
	// Origin is the only admitted origin, such as https://authenticator.example.org. Empty
	// admits none.
	Origin string
	// Methods are what a page of it may send.
	Methods []string
	// Headers are what a page of it may set.
	Headers []string
	// Expose are the headers of an answer that a page of it may read.
	Expose []string
	// MaxAge is how long a browser may remember the answer to its question.
	MaxAge time.Duration
}

// Wrap answers the questions of browsers (preflights) of the admitted origin and marks the
// answers to it. All other requests pass unmarked, so a browser keeps their answers from
// the page; other origins' questions get 204 without permission.
func (c CORS) Wrap(next http.Handler) http.Handler {
	methods, headers, expose := strings.Join(c.Methods, ", "), strings.Join(c.Headers, ", "), strings.Join(c.Expose, ", ")
	age := strconv.Itoa(int(c.MaxAge.Seconds()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origins := r.Header.Values("Origin")
		admitted := c.Origin != "" && len(origins) == 1 && origins[0] == c.Origin
		if admitted {
			h.Set("Access-Control-Allow-Origin", c.Origin)
		}
		question := r.Method == http.MethodOptions && len(origins) > 0 && r.Header.Get("Access-Control-Request-Method") != ""
		if !question {
			if admitted && expose != "" {
				h.Set("Access-Control-Expose-Headers", expose)
			}
			next.ServeHTTP(w, r)
			return
		}
		if admitted {
			h.Set("Access-Control-Allow-Methods", methods)
			h.Set("Access-Control-Allow-Headers", headers)
			h.Set("Access-Control-Max-Age", age)
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
