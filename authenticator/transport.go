package authenticator

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nodauth/nod/protocol"
)

const (
	maxAnswer    = 1 << 20 // bytes of a response body
	replyTimeout = 20 * time.Second
	attempts     = 4 // of a request whose reply was lost
	firstPause   = 250 * time.Millisecond
)

// answer is a reply of the server.
type answer struct {
	status int
	nonce  string // the next one, if any
	body   []byte
}

// exchange sends one request and reads the whole reply. It returns ErrNoReply if there was none
// or only a part of one, and the context's error if that ended it.
func (a *Authenticator) exchange(ctx context.Context, method, address, body string, limit time.Duration) (answer, error) {
	inner, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(inner, method, address, strings.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("reach %s: %w", address, err)
	}
	if body != "" {
		req.Header.Set("Content-Type", protocol.ContentType)
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	res, err := a.http.Do(req)
	if err != nil {
		return answer{}, lost(ctx, err)
	}
	defer func() { _ = res.Body.Close() }() // read or given up; nothing to learn
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return answer{}, lost(ctx, err)
	}
	if len(data) > maxAnswer {
		return answer{}, fmt.Errorf("the answer of %s is longer than 1 MiB", address)
	}
	return answer{status: res.StatusCode, nonce: res.Header.Get(protocol.NonceHeader), body: data}, nil
}

// lost tells a caller that gave up from a network that did.
func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the address, which callers add
	}
	return fmt.Errorf("%w: %w", ErrNoReply, err)
}

// refusal is the server's error, or nil for a success.
func (r answer) refusal() error {
	if r.status >= 200 && r.status < 300 {
		return nil
	}
	e := &Error{Status: r.status}
	p, err := protocol.ReadAnswer[protocol.Problem](r.body)
	if err != nil || p.Code == "" {
		e.Detail = "not an answer of nod: is the address right?"
		return e
	}
	e.Code, e.Reason, e.State, e.Field, e.RequestID = p.Code, p.Reason, p.State, p.Field, p.RequestID
	e.Detail = printable(p.Detail)
	e.RetryAfter = time.Duration(min(max(p.RetryAfter, 0), 86400)) * time.Second
	return e
}

// printable keeps a server's words from steering a terminal.
func printable(s string) string {
	if len(s) > 500 {
		s = s[:500]
	}
	q := strconv.QuoteToGraphic(s)
	return q[1 : len(q)-1]
}

// unsure reports whether the request may have taken effect although err came back.
func unsure(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		switch e.Status {
		case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	return errors.Is(err, ErrNoReply)
}

// insist repeats a request that may be repeated until its outcome is known, a few times at most.
func insist(ctx context.Context, send func() error) error {
	pause := firstPause
	for i := 1; ; i++ {
		err := send()
		if err == nil || !unsure(err) || i == attempts {
			return err
		}
		var e *Error
		if errors.As(err, &e) && e.RetryAfter > pause {
			pause = min(e.RetryAfter, replyTimeout)
		}
		if errSleep := sleep(ctx, pause); errSleep != nil {
			return errors.Join(errSleep, err)
		}
		pause *= 2
	}
}

// readAnswer reads a JSON answer; one that is cut short counts as none.
func readAnswer[T any](body []byte) (T, error) {
	v, err := protocol.ReadAnswer[T](body)
	if err != nil {
		return v, fmt.Errorf("%w: the answer cannot be read", ErrNoReply)
	}
	return v, nil
}

// send signs the payload with the device's key and posts it to the path of its type. A stale
// nonce is replaced once.
func (d *Device) send(ctx context.Context, p protocol.Payload, limit time.Duration) ([]byte, error) {
	var body []byte
	err := d.withKey(func(key *ecdsa.PrivateKey) error {
		var err error
		body, err = d.sendWith(ctx, key, p, limit)
		return err
	})
	return body, err
}

// withKey calls fn with the device's key. If the server does not take it, another process may
// have rotated it: fn is then called with what the store has.
func (d *Device) withKey(fn func(*ecdsa.PrivateKey) error) error {
	d.mu.Lock()
	key := d.key
	d.mu.Unlock()
	err := fn(key)
	if !isStatus(err, http.StatusUnauthorized) {
		return err
	}
	r, errStore := d.a.store.get(d.id)
	if errStore != nil {
		return errors.Join(err, errStore)
	}
	for _, sealed := range [][]byte{r.Key, r.NewKey} {
		if sealed == nil {
			continue
		}
		stored, errStore := d.a.store.open(d.id, sealed)
		if errStore != nil {
			return errors.Join(err, errStore)
		}
		if stored.Equal(key) {
			continue
		}
		if err = fn(stored); !isStatus(err, http.StatusUnauthorized) {
			d.mu.Lock()
			d.key = stored
			d.mu.Unlock()
			return err
		}
	}
	return err
}

func (d *Device) post(ctx context.Context, path, raw string, limit time.Duration) ([]byte, error) {
	res, err := d.a.exchange(ctx, http.MethodPost, d.base+path, raw, limit)
	if err != nil {
		return nil, err
	}
	if res.nonce != "" {
		d.mu.Lock()
		d.nonce = res.nonce
		d.mu.Unlock()
	}
	return res.body, res.refusal()
}

// checkServer wants https, or http to loopback, and no more than scheme, host and path.
func checkServer(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(address, "/") {
		return fmt.Errorf("the server names an address that cannot be used: %q", address)
	}
	if u.Scheme == "https" {
		return nil
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("%q is neither https nor on this machine", address)
}

// isRefusal reports whether the server certainly did nothing.
func isRefusal(err error) bool {
	var e *Error
	return errors.As(err, &e) && !unsure(err)
}

func isStaleNonce(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Reason == reasonStaleNonce
}

func isStatus(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}
