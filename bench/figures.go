package main

import (
	"slices"

	"github.com/nodauth/nod/bench/limit"
	"github.com/nodauth/nod/bench/report"
)

// The goals: the most that a ratio may be, or for syncs the figure itself.
const (
	goalCPU      = 2.0
	goalPostgres = 1.4
	goalSyncs    = 0.1
	goalTold     = 2.0
)

// limitFigures are what the machine can do.
func (r *run) limitFigures() []report.Figure {
	var out []report.Figure
	for _, p := range []limit.Part{
		limit.Request, limit.Verify, limit.Sign, limit.Token, limit.MAC, limit.Hash, limit.Wake,
		limit.LogCommit, limit.TableCommit, limit.SyncCPU, limit.Sync, limit.MemoryTold,
	} {
		unit := "µs CPU"
		if p.Wall() {
			unit = "µs"
		}
		out = append(out, report.Figure{Name: string(p), Unit: unit, Measured: r.limit(func(l limit.Parts) float64 { return l[p] })})
	}
	return append(out,
		report.Figure{Name: "computed limit of a round trip", Unit: "µs CPU", Measured: r.limit(limit.Parts.Computed)},
		report.Figure{Name: "floor of approve → told", Unit: "µs", Measured: r.limit(limit.Parts.Told)})
}

func (r *run) limit(of func(limit.Parts) float64) *report.Sample {
	values := make([]float64, len(r.limits))
	for i, l := range r.limits {
		values[i] = of(l)
	}
	return report.NewSample(values, nil)
}

// figures are what nod does, the stores one after the other.
func (r *run) figures() []report.Figure {
	var out []report.Figure
	for _, s := range r.subjects {
		out = append(out, r.store(s)...)
		out = append(out, r.once(s.store)...)
	}
	if len(r.subjects) == 2 {
		goal := goalPostgres
		out = append(out, report.Figure{
			Name: "CPU of server and database, PostgreSQL to SQLite", Store: "postgres", Unit: "µs", Goal: &goal,
			Measured: r.subjects[1].full.total(), Against: "SQLite", Limit: r.subjects[0].full.total(),
		})
	}
	return out
}

func (s *series) sample(values []float64) *report.Sample { return report.NewSample(values, s.other) }

// total is the processor time of server and database.
func (s *series) total() *report.Sample {
	sums := slices.Clone(s.cpu)
	for i := range sums {
		sums[i] += s.db[i]
	}
	return s.sample(sums)
}

func (s *series) perCore() *report.Sample {
	rates := make([]float64, len(s.cpu))
	for i, c := range s.cpu {
		rates[i] = 1e6 / (c + s.db[i])
	}
	return s.sample(rates)
}

// store are the figures that were measured in every repetition.
func (r *run) store(s *subject) []report.Figure {
	cpu, told := goalCPU, goalTold
	computed, floor := r.limit(limit.Parts.Computed), r.limit(limit.Parts.Told)
	out := []report.Figure{
		{Name: "round trips, all in flight, load on the same machine", Unit: "/s", Measured: s.full.sample(s.full.rate)},
		{Name: "round trips for each core of server and database", Unit: "/s", Measured: s.full.perCore()},
		{
			Name: "server CPU for each round trip, all in flight", Unit: "µs", Measured: s.full.sample(s.full.cpu),
			Against: "computed", Limit: computed, Goal: &cpu,
		},
		{Name: "server CPU for each round trip, one in flight", Unit: "µs", Measured: s.single.sample(s.single.cpu), Against: "computed", Limit: computed},
		{Name: "server CPU for each round trip, half the rate", Unit: "µs", Measured: s.half.sample(s.half.cpu), Against: "computed", Limit: computed},
	}
	if s.pg != nil {
		out = append(out,
			report.Figure{Name: "database CPU for each round trip, all in flight", Unit: "µs", Measured: s.full.sample(s.full.db)},
			report.Figure{Name: "database CPU for each round trip, one in flight", Unit: "µs", Measured: s.single.sample(s.single.db)})
	}
	out = append(out,
		report.Figure{
			Name: "approve → told, one in flight, p50", Unit: "µs", Measured: s.single.sample(s.single.p50),
			Against: "floor", Limit: floor, Goal: &told,
		},
		report.Figure{Name: "approve → told, one in flight, p99", Unit: "µs", Measured: s.single.sample(s.single.p99)},
		report.Figure{
			Name: "approve → told, half the rate, p50", Unit: "µs", Measured: s.half.sample(s.half.p50),
			Against: "one in flight", Limit: s.single.sample(s.single.p50),
		},
		report.Figure{
			Name: "approve → told, half the rate, p99", Unit: "µs", Measured: s.half.sample(s.half.p99),
			Against: "one in flight, p50", Limit: s.single.sample(s.single.p50),
		},
		report.Figure{Name: "HTTP exchanges for each round trip, one in flight", Measured: s.single.sample(s.single.exchanges)},
		report.Figure{Name: "HTTP exchanges for each round trip, all in flight", Measured: s.full.sample(s.full.exchanges)})
	for i := range out {
		out[i].Store = s.store
	}
	return out
}

// once are the figures that were measured or counted once.
func (r *run) once(store string) []report.Figure {
	goal := goalSyncs
	single := func(v *float64) *report.Sample {
		if v == nil {
			return nil
		}
		return report.NewSample([]float64{*v}, nil)
	}
	c, m := r.counts[store], r.memories[store]
	return []report.Figure{
		{Name: "syncs for each round trip", Store: store, Measured: single(c.syncs), Goal: &goal, Note: c.syncsNote},
		{Name: "statements for each round trip", Store: store, Measured: single(c.statements), Note: c.statementsNote},
		{Name: "memory of a waiting application, server", Store: store, Unit: "B", Measured: single(&m.application)},
		{Name: "memory of a waiting application, kernel", Store: store, Unit: "B", Measured: single(&m.applicationKernel)},
		{Name: "memory of a waiting device, server", Store: store, Unit: "B", Measured: single(&m.device)},
		{Name: "memory of a waiting device, kernel", Store: store, Unit: "B", Measured: single(&m.deviceKernel)},
	}
}
