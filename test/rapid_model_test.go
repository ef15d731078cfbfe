package test

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// client is an application.
type client struct {
	name, id, key string
	asserts       bool // may say that it checked a first factor
	off           bool
}

// human is a user, or a name that nobody has: what is counted is counted for both.
type human struct {
	name      string
	id        string // "" for nobody
	spellings []string
	password  string
	locked    bool
	lockdown  bool // the user said "not me"
	seed      []byte
	step      int64 // of the last code that was used up
	backup    []string
	spent     []bool // by place in backup
	bypass    string
	uses      int // that bypass has left
	bypassBy  time.Time
	ticket    *ticket
	gadgets   []*gadget
	asks      []*ask
	known     map[*browser]time.Time // until
	sources   map[string]time.Time   // approved from
	delays    map[string]*delay      // by provenance
	guesses   map[string][]time.Time // by provenance, paid and not given back
	passwords map[string][]time.Time // likewise
}

// delay is the growing wait of a provenance.
type delay struct {
	length time.Duration
	until  time.Time
}

// ticket is an enrolment.
type ticket struct {
	who    *human
	id     string
	secret string
	pin    string
	state  string
	lost   bool
	wrong  int
	ends   time.Time // of the time to claim, then to confirm
	gadget *gadget
	code   string
	answer string // to the claim
}

func (k *ticket) live() bool { return k.state == "invited" || k.state == "claimed" }

// gadget is a device.
type gadget struct {
	*device
	who       *human
	ticket    *ticket
	state     string
	until     time.Time // end of the quarantine
	vetoable  bool
	confirmed bool
	elders    []*gadget // that were active and out of quarantine at the confirmation
}

func (g *gadget) quarantined(now time.Time) bool { return g.state == "active" && now.Before(g.until) }

// ended says that the device has nothing more to say.
func (g *gadget) ended() bool { return g.state == "revoked" || g.state == "refused" }

const stranger = "stranger"

// ask is a challenge.
type ask struct {
	app        *client
	who        *human
	kind       string
	first      string // none, asserted or password
	from       string // stranger, or source/KEY, or known_browser/NUMBER
	source     string
	browser    *browser
	asked      []string // kinds that the application can show; nil for policy's
	matches    []string
	methods    []string
	minBits    int
	answerable bool

	id, digits, number, scan, back string

	prompt shown // zero until a device was shown it
	made   time.Time
	limit  time.Time // to decide, then to redeem

	state    string
	reason   string
	reported bool
	wrong    int
	rung     bool
	returned bool // its place in the budget
	counted  []string
	by       evidence
	key      string // that redeemed
	grant    string
	ends     time.Time // of the grant
	records  []string  // of its transitions
}

// evidence is what an approval rests on.
type evidence struct {
	method   string // "" for none
	match    string
	gadget   *gadget
	remember bool
	at       time.Time
}

func (a *ask) live() bool {
	return a.state == "pending" || a.state == "answered" || a.state == "approved"
}

func class(from string) string {
	c, _, _ := strings.Cut(from, "/")
	return c
}

var (
	bitsOf     = map[string]int{"scan": 128, "digits": 20, "digits_back": 20, "number": 6, "choice": 1, "tap": 0}
	allMatches = []string{"scan", "digits", "digits_back", "number", "choice", "tap"}
)

// window is a limit of so many in any such time.
type window struct {
	most int
	per  time.Duration
}

// full says whether one more would be too many.
func (w window) full(counted []time.Time, now time.Time) bool {
	n := 0
	for _, at := range counted {
		if at.After(now.Add(-w.per)) {
			n++
		}
	}
	return n >= w.most
}

var (
	typedWindow    = window{10, 24 * time.Hour}
	passwordWindow = window{20, time.Hour}
)

// rules are what a policy says.
type rules struct {
	first                      string
	matches, methods           []string
	minBits                    int
	decide, redeem, quarantine time.Duration
	strangers, known           []window
	byName                     bool
}

// document is a policy, in words and as the oracle understands them; others holds what it says of
// single applications.
type document struct {
	text   string
	rules  rules
	others map[string]rules
}

func builtIn() rules {
	return rules{
		first: "asserted", matches: []string{"scan", "digits"}, minBits: 20,
		methods: []string{"push", "totp", "backup_code", "bypass_code"},
		decide:  120 * time.Second, redeem: 60 * time.Second, quarantine: 24 * time.Hour,
		strangers: []window{{3, 10 * time.Minute}, {10, 24 * time.Hour}},
		known:     []window{{10, 10 * time.Minute}, {60, 24 * time.Hour}},
	}
}

// documents are the policies that can be in force; the first one is what is built in.
func documents() []document {
	with := func(text string, change func(*rules)) document {
		d := document{text: text, rules: builtIn()}
		change(&d.rules)
		return d
	}
	mail := with("matches: [scan, digits, digits_back, choice]\nmin_bits: 1\nquarantine: 0s\napplications:\n"+
		"  mail: {first_factor: password, matches: [scan], min_bits: 128, methods: [push], decide_by: 30s}\n", func(r *rules) {
		r.matches, r.minBits, r.quarantine = []string{"scan", "digits", "digits_back", "choice"}, 1, 0
	})
	strict := mail.rules
	strict.first, strict.matches, strict.minBits = "password", []string{"scan"}, 128
	strict.methods, strict.decide = []string{"push"}, 30*time.Second
	mail.others = map[string]rules{"mail": strict}
	return []document{
		with("decide_by: 120s\n", func(*rules) {}),
		with("matches: [tap, scan, digits, number, choice, digits_back]\nmin_bits: 0\n", func(r *rules) {
			r.matches, r.minBits = []string{"tap", "scan", "digits", "number", "choice", "digits_back"}, 0
		}),
		with("matches: [scan]\nmin_bits: 128\nmethods: [push]\n", func(r *rules) {
			r.matches, r.minBits, r.methods = []string{"scan"}, 128, []string{"push"}
		}),
		with("matches: [digits_back, number]\nmin_bits: 6\nquarantine: 1h\nredeem_by: 20s\n", func(r *rules) {
			r.matches, r.minBits, r.quarantine, r.redeem = []string{"digits_back", "number"}, 6, time.Hour, 20*time.Second
		}),
		with("methods: [totp, backup_code, bypass_code]\n", func(r *rules) {
			r.methods = []string{"totp", "backup_code", "bypass_code"}
		}),
		with("first_factor: password\nmethods: [push, totp]\n", func(r *rules) {
			r.first, r.methods = "password", []string{"push", "totp"}
		}),
		with("first_factor: none\ndecide_by: 540s\nbudgets: {strangers_by_name: true, strangers: [{max: 2, per: 10m}, {max: 5, per: 24h}]}\n", func(r *rules) {
			r.first, r.decide, r.byName = "none", 540*time.Second, true
			r.strangers = []window{{2, 10 * time.Minute}, {5, 24 * time.Hour}}
		}),
		mail,
	}
}

// demands gives what the policy in force demands of a sign-in.
func (m *machine) demands(app *client, kind, from string) rules {
	r, ok := m.law.others[app.name]
	if !ok {
		r = m.law.rules
	}
	if kind != "login" {
		r.minBits = max(r.minBits, 20)
	}
	weak := kind == "login" && class(from) == "known_browser"
	r.matches = slices.DeleteFunc(withStrong(r.matches), func(k string) bool {
		return bitsOf[k] < r.minBits || (bitsOf[k] < 20 && !weak)
	})
	r.methods = suitable(r.methods, kind, r.minBits)
	return r
}

// withStrong adds scan and digits to kinds of which one is weak.
func withStrong(kinds []string) []string {
	out := slices.Clone(kinds)
	if slices.ContainsFunc(kinds, func(k string) bool { return bitsOf[k] < 20 }) {
		out = append(out, "scan", "digits")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// suitable leaves the methods that can answer such a challenge: a typed code is not bound to what
// it approves, and a bypass code is for signing in only.
func suitable(methods []string, kind string, bits int) []string {
	return slices.DeleteFunc(slices.Clone(methods), func(x string) bool {
		return (x != "push" && (kind == "transaction" || bits > 20)) || (x == "bypass_code" && kind != "login")
	})
}

func both(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(x string) bool { return !slices.Contains(b, x) })
}

// others counts the live challenges from elsewhere.
func (a *ask) others() int {
	n := 0
	for _, o := range a.who.asks {
		if o.live() && o.from != a.from {
			n++
		}
	}
	return n
}

// floor is the least strength that approves now.
func (m *machine) floor(a *ask, simultaneous bool) int {
	f := max(a.minBits, m.demands(a.app, a.kind, a.from).minBits)
	if simultaneous || a.who.lockdown || a.kind != "login" {
		f = max(f, 20)
	}
	return f
}

// matchNow are the kinds that count now.
func (m *machine) matchNow(a *ask, simultaneous bool) []string {
	r := m.demands(a.app, a.kind, a.from)
	if !slices.Contains(a.methods, "push") || !slices.Contains(r.methods, "push") {
		return nil
	}
	floor := m.floor(a, simultaneous)
	return slices.DeleteFunc(both(a.matches, r.matches), func(k string) bool { return bitsOf[k] < floor })
}

// methodsNow are the methods that policy lets answer now.
func (m *machine) methodsNow(a *ask) []string {
	r := m.demands(a.app, a.kind, a.from)
	out := suitable(both(a.methods, r.methods), a.kind, m.floor(a, a.others() > 0))
	if len(m.matchNow(a, a.others() > 0)) == 0 {
		out = slices.DeleteFunc(out, func(x string) bool { return x == "push" })
	}
	return out
}

// own are the methods that the user has something for.
func (m *machine) own(h *human) []string {
	var out []string
	if slices.ContainsFunc(h.gadgets, func(g *gadget) bool { return g.state == "active" }) {
		out = append(out, "push")
	}
	if h.seed != nil {
		out = append(out, "totp")
	}
	if slices.Contains(h.spent, false) {
		out = append(out, "backup_code")
	}
	if h.uses > 0 && m.now().Before(h.bypassBy) {
		out = append(out, "bypass_code")
	}
	return out
}

// provenance says where a request stands with the user.
func (m *machine) provenance(h *human, b *browser, source string) string {
	if b != nil && m.now().Before(h.known[b]) {
		return m.fromBrowser(b)
	}
	if at, ok := h.sources[source]; ok && source != "" && m.now().Before(at.Add(30*24*time.Hour)) {
		return "source/" + source
	}
	return stranger
}

func (m *machine) fromBrowser(b *browser) string {
	return fmt.Sprintf("known_browser/%d", slices.Index(m.browsers, b))
}

// silent gives the reasons for which a new challenge does not ring, and those that it ends if it
// does.
func (m *machine) silent(a *ask, r rules) (reasons []string, older []*ask) {
	now, h := m.now(), a.who
	windows := r.known
	if a.from == stranger {
		windows = r.strangers
		if h.lockdown {
			reasons = append(reasons, "reported")
		}
		if a.first == "none" && !r.byName {
			reasons = append(reasons, "name_only")
		}
	}
	if d := h.delays[a.from]; d != nil && now.Before(d.until) {
		reasons = append(reasons, "wait")
	}
	var rang []time.Time
	for _, o := range h.asks {
		if o.from != a.from || !o.rung {
			continue
		}
		if !o.returned {
			rang = append(rang, o.made)
		}
		if o.state == "pending" || o.state == "answered" {
			older = append(older, o)
		}
	}
	for _, w := range windows {
		if w.full(rang, now) {
			reasons = append(reasons, "budget")
		}
	}
	if len(older) > 0 && class(a.from) != "known_browser" {
		reasons = append(reasons, "slot_taken")
	}
	return reasons, older
}

// limits are all moments at which time alone changes something.
func (m *machine) limits() []time.Time {
	var out []time.Time
	for _, h := range m.people {
		for _, d := range h.delays {
			out = append(out, d.until)
		}
		for _, list := range h.guesses {
			for _, at := range list {
				out = append(out, at.Add(typedWindow.per))
			}
		}
		for _, list := range h.passwords {
			for _, at := range list {
				out = append(out, at.Add(passwordWindow.per))
			}
		}
		for _, until := range h.known {
			out = append(out, until)
		}
		if h.ticket != nil {
			out = append(out, h.ticket.ends)
		}
		out = append(out, h.bypassBy)
	}
	for _, g := range m.gadgets {
		out = append(out, g.until)
	}
	for _, a := range m.asks {
		out = append(out, a.limit, a.ends, a.made.Add(24*time.Hour), a.made.Add(10*time.Minute))
	}
	return append(out, m.now().Truncate(30*time.Second).Add(30*time.Second))
}
