package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/nodauth/nod/internal/cli/demo"
	"github.com/nodauth/nod/internal/server"
)

// configured says where a verb of the server finds its configuration.
type configured struct {
	Config string `name:"config" env:"NOD_CONFIG" placeholder:"FILE" help:"Configuration file, YAML; without one a local server in ./nod-data."`
}

func (c configured) load() (server.Config, error) {
	return server.LoadConfig(c.Config, os.Environ())
}

type serveCmd struct{ configured }

// Help gives examples.
func (serveCmd) Help() string {
	return "Without any configuration it serves this machine on 127.0.0.1:8663, with SQLite in ./nod-data,\n" +
		"and leaves the first administration key in ./nod-data/admin.key.\n\nExamples:\n\n" +
		"    nod serve\n    nod serve --config /etc/nod/nod.yaml\n    NOD_DATABASE_FILE=/run/secrets/nod-dsn nod serve\n"
}

// Run serves until it is told to stop.
func (c serveCmd) Run(a *app) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	s, err := server.New(a.ctx, cfg, server.Options{Log: a.stderr})
	if err != nil {
		return err
	}
	return s.Run(a.ctx)
}

type migrateCmd struct{ dataDir }

// Help gives an example.
func (migrateCmd) Help() string {
	return "\"nod serve\" does this by itself; do it beforehand to see that it works.\n\nExample:\n\n    nod migrate --config /etc/nod/nod.yaml\n"
}

// Run brings the database to this program's schema.
func (c migrateCmd) Run(a *app) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	version, err := server.Migrate(a.ctx, cfg, a.stderr)
	if err != nil {
		return err
	}
	return a.show(map[string]int64{"schema": version}, func(w io.Writer) {
		fmt.Fprintf(w, "The database has schema %d.\n", version)
	})
}

type demoCmd struct {
	Data   string `name:"data" default:"nod-demo" placeholder:"DIR" help:"Folder for the demonstration's database, keys and receipt."`
	Exit   bool   `name:"exit" help:"Stop after the sign-in."`
	Listen string `name:"listen" default:"127.0.0.1:8663" placeholder:"ADDRESS" help:"Address and port; port 0 for any free one."`
}

// Help gives examples.
func (demoCmd) Help() string {
	return "It starts a server and signs a demonstration user in through it: an administrator, an application and\n" +
		"an authenticator that speak to the server as any others would.\n\nExamples:\n\n" +
		"    nod demo\n    nod demo --exit --json --data /tmp/nod-demo\n"
}

// Run shows a complete sign-in.
func (c demoCmd) Run(a *app) error {
	cfg := server.DefaultConfig()
	cfg.DataDir, cfg.Listen = c.Data, c.Listen
	cfg.Log.Level = "warn"
	return demo.Run(a.ctx, demo.Config{Server: cfg, Exit: c.Exit, JSON: a.json, Program: os.Args[0], Out: a.stdout, Log: a.stderr})
}

type configCmd struct {
	Check configCheck `cmd:"" help:"Check the configuration, and say what is wrong with it."`
	Show  configShow  `cmd:"" help:"Show every setting, its value, its variable and what it does."`
}

type configCheck struct{ configured }

// Help gives an example.
func (configCheck) Help() string {
	return "The file and the environment are read as \"nod serve\" reads them.\n\nExample:\n\n    nod config check --config /etc/nod/nod.yaml\n"
}

// Run checks the configuration.
func (c configCheck) Run(a *app) error {
	if _, err := c.load(); err != nil {
		return err
	}
	return a.show(map[string]bool{"ok": true}, func(w io.Writer) { fmt.Fprintln(w, "The configuration is good.") })
}

type configShow struct{ configured }

// Help gives an example.
func (configShow) Help() string {
	return "Secrets are not shown.\n\nExamples:\n\n    nod config show\n    nod config show --config /etc/nod/nod.yaml --json\n"
}

// Run shows the settings.
func (c configShow) Run(a *app) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	settings := cfg.Settings()
	return a.show(settings, func(w io.Writer) {
		rows := make([][]string, len(settings))
		for i, s := range settings {
			rows[i] = []string{s.Key, s.Value, s.Env, s.Help}
		}
		table(w, "SETTING VALUE VARIABLE MEANING", rows)
	})
}
