package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodauth/nod/internal/mfa"
)

// TestLongPoll waits in a bubble of its own time.
func TestLongPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		id := s.user("kim")
		phone := s.phone(id)
		made := s.ask(id).is(201)
		path := "/v1/challenges/" + made.text("id")
		took := func(query string) (string, time.Duration) {
			start := time.Now()
			a := s.call(s.app, "GET", path+query, "").is(200)
			return a.text("state"), time.Since(start)
		}
		if state, d := took("?wait=30"); state != "pending" || d != 30*time.Second {
			t.Errorf("%s after %v, want pending after 30s", state, d)
		}
		if state, d := took("?wait=60&state=approved"); state != "pending" || d != 0 {
			t.Errorf("%s after %v, want pending at once", state, d)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if state, d := took("?wait=60"); state != "approved" || d != 7*time.Second {
				t.Errorf("%s after %v, want approved after 7s", state, d)
			}
		}()
		time.Sleep(7 * time.Second)
		phone.approve(made.text("id"), made.text("match.digits"))
		<-done
		// Expiry is told when it is true, not when it is recorded.
		if state, d := took("?wait=60&state=approved"); state != "expired" || d < 59*time.Second || d > 61*time.Second {
			t.Errorf("%s after %v, want expired after a minute", state, d)
		}
	})
}

// TestStopAnswersTheWaiting: a long poll is answered with the present state when the server stops.
func TestStopAnswersTheWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		path := "/v1/challenges/" + s.ask(s.user("kim")).is(201).text("id") + "?wait=60"
		done := make(chan answer)
		go func() { done <- s.call(s.app, "GET", path, "") }()
		synctest.Wait()
		start := time.Now()
		s.hub.Stop()
		if got := (<-done).is(200).text("state"); got != "pending" || time.Since(start) != 0 {
			t.Errorf("%s after %v", got, time.Since(start))
		}
	})
}

// listener is one connection to the stream of changes.
type listener struct {
	header http.Header
	status int
	cancel context.CancelFunc
	done   chan struct{}

	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *listener) Header() http.Header { return l.header }

func (l *listener) WriteHeader(status int) { l.status = status }

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *listener) Flush() {}

// listen opens a stream in a bubble.
func (s *server) listen(by caller, after string) *listener {
	ctx, cancel := context.WithCancel(s.t.Context())
	l := &listener{header: make(http.Header), cancel: cancel, done: make(chan struct{})}
	r := httptest.NewRequestWithContext(ctx, "GET", "/v1/challenges/events", nil)
	r.Header.Set("Authorization", "Bearer "+by.key)
	if after != "" {
		r.Header.Set("Last-Event-ID", after)
	}
	go func() {
		defer close(l.done)
		s.http.ServeHTTP(l, r)
	}()
	synctest.Wait()
	return l
}

// event is one event of a stream.
type event struct {
	cursor string
	id     string
	state  string
}

// take gives the events and comments that came since the last call.
func (l *listener) take(t *testing.T) (events []event, comments int) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	text := l.buf.String()
	l.buf.Reset()
	l.mu.Unlock()
	var e event
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			if e.id != "" {
				events = append(events, e)
			}
			e = event{}
		case name == "":
			comments++
		case name == "event" && value == "challenge":
		case name == "id":
			e.cursor = value
		case name == "data":
			var ch struct{ ID, State string }
			must(t, json.Unmarshal([]byte(value), &ch))
			e.id, e.state = ch.ID, ch.State
		case name == "retry":
			comments += 1000
		default:
			t.Errorf("line %q in the stream", lines.Text())
		}
	}
	return events, comments
}

func states(events []event) string {
	var out []string
	for _, e := range events {
		out = append(out, e.state)
	}
	return strings.Join(out, " ")
}

func TestStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		id := s.user("kim")
		phone := s.phone(id)
		s.ask(id).is(201) // before the stream begins
		time.Sleep(time.Millisecond)
		l := s.listen(s.app, "")
		if events, comments := l.take(t); l.status != 200 || len(events) != 0 || comments != 1 || l.header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("stream begins with %d %v %v", l.status, events, l.header)
		}
		time.Sleep(time.Millisecond) // a bubble's clock stands still otherwise
		made := s.ask(id).is(201)
		s.call(s.other, "POST", "/v1/challenges", asked(id)).is(201)
		events, _ := l.take(t)
		if len(events) != 1 || events[0].id != made.text("id") || events[0].state != "pending" {
			t.Fatalf("events %v", events)
		}
		from := events[0].cursor
		time.Sleep(time.Millisecond)
		phone.approve(made.text("id"), made.text("match.digits"))
		synctest.Wait()
		time.Sleep(time.Millisecond)
		s.call(s.app, "POST", "/v1/challenges/"+made.text("id")+"/redeem", "", key("k")).is(200)
		if events, _ := l.take(t); states(events) != "approved redeemed" {
			t.Errorf("events %v", events)
		}
		time.Sleep(31 * time.Second)
		if events, comments := l.take(t); len(events) != 0 || comments != 2 {
			t.Errorf("in 31 silent seconds came %v and %d comments", events, comments)
		}
		l.cancel()
		<-l.done

		// Who resumes gets what came after the event, at least.
		l = s.listen(s.app, from)
		events, _ = l.take(t)
		if !strings.HasSuffix(states(events), "redeemed") {
			t.Errorf("resumed with %v", events)
		}
		l.cancel()
		<-l.done
		for _, bad := range []string{"x", from[1:], from + "A"} {
			s.call(s.app, "GET", "/v1/challenges/events", "", with("Last-Event-ID", bad)).refuses(400, mfa.Invalid, mfa.ReasonMalformed)
		}
		s.call(s.other, "GET", "/v1/challenges/events", "", with("Last-Event-ID", from)).refuses(400, mfa.Invalid, mfa.ReasonMalformed)
		s.call(s.admin, "GET", "/v1/challenges/events", "").refuses(403, mfa.Forbidden, mfa.ReasonScope)
		s.call(caller{}, "GET", "/v1/challenges/events", "").refuses(401, mfa.Unauthenticated, "")
	})
}

// TestStreamGetsWhatCommitsLate: a change whose transaction began before that of one already sent
// comes all the same, and once.
func TestStreamGetsWhatCommitsLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		id := s.user("kim")
		time.Sleep(time.Minute)
		l := s.listen(s.app, "")
		s.ask(id).is(201)
		sent, _ := l.take(t)
		s.pass(-4 * time.Second)
		late := s.ask(id).is(201).text("id")
		s.pass(4 * time.Second)
		events, _ := l.take(t)
		time.Sleep(2 * settleEvery)
		settled, _ := l.take(t)
		events = append(events, settled...)
		if len(sent) != 1 || len(events) != 1 || events[0].id != late {
			t.Errorf("late change %s: got %v after %v", late, events, sent)
		}
		l.cancel()
		<-l.done
		// A client that was cut off before it came gets it when it resumes there.
		l = s.listen(s.app, sent[0].cursor)
		events, _ = l.take(t)
		found := false
		for _, e := range events {
			found = found || e.id == late
		}
		if !found {
			t.Errorf("resumed with %v, without %s", events, late)
		}
		l.cancel()
		<-l.done
	})
}

func TestStreamEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		stopped, revoked := s.listen(s.app, ""), s.listen(s.other, "")
		s.call(s.admin, "POST", "/v1/applications/"+string(s.other.id)+"/disable", "").is(200)
		time.Sleep(heartbeat + time.Second)
		select {
		case <-revoked.done:
		default:
			t.Error("the stream of a disabled application goes on")
		}
		s.hub.Stop()
		<-stopped.done
		if _, comments := stopped.take(t); comments < 1000 {
			t.Error("a stream that the server ends does not say when to come again")
		}
	})
}
