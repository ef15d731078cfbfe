package rest

import (
	"context"
	"net/http"
	"strconv"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/policy"
)

type policyShape struct {
	Version  int     `json:"version" doc:"0 is built in."`
	Document string  `json:"document,omitempty" doc:"YAML; lists leave it out."`
	At       instant `json:"at,omitzero" doc:"When it was put in force."`
	By       string  `json:"by,omitempty" doc:"The credential that did."`
}

func showPolicy(p policy.Policy) policyShape {
	return policyShape{Version: p.Version, Document: string(p.Document.Canonical()), At: instant(p.At), By: p.By}
}

type policyChangeShape struct {
	Document      string `json:"document" maxLength:"60000" doc:"YAML."`
	ExpectVersion *int   `json:"expect_version,omitzero" minimum:"0" doc:"The version that the change was made from."`
	DryRun        bool   `json:"dry_run,omitzero" doc:"Check the document and change nothing."`
}

type policyAppliedShape struct {
	Version  int    `json:"version" doc:"In force now."`
	Changed  bool   `json:"changed" doc:"False if it said the same already; of a dry run, whether it would change anything."`
	Document string `json:"document,omitempty" doc:"Of a dry run: the document as it would stand, with what it leaves out filled in. YAML."`
}

// maxVersions is how many versions a list goes back.
const maxVersions = 1000

func (h *Handler) policyRoutes() {
	const tag = "policies"
	add(h, route{
		id: "listPolicies", method: http.MethodGet, path: "/v1/policies", tag: tag,
		summary: "List the versions of the policy, newest first", access: administer, query: paging(),
	}, h.listPolicies)
	add(h, route{
		id: "getCurrentPolicy", method: http.MethodGet, path: "/v1/policies/current", tag: tag,
		summary: "Read the policy in force", access: administer,
	}, h.currentPolicy)
	add(h, route{
		id: "getPolicy", method: http.MethodGet, path: "/v1/policies/{version}", tag: tag, summary: "Read a version of the policy",
		access: administer, codes: []mfa.Code{mfa.NotFound},
	}, h.getPolicy)
	add(h, route{
		id: "applyPolicy", method: http.MethodPut, path: "/v1/policies/current", tag: tag, summary: "Put a policy in force",
		access: administer, codes: []mfa.Code{mfa.Conflict},
	}, h.applyPolicy)
}

func (h *Handler) listPolicies(ctx context.Context, c *call, _ nothing) (list[policyShape], error) {
	rows, err := h.c.Policies.Versions(ctx, c.by.Realm, maxVersions)
	if err != nil {
		return list[policyShape]{}, err
	}
	return part(h, c, rows, func(p policy.Policy) string { return strconv.Itoa(p.Version) }, func(p policy.Policy) policyShape {
		return policyShape{Version: p.Version, At: instant(p.At), By: p.By}
	})
}

func (h *Handler) currentPolicy(ctx context.Context, c *call, _ nothing) (policyShape, error) {
	p, err := h.c.Policies.Show(ctx, c.by.Realm, 0)
	if err != nil {
		return policyShape{}, err
	}
	return showPolicy(p), nil
}

func (h *Handler) getPolicy(ctx context.Context, c *call, _ nothing) (policyShape, error) {
	sent := c.path("version")
	version, err := strconv.Atoi(sent)
	if err != nil || version < 0 || strconv.Itoa(version) != sent {
		return policyShape{}, mfa.ErrNotFound()
	}
	if version == 0 { // which Show takes for the present one
		return showPolicy(policy.Policy{Document: policy.Default()}), nil
	}
	p, err := h.c.Policies.Show(ctx, c.by.Realm, version)
	if err != nil {
		return policyShape{}, err
	}
	return showPolicy(p), nil
}

func (h *Handler) applyPolicy(ctx context.Context, c *call, in policyChangeShape) (policyAppliedShape, error) {
	d, err := policy.Parse([]byte(in.Document))
	if err != nil {
		return policyAppliedShape{}, err
	}
	expect := -1
	if in.ExpectVersion != nil {
		expect = *in.ExpectVersion
	}
	if in.DryRun {
		now, changes, err := h.c.Accounts.TryPolicy(ctx, c.by.Realm, d, expect)
		if err != nil {
			return policyAppliedShape{}, err
		}
		return policyAppliedShape{Version: now.Version, Changed: changes, Document: string(d.Canonical())}, nil
	}
	p, changed, err := h.c.Accounts.ApplyPolicy(ctx, c.by.Realm, d, expect)
	if err != nil {
		return policyAppliedShape{}, err
	}
	return policyAppliedShape{Version: p.Version, Changed: changed}, nil
}
