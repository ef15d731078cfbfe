package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nodauth/nod/bench/report"
)

// program is the benchmark, built once for all tests.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nod-bench-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "bench")
	if out, err := exec.Command("go", "build", "-o", file, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return file, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if file, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(file)) // a leftover in /tmp is no failure
	}
	os.Exit(code)
}

// quick runs a short form of the benchmark and gives what it prints.
func quick(t *testing.T, args ...string) string {
	t.Helper()
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), file, args...)
	cmd.Dir = ".." // for its databases, on the disk of the checkout
	var page, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &page, &words
	if err := cmd.Run(); err != nil {
		t.Fatalf("bench %v: %v\n%s\n%s", args, err, page.String(), words.String())
	}
	return page.String()
}

// TestWaiters lets some wait: nobody may be answered before the time, and nobody never.
func TestWaiters(t *testing.T) {
	t.Parallel()
	page := quick(t, "waiters", "-quick", "-store", "sqlite")
	for _, want := range []string{
		"sqlite: 50 waiting applications: ", "sqlite: 50 waiting devices: ",
		"sqlite: applications: ", "sqlite: devices: ",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not there:\n%s", want, page)
		}
	}
}

// TestYear fills databases in bulk, and lets people sign in in them.
func TestYear(t *testing.T) {
	t.Parallel()
	page := quick(t, "year", "-quick")
	if !strings.Contains(page, "with 500 sign-ins before: ") {
		t.Errorf("nothing is compared:\n%s", page)
	}
}

// TestQuick runs the short form of the whole table. It looks at what is there, not at how much it
// is: that depends on the machine and on what else it does.
func TestQuick(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	page := quick(t, "-quick", "-out", dir)
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("results: %v %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var r report.Result
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		t.Fatalf("results: %v", err)
	}
	if r.Date == "" || r.Commit == "" || r.Machine.Processors == 0 || r.Machine.Model == "" || !r.Settings.Quick || len(r.Notes) == 0 {
		t.Errorf("the run is not described: %+v", r)
	}
	stores := []string{"sqlite"}
	if os.Getenv("NOD_TEST_POSTGRES") != "" {
		stores = append(stores, "postgres")
	}
	check(t, r, stores)
	if !strings.Contains(page, "| computed limit of a round trip |") {
		t.Errorf("the table is not printed:\n%s", page)
	}
}

func check(t *testing.T, r report.Result, stores []string) {
	t.Helper()
	measured := map[string]*report.Figure{}
	for _, f := range append(r.Limits, r.Figures...) {
		measured[f.Store+": "+f.Name] = &f
		if f.Measured == nil {
			if f.Note == "" {
				t.Errorf("%s: not measured, and nothing says why", f.Name)
			}
			continue
		}
		if m := f.Measured.Median; math.IsNaN(m) || math.IsInf(m, 0) || len(f.Measured.Values) == 0 {
			t.Errorf("%s: %v", f.Name, f.Measured)
		}
	}
	for _, name := range []string{"P-256 verify", "raw fdatasync of 512 B, p50", "computed limit of a round trip", "floor of approve → told"} {
		if f := measured[": "+name]; f == nil || f.Measured.Median <= 0 {
			t.Errorf("%s is missing", name)
		}
	}
	for _, store := range stores {
		for _, name := range []string{
			"server CPU for each round trip, all in flight", "server CPU for each round trip, one in flight",
			"approve → told, one in flight, p50", "approve → told, half the rate, p99", "syncs for each round trip",
			"statements for each round trip", "memory of a waiting application, server", "memory of a waiting device, server",
		} {
			if f := measured[store+": "+name]; f == nil {
				t.Errorf("%s: %s is missing", store, name)
			}
		}
		if f := measured[store+": HTTP exchanges for each round trip, one in flight"]; f == nil || f.Measured.Median < 5 {
			t.Errorf("%s: fewer exchanges than a round trip has: %+v", store, f)
		}
	}
}
