package rest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodauth/nod/internal/front/httpkit"
)

// limited is a listener whose connection has write deadlines, as HTTP/2 keeps them: what is set
// ends the stream, also when there is nothing to be written.
type limited struct {
	*listener
	deadline atomic.Pointer[time.Time]
}

func (l *limited) SetWriteDeadline(t time.Time) error {
	l.deadline.Store(&t)
	return nil
}

func TestQuietStreamHasNoDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		ctx, cancel := context.WithCancel(t.Context())
		l := &limited{listener: &listener{header: make(http.Header), done: make(chan struct{})}}
		r := httptest.NewRequestWithContext(ctx, "GET", "/v1/challenges/events", nil)
		r.Header.Set("Authorization", "Bearer "+s.app.key)
		go func() {
			defer close(l.done)
			s.http.ServeHTTP(l, r)
		}()
		for range 5 {
			time.Sleep(heartbeat)
			synctest.Wait()
			if at := l.deadline.Load(); at == nil || !at.IsZero() {
				t.Fatalf("the stream ends at %v", at)
			}
		}
		cancel()
		<-l.done
	})
}

// TestBusyStreamEndsWithItsKey revokes the key of a stream on which there is always something to
// be sent.
func TestBusyStreamEndsWithItsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		keys := "/v1/applications/" + string(s.app.id) + "/keys"
		first := s.call(s.admin, "GET", keys, "").is(200).text("items.0.id")
		l := s.listen(s.app, "")
		second := s.app
		second.key = s.call(s.admin, "POST", keys, `{"scopes":["authenticate","assert_first_factor"]}`).is(201).text("secret")
		s.call(s.admin, "DELETE", keys+"/"+first, "").is(204)
		for range 20 {
			s.call(second, "POST", "/v1/challenges", `{"user":{"name":"somebody"},"kind":"login","first_factor":"asserted"}`).is(201)
			time.Sleep(time.Second)
		}
		select {
		case <-l.done:
		default:
			t.Error("the stream of a revoked key goes on")
			l.cancel()
			<-l.done
		}
	})
}

// TestStreamsCountAsRequests opens streams beyond the application's share of the places.
func TestStreamsCountAsRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.handler.c.Shares = httpkit.NewShares(10, 1)
		first := s.listen(s.app, "")
		second := s.listen(s.app, "")
		select {
		case <-second.done:
		default:
			t.Error("a second stream of an application with one place is open")
			second.cancel()
			<-second.done
		}
		s.call(s.app, "GET", "/v1/challenges/ch_none", "").is(429)
		s.call(s.other, "GET", "/v1/challenges/ch_none", "").is(404)
		first.cancel()
		<-first.done
		s.call(s.app, "GET", "/v1/challenges/ch_none", "").is(404)
	})
}
