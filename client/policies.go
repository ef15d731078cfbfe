package client

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Policy is one version of the realm's policy. Versions never change.
type Policy struct {
	Version  int64     `json:"version"`           // 0 is built in
	Document string    `json:"document,omitzero"` // YAML; lists leave it out
	At       time.Time `json:"at,omitzero"`       // when it was put in force
	By       string    `json:"by,omitzero"`       // the credential that did
}

// PolicyChange is a document to be put in force.
type PolicyChange struct {
	Document string `json:"document"` // YAML
	// ExpectVersion, if not nil, is the version that the change was made from. If another is in
	// force by now, an Error with reason version_mismatch comes back.
	ExpectVersion *int64 `json:"expect_version,omitzero"`
	// DryRun checks the document and changes nothing.
	DryRun bool `json:"dry_run,omitzero"`
}

// PolicyApplied says what came of a change.
type PolicyApplied struct {
	Version int64 `json:"version"` // in force now
	Changed bool  `json:"changed"` // false if it said the same already; of a dry run, whether it would change anything
	// Document is, of a dry run, the document as it would stand: with what it leaves out filled in.
	Document string `json:"document,omitzero"`
}

// Policies are the versions of the realm's policy; the key needs the scope administer.
type Policies struct{ c *Client }

// List reads a page of versions, newest first, without their documents.
func (s Policies) List(ctx context.Context, p Paging) (Page[Policy], error) {
	return list[Policy](ctx, s.c, "list policies", "/v1/policies", nil, p.values())
}

// Current reads the version in force.
func (s Policies) Current(ctx context.Context) (Policy, error) { return s.get(ctx, "current") }

// Get reads a version.
func (s Policies) Get(ctx context.Context, version int64) (Policy, error) {
	return s.get(ctx, strconv.FormatInt(version, 10))
}

func (s Policies) get(ctx context.Context, version string) (Policy, error) {
	var p Policy
	err := s.c.do(ctx, call{what: "read policy " + version, method: http.MethodGet, path: "/v1/policies/{}", ids: []string{version}, out: &p})
	return p, err
}

// Apply puts a document in force. It returns an Error with code invalid that names what is wrong
// in it.
func (s Policies) Apply(ctx context.Context, change PolicyChange) (PolicyApplied, error) {
	var a PolicyApplied
	err := s.c.do(ctx, call{what: "apply the policy", method: http.MethodPut, path: "/v1/policies/current", body: change, out: &a})
	return a, err
}
