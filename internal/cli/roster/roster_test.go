package roster_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/cli/roster"
	"github.com/nodauth/nod/internal/wire/username"
)

func TestParse(t *testing.T) {
	t.Parallel()
	text := "\ufeffname,aliases,groups,external_id,display\r\n" +
		"Ada,ada@example.org|lovelace,staff|admins,42,\"Lovelace, Ada\"\r\n" +
		"bob,,,,\r\n"
	got, faults := roster.Parse([]byte(text))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	want := []roster.Person{
		{
			Line: 2, Name: "Ada", ExternalID: "42", Display: new("Lovelace, Ada"),
			Aliases: &[]string{"ada@example.org", "lovelace"}, Groups: &[]string{"staff", "admins"},
		},
		{Line: 3, Name: "bob", Aliases: &[]string{}, Groups: &[]string{}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	only, faults := roster.Parse([]byte("name\njo"))
	if d := cmp.Diff([]roster.Person{{Line: 2, Name: "jo"}}, only); d != "" || len(faults) > 0 {
		t.Errorf("%v (-want +got):\n%s", faults, d)
	}
}

// TestFaults: all that is wrong is told at once, with lines.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "line 1: the list is empty; its first line names the columns"},
		{"columns", "name,mail,name\n", "line 1: there is no column \"mail\"; there are name, display, aliases, groups, external_id\n" +
			"line 1: the column name is there twice"},
		{"no name", "groups\nx\n", "line 1: the column name is missing"},
		{"quote", "name\njo\n\"k\"x\nno one\n", "line 3: column 3: extraneous or missing \" in quoted-field; nothing after it was read"},
		{"cells", "name,groups\njo\nkim,a,b\n", "line 2: it has 1 cells, and there are 2 columns\nline 3: it has 3 cells, and there are 2 columns"},
		{"several", "name,groups,external_id\na b,x,1\njo,x||y,2\nJO, x,3\nkim,,4\nKim,,5\nlea,,4\n", "line 2: name \"a b\": user name holds a character that is not allowed\n" +
			"line 3: groups has an empty entry\nline 4: groups: \" x\" is too long, or has space around it or characters that cannot be shown\n" +
			"line 6: the name \"Kim\" stands on line 5 already, in this or another spelling\nline 7: the external id \"4\" stands on line 5 already"},
		{"alias", "name,aliases\njo,\nkim,JO\nlea,lea\n", "line 3: the alias \"JO\" stands on line 2 already, in this or another spelling\n" +
			"line 4: the alias \"lea\" stands on line 4 already, in this or another spelling"},
		{"bytes", "name\njo\n\xff\n", "line 3: the list is not UTF-8"},
		{"control", "name,groups\njo,\"a\nb\"\n", "line 2: groups is too long or holds control characters"},
	} {
		_, faults := roster.Parse([]byte(tt.text))
		lines := make([]string, len(faults))
		for i, f := range faults {
			lines[i] = f.String()
		}
		if d := cmp.Diff(tt.want, strings.Join(lines, "\n")); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("name\n")
	for i := range roster.MaxLines {
		fmt.Fprintf(&b, "u%d\n", i)
	}
	if people, faults := roster.Parse([]byte(b.String())); len(people) != roster.MaxLines || len(faults) > 0 {
		t.Errorf("%d people, %v", len(people), faults)
	}
	if _, faults := roster.Parse([]byte(b.String() + "one-more\n")); len(faults) != 1 {
		t.Errorf("one too many: %v", faults)
	}
	if _, faults := roster.Parse(make([]byte, roster.MaxBytes+1)); len(faults) != 1 {
		t.Errorf("too large: %v", faults)
	}
}

func TestCell(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "jo": "jo", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "a=b": "a=b",
	} {
		if got := roster.Cell(text); got != want {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

func FuzzImport(f *testing.F) {
	f.Add("name,groups\njo,a|b\n")
	f.Add("\ufeffname,aliases,external_id,display\r\n\"x\"\"y\",b|c,1,\"A, B\"\r\n")
	f.Add("name\n\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		people, faults := roster.Parse([]byte(text))
		if len(faults) > 0 {
			return
		}
		names := map[string]bool{}
		for _, p := range people {
			all := []string{p.Name}
			if p.Aliases != nil {
				all = append(all, *p.Aliases...)
			}
			for _, n := range all {
				c, err := username.Canonical(n)
				if err != nil || names[c] {
					t.Fatalf("%q is taken: %v", n, err)
				}
				names[c] = true
			}
			if p.Line < 2 {
				t.Fatalf("line %d", p.Line)
			}
		}
	})
}
