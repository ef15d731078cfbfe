package mfa_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/mfa"
)

// fits says by counting whether one more at the moment would fit every window.
func fits(counted []mfa.Instant, windows []mfa.Window, moment mfa.Instant) bool {
	for _, w := range windows {
		n := 0
		for _, at := range counted {
			if at.Add(w.Per) > moment {
				n++
			}
		}
		if n >= w.Max {
			return false
		}
	}
	return true
}

func TestWindowFree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		second := func(n int) mfa.Instant { return signinStart.Add(time.Duration(n) * time.Second) }
		var counted []mfa.Instant
		for _, n := range rapid.SliceOfN(rapid.IntRange(-40, 3), 0, 12).Draw(t, "seconds ago") {
			counted = append(counted, second(n))
		}
		var windows []mfa.Window
		for range rapid.IntRange(0, 3).Draw(t, "windows") {
			windows = append(windows, mfa.Window{
				Max: rapid.IntRange(1, 5).Draw(t, "max"), Per: time.Duration(rapid.IntRange(1, 30).Draw(t, "per")) * time.Second,
			})
		}
		was := slices.Clone(counted)
		got := mfa.WindowFree(counted, windows, signinStart)
		want := 0
		for !fits(counted, windows, second(want)) {
			want++
		}
		if got != second(want) {
			t.Errorf("WindowFree(%v, %v) is in %v, want in %ds", counted, windows, got.Sub(signinStart), want)
		}
		if !slices.Equal(was, counted) {
			t.Errorf("WindowFree reordered its argument")
		}
	})
}

func TestWindowFreeNever(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, -1} {
		if got := mfa.WindowFree(nil, []mfa.Window{{Max: n, Per: time.Minute}}, signinStart); got <= signinStart {
			t.Errorf("a window for %d lets one through", n)
		}
	}
}

// TestDefaultBudgets fixes what a realm has without a policy of its own.
func TestDefaultBudgets(t *testing.T) {
	t.Parallel()
	ring, guess := mfa.DefaultRingBudget(), mfa.DefaultGuessBudget()
	if want := []mfa.Window{{Max: 3, Per: 10 * time.Minute}, {Max: 10, Per: 24 * time.Hour}}; !slices.Equal(ring.Strangers, want) {
		t.Errorf("strangers ring %v, want %v", ring.Strangers, want)
	}
	if want := []mfa.Window{{Max: 10, Per: 10 * time.Minute}, {Max: 60, Per: 24 * time.Hour}}; !slices.Equal(ring.Known, want) {
		t.Errorf("known ones ring %v, want %v", ring.Known, want)
	}
	if ring.StrangersByName {
		t.Error("a stranger's sign-in by name rings")
	}
	if want := (mfa.GuessBudget{Typed: mfa.Window{Max: 10, Per: 24 * time.Hour}, Password: mfa.Window{Max: 20, Per: time.Hour}}); guess != want {
		t.Errorf("guesses %v, want %v", guess, want)
	}
}

// TestThousandStrangers is an attacker with a password who starts a sign-in every second for a
// quarter of an hour, while the owner's own browser rings once in a minute.
func TestThousandStrangers(t *testing.T) {
	t.Parallel()
	owner := mfa.Provenance{Class: mfa.KnownBrowser, Key: "K"}
	bell := mfa.Bell{FirstFactor: mfa.FirstFactorPassword, Budget: mfa.DefaultRingBudget()}
	rung := map[mfa.Provenance]int{}
	for s := range 900 {
		now := signinStart.Add(time.Duration(s) * time.Second)
		from := mfa.Strangers
		if s%90 == 0 {
			from = owner
		}
		bell.From = from
		if mfa.Ring(bell, now).Rung {
			rung[from]++
			bell.Rung = append(bell.Rung, mfa.Rung{At: now, Provenance: from})
		}
	}
	if rung[mfa.Strangers] != 6 || rung[owner] != 10 {
		t.Errorf("in 15 minutes strangers rang %d times, the owner %d; want twice 3, and 10", rung[mfa.Strangers], rung[owner])
	}
}

func TestNextWait(t *testing.T) {
	t.Parallel()
	wait := time.Duration(0)
	for _, want := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
		if wait = mfa.NextWait(wait); wait != time.Duration(want)*time.Minute {
			t.Errorf("the next wait is %v, want %d minutes", wait, want)
		}
	}
}
