package rest

import (
	_ "embed"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/replay"
)

// openapi is the document as it is committed and served. A test makes it and compares.
//
//go:embed openapi.json
var openapi []byte

const (
	schemaPrefix = "#/components/schemas/"
	problemName  = "Problem"
	bearer       = "api_key"
)

// always are the refusals that every route can give.
var always = []mfa.Code{mfa.Invalid, mfa.Internal, mfa.Unavailable}

func newDocument() *huma.OpenAPI {
	schemas := huma.NewMapRegistry(schemaPrefix, func(t reflect.Type, hint string) string {
		return strings.ReplaceAll(huma.DefaultSchemaNamer(t, hint), "Shape", "")
	})
	d := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "nod", Version: "1",
			Description: "The applications' API of nod. Times are RFC 3339 in UTC with milliseconds. A member that " +
				"does not apply is absent, never null. Ids are opaque. A request has at most 64 KiB; unknown and " +
				"repeated members are refused. Clients ignore members of answers that they do not know. " +
				"Another application's or realm's object is answered as if it did not exist.",
			License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Servers: []*huma.Server{{URL: "/"}},
		Tags: []*huma.Tag{
			{Name: "challenges", Description: "Requests to authenticate a user or to approve an action."},
			{Name: "users", Description: "People."},
			{Name: "devices", Description: "Enrolled authenticators."},
			{Name: "enrolments", Description: "How authenticators come."},
			{Name: "invitations", Description: "Links for days that lead to an enrolment or a new password."},
			{Name: "factors", Description: "The ways to answer without an authenticator."},
			{Name: "applications", Description: "Relying parties and their keys."},
			{Name: "policies", Description: "What sign-ins have to satisfy."},
			{Name: "events", Description: "What happened."},
			{Name: "realms", Description: "Tenants and their keys."},
		},
		Components: &huma.Components{
			Schemas:   schemas,
			Responses: map[string]*huma.Response{},
			SecuritySchemes: map[string]*huma.SecurityScheme{bearer: {
				Type: "http", Scheme: "bearer", BearerFormat: "nod_sk_…",
				Description: "An API key of an application. Its scopes: authenticate (challenges of its own), " +
					"assert_first_factor (it may say that it checked a first factor), administer (everything else of its realm).",
			}},
		},
	}
	problem := schemas.Schema(reflect.TypeFor[httpkit.Problem](), true, problemName)
	for _, code := range mfa.Codes() {
		d.Components.Responses[string(code)] = problemResponse(code, problem)
	}
	return d
}

// problemResponse describes a refusal with its reasons.
func problemResponse(code mfa.Code, problem *huma.Schema) *huma.Response {
	about := codeTexts[code]
	for _, r := range reasonTexts {
		if r.code == code {
			about += "\n\n`" + string(r.reason) + "`: " + r.text
		}
	}
	out := &huma.Response{
		Description: about,
		Content:     map[string]*huma.MediaType{httpkit.ProblemType: {Schema: problem}},
	}
	if code == mfa.RateLimited || code == mfa.Unavailable {
		out.Headers = map[string]*huma.Param{"Retry-After": {
			Description: "Seconds after which to try again.", Schema: &huma.Schema{Type: huma.TypeInteger},
		}}
	}
	return out
}

// describe adds a route to the document. It returns the schema of its body too, nil for none.
func describe(d *huma.OpenAPI, r route, in, out reflect.Type) (*huma.Operation, *huma.Schema) {
	op := &huma.Operation{
		OperationID: r.id, Method: r.method, Path: r.path, Tags: []string{r.tag},
		Summary: r.summary, Description: r.about, Responses: map[string]*huma.Response{},
	}
	codes := append([]mfa.Code{}, always...)
	if r.access != public {
		op.Security = []map[string][]string{{bearer: {}}}
		op.Description = strings.TrimSpace(r.about + "\n\n" + r.access.text())
		codes = append(codes, mfa.Unauthenticated, mfa.Forbidden, mfa.RateLimited)
	}
	op.Parameters = parameters(r)
	if r.keyed == keyOptional {
		codes = append(codes, mfa.Conflict)
	}
	for _, code := range append(codes, r.codes...) {
		status := strconv.Itoa(httpkit.Status(&mfa.Error{Code: code}))
		op.Responses[status] = &huma.Response{Ref: "#/components/responses/" + string(code)}
	}
	op.Responses[strconv.Itoa(r.goodStatus(out))] = goodResponse(d, out)
	var body *huma.Schema
	if in != reflect.TypeFor[nothing]() {
		ref := d.Components.Schemas.Schema(in, true, "")
		body = d.Components.Schemas.SchemaFromRef(ref.Ref)
		for _, reason := range []mfa.Reason{mfa.ReasonBodyTooLarge, mfa.ReasonMediaType} {
			status := strconv.Itoa(httpkit.Status(&mfa.Error{Code: mfa.Invalid, Reason: reason}))
			op.Responses[status] = &huma.Response{Ref: "#/components/responses/" + string(mfa.Invalid)}
		}
		op.RequestBody = &huma.RequestBody{
			Required: len(body.Required) > 0,
			Content:  map[string]*huma.MediaType{"application/json": {Schema: ref}},
		}
	}
	d.AddOperation(op)
	return op, body
}

func (r route) goodStatus(out reflect.Type) int {
	if out == reflect.TypeFor[nothing]() {
		return http.StatusNoContent
	}
	return r.status
}

func goodResponse(d *huma.OpenAPI, out reflect.Type) *huma.Response {
	switch out {
	case reflect.TypeFor[nothing]():
		return &huma.Response{Description: "It is done."}
	case reflect.TypeFor[eventStream]():
		return &huma.Response{
			Description: "The stream, which goes on until either side ends it.",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}
	}
	return &huma.Response{
		Description: "The answer.",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: d.Components.Schemas.Schema(out, true, "")}},
	}
}

func (a access) text() string {
	switch a {
	case authenticate:
		return "Scope: `" + string(application.Authenticate) + "`."
	case administer:
		return "Scope: `" + string(application.Administer) + "`."
	case selfService:
		return "Scope: `" + string(application.Administer) + "`; or `" + string(application.Authenticate) +
			"`, for the application's own users with fresh evidence."
	case public:
	}
	return ""
}

var pathParam = regexp.MustCompile(`\{([a-z]+)\}`)

func parameters(r route) []*huma.Param {
	var list []*huma.Param
	for _, m := range pathParam.FindAllStringSubmatch(r.path, -1) {
		list = append(list, &huma.Param{Name: m[1], In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	for _, p := range r.query {
		list = append(list, &huma.Param{Name: p.name, In: "query", Description: p.about, Schema: p.schema()})
	}
	if r.keyed != keyIgnored {
		one, most := 1, replay.MaxKey
		p := &huma.Param{
			Name: "Idempotency-Key", In: "header", Required: r.keyed == keyRequired,
			Description: "1 to 255 visible ASCII characters, chosen by the client. The same request with the same key is " +
				"carried out once and answered alike for 24 hours; an answer that holds secrets, for 10 minutes.",
			Schema: &huma.Schema{Type: huma.TypeString, MinLength: &one, MaxLength: &most, Pattern: "^[!-~]+$"},
		}
		if r.keyed == keyRequired {
			p.Description = "1 to 255 visible ASCII characters, chosen by the client. The same key gets the same answer again."
		}
		list = append(list, p)
	}
	return list
}

// finishDocument makes the schemas say what the API does: lists are never null, problems name their
// codes and reasons, and answers may grow members.
func finishDocument(d *huma.OpenAPI) {
	schemas := d.Components.Schemas.Map()
	requests := map[string]bool{}
	for _, item := range d.Paths {
		for _, op := range []*huma.Operation{item.Post, item.Put, item.Patch} {
			if op != nil && op.RequestBody != nil {
				reach(schemas, op.RequestBody.Content["application/json"].Schema, requests)
			}
		}
	}
	for name, s := range schemas {
		if !requests[name] {
			s.AdditionalProperties = nil
		}
		for _, p := range s.Properties {
			p.Nullable = false
		}
	}
	p := schemas[problemName].Properties
	p["code"].Enum, p["reason"].Enum = anys(mfa.Codes()), anys(mfa.Reasons())
	p["state"].Enum = anys(mfa.States())
}

// reach notes the schemas that s is made of.
func reach(schemas map[string]*huma.Schema, s *huma.Schema, seen map[string]bool) {
	if s == nil {
		return
	}
	if name, ok := strings.CutPrefix(s.Ref, schemaPrefix); ok && !seen[name] {
		seen[name] = true
		reach(schemas, schemas[name], seen)
	}
	reach(schemas, s.Items, seen)
	for _, p := range s.Properties {
		reach(schemas, p, seen)
	}
}

func anys[T ~string](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

func lastEventID() *huma.Param {
	return &huma.Param{
		Name: "Last-Event-ID", In: "header", Description: "The `id` of the last event that was received.",
		Schema: &huma.Schema{Type: huma.TypeString},
	}
}

// documentShape stands for this document in itself.
type documentShape struct{}

// Schema describes any object.
func (documentShape) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Description: "OpenAPI 3.1"}
}
