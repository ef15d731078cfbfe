package mfa_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/mfa"
)

func TestAssurance(t *testing.T) {
	t.Parallel()
	push := func(m mfa.Match) mfa.Evidence { return mfa.Evidence{Method: mfa.Push, Match: m} }
	typed := func(m mfa.Method) mfa.Evidence { return mfa.Evidence{Method: m} }
	tests := []struct {
		name  string
		first mfa.FirstFactor
		e     mfa.Evidence
		amr   []string
		acr   string
	}{
		{"password, scan", mfa.FirstFactorPassword, push(mfa.Scan), []string{"pwd", "swk", "user", "mca", "mfa"}, mfa.ACRTwo},
		{"password, digits", mfa.FirstFactorPassword, push(mfa.Digits), []string{"pwd", "swk", "user", "mca", "mfa"}, mfa.ACRTwo},
		{"password, digits back", mfa.FirstFactorPassword, push(mfa.DigitsBack), []string{"pwd", "swk", "user", "mca", "mfa"}, mfa.ACRTwo},
		{"password, number", mfa.FirstFactorPassword, push(mfa.Number), []string{"pwd", "swk", "user"}, mfa.ACRLow},
		{"password, tap", mfa.FirstFactorPassword, push(mfa.Tap), []string{"pwd", "swk", "user"}, mfa.ACRLow},
		{"asserted, scan", mfa.FirstFactorAsserted, push(mfa.Scan), []string{"swk", "user", "mca"}, mfa.ACRTwo},
		{"asserted, choice", mfa.FirstFactorAsserted, push(mfa.Choice), []string{"swk", "user"}, mfa.ACRLow},
		{"scan alone", mfa.FirstFactorNone, push(mfa.Scan), []string{"swk", "user", "mca"}, mfa.ACROne},
		{
			"scan with app lock", mfa.FirstFactorNone,
			mfa.Evidence{Method: mfa.Push, Match: mfa.Scan, UserVerified: true},
			[]string{"swk", "user", "mca"},
			mfa.ACRTwo,
		},
		{
			"tap with app lock", mfa.FirstFactorPassword,
			mfa.Evidence{Method: mfa.Push, Match: mfa.Tap, UserVerified: true},
			[]string{"pwd", "swk", "user"},
			mfa.ACRLow,
		},
		{"password, totp", mfa.FirstFactorPassword, typed(mfa.TOTP), []string{"pwd", "otp", "mfa"}, mfa.ACRTwo},
		{"asserted, totp", mfa.FirstFactorAsserted, typed(mfa.TOTP), []string{"otp"}, mfa.ACRTwo},
		{"totp alone", mfa.FirstFactorNone, typed(mfa.TOTP), []string{"otp"}, mfa.ACROne},
		{"password, OATH", mfa.FirstFactorPassword, typed(mfa.OATH), []string{"pwd", "otp", "mfa"}, mfa.ACRTwo},
		{"password, backup code", mfa.FirstFactorPassword, typed(mfa.BackupCode), []string{"pwd", "otp", "mfa"}, mfa.ACROne},
		{"password, SMS", mfa.FirstFactorPassword, typed(mfa.SMS), []string{"pwd", "sms", "mfa"}, mfa.ACROne},
		{"password, e-mail", mfa.FirstFactorPassword, typed(mfa.Email), []string{"pwd"}, mfa.ACRLow},
		{"password, bypass code", mfa.FirstFactorPassword, typed(mfa.BypassCode), []string{"pwd"}, mfa.ACRLow},
		{"bypass code alone", mfa.FirstFactorNone, typed(mfa.BypassCode), []string{}, mfa.ACRLow},
		{
			"passkey with verification", mfa.FirstFactorNone,
			mfa.Evidence{Method: mfa.Passkey, UserVerified: true},
			[]string{"swk", "user"},
			mfa.ACRPhishingResistant,
		},
		{"passkey without", mfa.FirstFactorNone, typed(mfa.Passkey), []string{"swk", "user"}, mfa.ACROne},
		{"nothing", mfa.FirstFactorNone, mfa.Evidence{}, []string{}, mfa.ACRLow},
		{"a password and nothing", mfa.FirstFactorPassword, mfa.Evidence{}, []string{"pwd"}, mfa.ACRLow},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			amr, acr := mfa.Assurance(test.first, test.e)
			if diff := cmp.Diff(test.amr, amr); diff != "" {
				t.Errorf("amr (-want +got):\n%s", diff)
			}
			if acr != test.acr {
				t.Errorf("acr %q, want %q", acr, test.acr)
			}
		})
	}
}

// checked is what nod itself established in a sign-in, one word for each kind of factor.
func checked(first mfa.FirstFactor, e mfa.Evidence) map[string]bool {
	kinds := make(map[string]bool)
	if first == mfa.FirstFactorPassword {
		kinds["knowledge"] = true
	}
	switch e.Method {
	case mfa.Push, mfa.TOTP, mfa.OATH, mfa.BackupCode, mfa.Passkey, mfa.SMS:
		kinds["possession"] = true
	case mfa.Email, mfa.BypassCode:
	}
	return kinds
}

// TestAssuranceNeverOverstates walks every combination of what a sign-in can rest on, the ones
// that no sign-in should have too, and holds what each word of the grant may be said of.
func TestAssuranceNeverOverstates(t *testing.T) {
	t.Parallel()
	combinations := 0
	for _, first := range []mfa.FirstFactor{mfa.FirstFactorNone, mfa.FirstFactorAsserted, mfa.FirstFactorPassword, "", "PASSWORD"} {
		for _, method := range append(mfa.AllMethods(), "", "push ", "telepathy") {
			for _, match := range append(mfa.AllMatches(), "", "dance") {
				for _, flags := range []int{0, 1, 2, 3} {
					combinations++
					hold(t, first, mfa.Evidence{
						Method: method, Match: match, UserVerified: flags&1 != 0, Quarantined: flags&2 != 0,
						RememberAsked: true, FirstFactorToo: mfa.FirstFactorPassword, Code: "c", Device: "dev_1", At: 1,
					})
				}
			}
		}
	}
	if want := 5 * 11 * 8 * 4; combinations != want {
		t.Errorf("%d combinations, want %d", combinations, want)
	}
}

func hold(t *testing.T, first mfa.FirstFactor, e mfa.Evidence) {
	t.Helper()
	amr, acr := mfa.Assurance(first, e)
	rule := func(ok bool, what string) {
		t.Helper()
		if !ok {
			t.Errorf("%s: first factor %q, method %q, match %q, verified %t: amr %v, acr %q", what, first, e.Method, e.Match, e.UserVerified, amr, acr)
		}
	}
	said := func(word string) bool { return slices.Contains(amr, word) }
	strong := e.Method == mfa.Push && e.Match.Bits() >= mfa.StrongBits
	otp := e.Method == mfa.TOTP || e.Method == mfa.OATH
	before := first == mfa.FirstFactorPassword || first == mfa.FirstFactorAsserted

	rule(amr != nil, "amr is a list")
	rule(len(slices.Compact(slices.Sorted(slices.Values(amr)))) == len(amr), "a word twice")
	rule(!said("hwk"), "hardware that nobody attested")
	rule(said("pwd") == (first == mfa.FirstFactorPassword), "pwd")
	rule(said("swk") == (e.Method == mfa.Push || e.Method == mfa.Passkey), "swk")
	rule(said("user") == said("swk"), "user")
	rule(said("mca") == strong, "mca")
	rule(said("otp") == (otp || e.Method == mfa.BackupCode), "otp")
	rule(said("sms") == (e.Method == mfa.SMS), "sms")
	rule(!said("mfa") || len(checked(first, e)) >= 2, "mfa without two kinds that nod checked")

	switch acr {
	case mfa.ACRPhishingResistant:
		rule(e.Method == mfa.Passkey && e.UserVerified, "2pr by something else than a verified passkey")
	case mfa.ACRTwo:
		rule(before && (strong || otp) || strong && e.UserVerified, "2")
	case mfa.ACROne:
		rule(len(checked(mfa.FirstFactorNone, e)) == 1 && (e.Method != mfa.Push || strong), "1")
	case mfa.ACRLow:
		rule(!said("mfa"), "mfa at low")
		rule(!strong && !otp && e.Method != mfa.Passkey, "low, although there was more")
	default:
		rule(false, "no such class")
	}
}
