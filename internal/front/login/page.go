package login

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/wire/qrcode"
)

//go:embed invitation.html
var pageText string

//go:embed invitation.css
var pageStyle string

//go:embed invitation.js
var pageScript string

// pages draws the steps of an invitation.
type pages struct {
	template *template.Template
	language language
	policy   string // Content-Security-Policy
}

func newPages() (pages, error) {
	t, err := template.New("invitation").Parse(pageText)
	return pages{
		template: t, language: english(),
		policy: "default-src 'none'; style-src '" + digest(pageStyle) + "'; script-src '" + digest(pageScript) +
			"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	}, err
}

// digest is by which a Content-Security-Policy names a style or script.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// view is what one page shows.
type view struct {
	Step  string // open, pass, elsewhere, ticket, done or over
	Error string
	Pass  string
	Name  string
	Reset bool
	Needs account.Needs
	Link  string

	// These are filled in by show.
	T      texts
	Lang   string
	Title  string
	Host   string
	Style  template.CSS
	Script template.JS
	QR     template.HTML
}

// show answers with a page.
func (f *Front) show(w http.ResponseWriter, r *http.Request, status int, v view) {
	v.T, v.Lang = f.pages.language.texts, f.pages.language.tag
	v.Style, v.Script = template.CSS(pageStyle), template.JS(pageScript) //nolint:gosec // our own files
	v.Title = v.T[v.Step+"_title"]
	if v.Step == "elsewhere" {
		v.Title = v.T["elsewhere"]
	}
	if v.Host = f.host; f.c.Realms.At(r.Host) != "" {
		v.Host = r.Host
	}
	if v.Step == "ticket" {
		svg, err := qrcode.SVG(v.Link)
		if err != nil {
			httpkit.WriteError(w, r, f.c.Logger, err)
			return
		}
		v.QR = template.HTML(svg) //nolint:gosec // drawn by us, of black modules
	}
	var b bytes.Buffer
	if err := f.pages.template.Execute(&b, v); err != nil {
		httpkit.WriteError(w, r, f.c.Logger, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", f.pages.policy)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the caller is gone if this fails
}

// trouble answers with a page that says what went wrong: over for an invitation that is not valid,
// else the page that was there.
func (f *Front) trouble(w http.ResponseWriter, r *http.Request, err error, there view) {
	e, ok := errors.AsType[*mfa.Error](err)
	switch {
	case mfa.CodeOf(err) == mfa.NotFound:
		there = view{Step: "over"}
	case !ok || e.Code == mfa.Internal:
		f.c.Logger.ErrorContext(r.Context(), "request failed", slog.Any("error", err))
		there.Error = f.pages.language.texts["trouble"]
	default:
		if there.Error = f.pages.language.reasons[e.Reason]; there.Error == "" {
			there.Error = e.Message
		}
	}
	f.show(w, r, httpkit.Status(err), there)
}

func (f *Front) openPage(w http.ResponseWriter, r *http.Request, form url.Values) {
	d, err := f.open(r, form.Get("secret"))
	if err != nil {
		f.trouble(w, r, err, view{Step: "open"})
		return
	}
	f.show(w, r, http.StatusOK, ask(d))
}

// ask is the page that asks for the first factor.
func ask(d door) view {
	v := view{Step: "pass", Pass: d.pass, Name: d.Name, Reset: d.Purpose == mfa.InviteToReset, Needs: d.Needs}
	if d.Needs.Elsewhere {
		v.Step = "elsewhere"
	}
	return v
}

// passOf reads the pass of a form; without a good one it answers.
func (f *Front) passOf(w http.ResponseWriter, r *http.Request, form url.Values) (pass, bool) {
	p, ok := f.read(r, form.Get("pass"))
	if !ok {
		f.show(w, r, http.StatusGone, view{Step: "open", Error: f.pages.language.texts["page_over"]})
	}
	return p, ok
}

// again reads what an invitation asks for now.
func (f *Front) again(r *http.Request, p pass) (view, account.Door, error) {
	d, err := f.c.Accounts.Door(asPerson(r), p.Realm, p.ID)
	if err != nil {
		return view{}, d, err
	}
	at, err := f.at(d)
	return ask(at), d, err
}

func (f *Front) answerPage(w http.ResponseWriter, r *http.Request, form url.Values) {
	p, ok := f.passOf(w, r, form)
	if !ok {
		return
	}
	there, d, err := f.again(r, p)
	if err != nil {
		f.trouble(w, r, err, view{Step: "over"})
		return
	}
	if d.Needs.NewPassword && form.Get("new_password") != form.Get("again") {
		there.Error = f.pages.language.texts["differ"]
		f.show(w, r, http.StatusBadRequest, there)
		return
	}
	b, done, err := f.answer(asPerson(r), p, answers(form.Get("password"), form.Get("new_password"), form.Get("code")))
	if err != nil {
		f.trouble(w, r, err, there)
		return
	}
	if done {
		f.show(w, r, http.StatusOK, view{Step: "done", Reset: true})
		return
	}
	f.show(w, r, http.StatusOK, view{Step: "ticket", Pass: b.pass, Link: b.link})
}

func (f *Front) confirmPage(w http.ResponseWriter, r *http.Request, form url.Values) {
	p, ok := f.passOf(w, r, form)
	if !ok {
		return
	}
	if p.Enrolment == "" {
		f.show(w, r, http.StatusGone, view{Step: "open", Error: f.pages.language.texts["page_over"]})
		return
	}
	_, err := f.c.Accounts.ConfirmInvited(asPerson(r), p.Realm, p.ID, p.Enrolment, answers("", "", form.Get("code")).Code.Reveal())
	if err == nil {
		f.show(w, r, http.StatusOK, view{Step: "done"})
		return
	}
	there := view{Step: "ticket", Pass: form.Get("pass"), Link: p.Link}
	e, readErr := f.c.Accounts.InvitedEnrolment(asPerson(r), p.Realm, p.ID, p.Enrolment)
	switch {
	case mfa.CodeOf(err) == mfa.NotFound || readErr != nil:
	case e.State == mfa.EnrolmentInvited:
		there.Error = f.pages.language.texts["not_yet"]
		f.show(w, r, http.StatusConflict, there)
		return
	case !e.State.Live():
		if fresh, _, againErr := f.again(r, p); againErr == nil {
			fresh.Error = f.pages.language.texts["start_again"]
			f.show(w, r, httpkit.Status(err), fresh)
			return
		}
		err = mfa.ErrNotFound() // the invitation is over as well
	}
	f.trouble(w, r, err, there)
}

// form reads what a page sends.
func (f *Front) form(handle func(http.ResponseWriter, *http.Request, url.Values)) http.Handler {
	return f.guarded(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			var sent url.Values
			if sent, err = readForm(r.Header.Get("Content-Type"), string(body)); err == nil {
				handle(w, r, sent)
				return
			}
		}
		f.trouble(w, r, err, view{Step: "open"})
	})
}

// readForm takes a form whose members are there once each.
func readForm(kind, body string) (url.Values, error) {
	media, _, err := mime.ParseMediaType(kind)
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, mfa.Errorf(mfa.Invalid, mfa.ReasonMediaType, "Send a form.")
	}
	sent, err := url.ParseQuery(body)
	if err != nil {
		return nil, mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The form is malformed.")
	}
	for _, values := range sent {
		if len(values) != 1 {
			return nil, mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The form has a field twice.")
		}
	}
	return sent, nil
}
