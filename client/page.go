package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Paging says which part of a list is wanted.
type Paging struct {
	Limit  int    // 1 to 200; 0 for the server's choice
	Cursor string // Next of the page before; empty for the first
}

// Page is a part of a list.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitzero"` // cursor; empty on the last page
}

func (p Paging) values() url.Values {
	q := url.Values{}
	set(q, "cursor", p.Cursor)
	if p.Limit != 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	return q
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func setTime(q url.Values, name string, t time.Time) {
	if !t.IsZero() {
		q.Set(name, t.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
}

// list reads one page.
func list[T any](ctx context.Context, c *Client, what, path string, ids []string, q url.Values) (Page[T], error) {
	var p Page[T]
	err := c.do(ctx, call{what: what, method: http.MethodGet, path: path, ids: ids, query: q, out: &p})
	return p, err
}

// all goes through every page. The pair with an error is the last.
func all[T any](from Paging, page func(Paging) (Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			p, err := page(from)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			if p.Next == "" || p.Next == from.Cursor {
				return
			}
			from.Cursor = p.Next
		}
	}
}
