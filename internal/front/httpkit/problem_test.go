package httpkit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
)

var discard = slog.New(slog.DiscardHandler)

func get(target string) *http.Request {
	return httptest.NewRequest(http.MethodGet, target, http.NoBody)
}

func write(t *testing.T, logger *slog.Logger, err error) (*httptest.ResponseRecorder, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	httpkit.WriteError(w, get("/"), logger, err)
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q", got)
	}
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return w, body
}

func TestEveryCodeHasItsStatus(t *testing.T) {
	t.Parallel()
	want := map[mfa.Code]int{
		mfa.Invalid:         400,
		mfa.Unauthenticated: 401,
		mfa.Forbidden:       403,
		mfa.NotFound:        404,
		mfa.Conflict:        409,
		mfa.Gone:            410,
		mfa.Unsupported:     422,
		mfa.RateLimited:     429,
		mfa.Internal:        500,
		mfa.Unavailable:     503,
	}
	titles := map[string]mfa.Code{}
	for _, code := range mfa.Codes() {
		w, body := write(t, discard, fmt.Errorf("do: %w", mfa.Errorf(code, "", "This is so.")))
		if w.Code != want[code] || body["status"] != float64(want[code]) {
			t.Errorf("%s: status %d, in the body %v, want %d", code, w.Code, body["status"], want[code])
		}
		if body["code"] != string(code) || body["type"] != "urn:nod:problem:"+string(code) {
			t.Errorf("%s: body %v", code, body)
		}
		name, _ := body["title"].(string)
		if before, twice := titles[name]; twice || name == "" {
			t.Errorf("%s: title %q, also of %q", code, name, before)
		}
		titles[name] = code
	}
	if len(titles) != len(want) {
		t.Errorf("%d codes, want %d", len(titles), len(want))
	}
	if got := httpkit.Status(&mfa.Error{Code: "new"}); got != 500 {
		t.Errorf("an unknown code has status %d", got)
	}
}

func TestStatusByReason(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want int
	}{
		{mfa.Errorf(mfa.Invalid, mfa.ReasonBodyTooLarge, ""), 413},
		{mfa.Errorf(mfa.Invalid, mfa.ReasonMediaType, ""), 415},
		{mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, ""), 400},
		{mfa.Errorf(mfa.Forbidden, mfa.ReasonMediaType, ""), 403},
		{fmt.Errorf("x: %w", httpkit.WithStatus(405, mfa.Errorf(mfa.Invalid, "", ""))), 405},
		{errors.New("x"), 500},
		{context.DeadlineExceeded, 503},
		{fmt.Errorf("x: %w", context.Canceled), 503},
	} {
		if got := httpkit.Status(tc.err); got != tc.want {
			t.Errorf("%v: got %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestProblemIsWhole(t *testing.T) {
	t.Parallel()
	w, got := write(t, discard, &mfa.Error{
		Code: mfa.RateLimited, Reason: mfa.ReasonGuessesSpent, Message: "Too <many> & more.", Field: "code",
		State: mfa.Pending, RetryAfter: 1500 * time.Millisecond, Err: errors.New("row 7"),
	})
	want := map[string]any{
		"type": "urn:nod:problem:rate_limited", "title": "An allowance is spent", "status": 429.0,
		"detail": "Too <many> & more.", "code": "rate_limited", "reason": "guesses_spent", "field": "code",
		"state": "pending", "retry_after": 2.0, "request_id": "",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("problem (-want +got):\n%s", d)
	}
	if got := w.Header().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After is %q, want 2", got)
	}
	w, got = write(t, discard, mfa.ErrNotFound())
	for _, absent := range []string{"reason", "field", "state", "retry_after"} {
		if v, there := got[absent]; there {
			t.Errorf("%s is there: %v", absent, v)
		}
	}
	if _, there := w.Header()["Retry-After"]; there {
		t.Error("Retry-After is there")
	}
}

func TestCausesStayInside(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		errors.New("secret dsn"),
		&mfa.Error{Code: mfa.Internal, Message: "secret dsn"},
		&mfa.Error{Code: mfa.Internal, Err: errors.New("secret dsn")},
		&mfa.Error{Code: mfa.Unavailable, Message: "Busy.", Err: errors.New("secret dsn")},
		fmt.Errorf("secret dsn: %w", mfa.ErrNotFound()),
	} {
		var log strings.Builder
		w, body := write(t, slog.New(slog.NewTextHandler(&log, nil)), err)
		if strings.Contains(w.Body.String(), "dsn") || body["detail"] == "" {
			t.Errorf("%v: %s", err, w.Body)
		}
		if logged := strings.Contains(log.String(), "secret dsn"); logged != (w.Code >= 500) {
			t.Errorf("%v: status %d, logged %q", err, w.Code, log.String())
		}
	}
}

func TestCallerWhoLeftIsNoFault(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var log strings.Builder
	httpkit.WriteError(httptest.NewRecorder(), get("/").WithContext(ctx), slog.New(slog.NewTextHandler(&log, nil)),
		fmt.Errorf("read: %w", context.Canceled))
	if log.Len() > 0 {
		t.Errorf("logged: %s", log.String())
	}
}

func TestProblemOfOddText(t *testing.T) {
	t.Parallel()
	_, body := write(t, discard, &mfa.Error{Code: mfa.Invalid, Message: "bad \xff", Field: "x"})
	if body["code"] != "invalid" || body["detail"] == "" {
		t.Errorf("body %v", body)
	}
}
