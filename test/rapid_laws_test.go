package test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodauth/nod/protocol"
)

// verdict is what has to come of a request: all laws hold, or the statuses with which it may be
// refused.
type verdict struct {
	broken   []string
	statuses []int
}

// need notes a law that does not hold. Its name begins with the invariant.
func (v *verdict) need(holds bool, law string, statuses ...int) {
	if !holds {
		v.broken = append(v.broken, law)
		v.statuses = append(v.statuses, statuses...)
	}
}

// open are the laws about a challenge that has to be in a state.
func (v *verdict) open(a *ask, want string) {
	if a.state == "expired" {
		v.need(false, "I5: nothing moves at or after its limit", 410)
		return
	}
	v.need(a.state == want, "I3: the first decision wins and final states stay", 409)
}

// judged fails the run unless the answer is what the verdict says, and tells whether the request had
// to be carried out.
func (m *machine) judged(what string, v verdict, got answer, good int) bool {
	m.t.Helper()
	if len(v.broken) == 0 {
		if got.status != good {
			m.t.Fatalf("L1: %s is lawful, and was answered %d %s", what, got.status, got.body)
		}
		return true
	}
	if !slices.Contains(v.statuses, got.status) {
		m.t.Fatalf("%s was answered %d %s, against\n%s", what, got.status, got.body, strings.Join(v.broken, "\n"))
	}
	for _, law := range v.broken {
		m.sum.laws[law]++
	}
	return false
}

// closed checks that a refusal tells the state that stands.
func (m *machine) closed(a *ask, got answer) {
	m.t.Helper()
	if (got.status == 409 || got.status == 410) && got.get("state") != "" && got.get("state") != a.state {
		m.t.Fatalf("I6: a refusal says that the challenge is %s, and it is %s: %s", got.get("state"), a.state, got.body)
	}
}

// said is a device's decision as it was signed.
type said struct {
	by  *gadget
	d   *protocol.Decision
	raw string
}

// same names what a repetition shares.
func (s said) same() string { return fmt.Sprintf("%s %+v", s.by.id, *s.d) }

func (m *machine) find(id string) *ask {
	for _, a := range m.asks {
		if a.id == id {
			return a
		}
	}
	return nil
}

// judge says what has to come of a decision.
func (m *machine) judge(s said) (v verdict, a *ask, repeat bool) {
	a = m.find(s.d.Challenge)
	if s.by.ended() {
		v.silence(s.by)
		return v, a, false
	}
	v.need(a != nil && a.who == s.by.who && a.answerable, "I2: a decision is the user's own device's, on a challenge that can be answered", 404)
	v.need(s.by.state == "active", "I2: a device that speaks is active", 403)
	if len(v.broken) > 0 {
		return v, a, false
	}
	if slices.Contains(a.counted, s.same()) {
		return v, a, true
	}
	v.need((s.d.PromptSHA256 == "" && s.d.Decision != protocol.VerdictApprove) || (a.prompt.sum != "" && s.d.PromptSHA256 == a.prompt.sum),
		"I2: a decision is signed over this prompt", 400)
	switch s.d.Decision {
	case protocol.VerdictApprove:
		m.judgeApproval(&v, s, a)
	case protocol.VerdictDeny:
		v.open(a, "pending")
	case protocol.VerdictReport:
		v.need(m.now().Before(a.made.Add(24*time.Hour)), "N1: a challenge is reported within 24 hours", 410)
	}
	return v, a, false
}

// silence is what a device that is gone is told. One that was not confirmed in time may be told what
// it would have been as a claimed one, until the end of its time is recorded.
func (v *verdict) silence(g *gadget) {
	v.need(false, "I2: a device that is gone says nothing", 403)
	if g.ticket.state == "expired" {
		v.statuses = append(v.statuses, 404)
	}
}

func (m *machine) judgeApproval(v *verdict, s said, a *ask) {
	k := string(s.d.Match)
	v.open(a, "pending")
	v.need(slices.Contains(a.matches, k), "I2: an approval is by a match that the prompt lists", 400)
	v.need(!a.who.locked && !a.app.off, "I4: user and application are active", 403)
	v.need(slices.Contains(m.matchNow(a, a.others() > 0), k), "I2: the match counts now", 403)
	v.need(!s.by.quarantined(m.now()) || (a.kind == "login" && (k == "scan" || k == "digits")),
		"Q1: quarantine approves sign-ins by scan or digits", 403)
}

// deliver brings a decision to the server, for the first time or again.
func (m *machine) deliver(s said) {
	v, a, repeat := m.judge(s)
	got := m.sound("decide", s.by.post(protocol.PathDecisions, s.raw))
	what := fmt.Sprintf("%s by %s of a challenge that is %s", s.d.Decision, s.by.state, stateOf(a))
	if !m.judged(what, v, got, 200) {
		if a != nil && a.who == s.by.who && a.answerable {
			m.closed(a, got)
		}
		return
	}
	m.touched[a] = true
	wrong := repeat && a.state == "pending"
	if repeat {
		m.sum.laws["I6: a repeated decision has no effect"]++
	} else {
		wrong = m.carryOut(s, a)
	}
	tries := ""
	if wrong && a.state == "pending" {
		tries = fmt.Sprint(3 - a.wrong)
	}
	if got.get("state") != a.state || got.get("tries_left") != tries {
		m.t.Fatalf("I8: %s (again: %t) came to %s, %q tries left; the device is told %s", what, repeat, a.state, tries, got.body)
	}
	back := got.get("digits_back")
	if due := a.state == "answered" && a.by.gadget == s.by; due != (len(back) == 6) || (a.back != "" && due && back != a.back) {
		m.t.Fatalf("I6: digits back %q, told %q before", back, a.back)
	}
	if back != "" {
		a.back = back
	}
}

func stateOf(a *ask) string {
	if a == nil {
		return "nobody's"
	}
	return a.state
}

// carryOut does to the ghosts what a lawful decision does, and says whether it was a wrong answer.
func (m *machine) carryOut(s said, a *ask) bool {
	a.counted = append(a.counted, s.same())
	switch s.d.Decision {
	case protocol.VerdictApprove:
		return m.approved(s, a)
	case protocol.VerdictDeny:
		m.denied(a)
	case protocol.VerdictReport:
		m.reported(s.by, a)
	}
	return false
}

func (m *machine) approved(s said, a *ask) bool {
	k := string(s.d.Match)
	right := map[string]string{"scan": a.scan, "digits": a.digits, "number": a.number, "choice": a.number}
	if want, compared := right[k]; compared && s.d.Answer != want {
		m.missed(a, k)
		return true
	}
	a.by = evidence{method: "push", match: k, gadget: s.by, at: m.now(), remember: s.d.Remember && !s.by.quarantined(m.now())}
	if k == "digits_back" {
		a.state = "answered"
		a.records = append(a.records, "answered")
		return false
	}
	m.accept(a)
	return false
}

// missed counts a wrong match.
func (m *machine) missed(a *ask, k string) {
	tries := 3
	if bitsOf[k] < 20 {
		tries = 1
	}
	a.wrong++
	a.records = append(a.records, "wrong_match")
	if a.wrong >= tries {
		a.state = "failed"
		a.records = append(a.records, "failed")
		m.delayed(a)
	}
}

// accept makes a challenge approved, with what follows.
func (m *machine) accept(a *ask) {
	now, h := m.now(), a.who
	a.state, a.limit = "approved", now.Add(m.demands(a.app, a.kind, a.from).redeem)
	a.records = append(a.records, "approved")
	a.returned = true
	delete(h.delays, a.from)
	if a.source != "" && (a.by.gadget == nil || !a.by.gadget.quarantinedAt(a.by.at)) && a.acr() != "urn:nod:low" {
		h.sources[a.source] = now
	}
	if a.by.remember && a.browser != nil {
		h.known[a.browser] = now.Add(7 * 24 * time.Hour)
	}
}

// quarantinedAt says whether the device, active then, was in quarantine at a moment.
func (g *gadget) quarantinedAt(at time.Time) bool { return at.Before(g.until) }

func (m *machine) denied(a *ask) {
	a.state = "denied"
	a.records = append(a.records, "denied")
	m.delayed(a)
}

// delayed doubles the wait of a provenance whose prompt was denied or ignored.
func (m *machine) delayed(a *ask) {
	if !a.rung {
		return
	}
	d := a.who.delays[a.from]
	if d == nil {
		d = &delay{length: 30 * time.Second}
		a.who.delays[a.from] = d
	}
	d.length = min(2*d.length, time.Hour)
	d.until = m.now().Add(d.length)
}

func (m *machine) reported(by *gadget, a *ask) {
	if a.live() {
		m.denied(a)
	}
	if !a.reported {
		a.reported = true
		a.records = append(a.records, "reported")
	}
	if by.quarantined(m.now()) {
		return
	}
	a.who.lockdown = true
	m.cancelAll(a.who.asks, "reported", func(o *ask) bool {
		return o != a && (o.from == a.from || (a.browser != nil && o.from == m.fromBrowser(a.browser)) || (a.source != "" && o.from == "source/"+a.source))
	})
	delete(a.who.known, a.browser)
	delete(a.who.sources, a.source)
}

// cancelAll cancels live challenges.
func (m *machine) cancelAll(from []*ask, reason string, of func(*ask) bool) {
	for _, a := range from {
		if a.live() && of(a) {
			m.cancelled(a, reason)
		}
	}
}

func (m *machine) cancelled(a *ask, reason string) {
	a.state, a.reason = "cancelled", reason
	a.records = append(a.records, "cancelled")
	m.touched[a] = true
}

// expire ends what is over. The server is made to record that at once, as it would do within two
// seconds, so that the waits that follow begin at a known moment.
func (m *machine) expire() {
	now := m.now()
	for _, a := range m.asks {
		if !a.live() || now.Before(a.limit) {
			continue
		}
		if a.state == "pending" {
			m.delayed(a)
		}
		a.state = "expired"
		a.records = append(a.records, "expired")
		m.touched[a] = true
		path := "/v1/challenges/" + a.id + "/cancel"
		if m.lap++; m.lap%2 == 0 {
			path = "/v1/challenges/" + a.id + "/redeem"
		}
		got := m.call(a.app.key, "POST", path, nil, "Idempotency-Key", fmt.Sprintf("late-%d", m.lap))
		if got.status != 410 || got.get("state") != "expired" {
			m.t.Fatalf("I5: %s after the limit: %d %s", path, got.status, got.body)
		}
	}
	for _, h := range m.people {
		if k := h.ticket; k != nil && k.live() && !now.Before(k.ends) {
			m.over(k, "expired")
		}
	}
}

// over ends a ticket, and refuses the device that claimed it.
func (m *machine) over(k *ticket, state string) {
	if k.state == "claimed" {
		k.gadget.state = "refused"
	}
	k.state = state
}

// judgeRedeem says what has to come of a redemption. Where voided is not empty, the approval counts
// no more and is cancelled for one of these reasons.
func (m *machine) judgeRedeem(a *ask, by *client, key string) (v verdict, voided []string) {
	v.need(!by.off, "I4: a disabled application does nothing", 403)
	v.need(by == a.app, "I7: only its own application moves a challenge", 404)
	v.need(key != "", "I6: redeeming needs a key", 400)
	if len(v.broken) > 0 {
		return v, nil
	}
	if a.state == "redeemed" {
		v.need(key == a.key, "I1: another key gets no grant", 409)
		v.need(m.now().Before(a.ends), "I5: a grant that has expired is not given again", 410)
		return v, nil
	}
	v.open(a, "approved")
	if len(v.broken) > 0 {
		return v, nil
	}
	stands := func(holds bool, law, reason string) {
		if !holds {
			voided = append(voided, reason)
			v.need(false, law, 409)
		}
	}
	r := m.demands(a.app, a.kind, a.from)
	stands(!a.who.locked, "I4: the user is not locked", "user_locked")
	stands(strength(a.first) >= strength(r.first), "I4: the first factor is what policy demands", "policy")
	if g := a.by.gadget; g == nil {
		stands(slices.Contains(suitable(both(a.methods, r.methods), a.kind, max(a.minBits, r.minBits)), a.by.method),
			"I4: policy still allows the typed method", "policy")
	} else {
		stands(g.state == "active", "I4: the device that approved is still active", "device_revoked")
		stands(slices.Contains(m.matchNow(a, false), a.by.match), "I4: the match still counts by today's policy", "policy")
		stands(!g.quarantined(m.now()) || (a.kind == "login" && (a.by.match == "scan" || a.by.match == "digits")),
			"Q1: a device in quarantine approved nothing that it may not", "policy")
	}
	return v, voided
}

func strength(first string) int { return slices.Index([]string{"none", "asserted", "password"}, first) }
