package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	// againAfter is how long after an attempt that did not succeed the next one may begin,
	// doubled with each up to againAtMost. Authorities count failures by the hour.
	againAfter  = time.Hour
	againAtMost = 24 * time.Hour
	// attemptLife is how long an attempt goes on, and attemptOrders how many orders belong to it:
	// autocert makes one for each kind of challenge, and one to find that there is none left.
	attemptLife   = 10 * time.Minute
	attemptOrders = 3

	maxAnswer = 1 << 20
)

// errNotNow is what an order gives that has to wait.
var errNotNow = errors.New("certificate: no order now")

// orders lets requests out to the authority, and an order only with the row that allows it: of
// all nodes one has an attempt under way for a host, and after one that did not succeed nobody
// begins another for an hour or more. What is not heard of again counts as a failure. It is an
// [http.RoundTripper].
type orders struct {
	c    IssuedConfig
	next http.RoundTripper
	ctx  context.Context // ends with Run
	stop context.CancelFunc

	mu       sync.Mutex
	orderURL string // from the directory
	attempts map[string]*attempt
	reasons  map[string]string // what the authority said last, by host
	current  string            // the host of the last order, which a challenge's answer is about
}

type attempt struct {
	until time.Time
	left  int
}

func newOrders(c IssuedConfig) *orders {
	o := &orders{c: c, attempts: map[string]*attempt{}, reasons: map[string]string{}}
	o.ctx, o.stop = context.WithCancel(context.Background())
	o.next = &http.Transport{ // which asks no proxy of the environment's
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots},
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		MaxIdleConns: 2, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
	}
	return o
}

func (o *orders) client() *http.Client { return &http.Client{Transport: o, Timeout: time.Minute} }

// RoundTrip implements [http.RoundTripper].
func (o *orders) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer context.AfterFunc(o.ctx, cancel)()
	defer cancel() // the body is read by then
	r = r.WithContext(ctx)
	if o.ctx.Err() != nil {
		return nil, o.ctx.Err()
	}
	if o.isOrder(r) {
		if err := o.begin(r); err != nil {
			return nil, err
		}
	}
	res, err := o.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	o.read(r, res.StatusCode, body)
	return res, nil
}

func (o *orders) isOrder(r *http.Request) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return r.Method == http.MethodPost && r.URL.String() == o.orderURL
}

// begin allows an order for the host that the request names.
func (o *orders) begin(r *http.Request) error {
	host, err := orderedHost(r)
	if err != nil {
		return err
	}
	o.mu.Lock()
	a := o.attempts[host]
	goesOn := a != nil && a.left > 0 && time.Now().Before(a.until)
	if goesOn {
		a.left--
	}
	o.current = host
	o.mu.Unlock()
	if goesOn {
		return nil
	}
	var before store.CertificateOrder
	err = o.c.Store.Update(r.Context(), func(tx store.Tx) error {
		var err error
		if before, err = tx.CertificateOrder(host); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return tx.BeginCertificateOrder(host, tx.Now(), tx.Now().Add(pause(before.Failures)))
	})
	if errors.Is(err, store.ErrUsed) {
		return notNow(before.NotAgain)
	}
	if err != nil {
		return fmt.Errorf("begin order: %w", err)
	}
	o.mu.Lock()
	o.attempts[host] = &attempt{until: time.Now().Add(attemptLife), left: attemptOrders - 1}
	o.mu.Unlock()
	o.c.Logger.InfoContext(r.Context(), "ordering a certificate", slog.String("host", host), slog.Int("failures", before.Failures))
	return nil
}

func notNow(until mfa.Instant) error {
	return fmt.Errorf("%w: another node orders it, or an attempt has failed; the next one is at %s",
		errNotNow, until.Time().UTC().Format(time.DateTime))
}

// pause is how long nobody begins another attempt after so many failures and this one.
func pause(failures int) time.Duration {
	d := againAfter
	for range failures {
		if d *= 2; d >= againAtMost {
			return againAtMost
		}
	}
	return d
}

// succeeded forgets what went wrong before.
func (o *orders) succeeded(host string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.attempts, host)
	delete(o.reasons, host)
}

// reason is what the authority said last of a host that has not succeeded since, in words.
func (o *orders) reason(host string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reasons[host]
}

// explain adds what the authority said, which autocert does not pass on.
func (o *orders) explain(host string, err error) error {
	if why := o.reason(host); why != "" && err != nil {
		return fmt.Errorf("%w; the authority said: %s", err, why)
	}
	return err
}

// problem is what an authority says is wrong (RFC 8555 section 6.7).
type problem struct {
	Type   string `json:"type"`
	Detail string `json:"detail"`
}

// answer is what is read of the authority's answers: a directory, an order, an authorization, a
// challenge or a problem.
type answer struct {
	problem
	NewOrder   string   `json:"newOrder"`
	Error      *problem `json:"error"`
	Challenges []struct {
		Error *problem `json:"error"`
	} `json:"challenges"`
}

// read learns where orders go, and what was refused.
func (o *orders) read(r *http.Request, status int, body []byte) {
	var a answer
	if json.Unmarshal(body, &a) != nil {
		return // a certificate, or nothing
	}
	if r.URL.String() == o.c.Directory && a.NewOrder != "" {
		o.mu.Lock()
		o.orderURL = a.NewOrder
		o.mu.Unlock()
		return
	}
	var said *problem
	if status >= 400 {
		said = &a.problem
	}
	if a.Error != nil {
		said = a.Error
	}
	for _, c := range a.Challenges {
		if c.Error != nil {
			said = c.Error
		}
	}
	if said == nil {
		return
	}
	if strings.HasSuffix(said.Type, ":badNonce") { // which is sent again at once
		o.giveBack(r)
		return
	}
	why := strings.TrimSpace(said.Detail)
	o.mu.Lock()
	host, known := o.current, o.reasons[o.current]
	o.reasons[host] = why
	o.mu.Unlock()
	if known != why {
		o.c.Logger.ErrorContext(r.Context(), "the certificate authority refused", slog.String("host", host), slog.String("type", said.Type), slog.String("reason", why))
	}
}

// giveBack lets an order that was not taken be sent again.
func (o *orders) giveBack(r *http.Request) {
	if !o.isOrder(r) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.attempts[o.current]; a != nil {
		a.left++
	}
}

// orderedHost reads the host out of an order, which is a JWS (RFC 8555 section 7.4).
func orderedHost(r *http.Request) (string, error) {
	if r.GetBody == nil {
		return "", errors.New("certificate: an order without a body")
	}
	body, err := r.GetBody()
	if err != nil {
		return "", err
	}
	defer body.Close()
	var signed struct {
		Payload string `json:"payload"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(&signed); err != nil {
		return "", fmt.Errorf("read order: %w", err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(signed.Payload)
	if err != nil {
		return "", fmt.Errorf("read order: %w", err)
	}
	var order struct {
		Identifiers []struct {
			Value string `json:"value"`
		} `json:"identifiers"`
	}
	if err := json.Unmarshal(payload, &order); err != nil || len(order.Identifiers) != 1 {
		return "", errors.New("certificate: an order for other than one host")
	}
	return order.Identifiers[0].Value, nil
}
