// Package report judges what was measured and writes it down, for people and for programs.
package report

import (
	"fmt"
	"math"
	"slices"

	"github.com/nodauth/nod/bench/machine"
)

// Tolerance is how far repetitions may be from their median, and how much else the machine may be
// doing, for a ratio to say anything.
const Tolerance = 0.15

// Sample is one figure, measured some times.
type Sample struct {
	Values []float64 `json:"values"`
	Median float64   `json:"median"`
	Spread float64   `json:"spread"` // the greatest distance from the median, as a share of it
	Other  float64   `json:"other"`  // the greatest share of the busy processors that others had
}

// NewSample makes a sample. other holds the share of the busy processor time that was neither the
// servers' nor their load's, for each value, or nothing where it does not matter.
func NewSample(values, other []float64) *Sample {
	s := &Sample{Values: values, Median: Median(values)}
	for _, v := range values {
		if s.Median != 0 {
			s.Spread = max(s.Spread, math.Abs(v-s.Median)/s.Median)
		}
	}
	if len(other) > 0 {
		s.Other = slices.Max(other)
	}
	return s
}

// Median is the middle value, NaN without any.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// doubt says why a ratio with this sample would say nothing, or "".
func (s *Sample) doubt() string {
	switch {
	case len(s.Values) < 3:
		return "too few repetitions"
	case s.Spread > Tolerance:
		return fmt.Sprintf("spread %.0f %%", 100*s.Spread)
	case s.Other > Tolerance:
		return fmt.Sprintf("other load %.0f %%", 100*s.Other)
	}
	return ""
}

// Verdict says how a figure stands to its goal.
type Verdict string

// The verdicts.
const (
	OK         Verdict = "ok"
	Over       Verdict = "over"
	Unjudged   Verdict = "not judged"   // too much spread, or too much else going on
	NoGoal     Verdict = ""             // there is none
	Unmeasured Verdict = "not measured" // Note says why
)

// Figure is one line of the table.
type Figure struct {
	Name     string   `json:"name"`
	Store    string   `json:"store"` // sqlite, postgres, or "" for what is the machine's
	Unit     string   `json:"unit"`
	Measured *Sample  `json:"measured,omitempty"`
	Against  string   `json:"against,omitempty"` // what the limit is
	Limit    *Sample  `json:"limit,omitempty"`
	Ratio    *float64 `json:"ratio,omitempty"` // measured to limit; absent where it would say nothing
	Goal     *float64 `json:"goal,omitempty"`  // the most that the ratio may be; of the figure itself where there is no limit
	Verdict  Verdict  `json:"verdict"`
	Note     string   `json:"note,omitempty"`
}

// Judge fills in ratio and verdict.
func (f *Figure) Judge() {
	switch {
	case f.Measured == nil:
		f.Verdict = Unmeasured
		return
	case f.Limit != nil:
		for _, doubt := range []string{f.Measured.doubt(), f.Limit.doubt()} {
			if doubt != "" {
				f.Verdict, f.Note = Unjudged, join(f.Note, "ratio not printed: "+doubt)
				return
			}
		}
		r := f.Measured.Median / f.Limit.Median
		f.Ratio = &r
		f.compare(r)
	default:
		f.compare(f.Measured.Median)
	}
}

func (f *Figure) compare(v float64) {
	if f.Goal == nil {
		return
	}
	f.Verdict = OK
	if v > *f.Goal {
		f.Verdict = Over
	}
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// Settings are how it was measured.
type Settings struct {
	Quick       bool   `json:"quick"`
	Repetitions int    `json:"repetitions"`
	RoundTrips  int    `json:"round_trips"` // of each repetition with 64 in flight
	Flight      int    `json:"in_flight"`
	Procs       string `json:"gomaxprocs"`
	Postgres    string `json:"postgres,omitempty"` // version
}

// Result is one run.
type Result struct {
	Date     string              `json:"date"`
	Commit   string              `json:"commit"`
	Machine  machine.Description `json:"machine"`
	Settings Settings            `json:"settings"`
	Figures  []Figure            `json:"figures"`
	Limits   []Figure            `json:"limits"`
	Notes    []string            `json:"notes"`
}
