package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Save writes the result as JSON and as Markdown into dir, and gives the name of the first.
func (r *Result) Save(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // results are for everybody
		return "", err
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, r.Date[:len("2006-01-02")]+"-"+r.Machine.Class)
	var page strings.Builder
	r.Markdown(&page)
	err = errors.Join(
		os.WriteFile(name+".json", append(text, '\n'), 0o644),  //nolint:gosec // as above
		os.WriteFile(name+".md", []byte(page.String()), 0o644)) //nolint:gosec // as above
	return name + ".json", err
}

// Markdown writes the result as a page.
func (r *Result) Markdown(w io.Writer) {
	m := r.Machine
	fmt.Fprintf(w, "# Benchmark of %s\n\n", r.Date)
	fmt.Fprintf(w, "nod %s, %s. %d × %s, %.0f GiB, Linux %s, %s.\n", r.Commit, m.Go, m.Processors, m.Model,
		float64(m.Memory)/(1<<30), m.Kernel, m.FileSystem)
	s := r.Settings
	fmt.Fprintf(w, "%d repetitions of %d round trips, %d in flight, GOMAXPROCS of the servers: %s", s.Repetitions, s.RoundTrips, s.Flight, s.Procs)
	if s.Postgres != "" {
		fmt.Fprintf(w, ", PostgreSQL %s", s.Postgres)
	}
	fmt.Fprint(w, ".\nEach value is the median, ± the greatest distance from it.\n")
	r.table(w, "What the machine can do", r.Limits)
	r.table(w, "What nod does", r.Figures)
	fmt.Fprintln(w)
	for _, n := range r.Notes {
		fmt.Fprintf(w, "- %s\n", n)
	}
}

func (r *Result) table(w io.Writer, title string, figures []Figure) {
	fmt.Fprintf(w, "\n## %s\n\n| figure | store | measured | limit | ratio | goal | | |\n|---|---|---|---|---|---|---|---|\n", title)
	for _, f := range figures {
		goal := ""
		if f.Goal != nil {
			goal = "≤ " + number(*f.Goal)
		}
		ratio := ""
		if f.Ratio != nil {
			ratio = fmt.Sprintf("%.2f", *f.Ratio)
		}
		limit := ""
		if f.Limit != nil {
			limit = f.Limit.String() + " " + f.Unit + " (" + f.Against + ")"
		}
		measured := ""
		if f.Measured != nil {
			measured = f.Measured.String() + " " + f.Unit
		}
		cells := []string{f.Name, f.Store, measured, limit, ratio, goal, string(f.Verdict), f.Note}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}

// String is the median with its spread, if it was measured more than once.
func (s *Sample) String() string {
	if len(s.Values) < 2 {
		return number(s.Median)
	}
	return fmt.Sprintf("%s ± %.0f %%", number(s.Median), 100*s.Spread)
}

// number has three significant digits, or all before the point.
func number(v float64) string {
	if v == 0 || math.IsNaN(v) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return strconv.FormatFloat(v, 'f', digits, 64)
}
