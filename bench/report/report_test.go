package report

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSample(t *testing.T) {
	t.Parallel()
	got := NewSample([]float64{12, 9, 10}, []float64{.01, .2, .1})
	want := &Sample{Values: []float64{12, 9, 10}, Median: 10, Spread: .2, Other: .2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if m := Median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Errorf("median of four: %v", m)
	}
	if m := Median(nil); !math.IsNaN(m) {
		t.Errorf("median of none: %v", m)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	quiet := func(v float64) *Sample { return NewSample([]float64{v * .99, v, v * 1.1}, []float64{.01, .02, .03}) }
	goal := 2.0
	for name, tt := range map[string]struct {
		f       Figure
		verdict Verdict
		ratio   float64
		note    string
	}{
		"under the goal": {Figure{Measured: quiet(15), Limit: quiet(10), Goal: &goal}, OK, 1.5, ""},
		"at the goal":    {Figure{Measured: quiet(20), Limit: quiet(10), Goal: &goal}, OK, 2, ""},
		"over the goal":  {Figure{Measured: quiet(21), Limit: quiet(10), Goal: &goal}, Over, 2.1, ""},
		"no goal":        {Figure{Measured: quiet(21), Limit: quiet(10)}, NoGoal, 2.1, ""},
		"no limit":       {Figure{Measured: quiet(3), Goal: &goal}, Over, 0, ""},
		"counted once":   {Figure{Measured: NewSample([]float64{1}, nil), Goal: &goal}, OK, 0, ""},
		"spread":         {Figure{Measured: NewSample([]float64{10, 10, 12}, nil), Limit: quiet(10), Goal: &goal}, Unjudged, 0, "spread 20 %"},
		"limit's spread": {Figure{Measured: quiet(10), Limit: NewSample([]float64{5, 10, 10}, nil)}, Unjudged, 0, "spread 50 %"},
		"other load":     {Figure{Measured: NewSample([]float64{10, 10, 10}, []float64{.1, .16, .1}), Limit: quiet(10)}, Unjudged, 0, "other load 16 %"},
		"too few":        {Figure{Measured: NewSample([]float64{10, 10}, nil), Limit: quiet(10)}, Unjudged, 0, "too few"},
		"not measured":   {Figure{Note: "no strace", Goal: &goal}, Unmeasured, 0, "no strace"},
	} {
		tt.f.Judge()
		ratio := 0.0
		if tt.f.Ratio != nil {
			ratio = *tt.f.Ratio
		}
		if tt.f.Verdict != tt.verdict || math.Abs(ratio-tt.ratio) > 1e-9 || !strings.Contains(tt.f.Note, tt.note) {
			t.Errorf("%s: %q %v %q, want %q %v %q", name, tt.f.Verdict, ratio, tt.f.Note, tt.verdict, tt.ratio, tt.note)
		}
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", .0283: "0.0283", 1.5: "1.50", 42.25: "42.2", 361.4: "361", 13350: "13350", -123: "-123"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %s, want %s", v, got, want)
		}
	}
}
