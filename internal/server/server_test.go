package server

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

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
	return func() {
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
