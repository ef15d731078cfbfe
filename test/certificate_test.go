package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/pgtest"
)

// authorityProgram is Let's Encrypt's pebble as ./pebble makes a program of it.
var authorityProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nod-test-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "pebble")
	build := exec.Command("go", "build", "-o", file, ".")
	build.Dir = "pebble"
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build pebble: %w\n%s", err, out)
	}
	return file, nil
})

// authority is a certificate authority that speaks ACME.
type authority struct {
	t         *testing.T
	dir       string
	directory string
	roots     *x509.CertPool
}

// authorityOptions say where it asks its challenges and for how long it certifies.
type authorityOptions struct {
	tls, http string // addresses; nothing listens there if empty
	validity  time.Duration
}

func startAuthority(t *testing.T, o authorityOptions) *authority {
	t.Helper()
	file, err := authorityProgram()
	if err != nil {
		if os.Getenv("NOD_TEST_REQUIRE") == "all" {
			t.Fatal(err)
		}
		t.Skipf("ACME tests left out: pebble is a Go module that is not at hand: %v", err)
	}
	port := func(address string) string {
		if address == "" {
			address = freeAddress(t)
		}
		_, p, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	a := &authority{t: t, dir: t.TempDir()}
	log := new(lockedBuffer)
	cmd := exec.Command(file, "-dir", a.dir, "-tls", port(o.tls), "-http", port(o.http), "-validity", fmt.Sprint(int(o.validity.Seconds())))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the authority:\n%s", log)
		}
	})
	a.directory = eventually(t, "the authority", func() (string, bool) {
		text, err := os.ReadFile(filepath.Join(a.dir, "directory"))
		return string(text), err == nil
	})
	a.roots = x509.NewCertPool()
	root, err := os.ReadFile(filepath.Join(a.dir, "root.pem"))
	if err != nil || !a.roots.AppendCertsFromPEM(root) {
		t.Fatalf("the authority's root: %v", err)
	}
	return a
}

// orders is how many the authority was asked for.
func (a *authority) orders() int {
	a.t.Helper()
	text, err := os.ReadFile(filepath.Join(a.dir, "orders"))
	if err != nil {
		a.t.Fatal(err)
	}
	return len(text)
}

// serve starts a server process at an address, with certificates from the authority.
func (a *authority) serve(o processOptions) *process {
	a.t.Helper()
	_, port, err := net.SplitHostPort(o.listen)
	if err != nil {
		a.t.Fatal(err)
	}
	o.env = append([]string{
		"NOD_TLS_MODE=acme", "NOD_PUBLIC_URL=https://nod.example.com:" + port,
		"NOD_TLS_ACME_DIRECTORY=" + a.directory, "NOD_TLS_ACME_CA_FILE=" + filepath.Join(a.dir, "server.pem"),
		"NOD_TLS_ACME_ACCEPT_TERMS=true", "NOD_TLS_ACME_EMAIL=ops@nod.example.com",
	}, o.env...)
	return launch(a.t, o)
}

// shows gives the certificate that a server shows for nod.example.com, once it has one that the
// roots vouch for.
func shows(t *testing.T, p *process, address string, roots *x509.CertPool) *x509.Certificate {
	t.Helper()
	return eventually(t, "a certificate", func() (*x509.Certificate, bool) {
		c, err := dialTLS(address, &tls.Config{ServerName: "nod.example.com", RootCAs: roots})
		if err != nil {
			select {
			case err := <-p.done:
				p.done <- err
				t.Fatalf("nod ended:\n%s", p.log)
			default:
			}
			return nil, false
		}
		defer func() { _ = c.Close() }()
		return c.ConnectionState().PeerCertificates[0], true
	})
}

func dialTLS(address string, c *tls.Config) (*tls.Conn, error) {
	return tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, c)
}

// eventually asks until there is an answer; nothing is asserted about how long it takes.
func eventually[T any](t testing.TB, what string, ask func() (T, bool)) T {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if v, ok := ask(); ok {
			return v
		}
		pause(50 * time.Millisecond)
	}
	t.Fatalf("%s is not there after a minute", what)
	panic("unreachable")
}

// freeAddress is one that nothing listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// TestCertificateIsRenewed gets a certificate by TLS-ALPN-01 and another before it expires, from a
// server that is asked all the time.
func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	a := startAuthority(t, authorityOptions{tls: address, validity: 36 * time.Second})
	p := a.serve(processOptions{dir: t.TempDir(), listen: address})
	first := shows(t, p, address, a.roots)
	if _, ok := first.PublicKey.(*ecdsa.PublicKey); !ok {
		t.Errorf("the key is a %T", first.PublicKey)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			return dialTLS(address, &tls.Config{ServerName: "nod.example.com", RootCAs: a.roots})
		},
	}}
	eventually(t, "another certificate", func() (bool, bool) {
		res, err := client.Get("https://nod.example.com/readyz")
		if err != nil {
			t.Fatalf("while it is renewed: %v\n%s", err, p.log)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("while it is renewed: %d %s, %v", res.StatusCode, text, err)
		}
		return true, res.TLS.PeerCertificates[0].SerialNumber.Cmp(first.SerialNumber) != 0
	})
	if n := a.orders(); n != 2 {
		t.Errorf("%d orders for two certificates", n)
	}
	p.stop(t)
}

// TestCertificateByHTTP gets a certificate where only plain HTTP reaches the server, on a listener
// that does nothing but this and redirecting.
func TestCertificateByHTTP(t *testing.T) {
	t.Parallel()
	address, plain := freeAddress(t), freeAddress(t)
	a := startAuthority(t, authorityOptions{http: plain, validity: time.Hour})
	p := a.serve(processOptions{dir: t.TempDir(), listen: address, env: []string{"NOD_TLS_HTTP_LISTEN=" + plain}})
	shows(t, p, address, a.roots)
	if n := a.orders(); n != 2 { // one for each kind of challenge
		t.Errorf("%d orders", n)
	}

	_, port, _ := net.SplitHostPort(address)
	here := "https://nod.example.com:" + port
	follow := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, tc := range []struct {
		method, path, host string
		status             int
		location           string
	}{
		{"GET", "/", "nod.example.com", 301, here + "/"},
		{"HEAD", "/v1/users?x=1&y=%2F", "nod.example.com", 301, here + "/v1/users?x=1&y=%2F"},
		{"GET", "//evil.example/%0a", "evil.example", 301, here + "//evil.example/%0a"},
		{"GET", "/healthz", "", 301, here + "/healthz"},
		{"POST", "/v1/challenges", "nod.example.com", 405, ""},
		{"CONNECT", "/", "nod.example.com", 405, ""},
		{"GET", "/.well-known/acme-challenge/none", "nod.example.com", 404, ""},
		{"GET", "/.well-known/acme-challenge/none", "evil.example", 403, ""},
	} {
		r, err := http.NewRequest(tc.method, "http://"+plain+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = tc.host
		res, err := follow.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != tc.status || res.Header.Get("Location") != tc.location {
			t.Errorf("%s %s: got %d %q", tc.method, tc.path, res.StatusCode, res.Header.Get("Location"))
		}
	}
	p.stop(t)
}

// TestCertificateOfTwoNodes starts two nodes: one orders, and the other has its certificate from
// the database. What is kept there is sealed.
func TestCertificateOfTwoNodes(t *testing.T) {
	t.Parallel()
	env := []string{"NOD_DATABASE=" + pgtest.Database(t)}
	address := freeAddress(t)
	a := startAuthority(t, authorityOptions{tls: address, validity: time.Hour})
	dir := t.TempDir()
	first := a.serve(processOptions{dir: dir, listen: address, env: env})
	got := shows(t, first, address, a.roots)

	other := freeAddress(t)
	env = append(env, "NOD_SEAL_KEY_FILE="+filepath.Join(dir, "seal.json"))
	second := a.serve(processOptions{dir: t.TempDir(), listen: other, env: env})
	if same := shows(t, second, other, a.roots); !same.Equal(got) {
		t.Error("the nodes show different certificates")
	}
	if n := a.orders(); n != 1 {
		t.Errorf("%d orders for one certificate", n)
	}

	// A session begun with one goes on with the other.
	sessions := &tls.Config{ServerName: "nod.example.com", RootCAs: a.roots, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i, at := range []string{address, other} {
		c, err := dialTLS(at, sessions)
		if err != nil {
			t.Fatal(err)
		}
		if resumed := c.ConnectionState().DidResume; resumed != (i > 0) {
			t.Errorf("node %d: resumed %v", i, resumed)
		}
		if _, err := fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: nod.example.com\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(c); err != nil || !strings.Contains(string(text), "200 OK") { // and the ticket before it
			t.Errorf("node %d: %v %s", i, err, text)
		}
		_ = c.Close()
	}
	first.stop(t)
	second.stop(t)
}

// TestCertificateOfManyNodes starts three nodes at once on an empty database, of which one orders.
func TestCertificateOfManyNodes(t *testing.T) {
	t.Parallel()
	seal := filepath.Join(t.TempDir(), "seal.json")
	env := []string{"NOD_DATABASE=" + pgtest.Database(t), "NOD_SEAL_KEY_FILE=" + seal}
	addresses := []string{freeAddress(t), freeAddress(t), freeAddress(t)}
	// Challenges go to one of the nodes, whichever of them has ordered.
	a := startAuthority(t, authorityOptions{tls: addresses[0], validity: time.Hour})
	writeSeal(t, seal)
	var nodes []*process
	for _, at := range addresses {
		nodes = append(nodes, a.serve(processOptions{dir: t.TempDir(), listen: at, env: env}))
	}
	eventually(t, "a certificate", func() (bool, bool) {
		for _, at := range addresses {
			if c, err := dialTLS(at, &tls.Config{ServerName: "nod.example.com", RootCAs: a.roots}); err == nil {
				_ = c.Close()
				return true, true
			}
		}
		return false, false
	})
	if n := a.orders(); n != 1 {
		t.Errorf("%d orders by three nodes", n)
		for _, p := range nodes {
			t.Log(p.log)
		}
	}
}

// TestCertificateIsRefused has an authority that reaches nobody: it is asked once, and the server
// says why it is not ready.
func TestCertificateIsRefused(t *testing.T) {
	t.Parallel()
	a := startAuthority(t, authorityOptions{validity: time.Hour})
	address, operations := freeAddress(t), freeAddress(t)
	dir := t.TempDir()
	options := processOptions{dir: dir, listen: address, env: []string{"NOD_OPERATIONS_LISTEN=" + operations}}
	for range 2 { // a restart changes nothing
		p := a.serve(options)
		eventually(t, "the log", func() (bool, bool) { return true, strings.Contains(p.log.String(), "no certificate") })
		res, err := http.Get("http://" + operations + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "no certificate yet") {
			t.Errorf("readyz: %d %s, %v", res.StatusCode, text, err)
		}
		p.stop(t)
		if n := a.orders(); n != 2 {
			t.Errorf("%d orders, want one and what it takes to find no other challenge\n%s", n, p.log)
		}
		if !strings.Contains(p.log.String(), "the certificate authority refused") && !strings.Contains(p.log.String(), "the next one is at") {
			t.Errorf("the log does not say why:\n%s", p.log)
		}
	}
}

// writeSeal makes a sealing key for several nodes.
func writeSeal(t *testing.T, file string) {
	t.Helper()
	root, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, root, 0o600); err != nil {
		t.Fatal(err)
	}
}
