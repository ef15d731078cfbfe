package mfa_test

import (
	"fmt"
	"strings"
	"testing"
)

// The rules of this package are explored, not only sampled: three small worlds hold everything
// that decides, every act that any party could do next is tried in every world that can be
// reached, and after each act an oracle that keeps its own record of what happened says whether an
// invariant broke. The worlds run the shipped functions; they only play the parts around them.
//
//	        the attacker owns the network: each message may come at any time,
//	        any number of times, to either node, or never
//
//	 devices                 node 1                               ┌───────────────┐
//	 old, new (quarantine) ─► idle ─ receive ─► received          │  one store    │
//	 another user's        ─►   ▲                  │ commit ◄────►│  challenges   │
//	 applications            crash,             committed         │  device modes │
//	 1, 2, two keys each   ─► reply ◄──────────────┘              │  policy, lock │
//	                         node 2 (the same)                    │  spent code   │
//	 administrator, clock (forwards and back) ───────────────────►└───────────────┘
//
// The sign-in world (explore_signin_test.go) is this picture around Step. A crash after the commit
// loses the reply: what the client does not know, the oracle holds as unknown; what it was told
// must stay true. Its oracle (explore_laws_test.go) is a list of laws with the names of the
// invariants:
//
//	I1  a challenge gives at most one grant
//	I2  a grant has exactly one stored piece of evidence: an approval by a device then active,
//	    match right and counting, in time, or one consumed code that policy allowed
//	I3  the first decision wins and final states stay
//	I4  no grant after a lock, a revocation, a disabled application or a tightened policy
//	I5  limits are strict, whatever the clock does
//	I6  what was told stays; the same request again gets the same answer and has no effect
//	I7  only the application that made a challenge moves it
//	I8  at most three guesses, one for number and choice, and a replay costs none
//	I9  one code approves one challenge
//	I10 counters of failure are reset by success alone
//	I11 every transition has its audit record
//	I12 ringing is rationed by provenance
//	Q1  what a device in quarantine may not do
//	N1  what a report does
//	L1  what no law forbids is carried out
//
// The enrolment world (explore_enrolment_test.go) is around StepEnrolment, StepDevice and
// MayAddDevice, with E1 (one device per ticket), E2 (no device without both sides), E3 (the active
// devices grow only after a fresh factor or an administrator's act), E4 (a password alone changes
// nothing), V1 (vetoes) and the limits above. The ringing world (explore_ring_test.go) is around
// Ring, for I12.
//
// A scope chooses which parts of a world are in play, so that each closes: every scope is explored
// to its end. The mutants (mutant_test.go) show that the oracle sees each guard.

// wholeBound is the least number of distinct states that the full exploration has to see.
const wholeBound = 1_000_000

// act is one thing that can happen in a world; what its number means is the space's.
type act uint16

// space is a world to explore.
type space[W comparable] struct {
	name  string
	start W
	// next calls emit for everything that can happen in w: the act, the world that it leads to
	// and, when it breaks an invariant, which one.
	next  func(w W, emit func(a act, to W, broken string))
	label func(a act) string
	// marks names what is worth a witness in w.
	marks func(w W, mark func(name string))
	want  []string // the marks that have to be reached
}

// found is what an exploration saw.
type found struct {
	states, moves int
	broken        string              // the first violation with its trace, or ""
	witness       map[string][]string // shortest way to each mark
}

// most is how many states a scope may have; one that does not close below it is badly chosen.
const most = 4_000_000

// explore visits every world that can be reached from the start, nearest first, and stops at the
// first violation.
func (s space[W]) explore() found {
	worlds := []W{s.start}
	from := []uint32{0}
	by := []act{0}
	index := map[W]struct{}{s.start: {}}
	f := found{witness: map[string][]string{}}
	trace := func(i int) []string {
		var steps []string
		for ; i != 0; i = int(from[i]) {
			steps = append([]string{s.label(by[i])}, steps...)
		}
		return steps
	}
	for i := 0; i < len(worlds) && f.broken == ""; i++ {
		s.marks(worlds[i], func(name string) {
			if _, known := f.witness[name]; !known {
				f.witness[name] = trace(i)
			}
		})
		s.next(worlds[i], func(a act, to W, broken string) {
			f.moves++
			if broken != "" && f.broken == "" {
				f.broken = fmt.Sprintf("%s violates %s\n  trace: %s", s.name, broken,
					strings.Join(append(trace(i), s.label(a)), "; "))
			}
			if to == worlds[i] {
				return
			}
			if _, known := index[to]; known {
				return
			}
			index[to] = struct{}{}
			worlds, from, by = append(worlds, to), append(from, uint32(i)), append(by, a)
		})
		if len(worlds) > most {
			f.broken = fmt.Sprintf("%s does not close within %d states", s.name, most)
		}
	}
	f.states = len(worlds)
	return f
}

// check explores the space and fails the test on a violation or a mark that was not reached. It
// returns the number of states.
func (s space[W]) check(t *testing.T) int {
	t.Helper()
	f := s.explore()
	if f.broken != "" {
		t.Fatal(f.broken)
	}
	for _, name := range s.want {
		steps, ok := f.witness[name]
		if !ok {
			t.Errorf("%s violates L1: %q is never reached", s.name, name)
			continue
		}
		t.Logf("witness of %s: %s", name, strings.Join(steps, "; "))
	}
	t.Logf("%s: %d distinct states, %d transitions", s.name, f.states, f.moves)
	return f.states
}

// TestExplore explores all three worlds. The whole exploration is for a build without the race
// detector; with it, and with -short, the scopes are smaller, and TestExploreWhole sees to it that
// the whole one runs as well.
func TestExplore(t *testing.T) {
	t.Parallel()
	whole := !testing.Short() && !raceDetector
	total := 0
	t.Run("ringing", func(t *testing.T) {
		for _, s := range ringScopes(whole) {
			total += s.space().check(t)
		}
	})
	t.Run("enrolment", func(t *testing.T) {
		for _, s := range enrolmentScopes(whole) {
			total += s.space().check(t)
		}
	})
	t.Run("signin", func(t *testing.T) {
		for _, s := range signinScopes(whole) {
			total += s.space().check(t)
		}
	})
	if t.Failed() {
		return
	}
	t.Logf("explored %d distinct states", total)
	fmt.Println("explored", total, "distinct states")
	if whole && total < wholeBound {
		t.Errorf("explored %d distinct states, want at least %d", total, wholeBound)
	}
}
