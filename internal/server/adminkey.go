package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

// firstKey makes an administration key on an installation that has no application yet, and leaves
// it in a file that only its owner can read. The file is there, durably, before the key is: a key
// that was made and not kept would shut everybody out for good.
func (s *Server) firstKey(ctx context.Context, p parts) error {
	ctx = audit.With(ctx, audit.Origin{Actor: mfa.ActorServer})
	some, err := p.accounts.Applications(ctx, mfa.DefaultRealm, account.Page{Limit: 1})
	if err != nil || len(some) > 0 {
		return err
	}
	file := filepath.Join(s.c.DataDir, "admin.key")
	key, err := keepKey(file)
	if err != nil {
		return fmt.Errorf("write administration key: %w", err)
	}
	made, err := p.accounts.Bootstrap(ctx, mfa.DefaultRealm, key)
	if err != nil {
		return fmt.Errorf("make administration key of %s: %w", file, err)
	}
	if !made { // by another node, in its own directory or in this one
		if _, err := p.applications.Authenticate(ctx, key.Reveal()); mfa.CodeOf(err) == mfa.Unauthenticated {
			return os.Remove(file)
		}
		return nil
	}
	s.log.InfoContext(ctx, "made an administration key", slog.String("file", file))
	return nil
}

// keepKey gives the key in a file, which an interrupted start or another node may have left. If
// there is none it writes a new one.
func keepKey(file string) (secret.Value, error) {
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = writeOnce(file, application.NewSecret().Reveal()+"\n")
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return secret.Value{}, err
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(strings.TrimSpace(string(kept))), os.Chmod(file, 0o600)
}

// writeOnce makes a file that is there wholly and durably or not at all. It returns fs.ErrExist if
// it is there already.
func writeOnce(file, text string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), file); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
