package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

func localConfig(dir string) Config {
	c := DefaultConfig()
	c.Listen, c.DataDir = "127.0.0.1:0", dir
	return c
}

// serve starts a server, which runs until the function that it gives is called.
func serve(t *testing.T, c Config) (stop func()) {
	t.Helper()
	_, stop = serving(t, c)
	return stop
}

func serving(t *testing.T, c Config) (s *Server, stop func()) {
	t.Helper()
	s, err := New(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	res, err := http.Get(s.LocalURL() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return s, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

func TestOneServerPerDatabase(t *testing.T) {
	t.Parallel()
	c := localConfig(t.TempDir())
	stop := serve(t, c)
	elsewhere := localConfig(t.TempDir())
	elsewhere.Database = secret.New("sqlite:" + filepath.Join(c.DataDir, "nod.db"))
	for name, second := range map[string]Config{"same directory": c, "same database": elsewhere} {
		if _, err := New(t.Context(), second, Options{}); err == nil || !strings.Contains(err.Error(), "another nod") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Migrate(t.Context(), second, nil); err == nil || !strings.Contains(err.Error(), "another nod") {
			t.Errorf("%s, migrate: %v", name, err)
		}
	}
	stop()
	serve(t, c)() // what the first one held is free again
}

// TestStopBeforeStart ends a server before it has started: nothing of it stays.
func TestStopBeforeStart(t *testing.T) {
	t.Parallel()
	c := localConfig(t.TempDir())
	s, err := New(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Run(ctx) // says that it could not start
	serve(t, c)()
}

// administers says whether a key is one of administration.
func administers(t *testing.T, url, key string) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/applications", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(key))
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// TestFirstKeyIsKept starts an installation on which an earlier start was interrupted, before or
// after it made the key: the key in the file administers.
func TestFirstKeyIsKept(t *testing.T) {
	t.Parallel()
	c := localConfig(t.TempDir())
	file := filepath.Join(c.DataDir, "admin.key")
	left := application.NewSecret().Reveal()
	if err := os.WriteFile(file, []byte(left), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, stop := serving(t, c)
		if !administers(t, s.LocalURL(), left) {
			t.Error("the key that was left in the file does not administer")
		}
		stop()
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
}

// TestFirstKeyCannotBeKept starts where the key cannot be written: then none is made.
func TestFirstKeyCannotBeKept(t *testing.T) {
	t.Parallel()
	c := localConfig(t.TempDir())
	file := filepath.Join(c.DataDir, "admin.key")
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), c, Options{}); err == nil {
		t.Fatal("the server starts without a place for the key")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s, stop := serving(t, c)
	defer stop()
	key, err := os.ReadFile(file)
	if err != nil || !administers(t, s.LocalURL(), string(key)) {
		t.Errorf("no key administers: %v", err)
	}
}

func TestNotReadyHidesTheCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("dial tcp 10.0.0.3:5432: user nod")
	for want, err := range map[string]error{
		"The database cannot be reached.": fmt.Errorf("ready: %w", &mfa.Error{Code: mfa.Unavailable, Message: "The database cannot be reached.", Err: cause}),
		"the clock is wrong":              errors.New("the clock is wrong"),
	} {
		if got := publicly(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
