package protocol

import "github.com/go-json-experiment/json"

// DeviceState is what a device may do now.
type DeviceState string

// The states told to a device. A revoked, refused or never confirmed one gets 403.
const (
	DeviceClaimed     DeviceState = "claimed"
	DeviceActive      DeviceState = "active"
	DeviceQuarantined DeviceState = "quarantined"
	DeviceSuspended   DeviceState = "suspended"
)

// EnrolAnswer answers enrol.
type EnrolAnswer struct {
	Enrolled string `json:"enrolled"` // a nod-enrolled+jws
}

// PromptItem is one prompt of a poll, and beside it, unsigned, what may change.
type PromptItem struct {
	JWS       string  `json:"jws"`
	Others    int     `json:"others"`     // live challenges of other provenance
	MatchNow  []Match `json:"match_now"`  // the kinds that count at this moment
	TriesLeft int     `json:"tries_left"` // wrong answers that remain
}

// PollAnswer answers prompts.
type PollAnswer struct {
	Now         int64        `json:"now"` // milliseconds since 1970 UTC by the server's clock
	Prompts     []PromptItem `json:"prompts"`
	Keys        []string     `json:"keys"`    // every nod-keys+jws after the serial named, in order
	Notices     []string     `json:"notices"` // nod-notice+jws
	DeviceState DeviceState  `json:"device_state"`
}

// DecisionAnswer answers decisions.
type DecisionAnswer struct {
	State      string `json:"state"`
	TriesLeft  *int   `json:"tries_left,omitzero"`
	DigitsBack string `json:"digits_back,omitzero"` // to be typed into the login page
}

// HistoryItem is one challenge of the past.
type HistoryItem struct {
	Challenge string `json:"challenge"`
	App       string `json:"app"` // name of the application
	Kind      Kind   `json:"kind"`
	At        int64  `json:"at"` // milliseconds since 1970 UTC
	State     string `json:"state"`
	Listed    bool   `json:"listed"`
	Rung      bool   `json:"rung"`
	Reported  bool   `json:"reported"`
	Device    string `json:"device,omitzero"` // id of the device that decided
}

// HistoryAnswer answers history.
type HistoryAnswer struct {
	Items []HistoryItem `json:"items"`
	Next  string        `json:"next,omitzero"` // cursor, absent on the last page
}

// ProofAnswer answers a browser's proof.
type ProofAnswer struct {
	Proof string `json:"proof"`
}

// WellKnown is what the host of an enrolment link says about itself. Nothing is trusted because
// of it; the PIN is.
type WellKnown struct {
	V                int    `json:"v"`
	DeviceURL        string `json:"device_url"` // public URL below which the paths are
	AuthenticatorURL string `json:"authenticator_url"`
}

// Problem is an error answer (RFC 9457).
type Problem struct {
	Type       string `json:"type"`
	Title      string `json:"title"`
	Status     int    `json:"status"`
	Detail     string `json:"detail,omitzero"`
	Code       string `json:"code"`
	Reason     string `json:"reason,omitzero"`
	Field      string `json:"field,omitzero"`
	State      string `json:"state,omitzero"`
	RetryAfter int    `json:"retry_after,omitzero"` // seconds
	RequestID  string `json:"request_id,omitzero"`
}

// ReadAnswer reads an answer's JSON. Unknown members are ignored, since answers are not signed
// and may grow; names are case-sensitive and none may come twice. It returns ErrMalformed.
func ReadAnswer[T any](body []byte) (T, error) {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		var zero T
		return zero, malformed("", "not the JSON answer expected here")
	}
	return v, nil
}
