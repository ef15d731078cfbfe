package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/nodauth/nod/bench/drive"
	"github.com/nodauth/nod/bench/machine"
	"github.com/nodauth/nod/bench/node"
)

// subject is one server under load, and what was measured of it, one value each repetition.
type subject struct {
	store string
	srv   *node.Server
	pg    *node.Postgres // nil for SQLite
	lanes []*drive.Lane

	full, single, half series
}

// series is what a kind of load came to.
type series struct {
	cpu, db   []float64 // microseconds of processor time for each round trip
	rate      []float64 // round trips a second
	p50, p99  []float64 // microseconds from approval sent to application told
	exchanges []float64 // of HTTP for each round trip
	other     []float64 // share of the busy processors that others had
	late      int
}

// prepare starts a server on a fresh database, with people to sign in.
func (p *place) prepare(ctx context.Context, store string, flight int) (*subject, error) {
	o, err := p.node(ctx, store, "load")
	if err != nil {
		return nil, err
	}
	s := &subject{store: store}
	if store == "postgres" {
		s.pg = p.pg
	}
	if s.srv, err = node.Start(ctx, o); err != nil {
		return nil, err
	}
	s.lanes, err = lanes(ctx, s.srv, flight)
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func lanes(ctx context.Context, srv *node.Server, n int) ([]*drive.Lane, error) {
	prefix := fmt.Sprintf("p%d-", time.Now().UnixNano()) // other people than at the start before
	app, err := srv.Application(ctx, "bench "+prefix)
	if err != nil {
		return nil, err
	}
	return srv.Lanes(ctx, app, prefix, n)
}

func (s *subject) stop() {
	for _, l := range s.lanes {
		l.Close()
	}
	s.srv.Stop()
}

// used is how much processor time was used so far, by whom.
type used struct{ server, database, all, busy time.Duration }

func (s *subject) used() (u used, err error) {
	if u.server, err = machine.CPU(s.srv.PID); err != nil {
		return u, err
	}
	if s.pg != nil {
		if u.database, err = machine.TreeCPU(s.pg.PID); err != nil {
			return u, err
		}
	}
	u.all = u.server + u.database + machine.Self()
	u.busy, err = machine.Busy()
	return u, err
}

// load is what is put on a server.
type load func(ctx context.Context, lanes []*drive.Lane) (drive.Result, error)

// closed is n round trips with all lanes busy, open the same at an even rate.
func closed(n int) load {
	return func(ctx context.Context, l []*drive.Lane) (drive.Result, error) { return drive.Closed(ctx, l, n) }
}

func open(rate float64, n int) load {
	return func(ctx context.Context, l []*drive.Lane) (drive.Result, error) { return drive.Open(ctx, l, rate, n) }
}

// measure puts a load on the server and adds what it came to.
func (s *subject) measure(ctx context.Context, into *series, lanes []*drive.Lane, load load) error {
	if err := drive.Prepare(ctx, lanes); err != nil {
		return fmt.Errorf("%s: %w", s.store, err)
	}
	before, err := s.used()
	if err != nil {
		return err
	}
	r, err := load(ctx, lanes)
	if err != nil {
		return fmt.Errorf("%s: %w", s.store, err)
	}
	after, err := s.used()
	if err != nil {
		return err
	}
	n := float64(r.RoundTrips)
	into.cpu = append(into.cpu, micros(after.server-before.server)/n)
	into.db = append(into.db, micros(after.database-before.database)/n)
	into.rate = append(into.rate, n/r.Elapsed.Seconds())
	slices.Sort(r.Told)
	into.p50 = append(into.p50, micros(r.Told[len(r.Told)/2]))
	into.p99 = append(into.p99, micros(r.Told[len(r.Told)*99/100]))
	into.exchanges = append(into.exchanges, 4+float64(r.Polls)/n)
	own := float64(after.all-before.all) / float64(max(after.busy-before.busy, 1))
	into.other = append(into.other, max(0, 1-own))
	into.late += r.Late
	return nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// repetition is one of each load.
func (s *subject) repetition(ctx context.Context, n int) error {
	if err := s.measure(ctx, &s.full, s.lanes, closed(n)); err != nil {
		return err
	}
	if err := s.measure(ctx, &s.single, s.lanes[:1], closed(max(n/4, 100))); err != nil {
		return err
	}
	rate := s.full.rate[len(s.full.rate)-1] / 2
	return s.measure(ctx, &s.half, s.lanes, open(rate, max(n/2, 100)))
}

// counted is how much of something a round trip adds to what read counts. The something is counted
// over the whole life of a server, once with people who only come to be and once with people who
// then sign in, since not every counter is exact while the server runs. start starts the server again.
func counted(ctx context.Context, n, flight int, start func() (*node.Server, error), read func(ctx context.Context) (int64, error)) (float64, error) {
	life := func(flight, n int) error {
		srv, err := start()
		if err != nil {
			return err
		}
		defer srv.Stop()
		if flight == 0 {
			return nil
		}
		l, err := lanes(ctx, srv, flight)
		if err != nil {
			return err
		}
		_, err = drive.Closed(ctx, l, n)
		for _, l := range l {
			l.Close()
		}
		return err
	}
	if err := life(0, 0); err != nil { // makes the tables
		return 0, err
	}
	var at [3]int64
	for i, trips := range []int{0, n, 0} {
		var err error
		if at[i], err = read(ctx); err != nil {
			return 0, err
		}
		if i == 2 {
			break
		}
		if err := life(flight, trips); err != nil {
			return 0, err
		}
	}
	return float64((at[2]-at[1])-(at[1]-at[0])) / float64(n), nil
}

// profile takes a processor profile of a server while all lanes are busy.
func (p *place) profile(ctx context.Context, store, file string, flight int) error {
	o, err := p.node(ctx, store, "profile")
	if err != nil {
		return err
	}
	o.Program = p.serve
	srv, err := node.Start(ctx, o)
	if err != nil {
		return err
	}
	defer srv.Stop()
	l, err := lanes(ctx, srv, flight)
	if err != nil {
		return err
	}
	busy, done := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := drive.Closed(busy, l, 1<<40)
		ended <- err
	}()
	if p.stores == "both" {
		file = filepath.Join(filepath.Dir(file), store+"-"+filepath.Base(file))
	}
	err = srv.Profile(ctx, file, 10*time.Second)
	done()
	if lost := <-ended; lost != nil {
		return lost
	}
	return err
}
