package mfa_test

import (
	"fmt"
	"slices"

	"github.com/nodauth/nod/internal/mfa"
)

// ticketVerdict is what has to come of something that happens to a ticket.
type ticketVerdict struct {
	ghost   ticketGhost
	law     string
	refused bool
	effects mfa.EnrolmentEffects
}

// judgeTicket says what has to come of the event, by the oracle's own record.
func judgeTicket(w *accounts, t int, event mfa.EnrolmentEvent, by *claimed) ticketVerdict {
	v := ticketVerdict{ghost: w.tickets[t]}
	g := &v.ghost
	switch {
	case g.state == mfa.EnrolmentInvited && w.clock >= g.born+1:
		g.state = mfa.EnrolmentExpired
		v.effects.Record = append(v.effects.Record, mfa.RecordEnrolmentExpired)
	case g.state == mfa.EnrolmentClaimed && w.clock >= g.claimed+1:
		g.state, v.effects.Refuse = mfa.EnrolmentExpired, true
		v.effects.Record = append(v.effects.Record, mfa.RecordEnrolmentExpired)
	}
	switch e := event.(type) {
	case mfa.Claim:
		v.claim(w, e, by)
	case mfa.Confirm:
		v.confirm(w, t, e)
	case mfa.CancelEnrolment:
		if g.state == mfa.EnrolmentInvited || g.state == mfa.EnrolmentClaimed {
			v.effects.Refuse = g.state == mfa.EnrolmentClaimed
			g.state = mfa.EnrolmentCancelled
			v.effects.Record = append(v.effects.Record, mfa.RecordEnrolmentCancelled)
		} else {
			v.law = "I3: final states stay"
		}
	}
	return v
}

// lawful notes the first law that is not met. A law is a name and whether it holds.
func (v *ticketVerdict) lawful(laws ...lawOf) bool {
	for _, l := range laws {
		if !l.holds {
			v.law, v.refused = l.name, true
			return false
		}
	}
	return true
}

type lawOf struct {
	name  string
	holds bool
}

func (v *ticketVerdict) claim(w *accounts, e mfa.Claim, by *claimed) {
	g := &v.ghost
	if (g.state == mfa.EnrolmentClaimed || g.state == mfa.EnrolmentConfirmed) && int(g.key) == by.key+1 {
		v.law, v.effects.Repeat = "I6: the same key gets the same answer again", true
		return
	}
	if !v.lawful(
		lawOf{"I5: a clock before the ticket moves nothing", w.clock >= g.born},
		lawOf{"I5: a ticket is claimed in time", g.state != mfa.EnrolmentExpired},
		lawOf{"E1: a ticket is claimed once", g.state == mfa.EnrolmentInvited},
		lawOf{"I4: a locked user enrols nothing", !w.locked},
		lawOf{"E2: a key is enrolled once, ever", !e.KeyUsed},
	) {
		return
	}
	g.state, g.key, g.claimed = mfa.EnrolmentClaimed, uint8(by.key)+1, w.clock
	v.effects.Create = true
	v.effects.Record = append(v.effects.Record, mfa.RecordEnrolmentClaimed)
}

func (v *ticketVerdict) confirm(w *accounts, t int, e mfa.Confirm) {
	g := &v.ghost
	if !v.lawful(
		lawOf{"I5: a clock before the ticket moves nothing", w.clock >= g.born},
		lawOf{"I5: a ticket is confirmed in time", g.state != mfa.EnrolmentExpired},
		lawOf{"E2: only a claimed ticket is confirmed", g.state == mfa.EnrolmentClaimed},
		lawOf{"I4: a locked user enrols nothing", !w.locked},
	) {
		return
	}
	if e.Code != codeOf(t, int(g.key)-1) {
		v.law, v.refused = "E2: the six digits of this device, at most three guesses (I8)", true
		g.wrong++
		v.effects.Record = append(v.effects.Record, mfa.RecordEnrolmentWrong)
		if g.wrong >= 3 {
			g.state, v.effects.Refuse = mfa.EnrolmentRefused, true
			v.effects.Record = append(v.effects.Record, mfa.RecordEnrolmentRefused)
		}
		return
	}
	g.state, v.effects.Activate = mfa.EnrolmentConfirmed, true
	v.effects.Record = append(v.effects.Record, mfa.RecordEnrolmentConfirmed)
}

func (v *ticketVerdict) compare(after *mfa.Enrolment, fx mfa.EnrolmentEffects, err error) string {
	law := v.law
	if law == "" {
		law = "L1: what is lawful is carried out"
	}
	want := v.effects
	switch {
	case after.State != v.ghost.state:
		return fmt.Sprintf("%s (stored %s, lawful %s)", law, after.State, v.ghost.state)
	case fx.Activate != want.Activate, fx.Create != want.Create, fx.Repeat != want.Repeat:
		return law
	case fx.Refuse != want.Refuse:
		return "E2: a claimed device whose enrolment came to nothing is refused"
	case (err != nil) != v.refused:
		return fmt.Sprintf("%s (answer %v)", law, err)
	case after.Wrong != int(v.ghost.wrong):
		return "I8: every guess is counted"
	case !slices.Equal(fx.Record, want.Record):
		return fmt.Sprintf("I11: every transition has its record (got %v, want %v)", fx.Record, want.Record)
	case v.ghost.key != 0 && after.Thumbprint != keyNames[v.ghost.key-1]:
		return "E1: the key that claimed a ticket stays"
	}
	return ""
}

// deviceVerdict is what has to come of something that happens to a device.
type deviceVerdict struct {
	ghost           deviceGhost
	law             string
	refused, hidden bool
	effects         mfa.DeviceEffects
}

// judgeDevice says what has to come of the event, by the oracle's own record.
func judgeDevice(w *accounts, d int, event mfa.DeviceEvent, by *vetoer) deviceVerdict {
	v := deviceVerdict{ghost: w.devices[d]}
	g := &v.ghost
	switch e := event.(type) {
	case mfa.Activate:
		v.activate(w, e)
	case mfa.Refuse:
		v.law = "E5: only a claimed device is refused"
		if g.state == mfa.DeviceClaimed {
			g.state = mfa.DeviceRefused
		}
	case mfa.Veto:
		v.veto(w, d, by)
	case mfa.Revoke:
		v.law = "E5: a device that is gone stays as it went"
		if g.state != mfa.DeviceRevoked && g.state != mfa.DeviceRefused {
			g.state = mfa.DeviceRevoked
			v.effects = mfa.DeviceEffects{CancelApprovals: true, Revoked: true}
		}
	case mfa.Suspend:
		v.law = "E5: only an active device is suspended"
		if g.state == mfa.DeviceActive {
			v.suspend()
		}
	case mfa.Restore:
		v.law = "E3: only a suspended device is restored"
		v.refused = g.state != mfa.DeviceSuspended
		if !v.refused {
			g.state, g.failures, g.vetoable = mfa.DeviceActive, 0, false
		}
	case mfa.Change:
		v.change(w, e)
	case mfa.DeviceAnswered:
		v.answered(e)
	}
	return v
}

func (v *deviceVerdict) suspend() {
	v.ghost.state = mfa.DeviceSuspended
	v.effects = mfa.DeviceEffects{CancelApprovals: true, Suspended: true}
}

func (v *deviceVerdict) activate(w *accounts, e mfa.Activate) {
	v.law = "E2: only the claimed device of this enrolment becomes active"
	g := &v.ghost
	if v.refused = g.state != mfa.DeviceClaimed || e.Enrolment == wrongEnrolment; v.refused {
		return
	}
	g.state, g.confirmed = mfa.DeviceActive, w.clock
	if e.Quarantine > 0 {
		g.until, g.vetoable = w.clock+freshSteps, !e.Lost
	}
}

// wrongEnrolment is what a misled activation names.
const wrongEnrolment mfa.EnrolmentID = "enr_9"

func (v *deviceVerdict) veto(w *accounts, d int, by *vetoer) {
	v.law = "V1: a veto is of the user's other device and names the enrolment"
	if by.device == strangersDevice || by.device == d || !by.right {
		v.refused, v.hidden = true, true
		return
	}
	g, b := &v.ghost, &w.devices[by.device]
	v.law = "V1: a veto is of a device active and out of quarantine, now and when the newcomer was confirmed"
	if b.state != mfa.DeviceActive || b.quarantined(w.clock) || w.active[d]>>by.device&1 == 0 ||
		b.confirmed >= g.confirmed || b.until > g.confirmed {
		v.refused = true
		return
	}
	if g.state == mfa.DeviceSuspended {
		v.law = "I6: a repeated veto has no effect"
		return
	}
	v.law = "V1: a veto is for a newcomer in quarantine, and not against an administrator's word"
	if !g.quarantined(w.clock) || !g.vetoable {
		v.refused = true
		return
	}
	v.suspend()
}

func (v *deviceVerdict) change(w *accounts, e mfa.Change) {
	v.law = "E5: a device is changed by itself while active, once for each number (I6)"
	g := &v.ghost
	if v.refused = g.state != mfa.DeviceActive || int64(g.seq) >= e.Seq; v.refused {
		return
	}
	g.seq = int8(e.Seq)
	if e.NewKey && e.Quarantine > 0 {
		g.vetoable = g.vetoable && g.quarantined(w.clock)
		g.until = max(g.until, w.clock+freshSteps)
	}
}

func (v *deviceVerdict) answered(e mfa.DeviceAnswered) {
	v.law = "I10: a hundred wrong answers in a row disable a device"
	g := &v.ghost
	if e.Right {
		g.failures = 0
		return
	}
	g.failures++
	if g.failures >= 100 && g.state == mfa.DeviceActive {
		v.suspend()
	}
}

func (v *deviceVerdict) compare(after *mfa.Device, fx mfa.DeviceEffects, err error) string {
	g := v.ghost
	var until mfa.Instant
	if g.until != 0 {
		until = enrolAt(g.until)
	}
	switch {
	case after.State != g.state:
		return fmt.Sprintf("%s (stored %s, lawful %s)", v.law, after.State, g.state)
	case (err != nil) != v.refused, v.hidden != (mfa.CodeOf(err) == mfa.NotFound):
		return fmt.Sprintf("%s (answer %v)", v.law, err)
	case fx != v.effects:
		return "I4: what a device approved goes with it"
	case after.QuarantineUntil != until:
		return "Q1: a newcomer and a new key are in quarantine"
	case after.Vetoable != g.vetoable:
		return "V1: a veto is for a newcomer in quarantine, and not against an administrator's word"
	case after.Failures != int(g.failures):
		return "I10: a counter is reset by success or an administrator alone"
	case after.Seq != int64(g.seq):
		return "I6: a change is accepted once"
	case g.confirmed > 0 && after.ConfirmedAt != enrolAt(g.confirmed):
		return "V1: the moment of confirmation stays"
	}
	return ""
}
