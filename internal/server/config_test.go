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
		{"unknown database", "database: mysql://nod:hunter2@db/nod\n", nil, "database: neither"},
		{"key twice", "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", nil, "already defined"},
		{"second document", "listen: 127.0.0.1:1\n---\nlisten: 0.0.0.0:1\n", nil, "after the first document"},
		{"unknown variable", "", []string{"NOD_FOO=1"}, "NOD_FOO"},
		{"empty address", "", []string{"NOD_LISTEN="}, "listen"},
		{"secret twice", "", []string{"NOD_SEAL_KEY=x", "NOD_SEAL_KEY_FILE=/dev/null"}, "NOD_SEAL_KEY_FILE"},
		{"public without URL", "", []string{"NOD_LISTEN=0.0.0.0:1"}, "public_url"},
		{"every address without TLS", "", []string{"NOD_LISTEN=:1", "NOD_PUBLIC_URL=https://nod.example.com"}, "tls"},
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
