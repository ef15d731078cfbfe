package rest

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/mfa"
)

// walk goes through a listing page by page and gives the values at path of all items.
func (s *server) walk(by caller, target, path string, limit int) []string {
	s.t.Helper()
	join := "?"
	if strings.Contains(target, "?") {
		join = "&"
	}
	var out []string
	next := fmt.Sprintf("%s%slimit=%d", target, join, limit)
	for range 100 {
		a := s.call(by, "GET", next, "").is(200)
		items, _ := a.get("items").([]any)
		if len(items) > limit {
			s.t.Fatalf("%d items on a page of %d", len(items), limit)
		}
		for i := range items {
			out = append(out, fmt.Sprint(a.get(fmt.Sprintf("items.%d.%s", i, path))))
		}
		cursor, more := a.get("next").(string)
		if !more {
			return out
		}
		next = fmt.Sprintf("%s%slimit=%d&cursor=%s", target, join, limit, url.QueryEscape(cursor))
	}
	s.t.Fatal("the listing does not end")
	return nil
}

// TestPages: pages of any size together are the whole listing, and a cursor is good for the listing
// and the caller that it was made for only.
func TestPages(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var want []string
	for i := range 7 {
		want = append([]string{s.user(fmt.Sprint("user", i))}, want...)
		s.pass(time.Millisecond)
	}
	for i := range 3 {
		s.call(s.admin, "PUT", "/v1/policies/current", fmt.Sprintf(`{"document":"decide_by: %ds\n"}`, 60+i)).is(200)
	}
	for _, limit := range []int{1, 2, 3, 7, 8, 200} {
		if diff := cmp.Diff(want, s.walk(s.admin, "/v1/users", "id", limit)); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", limit, diff)
		}
		if diff := cmp.Diff([]string{"3", "2", "1"}, s.walk(s.admin, "/v1/policies", "version", limit)); diff != "" {
			t.Errorf("policies by %d (-want +got):\n%s", limit, diff)
		}
	}
	for _, target := range []string{"/v1/events", "/v1/events?order=asc", "/v1/applications", "/v1/realms"} {
		if diff := cmp.Diff(s.walk(s.admin, target, "id", 200), s.walk(s.admin, target, "id", 3)); diff != "" {
			t.Errorf("%s differs by page size:\n%s", target, diff)
		}
	}
	keys := "/v1/applications/" + string(s.app.id) + "/keys"
	s.call(s.admin, "POST", keys, "").is(201)
	if got := s.walk(s.admin, keys, "id", 1); len(got) != 2 {
		t.Errorf("keys %v, want 2", got)
	}
	cursor := s.call(s.admin, "GET", "/v1/users?limit=2", "").text("next")
	second := s.application("second", "administer")
	s.call(s.admin, "GET", "/v1/users?limit=5&cursor="+cursor, "").is(200)
	for _, at := range []struct {
		by     caller
		target string
	}{{s.admin, "/v1/applications?cursor="}, {s.admin, "/v1/users?state=active&cursor="}, {second, "/v1/users?cursor="}} {
		s.call(at.by, "GET", at.target+cursor, "").refuses(400, mfa.Invalid, mfa.ReasonMalformed)
	}
}

// FuzzQuery: a query is refused, or every value in it is one that its parameter takes.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"", "limit=5", "limit=5&limit=6", "cursor=a&limit=200", "since=2026-01-02T03:04:05Z", "since=x", "order=asc", "kind=%ff", "%zz", "a;b", "limit=+5", "limit=١",
	} {
		f.Add(seed)
	}
	known := paging(param{name: "kind", max: 8}, param{name: "since", time: true}, param{name: "order", values: []string{"asc", "desc"}})
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := readQuery(raw, known)
		if err != nil {
			if mfa.CodeOf(err) != mfa.Invalid {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		c := &call{query: got}
		if n := c.number("limit"); n < 0 || n > maxLimit {
			t.Errorf("limit %d", n)
		}
		if o, ok := got["order"]; ok && o != "asc" && o != "desc" {
			t.Errorf("order %q", o)
		}
		if _, ok := got["since"]; ok && c.instant("since").Time().IsZero() {
			t.Error("no time")
		}
		sent, _ := url.ParseQuery(raw)
		if len(sent) != len(got) {
			t.Errorf("%d parameters were sent, %d taken", len(sent), len(got))
		}
	})
}
