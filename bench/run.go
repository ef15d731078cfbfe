package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodauth/nod/bench/drive"
	"github.com/nodauth/nod/bench/limit"
	"github.com/nodauth/nod/bench/machine"
	"github.com/nodauth/nod/bench/node"
	"github.com/nodauth/nod/bench/report"
)

// run is one run of the whole table.
type run struct {
	*place
	n, reps, flight, waiters int

	bare     *limit.Bare
	subjects []*subject
	limits   []limit.Parts // one each repetition
	counts   map[string]*counts
	memories map[string]*memory
}

// counts are what is counted for each round trip; nil where note says why it was not.
type counts struct {
	syncs, statements         *float64
	syncsNote, statementsNote string
}

// roundTrips measures everything and writes the table.
func roundTrips(ctx context.Context, args []string) error {
	var c common
	r := run{counts: map[string]*counts{}, memories: map[string]*memory{}}
	f := c.flags("bench")
	f.IntVar(&r.n, "n", 4000, "round trips of one repetition with all in flight")
	f.IntVar(&r.reps, "repetitions", 5, "repetitions, the stores in turn")
	f.IntVar(&r.flight, "flight", 64, "sign-ins in flight")
	f.IntVar(&r.waiters, "waiters", 1000, "waiting applications, and devices, whose memory is measured")
	profile := f.String("profile", "", "write a processor profile of the server under full load to this file, and measure nothing else")
	if err := f.Parse(args); err != nil {
		return err
	}
	if c.quick {
		r.n, r.reps, r.flight, r.waiters = 200, 1, 16, 50
	}
	if r.n < 1 || r.reps < 1 || r.flight < 1 || r.waiters < 1 {
		return errors.New("numbers must be positive")
	}
	debug.SetGCPercent(400) // of the load, not of what it measures
	p, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer p.close(ctx)
	r.place = p
	if *profile != "" {
		for _, store := range p.names() {
			if err := p.profile(ctx, store, *profile, r.flight); err != nil {
				return err
			}
		}
		return nil
	}
	if err := errors.Join(r.measure(ctx), ctx.Err()); err != nil {
		return err
	}
	if err := r.rest(ctx); err != nil {
		return err
	}
	result := r.result(ctx)
	result.Markdown(os.Stdout)
	file, err := result.Save(r.out)
	if err != nil {
		return err
	}
	say("written to %s and .md", file)
	return nil
}

func (r *run) measure(ctx context.Context) error {
	var err error
	if r.bare, err = limit.StartBare(ctx, bareWord, r.environment()); err != nil {
		return err
	}
	defer r.bare.Stop()
	defer func() {
		for _, s := range r.subjects {
			s.stop()
		}
	}()
	for _, store := range r.names() {
		say("%s: people", store)
		s, err := r.prepare(ctx, store, r.flight)
		if err != nil {
			return err
		}
		r.subjects = append(r.subjects, s)
		var warm series
		if err := s.measure(ctx, &warm, s.lanes, closed(max(r.n/8, 64))); err != nil {
			return err
		}
	}
	for i := range r.reps {
		parts := limit.Parts{}
		if err := r.primitives(ctx, parts); err != nil {
			return err
		}
		r.limits = append(r.limits, parts)
		for _, s := range r.turn(i) {
			say("repetition %d of %d, %s", i+1, r.reps, s.store)
			if err := s.repetition(ctx, r.n); err != nil {
				return err
			}
		}
	}
	return nil
}

// turn is the order of a repetition: every other one the other way round, so that none is always
// after the other.
func (r *run) turn(i int) []*subject {
	list := slices.Clone(r.subjects)
	if i%2 == 1 {
		slices.Reverse(list)
	}
	return list
}

func (r *run) primitives(ctx context.Context, into limit.Parts) error {
	rounds := 2000
	if r.quick {
		rounds = 100
	}
	return errors.Join(
		limit.Crypto(rounds, into),
		limit.Disk(ctx, r.dir, rounds, into),
		r.bare.Measure(ctx, rounds*5, into),
	)
}

// rest is what is measured once: what is counted, and memory.
func (r *run) rest(ctx context.Context) error {
	for _, store := range r.names() {
		say("%s: syncs and statements", store)
		c, err := r.count(ctx, store)
		if err != nil {
			return err
		}
		r.counts[store] = c
		say("%s: memory of waiters", store)
		m, err := r.waiting(ctx, store, r.waiters)
		if err != nil {
			return err
		}
		r.memories[store] = &m
	}
	return nil
}

func (r *run) count(ctx context.Context, store string) (*counts, error) {
	n := max(r.n/2, 100)
	c := &counts{}
	if store == "sqlite" {
		return c, errors.Join(r.countTraced(ctx, c, n), r.countStatements(ctx, c, n))
	}
	one := func(read func(context.Context) (int64, error), settings ...string) (*float64, error) {
		o, err := r.node(ctx, store, "count", settings...)
		if err != nil {
			return nil, err
		}
		v, err := counted(ctx, n, r.flight, func() (*node.Server, error) { return node.Start(ctx, o) }, read)
		return &v, err
	}
	var err error
	if c.syncs, err = one(r.pg.Syncs); err != nil {
		return nil, err
	}
	if _, err := r.pg.Statements(ctx); err != nil {
		c.statementsNote = err.Error()
		return c, nil
	}
	c.statements, err = one(r.pg.Statements, "log_statement = 'all'")
	return c, err
}

// countTraced counts the syncs of a server that syncs by itself, from outside.
func (r *run) countTraced(ctx context.Context, c *counts, n int) error {
	strace, err := exec.LookPath("strace")
	if err != nil {
		c.syncsNote = "strace is not installed"
		return nil
	}
	o, err := r.node(ctx, "sqlite", "count")
	if err != nil {
		return err
	}
	trace := filepath.Join(r.dir, "trace.")
	life := 0
	v, err := counted(ctx, n, r.flight, func() (*node.Server, error) {
		life++
		o.Prefix = []string{strace, "-f", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-o", trace + strconv.Itoa(life)}
		return node.Start(ctx, o)
	}, func(context.Context) (int64, error) {
		files, err := filepath.Glob(trace + "*")
		sum := int64(0)
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return 0, err
			}
			sum += int64(strings.Count(string(text), "= 0\n"))
		}
		return sum, err
	})
	c.syncs = &v
	return err
}

// countStatements asks a SQLite server how many statements it carried out.
func (r *run) countStatements(ctx context.Context, c *counts, n int) error {
	o, err := r.node(ctx, "sqlite", "statements")
	if err != nil {
		return err
	}
	srv, err := node.Start(ctx, o)
	if err != nil {
		return err
	}
	defer srv.Stop()
	l, err := lanes(ctx, srv, r.flight)
	if err != nil {
		return err
	}
	const figure = "nod_store_statements_total"
	before, err := srv.Figure(ctx, figure)
	if err != nil {
		return err
	}
	if _, err := drive.Closed(ctx, l, n); err != nil {
		return err
	}
	after, err := srv.Figure(ctx, figure)
	each := (after - before) / float64(n)
	c.statements = &each
	return err
}

// result judges what was measured.
func (r *run) result(ctx context.Context) *report.Result {
	out := &report.Result{
		Date: time.Now().UTC().Format(time.RFC3339), Commit: commit(ctx), Machine: machine.Describe(r.dir),
		Settings: report.Settings{Quick: r.quick, Repetitions: r.reps, RoundTrips: r.n, Flight: r.flight, Procs: "as they choose"},
		Notes:    append(r.notes, notes...),
	}
	if r.procs > 0 {
		out.Settings.Procs = strconv.Itoa(r.procs)
	}
	if r.pg != nil {
		out.Settings.Postgres = r.pg.Version
	}
	out.Limits, out.Figures = r.limitFigures(), r.figures()
	for i := range out.Figures {
		out.Figures[i].Judge()
	}
	return out
}

func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "of an unknown commit"
	}
	return strings.TrimSpace(string(out))
}

var notes = []string{
	"computed limit: four requests, two keys checked, two signatures verified, one token, one waiter woken and two rows " +
		"committed together, each as measured here. A real round trip has five exchanges (the device's poll, create, wait, " +
		"decision, redeem), three keys, three commits and a signed prompt: the difference counts against nod.",
	"for comparison, not measured in this run: privacyIDEA 3.13.3, poll-only push on SQLite, tuned, 162 ms of processor time for each round trip.",
}
