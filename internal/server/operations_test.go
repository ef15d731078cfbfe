package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/secret"
)

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// TestOperationsApart wants figures and profiles on the operations listener alone, and only if asked
// for.
func TestOperationsApart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		set  func(*Operations)
		ops  map[string]int
	}{
		{"none", func(*Operations) {}, nil},
		{"a listener", func(o *Operations) { o.Listen = "127.0.0.1:0" }, map[string]int{
			"/metrics": 200, "/healthz": 200, "/readyz": 200, "/debug/pprof/": 404, "/v1/users": 404,
		}},
		{"profiles", func(o *Operations) { o.Listen, o.Pprof = "127.0.0.1:0", true }, map[string]int{
			"/metrics": 200, "/debug/pprof/": 200, "/debug/pprof/cmdline": 200,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := localConfig(t.TempDir())
			test.set(&c.Operations)
			s, stop := serving(t, c)
			defer stop()
			for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap"} {
				if status, _ := fetch(t, s.LocalURL()+path); status != 404 {
					t.Errorf("%s on the public listener: %d", path, status)
				}
			}
			if (s.OperationsURL() == "") != (test.ops == nil) {
				t.Fatalf("operations at %q", s.OperationsURL())
			}
			for path, want := range test.ops {
				status, body := fetch(t, s.OperationsURL()+path)
				if status != want {
					t.Errorf("%s: %d, want %d", path, status, want)
				}
				if path == "/metrics" && !strings.Contains(body, "nod_build_info{") {
					t.Errorf("no figures: %.200s", body)
				}
			}
		})
	}
}

func TestOperationsConfig(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		set  func(*Config)
		want string // in the error; "" for none
	}{
		{"nothing", func(*Config) {}, ""},
		{"loopback", func(c *Config) { c.Operations.Listen = "[::1]:1" }, ""},
		{"no port", func(c *Config) { c.Operations.Listen = "127.0.0.1" }, "operations.listen"},
		{"everywhere", func(c *Config) { c.Operations.Listen = ":8664" }, "allow_remote"},
		{"elsewhere", func(c *Config) { c.Operations.Listen = "10.0.0.1:1" }, "allow_remote"},
		{"elsewhere, as wished", func(c *Config) { c.Operations = Operations{Listen: "10.0.0.1:1", AllowRemote: true} }, ""},
		{"profiles nowhere", func(c *Config) { c.Operations.Pprof = true }, "operations.listen"},
		{"traces", func(c *Config) { c.Tracing = Tracing{Endpoint: "https://otel.example:4318", Sample: 0.5} }, ""},
		{"traces nowhere", func(c *Config) { c.Tracing.Sample = 0.5 }, "tracing.endpoint"},
		{"more than all", func(c *Config) { c.Tracing = Tracing{Endpoint: "http://localhost:1", Sample: 1.5} }, "tracing.sample"},
		{"no URL", func(c *Config) { c.Tracing.Endpoint = "localhost:4318" }, "tracing.endpoint"},
		{"syslog", func(c *Config) { c.Events.Syslog.Address = "tls://siem.example.com:6514" }, ""},
		{"syslog here", func(c *Config) { c.Events.Syslog.Address = "udp://127.0.0.1:514" }, ""},
		{"syslog by a socket", func(c *Config) { c.Events.Syslog.Address = "unix:///dev/log" }, ""},
		{"people in the clear", func(c *Config) { c.Events.Syslog.Address = "tcp://10.0.0.1:514" }, "allow_plain"},
		{"people in the clear, as wished", func(c *Config) {
			c.Events.Syslog.Address, c.Events.Syslog.AllowPlain = "udp://10.0.0.1:514", true
		}, ""},
		{"no port", func(c *Config) { c.Events.Syslog.Address = "tls://siem.example.com" }, "events.syslog.address"},
		{"no network", func(c *Config) { c.Events.Syslog.Address = "siem.example.com:514" }, "events.syslog.address"},
		{"no facility", func(c *Config) {
			c.Events.Syslog.Address, c.Events.Syslog.Facility = "unix:///dev/log", "kitchen"
		}, "events.syslog.facility"},
		{"half a certificate", func(c *Config) {
			c.Events.Syslog.Address, c.Events.Syslog.CertFile = "tls://siem.example.com:1", "x"
		}, "go together"},
		{"a secret in the clear", func(c *Config) {
			c.Tracing = Tracing{Endpoint: "http://10.0.0.1:1", Authorization: secret.New("x")}
		}, "tracing.authorization"},
	} {
		c := localConfig(t.TempDir())
		test.set(&c)
		switch err := c.Check(); {
		case (err == nil) != (test.want == ""):
			t.Errorf("%s: %v", test.name, err)
		case err != nil && !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: %v does not say %s", test.name, err, test.want)
		}
	}
}
