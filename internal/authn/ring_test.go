package authn_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/protocol"
)

// rung asks for a challenge and says whether and why not the devices ring.
func (w *world) rung(r authn.Request, want mfa.RingReason) authn.View {
	w.t.Helper()
	v := w.create(r)
	if v.Rung != (want == "") || v.RingWhy != want {
		w.t.Fatalf("rung %v, %q; want %q", v.Rung, v.RingWhy, want)
	}
	return v
}

func (w *world) cancel(v authn.View) {
	w.t.Helper()
	_, err := w.s.Cancel(w.t.Context(), w.app, v.ID)
	must(w.t, err)
}

// TestStrangersRing: three in ten minutes and ten in a day, all strangers together.
func TestStrangersRing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person("alice")
	begin := w.now()
	apps := []authn.Caller{w.app, w.application("Two"), w.application("Three")}
	for i := range 3 {
		w.app = apps[i]
		w.cancel(w.rung(login("alice"), ""))
		w.pass(time.Second)
	}
	v := w.rung(login("alice"), mfa.RingBudgetSpent)
	equal(t, "when it rings again", v.RetryAt, begin.Add(10*time.Minute))
	w.cancel(v)
	w.move(v.RetryAt - 1)
	w.cancel(w.rung(login("alice"), mfa.RingBudgetSpent))
	w.move(v.RetryAt)
	w.cancel(w.rung(login("alice"), ""))
	for range 6 {
		w.pass(10 * time.Minute)
		w.cancel(w.rung(login("alice"), ""))
	}
	w.pass(10 * time.Minute)
	v = w.rung(login("alice"), mfa.RingBudgetSpent)
	equal(t, "when it rings again", v.RetryAt, begin.Add(day))
	w.cancel(v)
	w.move(v.RetryAt - 1)
	w.cancel(w.rung(login("alice"), mfa.RingBudgetSpent))
	w.move(v.RetryAt)
	w.cancel(w.rung(login("alice"), ""))
}

// TestByNameOnly: a stranger who brings nothing but a name rings nobody unless policy says so.
func TestByNameOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy("first_factor: none\n")
	u, p := w.person("alice")
	b := w.remembered(u, p)
	w.password(u)
	bare := login("alice")
	bare.Asserted = false
	v := w.rung(bare, mfa.RingByName)
	equal(t, "listed", len(w.listed(p, "")), 0)
	w.approve(p, v, mfa.Scan) // which rations nothing
	w.redeemed(v.ID)
	w.cancel(w.rung(w.from(b, bare), ""))
	w.cancel(w.rung(withPassword(login("alice"), rightPassword), ""))
	w.cancel(w.rung(login("alice"), ""))
	w.cancel(w.rung(bare, mfa.RingByName))
	w.policy("first_factor: none\nbudgets: {strangers_by_name: true}\n")
	w.cancel(w.rung(bare, ""))
	w.cancel(w.rung(bare, mfa.RingBudgetSpent))
}

// TestKnownRing: each known browser and each source has a budget of its own.
func TestKnownRing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	one, two := w.remembered(u, p), w.remembered(u, p)
	w.signIn(p, source("alice", "vpn"))
	w.signIn(p, source("alice", "sudo"))
	byID := login("alice")
	byID.BrowserID = "cookie-1"
	w.signIn(p, byID)
	requests := map[string]func() authn.Request{
		"a known browser":            func() authn.Request { return w.from(one, login("alice")) },
		"another known browser":      func() authn.Request { return w.from(two, login("alice")) },
		"a source":                   func() authn.Request { return source("alice", "vpn") },
		"another source":             func() authn.Request { return source("alice", "sudo") },
		"an application's own name":  func() authn.Request { return byID },
		"a source, elsewhere nearby": func() authn.Request { r := source("alice", "VPN"); r.IP = "198.51.100.200"; return r },
	}
	for _, name := range []string{"a known browser", "another known browser", "a source", "another source", "an application's own name"} {
		for range 10 {
			w.cancel(w.rung(requests[name](), ""))
		}
		w.cancel(w.rung(requests[name](), mfa.RingBudgetSpent))
	}
	w.cancel(w.rung(requests["a source, elsewhere nearby"](), mfa.RingBudgetSpent))
	w.cancel(w.rung(login("alice"), "")) // and none of them is the strangers'
	far := source("alice", "vpn")
	far.IP = "203.0.113.7"
	v := w.create(far)
	equal(t, "provenance from another network", w.provenance(v), mfa.Stranger)
	w.cancel(v)
	for range 5 {
		w.pass(10 * time.Minute)
		for range 10 {
			w.cancel(w.rung(requests["a known browser"](), ""))
		}
	}
	w.pass(10 * time.Minute)
	w.cancel(w.rung(requests["a known browser"](), mfa.RingBudgetSpent)) // 60 in a day
	w.cancel(w.rung(requests["another known browser"](), ""))
	w.pass(29*day + 22*time.Hour)
	v = w.create(source("alice", "vpn"))
	equal(t, "provenance in the month", w.provenance(v), mfa.KnownSource)
	w.cancel(v)
	w.pass(2 * time.Hour)
	equal(t, "provenance after 30 days", w.provenance(w.create(source("alice", "vpn"))), mfa.Stranger)
}

// TestSuperseded: a newer prompt takes the place of an older one of the same known browser and of
// nobody else.
func TestSuperseded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	one, two := w.remembered(u, p), w.remembered(u, p)
	w.signIn(p, source("alice", "vpn"))
	first := w.rung(w.from(one, login("alice")), "")
	other := w.rung(w.from(two, login("alice")), "")
	host := w.rung(source("alice", "vpn"), "")
	strange := w.rung(login("alice"), "")
	w.rung(source("alice", "vpn"), mfa.RingSlotTaken)
	hidden := w.rung(login("alice"), mfa.RingSlotTaken)
	equal(t, "when it rings again", hidden.RetryAt, strange.DecideBy)
	second := w.rung(w.from(one, login("alice")), "")
	w.state(first.ID, mfa.Cancelled, mfa.CancelSuperseded)
	_, err := w.decide(p, w.answers(first.ID, mfa.Scan, right(first, mfa.Scan)))
	wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
	for _, v := range []authn.View{other, host, strange, hidden, second} {
		w.state(v.ID, mfa.Pending, "")
	}
	want := []mfa.ChallengeID{second.ID, other.ID, host.ID, strange.ID}
	got := w.listed(p, "")
	if len(got) != len(want) || slices.Contains(got, hidden.ID) {
		t.Fatalf("listed %v, want %v", got, want)
	}
	if slices.Index(got, strange.ID) != 3 || slices.Index(got, host.ID) != 2 {
		t.Errorf("the known ones do not come first: %v", got)
	}
	w.approve(p, second, mfa.Scan)
	w.redeemed(second.ID)
}

// TestWaits: what is denied or ignored makes its own side wait, longer each time, and nobody else.
func TestWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy("budgets: {strangers: [{max: 1000, per: 10m}]}\n")
	u, p := w.person("alice")
	b := w.remembered(u, p)
	wait := time.Minute
	for i := range 8 {
		v := w.rung(login("alice"), "")
		if i%2 == 0 {
			w.deny(p, v.ID)
		} else {
			w.move(v.DecideBy)
			must(t, w.s.Expire(t.Context()))
		}
		v = w.rung(login("alice"), mfa.RingWaiting)
		equal(t, "when it rings again", v.RetryAt, w.now().Add(wait))
		w.deny(p, v.ID) // nobody was asked, so this makes nothing longer
		v = w.rung(login("alice"), mfa.RingWaiting)
		equal(t, "when it rings again", v.RetryAt, w.now().Add(wait))
		w.cancel(v)
		known := w.rung(w.from(b, login("alice")), "")
		w.cancel(known)
		w.pass(wait)
		wait = min(2*wait, time.Hour)
	}
	v := w.rung(login("alice"), "")
	w.approve(p, v, mfa.Scan)
	w.redeemed(v.ID)
	v = w.rung(login("alice"), "")
	w.deny(p, v.ID)
	v = w.rung(login("alice"), mfa.RingWaiting)
	equal(t, "the wait after an approval", v.RetryAt, w.now().Add(time.Minute))
	v = w.rung(w.from(b, login("alice")), "")
	w.deny(p, v.ID)
	w.rung(w.from(b, login("alice")), mfa.RingWaiting)
	w.pass(time.Minute)
	w.rung(w.from(b, login("alice")), "")
}

// TestApprovedGivesItsPlaceBack: the owner who signs in all day is never short of prompts.
func TestApprovedGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, p := w.person("alice")
	for range 12 {
		v := w.rung(login("alice"), "")
		w.approve(p, v, mfa.Digits)
		w.redeemed(v.ID)
	}
	for range 3 {
		w.cancel(w.rung(login("alice"), ""))
	}
	w.cancel(w.rung(login("alice"), mfa.RingBudgetSpent))
}

// TestUnlisted: a challenge that is not listed can be asked for by name, by its own user's devices
// alone, and answered by scanning.
func TestUnlisted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, p := w.person("alice")
	_, other := w.person("mallory")
	shown := w.rung(login("alice"), "")
	hidden := w.rung(login("alice"), mfa.RingSlotTaken)
	if got := w.listed(p, ""); !slices.Equal(got, []mfa.ChallengeID{shown.ID}) {
		t.Fatalf("listed %v", got)
	}
	got := w.listed(p, hidden.ID)
	slices.Sort(got)
	want := []mfa.ChallengeID{shown.ID, hidden.ID}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("named, listed %v", got)
	}
	for _, id := range []mfa.ChallengeID{hidden.ID, shown.ID, "ch_none"} {
		if a := w.poll(other, id); len(a.Prompts) != 0 {
			t.Errorf("another user's device got %d prompts", len(a.Prompts))
		}
	}
	w.approve(p, hidden, mfa.Scan)
	w.redeemed(hidden.ID)
	w.state(shown.ID, mfa.Pending, "")
	w.approve(p, shown, mfa.Digits)
	w.redeemed(shown.ID)
}

// TestThousandStrangers: whoever starts a thousand sign-ins from twenty applications takes no
// prompt and no sign-in from the owner.
func TestThousandStrangers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	own := w.app
	b := w.remembered(u, p)
	w.signIn(p, source("alice", "vpn"))
	w.signIn(p, source("alice", "sudo"))
	totp := w.totp(u)
	codes, err := w.accounts.MakeBackupCodes(w.ctx, in, u.ID, byAdmin)
	must(t, err)
	apps := make([]authn.Caller, 20)
	for i := range apps {
		apps[i] = w.application(fmt.Sprintf("Attacker %d", i))
	}
	begin := w.now()
	const all = 1000
	var rung atomic.Int64
	reached := map[string]bool{}
	for range all / 50 { // about as many as that are live at once
		crowd(50, 25, func(i int) {
			r := login("alice")
			r.IP, r.BrowserID = fmt.Sprintf("203.0.113.%d", i), fmt.Sprintf("guess-%d", i)
			v, err := w.s.Create(t.Context(), apps[i%len(apps)], r)
			if err != nil {
				t.Error(err)
			}
			if v.Rung {
				rung.Add(1)
			}
		})
		for _, prompt := range w.prompts(p, w.poll(p, "")) {
			reached[prompt.Challenge] = true
		}
		w.pass(2 * time.Minute)
		must(t, w.s.Expire(t.Context()))
	}
	if n := rung.Load(); w.now() > begin.Add(day) || n == 0 || n > 10 || len(reached) != int(n) {
		t.Fatalf("%d rung, %d reached the device", n, len(reached))
	}
	for range 20 {
		_, err := w.s.Create(t.Context(), apps[0], login("alice"))
		must(t, err)
	}
	w.app = own
	for _, r := range []authn.Request{w.from(b, login("alice")), source("alice", "vpn"), source("alice", "sudo")} {
		v := w.rung(r, "")
		if !slices.Contains(w.listed(p, ""), v.ID) {
			t.Errorf("the owner's own prompt is not listed")
		}
		w.approve(p, v, mfa.Digits)
		w.redeemed(v.ID)
	}
	v := w.create(login("alice"))
	equal(t, "provenance of a new browser", w.provenance(v), mfa.Stranger)
	w.approve(p, v, mfa.Scan)
	w.redeemed(v.ID)
	v = w.create(login("alice"))
	w.types(v.ID, mfa.TOTP, totp.code(w.now()))
	w.redeemed(v.ID)
	v = w.create(login("alice"))
	w.types(v.ID, mfa.BackupCode, codes[0].Reveal())
	w.redeemed(v.ID)
}

// TestSimultaneous: while two sides ask, nothing weak approves either.
func TestSimultaneous(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(everyMatch)
	u, p := w.person("alice")
	b := w.remembered(u, p)
	own := w.create(w.from(b, login("alice")))
	if !slices.Contains(own.MatchNow, mfa.Number) || own.Others != 0 {
		t.Fatalf("alone: %v, %d others", own.MatchNow, own.Others)
	}
	strange := w.create(login("alice"))
	second := w.create(login("alice"))
	if got := w.get(own.ID); slices.ContainsFunc(got.MatchNow, func(m mfa.Match) bool { return m.Bits() < mfa.StrongBits }) || got.Others != 2 {
		t.Errorf("the owner's page: %v, %d others", got.MatchNow, got.Others)
	}
	equal(t, "others of the stranger", w.get(strange.ID).Others, 1)
	equal(t, "others of the second", second.Others, 1)
	a := w.poll(p, "")
	equal(t, "cards", len(a.Prompts), 2)
	if a.Prompts[0].Others != 2 || slices.Contains(a.Prompts[0].MatchNow, protocol.MatchNumber) {
		t.Errorf("the owner's card: %+v", a.Prompts[0])
	}
	for _, m := range []mfa.Match{mfa.Number, mfa.Choice, mfa.Tap} {
		_, err := w.decide(p, w.answers(own.ID, m, right(own, m)))
		wants(t, err, mfa.Forbidden, mfa.ReasonMatchNotAllowed)
	}
	equal(t, "tries", w.row(own.ID).Wrong, 0)
	for _, m := range []mfa.Match{mfa.Digits, mfa.Scan} {
		out, err := w.decide(p, w.answers(strange.ID, m, right(own, m)))
		must(t, err)
		equal(t, "the owner's secret for the stranger", out.State, mfa.Pending)
	}
	out, err := w.decide(p, w.answers(own.ID, mfa.Digits, right(strange, mfa.Digits)))
	must(t, err)
	equal(t, "the stranger's digits for the owner", out.State, mfa.Pending)
	w.cancel(strange)
	w.cancel(second)
	w.approve(p, own, mfa.Number) // alone again
	later := w.create(login("alice"))
	equal(t, "others of a later stranger", later.Others, 1)
	w.redeemed(own.ID) // which takes nothing back
	equal(t, "others", w.get(later.ID).Others, 0)
}
