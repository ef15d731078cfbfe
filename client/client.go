package client

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Secret is text that printing does not show. Converting it to a string gives the text.
type Secret string

// String redacts.
func (Secret) String() string { return "[redacted]" }

// GoString redacts.
func (Secret) GoString() string { return "[redacted]" }

// Config is what a Client needs.
type Config struct {
	// URL is the server's address, such as https://auth.example.org; required.
	URL string
	// APIKey is the application's credential; without it only what is public can be asked.
	APIKey Secret
	// Issuer is what grants name as theirs, where it differs from URL: the public address, for a
	// server that is reached by another one, with /r/NAME for a realm other than default.
	Issuer string
	// Application is the id that grants must be for; needed to verify grants.
	Application string
	// Keys is a JSON Web Key Set with the keys that may sign grants. Without it the set is fetched
	// from the issuer.
	Keys []byte
	// HTTP sends the requests; nil for a client of our own. Redirects are never followed and time
	// limits are set per request, whatever it says.
	HTTP *http.Client
	// UserAgent is sent with every request; empty for nod-client.
	UserAgent string
	// Attempts is how often a request is sent at most; 0 for 5.
	Attempts int
	// Timeout is how long one attempt may take beyond the wait that it asks for; 0 for 30 s.
	Timeout time.Duration
	// Patience is the longest that a server may ask to wait before the next attempt; 0 for 30 s.
	// Where it asks for more, the error is returned at once.
	Patience time.Duration
	// Now is the clock that grants are judged by; nil for the system's.
	Now func() time.Time
}

// Client speaks to one server with one credential.
type Client struct {
	// Challenges are requests to authenticate a user or to approve an action.
	Challenges Challenges
	// Users are the people of the realm.
	Users Users
	// Devices are enrolled authenticators.
	Devices Devices
	// Enrolments are tickets by which devices are enrolled.
	Enrolments Enrolments
	// Invitations are links for days that lead to an enrolment or a new password.
	Invitations Invitations
	// Factors are a user's ways to answer beside devices.
	Factors Factors
	// Bypass are the codes that a help desk gives.
	Bypass Bypass
	// Browsers are the known browsers of a user.
	Browsers Browsers
	// Prompts are what was asked of a user.
	Prompts Prompts
	// Applications are the relying parties.
	Applications Applications
	// Keys are the credentials of applications.
	Keys Keys
	// Policies are the versions of the realm's policy.
	Policies Policies
	// Events are the audit records.
	Events Events
	// Webhooks are the addresses that are told of events.
	Webhooks Webhooks
	// Realms are the tenants.
	Realms Realms
	// SigningKeys are what the realm signs with, and what the server seals with.
	SigningKeys SigningKeys

	base      string
	apiKey    Secret
	http      *http.Client
	userAgent string
	attempts  int
	timeout   time.Duration
	patience  time.Duration
	grants    *verifier
}

// New gives a client. It sends nothing.
func New(c Config) (*Client, error) {
	base, err := checkURL("the server's URL", c.URL)
	if err != nil {
		return nil, err
	}
	issuer := base
	if c.Issuer != "" {
		if issuer, err = checkURL("the issuer", c.Issuer); err != nil {
			return nil, err
		}
	}
	if strings.ContainsFunc(string(c.APIKey), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the API key has characters that no key has: spaces, line breaks or others beyond ASCII")
	}
	if c.Attempts < 0 || c.Timeout < 0 || c.Patience < 0 {
		return nil, errors.New("attempts, time-out and patience cannot be negative")
	}
	cl := &Client{
		base: base, apiKey: c.APIKey, http: ownHTTP(c.HTTP), userAgent: cmp.Or(c.UserAgent, "nod-client"),
		attempts: cmp.Or(c.Attempts, 5), timeout: cmp.Or(c.Timeout, 30*time.Second), patience: cmp.Or(c.Patience, 30*time.Second),
	}
	if cl.grants, err = newVerifier(cl, issuer, c); err != nil {
		return nil, err
	}
	cl.Challenges, cl.Users, cl.Devices, cl.Enrolments = Challenges{cl}, Users{cl}, Devices{cl}, Enrolments{cl}
	cl.Invitations = Invitations{cl}
	cl.Factors, cl.Bypass, cl.Browsers, cl.Prompts = Factors{cl}, Bypass{cl}, Browsers{cl}, Prompts{cl}
	cl.Applications, cl.Keys, cl.Policies, cl.Events, cl.Realms = Applications{cl}, Keys{cl}, Policies{cl}, Events{cl}, Realms{cl}
	cl.SigningKeys = SigningKeys{cl}
	cl.Webhooks = Webhooks{cl}
	return cl, nil
}

// URL is the server's address, without a slash at its end.
func (c *Client) URL() string { return c.base }

// ownHTTP copies the caller's client, so that its redirects and cookies can be turned off without
// a trace outside, and gives it a transport that asks no environment for a proxy.
func ownHTTP(given *http.Client) *http.Client {
	own := &http.Client{}
	if given != nil {
		*own = *given
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	own.Jar = nil
	own.Timeout = 0
	if own.Transport == nil {
		dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
		own.Transport = &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32,
			IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return own
}

// checkURL wants https, or http to loopback, and no more than scheme, host and path.
func checkURL(what, address string) (string, error) {
	if address == "" {
		return "", fmt.Errorf("%s is missing", what)
	}
	base := strings.TrimRight(address, "/")
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", fmt.Errorf("%s must be scheme, host and perhaps a path, like https://auth.example.org: got %q", what, address)
	}
	ip, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
	if u.Scheme == "https" || u.Scheme == "http" && local {
		return base, nil
	}
	return "", fmt.Errorf("%s must begin with https://: got %q (plain http is for this machine only)", what, address)
}
