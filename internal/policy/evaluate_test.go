package policy_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/policy"
)

var (
	browser = mfa.Provenance{Class: mfa.KnownBrowser, Key: "b"}
	source  = mfa.Provenance{Class: mfa.KnownSource, Key: "s"}
)

func TestEvaluateFindsOverrides(t *testing.T) {
	t.Parallel()
	p := policy.Policy{Version: 7, Document: parse(t, `
min_bits: 20
decide_by: 100s
applications:
  app_1: {decide_by: 101s}
  vpn: {decide_by: 102s, redeem_by: 7s}
`)}
	tests := []struct {
		name    string
		env     policy.Env
		decide  int
		matched string
	}{
		{"an application without overrides", policy.Env{Application: "app_9", ApplicationName: "mail"}, 100, ""},
		{"no application", policy.Env{}, 100, ""},
		{"by id", policy.Env{Application: "app_1", ApplicationName: "mail"}, 101, "app_1"},
		{"by name", policy.Env{Application: "app_2", ApplicationName: "vpn"}, 102, "vpn"},
		{"the id before the name", policy.Env{Application: "app_1", ApplicationName: "vpn"}, 101, "app_1"},
		{"another's id as a name", policy.Env{Application: "app_2", ApplicationName: "app_1"}, 101, "app_1"},
		{"names are exact", policy.Env{Application: "app_2", ApplicationName: "VPN"}, 100, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.env.Kind = mfa.Login
			r := p.Evaluate(test.env)
			if int(r.DecideWithin.Seconds()) != test.decide || r.OverridesByName != test.matched || r.Version != 7 {
				t.Errorf("decide within %s, found as %q, version %d; want %ds, %q, 7", r.DecideWithin, r.OverridesByName, r.Version, test.decide, test.matched)
			}
		})
	}
}

func TestEvaluateKinds(t *testing.T) {
	t.Parallel()
	const weak = "matches: [tap, choice, number]\nmin_bits: 0\nmethods: [push, totp, backup_code, bypass_code]"
	tests := []struct {
		name    string
		text    string
		kind    mfa.Kind
		from    mfa.Provenance
		order   []mfa.Match
		methods []mfa.Method
	}{
		{
			"a stranger's login has nothing weak", weak, mfa.Login, mfa.Strangers,
			[]mfa.Match{mfa.Scan, mfa.Digits},
			[]mfa.Method{mfa.Push, mfa.TOTP, mfa.BackupCode, mfa.BypassCode},
		},
		{
			"a source lowers no match", weak, mfa.Login, source,
			[]mfa.Match{mfa.Scan, mfa.Digits},
			[]mfa.Method{mfa.Push, mfa.TOTP, mfa.BackupCode, mfa.BypassCode},
		},
		{
			"a known browser's login has it, with the strong ones behind", weak, mfa.Login, browser,
			[]mfa.Match{mfa.Tap, mfa.Choice, mfa.Number, mfa.Scan, mfa.Digits},
			[]mfa.Method{mfa.Push, mfa.TOTP, mfa.BackupCode, mfa.BypassCode},
		},
		{
			"a step-up has not, and takes no bypass code", weak, mfa.StepUp, browser,
			[]mfa.Match{mfa.Scan, mfa.Digits},
			[]mfa.Method{mfa.Push, mfa.TOTP, mfa.BackupCode},
		},
		{
			"a transaction has not, and takes no code", weak, mfa.Transaction, browser,
			[]mfa.Match{mfa.Scan, mfa.Digits},
			[]mfa.Method{mfa.Push},
		},
		{
			"min_bits cuts the weakest", "matches: [tap, number]\nmin_bits: 6", mfa.Login, browser,
			[]mfa.Match{mfa.Number, mfa.Scan, mfa.Digits},
			[]mfa.Method{mfa.Push, mfa.TOTP, mfa.BackupCode, mfa.BypassCode},
		},
		{
			"above twenty bits only a scan is left", "matches: [digits, scan]\nmin_bits: 21", mfa.Login, browser,
			[]mfa.Match{mfa.Scan},
			[]mfa.Method{mfa.Push},
		},
		{
			"the order is the document's", "matches: [digits_back, digits, scan]", mfa.Login, mfa.Strangers,
			[]mfa.Match{mfa.DigitsBack, mfa.Digits, mfa.Scan},
			[]mfa.Method{mfa.Push, mfa.TOTP, mfa.BackupCode, mfa.BypassCode},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := policy.Policy{Document: parse(t, test.text)}.Evaluate(policy.Env{Kind: test.kind, Provenance: test.from})
			if diff := cmp.Diff(test.order, r.MatchOrder); diff != "" {
				t.Errorf("matches (-want +got):\n%s", diff)
			}
			if r.Matches != mfa.MatchesOf(test.order...) {
				t.Errorf("the set is %v", r.Matches.List())
			}
			if r.Methods != mfa.MethodsOf(test.methods...) {
				t.Errorf("methods %v, want %v", r.Methods.List(), test.methods)
			}
		})
	}
}

func TestOffer(t *testing.T) {
	t.Parallel()
	all := policy.Policy{Document: parse(t, "matches: [number, digits_back, digits, scan]\nmin_bits: 0")}
	known := all.Evaluate(policy.Env{Kind: mfa.Login, Provenance: browser})
	stranger := all.Evaluate(policy.Env{Kind: mfa.Login, Provenance: mfa.Strangers})
	plain := policy.Policy{Document: policy.Default()}.Evaluate(policy.Env{Kind: mfa.Login, Provenance: browser})
	tests := []struct {
		name  string
		need  policy.Requirement
		asked []mfa.Match
		bits  int
		want  []mfa.Match
	}{
		{"all that policy allows", known, nil, 0, []mfa.Match{mfa.Number, mfa.DigitsBack, mfa.Digits, mfa.Scan}},
		{"what was asked for", known, []mfa.Match{mfa.Scan}, 0, []mfa.Match{mfa.Scan}},
		{"in policy's order", known, []mfa.Match{mfa.Scan, mfa.Digits}, 0, []mfa.Match{mfa.Digits, mfa.Scan}},
		{"once each", known, []mfa.Match{mfa.Scan, mfa.Scan}, 0, []mfa.Match{mfa.Scan}},
		{"a weak kind with strong ones beside it", known, []mfa.Match{mfa.Number}, 0, []mfa.Match{mfa.Number, mfa.Digits, mfa.Scan}},
		{"strong ones in its stead", stranger, []mfa.Match{mfa.Number}, 0, []mfa.Match{mfa.Digits, mfa.Scan}},
		{"strong enough", known, nil, 20, []mfa.Match{mfa.DigitsBack, mfa.Digits, mfa.Scan}},
		{"only a scan", known, nil, 21, []mfa.Match{mfa.Scan}},
		{"nothing that is both asked for and strong enough", known, []mfa.Match{mfa.Digits}, 21, nil},
		{"nothing that policy does not allow", plain, []mfa.Match{mfa.DigitsBack}, 0, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, test.need.Offer(test.asked, test.bits)); diff != "" {
				t.Errorf("offer (-want +got):\n%s", diff)
			}
		})
	}
}

// checkWeak holds what no document, override or wish of an application changes: a kind below
// twenty bits is for a known browser's plain login, with scan and digits beside it.
func checkWeak(t interface {
	Fatalf(format string, args ...any)
}, r policy.Requirement, kind mfa.Kind, from mfa.Provenance,
) {
	lists := [][]mfa.Match{r.MatchOrder}
	for _, asked := range [][]mfa.Match{nil, {mfa.Tap}, {mfa.Choice, mfa.DigitsBack}, {mfa.Number, mfa.Scan}, {mfa.Digits}} {
		for _, bits := range []int{0, 1, 6, 7, 20, 21, 128} {
			offer := r.Offer(asked, bits)
			lists = append(lists, offer)
			for _, m := range offer {
				if m.Bits() < bits || m.Bits() < r.MinBits || !r.Matches.Has(m) {
					t.Fatalf("asked for %v of %d bits, offered %v of %v", asked, bits, offer, r.Matches.List())
				}
			}
		}
	}
	for _, list := range lists {
		weak := slices.ContainsFunc(list, func(m mfa.Match) bool { return m.Bits() < mfa.StrongBits })
		if weak && (kind != mfa.Login || from.Class != mfa.KnownBrowser) {
			t.Fatalf("a weak kind for a %s of a %s: %v", kind, from.Class, list)
		}
		if weak && (!slices.Contains(list, mfa.Scan) || !slices.Contains(list, mfa.Digits)) {
			t.Fatalf("a weak kind alone: %v", list)
		}
		if set := slices.Compact(slices.Sorted(slices.Values(list))); len(set) != len(list) {
			t.Fatalf("a kind twice: %v", list)
		}
	}
	if kind != mfa.Login && r.MinBits < mfa.StrongBits {
		t.Fatalf("a %s from %d bits", kind, r.MinBits)
	}
	if kind != mfa.Login && r.Methods.Has(mfa.BypassCode) {
		t.Fatalf("a bypass code for a %s", kind)
	}
}

func TestNoDocumentWeakens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d, err := policy.Parse([]byte(document(t)))
		if err != nil {
			t.Skip("impossible together")
		}
		env := policy.Env{
			ApplicationName: rapid.SampledFrom([]string{"vpn", "app_x", "true", "none"}).Draw(t, "application"),
			Kind:            rapid.SampledFrom([]mfa.Kind{mfa.Login, mfa.StepUp, mfa.Transaction}).Draw(t, "kind"),
			Provenance:      rapid.SampledFrom([]mfa.Provenance{mfa.Strangers, source, browser}).Draw(t, "from"),
		}
		p := policy.Policy{Document: d}
		r := p.Evaluate(env)
		checkWeak(t, r, env.Kind, env.Provenance)
		if diff := cmp.Diff(r, p.Evaluate(env)); diff != "" {
			t.Fatalf("the same question has two answers:\n%s", diff)
		}

		// Whoever is less known, or asks for more than a login, is offered no more.
		env.Provenance = browser
		known := p.Evaluate(env)
		env.Kind = mfa.Login
		most := p.Evaluate(env)
		if r.Matches&^known.Matches != 0 || known.Matches&^most.Matches != 0 || r.Methods&^most.Methods != 0 {
			t.Fatalf("%v and %v beyond a known browser's login: %v and %v",
				r.Matches.List(), r.Methods.List(), most.Matches.List(), most.Methods.List())
		}
	})
}

// TestEvaluateGivesNoHold wants answers that share nothing with the document, which is kept and
// asked by many at once.
func TestEvaluateGivesNoHold(t *testing.T) {
	t.Parallel()
	p := policy.Policy{Document: policy.Default()}
	before := string(p.Document.Canonical())
	r := p.Evaluate(policy.Env{Kind: mfa.Login, Provenance: browser})
	r.MatchOrder[0] = mfa.Tap
	r.Ring.Strangers[0].Max = 999
	r.Ring.Known[0].Max = 999
	if diff := cmp.Diff(before, string(p.Document.Canonical())); diff != "" {
		t.Errorf("the document changed:\n%s", diff)
	}
}
