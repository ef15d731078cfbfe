package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nodauth/nod/client"
	"github.com/nodauth/nod/internal/cli/roster"
)

const (
	importBatch = 100      // people in one request
	importBytes = 48 << 10 // of JSON in one request
)

type userImport struct {
	File   string `arg:"" help:"CSV file; - for standard input."`
	DryRun bool   `help:"Change nothing; say what would be done."`
}

// Help explains the file and gives examples.
func (userImport) Help() string {
	return "The first line names the columns: name, and any of display, aliases, groups and external_id. Several aliases or groups stand\n" +
		"in one cell with | between them. People are found by external id, else by name; who is not in the file stays as they are.\n" +
		"Nothing is done unless every line is good.\n\n" +
		"Examples:\n\n    nod user import people.csv --dry-run\n    nod user import people.csv\n"
}

// importResult is what an import did or would do.
type importResult struct {
	DryRun    bool           `json:"dry_run"`
	Created   int            `json:"created"`
	Changed   int            `json:"changed"`
	Unchanged int            `json:"unchanged"`
	Refused   int            `json:"refused"`
	People    []importedLine `json:"people"` // but for those who are unchanged
}

type importedLine struct {
	Line int `json:"line"`
	client.Imported
}

func (r *importResult) add(line int, i client.Imported) {
	switch i.Outcome {
	case "created":
		r.Created++
	case "changed":
		r.Changed++
	case "unchanged":
		r.Unchanged++
		return
	default:
		r.Refused++
	}
	r.People = append(r.People, importedLine{line, i})
}

// Run imports people.
func (v *userImport) Run(a *app) error {
	people, err := v.read(a)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	plan, err := a.importAll(c, people, true)
	if err != nil {
		return err
	}
	if v.DryRun || plan.Refused > 0 {
		if err := a.showImport(plan); err != nil {
			return err
		}
		if plan.Refused > 0 {
			a.say("Nothing was done: some would be refused. Mend their lines first.")
			return outcome(codeError)
		}
		return nil
	}
	done, err := a.importAll(c, people, false)
	if err != nil {
		return fmt.Errorf("%w\nSome are imported, %d and more; run it again to go on", err, done.Created+done.Changed)
	}
	if err := a.showImport(done); err != nil {
		return err
	}
	if done.Refused > 0 {
		return outcome(codeError)
	}
	return nil
}

// read reads the file and tells all that is wrong with it.
func (v *userImport) read(a *app) ([]roster.Person, error) {
	from := a.stdin
	if v.File != "-" {
		f, err := os.Open(v.File)
		if err != nil {
			return nil, fmt.Errorf("read the people: %w", err)
		}
		defer func() { _ = f.Close() }() // only read
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, roster.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the people: %w", err)
	}
	people, faults := roster.Parse(text)
	if len(faults) == 0 {
		return people, nil
	}
	for _, f := range faults {
		a.say("%s", f)
	}
	a.say("Nothing was done: %d faults.", len(faults))
	return nil, outcome(codeError)
}

// importAll sends the people in batches. With try nothing is changed.
func (a *app) importAll(c *client.Client, people []roster.Person, try bool) (importResult, error) {
	r := importResult{DryRun: try, People: []importedLine{}}
	verb := "Importing"
	if try {
		verb = "Checking"
	}
	show, end := a.progress(verb, len(people))
	defer end()
	for done := 0; done < len(people); {
		batch, err := nextBatch(people[done:])
		if err != nil {
			return r, err
		}
		got, err := c.Users.Import(a.ctx, batch, try)
		if err != nil {
			return r, err
		}
		if len(got) != len(batch) {
			return r, fmt.Errorf("the server answered for %d people of %d", len(got), len(batch))
		}
		for i, g := range got {
			r.add(people[done+i].Line, g)
		}
		done += len(batch)
		show(done)
	}
	return r, nil
}

// nextBatch takes as many people as go into one request.
func nextBatch(people []roster.Person) ([]client.Person, error) {
	var batch []client.Person
	size := 0
	for _, p := range people[:min(len(people), importBatch)] {
		person := client.Person{Name: p.Name, ExternalID: p.ExternalID, DisplayName: p.Display, Aliases: p.Aliases, Groups: p.Groups}
		text, err := json.Marshal(person)
		if err != nil {
			return nil, err
		}
		if size += len(text) + 1; size > importBytes && len(batch) > 0 {
			break
		}
		batch = append(batch, person)
	}
	return batch, nil
}

// progress shows on a terminal how far it is.
func (a *app) progress(verb string, of int) (show func(int), end func()) {
	if !isTerminal(a.stderr) || of <= importBatch {
		return func(int) {}, func() {}
	}
	return func(n int) { fmt.Fprintf(a.stderr, "\r%s: %d of %d", verb, n, of) }, func() { fmt.Fprintln(a.stderr) }
}

func (a *app) showImport(r importResult) error {
	return a.show(r, func(w io.Writer) {
		for _, p := range r.People {
			switch p.Outcome {
			case "created":
				fmt.Fprintf(w, "+ %s\n", p.Name)
			case "changed":
				fmt.Fprintf(w, "~ %s: %s\n", p.Name, memberChanges(p.Changes))
			default:
				why := "refused"
				if p.Refusal != nil {
					why = p.Refusal.Detail
				}
				fmt.Fprintf(w, "! line %d, %s: %s\n", p.Line, p.Name, why)
			}
		}
		would := ""
		if r.DryRun {
			would = "Nothing was changed; it would be: "
		}
		fmt.Fprintf(w, "%screated %d, changed %d, unchanged %d, refused %d\n", would, r.Created, r.Changed, r.Unchanged, r.Refused)
	})
}

func memberChanges(list []client.MemberChange) string {
	parts := make([]string, len(list))
	for i, m := range list {
		parts[i] = fmt.Sprintf("%s %s -> %s", m.Member, listed(m.Before), listed(m.After))
	}
	return strings.Join(parts, ", ")
}

func listed(items []string) string {
	if len(items) == 0 {
		return "none"
	}
	return strings.Join(items, "|")
}
