package main

import (
	"crypto/rand"
	"errors"
	"html/template"
	"log"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/nodauth/nod/client"
)

const (
	cookieName = "example" // a site behind https calls it __Host-example and sets Secure
	formBytes  = 4 << 10
)

// visit is one browser: on its way in, or in.
type visit struct {
	challenge client.Challenge // that the person is to answer
	nonce     string           // that ties the grant to this browser's sign-in
	user      string           // who they are, once the grant was verified
	until     time.Time
}

// site is the application. It keeps its visits in memory; a real one has a database.
type site struct {
	nod *client.Client

	mu     sync.Mutex
	visits map[string]visit // by cookie
}

func newSite(nod *client.Client) *site { return &site{nod: nod, visits: make(map[string]visit)} }

func (s *site) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("GET /finish", s.finish)
	mux.HandleFunc("POST /logout", s.logout)
	// Another site's form must not sign anybody in or out here.
	return new(http.CrossOriginProtection).Handler(mux)
}

var page = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Example</title>
{{if .Wait}}<meta http-equiv="refresh" content="0;url=/finish">{{end}}
<style>body{font:1.2rem system-ui;max-width:24rem;margin:4rem auto}input,button{font:inherit;display:block;width:100%;margin:.5rem 0;padding:.5rem;box-sizing:border-box}strong{font-size:3rem;letter-spacing:.2em}</style>
{{if .User}}<p>Hello, {{.User}}.<form method="post" action="/logout"><button>Sign out</button></form>
{{else if .Wait}}<p>Type this into your authenticator:<p><strong>{{.Digits}}</strong><p>Nobody will ask you for it by telephone or mail.
{{if .Others}}<p>Somebody else signs in with your name at the same time. Look at your authenticator.{{end}}
{{else}}{{with .Message}}<p role="alert">{{.}}{{end}}
<form method="post" action="/login"><input name="user" placeholder="Name" autocomplete="username" required autofocus>
<input name="password" type="password" placeholder="Password" autocomplete="current-password" required><button>Sign in</button></form>{{end}}
`))

type view struct {
	User, Message string
	Wait          bool
	Digits        string
	Others        int
}

func show(w http.ResponseWriter, status int, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = page.Execute(w, v) // the browser is gone if this fails
}

func (s *site) home(w http.ResponseWriter, r *http.Request) {
	_, v := s.visit(r)
	show(w, http.StatusOK, view{User: v.user})
}

// login takes the first factor, which nod checks, and shows the digits for the second.
func (s *site) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, formBytes)
	nonce := rand.Text()
	address, _, _ := net.SplitHostPort(r.RemoteAddr)
	ch, err := s.nod.Challenges.Create(r.Context(), client.NewChallenge{
		User: client.UserRef{Name: r.PostFormValue("user")}, Password: client.Secret(r.PostFormValue("password")),
		Kind: client.Login, Match: []client.MatchKind{client.Digits}, Nonce: nonce,
		Context: &client.RequestContext{IP: address, UserAgent: r.UserAgent()},
	})
	if err != nil {
		refuse(w, err)
		return
	}
	s.enter(w, visit{challenge: ch, nonce: nonce, until: ch.DecideBy.Add(time.Minute)})
	show(w, http.StatusOK, view{Wait: true, Digits: string(ch.Match.Digits), Others: ch.Others})
}

// finish waits for the answer. Nobody is let in by a state: what counts is the grant, redeemed
// once and verified against the challenge and the nonce of this browser.
func (s *site) finish(w http.ResponseWriter, r *http.Request) {
	cookie, v := s.visit(r)
	if v.challenge.ID == "" {
		show(w, http.StatusBadRequest, view{Message: "Please sign in."})
		return
	}
	ch, err := s.nod.Challenges.Wait(r.Context(), v.challenge.ID)
	if err != nil {
		refuse(w, err)
		return
	}
	if ch.State != client.Approved {
		s.leave(cookie)
		show(w, http.StatusForbidden, view{Message: "That was not approved: it is " + string(ch.State) + "."})
		return
	}
	redeemed, err := s.nod.Challenges.Redeem(r.Context(), ch.ID)
	if err != nil {
		refuse(w, err)
		return
	}
	grant, err := s.nod.VerifyGrant(r.Context(), redeemed.Grant, client.GrantWanted{Challenge: ch.ID, Nonce: v.nonce, ACR: []string{"urn:nod:2"}})
	if err != nil {
		refuse(w, err)
		return
	}
	// Whoever knew the cookie before must not share what comes now.
	s.leave(cookie)
	s.enter(w, visit{user: grant.Username, until: time.Now().Add(8 * time.Hour)})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *site) logout(w http.ResponseWriter, r *http.Request) {
	cookie, _ := s.visit(r)
	s.leave(cookie)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// refuse answers every error as a denial, with what the person can do about it.
func refuse(w http.ResponseWriter, err error) {
	log.Printf("sign-in: %v", err)
	refused, _ := errors.AsType[*client.Error](err)
	switch {
	case refused != nil && refused.Reason == "credentials":
		show(w, http.StatusForbidden, view{Message: "Name or password is wrong."})
	case refused != nil && refused.Code == client.RateLimited:
		show(w, http.StatusTooManyRequests, view{Message: "Too many attempts. Please try again later."})
	default:
		show(w, http.StatusServiceUnavailable, view{Message: "Nobody can sign in at this moment. Please try again."})
	}
}

func (s *site) visit(r *http.Request) (string, visit) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return "", visit{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.visits[c.Value]
	if !ok || !time.Now().Before(v.until) {
		delete(s.visits, c.Value)
		return "", visit{}
	}
	return c.Value, v
}

func (s *site) enter(w http.ResponseWriter, v visit) {
	cookie := rand.Text()
	now := time.Now()
	s.mu.Lock()
	maps.DeleteFunc(s.visits, func(_ string, old visit) bool { return !now.Before(old.until) })
	s.visits[cookie] = v
	s.mu.Unlock()
	//nolint:gosec // not Secure: the example serves plain HTTP on loopback
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func (s *site) leave(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.visits, cookie)
}
