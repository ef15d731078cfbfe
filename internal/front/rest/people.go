package rest

import (
	"context"
	"net/http"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
)

type importShape struct {
	People []personShape `json:"people" minItems:"1" maxItems:"100"`
	DryRun bool          `json:"dry_run,omitzero" doc:"Change nothing; answer what would be done."`
}

type personShape struct {
	Name        string    `json:"name" minLength:"1" maxLength:"255"`
	ExternalID  string    `json:"external_id,omitempty" maxLength:"255" doc:"The directory's id. Whoever has it already is this person, however they are called."`
	DisplayName *string   `json:"display_name,omitempty" minLength:"1" maxLength:"128"`
	Aliases     *[]string `json:"aliases,omitempty" maxItems:"20" doc:"Replaces all."`
	Groups      *[]string `json:"groups,omitempty" maxItems:"200" doc:"Replaces all."`
}

type importedShape struct {
	Name    string              `json:"name" doc:"Canonical, or as it was sent where it was refused."`
	UserID  mfa.UserID          `json:"user_id,omitempty"`
	Outcome string              `json:"outcome" enum:"created,changed,unchanged,refused"`
	Changes []memberChangeShape `json:"changes,omitempty"`
	Refusal *refusalShape       `json:"refusal,omitempty"`
}

type memberChangeShape struct {
	Member string   `json:"member" enum:"display_name,external_id,groups,aliases"`
	Before []string `json:"before"`
	After  []string `json:"after"`
}

type refusalShape struct {
	Code   string `json:"code"`
	Reason string `json:"reason,omitempty"`
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
}

func (h *Handler) importRoutes() {
	add(h, route{
		id: "importUsers", method: http.MethodPost, path: "/v1/users/import", tag: "users", summary: "Make or change many users",
		about: "Users are found by external id, else by name. Members that are left out stay; users who are not named stay as " +
			"they are. Answers come in the order of the people; one that is refused keeps no other from being imported.",
		access: administer, keyed: keyOptional,
	}, h.importUsers)
}

func (h *Handler) importUsers(ctx context.Context, c *call, in importShape) (list[importedShape], error) {
	people := make([]account.Person, len(in.People))
	for i, p := range in.People {
		people[i] = account.Person{Name: p.Name, ExternalID: p.ExternalID, Display: p.DisplayName, Aliases: p.Aliases, Groups: p.Groups}
	}
	return makes(ctx, c, func(ctx context.Context) ([]account.Imported, error) {
		return h.c.Accounts.Import(ctx, c.by.Realm, people, in.DryRun)
	}, func(rows []account.Imported) (string, list[importedShape], error) {
		return "", all(rows, c.showImported), nil
	})
}

func (c *call) showImported(i account.Imported) importedShape {
	out := importedShape{Name: i.Name, UserID: i.User, Outcome: i.Outcome}
	for _, m := range i.Changes {
		out.Changes = append(out.Changes, memberChangeShape{Member: m.Member, Before: texts(m.Before), After: texts(m.After)})
	}
	if i.Refused != nil {
		p := httpkit.NewProblem(c.r, i.Refused)
		out.Refusal = &refusalShape{Code: p.Code, Reason: p.Reason, Field: p.Field, Detail: p.Detail}
	}
	return out
}

// texts is a list that is empty rather than absent.
func texts(list []string) []string { return append([]string{}, list...) }
