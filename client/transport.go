package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxAnswer  = 4 << 20 // bytes of a response body
	firstPause = 200 * time.Millisecond
	lastPause  = 5 * time.Second

	jsonType    = "application/json"
	problemType = "application/problem+json"
	keysType    = "application/jwk-set+json"
)

type keyOfContext struct{}

// WithIdempotencyKey gives the context of one POST the key by which the server knows a repetition
// of it, 1 to 255 visible ASCII characters. A caller that may have to repeat a request after its
// own restart stores such a key first; otherwise every POST gets a random one.
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, keyOfContext{}, key)
}

// call is one request, sent as often as it takes.
type call struct {
	what   string // the act and its object, for errors
	method string
	path   string   // with {} for each id
	ids    []string // in their order
	query  url.Values
	body   any           // nil for none
	out    any           // nil if there is nothing to read
	wait   time.Duration // that the server may take before it answers
}

func (c *Client) do(ctx context.Context, q call) error {
	if err := c.attempt(ctx, q); err != nil {
		return fmt.Errorf("%s: %w", q.what, err)
	}
	return nil
}

func (c *Client) attempt(ctx context.Context, q call) error {
	var err error
	if q.path, err = place(q.path, q.ids); err != nil {
		return err
	}
	var body []byte
	if q.body != nil {
		if body, err = json.Marshal(q.body); err != nil {
			return err
		}
	}
	head := http.Header{"Accept": {jsonType + ", " + problemType}}
	if q.body != nil {
		head.Set("Content-Type", jsonType)
	}
	if q.method == http.MethodPost {
		key, ok := ctx.Value(keyOfContext{}).(string)
		if !ok {
			key = rand.Text()
		}
		head.Set("Idempotency-Key", key)
	}
	// PATCH has neither a key nor the promise that once more changes nothing.
	again := q.method != http.MethodPatch
	for pause, i := firstPause, 1; ; i++ {
		err := c.once(ctx, q, head, body)
		if err == nil || !again || i >= c.attempts {
			return err
		}
		after, ok := temporary(err)
		if !ok || after > c.patience {
			return err
		}
		if errWait := sleep(ctx, max(after, jitter(pause))); errWait != nil {
			return err
		}
		pause = min(2*pause, lastPause)
	}
}

func (c *Client) once(ctx context.Context, q call, head http.Header, body []byte) error {
	inner, cancel := context.WithTimeout(ctx, c.timeout+q.wait)
	defer cancel()
	res, err := c.send(inner, q.method, c.address(q), head, body)
	if err != nil {
		return lost(ctx, err)
	}
	defer func() { _ = res.Body.Close() }() // read or given up; nothing to learn
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return lost(ctx, err)
	}
	if len(data) > maxAnswer {
		return notNod("it is longer than 4 MiB")
	}
	if err := refusal(res, data); err != nil {
		return err
	}
	return read(res, data, q.out)
}

func (c *Client) address(q call) string {
	address := c.base + q.path
	if len(q.query) > 0 {
		address += "?" + q.query.Encode()
	}
	return address
}

// send sends one request with the credential to the server.
func (c *Client) send(ctx context.Context, method, address string, head http.Header, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = head.Clone()
	req.Header.Set("User-Agent", c.userAgent)
	if c.apiKey != "" {
		req.Header.Set("Authorization", "Bearer "+string(c.apiKey))
	}
	return c.http.Do(req)
}

// refusal is the server's error, or nil for a success.
func refusal(res *http.Response, data []byte) error {
	status := res.StatusCode
	switch {
	case status >= 200 && status < 300:
		return nil
	case status < 400:
		return notNod("it is a redirect (%d), which this client does not follow: is the URL right?", status)
	}
	var p problem
	kind := contentType(res)
	if kind != problemType && kind != jsonType || json.Unmarshal(data, &p) != nil || p.Code == "" {
		if status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout {
			// Something in front of the server answers for it.
			return problem{Code: Unavailable}.error(status, res.Header.Get("Retry-After"))
		}
		return notNod("status %d without a problem document", status)
	}
	return p.error(status, res.Header.Get("Retry-After"))
}

func read(res *http.Response, data []byte, out any) error {
	if out == nil {
		return nil
	}
	if kind := contentType(res); kind != jsonType && kind != keysType {
		return notNod("its media type is %q", printable(kind))
	}
	if raw, ok := out.(*json.RawMessage); ok {
		if !json.Valid(data) {
			return notNod("it is not JSON")
		}
		*raw = data
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return notNod("it cannot be read: %s", printable(err.Error()))
	}
	return nil
}

func contentType(res *http.Response) string {
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

// lost tells a caller that gave up from a network that did.
func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		if errors.Is(u.Err, http.ErrSchemeMismatch) {
			return fmt.Errorf("%w, it is plain http: %w", ErrNotNod, u.Err)
		}
		if isTLS(u.Err) {
			return fmt.Errorf("reach the server: %w", u.Err)
		}
		err = u.Err
	}
	return fmt.Errorf("%w: %w", ErrNoReply, err)
}

// isTLS reports an error of the server's certificate, or a server that does not speak TLS: no
// attempt changes it.
func isTLS(err error) bool {
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	return certificate || plain
}

// jitter is between half of d and d, so that many clients that lost one server do not come back
// to it together.
func jitter(d time.Duration) time.Duration {
	var b [1]byte
	_, _ = rand.Read(b[:]) // never fails
	return d/2 + d/2*time.Duration(b[0])/255
}

// sleep waits, or returns an error as soon as the context ends, or at once if it will have ended
// by then.
func sleep(ctx context.Context, d time.Duration) error {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return context.DeadlineExceeded
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// place puts ids into a path, one for each pair of braces. An id that could lead elsewhere is
// refused.
func place(path string, ids []string) (string, error) {
	for _, id := range ids {
		if id == "" || len(id) > 200 || strings.Trim(id, ".") == "" || strings.ContainsFunc(id, func(r rune) bool { return !inID(r) }) {
			return "", fmt.Errorf("%q is not an id", printable(id))
		}
		path = strings.Replace(path, "{}", id, 1)
	}
	return path, nil
}

func inID(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.", r)
}
