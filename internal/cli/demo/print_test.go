package demo

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/server"
)

// TestCommandsCanBeCopied wants each command called as the person called the program.
func TestCommandsCanBeCopied(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := Config{Server: server.Config{DataDir: "nod-demo"}, Program: "bin/nod", Out: &out}
	if err := c.print(Result{URL: "http://127.0.0.1:8663", User: "ada"}); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"receipt verify", "authenticator watch", "challenge create ada", "user show ada"} {
		if !strings.Contains(out.String(), " bin/nod "+verb) {
			t.Errorf("no command bin/nod %s:\n%s", verb, out.String())
		}
	}
}
