// Command nod is a push-authentication server, the tools to administer it, and an authenticator.
package main

import (
	"os"

	"github.com/nodauth/nod/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
