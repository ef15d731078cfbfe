package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/policy"
)

func parse(t testing.TB, text string) policy.Document {
	t.Helper()
	d, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, text)
	}
	return d
}

func TestParseGivesTheDefaults(t *testing.T) {
	t.Parallel()
	want := policy.Default()
	for name, text := range map[string]string{
		"nothing":             "",
		"a comment":           "# nothing yet\n",
		"an empty map":        "{}\n",
		"no applications":     "applications: {}\n",
		"the start of a file": "---\n",
		"parts without rules": "budgets: {}\nenrolment: {}\nretention: {}\n",
		"itself":              string(want.Canonical()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(want, parse(t, text)); diff != "" {
				t.Errorf("not the default (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseReadsEveryRule(t *testing.T) {
	t.Parallel()
	const text = `
first_factor: password
matches: [digits, number]
min_bits: 6
methods: [push, totp]
decide_by: 90s
redeem_by: 30s
same_browser: allow
user_verification: false
quarantine: 48h
budgets:
  strangers:
    - {max: 2, per: 5m}
  known:
    - {max: 7, per: 1h}
    - {max: 9, per: 24h}
  strangers_by_name: true
enrolment: {self: false}
retention: {challenges: 72h, events: 48h}
applications:
  vpn:
    first_factor: none
    budgets:
      strangers: [{max: 0, per: 24h}]
`
	d := parse(t, text)
	got := policy.Policy{Version: 4, Document: d}.Evaluate(policy.Env{Kind: mfa.Login, Provenance: browser})
	want := policy.Requirement{
		Requirement: mfa.Requirement{
			Version: 4, FirstFactor: mfa.FirstFactorPassword, MinBits: 6,
			Matches: mfa.MatchesOf(mfa.Digits, mfa.Number, mfa.Scan), Methods: mfa.MethodsOf(mfa.Push, mfa.TOTP),
		},
		MatchOrder:   []mfa.Match{mfa.Digits, mfa.Number, mfa.Scan},
		DecideWithin: 90 * time.Second, RedeemWithin: 30 * time.Second, Quarantine: 48 * time.Hour,
		Ring: mfa.RingBudget{
			Strangers:       []mfa.Window{{Max: 2, Per: 5 * time.Minute}},
			Known:           []mfa.Window{{Max: 7, Per: time.Hour}, {Max: 9, Per: 24 * time.Hour}},
			StrangersByName: true,
		},
		Guess: mfa.DefaultGuessBudget(), KeepChallenges: 72 * time.Hour, KeepEvents: 48 * time.Hour,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("realm (-want +got):\n%s", diff)
	}
	vpn := policy.Policy{Document: d}.Evaluate(policy.Env{ApplicationName: "vpn", Kind: mfa.Login})
	if vpn.FirstFactor != mfa.FirstFactorNone || vpn.OverridesByName != "vpn" {
		t.Errorf("vpn: first factor %q, found as %q", vpn.FirstFactor, vpn.OverridesByName)
	}
	ring := want.Ring
	ring.Strangers = []mfa.Window{{Max: 0, Per: 24 * time.Hour}}
	if diff := cmp.Diff(ring, vpn.Ring); diff != "" {
		t.Errorf("vpn overrides one window list and takes the rest from the realm (-want +got):\n%s", diff)
	}
}

// TestParseRefuses wants each mistake refused as Invalid, and named: by Field, or, where the text
// itself cannot be read as rules, in the message.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, named string }{
		// Unknown keys, at every depth.
		{"match: [scan]", "cannot be read: line 1: there is no key match"},
		{"match: [scan]\nenrolment: {anybody: true}", "line 1: there is no key match; line 2: there is no key anybody"},
		{"Matches: [scan]", "Matches"},
		{"applications: {vpn: {colour: red}}", "colour"},
		{"applications: {vpn: {applications: {}}}", "applications"},
		{"budgets: {stranger: []}", "stranger"},
		{"budgets: {known: [{max: 1, per: 10m, every: 1h}]}", "every"},
		{"enrolment: {anybody: true}", "anybody"},
		{"retention: {grants: 48h}", "grants"},

		// Wrong types.
		{"min_bits: many", "many"},
		{"min_bits: 6.5", "6.5"},
		{"min_bits: [20]", "line 1"},
		{"user_verification: maybe", "maybe"},
		{"matches: scan", "scan"},
		{"matches: {scan: true}", "line 1"},
		{"methods: 7", "line 1"},
		{"decide_by: 120", "120"},
		{"decide_by: [1m]", "line 1"},
		{"decide_by: {m: 1}", "line 1"},
		{"redeem_by: soon", "soon"},
		{"budgets: 3", "line 1"},
		{"budgets: {known: 10}", "line 1"},
		{"budgets: {known: [10]}", "line 1"},
		{"budgets: {known: [{max: ten, per: 10m}]}", "ten"},
		{"budgets: {strangers_by_name: perhaps}", "perhaps"},
		{"applications: [vpn]", "line 1"},
		{"applications: {vpn: scan}", "line 1"},
		{"- scan", "line 1"},
		{"scan", "line 1"},
		{"matches: [scan", "line 1"},
		{"\x00", "control characters"},

		// What is named must be said.
		{"min_bits:", "min_bits"},
		{"matches: ~", "matches"},
		{"matches: [scan, null]", "line 1"},
		{"applications: {vpn: }", "vpn"},
		{"budgets: {known: [null]}", "line 1"},
		{"budgets: {known: [{max: 3}]}", "per"},
		{"budgets: {known: [{per: 10m}]}", "max"},
		{"budgets: {known: [{max: 3, max: 4, per: 10m}]}", "max"},

		// Said twice, or elsewhere.
		{"min_bits: 20\nmin_bits: 0", "min_bits"},
		{"min_bits: 20\n---\nmin_bits: 0", "one document"},
		{"min_bits: 20\n---\n", "one document"},
		{"min_bits: &m 20", "anchor"},
		{"applications:\n  a: &a {min_bits: 20}\n  b: *a", "anchor"},
		{"applications:\n  a: {min_bits: 20}\n  b: {<<: {min_bits: 0}}", "<<"},
		{"min_bits: !!int \"20\"", "tag"},
		{"applications: {!!binary /w==: {}}", "tag"},

		// Out of range.
		{"first_factor: passkey", "first_factor"},
		{"first_factor: ''", "first_factor"},
		{"matches: []", "matches"},
		{"methods: [totp]\nmatches: []", "matches"},
		{"matches: [scan, dance]", "matches"},
		{"matches: [scan, '']", "matches"},
		{"matches: [scan, digits, scan]", "matches"},
		{"min_bits: -1", "min_bits"},
		{"min_bits: 129", "min_bits"},
		{"min_bits: 21\nmatches: [digits]", "matches"},
		{"min_bits: 128\nmethods: [totp, backup_code]", "methods"},
		{"methods: []", "methods"},
		{"methods: [push, sms]", "methods"},
		{"methods: [totp, totp]", "methods"},
		{"decide_by: 9999ms", "decide_by"},
		{"decide_by: 541s", "decide_by"},
		{"decide_by: -2m", "decide_by"},
		{"redeem_by: 4s", "redeem_by"},
		{"redeem_by: 61s", "redeem_by"},
		{"same_browser: deny", "same_browser"},
		{"user_verification: true", "user_verification"},
		{"quarantine: -1s", "quarantine"},
		{"quarantine: 169h", "quarantine"},
		{"budgets: {strangers: []}", "budgets.strangers"},
		{"budgets: {known: []}", "budgets.known"},
		{"budgets: {known: [{max: -1, per: 10m}]}", "budgets.known"},
		{"budgets: {known: [{max: 1001, per: 10m}]}", "budgets.known"},
		{"budgets: {strangers: [{max: 1, per: 59s}]}", "budgets.strangers"},
		{"budgets: {strangers: [{max: 1, per: 25h}]}", "budgets.strangers"},
		{"retention: {challenges: 47h}", "retention.challenges"},
		{"retention: {events: 23h}", "retention.events"},
		{"applications: {vpn: {retention: {events: 48h}}}", "applications.vpn.retention"},
		{"applications: {vpn: {min_bits: 200}}", "applications.vpn.min_bits"},
		{"applications: {vpn: {budgets: {known: []}}}", "applications.vpn.budgets.known"},
		{"applications: {vpn: {methods: []}}", "applications.vpn.methods"},
		{"applications: {vpn: {matches: []}}", "applications.vpn.matches"},
		{"applications: {'': {}}", "applications"},
		{"applications: {' vpn': {}}", "applications"},
		{`applications: {"vp\u202en": {}}`, "applications"},

		// Only the realm and the application together cannot be kept.
		{"min_bits: 128\napplications: {vpn: {matches: [digits]}}", "applications.vpn.matches"},
		{"methods: [totp]\napplications: {vpn: {min_bits: 128}}", "applications.vpn.methods"},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			_, err := policy.Parse([]byte(test.text))
			e, ok := errors.AsType[*mfa.Error](err)
			if !ok || e.Code != mfa.Invalid || e.Reason != mfa.ReasonMalformed {
				t.Fatalf("got %v, want Invalid", err)
			}
			if e.Field != test.named && (e.Field != "" || !strings.Contains(e.Message, test.named)) {
				t.Errorf("%q is not named: field %q, message %q", test.named, e.Field, e.Message)
			}
		})
	}
}

func TestParseTakesTheLimits(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"decide_by: 10s", "decide_by: 540s", "redeem_by: 5s", "redeem_by: 60s", "quarantine: 0s", "quarantine: 168h",
		"min_bits: 0", "min_bits: 128", "matches: [tap]\nmin_bits: 0",
		"budgets: {strangers: [{max: 0, per: 1m}], known: [{max: 1000, per: 24h}]}",
		"retention: {challenges: 48h, events: 24h}", "methods: [totp]", "methods: [backup_code]\nmin_bits: 20",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			parse(t, text)
		})
	}
}

// TestParseNamesTheSameMistake wants one answer for one text, whatever the order in which a map is
// walked.
func TestParseNamesTheSameMistake(t *testing.T) {
	t.Parallel()
	const text = "applications: {c: {min_bits: 200}, a: {min_bits: 200}, b: {min_bits: 200}, d: {budgets: {known: [], strangers: []}}}"
	_, first := policy.Parse([]byte(text))
	for range 50 {
		if _, err := policy.Parse([]byte(text)); err.Error() != first.Error() {
			t.Fatalf("%v, then %v", first, err)
		}
	}
}

func TestParseIsBounded(t *testing.T) {
	t.Parallel()
	pad := func(n int) []byte { return []byte("min_bits: 20\n#" + strings.Repeat("x", n-len("min_bits: 20\n#"))) }
	if _, err := policy.Parse(pad(policy.MaxDocument)); err != nil {
		t.Errorf("a document of the greatest length: %v", err)
	}
	if _, err := policy.Parse(pad(policy.MaxDocument + 1)); mfa.CodeOf(err) != mfa.Invalid {
		t.Errorf("one byte more: got %v, want Invalid", err)
	}
	var terse strings.Builder
	terse.WriteString("applications: {")
	for i := range policy.MaxDocument/len("1234: {enrolment: {self: true}},") - 1 {
		fmt.Fprintf(&terse, "%d: {enrolment: {self: true}},", 1000+i)
	}
	terse.WriteString("}")
	if d, err := policy.Parse([]byte(terse.String())); err == nil {
		canonical(t, d)
	} else if mfa.CodeOf(err) != mfa.Invalid {
		t.Errorf("a document that grows when it is written down: got %v, want Invalid", err)
	}
	var laughs strings.Builder
	laughs.WriteString("applications:\n  a0: &a0 {matches: [scan]}\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&laughs, "  a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	for name, text := range map[string]string{
		"ten to the eleventh": laughs.String(),
		"itself":              "applications: &a {b: *a}",
		"a deep list":         "matches: " + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000),
		"a deep map":          strings.Repeat("{a: ", 10_000) + strings.Repeat("}", 10_000),
	} {
		if _, err := policy.Parse([]byte(text)); mfa.CodeOf(err) != mfa.Invalid {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
}

// rules draws the text of one set of rules, each left out or right by itself; together they may
// be impossible.
func rules(t *rapid.T, at string, realm bool) string {
	var b strings.Builder
	line := func(key string, values ...string) {
		if v := rapid.SampledFrom(append(values, "")).Draw(t, at+key); v != "" {
			fmt.Fprintf(&b, "%s%s: %s\n", at, key, v)
		}
	}
	line("first_factor", "none", "asserted", "password")
	line("matches", "["+strings.Join(rapid.Permutation([]string{"scan", "digits", "digits_back", "number", "choice", "tap"}).
		Draw(t, at+"order")[:rapid.IntRange(1, 6).Draw(t, at+"kinds")], ", ")+"]")
	line("min_bits", "0", "1", "6", "20", "128")
	line("methods", "[push]", "[push, totp]", "[totp, backup_code]", "[bypass_code, backup_code, totp, push]")
	line("decide_by", "10s", "2m30s", "9m")
	line("redeem_by", "5s", "1m")
	line("same_browser", "allow")
	line("user_verification", "false")
	line("quarantine", "0s", "24h", "1h0.000001s")
	line("budgets", "{}", "{strangers: [{max: 0, per: 10m}]}", "{known: [{max: 3, per: 90s}, {max: 4, per: 24h}], strangers_by_name: true}")
	line("enrolment", "{}", "{self: true}", "{self: false}")
	if realm {
		line("retention", "{}", "{challenges: 48h}", "{challenges: 100h, events: 1000h}")
	}
	return b.String()
}

func document(t *rapid.T) string {
	text := rules(t, "", true)
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"vpn", "app_x", "true", "12", "null", "~", "a: b", "ä"}), 0, 3, rapid.ID).Draw(t, "applications")
	if len(names) > 0 {
		text += "applications:\n"
	}
	for _, name := range names {
		text += fmt.Sprintf("  %q:", name)
		if own := rules(t, "    ", false); own != "" {
			text += "\n" + own
		} else {
			text += " {}\n"
		}
	}
	return text
}

func TestCanonicalIsStable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := document(t)
		d, err := policy.Parse([]byte(text))
		if err != nil {
			if mfa.CodeOf(err) != mfa.Invalid {
				t.Fatalf("%v\n%s", err, text)
			}
			t.Skip("impossible together")
		}
		canonical(t, d)
	})
}

// canonical checks that a document's canonical form means the document, and is its own.
func canonical(t interface {
	Fatalf(format string, args ...any)
}, d policy.Document,
) {
	form := d.Canonical()
	again, err := policy.Parse(form)
	if err != nil {
		t.Fatalf("the canonical form is refused: %v\n%s", err, form)
	}
	if diff := cmp.Diff(d, again); diff != "" {
		t.Fatalf("the canonical form means something else (-want +got):\n%s\n%s", diff, form)
	}
	if diff := cmp.Diff(string(form), string(again.Canonical())); diff != "" {
		t.Fatalf("the canonical form has another one (-first +second):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "{}", string(policy.Default().Canonical()), "min_bits: 20\n---\n", "a: &a [*a]",
		"matches: [scan, digits, tap]\nmin_bits: 0\napplications:\n  vpn: {first_factor: password, min_bits: 20}\n",
		"budgets: {strangers: [{max: 1, per: 1h}], strangers_by_name: yes}\nretention: {events: 48h}",
		"applications: {\"\\u0085 x\": {}, \"? y\": {quarantine: 1h1ns}}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := policy.Parse(text)
		if err != nil {
			if mfa.CodeOf(err) != mfa.Invalid {
				t.Fatalf("got %v, want Invalid", err)
			}
			return
		}
		canonical(t, d)
		for name := range d.Applications {
			for _, from := range []mfa.Provenance{mfa.Strangers, browser} {
				r := policy.Policy{Document: d}.Evaluate(policy.Env{ApplicationName: name, Kind: mfa.Login, Provenance: from})
				checkWeak(t, r, mfa.Login, from)
			}
		}
	})
}
