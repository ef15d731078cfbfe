package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadConfigRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file string
		env        []string
		want       string
	}{
		{"unknown keys", "listn: 127.0.0.1:1\ntls: {cert: x}\n", nil, "nod.yaml: line 1: there is no key listn; line 2: there is no key cert"},
		{"no list", "trusted_proxies: 10.0.0.1\n", nil, "line 1: `10.0.0.1` is not a list, such as [one, other]"},
		{"no number", "limits: {waiting: many}\n", nil, "line 1: `many` is not a number"},
		{"no keys", "log: json\n", nil, "line 1: `json` stands where there should be keys with values"},
		{"no text", "listen: [a, b]\n", nil, "line 1: what stands here is not a text"},
		{"no duration", "deliveries: {timeout: long}\n", nil, "line 1: `long` is not a duration"},
		{"unknown database", "database: mysql://nod:hunter2@db/nod\n", nil, "database: neither"},
		{"key twice", "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", nil, "already defined"},
		{"second document", "listen: 127.0.0.1:1\n---\nlisten: 0.0.0.0:1\n", nil, "after the first document"},
		{"unknown variable", "", []string{"NOD_FOO=1"}, "NOD_FOO"},
		{"empty address", "", []string{"NOD_LISTEN="}, "listen"},
		{"secret twice", "", []string{"NOD_SEAL_KEY=x", "NOD_SEAL_KEY_FILE=/dev/null"}, "NOD_SEAL_KEY_FILE"},
		{"public without URL", "", []string{"NOD_LISTEN=0.0.0.0:1"}, "public_url"},
		{"no example", "", []string{"NOD_LISTEN=:1"}, "for example public_url: [https://nod.example.com]"},
		{"every address without a mode", "", []string{"NOD_LISTEN=:1", "NOD_PUBLIC_URL=https://nod.example.com"}, "tls.mode: required"},
		{"mode not said", "", []string{"NOD_LISTEN=:1", "NOD_PUBLIC_URL=https://nod.example.com", "NOD_TRUSTED_PROXIES=10.0.0.1"}, "tls.mode: required"},
		{"no proxy", "", []string{"NOD_LISTEN=:1", "NOD_PUBLIC_URL=https://nod.example.com", "NOD_TLS_MODE=off"}, "trusted_proxies"},
		{"unknown mode", "", []string{"NOD_TLS_MODE=auto"}, "none of files, acme and off"},
		{"files without files", "", []string{"NOD_TLS_MODE=files"}, "needs tls.cert_file"},
		{"off with files", "", []string{"NOD_TLS_MODE=off", "NOD_TLS_CERT_FILE=/x", "NOD_TLS_KEY_FILE=/y"}, "off takes no"},
		{"off with a redirect", "", []string{"NOD_TLS_HTTP_LISTEN=127.0.0.1:80"}, "off takes no"},
		{"no port for http", "", []string{"NOD_TLS_CERT_FILE=/x", "NOD_TLS_KEY_FILE=/y", "NOD_TLS_HTTP_LISTEN=80"}, "tls.http_listen"},
		{"acme with files", "", ordering("NOD_TLS_CERT_FILE=/x", "NOD_TLS_KEY_FILE=/y"), "acme takes no"},
		{"acme without consent", "", ordering("NOD_TLS_ACME_ACCEPT_TERMS=false"), "tls.acme.accept_terms"},
		{"acme over http", "", ordering("NOD_TLS_ACME_DIRECTORY=http://ca.example.com"), "tls.acme.directory"},
		{"acme for nobody", "", ordering("NOD_PUBLIC_URL="), "needs a public_url"},
		{"acme for an address", "", ordering("NOD_PUBLIC_URL=https://192.0.2.1"), `a certificate for "192.0.2.1"`},
		{"acme for a wildcard", "", ordering("NOD_TLS_HOSTS=*.example.com"), `a certificate for "*.example.com"`},
		{"acme for a short name", "", ordering("NOD_TLS_HOSTS=nod"), `a certificate for "nod"`},
		{"plain http", "", []string{"NOD_PUBLIC_URL=http://nod.example.com"}, "loopback"},
		{"empty query", "", []string{"NOD_PUBLIC_URL=https://nod.example.com/?"}, "is not a URL"},
		{"no host", "", []string{"NOD_PUBLIC_URL=https://:8443"}, "is not a URL"},
		{"upper case", "", []string{"NOD_PUBLIC_URL=https://Nod.example.com"}, "lower case"},
		{"upper-case scheme", "", []string{"NOD_PUBLIC_URL=HTTPS://nod.example.com"}, "lower case"},
		{"usual port", "", []string{"NOD_PUBLIC_URL=https://nod.example.com:443"}, "usual port"},
		{"authenticator with a path", "", []string{"NOD_AUTHENTICATOR_URL=https://a.example.com/app"}, "origin"},
		{"rate that is no number", "", []string{"NOD_LIMITS_CREATE_PER_ADDRESS=.nan"}, "limits"},
		{"certificate without key", "", []string{"NOD_TLS_CERT_FILE=/x"}, "go together"},
		{"proxy that is no address", "", []string{"NOD_TRUSTED_PROXIES=proxy.example.com"}, "trusted_proxies"},
	} {
		path := ""
		if tc.file != "" {
			path = filepath.Join(t.TempDir(), "nod.yaml")
			if err := os.WriteFile(path, []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := LoadConfig(path, tc.env); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// ordering is an environment that is good for ACME, but for more.
func ordering(more ...string) []string {
	return append([]string{"NOD_TLS_MODE=acme", "NOD_TLS_ACME_ACCEPT_TERMS=true", "NOD_PUBLIC_URL=https://nod.example.com"}, more...)
}

func TestTLSMode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		env  []string
		want string
	}{
		{"loopback", nil, "off"},
		{"loopback with a certificate", []string{"NOD_TLS_CERT_FILE=/x", "NOD_TLS_KEY_FILE=/y"}, "files"},
		{"public with a certificate", []string{"NOD_LISTEN=:1", "NOD_PUBLIC_URL=https://a.example.com", "NOD_TLS_CERT_FILE=/x", "NOD_TLS_KEY_FILE=/y"}, "files"},
		{"behind a proxy", []string{"NOD_LISTEN=:1", "NOD_PUBLIC_URL=https://a.example.com", "NOD_TLS_MODE=off", "NOD_TRUSTED_PROXIES=10.0.0.1"}, "off"},
		{"acme", ordering("NOD_LISTEN=:443", "NOD_TLS_HTTP_LISTEN=:80", "NOD_TLS_HOSTS=b.example.com"), "acme"},
	} {
		c, err := LoadConfig("", tc.env)
		if err != nil || c.tlsMode() != tc.want {
			t.Errorf("%s: %q, %v", tc.name, c.tlsMode(), err)
		}
	}
	c := Config{PublicURL: []string{"https://a.example.com", "http://127.0.0.1:1", "https://a.example.com:8443"}, TLS: TLS{Hosts: []string{"b.example.com"}}}
	if got := strings.Join(c.tlsHosts(), " "); got != "a.example.com b.example.com" {
		t.Errorf("hosts %s", got)
	}
}

func TestLoadConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, key := filepath.Join(dir, "nod.yaml"), filepath.Join(dir, "key")
	for path, text := range map[string]string{file: "listen: 127.0.0.1:1\nlimits:\n  waiting: 7\n", key: "canary\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := LoadConfig(file, []string{
		"NOD_LISTEN=127.0.0.1:2", "NOD_SEAL_KEY_FILE=" + key, "NOD_PUBLIC_URL=https://nod.example.com, http://127.0.0.1:2",
		"NOD_URL=https://elsewhere.example.com", "PATH=/bin",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:2" || c.Limits.Waiting != 7 || c.SealKey.Reveal() != "canary" || len(c.PublicURL) != 2 {
		t.Errorf("got %+v", c)
	}
	for _, s := range c.Settings() {
		if strings.Contains(s.Value, "canary") {
			t.Errorf("%s is shown", s.Key)
		}
	}
}
