// Package certificate gives the listener its TLS certificate: from files that may be replaced
// while it runs, or from an authority that speaks ACME (RFC 8555), shared by all nodes.
//
// Neither ever puts something worse in the place of what it has: a pair of files that does not
// fit together, and an order that fails, leave the certificate before in use and say so.
package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// warnBefore is how long before its end a certificate should have been replaced.
const warnBefore = 14 * 24 * time.Hour

// State is how a certificate is doing.
type State struct {
	NotAfter time.Time // of the one in use that ends first; zero while there is none
	// Problem is what somebody should look at although the certificate in use is good, in words;
	// "" for nothing.
	Problem string
}

// Ready says why a listener with this certificate cannot be used at now, in words for anybody.
func (s State) Ready(now time.Time) error {
	switch {
	case s.NotAfter.IsZero():
		return errors.New("there is no certificate yet; the log says why")
	case !now.Before(s.NotAfter):
		return fmt.Errorf("the certificate has expired on %s", s.NotAfter.UTC().Format(time.DateTime))
	}
	return nil
}

// Soon says whether a certificate should have been replaced by now. Short-lived ones have the last
// sixth of their life.
func Soon(leaf *x509.Certificate, now time.Time) bool {
	return leaf.NotAfter.Sub(now) < min(warnBefore, leaf.NotAfter.Sub(leaf.NotBefore)/6)
}

// Load reads a chain and its key, and says in words what keeps them from serving the hosts at now.
func Load(certFile, keyFile string, hosts []string, now time.Time) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		if strings.Contains(err.Error(), "private key does not match") {
			return nil, fmt.Errorf("the key in %s is not that of the certificate in %s", keyFile, certFile)
		}
		return nil, fmt.Errorf("read the certificate %s and its key %s: %w", certFile, keyFile, err)
	}
	leaf := pair.Leaf
	if now.Before(leaf.NotBefore) {
		return nil, fmt.Errorf("the certificate in %s is not valid before %s: is the clock right?", certFile, leaf.NotBefore.UTC().Format(time.DateTime))
	}
	if !now.Before(leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate in %s has expired on %s: replace it", certFile, leaf.NotAfter.UTC().Format(time.DateTime))
	}
	for _, h := range hosts {
		if leaf.VerifyHostname(h) != nil {
			return nil, fmt.Errorf("the certificate in %s is not for %s, which public_url names, but for %s", certFile, h, Names(leaf))
		}
	}
	return &pair, nil
}

// Names lists whom a certificate is for.
func Names(c *x509.Certificate) string {
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "nobody: it has no subject alternative name"
	}
	return strings.Join(names, ", ")
}
