package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"slices"
	"time"

	"github.com/nodauth/nod/protocol"
)

const maxGadgets = 5

// doEnrol makes a ticket, and mostly goes on with it.
func (m *machine) doEnrol() {
	h := draw(m, "user", m.people[0], m.people[0], m.people[1])
	if len(h.gadgets) >= maxGadgets {
		return
	}
	if !m.enrol(h, m.chance("lost", 4)) || m.chance("claim later", 6) {
		return
	}
	m.claim(h.ticket, nil)
	if m.chance("confirm at once", 2) {
		m.confirm(h.ticket, h.ticket.code)
	}
}

// enrol makes a ticket and says whether there is one.
func (m *machine) enrol(h *human, lost bool) bool {
	m.t.Helper()
	var v verdict
	v.need(!h.locked, "I4: a locked user enrols nothing", 409)
	got := m.call(m.admin, "POST", "/v1/users/"+h.id+"/enrolments", obj{"lost": lost})
	if !m.judged("enrolling", v, got, 201) {
		return false
	}
	link, err := protocol.ParseTicketLink(got.get("url"))
	if err != nil {
		m.t.Fatalf("link %q: %v", got.get("url"), err)
	}
	if old := h.ticket; old != nil && old.live() {
		m.over(old, "cancelled")
	}
	h.ticket = &ticket{
		who: h, id: got.get("id"), secret: link.Ticket, pin: link.PIN, state: "invited", lost: lost, ends: m.now().Add(10 * time.Minute),
	}
	return true
}

// claim brings a key and a ticket to the server; nil stands for a fresh key.
func (m *machine) claim(k *ticket, key *ecdsa.PrivateKey) {
	m.t.Helper()
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			m.t.Fatal(err)
		}
	}
	repeat := (k.state == "claimed" || k.state == "confirmed") && k.gadget.key == key
	var v verdict
	if !repeat {
		v.need(k.state != "expired", "I5: a ticket is claimed in time", 410)
		v.need(k.state == "invited" || k.state == "expired", "E1: a ticket is claimed once", 409)
		v.need(!slices.ContainsFunc(m.gadgets, func(g *gadget) bool { return g.key == key }), "E2: a key is enrolled once, ever", 409)
	}
	d := &device{n: m.node, key: key, enrol: k.id}
	got := m.sound("claim", d.post(protocol.PathEnrol, d.sign(&protocol.Enrol{
		V: 1, Ticket: k.secret, Name: "gadget", Platform: protocol.PlatformCLI, AppVersion: "1", Features: []string{},
	}, protocol.Header{URL: m.url + protocol.PathEnrol})))
	if !m.judged("claiming a ticket that is "+k.state, v, got, 201) {
		return
	}
	if repeat {
		if got.get("enrolled") != k.answer {
			m.t.Fatalf("I6: the same key got another answer:\n%s\n%s", got.get("enrolled"), k.answer)
		}
		return
	}
	e, set, err := protocol.OpenEnrolled(got.get("enrolled"), k.pin)
	if err != nil || e.User.ID != k.who.id {
		m.t.Fatalf("open enrolment of %s: %+v %v", k.who.id, e, err)
	}
	d.id, d.keys, d.serial = e.Device, set, set.Keys.Serial
	g := &gadget{device: d, who: k.who, ticket: k, state: "claimed"}
	k.state, k.gadget, k.code, k.answer, k.ends = "claimed", g, e.ConfirmCode, got.get("enrolled"), m.now().Add(10*time.Minute)
	m.gadgets, k.who.gadgets = append(m.gadgets, g), append(k.who.gadgets, g)
}

// someTicket chooses the present ticket of a user.
func (m *machine) someTicket() *ticket {
	h := draw(m, "user", m.people[0], m.people[0], m.people[1])
	if m.chance("an old ticket", 6) {
		return draw(m, "device", m.gadgets...).ticket
	}
	return h.ticket
}

// tickets says whether a user's present ticket is in the state.
func (m *machine) tickets(state string) bool {
	return slices.ContainsFunc(m.people[:2], func(h *human) bool { return h.ticket.state == state })
}

// doClaimAgain claims a ticket with the key that has it, a fresh one or another device's.
func (m *machine) doClaimAgain() {
	k := m.someTicket()
	var key *ecdsa.PrivateKey
	switch draw(m, "key", "same", "fresh", "another's") {
	case "same":
		if k.gadget != nil {
			key = k.gadget.key
		}
	case "another's":
		key = draw(m, "whose", m.gadgets...).key
	}
	m.claim(k, key)
}

func (m *machine) doConfirm() {
	m.apt(m.tickets("claimed"))
	k := m.someTicket()
	code := k.code
	if code == "" || m.chance("wrong code", 4) {
		code = other(code)
	}
	m.confirm(k, code)
	for code != k.code && m.chance("another wrong code", 2) {
		m.confirm(k, code)
	}
}

// confirm types the six digits of a new device.
func (m *machine) confirm(k *ticket, code string) {
	m.t.Helper()
	var v verdict
	v.need(k.state != "expired", "I5: a ticket is confirmed in time", 410)
	v.need(k.state == "claimed" || k.state == "expired", "E2: only a claimed ticket is confirmed", 409)
	v.need(!k.who.locked, "I4: a locked user enrols nothing", 409)
	if len(v.broken) == 0 && code != k.code {
		if k.wrong++; k.wrong < 3 {
			v.need(false, "E2: the six digits of this device", 403)
		} else {
			v.need(false, "E2: at most three guesses (I8)", 409)
			m.over(k, "refused")
		}
	}
	got := m.call(m.admin, "POST", "/v1/enrolments/"+k.id+"/confirm", obj{"code": code})
	if !m.judged("confirming", v, got, 200) {
		return
	}
	g, now := k.gadget, m.now()
	joins := false
	for _, o := range k.who.gadgets {
		switch {
		case o == g || o.ended():
		case k.lost:
			m.revoke(o)
		case o.state == "active":
			joins = true
			if !o.quarantined(now) {
				g.elders = append(g.elders, o)
			}
		}
	}
	k.state, g.state, g.confirmed = "confirmed", "active", true
	if q := m.law.rules.quarantine; joins && q > 0 {
		g.until, g.vetoable = now.Add(q), true
	}
}

func (m *machine) doCancelEnrolment() {
	k := m.someTicket()
	var v verdict
	v.need(k.live(), "I3: final states stay", 409)
	if m.judged("cancelling an enrolment", v, m.call(m.admin, "POST", "/v1/enrolments/"+k.id+"/cancel", nil), 200) {
		m.over(k, "cancelled")
	}
}

// revoke removes a device in the ghosts.
func (m *machine) revoke(g *gadget) {
	switch {
	case g.ended():
	case g.state == "claimed":
		m.over(g.ticket, "cancelled")
	default:
		g.state = "revoked"
		m.takeBack(g)
	}
}

func (m *machine) doRevoke() {
	g := draw(m, "device", m.gadgets...)
	if len(g.who.gadgets) >= maxGadgets && m.chance("keep", 2) {
		return // so that somebody goes on having devices
	}
	m.withdraw(g)
}

// withdraw removes a device.
func (m *machine) withdraw(g *gadget) {
	m.t.Helper()
	m.call(m.admin, "DELETE", "/v1/devices/"+g.id, nil).want(m.t, 204)
	m.revoke(g)
}

// doSettle ends a suspension one way or the other.
func (m *machine) doSettle() {
	in := slices.DeleteFunc(slices.Clone(m.gadgets), func(g *gadget) bool { return g.state != "suspended" })
	m.apt(len(in) > 0)
	if len(in) == 0 {
		in = m.gadgets
	}
	g := draw(m, "device", in...)
	restore := !m.chance("remove", 4)
	var v verdict
	v.need(!restore || g.state == "suspended", "E3: only a suspended device is restored", 409)
	if !m.judged("settling", v, m.call(m.admin, "POST", "/v1/devices/"+g.id+"/settle", obj{"restore": restore}), 200) {
		return
	}
	if restore {
		g.state, g.vetoable = "active", false
		return
	}
	m.revoke(g)
}

func (m *machine) someUser() *human { return draw(m, "user", m.people[0], m.people[0], m.people[1]) }

func (m *machine) doLock() {
	h := m.someUser()
	m.call(m.admin, "POST", "/v1/users/"+h.id+"/lock", nil).want(m.t, 200)
	if h.locked {
		return // locking again changes nothing
	}
	h.locked = true
	m.cancelAll(h.asks, "user_locked", func(*ask) bool { return true })
	if k := h.ticket; k.live() {
		m.over(k, "cancelled")
	}
}

func (m *machine) doUnlock() {
	for _, h := range m.people[:2] {
		if h.locked {
			m.call(m.admin, "POST", "/v1/users/"+h.id+"/unlock", nil).want(m.t, 200)
			h.locked = false
			return
		}
	}
	m.rt.SkipNow()
}

func (m *machine) doLift() {
	m.apt(slices.ContainsFunc(m.people, func(h *human) bool { return h.lockdown }))
	h := m.someUser()
	var v verdict
	v.need(h.lockdown, "N1: only a report is lifted", 409)
	if m.judged("lifting", v, m.call(m.admin, "POST", "/v1/users/"+h.id+"/lift-report", obj{}), 200) {
		h.lockdown = false
	}
}

// doCodes gives a user codes. Backup codes are expensive to make.
func (m *machine) doCodes() {
	h := m.someUser()
	switch draw(m, "which", "bypass", "bypass", "totp", "backup") {
	case "bypass":
		got := m.call(m.admin, "POST", "/v1/users/"+h.id+"/bypass-codes", obj{"uses": 2, "reason": "known by voice"}).want(m.t, 201)
		h.bypass, h.uses, h.bypassBy = got.get("code"), 2, m.now().Add(time.Hour)
	case "totp":
		if h.seed == nil {
			m.makeTOTP(h)
		}
	case "backup":
		if h.backup != nil {
			return
		}
		got := m.call(m.admin, "POST", "/v1/users/"+h.id+"/factors/backup-codes", nil).want(m.t, 201)
		var made struct{ Codes []string }
		if err := json.Unmarshal(got.body, &made); err != nil || len(made.Codes) != 10 {
			m.t.Fatalf("backup codes: %v %s", err, got.body)
		}
		h.backup, h.spent = made.Codes, make([]bool, len(made.Codes))
	}
}

// makeTOTP gives the user a confirmed TOTP factor, whose first code is used up by that.
func (m *machine) makeTOTP(h *human) {
	m.t.Helper()
	made := m.call(m.admin, "POST", "/v1/users/"+h.id+"/factors/totp", obj{}).want(m.t, 201)
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(made.get("secret"))
	if err != nil {
		m.t.Fatalf("secret: %v", err)
	}
	step := m.now().Unix() / 30
	m.call(m.admin, "POST", "/v1/users/"+h.id+"/factors/totp/"+made.get("id")+"/confirm", obj{"code": hotp(seed, step)}).want(m.t, 204)
	h.seed, h.step = seed, step
}

func (m *machine) doDisable() {
	c := draw(m, "application", m.clients...)
	m.call(m.admin, "POST", "/v1/applications/"+c.id+"/disable", nil).want(m.t, 200)
	c.off = true
	m.cancelAll(m.asks, "application_disabled", func(a *ask) bool { return a.app == c })
}

func (m *machine) doEnable() {
	for _, c := range m.clients {
		if c.off {
			m.call(m.admin, "POST", "/v1/applications/"+c.id+"/enable", nil).want(m.t, 200)
			c.off = false
			return
		}
	}
	m.rt.SkipNow()
}

// doPolicy puts a document in force, the built-in one more often than others.
func (m *machine) doPolicy() {
	all := documents()
	m.apply(draw(m, "policy", append([]document{all[0], all[6], all[1], all[3], all[0]}, all...)...))
}

// tighten puts a document in force that takes something away.
func (m *machine) tighten() {
	all := documents()
	m.apply(draw(m, "tighter", all[2], all[4], all[5], all[7], all[3]))
}

func (m *machine) apply(d document) {
	m.t.Helper()
	got := m.call(m.admin, "PUT", "/v1/policies/current", obj{"document": d.text}).want(m.t, 200)
	var now struct {
		Version int
		Changed bool
	}
	if err := json.Unmarshal(got.body, &now); err != nil || now.Changed != (d.text != m.law.text) || now.Changed != (now.Version > m.version) {
		m.t.Fatalf("policy %q after %q: %s (%v)", d.text, m.law.text, got.body, err)
	}
	m.law, m.version = d, now.Version
}
