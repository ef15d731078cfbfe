package mfa_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/mfa"
)

func TestInstant(t *testing.T) {
	t.Parallel()
	moment := time.Date(2026, 7, 1, 12, 30, 15, 123_456_789, time.FixedZone("", 7200))
	i := mfa.At(moment)
	if want := mfa.Instant(1_782_901_815_123_456); i != want {
		t.Errorf("At(%v) = %d, want %d", moment, i, want)
	}
	if got, want := i.Time(), moment.UTC().Truncate(time.Microsecond); got != want {
		t.Errorf("Time() = %v, want %v", got, want)
	}
	if got := i.Millis(); got != 1_782_901_815_123 {
		t.Errorf("Millis() = %d", got)
	}
	if got := i.Seconds(); got != 1_782_901_815 {
		t.Errorf("Seconds() = %d", got)
	}
}

func TestInstantArithmetic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		i := mfa.Instant(rapid.Int64Range(-1e15, 1e16).Draw(t, "instant"))
		d := time.Duration(rapid.Int64Range(-1e12, 1e12).Draw(t, "microseconds")) * time.Microsecond
		if got := i.Add(d).Sub(i); got != d {
			t.Errorf("Add then Sub = %v, want %v", got, d)
		}
		if got := mfa.At(i.Time()); got != i {
			t.Errorf("At(Time()) = %d, want %d", got, i)
		}
	})
}

func TestMatchStrength(t *testing.T) {
	t.Parallel()
	want := []struct {
		match       mfa.Match
		bits, tries int
	}{
		{mfa.Scan, 128, 3}, {mfa.Digits, 20, 3}, {mfa.DigitsBack, 20, 3}, {mfa.Number, 6, 1}, {mfa.Choice, 1, 1}, {mfa.Tap, 0, 1},
	}
	var all []mfa.Match
	for _, w := range want {
		all = append(all, w.match)
		if w.match.Bits() != w.bits || w.match.Tries() != w.tries {
			t.Errorf("%s has %d bits and %d tries, want %d and %d", w.match, w.match.Bits(), w.match.Tries(), w.bits, w.tries)
		}
	}
	if diff := cmp.Diff(all, mfa.AllMatches()); diff != "" {
		t.Errorf("AllMatches, strongest first (-want +got):\n%s", diff)
	}
	if got := mfa.Match("smoke").Bits(); got >= 0 {
		t.Errorf("an unknown match has %d bits, want less than any floor", got)
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		chosen := rapid.SliceOf(rapid.SampledFrom(append(mfa.AllMatches(), "smoke"))).Draw(t, "chosen")
		bits := rapid.IntRange(-1, 130).Draw(t, "bits")
		set := mfa.MatchesOf(chosen...)
		var list, strong []mfa.Match
		for _, m := range mfa.AllMatches() {
			in := slices.Contains(chosen, m)
			if set.Has(m) != in {
				t.Errorf("Has(%s) = %v, want %v", m, !in, in)
			}
			if in {
				list = append(list, m)
			}
			if in && m.Bits() >= bits {
				strong = append(strong, m)
			}
		}
		if set.Has("smoke") {
			t.Error("a set has an unknown kind")
		}
		if got := set.List(); !slices.Equal(got, list) {
			t.Errorf("List() = %v, want %v", got, list)
		}
		if got := set.AtLeast(bits).List(); !slices.Equal(got, strong) {
			t.Errorf("AtLeast(%d) = %v, want %v", bits, got, strong)
		}
	})
}

func TestMethods(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		chosen := rapid.SliceOf(rapid.SampledFrom(append(mfa.AllMethods(), "smoke"))).Draw(t, "chosen")
		kind := rapid.SampledFrom([]mfa.Kind{mfa.Login, mfa.StepUp, mfa.Transaction}).Draw(t, "kind")
		bits := rapid.SampledFrom([]int{0, 19, 20, 21, 128}).Draw(t, "bits")
		set := mfa.MethodsOf(chosen...)
		var list, suitable []mfa.Method
		for _, m := range mfa.AllMethods() {
			if set.Has(m) != slices.Contains(chosen, m) {
				t.Errorf("Has(%s) = %v", m, set.Has(m))
			}
			if !set.Has(m) {
				continue
			}
			list = append(list, m)
			bound := m == mfa.Push || m == mfa.Passkey
			if bound || (kind != mfa.Transaction && bits <= 20 && (m != mfa.BypassCode || kind == mfa.Login)) {
				suitable = append(suitable, m)
			}
		}
		if set.Has("smoke") {
			t.Error("a set has an unknown method")
		}
		if got := set.List(); !slices.Equal(got, list) {
			t.Errorf("List() = %v, want %v", got, list)
		}
		if got := set.SuitableFor(kind, bits).List(); !slices.Equal(got, suitable) {
			t.Errorf("SuitableFor(%s, %d) = %v, want %v", kind, bits, got, suitable)
		}
	})
}

func TestFirstFactorSatisfies(t *testing.T) {
	t.Parallel()
	ranks := map[mfa.FirstFactor]int{"": 0, mfa.FirstFactorNone: 0, mfa.FirstFactorAsserted: 1, mfa.FirstFactorPassword: 2}
	for have, h := range ranks {
		for need, n := range ranks {
			if got, want := have.Satisfies(need), h >= n; got != want {
				t.Errorf("%q.Satisfies(%q) = %v, want %v", have, need, got, want)
			}
		}
	}
	if mfa.FirstFactor("smoke").Satisfies(mfa.FirstFactorAsserted) {
		t.Error("an unknown first factor satisfies a requirement")
	}
}

func TestProvenanceString(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]mfa.Provenance{
		"stranger":         mfa.Strangers,
		"known_browser:K1": {Class: mfa.KnownBrowser, Key: "K1"},
		"source:K1":        {Class: mfa.KnownSource, Key: "K1"},
	} {
		if got := p.String(); got != want {
			t.Errorf("%#v.String() = %q, want %q", p, got, want)
		}
	}
	if got := (mfa.Provenance{Class: mfa.Stranger, Key: "left over"}).String(); got != mfa.Strangers.String() {
		t.Errorf("two strangers have different allowances: %q", got)
	}
}

func TestLiveStates(t *testing.T) {
	t.Parallel()
	var live []mfa.State
	for _, s := range mfa.States() {
		if s.Live() {
			live = append(live, s)
		}
	}
	if diff := cmp.Diff([]mfa.State{mfa.Pending, mfa.Answered, mfa.Approved}, live); diff != "" {
		t.Errorf("live states (-want +got):\n%s", diff)
	}
}
