package certificate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookEvery is how often the files are looked at.
const lookEvery = 5 * time.Second

// FilesConfig says where the files are. All but Hosts is required.
type FilesConfig struct {
	CertFile, KeyFile string
	Hosts             []string // that the certificate has to be for
	Logger            *slog.Logger
	Now               func() time.Time
}

// Files is a certificate in files. It is safe for concurrent use.
type Files struct {
	c FilesConfig

	mu     sync.RWMutex
	pair   *tls.Certificate
	seen   [2]os.FileInfo // of the certificate and the key, when they were looked at
	broken string         // why what is in the files now is not in use
	warned time.Time      // when somebody was last told that it ends soon
}

// NewFiles reads the files, and says in words what is wrong with them.
func NewFiles(c FilesConfig) (*Files, error) {
	if c.CertFile == "" || c.KeyFile == "" || c.Logger == nil || c.Now == nil {
		return nil, errors.New("certificate: incomplete configuration")
	}
	f := &Files{c: c}
	seen, err := f.stat()
	if err != nil {
		return nil, err
	}
	f.seen = seen
	if f.pair, err = Load(c.CertFile, c.KeyFile, c.Hosts, c.Now()); err != nil {
		return nil, err
	}
	return f, nil
}

// Certificate is for [tls.Config.GetCertificate].
func (f *Files) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.pair, nil
}

// State says how the certificate is doing.
func (f *Files) State() State {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return State{NotAfter: f.pair.Leaf.NotAfter, Problem: f.broken}
}

// Run looks at the files every few seconds until ctx ends, and takes what has changed.
func (f *Files) Run(ctx context.Context) error {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		f.look(ctx)
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look takes the files if they are others than those seen last. It asks what the names lead to, so
// that a changed symbolic link is a change. They are looked at before they are read: what changes
// in between is a change at the next look.
func (f *Files) look(ctx context.Context) {
	now := f.c.Now()
	f.warn(ctx, now)
	seen, err := f.stat()
	if err != nil {
		f.refuse(ctx, [2]os.FileInfo{}, err)
		return
	}
	if same(seen, f.seen) {
		return
	}
	pair, err := Load(f.c.CertFile, f.c.KeyFile, f.c.Hosts, now)
	if err != nil {
		f.refuse(ctx, seen, err)
		return
	}
	f.mu.Lock()
	f.pair, f.seen, f.broken = pair, seen, ""
	f.mu.Unlock()
	f.c.Logger.InfoContext(ctx, "certificate replaced", slog.String("file", f.c.CertFile), slog.Time("expires", pair.Leaf.NotAfter))
}

// refuse goes on with the certificate before, and says why once.
func (f *Files) refuse(ctx context.Context, seen [2]os.FileInfo, err error) {
	why := fmt.Sprintf("the certificate before is in use: %v", err)
	f.mu.Lock()
	said := f.broken == why
	f.broken, f.seen = why, seen
	f.mu.Unlock()
	if !said {
		f.c.Logger.ErrorContext(ctx, "new certificate refused, the one before stays in use", slog.Any("error", err))
	}
}

// warn says once a day that the certificate ends soon.
func (f *Files) warn(ctx context.Context, now time.Time) {
	if leaf := f.pair.Leaf; Soon(leaf, now) && now.Sub(f.warned) >= 24*time.Hour {
		f.warned = now
		f.c.Logger.WarnContext(ctx, "certificate expires soon, replace its files", slog.String("file", f.c.CertFile), slog.Time("expires", leaf.NotAfter))
	}
}

func (f *Files) stat() (seen [2]os.FileInfo, err error) {
	for i, file := range []string{f.c.CertFile, f.c.KeyFile} {
		if seen[i], err = os.Stat(file); err != nil {
			return seen, fmt.Errorf("read the certificate: %w", err)
		}
	}
	return seen, nil
}

func same(a, b [2]os.FileInfo) bool {
	for i := range a {
		if a[i] == nil || b[i] == nil || !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()) {
			return false
		}
	}
	return true
}
