package cli

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/nodauth/nod/client"
)

type policyCmd struct {
	connection
	Show    policyShow    `cmd:"" help:"Print the policy in force, as YAML."`
	Apply   policyApply   `cmd:"" help:"Put a policy in force."`
	History policyHistory `cmd:"" help:"List the versions that were in force."`
}

type policyShow struct {
	Version *int64 `placeholder:"N" help:"This version; the one in force if left out."`
}

// Help gives examples.
func (policyShow) Help() string {
	return "Examples:\n\n    nod policy show > policy.yaml\n    nod policy show --version 3\n    nod policy show --version 3 | nod policy apply -\n"
}

// Run shows a policy.
func (v *policyShow) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var p client.Policy
	if v.Version != nil {
		p, err = c.Policies.Get(a.ctx, *v.Version)
	} else {
		p, err = c.Policies.Current(a.ctx)
	}
	if err != nil {
		return err
	}
	return a.show(p, func(w io.Writer) {
		if p.Version == 0 {
			a.say("Version 0, which is built in.")
		} else {
			a.say("Version %d, since %s, by %s.", p.Version, moment(p.At), p.By)
		}
		fmt.Fprint(w, p.Document)
	})
}

type policyApply struct {
	File          string `arg:"" help:"File with the policy, as YAML; - for standard input."`
	ExpectVersion *int64 `placeholder:"N" help:"Only if this version is in force, the one that the change was made from."`
	DryRun        bool   `help:"Change nothing; say what would change."`
}

// Help gives examples.
func (policyApply) Help() string {
	return "The whole document is replaced. What is live and no longer allowed is cancelled when it is to be redeemed.\n\n" +
		"Examples:\n\n    nod policy apply policy.yaml --dry-run\n    nod policy apply policy.yaml --expect-version 3\n"
}

// Run applies a policy.
func (v *policyApply) Run(a *app) error {
	var text []byte
	var err error
	if v.File == "-" {
		text, err = io.ReadAll(io.LimitReader(a.stdin, 1<<20))
	} else {
		text, err = os.ReadFile(v.File)
	}
	if err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	got, err := c.Policies.Apply(a.ctx, client.PolicyChange{Document: string(text), ExpectVersion: v.ExpectVersion, DryRun: v.DryRun})
	if err != nil {
		return err
	}
	if v.DryRun {
		return a.compare(c, got)
	}
	return a.show(got, func(w io.Writer) {
		if got.Changed {
			fmt.Fprintf(w, "Version %d is in force.\n", got.Version)
		} else {
			fmt.Fprintf(w, "Nothing changed; version %d stays in force.\n", got.Version)
		}
	})
}

// compare shows how the document of a dry run differs from the one in force.
func (a *app) compare(c *client.Client, tried client.PolicyApplied) error {
	result := struct {
		Version int64    `json:"version"`
		Changed bool     `json:"changed"`
		Lines   []string `json:"lines,omitempty"`
	}{Version: tried.Version, Changed: tried.Changed}
	if tried.Changed {
		now, err := c.Policies.Current(a.ctx)
		if err != nil {
			return err
		}
		result.Lines = difference(lines(now.Document), lines(tried.Document))
	}
	return a.show(result, func(w io.Writer) {
		if !result.Changed {
			fmt.Fprintf(w, "Nothing would change; version %d says the same.\n", result.Version)
			return
		}
		for _, l := range result.Lines {
			fmt.Fprintln(w, l)
		}
		a.say("Compared with version %d. The document is good; nothing was changed.", result.Version)
	})
}

func lines(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") }

// difference compares line by line: what both have, what goes (-) and what comes (+).
func difference(before, after []string) []string {
	n, m := len(before), len(after)
	common := make([][]int, n+1) // length of the longest common rest
	for i := range common {
		common[i] = make([]int, m+1)
	}
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			if before[i] == after[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	for i, j := 0, 0; i < n || j < m; {
		switch {
		case i < n && j < m && before[i] == after[j]:
			out = append(out, " "+before[i])
			i, j = i+1, j+1
		case i < n && (j == m || common[i+1][j] >= common[i][j+1]):
			out = append(out, "-"+before[i])
			i++
		default:
			out = append(out, "+"+after[j])
			j++
		}
	}
	return out
}

type policyHistory struct {
	Limit int `default:"50" help:"How many at most, up to 200."`
}

// Help gives an example.
func (policyHistory) Help() string { return "Example:\n\n    nod policy history\n" }

// Run lists versions.
func (v *policyHistory) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.Policies.List(a.ctx, client.Paging{Limit: v.Limit})
	if err != nil {
		return err
	}
	return a.show(p, func(w io.Writer) {
		var rows [][]string
		for _, version := range p.Items {
			rows = append(rows, []string{strconv.FormatInt(version.Version, 10), moment(version.At), version.By})
		}
		table(w, "VERSION SINCE BY", rows)
	})
}
