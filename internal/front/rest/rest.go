// Package rest is the applications' API: challenges for applications, and people, devices, factors,
// applications and policy for administrators. It translates; it decides nothing.
//
// A route is declared once, with the Go types of its request and its answer. From that come the
// handler, the strict reading of the request and its line in the OpenAPI document, which is
// committed as openapi.json and served as it is. Requests go through these steps, in this order:
//
//	API key ─► scope ─► query ─► body: size, form, schema ─► idempotency key ─► service ─► answer
//
// What was sent never comes back in an error, and answers are never cached.
package rest

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/authn"
	webhooks "github.com/nodauth/nod/internal/endpoint"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/wire/cursor"
)

// Config of the Handler. All members are required.
type Config struct {
	Pipeline     *authn.Service
	Accounts     *account.Service
	Applications *application.Service
	Events       *audit.Service
	Realms       *realm.Service
	Policies     *policy.Service
	Replays      *replay.Service
	Shares       *httpkit.Shares // of the places for requests in progress
	Webhooks     *webhooks.Service
	Ring         *keys.Ring
	Logger       *slog.Logger
}

// Handler serves the API. It is safe for concurrent use.
type Handler struct {
	c        Config
	cursors  cursor.Codec
	document *huma.OpenAPI
	mounts   []mount
}

// mount is a route with its handler.
type mount struct {
	op      *huma.Operation
	handler http.Handler
}

// New makes a Handler.
func New(c Config) (*Handler, error) {
	if c.Pipeline == nil || c.Accounts == nil || c.Applications == nil || c.Events == nil ||
		c.Realms == nil || c.Policies == nil || c.Replays == nil || c.Webhooks == nil || c.Shares == nil || c.Ring == nil || c.Logger == nil {
		return nil, errors.New("rest: every member of Config is required")
	}
	h := &Handler{c: c, cursors: cursor.New(c.Ring.Derive("rest-cursor", nil, 32)), document: newDocument()}
	h.challengeRoutes()
	h.userRoutes()
	h.deviceRoutes()
	h.importRoutes()
	h.invitationRoutes()
	h.enrolmentRoutes()
	h.factorRoutes()
	h.applicationRoutes()
	h.policyRoutes()
	h.eventRoutes()
	h.realmRoutes()
	h.keyRoutes()
	h.webhookRoutes()
	finishDocument(h.document)
	return h, nil
}

// Mount adds the routes. Requests of other routes and methods are the mux's to refuse.
func (h *Handler) Mount(mux *http.ServeMux) {
	adapter := humago.NewAdapter(mux, "")
	for _, m := range h.mounts {
		adapter.Handle(m.op, func(c huma.Context) {
			r, w := humago.Unwrap(c)
			m.handler.ServeHTTP(w, r)
		})
	}
}
