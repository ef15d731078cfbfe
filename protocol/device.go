package protocol

import (
	"regexp"
	"slices"
)

// Platform says what kind of authenticator a device is.
type Platform string

// The platforms.
const (
	PlatformWeb     Platform = "web"
	PlatformCLI     Platform = "cli"
	PlatformIOS     Platform = "ios"
	PlatformAndroid Platform = "android"
	PlatformOther   Platform = "other"
)

// FeatureUV is the feature name of a device whose approvals may carry user verification.
const FeatureUV = "uv"

var featureForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// Enrol claims a ticket with a new key, the header's jwk.
type Enrol struct {
	V          int      `json:"v"`
	Ticket     string   `json:"ticket"`
	Name       string   `json:"name"`
	Platform   Platform `json:"platform"`
	AppVersion string   `json:"app_version"` // "" when not known
	Features   []string `json:"features"`    // what else the device understands
}

// Type is TypeEnrol.
func (*Enrol) Type() Type { return TypeEnrol }

func (e *Enrol) check() error {
	var c checker
	c.version(e.V)
	c.want(validTicket(e.Ticket), "ticket", "not a ticket")
	c.text(e.Name, "name", 1, 64)
	c.want(slices.Contains([]Platform{PlatformWeb, PlatformCLI, PlatformIOS, PlatformAndroid, PlatformOther}, e.Platform), "platform", "not a platform")
	c.text(e.AppVersion, "app_version", 0, 64)
	c.want(len(e.Features) <= 16 && unique(e.Features), "features", "too many or one twice")
	for _, f := range e.Features {
		c.want(featureForm.MatchString(f), "features", "not a feature")
	}
	return c.err
}

// Poll asks for prompts, notices, key sets and the state of the device.
type Poll struct {
	V          int      `json:"v"`
	Wait       int      `json:"wait,omitzero"`      // seconds to wait for something new, 0 to 25
	Challenge  string   `json:"challenge,omitzero"` // asked for by id; the message then has no nonce
	KeysSerial int64    `json:"keys_serial"`        // of the newest key set held
	Have       []string `json:"have,omitzero"`      // ids of prompts and notices held
}

// Type is TypePoll.
func (*Poll) Type() Type { return TypePoll }

func (p *Poll) check() error {
	var c checker
	c.version(p.V)
	c.want(p.Wait >= 0 && p.Wait <= 25, "wait", "not 0 to 25 seconds")
	c.want(p.Challenge == "" || validID(p.Challenge), "challenge", "not an id")
	c.want(p.KeysSerial >= 0, "keys_serial", "negative")
	c.want(len(p.Have) <= 256, "have", "too many")
	for _, id := range p.Have {
		c.id(id, "have")
	}
	return c.err
}

// StampKind is a moment in the life of a prompt on the device.
type StampKind string

// The stamps.
const (
	StampReceived StampKind = "received"
	StampShown    StampKind = "shown"
	StampOpened   StampKind = "opened"
)

// Stamp tells how far a prompt came; it decides nothing.
type Stamp struct {
	V         int       `json:"v"`
	Challenge string    `json:"challenge"`
	Stamp     StampKind `json:"stamp"`
	MS        int64     `json:"ms"` // between that moment and the sending, in milliseconds
}

// Type is TypeStamp.
func (*Stamp) Type() Type { return TypeStamp }

func (s *Stamp) check() error {
	var c checker
	c.version(s.V)
	c.id(s.Challenge, "challenge")
	c.want(slices.Contains([]StampKind{StampReceived, StampShown, StampOpened}, s.Stamp), "stamp", "not a stamp")
	c.want(s.MS >= 0, "ms", "negative")
	return c.err
}

// TargetKind names the service that rings a device.
type TargetKind string

// The target kinds.
const (
	TargetWebPush     TargetKind = "webpush"
	TargetFCM         TargetKind = "fcm"
	TargetAPNs        TargetKind = "apns"
	TargetOneSignal   TargetKind = "onesignal"
	TargetNtfy        TargetKind = "ntfy"
	TargetUnifiedPush TargetKind = "unifiedpush"
)

// Target is one address at which a device can be rung. Which members it has follows from Kind:
// webpush endpoint, p256dh, auth, vapid; fcm, apns and onesignal token, app; ntfy and
// unifiedpush url.
type Target struct {
	Kind     TargetKind `json:"kind"`
	Endpoint string     `json:"endpoint,omitzero"`
	P256DH   string     `json:"p256dh,omitzero"`
	Auth     string     `json:"auth,omitzero"`
	VAPID    string     `json:"vapid,omitzero"`
	Token    string     `json:"token,omitzero"`
	App      string     `json:"app,omitzero"`
	URL      string     `json:"url,omitzero"`
}

func (t *Target) check(c *checker) {
	web := t.Kind == TargetWebPush
	token := t.Kind == TargetFCM || t.Kind == TargetAPNs || t.Kind == TargetOneSignal
	plain := t.Kind == TargetNtfy || t.Kind == TargetUnifiedPush
	c.want(web || token || plain, "targets.kind", "not a kind of target")
	c.want((t.Endpoint != "") == web, "targets.endpoint", "missing, or not of this kind")
	c.want((t.P256DH != "") == web, "targets.p256dh", "missing, or not of this kind")
	c.want((t.Auth != "") == web, "targets.auth", "missing, or not of this kind")
	c.want((t.VAPID != "") == web, "targets.vapid", "missing, or not of this kind")
	c.want((t.Token != "") == token, "targets.token", "missing, or not of this kind")
	c.want((t.App != "") == token, "targets.app", "missing, or not of this kind")
	c.want((t.URL != "") == plain, "targets.url", "missing, or not of this kind")
	if web {
		c.want(webURL(t.Endpoint), "targets.endpoint", "not an https address")
		point, ok := decode64(t.P256DH)
		c.want(ok && len(point) == 65, "targets.p256dh", "not 65 bytes of base64url")
		c.want(validSecret(t.Auth), "targets.auth", "not 16 bytes of base64url")
		c.want(len(t.VAPID) <= 128 && only(t.VAPID, visible), "targets.vapid", "not a key")
	}
	if token {
		c.want(len(t.Token) <= 4096 && only(t.Token, visible), "targets.token", "not a token")
		c.want(len(t.App) <= 256 && only(t.App, visible), "targets.app", "not an app")
	}
	if plain {
		c.want(webURL(t.URL), "targets.url", "not an https address")
	}
}

// Targets replaces all addresses of the device.
type Targets struct {
	V       int      `json:"v"`
	Seq     int64    `json:"seq"` // greater than the last one accepted from this device
	Targets []Target `json:"targets"`
}

// Type is TypeTarget.
func (*Targets) Type() Type { return TypeTarget }

func (t *Targets) check() error {
	var c checker
	c.version(t.V)
	c.want(t.Seq >= 1, "seq", "not positive")
	c.want(len(t.Targets) <= 8, "targets", "too many")
	for i := range t.Targets {
		t.Targets[i].check(&c)
	}
	return c.err
}

// Name renames the device.
type Name struct {
	V    int    `json:"v"`
	Seq  int64  `json:"seq"`
	Name string `json:"name"`
}

// Type is TypeName.
func (*Name) Type() Type { return TypeName }

func (n *Name) check() error {
	var c checker
	c.version(n.V)
	c.want(n.Seq >= 1, "seq", "not positive")
	c.text(n.Name, "name", 1, 64)
	return c.err
}

// Registration is the WebAuthn credential of the app lock, its members in base64url.
type Registration struct {
	ID          string `json:"id"`
	ClientData  string `json:"client_data"`
	Attestation string `json:"attestation"`
}

// Lock registers the app lock of the device.
type Lock struct {
	V            int          `json:"v"`
	Seq          int64        `json:"seq"`
	Registration Registration `json:"registration"`
}

// Type is TypeLock.
func (*Lock) Type() Type { return TypeLock }

func (l *Lock) check() error {
	var c checker
	c.version(l.V)
	c.want(l.Seq >= 1, "seq", "not positive")
	c.bytes(l.Registration.ID, "registration.id", 1023)
	c.bytes(l.Registration.ClientData, "registration.client_data", 4096)
	c.bytes(l.Registration.Attestation, "registration.attestation", 8192)
	return c.err
}

// History asks for what was answered on the user's devices, newest first.
type History struct {
	V      int    `json:"v"`
	Cursor string `json:"cursor,omitzero"` // next of the answer before
}

// Type is TypeHistory.
func (*History) Type() Type { return TypeHistory }

func (h *History) check() error {
	var c checker
	c.version(h.V)
	c.want(len(h.Cursor) <= 512 && only(h.Cursor, visible), "cursor", "not a cursor")
	return c.err
}

// Veto stops another device of the same user during its quarantine.
type Veto struct {
	V         int    `json:"v"`
	Device    string `json:"device"`
	Enrolment string `json:"enrolment"`
}

// Type is TypeVeto.
func (*Veto) Type() Type { return TypeVeto }

func (v *Veto) check() error {
	var c checker
	c.version(v.V)
	c.id(v.Device, "device")
	c.id(v.Enrolment, "enrolment")
	return c.err
}

// Unenrol removes the device that signs it.
type Unenrol struct {
	V   int   `json:"v"`
	Seq int64 `json:"seq"`
}

// Type is TypeUnenrol.
func (*Unenrol) Type() Type { return TypeUnenrol }

func (u *Unenrol) check() error {
	var c checker
	c.version(u.V)
	c.want(u.Seq >= 1, "seq", "not positive")
	return c.err
}

// Browser proves the key of a browser for a user name, known or not.
type Browser struct {
	V    int    `json:"v"`
	User string `json:"user"`
}

// Type is TypeBrowser.
func (*Browser) Type() Type { return TypeBrowser }

func (b *Browser) check() error {
	var c checker
	c.version(b.V)
	c.text(b.User, "user", 1, 255)
	return c.err
}
