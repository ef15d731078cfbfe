package test

import (
	"slices"
	"time"

	"github.com/nodauth/nod/protocol"
)

// speaker chooses a device, mostly one of the user's who is asked.
func (m *machine) speaker(a *ask) *gadget {
	in := slices.Clone(a.who.gadgets)
	if len(in) == 0 || m.chance("anybody's device", 8) {
		in = m.gadgets
	}
	for _, g := range a.who.gadgets { // those that may speak more often
		if g.state == "active" {
			in = append([]*gadget{g, g}, in...)
		}
	}
	return draw(m, "device", in...)
}

func (m *machine) doApprove() { m.approve(m.pick("pending")) }

// approve signs an approval, right or wrong in many ways.
func (m *machine) approve(a *ask) {
	g := m.speaker(a)
	if a.prompt.sum == "" && g.who == a.who {
		m.checkPoll(g, a)
	}
	o := draw(m, "another", m.asks...)
	how := draw(m, "how", "right", "right", "right", "right", "wrong", "another's answer", "another's prompt")
	kinds := both(allMatches, m.matchNow(a, a.others() > 0))
	if len(kinds) == 0 || m.chance("any match", 5) {
		kinds = allMatches
	}
	k := draw(m, "match", kinds...)
	d := &protocol.Decision{
		V: 1, Challenge: a.id, Decision: protocol.VerdictApprove, PromptSHA256: a.prompt.sum, Match: protocol.Match(k),
		Answer: a.secret(k), ShownMS: int64(len(m.said)), Locale: "en", Remember: a.browser != nil && m.chance("remember", 2),
	}
	switch how {
	case "wrong":
		d.Answer = a.miss(k)
	case "another's answer":
		d.Answer = o.secret(k)
	case "another's prompt":
		d.PromptSHA256 = o.prompt.sum
	}
	if d.PromptSHA256 == "" { // of a challenge that no device was shown
		d.PromptSHA256 = protocol.PromptSHA256(nil)
	}
	m.sign(g, d)
	for how == "wrong" && m.chance("again", 2) && a.wrong < 4 { // another message each time
		again := *d
		again.ShownMS = int64(len(m.said))
		m.sign(g, &again)
	}
}

// secret is what the page of the challenge shows, or what has its form where it shows none.
func (a *ask) secret(k string) string {
	said, form := "", ""
	switch k {
	case "scan":
		said, form = a.scan, "AAAAAAAAAAAAAAAAAAAAAA"
	case "digits":
		said, form = a.digits, "123456"
	case "number", "choice":
		said, form = a.number, "12"
	}
	if said == "" {
		return form
	}
	return said
}

// miss is an answer of the right form that is wrong.
func (a *ask) miss(k string) string {
	switch right := a.secret(k); k {
	case "scan":
		return "AAAAAAAAAAAAAAAAAAAAAA"
	case "digits":
		return other(right)
	case "number", "choice":
		return other(right + "0000")[4:]
	default:
		return right
	}
}

// sign signs a decision, keeps it and delivers it.
func (m *machine) sign(g *gadget, d *protocol.Decision) {
	s := said{g, d, g.decision(d)}
	m.said = append(m.said, s)
	m.deliver(s)
}

func (m *machine) doDeny() {
	a := m.pick("pending")
	m.sign(m.speaker(a), m.refusal(a, protocol.VerdictDeny))
}

// refusal denies or reports, with or without the prompt's digest, or another's.
func (m *machine) refusal(a *ask, v protocol.Verdict) *protocol.Decision {
	d := refuse(a.id, v)
	switch draw(m, "digest", "none", "right", "another's") {
	case "right":
		d.PromptSHA256 = a.prompt.sum
	case "another's":
		d.PromptSHA256 = draw(m, "another", m.asks...).prompt.sum
	}
	return d
}

// doReport says "not me". A challenge keeps as many decisions as it can count; more than that
// would need more devices than a person has.
func (m *machine) doReport() {
	if m.chance("the day after", 8) {
		m.wait(25 * time.Hour)
	}
	a := m.pick("pending", "approved", "redeemed", "answered")
	g := m.speaker(a)
	if len(a.counted) < 5 {
		m.sign(g, m.refusal(a, protocol.VerdictReport))
	}
}

// doReplay brings a signed message once more, as if its author had sent it.
func (m *machine) doReplay() {
	if len(m.said) == 0 {
		m.rt.SkipNow()
	}
	s := draw(m, "message", m.said[max(0, len(m.said)-12):]...)
	if a := m.find(s.d.Challenge); s.d.Decision != protocol.VerdictReport || len(a.counted) < 5 || slices.Contains(a.counted, s.same()) {
		m.deliver(s)
	}
}

// doPoll asks for a challenge by its id, the device's user's or another's.
func (m *machine) doPoll() {
	g := draw(m, "device", m.gadgets...)
	if len(m.asks) == 0 {
		m.checkPoll(g, nil)
		return
	}
	m.checkPoll(g, draw(m, "challenge", m.asks...))
}

// doVeto objects to a newcomer.
func (m *machine) doVeto() {
	g := draw(m, "device", m.gadgets...)
	newest := m.gadgets[len(m.gadgets)-1]
	n := draw(m, "newcomer", append(slices.Clone(m.gadgets), newest, newest, newest)...)
	enrolment := n.ticket
	if m.chance("wrong enrolment", 6) {
		enrolment = g.ticket
	}
	var v verdict
	repeat := false
	switch {
	case g.ended():
		v.silence(g)
	case g.who != n.who || g == n || enrolment != n.ticket:
		v.need(false, "V1: a veto is of the user's other device and names the enrolment", 404)
	default:
		v.need(g.state == "active" && !g.quarantined(m.now()), "V1: who objects is active and out of quarantine", 403)
		v.need(slices.Contains(n.elders, g), "V1: who objects was so when the newcomer was confirmed", 403)
		if repeat = n.state == "suspended"; !repeat {
			v.need(n.quarantined(m.now()) && n.vetoable, "V1: a veto is for a newcomer in quarantine, and not against an administrator's word", 409)
		}
	}
	got := m.sound("veto", g.say(&protocol.Veto{V: 1, Device: n.id, Enrolment: enrolment.id}))
	if m.judged("vetoing", v, got, 200) && !repeat {
		n.state = "suspended"
		m.takeBack(n)
	}
}

// takeBack cancels what a device approved and nobody redeemed.
func (m *machine) takeBack(g *gadget) {
	m.cancelAll(g.who.asks, "device_revoked", func(a *ask) bool { return a.by.gadget == g })
}
