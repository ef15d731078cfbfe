package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/wire/plain"
	"github.com/nodauth/nod/protocol"
)

// instant is a time in an answer or a request; zero is left out.
type instant mfa.Instant

// MarshalText writes RFC 3339 in UTC with milliseconds.
func (i instant) MarshalText() ([]byte, error) {
	return mfa.Instant(i).Time().AppendFormat(nil, "2006-01-02T15:04:05.000Z07:00"), nil
}

// UnmarshalText reads RFC 3339.
func (i *instant) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return fmt.Errorf("read time: %w", err)
	}
	*i = instant(mfa.At(t))
	return nil
}

// Schema describes the text for the OpenAPI document.
func (instant) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time"}
}

type userRefShape struct {
	ID   string `json:"id,omitempty" pattern:"^usr_[a-z2-7]{26}$"`
	Name string `json:"name,omitempty" minLength:"1" maxLength:"255" doc:"User name or alias, in any spelling."`
}

type detailShape struct {
	Label string `json:"label" minLength:"1" maxLength:"40"`
	Value string `json:"value" maxLength:"200"`
}

type contextShape struct {
	IP           string `json:"ip,omitempty" maxLength:"45" doc:"Of the browser or terminal where the user signs in."`
	UserAgent    string `json:"user_agent,omitempty" maxLength:"1024"`
	BrowserProof string `json:"browser_proof,omitempty" maxLength:"255" doc:"From the login origin, good once."`
	BrowserID    string `json:"browser_id,omitempty" maxLength:"128" doc:"The application's own id of the browser, unguessable."`
	Source       string `json:"source,omitempty" maxLength:"128" doc:"Host or network access server where the user signs in."`
}

type newChallengeShape struct {
	User        userRefShape  `json:"user" doc:"Either id or name."`
	Kind        string        `json:"kind" enum:"login,step_up,transaction"`
	Match       []string      `json:"match,omitempty" minItems:"1" maxItems:"6" uniqueItems:"true" enum:"scan,digits,digits_back,number,choice,tap" doc:"The kinds that the application can show; policy decides without it."`
	MinBits     int           `json:"min_bits,omitzero" minimum:"0" maximum:"128"`
	Reason      string        `json:"reason,omitempty" maxLength:"200" doc:"Shown on the prompt. No control, line or direction characters."`
	Details     []detailShape `json:"details,omitempty" maxItems:"10"`
	Context     contextShape  `json:"context,omitzero"`
	Password    *secret.Value `json:"password,omitempty" minLength:"1" maxLength:"1024" doc:"The user's, for nod to check."`
	FirstFactor string        `json:"first_factor,omitempty" enum:"asserted" doc:"The application checked a first factor; needs scope assert_first_factor."`
	Nonce       string        `json:"nonce,omitempty" maxLength:"255" doc:"Comes back in the grant."`
}

func (n *newChallengeShape) check() error {
	if (n.User.ID == "") == (n.User.Name == "") {
		return mfa.InvalidField("user", "Name the user by either id or name.")
	}
	if !plain.Text(n.Reason, 200) {
		return errText("reason")
	}
	for i, d := range n.Details {
		if !plain.Text(d.Label, 40) {
			return errText(fmt.Sprintf("details.%d.label", i))
		}
		if !plain.Text(d.Value, 200) {
			return errText(fmt.Sprintf("details.%d.value", i))
		}
	}
	if n.Context.IP != "" {
		if _, err := netip.ParseAddr(n.Context.IP); err != nil {
			return mfa.InvalidField("context.ip", "This is not an IP address.")
		}
	}
	if !plain.Text(n.Context.Source, 128) {
		return errText("context.source")
	}
	return nil
}

func errText(field string) error {
	return mfa.InvalidField(field, "This text is shown: it takes no control, line or direction characters.")
}

type matchShape struct {
	Kinds  []mfa.Match `json:"kinds"`
	Digits string      `json:"digits,omitempty" doc:"To be shown on the login page; in the answer to the creation only."`
	Number string      `json:"number,omitempty" doc:"As digits."`
	QR     string      `json:"qr,omitempty" doc:"Text of the QR code to be shown; as digits."`
}

type pushShape struct {
	Listed  bool           `json:"listed" doc:"Devices list the prompt; it can be scanned in any case."`
	Rung    bool           `json:"rung"`
	Reason  mfa.RingReason `json:"reason,omitempty"`
	RetryAt instant        `json:"retry_at,omitzero"`
}

type deliveryShape struct {
	Sent     bool    `json:"sent"`
	Received instant `json:"received,omitzero" doc:"As devices say; for a known browser or after a checked password only."`
	Shown    instant `json:"shown,omitzero"`
	Opened   instant `json:"opened,omitzero"`
}

type challengeShape struct {
	ID        mfa.ChallengeID  `json:"id"`
	UserID    mfa.UserID       `json:"user_id,omitempty" doc:"Once approved: before that, nothing tells whether there is such a user."`
	Kind      mfa.Kind         `json:"kind" enum:"login,step_up,transaction"`
	State     mfa.State        `json:"state" enum:"pending,answered,approved,redeemed,denied,failed,expired,cancelled"`
	Reason    mfa.CancelReason `json:"reason,omitempty" doc:"Of the cancellation."`
	Reported  bool             `json:"reported,omitzero" doc:"The user said that it was not them."`
	Match     matchShape       `json:"match"`
	MatchNow  []mfa.Match      `json:"match_now" doc:"The kinds that count at this moment."`
	Others    int              `json:"others" doc:"Live challenges of the user from elsewhere."`
	Push      pushShape        `json:"push"`
	Methods   []mfa.Method     `json:"methods" doc:"That may answer at this moment."`
	Delivery  deliveryShape    `json:"delivery"`
	DecideBy  instant          `json:"decide_by"`
	RedeemBy  instant          `json:"redeem_by,omitzero"`
	CreatedAt instant          `json:"created_at"`
	TriesLeft *int             `json:"tries_left,omitzero" doc:"After wrong digits_back."`
}

func showChallenge(v authn.View) challengeShape {
	s := challengeShape{
		ID: v.ID, Kind: v.Kind, State: v.State, Reason: v.Reason, Reported: v.Reported,
		Match: matchShape{Kinds: v.Kinds}, MatchNow: v.MatchNow, Others: v.Others,
		Push:    pushShape{Listed: v.Rung, Rung: v.Rung, Reason: v.RingWhy, RetryAt: instant(v.RetryAt)},
		Methods: v.Methods, Delivery: deliveryShape{Sent: v.Sent},
		DecideBy: instant(v.DecideBy), RedeemBy: instant(v.RedeemBy), CreatedAt: instant(v.CreatedAt),
	}
	if v.State == mfa.Approved || v.State == mfa.Redeemed {
		s.UserID = v.User
	}
	if d := v.Delivery; d != nil {
		s.Delivery.Received, s.Delivery.Shown, s.Delivery.Opened = instant(d.Received), instant(d.Shown), instant(d.Opened)
	}
	if v.Secrets != nil {
		s.Match.Digits, s.Match.Number, s.Match.QR = v.Secrets.Digits, v.Secrets.Number, v.Secrets.QR
	}
	return s
}

type verifyShape struct {
	Method string       `json:"method" enum:"totp,backup_code,bypass_code,digits_back,push,passkey,sms,email,oath"`
	Code   secret.Value `json:"code" minLength:"1" maxLength:"64"`
}

type grantShape struct {
	Grant     string  `json:"grant" doc:"A JWT (nod-grant+jwt), to be verified with the keys of the issuer's JWKS."`
	ExpiresAt instant `json:"expires_at"`
}

func (h *Handler) challengeRoutes() {
	add(h, route{
		id: "createChallenge", method: http.MethodPost, path: "/v1/challenges", tag: "challenges",
		summary: "Ask a user", status: http.StatusCreated, made: "/v1/challenges/", access: authenticate, keyed: keyOptional, secret: true,
		about: "The secrets of `match` are in this answer only. A user who does not exist, is locked or has no device gets a challenge that nobody can answer.",
		codes: []mfa.Code{mfa.RateLimited, mfa.Unsupported},
	}, h.createChallenge)
	add(h, route{
		id: "getChallenge", method: http.MethodGet, path: "/v1/challenges/{id}", tag: "challenges",
		summary: "Read a challenge, or wait until its state changes", access: authenticate,
		about: "Answers when the state differs from `state`, at the latest after `wait` seconds, with the present one.",
		query: []param{
			{name: "wait", number: true, max: int(maxWait.Seconds()), about: "Seconds; 0 without it."},
			{name: "state", values: stateNames(), about: "The state that is known; pending without it."},
		},
		codes: []mfa.Code{mfa.NotFound},
	}, h.getChallenge)
	add(h, route{
		id: "verifyChallenge", method: http.MethodPost, path: "/v1/challenges/{id}/verify", tag: "challenges",
		summary: "Answer with a typed code", access: authenticate, keyed: keyOptional,
		about: "A wrong code is no error: the challenge keeps its state. After wrong `digits_back` the answer says how many tries are left.",
		codes: []mfa.Code{mfa.NotFound, mfa.Conflict, mfa.Gone, mfa.RateLimited, mfa.Unsupported},
	}, h.verifyChallenge)
	add(h, route{
		id: "cancelChallenge", method: http.MethodPost, path: "/v1/challenges/{id}/cancel", tag: "challenges",
		summary: "End a challenge", access: authenticate, keyed: keyOptional,
		codes: []mfa.Code{mfa.NotFound, mfa.Conflict, mfa.Gone},
	}, h.cancelChallenge)
	add(h, route{
		id: "redeemChallenge", method: http.MethodPost, path: "/v1/challenges/{id}/redeem", tag: "challenges",
		summary: "Take the grant of an approved challenge", access: authenticate, keyed: keyRequired, secret: true,
		about: "A grant is given once. The same idempotency key gets the same bytes again until the grant expires.",
		codes: []mfa.Code{mfa.NotFound, mfa.Conflict, mfa.Gone},
	}, h.redeemChallenge)
	add(h, route{
		id: "getReceipt", method: http.MethodGet, path: "/v1/challenges/{id}/receipt", tag: "challenges",
		summary: "Read the proof of a decided challenge", access: authenticate,
		about: "The prompt and the device's signed decision, as stored. `nod receipt verify` checks it without the server.",
		codes: []mfa.Code{mfa.NotFound, mfa.Conflict},
	}, h.getReceipt)
	h.streamRoute()
}

func stateNames() []string {
	var out []string
	for _, s := range mfa.States() {
		out = append(out, string(s))
	}
	return out
}

func (h *Handler) createChallenge(ctx context.Context, c *call, in newChallengeShape) (challengeShape, error) {
	if in.FirstFactor != "" {
		if err := c.by.Require(application.AssertFirstFactor); err != nil {
			return challengeShape{}, err
		}
	}
	r := authn.Request{
		UserID: mfa.UserID(in.User.ID), UserName: in.User.Name, Kind: mfa.Kind(in.Kind), MinBits: in.MinBits,
		Reason: in.Reason, IP: in.Context.IP, UserAgent: in.Context.UserAgent, Source: in.Context.Source,
		BrowserID: in.Context.BrowserID, BrowserProof: in.Context.BrowserProof, Asserted: in.FirstFactor != "", Nonce: in.Nonce,
	}
	if c.ids != nil {
		r.ID = mfa.ChallengeID(c.ids("ch_"))
	}
	for _, m := range in.Match {
		r.Matches = append(r.Matches, mfa.Match(m))
	}
	for _, d := range in.Details {
		r.Details = append(r.Details, challenge.Detail(d))
	}
	if in.Password != nil {
		r.Password, r.HasPassword = *in.Password, true
	}
	v, err := h.c.Pipeline.Create(ctx, c.by, r)
	if err != nil {
		return challengeShape{}, err
	}
	c.object = string(v.ID)
	return showChallenge(v), nil
}

func (h *Handler) getChallenge(ctx context.Context, c *call, _ nothing) (challengeShape, error) {
	id := mfa.ChallengeID(c.path("id"))
	known := mfa.Pending
	if s, ok := c.query["state"]; ok {
		known = mfa.State(s)
	}
	v, err := h.c.Pipeline.Get(ctx, c.by, id, known, time.Duration(c.number("wait"))*time.Second)
	if err != nil {
		return challengeShape{}, err
	}
	return showChallenge(v), nil
}

func (h *Handler) verifyChallenge(ctx context.Context, c *call, in verifyShape) (challengeShape, error) {
	method := mfa.Method(in.Method)
	v, err := h.c.Pipeline.Verify(ctx, c.by, mfa.ChallengeID(c.path("id")), method, in.Code.Reveal())
	if err != nil {
		return challengeShape{}, err
	}
	s := showChallenge(v)
	if method == authn.DigitsBackMethod && (v.State == mfa.Pending || v.State == mfa.Answered) {
		s.TriesLeft = &v.TriesLeft
	}
	return s, nil
}

func (h *Handler) cancelChallenge(ctx context.Context, c *call, _ nothing) (challengeShape, error) {
	v, err := h.c.Pipeline.Cancel(ctx, c.by, mfa.ChallengeID(c.path("id")))
	if err != nil {
		return challengeShape{}, err
	}
	return showChallenge(v), nil
}

func (h *Handler) redeemChallenge(ctx context.Context, c *call, _ nothing) (grantShape, error) {
	g, err := h.c.Pipeline.Redeem(ctx, c.by, mfa.ChallengeID(c.path("id")), c.key)
	if err != nil {
		return grantShape{}, err
	}
	return grantShape{Grant: g.JWT, ExpiresAt: instant(g.ExpiresAt)}, nil
}

// receiptShape is the protocol's receipt, whose form the document does not repeat.
type receiptShape protocol.Receipt

// Schema describes a receipt by its members alone.
func (receiptShape) Schema(huma.Registry) *huma.Schema {
	text := func(about string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: about} }
	return &huma.Schema{
		Type: huma.TypeObject, Description: "Of a decision by a device, or of another factor.", Required: []string{"v"},
		Properties: map[string]*huma.Schema{
			"v":         {Type: huma.TypeInteger},
			"prompt":    text("The prompt as it was signed (nod-prompt+jws)."),
			"decision":  text("The decision as the device signed it (nod-decision+jws)."),
			"device":    {Type: huma.TypeObject, Description: "Id, key and enrolment time; believe no key because it is here."},
			"keys":      {Type: huma.TypeArray, Items: text("nod-keys+jws")},
			"method":    text("Of another factor, which proves nothing of a device."),
			"challenge": text("As method."),
			"at":        {Type: huma.TypeString, Format: "date-time", Description: "As method."},
		},
	}
}

func (h *Handler) getReceipt(ctx context.Context, c *call, _ nothing) (receiptShape, error) {
	r, err := h.c.Pipeline.Receipt(ctx, c.by, mfa.ChallengeID(c.path("id")))
	return receiptShape(r), err
}
