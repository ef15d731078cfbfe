package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"
)

const (
	maxEvent  = 256 << 10        // bytes of one event of a stream
	silence   = 45 * time.Second // three heartbeats; a stream this quiet is broken
	eventType = "text/event-stream"
)

// ChallengeEvent is a challenge as it was when it changed.
type ChallengeEvent struct {
	Cursor    string // resumes the stream after this event
	Challenge Challenge
}

// Events follows all challenges of the calling application, from now or after a cursor, until the
// context ends or the caller stops. A broken connection is resumed where it broke, where the last
// events may come again. The last pair has the error that ended the stream, which is never nil.
func (s Challenges) Events(ctx context.Context, after string) iter.Seq2[ChallengeEvent, error] {
	return func(yield func(ChallengeEvent, error) bool) {
		cursor, pause := after, firstPause
		for {
			stopped := false
			err := s.stream(ctx, cursor, func(e ChallengeEvent) bool {
				cursor, pause = e.Cursor, firstPause
				stopped = !yield(e, nil)
				return !stopped
			})
			if stopped {
				return
			}
			retry, again := temporary(err)
			if ctx.Err() != nil {
				err, again = ctx.Err(), false
			}
			if again {
				if errWait := sleep(ctx, max(retry, jitter(pause))); errWait != nil {
					err, again = errWait, false
				}
				pause = min(2*pause, lastPause)
			}
			if !again {
				yield(ChallengeEvent{}, fmt.Errorf("follow the challenges: %w", err))
				return
			}
		}
	}
}

// stream reads one connection until it breaks or fn returns false. Its error is never nil unless
// fn did.
func (s Challenges) stream(ctx context.Context, cursor string, fn func(ChallengeEvent) bool) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()

	head := http.Header{"Accept": {eventType + ", " + problemType}}
	if cursor != "" {
		head.Set("Last-Event-ID", cursor)
	}
	res, err := s.c.send(inner, http.MethodGet, s.c.base+"/v1/challenges/events", head, nil)
	if err != nil {
		return lost(ctx, err)
	}
	defer func() { _ = res.Body.Close() }() // given up; nothing to learn
	if res.StatusCode != http.StatusOK {
		data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		if err != nil {
			return lost(ctx, err)
		}
		if err := refusal(res, data); err != nil {
			return err
		}
	}
	if kind := contentType(res); kind != eventType {
		return notNod("its media type is %q", printable(kind))
	}
	err = readEvents(res.Body, func() { quiet.Reset(silence) }, func(e event) error {
		if e.name != "challenge" {
			return nil
		}
		var ch Challenge
		if json.Unmarshal([]byte(e.data), &ch) != nil || ch.ID == "" || ch.State == "" {
			return notNod("an event of the stream cannot be read")
		}
		if !fn(ChallengeEvent{Cursor: e.id, Challenge: ch}) {
			return errStopped
		}
		return nil
	})
	switch {
	case errors.Is(err, errStopped):
		return nil
	case err == nil:
		err = io.ErrUnexpectedEOF // the server closes streams when it stops
	case errors.Is(err, ErrNotNod):
		return err
	}
	return lost(ctx, err)
}

var errStopped = errors.New("stopped")

// event is one event of a server-sent stream.
type event struct{ id, name, data string }

// readEvents reads a text/event-stream: each complete event is given to fn, alive is called for
// every line. An event that the end of the stream cuts off is dropped. It returns nil at the end.
func readEvents(r io.Reader, alive func(), fn func(event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEvent)
	var e event
	var data []string
	size := 0
	for lines.Scan() {
		alive()
		line := lines.Text()
		if line == "" {
			if len(data) > 0 {
				e.data = strings.Join(data, "\n")
				if err := fn(e); err != nil {
					return err
				}
			}
			e, data, size = event{id: e.id}, nil, 0
			continue
		}
		field, value, _ := strings.Cut(line, ":") // a comment has an empty field
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			if size += len(value) + 1; size > maxEvent {
				return notNod("an event of the stream is longer than 256 KiB")
			}
			data = append(data, value)
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return notNod("a line of the stream is longer than 256 KiB")
	}
	return lines.Err()
}
