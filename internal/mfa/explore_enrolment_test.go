package mfa_test

import (
	"fmt"
	"time"

	"github.com/nodauth/nod/internal/mfa"
)

// The enrolment world: one user with an old device, two tickets and the device that each may
// bring, two keys that claim them, a device of another user that meddles. Time stands on
// multiples of ten minutes; a quarantine is twenty, as long as a factor stays fresh.
const (
	enrolStep  = 10 * time.Minute
	quarantine = 2 * enrolStep
	freshSteps = 2
)

// enrolAt is the moment at a clock position; position 0 is before everything.
func enrolAt(clock int8) mfa.Instant { return signinStart.Add(time.Duration(clock-1) * enrolStep) }

// The devices of this world: the old one, the one that each ticket brings, and another user's.
const (
	firstDevice = iota
	ticketDevice1
	ticketDevice2
	strangersDevice
)

var enrolNames = []string{"the old device", "device 1", "device 2", "another user's device"}

// accounts is everything that decides about the user's devices, and what the oracle holds.
type accounts struct {
	clock  int8
	left   uint8 // acts of the administrator and lost patience still to come
	locked bool
	used   uint8     // keys that were enrolled in this realm, as bits
	ticket [2]uint32 // stored enrolments, as numbers of the scope's table; 0 for none
	device [3]uint32 // stored devices, likewise
	active [3]uint8  // which devices were active when this one was confirmed, as bits

	tickets [2]ticketGhost
	devices [3]deviceGhost
}

// ticketGhost is the oracle's record of one ticket.
type ticketGhost struct {
	state   mfa.EnrolmentState
	born    int8
	claimed int8
	key     uint8 // 1 + the key that claimed it
	wrong   uint8
	made    uint8 // devices made of it
	lost    bool
	lawful  bool // by an administrator, or after a fresh strong factor
}

// deviceGhost is the oracle's record of one device.
type deviceGhost struct {
	state     mfa.DeviceState
	confirmed int8
	until     int8 // of the quarantine, as a clock position; 0 for none
	failures  int8
	seq       int8
	vetoable  bool
}

func (g deviceGhost) quarantined(clock int8) bool {
	return g.state == mfa.DeviceActive && clock < g.until
}

var keyNames = []string{"a", "b", "old"}

// codeOf is what a device shows that claimed the ticket with the key.
func codeOf(t, key int) string { return fmt.Sprintf("%d%d4711", t+1, key+1) }

// proof is what somebody shows to get a ticket for the user. fresh says whether the oracle takes
// it, apart from its age.
type proof struct {
	name  string
	fresh bool
	shown mfa.Freshness
	at    int8 // clock position of the sign-in
}

func proofs() []proof {
	of := func(change func(f *mfa.Freshness)) mfa.Freshness {
		f := mfa.Freshness{User: "usr_1", State: mfa.Redeemed, At: enrolAt(1), Method: mfa.TOTP, Kind: mfa.Login}
		change(&f)
		return f
	}
	push := func(m mfa.Match) func(f *mfa.Freshness) {
		return func(f *mfa.Freshness) { f.Method, f.Match = mfa.Push, m }
	}
	return []proof{
		{"a code", true, of(func(*mfa.Freshness) {}), 1},
		{"a passkey", true, of(func(f *mfa.Freshness) { f.Method = mfa.Passkey }), 1},
		{"a backup code", true, of(func(f *mfa.Freshness) { f.Method = mfa.BackupCode }), 1},
		{"a hardware token", true, of(func(f *mfa.Freshness) { f.Method = mfa.OATH }), 1},
		{"a push by digits", true, of(push(mfa.Digits)), 1},
		{"a push by number", false, of(push(mfa.Number)), 1},
		{"a push by tap", false, of(push(mfa.Tap)), 1},
		{"a push in quarantine", false, of(func(f *mfa.Freshness) { push(mfa.Scan)(f); f.Quarantined = true }), 1},
		{"a bypass code", false, of(func(f *mfa.Freshness) { f.Method = mfa.BypassCode }), 1},
		{"an e-mail", false, of(func(f *mfa.Freshness) { f.Method = mfa.Email }), 1},
		{"a text message", false, of(func(f *mfa.Freshness) { f.Method = mfa.SMS }), 1},
		{"a password alone", false, of(func(f *mfa.Freshness) { f.Method = "" }), 1},
		{"an approval not redeemed", false, of(func(f *mfa.Freshness) { f.State = mfa.Approved }), 1},
		{"a denial", false, of(func(f *mfa.Freshness) { f.State = mfa.Denied }), 1},
		{"another user's code", false, of(func(f *mfa.Freshness) { f.User = "usr_2" }), 1},
		{"an older code", true, of(func(f *mfa.Freshness) { f.At = enrolAt(0) }), 0},
	}
}

// enrolAct is something that can happen in the enrolment world. It returns the world after it,
// and which invariant it broke.
type enrolAct struct {
	name  string
	costs bool // one of the few acts that are counted
	do    func(s *enrolScope, w accounts) (accounts, string)
}

// enrolScope is a choice of what is in play.
type enrolScope struct {
	name  string
	acts  []enrolAct
	left  uint8
	clock [2]int8
	want  []string

	tickets []mfa.Enrolment
	devices []mfa.Device
	ticket  map[mfa.Enrolment]uint32
	device  map[mfa.Device]uint32
}

func (s *enrolScope) keepTicket(e mfa.Enrolment) uint32 {
	if _, ok := s.ticket[e]; !ok {
		s.ticket[e] = uint32(len(s.tickets))
		s.tickets = append(s.tickets, e)
	}
	return s.ticket[e]
}

func (s *enrolScope) keepDevice(d mfa.Device) uint32 {
	if _, ok := s.device[d]; !ok {
		s.device[d] = uint32(len(s.devices))
		s.devices = append(s.devices, d)
	}
	return s.device[d]
}

func (s *enrolScope) space() space[accounts] {
	s.tickets, s.ticket = []mfa.Enrolment{{}}, map[mfa.Enrolment]uint32{}
	s.devices, s.device = []mfa.Device{{}}, map[mfa.Device]uint32{}
	start := accounts{clock: 1, left: s.left, used: 1 << 2}
	old := mfa.Device{
		ID: "dev_0", User: "usr_1", Enrolment: "enr_0", State: mfa.DeviceActive,
		ConfirmedAt: enrolAt(0).Add(-time.Hour), Failures: mfa.MaxFailures - 1,
	}
	start.device[firstDevice] = s.keepDevice(old)
	start.devices[firstDevice] = deviceGhost{state: mfa.DeviceActive, confirmed: -6, failures: mfa.MaxFailures - 1}
	return space[accounts]{
		name: "enrolment/" + s.name, start: start, next: s.next, marks: s.marks, want: s.want,
		label: func(a act) string {
			if int(a) < len(s.acts) {
				return s.acts[a].name
			}
			return fmt.Sprintf("the clock says %v", enrolAt(int8(int(a)-len(s.acts))).Sub(signinStart))
		},
	}
}

func (s *enrolScope) next(w accounts, emit func(a act, to accounts, broken string)) {
	for step := int8(-1); step <= 1; step += 2 {
		if at := w.clock + step; at >= s.clock[0] && at <= s.clock[1] {
			to := w
			to.clock = at
			emit(act(len(s.acts)+int(at)), to, "")
		}
	}
	for n, a := range s.acts {
		if a.costs && w.left == 0 {
			continue
		}
		to, broken := a.do(s, w)
		if broken == "" {
			broken = s.standing(&w, &to)
		}
		if a.costs {
			to.left--
		}
		emit(act(n), to, broken)
	}
}

func (s *enrolScope) marks(w accounts, mark func(name string)) {
	for t := range w.ticket {
		if w.ticket[t] != 0 {
			mark("ticket " + string(w.tickets[t].state))
		}
	}
	for d := range w.device {
		if g := w.devices[d]; w.device[d] != 0 {
			mark("device " + string(g.state))
			if d != firstDevice && g.quarantined(w.clock) {
				mark("a newcomer in quarantine")
			}
			if d != firstDevice && g.state == mfa.DeviceActive && !g.quarantined(w.clock) {
				mark("a newcomer out of quarantine")
			}
		}
	}
}

// issue makes ticket t for the user; an older one that is still live dies.
func issue(t int, name string, by mfa.Actor, lost bool, p *proof) enrolAct {
	return enrolAct{name: fmt.Sprintf("ticket %d by %s", t+1, name), do: func(s *enrolScope, w accounts) (accounts, string) {
		if w.ticket[t] != 0 || (t == 1 && w.ticket[0] == 0) {
			return w, ""
		}
		lawful := true
		if p != nil {
			lawful = p.fresh && w.clock >= p.at && w.clock < p.at+freshSteps
			if err := mfa.MayAddDevice("usr_1", p.shown, enrolAt(w.clock)); (err == nil) != lawful {
				return w, fmt.Sprintf("E3 and E4: the active devices grow after a fresh strong factor only (%v)", err)
			}
			if !lawful {
				return w, ""
			}
		}
		broken := ""
		if t == 1 {
			w, broken = s.ticketStep(w, 0, mfa.CancelEnrolment{}, nil)
		}
		now := enrolAt(w.clock)
		w.ticket[t] = s.keepTicket(mfa.Enrolment{
			ID: mfa.EnrolmentID(fmt.Sprintf("enr_%d", t+1)), User: "usr_1", State: mfa.EnrolmentInvited, By: by, Lost: lost,
			CreatedAt: now, ClaimBy: now.Add(mfa.TicketLife),
		})
		w.tickets[t] = ticketGhost{state: mfa.EnrolmentInvited, born: w.clock, lost: lost, lawful: lawful}
		return w, broken
	}}
}

// claims brings the key of a device to ticket t.
func claims(t, key int) enrolAct {
	return enrolAct{name: fmt.Sprintf("key %s claims ticket %d", keyNames[key], t+1), do: func(s *enrolScope, w accounts) (accounts, string) {
		return s.ticketStep(w, t, mfa.Claim{
			Device: mfa.DeviceID(fmt.Sprintf("dev_%d", t+1)), Thumbprint: keyNames[key], KeyUsed: w.used>>key&1 == 1,
			Code: mfa.Code6(codeOf(t, key)), UserActive: !w.locked,
		}, &claimed{key})
	}}
}

// confirms types a code at the side that asked for ticket t.
func confirms(t int, code string) enrolAct {
	return enrolAct{name: fmt.Sprintf("%q confirms ticket %d", code, t+1), do: func(s *enrolScope, w accounts) (accounts, string) {
		return s.ticketStep(w, t, mfa.Confirm{Code: code, UserActive: !w.locked}, nil)
	}}
}

func onTicket(t int, name string, e mfa.EnrolmentEvent) enrolAct {
	return enrolAct{name: fmt.Sprintf("%s ticket %d", name, t+1), do: func(s *enrolScope, w accounts) (accounts, string) {
		return s.ticketStep(w, t, e, nil)
	}}
}

// claimed tells ticketStep which key a claim brought.
type claimed struct{ key int }

// ticketStep is the transaction of anything that happens to ticket t, with what it does to its
// device.
func (s *enrolScope) ticketStep(w accounts, t int, event mfa.EnrolmentEvent, by *claimed) (accounts, string) {
	if w.ticket[t] == 0 {
		return w, ""
	}
	v := judgeTicket(&w, t, event, by)
	before := s.tickets[w.ticket[t]]
	after, fx, err := mfa.StepEnrolment(before, event, enrolAt(w.clock))
	broken := v.compare(&after, fx, err)
	w.ticket[t], w.tickets[t] = s.keepTicket(after), v.ghost
	d := t + 1
	if fx.Create {
		w.tickets[t].made++
		w.used |= 1 << by.key
		w.device[d] = s.keepDevice(mfa.Device{ID: after.Device, User: after.User, Enrolment: after.ID, State: mfa.DeviceClaimed})
		w.devices[d] = deviceGhost{state: mfa.DeviceClaimed}
	}
	if fx.Refuse {
		w, broken = s.then(w, broken, d, mfa.Refuse{}, nil)
	}
	if fx.Activate {
		w.active[d] = w.actives()
		e := mfa.Activate{Enrolment: after.ID, Lost: after.Lost}
		if w.active[d] != 0 {
			e.Quarantine = quarantine
		}
		w, broken = s.then(w, broken, d, e, nil)
		for i := range w.device {
			if after.Lost && i != d && w.device[i] != 0 {
				w, broken = s.then(w, broken, i, mfa.Revoke{}, nil)
			}
		}
	}
	return w, broken
}

// actives are the devices that are active, as bits.
func (w *accounts) actives() uint8 {
	var bits uint8
	for d := range w.devices {
		if w.device[d] != 0 && w.devices[d].state == mfa.DeviceActive {
			bits |= 1 << d
		}
	}
	return bits
}

func (s *enrolScope) then(w accounts, broken string, d int, e mfa.DeviceEvent, by *vetoer) (accounts, string) {
	to, also := s.deviceStep(w, d, e, by)
	if broken == "" {
		broken = also
	}
	return to, broken
}

// vetoer tells deviceStep which device vetoes and whether it names the right enrolment.
type vetoer struct {
	device int
	right  bool
}

// deviceStep is the transaction of anything that happens to device d.
func (s *enrolScope) deviceStep(w accounts, d int, event mfa.DeviceEvent, by *vetoer) (accounts, string) {
	if w.device[d] == 0 {
		return w, ""
	}
	v := judgeDevice(&w, d, event, by)
	after, fx, err := mfa.StepDevice(s.devices[w.device[d]], event, enrolAt(w.clock))
	broken := v.compare(&after, fx, err)
	w.device[d], w.devices[d] = s.keepDevice(after), v.ghost
	return w, broken
}

func onDevice(d int, name string, costs bool, e mfa.DeviceEvent) enrolAct {
	return enrolAct{name: name + " " + enrolNames[d], costs: costs, do: func(s *enrolScope, w accounts) (accounts, string) {
		return s.deviceStep(w, d, e, nil)
	}}
}

// vetoes is a signed objection against device d.
func vetoes(by, d int, right bool) enrolAct {
	name := fmt.Sprintf("%s vetoes %s", enrolNames[by], enrolNames[d])
	if !right {
		name += " by another enrolment"
	}
	return enrolAct{name: name, do: func(s *enrolScope, w accounts) (accounts, string) {
		if w.device[d] == 0 || (by != strangersDevice && w.device[by] == 0) {
			return w, ""
		}
		e := mfa.Veto{Enrolment: s.devices[w.device[d]].Enrolment, Unsuspected: true}
		if !right {
			e.Enrolment = "enr_0x"
		}
		if by == strangersDevice {
			e.By = mfa.Device{ID: "dev_x", User: "usr_2", State: mfa.DeviceActive, ConfirmedAt: enrolAt(0).Add(-time.Hour)}
		} else {
			e.By = s.devices[w.device[by]]
			e.Unsuspected = w.active[d]>>by&1 == 1
		}
		return s.deviceStep(w, d, e, &vetoer{by, right})
	}}
}

var (
	lockUser   = enrolAct{name: "lock the user", costs: true, do: func(_ *enrolScope, w accounts) (accounts, string) { w.locked = true; return w, "" }}
	unlockUser = enrolAct{name: "unlock the user", costs: true, do: func(_ *enrolScope, w accounts) (accounts, string) { w.locked = false; return w, "" }}
)

// standing checks what holds in every world and from one world to the next.
func (s *enrolScope) standing(from, w *accounts) string {
	for t := range w.tickets {
		if w.tickets[t].made > 1 {
			return "E1: a ticket brings at most one device"
		}
	}
	for d := ticketDevice1; d <= ticketDevice2; d++ {
		if w.device[d] == 0 || s.devices[w.device[d]].State != mfa.DeviceActive {
			continue
		}
		if t := w.tickets[d-1]; t.key == 0 || t.state != mfa.EnrolmentConfirmed {
			return "E2: a device is active after its key and the confirming side have both spoken"
		} else if !t.lawful {
			return "E3: the active devices grow after a fresh factor or an administrator's act"
		}
	}
	for d := range w.device {
		if from.devices[d].state == mfa.DeviceRevoked && s.devices[w.device[d]].State != mfa.DeviceRevoked {
			return "E5: a device that was revoked stays so"
		}
	}
	return ""
}
