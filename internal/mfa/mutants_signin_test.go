package mfa_test

import "slices"

func mutants() []mutant {
	return slices.Concat(
		in("step.go", "signin", stepMutants),
		in("step.go", "signin", applicationMutants),
		in("challenge.go", "signin", challengeMutants),
		in("vocabulary.go", "signin", vocabularyMutants),
		in("device.go", "enrolment", deviceMutants),
		in("enrolment.go", "enrolment", enrolmentMutants),
		in("ring.go", "ringing", ringMutants),
	)
}

func in(file, world string, list []mutant) []mutant {
	list = slices.Clone(list)
	for i := range list {
		list[i].file, list[i].world = file, world
	}
	return list
}

const (
	userActive        = "!f.UserActive || "
	applicationActive = " || !f.ApplicationActive"
	no                = "false"
	yes               = "true"
)

// stepMutants are of what devices say.
var stepMutants = []mutant{
	{in: "func expire(", guard: "only an ignored prompt doubles the wait", old: "c.State == Pending", new: yes},
	{in: "func expire(", guard: "expiry is recorded", old: "Record: []Recorded{RecordExpired}", new: ""},

	{in: "func visible(", guard: "the challenge that the message names", old: "d.Challenge != c.ID || ", new: ""},
	{in: "func visible(", guard: "the user's own device", old: "d.By.User != c.User || ", new: ""},
	{in: "func visible(", guard: "a user who is not there", old: " || !c.Answerable", new: ""},
	{
		in: "func visible(", guard: "a revoked device",
		old: `return Errorf(Forbidden, ReasonDeviceRevoked, "This device was removed from the account. Enrol it again.")`, new: "return nil",
	},
	{
		in: "func visible(", guard: "a claimed or suspended device",
		old: `return Errorf(Forbidden, ReasonDeviceNotActive, "This device cannot answer prompts now: it is %s.", d.By.State)`, new: "return nil",
	},

	{in: "func open(", guard: "a clock before the challenge", old: "!c.Timely(now)", new: no},
	{in: "func open(", guard: "another live state", old: "c.State == want", new: "c.State == want || c.State.Live()"},
	{in: "func open(", guard: "a denied challenge", old: "c.State == want", new: "c.State == want || c.State == Denied"},
	{in: "func open(", guard: "a failed challenge", old: "c.State == want", new: "c.State == want || c.State == Failed"},
	{in: "func open(", guard: "a cancelled challenge", old: "c.State == want", new: "c.State == want || c.State == Cancelled"},
	{in: "func open(", guard: "an expired challenge", old: "c.State == want", new: "c.State == want || c.State == Expired"},

	{in: "func approve(", guard: "who may see", old: "err := visible(c, e.Decision); err != nil", new: "err := visible(c, e.Decision); err != nil && false"},
	{in: "func approve(", guard: "a repeated approval", old: "c.HasSeen(e.Sighted)", new: no},
	{in: "func approve(", guard: "pending and in time", old: "open(c, Pending, now)", new: "open(c, c.State, now)"},
	{in: "func approve(", guard: "what may approve", old: "err := mayApprove(c, e, f); err != nil", new: "err := mayApprove(c, e, f); err != nil && false"},
	{in: "func approve(", guard: "an approval is sighted", old: "c = c.saw(e.Sighted)", new: ""},
	{in: "func approve(", guard: "the answer is compared", old: "!equal(e.Answer, c.Expect.answer(e.Match))", new: no},
	{in: "func approve(", guard: "a wrong answer counts against the device", old: "fx.Wrong = true", new: ""},
	{in: "func approve(", guard: "a tap clears no failures", old: "fx.Right = compared", new: "fx.Right = true"},
	{in: "func approve(", guard: "quarantine remembers no browser", old: "e.Remember && !e.By.Quarantined", new: "e.Remember"},
	{in: "func approve(", guard: "the evidence says quarantine", old: "Quarantined: e.By.Quarantined", new: "Quarantined: false"},
	{in: "func approve(", guard: "the evidence names the device", old: "Device: e.By.ID, ", new: ""},
	{in: "func approve(", guard: "digits_back waits for the digits", old: "if e.Match == DigitsBack {", new: "if false {"},
	{in: "func approve(", guard: "fresh digits are kept", old: "c.Expect.Back = e.FreshBack", new: ""},

	{in: "func mayApprove(", guard: "this prompt", old: "e.Prompt != c.Prompt", new: no},
	{in: "func mayApprove(", guard: "a listed match", old: "!c.Matches.Has(e.Match)", new: no},
	{in: "func mayApprove(", guard: "an active user", old: userActive, new: ""},
	{in: "func mayApprove(", guard: "an active application", old: applicationActive, new: ""},
	{in: "func mayApprove(", guard: "a match that counts now", old: "!c.MatchNow(f).Has(e.Match)", new: no},
	{in: "func mayApprove(", guard: "quarantine approves sign-ins only", old: "c.Kind != Login || ", new: ""},
	{in: "func mayApprove(", guard: "quarantine approves strong matches only", old: "e.Match.Bits() < StrongBits || ", new: ""},
	{in: "func mayApprove(", guard: "quarantine and digits_back", old: " || e.Match == DigitsBack", new: ""},
	{in: "func mayApprove(", guard: "the app lock", old: "f.Policy.UserVerification && !e.UserVerified", new: no},

	{in: "func wrong(", guard: "a guess is counted", old: "c.Wrong++", new: ""},
	{in: "func wrong(", guard: "the last try ends it", old: "c.Wrong >= m.Tries()", new: "c.Wrong > m.Tries()"},
	{in: "func wrong(", guard: "a failure doubles the wait", old: "fx.Wait = WaitDouble", new: ""},

	{in: "func approved(", guard: "the time to redeem is short", old: "now.Add(within)", new: "now.Add(2 * within)"},
	{in: "func approved(", guard: "an approval gives its place back", old: "fx.ReturnRing = true", new: ""},
	{in: "func approved(", guard: "an approval clears the wait", old: "fx.Wait = WaitClear", new: ""},
	{in: "func approved(", guard: "a browser is remembered when asked", old: "c.Evidence.RememberAsked", new: yes},

	{in: "func deny(", guard: "who may see a denial's challenge", old: "err := visible(c, e.Decision); err != nil", new: "err := visible(c, e.Decision); err != nil && false"},
	{in: "func deny(", guard: "a repeated denial", old: "c.HasSeen(e.Sighted)", new: no},
	{in: "func deny(", guard: "a denial of this prompt", old: "err := samePrompt(c, e.Decision); err != nil", new: "err := samePrompt(c, e.Decision); err != nil && false"},
	{in: "func deny(", guard: "a denial of a pending challenge", old: "open(c, Pending, now)", new: "open(c, c.State, now)"},
	{in: "func deny(", guard: "a denial is sighted", old: "c = c.saw(e.Sighted)", new: ""},
	{in: "func samePrompt(", guard: "a denial may leave the prompt out", old: `d.Prompt != "" && `, new: ""},

	{in: "func report(", guard: "who may report", old: "err := visible(c, e.Decision); err != nil", new: "err := visible(c, e.Decision); err != nil && false"},
	{in: "func report(", guard: "a repeated report", old: "c.HasSeen(e.Sighted)", new: no},
	{in: "func report(", guard: "a report of this prompt", old: "err := samePrompt(c, e.Decision); err != nil", new: "err := samePrompt(c, e.Decision); err != nil && false"},
	{in: "func report(", guard: "24 hours to report", old: "now >= c.CreatedAt.Add(ReportWindow)", new: "now > c.CreatedAt.Add(ReportWindow)"},
	{in: "func report(", guard: "a report stops what is approved", old: "c.State.Live()", new: "c.State == Pending"},
	{in: "func report(", guard: "a final state stays under a report", old: "if c.State.Live()", new: "if c.State != Denied"},
	{in: "func report(", guard: "a first report from quarantine reaches no further", old: "fx.LockDown = !e.By.Quarantined", new: "fx.LockDown = true"},
	{in: "func report(", guard: "a later report from quarantine reaches no further", old: "else if !e.By.Quarantined", new: "else if true"},
	{in: "func report(", guard: "a later report out of quarantine reaches further", old: "fx.LockDown = true", new: ""},
}

// applicationMutants are of what applications and the server say.
var applicationMutants = []mutant{
	{in: "func MayType(", guard: "its own application types", old: "app != c.Application", new: no},
	{in: "func MayType(", guard: "a code for a pending challenge", old: "open(c.At(now), Pending, now)", new: "open(c.At(now), c.State, now)"},
	{in: "func MayType(", guard: "push is not typed", old: "m == Push || ", new: ""},
	{in: "func MayType(", guard: "a method that may answer", old: "!c.MethodsNow(f).Has(m) || ", new: ""},
	{in: "func MayType(", guard: "an active application types", old: applicationActive, new: ""},
	{in: "func typed(", guard: "a code for a user who is not there", old: "!c.Answerable || ", new: ""},
	{in: "func typed(", guard: "a code of a locked user", old: userActive, new: ""},
	{in: "func typed(", guard: "a right code", old: " || !e.Right", new: ""},
	{in: "func typed(", guard: "the evidence names the code", old: "Code: e.Code, ", new: ""},

	{in: "func typedBack(", guard: "its own application types back", old: "e.Application != c.Application", new: no},
	{in: "func typedBack(", guard: "an answered challenge", old: "open(c, Answered, now)", new: "open(c, c.State, now)"},
	{in: "func typedBack(", guard: "digits_back counts now", old: "!c.MatchNow(f).Has(DigitsBack) || ", new: ""},
	{in: "func typedBack(", guard: "an active user types back", old: userActive, new: ""},
	{in: "func typedBack(", guard: "an active application types back", old: applicationActive, new: ""},
	{in: "func typedBack(", guard: "the digits are compared", old: "!equal(e.Answer, c.Expect.Back)", new: no},

	{in: "func cancel(", guard: "its own application cancels", old: "e.Application != c.Application", new: no},
	{in: "func cancel(", guard: "a final state is not cancelled", old: "if !c.State.Live() || (", new: "if false || ("},
	{in: "func cancel(", guard: "an application is told of a final state", old: "return c, open(c, \"\", now)", new: "return c, nil"},
	{
		in: "func cancel(", guard: "a device takes its own approvals along",
		old: ` || (e.Device != "" && c.Evidence.Device != e.Device)`, new: "",
	},
	{in: "func cancelled(", guard: "a cancellation says why", old: "c.Reason = why", new: ""},
	{in: "func cancelled(", guard: "a cancellation is recorded", old: "fx.Record = append(fx.Record, RecordCancelled)", new: ""},

	{in: "func redeem(", guard: "its own application redeems", old: "e.Application != c.Application", new: no},
	{in: "func redeem(", guard: "redeeming needs a key", old: `e.Key == ""`, new: no},
	{in: "func redeem(", guard: "a redeemed challenge", old: "c.State == Redeemed {", new: "false {"},
	{in: "func redeem(", guard: "an approved challenge in time", old: "err := open(c, Approved, now); err != nil", new: "err := open(c, Approved, now); err != nil && false"},
	{in: "func redeem(", guard: "what voids an approval", old: `why != ""`, new: no},
	{in: "func redeem(", guard: "redeeming consumes", old: "c.State = Redeemed", new: ""},
	{in: "func redeem(", guard: "the key that won is kept", old: "c.RedeemKey = e.Key", new: ""},
	{in: "func redeem(", guard: "a grant ends", old: "now.Add(e.GrantFor)", new: "now.Add(2 * e.GrantFor)"},
	{in: "func redeem(", guard: "a redemption grants", old: "fx.Grant = true", new: ""},
	{in: "func redeem(", guard: "a redemption is recorded", old: "fx.Record = append(fx.Record, RecordRedeemed)", new: ""},
	{in: "func redeemAgain(", guard: "another key", old: "e.Key != c.RedeemKey", new: no},
	{in: "func redeemAgain(", guard: "an expired grant", old: "now >= c.GrantEnds", new: "now > c.GrantEnds"},
	{in: "func redeemAgain(", guard: "a repeat is known", old: "fx.Repeat = true", new: "fx.Grant = true"},

	{in: "func voided(", guard: "a locked user", old: "!f.UserActive", new: no},
	{in: "func voided(", guard: "a disabled application", old: "!f.ApplicationActive", new: no},
	{in: "func voided(", guard: "the first factor", old: "!c.FirstFactor.Satisfies(f.Policy.FirstFactor)", new: no},
	{in: "func voided(", guard: "today's methods", old: "c.Methods & f.Policy.Methods", new: "c.Methods"},
	{in: "func voided(", guard: "codes and more than 20 bits", old: ".SuitableFor(c.Kind, max(c.MinBits, f.Policy.MinBits))", new: ""},
	{in: "func voided(", guard: "the row of the device that approved", old: "e.Device.ID != ev.Device || ", new: ""},
	{in: "func voided(", guard: "a device of the user", old: "e.Device.User != c.User || ", new: ""},
	{in: "func voided(", guard: "a device still active", old: " || e.Device.State != DeviceActive", new: ""},
	{in: "func voided(", guard: "a later stranger takes nothing back", old: "today.Simultaneous = false", new: ""},
	{in: "func voided(", guard: "today's matches and bits", old: "!c.MatchNow(today).Has(ev.Match) || ", new: ""},
	{in: "func voided(", guard: "today's app lock", old: " || (f.Policy.UserVerification && !ev.UserVerified)", new: ""},
	{in: "func voided(", guard: "quarantine and transactions at redemption", old: "c.Kind != Login || ", new: ""},
	{in: "func voided(", guard: "quarantine and weak matches at redemption", old: "ev.Match.Bits() < StrongBits || ", new: ""},
	{in: "func voided(", guard: "quarantine and digits_back at redemption", old: " || ev.Match == DigitsBack", new: ""},
}

var challengeMutants = []mutant{
	{in: "func (c Challenge) Floor(", guard: "the application's bits", old: "max(c.MinBits, f.Policy.MinBits)", new: "f.Policy.MinBits"},
	{in: "func (c Challenge) Floor(", guard: "policy's bits", old: "max(c.MinBits, f.Policy.MinBits)", new: "c.MinBits"},
	{in: "func (c Challenge) Floor(", guard: "simultaneous sign-ins", old: "f.Simultaneous || ", new: ""},
	{in: "func (c Challenge) Floor(", guard: "after a report", old: "f.LockedDown || ", new: ""},
	{in: "func (c Challenge) Floor(", guard: "transactions and step-ups", old: " || c.Kind != Login", new: ""},
	{in: "func (c Challenge) MatchNow(", guard: "push at creation", old: "!c.Methods.Has(Push) || ", new: ""},
	{in: "func (c Challenge) MatchNow(", guard: "push today", old: " || !f.Policy.Methods.Has(Push)", new: ""},
	{in: "func (c Challenge) MatchNow(", guard: "today's matches", old: "(c.Matches & f.Policy.Matches)", new: "c.Matches"},
	{in: "func (c Challenge) MatchNow(", guard: "the floor", old: ".AtLeast(c.Floor(f))", new: ""},
	{in: "func (c Challenge) MethodsNow(", guard: "methods at creation", old: "(c.Methods & f.Policy.Methods)", new: "f.Policy.Methods"},
	{in: "func (c Challenge) MethodsNow(", guard: "methods today", old: "(c.Methods & f.Policy.Methods)", new: "c.Methods"},
	{in: "func (c Challenge) MethodsNow(", guard: "methods that suit", old: ".SuitableFor(c.Kind, c.Floor(f))", new: ""},
	{in: "func (c Challenge) At(", guard: "decide_by is exclusive", old: "now >= c.DecideBy", new: "now > c.DecideBy"},
	{in: "func (c Challenge) At(", guard: "redeem_by is exclusive", old: "now >= c.RedeemBy", new: "now > c.RedeemBy"},
	{in: "func (c Challenge) At(", guard: "an answered challenge expires", old: "case Pending, Answered:", new: "case Pending:"},
	{in: "func (c Challenge) Timely(", guard: "a clock that went back", old: "now >= c.CreatedAt.Add(-ClockSlack)", new: yes},
	{in: "func (c Challenge) HasSeen(", guard: "decisions are told apart", old: "k == s &&", new: `k != "" &&`},
	{in: "func equal(", guard: "an empty secret", old: `right != "" && `, new: ""},
	{in: "func equal(", guard: "the comparison", old: " == 1", new: " >= 0"},
}

var vocabularyMutants = []mutant{
	{in: "func (m Match) Bits(", guard: "number is weak", old: "return 6", new: "return 20"},
	{in: "func (m Match) Bits(", guard: "choice is weak", old: "return 1\n", new: "return 20\n"},
	{in: "func (m Match) Bits(", guard: "tap is weak", old: "return 0", new: "return 20"},
	{in: "func (m Match) Tries(", guard: "one try for number", old: "m == Number || ", new: ""},
	{in: "func (s Methods) SuitableFor(", guard: "no code for a transaction", old: "kind == Transaction || ", new: ""},
	{in: "func (s Methods) SuitableFor(", guard: "no code for more than 20 bits", old: " || bits > StrongBits", new: ""},
	{in: "func (s Methods) SuitableFor(", guard: "a code for 20 bits", old: "bits > StrongBits", new: "bits >= StrongBits"},
	{in: "func (s Methods) SuitableFor(", guard: "a bypass code for a sign-in only", old: "kind != Login", new: no},
	{in: "func (f FirstFactor) Satisfies(", guard: "the rank of first factors", old: "f.rank() >= required.rank()", new: yes},
}
