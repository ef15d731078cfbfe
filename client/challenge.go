package client

import (
	"encoding/json"
	"time"
)

// Kind is what a challenge asks for.
type Kind string

// The kinds of a challenge.
const (
	Login       Kind = "login"
	StepUp      Kind = "step_up"
	Transaction Kind = "transaction"
)

// State is the state of a challenge.
type State string

// The states of a challenge. Approved means that it can be redeemed; only the grant proves it.
const (
	Pending   State = "pending"
	Answered  State = "answered" // approved on the device; the digits that it shows are to be typed
	Approved  State = "approved"
	Redeemed  State = "redeemed"
	Denied    State = "denied"
	Failed    State = "failed"
	Expired   State = "expired"
	Cancelled State = "cancelled"
)

// Undecided says whether an answer may still come.
func (s State) Undecided() bool { return s == Pending || s == Answered }

// MatchKind is how a prompt is bound to the login page.
type MatchKind string

// The match kinds, strongest first.
const (
	Scan       MatchKind = "scan"
	Digits     MatchKind = "digits"
	DigitsBack MatchKind = "digits_back"
	Number     MatchKind = "number"
	Choice     MatchKind = "choice"
	Tap        MatchKind = "tap"
)

// Method is a way to answer a challenge.
type Method string

// The methods. DigitsBack is one for Verify alone.
const (
	Push             Method = "push"
	TOTP             Method = "totp"
	BackupCode       Method = "backup_code"
	BypassCode       Method = "bypass_code"
	Passkey          Method = "passkey"
	SMS              Method = "sms"
	Email            Method = "email"
	OATH             Method = "oath"
	DigitsBackMethod Method = "digits_back"
)

// UserRef names a user by one of the two.
type UserRef struct {
	ID   string `json:"id,omitzero"`
	Name string `json:"name,omitzero"` // or an alias
}

// Detail is one line of what is approved.
type Detail struct {
	Label string `json:"label"` // at most 40 characters
	Value string `json:"value"` // at most 200 characters
}

// RequestContext is where the request comes from, as the application saw it.
type RequestContext struct {
	IP           string `json:"ip,omitzero"`
	UserAgent    string `json:"user_agent,omitzero"`
	BrowserProof string `json:"browser_proof,omitzero"` // from the login origin, for a known browser
	BrowserID    string `json:"browser_id,omitzero"`    // the application's own name for the browser
	Source       string `json:"source,omitzero"`        // host or NAS that asks
}

// FirstFactorAsserted says that the application checked a first factor itself. The key needs the
// scope assert_first_factor.
const FirstFactorAsserted = "asserted"

// NewChallenge is what an application asks for. Everything but User and Kind may be left out.
type NewChallenge struct {
	User        UserRef         `json:"user"`
	Kind        Kind            `json:"kind"`
	Match       []MatchKind     `json:"match,omitzero"`    // in the application's order; policy decides
	MinBits     int             `json:"min_bits,omitzero"` // above 20 leaves scan
	Reason      string          `json:"reason,omitzero"`   // at most 200 characters
	Details     []Detail        `json:"details,omitzero"`  // at most 10
	Context     *RequestContext `json:"context,omitzero"`
	Password    Secret          `json:"password,omitzero"`
	FirstFactor string          `json:"first_factor,omitzero"`
	Nonce       string          `json:"nonce,omitzero"` // comes back in the grant
}

// Match is what the login page shows. All but Kinds are secrets of this sign-in's page, and only
// the answer to Create has them.
type Match struct {
	Kinds  []MatchKind `json:"kinds"`
	Digits Secret      `json:"digits,omitzero"` // six, to be typed into the device
	Number Secret      `json:"number,omitzero"` // two, to be typed or picked on the device
	QR     Secret      `json:"qr,omitzero"`     // the text of a QR code, on purpose not a link
}

// PushStatus says what became of the doorbell.
type PushStatus struct {
	Listed  bool      `json:"listed"` // devices list the prompt; otherwise it can be scanned
	Rung    bool      `json:"rung"`
	Reason  string    `json:"reason,omitzero"` // why not
	RetryAt time.Time `json:"retry_at,omitzero"`
}

// Delivery says how far the prompt came. Strangers see Sent alone.
type Delivery struct {
	Sent     bool      `json:"sent"`
	Received time.Time `json:"received,omitzero"`
	Shown    time.Time `json:"shown,omitzero"`
	Opened   time.Time `json:"opened,omitzero"`
}

// Challenge is one request to authenticate a user or to approve a described action.
type Challenge struct {
	ID        string      `json:"id"`
	UserID    string      `json:"user_id,omitzero"` // once approved
	Kind      Kind        `json:"kind"`
	State     State       `json:"state"`
	Reason    string      `json:"reason,omitzero"`   // of a cancellation
	Reported  bool        `json:"reported,omitzero"` // the user says that it was not them
	Match     Match       `json:"match,omitzero"`
	MatchNow  []MatchKind `json:"match_now"` // that count at this moment; the page shows these
	Others    int         `json:"others"`    // live challenges of this user from other places; the page says so
	Push      PushStatus  `json:"push"`
	Methods   []Method    `json:"methods"`
	Delivery  Delivery    `json:"delivery"`
	DecideBy  time.Time   `json:"decide_by"`          // exclusive
	RedeemBy  time.Time   `json:"redeem_by,omitzero"` // exclusive; once approved
	CreatedAt time.Time   `json:"created_at"`
	TriesLeft *int        `json:"tries_left,omitzero"` // after wrong digits
}

// RedeemedGrant is the grant of an approved challenge, to be verified before anybody is let in.
type RedeemedGrant struct {
	Grant     string    `json:"grant"` // a JWT
	ExpiresAt time.Time `json:"expires_at"`
}

// Receipt is the stored evidence of a decision, byte for byte.
type Receipt = json.RawMessage
