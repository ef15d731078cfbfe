package mfa_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A mutant is an edit of a shipped file that takes one guard away. The exploration has to see each
// of them; a guard that could go unseen is either not needed or not tested.
//
// All mutants are compiled at once: in an overlay of the shipped files, each function that is
// edited becomes a switch over its edited bodies, and the binary is told by an environment
// variable which mutant it is. Mutant 0 is none.

// mutant is one edit: old, which stands exactly once in the body of the function that begins with
// in, becomes new. world is the part of the exploration that has to see it.
type mutant struct {
	file, in, guard, old, new, world string
}

// chooser is the file that the overlay adds, through which a binary learns which mutant it is.
const chooser = `package mfa_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
)

func TestMain(m *testing.M) {
	n, err := strconv.Atoi(os.Getenv("NOD_TEST_MUTANT"))
	if err != nil {
		panic(err)
	}
	mfa.Mutant = n
	os.Exit(m.Run())
}
`

// mutated gives the source with the edits that belong to the file, each under its number. It fails
// if an edit does not apply in exactly one place.
func mutated(file, src string, list []mutant) (string, error) {
	edits := map[string][]string{} // by function: the cases of its switch
	for n, m := range list {
		if m.file != file {
			continue
		}
		_, body, _, err := function(src, m.in)
		if err != nil {
			return "", fmt.Errorf("%s: the edit %q does not apply: %w", file, m.guard, err)
		}
		if c := strings.Count(body, m.old); c != 1 {
			return "", fmt.Errorf("%s: the edit %q does not apply: %q stands %d times in %q, not once", file, m.guard, m.old, c, m.in)
		}
		edits[m.in] = append(edits[m.in], fmt.Sprintf("\tcase %d:\n%s\n", n+1, strings.Replace(body, m.old, m.new, 1)))
	}
	for in, cases := range edits {
		head, body, tail, err := function(src, in)
		if err != nil {
			return "", err
		}
		src = head + "\tswitch Mutant {\n" + strings.Join(cases, "") + "\tdefault:\n" + body + "\n\t}" + tail
	}
	return src, nil
}

// function cuts the source around the body of the function that begins with in.
func function(src, in string) (head, body, tail string, err error) {
	if n := strings.Count(src, "\n"+in); n != 1 {
		return "", "", "", fmt.Errorf("%q begins %d functions, not one", in, n)
	}
	start := strings.Index(src, "\n"+in) + 1
	line, _, _ := strings.Cut(src[start:], "\n")
	if before, after, one := strings.Cut(line, " { "); one { // func f() int { return 1 }
		end := start + len(line) - len(" }")
		start += len(before) + len(" { ")
		return src[:start], after[:len(after)-len(" }")], src[end:], nil
	}
	start += len(line) + 1
	end := start + strings.Index(src[start:], "\n}\n")
	return src[:start], src[start:end], src[end:], nil
}

// overlaid writes the overlay and returns its path.
func overlaid(t *testing.T, list []mutant) string {
	t.Helper()
	dir, replace := t.TempDir(), map[string]string{}
	put := func(name, text string) {
		original, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		replace[original] = filepath.Join(dir, name)
		if err := os.WriteFile(replace[original], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for n, m := range list {
		if n > 0 && m.file == list[n-1].file {
			continue
		}
		src, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		text, err := mutated(m.file, string(src), list)
		if err != nil {
			t.Fatal(err)
		}
		put(m.file, text)
	}
	put("mutant_chosen.go", "package mfa\n\n// Mutant is the number of the edit in force.\nvar Mutant int\n")
	put("mutant_chosen_test.go", chooser)
	data, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// build compiles this package's tests without the race detector, with the overlay if one is given.
func build(t *testing.T, overlay string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "explore.test")
	args := []string{"test", "-c", "-race=false", "-vet=off", "-o", binary}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if out, err := exec.CommandContext(t.Context(), "go", append(args, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// run explores in the binary as mutant number n.
func run(t *testing.T, binary string, n int, args ...string) ([]byte, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), binary, args...)
	c.Env = append(os.Environ(), fmt.Sprintf("NOD_TEST_MUTANT=%d", n), "GOMAXPROCS=1", "GOGC=400")
	return c.CombinedOutput()
}

var violation = regexp.MustCompile(`violates [A-Z]\d+[^\n]*`)

// leastMutants is how many guards have to have a mutant.
const leastMutants = 200

func TestMutants(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the mutants are not compiled with -short")
	}
	list := mutants()
	if len(list) < leastMutants {
		t.Errorf("%d mutants, want at least %d", len(list), leastMutants)
	}
	binary := build(t, overlaid(t, list))
	if out, err := run(t, binary, 0, "-test.short", "-test.run=^TestExplore$"); err != nil {
		t.Fatalf("the exploration fails without any mutant: %v\n%s", err, out)
	}
	for n, m := range list {
		t.Run(m.file+": "+m.guard, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, binary, n+1, "-test.short", "-test.run=^TestExplore$/^"+m.world+"$")
			seen := violation.Find(out)
			if err == nil || seen == nil {
				t.Fatalf("the mutant lives: with %q in place of %q in %q no invariant breaks\n%s", m.new, m.old, m.in, out)
			}
			t.Logf("%s", seen)
		})
	}
}

// TestExploreWhole runs the whole exploration in a binary of its own when this one carries the
// race detector, under which it would take minutes.
func TestExploreWhole(t *testing.T) {
	t.Parallel()
	if !raceDetector || testing.Short() {
		t.Skip("TestExplore is whole itself, or a short one is wanted")
	}
	out, err := run(t, build(t, ""), 0, "-test.run=^TestExplore$", "-test.v")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	if i := bytes.Index(out, []byte("\nexplored ")); i >= 0 {
		line, _, _ := bytes.Cut(out[i+1:], []byte("\n"))
		fmt.Printf("%s (without the race detector)\n", line)
	}
}
