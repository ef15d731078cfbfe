package httpkit_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

// lines gives the records of a JSON log.
func lines(t *testing.T, log string) (out []map[string]any) {
	t.Helper()
	for line := range strings.Lines(log) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		out = append(out, m)
	}
	return out
}

func entry(log io.Writer) httpkit.Entry {
	return httpkit.Entry{Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		if httpkit.Address(r) != "192.0.2.1" || !secret.IsID("req_", httpkit.RequestID(r)) {
			t.Errorf("address %q, id %q", httpkit.Address(r), httpkit.RequestID(r))
		}
		httpkit.WriteError(w, r, discard, mfa.Errorf(mfa.Conflict, mfa.ReasonNameTaken, "Taken."))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	e := entry(&log)
	e.Quiet = []string{"GET /healthz"}
	h := e.Wrap(httpkit.Routes(discard, mux))

	r := httptest.NewRequest(http.MethodPost, "/v1/users/usr_hidden?token=hidden", strings.NewReader(`{"password":"hidden"}`))
	r.Header.Set("Authorization", "Bearer hidden")
	r.Header.Set("User-Agent", "hidden")
	r.Header.Set(httpkit.RequestIDHeader, "forged")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	h.ServeHTTP(httptest.NewRecorder(), get("/healthz"))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("HIDDEN", "/hidden", http.NoBody))

	if strings.Contains(strings.ToLower(log.String()), "hidden") || strings.Contains(log.String(), "forged") {
		t.Errorf("the log tells too much:\n%s", log.String())
	}
	got := lines(t, log.String())
	if len(got) != 3 {
		t.Fatalf("%d lines:\n%s", len(got), log.String())
	}
	id := w.Header().Get(httpkit.RequestIDHeader)
	if got[0]["request_id"] != id || !strings.Contains(w.Body.String(), `"request_id":"`+id+`"`) {
		t.Errorf("request id %q, in the log %v, body %s", id, got[0]["request_id"], w.Body)
	}
	for _, m := range got {
		if _, ok := m["duration"].(float64); !ok {
			t.Errorf("no duration: %v", m)
		}
		delete(m, "duration")
		delete(m, "time")
		delete(m, "request_id")
		delete(m, "bytes")
	}
	want := []map[string]any{
		{
			"level": "INFO", "msg": "request", "method": "POST", "route": "POST /v1/users/{id}", "status": 409.0,
			"code": "conflict", "reason": "name_taken", "client": "192.0.2.1",
		},
		{"level": "DEBUG", "msg": "request", "method": "GET", "route": "GET /healthz", "status": 200.0, "client": "192.0.2.1"},
		{"level": "INFO", "msg": "request", "method": "other", "route": "", "status": 404.0, "code": "not_found", "client": "192.0.2.1"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("log (-want +got):\n%s", d)
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, sent, peer string
		kept             bool
	}{
		{"stranger", "abc", "203.0.113.7:1", false},
		{"proxy", "aZ09-_.", "10.0.0.1:1", true},
		{"proxy, nothing sent", "", "10.0.0.1:1", false},
		{"proxy, too long", strings.Repeat("a", 65), "10.0.0.1:1", false},
		{"proxy, odd", "a b", "10.0.0.1:1", false},
		{"proxy, line break", "a\nb", "10.0.0.1:1", false},
		{"proxy, markup", "<script>", "10.0.0.1:1", false},
	} {
		e := entry(io.Discard)
		e.Client = proxies(t, "10.0.0.0/8")
		r := get("/")
		r.RemoteAddr = tc.peer
		r.Header.Set(httpkit.RequestIDHeader, tc.sent)
		w := httptest.NewRecorder()
		var inside string
		e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inside = httpkit.RequestID(r) })).ServeHTTP(w, r)
		got := w.Header().Get(httpkit.RequestIDHeader)
		if got != inside || (got == tc.sent) != tc.kept || (!tc.kept && !secret.IsID("req_", got)) {
			t.Errorf("%s: got %q, inside %q", tc.name, got, inside)
		}
	}
	if r := get("/"); httpkit.RequestID(r) != "" || httpkit.Address(r) != "" || httpkit.Client(r).IsValid() {
		t.Error("a request outside the entry has an id or an address")
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	w := httptest.NewRecorder()
	entry(&log).Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		panic("broken invariant")
	})).ServeHTTP(w, get("/"))
	if w.Code != 500 || strings.Contains(w.Body.String(), "invariant") || !strings.Contains(w.Body.String(), `"code":"internal"`) {
		t.Errorf("status %d, body %s", w.Code, w.Body)
	}
	if w.Header().Get("Content-Length") != "" {
		t.Error("the handler's length is kept")
	}
	got := lines(t, log.String())
	if len(got) != 2 || got[0]["level"] != "ERROR" || got[0]["panic"] != "broken invariant" ||
		!strings.Contains(got[0]["stack"].(string), "entry_test.go") || got[1]["status"] != 500.0 || got[1]["code"] != "internal" {
		t.Errorf("log:\n%s", log.String())
	}
	if got[0]["request_id"] != got[1]["request_id"] {
		t.Error("the two lines name different requests")
	}
}

func TestAnswerThatBeganIsCut(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"panic": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic("broken")
		},
		"abort": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"error": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			httpkit.WriteError(w, r, discard, errors.New("late"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log strings.Builder
			logged := make(chan struct{})
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(logged)
				entry(&log).Wrap(h).ServeHTTP(w, r)
			}))
			server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			server.Start()
			defer server.Close()
			res, err := server.Client().Get(server.URL)
			if err == nil {
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			if err == nil {
				t.Error("the answer looks whole")
			}
			<-logged
			got := lines(t, log.String())
			if last := got[len(got)-1]; last["msg"] != "request" || last["aborted"] != true {
				t.Errorf("log:\n%s", log.String())
			}
		})
	}
}

func TestEventStreamIsFlushed(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(entry(io.Discard).Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "event: a\n\n")
		w.(http.Flusher).Flush()
		<-release
	})))
	defer server.Close()
	res, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b := make([]byte, 10)
	if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != "event: a\n\n" {
		t.Errorf("got %q, %v", b, err)
	}
	close(release)
}

func TestEarlyHintsAreNotTheStatus(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	entry(&log).Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
	})).ServeHTTP(httptest.NewRecorder(), get("/"))
	if got := lines(t, log.String()); got[0]["status"] != 418.0 {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestLogHandler(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	inner := httpkit.LogHandler(slog.NewJSONHandler(&log, nil))
	if httpkit.LogHandler(inner) != inner {
		t.Error("a handler is wrapped twice")
	}
	logger := slog.New(inner).With(slog.String("part", "deliver"))
	httpkit.Entry{Logger: logger}.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		logger.InfoContext(r.Context(), "inside")
	})).ServeHTTP(httptest.NewRecorder(), get("/"))
	logger.InfoContext(context.Background(), "outside")
	got := lines(t, log.String())
	if len(got) != 3 || got[0]["request_id"] == nil || got[0]["request_id"] != got[1]["request_id"] ||
		got[0]["client"] != "192.0.2.1" || got[0]["part"] != "deliver" || got[2]["request_id"] != nil {
		t.Errorf("log:\n%s", log.String())
	}
	if n := strings.Count(log.String(), "request_id"); n != 2 {
		t.Errorf("%d request ids:\n%s", n, log.String())
	}
}

func TestNewServer(t *testing.T) {
	t.Parallel()
	s := httpkit.NewServer(http.NotFoundHandler(), discard)
	if s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 {
		t.Errorf("a limit is missing: %v %v %d", s.ReadHeaderTimeout, s.IdleTimeout, s.MaxHeaderBytes)
	}
	if longest := 90 * time.Second; s.ReadTimeout != 0 || s.WriteTimeout < longest {
		t.Errorf("a limit that cuts long polls, or none at all: %v %v", s.ReadTimeout, s.WriteTimeout)
	}
}
