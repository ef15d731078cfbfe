// Package challenge keeps challenges: it makes them with their prompt and their secrets, reads them
// back, applies [mfa.Step] inside a transaction, writes what the step asks for, and wakes who waits.
//
//	authn ── Make ──► row, prompt, secrets
//	      ── Load ──► Held ── Apply(event) ──► row, events, wake-ups
//	fronts ── Hub.Wait ──► parked until the row's key is woken
package challenge

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// Config of the Service.
type Config struct {
	Ring *keys.Ring
}

// Service makes, reads and changes challenges inside its callers' transactions. It is safe for
// concurrent use.
type Service struct{ c Config }

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Ring == nil {
		return nil, errors.New("challenge: Config.Ring is required")
	}
	return &Service{c: c}, nil
}

// Detail is one line of what is to be approved.
type Detail struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

// Context is where a request comes from, as it is kept and shown.
type Context struct {
	IP        string `json:"ip,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
	Browser   string `json:"browser,omitempty"` // in words
	Source    string `json:"source,omitempty"`
}

// Spec is everything about a challenge that is decided before it is made.
type Spec struct {
	Realm       mfa.RealmID
	Issuer      string
	ID          mfa.ChallengeID // "" for a fresh one
	User        mfa.UserID      // may stand for an unknown name
	UserName    string          // canonical
	Name        string          // as the application sent it
	Known       bool            // the user exists and may sign in
	Application store.Application
	Kind        mfa.Kind
	FirstFactor mfa.FirstFactor
	From        mfa.Provenance
	Browser     string
	BrowserJWK  []byte
	Source      string
	Matches     []mfa.Match
	Methods     mfa.Methods
	MinBits     int
	Policy      int
	Reason      string
	Details     []Detail
	Context     Context
	Nonce       string
	DecideIn    time.Duration
	Ringing     mfa.Ringing
	Others      int
}

// Signer signs what the realm says.
type Signer interface {
	Sign(typ string, payload []byte) (string, error)
}

// Writer is what writing a challenge needs of a transaction.
type Writer interface {
	Now() mfa.Instant
	Wake(keys ...string)
	InsertEvent(store.Event) error
	store.Challenges
}

// Held is a challenge as read, with its secrets.
type Held struct {
	store.Challenge
}

// Make writes a new challenge with its prompt. The same work is done for a user who does not
// exist. It returns Invalid if what is to be shown does not fit into a prompt, and wraps
// store.ErrExists if the id is taken.
func (s *Service) Make(tx Writer, signer Signer, spec Spec) (Held, error) {
	now := tx.Now()
	if spec.ID == "" {
		spec.ID = mfa.ChallengeID(secret.ID("ch_"))
	}
	offered := mfa.MatchesOf(spec.Matches...)
	expect, choices := draw(offered)
	h := Held{store.Challenge{
		Challenge: mfa.Challenge{
			ID: spec.ID, User: spec.User, Application: spec.Application.ID, Kind: spec.Kind,
			Provenance: spec.From, FirstFactor: spec.FirstFactor, Matches: offered, Methods: spec.Methods,
			MinBits: spec.MinBits, Answerable: spec.Known, Expect: expect, State: mfa.Pending,
			CreatedAt: now, DecideBy: now.Add(spec.DecideIn),
		},
		Realm: spec.Realm, Name: spec.Name, MatchOrder: spec.Matches, Reason: spec.Reason, Nonce: spec.Nonce,
		Browser: spec.Browser, BrowserJWK: spec.BrowserJWK, Source: spec.Source, PolicyVersion: spec.Policy,
		Others: spec.Others, Rung: spec.Ringing.Rung, RingReason: spec.Ringing.Reason, RetryAt: spec.Ringing.RetryAt,
	}}
	var err error
	if len(spec.Details) > 0 {
		if h.Details, err = json.Marshal(spec.Details); err != nil {
			return Held{}, fmt.Errorf("write details: %w", err)
		}
	}
	if h.Context, err = json.Marshal(spec.Context); err != nil {
		return Held{}, fmt.Errorf("write context: %w", err)
	}
	if len(spec.Matches) > 0 {
		payload, err := protocol.Encode(prompt(spec, h, choices))
		if err != nil {
			return Held{}, fmt.Errorf("write prompt: %w", err)
		}
		if h.PromptJWS, err = signer.Sign(string(protocol.TypePrompt), payload); err != nil {
			return Held{}, fmt.Errorf("sign prompt: %w", err)
		}
		if len(h.PromptJWS) > protocol.MaxMessage { // every device would refuse it
			return Held{}, mfa.InvalidField("details", "The reason and the details together are too long for a prompt.")
		}
		h.Prompt = protocol.PromptSHA256(payload)
	}
	if h.Sealed, err = s.seal(h); err != nil {
		return Held{}, err
	}
	if err := tx.InsertChallenge(h.Challenge); err != nil {
		return Held{}, fmt.Errorf("insert challenge: %w", err)
	}
	wake(tx, h)
	return h, nil
}

func prompt(spec Spec, h Held, choices []string) *protocol.Prompt {
	details := make([]protocol.Detail, len(spec.Details))
	for i, d := range spec.Details {
		details[i] = protocol.Detail(d)
	}
	match := make([]protocol.Match, len(spec.Matches))
	for i, m := range spec.Matches {
		match[i] = protocol.Match(m)
	}
	return &protocol.Prompt{
		V: protocol.Version, Issuer: spec.Issuer, Realm: string(spec.Realm), Challenge: string(h.ID),
		User:    protocol.User{ID: string(spec.User), Name: spec.UserName},
		App:     protocol.App{ID: string(spec.Application.ID), Name: spec.Application.Name, IconSHA256: spec.Application.IconSHA256},
		Kind:    protocol.Kind(spec.Kind),
		Reason:  spec.Reason,
		Details: details,
		Context: protocol.Context{
			IP: spec.Context.IP, PlaceConfidence: protocol.ConfidenceNone, Browser: spec.Context.Browser,
			ReportedBy: protocol.ReportedByApp, KnownBrowser: spec.From.Class == mfa.KnownBrowser,
		},
		Match: match, Choices: choices,
		At: h.CreatedAt.Millis(), DecideBy: h.DecideBy.Millis(),
	}
}

// draw makes the secrets of the kinds offered, and the choices that the device shows.
func draw(offered mfa.Matches) (mfa.Expect, []string) {
	var e mfa.Expect
	if offered.Has(mfa.Scan) {
		e.Scan = secret.Base64(16)
	}
	if offered.Has(mfa.Digits) {
		e.Digits = secret.Digits(6)
	}
	if !offered.Has(mfa.Number) && !offered.Has(mfa.Choice) {
		return e, nil
	}
	e.Number = secret.Digits(2)
	if !offered.Has(mfa.Choice) {
		return e, nil
	}
	choices := []string{e.Number}
	for len(choices) < 3 {
		if n := secret.Digits(2); !slices.Contains(choices, n) {
			choices = append(choices, n)
		}
	}
	slices.Sort(choices) // the place of the right one must say nothing
	return e, choices
}

// FreshBack makes the six digits of digits_back.
func FreshBack() string { return secret.Digits(6) }

func (s *Service) place(h Held) keys.AAD {
	return keys.AAD{Realm: string(h.Realm), Table: "challenges", Row: string(h.ID), Column: "sealed"}
}

func (s *Service) seal(h Held) ([]byte, error) {
	text, err := json.Marshal(h.Expect)
	if err != nil {
		return nil, fmt.Errorf("write secrets of %s: %w", h.ID, err)
	}
	sealed, err := s.c.Ring.Seal(text, s.place(h))
	if err != nil {
		return nil, fmt.Errorf("seal secrets of %s: %w", h.ID, err)
	}
	return sealed, nil
}

// Reader is what reading a challenge needs of a transaction.
type Reader interface {
	Challenge(realm mfa.RealmID, id mfa.ChallengeID) (store.Challenge, error)
}

// Load reads a challenge with its secrets. It returns NotFound.
func (s *Service) Load(tx Reader, realm mfa.RealmID, id mfa.ChallengeID) (Held, error) {
	row, err := tx.Challenge(realm, id)
	if errors.Is(err, store.ErrNotFound) {
		return Held{}, mfa.ErrNotFound()
	}
	if err != nil {
		return Held{}, fmt.Errorf("read challenge %s: %w", id, err)
	}
	return s.Open(row)
}

// Open reads the secrets of a row.
func (s *Service) Open(row store.Challenge) (Held, error) {
	h := Held{row}
	text, err := s.c.Ring.Open(row.Sealed, s.place(h))
	if err != nil {
		return Held{}, fmt.Errorf("open secrets of %s: %w", row.ID, err)
	}
	if err := json.Unmarshal(text, &h.Expect); err != nil {
		return Held{}, fmt.Errorf("read secrets of %s: %w", row.ID, err)
	}
	return h, nil
}

// Recorder writes an audit event about a challenge.
type Recorder func(kind string, data map[string]string) error

// Apply runs one step on the challenge and stores what came of it. The error is the step's answer
// to the caller, in refused, apart from a fault of the store: the transaction is to be committed
// when only refused is set. complete, unless it is nil, adds to a changed challenge what is stored
// with it.
func (s *Service) Apply(tx Writer, h *Held, event mfa.Event, f mfa.Facts, record Recorder, complete func(before mfa.State, fx mfa.Effects) error) (fx mfa.Effects, refused, err error) {
	before := h.Challenge.Challenge
	next, fx, refused := mfa.Step(before, event, f, tx.Now())
	if next == before && len(fx.Record) == 0 {
		return fx, refused, nil
	}
	h.Challenge.Challenge = next
	if next.Expect != before.Expect {
		if h.Sealed, err = s.seal(*h); err != nil {
			return fx, refused, err
		}
	}
	if fx.ReturnRing {
		h.RingReturned = true
	}
	for _, kind := range fx.Record {
		if err := record(string(kind), detail(*h, kind)); err != nil {
			return fx, refused, err
		}
	}
	if complete != nil {
		if err := complete(before.State, fx); err != nil {
			return fx, refused, err
		}
	}
	return fx, refused, s.save(tx, h)
}

// save stores the challenge after a change and wakes who waits on it.
func (s *Service) save(tx Writer, h *Held) error {
	if err := tx.PutChallenge(h.Challenge); err != nil {
		return fmt.Errorf("write challenge %s: %w", h.ID, err)
	}
	h.Version++
	wake(tx, *h)
	return nil
}

func detail(h Held, kind mfa.Recorded) map[string]string {
	d := map[string]string{}
	switch kind {
	case mfa.RecordApproved, mfa.RecordAnswered, mfa.RecordRedeemed:
		d["method"] = string(h.Evidence.Method)
		if h.Evidence.Match != "" {
			d["match"] = string(h.Evidence.Match)
		}
	case mfa.RecordCancelled:
		d["reason"] = string(h.Challenge.Challenge.Reason)
	case mfa.RecordWrong:
		d["wrong"] = strconv.Itoa(h.Wrong)
	default:
	}
	if len(d) == 0 {
		return nil
	}
	return d
}

func wake(tx Writer, h Held) {
	tx.Wake(
		store.WakeChallenge(h.Realm, h.ID),
		store.WakeUser(h.Realm, h.User),
		store.WakeApplication(h.Realm, h.Application),
	)
}

// Scanned gives the text of the login page's code.
func (h Held) Scanned() string {
	if h.Expect.Scan == "" {
		return ""
	}
	return protocol.Scan{Challenge: string(h.ID), Secret: h.Expect.Scan}.String()
}

// Where gives the context that was kept; the zero value if there is none.
func (h Held) Where() Context {
	var c Context
	if len(h.Context) > 0 && json.Unmarshal(h.Context, &c) != nil {
		return Context{}
	}
	return c
}

// SealGrant seals a grant for its row.
func (s *Service) SealGrant(h Held, jwt string) ([]byte, error) {
	ad := s.place(h)
	ad.Column = "grant"
	sealed, err := s.c.Ring.Seal([]byte(jwt), ad)
	if err != nil {
		return nil, fmt.Errorf("seal grant of %s: %w", h.ID, err)
	}
	return sealed, nil
}

// OpenGrant reads the stored grant.
func (s *Service) OpenGrant(h Held) (string, error) {
	ad := s.place(h)
	ad.Column = "grant"
	jwt, err := s.c.Ring.Open(h.Grant, ad)
	if err != nil {
		return "", fmt.Errorf("open grant of %s: %w", h.ID, err)
	}
	return string(jwt), nil
}

// CancelLive cancels the live challenges among rows for one reason. With Device set in the event
// only approvals by that device end. record is called for each challenge that ends.
func (s *Service) CancelLive(tx Writer, rows []store.Challenge, e mfa.Cancel, record func(Held) Recorder) ([]Held, error) {
	var ended []Held
	for _, row := range rows {
		h, err := s.Open(row)
		if err != nil {
			return nil, err
		}
		was := h.State
		if _, _, err := s.Apply(tx, &h, e, mfa.Facts{}, record(h), nil); err != nil {
			return nil, err
		}
		if h.State == mfa.Cancelled && was != mfa.Cancelled {
			ended = append(ended, h)
		}
	}
	return ended, nil
}
