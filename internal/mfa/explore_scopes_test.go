package mfa_test

import (
	"github.com/nodauth/nod/internal/mfa"
)

// The scopes of the sign-in world: one challenge alone with every message that could be brought to
// it and every administrative act; two challenges of different provenance; two nodes with crashes.

const (
	wrongAnswer = "000000"
	rightDigits = "111111"
	rightNumber = "42"
	rightScan   = "AAAAAAAAAAAAAAAAAAAAAA"
)

var rightAnswers = map[mfa.Match]string{
	mfa.Scan: rightScan, mfa.Digits: rightDigits, mfa.Number: rightNumber, mfa.Choice: rightNumber,
}

// challengeOf makes the template of a challenge with the letter A or B.
func challengeOf(letter string, app mfa.ApplicationID, from mfa.Provenance, change func(c *mfa.Challenge)) mfa.Challenge {
	c := mfa.Challenge{
		ID: mfa.ChallengeID("ch_" + letter), User: "usr_1", Application: app, Kind: mfa.Login,
		Provenance: from, FirstFactor: mfa.FirstFactorAsserted,
		Matches: mfa.MatchesOf(mfa.Scan, mfa.Digits, mfa.Number), Methods: mfa.MethodsOf(mfa.Push, mfa.TOTP),
		Prompt: "prompt_" + letter, Answerable: true,
		Expect: mfa.Expect{Scan: rightScan, Digits: rightDigits, Number: rightNumber},
	}
	if change != nil {
		change(&c)
	}
	return c
}

var aKnownBrowser = mfa.Provenance{Class: mfa.KnownBrowser, Key: "K"}

// author writes messages to one challenge.
type author struct {
	to     int
	letter string
	app    mfa.ApplicationID
}

func toA() author { return author{0, "A", "app_1"} }
func toB() author { return author{1, "B", "app_2"} }

func (a author) decision(v verb, device int, what string) message {
	return message{
		name: deviceNames[device] + " " + what + " " + a.letter, verb: v, to: a.to, device: device,
		names: mfa.ChallengeID("ch_" + a.letter), shows: "prompt_" + a.letter,
	}
}

func (a author) approves(device int, match mfa.Match) message {
	m := a.decision(doApprove, device, "approves")
	m.name += " by " + string(match)
	m.match, m.answer, m.right = match, rightAnswers[match], true
	return m
}

func (a author) guesses(device int, match mfa.Match, answer string) message {
	m := a.approves(device, match)
	m.answer, m.right = answer, false
	m.name += " with " + answer
	return m
}

func (a author) denies(device int) message  { return a.decision(doDeny, device, "denies") }
func (a author) reports(device int) message { return a.decision(doReport, device, "reports") }

func (m message) with(what string, change func(m *message)) message {
	m.name += ", " + what
	change(&m)
	return m
}

func withoutPrompt(m *message)    { m.shows = "" }
func forAnotherPrompt(m *message) { m.shows = "prompt_C" }
func forAnotherID(m *message)     { m.names = "ch_C" }
func withoutAppLock(m *message)   { m.noUV = true }
func remembering(m *message)      { m.ask = true }
func withEmptyAnswer(m *message)  { m.answer, m.right = "", false }

func (a author) request(v verb, app mfa.ApplicationID, what string) message {
	return message{name: string(app) + " " + what + " " + a.letter, verb: v, to: a.to, app: app}
}

func (a author) types(app mfa.ApplicationID, method mfa.Method, right bool) message {
	m := a.request(doTyped, app, "types a "+string(method)+" code for")
	m.method, m.right = method, right
	if !right {
		m.name += ", a wrong one"
	}
	return m
}

func (a author) typesBack(app mfa.ApplicationID, digits string) message {
	m := a.request(doTypedBack, app, "types back "+digits+" for")
	m.answer, m.right = digits, digits == freshBack
	return m
}

func (a author) cancels(app mfa.ApplicationID) message {
	m := a.request(doCancel, app, "cancels")
	m.reason = mfa.CancelByApplication
	return m
}

func (a author) redeems(app mfa.ApplicationID, key string) message {
	m := a.request(doRedeem, app, "redeems with key "+key)
	m.key = key
	return m
}

// misled is a redemption whose transaction reads the wrong row of a device: it fails closed.
func (a author) misled(what string) message {
	return a.redeems(a.app, "k1").with("with the facts of "+what, func(m *message) { m.misled = what })
}

func (a author) reads() message { return a.request(doRead, a.app, "reads") }

func (a author) server(reason mfa.CancelReason, device int) message {
	m := a.request(doCancel, "", "the server cancels for "+string(reason))
	m.reason, m.device = reason, device
	if reason == mfa.CancelDeviceGone {
		m.name += " of the " + deviceNames[device] + " one"
	}
	return m
}

// applications are all requests of both applications to one challenge.
func (a author) applications() []message {
	return []message{
		a.redeems("app_1", "k1"), a.redeems("app_1", "k2"), a.redeems("app_2", "k1"), a.redeems(a.app, ""),
		a.cancels("app_1"), a.cancels("app_2"), a.reads(),
		a.types("app_1", mfa.TOTP, true), a.types("app_1", mfa.TOTP, false), a.types("app_2", mfa.TOTP, true),
	}
}

// administration is every act on the user, the devices and the policy.
var administration = []string{
	"lock the user", "unlock the user", "disable application 1", "enable application 1", "lift the report",
	"suspend the old device", "restore the old device", "revoke the old device", "rotate the old device",
	"end the quarantine", "revoke the new device", "loosen the policy", "demand 20 bits", "forbid typed codes",
	"forbid push", "forbid typed matches", "demand the app lock", "demand the password", "demand more than codes",
}

var always = []string{"pending", "approved", "redeemed", "denied", "expired", "cancelled"}

// signinScopes gives the scopes, smaller ones unless the whole exploration is wanted.
func signinScopes(whole bool) []*scope {
	return []*scope{
		scopeNobody(), scopeEmpty(), scopeCodes(), scopeNodes(whole), scopePair(whole), scopeTransaction(),
		scopeMatches(whole), scopeBack(whole), scopeFlips(),
	}
}

func bound[T any](whole bool, most, less T) T {
	if whole {
		return most
	}
	return less
}

// scopeMatches is one sign-in from a known browser that offers a weak match too.
func scopeMatches(whole bool) *scope {
	a := toA()
	messages := append(
		a.applications(),
		a.approves(oldDevice, mfa.Digits), a.approves(oldDevice, mfa.Number), a.approves(oldDevice, mfa.Tap),
		a.approves(oldDevice, mfa.DigitsBack),
		a.approves(oldDevice, mfa.Scan).with("remember", remembering),
		a.approves(oldDevice, mfa.Digits).with("without app lock", withoutAppLock),
		a.approves(oldDevice, mfa.Digits).with("over another prompt", forAnotherPrompt),
		a.approves(oldDevice, mfa.Digits).with("over no prompt", withoutPrompt),
		a.approves(oldDevice, mfa.Digits).with("for another challenge", forAnotherID),
		a.approves(newDevice, mfa.Scan).with("remember", remembering), a.approves(newDevice, mfa.Number),
		a.approves(otherDevice, mfa.Digits),
		a.guesses(oldDevice, mfa.Digits, wrongAnswer), a.guesses(oldDevice, mfa.Digits, "222222"),
		a.guesses(newDevice, mfa.Scan, rightDigits), a.guesses(oldDevice, mfa.Number, "43"),
		a.denies(oldDevice), a.denies(newDevice).with("over no prompt", withoutPrompt),
		a.denies(oldDevice).with("over another prompt", forAnotherPrompt),
		a.denies(oldDevice).with("for another challenge", forAnotherID), a.denies(otherDevice),
		a.reports(oldDevice), a.reports(newDevice), a.reports(otherDevice),
		a.reports(oldDevice).with("over another prompt", forAnotherPrompt),
		a.types("app_1", mfa.Push, true), a.types("app_1", mfa.BackupCode, true),
		a.typesBack("app_1", freshBack), a.typesBack("app_1", ""),
		a.server(mfa.CancelUserLocked, 0), a.server(mfa.CancelDeviceGone, oldDevice),
		a.server(mfa.CancelDeviceGone, newDevice), a.server(mfa.CancelApplicationOff, 0),
		a.server(mfa.CancelSuperseded, 0),
	)
	return &scope{
		name:     "matches",
		first:    challengeOf("A", "app_1", aKnownBrowser, nil),
		messages: messages,
		admin: []string{
			"lock the user", "disable application 1", "revoke the old device", "rotate the old device",
			"end the quarantine", "demand 20 bits", "demand the app lock",
		},
		left:  bound[uint8](whole, 1, 0),
		clock: bound(whole, [2]int8{0, 5}, [2]int8{1, 3}), fresh: modeQuarantined,
		want: append(always, "failed", "denied, reported", "redeemed, reported", "cancelled: superseded",
			"cancelled: application"),
	}
}

// scopeFlips is two administrative acts in any order, so that what was forbidden for a time, and
// is allowed again, is met as well.
func scopeFlips() *scope {
	a := toA()
	return &scope{
		name:  "flips",
		first: challengeOf("A", "app_1", aKnownBrowser, nil),
		messages: []message{
			a.approves(oldDevice, mfa.Digits), a.approves(oldDevice, mfa.Number).with("without app lock", withoutAppLock),
			a.approves(newDevice, mfa.Number), a.denies(oldDevice), a.reports(newDevice),
			a.types("app_1", mfa.TOTP, true), a.redeems("app_1", "k1"), a.cancels("app_1"), a.reads(),
			a.misled("another device"), a.misled("another user"),
			a.server(mfa.CancelUserLocked, 0), a.server(mfa.CancelDeviceGone, oldDevice),
			a.server(mfa.CancelDeviceGone, newDevice), a.server(mfa.CancelApplicationOff, 0),
		},
		admin: administration, left: 2, clock: [2]int8{1, 5}, fresh: modeQuarantined,
		want: append(always, "cancelled: user_locked", "cancelled: device_revoked", "cancelled: application_disabled",
			"cancelled: policy", "expired, reported"),
	}
}

// scopeBack is one sign-in of a stranger by digits_back.
func scopeBack(whole bool) *scope {
	a := toA()
	messages := append(
		bound(whole, a.applications(), []message{a.redeems("app_1", "k1"), a.redeems("app_1", "k2"), a.cancels("app_1")}),
		a.approves(oldDevice, mfa.DigitsBack), a.approves(newDevice, mfa.DigitsBack), a.approves(oldDevice, mfa.Number),
		a.approves(oldDevice, mfa.DigitsBack).with("remember", remembering),
		a.approves(newDevice, mfa.Digits).with("remember, without app lock", func(m *message) { m.ask, m.noUV = true, true }),
		a.guesses(oldDevice, mfa.Digits, wrongAnswer),
		a.typesBack("app_1", freshBack), a.typesBack("app_2", freshBack), a.typesBack("app_1", wrongAnswer),
		a.typesBack("app_1", ""), a.typesBack("app_2", wrongAnswer),
		a.denies(oldDevice), a.reports(oldDevice), a.reports(newDevice),
		a.server(mfa.CancelDeviceGone, oldDevice), a.server(mfa.CancelDeviceGone, newDevice),
	)
	return &scope{
		name: "back",
		first: challengeOf("A", "app_1", mfa.Strangers, func(c *mfa.Challenge) {
			c.Matches, c.MinBits = mfa.MatchesOf(mfa.DigitsBack, mfa.Digits, mfa.Number), 20
		}),
		messages: messages, left: 1, clock: bound(whole, [2]int8{0, 4}, [2]int8{1, 3}),
		admin: bound(whole, administration, []string{
			"lock the user", "disable application 1", "rotate the old device", "forbid typed matches",
		}),
		fresh: modeQuarantined,
		want:  append(always, "answered", "failed"),
	}
}

// scopeTransaction is one transaction, for which weak matches, typed codes and new devices do not
// count, though its prompt lists them.
func scopeTransaction() *scope {
	a := toA()
	messages := append(
		a.applications(),
		a.approves(oldDevice, mfa.Digits), a.approves(oldDevice, mfa.Scan), a.approves(oldDevice, mfa.Number),
		a.approves(oldDevice, mfa.Choice), a.approves(oldDevice, mfa.Tap), a.approves(newDevice, mfa.Digits),
		a.denies(newDevice), a.types("app_1", mfa.BypassCode, true),
	)
	return &scope{
		name: "transaction",
		first: challengeOf("A", "app_1", aKnownBrowser, func(c *mfa.Challenge) {
			c.Kind, c.Matches, c.Methods = mfa.Transaction, everyMatch, everyMethod
			c.FirstFactor = mfa.FirstFactorPassword
		}),
		messages: messages, admin: administration, left: 2, clock: [2]int8{1, 4}, fresh: modeQuarantined,
		want: append(always, "cancelled: policy"),
	}
}

// scopeNobody is a challenge for a user who is not there.
func scopeNobody() *scope {
	a := toA()
	messages := append(
		a.applications(),
		a.approves(oldDevice, mfa.Digits), a.guesses(oldDevice, mfa.Digits, wrongAnswer),
		a.approves(oldDevice, mfa.Scan), a.denies(oldDevice), a.reports(oldDevice),
	)
	return &scope{
		name:     "nobody",
		first:    challengeOf("A", "app_1", mfa.Strangers, func(c *mfa.Challenge) { c.Answerable = false }),
		messages: messages, admin: []string{"lock the user"}, left: 1, clock: [2]int8{0, 4},
		want: []string{"pending", "expired", "cancelled"},
	}
}

// scopeEmpty is a challenge whose secrets are missing and which asks for 20 bits: an empty answer
// is never a right one. The new device has not been confirmed at the start.
func scopeEmpty() *scope {
	a := toA()
	messages := append(
		a.applications(),
		a.approves(oldDevice, mfa.Digits).with("with nothing", withEmptyAnswer),
		a.approves(newDevice, mfa.Scan).with("with nothing", withEmptyAnswer),
		a.approves(oldDevice, mfa.Scan).with("with nothing", withEmptyAnswer),
		a.approves(oldDevice, mfa.Tap), a.denies(newDevice), a.reports(newDevice),
		a.typesBack("app_1", ""), a.types("app_1", mfa.BypassCode, true),
	)
	return &scope{
		name: "empty",
		first: challengeOf("A", "app_1", aKnownBrowser, func(c *mfa.Challenge) {
			c.Matches, c.MinBits, c.Expect = everyMatch, 20, mfa.Expect{}
			c.Kind, c.Methods = mfa.StepUp, everyMethod
		}),
		messages: messages, admin: []string{"confirm the new device", "end the quarantine"}, left: 2,
		clock: [2]int8{1, 4}, fresh: modeClaimed,
		want: append(always, "failed"),
	}
}

// scopeCodes is a sign-in for which policy allows codes alone, though its prompt lists a match.
func scopeCodes() *scope {
	a := toA()
	return &scope{
		name: "codes",
		first: challengeOf("A", "app_1", mfa.Strangers, func(c *mfa.Challenge) {
			c.Methods = mfa.MethodsOf(mfa.TOTP, mfa.BypassCode)
		}),
		messages: append(
			a.applications(), a.approves(oldDevice, mfa.Digits), a.types("app_1", mfa.BypassCode, true),
			a.types("app_1", mfa.Push, true),
		),
		admin: administration, left: 2, clock: [2]int8{1, 4}, fresh: modeActive,
		want: []string{"pending", "approved", "redeemed", "expired", "cancelled", "cancelled: policy"},
	}
}

// scopePair is two sign-ins of different provenance, one with a weak match, of two applications.
func scopePair(whole bool) *scope {
	a, b := toA(), toB()
	messages := []message{
		a.approves(oldDevice, mfa.Number), a.approves(newDevice, mfa.Digits), a.denies(oldDevice), a.redeems("app_1", "k1"),
		b.approves(oldDevice, mfa.DigitsBack), b.approves(newDevice, mfa.Number), b.typesBack("app_2", freshBack),
		b.approves(oldDevice, mfa.Digits).with("of A's page", func(m *message) { m.answer, m.right = rightDigits, false }),
		b.reports(oldDevice), b.redeems("app_2", "k1"), b.redeems("app_1", "k1"),
		{
			name: "old approves A by digits, brought to B", verb: doApprove, to: 1, names: "ch_A", shows: "prompt_A",
			match: mfa.Digits, answer: rightDigits,
		},
	}
	if whole {
		messages = append(
			messages,
			a.guesses(oldDevice, mfa.Digits, wrongAnswer), a.reports(newDevice), a.types("app_1", mfa.TOTP, true),
			a.redeems("app_2", "k1"), a.redeems("app_1", "k2"), a.cancels("app_1"), a.server(mfa.CancelReported, 0),
			b.typesBack("app_2", wrongAnswer), b.types("app_2", mfa.TOTP, true),
		)
	}
	return &scope{
		name:  "pair",
		first: challengeOf("A", "app_1", aKnownBrowser, nil),
		second: challengeOf("B", "app_2", mfa.Strangers, func(c *mfa.Challenge) {
			c.Matches, c.Expect.Digits = mfa.MatchesOf(mfa.DigitsBack, mfa.Digits, mfa.Number), "333333"
		}),
		messages: messages, clock: bound(whole, [2]int8{1, 3}, [2]int8{1, 2}), fresh: modeQuarantined,
		want: bound(whole, append(always, "answered", "cancelled: reported"), []string{"answered", "redeemed"}),
	}
}

// scopeNodes is two sign-ins whose requests are in flight on two nodes that may crash.
func scopeNodes(whole bool) *scope {
	a, b := toA(), toB()
	messages := []message{
		a.approves(oldDevice, mfa.Digits), a.guesses(oldDevice, mfa.Number, "43"), a.denies(newDevice),
		a.redeems("app_1", "k1"), a.redeems("app_1", "k2"), a.reads(),
	}
	if whole {
		messages = append(messages, b.approves(oldDevice, mfa.DigitsBack), b.typesBack("app_2", freshBack), b.redeems("app_2", "k1"))
	}
	return &scope{
		name:  "nodes",
		first: challengeOf("A", "app_1", aKnownBrowser, nil),
		second: bound(whole, challengeOf("B", "app_2", mfa.Strangers, func(c *mfa.Challenge) {
			c.Matches = mfa.MatchesOf(mfa.DigitsBack)
		}), mfa.Challenge{}),
		messages: messages, admin: []string{"lock the user", "revoke the old device"}, left: 1,
		clock: [2]int8{1, 3}, nodes: true, fresh: modeActive,
		want: append(always, "failed"),
	}
}
