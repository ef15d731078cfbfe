package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLocalKeyStaysLocal names servers in a directory that has a server of its own: its key goes
// nowhere else.
func TestLocalKeyStaysLocal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"url": "http://127.0.0.1:8663\n", "admin.key": "nod_sk_local\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for url, want := range map[string]string{
		"":                         "nod_sk_local",
		"http://127.0.0.1:8663":    "nod_sk_local",
		"http://127.0.0.1:8663/":   "nod_sk_local",
		"http://127.0.0.1:8664":    "",
		"https://evil.example.com": "",
	} {
		a := &app{getenv: func(string) string { return "" }, conn: connection{URL: url, DataDir: dir}}
		if _, err := a.connect(); err != nil {
			t.Errorf("%q: %v", url, err)
		}
		if got := string(a.conn.key); got != want {
			t.Errorf("to %q goes the key %q, want %q", url, got, want)
		}
	}
}
