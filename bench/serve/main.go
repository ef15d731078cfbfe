// Command serve is "nod serve" with what a benchmark wants besides: profiles, and memory given
// back when asked, on a loopback port of its own whose address it leaves in the file "profiles" of
// the data directory. The servers whose processor time is measured are bin/nod itself.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/nodauth/nod/internal/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	c, err := server.LoadConfig("", os.Environ())
	if err != nil {
		return err
	}
	s, err := server.New(ctx, c, server.Options{Log: os.Stderr})
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.DataDir, "profiles"), []byte(l.Addr().String()), 0o600); err != nil {
		return err
	}
	srv := &http.Server{Handler: profiles(), ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(l) }() // it ends with the process
	return s.Run(ctx)
}

func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("POST /free", func(http.ResponseWriter, *http.Request) {
		for range 5 { // each collection halves stacks that are too large
			runtime.GC()
		}
		debug.FreeOSMemory()
	})
	return mux
}
