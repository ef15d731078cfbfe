package mfa_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/nodauth/nod/internal/mfa"
)

// stage is where the oracle holds a challenge to be.
type stage uint8

const (
	none stage = iota
	pending
	answered
	approved
	redeemed
	denied
	failed
	expired
	cancelled
)

var stageStates = []mfa.State{
	"", mfa.Pending, mfa.Answered, mfa.Approved, mfa.Redeemed, mfa.Denied, mfa.Failed, mfa.Expired, mfa.Cancelled,
}

func (s stage) String() string { return string(stageStates[s]) }

func (s stage) live() bool { return s == pending || s == answered || s == approved }

func stageOf(state mfa.State) stage {
	for st, name := range stageStates {
		if name == state {
			return stage(st)
		}
	}
	return none
}

// ghost is the oracle's own record of one challenge, written from the messages that were carried
// out and the clock, never from the stored row.
type ghost struct {
	counted     uint64 // messages of devices that counted: decisions, reports, wrong answers
	stage       stage
	told        stage // the final state that somebody was told, if any
	born        int8  // clock positions: of the creation,
	decided     int8  // of the device's or the code's approval,
	approved    int8  // from which the application has its time,
	granted     int8
	by          uint8 // 1 + the message that the approval rests on
	key         uint8 // 1 + the message that redeemed
	wrong       uint8
	grants      uint8
	remember    bool // asked for, by a device that may
	quarantined bool // the approving device was
	reported    bool
}

// bitsOf and triesOf are the strengths, written down a second time.
var (
	bitsOf  = map[mfa.Match]int{mfa.Scan: 128, mfa.Digits: 20, mfa.DigitsBack: 20, mfa.Number: 6, mfa.Choice: 1, mfa.Tap: 0}
	triesOf = map[mfa.Match]uint8{mfa.Scan: 3, mfa.Digits: 3, mfa.DigitsBack: 3, mfa.Number: 1, mfa.Choice: 1, mfa.Tap: 1}
)

// scene is a message at the moment of its transaction.
type scene struct {
	s      *scope
	w      *world
	m      *message
	c      *mfa.Challenge // as it was made
	g      ghost          // with an expiry that the clock brought
	now    mfa.Instant
	policy mfa.Requirement
	device deviceMode
}

// law is a condition without which a message has no effect. Its name begins with the invariant;
// code, where there is one, is how the answer has to say so.
type law struct {
	name  string
	code  mfa.Code
	holds func(x *scene) bool
}

// ofDevice are the laws for every word of a device.
var ofDevice = []law{
	{"I2: a decision counts for the challenge that it names", mfa.NotFound, func(x *scene) bool { return x.m.names == x.c.ID }},
	{"I2: a decision is the user's own device's", mfa.NotFound, func(x *scene) bool { return x.m.device != otherDevice }},
	{"I2: nobody answers for a user who is not there", mfa.NotFound, func(x *scene) bool { return x.c.Answerable }},
	{"I2: a device that speaks is active", mfa.Forbidden, func(x *scene) bool { return x.device <= modeQuarantined }},
}

var inTime = []law{
	{"I5: a clock before the challenge moves nothing", "", func(x *scene) bool {
		return x.now >= instants[x.g.born].Add(-2*time.Second)
	}},
	{"I5: nothing is decided at or after its limit", "", func(x *scene) bool { return x.g.stage != expired }},
}

var undecided = law{"I3: the first decision wins", "", func(x *scene) bool { return x.g.stage == pending }}

// alive are the laws that are asked at an approval and again at redemption.
var alive = []law{
	{"I4: the user is not locked", "", func(x *scene) bool { return !x.w.locked }},
	{"I4: the application is not disabled", "", func(x *scene) bool { return !x.w.off[appNumber(x.c.Application)] }},
}

// counts says whether an approval by this match counts, by what was listed and what policy says.
func (x *scene) counts(m mfa.Match, simultaneous bool) bool {
	floor := max(x.c.MinBits, x.policy.MinBits)
	if simultaneous || x.w.lockdown || x.c.Kind != mfa.Login {
		floor = max(floor, 20)
	}
	return slices.Contains(x.c.Matches.List(), m) && slices.Contains(x.policy.Matches.List(), m) &&
		slices.Contains(x.c.Methods.List(), mfa.Push) && slices.Contains(x.policy.Methods.List(), mfa.Push) &&
		bitsOf[m] >= floor
}

// other says whether a live challenge of another provenance stands beside this one.
func (x *scene) other() bool {
	i := 1 - x.m.to
	return x.w.row[i] != 0 && x.s.now(x.w, i).live() && x.s.template(i).Provenance != x.c.Provenance
}

func (x *scene) quarantineAllows(m mfa.Match) bool {
	return x.device != modeQuarantined || (x.c.Kind == mfa.Login && (m == mfa.Scan || m == mfa.Digits))
}

var ofApproval = slices.Concat(ofDevice, inTime, []law{undecided}, []law{
	{"I2: an approval is signed over this prompt", mfa.Invalid, func(x *scene) bool { return x.m.shows == x.c.Prompt }},
	{"I2: an approval is by a match that the prompt lists", mfa.Invalid, func(x *scene) bool {
		return slices.Contains(x.c.Matches.List(), x.m.match)
	}},
}, alive, []law{
	{"I2: the match counts now", mfa.Forbidden, func(x *scene) bool { return x.counts(x.m.match, x.other()) }},
	{"Q1: quarantine approves sign-ins by scan or digits", "", func(x *scene) bool { return x.quarantineAllows(x.m.match) }},
	{"I2: the app lock went with it where policy demands it", "", func(x *scene) bool { return !x.policy.UserVerification || !x.m.noUV }},
})

var ofPrompt = law{"I2: a denial is signed over this prompt or none", mfa.Invalid, func(x *scene) bool {
	return x.m.shows == "" || x.m.shows == x.c.Prompt
}}

var ofDenial = slices.Concat(ofDevice, []law{ofPrompt}, inTime, []law{undecided})

var ofReport = slices.Concat(ofDevice, []law{ofPrompt, {
	"N1: a challenge is reported within 24 hours", mfa.Gone, func(x *scene) bool { return x.now < instants[x.g.born].Add(24*time.Hour) },
}})

var ofApplication = law{"I7: only its own application moves a challenge", mfa.NotFound, func(x *scene) bool {
	return x.m.app == x.c.Application
}}

// methodCounts says whether a typed code of the method may answer.
func (x *scene) methodCounts(m mfa.Method) bool {
	return m != mfa.Push && slices.Contains(x.c.Methods.List(), m) && slices.Contains(x.policy.Methods.List(), m) &&
		max(x.c.MinBits, x.policy.MinBits) <= 20 && x.c.Kind != mfa.Transaction &&
		(m != mfa.BypassCode || x.c.Kind == mfa.Login)
}

// A locked user is not among these: a code is then answered as a wrong one is.
var ofTyped = slices.Concat([]law{ofApplication}, inTime, []law{undecided, alive[1]}, []law{
	{"I2: policy allows the typed method", "", func(x *scene) bool { return x.methodCounts(x.m.method) }},
})

var ofTypedBack = slices.Concat([]law{ofApplication}, inTime, []law{
	{"I3: digits come back to an answered challenge", "", func(x *scene) bool { return x.g.stage == answered }},
}, alive, []law{
	{"I2: digits_back counts now", "", func(x *scene) bool { return x.counts(mfa.DigitsBack, x.other()) }},
})

var ofRedeem = slices.Concat([]law{
	ofApplication,
	{"I6: redeeming needs a key", "", func(x *scene) bool { return x.m.key != "" }},
}, inTime, []law{
	{"I2: a grant rests on an approval", "", func(x *scene) bool { return x.g.stage == approved }},
})

// standingLaws are asked again inside redemption; an approval that fails one is cancelled, for
// the reason beside it.
var standingLaws = []struct {
	law
	reason mfa.CancelReason
}{
	{alive[0], mfa.CancelUserLocked},
	{alive[1], mfa.CancelApplicationOff},
	{law{"I4: the first factor is what policy demands", "", func(x *scene) bool {
		return x.policy.FirstFactor != mfa.FirstFactorPassword || x.c.FirstFactor == mfa.FirstFactorPassword
	}}, mfa.CancelPolicy},
	{law{"I4: policy still allows the typed method", "", func(x *scene) bool {
		e := x.evidence()
		return e.verb != doTyped || x.methodCounts(e.method)
	}}, mfa.CancelPolicy},
	{law{"I4: the device that approved is still active", "", func(x *scene) bool {
		e := x.evidence()
		return e.verb != doApprove || (x.w.mode(e.device) <= modeQuarantined && x.m.misled == "")
	}}, mfa.CancelDeviceGone},
	{law{"I4: the match still counts by today's policy", "", func(x *scene) bool {
		e := x.evidence()
		return e.verb != doApprove || x.counts(e.match, false)
	}}, mfa.CancelPolicy},
	{law{"I4: the app lock went with it where policy demands it", "", func(x *scene) bool {
		e := x.evidence()
		return e.verb != doApprove || !x.policy.UserVerification || !e.noUV
	}}, mfa.CancelPolicy},
	{law{"Q1: a device in quarantine approved nothing that it may not", "", func(x *scene) bool {
		e := x.evidence()
		if e.verb != doApprove {
			return true
		}
		x.device = x.w.mode(e.device)
		return x.quarantineAllows(e.match)
	}}, mfa.CancelPolicy},
}

// evidence is the message that the approval rests on.
func (x *scene) evidence() *message { return &x.s.messages[x.g.by-1] }

// now is the stage of a challenge as every reader has to see it.
func (s *scope) now(w *world, i int) stage {
	g, now := &w.ghost[i], instants[w.clock]
	if (g.stage == pending || g.stage == answered) && now >= instants[g.born].Add(decideWithin) {
		return expired
	}
	if g.stage == approved && now >= instants[g.approved].Add(redeemWithin) {
		return expired
	}
	return g.stage
}

// verdict is what has to come of a message.
type verdict struct {
	ghost   ghost
	law     string   // that was not met
	refused bool     // the answer is an error
	code    mfa.Code // that the answer has to have, if that matters
	effects mfa.Effects
	reason  mfa.CancelReason // of a cancellation
}

// judge says what has to come of a message, by the laws and the oracle's own record.
func (s *scope) judge(w *world, m *message) verdict {
	x := &scene{
		s: s, w: w, m: m, c: s.template(m.to), g: w.ghost[m.to], now: instants[w.clock],
		policy: policies[w.policy].requirement,
	}
	if m.verb <= doReport {
		x.device = w.mode(m.device)
	}
	var v verdict
	if st := s.now(w, m.to); st != x.g.stage {
		v.effects.Record = append(v.effects.Record, mfa.RecordExpired)
		if x.g.stage == pending {
			v.effects.Wait = mfa.WaitDouble
		}
		x.g.stage = st
	}
	switch m.verb {
	case doApprove:
		s.judgeApprove(x, &v)
	case doDeny:
		s.judgeDeny(x, &v)
	case doReport:
		s.judgeReport(x, &v)
	case doTyped:
		s.judgeTyped(x, &v)
	case doTypedBack:
		s.judgeTypedBack(x, &v)
	case doCancel:
		s.judgeCancel(x, &v)
	case doRedeem:
		s.judgeRedeem(x, &v)
	case doRead:
	}
	v.ghost = x.g
	return v
}

// meets says whether every law holds, and notes the first that does not.
func (x *scene) meets(v *verdict, laws []law) bool {
	for _, l := range laws {
		if !l.holds(x) {
			v.law, v.refused, v.code = l.name, true, l.code
			return false
		}
	}
	return true
}

// repeated says whether this very message of a device counted before: then it has no effect and
// no error.
func (x *scene) repeated(v *verdict) bool {
	if !x.meets(v, ofDevice) {
		return true
	}
	k := uint64(1) << x.m.number
	if x.g.counted&k != 0 {
		v.law, v.effects.Repeat = "I6: a repeated decision has no effect", true
		return true
	}
	return false
}

func (v *verdict) record(r ...mfa.Recorded) { v.effects.Record = append(v.effects.Record, r...) }

// guessed counts a wrong answer.
func (x *scene) guessed(v *verdict, match mfa.Match) {
	v.law = "I8: a wrong answer is a guess"
	x.g.wrong++
	v.record(mfa.RecordWrong)
	if x.g.wrong >= triesOf[match] {
		x.g.stage = failed
		v.record(mfa.RecordFailed)
		v.effects.Wait = mfa.WaitDouble
	}
}

// approve opens the application's time to redeem.
func (x *scene) approve(v *verdict) {
	x.g.stage, x.g.approved = approved, x.w.clock
	v.record(mfa.RecordApproved)
	v.effects.ReturnRing, v.effects.Wait, v.effects.Remember = true, mfa.WaitClear, x.g.remember
}

func (s *scope) judgeApprove(x *scene, v *verdict) {
	if x.repeated(v) || !x.meets(v, ofApproval) {
		return
	}
	x.g.counted |= 1 << x.m.number
	compared := x.m.match != mfa.DigitsBack && x.m.match != mfa.Tap
	if compared && !x.m.right {
		v.effects.Wrong = true
		x.guessed(v, x.m.match)
		return
	}
	v.effects.Right = compared
	x.g.by, x.g.decided = uint8(x.m.number)+1, x.w.clock
	x.g.quarantined = x.device == modeQuarantined
	x.g.remember = x.m.ask && !x.g.quarantined
	if x.m.match == mfa.DigitsBack {
		x.g.stage = answered
		v.record(mfa.RecordAnswered)
		return
	}
	x.approve(v)
}

func (s *scope) judgeDeny(x *scene, v *verdict) {
	if x.repeated(v) || !x.meets(v, ofDenial) {
		return
	}
	x.g.counted |= 1 << x.m.number
	x.g.stage = denied
	v.record(mfa.RecordDenied)
	v.effects.Wait = mfa.WaitDouble
}

func (s *scope) judgeReport(x *scene, v *verdict) {
	if x.repeated(v) || !x.meets(v, ofReport) {
		return
	}
	x.g.counted |= 1 << x.m.number
	if x.g.stage.live() {
		x.g.stage = denied
		v.record(mfa.RecordDenied)
		v.effects.Wait = mfa.WaitDouble
	}
	if !x.g.reported {
		x.g.reported = true
		v.record(mfa.RecordReported)
	}
	v.effects.LockDown = x.device != modeQuarantined
}

func (s *scope) judgeTyped(x *scene, v *verdict) {
	if !x.meets(v, ofTyped) {
		return
	}
	if !x.m.right || x.w.spent != 0 || !x.c.Answerable || x.w.locked {
		v.law = "I9: one right code approves one challenge that can be answered, and I4: of a user who is not locked"
		v.record(mfa.RecordWrongCode)
		return
	}
	x.g.by, x.g.decided = uint8(x.m.number)+1, x.w.clock
	x.approve(v)
}

func (s *scope) judgeTypedBack(x *scene, v *verdict) {
	if !x.meets(v, ofTypedBack) {
		return
	}
	if !x.m.right {
		x.guessed(v, mfa.DigitsBack)
		return
	}
	x.approve(v)
}

func (s *scope) judgeCancel(x *scene, v *verdict) {
	if x.m.app != "" && !x.meets(v, []law{ofApplication}) {
		return
	}
	if !x.g.stage.live() {
		v.law, v.refused = "I3: final states stay", x.m.app != ""
		return
	}
	if x.m.reason == mfa.CancelDeviceGone &&
		(x.g.by == 0 || x.evidence().verb != doApprove || x.evidence().device != x.m.device) {
		v.law = "L1: a device that goes takes only its own approvals along"
		return
	}
	x.g.stage, v.reason = cancelled, x.m.reason
	v.record(mfa.RecordCancelled)
}

func (s *scope) judgeRedeem(x *scene, v *verdict) {
	if x.g.stage == redeemed && x.m.app == x.c.Application && x.m.key != "" {
		switch {
		case x.s.messages[x.g.key-1].key != x.m.key:
			v.law, v.refused = "I1: another key gets no grant", true
		case x.now >= instants[x.g.granted].Add(grantFor):
			v.law, v.refused = "I5: a grant that has expired is not given again", true
		default:
			v.law, v.effects.Repeat = "I6: the same key gets the same grant again", true
		}
		return
	}
	if !x.meets(v, ofRedeem) {
		return
	}
	for _, l := range standingLaws {
		if !l.holds(x) {
			v.law, v.refused, v.reason = l.name, true, l.reason
			x.g.stage = cancelled
			v.record(mfa.RecordCancelled)
			return
		}
	}
	x.g.stage, x.g.key, x.g.granted = redeemed, uint8(x.m.number)+1, x.w.clock
	x.g.grants++
	v.effects.Grant = true
	v.record(mfa.RecordRedeemed)
}

// compare says which invariant the real step broke, or "".
func (v *verdict) compare(before, after *mfa.Challenge, fx mfa.Effects, err error) string {
	blame := func(otherwise string) string {
		if v.law != "" {
			return v.law
		}
		return otherwise
	}
	switch want := v.effects; {
	case fx.Grant != want.Grant:
		return blame("I1: the one grant of a redemption")
	case after.State != stageStates[v.ghost.stage]:
		return fmt.Sprintf("%s (stored %s, lawful %s)", blame("L1: what is lawful is carried out"), after.State, v.ghost.stage)
	case after.Wrong != int(v.ghost.wrong):
		return blame("I8: every guess is counted once")
	case after.Reason != v.reason && after.State != before.State:
		return blame("I4: a cancellation says why")
	case after.Reported != v.ghost.reported:
		return "N1: a report is marked"
	case (err != nil) != v.refused:
		return blame("L1: what is lawful is carried out") + fmt.Sprintf(" (answer %v)", err)
	case v.code != "" && mfa.CodeOf(err) != v.code:
		return fmt.Sprintf("%s (answer %v, want %s)", v.law, err, v.code)
	case v.code != mfa.NotFound && mfa.CodeOf(err) == mfa.NotFound:
		return "I7: only what is another's is not found"
	case fx.Repeat != want.Repeat:
		return blame("I6: a repeat is known as one")
	case !slices.Equal(fx.Record, want.Record):
		return fmt.Sprintf("I11: every transition has its record (got %v, want %v)", fx.Record, want.Record)
	case fx.Wrong != want.Wrong || fx.Right != want.Right:
		return "I10: a wrong answer counts against the device, a right one for it"
	case fx.LockDown != want.LockDown:
		return "N1: a report by a device out of quarantine reaches beyond its challenge, no other does"
	case fx.Remember != want.Remember:
		return "Q1: a browser is remembered when an approving device out of quarantine says so"
	case fx.ReturnRing != want.ReturnRing || fx.Wait != want.Wait:
		return "I12: an approval gives the place and clears the wait, a refusal doubles it"
	}
	return ""
}

// compareRow checks the parts of a row that no step may change, and that nothing but the state
// moves where nothing was lawful.
func (v *verdict) compareRow(before, after *mfa.Challenge, m *message) string {
	b, a := *before, *after
	if a.State == b.State && a.Wrong == b.Wrong && m.verb != doReport {
		return "I3: what changes nothing stores nothing"
	}
	for _, c := range []*mfa.Challenge{&b, &a} {
		c.State, c.Reason, c.Reported, c.Wrong, c.Seen = "", "", false, 0, [mfa.MaxSeen]mfa.Sighted{}
		c.RedeemBy, c.Evidence, c.RedeemKey, c.GrantEnds, c.Expect.Back = 0, mfa.Evidence{}, "", 0, ""
	}
	if a != b {
		return "I3: what was asked for stays"
	}
	return ""
}

// standing checks what holds in every world: what was told stays, at most one grant, and the
// evidence that is stored is what the oracle saw.
func (s *scope) standing(w *world) string {
	for i := range w.row {
		if w.row[i] == 0 {
			continue
		}
		c, g := &s.rows[w.row[i]], &w.ghost[i]
		if g.told != none && c.State != stageStates[g.told] {
			return fmt.Sprintf("I6: %s was told, and now %s", g.told, c.State)
		}
		if g.grants > 1 {
			return "I1: a challenge gives at most one grant"
		}
		if want := s.evidenceOf(w, i); c.Evidence != want {
			return fmt.Sprintf("I2: the stored evidence is the approval that was given (got %+v, want %+v)", c.Evidence, want)
		}
		if c.RedeemKey != "" != (g.grants == 1) || (g.grants == 1 && c.RedeemKey != s.messages[g.key-1].key) {
			return "I1: the key that won is stored"
		}
	}
	if a, b := &w.ghost[0], &w.ghost[1]; a.by != 0 && b.by != 0 &&
		s.messages[a.by-1].verb == doTyped && s.messages[b.by-1].verb == doTyped {
		return "I9: one code approves one challenge"
	}
	return ""
}

// evidenceOf is the one piece of evidence that has to be stored.
func (s *scope) evidenceOf(w *world, i int) mfa.Evidence {
	g := &w.ghost[i]
	if g.by == 0 {
		return mfa.Evidence{}
	}
	m := &s.messages[g.by-1]
	e := mfa.Evidence{At: instants[g.decided], FirstFactorToo: s.template(i).FirstFactor}
	if m.verb == doTyped {
		e.Method, e.Code = m.method, theCode
		return e
	}
	e.Method, e.Match, e.Device = mfa.Push, m.match, deviceIDs[m.device]
	e.Quarantined, e.UserVerified, e.RememberAsked = g.quarantined, !m.noUV, g.remember
	return e
}

// judgeRead checks that every reader sees an expiry at once.
func (s *scope) judgeRead(w *world, i int) string {
	if got, want := s.rows[w.row[i]].At(instants[w.clock]).State, s.now(w, i); got != stageStates[want] {
		return fmt.Sprintf("I5: a reader sees %s, and it is %s", got, want)
	}
	return ""
}
