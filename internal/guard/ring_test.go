package guard_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// TestRingWindows fills each window and looks at the moment before room is made, and at that
// moment.
func TestRingWindows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, test := range []struct {
			name  string
			from  mfa.Provenance
			fill  []time.Duration // before each prompt that rings
			per   time.Duration
			leave int // prompts that are still in the window when the first has left it
		}{
			{"strangers: 3 in 10 minutes", mfa.Strangers, steps(3, time.Minute), 10 * time.Minute, 2},
			{"strangers: 10 in 24 hours", mfa.Strangers, steps(10, 10*time.Minute), 24 * time.Hour, 9},
			{"a browser: 10 in 10 minutes", laptop, steps(10, 30*time.Second), 10 * time.Minute, 9},
			{"a browser: 60 in 24 hours", laptop, steps(60, 2*time.Minute), 24 * time.Hour, 59},
			{"a source: 10 in 10 minutes", vpn, steps(10, 30*time.Second), 10 * time.Minute, 9},
			{"a source: 60 in 24 hours", vpn, steps(60, 2*time.Minute), 24 * time.Hour, 59},
		} {
			user := w.user(realm)
			var first mfa.Instant
			for i, pause := range test.fill {
				w.forward(pause)
				c, r := w.ask(user, bell(test.from))
				if !r.Rung {
					t.Fatalf("%s: prompt %d does not ring: %+v", test.name, i+1, r)
				}
				if i == 0 {
					first = c.CreatedAt
				}
				w.step(c.ID, cancel)
			}
			spent := mfa.Ringing{Reason: mfa.RingBudgetSpent, RetryAt: first.Add(test.per)}
			_, r := w.ask(user, bell(test.from))
			if diff := cmp.Diff(spent, r); diff != "" {
				t.Errorf("%s: one more (-want +got):\n%s", test.name, diff)
			}
			w.to(first.Add(test.per) - 1)
			if _, r = w.ask(user, bell(test.from)); r.Rung || r.RetryAt != spent.RetryAt {
				t.Errorf("%s: a microsecond early: %+v", test.name, r)
			}
			w.to(first.Add(test.per))
			c, r := w.ask(user, bell(test.from))
			if !r.Rung {
				t.Errorf("%s: in time: %+v", test.name, r)
			}
			w.step(c.ID, cancel)
			if _, r = w.ask(user, bell(test.from)); r.Rung {
				t.Errorf("%s: only one had left the window", test.name)
			}
		}
	})
}

func steps(n int, d time.Duration) []time.Duration { return slices.Repeat([]time.Duration{d}, n) }

// TestStrangersSpendTheirOwn lets strangers spend all they have: nobody else notices.
func TestStrangersSpendTheirOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		user, neighbour := w.user(realm), w.user(realm)
		for range 3 {
			c, r := w.ask(user, bell(mfa.Strangers))
			if !r.Rung {
				t.Fatalf("a stranger's first prompts ring: %+v", r)
			}
			w.step(c.ID, cancel)
		}
		for range 50 {
			if _, r := w.ask(user, bell(mfa.Strangers)); r.Reason != mfa.RingBudgetSpent {
				t.Fatalf("a stranger's further prompts: %+v", r)
			}
		}
		for name, from := range map[string]mfa.Provenance{"a browser": laptop, "another browser": phone, "a source": vpn} {
			if _, r := w.ask(user, bell(from)); !r.Rung || len(r.Supersede) > 0 {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if _, r := w.ask(neighbour, bell(mfa.Strangers)); !r.Rung {
			t.Errorf("another user: %+v", r)
		}
	})
}

func TestApprovedPromptsGiveTheirPlaceBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		user := w.user(realm)
		for i := range 25 {
			c, r := w.ask(user, bell(mfa.Strangers))
			if !r.Rung {
				t.Fatalf("prompt %d does not ring although all before were approved: %+v", i+1, r)
			}
			w.step(c.ID, approve)
		}
	})
}

func TestSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		user := w.user(realm)
		stranger, r := w.ask(user, bell(mfa.Strangers))
		if !r.Rung {
			t.Fatalf("the first: %+v", r)
		}
		_, r = w.ask(user, bell(mfa.Strangers))
		if diff := cmp.Diff(mfa.Ringing{Reason: mfa.RingSlotTaken, RetryAt: stranger.DecideBy}, r); diff != "" {
			t.Errorf("a second stranger (-want +got):\n%s", diff)
		}
		known, r := w.ask(user, bell(laptop))
		if !r.Rung || len(r.Supersede) != 0 {
			t.Errorf("a known browser beside a stranger: %+v", r)
		}
		_, r = w.ask(user, bell(laptop))
		if diff := cmp.Diff(mfa.Ringing{Rung: true, Supersede: []mfa.ChallengeID{known.ID}}, r); diff != "" {
			t.Errorf("the same browser again (-want +got):\n%s", diff)
		}
		host, r := w.ask(user, bell(vpn))
		if !r.Rung {
			t.Errorf("a source: %+v", r)
		}
		if _, r = w.ask(user, bell(vpn)); r.Reason != mfa.RingSlotTaken || r.RetryAt != host.DecideBy {
			t.Errorf("the same source again: %+v", r)
		}
		w.to(stranger.DecideBy - 1)
		if _, r = w.ask(user, bell(mfa.Strangers)); r.Reason != mfa.RingSlotTaken {
			t.Errorf("a stranger while the first is there: %+v", r)
		}
		w.to(stranger.DecideBy)
		if _, r = w.ask(user, bell(mfa.Strangers)); !r.Rung {
			t.Errorf("a stranger after the first has expired, recorded or not: %+v", r)
		}
	})
}

// TestWaits denies and ignores prompts: the wait doubles from a minute to an hour, for that
// provenance alone, and an approval clears it.
func TestWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		user := w.user(realm)
		from := func(p mfa.Provenance) mfa.Bell {
			b := bell(p)
			much := []mfa.Window{{Max: 1000, Per: 24 * time.Hour}}
			b.Budget.Strangers, b.Budget.Known = much, much
			return b
		}
		minutes := []int{1, 2, 4, 8, 16, 32, 60, 60}
		for i, m := range minutes {
			c, r := w.ask(user, from(mfa.Strangers))
			if !r.Rung {
				t.Fatalf("after %d waits: %+v", i, r)
			}
			until := c.CreatedAt.Add(time.Duration(m) * time.Minute)
			if i%2 == 0 {
				w.step(c.ID, deny(c))
			} else {
				w.to(c.DecideBy)
				w.step(c.ID, mfa.Tick{})
				until = c.DecideBy.Add(time.Duration(m) * time.Minute)
			}
			w.to(until - 1)
			unrung, r := w.ask(user, from(mfa.Strangers))
			if diff := cmp.Diff(mfa.Ringing{Reason: mfa.RingWaiting, RetryAt: until}, r); diff != "" {
				t.Fatalf("wait %d (-want +got):\n%s", i+1, diff)
			}
			w.step(unrung.ID, deny(unrung)) // that nobody was asked doubles nothing
			c, r = w.ask(user, from(laptop))
			if !r.Rung {
				t.Fatalf("another provenance waits too: %+v", r)
			}
			w.step(c.ID, approve) // and clears nothing of the strangers'
			w.to(until)
		}
		c, r := w.ask(user, from(mfa.Strangers))
		if !r.Rung {
			t.Fatalf("after the last wait: %+v", r)
		}
		w.step(c.ID, approve)
		c, r = w.ask(user, from(mfa.Strangers))
		if !r.Rung {
			t.Fatalf("after an approval: %+v", r)
		}
		w.step(c.ID, deny(c))
		if _, r = w.ask(user, from(mfa.Strangers)); r.RetryAt != c.CreatedAt.Add(time.Minute) {
			t.Errorf("an approval makes the wait begin anew: %+v", r)
		}
	})
}

// TestCancelledPromptsMakeNobodyWait tells a prompt that the application withdrew from one that
// the person did not want.
func TestCancelledPromptsMakeNobodyWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		user := w.user(realm)
		c, _ := w.ask(user, bell(mfa.Strangers))
		w.step(c.ID, cancel)
		if _, r := w.ask(user, bell(mfa.Strangers)); !r.Rung {
			t.Errorf("after a cancelled prompt: %+v", r)
		}
	})
}

func TestWhoIsNotRung(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name string
		edit func(*mfa.Bell)
		want mfa.Ringing
	}{
		{"a stranger by name only", func(b *mfa.Bell) { b.FirstFactor = mfa.FirstFactorNone }, mfa.Ringing{Reason: mfa.RingByName}},
		{
			"a stranger by name, where policy says so",
			func(b *mfa.Bell) { b.FirstFactor, b.Budget.StrangersByName = mfa.FirstFactorNone, true },
			mfa.Ringing{Rung: true},
		},
		{"a known browser by name only", func(b *mfa.Bell) { b.From, b.FirstFactor = laptop, mfa.FirstFactorNone }, mfa.Ringing{Rung: true}},
		{"a stranger after a report", func(b *mfa.Bell) { b.LockedDown = true }, mfa.Ringing{Reason: mfa.RingReported}},
		{"a source after a report", func(b *mfa.Bell) { b.From, b.LockedDown = vpn, true }, mfa.Ringing{Rung: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := bell(mfa.Strangers)
			test.edit(&b)
			_, r := w.ask(w.user(realm), b)
			if diff := cmp.Diff(test.want, r); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// ledger is what the rules of ringing say, counted by hand.
type ledger struct {
	asked []asked
	until map[mfa.Provenance]mfa.Instant
	wait  map[mfa.Provenance]time.Duration
}

type asked struct {
	id       mfa.ChallengeID
	at, ends mfa.Instant
	from     mfa.Provenance
	rung     bool
	returned bool
	over     bool
}

func (l *ledger) rings(from mfa.Provenance, now mfa.Instant) (rung bool, reason mfa.RingReason, supersede []mfa.ChallengeID) {
	if now < l.until[from] {
		return false, mfa.RingWaiting, nil
	}
	limits := map[time.Duration]int{10 * time.Minute: 10, 24 * time.Hour: 60}
	if from == mfa.Strangers {
		limits = map[time.Duration]int{10 * time.Minute: 3, 24 * time.Hour: 10}
	}
	for per, limit := range limits {
		n := 0
		for _, a := range l.asked {
			if a.from == from && a.rung && !a.returned && now.Sub(a.at) < per {
				n++
			}
		}
		if n >= limit {
			return false, mfa.RingBudgetSpent, nil
		}
	}
	for _, a := range l.asked {
		if a.from == from && a.rung && !a.over && now < a.ends {
			if from.Class != mfa.KnownBrowser {
				return false, mfa.RingSlotTaken, nil
			}
			supersede = append(supersede, a.id)
		}
	}
	return true, "", supersede
}

func (l *ledger) unwanted(a *asked, now mfa.Instant) {
	if !a.rung {
		return
	}
	l.wait[a.from] = min(max(2*l.wait[a.from], time.Minute), time.Hour)
	l.until[a.from] = now.Add(l.wait[a.from])
}

// TestRingAgainstALedger plays long stories of prompts and answers against a ledger.
func TestRingAgainstALedger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		rungs := 0
		for seed := range uint64(4) {
			rungs += story(t, w, rand.New(rand.NewPCG(seed, 1)), 120)
		}
		if rungs < 100 {
			t.Errorf("only %d prompts rang: the stories say little", rungs)
		}
	})
}

func story(t *testing.T, w *world, random *rand.Rand, length int) (rungs int) {
	t.Helper()
	user := w.user(realm)
	l := &ledger{until: map[mfa.Provenance]mfa.Instant{}, wait: map[mfa.Provenance]time.Duration{}}
	pauses := []time.Duration{0, time.Second, 20 * time.Second, 2 * time.Minute, 10 * time.Minute, 3 * time.Hour}
	for i := range length {
		w.forward(pauses[random.IntN(len(pauses))] * time.Duration(random.IntN(3)) / 2)
		from := []mfa.Provenance{mfa.Strangers, laptop, phone, vpn}[random.IntN(4)]
		now := w.now()
		for j := range l.asked { // the sweeper records what is over
			if a := &l.asked[j]; !a.over && now >= a.ends {
				w.step(a.id, mfa.Tick{})
				a.over = true
				l.unwanted(a, now)
			}
		}
		rung, reason, supersede := l.rings(from, now)
		c, r := w.ask(user, bell(from))
		slices.Sort(supersede)
		slices.Sort(r.Supersede)
		if r.Rung != rung || r.Reason != reason || !slices.Equal(r.Supersede, supersede) {
			t.Fatalf("step %d, %s: got %+v, want rung %t, %q, superseding %v", i, from, r, rung, reason, supersede)
		}
		if rung {
			rungs++
		}
		for j := range l.asked {
			l.asked[j].over = l.asked[j].over || slices.Contains(supersede, l.asked[j].id)
		}
		l.asked = append(l.asked, asked{id: c.ID, at: c.CreatedAt, ends: c.DecideBy, from: from, rung: rung})
		l.answer(w, random, now)
		if i%5 == 0 {
			listed(t, w, user)
		}
	}
	return rungs
}

// answer ends one of the prompts that still stand, in one way or another, or none.
func (l *ledger) answer(w *world, random *rand.Rand, now mfa.Instant) {
	a := &l.asked[random.IntN(len(l.asked))]
	if a.over {
		return
	}
	switch random.IntN(4) {
	case 0:
		w.step(a.id, approve)
		a.over, a.returned = true, true
		delete(l.wait, a.from)
		delete(l.until, a.from)
	case 1:
		w.step(a.id, deny(store.Challenge{Challenge: mfa.Challenge{ID: a.id, User: w.of(a.id)}}))
		a.over = true
		l.unwanted(a, now)
	case 2:
		w.step(a.id, cancel)
		a.over = true
	}
}

func (w *world) of(id mfa.ChallengeID) mfa.UserID {
	var c store.Challenge
	w.update(func(tx store.Tx) (err error) {
		c, err = tx.Challenge(realm, id)
		return err
	})
	return c.User
}

// listed holds that the devices show one prompt of each known browser and source and one of all
// strangers, at most.
func listed(t *testing.T, w *world, user mfa.UserID) {
	t.Helper()
	seen := map[mfa.Provenance]int{}
	w.update(func(tx store.Tx) error {
		clear(seen)
		live, err := tx.LiveChallenges(realm, user)
		for _, c := range live {
			if c.Rung && c.State == mfa.Pending && tx.Now() < c.DecideBy {
				seen[c.Provenance]++
			}
		}
		return err
	})
	for from, n := range seen {
		if n > 1 {
			t.Fatalf("%d prompts of %s at once", n, from)
		}
	}
}
