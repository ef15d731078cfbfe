package mfa_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/nodauth/nod/internal/mfa"
)

// The ringing world: one user whom two sides ask, with windows and lives of a few minutes in place
// of hours. It has no absolute time: it holds how long ago everything happened, so that it closes.
const (
	ringLife = 2 // minutes that a challenge lives
	ringMost = 4 // minutes of the longest wait that is modelled
	ringNow  = signinStart
)

// bells is everything that decides about ringing.
type bells struct {
	left     uint8 // challenges still to come
	lockdown bool
	side     [2]bell
}

// bell is the oracle's record of one provenance.
type bell struct {
	rung [6]int8 // 1 + minutes ago of each prompt that rang and was not approved; newest first
	live [2]int8 // 1 + minutes until decide_by of each listed challenge; at 1 it has expired and is not yet swept
	last int8    // minutes of the last wait
	wait int8    // minutes until it is over
}

func (b *bell) ring() bool {
	for i := len(b.live) - 1; i >= 0; i-- {
		if b.live[i] == 1 {
			b.goes(i, false)
		}
	}
	if b.rung[5] != 0 || b.live[1] != 0 {
		return false
	}
	copy(b.rung[1:], b.rung[:5])
	b.rung[0] = 1
	copy(b.live[1:], b.live[:1])
	b.live[0] = ringLife + 1
	return true
}

// goes takes the challenge off the devices. An approval gives its place back.
func (b *bell) goes(i int, approved bool) {
	if approved {
		age := ringLife + 2 - b.live[i]
		if at := slices.Index(b.rung[:], age); at >= 0 {
			copy(b.rung[at:], b.rung[at+1:])
			b.rung[5] = 0
		}
		b.last, b.wait = 0, 0
	}
	copy(b.live[i:], b.live[i+1:])
	b.live[1] = 0
}

// refused doubles the wait: 1, 2, 4 minutes and so on, of which this world plays the first ones.
func (b *bell) refused() string {
	wait, want := mfa.NextWait(time.Duration(b.last)*time.Minute), max(1, 2*b.last)
	b.last = min(want, ringMost)
	b.wait = b.last
	if wait != time.Duration(want)*time.Minute {
		return fmt.Sprintf("I12: a refusal doubles the wait (got %v, want %d minutes)", wait, want)
	}
	return ""
}

// minute lets a minute pass. Challenges that reach their limit were ignored.
func (b *bell) minute(longest int8) string {
	broken := ""
	b.wait = max(0, b.wait-1)
	for i := range b.rung {
		if b.rung[i] != 0 {
			b.rung[i]++
		}
		if b.rung[i]-1 > longest {
			b.rung[i] = 0
		}
	}
	for i := range b.live {
		if b.live[i] > 1 {
			b.live[i]--
			if b.live[i] == 1 {
				broken = b.refused()
			}
		}
	}
	return broken
}

// ringScope is a choice of sides and windows.
type ringScope struct {
	name  string
	sides [2]mfa.Provenance
	left  uint8
	rung  [6]int8 // of the first side, from a time when its windows were wider
	acts  []ringAct
	want  []string
}

type ringAct struct {
	name string
	do   func(s *ringScope, w bells) (bells, string)
}

var (
	strangerWindows = []mfa.Window{{Max: 1, Per: time.Minute}, {Max: 2, Per: 3 * time.Minute}, {Max: 3, Per: 5 * time.Minute}}
	knownWindows    = []mfa.Window{{Max: 2, Per: 2 * time.Minute}, {Max: 3, Per: 4 * time.Minute}}
)

const longestWindow = 5

func at(minutes int8) mfa.Instant { return ringNow.Add(time.Duration(minutes) * time.Minute) }

func challengeID(side, i int) mfa.ChallengeID {
	return mfa.ChallengeID(fmt.Sprintf("ch_%d%d", side, i))
}

// bellOf is the world as Ring sees it for a new challenge of one side.
func (s *ringScope) bellOf(w *bells, side int, first mfa.FirstFactor, byName bool) mfa.Bell {
	b := mfa.Bell{
		From: s.sides[side], FirstFactor: first, LockedDown: w.lockdown,
		Budget: mfa.RingBudget{Strangers: strangerWindows, Known: knownWindows, StrangersByName: byName},
	}
	if w.side[side].last > 0 {
		b.WaitUntil = at(w.side[side].wait)
	}
	for n := range w.side {
		for _, r := range w.side[n].rung {
			if r != 0 {
				b.Rung = append(b.Rung, mfa.Rung{At: at(1 - r), Provenance: s.sides[n]})
			}
		}
		for i, l := range w.side[n].live {
			if l != 0 {
				b.Live = append(b.Live, mfa.Listed{ID: challengeID(n, i), Provenance: s.sides[n], DecideBy: at(l - 1)})
			}
		}
	}
	return b
}

// room says whether another prompt would fit every window after the minutes given.
func (s *ringScope) room(w *bells, side int, minutes int8) bool {
	windows := knownWindows
	if s.sides[side] == mfa.Strangers {
		windows = strangerWindows
	}
	for _, win := range windows {
		count := 0
		for _, r := range w.side[side].rung {
			if r != 0 && time.Duration(r-1+minutes)*time.Minute < win.Per {
				count++
			}
		}
		if count >= win.Max {
			return false
		}
	}
	return true
}

// ringLaw is why a challenge may not ring, and when it would.
type ringLaw struct {
	reason mfa.RingReason
	broken bool
	retry  mfa.Instant
}

func (s *ringScope) laws(w *bells, side int, first mfa.FirstFactor, byName bool) []ringLaw {
	b, stranger := &w.side[side], s.sides[side] == mfa.Strangers
	laws := []ringLaw{
		{mfa.RingReported, stranger && w.lockdown, 0},
		{mfa.RingByName, stranger && first == mfa.FirstFactorNone && !byName, 0},
		{mfa.RingWaiting, b.wait > 0, at(b.wait)},
	}
	spent := ringLaw{mfa.RingBudgetSpent, !s.room(w, side, 0), 0}
	for m := int8(longestWindow); spent.broken && m > 0 && s.room(w, side, m); m-- {
		spent.retry = at(m)
	}
	taken := ringLaw{reason: mfa.RingSlotTaken}
	if b.live[0] > 1 && s.sides[side].Class != mfa.KnownBrowser {
		taken.broken, taken.retry = true, at(b.live[0]-1)
	}
	return append(laws, spent, taken)
}

// asks is a new challenge of one side.
func asks(side int, first mfa.FirstFactor, byName bool) ringAct {
	name := fmt.Sprintf("side %d asks, first factor %s", side, first)
	if byName {
		name += ", strangers may ring by name"
	}
	return ringAct{name, func(s *ringScope, w bells) (bells, string) {
		if w.left == 0 {
			return w, ""
		}
		w.left--
		r := mfa.Ring(s.bellOf(&w, side, first, byName), ringNow)
		broken := s.judge(&w, side, s.laws(&w, side, first, byName), r)
		if !r.Rung {
			return w, broken
		}
		b := &w.side[side]
		for i := len(b.live) - 1; i >= 0; i-- {
			if slices.Contains(r.Supersede, challengeID(side, i)) {
				b.goes(i, false)
			}
		}
		if !b.ring() && broken == "" {
			broken = "I12: more rings than any window allows"
		}
		if b.live[1] > 1 && broken == "" {
			broken = "I12: one listed prompt for each known browser and source, and one for strangers"
		}
		return w, broken
	}}
}

// judge says which invariant the answer of Ring broke, or "".
func (s *ringScope) judge(w *bells, side int, laws []ringLaw, r mfa.Ringing) string {
	var mayNot []mfa.RingReason
	for _, l := range laws {
		if !l.broken {
			continue
		}
		mayNot = append(mayNot, l.reason)
		if r.Reason == l.reason && r.RetryAt != l.retry {
			return fmt.Sprintf("I12: the answer to %s says when to try again (got %v, want %v)",
				r.Reason, r.RetryAt.Sub(ringNow), l.retry.Sub(ringNow))
		}
	}
	var supersede []mfa.ChallengeID
	for i, l := range w.side[side].live {
		if l > 1 && s.sides[side].Class == mfa.KnownBrowser && r.Rung {
			supersede = append(supersede, challengeID(side, i))
		}
	}
	switch {
	case r.Rung && len(mayNot) > 0:
		return fmt.Sprintf("I12: ringing is rationed (%s)", mayNot[0])
	case !r.Rung && len(mayNot) == 0:
		return fmt.Sprintf("I12: nobody spends another's allowance (refused for %s)", r.Reason)
	case !r.Rung && !slices.Contains(mayNot, r.Reason):
		return fmt.Sprintf("I12: the reason is the true one (got %s, of %v)", r.Reason, mayNot)
	case !slices.Equal(supersede, r.Supersede):
		return fmt.Sprintf("I12: a known browser's newer prompt takes the place of its own older one alone (got %v, want %v)", r.Supersede, supersede)
	}
	return ""
}

// answers is what becomes of a listed challenge.
func answers(side int, what string) ringAct {
	return ringAct{fmt.Sprintf("side %d's prompt is %s", side, what), func(_ *ringScope, w bells) (bells, string) {
		b := &w.side[side]
		if b.live[0] <= 1 {
			return w, ""
		}
		b.goes(0, what == "approved")
		if what == "denied" {
			return w, b.refused()
		}
		return w, ""
	}}
}

func ringActs() []ringAct {
	acts := []ringAct{
		{"a minute passes", func(_ *ringScope, w bells) (bells, string) {
			return w, w.side[0].minute(longestWindow) + w.side[1].minute(longestWindow)
		}},
		{"the user reports", func(_ *ringScope, w bells) (bells, string) { w.lockdown = true; return w, "" }},
		{"the report is lifted", func(_ *ringScope, w bells) (bells, string) { w.lockdown = false; return w, "" }},
	}
	for side := range 2 {
		acts = append(
			acts,
			asks(side, mfa.FirstFactorPassword, false), asks(side, mfa.FirstFactorNone, false), asks(side, mfa.FirstFactorNone, true),
			answers(side, "approved"), answers(side, "denied"), answers(side, "cancelled"),
		)
	}
	return acts
}

// ringScopes gives the scopes, smaller ones unless the whole exploration is wanted.
func ringScopes(whole bool) []*ringScope {
	browser := mfa.Provenance{Class: mfa.KnownBrowser, Key: "K1"}
	otherBrowser := mfa.Provenance{Class: mfa.KnownBrowser, Key: "K2"}
	source := mfa.Provenance{Class: mfa.KnownSource, Key: "K1"}
	of := func(name string, a, b mfa.Provenance, want ...string) *ringScope {
		return &ringScope{
			name: name, sides: [2]mfa.Provenance{a, b}, left: bound[uint8](whole, 4, 3), acts: ringActs(),
			want: append(want, "both listed", "waiting"),
		}
	}
	tightened := of("tightened windows", mfa.Strangers, browser)
	tightened.rung = [6]int8{1, 2, 2, 3, 4}
	return []*ringScope{
		tightened,
		of("stranger and browser", mfa.Strangers, browser, "reported"),
		of("stranger and source", mfa.Strangers, source, "reported"),
		of("browser and source", browser, source),
		of("two browsers", browser, otherBrowser),
	}
}

func (s *ringScope) space() space[bells] {
	return space[bells]{
		name: "ringing/" + s.name, start: bells{left: s.left, side: [2]bell{{rung: s.rung}}}, want: s.want,
		label: func(a act) string { return s.acts[a].name },
		next: func(w bells, emit func(a act, to bells, broken string)) {
			for n, a := range s.acts {
				to, broken := a.do(s, w)
				emit(act(n), to, broken)
			}
		},
		marks: func(w bells, mark func(name string)) {
			if w.side[0].live[0] > 1 && w.side[1].live[0] > 1 {
				mark("both listed")
			}
			if w.side[0].wait > 0 || w.side[1].wait > 0 {
				mark("waiting")
			}
			if w.lockdown {
				mark("reported")
			}
		},
	}
}
