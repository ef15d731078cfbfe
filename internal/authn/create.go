package authn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/mileusna/useragent"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/session"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/user"
	"github.com/nodauth/nod/internal/wire/username"
)

// Request asks for a challenge.
type Request struct {
	ID           mfa.ChallengeID // derived from an idempotency key; "" for a fresh one
	UserID       mfa.UserID      // or UserName
	UserName     string
	Kind         mfa.Kind
	Matches      []mfa.Match // that the application wants; nil for policy's
	MinBits      int
	Reason       string
	Details      []challenge.Detail
	IP           string
	UserAgent    string
	Source       string
	BrowserID    string
	BrowserProof string
	Password     secret.Value // zero when none was sent
	HasPassword  bool
	Asserted     bool // the application says that it checked a first factor
	Nonce        string
}

// person is the user that a request names.
type person struct {
	id        mfa.UserID
	canonical string
	sent      string
	row       store.User
	found     bool
}

// Create makes a challenge. A user who does not exist, is locked or has no device gets one like
// any other, which nobody can answer. It returns Invalid, RateLimited, Forbidden (a first factor
// is missing or wrong) or Unsupported (nothing that was asked for is allowed).
func (s *Service) Create(ctx context.Context, by Caller, r Request) (View, error) {
	ctx, done := s.c.Span(ctx, "authn.create")
	defer done()
	if err := s.c.Gate.Admit(by.Realm, by.Application.ID, r.IP, time.Now()); err != nil {
		return View{}, err
	}
	if r.UserID != "" && !user.ValidID(r.UserID) {
		return View{}, mfa.InvalidField("user.id", "This is not the id of a user.")
	}
	if r.UserName != "" {
		if _, err := username.Apply(username.Form(by.Application.UsernameForm), r.UserName); err != nil {
			return View{}, mfa.InvalidField("user.name", "%s", err.Error())
		}
	}
	origin := guard.Origin{Application: by.Application.ID, Source: r.Source, IP: r.IP, BrowserID: r.BrowserID}
	proof, err := s.proved(ctx, by, r)
	if err != nil {
		return View{}, err
	}
	origin.Browser = proof.Thumbprint
	first := mfa.FirstFactorNone
	if r.Asserted {
		first = mfa.FirstFactorAsserted
	}
	var checked password
	if r.HasPassword {
		if checked, err = s.checkPassword(ctx, by, r, origin); err != nil {
			return View{}, err
		}
		first = mfa.FirstFactorPassword
	}
	var view View
	var refused error
	err = s.c.Store.Update(ctx, func(tx store.Tx) error {
		view, refused = View{}, nil
		var err error
		view, refused, err = s.create(ctx, tx, by, r, origin, proof, first, checked)
		return err
	})
	if err != nil {
		return View{}, err
	}
	return view, refused
}

// who finds the person a request names. Whatever is counted is counted for the id it gives, known
// or not.
func (s *Service) who(tx store.Tx, by Caller, r Request) (person, error) {
	if r.UserID != "" {
		u, err := tx.User(by.Realm, r.UserID)
		if errors.Is(err, store.ErrNotFound) {
			return person{id: r.UserID, canonical: string(r.UserID), sent: string(r.UserID)}, nil
		}
		if err != nil {
			return person{}, fmt.Errorf("read user: %w", err)
		}
		return person{id: u.ID, canonical: u.Name, sent: u.Display, row: u, found: true}, nil
	}
	u, canonical, found, err := s.c.Users.Find(tx, by.Realm, by.Application.UsernameForm, r.UserName)
	if err != nil {
		return person{}, err
	}
	if !found {
		return person{id: s.c.Users.Shadow(by.Realm, canonical), canonical: canonical, sent: r.UserName}, nil
	}
	return person{id: u.ID, canonical: u.Name, sent: r.UserName, row: u, found: true}, nil
}

// proved uses up the browser proof, in a transaction of its own: it is good once, whatever becomes
// of the request.
func (s *Service) proved(ctx context.Context, by Caller, r Request) (store.Proof, error) {
	if r.BrowserProof == "" {
		return store.Proof{}, nil
	}
	var p store.Proof
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		p = store.Proof{}
		w, err := s.who(tx, by, r)
		if err != nil {
			return err
		}
		names := []string{w.canonical}
		if typed, err := username.Canonical(r.UserName); err == nil {
			names = append(names, typed) // the login page proves what was typed, the application's form aside
		}
		if w.found {
			rows, err := tx.UserNames(by.Realm, w.id)
			if err != nil {
				return fmt.Errorf("read names: %w", err)
			}
			for _, n := range rows {
				names = append(names, n.Name)
			}
		}
		got, ok, err := session.Consume(tx, by.Realm, r.BrowserProof, names)
		if ok {
			p = got
		}
		return err
	})
	return p, err
}

type password struct {
	candidate factor.Candidate
	guess     string
	user      mfa.UserID
}

// checkPassword pays for a guess, compares outside any transaction and refuses a wrong one. An
// unknown user costs the same work and gets the same answer.
func (s *Service) checkPassword(ctx context.Context, by Caller, r Request, o guard.Origin) (password, error) {
	var p password
	var refused error
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		p, refused = password{}, nil
		w, err := s.who(tx, by, r)
		if err != nil {
			return err
		}
		from, err := guard.Provenance(tx, by.Realm, w.id, o)
		if err != nil {
			return err
		}
		p.user = w.id
		p.guess, err = guard.Guess(tx, by.Realm, w.id, guard.Password, from, mfa.DefaultGuessBudget())
		if mfa.CodeOf(err) == mfa.RateLimited {
			refused = err
			return s.refuse(ctx, tx, by, w.id, audit.GuessesSpent, map[string]string{"kind": string(guard.Password)})
		}
		if err != nil {
			return err
		}
		var u *store.User
		if w.found {
			u = &w.row
		}
		p.candidate = s.c.Factors.PasswordCandidate(u)
		return nil
	})
	if err != nil {
		return password{}, err
	}
	if refused != nil {
		return password{}, refused
	}
	right, err := s.c.Factors.Compare(ctx, p.candidate, r.Password.Reveal())
	if err != nil {
		return password{}, err
	}
	if right {
		return p, nil
	}
	err = s.c.Store.Update(ctx, func(tx store.Tx) error {
		return s.refuse(ctx, tx, by, p.user, audit.PasswordWrong, nil)
	})
	if err != nil {
		return password{}, err
	}
	return password{}, errCredentials()
}

func errCredentials() error {
	return mfa.Errorf(mfa.Forbidden, mfa.ReasonCredentials, "User name or password is wrong.")
}

func (s *Service) refuse(ctx context.Context, tx store.Tx, by Caller, who mfa.UserID, kind string, data map[string]string) error {
	return audit.Record(ctx, tx, store.Event{
		Realm: by.Realm, Kind: kind, User: who, Application: by.Application.ID, Data: data,
	})
}

func (s *Service) create(ctx context.Context, tx store.Tx, by Caller, r Request, o guard.Origin, proof store.Proof, first mfa.FirstFactor, pw password) (View, error, error) {
	w, err := s.who(tx, by, r)
	if err != nil {
		return View{}, nil, err
	}
	if r.HasPassword {
		if w.id != pw.user || !pw.candidate.Still(&w.row) {
			return View{}, errCredentials(), nil // changed since it was compared
		}
		if err := tx.ReturnGuess(by.Realm, w.id, pw.guess); err != nil {
			return View{}, nil, fmt.Errorf("return guess: %w", err)
		}
	}
	from, err := guard.Provenance(tx, by.Realm, w.id, o)
	if err != nil {
		return View{}, nil, err
	}
	app, err := tx.Application(by.Realm, by.Application.ID)
	if err != nil {
		return View{}, nil, fmt.Errorf("read application: %w", err)
	}
	sc, err := s.look(tx, by.Realm, w.id, app, policy.Env{Kind: r.Kind, Provenance: from})
	if err != nil {
		return View{}, nil, err
	}
	if !sc.facts.ApplicationActive {
		return View{}, mfa.Errorf(mfa.Forbidden, mfa.ReasonApplicationOff, "This application is disabled."), nil
	}
	if !first.Satisfies(sc.need.FirstFactor) {
		return View{}, errFirstFactor(sc.need.FirstFactor), nil
	}
	minBits := max(r.MinBits, sc.need.MinBits)
	matches := sc.need.Offer(r.Matches, minBits)
	methods := sc.need.Methods.SuitableFor(r.Kind, minBits)
	if len(matches) == 0 {
		methods &^= mfa.MethodsOf(mfa.Push)
	}
	if methods == 0 || (len(matches) == 0 && (len(r.Matches) > 0 || r.MinBits > 0)) {
		return View{}, mfa.Errorf(mfa.Unsupported, mfa.ReasonUnsatisfiable, "Policy allows none of the ways of matching that were asked for."), nil
	}
	listed, err := tx.ListedChallenges(by.Realm, w.id)
	if err != nil {
		return View{}, nil, fmt.Errorf("read listed challenges of %s: %w", w.id, err)
	}
	ringing, err := guard.Ring(tx, by.Realm, w.id, mfa.Bell{
		From: from, FirstFactor: first, LockedDown: sc.facts.LockedDown, Budget: sc.need.Ring,
	}, listed)
	if err != nil {
		return View{}, nil, err
	}
	if err := s.supersede(ctx, tx, listed, ringing.Supersede); err != nil {
		return View{}, nil, err
	}
	signer, err := s.c.Realms.PromptSigner(tx, by.Realm)
	if err != nil {
		return View{}, nil, err
	}
	spec := challenge.Spec{
		Realm: by.Realm, Issuer: s.c.Realms.Issuer(by.Realm), ID: r.ID, User: w.id, UserName: w.canonical, Name: w.sent,
		Known: w.found && sc.facts.UserActive, Application: app, Kind: r.Kind, FirstFactor: first, From: from,
		Browser: proof.Thumbprint, BrowserJWK: proof.JWK, Source: o.SourceKey(), Matches: matches, Methods: methods,
		MinBits: r.MinBits, Policy: sc.need.Version, Reason: r.Reason, Details: r.Details, Nonce: r.Nonce,
		Context:  challenge.Context{IP: address(r.IP), UserAgent: r.UserAgent, Browser: browserName(r.UserAgent), Source: r.Source},
		DecideIn: sc.need.DecideWithin, Ringing: ringing,
	}
	h, err := s.c.Challenges.Make(tx, signer, spec)
	if errors.Is(err, store.ErrExists) {
		return View{}, &mfa.Error{
			Code: mfa.Conflict, Reason: mfa.ReasonAlreadyCreated,
			Message: "This request made challenge " + string(r.ID) + " before. Its secrets were in that answer only.",
		}, nil
	}
	if err != nil {
		return View{}, nil, err
	}
	if from.Class == mfa.KnownBrowser {
		if err := session.Seen(tx, by.Realm, w.id, proof.Thumbprint); err != nil {
			return View{}, nil, err
		}
	}
	if err := recorder(ctx, tx, h, "")(audit.ChallengeCreated, creation(h)); err != nil {
		return View{}, nil, err
	}
	sc.facts.Simultaneous = sc.others(h) > 0
	v, err := s.view(tx, h, sc)
	v.Secrets = &Secrets{Digits: h.Expect.Digits, Number: h.Expect.Number, QR: h.Scanned()}
	return v, nil, err
}

func errFirstFactor(need mfa.FirstFactor) error {
	if need == mfa.FirstFactorPassword {
		return mfa.Errorf(mfa.Forbidden, mfa.ReasonFirstFactor, "Policy asks for the user's password: send it with the request.")
	}
	return mfa.Errorf(mfa.Forbidden, mfa.ReasonFirstFactor, "Policy asks for a first factor: send password, or first_factor \"asserted\" if the application checked one.")
}

func creation(h challenge.Held) map[string]string {
	d := map[string]string{
		"kind": string(h.Kind), "provenance": string(h.Provenance.Class), "first_factor": string(h.FirstFactor),
		"rung": "no",
	}
	if h.Rung {
		d["rung"] = "yes"
	} else {
		d["reason"] = string(h.RingReason)
	}
	return d
}

// supersede cancels the older prompts of the same known browser.
func (s *Service) supersede(ctx context.Context, tx store.Tx, listed []store.Challenge, ids []mfa.ChallengeID) error {
	older := slices.DeleteFunc(listed, func(c store.Challenge) bool { return !slices.Contains(ids, c.ID) })
	_, err := s.c.Challenges.CancelLive(tx, older, mfa.Cancel{Reason: mfa.CancelSuperseded}, func(h challenge.Held) challenge.Recorder {
		return recorder(ctx, tx, h, "")
	})
	return err
}

// address keeps only what is an address.
func address(s string) string {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return ""
	}
	return a.Unmap().WithZone("").String()
}

// browserName puts a user agent into words, for display only.
func browserName(ua string) string {
	if ua == "" {
		return ""
	}
	u := useragent.Parse(ua)
	name := u.Name
	if name != "" && u.OS != "" {
		name += " on " + u.OS
	}
	if !plainName.MatchString(name) {
		return ""
	}
	return name
}

// plainName is what a browser may be called on a prompt: whoever asks chooses its user agent.
var plainName = regexp.MustCompile(`^[A-Za-z0-9 ._()/+-]{1,60}$`)

// ProveBrowser keeps a proof for a browser whose signature was checked; the same for every name.
// It returns Invalid for what cannot be a user name.
func (s *Service) ProveBrowser(ctx context.Context, realm mfa.RealmID, name, thumbprint string, jwk []byte) (string, error) {
	canonical, err := username.Canonical(name)
	if err != nil {
		return "", mfa.InvalidField("user", "%s", err.Error())
	}
	var proof string
	err = s.c.Store.Update(ctx, func(tx store.Tx) error {
		var err error
		proof, err = session.Prove(tx, realm, canonical, thumbprint, jwk)
		return err
	})
	return proof, err
}
