// Package server puts a nod server together: from its configuration it builds every part, starts
// them in order and stops them in reverse.
//
//	root key ─► store ─► bus ─► services ─► pipeline, accounts ─► fronts ─► listeners
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nodauth/nod/internal/bus"
	"github.com/nodauth/nod/internal/bus/local"
	"github.com/nodauth/nod/internal/bus/pgnotify"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/deliver"
	"github.com/nodauth/nod/internal/endpoint"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/lifecycle"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
	"github.com/nodauth/nod/internal/telemetry"
	"github.com/nodauth/nod/internal/wire/sealed"
)

// resyncOver is how long the waiters of a node are spread when wake-ups may have been lost.
const resyncOver = 2 * time.Second

// Options are what is not configuration: where to log, and what tests move.
type Options struct {
	Log    io.Writer
	Offset func() time.Duration // added to the store's clock; nil for none
	// Heard, if set, is asked for each wake-up that another node sent; false loses it, so that a
	// test can see what the sweep alone does.
	Heard func(key string) bool
	// Store, if set, stands between the parts of the server and its database, so that a test can
	// make the database fail.
	Store func(store.Store) store.Store
}

// Server is a running server.
type Server struct {
	c         Config
	o         Options
	log       *slog.Logger
	group     *lifecycle.Group
	listener  net.Listener
	ops       net.Listener
	plain     net.Listener // that sends browsers to https; nil for none
	db        *sqlstore.Store
	store     store.Store // the same, counted
	lock      *os.File    // on a SQLite database; nil for PostgreSQL
	bus       bus.Bus
	hub       *challenge.Hub
	outbox    *deliver.Outbox
	watcher   *endpoint.Watcher
	epoch     int64 // of the database, when it was opened
	urls      []string
	telemetry *telemetry.Telemetry
	stopping  context.Context
	stop      context.CancelFunc

	certificates certificates // nil for plain HTTP
	installation string       // id that all nodes of the installation have
	lacksKey     atomic.Bool  // the node does not hold the key with which others seal
}

// New reads keys, opens the database and the listeners, and builds every part. Run starts it, and
// closes what New opened.
func New(ctx context.Context, c Config, o Options) (_ *Server, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	s := &Server{c: c, o: o, group: lifecycle.New(), hub: challenge.NewHub()}
	s.log = newLogger(c, o.Log)
	s.outbox = deliver.NewOutbox(c.Deliveries.Timeout)
	s.watcher = endpoint.NewWatcher(s.outbox, s.log)
	s.stopping, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	if s.listener, err = listen(ctx, c.Listen); err != nil {
		return nil, err
	}
	if c.Operations.Listen != "" {
		if s.ops, err = listen(ctx, c.Operations.Listen); err != nil {
			return nil, err
		}
	}
	if c.TLS.HTTPListen != "" {
		if s.plain, err = listen(ctx, c.TLS.HTTPListen); err != nil {
			return nil, err
		}
	}
	s.urls = c.PublicURL
	if len(s.urls) == 0 {
		s.urls = s.localURLs()
	}
	ring, err := c.ring(true)
	if err != nil {
		return nil, err
	}
	if err := s.openTelemetry(); err != nil {
		return nil, err
	}
	if err := s.openStore(ctx); err != nil {
		return nil, err
	}
	if s.epoch, err = currentEpoch(ctx, s.store); err != nil {
		return nil, err
	}
	ring.AtEpoch(s.epoch)
	if err := s.openCertificates(ring); err != nil {
		return nil, err
	}
	p, err := s.build(ctx, ring)
	if err != nil {
		return nil, err
	}
	s.telemetry.Read(s.readings(p))
	handler, err := s.fronts(ring, p)
	if err != nil {
		return nil, err
	}
	s.schedule(p, handler, ring)
	return s, nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

func newLogger(c Config, w io.Writer) *slog.Logger {
	if w == nil {
		w = io.Discard
	}
	level, _ := c.level() // checked
	o := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// localURLs are the addresses of a server that has no public URL: this machine only.
func (s *Server) localURLs() []string {
	_, port, _ := net.SplitHostPort(s.listener.Addr().String())
	scheme := "http"
	if s.c.tlsMode() != tlsOff {
		scheme = "https"
	}
	return []string{scheme + "://127.0.0.1:" + port, scheme + "://localhost:" + port}
}

// ring reads the sealing key, and makes one where there is none if it may. Nodes that share a
// database share the key: one that is not the database's is found when the default realm is read.
func (c Config) ring(create bool) (*keys.Ring, error) {
	if !c.SealKey.IsZero() {
		ring, err := keys.Open(keys.Config{Root: c.SealKey.Bytes(), Places: sealed.Places()})
		if err != nil {
			return nil, fmt.Errorf("seal_key: %w", err)
		}
		return ring, nil
	}
	file := c.sealFile()
	ring, err := keys.Open(keys.Config{File: file, Create: create, Places: sealed.Places()})
	if err != nil {
		return nil, fmt.Errorf("sealing key %s: %w", file, err)
	}
	return ring, nil
}

func (s *Server) openStore(ctx context.Context) error {
	dsn := s.c.database()
	if s.c.postgres() {
		b, err := pgnotify.New(pgnotify.Config{DSN: dsn, Logger: s.log, Filter: s.o.Heard})
		if err != nil {
			return fmt.Errorf("bus: %w", err)
		}
		s.bus = b
	} else {
		s.bus = local.New()
	}
	var err error
	if s.lock, err = s.c.lockDatabase(); err != nil {
		return err
	}
	db, err := sqlstore.Open(ctx, sqlstore.Config{
		DSN: dsn, Logger: s.log, Offset: s.o.Offset,
		Committed: func(wake []string) {
			wake = s.outbox.Committed(wake)
			s.telemetry.Bus.Published(len(wake))
			s.watcher.Wake(wake...)
			s.hub.Wake(wake...) // at once on this node; the bus is for the others
			s.bus.Publish(wake...)
		},
		Observe: s.telemetry.Committed,
		Fatal:   s.fatal,
	})
	if err != nil {
		return err
	}
	s.store = db
	if s.o.Store != nil {
		s.store = s.o.Store(db)
	}
	s.db, s.store = db, s.watcher.Over(s.telemetry.Store(s.store))
	return nil
}

// fatal ends the process: after a failed sync nobody knows what the disk holds, and only a new
// start that reads it can say.
func (s *Server) fatal(err error) {
	s.log.Error("database failed, stopping at once; start again when the disk is in order", slog.Any("error", err))
	fmt.Fprintf(os.Stderr, "nod: the database failed and the server stops: %v\n", err)
	os.Exit(1)
}

// schedule says what runs, in the order in which it starts.
func (s *Server) schedule(p parts, handler http.Handler, ring *keys.Ring) {
	s.parts(p, ring)
	s.listeners(ring, handler)
	s.group.Add("notice", func(context.Context) error { return notify("READY=1") },
		func(context.Context) error { return notify("STOPPING=1") })
}

// parts adds what works without being asked.
func (s *Server) parts(p parts, ring *keys.Ring) {
	g := s.group
	g.Add("telemetry", nil, s.telemetry.Close)
	g.Add("store", nil, func(context.Context) error { return s.store.Close() })
	g.Go("bus", s.bus.Run)
	var cancel func()
	g.Add("hub", func(context.Context) error {
		cancel = s.bus.Subscribe(bus.Subscriber{
			Wake: func(key string) {
				s.telemetry.Bus.Received()
				s.watcher.Wake(key)
				s.hub.Wake(key)
			},
			Resync: func() {
				s.telemetry.Bus.Resynced()
				s.watcher.Forget()
				go s.hub.Resync(s.stopping, resyncOver)
			},
		})
		return nil
	}, func(context.Context) error {
		cancel()
		return nil
	})
	g.Go("webhooks", s.watcher.Run)
	g.Go("deliveries", p.deliveries.Run)
	g.Go("notes", p.pipeline.RunNotes)
	g.Go("expiry", p.pipeline.RunExpiry)
	g.Go("wake sweep", p.pipeline.RunWakeSweep)
	g.Go("quota", p.pipeline.RunQuota)
	g.Go("sealing", s.sealing(ring, p))
	g.Go("epoch", s.watchEpoch)
	if p.feeds != nil {
		g.Go("feeds", p.feeds.Run)
	}
	g.Go("housekeeping", s.housekeeping(p))
}

// listeners adds what answers.
func (s *Server) listeners(ring *keys.Ring, handler http.Handler) {
	if s.ops != nil {
		s.serve("operations", s.ops, s.operations(), nil)
	}
	if s.certificates == nil {
		s.serve("api", s.listener, handler, nil)
		return
	}
	// An authority asks for its challenges on the listeners below, which take connections since
	// they were opened, and answer them as soon as all parts have started.
	s.group.Go("certificates", s.certificates.Run)
	if s.plain != nil {
		s.serve("http", s.plain, s.redirects(), nil)
	}
	s.serve("api", s.listener, handler, s.tlsConfig(ring))
}

// serve adds an HTTP server to what runs, without TLS if config is nil. It stops by answering those
// who wait.
func (s *Server) serve(name string, l net.Listener, h http.Handler, config *tls.Config) {
	srv := httpkit.NewServer(h, s.log)
	srv.TLSConfig = config
	s.group.Go(name+" listener", func(ctx context.Context) error {
		failed := make(chan error, 1)
		go func() {
			if srv.TLSConfig != nil {
				failed <- srv.ServeTLS(l, "", "")
				return
			}
			failed <- srv.Serve(l)
		}()
		select {
		case err := <-failed:
			return fmt.Errorf("serve %s: %w", name, err)
		case <-ctx.Done():
		}
		s.hub.Stop() // whoever waits is answered now
		s.stop()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.c.Limits.StopGrace)
		defer cancel()
		if err := srv.Shutdown(grace); err != nil {
			return errors.Join(fmt.Errorf("stop %s: %w", name, err), srv.Close())
		}
		return nil
	})
}

// URL is the first public URL.
func (s *Server) URL() string { return s.urls[0] }

// LocalURL is the address on which the server listens.
func (s *Server) LocalURL() string { return s.localURLs()[0] }

// OperationsURL is the address of the operations listener, "" without one.
func (s *Server) OperationsURL() string {
	if s.ops == nil {
		return ""
	}
	return "http://" + s.ops.Addr().String()
}

// Run serves until ctx ends or a part fails, and then stops everything in reverse order.
func (s *Server) Run(ctx context.Context) error {
	defer s.close()
	s.log.InfoContext(ctx, "serving", slog.String("listen", s.listener.Addr().String()), slog.String("url", s.URL()), slog.String("data_dir", s.c.DataDir))
	if s.ops != nil {
		s.log.InfoContext(ctx, "serving operations", slog.String("listen", s.ops.Addr().String()))
	} else {
		s.log.InfoContext(ctx, "no metrics: operations.listen is not set")
	}
	if err := os.WriteFile(filepath.Join(s.c.DataDir, "url"), []byte(s.URL()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write address: %w", err)
	}
	err := s.group.Run(ctx, s.c.Limits.StopGrace+5*time.Second)
	s.log.InfoContext(ctx, "stopped")
	return err
}

// close closes what is open still. It may be called again.
func (s *Server) close() {
	s.stop()
	if s.telemetry != nil {
		_ = s.telemetry.Close(context.Background()) // nothing is traced, or it is closed
	}
	for _, l := range []net.Listener{s.listener, s.ops, s.plain} {
		if l != nil {
			_ = l.Close() // nothing is served on it, or it is closed
		}
	}
	if s.store != nil {
		_ = s.store.Close() // nothing was written through it, or it is closed
	}
	if s.lock != nil {
		_ = s.lock.Close() // what closes with the process in any case
	}
}

// Migrate brings the database to this program's schema and tells its version.
func Migrate(ctx context.Context, c Config, log io.Writer) (int64, error) {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return 0, fmt.Errorf("make data directory: %w", err)
	}
	held, err := c.lockDatabase()
	if err != nil {
		return 0, err
	}
	if held != nil {
		defer func() { _ = held.Close() }() // which cannot lose anything
	}
	st, err := sqlstore.Open(ctx, sqlstore.Config{DSN: c.database(), Logger: newLogger(c, log), Committed: func([]string) {}})
	if err != nil {
		return 0, err
	}
	return sqlstore.Version, st.Close()
}
