package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/checkup"
	"github.com/nodauth/nod/internal/disk"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

func found(t *testing.T, all []checkup.Check, name string, status checkup.Status, words string) {
	t.Helper()
	for _, c := range all {
		if c.Name != name {
			continue
		}
		if c.Status != status || !strings.Contains(c.Found, words) || (c.Advice == "") != (status == checkup.OK) {
			t.Errorf("%+v, want %s with %q", c, status, words)
		}
		return
	}
	t.Errorf("no check %q in %+v", name, all)
}

// TestExamine looks at an installation before its first start, while it runs and after it has
// stopped.
func TestExamine(t *testing.T) {
	t.Parallel()
	c := localConfig(filepath.Join(t.TempDir(), "data"))
	c.Limits.Waiting = 100
	all := Examine(t.Context(), c, Examination{})
	found(t, all, "data directory", checkup.Warn, "none")
	found(t, all, "sealing key", checkup.Warn, "none")
	found(t, all, "database", checkup.Warn, "no file")
	found(t, all, "public URL", checkup.Warn, "no server has run")
	if _, err := os.Stat(c.DataDir); err == nil {
		t.Error("it made the data directory")
	}

	s, stop := serving(t, c)
	found(t, Examine(t.Context(), c, Examination{}), "backup", checkup.Warn, "none")
	for age, status := range map[time.Duration]checkup.Status{8 * 24 * time.Hour: checkup.Warn, time.Hour: checkup.OK} {
		at := time.Now().Add(-age).UTC().Format(time.RFC3339)
		if err := s.store.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting(store.SettingBackup, at) }); err != nil {
			t.Fatal(err)
		}
		found(t, Examine(t.Context(), c, Examination{}), "backup", status, at)
	}
	all = Examine(t.Context(), c, Examination{Deep: true})
	for _, check := range all {
		if check.Status == checkup.Fail || check.Status == checkup.Warn && !strings.HasPrefix(check.Name, "disk") && check.Name != "backup" {
			t.Errorf("while it runs: %+v", check)
		}
	}
	for _, name := range []string{
		"data directory", "sealing key", "permissions of admin.key", "sealing key and database", "database", "schema",
		"write-ahead log", "content of the database", "open files", "public URL", "clock of the public URL",
	} {
		found(t, all, name, checkup.OK, "")
	}
	found(t, Examine(t.Context(), c, Examination{Offset: func() time.Duration { return time.Hour }}), "clock of the public URL", checkup.Fail, "")
	other := c
	root, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	other.SealKey = secret.New(string(root))
	all = Examine(t.Context(), other, Examination{})
	found(t, all, "sealing key and database", checkup.Fail, "does not open")
	found(t, all, "public URL", checkup.Fail, "another installation")
	stop()
	found(t, Examine(t.Context(), c, Examination{}), "public URL", checkup.Fail, "does not answer")
}

func TestExamineFiles(t *testing.T) {
	t.Parallel()
	c := localConfig(t.TempDir())
	for name, mode := range map[string]os.FileMode{"seal.json": 0o644, "admin.key": 0o640} {
		file := filepath.Join(c.DataDir, name)
		if err := os.WriteFile(file, []byte("{}"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(c.DataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	c.Limits.Waiting = 1 << 40
	all := Examine(t.Context(), c, Examination{CAFile: filepath.Join(c.DataDir, "seal.json")})
	found(t, all, "data directory", checkup.Warn, "0755")
	found(t, all, "permissions of admin.key", checkup.Fail, "0640")
	found(t, all, "sealing key", checkup.Fail, "0644")
	found(t, all, "open files", checkup.Warn, "allowed")
	found(t, all, "certificate authority", checkup.Fail, "no certificate")

	file := filepath.Join(c.DataDir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.DataDir = file
	found(t, Examine(t.Context(), c, Examination{}), "data directory", checkup.Fail, "of no use")

	found(t, []checkup.Check{judgeSpace("disk", disk.Space{Free: 1 << 20, Total: 1 << 40})}, "disk", checkup.Fail, "1 of")
	found(t, []checkup.Check{judgeSpace("disk", disk.Space{Free: 100 << 20, Total: 1 << 40})}, "disk", checkup.Warn, "100 of")
	found(t, []checkup.Check{judgeSpace("disk", disk.Space{Free: 1 << 39, Total: 1 << 40})}, "disk", checkup.OK, "")
}

func TestExamineProxies(t *testing.T) {
	t.Parallel()
	for list, status := range map[string]checkup.Status{
		"10.0.0.1":                  checkup.OK,
		"10.0.0.0/8,fd00::/8":       checkup.Warn, // the second is wider than any network of one's own
		"10.0.0.0/8,fd00:1:2::/48":  checkup.OK,
		"203.0.113.0/24":            checkup.OK,
		"203.0.112.0/20":            checkup.Warn,
		"0.0.0.0/1":                 checkup.Warn,
		"10.0.0.1,0.0.0.0/0":        checkup.Fail,
		"::/0":                      checkup.Fail,
		"2001:db8::/32":             checkup.Warn,
		"172.16.0.0/12,192.168.0.1": checkup.OK,
	} {
		x := &examiner{c: Config{TrustedProxies: strings.Split(list, ",")}}
		x.proxies()
		found(t, x.all, "trusted proxies", status, "")
	}
}

// pairOf writes a certificate that vouches for itself.
func pairOf(t *testing.T, serial int64, until time.Time, dns ...string) TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-90 * 24 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: dns,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pair := TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	for file, block := range map[string]*pem.Block{
		pair.CertFile: {Type: "CERTIFICATE", Bytes: der}, pair.KeyFile: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pair
}

func TestExamineCertificate(t *testing.T) {
	t.Parallel()
	const host = "nod.example.com"
	for _, tc := range []struct {
		name   string
		until  time.Duration
		hosts  []string
		status checkup.Status
		words  string
	}{
		{"good", 60 * 24 * time.Hour, []string{host}, checkup.OK, "for nod.example.com"},
		{"ends soon", 10 * 24 * time.Hour, []string{host}, checkup.Warn, "good until"},
		{"over", -time.Hour, []string{host}, checkup.Fail, "has expired"},
		{"another host", 60 * 24 * time.Hour, []string{"b.example.com"}, checkup.Fail, "is not for nod.example.com"},
	} {
		x := &examiner{c: localConfig(t.TempDir()), e: Examination{Offset: func() time.Duration { return 0 }}}
		x.c.PublicURL = []string{"https://" + host}
		x.c.TLS = pairOf(t, 1, time.Now().Add(tc.until), tc.hosts...)
		x.certificateFiles()
		found(t, x.all, "certificate files", tc.status, tc.words)
		if err := os.Chmod(x.c.TLS.KeyFile, 0o644); err != nil {
			t.Fatal(err)
		}
		x.secrets()
		found(t, x.all, "permissions of key.pem", checkup.Fail, "0644")
		if tc.status == checkup.Fail {
			if _, err := New(t.Context(), x.c, Options{}); err == nil || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("%s: a server starts: %v", tc.name, err)
			}
		}
	}
}

func TestExamineOrders(t *testing.T) {
	t.Parallel()
	c := localConfig(t.TempDir())
	s, stop := serving(t, c)
	defer stop()
	c.TLS.Mode = tlsACME
	c.PublicURL = []string{"https://nod.example.com"}
	examine := func(status checkup.Status, words string) {
		t.Helper()
		x := &examiner{c: c}
		if err := s.store.View(t.Context(), func(tx store.Tx) error { return x.orders(tx) }); err != nil {
			t.Fatal(err)
		}
		found(t, x.all, "certificate of nod.example.com", status, words)
	}
	update := func(fn func(store.Tx) error) {
		t.Helper()
		if err := s.store.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	examine(checkup.Warn, "none was ordered")
	update(func(tx store.Tx) error { return tx.BeginCertificateOrder("nod.example.com", 1, mfa.At(time.Now())) })
	examine(checkup.Warn, "1 attempts")
	update(func(tx store.Tx) error {
		if err := tx.EndCertificateOrder("nod.example.com"); err != nil {
			return err
		}
		return tx.PutCertificate(store.Certificate{Name: "nod.example.com"})
	})
	examine(checkup.OK, "kept")
}

// TestCertificateFilesWhileServing replaces the files under a server that is asked.
func TestCertificateFilesWhileServing(t *testing.T) {
	t.Parallel()
	c := localConfig(t.TempDir())
	c.TLS = pairOf(t, 1, time.Now().Add(60*24*time.Hour))
	s, err := New(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	ask := func() (serial int64, ready string) {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12},
		}}
		res, err := client.Get(s.LocalURL() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || res.ProtoMajor != 2 {
			t.Fatalf("readyz: %s %d %s, %v", res.Proto, res.StatusCode, text, err)
		}
		return res.TLS.PeerCertificates[0].SerialNumber.Int64(), string(text)
	}
	wait := func(what string, is func(int64, string) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !is(ask()); {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
			<-time.After(100 * time.Millisecond)
		}
	}
	if serial, ready := ask(); serial != 1 || ready != "ready\n" {
		t.Errorf("serial %d, %q", serial, ready)
	}
	next := pairOf(t, 2, time.Now().Add(60*24*time.Hour))
	if err := os.Rename(next.CertFile, c.TLS.CertFile); err != nil {
		t.Fatal(err)
	}
	wait("readyz does not say that the new pair is broken", func(serial int64, ready string) bool {
		return serial == 1 && strings.Contains(ready, "the one before stays")
	})
	if err := os.Rename(next.KeyFile, c.TLS.KeyFile); err != nil {
		t.Fatal(err)
	}
	wait("the new pair is not taken", func(serial int64, ready string) bool { return serial == 2 && ready == "ready\n" })
	_, err = tls.Dial("tcp", strings.TrimPrefix(s.LocalURL(), "https://"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11})
	if err == nil {
		t.Error("TLS 1.1 is taken")
	}
}
