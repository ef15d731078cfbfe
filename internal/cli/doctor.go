package cli

import (
	"fmt"
	"io"

	"github.com/nodauth/nod/internal/checkup"
	"github.com/nodauth/nod/internal/server"
)

type doctorCmd struct {
	dataDir
	Deep   bool   `help:"Read all of a SQLite database, which takes a while."`
	CAFile string `name:"ca-file" placeholder:"FILE" help:"PEM certificates to trust beside the system's, for a private authority."`
}

// Help gives examples.
func (doctorCmd) Help() string {
	return "It looks at the configuration, files, disk, database, certificate, clocks and limits, and asks the public URL\n" +
		"whether it leads here. It changes nothing, and works whether or not the server runs. Run it as the server's user.\n" +
		"It ends with 1 if a check failed; a warning alone is no failure.\n\nExamples:\n\n" +
		"    nod doctor --config /etc/nod/nod.yaml\n    nod doctor --deep\n    nod doctor --json\n"
}

// Run prints what is found.
func (c doctorCmd) Run(a *app) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	all := server.Examine(a.ctx, cfg, server.Examination{Deep: c.Deep, CAFile: c.CAFile})
	err = a.show(map[string]any{"ok": !checkup.Failed(all), "checks": all}, func(w io.Writer) {
		for _, check := range all {
			fmt.Fprintf(w, "%-4s  %s: %s\n", check.Status, check.Name, check.Found)
			if check.Advice != "" {
				fmt.Fprintf(w, "      %s\n", check.Advice)
			}
		}
	})
	if err == nil && checkup.Failed(all) {
		return outcome(codeError)
	}
	return err
}
