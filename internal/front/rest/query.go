package rest

import (
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/wire/cursor"
)

// param is one parameter of a query. Its kind is told by what is set: values, a range of whole
// numbers, a time, or else text of at most max characters.
type param struct {
	name     string
	about    string
	values   []string
	number   bool
	min, max int
	time     bool
}

const (
	defaultLimit = 50
	maxLimit     = 200
	maxText      = 255
)

// paging are the parameters of every list.
func paging(more ...param) []param {
	return append(more,
		param{name: "limit", number: true, min: 1, max: maxLimit, about: "Items on a page; 50 without it."},
		param{name: "cursor", max: 512, about: "The `next` of the page before."},
	)
}

func (p param) schema() *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	switch {
	case p.values != nil:
		for _, v := range p.values {
			s.Enum = append(s.Enum, v)
		}
	case p.number:
		low, high := float64(p.min), float64(p.max)
		s.Type, s.Minimum, s.Maximum = huma.TypeInteger, &low, &high
	case p.time:
		s.Format = "date-time"
	default:
		one := 1
		s.MinLength, s.MaxLength = &one, &p.max
	}
	return s
}

// readQuery takes the parameters that a route knows, each once and none empty.
func readQuery(raw string, known []param) (map[string]string, error) {
	sent, err := url.ParseQuery(raw)
	if err != nil {
		return nil, mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The query of the address is malformed.")
	}
	got := make(map[string]string, len(sent))
	for _, p := range known {
		values, ok := sent[p.name]
		if !ok {
			continue
		}
		if len(values) != 1 || !p.takes(values[0]) {
			return nil, mfa.InvalidField(p.name, "This parameter has a value that it does not take.")
		}
		got[p.name] = values[0]
	}
	if len(got) != len(sent) {
		return nil, mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The query has a parameter that is not known here.")
	}
	return got, nil
}

func (p param) takes(v string) bool {
	switch {
	case p.values != nil:
		return slices.Contains(p.values, v)
	case p.number:
		n, err := strconv.Atoi(v)
		return err == nil && n >= p.min && n <= p.max && strconv.Itoa(n) == v
	case p.time:
		_, err := time.Parse(time.RFC3339, v)
		return err == nil
	}
	return v != "" && utf8.ValidString(v) && utf8.RuneCountInString(v) <= p.max
}

// number gives a parameter that is a whole number, or 0.
func (c *call) number(name string) int {
	n, _ := strconv.Atoi(c.query[name]) // readQuery has checked it
	return n
}

// instant gives a parameter that is a time, or 0.
func (c *call) instant(name string) mfa.Instant {
	v, ok := c.query[name]
	if !ok {
		return 0
	}
	t, _ := time.Parse(time.RFC3339, v) // readQuery has checked it
	return mfa.At(t)
}

// list is a page of a listing.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page; absent on the last one."`
}

// page answers a listing: read gets one row more than the page holds, at gives a row's place.
func page[Row, Shape any](h *Handler, c *call, read func(account.Page) ([]Row, error), at func(Row) (mfa.Instant, string), show func(Row) Shape) (list[Shape], error) {
	limit := defaultLimit
	if n := c.number("limit"); n > 0 {
		limit = n
	}
	p := account.Page{Limit: limit + 1}
	if sent, ok := c.query["cursor"]; ok {
		place, err := h.cursors.Parse(c.listing(), sent)
		if err != nil {
			return list[Shape]{}, mfa.InvalidField("cursor", "This cursor does not belong to this listing.")
		}
		p.At, p.ID = mfa.Instant(place.At), place.ID
	}
	rows, err := read(p)
	if err != nil {
		return list[Shape]{}, err
	}
	out := list[Shape]{Items: []Shape{}}
	for i, row := range rows {
		if i == limit {
			t, id := at(rows[limit-1])
			out.Next = h.cursors.Encode(c.listing(), cursor.Position{At: int64(t), ID: id})
			break
		}
		out.Items = append(out.Items, show(row))
	}
	return out, nil
}

// all answers a listing that has no pages.
func all[Row, Shape any](rows []Row, show func(Row) Shape) list[Shape] {
	out := list[Shape]{Items: make([]Shape, len(rows))}
	for i, row := range rows {
		out.Items[i] = show(row)
	}
	return out
}

// listing names what a cursor belongs to: the caller, the address and the filters.
func (c *call) listing() string {
	parts := []string{string(c.by.Realm), string(c.by.Application.ID), c.r.URL.Path}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range c.query {
			if name != "cursor" && name != "limit" && !yield(name) {
				return
			}
		}
	}) {
		parts = append(parts, name, c.query[name])
	}
	return string(keys.Encode(parts...))
}

// part answers a listing whose rows are all there: it cuts the page out of them.
func part[Row, Shape any](h *Handler, c *call, rows []Row, id func(Row) string, show func(Row) Shape) (list[Shape], error) {
	return page(h, c, func(p account.Page) ([]Row, error) {
		from := 0
		for i, row := range rows {
			if p.ID != "" && id(row) == p.ID {
				from = i + 1
			}
		}
		return rows[from:min(from+p.Limit, len(rows))], nil
	}, func(row Row) (mfa.Instant, string) { return 0, id(row) }, show)
}
