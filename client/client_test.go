package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const pending = `{"id":"ch_a","kind":"login","state":"pending","match_now":["digits"],"others":0,"push":{"listed":true,"rung":false},"methods":["push"],"decide_by":"2026-01-02T03:04:05.000Z","created_at":"2026-01-02T03:02:05.000Z"}`

// network is a server without a network, so that its client can live in a bubble of time.
type network func(*http.Request) (*http.Response, error)

func (n network) RoundTrip(r *http.Request) (*http.Response, error) { return n(r) }

func reply(status int, kind, body string, head ...string) *http.Response {
	h := http.Header{"Content-Type": {kind}}
	for i := 0; i < len(head); i += 2 {
		h.Set(head[i], head[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func problemReply(status int, code, reason string, after int) *http.Response {
	return reply(status, problemType, fmt.Sprintf(`{"type":"about:blank","status":%d,"code":%q,"reason":%q,"detail":"No.","retry_after":%d,"request_id":"r1"}`, status, code, reason, after))
}

// script answers one request after another with what it has.
func script(t *testing.T, seen *[]*http.Request, steps ...func(*http.Request) (*http.Response, error)) network {
	return func(r *http.Request) (*http.Response, error) {
		if r.Body != nil {
			data, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(data))
		}
		*seen = append(*seen, r)
		if len(*seen) > len(steps) {
			return nil, errors.New("one request more than expected")
		}
		return steps[len(*seen)-1](r)
	}
}

func gives(res func() *http.Response) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return res(), nil }
}

func breaks(*http.Request) (*http.Response, error) { return nil, errors.New("connection reset") }

func ok(body string) func(*http.Request) (*http.Response, error) {
	return gives(func() *http.Response { return reply(200, jsonType, body) })
}

func over(t *testing.T, n network) *Client {
	t.Helper()
	c, err := New(Config{URL: "https://nod.test", APIKey: "nod_sk_x", HTTP: &http.Client{Transport: n}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewRefusesAddresses(t *testing.T) {
	t.Parallel()
	for address, good := range map[string]bool{
		"https://auth.example.org":      true,
		"https://auth.example.org/r/eu": true,
		"https://auth.example.org/":     true,
		"http://localhost:8080":         true,
		"http://127.0.0.1:8080":         true,
		"http://[::1]:8080":             true,
		"":                              false,
		"auth.example.org":              false,
		"http://auth.example.org":       false,
		"http://127.0.0.1.example.org":  false,
		"https://u:p@auth.example.org":  false,
		"https://auth.example.org/?x=1": false,
		"https://auth.example.org/#x":   false,
		"ftp://127.0.0.1":               false,
	} {
		_, err := New(Config{URL: address})
		if (err == nil) != good {
			t.Errorf("New(%q): got error %v, want good %v", address, err, good)
		}
	}
	if _, err := New(Config{URL: "https://a.test", APIKey: "nod_sk_x\n"}); err == nil {
		t.Error("a key with a line break: got no error")
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	text := fmt.Sprintf("%v %+v %#v %s", NewChallenge{Password: "hunter2"}, Config{APIKey: "hunter2"}, Match{QR: "hunter2"}, Secret("hunter2"))
	if strings.Contains(text, "hunter2") {
		t.Errorf("a secret is printed: %s", text)
	}
	data, err := json.Marshal(NewChallenge{Password: "hunter2"})
	if err != nil || !bytes.Contains(data, []byte("hunter2")) {
		t.Errorf("the password is not sent: %s, %v", data, err)
	}
}

func TestLostReplyIsAskedForAgainWithTheSameKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []*http.Request
		truncated := func(*http.Request) (*http.Response, error) {
			res := reply(201, jsonType, "")
			res.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"id":`), brokenReader{}))
			return res, nil
		}
		c := over(t, script(t, &seen, breaks, truncated, gives(func() *http.Response { return problemReply(503, "unavailable", "busy", 2) }), ok(pending)))
		begun := time.Now()
		ch, err := c.Challenges.Create(t.Context(), NewChallenge{User: UserRef{Name: "jo"}, Kind: Login})
		if err != nil || ch.ID != "ch_a" {
			t.Fatalf("Create: got %+v, %v", ch, err)
		}
		if took := time.Since(begun); took < 2*time.Second || took > 4*time.Second {
			t.Errorf("the server asked for 2 s, the client took %v", took)
		}
		key := seen[0].Header.Get("Idempotency-Key")
		for i, r := range seen {
			if got := r.Header.Get("Idempotency-Key"); got == "" || got != key {
				t.Errorf("request %d: got key %q, want %q", i, got, key)
			}
			if got := r.Header.Get("Authorization"); got != "Bearer nod_sk_x" {
				t.Errorf("request %d: got credential %q", i, got)
			}
			body, _ := io.ReadAll(r.Body)
			if want := `{"user":{"name":"jo"},"kind":"login"}`; string(body) != want {
				t.Errorf("request %d: got body %s, want %s", i, body, want)
			}
		}
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestKeysOfPosts(t *testing.T) {
	t.Parallel()
	var seen []*http.Request
	c := over(t, script(t, &seen, ok(`{"grant":"g"}`), ok(`{"grant":"g"}`), ok(`{"grant":"g"}`)))
	for _, ctx := range []context.Context{t.Context(), t.Context(), WithIdempotencyKey(t.Context(), "mine")} {
		if _, err := c.Challenges.Redeem(ctx, "ch_a"); err != nil {
			t.Fatal(err)
		}
	}
	first, second, third := seen[0].Header.Get("Idempotency-Key"), seen[1].Header.Get("Idempotency-Key"), seen[2].Header.Get("Idempotency-Key")
	if first == "" || first == second || third != "mine" {
		t.Errorf("got keys %q, %q, %q: want two different ones and mine", first, second, third)
	}
}

func TestWhatIsSentAgain(t *testing.T) {
	t.Parallel()
	read := func(c *Client) error {
		_, err := c.Users.Get(context.Background(), "usr_a")
		return err
	}
	change := func(c *Client) error {
		_, err := c.Users.Update(context.Background(), "usr_a", UserChange{})
		return err
	}
	verify := func(c *Client) error {
		_, err := c.Challenges.Verify(context.Background(), "ch_a", TOTP, "123456")
		return err
	}
	remove := func(c *Client) error { return c.Devices.Revoke(context.Background(), "dev_a") }
	fails := func(status int, code, reason string, after int) func(*http.Request) (*http.Response, error) {
		return gives(func() *http.Response { return problemReply(status, code, reason, after) })
	}
	html := gives(func() *http.Response { return reply(502, "text/html", "<h1>Bad gateway</h1>") })
	for _, tc := range []struct {
		name  string
		do    func(*Client) error
		step  func(*http.Request) (*http.Response, error)
		times int
	}{
		{"a read, lost", read, breaks, 5},
		{"a delete, lost", remove, breaks, 5},
		{"a post, lost", verify, breaks, 5},
		{"a patch, lost", change, breaks, 1},
		{"a patch, busy", change, fails(503, "unavailable", "busy", 1), 1},
		{"a proxy's 502", read, html, 5},
		{"429", read, fails(429, "rate_limited", "too_many_requests", 1), 5},
		{"429 for longer than patience", read, fails(429, "rate_limited", "too_many_requests", 600), 1},
		{"guesses spent", verify, fails(429, "rate_limited", "guesses_spent", 0), 1},
		{"500", read, fails(500, "internal", "", 0), 1},
		{"404", read, fails(404, "not_found", "", 0), 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				times := 0
				err := tc.do(over(t, func(r *http.Request) (*http.Response, error) {
					times++
					return tc.step(r)
				}))
				if err == nil || times != tc.times {
					t.Errorf("got %d requests and error %v, want %d and an error", times, err, tc.times)
				}
			})
		})
	}
}

func TestErrorsAreTyped(t *testing.T) {
	t.Parallel()
	c := over(t, func(*http.Request) (*http.Response, error) {
		return reply(409, problemType, `{"code":"conflict","reason":"challenge_closed","detail":"It was \u001b[31mdecided.","state":"denied","field":"f","request_id":"r1"}`, "Retry-After", "7"), nil
	})
	_, err := c.Challenges.Cancel(t.Context(), "ch_a")
	var got *Error
	if !errors.As(err, &got) {
		t.Fatalf("got %v, want an *Error", err)
	}
	want := &Error{
		Status: 409, Code: Conflict, Reason: "challenge_closed", Detail: `It was \x1b[31mdecided.`,
		State: Denied, Field: "f", RequestID: "r1", RetryAfter: 7 * time.Second,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if want := `cancel ch_a: It was \x1b[31mdecided. (challenge_closed, field f, state denied, request r1)`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if CodeOf(err) != Conflict || CodeOf(io.EOF) != "" {
		t.Error("CodeOf does not find the code")
	}
}

func TestAnswersThatAreNotNods(t *testing.T) {
	t.Parallel()
	for name, res := range map[string]func(http.ResponseWriter){
		"html":      func(w http.ResponseWriter) { answer(w, 200, "text/html", "<p>log in</p>") },
		"no type":   func(w http.ResponseWriter) { answer(w, 200, "", pending) },
		"not JSON":  func(w http.ResponseWriter) { answer(w, 200, jsonType, "{") },
		"a list":    func(w http.ResponseWriter) { answer(w, 200, jsonType, "[]") },
		"another's": func(w http.ResponseWriter) { answer(w, 200, jsonType, strings.Replace(pending, "ch_a", "ch_b", 1)) },
		"no state":  func(w http.ResponseWriter) { answer(w, 200, jsonType, `{"id":"ch_a"}`) },
		"a redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", "/v1/users")
			answer(w, 307, jsonType, pending)
		},
		"an odd error":    func(w http.ResponseWriter) { answer(w, 403, jsonType, `{"error":"no"}`) },
		"too much":        func(w http.ResponseWriter) { answer(w, 200, jsonType, `{"id":"`+strings.Repeat("a", maxAnswer)+`"}`) },
		"nothing, for ok": func(w http.ResponseWriter) { w.WriteHeader(204) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			times := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				times++
				res(w)
			}))
			defer s.Close()
			c, err := New(Config{URL: s.URL})
			if err != nil {
				t.Fatal(err)
			}
			ch, err := c.Challenges.Get(t.Context(), "ch_a")
			if !errors.Is(err, ErrNotNod) || ch.ID != "" || times != 1 {
				t.Errorf("got %+v, %v after %d requests; want ErrNotNod and nothing after one", ch, err, times)
			}
		})
	}
}

func answer(w http.ResponseWriter, status int, kind, body string) {
	w.Header()["Content-Type"] = []string{kind}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func TestTruncatedAnswerIsNoReply(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"id":"ch_a"`)
	}))
	defer s.Close()
	c, err := New(Config{URL: s.URL, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Challenges.Get(t.Context(), "ch_a"); !errors.Is(err, ErrNoReply) {
		t.Errorf("got %v, want ErrNoReply", err)
	}
}

func TestIdsCannotLeadElsewhere(t *testing.T) {
	t.Parallel()
	c := over(t, func(*http.Request) (*http.Response, error) {
		t.Error("something was sent")
		return nil, io.EOF
	})
	for _, id := range []string{"", ".", "..", "a/b", "a?b", "a#b", "a b", "%2e", "{}", strings.Repeat("a", 201)} {
		if _, err := c.Users.Get(t.Context(), id); err == nil {
			t.Errorf("id %q: got no error", id)
		}
	}
}

func TestWaitGoesOnUntilDecided(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []*http.Request
		slow := func(r *http.Request) (*http.Response, error) {
			time.Sleep(30 * time.Second)
			return reply(200, jsonType, pending), nil
		}
		state := func(s string) func(*http.Request) (*http.Response, error) {
			return ok(strings.Replace(pending, `"state":"pending"`, `"state":"`+s+`"`, 1))
		}
		c := over(t, script(t, &seen, slow, breaks, state("pending"), state("answered"), state("denied")))
		ch, err := c.Challenges.Wait(t.Context(), "ch_a")
		if err != nil || ch.State != Denied {
			t.Fatalf("got %v, %v; want denied", ch.State, err)
		}
		var asked []string
		for _, r := range seen {
			asked = append(asked, r.URL.Query().Get("state"))
		}
		if d := cmp.Diff([]string{"pending", "pending", "pending", "pending", "answered"}, asked); d != "" {
			t.Error(d)
		}
	})
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		c := over(t, func(r *http.Request) (*http.Response, error) {
			select {
			case <-r.Context().Done():
				return nil, r.Context().Err()
			case <-time.After(30 * time.Second):
				return reply(200, jsonType, pending), nil
			}
		})
		if _, err := c.Challenges.Wait(ctx, "ch_a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		begun := time.Now()
		_, err := over(t, breaks).Challenges.Wait(t.Context(), "ch_a")
		if took := time.Since(begun); !errors.Is(err, ErrNoReply) || took < outage || took > 2*outage {
			t.Errorf("without a server: got %v after %v", err, took)
		}
	})
}

func TestListsGoThroughEveryPage(t *testing.T) {
	t.Parallel()
	var seen []*http.Request
	c := over(t, script(t, &seen, ok(`{"items":[{"id":"usr_a"},{"id":"usr_b"}],"next":"n1"}`), ok(`{"items":[{"id":"usr_c"}]}`)))
	var ids []string
	for u, err := range c.Users.All(t.Context(), UserQuery{Prefix: "j", Paging: Paging{Limit: 2}}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, u.ID)
	}
	if d := cmp.Diff([]string{"usr_a", "usr_b", "usr_c"}, ids); d != "" {
		t.Error(d)
	}
	if got, want := seen[1].URL.RawQuery, "cursor=n1&limit=2&prefix=j"; got != want {
		t.Errorf("second page: got query %s, want %s", got, want)
	}
}

func TestNoProxyOfTheEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	c, err := New(Config{URL: "https://nod.test"})
	if err != nil {
		t.Fatal(err)
	}
	if tr, ok := c.http.Transport.(*http.Transport); !ok || tr.Proxy != nil {
		t.Error("the client's own transport asks for a proxy")
	}
}
