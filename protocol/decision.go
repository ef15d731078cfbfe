package protocol

import (
	"crypto/sha256"
	"slices"

	"github.com/go-json-experiment/json"
)

// Match is how a prompt is bound to the login page.
type Match string

// The match kinds.
const (
	MatchScan       Match = "scan"
	MatchDigits     Match = "digits"
	MatchDigitsBack Match = "digits_back"
	MatchNumber     Match = "number"
	MatchChoice     Match = "choice"
	MatchTap        Match = "tap"
)

// Bits is how hard the match is to guess, in bits; -1 for no match kind.
func (m Match) Bits() int {
	switch m {
	case MatchScan:
		return 128
	case MatchDigits, MatchDigitsBack:
		return 20
	case MatchNumber:
		return 6
	case MatchChoice:
		return 1
	case MatchTap:
		return 0
	default:
		return -1
	}
}

// CheckAnswer returns ErrMalformed unless the answer has the form of the kind: six digits,
// two digits, 22 characters of a scanned secret, or none.
func (m Match) CheckAnswer(answer string) error {
	ok := false
	switch m {
	case MatchScan:
		ok = validSecret(answer)
	case MatchDigits:
		ok = digits(answer, 6)
	case MatchNumber, MatchChoice:
		ok = digits(answer, 2)
	case MatchTap, MatchDigitsBack:
		ok = answer == ""
	default:
		return malformed("match", "not a match kind")
	}
	if !ok {
		return malformed("answer", "not of the form of the match")
	}
	return nil
}

// Verdict is what a device says to a prompt.
type Verdict string

// The verdicts. Report means "this was not me".
const (
	VerdictApprove Verdict = "approve"
	VerdictDeny    Verdict = "deny"
	VerdictReport  Verdict = "report"
)

// Assertion is a WebAuthn assertion of the app lock, its members in base64url.
type Assertion struct {
	ID                string `json:"id"`
	ClientData        string `json:"client_data"`
	AuthenticatorData string `json:"authenticator_data"`
	Signature         string `json:"signature"`
}

// Decision is a device's answer to a prompt. Deny and report have v, challenge, decision and
// perhaps prompt_sha256 only.
type Decision struct {
	V            int
	Challenge    string
	Decision     Verdict
	PromptSHA256 string // PromptSHA256 of the bytes shown
	Match        Match  // the kind used
	Answer       string // "" for tap and digits_back
	Remember     bool   // remember the browser that asked
	ShownMS      int64  // from showing to sending, in milliseconds
	Locale       string // of what was shown, "" when not known
	UV           *Assertion
}

type approval struct {
	V            int        `json:"v"`
	Challenge    string     `json:"challenge"`
	Decision     Verdict    `json:"decision"`
	PromptSHA256 string     `json:"prompt_sha256"`
	Match        Match      `json:"match"`
	Answer       string     `json:"answer,omitzero"`
	Remember     bool       `json:"remember,omitzero"`
	ShownMS      int64      `json:"shown_ms"`
	Locale       string     `json:"locale"`
	UV           *Assertion `json:"uv,omitzero"`
}

type refusal struct {
	V            int     `json:"v"`
	Challenge    string  `json:"challenge"`
	Decision     Verdict `json:"decision"`
	PromptSHA256 string  `json:"prompt_sha256,omitzero"`
}

var (
	approvalShape = shapeOf[approval]()
	refusalShape  = shapeOf[refusal]()
)

// Type is TypeDecision.
func (*Decision) Type() Type { return TypeDecision }

// MarshalJSON writes the members that the verdict has.
func (d *Decision) MarshalJSON() ([]byte, error) {
	if d.Decision == VerdictApprove {
		return Encode(approval(*d))
	}
	if *d != (Decision{V: d.V, Challenge: d.Challenge, Decision: d.Decision, PromptSHA256: d.PromptSHA256}) {
		return nil, malformed("decision", "only an approval has more members")
	}
	return Encode(refusal{d.V, d.Challenge, d.Decision, d.PromptSHA256})
}

// decodeDecision holds the payload to the form of its verdict.
func decodeDecision(data []byte) (any, error) {
	var peek struct {
		Decision Verdict `json:"decision"`
	}
	if err := json.Unmarshal(data, &peek); err != nil || peek.Decision == VerdictApprove {
		a, err := decodeStrict[approval](data, approvalShape)
		if err != nil {
			return nil, err
		}
		d := Decision(*a)
		return &d, d.check()
	}
	r, err := decodeStrict[refusal](data, refusalShape)
	if err != nil {
		return nil, err
	}
	d := Decision{V: r.V, Challenge: r.Challenge, Decision: r.Decision, PromptSHA256: r.PromptSHA256}
	return &d, d.check()
}

func (d *Decision) check() error {
	var c checker
	c.version(d.V)
	c.id(d.Challenge, "challenge")
	c.want(slices.Contains([]Verdict{VerdictApprove, VerdictDeny, VerdictReport}, d.Decision), "decision", "not a decision")
	if d.Decision != VerdictApprove {
		c.want(d.Match == "", "match", "only an approval has it")
		c.want(d.PromptSHA256 == "" || validDigest(d.PromptSHA256), "prompt_sha256", "not a SHA-256 digest in base64url")
		return c.err
	}
	c.digest(d.PromptSHA256, "prompt_sha256")
	if c.err == nil {
		c.err = d.Match.CheckAnswer(d.Answer)
	}
	c.want(d.ShownMS >= 0, "shown_ms", "negative")
	c.want(len(d.Locale) <= 35 && only(d.Locale, func(b byte) bool { return base64Char(b) }), "locale", "not a locale")
	if d.UV != nil {
		c.bytes(d.UV.ID, "uv.id", 1023)
		c.bytes(d.UV.ClientData, "uv.client_data", 4096)
		c.bytes(d.UV.AuthenticatorData, "uv.authenticator_data", 1024)
		c.bytes(d.UV.Signature, "uv.signature", 1024)
	}
	return c.err
}

// UVText is the text whose SHA-256 is the WebAuthn challenge of an approval's user
// verification. The answer is "" where the match has none.
func UVText(challenge, promptSHA256 string, match Match, answer string) string {
	return `["nod-uv","` + challenge + `","approve","` + promptSHA256 + `","` + string(match) + `","` + answer + `"]`
}

// UVChallenge is the SHA-256 of UVText.
func UVChallenge(challenge, promptSHA256 string, match Match, answer string) [32]byte {
	return sha256.Sum256([]byte(UVText(challenge, promptSHA256, match, answer)))
}

// PromptSHA256 is the digest by which a decision names the prompt: of its decoded payload
// bytes, in base64url.
func PromptSHA256(payload []byte) string {
	sum := sha256.Sum256(payload)
	return encode64(sum[:])
}
