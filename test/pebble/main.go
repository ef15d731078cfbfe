// Command pebble is a certificate authority for tests: Let's Encrypt's pebble, with a name server
// that says 127.0.0.1 to everything.
//
// It has a module of its own, so that what it needs never decides what nod is built from. In the
// directory -dir it leaves
//
//	server.pem  the certificate of its own server
//	root.pem    the root of what it issues
//	orders      one byte for each order that it was asked for
//	directory   the URL of its directory, written last
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

func main() {
	dir := flag.String("dir", ".", "directory for what it leaves")
	tlsPort := flag.Int("tls", 0, "port that TLS-ALPN-01 challenges are asked for at")
	httpPort := flag.Int("http", 0, "port that HTTP-01 challenges are asked for at")
	validity := flag.Uint64("validity", 3600, "seconds that a certificate is valid")
	flag.Parse()
	if err := run(*dir, *tlsPort, *httpPort, *validity); err != nil {
		fmt.Fprintln(os.Stderr, "pebble:", err)
		os.Exit(1)
	}
}

func run(dir string, tlsPort, httpPort int, validity uint64) error {
	for name, value := range map[string]string{
		"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": "0",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	resolver, err := serveNames()
	if err != nil {
		return err
	}
	logger := log.New(os.Stdout, "", log.Ltime)
	store := db.NewMemoryStore()
	authority := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{
		"default": {Description: "for tests", ValidityPeriod: validity},
	})
	validation := va.New(logger, httpPort, tlsPort, true, resolver, store)
	front := wfe.New(logger, store, validation, authority, []string{"pebble.example"}, true, false, 1, 1)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	pair, own, err := selfSigned()
	if err != nil {
		return err
	}
	orders, err := os.Create(filepath.Join(dir, "orders"))
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name string
		text []byte
	}{
		{"server.pem", own},
		{"root.pem", authority.GetRootCert(0).PEM()},
		{"directory", []byte("https://" + listener.Addr().String() + wfe.DirectoryPath)},
	} {
		if err := os.WriteFile(filepath.Join(dir, file.name+".new"), file.text, 0o600); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(dir, file.name+".new"), filepath.Join(dir, file.name)); err != nil {
			return err
		}
	}
	inner := front.Handler()
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner.ServeHTTP(&counter{w, r, orders}, r)
		}),
	}
	return server.ServeTLS(listener, "", "")
}

// counter writes a byte to orders for each order that is accepted.
type counter struct {
	http.ResponseWriter
	r      *http.Request
	orders *os.File
}

// WriteHeader passes the status on.
func (c *counter) WriteHeader(status int) {
	if status == http.StatusCreated && strings.HasPrefix(c.r.URL.Path, "/order-plz") {
		if _, err := c.orders.Write([]byte("o")); err != nil {
			panic(err)
		}
	}
	c.ResponseWriter.WriteHeader(status)
}

// serveNames says 127.0.0.1 to every question, and returns where it listens.
func serveNames() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for _, question := range q.Question {
			if question.Qtype == dns.TypeA {
				m.Answer = append(m.Answer, &dns.A{
					Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1},
					A:   net.IPv4(127, 0, 0, 1),
				})
			}
		}
		_ = w.WriteMsg(m)
	})}
	go func() {
		if err := s.ActivateAndServe(); err != nil {
			fmt.Fprintln(os.Stderr, "pebble: name server:", err)
			os.Exit(1)
		}
	}()
	return l.Addr().String(), nil
}

func selfSigned() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
