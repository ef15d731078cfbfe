package test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodauth/nod/protocol"
)

const password = "four boats under a slow moon"

// doAsk makes a challenge, of whatever kind, from wherever.
func (m *machine) doAsk() {
	a := &ask{
		app: draw(m, "application", m.clients...), who: draw(m, "user", append([]*human{m.people[0], m.people[0]}, m.people...)...),
		kind:    draw(m, "kind", "login", "login", "login", "login", "step_up", "transaction"),
		minBits: draw(m, "min_bits", 0, 0, 0, 0, 1, 20, 128),
	}
	body := obj{"user": m.named(a.who), "context": m.context(a)}
	if m.chance("asks for matches", 4) {
		a.asked = draw(m, "matches", []string{"digits"}, []string{"scan"}, []string{"digits_back"}, []string{"number", "digits_back"}, []string{"tap"})
	}
	m.ask(a, m.firstFactor(a), body)
}

// ask brings a request for a challenge to the server.
func (m *machine) ask(a *ask, first string, body obj) {
	var v verdict
	v.need(!a.app.off, "I4: a disabled application does nothing", 403)
	a.state, a.first, body["kind"] = "pending", "none", a.kind
	switch first {
	case "none":
	case "asserted":
		a.first, body["first_factor"] = first, first
		v.need(a.app.asserts, "E4: who says that a first factor was checked may do so", 403)
	default:
		body["password"] = first
	}
	if a.minBits > 0 {
		body["min_bits"] = a.minBits
	}
	if a.asked != nil {
		body["match"] = a.asked
	}
	a.from = m.provenance(a.who, a.browser, a.source)
	m.judgePassword(&v, a, body)
	r := m.demands(a.app, a.kind, a.from)
	v.need(strength(a.first) >= strength(r.first), "E4: what policy wants first", 403)
	bits := max(a.minBits, r.minBits)
	wanted := withStrong(a.asked)
	a.matches = slices.DeleteFunc(slices.Clone(r.matches), func(k string) bool {
		return bitsOf[k] < bits || (a.asked != nil && !slices.Contains(wanted, k))
	})
	a.methods = suitable(r.methods, a.kind, bits)
	if len(a.matches) == 0 {
		a.methods = slices.DeleteFunc(a.methods, func(x string) bool { return x == "push" })
	}
	v.need(len(a.methods) > 0 && (len(a.matches) > 0 || (a.asked == nil && a.minBits == 0)), "L1: policy can be met", 422)
	reasons, older := m.silent(a, r)
	a.made = m.now()
	a.limit = a.made.Add(r.decide)
	got := m.call(a.app.key, "POST", "/v1/challenges", body)
	if m.judged("asking", v, got, 201) {
		m.arrive(a, got, reasons, older)
	}
}

// named is one of the ways to name a user.
func (m *machine) named(h *human) obj {
	if h.id != "" && m.chance("by id", 5) {
		return obj{"id": h.id}
	}
	return obj{"name": draw(m, "spelling", h.spellings...)}
}

// context says where a request comes from.
func (m *machine) context(a *ask) obj {
	c := obj{}
	switch draw(m, "from", "", "", "browser", "browser", "source", "browser_id", "somebody else's proof") {
	case "browser":
		a.browser = draw(m, "browser", m.browsers...)
		c["browser_proof"] = a.browser.prove(a.who.name)
		if m.chance("a source too", 2) {
			c["browser_id"] = "laptop"
			a.source = a.app.name + " laptop"
		}
	case "source":
		network := draw(m, "network", "192.0.2", "198.51.100")
		c["source"], c["ip"] = "build-host", fmt.Sprintf("%s.%d", network, draw(m, "host", 7, 8))
		a.source = a.app.name + " build-host " + network
	case "browser_id":
		id := draw(m, "browser id", "laptop", "tablet")
		c["browser_id"] = id
		a.source = a.app.name + " " + id
	case "somebody else's proof":
		c["browser_proof"] = draw(m, "browser", m.browsers...).prove("somebody")
	}
	return c
}

// firstFactor chooses what was checked before: none, asserted, or a password.
func (m *machine) firstFactor(a *ask) string {
	wrong := "four boats under a slow mood"
	choices := []string{"asserted", "asserted", "asserted", "asserted", "none", password, wrong}
	switch {
	case !a.app.asserts:
		choices = []string{"none", password, "none", "asserted"}
	case m.demands(a.app, a.kind, stranger).first == "none":
		choices = []string{"none", "none", "asserted", password}
	case m.demands(a.app, a.kind, stranger).first == "password":
		choices = []string{password, password, password, "asserted", "none", wrong}
	}
	return draw(m, "first factor", choices...)
}

// judgePassword pays for a password and compares it.
func (m *machine) judgePassword(v *verdict, a *ask, body obj) {
	sent, ok := body["password"]
	if !ok || len(v.broken) > 0 {
		return
	}
	now, h := m.now(), a.who
	if passwordWindow.full(h.passwords[a.from], now) {
		v.need(false, "I8: guesses are rationed", 429)
		return
	}
	if a.first = "password"; sent != h.password {
		v.need(false, "E4: a wrong password is a wrong password, for everybody", 403)
		h.passwords[a.from] = append(h.passwords[a.from], now)
	}
}

// arrive takes up a challenge that was made.
func (m *machine) arrive(a *ask, got answer, reasons []string, older []*ask) {
	a.id, a.answerable = got.get("id"), a.who.id != "" && !a.who.locked
	a.digits, a.number = got.get("match.digits"), got.get("match.number")
	if qr := got.get("match.qr"); qr != "" {
		s, err := protocol.ParseScan(qr)
		if err != nil || s.Challenge != a.id {
			m.t.Fatalf("the code of %s holds %q: %v", a.id, qr, err)
		}
		a.scan = s.Secret
	}
	made, limit := m.moment(got.get("created_at")), m.moment(got.get("decide_by"))
	if made.Sub(a.made).Abs() > margin/2 || limit.Sub(made).Round(time.Second) != a.limit.Sub(a.made).Round(time.Second) {
		m.t.Fatalf("I5: a challenge made at %s, to be decided by %s, is said to be from %s to %s", a.made, a.limit, made, limit)
	}
	m.asks, a.who.asks = append(m.asks, a), append(a.who.asks, a)
	m.touched[a] = true
	a.rung = got.get("push.rung") == "true"
	if reason := got.get("push.reason"); a.rung == (len(reasons) > 0) || (reason == "") != a.rung || (!a.rung && !slices.Contains(reasons, reason)) {
		m.t.Fatalf("I12: a challenge of %s from %s rang: %t (%q); it must not, because of %q", a.who.name, a.from, a.rung, reason, reasons)
	}
	if a.rung {
		for _, o := range older {
			m.cancelled(o, "superseded")
		}
	}
	want := m.face(a)
	want.Secrets = slices.ContainsFunc(a.matches, func(k string) bool { return k != "tap" && k != "digits_back" })
	m.faced(a, got, want)
	for _, g := range a.who.gadgets {
		if g.state == "active" {
			m.checkPoll(g, a)
			break
		}
	}
}

func (m *machine) moment(text string) time.Time {
	m.t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		m.t.Fatalf("time %q: %v", text, err)
	}
	return at
}

// pick chooses a challenge, mostly a recent one in one of the states. Where there is none, it
// mostly lets another action have its turn.
func (m *machine) pick(states ...string) *ask {
	in := slices.DeleteFunc(slices.Clone(m.asks), func(a *ask) bool { return !slices.Contains(states, a.state) })
	m.apt(len(in) > 0)
	if len(in) == 0 || m.chance("any challenge", 8) {
		in = m.asks
	}
	if len(in) == 0 {
		m.rt.SkipNow()
	}
	in = slices.Clone(in[max(0, len(in)-6):])
	slices.Reverse(in)
	return draw(m, "challenge", in...)
}

// doSignIn asks and goes on with what that leads to. Now and then something happens in between.
func (m *machine) doSignIn() {
	before := len(m.asks)
	m.doAsk()
	if len(m.asks) == before || len(m.gadgets) == 0 {
		return
	}
	a := m.asks[before]
	m.meanwhile(a)
	if m.chance("by a code", 4) {
		m.typed(a, a.app, "totp", m.code(a.who, "totp"))
	} else {
		m.approve(a)
	}
	if a.state == "answered" {
		m.meanwhile(a)
		m.typeBack(a)
	}
	if a.state == "approved" {
		m.meanwhile(a)
		m.redeem(a)
	}
}

// meanwhile lets something happen that matters to a sign-in under way.
func (m *machine) meanwhile(a *ask) {
	if !m.chance("meanwhile", 2) {
		return
	}
	m.check()
	m.begin()
	switch draw(m, "what", "tighten", "ask", "revoke", "policy", "report", "lock", "disable", "veto", "wait", "restart") {
	case "ask":
		m.doAsk()
	case "policy":
		m.doPolicy()
	case "tighten":
		m.tighten()
	case "revoke":
		if a.by.gadget != nil {
			m.withdraw(a.by.gadget)
		}
	case "veto":
		m.doVeto()
	case "report":
		m.sign(m.speaker(a), m.refusal(a, protocol.VerdictReport))
	case "lock":
		m.doLock()
	case "disable":
		m.doDisable()
	case "wait":
		m.doWait()
	case "restart":
		m.doRestart()
	}
	m.check()
	m.begin()
}

// asker is mostly the application that made the challenge.
func (m *machine) asker(a *ask) *client {
	if m.chance("any application", 8) {
		return draw(m, "application", m.clients...)
	}
	return a.app
}

func (v *verdict) owned(a *ask, by *client) bool {
	v.need(!by.off, "I4: a disabled application does nothing", 403)
	if len(v.broken) == 0 {
		v.need(by == a.app, "I7: only its own application moves a challenge", 404)
	}
	return len(v.broken) == 0
}

// doType types a code of a fallback.
func (m *machine) doType() {
	a := m.pick("pending")
	method := draw(m, "method", "totp", "totp", "totp", "backup_code", "bypass_code")
	m.typed(a, m.asker(a), method, m.code(a.who, method))
}

// code makes a code, right or not.
func (m *machine) code(h *human, method string) string {
	kind := draw(m, "code", "right", "right", "right", "used", "wrong")
	step := m.now().Unix() / 30
	switch {
	case method == "totp" && h.seed != nil && kind == "right":
		return hotp(h.seed, max(step, min(h.step+1, step+1)))
	case method == "totp" && h.seed != nil && kind == "used":
		return hotp(h.seed, h.step)
	case method == "backup_code" && len(h.backup) > 0 && kind != "wrong":
		i := slices.Index(h.spent, kind == "used")
		return h.backup[max(i, 0)]
	case method == "bypass_code" && h.bypass != "" && kind != "wrong":
		return h.bypass
	}
	return map[string]string{"totp": m.wrongTOTP(h), "backup_code": "3-abcd-efgh-ijkl-mnop", "bypass_code": "0417-9925-3380-1206"}[method]
}

func (m *machine) wrongTOTP(h *human) string {
	for i := 123456; ; i++ {
		if code := fmt.Sprint(i); m.stepOf(h, code) == 0 {
			return code
		}
	}
}

// stepOf gives the step near now whose code this is, 0 for none.
func (m *machine) stepOf(h *human, code string) int64 {
	now := m.now().Unix() / 30
	for step := now - 1; h.seed != nil && step <= now+1; step++ {
		if hotp(h.seed, step) == code {
			return step
		}
	}
	return 0
}

// doGuess types wrong codes, perhaps more than there is an allowance for, and then a right one
// elsewhere.
func (m *machine) doGuess() {
	a := m.pick("pending")
	for range 9 + draw(m, "how many", 2, 0, -4) {
		m.typed(a, a.app, "totp", m.wrongTOTP(a.who))
	}
	before := len(m.asks)
	m.doAsk()
	if len(m.asks) > before {
		a = m.asks[before]
		m.typed(a, a.app, "totp", m.code(a.who, "totp"))
	}
}

// typed brings a code to the server.
func (m *machine) typed(a *ask, by *client, method, code string) {
	h, now := a.who, m.now()
	var v verdict
	if v.owned(a, by) {
		v.open(a, "pending")
		v.need(slices.Contains(m.methodsNow(a), method), "I2: policy allows the typed method", 403)
	}
	if len(v.broken) == 0 {
		v.need(!typedWindow.full(h.guesses[a.from], now), "I8: guesses are rationed", 429)
	}
	got := m.call(by.key, "POST", "/v1/challenges/"+a.id+"/verify", obj{"method": method, "code": code})
	if !m.judged("typing a "+method, v, got, 200) {
		m.closedFor(a, by, got)
		return
	}
	m.touched[a] = true
	blind := a.from == stranger && a.first == "none" && h.password != ""
	if a.answerable && !blind && m.useUp(h, method, code) {
		a.by = evidence{method: method, at: now}
		m.accept(a)
	} else {
		h.guesses[a.from] = append(h.guesses[a.from], now)
		a.records = append(a.records, "wrong_code")
	}
	m.faced(a, got, m.face(a))
}

// closedFor is closed, for who may know of the challenge.
func (m *machine) closedFor(a *ask, by *client, got answer) {
	m.t.Helper()
	if by == a.app {
		m.closed(a, got)
	}
}

// useUp compares a code with what the user has, and uses it up.
func (m *machine) useUp(h *human, method, code string) bool {
	switch method {
	case "totp":
		step := m.stepOf(h, code)
		if step > h.step {
			h.step = step
			return true
		}
	case "backup_code":
		if i := slices.Index(h.backup, code); i >= 0 && !h.spent[i] {
			h.spent[i] = true
			return true
		}
	case "bypass_code":
		if code == h.bypass && h.uses > 0 && m.now().Before(h.bypassBy) {
			h.uses--
			return true
		}
	}
	return false
}

// doTypeBack types the digits that a device shows.
func (m *machine) doTypeBack() { m.typeBack(m.pick("answered")) }

func (m *machine) typeBack(a *ask) {
	by, code := m.asker(a), a.back
	if code == "" || m.chance("wrong digits", 3) {
		code = other(code)
	}
	var v verdict
	if v.owned(a, by) {
		v.open(a, "answered")
		v.need(slices.Contains(m.matchNow(a, a.others() > 0), "digits_back") && !a.who.locked, "I2: digits_back counts now", 403)
	}
	got := m.call(by.key, "POST", "/v1/challenges/"+a.id+"/verify", obj{"method": "digits_back", "code": code})
	if !m.judged("typing back", v, got, 200) {
		m.closedFor(a, by, got)
		return
	}
	m.touched[a] = true
	if code == a.back {
		m.accept(a)
	} else {
		m.missed(a, "digits_back")
		if a.state == "answered" && got.get("tries_left") != fmt.Sprint(3-a.wrong) {
			m.t.Fatalf("I8: %d wrong, and the page is told %s", a.wrong, got.body)
		}
	}
	m.faced(a, got, m.face(a))
}

// other is six digits that differ.
func other(digits string) string {
	if digits == "000000" {
		return "000001"
	}
	return "000000"
}

func (m *machine) doCancel() {
	a := m.pick("pending", "answered", "approved")
	by := m.asker(a)
	var v verdict
	if v.owned(a, by) && !a.live() {
		v.open(a, "")
	}
	got := m.call(by.key, "POST", "/v1/challenges/"+a.id+"/cancel", nil)
	if !m.judged("cancelling", v, got, 200) {
		m.closedFor(a, by, got)
		return
	}
	m.cancelled(a, "application")
	m.faced(a, got, m.face(a))
}

func (m *machine) doRedeem() { m.redeem(m.pick("approved", "redeemed")) }

// redeem asks for the grant, now and then several times at once.
func (m *machine) redeem(a *ask) {
	by := m.asker(a)
	key := draw(m, "key", "first", "first", "second", "third", "")
	v, voided := m.judgeRedeem(a, by, key)
	if len(v.broken) == 0 && a.state == "approved" && m.chance("at once", 4) {
		key = m.race(a)
	}
	var extra []string
	if key != "" {
		extra = []string{"Idempotency-Key", key}
	}
	got := m.call(by.key, "POST", "/v1/challenges/"+a.id+"/redeem", nil, extra...)
	if !m.judged("redeeming", v, got, 200) {
		if len(voided) > 0 {
			m.void(a, voided)
		}
		m.closedFor(a, by, got)
		return
	}
	m.touched[a] = true
	if a.state == "redeemed" {
		if a.grant != string(got.body) {
			m.t.Fatalf("I6: the same key got another grant:\n%s\n%s", a.grant, got.body)
		}
		return
	}
	a.state, a.key, a.grant = "redeemed", key, string(got.body)
	a.records = append(a.records, "redeemed")
	m.sum.grants++
	m.checkGrant(a, got.get("grant"))
}

// void takes up that an approval was cancelled when it was to be redeemed.
func (m *machine) void(a *ask, reasons []string) {
	m.t.Helper()
	reason := m.call(a.app.key, "GET", "/v1/challenges/"+a.id, nil).want(m.t, 200).get("reason")
	if !slices.Contains(reasons, reason) {
		m.t.Fatalf("I4: an approval is cancelled for %q, want one of %q", reason, reasons)
	}
	m.cancelled(a, reason)
}

// race redeems with several keys at once and gives the one that won.
func (m *machine) race(a *ask) string {
	m.t.Helper()
	keys := []string{"first", "second", "third", "fourth"}
	got := make([]answer, len(keys))
	var wg sync.WaitGroup
	for i, key := range keys {
		wg.Go(func() {
			a, err := m.try(a.app.key, "POST", "/v1/challenges/"+a.id+"/redeem", nil, "Idempotency-Key", key)
			if err != nil {
				a.body = []byte(err.Error())
			}
			got[i] = a
		})
	}
	wg.Wait()
	won := ""
	for i, g := range got {
		switch {
		case g.status == http.StatusOK && won == "":
			won = keys[i]
		case g.status != http.StatusConflict:
			m.t.Fatalf("I1: redeeming at once: %q came to %d %s, and %q won", keys[i], g.status, g.body, won)
		}
	}
	if won == "" {
		m.t.Fatalf("L1: nobody redeemed")
	}
	return won
}

// populate makes who is there from the start.
func (m *machine) populate() {
	for _, c := range []*client{{name: "wiki", asserts: true}, {name: "mail", asserts: true}, {name: "vpn"}} {
		scopes, form := []string{"authenticate"}, "as_is"
		if c.asserts {
			scopes = append(scopes, "assert_first_factor")
		} else {
			form = "strip_domain"
		}
		made := m.call(m.admin, "POST", "/v1/applications", obj{"name": c.name, "scopes": scopes, "username_form": form}).want(m.t, 201)
		c.id, c.key = made.get("application.id"), made.get("key.secret")
		m.clients = append(m.clients, c)
	}
	ada := &human{name: "ada", spellings: []string{"ada", "ADA", spelling("ada", 3), "ada@example.org"}, password: password}
	m.people = []*human{
		ada, {name: "ben", spellings: []string{"ben", "Ben"}}, {name: "nobody", spellings: []string{"nobody", "NOBODY", spelling("nobody", 3)}},
	}
	for _, h := range m.people {
		h.known, h.sources, h.delays = make(map[*browser]time.Time), make(map[string]time.Time), make(map[string]*delay)
		h.guesses, h.passwords = make(map[string][]time.Time), make(map[string][]time.Time)
		if h.name == "nobody" {
			continue
		}
		body := obj{"name": strings.ToUpper(h.name)}
		if h.password != "" {
			body["password"], body["aliases"] = h.password, []string{"Ada@example.org"}
		}
		h.id = m.call(m.admin, "POST", "/v1/users", body).want(m.t, 201).get("id")
		m.enrol(h, false)
		m.claim(h.ticket, nil)
		m.confirm(h.ticket, h.ticket.code)
	}
	m.makeTOTP(ada)
	m.browsers = []*browser{m.browser(), m.browser()}
	m.settleIn(ada)
	if m.chance("weak kinds", 3) {
		m.apply(documents()[1])
	}
}

// settleIn gives the user what one has after a while: a browser and a place that are known, and a new
// device.
func (m *machine) settleIn(h *human) {
	wiki, b := m.clients[0], m.browsers[0]
	m.ask(&ask{app: wiki, who: h, kind: "login", browser: b, source: "wiki laptop"}, "asserted", obj{
		"user": obj{"name": h.name}, "context": obj{"browser_proof": b.prove(h.name), "browser_id": "laptop"},
	})
	a := m.asks[0]
	m.sign(h.gadgets[0], &protocol.Decision{
		V: 1, Challenge: a.id, Decision: protocol.VerdictApprove, PromptSHA256: a.prompt.sum, Match: "scan", Answer: a.scan,
		Locale: "en", Remember: true,
	})
	m.wait(time.Second)
	m.enrol(h, false)
	m.claim(h.ticket, nil)
	m.confirm(h.ticket, h.ticket.code)
}
