package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/nodauth/nod/internal/certificate"
	"github.com/nodauth/nod/internal/keys"
)

// certificates is where the listener's certificate comes from.
type certificates interface {
	Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	State() certificate.State
	Run(ctx context.Context) error
}

func (s *Server) openCertificates(ring *keys.Ring) error {
	t := s.c.TLS
	switch s.c.tlsMode() {
	case tlsFiles:
		f, err := certificate.NewFiles(certificate.FilesConfig{
			CertFile: t.CertFile, KeyFile: t.KeyFile, Hosts: s.c.tlsHosts(), Logger: s.log, Now: s.now,
		})
		if err != nil {
			return fmt.Errorf("tls: %w", err)
		}
		s.certificates = f
	case tlsACME:
		roots, err := t.ACME.roots()
		if err != nil {
			return fmt.Errorf("tls.acme.ca_file: %w", err)
		}
		i, err := certificate.NewIssued(certificate.IssuedConfig{
			Store: s.store, Ring: ring, Hosts: s.c.tlsHosts(), Directory: t.ACME.Directory, Email: t.ACME.Email,
			Roots: roots, Logger: s.log, Now: s.now,
		})
		if err != nil {
			return err
		}
		s.certificates = i
	}
	return nil
}

// roots are the certificates that vouch for the authority's server; nil for those of the system.
func (a ACME) roots() (*x509.CertPool, error) {
	if a.CAFile == "" {
		return nil, nil //nolint:nilnil // which means the system's
	}
	text, err := os.ReadFile(a.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", a.CAFile)
	}
	return pool, nil
}

// tlsConfig is what the listener offers: TLS 1.2 with forward secrecy, and 1.3, in the order of
// crypto/tls; HTTP/2; tickets that every node takes.
func (s *Server) tlsConfig(ring *keys.Ring) *tls.Config {
	base := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: s.certificates.Certificate,
		NextProtos:     []string{"h2", "http/1.1"},
	}
	if s.c.tlsMode() == tlsACME {
		base.NextProtos = append(base.NextProtos, acme.ALPNProto)
	}
	t := &tickets{base: base, ring: ring, now: s.now}
	offered := base.Clone()
	offered.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.config(), nil }
	return offered
}

// ticketDays is for how many days a ticket is taken, that of its making among them. Clients keep
// one for seven days at most (RFC 8446 section 4.6.1).
const ticketDays = 7

// tickets keeps the keys of session tickets, one for each day. They are derived, so that a session
// goes on with another node and after a restart. It is safe for concurrent use.
type tickets struct {
	base *tls.Config
	ring *keys.Ring
	now  func() time.Time
	made atomic.Pointer[dayConfig]
}

type dayConfig struct {
	day    int64
	config *tls.Config
}

// config is the configuration of today.
func (t *tickets) config() *tls.Config {
	day := t.now().Unix() / int64(24*time.Hour/time.Second)
	if c := t.made.Load(); c != nil && c.day == day {
		return c.config
	}
	c := &dayConfig{day, t.base.Clone()}
	// The first one seals. The last is that of a node whose clock is ahead around midnight.
	all := make([][32]byte, 0, ticketDays+1)
	for d := day; d > day-ticketDays; d-- {
		all = append(all, t.key(d))
	}
	c.config.SetSessionTicketKeys(append(all, t.key(day+1)))
	t.made.Store(c)
	return c.config
}

func (t *tickets) key(day int64) (key [32]byte) {
	copy(key[:], t.ring.Derive("tls session ticket", binary.BigEndian.AppendUint64(nil, uint64(day)), len(key))) //nolint:gosec // a day
	return key
}

// redirects sends browsers from plain HTTP to the public URL, whose host is never the request's
// word, and answers an authority's HTTP-01 challenges. It does nothing else.
func (s *Server) redirects() http.Handler {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Use https.", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Location", s.secureURL(r))
		w.WriteHeader(http.StatusMovedPermanently)
	})
	if i, ok := s.certificates.(*certificate.Issued); ok {
		return i.Challenges(h)
	}
	return h
}

// secureURL is where a request for plain HTTP belongs: of the configured URLs with https the one
// whose host was asked for, else the first.
func (s *Server) secureURL(r *http.Request) string {
	asked := (&url.URL{Host: r.Host}).Hostname()
	to := ""
	for _, s := range s.urls {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" {
			continue
		}
		if to == "" || u.Hostname() == asked {
			to = u.Scheme + "://" + u.Host
		}
		if u.Hostname() == asked {
			break
		}
	}
	return to + "/" + strings.TrimPrefix(r.URL.EscapedPath(), "/") + query(r.URL)
}

func query(u *url.URL) string {
	if u.RawQuery == "" {
		return ""
	}
	return "?" + u.RawQuery
}
