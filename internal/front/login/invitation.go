package login

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

// The way through an invitation, for pages and scripts alike:
//
//	open(secret) ─► pass ─► answer(pass, first factor) ─► pass, ticket ─► confirm(pass, digits)
//
// The secret stands behind # in the link, so browsers send it nowhere, and no log and no Referer has
// it. Reading the page changes nothing: scanners of mail do that.

// door is what an opened invitation asks for.
type door struct {
	account.Door
	pass string
}

// open finds the invitation of a secret, or of a whole link.
// An invitation of a realm is not served at another realm's host.
func (f *Front) open(r *http.Request, sent string) (door, error) {
	sent = strings.TrimSpace(sent)
	if _, after, ok := strings.Cut(sent, "#"); ok {
		sent = after
	}
	d, err := f.c.Accounts.OpenInvitation(asPerson(r), secret.New(sent))
	if err != nil {
		return door{}, err
	}
	if !f.c.Realms.Serves(r.Host, d.Realm) {
		return door{}, account.ErrInvitation()
	}
	return f.at(d)
}

func (f *Front) at(d account.Door) (door, error) {
	text, err := f.passes.sign(pass{Realm: d.Realm, ID: d.ID, Ends: f.ends()})
	return door{Door: d, pass: text}, err
}

func (f *Front) ends() int64 { return f.c.Now().Add(passLife).Unix() }

// read gives the pass that was sent, if it is good, here and now.
func (f *Front) read(r *http.Request, text string) (pass, bool) {
	p, ok := f.passes.read(text, f.c.Now())
	return p, ok && f.c.Realms.Serves(r.Host, p.Realm)
}

// errPassOver is the answer to a pass that is wrong or over.
func errPassOver() error {
	return mfa.Errorf(mfa.Gone, mfa.ReasonExpired, "This page is over. Open the link again.")
}

// begun is an enrolment that was begun through an invitation.
type begun struct {
	pass string
	link string
	ends mfa.Instant
}

// answer gives the first factor. done says that there is nothing more to do.
func (f *Front) answer(ctx context.Context, p pass, a account.Answers) (b begun, done bool, err error) {
	t, err := f.c.Accounts.PassInvitation(ctx, p.Realm, p.ID, a)
	if err != nil {
		return begun{}, false, err
	}
	if t.ID == "" {
		return begun{}, true, nil
	}
	b = begun{link: t.Link.Reveal(), ends: t.ExpiresAt}
	b.pass, err = f.passes.sign(pass{Realm: p.Realm, ID: p.ID, Enrolment: t.ID, Link: b.link, Ends: f.ends()})
	return b, false, err
}

// asPerson gives a context in which the person at the page acts.
func asPerson(r *http.Request) context.Context {
	return audit.With(r.Context(), audit.Origin{
		Actor: mfa.ActorUser, Address: httpkit.Address(r), Request: httpkit.RequestID(r),
	})
}

// answers makes the answers of what was sent, nothing for what is empty.
func answers(password, fresh, code string) account.Answers {
	hide := func(s string) secret.Value {
		if s == "" {
			return secret.Value{}
		}
		return secret.New(s)
	}
	return account.Answers{Password: hide(password), NewPassword: hide(fresh), Code: hide(strings.ReplaceAll(strings.TrimSpace(code), " ", ""))}
}

type openShape struct {
	Secret string `json:"secret"`
}

type doorShape struct {
	Pass      string                `json:"pass"`
	User      string                `json:"user"`
	Purpose   mfa.InvitationPurpose `json:"purpose"`
	Needs     needsShape            `json:"needs"`
	ExpiresAt string                `json:"expires_at"`
}

type needsShape struct {
	Password    bool `json:"password"`
	NewPassword bool `json:"new_password"`
	Code        bool `json:"code"`
	Elsewhere   bool `json:"elsewhere"`
}

type answerShape struct {
	Pass        string `json:"pass"`
	Password    string `json:"password,omitempty"`
	NewPassword string `json:"new_password,omitempty"`
	Code        string `json:"code,omitempty"`
}

type begunShape struct {
	Done      bool   `json:"done"`
	Pass      string `json:"pass,omitempty"`
	URL       string `json:"url,omitempty"`
	ExpiresAt string `json:"expires_at,omitempty"`
}

type confirmShape struct {
	Pass string `json:"pass"`
	Code string `json:"code"`
}

type doneShape struct {
	Done     bool         `json:"done"`
	DeviceID mfa.DeviceID `json:"device_id"`
}

func (f *Front) openJSON(r *http.Request) (any, error) {
	in, err := httpkit.DecodeJSON[openShape](r)
	if err != nil {
		return nil, err
	}
	d, err := f.open(r, in.Secret)
	if err != nil {
		return nil, err
	}
	return doorShape{
		Pass: d.pass, User: d.Name, Purpose: d.Purpose, Needs: needsShape(d.Needs), ExpiresAt: moment(d.ExpiresAt),
	}, nil
}

func (f *Front) answerJSON(r *http.Request) (any, error) {
	in, err := httpkit.DecodeJSON[answerShape](r)
	if err != nil {
		return nil, err
	}
	p, ok := f.read(r, in.Pass)
	if !ok {
		return nil, errPassOver()
	}
	b, done, err := f.answer(asPerson(r), p, answers(in.Password, in.NewPassword, in.Code))
	if err != nil || done {
		return begunShape{Done: done}, err
	}
	return begunShape{Pass: b.pass, URL: b.link, ExpiresAt: moment(b.ends)}, nil
}

func (f *Front) confirmJSON(r *http.Request) (any, error) {
	in, err := httpkit.DecodeJSON[confirmShape](r)
	if err != nil {
		return nil, err
	}
	p, ok := f.read(r, in.Pass)
	if !ok || p.Enrolment == "" {
		return nil, errPassOver()
	}
	d, err := f.c.Accounts.ConfirmInvited(asPerson(r), p.Realm, p.ID, p.Enrolment, strings.TrimSpace(in.Code))
	return doneShape{Done: true, DeviceID: d.ID}, err
}

func moment(i mfa.Instant) string { return i.Time().Format("2006-01-02T15:04:05.000Z07:00") }

// bodyLimit is that of what pages and scripts send on the way through an invitation.
func bodyLimit() httpkit.Limit { return httpkit.Limit{Bytes: 16 << 10, Time: 10 * time.Second} }
