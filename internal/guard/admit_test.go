package guard_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/mfa"
)

// admitted counts how many of n are let in.
func admitted(t *testing.T, g *guard.Gate, n int, in mfa.RealmID, app mfa.ApplicationID, address string, now time.Time) int {
	t.Helper()
	count := 0
	for range n {
		err := g.Admit(in, app, address, now)
		if err == nil {
			count++
			continue
		}
		e, ok := errors.AsType[*mfa.Error](err)
		if !ok || e.Code != mfa.RateLimited || e.Reason != mfa.ReasonTooManyRequests || e.RetryAfter <= 0 {
			t.Fatalf("refused with %+v", err)
		}
	}
	return count
}

func TestGate(t *testing.T) {
	t.Parallel()
	rates := guard.Rates{PerApplication: 10, PerAddress: 2, Burst: 5 * time.Second}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	g := guard.NewGate(rates)
	if got := admitted(t, g, 30, realm, "app_1", "192.0.2.1", start); got != 10 {
		t.Errorf("one address: %d in a burst, want 10", got)
	}
	if got := admitted(t, g, 30, realm, "app_1", "192.0.2.2", start); got != 10 {
		t.Errorf("another address: %d in a burst, want 10", got)
	}
	if got := admitted(t, g, 30, realm, "app_2", "192.0.2.1", start); got != 10 {
		t.Errorf("that address through another application: %d, want 10", got)
	}
	if got := admitted(t, g, 30, "other", "app_1", "192.0.2.1", start); got != 10 {
		t.Errorf("that address in another realm: %d, want 10", got)
	}
	if got := admitted(t, g, 30, realm, "app_1", "192.0.2.1", start.Add(time.Second)); got != 2 {
		t.Errorf("a second later: %d, want 2", got)
	}

	g = guard.NewGate(rates)
	if got := admitted(t, g, 100, realm, "app_1", "", start); got != 50 {
		t.Errorf("an application that names no address: %d in a burst, want 50", got)
	}
	if got := admitted(t, g, 1, realm, "app_1", "192.0.2.9", start); got != 0 {
		t.Errorf("a fresh address of a spent application is let in")
	}
	if got := admitted(t, g, 100, realm, "app_1", "", start.Add(3*time.Second)); got != 30 {
		t.Errorf("three seconds later: %d, want 30", got)
	}
}

func TestGateTakesAtLeastOne(t *testing.T) {
	t.Parallel()
	g := guard.NewGate(guard.Rates{PerApplication: 0.1, PerAddress: 0.1, Burst: time.Second})
	if got := admitted(t, g, 5, realm, "app_1", "192.0.2.1", time.Unix(0, 0)); got != 1 {
		t.Errorf("%d at a rate below one in the burst, want 1", got)
	}
}

func TestGateInParallel(t *testing.T) {
	t.Parallel()
	g := guard.NewGate(guard.Rates{PerApplication: 1000, PerAddress: 10, Burst: time.Second})
	now := time.Unix(1_800_000_000, 0)
	var in atomic.Int32
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for range 20 {
				if g.Admit(realm, "app_1", fmt.Sprint("192.0.2.", i%5), now) == nil {
					in.Add(1)
				}
			}
		})
	}
	all.Wait()
	if in.Load() != 50 {
		t.Errorf("%d let in from five addresses, want 50", in.Load())
	}
}

// TestGateIsBounded lets more addresses knock than are remembered: the gate goes on.
func TestGateIsBounded(t *testing.T) {
	t.Parallel()
	g := guard.NewGate(guard.Rates{PerApplication: 1e9, PerAddress: 1, Burst: time.Second})
	now := time.Unix(1_800_000_000, 0)
	for i := range 150_000 {
		if err := g.Admit(realm, "app_1", fmt.Sprint("address ", i), now); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.Remembered(); n > guard.MaxLimiters {
		t.Errorf("%d limiters are remembered", n)
	}
	if got := admitted(t, g, 5, realm, "app_1", "address 149999", now); got != 0 {
		t.Errorf("the last address is let in %d more times", got)
	}
}

// TestGateBoundsARealm holds that one realm's live challenges leave room for another's.
func TestGateBoundsARealm(t *testing.T) {
	t.Parallel()
	g := guard.NewGate(guard.Rates{PerApplication: 1e6, PerAddress: 1e6, Burst: time.Second, LivePerRealm: 3})
	now := time.Unix(1, 0)
	admit := func(realm mfa.RealmID, want bool) {
		t.Helper()
		err := g.Admit(realm, "app", "", now)
		if (err == nil) != want {
			t.Fatalf("%s: %v, want room: %v", realm, err, want)
		}
		if err != nil && (mfa.CodeOf(err) != mfa.RateLimited || mfa.ReasonOf(err) != mfa.ReasonTooManyRequests) {
			t.Errorf("refused with %v", err)
		}
	}
	for range 3 {
		admit("one", true)
	}
	admit("one", false)
	admit("two", true)
	live := map[mfa.RealmID]int{"one": 2, "two": 0}
	recount := func() {
		t.Helper()
		err := g.Recount(func(realm mfa.RealmID, limit int) (map[mfa.ApplicationID]int, error) {
			if limit != 3 {
				t.Errorf("counts up to %d", limit)
			}
			return map[mfa.ApplicationID]int{"app": live[realm]}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	recount()
	admit("one", true)
	admit("one", false)
	live["one"] = 0
	recount()
	recount() // nothing is left to count
	admit("one", true)
}

// TestGateBoundsAnApplication has an application ask for all that its realm may have.
func TestGateBoundsAnApplication(t *testing.T) {
	t.Parallel()
	g := guard.NewGate(guard.Rates{PerApplication: 1e6, PerAddress: 1e6, Burst: time.Second, LivePerRealm: 5, LivePerApplication: 3})
	now := time.Unix(1, 0)
	if got := admitted(t, g, 10, realm, "greedy", "", now); got != 3 {
		t.Errorf("the first has %d, want 3", got)
	}
	if got := admitted(t, g, 10, realm, "other", "", now); got != 2 {
		t.Errorf("another one has %d, want what the realm has left, 2", got)
	}
	if got := admitted(t, g, 10, "elsewhere", "greedy", "", now); got != 3 {
		t.Errorf("its name in another realm has %d, want 3", got)
	}
	live := map[mfa.ApplicationID]int{"greedy": 3, "third": 1}
	recount := func() {
		t.Helper()
		if err := g.Recount(func(mfa.RealmID, int) (map[mfa.ApplicationID]int, error) { return live, nil }); err != nil {
			t.Fatal(err)
		}
	}
	recount()
	if got := admitted(t, g, 10, realm, "greedy", "", now); got != 0 {
		t.Errorf("the first has %d more", got)
	}
	if got := admitted(t, g, 10, realm, "third", "", now); got != 1 {
		t.Errorf("one that was counted has %d more, want 1", got)
	}
	clear(live)
	recount()
	recount()
	if got := admitted(t, g, 10, realm, "greedy", "", now); got != 3 {
		t.Errorf("later the first has %d, want 3", got)
	}
}
