// Package cli is the command line: the verbs of nod, as nod noun verb.
//
// Administration goes over the API like any other caller's, through package client; the
// authenticator's verbs are those of package authenticator. What was asked for goes to standard
// output, with --json as JSON; everything said on the way goes to standard error.
//
// Exit codes: 0 approved or done, 1 error, 2 wrong usage, 3 denied, 4 expired, 5 limited.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// app is one run of the program.
type app struct {
	ctx    context.Context
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	now    func() time.Time
	json   bool
	conn   connection
}

// grammar is every verb of the program.
type grammar struct {
	JSON bool `name:"json" help:"Print JSON."`

	Realm         realmCmd         `cmd:"" group:"admin" help:"Realms: tenants that share a server and nothing else."`
	SigningKey    signingKeyCmd    `cmd:"" name:"key" group:"admin" help:"What prompts and grants are signed with, and the database is sealed with."`
	User          userCmd          `cmd:"" group:"admin" help:"People, their passwords and codes."`
	Application   applicationCmd   `cmd:"" aliases:"app" group:"admin" help:"Relying parties and their API keys."`
	Device        deviceCmd        `cmd:"" group:"admin" help:"Enrolled authenticators."`
	Enrolment     enrolmentCmd     `cmd:"" group:"admin" help:"Links by which a device is enrolled."`
	Invitation    invitationCmd    `cmd:"" group:"admin" help:"Links for days, for people to enrol by themselves."`
	Policy        policyCmd        `cmd:"" group:"admin" help:"The rules of sign-in."`
	Event         eventCmd         `cmd:"" group:"admin" help:"The audit record."`
	Webhook       webhookCmd       `cmd:"" group:"admin" help:"Addresses that are told of events."`
	Challenge     challengeCmd     `cmd:"" group:"use" help:"Requests to authenticate somebody, as an application makes them."`
	Receipt       receiptCmd       `cmd:"" group:"use" help:"Evidence of decisions."`
	Authenticator authenticatorCmd `cmd:"" group:"use" help:"This machine as somebody's authenticator."`
	Serve         serveCmd         `cmd:"" group:"run" help:"Run the server."`
	Demo          demoCmd          `cmd:"" group:"run" help:"Show a complete sign-in."`
	Backup        backupCmd        `cmd:"" group:"run" help:"Backups of a SQLite installation."`
	Restore       restoreCmd       `cmd:"" group:"run" help:"Put a backup back."`
	Migrate       migrateCmd       `cmd:"" group:"run" help:"Bring the database to this program's schema."`
	Doctor        doctorCmd        `cmd:"" group:"run" help:"Look for what is wrong with a server, and say what to do."`
	Config        configCmd        `cmd:"" group:"run" help:"Check and show the configuration."`
	Version       versionCmd       `cmd:"" group:"run" help:"Say which version this is."`
	Completion    completionCmd    `cmd:"" group:"run" help:"Print the completion script for a shell."`
}

const description = `Push authentication that you run yourself.

Exit codes: 0 approved or done, 1 error, 2 wrong usage, 3 denied, 4 expired, 5 limited.`

// exit unwinds out of the parser, which calls for it after --help.
type exit int

// Main runs the program with the arguments after its name and returns its exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr, getenv: os.Getenv, now: time.Now}
	return a.main(args)
}

func (a *app) main(args []string) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exit:
			code = int(r)
		default:
			panic(r)
		}
	}()
	var g grammar
	parser, err := newParser(&g, a)
	if err != nil {
		return a.fail(err)
	}
	if len(args) > 0 && args[0] == completeVerb {
		return a.complete(parser.Model, args[1:])
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(a.stderr, "nod: %s\n", err)
		where := "nod"
		if p, ok := errors.AsType[*kong.ParseError](err); ok && p.Context != nil && p.Context.Selected() != nil {
			where = verbOf(p.Context.Selected())
		}
		fmt.Fprintf(a.stderr, "Run \"%s --help\" to see how it is used.\n", where)
		return codeUsage
	}
	a.json = g.JSON
	if err := k.Run(a); err != nil {
		return a.fail(err)
	}
	return codeOK
}

// verbOf is what a person types for a verb; kong's own path has the aliases in it.
func verbOf(n *kong.Node) string {
	if n.Parent == nil {
		return n.Name
	}
	return verbOf(n.Parent) + " " + n.Name
}

func newParser(g *grammar, a *app) (*kong.Kong, error) {
	return kong.New(g,
		kong.Name("nod"), kong.Description(description), kong.Bind(a),
		kong.Writers(a.stdout, a.stderr), kong.Exit(func(code int) { panic(exit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "use", Title: "Signing in"},
			{Key: "admin", Title: "Administration"},
			{Key: "run", Title: "This program"},
			{Key: "server", Title: "Which server", Description: "Without these, the one whose data directory is at hand."},
		}),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeSpan)),
		// Commands of the verbs' own names are found by what they are called.
		kong.Vars{"config_dir": a.configDir()},
	)
}
