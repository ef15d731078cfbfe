// Package login is the front of the login origin. It holds what a sign-in page needs of the server
// before it asks for a challenge: a browser proves the key that it keeps under this origin, and
// gets a proof to hand on. It also holds the pages to which the links of invitations lead.
//
// The address says which realm people sign in to: a host that belongs to a realm, a path below
// /r/NAME, or else the default realm. A nonce and a proof of one realm are worth nothing in another.
package login

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/protocol"
)

const noncePurpose = "browser"

// bodyTime is how long a message may take to come.
const bodyTime = 10 * time.Second

// Config of the Front. All members are required.
type Config struct {
	Pipeline *authn.Service
	Accounts *account.Service
	Ring     *keys.Ring
	Logger   *slog.Logger
	Realms   *realm.Service
	URLs     []string // public URLs, without a slash at the end
	Now      func() time.Time
}

// Front serves /browser/v1 and /invitation.
type Front struct {
	c      Config
	passes passes
	pages  pages
	own    *http.CrossOriginProtection
	host   string
}

// New makes a Front.
func New(c Config) (*Front, error) {
	if c.Pipeline == nil || c.Accounts == nil || c.Ring == nil || c.Logger == nil || c.Realms == nil || len(c.URLs) == 0 || c.Now == nil {
		return nil, errors.New("front/login: every member of Config is required")
	}
	f := &Front{c: c, passes: passes{c.Ring.Derive("invitation-pass", nil, 32)}, own: http.NewCrossOriginProtection()}
	var err error
	if f.pages, err = newPages(); err != nil {
		return nil, err
	}
	for _, text := range c.URLs {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("front/login: public URL: %w", err)
		}
		if f.host == "" {
			f.host = u.Host
		}
		if err := f.own.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			return nil, fmt.Errorf("front/login: public URL: %w", err)
		}
	}
	return f, nil
}

// Mount adds the routes.
func (f *Front) Mount(mux *http.ServeMux) {
	limit := httpkit.Limit{Bytes: protocol.MaxMessage, Time: bodyTime}
	prove := httpkit.Body(f.c.Logger, limit, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		proof, err := f.prove(r, w.Header())
		if err != nil {
			httpkit.WriteError(w, r, f.c.Logger, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(protocol.ProofAnswer{Proof: proof}) // the caller is gone if this fails
	}))
	mux.Handle("POST "+protocol.PathBrowserProofs, prove)
	mux.Handle("POST "+realmPrefix+"{realm}"+protocol.PathBrowserProofs, prove)
	mux.HandleFunc("GET /invitation", func(w http.ResponseWriter, r *http.Request) {
		f.show(w, r, http.StatusOK, view{Step: "open"})
	})
	mux.Handle("POST /invitation", f.form(f.openPage))
	mux.Handle("POST /invitation/pass", f.form(f.answerPage))
	mux.Handle("POST /invitation/confirm", f.form(f.confirmPage))
	mux.Handle("POST /invitation/v1/open", f.json(f.openJSON))
	mux.Handle("POST /invitation/v1/pass", f.json(f.answerJSON))
	mux.Handle("POST /invitation/v1/confirm", f.json(f.confirmJSON))
}

// realmPrefix is what the paths of a realm begin with, before its name.
const realmPrefix = "/r/"

// where gives the realm that the request's address names, and the addresses for which its message
// may be signed. It returns NotFound for a realm that does not exist, is disabled, or is not served
// at this host.
func (f *Front) where(r *http.Request) (mfa.RealmID, []string, error) {
	in, named := f.c.Realms.At(r.Host), mfa.RealmID(r.PathValue("realm"))
	urls := f.c.URLs
	if in != "" {
		urls = []string{f.c.Realms.URL(r.Host)}
	}
	path := protocol.PathBrowserProofs
	switch {
	case named != "":
		if in != "" && in != named {
			return "", nil, mfa.ErrNotFound()
		}
		in, path = named, realmPrefix+string(named)+path
	case in == "":
		in = mfa.DefaultRealm
	}
	on, err := f.c.Realms.Enabled(r.Context(), in)
	if err != nil {
		return "", nil, err
	}
	if !on {
		return "", nil, mfa.ErrNotFound()
	}
	out := make([]string, len(urls))
	for i, u := range urls {
		out[i] = u + path
	}
	return in, out, nil
}

// guarded limits the body and refuses what a page of another origin makes a browser send.
func (f *Front) guarded(handle http.HandlerFunc) http.Handler {
	limited := httpkit.Body(f.c.Logger, bodyLimit(), handle)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f.own.Check(r); err != nil {
			httpkit.WriteError(w, r, f.c.Logger, &mfa.Error{
				Code: mfa.Forbidden, Reason: mfa.ReasonScope, Err: err, Message: "This was sent by a page of another site.",
			})
			return
		}
		limited.ServeHTTP(w, r)
	})
}

// json answers a script.
func (f *Front) json(handle func(*http.Request) (any, error)) http.Handler {
	return f.guarded(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		out, err := handle(r)
		if err != nil {
			httpkit.WriteError(w, r, f.c.Logger, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out) // the caller is gone if this fails
	})
}

// prove checks the browser's signature and gives a proof, the same for every name.
func (f *Front) prove(r *http.Request, header http.Header) (string, error) {
	if r.Header.Get("Content-Type") != protocol.ContentType {
		return "", mfa.Errorf(mfa.Invalid, mfa.ReasonMediaType, "Send the message with Content-Type %s.", protocol.ContentType)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The message could not be read to its end.")
	}
	m, err := protocol.Parse(protocol.TypeBrowser, body)
	if err != nil {
		return "", mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The message is malformed: %s", err.Error())
	}
	b, err := protocol.Decode[protocol.Browser](m)
	if err != nil {
		return "", mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The message is malformed: %s", err.Error())
	}
	in, urls, err := f.where(r)
	if err != nil {
		return "", err
	}
	thumbprint := m.Header.JWK.Thumbprint()
	now := f.c.Now()
	header.Set(protocol.NonceHeader, f.c.Ring.Nonce(noncePurpose, string(in), thumbprint, now))
	if m.NonceMissing() || !f.c.Ring.CheckNonce(m.Header.Nonce, noncePurpose, string(in), thumbprint, now) {
		return "", mfa.Errorf(mfa.Unauthenticated, mfa.ReasonStaleNonce, "Send the message again with the nonce in %s.", protocol.NonceHeader)
	}
	if _, err := m.VerifySelf(); err != nil || m.CheckURL(urls...) != nil {
		return "", mfa.Errorf(mfa.Unauthenticated, mfa.ReasonSignature, "The signature is wrong, or for another address.")
	}
	jwk, err := protocol.Encode(*m.Header.JWK)
	if err != nil {
		return "", err
	}
	return f.c.Pipeline.ProveBrowser(r.Context(), in, b.User, thumbprint, jwk)
}
