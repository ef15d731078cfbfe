package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func streamOf(body string, end io.Reader) *http.Response {
	res := reply(200, eventType+"; charset=utf-8", "")
	res.Body = io.NopCloser(io.MultiReader(strings.NewReader(body), end))
	return res
}

func sse(id, state string) string {
	return fmt.Sprintf("id: %s\nevent: challenge\ndata: %s\n\n", id, strings.Replace(pending, `"pending"`, `"`+state+`"`, 1))
}

func TestStreamResumesWhereItBroke(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var after []string
		c := over(t, func(r *http.Request) (*http.Response, error) {
			after = append(after, r.Header.Get("Last-Event-ID"))
			switch len(after) {
			case 1:
				return streamOf(": hello\n\n"+sse("c1", "pending")+"id: c2\nevent: challenge\nda", brokenReader{}), nil
			case 2:
				return problemReply(503, "unavailable", "server_stopping", 1), nil
			case 3:
				return streamOf(": beat\r\n\r\n"+strings.ReplaceAll(sse("c2", "approved"), "\n", "\r\n"), strings.NewReader("")), nil
			default:
				return problemReply(401, "unauthenticated", "", 0), nil
			}
		})
		var got []string
		var last error
		for e, err := range c.Challenges.Events(t.Context(), "c0") {
			if last = err; err == nil {
				got = append(got, e.Cursor+" "+string(e.Challenge.State))
			}
		}
		if d := cmp.Diff([]string{"c1 pending", "c2 approved"}, got); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"c0", "c1", "c1", "c2"}, after); d != "" {
			t.Error(d)
		}
		if CodeOf(last) != Unauthenticated {
			t.Errorf("got %v at the end, want unauthenticated", last)
		}
	})
}

func TestQuietStreamIsBroken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		times := 0
		c := over(t, func(r *http.Request) (*http.Response, error) {
			if times++; times == 2 {
				return streamOf(sse("c1", "denied"), strings.NewReader("")), nil
			}
			return streamOf("", waiting{r.Context()}), nil
		})
		begun := time.Now()
		for e, err := range c.Challenges.Events(t.Context(), "") {
			if err != nil || e.Challenge.State != Denied {
				t.Errorf("got %+v, %v", e, err)
			}
			break
		}
		if took := time.Since(begun); took < silence || took > silence+time.Second {
			t.Errorf("noticed after %v", took)
		}
	})
}

// waiting is a body of which nothing comes.
type waiting struct{ ctx context.Context }

func (w waiting) Read([]byte) (int, error) {
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}

func TestStreamEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := over(t, breaks)
		n := 0
		for _, err := range c.Challenges.Events(ctx, "") {
			n++
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the deadline", err)
			}
		}
		if n != 1 {
			t.Errorf("got %d pairs, want the one with the error", n)
		}
	})
}

func TestReadEvents(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   string
		want []event
		bad  bool
	}{
		"joined data":          {in: "data: a\ndata:b\n\n", want: []event{{data: "a\nb"}}},
		"the id stays":         {in: "id: 1\ndata: a\n\ndata: b\n\n", want: []event{{id: "1", data: "a"}, {id: "1", data: "b"}}},
		"the name does not":    {in: "event: x\ndata: a\n\ndata: b\n\n", want: []event{{name: "x", data: "a"}, {data: "b"}}},
		"no data, no event":    {in: "event: x\n\n"},
		"unknown and comments": {in: ": c\nretry: 5\nfoo\ndata: a\n\n", want: []event{{data: "a"}}},
		"cut off":              {in: "data: a\n"},
		"long line":            {in: "data: " + strings.Repeat("a", maxEvent) + "\n\n", bad: true},
		"long event":           {in: strings.Repeat("data: "+strings.Repeat("a", 1000)+"\n", 300) + "\n", bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []event
			err := readEvents(iotest.OneByteReader(strings.NewReader(tc.in)), func() {}, func(e event) error {
				got = append(got, e)
				return nil
			})
			if (err != nil) != tc.bad {
				t.Errorf("got error %v, want one: %v", err, tc.bad)
			}
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(event{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add([]byte(sse("c1", "pending")))
	f.Add([]byte(": beat\n\ndata\n\nid\n\nevent:challenge\r\ndata:x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		size := 0
		err := readEvents(strings.NewReader(string(in)), func() {}, func(e event) error {
			size += len(e.data)
			if strings.ContainsAny(e.id+e.name, "\n") {
				t.Errorf("a field with a line break: %+v", e)
			}
			return nil
		})
		if size > len(in) {
			t.Errorf("%d bytes of data out of %d", size, len(in))
		}
		if err != nil && !errors.Is(err, ErrNotNod) {
			t.Errorf("got %v", err)
		}
	})
}
