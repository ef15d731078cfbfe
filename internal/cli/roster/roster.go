// Package roster reads lists of people as CSV (RFC 4180), and writes cells that no spreadsheet takes
// for a formula.
//
// The first line names the columns: name, and any of display, aliases, groups and external_id. An
// empty cell of aliases or groups means none of them; one of display or external_id says nothing.
package roster

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nodauth/nod/internal/wire/plain"
	"github.com/nodauth/nod/internal/wire/username"
)

// The bounds of a list.
const (
	MaxBytes = 32 << 20
	MaxLines = 100_000

	maxCell  = 32 << 10 // bytes
	maxItem  = 255      // characters of a group, display name or external id
	maxFault = 1000     // faults that are told
)

// Person is one line of a list. A nil member is not said.
type Person struct {
	Line       int
	Name       string
	ExternalID string // "" if not said
	Display    *string
	Aliases    *[]string
	Groups     *[]string
}

// Fault is what is wrong with a line.
type Fault struct {
	Line int
	Text string
}

// String gives line and text.
func (f Fault) String() string { return fmt.Sprintf("line %d: %s", f.Line, f.Text) }

// reader is a list being read.
type reader struct {
	columns []string
	people  []Person
	faults  []Fault
	names   map[string]int // canonical name or alias -> line
	ids     map[string]int
}

// Parse reads a list. Whatever is wrong with it is told with its line; people are to be used only if
// there is no fault.
func Parse(text []byte) ([]Person, []Fault) {
	r := &reader{names: map[string]int{}, ids: map[string]int{}}
	if len(text) > MaxBytes {
		r.fault(1, "the list has more than %d MiB", MaxBytes>>20)
		return nil, r.faults
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if !utf8.Valid(text) {
		line := 1
		for len(text) > 0 {
			c, n := utf8.DecodeRune(text)
			if c == utf8.RuneError && n == 1 {
				break
			}
			if c == '\n' {
				line++
			}
			text = text[n:]
		}
		r.fault(line, "the list is not UTF-8")
		return nil, r.faults
	}
	c := csv.NewReader(bytes.NewReader(text))
	c.FieldsPerRecord = -1
	if !r.heading(c) {
		return nil, r.faults
	}
	for len(r.faults) < maxFault {
		cells, err := c.Read()
		if errors.Is(err, io.EOF) {
			return r.people, r.faults
		}
		if err != nil {
			r.broken(err)
			return nil, r.faults
		}
		line, _ := c.FieldPos(0)
		if len(r.people) == MaxLines {
			r.fault(line, "the list has more than %d people", MaxLines)
			return nil, r.faults
		}
		r.row(line, cells)
	}
	return nil, r.faults
}

func (r *reader) fault(line int, format string, args ...any) {
	r.faults = append(r.faults, Fault{line, fmt.Sprintf(format, args...)})
}

// broken tells of text after which nobody knows where the next line begins.
func (r *reader) broken(err error) {
	if p, ok := errors.AsType[*csv.ParseError](err); ok {
		r.fault(p.Line, "column %d: %s; nothing after it was read", p.Column, p.Err)
		return
	}
	r.fault(1, "%s", err)
}

func (r *reader) heading(c *csv.Reader) bool {
	cells, err := c.Read()
	if errors.Is(err, io.EOF) {
		r.fault(1, "the list is empty; its first line names the columns")
		return false
	}
	if err != nil {
		r.broken(err)
		return false
	}
	known := []string{"name", "display", "aliases", "groups", "external_id"}
	for i, column := range cells {
		switch {
		case !slices.Contains(known, column):
			r.fault(1, "there is no column %q; there are %s", shorten(column), strings.Join(known, ", "))
		case slices.Contains(cells[:i], column):
			r.fault(1, "the column %s is there twice", column)
		}
	}
	if !slices.Contains(cells, "name") {
		r.fault(1, "the column name is missing")
	}
	r.columns = cells
	return len(r.faults) == 0
}

func (r *reader) row(line int, cells []string) {
	if len(cells) != len(r.columns) {
		r.fault(line, "it has %d cells, and there are %d columns", len(cells), len(r.columns))
		return
	}
	p := Person{Line: line}
	before := len(r.faults)
	for i, cell := range cells {
		column := r.columns[i]
		if len(cell) > maxCell || strings.ContainsFunc(cell, unicode.IsControl) {
			r.fault(line, "%s is too long or holds control characters", column)
			continue
		}
		switch column {
		case "name":
			p.Name = cell
		case "external_id":
			p.ExternalID = cell
			r.check(line, column, cell)
		case "display":
			if cell != "" {
				p.Display = &cell
				r.check(line, column, cell)
			}
		case "aliases":
			list := r.list(line, column, cell)
			p.Aliases = &list
		case "groups":
			list := r.list(line, column, cell)
			p.Groups = &list
		}
	}
	if len(r.faults) > before {
		return
	}
	r.name(line, "name", p.Name)
	if p.Aliases != nil {
		for _, alias := range *p.Aliases {
			r.name(line, "alias", alias)
		}
	}
	if p.ExternalID != "" {
		if first, ok := r.ids[p.ExternalID]; ok {
			r.fault(line, "the external id %q stands on line %d already", shorten(p.ExternalID), first)
		}
		r.ids[p.ExternalID] = line
	}
	r.people = append(r.people, p)
}

func (r *reader) list(line int, column, cell string) []string {
	if cell == "" {
		return []string{}
	}
	items := strings.Split(cell, "|")
	for _, item := range items {
		if item == "" {
			r.fault(line, "%s has an empty entry", column)
			return items
		}
		r.check(line, column, item)
	}
	return items
}

func (r *reader) check(line int, column, item string) {
	if item != "" && !plain.Name(item, maxItem) {
		r.fault(line, "%s: %q is too long, or has space around it or characters that cannot be shown", column, shorten(item))
	}
}

// name notes a name, which may be in the list once in any spelling.
func (r *reader) name(line int, what, name string) {
	canonical, err := username.Canonical(name)
	if err != nil {
		r.fault(line, "%s %q: %s", what, shorten(name), err)
		return
	}
	if first, ok := r.names[canonical]; ok {
		r.fault(line, "the %s %q stands on line %d already, in this or another spelling", what, shorten(name), first)
		return
	}
	r.names[canonical] = line
}

// shorten cuts what is repeated to the person who reads the fault.
func shorten(s string) string {
	if c := []rune(s); len(c) > 64 {
		return string(c[:64]) + "…"
	}
	return s
}

// Cell gives a text as the cell of a table that people open: one that a spreadsheet would take for a
// formula begins with an apostrophe.
func Cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}
