package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/secret"
)

const (
	// followEvery is how often a node reads its sealing keys, which of them seals, and which hosts
	// belong to realms.
	followEvery = 2 * time.Second
	// sealPause is how long the walk lets others go first after each step.
	sealPause = 10 * time.Millisecond
)

// sealFile is where the sealing key document is, unless the configuration holds it itself.
func (c Config) sealFile() string { return filepath.Join(c.DataDir, "seal.json") }

// node is what this process is called where nodes are listed.
func (s *Server) node() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "node"
	}
	return fmt.Sprintf("%s %s %s", host, s.listener.Addr(), secret.ID("")[:6])
}

// sealing follows the sealing key and the hosts of realms, and carries the walk on.
func (s *Server) sealing(ring *keys.Ring, p parts) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			s.follow(ctx, ring, p)
			pause := followEvery
			for more := true; more && ctx.Err() == nil; {
				var err error
				if more, err = p.accounts.SealStep(ctx); err != nil && ctx.Err() == nil {
					s.log.WarnContext(ctx, "sealing again failed", slog.Any("error", err))
				}
				if more {
					sleep(ctx, sealPause)
				}
			}
			if !sleep(ctx, pause) {
				leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer cancel()
				if err := p.accounts.LeaveSeal(leave); err != nil {
					s.log.DebugContext(ctx, "left without a word", slog.Any("error", err))
				}
				return nil
			}
		}
	}
}

func (s *Server) follow(ctx context.Context, ring *keys.Ring, p parts) {
	if _, err := ring.Reload(); err != nil {
		s.log.WarnContext(ctx, "sealing keys not read", slog.Any("error", err))
	}
	err := p.accounts.FollowSeal(ctx)
	lacks := errors.Is(err, keys.ErrNoSealKey)
	if s.lacksKey.Swap(lacks) != lacks || (err != nil && !lacks && ctx.Err() == nil) {
		s.log.WarnContext(ctx, "sealing key", slog.Bool("held", !lacks), slog.Any("error", err))
	}
	if err := p.realms.ReadHosts(ctx); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "hosts of realms not read", slog.Any("error", err))
	}
}

// sleep waits and says whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// AddSealKey adds a sealing key to the document that the configuration names, and gives its id. The
// document is changed where it is a file; the changed one is returned where the configuration
// holds it.
func AddSealKey(c Config) (id string, document secret.Value, err error) {
	document, err = editSeal(c, func(root []byte) (next []byte, err error) {
		next, id, err = keys.AddSealKey(root)
		return next, err
	})
	return id, document, err
}

// KeepSealKey takes every sealing key but one out of the document.
func KeepSealKey(c Config, id string) (document secret.Value, err error) {
	return editSeal(c, func(root []byte) ([]byte, error) { return keys.KeepSealKey(root, id) })
}

func editSeal(c Config, edit func(root []byte) ([]byte, error)) (secret.Value, error) {
	if c.SealKey.IsZero() {
		if err := keys.EditFile(c.sealFile(), edit); err != nil {
			return secret.Value{}, fmt.Errorf("sealing key %s: %w", c.sealFile(), err)
		}
		return secret.Value{}, nil
	}
	next, err := edit(c.SealKey.Bytes())
	if err != nil {
		return secret.Value{}, fmt.Errorf("seal_key: %w", err)
	}
	return secret.New(string(next)), nil
}
