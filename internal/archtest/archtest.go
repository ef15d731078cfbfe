// Package archtest holds the repository to its architecture: which package may import which,
// and which may touch the database, the network or the process around it.
//
// The rules are one table, in table.go, and a package without a line in it is a failure, so
// that a new package begins with the question where it belongs. Check reads the sources
// alone: it builds nothing, and build constraints hide nothing from it.
//
// Every package stands on a floor and imports only packages of lower floors, never a peer.
// A package below another is part of it: only its parent imports it, whatever their floors.
// Test files are not bound to the floors, since a test may need the whole house around the
// part that it tests, but like all files they have no init functions and no blank imports.
package archtest

import (
	"fmt"
	"go/ast"
	"io/fs"
	"slices"
	"strings"
)

// Rule says what a package, or all packages that a pattern covers, may import and use. In
// patterns "x/..." covers x and everything below it; paths are those below the module. Of
// several rules that cover a package the longest holds, and one without "..." before all.
type Rule struct {
	// Package is the pattern.
	Package string
	// Floor is the package's floor. It imports lower floors only.
	Floor int
	// Only, if not nil, is all of the module that it may import.
	Only []string
	// Peers are the packages that it may import although they are not on a lower floor.
	Peers []string
	// Never is what it may not import although the floors allow it. Here a pattern may also
	// name packages from outside the module.
	Never []string
	// External, if not nil, is all that it may import beside the module and the standard library.
	External []string
	// By, if not nil, are the packages that may import it. Without it they are the parent,
	// for a package below another, and else all of the floors above.
	By []string
	// Test marks a package that serves tests: it is bound to no floor, and only test files
	// and other such packages import it.
	Test bool
	// May are the rights that it has.
	May Right
}

// Right is the permission to use what the restricted table guards; rights are added up.
type Right uint

// The rights.
const (
	Database Right = 1 << iota // database/sql, its drivers and migrations
	Postgres                   // PostgreSQL's own protocol
	Serve                      // taking requests from a network
	Call                       // making requests over a network
	Process                    // environment, flags, signals
	Drivers                    // blank imports
)

// Check reads the module whose root is fsys and returns a line for every breach of the rules,
// in the order of files and lines. An error means that the module could not be read.
func Check(fsys fs.FS, rules []Rule) ([]string, error) {
	m, err := load(fsys)
	if err != nil {
		return nil, err
	}
	c := &checker{module: m, rules: rules}
	for _, p := range m.packages {
		c.pkg(p)
	}
	return c.breaches, nil
}

type checker struct {
	module   *module
	rules    []Rule
	breaches []string
}

func (c *checker) report(at, format string, args ...any) {
	c.breaches = append(c.breaches, at+": "+fmt.Sprintf(format, args...))
}

func (c *checker) pkg(p *pkg) {
	rule := c.rule(p.path)
	if rule == nil {
		c.report(p.path, "no rule: give it a line in internal/archtest/table.go")
		return
	}
	for _, f := range p.files {
		c.always(rule, f)
		if f.test {
			continue
		}
		for _, im := range f.imports {
			if why := c.refuse(p, rule, im.path); why != "" {
				c.report(im.at, "imports %s: %s", im.path, why)
			}
			c.restricted(rule, im.at, "imports", im.path)
		}
		for _, u := range f.uses {
			c.restricted(rule, u.at, "uses", u.name)
		}
	}
}

// always checks what holds for test files too.
func (c *checker) always(rule *Rule, f *file) {
	for _, at := range f.inits {
		c.report(at, "has an init function: build it in New and start it in internal/server")
	}
	for _, im := range f.imports {
		switch {
		case im.name == "." && !f.test:
			c.report(im.at, "imports %s into its own scope: name what is used", im.path)
		case im.name == "_" && im.path != "embed" && rule.May&Drivers == 0:
			c.report(im.at, "blank import of %s: only embed, and drivers in internal/store/sqlstore", im.path)
		}
	}
}

// refuse says why p may not import path, or nothing if it may.
func (c *checker) refuse(p *pkg, rule *Rule, path string) string {
	inside := c.module.holds(path)
	local := c.module.below(path)
	switch {
	case covers(rule.Never, local):
		return fmt.Sprintf("%s never does", rule.Package)
	case inside:
		return c.refuseOwn(p, rule, local)
	case !standard(path) && rule.External != nil && !covers(rule.External, path):
		return fmt.Sprintf("%s uses %s from outside", rule.Package, listed(rule.External))
	}
	return ""
}

func (c *checker) refuseOwn(p *pkg, rule *Rule, path string) string {
	target := c.rule(path)
	if target == nil {
		return "no rule covers it"
	}
	if rule.Test {
		return ""
	}
	if target.Test {
		return "it serves tests only"
	}
	if target.By != nil {
		if !covers(target.By, p.path) {
			return fmt.Sprintf("only %s imports it", listed(target.By))
		}
	} else if parent := c.parent(path); parent != "" && parent != p.path {
		return fmt.Sprintf("it is a part of %s, which alone imports it", parent)
	}
	switch {
	case c.parent(path) == p.path:
	case rule.Only != nil:
		if !covers(rule.Only, path) {
			return fmt.Sprintf("of this module %s imports %s", rule.Package, listed(rule.Only))
		}
	case target.Floor < rule.Floor, covers(rule.Peers, path):
	case target.Floor == rule.Floor:
		return fmt.Sprintf("a peer, both are on floor %d", rule.Floor)
	default:
		return fmt.Sprintf("it is on floor %d, above floor %d", target.Floor, rule.Floor)
	}
	return ""
}

func (c *checker) restricted(rule *Rule, at, verb, name string) {
	for _, r := range restricted {
		if matches(r.pattern, name) && rule.May&r.needs == 0 {
			c.report(at, "%s %s: %s", verb, name, r.why)
		}
	}
}

// rule is the rule that covers the package at path, or nil.
func (c *checker) rule(path string) *Rule {
	var best *Rule
	for i, r := range c.rules {
		if r.Package == path {
			return &c.rules[i]
		}
		if matches(r.Package, path) && (best == nil || len(r.Package) > len(best.Package)) {
			best = &c.rules[i]
		}
	}
	return best
}

// parent is the nearest package above path, or nothing.
func (c *checker) parent(path string) string {
	for {
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return ""
		}
		path = path[:i]
		if slices.ContainsFunc(c.module.packages, func(p *pkg) bool { return p.path == path }) {
			return path
		}
	}
}

// covers says whether one of the patterns covers path.
func covers(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, path) })
}

func matches(pattern, path string) bool {
	top, all := strings.CutSuffix(pattern, "/...")
	rest, found := strings.CutPrefix(path, top)
	return found && (rest == "" || all && rest[0] == '/')
}

// standard says whether an import path is of the standard library, none of whose paths begin
// with a domain.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func listed(paths []string) string {
	if len(paths) == 0 {
		return "nothing"
	}
	return strings.Join(paths, ", ")
}

// initFunc says whether a declaration is an init function.
func initFunc(d ast.Decl) bool {
	f, ok := d.(*ast.FuncDecl)
	return ok && f.Recv == nil && f.Name.Name == "init"
}
