package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nodauth/nod/internal/feed"
	"github.com/nodauth/nod/internal/sink/file"
	"github.com/nodauth/nod/internal/sink/syslog"
	wire "github.com/nodauth/nod/internal/wire/syslog"
)

// Events says where every event is sent.
type Events struct {
	File   string `yaml:"file" help:"file to which every event is appended as a line of JSON; empty for none"`
	Syslog Syslog `yaml:"syslog"`
}

// Syslog says to which syslog server events are sent.
type Syslog struct {
	Address    string `yaml:"address" help:"tls://host:port, tcp://host:port, udp://host:port or unix:///path of a syslog server that gets every event; empty for none"`
	CAFile     string `yaml:"ca_file" help:"PEM certificates that may have signed the server's; the system's if empty"`
	CertFile   string `yaml:"cert_file" help:"PEM certificate by which the server knows this one; empty for none"`
	KeyFile    string `yaml:"key_file" help:"PEM private key of it"`
	AllowPlain bool   `yaml:"allow_plain" help:"let events, which name people, go over tcp or udp to another machine"`
	Facility   string `yaml:"facility" help:"authpriv, auth, daemon, user or local0 to local7"`
	Enterprise int    `yaml:"enterprise" help:"private enterprise number in the name of the structured data"`
}

// documentationNumber is the enterprise number that is set aside for examples (RFC 5612).
const documentationNumber = 32473

func (e Events) check() error {
	y := e.Syslog
	if y.Address == "" {
		return nil
	}
	network, address, err := y.target()
	if err != nil {
		return err
	}
	if network == "tcp" || network == "udp" {
		if host, _, err := net.SplitHostPort(address); err == nil && !loopback(host) && !y.AllowPlain {
			return fmt.Errorf("events.syslog.address: %s would send the names of people in the clear: use tls://, or set events.syslog.allow_plain", y.Address)
		}
	}
	if network != "tls" && y.CAFile+y.CertFile+y.KeyFile != "" {
		return errors.New("events.syslog: ca_file, cert_file and key_file belong to tls://")
	}
	if (y.CertFile == "") != (y.KeyFile == "") {
		return errors.New("events.syslog: cert_file and key_file go together")
	}
	if _, ok := wire.Facilities()[y.Facility]; !ok {
		return fmt.Errorf("events.syslog.facility: %q is none of %s", y.Facility, strings.Join(slices.Sorted(maps.Keys(wire.Facilities())), ", "))
	}
	if y.Enterprise <= 0 {
		return errors.New("events.syslog.enterprise: must be positive")
	}
	return nil
}

// target gives the network and the address that the configured one means.
func (y Syslog) target() (network, address string, err error) {
	bad := fmt.Errorf("events.syslog.address: %q is neither tls://host:port, tcp://host:port, udp://host:port nor unix:///path", y.Address)
	u, err := url.Parse(y.Address)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", "", bad
	}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return "", "", bad
		}
		return "unixgram", u.Path, nil
	case "tls", "tcp", "udp":
		if u.Hostname() == "" || u.Port() == "" || u.Path != "" {
			return "", "", bad
		}
		return u.Scheme, u.Host, nil
	}
	return "", "", bad
}

// feeds makes what sends every event elsewhere; nil if nothing is to be sent.
func (s *Server) feeds() (*feed.Service, error) {
	sinks := make(map[string]feed.Sink)
	if s.c.Events.File != "" {
		sinks["file"] = file.New(s.c.Events.File)
	}
	if s.c.Events.Syslog.Address != "" {
		sink, err := s.c.Events.Syslog.sink()
		if err != nil {
			return nil, err
		}
		sinks["syslog"] = sink
	}
	if len(sinks) == 0 {
		return nil, nil //nolint:nilnil // nothing to send is no error
	}
	return feed.New(feed.Config{Store: s.store, Logger: s.log, Gauge: s.telemetry.Feeds, Sinks: sinks})
}

func (y Syslog) sink() (*syslog.Sink, error) {
	network, address, err := y.target()
	if err != nil {
		return nil, err
	}
	c := syslog.Config{
		Network: network, Address: address, Facility: wire.Facilities()[y.Facility], Enterprise: y.Enterprise,
		Process: strconv.Itoa(os.Getpid()),
	}
	if c.Host, err = os.Hostname(); err != nil {
		c.Host = "" // the protocol has a sign for not known
	}
	if network == "tls" {
		if c.TLS, err = y.tls(); err != nil {
			return nil, err
		}
	}
	return syslog.New(c)
}

func (y Syslog) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if y.CAFile != "" {
		pem, err := os.ReadFile(y.CAFile)
		if err != nil {
			return nil, fmt.Errorf("events.syslog.ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("events.syslog.ca_file: %s holds no PEM certificate", y.CAFile)
		}
	}
	if y.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(y.CertFile, y.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("events.syslog: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
