package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/replay"
)

const (
	// maxBody and bodyTime limit the body of a request.
	maxBody  = 64 << 10
	bodyTime = 10 * time.Second
	// maxRun is how long a request may run, apart from the wait that it asks for.
	maxRun = replay.MaxRun
	// maxWait is the longest wait of a long poll.
	maxWait = 60 * time.Second
)

// access is who may use a route.
type access int

const (
	public       access = iota // no credential
	authenticate               // scope authenticate
	administer                 // scope administer
	selfService                // either: the handler asks for evidence where administer is missing
)

// keying is what an idempotency key does.
type keying int

const (
	keyIgnored  keying = iota // the route takes none
	keyOptional               // repeats the stored answer
	keyRequired               // the service behind keeps the answer itself
)

// route is one operation of the API.
type route struct {
	id      string // operationId
	method  string
	path    string
	tag     string
	summary string
	about   string // what the summary leaves out
	access  access
	query   []param
	status  int    // of a good answer; 200 if 0
	made    string // path below which a good answer's object is found, for Location; "" for none
	secret  bool   // a good answer holds a secret
	keyed   keying
	codes   []mfa.Code // refusals beyond those that every route can give
}

// nothing is the request without a body, and the answer without one.
type nothing struct{}

// call is one request on its way.
type call struct {
	r      *http.Request
	by     application.Caller
	query  map[string]string
	key    string                     // idempotency key, "" without one
	ids    func(prefix string) string // gives ids that a repetition gives again; nil without a key
	object string                     // set by the handler: the id of what was made
	route  route
	do     func(context.Context) (any, error)
}

func (c *call) path(name string) string { return c.r.PathValue(name) }

// endpoint is a route with what it does, apart from its types.
type endpoint struct {
	route
	// prepare reads and checks the body and sets call.do.
	prepare func(c *call, body []byte) error
}

// add declares a route.
func add[In, Out any](h *Handler, r route, fn func(context.Context, *call, In) (Out, error)) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	op, schema := describe(h.document, r, reflect.TypeFor[In](), reflect.TypeFor[Out]())
	e := &endpoint{route: r, prepare: func(c *call, body []byte) error {
		in, err := decode[In](h.document.Components.Schemas, schema, c.r, body)
		if err != nil {
			return err
		}
		c.do = func(ctx context.Context) (any, error) { return fn(ctx, c, in) }
		return nil
	}}
	h.mounts = append(h.mounts, mount{op, h.serve(e)})
}

// serve admits a request, reads it and answers it.
func (h *Handler) serve(e *endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		c, err := h.admit(r, e)
		if err != nil {
			h.refuse(w, r, err)
			return
		}
		if e.access != public {
			release, err := h.c.Shares.Take(string(c.by.Realm), string(c.by.Application.ID))
			if err != nil {
				h.refuse(w, r, err)
				return
			}
			defer release()
		}
		httpkit.Body(h.c.Logger, httpkit.Limit{Bytes: maxBody, Time: bodyTime}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.r = r
			body, err := io.ReadAll(r.Body)
			if err == nil {
				err = e.prepare(c, body)
			}
			if err != nil {
				h.refuse(w, r, err)
				return
			}
			h.answer(w, c, e, body)
		})).ServeHTTP(w, c.r)
	})
}

// admit establishes who asks and reads everything but the body.
func (h *Handler) admit(r *http.Request, e *endpoint) (*call, error) {
	c := &call{r: r, route: e.route}
	var err error
	if e.access != public {
		if c.by, err = h.who(r); err != nil {
			return nil, err
		}
		if err := e.access.require(c.by); err != nil {
			return nil, err
		}
		c.r = r.WithContext(audit.With(r.Context(), origin(r, e.access, c.by)))
	}
	if c.query, err = readQuery(r.URL.RawQuery, e.query); err != nil {
		return nil, err
	}
	if e.keyed == keyIgnored {
		return c, nil
	}
	switch sent := r.Header.Values("Idempotency-Key"); len(sent) {
	case 0:
	case 1:
		c.key = sent[0]
		err = replay.CheckKey(c.key)
	default:
		err = replay.CheckKey("")
	}
	return c, err
}

// who gives the caller whose API key the request carries.
func (h *Handler) who(r *http.Request) (application.Caller, error) {
	sent := r.Header.Values("Authorization")
	if len(sent) != 1 {
		return application.Caller{}, errNoKey()
	}
	scheme, key, found := strings.Cut(sent[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return application.Caller{}, errNoKey()
	}
	by, err := h.c.Applications.Authenticate(r.Context(), key)
	if err == nil && !h.c.Realms.Serves(r.Host, by.Realm) {
		return application.Caller{}, application.ErrKey()
	}
	return by, err
}

func errNoKey() error {
	return mfa.Errorf(mfa.Unauthenticated, "", "Send an API key in the header Authorization: Bearer nod_sk_….")
}

// require returns Forbidden unless the caller has the scope of the route.
func (a access) require(by application.Caller) error {
	switch a {
	case authenticate:
		return by.Require(application.Authenticate)
	case administer:
		return by.Require(application.Administer)
	case selfService:
		if by.Has(application.Administer) {
			return nil
		}
		return by.Require(application.Authenticate)
	case public:
	}
	return nil
}

// origin is who acts, for the audit record.
func origin(r *http.Request, a access, by application.Caller) audit.Origin {
	o := audit.Origin{Actor: mfa.ActorApplication, By: by.KeyID, Address: httpkit.Address(r), Request: httpkit.RequestID(r)}
	if a == administer || (a == selfService && by.Has(application.Administer)) {
		o.Actor = mfa.ActorAdministrator
	}
	return o
}

// answer carries the request out, or gives the stored answer of its idempotency key.
func (h *Handler) answer(w http.ResponseWriter, c *call, e *endpoint, body []byte) {
	ctx, cancel := context.WithTimeout(c.r.Context(), maxRun+time.Duration(c.number("wait"))*time.Second)
	defer cancel()
	if c.key == "" || e.keyed != keyOptional {
		h.perform(ctx, w, c, e)
		return
	}
	var fresh *buffer
	a, err := h.c.Replays.Do(ctx, replay.Call{
		Realm: c.by.Realm, Application: c.by.Application.ID, Key: c.key, Body: body,
		Route: e.method + " " + e.path, Target: c.target(e),
	}, func(ctx context.Context, ids func(string) string) replay.Answer {
		c.ids = ids
		fresh = &buffer{header: make(http.Header)}
		h.perform(ctx, fresh, c, e)
		return replay.Answer{
			Status: fresh.status, Object: c.object, Secret: e.secret && fresh.status < 300, Body: fresh.body.Bytes(),
		}
	})
	switch {
	case err != nil:
		h.refuse(w, c.r, err)
		return
	case fresh != nil:
		for name, values := range fresh.header {
			w.Header()[name] = values
		}
	default:
		if len(a.Body) > 0 {
			w.Header().Set("Content-Type", contentType(a.Status))
		}
		if a.Status < 300 {
			e.locate(w, a.Object)
		}
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the caller is gone if this fails
}

// target is what a repetition must ask for again, and by the same right: a key that may only
// authenticate does not get what one that administers was answered.
func (c *call) target(e *endpoint) string {
	target := e.method + " " + c.r.URL.RequestURI()
	if c.by.Has(application.Administer) {
		return "administer " + target
	}
	return target
}

// perform calls the handler and writes what it gives.
func (h *Handler) perform(ctx context.Context, w http.ResponseWriter, c *call, e *endpoint) {
	out, err := c.do(ctx)
	if err != nil {
		h.refuse(w, c.r, err)
		return
	}
	e.locate(w, c.object)
	if _, empty := out.(nothing); empty {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	text, err := answerText(out)
	if err != nil {
		h.refuse(w, c.r, err)
		return
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", contentType(e.status))
	}
	w.WriteHeader(e.status)
	_, _ = w.Write(text) // the caller is gone if this fails
}

// locate says where what was made is found.
func (r route) locate(w http.ResponseWriter, object string) {
	if r.made != "" && object != "" {
		w.Header().Set("Location", r.made+object)
	}
}

func answerText(out any) ([]byte, error) { return json.Marshal(out, json.Deterministic(true)) }

// makes makes something and answers with what show says of it: the id and the answer. For a request
// with an idempotency key the answer is kept in the transaction that makes it, so show may be called
// several times.
func makes[Made, Out any](
	ctx context.Context, c *call, do func(context.Context) (Made, error), show func(Made) (id string, out Out, err error),
) (out Out, err error) {
	replay.Answering(ctx, func(made any) (replay.Answer, error) {
		m, ok := made.(Made)
		if !ok {
			return replay.Answer{}, fmt.Errorf("%s made a %T", c.route.id, made)
		}
		id, out, err := show(m)
		if err != nil {
			return replay.Answer{}, err
		}
		text, err := answerText(out)
		return replay.Answer{Status: c.route.status, Object: id, Secret: c.route.secret, Body: text}, err
	})
	m, err := do(ctx)
	if err != nil {
		return out, err
	}
	c.object, out, err = show(m)
	return out, err
}

// refuse answers with a problem.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if mfa.CodeOf(err) == mfa.Unauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer realm="nod"`)
	}
	httpkit.WriteError(w, r, h.c.Logger, err)
}

func contentType(status int) string {
	if status >= 400 {
		return httpkit.ProblemType
	}
	return "application/json"
}

// buffer holds an answer until it is stored.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header gives the headers.
func (b *buffer) Header() http.Header { return b.header }

// WriteHeader notes the status.
func (b *buffer) WriteHeader(status int) { b.status = status }

// Write keeps p.
func (b *buffer) Write(p []byte) (int, error) { return b.body.Write(p) }

// checker is a request whose members depend on one another in ways that no schema says.
type checker interface{ check() error }

// decode reads a body strictly and checks it against its schema. A body may be left out where no
// member of it is required.
func decode[In any](reg huma.Registry, schema *huma.Schema, r *http.Request, body []byte) (In, error) {
	var in In
	var tree any = map[string]any{}
	if len(body) > 0 || (schema != nil && len(schema.Required) > 0) {
		r.Body = io.NopCloser(bytes.NewReader(body))
		var err error
		if in, err = httpkit.DecodeJSON[In](r); err != nil {
			return in, err
		}
		if err := json.Unmarshal(body, &tree); err != nil {
			return in, mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The body of the request is not valid JSON.")
		}
	}
	if schema != nil {
		var found huma.ValidateResult
		huma.Validate(reg, schema, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, tree, &found)
		if len(found.Errors) > 0 {
			return in, invalid(found.Errors[0])
		}
	}
	if c, ok := any(&in).(checker); ok {
		return in, c.check()
	}
	return in, nil
}

// invalid gives what the schema says of a member, without the value that was sent.
func invalid(err error) error {
	d, ok := errors.AsType[*huma.ErrorDetail](err)
	if !ok {
		return mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The request does not have the form that the OpenAPI document gives.")
	}
	field := strings.NewReplacer("[", ".", "]", "").Replace(d.Location)
	return mfa.InvalidField(field, "%s.", strings.ToUpper(d.Message[:1])+d.Message[1:])
}

// asUser gives a context in which the person acts, through the application that asks.
func (c *call) asUser(ctx context.Context) context.Context {
	o := audit.From(ctx)
	o.Actor = mfa.ActorUser
	return audit.With(ctx, o)
}

// asActor gives a context in which the actor named acts, an administrator without one.
func (c *call) asActor(ctx context.Context, actor string) context.Context {
	o := audit.From(ctx)
	o.Actor = mfa.ActorAdministrator
	if actor != "" {
		o.Actor = mfa.Actor(actor)
	}
	return audit.With(ctx, o)
}
