package challenge

import (
	"slices"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
)

// TestChoicesGiveNoHint draws many choices: the right one stands at each place, and has each
// value, as often as chance says, and the wrong ones too.
func TestChoicesGiveNoHint(t *testing.T) {
	t.Parallel()
	const draws = 30_000
	var places [3]int
	var right, wrong [100]int
	for range draws {
		e, choices := draw(mfa.MatchesOf(mfa.Choice))
		if len(choices) != 3 || !slices.IsSorted(choices) || len(slices.Compact(slices.Clone(choices))) != 3 {
			t.Fatalf("choices %v: want three different ones in order", choices)
		}
		places[slices.Index(choices, e.Number)]++ // panics if it is not there
		for _, n := range choices {
			value := int(n[0]-'0')*10 + int(n[1]-'0')
			if n == e.Number {
				right[value]++
			} else {
				wrong[value]++
			}
		}
	}
	// Seven standard deviations: by chance this fails once in 10^9 runs.
	for i, n := range places {
		if n < 9_428 || n > 10_572 {
			t.Errorf("the right one stands at place %d in %d of %d draws", i+1, n, draws)
		}
	}
	for value := range 100 {
		if n := right[value]; n < 179 || n > 421 {
			t.Errorf("%02d is right in %d of %d draws, want about 300", value, n, draws)
		}
		if n := wrong[value]; n < 430 || n > 770 {
			t.Errorf("%02d is wrong in %d of %d draws, want about 600", value, n, draws)
		}
	}
}

func TestDrawsDiffer(t *testing.T) {
	t.Parallel()
	all := mfa.MatchesOf(mfa.AllMatches()...)
	seen := map[string]bool{}
	for range 1000 {
		e, _ := draw(all)
		if seen[e.Scan] {
			t.Fatal("a scan secret came twice")
		}
		seen[e.Scan] = true
		if e.Back != "" {
			t.Fatal("digits that no device has asked for yet")
		}
	}
}
