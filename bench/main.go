// Command bench measures what nod costs: complete sign-ins against a server in a process of its
// own, driven from this one, beside what the same machine can do at best at the same time.
//
//	bench [FLAGS]           the table: processor time, syncs, statements, latency, memory
//	bench waiters [FLAGS]   many waiting applications and devices, each answered at its own time
//	bench year [FLAGS]      the cost of a sign-in with years of sign-ins in the database
//
// It ends with 0 when it ran through, whatever it measured. docs/performance.md says what each
// figure means.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/nodauth/nod/bench/limit"
	"github.com/nodauth/nod/bench/machine"
	"github.com/nodauth/nod/bench/node"
	"github.com/nodauth/nod/bench/wait"
)

// The arguments by which this program is its own bare server, and a process full of waiters.
const (
	bareWord = "bare-server"
	waitWord = "wait"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	word := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		word, args = args[0], args[1:]
	}
	switch word {
	case "":
		return roundTrips(ctx, args)
	case "waiters":
		return waiters(ctx, args)
	case "year":
		return years(ctx, args)
	case bareWord:
		return limit.Serve(ctx)
	case waitWord:
		if _, err := machine.Files(); err != nil {
			return err
		}
		return wait.Run(ctx, os.Stdin, os.Stdout)
	}
	return fmt.Errorf("there is no %q: the words are waiters and year, or none", word)
}

// common are the flags of all words.
type common struct {
	quick  bool
	stores string
	nod    string
	dir    string
	out    string
	procs  int
}

func (c *common) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ExitOnError)
	f.BoolVar(&c.quick, "quick", false, "a short form, whose figures mean little")
	f.StringVar(&c.stores, "store", "both", "sqlite, postgres or both; NOD_TEST_POSTGRES names the PostgreSQL server")
	f.StringVar(&c.nod, "nod", "", "the nod program; built if empty")
	f.StringVar(&c.dir, "dir", ".cache/bench", "directory for databases, on a disk")
	f.StringVar(&c.out, "out", "bench/results", "directory for the results")
	f.IntVar(&c.procs, "procs", 0, "GOMAXPROCS of the servers; as they choose themselves if 0")
	return f
}

// place is where a run keeps its databases and programs, and what it runs against.
type place struct {
	common
	dir   string
	serve string // the benchmarks' own server
	pg    *node.Postgres
	dsns  []string // databases to drop
	notes []string
}

// open makes a directory for this run and in it the programs, and connects to PostgreSQL if it is
// wanted.
func (c common) open(ctx context.Context) (_ *place, err error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	p := &place{common: c}
	made, err := os.MkdirTemp(c.dir, "run-")
	if err != nil {
		return nil, err
	}
	if p.dir, err = filepath.Abs(made); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.close(ctx)
		}
	}()
	disk, err := machine.Disk(p.dir)
	if err != nil && !c.quick {
		return nil, fmt.Errorf("databases: %w: choose another place with -dir", err)
	}
	if p.nod == "" {
		p.nod = filepath.Join(p.dir, "nod")
		if err := build(ctx, p.nod, "github.com/nodauth/nod/cmd/nod"); err != nil {
			return nil, err
		}
	}
	p.serve = filepath.Join(p.dir, "serve")
	if err := build(ctx, p.serve, "github.com/nodauth/nod/bench/serve"); err != nil {
		return nil, err
	}
	switch c.stores {
	case "sqlite":
	case "postgres", "both":
		return p, p.postgres(ctx, disk)
	default:
		return nil, fmt.Errorf("-store: %q is none of sqlite, postgres and both", c.stores)
	}
	return p, nil
}

func (p *place) postgres(ctx context.Context, disk uint64) error {
	dsn := os.Getenv("NOD_TEST_POSTGRES")
	if dsn == "" {
		if p.stores == "postgres" {
			return fmt.Errorf("NOD_TEST_POSTGRES names no server: run make bench, or this under scripts/postgres")
		}
		p.stores = "sqlite"
		p.notes = append(p.notes, "PostgreSQL was left out: NOD_TEST_POSTGRES names no server")
		return nil
	}
	var err error
	if p.pg, err = node.OpenPostgres(ctx, dsn); err != nil {
		return err
	}
	if theirs, err := machine.Disk(p.pg.Data); err != nil || theirs != disk {
		p.notes = append(p.notes, "PostgreSQL's files are on another disk than SQLite's, so that the two compare ill")
	}
	return nil
}

func (p *place) close(ctx context.Context) {
	if p.pg != nil {
		if err := p.pg.Close(context.WithoutCancel(ctx), p.dsns...); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
	if err := os.RemoveAll(p.dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

// names are the stores that are measured.
func (p *place) names() []string {
	if p.stores == "both" {
		return []string{"sqlite", "postgres"}
	}
	return []string{p.stores}
}

// node says how a server on a fresh database is started. settings are those of a PostgreSQL database.
func (p *place) node(ctx context.Context, store, name string, settings ...string) (node.Options, error) {
	o := node.Options{Program: p.nod, Dir: filepath.Join(p.dir, store+"-"+name), Env: p.environment()}
	if store != "postgres" {
		return o, nil
	}
	var err error
	if o.DSN, err = p.pg.Create(ctx, settings...); err == nil {
		p.dsns = append(p.dsns, o.DSN)
	}
	return o, err
}

func (p *place) environment() []string {
	if p.procs > 0 {
		return []string{fmt.Sprintf("GOMAXPROCS=%d", p.procs)}
	}
	return nil
}

func build(ctx context.Context, file, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", file, path) //nolint:gosec // packages of ours
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", path, err, out)
	}
	return nil
}

// say tells how far a run is.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
