// Package doctor looks at a server from outside, by its public URL, as devices and browsers do.
package doctor

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/checkup"
)

const (
	patience   = 10 * time.Second
	clockGap   = 2 * time.Second
	warnBefore = 14 * 24 * time.Hour
	maxAnswer  = 64 << 10
)

// Config of Public.
type Config struct {
	URL  string // without a slash at its end
	Path string // that every server of nod answers
	// Header is the header by which an answer names its installation, and Installation what it
	// is to say; "" where that is not known.
	Header, Installation string
	Roots                *x509.CertPool // the system's if nil
	Now                  func() time.Time
}

const (
	checkURL         = "public URL"
	checkCertificate = "certificate"
	checkDate        = "clock of the public URL"
)

// Public asks a public URL, and looks at who answers, with which certificate, and what time it is
// there. It is asked as a client would: a certificate that the system does not trust is a failure.
func Public(ctx context.Context, c Config) []checkup.Check {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	transport := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: patience / 2}).DialContext,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+c.Path, http.NoBody)
	if err != nil {
		return []checkup.Check{checkup.Bad(checkURL, "write public_url as browsers do", "%s: %v", c.URL, err)}
	}
	began := c.Now()
	res, err := client.Do(r)
	if err != nil {
		return []checkup.Check{unreached(c, err)}
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // so that all of it was sent
	all := []checkup.Check{c.who(res)}
	if res.TLS != nil {
		all = append(all, c.served(res.TLS.PeerCertificates[0]))
	}
	return append(all, date(c.URL, res.Header.Get("Date"), began, c.Now()))
}

// unreached says what stands between here and the public URL.
func unreached(c Config, err error) checkup.Check {
	host := strings.TrimPrefix(strings.TrimPrefix(c.URL, "https://"), "http://")
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		advice := "give the whole chain in cert_file, from an authority that devices trust, for this host"
		if h, ok := errors.AsType[x509.HostnameError](e.Err); ok {
			return checkup.Bad(checkCertificate, "get one for the host of public_url", "%s shows a certificate for %s", c.URL, names(h.Certificate))
		}
		if i, ok := errors.AsType[x509.CertificateInvalidError](e.Err); ok && i.Reason == x509.Expired {
			return checkup.Bad(checkCertificate, "renew it: docs/certificates.md", "%s shows a certificate that is not valid now: %s to %s", c.URL,
				i.Cert.NotBefore.UTC().Format(time.DateTime), i.Cert.NotAfter.UTC().Format(time.DateTime))
		}
		return checkup.Bad(checkCertificate, advice, "%s shows a certificate that is not trusted here: %v", c.URL, e.Err)
	}
	if d, ok := errors.AsType[*net.DNSError](err); ok {
		return checkup.Bad(checkURL, "make the name known, or correct public_url", "%s: the name %s is not found", c.URL, d.Name)
	}
	return checkup.Bad(checkURL,
		"start the server, and look at the firewall and the proxy. If only this machine cannot reach itself by that address (NAT without "+
			"hairpin), let the name lead to the inner address here, or ask from elsewhere",
		"%s does not answer here (%s): %v", c.URL, host, root(err))
}

// root is what is at the bottom of an error, without the URL that the client puts around it.
func root(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

func (c Config) who(res *http.Response) checkup.Check {
	got := res.Header.Get(c.Header)
	switch {
	case got == "":
		return checkup.Bad(checkURL, "lead it to this server, through every proxy, with its path unchanged",
			"something that is not nod answers at %s: status %d", c.URL+c.Path, res.StatusCode)
	case c.Installation != "" && got != c.Installation:
		return checkup.Bad(checkURL, "lead it to this installation, or give this one the sealing key of the other",
			"another installation of nod answers at %s", c.URL)
	case res.StatusCode != http.StatusOK:
		return checkup.Doubt(checkURL, "look at the log", "%s answers with status %d", c.URL, res.StatusCode)
	}
	return checkup.Good(checkURL, "%s leads to this installation", c.URL)
}

// served judges a certificate that was trusted.
func (c Config) served(leaf *x509.Certificate) checkup.Check {
	now := c.Now()
	until := leaf.NotAfter.UTC().Format(time.DateTime)
	if leaf.NotAfter.Sub(now) < min(warnBefore, leaf.NotAfter.Sub(leaf.NotBefore)/6) {
		return checkup.Doubt(checkCertificate, "renew it: docs/certificates.md", "%s shows a certificate that ends soon, on %s", c.URL, until)
	}
	kind := "ECDSA"
	if _, ok := leaf.PublicKey.(*rsa.PublicKey); ok {
		kind = "RSA, which costs a millisecond more at each connection than ECDSA"
	}
	return checkup.Good(checkCertificate, "%s shows a trusted certificate for %s until %s (%s)", c.URL, names(leaf), until, kind)
}

func names(c *x509.Certificate) string {
	list := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		return "nobody"
	}
	return strings.Join(list, ", ")
}

// date compares the Date of an answer, which is cut to seconds, with the time here.
func date(url, header string, began, ended time.Time) checkup.Check {
	there, err := http.ParseTime(header)
	if err != nil {
		return checkup.Doubt(checkDate, "let the proxy pass the header Date on", "%s does not say what time it is", url)
	}
	ahead, behind := there.Sub(ended), began.Sub(there.Add(time.Second))
	if off := max(ahead, behind); off > clockGap {
		return checkup.Bad(checkDate, "set the clocks right by NTP, on every node",
			"the time at %s is %s, and here %s", url, there.UTC().Format(time.DateTime), ended.UTC().Format(time.DateTime))
	}
	return checkup.Good(checkDate, "the time at %s is that of this machine", url)
}
