package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nodauth/nod/bench/drive"
	"github.com/nodauth/nod/bench/machine"
	"github.com/nodauth/nod/bench/node"
	"github.com/nodauth/nod/bench/report"
	"github.com/nodauth/nod/bench/year"
)

// goalYear is the most that a year of sign-ins may add to the cost of one.
const goalYear = 1.15

// keep is the policy under which nothing of the year is swept away meanwhile.
const keep = "retention:\n  challenges: 87600h\n  events: 876000h\n"

// years compares the cost of a sign-in in an empty database and in one with sign-ins of a year.
func years(ctx context.Context, args []string) error {
	var c common
	y := compared{}
	f := c.flags("bench year")
	f.IntVar(&y.past, "n", 10_000_000, "sign-ins of the year")
	f.DurationVar(&y.kept, "keep-challenges", 365*24*time.Hour, "how long challenges are kept; the built-in policy has 2160h. Events stay")
	f.IntVar(&y.people, "people", 2000, "people who signed in")
	f.IntVar(&y.n, "round-trips", 4000, "round trips of one repetition")
	f.IntVar(&y.reps, "repetitions", 5, "repetitions, the two databases in turn")
	f.IntVar(&y.flight, "flight", 64, "sign-ins in flight")
	if err := f.Parse(args); err != nil {
		return err
	}
	if c.quick {
		y.past, y.people, y.n, y.reps, y.flight = 500, 20, 100, 1, 8
	}
	if y.past < 1 || y.kept < 0 || y.people < y.flight || y.n < 1 || y.reps < 1 || y.flight < 1 {
		return errors.New("numbers must be positive, and there must be people for all in flight")
	}
	p, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer p.close(ctx)
	for _, store := range p.names() {
		if err := y.store(ctx, p, store); err != nil {
			return fmt.Errorf("%s: %w", store, err)
		}
	}
	return nil
}

// compared are the settings of a comparison.
type compared struct {
	past, people, n, reps, flight int
	kept                          time.Duration
}

func (y compared) store(ctx context.Context, p *place, store string) error {
	empty, app, devices, err := y.begin(ctx, p, store)
	if err != nil {
		return err
	}
	full, err := p.copy(ctx, empty, store)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(full.Dir) }() // gone at the latest with the place
	if err := y.fill(ctx, p, full); err != nil {
		return err
	}
	var pair [2]*subject
	for i, o := range []node.Options{empty, full} {
		s := &subject{store: store}
		if store == "postgres" {
			s.pg = p.pg
		}
		if s.srv, err = node.Start(ctx, o); err != nil {
			return err
		}
		pair[i] = s
		defer s.stop()
		for j, d := range devices {
			s.lanes = append(s.lanes, s.srv.Lane(app, fmt.Sprintf("person%d", j+1), d.Moved(s.srv.Target)))
		}
		if err := drive.Known(ctx, s.lanes); err != nil {
			return err
		}
		var warm series
		if err := s.measure(ctx, &warm, s.lanes, closed(y.n/2)); err != nil {
			return err
		}
	}
	for i := range y.reps {
		say("%s: repetition %d of %d", store, i+1, y.reps)
		for j := range pair {
			s := pair[(i+j)%2]
			if err := s.measure(ctx, &s.full, s.lanes, closed(y.n)); err != nil {
				return err
			}
		}
	}
	y.print(store, &pair[0].full, &pair[1].full)
	return nil
}

// begin makes a database with people, one of whom has signed in once, and gives the devices of
// the others.
func (y compared) begin(ctx context.Context, p *place, store string) (o node.Options, app string, devices []*drive.Device, err error) {
	if o, err = p.node(ctx, store, "empty"); err != nil {
		return o, "", nil, err
	}
	srv, err := node.Start(ctx, o)
	if err != nil {
		return o, "", nil, err
	}
	defer srv.Stop()
	if err := srv.Policy(ctx, keep); err != nil {
		return o, "", nil, err
	}
	if app, err = srv.Application(ctx, "years"); err != nil {
		return o, "", nil, err
	}
	say("%s: %d people", store, y.people)
	if devices, err = srv.Crowd(ctx, "person", max(y.people, y.flight+1)); err != nil {
		return o, "", nil, err
	}
	one := []*drive.Lane{srv.Lane(app, "person0", devices[0])}
	defer one[0].Close()
	return o, app, devices[1 : y.flight+1], drive.Known(ctx, one)
}

// copy copies a database that no server uses.
func (p *place) copy(ctx context.Context, from node.Options, store string) (node.Options, error) {
	to := from
	to.Dir = filepath.Join(p.dir, store+"-full")
	if err := os.CopyFS(to.Dir, os.DirFS(from.Dir)); err != nil {
		return to, err
	}
	files, err := filepath.Glob(filepath.Join(to.Dir, "*"))
	if err != nil {
		return to, err
	}
	for _, f := range files {
		if err := os.Chmod(f, 0o600); err != nil { // as the keys among them have to be
			return to, err
		}
	}
	if store != "postgres" {
		return to, nil
	}
	if to.DSN, err = p.pg.Copy(ctx, from.DSN); err == nil {
		p.dsns = append(p.dsns, to.DSN)
	}
	return to, err
}

func (y compared) fill(ctx context.Context, p *place, o node.Options) error {
	where := o.Dir
	if o.DSN != "" {
		where = p.pg.Data
	}
	space := func() (int64, error) { return machine.Free(where) }
	free, err := space()
	if err != nil {
		return err
	}
	say("%d sign-ins of a year", y.past)
	plan := year.Plan{N: y.past, Over: 365 * 24 * time.Hour, Keep: y.kept, Name: "person0", Free: space, Say: say}
	start := time.Now()
	if o.DSN == "" {
		db, err := year.OpenSQLite(ctx, filepath.Join(o.Dir, "nod.db"))
		if err != nil {
			return err
		}
		if err := errors.Join(year.Fill(ctx, db, plan), db.Close(ctx)); err != nil {
			return err
		}
	} else {
		db, err := year.OpenPostgres(ctx, o.DSN)
		if err != nil {
			return err
		}
		if err := errors.Join(year.Fill(ctx, db, plan), db.Close(ctx)); err != nil {
			return err
		}
	}
	left, err := space()
	say("filled in %v; the database takes %d MiB more of the disk", time.Since(start).Round(time.Second), (free-left)>>20)
	return err
}

func (y compared) print(store string, empty, full *series) {
	goal := goalYear
	f := report.Figure{Measured: full.total(), Limit: empty.total(), Goal: &goal}
	f.Judge()
	ratio := f.Note
	if f.Ratio != nil {
		ratio = fmt.Sprintf("%.2f times, goal at most %.2f: %s", *f.Ratio, goal, f.Verdict)
	}
	fmt.Printf("%s: %s µs of processor time for each round trip with nothing before, %s µs with %d sign-ins before: %s\n",
		store, f.Limit, f.Measured, y.past, ratio)
}
