package certificate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// written is a certificate and its key as they stand in files.
type written struct{ cert, key []byte }

type wanted struct {
	serial int64
	names  []string
	from   time.Time
	until  time.Time
}

func make509(t testing.TB, w wanted) written {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(w.serial), NotBefore: w.from, NotAfter: w.until}
	for _, n := range w.names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return written{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// put writes a file as careful programs do: whole, under its name at once.
func put(t testing.TB, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

var today = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func good(serial int64) wanted {
	return wanted{serial, []string{"nod.example.com"}, today.Add(-time.Hour), today.Add(60 * 24 * time.Hour)}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for _, tc := range []struct {
		name  string
		w     wanted
		other bool // another certificate's key
		hosts []string
		want  string // "" for nothing
	}{
		{"good", good(1), false, []string{"nod.example.com"}, ""},
		{"no public URL", good(1), false, nil, ""},
		{"wildcard", wanted{1, []string{"*.example.com"}, today, today.Add(time.Hour)}, false, []string{"nod.example.com"}, ""},
		{"address", wanted{1, []string{"192.0.2.1"}, today, today.Add(time.Hour)}, false, []string{"192.0.2.1"}, ""},
		{"another key", good(1), true, nil, "is not that of the certificate"},
		{"over", wanted{1, []string{"nod.example.com"}, today.Add(-time.Hour), today}, false, nil, "has expired on 2026-11-20 12:00:00"},
		{"not yet", wanted{1, []string{"nod.example.com"}, today.Add(time.Second), today.Add(time.Hour)}, false, nil, "is not valid before"},
		{"another host", good(1), false, []string{"login.example.com"}, "is not for login.example.com, which public_url names, but for nod.example.com"},
		{"one of two hosts", good(1), false, []string{"nod.example.com", "b.example.com"}, "is not for b.example.com"},
		{"nobody", wanted{1, nil, today, today.Add(time.Hour)}, false, []string{"nod.example.com"}, "for nobody"},
	} {
		w := make509(t, tc.w)
		if tc.other {
			w.key = make509(t, tc.w).key
		}
		put(t, cert, w.cert)
		put(t, key, w.key)
		_, err := Load(cert, key, tc.hosts, today)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	put(t, cert, []byte("nothing"))
	if _, err := Load(cert, key, nil, today); err == nil {
		t.Error("a file without a certificate is taken")
	}
}

// shown is a Files over two names, and what its log says.
type shown struct {
	*Files
	cert, key string
	log       *strings.Builder
	now       time.Time
}

func newShown(t *testing.T, w written) *shown {
	t.Helper()
	dir := t.TempDir()
	s := &shown{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), log: new(strings.Builder), now: today}
	put(t, s.cert, w.cert)
	put(t, s.key, w.key)
	s.Files = s.open(t)
	return s
}

func (s *shown) open(t *testing.T) *Files {
	t.Helper()
	f, err := NewFiles(FilesConfig{
		CertFile: s.cert, KeyFile: s.key, Hosts: []string{"nod.example.com"},
		Logger: slog.New(slog.NewTextHandler(s.log, nil)), Now: func() time.Time { return s.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (s *shown) serial(t *testing.T) int64 {
	t.Helper()
	c, err := s.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf.SerialNumber.Int64()
}

func TestFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	s := newShown(t, make509(t, good(1)))
	s.look(t.Context())
	if s.log.Len() > 0 {
		t.Errorf("nothing has changed: %s", s.log)
	}
	second := make509(t, good(2))
	put(t, s.cert, second.cert) // and the key a moment later
	s.look(t.Context())
	s.look(t.Context())
	if s.serial(t) != 1 || s.State().Problem == "" || strings.Count(s.log.String(), "refused") != 1 {
		t.Errorf("a certificate without its key: serial %d, %+v, %s", s.serial(t), s.State(), s.log)
	}
	if err := s.State().Ready(s.now); err != nil {
		t.Errorf("the certificate before is good: %v", err)
	}
	put(t, s.key, second.key)
	s.look(t.Context())
	if s.serial(t) != 2 || s.State().Problem != "" {
		t.Errorf("the new pair: serial %d, %+v", s.serial(t), s.State())
	}

	for what, w := range map[string]written{
		"for another host": make509(t, wanted{3, []string{"b.example.com"}, today, today.Add(time.Hour)}),
		"over":             make509(t, wanted{3, []string{"nod.example.com"}, today.Add(-time.Hour), today}),
		"no certificate":   {[]byte("x"), []byte("y")},
	} {
		put(t, s.cert, w.cert)
		put(t, s.key, w.key)
		s.look(t.Context())
		if s.serial(t) != 2 || s.State().Problem == "" {
			t.Errorf("%s: serial %d, %+v", what, s.serial(t), s.State())
		}
	}
	if err := os.Remove(s.cert); err != nil {
		t.Fatal(err)
	}
	s.look(t.Context())
	put(t, s.cert, second.cert)
	put(t, s.key, second.key)
	s.look(t.Context())
	if s.serial(t) != 2 || s.State().Problem != "" {
		t.Errorf("as it was: serial %d, %+v", s.serial(t), s.State())
	}
}

// TestLinkedFiles changes the directory that both names go through, as Kubernetes does.
func TestLinkedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := func(name string) {
		t.Helper()
		if err := os.Symlink(name, filepath.Join(dir, "..data.new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data.new"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-time.Hour)
	for i, name := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		w := make509(t, good(int64(i+1)))
		for file, text := range map[string][]byte{"tls.crt": w.cert, "tls.key": w.key} {
			path := filepath.Join(dir, name, file)
			put(t, path, text)
			if err := os.Chtimes(path, old, old); err != nil { // so that only the file is another one
				t.Fatal(err)
			}
		}
	}
	link("one")
	s := &shown{log: new(strings.Builder), now: today}
	s.cert, s.key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.Files = s.open(t)
	link("two")
	s.look(t.Context())
	if s.serial(t) != 2 {
		t.Errorf("serial %d, %s", s.serial(t), s.log)
	}
}

func TestRunLooksByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShown(t, make509(t, good(1)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		second := make509(t, good(2))
		put(t, s.key, second.key)
		put(t, s.cert, second.cert)
		time.Sleep(lookEvery)
		synctest.Wait()
		if s.serial(t) != 2 {
			t.Errorf("serial %d", s.serial(t))
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	s := newShown(t, make509(t, good(1)))
	end := s.State().NotAfter
	for _, tc := range []struct {
		before time.Duration
		warned int
		ready  bool
	}{
		{20 * 24 * time.Hour, 0, true},
		{10*24*time.Hour - time.Second, 1, true}, // a sixth of its life is shorter than 14 days
		{9*24*time.Hour + time.Hour, 1, true},
		{8 * 24 * time.Hour, 2, true},
		{time.Microsecond, 3, true},
		{0, 3, false},
	} {
		s.now = end.Add(-tc.before)
		s.look(t.Context())
		if n := strings.Count(s.log.String(), "expires soon"); n != tc.warned {
			t.Errorf("%v before the end: %d warnings, want %d", tc.before, n, tc.warned)
		}
		if err := s.State().Ready(s.now); (err == nil) != tc.ready {
			t.Errorf("%v before the end: %v", tc.before, err)
		}
	}
	if err := (State{Problem: "host db.internal"}).Ready(today); err == nil || strings.Contains(err.Error(), "db.internal") {
		t.Errorf("without a certificate: %v", err)
	}
}

func TestNewFilesRefuses(t *testing.T) {
	t.Parallel()
	logger := slog.New(slog.DiscardHandler)
	for _, c := range []FilesConfig{
		{},
		{CertFile: "x", KeyFile: "y", Logger: logger},
		{CertFile: filepath.Join(t.TempDir(), "none"), KeyFile: "y", Logger: logger, Now: time.Now},
	} {
		if _, err := NewFiles(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
