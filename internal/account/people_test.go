package account_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
)

func person(name, external string, more ...string) account.Person {
	p := account.Person{Name: name, ExternalID: external}
	for _, m := range more {
		member, text, _ := strings.Cut(m, "=")
		list := strings.FieldsFunc(text, func(r rune) bool { return r == '|' })
		switch member {
		case "display":
			p.Display = &text
		case "aliases":
			p.Aliases = &list
		case "groups":
			p.Groups = &list
		}
	}
	return p
}

// imports says what an import did, a line for each person.
func (w *world) imports(try bool, people ...account.Person) []string {
	w.t.Helper()
	list, err := w.s.Import(w.ctx, in, people, try)
	must(w.t, err)
	var out []string
	for _, i := range list {
		line := i.Outcome + " " + i.Name
		for _, c := range i.Changes {
			line += " " + c.Member + ":" + strings.Join(c.Before, "|") + ">" + strings.Join(c.After, "|")
		}
		if i.Refused != nil {
			line += " " + string(mfa.CodeOf(i.Refused))
		}
		out = append(out, line)
	}
	return out
}

func TestImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hand := w.user("hand")
	first := []account.Person{
		person("Ada", "1", "display=Ada L.", "aliases=ada@example.org", "groups=staff|admins"),
		person("bob", "2"),
		person("hand", "3", "groups=staff"),
		person("Ada", "9"),   // was in this very import
		person("no one", ""), // no name
		person("cy", "", "aliases=bob"),
		person("cy", "", "aliases="),
	}
	want := []string{
		"created ada", "created bob", "changed hand external_id:>3 groups:>staff", "refused Ada conflict", "refused no one invalid",
		"refused cy conflict", "created cy",
	}
	for _, try := range []bool{true, true, false} {
		if d := cmp.Diff(want, w.imports(try, first...)); d != "" {
			t.Fatalf("try %v (-want +got):\n%s", try, d)
		}
		if n := len(w.events(audit.UserCreated)); try && n != 1 {
			t.Fatalf("a trial made %d people", n-1)
		}
	}
	if u, err := w.s.User(w.ctx, in, hand.ID); err != nil || u.ExternalID != "3" {
		t.Errorf("%+v, %v", u, err)
	}
	before := len(w.events(""))
	if d := cmp.Diff([]string{"unchanged ada", "unchanged bob", "unchanged hand", "unchanged cy"}, w.imports(
		false, first[0], first[1], first[2], first[6])); d != "" {
		t.Errorf("again (-want +got):\n%s", d)
	}
	if after := len(w.events("")); after != before {
		t.Errorf("an import that changes nothing writes %d events", after-before)
	}
	if d := cmp.Diff([]string{
		"unchanged ada", // spelled otherwise, in another order, and the rest not said
		"changed bob display_name:bob>Bob groups:>x",
		"changed hand groups:staff>",
		"changed ada groups:admins|staff>admins aliases:ada@example.org>countess@example.org",
	}, append(w.imports(false,
		person("ADA", "1", "aliases=Ada@Example.org", "groups=admins|staff|admins"),
		person("bob", "", "display=Bob", "groups=x"),
		person("hand", "3", "groups="),
	), w.imports(false, person("ada", "1", "groups=admins", "aliases=countess@example.org"))...)); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
}

// TestImportKnowsWhoIsWho: the external id is the person; a name that was given to somebody else is
// not.
func TestImportKnowsWhoIsWho(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.imports(false, person("jo.old", "7", "aliases=jo@example.org"))
	married := person("jo.new", "7", "aliases=jo@example.org")
	if d := cmp.Diff([]string{"changed jo.old aliases:jo@example.org>jo.new|jo@example.org"}, w.imports(false, married)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"unchanged jo.old"}, w.imports(false, married)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"unchanged jo.old"}, w.imports(false, person("jo.new", "7"))); d != "" {
		t.Error(d)
	}
	for _, taken := range []account.Person{
		person("jo.old", "8"),        // another person of the same name
		person("jo.new", "8"),        // who is called as the first was later
		person("jo@example.org", ""), // an alias
		person("kim", "", "aliases=JO.OLD"),
	} {
		if got := w.imports(false, taken); got[0] != "refused "+taken.Name+" conflict" {
			t.Errorf("%s: %s", taken.Name, got)
		}
	}
	if got, err := w.s.Import(w.ctx, in, make([]account.Person, account.MaxImported+1), true); err == nil {
		t.Errorf("too many: %v", got)
	}
}

// TestImportNamesEverybodyOnce has one import call two people the same one: whoever is second would
// answer for the first.
func TestImportNamesEverybodyOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.imports(false, person("known", "5"), person("plain", ""))
	for name, people := range map[string][]account.Person{
		"new":      {person("eve", "7"), person("mallory", "7", "display=Mallory")},
		"known":    {person("known", "5", "display=Known"), person("mallory", "5")},
		"the same": {person("plain", ""), person("plain", "", "display=Plain")},
	} {
		for _, try := range []bool{true, false} {
			got := w.imports(try, people...)
			if want := "refused " + people[1].Name + " conflict"; len(got) != 2 || got[1] != want {
				t.Errorf("%s, only tried %v: %q, want the second to be %q", name, try, got, want)
			}
		}
	}
	list, err := w.s.Users(w.ctx, in, account.UserFilter{Prefix: "mallory"}, account.Page{Limit: 10})
	must(t, err)
	if len(list) != 0 {
		t.Errorf("mallory is %v", list)
	}
}
