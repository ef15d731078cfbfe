package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/telemetry"
	"github.com/nodauth/nod/protocol"
)

// Operations says where health, figures and profiles are to be had.
type Operations struct {
	Listen      string `yaml:"listen" help:"address of a listener of its own for /metrics, /healthz and /readyz; without it no metrics, and health on the main one"`
	AllowRemote bool   `yaml:"allow_remote" help:"let operations.listen be an address that others can reach: it asks for no credential"`
	Pprof       bool   `yaml:"pprof" help:"profiles under /debug/pprof/ on operations.listen"`
}

// Tracing says where traces go.
type Tracing struct {
	Endpoint      string       `yaml:"endpoint" help:"URL of an OTLP/HTTP collector, such as http://127.0.0.1:4318; no traces if empty"`
	Authorization secret.Value `yaml:"authorization" help:"value of the header Authorization for the collector"`
	Sample        float64      `yaml:"sample" help:"share of the requests that are traced, 0 to 1"`
	TrustParent   bool         `yaml:"trust_parent" help:"go on with the trace, and the choice to record it, that a request names in traceparent"`
}

func (o Operations) check() error {
	if o.Listen == "" {
		if o.Pprof || o.AllowRemote {
			return errors.New("operations: pprof and allow_remote need operations.listen")
		}
		return nil
	}
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return fmt.Errorf("operations.listen: %q is not an address and port", o.Listen)
	}
	if !loopback(host) && !o.AllowRemote {
		return fmt.Errorf("operations.listen: %s can be reached from elsewhere, and it asks for no credential: set operations.allow_remote if only those who may reach it", o.Listen)
	}
	return nil
}

func (t Tracing) check() error {
	if share := t.Sample >= 0 && t.Sample <= 1; !share { // which not-a-number is not
		return errors.New("tracing.sample: a share is 0 to 1")
	}
	if t.Endpoint == "" {
		if t.Sample > 0 {
			return errors.New("tracing.sample: needs tracing.endpoint")
		}
		return nil
	}
	u, err := url.Parse(t.Endpoint)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("tracing.endpoint: %q is not a URL such as http://127.0.0.1:4318", t.Endpoint)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) && !t.Authorization.IsZero() {
		return errors.New("tracing.authorization: not over plain http to another machine")
	}
	return nil
}

// openTelemetry makes what counts and traces. It comes before all that is counted.
func (s *Server) openTelemetry() (err error) {
	s.telemetry, err = telemetry.New(telemetry.Config{
		Version: version(),
		Tracing: telemetry.Tracing{
			Endpoint: s.c.Tracing.Endpoint, Authorization: s.c.Tracing.Authorization,
			Sample: s.c.Tracing.Sample, TrustParent: s.c.Tracing.TrustParent,
		},
	})
	if err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	return nil
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// readings is what the figures read of the parts.
func (s *Server) readings(p parts) telemetry.Readings {
	var certificate func() (time.Time, bool)
	if s.certificates != nil {
		certificate = func() (time.Time, bool) {
			at := s.certificates.State().NotAfter
			return at, !at.IsZero()
		}
	}
	return telemetry.Readings{
		Certificate: certificate,
		Waiters: func() telemetry.Waiters {
			n := s.hub.WaitingBy()
			w := telemetry.Waiters{Applications: n["c"], Devices: n["u"], Streams: n["a"]}
			for kind, waiting := range n {
				switch kind {
				case "c", "u", "a", "r": // a device waits for its realm too
				default:
					w.Repeats += waiting
				}
			}
			return w
		},
		Hashes:     p.factors.Hashing,
		Store:      s.storeReading,
		BusHealthy: s.bus.Healthy,
	}
}

func (s *Server) storeReading() telemetry.StoreReading {
	st := s.db.Stats()
	out := telemetry.StoreReading{Queued: st.Queued, Stale: st.Stale, Conflicts: st.Conflicts, WALBytes: st.WALBytes, Ran: st.Ran}
	if p := st.Pool; p != nil {
		out.Pool = &telemetry.PoolReading{Busy: p.Busy, Idle: p.Idle, Most: p.Most, Waits: p.Waits}
	}
	return out
}

// operations serves the listener of its own.
func (s *Server) operations() http.Handler {
	mux := s.health()
	mux.Handle("GET /metrics", s.telemetry.Handler())
	if s.c.Operations.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// health answers health checks.
func (s *Server) health() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "ok") // the caller is gone if this fails
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := s.ready(ctx); err != nil {
			s.log.WarnContext(ctx, "not ready", slog.Any("error", err))
			http.Error(w, publicly(err), http.StatusServiceUnavailable)
			return
		}
		answer := "ready"
		if !s.bus.Healthy() {
			answer += "; wake-ups from other nodes do not arrive, and waiting callers are answered by the sweep within five seconds"
		}
		if s.certificates != nil && s.certificates.State().Problem != "" {
			answer += "; a new certificate cannot be used or had, the one before stays, and the log says why"
		}
		_, _ = fmt.Fprintln(w, answer)
	})
	return mux
}

func (s *Server) ready(ctx context.Context) error {
	if s.stopping.Err() != nil {
		return errors.New("stopping")
	}
	if s.lacksKey.Load() {
		return errors.New("the sealing key document lacks the key that seals: give this node the document of the others")
	}
	if s.certificates != nil {
		if err := s.certificates.State().Ready(s.now()); err != nil {
			return err
		}
	}
	return s.store.Ready(ctx)
}

// installationHeader names the installation in the answer of /.well-known/nod.
const installationHeader = "Nod-Installation"

// installation is the id that all servers with this ring have. It says nothing about the ring.
func installation(ring *keys.Ring) string { return ring.DeriveID("ins_", "installation", nil) }

// introduce tells whoever asks at /.well-known/nod which installation answers, above all nod
// doctor, which asks by the public URL.
func (s *Server) introduce(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == protocol.PathWellKnown {
			w.Header().Set(installationHeader, s.installation)
		}
		next.ServeHTTP(w, r)
	})
}

// publicly is what anybody may read of why the server is not ready: no cause, which names hosts,
// accounts and files.
func publicly(err error) string {
	if e, ok := errors.AsType[*mfa.Error](err); ok {
		return e.Message
	}
	return err.Error()
}
