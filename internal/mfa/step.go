package mfa

import "time"

// Event is something that happens to a challenge. What it says was established before: signatures
// are verified, credentials checked, typed codes consumed in the same transaction.
type Event interface{ challengeEvent() }

// The events of a challenge.
type (
	// Approve is a device's signed approval.
	Approve struct {
		Decision
		Match        Match
		Answer       string
		FreshBack    string        // six new digits, used if the match is digits_back
		RedeemWithin time.Duration // how long the application may take
		Remember     bool
		UserVerified bool
	}
	// Deny is a device's signed denial.
	Deny struct{ Decision }
	// Report is a device's signed "not me".
	Report struct{ Decision }
	// Typed is a code that the login page's side typed, already compared and, if right, consumed.
	Typed struct {
		Application  ApplicationID
		Method       Method
		Right        bool
		Code         string // identity of the consumed code
		RedeemWithin time.Duration
	}
	// TypedBack is the answer of digits_back.
	TypedBack struct {
		Application  ApplicationID
		Answer       string
		RedeemWithin time.Duration
	}
	// Cancel ends a challenge for a reason. Application is set when an application asks, Device
	// when a device was revoked or suspended.
	Cancel struct {
		Reason      CancelReason
		Application ApplicationID
		Device      DeviceID
	}
	// Redeem asks for the grant. Device holds the facts of the device that approved, the zero
	// value when none did.
	Redeem struct {
		Application ApplicationID
		Key         string
		Device      DeviceFacts
		GrantFor    time.Duration // life of the grant
	}
	// Tick is the passing of time.
	Tick struct{}
)

// Decision is what every device decision names.
type Decision struct {
	By        DeviceFacts
	Challenge ChallengeID // that the signed message names
	Prompt    string      // digest that the signed message names; deny and report may leave it out
	Sighted   Sighted
}

func (Approve) challengeEvent()   {}
func (Deny) challengeEvent()      {}
func (Report) challengeEvent()    {}
func (Typed) challengeEvent()     {}
func (TypedBack) challengeEvent() {}
func (Cancel) challengeEvent()    {}
func (Redeem) challengeEvent()    {}
func (Tick) challengeEvent()      {}

// Effects is what the transaction has to do besides storing the challenge.
type Effects struct {
	Record     []Recorded // audit records, in order
	Repeat     bool       // the event was carried out before; nothing changes
	Grant      bool       // the one grant of this challenge is to be made and stored
	ReturnRing bool       // an approved prompt gives its place in the budget back
	Wait       WaitChange // of the challenge's provenance
	Remember   bool       // the browser becomes known
	LockDown   bool       // the user's report takes effect beyond this challenge
	Wrong      bool       // a wrong answer was given by the device
	Right      bool       // a right answer was given by the device
}

// WaitChange is what happens to the growing wait between prompts of one provenance.
type WaitChange int

// The changes of a wait.
const (
	WaitSame WaitChange = iota
	WaitDouble
	WaitClear
)

// Recorded is an audit record that a step asks for.
type Recorded string

// The records of a challenge's life.
const (
	RecordAnswered  Recorded = "challenge.answered"
	RecordApproved  Recorded = "challenge.approved"
	RecordDenied    Recorded = "challenge.denied"
	RecordReported  Recorded = "challenge.reported"
	RecordWrong     Recorded = "challenge.wrong_match"
	RecordWrongCode Recorded = "challenge.wrong_code"
	RecordFailed    Recorded = "challenge.failed"
	RecordExpired   Recorded = "challenge.expired"
	RecordCancelled Recorded = "challenge.cancelled"
	RecordRedeemed  Recorded = "challenge.redeemed"
)

// ReportWindow is how long after its creation a challenge can be reported.
const ReportWindow = 24 * time.Hour

// Step applies one event to a challenge. The returned challenge and effects are to be stored and
// carried out in the same transaction even if err is not nil; err, an *Error, is what to answer.
func Step(c Challenge, event Event, f Facts, now Instant) (Challenge, Effects, error) {
	c, fx := expire(c, now)
	var err error
	switch e := event.(type) {
	case Approve:
		c, err = approve(c, e, f, now, &fx)
	case Deny:
		c, err = deny(c, e, now, &fx)
	case Report:
		c, err = report(c, e, now, &fx)
	case Typed:
		c, err = typed(c, e, f, now, &fx)
	case TypedBack:
		c, err = typedBack(c, e, f, now, &fx)
	case Cancel:
		c, err = cancel(c, e, now, &fx)
	case Redeem:
		c, err = redeem(c, e, f, now, &fx)
	case Tick:
	}
	return c, fx, err
}

func expire(c Challenge, now Instant) (Challenge, Effects) {
	at := c.At(now)
	if at.State == c.State {
		return c, Effects{}
	}
	fx := Effects{Record: []Recorded{RecordExpired}}
	if c.State == Pending {
		fx.Wait = WaitDouble // ignored
	}
	return at, fx
}

// visible refuses a device that may not know of the challenge, or may not speak.
func visible(c Challenge, d Decision) error {
	if d.Challenge != c.ID || d.By.User != c.User || !c.Answerable {
		return ErrNotFound()
	}
	switch d.By.State {
	case DeviceActive:
		return nil
	case DeviceRevoked, DeviceRefused:
		return Errorf(Forbidden, ReasonDeviceRevoked, "This device was removed from the account. Enrol it again.")
	case DeviceClaimed, DeviceSuspended:
		return Errorf(Forbidden, ReasonDeviceNotActive, "This device cannot answer prompts now: it is %s.", d.By.State)
	}
	return ErrNotFound()
}

// open refuses what comes to a challenge that no longer takes answers in the state wanted.
func open(c Challenge, want State, now Instant) error {
	if !c.Timely(now) {
		return Errorf(Unavailable, ReasonBusy, "The server's clock is behind this challenge. Try again shortly.")
	}
	if c.State == want {
		return nil
	}
	if c.State == Expired {
		return &Error{Code: Gone, Reason: ReasonExpired, State: Expired, Message: "The challenge has expired. Start again."}
	}
	return &Error{
		Code: Conflict, Reason: ReasonChallengeClosed, State: c.State,
		Message: "The challenge is " + string(c.State) + " already.",
	}
}

func approve(c Challenge, e Approve, f Facts, now Instant, fx *Effects) (Challenge, error) {
	if err := visible(c, e.Decision); err != nil {
		return c, err
	}
	if c.HasSeen(e.Sighted) {
		fx.Repeat = true
		return c, nil
	}
	if err := open(c, Pending, now); err != nil {
		return c, err
	}
	if err := mayApprove(c, e, f); err != nil {
		return c, err
	}
	c = c.saw(e.Sighted)
	compared := e.Match != DigitsBack && e.Match != Tap
	if compared && !equal(e.Answer, c.Expect.answer(e.Match)) {
		fx.Wrong = true
		return wrong(c, e.Match, fx), nil
	}
	fx.Right = compared // what needs no knowledge does not clear the device's failures
	c.Evidence = Evidence{
		Method: Push, At: now, Match: e.Match, Device: e.By.ID, Quarantined: e.By.Quarantined,
		UserVerified: e.UserVerified, RememberAsked: e.Remember && !e.By.Quarantined, FirstFactorToo: c.FirstFactor,
	}
	if e.Match == DigitsBack {
		c.State = Answered
		c.Expect.Back = e.FreshBack
		fx.Record = append(fx.Record, RecordAnswered)
		return c, nil
	}
	return approved(c, now, e.RedeemWithin, fx), nil
}

// mayApprove checks everything but the answer itself, so that what is not allowed costs no try.
func mayApprove(c Challenge, e Approve, f Facts) error {
	if e.Prompt != c.Prompt {
		return &Error{
			Code: Invalid, Reason: ReasonPromptMismatch, Field: "prompt_sha256",
			Message: "The decision was signed for another prompt than this challenge shows.",
		}
	}
	if !c.Matches.Has(e.Match) {
		return &Error{
			Code: Invalid, Reason: ReasonMatchNotAllowed, Field: "match",
			Message: "The prompt does not offer this way of matching.",
		}
	}
	if !f.UserActive || !f.ApplicationActive {
		return Errorf(Forbidden, ReasonMethodNotAllowed, "This sign-in cannot be approved now.")
	}
	if !c.MatchNow(f).Has(e.Match) {
		return Errorf(Forbidden, ReasonMatchNotAllowed, "This way of matching does not count at the moment. Scan the code or type the six digits.")
	}
	if e.By.Quarantined && (c.Kind != Login || e.Match.Bits() < StrongBits || e.Match == DigitsBack) {
		return Errorf(Forbidden, ReasonDeviceQuarantined, "This device is new: until its quarantine ends it approves sign-ins by scan or six digits only.")
	}
	if f.Policy.UserVerification && !e.UserVerified {
		return Errorf(Forbidden, ReasonUserVerification, "This approval needs the authenticator's app lock.")
	}
	return nil
}

func wrong(c Challenge, m Match, fx *Effects) Challenge {
	c.Wrong++
	fx.Record = append(fx.Record, RecordWrong)
	if c.Wrong >= m.Tries() {
		c.State = Failed
		fx.Record = append(fx.Record, RecordFailed)
		fx.Wait = WaitDouble
	}
	return c
}

func approved(c Challenge, now Instant, within time.Duration, fx *Effects) Challenge {
	c.State = Approved
	c.RedeemBy = now.Add(within)
	fx.Record = append(fx.Record, RecordApproved)
	fx.ReturnRing = true
	fx.Wait = WaitClear
	fx.Remember = c.Evidence.RememberAsked
	return c
}

func deny(c Challenge, e Deny, now Instant, fx *Effects) (Challenge, error) {
	if err := visible(c, e.Decision); err != nil {
		return c, err
	}
	if c.HasSeen(e.Sighted) {
		fx.Repeat = true
		return c, nil
	}
	if err := samePrompt(c, e.Decision); err != nil {
		return c, err
	}
	if err := open(c, Pending, now); err != nil {
		return c, err
	}
	c = c.saw(e.Sighted)
	c.State = Denied
	fx.Record = append(fx.Record, RecordDenied)
	fx.Wait = WaitDouble
	return c, nil
}

func samePrompt(c Challenge, d Decision) error {
	if d.Prompt != "" && d.Prompt != c.Prompt {
		return &Error{
			Code: Invalid, Reason: ReasonPromptMismatch, Field: "prompt_sha256",
			Message: "The decision was signed for another prompt than this challenge shows.",
		}
	}
	return nil
}

func report(c Challenge, e Report, now Instant, fx *Effects) (Challenge, error) {
	if err := visible(c, e.Decision); err != nil {
		return c, err
	}
	if c.HasSeen(e.Sighted) {
		fx.Repeat = true
		return c, nil
	}
	if err := samePrompt(c, e.Decision); err != nil {
		return c, err
	}
	if now >= c.CreatedAt.Add(ReportWindow) {
		return c, &Error{
			Code: Gone, Reason: ReasonExpired, State: c.State,
			Message: "A prompt can be reported for 24 hours. Tell your administrator about older ones.",
		}
	}
	c = c.saw(e.Sighted)
	if c.State.Live() {
		c.State = Denied
		fx.Record = append(fx.Record, RecordDenied)
		fx.Wait = WaitDouble
	}
	if !c.Reported {
		c.Reported = true
		fx.Record = append(fx.Record, RecordReported)
		fx.LockDown = !e.By.Quarantined
	} else if !e.By.Quarantined {
		fx.LockDown = true // an earlier report may have been a quarantined device's
	}
	return c, nil
}

// MayType says whether a code of this method may answer the challenge now: what typed answers are
// refused for before anybody looks at the code.
func MayType(c Challenge, app ApplicationID, m Method, f Facts, now Instant) error {
	if app != c.Application {
		return ErrNotFound()
	}
	if err := open(c.At(now), Pending, now); err != nil {
		return err
	}
	if m == Push || !c.MethodsNow(f).Has(m) || !f.ApplicationActive {
		return &Error{
			Code: Forbidden, Reason: ReasonMethodNotAllowed, Field: "method",
			Message: "This method cannot answer this challenge.",
		}
	}
	return nil
}

func typed(c Challenge, e Typed, f Facts, now Instant, fx *Effects) (Challenge, error) {
	if err := MayType(c, e.Application, e.Method, f, now); err != nil {
		return c, err
	}
	// A user who is unknown or locked is told what a wrong code is told.
	if !c.Answerable || !f.UserActive || !e.Right {
		fx.Record = append(fx.Record, RecordWrongCode)
		return c, nil
	}
	c.Evidence = Evidence{Method: e.Method, At: now, Code: e.Code, FirstFactorToo: c.FirstFactor}
	return approved(c, now, e.RedeemWithin, fx), nil
}

func typedBack(c Challenge, e TypedBack, f Facts, now Instant, fx *Effects) (Challenge, error) {
	if e.Application != c.Application {
		return c, ErrNotFound()
	}
	if err := open(c, Answered, now); err != nil {
		return c, err
	}
	if !c.MatchNow(f).Has(DigitsBack) || !f.UserActive || !f.ApplicationActive {
		return c, Errorf(Forbidden, ReasonMatchNotAllowed, "This way of matching does not count at the moment.")
	}
	if !equal(e.Answer, c.Expect.Back) {
		return wrong(c, DigitsBack, fx), nil
	}
	return approved(c, now, e.RedeemWithin, fx), nil
}

func cancel(c Challenge, e Cancel, now Instant, fx *Effects) (Challenge, error) {
	if e.Application != "" {
		if e.Application != c.Application {
			return c, ErrNotFound()
		}
		if !c.State.Live() {
			return c, open(c, "", now)
		}
	}
	if !c.State.Live() || (e.Device != "" && c.Evidence.Device != e.Device) {
		return c, nil
	}
	return cancelled(c, e.Reason, fx), nil
}

func cancelled(c Challenge, why CancelReason, fx *Effects) Challenge {
	c.State = Cancelled
	c.Reason = why
	fx.Record = append(fx.Record, RecordCancelled)
	return c
}

func redeem(c Challenge, e Redeem, f Facts, now Instant, fx *Effects) (Challenge, error) {
	if e.Application != c.Application {
		return c, ErrNotFound()
	}
	if e.Key == "" {
		return c, InvalidField("Idempotency-Key", "Redeeming needs an Idempotency-Key header, so that a lost reply can be asked for again.")
	}
	if c.State == Redeemed {
		return c, redeemAgain(c, e, now, fx)
	}
	if err := open(c, Approved, now); err != nil {
		return c, err
	}
	if why := voided(c, e, f); why != "" {
		c = cancelled(c, why, fx)
		return c, open(c, Approved, now)
	}
	c.State = Redeemed
	c.RedeemKey = e.Key
	c.GrantEnds = now.Add(e.GrantFor)
	fx.Grant = true
	fx.Record = append(fx.Record, RecordRedeemed)
	return c, nil
}

func redeemAgain(c Challenge, e Redeem, now Instant, fx *Effects) error {
	if e.Key != c.RedeemKey {
		return &Error{Code: Conflict, Reason: ReasonAlreadyRedeemed, State: Redeemed, Message: "The challenge was redeemed already."}
	}
	if now >= c.GrantEnds {
		return &Error{Code: Gone, Reason: ReasonGrantExpired, State: Redeemed, Message: "The grant of this challenge has expired. Start again."}
	}
	fx.Repeat = true
	return nil
}

// voided says why an approval no longer counts, by what is true now.
func voided(c Challenge, e Redeem, f Facts) CancelReason {
	ev := c.Evidence
	if !f.UserActive {
		return CancelUserLocked
	}
	if !f.ApplicationActive {
		return CancelApplicationOff
	}
	if !c.FirstFactor.Satisfies(f.Policy.FirstFactor) {
		return CancelPolicy
	}
	if ev.Method != Push {
		if !(c.Methods & f.Policy.Methods).SuitableFor(c.Kind, max(c.MinBits, f.Policy.MinBits)).Has(ev.Method) {
			return CancelPolicy
		}
		return ""
	}
	if e.Device.ID != ev.Device || e.Device.User != c.User || e.Device.State != DeviceActive {
		return CancelDeviceGone
	}
	today := f
	today.Simultaneous = false // judged when the device approved; a later stranger takes nothing back
	if !c.MatchNow(today).Has(ev.Match) || (f.Policy.UserVerification && !ev.UserVerified) {
		return CancelPolicy
	}
	if e.Device.Quarantined && (c.Kind != Login || ev.Match.Bits() < StrongBits || ev.Match == DigitsBack) {
		return CancelPolicy
	}
	return ""
}
