package doctor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/checkup"
	"github.com/nodauth/nod/internal/doctor"
)

const who = "Nod-Installation"

// nod answers as a server of the installation ins_1 does.
func nod(w http.ResponseWriter, _ *http.Request) { w.Header().Set(who, "ins_1") }

// made is a certificate that vouches for itself.
func made(t *testing.T, c x509.Certificate) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.IsCA, c.BasicConstraintsValid = big.NewInt(1), true, true
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestPublic(t *testing.T) {
	t.Parallel()
	now := time.Now()
	here := []net.IP{net.IPv4(127, 0, 0, 1)}
	good := x509.Certificate{IPAddresses: here, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(90 * 24 * time.Hour)}
	with := func(change func(*x509.Certificate)) x509.Certificate {
		c := good
		change(&c)
		return c
	}
	for _, tc := range []struct {
		name    string
		cert    x509.Certificate
		trusted bool
		answer  http.HandlerFunc
		offset  time.Duration
		check   string
		status  checkup.Status
		words   string
	}{
		{"good", good, true, nod, 0, "public URL", checkup.OK, "leads to this installation"},
		{"good certificate", good, true, nod, 0, "certificate", checkup.OK, "for 127.0.0.1"},
		{"good time", good, true, nod, 0, "clock of the public URL", checkup.OK, ""},
		{"another installation", good, true, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(who, "ins_2") }, 0, "public URL", checkup.Fail, "another installation"},
		{"another program", good, true, func(http.ResponseWriter, *http.Request) {}, 0, "public URL", checkup.Fail, "not nod"},
		{"a redirect", good, true, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) }, 0, "public URL", checkup.Fail, "status 302"},
		{"a failing server", good, true, func(w http.ResponseWriter, r *http.Request) {
			nod(w, r)
			w.WriteHeader(http.StatusServiceUnavailable)
		}, 0, "public URL", checkup.Warn, "status 503"},
		{"not trusted", good, false, nod, 0, "certificate", checkup.Fail, "not trusted"},
		{"another host", with(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"b.example.com"} }), true, nod, 0, "certificate", checkup.Fail, "for b.example.com"},
		{"nobody", with(func(c *x509.Certificate) { c.IPAddresses = nil }), true, nod, 0, "certificate", checkup.Fail, ""},
		{"over", with(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }), true, nod, 0, "certificate", checkup.Fail, "not valid now"},
		{"ends soon", with(func(c *x509.Certificate) { c.NotAfter = now.Add(time.Hour); c.NotBefore = now.Add(-1000 * time.Hour) }), true, nod, 0, "certificate", checkup.Warn, "ends soon"},
		{"a clock ahead", good, true, nod, time.Hour, "clock of the public URL", checkup.Fail, "and here"},
		{"a clock behind", good, true, nod, -10 * time.Second, "clock of the public URL", checkup.Fail, "and here"},
		{"no Date", good, true, func(w http.ResponseWriter, r *http.Request) {
			nod(w, r)
			w.Header()["Date"] = nil
		}, 0, "clock of the public URL", checkup.Warn, "does not say"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			pair, pool := made(t, tc.cert)
			if !tc.trusted {
				pool = x509.NewCertPool()
			}
			s := httptest.NewUnstartedServer(tc.answer)
			s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			s.StartTLS()
			defer s.Close()
			all := doctor.Public(t.Context(), doctor.Config{
				URL: s.URL, Path: "/.well-known/nod", Header: who, Installation: "ins_1", Roots: pool,
				Now: func() time.Time { return time.Now().Add(tc.offset) },
			})
			find(t, all, tc.check, tc.status, tc.words)
		})
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	_ = l.Close()
	config := doctor.Config{Path: "/x", Header: who, Now: time.Now}
	config.URL = url
	find(t, doctor.Public(t.Context(), config), "public URL", checkup.Fail, "connection refused")
	config.URL = "https://nobody.invalid"
	find(t, doctor.Public(t.Context(), config), "public URL", checkup.Fail, "nobody.invalid")
	config.URL = "https://a b"
	find(t, doctor.Public(t.Context(), config), "public URL", checkup.Fail, "")
}

func find(t *testing.T, all []checkup.Check, name string, status checkup.Status, words string) {
	t.Helper()
	for _, c := range all {
		if c.Name != name {
			continue
		}
		if c.Status != status || !strings.Contains(c.Found, words) || (c.Advice == "") != (status == checkup.OK) {
			t.Errorf("%+v", c)
		}
		return
	}
	t.Errorf("no check %q in %+v", name, all)
}
