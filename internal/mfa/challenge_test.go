package mfa_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/mfa"
)

// somewhere draws a challenge and facts of every shape.
func somewhere(t *rapid.T) (mfa.Challenge, mfa.Facts) {
	sets := func(name string) (mfa.Matches, mfa.Methods) {
		return mfa.MatchesOf(rapid.SliceOf(rapid.SampledFrom(mfa.AllMatches())).Draw(t, name+" matches")...),
			mfa.MethodsOf(rapid.SliceOf(rapid.SampledFrom(mfa.AllMethods())).Draw(t, name+" methods")...)
	}
	bits := rapid.SampledFrom([]int{0, 1, 6, 20, 21, 128})
	c := mfa.Challenge{
		Kind:    rapid.SampledFrom([]mfa.Kind{mfa.Login, mfa.StepUp, mfa.Transaction}).Draw(t, "kind"),
		MinBits: bits.Draw(t, "application's bits"),
	}
	f := mfa.Facts{
		Simultaneous: rapid.Bool().Draw(t, "simultaneous"), LockedDown: rapid.Bool().Draw(t, "reported"),
		Policy: mfa.Requirement{MinBits: bits.Draw(t, "policy's bits")},
	}
	c.Matches, c.Methods = sets("challenge's")
	f.Policy.Matches, f.Policy.Methods = sets("policy's")
	return c, f
}

func TestFloorAndWhatCountsNow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, f := somewhere(t)
		floor := max(c.MinBits, f.Policy.MinBits)
		if f.Simultaneous || f.LockedDown || c.Kind != mfa.Login {
			floor = max(floor, 20)
		}
		if got := c.Floor(f); got != floor {
			t.Errorf("Floor() = %d, want %d", got, floor)
		}
		push := c.Methods.Has(mfa.Push) && f.Policy.Methods.Has(mfa.Push)
		some := false
		for _, m := range mfa.AllMatches() {
			want := push && c.Matches.Has(m) && f.Policy.Matches.Has(m) && m.Bits() >= floor
			some = some || want
			if got := c.MatchNow(f).Has(m); got != want {
				t.Errorf("MatchNow has %s: %v, want %v", m, got, want)
			}
		}
		suitable := mfa.MethodsOf(mfa.AllMethods()...).SuitableFor(c.Kind, floor)
		for _, m := range mfa.AllMethods() {
			want := c.Methods.Has(m) && f.Policy.Methods.Has(m) && suitable.Has(m) && (m != mfa.Push || some)
			if got := c.MethodsNow(f).Has(m); got != want {
				t.Errorf("MethodsNow has %s: %v, want %v", m, got, want)
			}
		}
	})
}

func TestChallengeAt(t *testing.T) {
	t.Parallel()
	c := mfa.Challenge{CreatedAt: 100, DecideBy: 200, RedeemBy: 300}
	for _, tt := range []struct {
		state mfa.State
		now   mfa.Instant
		want  mfa.State
	}{
		{mfa.Pending, 199, mfa.Pending},
		{mfa.Pending, 200, mfa.Expired},
		{mfa.Answered, 199, mfa.Answered},
		{mfa.Answered, 200, mfa.Expired},
		{mfa.Approved, 299, mfa.Approved},
		{mfa.Approved, 300, mfa.Expired},
		{mfa.Redeemed, 1_000, mfa.Redeemed},
		{mfa.Denied, 1_000, mfa.Denied},
		{mfa.Failed, 1_000, mfa.Failed},
		{mfa.Cancelled, 1_000, mfa.Cancelled},
		{mfa.Expired, 100, mfa.Expired},
	} {
		c.State = tt.state
		want := c
		want.State = tt.want
		if got := c.At(tt.now); got != want {
			t.Errorf("%s at %d is %s, want %s and nothing else changed", tt.state, tt.now, got.State, tt.want)
		}
	}
}

func TestTimely(t *testing.T) {
	t.Parallel()
	c := mfa.Challenge{CreatedAt: signinStart}
	for before, want := range map[time.Duration]bool{
		0: true, 2 * time.Second: true, 2*time.Second + time.Microsecond: false, -time.Hour: true,
	} {
		if got := c.Timely(signinStart.Add(-before)); got != want {
			t.Errorf("%v before its creation: Timely() = %v, want %v", before, got, want)
		}
	}
}

func TestTriesLeft(t *testing.T) {
	t.Parallel()
	for wrong, want := range []int{3, 2, 1, 0, 0} {
		if got := (mfa.Challenge{Wrong: wrong}).TriesLeft(); got != want {
			t.Errorf("after %d wrong answers TriesLeft() = %d, want %d", wrong, got, want)
		}
	}
}

// TestSighted makes sure that a message without a digest is not taken for an earlier one,
// and that the latest ones are known when there are many.
func TestSighted(t *testing.T) {
	t.Parallel()
	if (mfa.Challenge{}).HasSeen("") {
		t.Error("a challenge that saw nothing has seen the empty digest")
	}
	c := mfa.Challenge{ID: "ch_1", User: "usr_1", Answerable: true, State: mfa.Denied, CreatedAt: signinStart}
	by := mfa.DeviceFacts{ID: "dev_1", User: "usr_1", State: mfa.DeviceActive}
	for n := range 2 * mfa.MaxSeen {
		d := mfa.Decision{By: by, Challenge: c.ID, Sighted: mfa.Sighted(fmt.Sprint(n))}
		c, _, _ = mfa.Step(c, mfa.Report{Decision: d}, mfa.Facts{}, signinStart)
		if !c.HasSeen(d.Sighted) {
			t.Errorf("report %d is not known again", n)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	secrets := []string{"AAAAAAAAAAAAAAAAAAAAAA", "111111", "909090", "42", "471147"}
	expect := mfa.Expect{Scan: secrets[0], Digits: secrets[1], Back: secrets[2], Number: secrets[3]}
	code := mfa.Code6(secrets[4])
	values := []any{
		expect, &expect, code,
		mfa.Challenge{Expect: expect},
		&mfa.Challenge{Expect: expect},
		mfa.Enrolment{Code: code},
		mfa.Claim{Code: code},
		[]mfa.Challenge{{Expect: expect}},
		map[string]mfa.Code6{"": code},
	}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			got := fmt.Sprintf(verb, v)
			if i := slices.IndexFunc(secrets, func(s string) bool { return strings.Contains(got, s) }); i >= 0 {
				t.Errorf("%s of a %T prints %s", verb, v, secrets[i])
			}
			if !strings.Contains(got, "[redacted]") {
				t.Errorf("%s of a %T does not say that something is left out: %s", verb, v, got)
			}
		}
	}
}
