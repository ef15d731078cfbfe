// Package policy holds what a realm demands of its sign-ins: one immutable, versioned document per
// realm, with overrides per application, asked through [Document.Evaluate]. It is asked when a
// challenge is made, when it is answered and again inside redemption, so that a stricter document
// is felt at once.
package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/wire/plain"
)

// maxApplication is how many characters the id or name of an application has at most.
const maxApplication = 64

// MaxDocument is the greatest length of a document, in bytes.
const MaxDocument = 64 << 10

// Document is a policy as people write it. A rule left out of an application's overrides is the
// realm's.
type Document struct {
	Rules        `yaml:",inline"`
	Applications map[string]Rules `yaml:"applications,omitempty"` // by application id or name
}

// Rules are the settings of a realm or of one application. A nil member is not set.
type Rules struct {
	FirstFactor      *mfa.FirstFactor `yaml:"first_factor,omitempty"`      // password, asserted or none
	Matches          []mfa.Match      `yaml:"matches,omitempty"`           // in the order in which they are offered
	MinBits          *int             `yaml:"min_bits,omitempty"`          // least strength of a match
	Methods          []mfa.Method     `yaml:"methods,omitempty"`           // that may answer
	DecideBy         *Duration        `yaml:"decide_by,omitempty"`         // 10s to 540s
	RedeemBy         *Duration        `yaml:"redeem_by,omitempty"`         // 5s to 60s
	SameBrowser      *string          `yaml:"same_browser,omitempty"`      // allow
	UserVerification *bool            `yaml:"user_verification,omitempty"` // approvals need the app lock
	Quarantine       *Duration        `yaml:"quarantine,omitempty"`        // of a new device; 0s to 168h
	Budgets          *Budgets         `yaml:"budgets,omitempty"`
	Enrolment        *Enrolment       `yaml:"enrolment,omitempty"`
	Retention        *Retention       `yaml:"retention,omitempty"`
}

// Budgets are what a policy says of ringing.
type Budgets struct {
	Strangers       []Window `yaml:"strangers,omitempty"`         // prompts rung by strangers, per user
	Known           []Window `yaml:"known,omitempty"`             // prompts rung by each known browser or source
	StrangersByName *bool    `yaml:"strangers_by_name,omitempty"` // may a stranger's sign-in without a first factor ring
}

// Window is a sliding limit.
type Window struct {
	Max int      `yaml:"max"`
	Per Duration `yaml:"per"`
}

// Enrolment is what a policy says of adding devices.
type Enrolment struct {
	Self     *bool `yaml:"self,omitempty"`       // may a user with a fresh strong factor add a device
	AtSignIn *bool `yaml:"at_sign_in,omitempty"` // may an application enrol the first device of a new user
}

// Retention is how long what is over is kept.
type Retention struct {
	Challenges *Duration `yaml:"challenges,omitempty"` // at least 48h
	Events     *Duration `yaml:"events,omitempty"`     // at least 24h
}

// Duration is a time.Duration written as "120s", "10m" or "24h".
type Duration time.Duration

// UnmarshalYAML reads a duration with its unit.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: %q is not a duration such as 120s, 10m or 24h", n.Line, n.Value)
	}
	*d = Duration(v)
	return nil
}

// UnmarshalYAML reads a window, of which nothing may be left out.
func (w *Window) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: a window looks like {max: 3, per: 10m}", n.Line)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		var err error
		switch key := n.Content[i]; key.Value {
		case "max":
			err = n.Content[i+1].Decode(&w.Max)
		case "per":
			err = n.Content[i+1].Decode(&w.Per)
		default:
			err = fmt.Errorf("line %d: there is no key %s in a window", key.Line, key.Value)
		}
		if err != nil {
			return err
		}
	}
	if len(n.Content) != 4 || n.Content[0].Value == n.Content[2].Value {
		return fmt.Errorf("line %d: a window needs max and per, once each", n.Line)
	}
	return nil
}

// MarshalYAML writes a duration with its unit.
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

func ptr[T any](v T) *T { return &v }

// Default is the policy of a realm that has none of its own.
func Default() Document {
	ring := mfa.DefaultRingBudget()
	return Document{Rules: Rules{
		FirstFactor:      ptr(mfa.FirstFactorAsserted),
		Matches:          []mfa.Match{mfa.Scan, mfa.Digits},
		MinBits:          ptr(mfa.StrongBits),
		Methods:          []mfa.Method{mfa.Push, mfa.TOTP, mfa.BackupCode, mfa.BypassCode},
		DecideBy:         ptr(Duration(120 * time.Second)),
		RedeemBy:         ptr(Duration(60 * time.Second)),
		SameBrowser:      ptr("allow"),
		UserVerification: ptr(false),
		Quarantine:       ptr(Duration(24 * time.Hour)),
		Budgets: &Budgets{
			Strangers:       windows(ring.Strangers),
			Known:           windows(ring.Known),
			StrangersByName: ptr(ring.StrangersByName),
		},
		Enrolment: &Enrolment{Self: ptr(true), AtSignIn: ptr(false)},
		Retention: &Retention{
			Challenges: ptr(Duration(90 * 24 * time.Hour)),
			Events:     ptr(Duration(400 * 24 * time.Hour)),
		},
	}}
}

func windows(in []mfa.Window) []Window {
	out := make([]Window, len(in))
	for i, w := range in {
		out[i] = Window{Max: w.Max, Per: Duration(w.Per)}
	}
	return out
}

// Parse reads a document, strictly: an unknown key, a wrong value or a rule that cannot be kept is
// an error that names it. Rules that the realm's part leaves out are those of Default.
func Parse(text []byte) (Document, error) {
	if len(text) > MaxDocument {
		return Document{}, errLong()
	}
	d, err := read(text)
	if err != nil {
		return Document{}, mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The policy cannot be read: %s", inWords(err))
	}
	d.Rules = d.over(Default().Rules)
	if err := d.check(""); err != nil {
		return Document{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(d.Applications)) {
		r := d.Applications[name]
		if !plain.Name(name, maxApplication) {
			return Document{}, mfa.InvalidField("applications", "%q is neither the id nor the name of an application.", name)
		}
		if r.Retention != nil {
			return Document{}, mfa.InvalidField("applications."+name+".retention", "Retention belongs to the realm, not to an application.")
		}
		if err := r.over(d.Rules).check("applications." + name + "."); err != nil {
			return Document{}, err
		}
	}
	if len(d.Canonical()) > MaxDocument {
		return Document{}, errLong() // it could be stored and not be read again
	}
	return d, nil
}

var unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)

// inWords says what is wrong in a document without the names of our types.
func inWords(err error) string {
	text := unknownKey.ReplaceAllString(err.Error(), "there is no key $1")
	return strings.NewReplacer("yaml: unmarshal errors:\n  ", "", "\n  ", "; ").Replace(text)
}

func errLong() error {
	return mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The policy is longer than %d bytes in its stored form or in this one.", MaxDocument)
}

// read takes the text apart. Whatever would make it mean more or less than it shows is refused
// before it is given meaning.
func read(text []byte) (Document, error) {
	var root, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&root); errors.Is(err, io.EOF) {
		return Document{}, nil
	} else if err != nil {
		return Document{}, err
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return Document{}, errors.New("it holds more than one document")
	}
	if len(root.Content) == 1 && root.Content[0].Tag == nothing {
		return Document{}, nil
	}
	if err := shown(&root); err != nil {
		return Document{}, err
	}
	var d Document
	dec = yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		return Document{}, err
	}
	if len(d.Applications) == 0 {
		d.Applications = nil
	}
	return d, nil
}

const nothing = "!!null"

// shown refuses what hides a meaning: anchors and aliases, by which a short text grows without
// bound, merges, tags, rules without a value, and fractions, which would be cut.
func shown(n *yaml.Node) error {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return fmt.Errorf("line %d: anchors and aliases are not taken", n.Line)
	case n.Tag == "!!merge":
		return fmt.Errorf("line %d: << is not taken", n.Line)
	case n.Style&yaml.TaggedStyle != 0:
		return fmt.Errorf("line %d: the tag %s is not taken", n.Line, n.Tag)
	case n.Tag == "!!float":
		return fmt.Errorf("line %d: %s is not a whole number", n.Line, n.Value)
	}
	for i, part := range n.Content {
		if part.Tag == nothing {
			named := "an entry"
			if n.Kind == yaml.MappingNode && i%2 == 1 {
				named = n.Content[i-1].Value
			}
			return fmt.Errorf("line %d: %s has no value", part.Line, named)
		}
		if err := shown(part); err != nil {
			return err
		}
	}
	return nil
}

// Canonical writes a document in the one form in which it is stored and compared.
func (d Document) Canonical() []byte {
	text, err := yaml.Marshal(d)
	if err != nil {
		panic("policy: a Document always marshals: " + err.Error())
	}
	return text
}

// over returns r with what it does not set taken from base.
func (r Rules) over(base Rules) Rules {
	r.FirstFactor = first(r.FirstFactor, base.FirstFactor)
	if r.Matches == nil {
		r.Matches = base.Matches
	}
	r.MinBits = first(r.MinBits, base.MinBits)
	if r.Methods == nil {
		r.Methods = base.Methods
	}
	r.DecideBy = first(r.DecideBy, base.DecideBy)
	r.RedeemBy = first(r.RedeemBy, base.RedeemBy)
	r.SameBrowser = first(r.SameBrowser, base.SameBrowser)
	r.UserVerification = first(r.UserVerification, base.UserVerification)
	r.Quarantine = first(r.Quarantine, base.Quarantine)
	r.Budgets = r.Budgets.over(base.Budgets)
	r.Enrolment = r.Enrolment.over(base.Enrolment)
	r.Retention = r.Retention.over(base.Retention)
	return r
}

func (b *Budgets) over(base *Budgets) *Budgets {
	if b == nil || base == nil {
		return first(b, base)
	}
	out := *b
	if out.Strangers == nil {
		out.Strangers = base.Strangers
	}
	if out.Known == nil {
		out.Known = base.Known
	}
	out.StrangersByName = first(out.StrangersByName, base.StrangersByName)
	return &out
}

func (e *Enrolment) over(base *Enrolment) *Enrolment {
	if e == nil || base == nil {
		return first(e, base)
	}
	return &Enrolment{Self: first(e.Self, base.Self), AtSignIn: first(e.AtSignIn, base.AtSignIn)}
}

func (r *Retention) over(base *Retention) *Retention {
	if r == nil || base == nil {
		return first(r, base)
	}
	return &Retention{
		Challenges: first(r.Challenges, base.Challenges),
		Events:     first(r.Events, base.Events),
	}
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func (r Rules) check(at string) error {
	if len(r.Matches) == 0 {
		return mfa.InvalidField(at+"matches", "At least one match kind is needed.")
	}
	for i, m := range r.Matches {
		if slices.Contains(r.Matches[:i], m) {
			return mfa.InvalidField(at+"matches", "%q stands there twice.", m)
		}
		if m.Bits() < 0 {
			return mfa.InvalidField(at+"matches", "%q is not a match kind. There are scan, digits, digits_back, number, choice and tap.", m)
		}
	}
	for i, m := range r.Methods {
		if slices.Contains(r.Methods[:i], m) {
			return mfa.InvalidField(at+"methods", "%q stands there twice.", m)
		}
		if !slices.Contains([]mfa.Method{mfa.Push, mfa.TOTP, mfa.BackupCode, mfa.BypassCode}, m) {
			return mfa.InvalidField(at+"methods", "%q is not a method of this release. There are push, totp, backup_code and bypass_code.", m)
		}
	}
	if len(r.Methods) == 0 {
		return mfa.InvalidField(at+"methods", "At least one method is needed.")
	}
	switch *r.FirstFactor {
	case mfa.FirstFactorNone, mfa.FirstFactorAsserted, mfa.FirstFactorPassword:
	default:
		return mfa.InvalidField(at+"first_factor", "%q is not a first factor. There are password, asserted and none.", *r.FirstFactor)
	}
	return r.checkNumbers(at)
}

func (r Rules) checkNumbers(at string) error {
	if *r.MinBits < 0 || *r.MinBits > mfa.Scan.Bits() {
		return mfa.InvalidField(at+"min_bits", "min_bits goes from 0 to %d.", mfa.Scan.Bits())
	}
	if slices.Contains(r.Methods, mfa.Push) && mfa.MatchesOf(r.Matches...).AtLeast(*r.MinBits) == 0 {
		return mfa.InvalidField(at+"matches", "None of the matches has min_bits %d: no push could be approved.", *r.MinBits)
	}
	if mfa.MethodsOf(r.Methods...).SuitableFor(mfa.Login, *r.MinBits) == 0 {
		return mfa.InvalidField(at+"methods", "None of the methods has min_bits %d: nobody could sign in.", *r.MinBits)
	}
	if err := between(at+"decide_by", *r.DecideBy, 10*time.Second, 540*time.Second); err != nil {
		return err
	}
	if err := between(at+"redeem_by", *r.RedeemBy, 5*time.Second, 60*time.Second); err != nil {
		return err
	}
	if err := between(at+"quarantine", *r.Quarantine, 0, 7*24*time.Hour); err != nil {
		return err
	}
	if *r.SameBrowser != "allow" {
		return mfa.InvalidField(at+"same_browser", "This release knows only allow: it has no authenticator that runs in a browser.")
	}
	if *r.UserVerification {
		return mfa.InvalidField(at+"user_verification", "This release has no authenticator with an app lock, so nothing could be approved.")
	}
	if err := between(at+"retention.challenges", *r.Retention.Challenges, 48*time.Hour, 10*365*24*time.Hour); err != nil {
		return err
	}
	if err := between(at+"retention.events", *r.Retention.Events, 24*time.Hour, 100*365*24*time.Hour); err != nil {
		return err
	}
	return r.Budgets.check(at + "budgets.")
}

func (b *Budgets) check(at string) error {
	if err := checkWindows(at+"strangers", b.Strangers); err != nil {
		return err
	}
	return checkWindows(at+"known", b.Known)
}

func checkWindows(field string, list []Window) error {
	if len(list) == 0 {
		return mfa.InvalidField(field, "At least one window is needed.")
	}
	for _, w := range list {
		if w.Max < 0 || w.Max > 1000 {
			return mfa.InvalidField(field, "max goes from 0 to 1000.")
		}
		if err := between(field, w.Per, time.Minute, 24*time.Hour); err != nil {
			return err
		}
	}
	return nil
}

func between(field string, d Duration, low, high time.Duration) error {
	if time.Duration(d) < low || time.Duration(d) > high {
		return mfa.InvalidField(field, "%s is outside %s to %s.", time.Duration(d), low, high)
	}
	return nil
}
