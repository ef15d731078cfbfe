package httpkit_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/nodauth/nod/internal/front/httpkit"
)

var small = httpkit.Limit{Bytes: 10, Time: 5 * time.Second}

func echo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
}

func post(body io.Reader) *http.Request { return httptest.NewRequest(http.MethodPost, "/", body) }

func TestBody(t *testing.T) {
	t.Parallel()
	unknownLength := func(s string) *http.Request {
		r := post(struct{ io.Reader }{strings.NewReader(s)})
		r.ContentLength = -1
		return r
	}
	for _, tc := range []struct {
		name   string
		r      *http.Request
		status int
		want   string
	}{
		{"none", get("/"), 200, ""},
		{"empty", post(strings.NewReader("")), 200, ""},
		{"fits", post(strings.NewReader("0123456789")), 200, "0123456789"},
		{"fits, length not told", unknownLength("0123456789"), 200, "0123456789"},
		{"too large", post(strings.NewReader("0123456789a")), 413, "body_too_large"},
		{"too large, length not told", unknownLength("0123456789a"), 413, "body_too_large"},
		{"broken", post(iotest.ErrReader(errors.New("gone"))), 400, "malformed"},
	} {
		w := httptest.NewRecorder()
		httpkit.Body(discard, small, echo()).ServeHTTP(w, tc.r)
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s: status %d, body %s", tc.name, w.Code, w.Body)
		}
		if closed := w.Header().Get("Connection") == "close"; closed != (tc.status != 200) {
			t.Errorf("%s: connection closed %v", tc.name, closed)
		}
	}
}

// pipes is a listener whose connections are pipes, so that their deadlines follow the clock
// of a bubble.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Net: "pipe"} }

// dial starts a server of h and gives a connection to it.
func dial(t *testing.T, h http.Handler) net.Conn {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	server := httpkit.NewServer(h, discard)
	served := make(chan error, 1)
	go func() { served <- server.Serve(p) }()
	client, conn := net.Pipe()
	p.conns <- conn
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return client
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := dial(t, httpkit.Body(discard, small, echo()))
		start := time.Now()
		go func() { _, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab") }()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if res.StatusCode != 400 || !res.Close || !strings.Contains(string(body), `"reason":"timeout"`) {
			t.Errorf("status %d, close %v, body %s, %v", res.StatusCode, res.Close, body, err)
		}
		if took := time.Since(start); took != small.Time {
			t.Errorf("it took %v, want %v", took, small.Time)
		}
	})
}

// TestRestOfARequest sends a request that is answered before it is whole, and never the rest.
func TestRestOfARequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := dial(t, http.NotFoundHandler())
		go func() { _, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nab") }()
		start := time.Now()
		if _, err := io.ReadAll(conn); err != nil { // to the end of the connection
			t.Fatal(err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("the connection was held for %v", took)
		}
	})
}

// TestConnectionAfterAnUnreadBody answers without reading a small body that comes in time, and
// serves the next request.
func TestConnectionAfterAnUnreadBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := dial(t, http.NotFoundHandler())
		in := bufio.NewReader(conn)
		for range 2 {
			go func() { _, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello") }()
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			time.Sleep(time.Minute)
		}
	})
}

// TestAnswerThatNobodyTakes leaves an answer unread: the handler is not held for ever.
func TestAnswerThatNobodyTakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		done := make(chan time.Duration, 1)
		conn := dial(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			start := time.Now()
			_, _ = w.Write(make([]byte, 1<<20))
			done <- time.Since(start)
		}))
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		select {
		case took := <-done:
			if took > 5*time.Minute {
				t.Errorf("the handler was held for %v", took)
			}
		case <-time.After(time.Hour):
			t.Error("the handler is held for ever")
		}
	})
}

func TestLongPollOutlivesTheBodyLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := dial(t, httpkit.Body(discard, small, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			select {
			case <-r.Context().Done():
				_, _ = io.WriteString(w, "cut")
			case <-time.After(10 * small.Time):
				_, _ = w.Write(body)
			}
		})))
		in := bufio.NewReader(conn)
		for range 2 { // the connection stays good
			go func() { _, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello") }()
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(res.Body); string(body) != "hello" || err != nil {
				t.Errorf("got %q, %v", body, err)
			}
		}
	})
}

func TestAdmission(t *testing.T) {
	t.Parallel()
	const places = 3
	release, inside := make(chan struct{}), make(chan struct{}, places)
	h := httpkit.Admission(discard, places, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		inside <- struct{}{}
		<-release
		w.WriteHeader(http.StatusNoContent)
	}))
	serve := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, get("/"))
		if w.Code == http.StatusServiceUnavailable && (w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"reason":"busy"`)) {
			t.Errorf("Retry-After %q, body %s", w.Header().Get("Retry-After"), w.Body)
		}
		return w.Code
	}
	var wg sync.WaitGroup
	for range places {
		wg.Go(func() {
			if got := serve(); got != http.StatusNoContent {
				t.Errorf("status %d inside", got)
			}
		})
	}
	for range places {
		<-inside
	}
	for range 5 {
		if got := serve(); got != http.StatusServiceUnavailable {
			t.Errorf("status %d beyond the places", got)
		}
	}
	close(release)
	wg.Wait()
	for range places + 1 {
		if got := serve(); got != http.StatusNoContent {
			t.Errorf("status %d after the places were free", got)
		}
		<-inside
	}
}

func TestAdmissionGivesPlacesOfPanicsBack(t *testing.T) {
	t.Parallel()
	h := httpkit.Admission(discard, 1, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("x") }))
	for i := range 3 {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); got != "x" {
					t.Errorf("round %d: %s", i, got)
				}
			}()
			h.ServeHTTP(httptest.NewRecorder(), get("/"))
		}()
	}
}
