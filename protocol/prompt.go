package protocol

import "slices"

// Kind is what a challenge is about.
type Kind string

// The kinds of challenge.
const (
	KindLogin       Kind = "login"
	KindStepUp      Kind = "step_up"
	KindTransaction Kind = "transaction"
)

// Confidence says how sure the place of an address is.
type Confidence string

// The confidences.
const (
	ConfidenceHigh Confidence = "high"
	ConfidenceLow  Confidence = "low"
	ConfidenceNone Confidence = "none"
)

// Reporter says who claims the context of a prompt.
type Reporter string

// The reporters; what the application reports is shown as reported by it.
const (
	ReportedByNod Reporter = "nod"
	ReportedByApp Reporter = "app"
)

// User is the person a message is for.
type User struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// App is the application that asks.
type App struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	IconSHA256 string `json:"icon_sha256"` // base64url, "" without an icon
}

// Detail is one line of what is approved.
type Detail struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

// Context is where the request comes from; texts not known are "".
type Context struct {
	IP              string     `json:"ip"`
	Place           string     `json:"place"`
	PlaceConfidence Confidence `json:"place_confidence"`
	Browser         string     `json:"browser"`
	ReportedBy      Reporter   `json:"reported_by"`
	KnownBrowser    bool       `json:"known_browser"`
}

// Prompt is what a device shows for a challenge.
type Prompt struct {
	V         int      `json:"v"`
	Issuer    string   `json:"iss"`
	Realm     string   `json:"realm"`
	Challenge string   `json:"challenge"`
	User      User     `json:"user"`
	App       App      `json:"app"`
	Kind      Kind     `json:"kind"`
	Reason    string   `json:"reason"` // "" without one
	Details   []Detail `json:"details"`
	Context   Context  `json:"context"`
	Match     []Match  `json:"match"`            // the kinds that may count
	Choices   []string `json:"choices,omitzero"` // three two-digit numbers if Match has choice
	At        int64    `json:"at"`               // milliseconds since 1970 UTC by the server's clock
	DecideBy  int64    `json:"decide_by"`        // likewise
}

// Type is TypePrompt.
func (*Prompt) Type() Type { return TypePrompt }

func (p *Prompt) check() error {
	var c checker
	c.version(p.V)
	c.issuer(p.Issuer, p.Realm)
	c.id(p.Challenge, "challenge")
	c.user(p.User)
	c.id(p.App.ID, "app.id")
	c.text(p.App.Name, "app.name", 1, textCap)
	c.want(p.App.IconSHA256 == "" || validDigest(p.App.IconSHA256), "app.icon_sha256", "not a SHA-256 digest in base64url")
	c.want(slices.Contains([]Kind{KindLogin, KindStepUp, KindTransaction}, p.Kind), "kind", "not a kind of challenge")
	c.text(p.Reason, "reason", 0, 200)
	c.want(len(p.Details) <= 10, "details", "too many")
	for _, d := range p.Details {
		c.text(d.Label, "details.label", 1, 40)
		c.text(d.Value, "details.value", 0, 200)
	}
	c.text(p.Context.IP, "context.ip", 0, 64)
	c.text(p.Context.Place, "context.place", 0, textCap)
	c.text(p.Context.Browser, "context.browser", 0, textCap)
	c.want(slices.Contains([]Confidence{ConfidenceHigh, ConfidenceLow, ConfidenceNone}, p.Context.PlaceConfidence), "context.place_confidence", "not a confidence")
	c.want(slices.Contains([]Reporter{ReportedByNod, ReportedByApp}, p.Context.ReportedBy), "context.reported_by", "neither nod nor app")
	p.checkMatch(&c)
	c.time(p.At, "at")
	c.want(p.DecideBy > p.At, "decide_by", "not after at")
	return c.err
}

func (p *Prompt) checkMatch(c *checker) {
	has := func(m Match) bool { return slices.Contains(p.Match, m) }
	c.want(len(p.Match) > 0, "match", "empty")
	weak := false
	for i, m := range p.Match {
		c.want(m.Bits() >= 0, "match", "not a match kind")
		c.want(!slices.Contains(p.Match[:i], m), "match", "one kind twice")
		weak = weak || m.Bits() < 20
	}
	c.want(!weak || has(MatchScan) && has(MatchDigits), "match", "a kind below 20 bits without scan and digits beside it")
	if !has(MatchChoice) {
		c.want(p.Choices == nil, "choices", "not without the match kind choice")
		return
	}
	c.want(len(p.Choices) == 3 && unique(p.Choices), "choices", "not three different ones")
	for _, n := range p.Choices {
		c.want(digits(n, 2), "choices", "not two digits")
	}
}

// NoticeKind is what a notice tells.
type NoticeKind string

// The notice kinds.
const (
	NoticeDeviceClaimed NoticeKind = "device_claimed"
	NoticeDeviceAdded   NoticeKind = "device_added"
	NoticeFactorChanged NoticeKind = "factor_changed"
	NoticeBypassIssued  NoticeKind = "bypass_issued"
	NoticeLockLifted    NoticeKind = "lock_lifted"
	NoticeReportLifted  NoticeKind = "report_lifted"
)

// Actor is who did something.
type Actor string

// The actors.
const (
	ByUser          Actor = "user"
	ByAdministrator Actor = "administrator"
	ByHelpDesk      Actor = "help_desk"
)

// NoticeDevice is the device that a notice is about.
type NoticeDevice struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Enrolment string `json:"enrolment"` // what a veto names beside the device
}

// Notice tells a user's devices that something of theirs changed.
type Notice struct {
	V      int           `json:"v"`
	Issuer string        `json:"iss"`
	Realm  string        `json:"realm"`
	ID     string        `json:"id"`
	Kind   NoticeKind    `json:"kind"`
	At     int64         `json:"at"` // milliseconds since 1970 UTC
	Device *NoticeDevice `json:"device,omitzero"`
	By     Actor         `json:"by"`
}

// Type is TypeNotice.
func (*Notice) Type() Type { return TypeNotice }

func (n *Notice) check() error {
	var c checker
	c.version(n.V)
	c.issuer(n.Issuer, n.Realm)
	c.id(n.ID, "id")
	kinds := []NoticeKind{NoticeDeviceClaimed, NoticeDeviceAdded, NoticeFactorChanged, NoticeBypassIssued, NoticeLockLifted, NoticeReportLifted}
	c.want(slices.Contains(kinds, n.Kind), "kind", "not a kind of notice")
	c.time(n.At, "at")
	if n.Device != nil {
		c.id(n.Device.ID, "device.id")
		c.text(n.Device.Name, "device.name", 1, 64)
		c.id(n.Device.Enrolment, "device.enrolment")
	}
	c.want(slices.Contains([]Actor{ByUser, ByAdministrator, ByHelpDesk}, n.By), "by", "not an actor")
	return c.err
}

// Enrolled answers an enrolment.
type Enrolled struct {
	V           int    `json:"v"`
	Issuer      string `json:"iss"`
	Realm       string `json:"realm"`
	Device      string `json:"device"`
	User        User   `json:"user"`
	Keys        string `json:"keys"`         // the current nod-keys+jws
	ConfirmCode string `json:"confirm_code"` // six digits that the device shows
	ConfirmBy   int64  `json:"confirm_by"`   // milliseconds since 1970 UTC
}

// Type is TypeEnrolled.
func (*Enrolled) Type() Type { return TypeEnrolled }

func (e *Enrolled) check() error {
	var c checker
	c.version(e.V)
	c.issuer(e.Issuer, e.Realm)
	c.id(e.Device, "device")
	c.user(e.User)
	c.want(digits(e.ConfirmCode, 6), "confirm_code", "not six digits")
	c.time(e.ConfirmBy, "confirm_by")
	if c.err == nil {
		_, c.err = Parse(TypeKeys, []byte(e.Keys))
	}
	return c.err
}

func (c *checker) issuer(iss, realm string) {
	c.want(webURL(iss), "iss", "not an https address")
	c.want(validID(realm), "realm", "not a realm name")
}

func (c *checker) user(u User) {
	c.id(u.ID, "user.id")
	c.text(u.Name, "user.name", 1, textCap)
}
