package rest

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"reflect"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/wire/cursor"
)

// eventStream stands for the answer of a route that streams.
type eventStream struct{}

const (
	// heartbeat is how long a stream is silent at most.
	heartbeat = 15 * time.Second
	// overlap is how much later than others a change may become visible: a change carries the
	// moment at which its transaction began. What lies further back is settled.
	overlap = 15 * time.Second
	// settleEvery is how often the last overlap is read again for what came late, and how long a
	// stream outlives its credential.
	settleEvery = 5 * time.Second
	// reconnect is what clients are told to wait when a stream ends.
	reconnect = "retry: 1000\n\n"
	// writeTime is how long a client may take to receive what is sent at once.
	writeTime = 10 * time.Second
	// batch is how many changes are read at once.
	batch = 200
	// first is before every id, and so the first place of its moment.
	first = "-"
)

func (h *Handler) streamRoute() {
	r := route{
		id: "streamChallenges", method: http.MethodGet, path: "/v1/challenges/events", tag: "challenges",
		summary: "Follow all challenges of the application", access: authenticate,
		about: "Server-sent events: `event: challenge`, `data` a challenge as getChallenge gives it, `id` a cursor. " +
			"With `Last-Event-ID` the stream goes on there: each change comes at least once, the last ones before the " +
			"interruption perhaps again. Without it the stream begins now. A comment comes every 15 seconds.",
	}
	op, _ := describe(h.document, r, reflect.TypeFor[nothing](), reflect.TypeFor[eventStream]())
	op.Parameters = append(op.Parameters, lastEventID())
	h.mounts = append(h.mounts, mount{op, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		c, err := h.admit(r, &endpoint{route: route{access: authenticate}})
		if err == nil {
			err = h.sharedStream(w, c)
		}
		if err != nil {
			h.refuse(w, r, err)
		}
	})})
}

// stream is one connection's reading of the changes.
type stream struct {
	*Handler
	c      *call
	w      http.ResponseWriter
	newest account.Page           // the last change that was read in order
	sent   map[change]mfa.Instant // what was sent of the last overlap
	wrote  time.Time
}

// change is one state of one challenge.
type change struct {
	id    mfa.ChallengeID
	state mfa.State
	at    mfa.Instant
}

func changeOf(v authn.View) change { return change{v.ID, v.State, v.ChangedAt} }

func (c *call) streamScope() string {
	return string(keys.Encode(string(c.by.Realm), string(c.by.Application.ID), "challenge events"))
}

// sharedStream is stream in one of the caller's places: a stream holds it as long as a request that waits.
func (h *Handler) sharedStream(w http.ResponseWriter, c *call) error {
	release, err := h.c.Shares.Take(string(c.by.Realm), string(c.by.Application.ID))
	if err != nil {
		return err
	}
	defer release()
	return h.stream(w, c)
}

// stream answers until the caller leaves, the credential ends or the server stops.
func (h *Handler) stream(w http.ResponseWriter, c *call) error {
	ctx := c.r.Context()
	s := &stream{Handler: h, c: c, w: w, sent: make(map[change]mfa.Instant)}
	from := c.r.Header.Get("Last-Event-ID")
	now, err := h.c.Pipeline.Now(ctx)
	if err != nil {
		return err
	}
	s.newest = account.Page{At: now, ID: first, Limit: batch}
	if from != "" {
		place, err := h.cursors.Parse(c.streamScope(), from)
		if err != nil {
			return mfa.InvalidField("Last-Event-ID", "This is no cursor of this stream.")
		}
		s.newest.At = mfa.Instant(place.At)
	} else if err := s.settle(ctx, func(authn.View) error { return nil }); err != nil {
		return err // what is there already is old, not late
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies that buffer break streams
	w.WriteHeader(http.StatusOK)
	if s.write([]byte(": nod\n\n")) == nil && s.follow(ctx) == nil {
		_ = s.write([]byte(reconnect)) // the caller may be gone
	}
	return nil
}

// follow sends what changes until the server stops, which is no error, or ctx ends.
func (s *stream) follow(ctx context.Context) error {
	settled := time.Now()
	for !s.stopping() {
		wait := min(time.Until(s.wrote.Add(heartbeat)), time.Until(settled.Add(settleEvery)))
		list, err := s.Handler.c.Pipeline.Changes(ctx, s.c.by, s.newest, max(wait, 0))
		if err != nil {
			return s.fail(err)
		}
		for _, v := range list {
			s.newest.At, s.newest.ID = v.ChangedAt, string(v.ID)
			if err := s.send(v); err != nil {
				return err
			}
		}
		if len(list) == batch {
			continue
		}
		if time.Since(settled) >= settleEvery {
			settled = time.Now()
			if err := s.admitted(); err != nil {
				return err
			}
			if err := s.settle(ctx, s.send); err != nil {
				return s.fail(err)
			}
		}
		if time.Since(s.wrote) >= heartbeat {
			if err := s.write([]byte(":\n\n")); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stream) stopping() bool {
	select {
	case <-s.Handler.c.Pipeline.Stopping():
		return true
	default:
		return false
	}
}

// fail notes why the stream is cut; the caller resumes it.
func (s *stream) fail(err error) error {
	if s.c.r.Context().Err() == nil && mfa.CodeOf(err) == mfa.Internal {
		s.Handler.c.Logger.ErrorContext(s.c.r.Context(), "stream of challenges failed", slog.Any("error", err))
	}
	return err
}

// settle reads the last overlap again and gives what was not sent to fn.
func (s *stream) settle(ctx context.Context, fn func(authn.View) error) error {
	p := account.Page{At: s.newest.At.Add(-overlap), ID: first, Limit: batch}
	for sent, at := range s.sent {
		if at < p.At {
			delete(s.sent, sent)
		}
	}
	for {
		list, err := s.Handler.c.Pipeline.Changes(ctx, s.c.by, p, 0)
		if err != nil {
			return err
		}
		for _, v := range list {
			p.At, p.ID = v.ChangedAt, string(v.ID)
			if _, done := s.sent[changeOf(v)]; done {
				continue
			}
			if err := fn(v); err != nil {
				return err
			}
			s.sent[changeOf(v)] = v.ChangedAt
		}
		if len(list) < batch {
			return nil
		}
	}
}

// send writes one change, unless it was sent. The cursor lies an overlap back: what becomes visible
// late is not lost to a caller who resumes.
func (s *stream) send(v authn.View) error {
	key := changeOf(v)
	if _, done := s.sent[key]; done {
		return nil
	}
	s.sent[key] = v.ChangedAt
	data, err := json.Marshal(showChallenge(v), json.Deterministic(true))
	if err != nil {
		return s.fail(err)
	}
	place := s.cursors.Encode(s.c.streamScope(), cursor.Position{At: int64(s.newest.At.Add(-overlap)), ID: first})
	var b bytes.Buffer
	b.WriteString("event: challenge\nid: " + place + "\ndata: ")
	b.Write(data)
	b.WriteString("\n\n")
	return s.write(b.Bytes())
}

// admitted says whether the credential still is good for the stream.
func (s *stream) admitted() error {
	by, err := s.who(s.c.r)
	if err != nil {
		return err
	}
	return authenticate.require(by)
}

// write sends text to a client who takes it in time. No deadline stays behind: HTTP/2 ends a stream
// at its deadline, whether or not there is something to be written.
func (s *stream) write(text []byte) error {
	control := http.NewResponseController(s.w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTime)) // a recorder has none
	if _, err := s.w.Write(text); err != nil {
		return err
	}
	err := control.Flush()
	_ = control.SetWriteDeadline(time.Time{})
	s.wrote = time.Now()
	return err
}
