package policy

import (
	"slices"
	"time"

	"github.com/nodauth/nod/internal/mfa"
)

// Env is what a policy can depend on.
type Env struct {
	Application     mfa.ApplicationID
	ApplicationName string
	Kind            mfa.Kind
	Provenance      mfa.Provenance
}

// Requirement is the answer: what mfa's steps judge by, and what the pipeline does by.
type Requirement struct {
	mfa.Requirement
	MatchOrder      []mfa.Match
	DecideWithin    time.Duration
	RedeemWithin    time.Duration
	Quarantine      time.Duration
	Ring            mfa.RingBudget
	Guess           mfa.GuessBudget
	SelfEnrolment   bool
	EnrolAtSignIn   bool
	KeepChallenges  time.Duration
	KeepEvents      time.Duration
	OverridesByName string // the name under which an application's overrides were found
}

// Policy is a document with the version under which it is stored; version 0 is the built-in one.
type Policy struct {
	Version  int
	Document Document
	At       mfa.Instant // when it was applied; 0 for the built-in one
	By       string
}

// Evaluate answers for one sign-in. It is a pure function of the document and env. A kind below
// StrongBits counts only for a plain login from a known browser, whatever the document says.
func (p Policy) Evaluate(env Env) Requirement {
	r := p.Document.Rules
	named := ""
	for _, key := range []string{string(env.Application), env.ApplicationName} {
		if o, ok := p.Document.Applications[key]; ok && key != "" {
			r, named = o.over(p.Document.Rules), key
			break
		}
	}
	req := Requirement{
		Requirement: mfa.Requirement{
			Version:          p.Version,
			FirstFactor:      *r.FirstFactor,
			MinBits:          *r.MinBits,
			Methods:          mfa.MethodsOf(r.Methods...),
			UserVerification: *r.UserVerification,
		},
		DecideWithin:    time.Duration(*r.DecideBy),
		RedeemWithin:    time.Duration(*r.RedeemBy),
		Quarantine:      time.Duration(*r.Quarantine),
		Ring:            r.Budgets.ring(),
		Guess:           mfa.DefaultGuessBudget(),
		SelfEnrolment:   *r.Enrolment.Self,
		EnrolAtSignIn:   r.Enrolment.AtSignIn != nil && *r.Enrolment.AtSignIn,
		KeepChallenges:  time.Duration(*r.Retention.Challenges),
		KeepEvents:      time.Duration(*r.Retention.Events),
		OverridesByName: named,
	}
	if env.Kind != mfa.Login {
		req.MinBits = max(req.MinBits, mfa.StrongBits)
	}
	weak := env.Kind == mfa.Login && env.Provenance.Class == mfa.KnownBrowser
	for _, m := range withStrong(r.Matches) {
		if m.Bits() < req.MinBits || (m.Bits() < mfa.StrongBits && !weak) {
			continue
		}
		req.MatchOrder = append(req.MatchOrder, m)
		req.Matches |= mfa.MatchesOf(m)
	}
	req.Methods = req.Methods.SuitableFor(env.Kind, req.MinBits)
	return req
}

// withStrong adds scan and digits to a list that has a kind below StrongBits: whatever takes the
// weak one away for the moment must leave something that counts.
func withStrong(list []mfa.Match) []mfa.Match {
	out := slices.Clone(list)
	if !slices.ContainsFunc(list, func(m mfa.Match) bool { return m.Bits() < mfa.StrongBits }) {
		return out
	}
	for _, m := range []mfa.Match{mfa.Scan, mfa.Digits} {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// Offer returns the kinds to put into a prompt: those that policy allows here, in its order, cut
// to what the application asked for when it asked for any. A weak kind brings scan and digits
// with it, whether or not they were asked for.
func (r Requirement) Offer(asked []mfa.Match, minBits int) []mfa.Match {
	wanted := withStrong(asked)
	var out []mfa.Match
	for _, m := range r.MatchOrder {
		if m.Bits() >= minBits && (len(asked) == 0 || slices.Contains(wanted, m)) {
			out = append(out, m)
		}
	}
	if slices.ContainsFunc(out, func(m mfa.Match) bool { return m.Bits() < mfa.StrongBits }) {
		for _, m := range []mfa.Match{mfa.Scan, mfa.Digits} {
			if !slices.Contains(out, m) {
				out = append(out, m)
			}
		}
	}
	return out
}

func (b *Budgets) ring() mfa.RingBudget {
	return mfa.RingBudget{
		Strangers:       limits(b.Strangers),
		Known:           limits(b.Known),
		StrangersByName: b.StrangersByName != nil && *b.StrangersByName,
	}
}

func limits(in []Window) []mfa.Window {
	out := make([]mfa.Window, len(in))
	for i, w := range in {
		out[i] = mfa.Window{Max: w.Max, Per: time.Duration(w.Per)}
	}
	return out
}
