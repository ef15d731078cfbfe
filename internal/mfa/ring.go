package mfa

import (
	"slices"
	"time"
)

// Window is a sliding limit: at most Max in any Per.
type Window struct {
	Max int
	Per time.Duration
}

// Rung is one prompt that was rung and has not given its place back.
type Rung struct {
	At         Instant
	Provenance Provenance
}

// Listed is one live challenge that is shown on the user's devices.
type Listed struct {
	ID         ChallengeID
	Provenance Provenance
	DecideBy   Instant
}

// RingBudget holds the windows for prompts that ring.
type RingBudget struct {
	Strangers       []Window
	Known           []Window // of each known browser and each source
	StrangersByName bool     // a stranger's sign-in without a first factor may ring too
}

// DefaultRingBudget is what a realm has until its policy says otherwise.
func DefaultRingBudget() RingBudget {
	return RingBudget{
		Strangers: []Window{{3, 10 * time.Minute}, {10, 24 * time.Hour}},
		Known:     []Window{{10, 10 * time.Minute}, {60, 24 * time.Hour}},
	}
}

// Bell is everything that decides whether a new challenge is listed and rung.
type Bell struct {
	From        Provenance
	FirstFactor FirstFactor
	LockedDown  bool
	Live        []Listed // listed challenges of the user, still live
	Rung        []Rung   // of the user, within the longest window
	WaitUntil   Instant  // of this provenance
	Budget      RingBudget
}

// RingReason says why a challenge was not rung.
type RingReason string

// The reasons why a challenge is not rung.
const (
	RingBudgetSpent RingReason = "budget"      // the allowance of this provenance is used up
	RingSlotTaken   RingReason = "slot_taken"  // another prompt of this provenance is on the devices
	RingWaiting     RingReason = "wait"        // after denied or ignored prompts
	RingReported    RingReason = "reported"    // the user said "not me"; strangers are not rung
	RingByName      RingReason = "name_only"   // a stranger's sign-in with nothing checked before
	RingNobody      RingReason = "unavailable" // nothing to ring; told to nobody but the audit
)

// Ringing is the answer for one new challenge. Listed and rung go together: what does not ring is
// reached by scanning and by every other allowed method.
type Ringing struct {
	Rung      bool
	Reason    RingReason
	RetryAt   Instant // when it would ring again; 0 when that is not known
	Supersede []ChallengeID
}

// Ring decides whether a challenge is rung and listed. It never decides whether it exists.
func Ring(b Bell, now Instant) Ringing {
	if b.From.Class == Stranger && b.LockedDown {
		return Ringing{Reason: RingReported}
	}
	if b.From.Class == Stranger && b.FirstFactor == FirstFactorNone && !b.Budget.StrangersByName {
		return Ringing{Reason: RingByName}
	}
	if now < b.WaitUntil {
		return Ringing{Reason: RingWaiting, RetryAt: b.WaitUntil}
	}
	windows := b.Budget.Known
	if b.From.Class == Stranger {
		windows = b.Budget.Strangers
	}
	if at := freeAt(b.Rung, b.From, windows, now); at > now {
		return Ringing{Reason: RingBudgetSpent, RetryAt: at}
	}
	var supersede []ChallengeID
	for _, l := range b.Live {
		if l.Provenance != b.From || now >= l.DecideBy {
			continue
		}
		if b.From.Class != KnownBrowser {
			return Ringing{Reason: RingSlotTaken, RetryAt: l.DecideBy}
		}
		supersede = append(supersede, l.ID)
	}
	return Ringing{Rung: true, Supersede: supersede}
}

// freeAt returns the first moment from now on at which every window has room.
func freeAt(rung []Rung, from Provenance, windows []Window, now Instant) Instant {
	var own []Instant
	for _, r := range rung {
		if r.Provenance == from {
			own = append(own, r.At)
		}
	}
	return WindowFree(own, windows, now)
}

// WindowFree returns the first moment from now on at which another one would fit all windows, given
// the moments already counted; now itself when there is room.
func WindowFree(counted []Instant, windows []Window, now Instant) Instant {
	counted = slices.Sorted(slices.Values(counted))
	free := now
	for _, w := range windows {
		switch {
		case w.Max <= 0:
			free = max(free, now.Add(w.Per))
		case len(counted) >= w.Max:
			free = max(free, counted[len(counted)-w.Max].Add(w.Per))
		}
	}
	return free
}

// Waits after denied and ignored prompts.
const (
	FirstWait = time.Minute
	LongWait  = time.Hour
)

// NextWait doubles the wait of a provenance.
func NextWait(last time.Duration) time.Duration {
	if last < FirstWait {
		return FirstWait
	}
	return min(2*last, LongWait)
}

// GuessBudget holds the windows for guesses, per user.
type GuessBudget struct {
	Typed    Window // typed factors together: strangers together, and each known browser or source
	Password Window // passwords, likewise
}

// DefaultGuessBudget is what a realm has until its policy says otherwise.
func DefaultGuessBudget() GuessBudget {
	return GuessBudget{
		Typed:    Window{10, 24 * time.Hour},
		Password: Window{20, time.Hour},
	}
}
