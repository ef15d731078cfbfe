package mfa

import "crypto/subtle"

// Challenge is what decides: the part of a challenge that Step reads and changes. It is
// comparable.
type Challenge struct {
	ID          ChallengeID
	User        UserID
	Application ApplicationID
	Kind        Kind
	Provenance  Provenance
	FirstFactor FirstFactor
	Matches     Matches // those that the prompt lists
	Methods     Methods // those that policy allowed at creation
	MinBits     int     // that the application asked for; policy's own minimum is re-read each time
	Prompt      string  // base64url SHA-256 of the prompt's bytes
	Answerable  bool    // false for an unknown, locked or device-less user: nobody can answer
	Expect      Expect

	State    State
	Reason   CancelReason
	Reported bool
	Wrong    int              // wrong match answers so far
	Seen     [MaxSeen]Sighted // device decisions that counted, oldest first

	CreatedAt Instant
	DecideBy  Instant // exclusive
	RedeemBy  Instant // exclusive; 0 until approved
	Evidence  Evidence
	RedeemKey string  // the idempotency key that won
	GrantEnds Instant // the grant's exp
}

// MaxSeen is how many different decisions of devices a challenge can count: the wrong ones, the
// one that decides, and reports.
const MaxSeen = 6

// Sighted names a device decision by the digest of the device's kid and the payload's bytes, never
// by its signature, of which the same key can make many.
type Sighted string

// Expect holds the answers that are right. They are secrets; printing them gives nothing.
type Expect struct {
	Scan   string // 22 characters
	Digits string // six
	Back   string // six, made when a device approves by digits_back
	Number string // two; also the right one of choice
}

// String redacts.
func (Expect) String() string { return "[redacted]" }

// GoString redacts.
func (Expect) GoString() string { return "[redacted]" }

func (e Expect) answer(m Match) string {
	switch m {
	case Scan:
		return e.Scan
	case Digits:
		return e.Digits
	case Number, Choice:
		return e.Number
	case DigitsBack:
		return e.Back
	case Tap:
		return ""
	}
	return ""
}

// Evidence is what an approval rests on. It is the zero value until a challenge is answered.
type Evidence struct {
	Method         Method
	At             Instant // auth_time
	Match          Match   // of a push
	Device         DeviceID
	Quarantined    bool   // the device was in quarantine when it approved
	UserVerified   bool   // a verified app lock went with the decision
	Code           string // the identity of the typed code that was consumed, never the code
	RememberAsked  bool   // the person asked that the browser be remembered
	FirstFactorToo FirstFactor
}

// Facts is what the transaction re-reads before a step: nothing in it is older than the
// transaction.
type Facts struct {
	UserActive        bool
	ApplicationActive bool
	Policy            Requirement
	Simultaneous      bool // another live challenge of this user has a different provenance
	LockedDown        bool // the user reported a sign-in that was not theirs
}

// Requirement is what policy demands of a challenge.
type Requirement struct {
	Version          int
	FirstFactor      FirstFactor
	Matches          Matches
	Methods          Methods
	MinBits          int
	UserVerification bool
}

// DeviceFacts is what the transaction re-reads of the device that speaks.
type DeviceFacts struct {
	ID          DeviceID
	User        UserID
	State       DeviceState
	Quarantined bool
}

// Floor is the least number of bits that approves now.
func (c Challenge) Floor(f Facts) int {
	floor := max(c.MinBits, f.Policy.MinBits)
	if f.Simultaneous || f.LockedDown || c.Kind != Login {
		floor = max(floor, StrongBits)
	}
	return floor
}

// MatchNow returns the match kinds that count at this moment; none when push does not.
func (c Challenge) MatchNow(f Facts) Matches {
	if !c.Methods.Has(Push) || !f.Policy.Methods.Has(Push) {
		return 0
	}
	return (c.Matches & f.Policy.Matches).AtLeast(c.Floor(f))
}

// MethodsNow returns the methods that can still answer the challenge. Push is among them only
// while a match kind counts.
func (c Challenge) MethodsNow(f Facts) Methods {
	m := (c.Methods & f.Policy.Methods).SuitableFor(c.Kind, c.Floor(f))
	if c.MatchNow(f) == 0 {
		m &^= MethodsOf(Push)
	}
	return m
}

// At returns the challenge as every reader sees it at now: a live one whose limit has passed is
// expired, whether or not that is recorded yet.
func (c Challenge) At(now Instant) Challenge {
	switch c.State {
	case Pending, Answered:
		if now >= c.DecideBy {
			c.State = Expired
		}
	case Approved:
		if now >= c.RedeemBy {
			c.State = Expired
		}
	case Redeemed, Denied, Failed, Expired, Cancelled:
	}
	return c
}

// Timely says whether now is not before the challenge was made: a clock that went back revives
// nothing.
func (c Challenge) Timely(now Instant) bool { return now >= c.CreatedAt.Add(-ClockSlack) }

// TriesLeft is how many more wrong answers the challenge takes before it fails.
func (c Challenge) TriesLeft() int { return max(0, MaxTries-c.Wrong) }

// HasSeen says whether this very decision was counted before.
func (c Challenge) HasSeen(s Sighted) bool {
	for _, k := range c.Seen {
		if k == s && s != "" {
			return true
		}
	}
	return false
}

func (c Challenge) saw(s Sighted) Challenge {
	for i, k := range c.Seen {
		if k == "" {
			c.Seen[i] = s
			return c
		}
	}
	copy(c.Seen[:], c.Seen[1:])
	c.Seen[MaxSeen-1] = s
	return c
}

func equal(given, right string) bool {
	return right != "" && subtle.ConstantTimeCompare([]byte(given), []byte(right)) == 1
}
