// Package device is the front of the device protocol: it reads signed messages, establishes which
// device speaks, and hands what it says to the pipeline. It decides nothing.
//
// Every message is a POST of one compact JWS. The order of the checks is the order of their cost
// and never tells an unknown key from a wrong signature: form, address, device, nonce, signature,
// and only then whether the device was removed.
package device

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/wire/cursor"
	"github.com/nodauth/nod/protocol"
)

// noncePurpose separates these nonces from others that the same root gives.
const noncePurpose = "device"

const (
	pathPrefix = "/device/v1/"
	// bodyTime is how long a message may take to come.
	bodyTime = 10 * time.Second
	// preflightAge is how long a browser need not ask again.
	preflightAge = time.Hour
)

// Config of the Front. All members but Authenticator are required.
type Config struct {
	Pipeline      *authn.Service
	Accounts      *account.Service
	Realms        *realm.Service
	Shares        *httpkit.Shares // of the places for requests in progress
	Ring          *keys.Ring
	Logger        *slog.Logger
	URLs          []string // public URLs, without a slash at the end; the first is told to authenticators
	Authenticator string   // origin of the authenticator web app
	Now           func() time.Time
}

// Front serves /device/v1 and /.well-known/nod.
type Front struct {
	c      Config
	cursor cursor.Codec
}

// New makes a Front.
func New(c Config) (*Front, error) {
	if c.Pipeline == nil || c.Accounts == nil || c.Realms == nil || c.Shares == nil || c.Ring == nil || c.Logger == nil || len(c.URLs) == 0 || c.Now == nil {
		return nil, errors.New("front/device: a member of Config is missing")
	}
	return &Front{c: c, cursor: cursor.New(c.Ring.Derive("device-history-cursor", nil, 32))}, nil
}

// Mount adds the routes.
func (f *Front) Mount(mux *http.ServeMux) {
	for typ, h := range map[protocol.Type]handler{
		protocol.TypePoll:     f.prompts,
		protocol.TypeDecision: f.decide,
		protocol.TypeStamp:    f.stamp,
		protocol.TypeHistory:  f.history,
		protocol.TypeTarget:   change(f.c.Accounts.SetTargets),
		protocol.TypeRotate:   change(f.c.Accounts.Rotate),
		protocol.TypeName:     change(f.c.Accounts.RenameSelf),
		protocol.TypeLock:     change(f.c.Accounts.LockSelf),
		protocol.TypeVeto:     change(f.c.Accounts.Veto),
		protocol.TypeUnenrol:  change(f.c.Accounts.Unenrol),
	} {
		mux.Handle("POST "+typ.Path(), f.signed(typ, h))
	}
	mux.Handle("POST "+protocol.PathEnrol, f.answer(f.enrol))
	mux.Handle("GET "+protocol.PathWellKnown, f.answer(f.wellKnown))
}

// Admit lets a page of the authenticator's origin use the addresses of this front, and no other
// page. It stands around everything that answers there, also what refuses when the server is busy.
func (f *Front) Admit(next http.Handler) http.Handler {
	admitted := httpkit.CORS{
		Origin: f.c.Authenticator, Methods: []string{http.MethodGet, http.MethodPost}, Headers: []string{"Content-Type"},
		Expose: []string{protocol.NonceHeader, "Retry-After"}, MaxAge: preflightAge,
	}.Wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, pathPrefix) || r.URL.Path == protocol.PathWellKnown {
			admitted.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// reply is what a handler answers; a nil body is 204.
type reply struct {
	status int
	body   any
}

func ok(body any) (reply, error) { return reply{http.StatusOK, body}, nil }

// answer reads a request's body, within limits, and writes a handler's reply or error.
func (f *Front) answer(h func(*http.Request, http.Header) (reply, error)) http.Handler {
	limit := httpkit.Limit{Bytes: protocol.MaxMessage, Time: bodyTime}
	return httpkit.Body(f.c.Logger, limit, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		out, err := h(r, w.Header())
		if err != nil {
			httpkit.WriteError(w, r, f.c.Logger, err)
			return
		}
		if out.body == nil {
			w.WriteHeader(out.status)
			return
		}
		text, err := protocol.Encode(out.body)
		if err != nil {
			httpkit.WriteError(w, r, f.c.Logger, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(out.status)
		_, _ = w.Write(text) // the caller is gone if this fails
	}))
}

// read gives the message of a request, checked in form and address.
func (f *Front) read(r *http.Request, typ protocol.Type) (*protocol.Message, error) {
	if r.Header.Get("Content-Type") != protocol.ContentType {
		return nil, mfa.Errorf(mfa.Invalid, mfa.ReasonMediaType, "Send the message with Content-Type %s.", protocol.ContentType)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, &mfa.Error{Code: mfa.Invalid, Reason: mfa.ReasonMalformed, Message: "The message could not be read to its end.", Err: err}
	}
	m, err := protocol.Parse(typ, body)
	if err != nil {
		return nil, refusal(err)
	}
	var urls []string
	for _, u := range slices.Concat(f.c.URLs, f.c.Realms.URLs()) {
		urls = append(urls, u+typ.Path())
	}
	return m, refusal(m.CheckURL(urls...))
}

// at gives the realm to which the host belongs that the request came to or was signed for, "" if
// that is none's. Of two that differ it gives one that no realm has.
func (f *Front) at(r *http.Request, m *protocol.Message) mfa.RealmID {
	came := f.c.Realms.At(r.Host)
	u, err := url.Parse(m.Header.URL)
	if err != nil {
		return nowhere // checked, so it does not happen
	}
	switch signed := f.c.Realms.At(u.Host); {
	case came == "" || came == signed:
		return signed
	case signed == "":
		return came
	}
	return nowhere
}

// nowhere is no realm's name.
const nowhere mfa.RealmID = "/"

// refusal maps the protocol's errors to answers.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	var e *protocol.Error
	if errors.As(err, &e) && errors.Is(err, protocol.ErrMalformed) {
		return &mfa.Error{Code: mfa.Invalid, Reason: mfa.ReasonMalformed, Field: e.Member, Message: "The message is malformed: " + err.Error()}
	}
	return mfa.Errorf(mfa.Unauthenticated, mfa.ReasonSignature, "The message is not signed by a key that is known here, or not for this address.")
}

// signed wraps a handler of messages of an enrolled device.
func (f *Front) signed(typ protocol.Type, h handler) http.Handler {
	return f.answer(func(r *http.Request, header http.Header) (reply, error) {
		m, err := f.read(r, typ)
		if err != nil {
			return reply{}, err
		}
		d, key, err := f.c.Accounts.Identify(r.Context(), m.Header.KeyID)
		if at := f.at(r, m); err == nil && at != "" && at != d.Realm { // as if there were no such device
			d, err = account.Speaker{}, refusal(protocol.ErrSignature)
		}
		if err != nil && mfa.CodeOf(err) != mfa.Unauthenticated {
			return reply{}, err
		}
		// An unknown device is refused where a wrong signature is: until then it gets the same.
		unknown := err
		now := f.c.Now()
		header.Set(protocol.NonceHeader, f.c.Ring.Nonce(noncePurpose, string(d.Realm), m.Header.KeyID, now))
		if m.NonceMissing() || (m.NonceWanted() && !f.c.Ring.CheckNonce(m.Header.Nonce, noncePurpose, string(d.Realm), m.Header.KeyID, now)) {
			return reply{}, mfa.Errorf(mfa.Unauthenticated, mfa.ReasonStaleNonce, "Send the message again with the nonce in %s.", protocol.NonceHeader)
		}
		if unknown != nil {
			return reply{}, refusal(protocol.ErrSignature)
		}
		if err := m.Verify(key); err != nil {
			return reply{}, refusal(err)
		}
		release, err := f.c.Shares.TakeDevice(string(d.Realm), string(d.ID))
		if err != nil {
			return reply{}, err
		}
		defer release()
		ctx := audit.With(r.Context(), audit.Origin{
			Actor: mfa.ActorUser, By: string(d.ID), Address: httpkit.Address(r), Request: httpkit.RequestID(r),
		})
		return h(ctx, speech{m: m, device: d})
	})
}

func (f *Front) wellKnown(r *http.Request, _ http.Header) (reply, error) {
	here := f.c.URLs[0]
	if f.c.Realms.At(r.Host) != "" {
		here = f.c.Realms.URL(r.Host)
	}
	a := f.c.Authenticator
	if a == "" {
		a = here
	}
	return ok(protocol.WellKnown{V: protocol.Version, DeviceURL: here, AuthenticatorURL: a})
}

// handler takes a message whose signature was checked.
type handler func(context.Context, speech) (reply, error)
