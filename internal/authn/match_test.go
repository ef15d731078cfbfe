package authn_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// TestEveryMatch signs in by each kind, from a known browser where a stranger may not use it.
func TestEveryMatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(everyMatch)
	u, p := w.person("alice")
	b := w.remembered(u, p)
	for _, m := range mfa.AllMatches() {
		v := w.create(w.from(b, login("alice")))
		if !slices.Contains(v.MatchNow, m) {
			t.Fatalf("%s does not count: %v", m, v.MatchNow)
		}
		if got := w.listed(p, ""); !slices.Contains(got, v.ID) {
			t.Fatalf("the device does not list %s", v.ID)
		}
		out, err := w.decide(p, w.answers(v.ID, m, right(v, m)))
		must(t, err)
		if m == mfa.DigitsBack {
			equal(t, "state", out.State, mfa.Answered)
			back, err := w.verify(v.ID, "digits_back", out.DigitsBack)
			must(t, err)
			equal(t, "state", back.State, mfa.Approved)
		} else {
			equal(t, "state", out.State, mfa.Approved)
		}
		w.redeemed(v.ID)
		got := w.row(v.ID).Evidence
		want := mfa.Evidence{Method: mfa.Push, At: w.now(), Match: m, Device: p.id, FirstFactorToo: mfa.FirstFactorAsserted}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("evidence of %s: %s", m, diff)
		}
		w.pass(15 * time.Minute)
	}
}

// TestTries counts what a challenge takes: one answer of the weak kinds, three of the others
// together, and never the same bytes twice.
func TestTries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(everyMatch)
	u, p := w.person("alice")
	b := w.remembered(u, p)
	for name, tries := range map[string][]mfa.Match{
		"number":          {mfa.Number},
		"choice":          {mfa.Choice},
		"digits":          {mfa.Digits, mfa.Digits, mfa.Digits},
		"scan":            {mfa.Scan, mfa.Scan, mfa.Scan},
		"scan and digits": {mfa.Scan, mfa.Digits, mfa.Scan},
		"digits, number":  {mfa.Digits, mfa.Number},
	} {
		w.pass(24 * time.Hour)
		w.remember(u, p, b)
		v := w.create(w.from(b, login("alice")))
		for i, m := range tries {
			first := w.wrong(p, v, m, i)
			again := w.wrong(p, v, m, i)
			equal(t, name+": state after the repetition", again.State, first.State)
			equal(t, name+": tries after the repetition", again.TriesLeft, first.TriesLeft)
			last := i == len(tries)-1
			if (first.State == mfa.Failed) != last || !first.Wrong {
				t.Fatalf("%s: after answer %d: %+v", name, i+1, first)
			}
			if !last && first.TriesLeft != 2-i {
				t.Errorf("%s: %d tries left after answer %d", name, first.TriesLeft, i+1)
			}
			equal(t, name+": wrong answers counted", w.row(v.ID).Wrong, i+1)
		}
		equal(t, name+": recorded", w.recorded(string(mfa.RecordWrong), v.ID), len(tries))
		_, err := w.decide(p, w.answers(v.ID, mfa.Digits, right(v, mfa.Digits)))
		wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
		_, err = w.redeem(v.ID)
		wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
	}
	w.create(w.from(b, login("alice")))
	w.pass(2 * time.Hour) // after the failed ones
	v := w.create(w.from(b, login("alice")))
	w.wrong(p, v, mfa.Scan, 0)
	w.wrong(p, v, mfa.Digits, 1)
	w.approve(p, v, mfa.Digits) // the third try may be right
	w.redeemed(v.ID)
}

// TestDigitsBack goes wrong at the login page, which has the three tries that the device left.
func TestDigitsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy("matches: [digits_back, digits, scan]\n")
	u, p := w.person("alice")
	_, stranger := w.person("mallory")
	v := w.create(login("alice"))
	w.wrong(p, v, mfa.Digits, 0)
	said := w.answers(v.ID, mfa.DigitsBack, "")
	out, err := w.decide(p, said)
	must(t, err)
	again, err := w.decide(p, said)
	must(t, err)
	if diff := cmp.Diff(out, again); diff != "" || len(out.DigitsBack) != 6 {
		t.Fatalf("the repetition is answered otherwise: %s", diff)
	}
	_, err = w.decide(stranger, said)
	wants(t, err, mfa.NotFound, "")
	if got := w.row(v.ID); got.Expect.Back != "" {
		t.Error("the digits are stored in the open")
	}
	got, err := w.verify(v.ID, "digits_back", other(out.DigitsBack, 0))
	must(t, err)
	equal(t, "state", got.State, mfa.Answered)
	equal(t, "tries left", got.TriesLeft, 1)
	elsewhere := w.application("Elsewhere")
	_, err = w.s.Verify(t.Context(), elsewhere, v.ID, "digits_back", out.DigitsBack)
	wants(t, err, mfa.NotFound, "")
	_, err = w.redeem(v.ID)
	wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
	got, err = w.verify(v.ID, "digits_back", other(out.DigitsBack, 1))
	must(t, err)
	equal(t, "state", got.State, mfa.Failed)
	_, err = w.verify(v.ID, "digits_back", out.DigitsBack)
	wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
	_, err = w.s.Receipt(t.Context(), w.app, v.ID)
	wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)

	w.pass(2 * time.Hour)
	v = w.create(login(u.Name))
	out, err = w.decide(p, w.answers(v.ID, mfa.DigitsBack, ""))
	must(t, err)
	_, err = w.s.Receipt(t.Context(), w.app, v.ID)
	wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
	got, err = w.verify(v.ID, "digits_back", out.DigitsBack)
	must(t, err)
	equal(t, "state", got.State, mfa.Approved)
	w.redeemed(v.ID)
}

// TestFailedHasNoReceipt: a signed approval with a wrong answer proves no approval.
func TestFailedHasNoReceipt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, p := w.person("alice")
	v := w.create(login("alice"))
	for i := range mfa.MaxTries {
		w.wrong(p, v, mfa.Digits, i)
	}
	w.state(v.ID, mfa.Failed, "")
	_, err := w.s.Receipt(t.Context(), w.app, v.ID)
	wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
}

// TestWhoMayUseWeakMatches: a known browser where policy allows them, a stranger and a source
// never, and tap only where policy names it.
func TestWhoMayUseWeakMatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	b := w.remembered(u, p)
	w.signIn(p, source("alice", "vpn"))
	strong := []mfa.Match{mfa.Scan, mfa.Digits}
	check := func(name string, want []mfa.Match, request func() (v []mfa.Match, id mfa.ChallengeID)) {
		t.Helper()
		got, id := request()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		for _, m := range mfa.AllMatches() {
			if slices.Contains(want, m) || m == mfa.Scan || m == mfa.Digits {
				continue
			}
			answer := ""
			if m == mfa.Number || m == mfa.Choice {
				answer = "11"
			}
			_, err := w.decide(p, w.answers(id, m, answer))
			wants(t, err, mfa.Invalid, mfa.ReasonMatchNotAllowed)
		}
		_, err := w.s.Cancel(t.Context(), w.app, id)
		must(t, err)
	}
	of := func(class mfa.ProvenanceClass, asked ...mfa.Match) func() ([]mfa.Match, mfa.ChallengeID) {
		return func() ([]mfa.Match, mfa.ChallengeID) {
			r := login("alice")
			switch class {
			case mfa.KnownBrowser:
				r = w.from(b, r)
			case mfa.KnownSource:
				r = source("alice", "vpn")
			case mfa.Stranger:
			}
			r.Matches = asked
			v := w.create(r)
			equal(t, "provenance", w.provenance(v), class)
			return v.MatchNow, v.ID
		}
	}
	check("known browser by default", strong, of(mfa.KnownBrowser))
	w.policy("matches: [number, scan, digits]\nmin_bits: 0\n")
	check("known browser, number allowed", []mfa.Match{mfa.Number, mfa.Scan, mfa.Digits}, of(mfa.KnownBrowser))
	check("asking for number brings the strong ones", []mfa.Match{mfa.Number, mfa.Scan, mfa.Digits}, of(mfa.KnownBrowser, mfa.Number))
	check("stranger, number allowed", strong, of(mfa.Stranger))
	check("source, number allowed", strong, of(mfa.KnownSource))
	r := w.from(b, login("alice"))
	r.Matches = []mfa.Match{mfa.Tap}
	v := w.create(r)
	if slices.Contains(v.MatchNow, mfa.Tap) {
		t.Errorf("tap counts and policy does not name it: %v", v.MatchNow)
	}
	w.policy("matches: [tap]\nmin_bits: 0\n")
	check("known browser, tap named", []mfa.Match{mfa.Tap, mfa.Scan, mfa.Digits}, of(mfa.KnownBrowser))
	check("stranger, tap named", strong, of(mfa.Stranger))
	w.policy(everyMatch)
	for _, kind := range []mfa.Kind{mfa.StepUp, mfa.Transaction} {
		r := w.from(b, login("alice"))
		r.Kind = kind
		v := w.create(r)
		for _, m := range v.MatchNow {
			if m.Bits() < mfa.StrongBits {
				t.Errorf("%s counts for a %s", m, kind)
			}
		}
	}
	w.signIn(p, login("alice"))
}

// TestRemember makes a browser known for seven days, by a signed wish of a device outside
// quarantine and by nothing else.
func TestRemember(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	b := w.newBrowser()
	v := w.create(w.from(b, login("alice")))
	w.approve(p, v, mfa.Scan)
	w.redeemed(v.ID)
	if w.known(u, b) {
		t.Fatal("a sign-in alone made the browser known")
	}
	young := w.phone(u)
	v = w.create(w.from(b, login("alice")))
	d := w.answers(v.ID, mfa.Scan, right(v, mfa.Scan))
	d.Remember = true
	out, err := w.decide(young, d)
	must(t, err)
	equal(t, "state", out.State, mfa.Approved)
	w.redeemed(v.ID)
	if w.known(u, b) {
		t.Fatal("a quarantined device made the browser known")
	}
	w.remember(u, p, b)
	from := w.now()
	v = w.create(w.from(b, login("alice")))
	equal(t, "provenance", w.provenance(v), mfa.KnownBrowser)
	// Another's browser stays another's, and a proof is good once and for 120 s.
	w.person("bob")
	v = w.create(w.from(b, login("bob")))
	equal(t, "provenance for bob", w.provenance(v), mfa.Stranger)
	once := w.from(b, login("alice"))
	w.create(once)
	v = w.create(once)
	equal(t, "provenance by a used proof", w.provenance(v), mfa.Stranger)
	late := w.from(b, login("alice"))
	w.pass(120 * time.Second)
	v = w.create(late)
	equal(t, "provenance by a late proof", w.provenance(v), mfa.Stranger)

	w.move(from.Add(7*day - time.Microsecond))
	v = w.create(w.from(b, login("alice")))
	equal(t, "provenance on the seventh day", w.provenance(v), mfa.KnownBrowser)
	w.move(from.Add(7 * day))
	v = w.create(w.from(b, login("alice")))
	equal(t, "provenance after seven days", w.provenance(v), mfa.Stranger)
	w.remember(u, p, b)
	equal(t, "known again", w.known(u, b), true)
}

// TestAtMostTenBrowsers: the one that was not seen for longest gives way.
func TestAtMostTenBrowsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	var list []browser
	for range 11 {
		list = append(list, w.remembered(u, p))
		w.pass(time.Second)
	}
	for i, b := range list {
		equal(t, "known", w.known(u, b), i > 0)
	}
	equal(t, "forgotten", len(w.events(store.EventFilter{Kind: "browser.forgotten"})), 1)
}

// TestBrowserOfStrippedName: what the person typed and what the application's form makes of it are
// the same person's name.
func TestBrowserOfStrippedName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	b := w.remembered(u, p)
	name, form := "Directory", "strip_suffix"
	w.app = w.caller(application.Changes{Name: &name, UsernameForm: &form})
	v := w.create(w.from(b, login("alice@corp.example")))
	equal(t, "provenance", w.provenance(v), mfa.KnownBrowser)
	v = w.create(w.from(b, login("alice")))
	equal(t, "provenance", w.provenance(v), mfa.KnownBrowser)
}

// TestDecisionsOfOthers: devices of another user, and devices that may not speak.
func TestDecisionsOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	_, stranger := w.person("mallory")
	waiting := w.claimed(u)
	v := w.create(login("alice"))
	for _, d := range []protocol.Decision{
		w.answers(v.ID, mfa.Scan, right(v, mfa.Scan)),
		{Challenge: string(v.ID), Decision: protocol.VerdictDeny},
		{Challenge: string(v.ID), Decision: protocol.VerdictReport},
	} {
		_, err := w.decide(stranger, d)
		wants(t, err, mfa.NotFound, "")
		_, err = w.decide(waiting, d)
		wants(t, err, mfa.Forbidden, mfa.ReasonDeviceNotActive)
	}
	d := w.answers(v.ID, mfa.Scan, right(v, mfa.Scan))
	d.PromptSHA256 = w.row(w.create(login("mallory")).ID).Prompt
	_, err := w.decide(p, d)
	wants(t, err, mfa.Invalid, mfa.ReasonPromptMismatch)
	equal(t, "tries", w.row(v.ID).Wrong, 0)
	w.state(v.ID, mfa.Pending, "")
	w.approve(p, v, mfa.Scan)
	w.redeemed(v.ID)
}
