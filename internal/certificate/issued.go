package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/store"
)

const (
	// askEvery is how often a host without a certificate is tried again, and the others are
	// looked at. What an authority is asked for is bounded by orders, not by this.
	askEvery = time.Minute
	// patienceWithAuthority is how long one try may take.
	patienceWithAuthority = 5 * time.Minute
)

// IssuedConfig says whose certificates are ordered where. All but Email and Roots is required.
type IssuedConfig struct {
	Store     store.Store
	Ring      *keys.Ring
	Hosts     []string // the only ones that are ordered for; at least one, the first for clients that name none
	Directory string   // URL of the authority's directory
	Email     string   // that the authority may write to
	Roots     *x509.CertPool
	Logger    *slog.Logger
	Now       func() time.Time // of expiry warnings; the authority's dates are compared with the machine's clock
}

// Issued is the certificates that an authority gives by ACME. They and the account are rows,
// sealed, that all nodes share: one orders, the others take what is there. It is safe for
// concurrent use.
//
//	Run ──► is there a row? ──► serve it
//	            │ no, or its last third has begun
//	            └─► orders.begin ── another node, or a failure within the hour ──► later
//	                    └─► order, answer the challenge from any node, row ──► serve it
type Issued struct {
	c       IssuedConfig
	manager *autocert.Manager
	orders  *orders
	rows    *rows

	mu      sync.RWMutex
	certs   map[string]*tls.Certificate // by host; none for those that have none yet
	problem string                      // why a host has none

	// What follows is Run's.
	warned map[string]time.Time
	retry  map[string]retry
}

// retry is when a host without a certificate is tried again.
type retry struct {
	at    time.Time
	after time.Duration
	why   string
}

// NewIssued makes it. Nothing is ordered before Run.
func NewIssued(c IssuedConfig) (*Issued, error) {
	if c.Store == nil || c.Ring == nil || len(c.Hosts) == 0 || c.Directory == "" || c.Logger == nil || c.Now == nil {
		return nil, errors.New("certificate: incomplete configuration")
	}
	i := &Issued{c: c, certs: map[string]*tls.Certificate{}, warned: map[string]time.Time{}, retry: map[string]retry{}}
	i.orders = newOrders(c)
	i.rows = &rows{c: c, orders: i.orders, take: i.take}
	i.manager = &autocert.Manager{
		Prompt:     autocert.AcceptTOS, // whoever configures ACME has accepted them there
		Cache:      i.rows,
		HostPolicy: i.policy,
		Email:      c.Email,
		Client:     &acme.Client{DirectoryURL: c.Directory, HTTPClient: i.orders.client(), UserAgent: "nod"},
	}
	return i, nil
}

func (i *Issued) policy(_ context.Context, host string) error {
	if !slices.Contains(i.c.Hosts, host) {
		return errors.New("certificate: not one of this server's hosts")
	}
	return nil
}

// Certificate is for [tls.Config.GetCertificate]: a certificate that is there, or the answer to
// the authority's TLS-ALPN-01 challenge. It never orders, so that strangers' handshakes neither
// wait for the authority nor make it be asked.
func (i *Issued) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if host == "" {
		host = i.c.Hosts[0]
	}
	if err := i.policy(hello.Context(), host); err != nil {
		return nil, err
	}
	if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return i.manager.GetCertificate(&tls.ClientHelloInfo{ServerName: host, SupportedProtos: hello.SupportedProtos})
	}
	i.mu.RLock()
	defer i.mu.RUnlock()
	if cert := i.certs[host]; cert != nil {
		return cert, nil
	}
	return nil, errors.New("certificate: none yet for this host")
}

// take serves a certificate from now on, unless that in use lasts longer.
func (i *Issued) take(host string, cert *tls.Certificate) {
	i.mu.Lock()
	before := i.certs[host]
	newer := before == nil || before.Leaf.NotAfter.Before(cert.Leaf.NotAfter)
	if newer {
		i.certs[host] = cert
	}
	i.mu.Unlock()
	if newer {
		i.c.Logger.Info("certificate in use", slog.String("host", host), slog.Time("expires", cert.Leaf.NotAfter))
	}
}

// ecdsaHello asks the manager for the one kind of certificate that nod uses. A client that cannot
// have it would otherwise make it order another kind.
func ecdsaHello(host string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
}

// Challenges answers the authority's HTTP-01 challenges and passes all other requests on. To call
// it is what makes these challenges be taken; it is called before Run.
func (i *Issued) Challenges(next http.Handler) http.Handler {
	h := i.manager.HTTPHandler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = (&url.URL{Host: r.Host}).Hostname() // autocert compares it with names alone
		h.ServeHTTP(w, r)
	})
}

// State says how the certificates are doing.
func (i *Issued) State() State {
	i.mu.RLock()
	defer i.mu.RUnlock()
	s := State{Problem: i.problem}
	for _, h := range i.c.Hosts {
		cert := i.certs[h]
		if cert == nil {
			return State{Problem: i.problem}
		}
		if s.NotAfter.IsZero() || cert.Leaf.NotAfter.Before(s.NotAfter) {
			s.NotAfter = cert.Leaf.NotAfter
		}
	}
	return s
}

// Run sees to it that every host has a certificate, until ctx ends.
func (i *Issued) Run(ctx context.Context) error {
	t := time.NewTicker(askEvery)
	defer t.Stop()
	defer i.orders.stop()
	for {
		i.see(ctx)
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// see looks at every host: it takes what another node has got, and orders where there is nothing.
// The manager itself renews what it has.
func (i *Issued) see(ctx context.Context) {
	problem := ""
	for _, host := range i.c.Hosts {
		if why := i.seeTo(ctx, host); why != "" {
			problem = why
		}
	}
	i.mu.Lock()
	i.problem = problem
	i.mu.Unlock()
	i.sweep(ctx)
}

// seeTo says what is wrong, or "".
func (i *Issued) seeTo(ctx context.Context, host string) string {
	now := time.Now()
	if r := i.retry[host]; now.Before(r.at) {
		return r.why
	}
	if err := i.ask(ctx, host); err != nil && ctx.Err() == nil {
		after := min(max(2*i.retry[host].after, askEvery), time.Hour)
		why := fmt.Sprintf("a certificate for %s could not be had: %v", host, err)
		i.retry[host] = retry{now.Add(after), after, why}
		i.c.Logger.ErrorContext(ctx, "no certificate", slog.String("host", host), slog.Any("error", err))
		return why
	}
	delete(i.retry, host)
	i.warn(ctx, host)
	return ""
}

// ask makes the manager get, read or order a certificate. It does not hear of ctx; the requests
// that it makes end with Run.
func (i *Issued) ask(ctx context.Context, host string) error {
	if _, err := i.rows.Get(ctx, host); err != nil && !errors.Is(err, autocert.ErrCacheMiss) {
		return err
	}
	done := make(chan error, 1)
	go func() {
		cert, err := i.manager.GetCertificate(ecdsaHello(host))
		if err == nil {
			i.take(host, cert)
		}
		done <- err
	}()
	limit := time.NewTimer(patienceWithAuthority)
	defer limit.Stop()
	select {
	case err := <-done:
		return i.orders.explain(host, err)
	case <-limit.C:
		return i.orders.explain(host, errors.New("the authority takes too long"))
	case <-ctx.Done():
		i.orders.stop()
		return errors.Join(ctx.Err(), <-done)
	}
}

// warn says once a day that a certificate should have been renewed.
func (i *Issued) warn(ctx context.Context, host string) {
	i.mu.RLock()
	cert := i.certs[host]
	i.mu.RUnlock()
	if now := i.c.Now(); cert != nil && Soon(cert.Leaf, now) && now.Sub(i.warned[host]) >= 24*time.Hour {
		i.warned[host] = now
		i.c.Logger.WarnContext(ctx, "certificate expires soon and was not renewed", slog.String("host", host),
			slog.Time("expires", cert.Leaf.NotAfter), slog.String("reason", i.orders.reason(host)))
	}
}

// sweep deletes answers to challenges that a node left behind.
func (i *Issued) sweep(ctx context.Context) {
	err := i.c.Store.Update(ctx, func(tx store.Tx) error { return tx.SweepCertificates(tx.Now()) })
	if err != nil && ctx.Err() == nil {
		i.c.Logger.WarnContext(ctx, "sweep of certificates failed", slog.Any("error", err))
	}
}
