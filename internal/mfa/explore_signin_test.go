package mfa_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/nodauth/nod/internal/mfa"
)

// Time in the sign-in world stands on one of these positions; the clock moves to a neighbour,
// forwards or back. The first one is before every challenge, the last one ends the time for
// reports. A challenge lives two ticks, an approval one, a grant one, so that every limit is met
// exactly.
const (
	signinTick   = 30 * time.Second
	signinStart  = mfa.Instant(1_000_000_000_000)
	decideWithin = 2 * signinTick
	redeemWithin = signinTick
	grantFor     = signinTick
)

var instants = []mfa.Instant{
	signinStart.Add(-signinTick),
	signinStart,
	signinStart.Add(signinTick),
	signinStart.Add(2 * signinTick),
	signinStart.Add(3 * signinTick),
	signinStart.Add(24 * time.Hour),
}

// The devices: two of the user, one of somebody else that is always active.
const (
	oldDevice = iota
	newDevice
	otherDevice
)

var (
	deviceNames = []string{"old", "new", "other"}
	deviceIDs   = []mfa.DeviceID{"dev_old", "dev_new", "dev_other"}
)

// deviceMode is how a device stands.
type deviceMode uint8

const (
	modeActive deviceMode = iota
	modeQuarantined
	modeSuspended
	modeRevoked
	modeClaimed
)

var modeStates = []mfa.DeviceState{
	mfa.DeviceActive, mfa.DeviceActive, mfa.DeviceSuspended, mfa.DeviceRevoked, mfa.DeviceClaimed,
}

// world is everything that decides about two challenges of one user, and what the oracle holds.
type world struct {
	clock    int8
	left     uint8 // administrative acts still to come
	locked   bool
	lockdown bool // the user reported a sign-in that was not theirs
	off      [2]bool
	policy   uint8
	device   [2]deviceMode
	spent    uint8     // 1 + the challenge that the user's one typed code was spent on
	row      [2]uint32 // the stored challenges, as numbers of the scope's table; 0 for none
	node     [2]node
	ghost    [2]ghost
}

// node is a server process with at most one request in flight. Two idle nodes are alike, and so
// are two worlds that differ in nothing but which node is which.
type node struct {
	phase phase
	what  uint8 // received: the message; committed: 1 + the challenge that the reply speaks of
	tells stage // committed: the final state in the reply
}

type phase uint8

const (
	idle phase = iota
	received
	committed
)

// verb is what a message asks for.
type verb uint8

const (
	doApprove verb = iota
	doDeny
	doReport
	doTyped
	doTypedBack
	doCancel
	doRedeem
	doRead
)

// message is one of the messages that the attacker can bring to a node at any time, as if its
// author had sent it long ago. names and shows are what the author signed; to is the challenge
// whose row it is brought to.
type message struct {
	name   string
	verb   verb
	to     int
	names  mfa.ChallengeID
	shows  string
	device int
	app    mfa.ApplicationID
	match  mfa.Match
	answer string
	right  bool // the answer is the right one
	noUV   bool // no app lock went with it
	ask    bool // remember this browser
	method mfa.Method
	key    string
	reason mfa.CancelReason
	misled string // a redemption whose transaction read the wrong row of a device

	sighted mfa.Sighted
	number  int
}

// scope is a choice of what is in play.
type scope struct {
	name     string
	first    mfa.Challenge // exists from the start
	second   mfa.Challenge // created later, if it has an ID
	messages []message
	admin    []string
	left     uint8
	clock    [2]int8 // least and greatest position
	nodes    bool    // requests are in flight on two nodes; otherwise each is one act
	fresh    deviceMode
	want     []string

	rows []mfa.Challenge
	ids  map[mfa.Challenge]uint32
}

func (s *scope) template(i int) *mfa.Challenge {
	if i == 0 {
		return &s.first
	}
	return &s.second
}

func (s *scope) intern(c mfa.Challenge) uint32 {
	id, ok := s.ids[c]
	if !ok {
		id = uint32(len(s.rows))
		s.rows = append(s.rows, c)
		s.ids[c] = id
	}
	return id
}

// create stores a challenge of its template, made now.
func (s *scope) create(w world, i int) world {
	c := *s.template(i)
	c.State = mfa.Pending
	c.CreatedAt = instants[w.clock]
	c.DecideBy = c.CreatedAt.Add(decideWithin)
	w.row[i] = s.intern(c)
	w.ghost[i] = ghost{stage: pending, born: w.clock}
	return w
}

// facts are what a transaction reads beside the challenge.
func (s *scope) facts(w *world, i int) mfa.Facts {
	c, now := s.rows[w.row[i]], instants[w.clock]
	f := mfa.Facts{
		UserActive: !w.locked, ApplicationActive: !w.off[appNumber(c.Application)],
		Policy: policies[w.policy].requirement, LockedDown: w.lockdown,
	}
	if other := w.row[1-i]; other != 0 {
		o := s.rows[other]
		f.Simultaneous = o.At(now).State.Live() && o.Provenance != c.Provenance
	}
	return f
}

func appNumber(a mfa.ApplicationID) int {
	if a == "app_1" {
		return 0
	}
	return 1
}

func (w *world) mode(device int) deviceMode {
	if device == otherDevice {
		return modeActive
	}
	return w.device[device]
}

func (w *world) deviceFacts(device int) mfa.DeviceFacts {
	f := mfa.DeviceFacts{
		ID: deviceIDs[device], User: "usr_1",
		State: modeStates[w.mode(device)], Quarantined: w.mode(device) == modeQuarantined,
	}
	if device == otherDevice {
		f.User = "usr_2"
	}
	return f
}

// event is the message as its transaction hands it to Step. A right code is spent here, whatever
// Step says to it.
func (s *scope) event(w *world, m *message, c *mfa.Challenge) mfa.Event {
	var d mfa.Decision
	if m.verb <= doReport {
		d = mfa.Decision{
			By: w.deviceFacts(m.device), Challenge: m.names, Prompt: m.shows, Sighted: m.sighted,
		}
	}
	switch m.verb {
	case doApprove:
		return mfa.Approve{
			Decision: d, Match: m.match, Answer: m.answer, FreshBack: freshBack, RedeemWithin: redeemWithin,
			Remember: m.ask, UserVerified: !m.noUV,
		}
	case doDeny:
		return mfa.Deny{Decision: d}
	case doReport:
		return mfa.Report{Decision: d}
	case doTyped:
		e := mfa.Typed{Application: m.app, Method: m.method, RedeemWithin: redeemWithin}
		if m.right && w.spent == 0 {
			e.Right, e.Code = true, theCode
			w.spent = uint8(m.to) + 1
		}
		return e
	case doTypedBack:
		return mfa.TypedBack{Application: m.app, Answer: m.answer, RedeemWithin: redeemWithin}
	case doCancel:
		e := mfa.Cancel{Reason: m.reason, Application: m.app}
		if m.reason == mfa.CancelDeviceGone {
			e.Device = deviceIDs[m.device]
		}
		return e
	case doRedeem:
		e := mfa.Redeem{Application: m.app, Key: m.key, GrantFor: grantFor}
		if d := slices.Index(deviceIDs, c.Evidence.Device); d >= 0 {
			e.Device = w.deviceFacts(d)
		}
		switch m.misled {
		case "another device":
			e.Device.ID = "dev_9"
		case "another user":
			e.Device.User = "usr_2"
		}
		return e
	case doRead:
	}
	return mfa.Tick{}
}

const (
	freshBack = "909090"
	theCode   = "totp:1"
)

// commit runs the transaction of a message. It returns the reply's final state, if the reply tells
// one, and the invariant that broke, if one did.
func (s *scope) commit(w world, k int) (world, stage, string) {
	m := &s.messages[k]
	before := &s.rows[w.row[m.to]]
	if m.verb == doRead {
		return w, s.tells(&w, m.to), s.judgeRead(&w, m.to)
	}
	was := w
	event := s.event(&w, m, before)
	after, fx, err := mfa.Step(*before, event, s.facts(&was, m.to), instants[w.clock])
	v := s.judge(&was, m)
	broken := v.compare(before, &after, fx, err)
	w.ghost[m.to] = v.ghost
	w.lockdown = w.lockdown || fx.LockDown
	if after != *before {
		w.row[m.to] = s.intern(after)
		if broken == "" {
			broken = v.compareRow(before, &after, m)
		}
	}
	if broken == "" {
		broken = s.standing(&w)
	}
	if mfa.CodeOf(err) == mfa.NotFound {
		return w, none, broken
	}
	return w, s.tells(&w, m.to), broken
}

// tells gives the state in a reply, if it is stored and final.
func (s *scope) tells(w *world, i int) stage {
	if st := stageOf(s.rows[w.row[i]].State); !st.live() {
		return st
	}
	return none
}

// Acts of the sign-in world: kind in the high byte, number in the low one.
const (
	actDeliver act = iota << 8
	actReceive
	actCommit
	actReply
	actCrash
	actAdmin
	actClock
	actCreate
)

func (s *scope) label(a act) string {
	n := int(a & 0xff)
	switch a &^ 0xff {
	case actDeliver:
		return s.messages[n].name
	case actReceive:
		return "a node receives: " + s.messages[n].name
	case actCommit:
		return fmt.Sprintf("node %d commits", n)
	case actReply:
		return fmt.Sprintf("node %d replies", n)
	case actCrash:
		return fmt.Sprintf("node %d crashes", n)
	case actAdmin:
		return s.admin[n]
	case actClock:
		return fmt.Sprintf("the clock says %v", instants[n].Sub(signinStart))
	default:
		return "the second challenge is created"
	}
}

func (s *scope) next(w world, emit func(a act, to world, broken string)) {
	for step := int8(-1); step <= 1; step += 2 {
		if at := w.clock + step; at >= s.clock[0] && at <= s.clock[1] {
			to := w
			to.clock = at
			emit(actClock+act(at), to, "")
		}
	}
	if s.second.ID != "" && w.row[1] == 0 && w.clock > 0 && w.clock < 3 {
		emit(actCreate, s.create(w, 1), "")
	}
	if w.left > 0 {
		for n, name := range s.admin {
			if to := w; admin[name](&to) {
				to.left--
				emit(actAdmin+act(n), to, "")
			}
		}
	}
	if s.nodes {
		s.nextNodes(w, emit)
		return
	}
	for k := range s.messages {
		if s.possible(&w, k) {
			to, told, broken := s.commit(w, k)
			s.emitTold(actDeliver+act(k), to, s.messages[k].to, told, broken, emit)
		}
	}
}

// possible says whether the message makes sense: its challenge exists, and the server's own
// cancellations have their cause.
func (s *scope) possible(w *world, k int) bool {
	m := &s.messages[k]
	if w.row[m.to] == 0 {
		return false
	}
	if m.verb != doCancel || m.app != "" {
		return true
	}
	switch m.reason {
	case mfa.CancelUserLocked:
		return w.locked
	case mfa.CancelDeviceGone:
		return w.mode(m.device) > modeQuarantined
	case mfa.CancelApplicationOff:
		return w.off[appNumber(s.template(m.to).Application)]
	case mfa.CancelReported:
		return w.lockdown
	case mfa.CancelPolicy, mfa.CancelSuperseded, mfa.CancelByApplication:
	}
	return true
}

// emitTold emits a world in which somebody learned a final state from a reply.
func (s *scope) emitTold(a act, w world, i int, told stage, broken string, emit func(act, world, string)) {
	if told != none {
		if was := w.ghost[i].told; was != none && was != told && broken == "" {
			broken = fmt.Sprintf("I6: %s was told, and now %s", was, told)
		}
		w.ghost[i].told = told
	}
	emit(a, w, broken)
}

func (s *scope) nextNodes(w world, emit func(a act, to world, broken string)) {
	if w.node[0].phase == idle || w.node[1].phase == idle {
		n := 0
		if w.node[0].phase != idle {
			n = 1
		}
		for k := range s.messages {
			if s.possible(&w, k) {
				to := w
				to.node[n] = node{phase: received, what: uint8(k)}
				emit(actReceive+act(k), to.sorted(), "")
			}
		}
	}
	for n := range w.node {
		at := act(n)
		switch in := w.node[n]; in.phase {
		case received:
			to, told, broken := s.commit(w, int(in.what))
			to.node[n] = node{phase: committed}
			if told != none {
				to.node[n].what, to.node[n].tells = uint8(s.messages[in.what].to)+1, told
			}
			emit(actCommit+at, to.sorted(), broken)
		case committed:
			to := w
			to.node[n] = node{}
			emit(actCrash+at, to.sorted(), "")
			if in.tells != none {
				s.emitTold(actReply+at, to.sorted(), int(in.what)-1, in.tells, "", emit)
			}
		case idle:
		}
	}
}

// sorted gives the one of two worlds that differ only in which node is which.
func (w world) sorted() world {
	a, b := w.node[0], w.node[1]
	if a.phase < b.phase || (a.phase == b.phase && (a.what < b.what || (a.what == b.what && a.tells < b.tells))) {
		w.node[0], w.node[1] = b, a
	}
	return w
}

// admin are the acts of the administrator, and of the user on their own devices. Each says
// whether it changed anything.
var admin = map[string]func(w *world) bool{
	"lock the user":         func(w *world) bool { return set(&w.locked, true) },
	"unlock the user":       func(w *world) bool { return set(&w.locked, false) },
	"disable application 1": func(w *world) bool { return set(&w.off[0], true) },
	"enable application 1":  func(w *world) bool { return set(&w.off[0], false) },
	"disable application 2": func(w *world) bool { return set(&w.off[1], true) },
	"lift the report":       func(w *world) bool { return set(&w.lockdown, false) },
	"suspend the old device": func(w *world) bool {
		return w.device[oldDevice] < modeSuspended && set(&w.device[oldDevice], modeSuspended)
	},
	"restore the old device": func(w *world) bool {
		return w.device[oldDevice] == modeSuspended && set(&w.device[oldDevice], modeActive)
	},
	"revoke the old device": func(w *world) bool { return set(&w.device[oldDevice], modeRevoked) },
	"rotate the old device": func(w *world) bool {
		return w.device[oldDevice] == modeActive && set(&w.device[oldDevice], modeQuarantined)
	},
	"end the quarantine": func(w *world) bool {
		return w.device[newDevice] == modeQuarantined && set(&w.device[newDevice], modeActive)
	},
	"confirm the new device": func(w *world) bool {
		return w.device[newDevice] == modeClaimed && set(&w.device[newDevice], modeQuarantined)
	},
	"revoke the new device":  func(w *world) bool { return set(&w.device[newDevice], modeRevoked) },
	"loosen the policy":      func(w *world) bool { return set(&w.policy, 0) },
	"demand 20 bits":         func(w *world) bool { return w.policy == 0 && set(&w.policy, policyBits) },
	"forbid typed codes":     func(w *world) bool { return w.policy == 0 && set(&w.policy, policyNoCodes) },
	"forbid push":            func(w *world) bool { return w.policy == 0 && set(&w.policy, policyNoPush) },
	"forbid typed matches":   func(w *world) bool { return w.policy == 0 && set(&w.policy, policyScanOnly) },
	"demand the app lock":    func(w *world) bool { return w.policy == 0 && set(&w.policy, policyAppLock) },
	"demand the password":    func(w *world) bool { return w.policy == 0 && set(&w.policy, policyPassword) },
	"demand more than codes": func(w *world) bool { return w.policy == 0 && set(&w.policy, policyMoreBits) },
}

func set[T comparable](at *T, to T) bool {
	changed := *at != to
	*at = to
	return changed
}

const (
	policyBits = iota + 1
	policyNoCodes
	policyNoPush
	policyScanOnly
	policyAppLock
	policyPassword
	policyMoreBits
)

var (
	everyMatch  = mfa.MatchesOf(mfa.AllMatches()...)
	everyMethod = mfa.MethodsOf(mfa.AllMethods()...)
)

// policies are the documents that can be in force. The first one allows everything.
var policies = []struct{ requirement mfa.Requirement }{
	{mfa.Requirement{Matches: everyMatch, Methods: everyMethod}},
	{mfa.Requirement{Matches: everyMatch, Methods: everyMethod, MinBits: 20}},
	{mfa.Requirement{Matches: everyMatch, Methods: mfa.MethodsOf(mfa.Push)}},
	{mfa.Requirement{Matches: everyMatch, Methods: mfa.MethodsOf(mfa.TOTP, mfa.BypassCode)}},
	{mfa.Requirement{Matches: mfa.MatchesOf(mfa.Scan), Methods: everyMethod}},
	{mfa.Requirement{Matches: everyMatch, Methods: everyMethod, UserVerification: true}},
	{mfa.Requirement{Matches: everyMatch, Methods: everyMethod, FirstFactor: mfa.FirstFactorPassword}},
	{mfa.Requirement{Matches: everyMatch, Methods: everyMethod, MinBits: 21}},
}

func (s *scope) space() space[world] {
	for k := range s.messages {
		s.messages[k].number, s.messages[k].sighted = k, mfa.Sighted(s.messages[k].name)
	}
	s.rows, s.ids = []mfa.Challenge{{}}, map[mfa.Challenge]uint32{}
	start := world{clock: 1, left: s.left, device: [2]deviceMode{modeActive, s.fresh}}
	return space[world]{
		name: "signin/" + s.name, start: s.create(start, 0), next: s.next, label: s.label,
		marks: s.marks, want: s.want,
	}
}

// marks names every state that a challenge is in, and why.
func (s *scope) marks(w world, mark func(name string)) {
	for _, id := range w.row {
		if c := &s.rows[id]; id != 0 {
			mark(string(c.State))
			if c.State == mfa.Cancelled {
				mark("cancelled: " + string(c.Reason))
			}
			if c.Reported {
				mark(string(c.State) + ", reported")
			}
		}
	}
}
