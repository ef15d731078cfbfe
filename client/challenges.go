package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	longPoll = 30 * time.Second // that one request waits for a change
	// outage is how long a wait outlasts a server that does not answer, as while it restarts.
	outage = time.Minute
)

// Challenges are the requests of the calling application.
type Challenges struct{ c *Client }

// Create asks for a user's answer. An unknown, locked or device-less user gets a challenge that
// nobody can answer; only its time ends it.
func (s Challenges) Create(ctx context.Context, n NewChallenge) (Challenge, error) {
	var ch Challenge
	err := s.c.do(ctx, call{what: "create a challenge", method: http.MethodPost, path: "/v1/challenges", body: n, out: &ch})
	return known(ch, "", err)
}

// Get reads a challenge.
func (s Challenges) Get(ctx context.Context, id string) (Challenge, error) {
	return s.get(ctx, id, nil, 0)
}

// Next returns as soon as the challenge is in another state than seen. It waits until the context
// ends, through time-outs and a short outage of the server.
func (s Challenges) Next(ctx context.Context, id string, seen State) (Challenge, error) {
	query := url.Values{"wait": {strconv.Itoa(int(longPoll.Seconds()))}, "state": {string(seen)}}
	heard := time.Now()
	for pause := firstPause; ; {
		started := time.Now()
		ch, err := s.get(ctx, id, query, longPoll)
		if err == nil && ch.State != seen {
			return ch, nil
		}
		if err == nil {
			heard, pause = time.Now(), firstPause
			// A server that does not wait is not asked without pause.
			if time.Since(started) >= longPoll/2 {
				continue
			}
		} else if _, again := temporary(err); !again || time.Since(heard) > outage {
			return Challenge{}, err
		}
		if errWait := sleep(ctx, jitter(pause)); errWait != nil {
			if err == nil {
				err = errWait
			}
			return Challenge{}, err
		}
		pause = min(2*pause, lastPause)
	}
}

// Wait returns when the challenge is decided, whichever way, or its time is over. An application
// that offers digits_back uses Next, since it asks for the digits in the state answered.
func (s Challenges) Wait(ctx context.Context, id string) (Challenge, error) {
	for seen := Pending; ; {
		ch, err := s.Next(ctx, id, seen)
		if err != nil || !ch.State.Undecided() {
			return ch, err
		}
		seen = ch.State
	}
}

// Verify gives a typed answer: a code of the user's, or with DigitsBackMethod the digits that the
// device shows. A wrong code is no error; the challenge then stays as it was. It returns an Error
// with code rate_limited if guesses are spent, conflict or gone if the challenge is decided.
func (s Challenges) Verify(ctx context.Context, id string, method Method, code Secret) (Challenge, error) {
	body := struct {
		Method Method `json:"method"`
		Code   string `json:"code"`
	}{method, string(code)}
	var ch Challenge
	err := s.c.do(ctx, call{
		what: "verify a code for " + id, method: http.MethodPost, path: "/v1/challenges/{}/verify", ids: []string{id}, body: body, out: &ch,
	})
	return known(ch, id, err)
}

// Cancel ends a challenge that is not decided. It returns an Error with code conflict or gone if
// it is.
func (s Challenges) Cancel(ctx context.Context, id string) (Challenge, error) {
	var ch Challenge
	err := s.c.do(ctx, call{
		what: "cancel " + id, method: http.MethodPost, path: "/v1/challenges/{}/cancel", ids: []string{id}, out: &ch,
	})
	return known(ch, id, err)
}

// Redeem gives the grant of an approved challenge, once: a repetition with the same idempotency
// key gives the same grant, any other an Error with code conflict. Without a key in the context
// the repetitions of this call have one of their own.
func (s Challenges) Redeem(ctx context.Context, id string) (RedeemedGrant, error) {
	var g RedeemedGrant
	err := s.c.do(ctx, call{
		what: "redeem " + id, method: http.MethodPost, path: "/v1/challenges/{}/redeem", ids: []string{id}, out: &g,
	})
	return g, err
}

// Receipt gives the stored evidence of the decision.
func (s Challenges) Receipt(ctx context.Context, id string) (Receipt, error) {
	var r Receipt
	err := s.c.do(ctx, call{
		what: "read the receipt of " + id, method: http.MethodGet, path: "/v1/challenges/{}/receipt", ids: []string{id}, out: &r,
	})
	return r, err
}

func (s Challenges) get(ctx context.Context, id string, query url.Values, wait time.Duration) (Challenge, error) {
	var ch Challenge
	err := s.c.do(ctx, call{
		what: "read challenge " + id, method: http.MethodGet, path: "/v1/challenges/{}", ids: []string{id}, query: query, out: &ch, wait: wait,
	})
	return known(ch, id, err)
}

// known refuses an answer about another challenge than the one asked for.
func known(ch Challenge, id string, err error) (Challenge, error) {
	switch {
	case err != nil:
		return Challenge{}, err
	case ch.ID == "" || ch.State == "" || id != "" && ch.ID != id:
		return Challenge{}, notNod("it is about the challenge %q in state %q", printable(ch.ID), printable(string(ch.State)))
	}
	return ch, nil
}
