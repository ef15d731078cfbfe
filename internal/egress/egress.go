// Package egress is the one HTTP client with which the server calls out, at addresses that people
// have given it: it calls hosts of the public Internet and those that the configuration names, and
// nothing else.
//
// An address is looked at three times: when it is saved ([Client.Check]), when its name has been
// resolved for a call, and, as the system has it, on the socket before it connects. Redirects are
// not followed, proxies of the environment not used, cookies not kept, replies read up to a limit.
package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

const (
	lookupTime    = 5 * time.Second
	connectTime   = 5 * time.Second
	dialTime      = 12 * time.Second // for looking up and all of that together
	maxAddresses  = 4                // of a name that are tried
	handshakeTime = 5 * time.Second
	idleTime      = 90 * time.Second
	maxHeader     = 32 << 10
	// DefaultReply is how much of a reply is read.
	DefaultReply = 16 << 10

	connectionsPerHost = 16
	idlePerHost        = 4
	idleAll            = 256
)

// Config of a Client. All of it may be left out.
type Config struct {
	// Allow are addresses that are called although they are not public. Where it holds those of
	// this machine, they are called by http too.
	Allow []netip.Prefix
	// Roots are the certificate authorities that are trusted; the system's if nil.
	Roots *x509.CertPool
	// Lookup resolves names; the system's resolver if nil.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Client calls out. It is safe for concurrent use.
type Client struct {
	c    Config
	http *http.Client
}

// New makes a Client.
func New(c Config) *Client {
	if c.Lookup == nil {
		c.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	e := &Client{c: c}
	e.http = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            e.dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots},
			TLSHandshakeTimeout:    handshakeTime,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // so that what is read is not longer than what was sent
			MaxResponseHeaderBytes: maxHeader,
			MaxConnsPerHost:        connectionsPerHost,
			MaxIdleConnsPerHost:    idlePerHost,
			MaxIdleConns:           idleAll,
			IdleConnTimeout:        idleTime,
		},
	}
	return e
}

// Close ends the connections that nobody uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// plainKey marks the context of a call by http.
type plainKey struct{}

// dial resolves a name, and connects to the first of its addresses that answers. All of them must
// be permitted: a name that leads inside and outside is not called at all.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	// The transport goes on dialling when the call that asked for it has given up.
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	plain, _ := ctx.Value(plainKey{}).(bool)
	list, err := c.resolve(ctx, target{host: host, plain: plain})
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: connectTime, Control: func(network, address string, _ syscall.RawConn) error {
		return c.control(network, address, plain)
	}}
	var failed error
	for _, a := range list[:min(len(list), maxAddresses)] {
		conn, err := d.DialContext(ctx, network, net.JoinHostPort(a.String(), port))
		if err == nil {
			return conn, nil
		}
		failed = err
	}
	return nil, failed
}

// control looks at the address that a socket is about to connect to.
func (c *Client) control(network, address string, plain bool) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || (network != "tcp4" && network != "tcp6") {
		return &Error{Kind: Refused}
	}
	if !c.permitted(at.Addr()) || (plain && !at.Addr().IsLoopback()) {
		return &Error{Kind: Refused}
	}
	return nil
}

// Request is a call. Header values with line breaks are refused.
type Request struct {
	Method string
	URL    string
	Header map[string]string
	Body   []byte
	Reply  int // bytes of the reply that are read; DefaultReply if 0
}

// Reply is what came back. Whatever its status, it is no error.
type Reply struct {
	Status     int
	RetryAfter string
	Body       []byte
	Cut        bool // there was more of it
}

// Kind tells why a call came to nothing.
type Kind string

// The kinds.
const (
	Refused    Kind = "refused"    // the address is not one that is called
	Unresolved Kind = "unresolved" // the name leads nowhere
	Unreached  Kind = "unreached"  // no connection
	Untrusted  Kind = "untrusted"  // the certificate, or no TLS
	TimedOut   Kind = "timed_out"
	Broken     Kind = "broken" // the connection broke, or the reply was none
)

// Error is why a call came to nothing. Err is for the log: it may name addresses.
type Error struct {
	Kind Kind
	Err  error
}

// Error gives kind and cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return "call out: " + string(e.Kind)
	}
	return "call out: " + string(e.Kind) + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Do calls an address and reads the reply. It takes as long as ctx lets it. Its errors are *Error.
func (c *Client) Do(ctx context.Context, q Request) (Reply, error) {
	t, ok := parse(q.URL)
	if !ok {
		return Reply{}, &Error{Kind: Refused}
	}
	req, err := http.NewRequestWithContext(context.WithValue(ctx, plainKey{}, t.plain), q.Method, t.url.String(), bytes.NewReader(q.Body))
	if err != nil {
		return Reply{}, &Error{Kind: Refused, Err: err}
	}
	req.Header.Set("User-Agent", "nod")
	for name, value := range q.Header {
		req.Header.Set(name, value)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return Reply{}, explain(ctx, err)
	}
	defer func() { _ = res.Body.Close() }() // what is needed of it has been read
	most := q.Reply
	if most == 0 {
		most = DefaultReply
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, int64(most)+1))
	if err != nil {
		return Reply{}, explain(ctx, err)
	}
	out := Reply{Status: res.StatusCode, RetryAfter: res.Header.Get("Retry-After"), Body: body}
	if len(body) > most {
		out.Body, out.Cut = body[:most], true
	}
	return out, nil
}

func explain(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	kind := Broken
	op := ""
	if e, ok := errors.AsType[*net.OpError](err); ok {
		op = e.Op
	}
	slow, isNet := errors.AsType[net.Error](err)
	switch {
	case ctx.Err() != nil || (isNet && slow.Timeout()):
		kind = TimedOut
	case untrusted(err), op == "remote error", op == "local error": // an alert of TLS
		kind = Untrusted
	case op == "dial":
		kind = Unreached
	}
	return &Error{Kind: kind, Err: err}
}

func untrusted(err error) bool {
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	return certificate || plain || errors.Is(err, http.ErrSchemeMismatch)
}
