package authn_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// TestReportStranger shuts strangers out of ringing and listing, and out of nothing else.
func TestReportStranger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(everyMatch)
	u, p := w.person("alice")
	b := w.remembered(u, p)
	w.signIn(p, source("alice", "vpn"))
	totp := w.totp(u)
	own := w.create(w.from(b, login("alice")))
	host := w.create(source("alice", "vpn"))
	listed, hidden := w.create(login("alice")), w.create(login("alice"))
	done := w.create(login("alice"))
	w.approve(p, done, mfa.Scan)

	out := w.report(p, listed.ID)
	equal(t, "state", out.State, mfa.Denied)
	if v := w.get(listed.ID); !v.Reported || v.State != mfa.Denied {
		t.Errorf("the reported one is %s, reported %v", v.State, v.Reported)
	}
	w.state(hidden.ID, mfa.Cancelled, mfa.CancelReported)
	w.state(done.ID, mfa.Cancelled, mfa.CancelReported)
	_, err := w.redeem(done.ID)
	wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
	w.state(own.ID, mfa.Pending, "")
	w.state(host.ID, mfa.Pending, "")
	equal(t, "still known", w.known(u, b), true)
	equal(t, "recorded", len(w.events(store.EventFilter{Kind: "user.reported"})), 1)
	at := w.stored(u).ReportedAt
	equal(t, "reported at", at, w.now())

	w.cancel(host)
	if got := w.get(own.ID); slices.ContainsFunc(got.MatchNow, func(m mfa.Match) bool { return m.Bits() < mfa.StrongBits }) {
		t.Errorf("a known browser goes on with %v", got.MatchNow)
	}
	_, err = w.decide(p, w.answers(own.ID, mfa.Number, right(own, mfa.Number)))
	wants(t, err, mfa.Forbidden, mfa.ReasonMatchNotAllowed)
	w.approve(p, own, mfa.Digits)
	w.redeemed(own.ID)

	w.pass(2 * time.Hour) // beyond every wait
	v := w.rung(login("alice"), mfa.RingReported)
	equal(t, "listed", len(w.listed(p, "")), 0)
	w.approve(p, v, mfa.Scan)
	w.redeemed(v.ID)
	v = w.rung(login("alice"), mfa.RingReported)
	w.types(v.ID, mfa.TOTP, totp.code(w.now()))
	w.redeemed(v.ID)
	for _, r := range []authn.Request{w.from(b, login("alice")), source("alice", "vpn")} {
		v := w.rung(r, "")
		w.approve(p, v, mfa.Digits)
		w.redeemed(v.ID)
	}

	// Reporting again, with other bytes, extends nothing.
	again := protocol.Decision{Challenge: string(listed.ID), Decision: protocol.VerdictReport, PromptSHA256: w.row(listed.ID).Prompt}
	out, err = w.decide(p, again)
	must(t, err)
	equal(t, "state", out.State, mfa.Denied)
	equal(t, "reported at", w.stored(u).ReportedAt, at)

	must(t, w.accounts.LiftReport(w.ctx, in, u.ID))
	out, err = w.decide(p, again) // the same bytes as before are no new report
	must(t, err)
	equal(t, "state", out.State, mfa.Denied)
	equal(t, "reported at", w.stored(u).ReportedAt, mfa.Instant(0))
	v = w.rung(login("alice"), "")
	w.approve(p, v, mfa.Digits)
	w.redeemed(v.ID)
}

// TestReportKnownBrowser forgets the reported browser, and what strangers had on the devices goes.
func TestReportKnownBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	bad, good := w.remembered(u, p), w.remembered(u, p)
	strange := w.rung(login("alice"), "")
	reported := w.rung(w.from(bad, login("alice")), "")
	other := w.rung(w.from(good, login("alice")), "")
	equal(t, "cards", len(w.listed(p, "")), 3)
	w.report(p, reported.ID)
	equal(t, "the reported is known", w.known(u, bad), false)
	equal(t, "the other is known", w.known(u, good), true)
	w.state(other.ID, mfa.Pending, "")
	w.state(strange.ID, mfa.Pending, "")
	if got := w.listed(p, ""); !slices.Equal(got, []mfa.ChallengeID{other.ID}) {
		t.Errorf("listed %v, want only %s", got, other.ID)
	}
	if got := w.listed(p, strange.ID); !slices.Contains(got, strange.ID) {
		t.Errorf("a stranger's that is named is not told: %v", got)
	}
	w.approve(p, strange, mfa.Scan)
	w.redeemed(strange.ID)
	v := w.rung(w.from(bad, login("alice")), mfa.RingReported)
	equal(t, "provenance", w.provenance(v), mfa.Stranger)
	w.approve(p, other, mfa.Digits)
	w.redeemed(other.ID)
}

// TestReportAfterRemembering: a stranger's sign-in that was approved, remembered and then reported
// leaves neither its browser nor its source known.
func TestReportAfterRemembering(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	mine := w.remembered(u, p)
	w.signIn(p, source("alice", "sudo"))
	b := w.newBrowser()
	v := w.create(w.from(b, source("alice", "vpn")))
	equal(t, "provenance", w.provenance(v), mfa.Stranger)
	d := w.answers(v.ID, mfa.Scan, right(v, mfa.Scan))
	d.Remember = true
	_, err := w.decide(p, d)
	must(t, err)
	w.redeemed(v.ID)
	equal(t, "known", w.known(u, b), true)
	w.report(p, v.ID)
	w.state(v.ID, mfa.Redeemed, "")
	equal(t, "known after the report", w.known(u, b), false)
	equal(t, "another browser is known", w.known(u, mine), true)
	v = w.create(w.from(b, source("alice", "vpn")))
	equal(t, "provenance after the report", w.provenance(v), mfa.Stranger)
	equal(t, "provenance of another source", w.provenance(w.create(source("alice", "sudo"))), mfa.KnownSource)
	w.approve(p, v, mfa.Scan)
	w.redeemed(v.ID)
}

// TestReportByQuarantined stops that challenge only, until a device that may says the same.
func TestReportByQuarantined(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	young := w.phone(u)
	one, two := w.create(login("alice")), w.create(login("alice"))
	out := w.report(young, one.ID)
	equal(t, "state", out.State, mfa.Denied)
	equal(t, "reported", w.get(one.ID).Reported, true)
	w.state(two.ID, mfa.Pending, "")
	equal(t, "reported at", w.stored(u).ReportedAt, mfa.Instant(0))
	w.pass(time.Hour)
	v := w.rung(login("alice"), "")
	w.approve(p, v, mfa.Digits)
	w.redeemed(v.ID)
	v = w.create(login("alice"))
	w.report(p, one.ID)
	w.state(v.ID, mfa.Cancelled, mfa.CancelReported)
	equal(t, "reported at", w.stored(u).ReportedAt, w.now())
}

// TestReportOfFinal marks a challenge in whatever final state, within a day of its creation.
func TestReportOfFinal(t *testing.T) {
	t.Parallel()
	final := map[mfa.State]func(*world, *phone, authn.View){
		mfa.Redeemed: func(w *world, p *phone, v authn.View) { w.approve(p, v, mfa.Scan); w.redeemed(v.ID) },
		mfa.Denied:   func(w *world, p *phone, v authn.View) { w.deny(p, v.ID) },
		mfa.Failed: func(w *world, p *phone, v authn.View) {
			for i := range 3 {
				w.wrong(p, v, mfa.Digits, i)
			}
		},
		mfa.Expired:   func(w *world, _ *phone, v authn.View) { w.move(v.DecideBy) },
		mfa.Cancelled: func(w *world, _ *phone, v authn.View) { w.cancel(v) },
	}
	w := newWorld(t)
	for state, reach := range final {
		u, p := w.person(string(state))
		v, late := w.create(login(u.Name)), w.create(login(u.Name))
		reach(w, p, v)
		reach(w, p, late)
		begin := w.row(v.ID).CreatedAt
		w.move(begin.Add(day - time.Microsecond))
		before := w.get(v.ID)
		out := w.report(p, v.ID)
		equal(t, "state", out.State, state)
		after := w.get(v.ID)
		if after.State != before.State || after.Reason != before.Reason || !after.Reported {
			t.Errorf("%s: the report made it %s %s, reported %v", state, after.State, after.Reason, after.Reported)
		}
		equal(t, string(state)+": reported at", w.stored(u).ReportedAt, w.now())
		must(t, w.accounts.LiftReport(w.ctx, in, u.ID))
		w.move(begin.Add(day))
		_, err := w.decide(p, protocol.Decision{Challenge: string(late.ID), Decision: protocol.VerdictReport})
		wants(t, err, mfa.Gone, mfa.ReasonExpired)
		equal(t, string(state)+": reported", w.get(late.ID).Reported, false)
		equal(t, string(state)+": reported at", w.stored(u).ReportedAt, mfa.Instant(0))
		w.signIn(p, login(u.Name))
	}
}

// TestReportOfRedeemedKeepsItsReceipt: the grant was given by the approval, and the receipt says so.
func TestReportOfRedeemedKeepsItsReceipt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, p := w.person("alice")
	v := w.create(login("alice"))
	w.approve(p, v, mfa.Scan)
	w.redeemed(v.ID)
	w.report(p, v.ID)
	r, err := w.s.Receipt(t.Context(), w.app, v.ID)
	must(t, err)
	proof, err := protocol.VerifyReceipt(r, &p.key.PublicKey, p.keys.PromptKey())
	must(t, err)
	equal(t, "decision", proof.Decision.Decision, protocol.VerdictApprove)
	v = w.create(login("alice"))
	w.move(v.DecideBy)
	w.report(p, v.ID)
	_, err = w.s.Receipt(t.Context(), w.app, v.ID)
	wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
}

// TestLiftByUser: two strong answers after the report end it, one does not.
func TestLiftByUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	totp := w.totp(u)
	w.report(p, w.create(login("alice")).ID)
	w.pass(time.Minute)
	scanned := w.create(login("alice"))
	w.approve(p, scanned, mfa.Scan)
	w.redeemed(scanned.ID)
	lift := func(shown ...mfa.ChallengeID) error {
		return w.accounts.LiftReportByUser(w.ctx, in, u.ID, w.app.Application.ID, shown)
	}
	wants(t, lift(scanned.ID), mfa.Forbidden, mfa.ReasonFreshFactor)
	typed := w.create(login("alice"))
	w.types(typed.ID, mfa.TOTP, totp.code(w.now()))
	wants(t, lift(scanned.ID, typed.ID), mfa.Forbidden, mfa.ReasonFreshFactor) // not redeemed
	w.redeemed(typed.ID)
	must(t, lift(scanned.ID, typed.ID))
	w.pass(time.Hour)
	v := w.rung(login("alice"), "")
	w.approve(p, v, mfa.Digits)
	w.redeemed(v.ID)
}

// TestQuarantine: what a new device may do and what not.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(everyMatch)
	u, old := w.person("alice")
	b := w.remembered(u, old)
	young := w.phone(u)
	v := w.create(w.from(b, login("alice")))
	for _, m := range []mfa.Match{mfa.Number, mfa.Choice, mfa.Tap, mfa.DigitsBack} {
		_, err := w.decide(young, w.answers(v.ID, m, right(v, m)))
		wants(t, err, mfa.Forbidden, mfa.ReasonDeviceQuarantined)
	}
	equal(t, "tries", w.row(v.ID).Wrong, 0)
	w.approve(young, v, mfa.Digits)
	w.redeemed(v.ID)
	for _, kind := range []mfa.Kind{mfa.StepUp, mfa.Transaction} {
		r := login("alice")
		r.Kind = kind
		v := w.create(r)
		_, err := w.decide(young, w.answers(v.ID, mfa.Scan, right(v, mfa.Scan)))
		wants(t, err, mfa.Forbidden, mfa.ReasonDeviceQuarantined)
		w.approve(old, v, mfa.Scan)
		w.redeemed(v.ID)
	}
	v = w.create(login("alice"))
	w.approve(young, v, mfa.Scan)
	veto := protocol.Veto{V: 1, Device: string(young.id), Enrolment: string(young.enrol)}
	wants(t, w.accounts.Veto(t.Context(), w.says(young), veto), mfa.NotFound, "")
	must(t, w.accounts.Veto(t.Context(), w.says(old), veto))
	w.state(v.ID, mfa.Cancelled, mfa.CancelDeviceGone)
	_, err := w.redeem(v.ID)
	wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
	must(t, w.accounts.Restore(w.ctx, in, young.id, account.Authority{By: mfa.ActorAdministrator}))
	w.pass(day)
	v = w.create(w.from(b, login("alice")))
	w.approve(young, v, mfa.Number)
	w.redeemed(v.ID)
}
