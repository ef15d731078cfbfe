package rest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/deliver"
	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/egress"
	webhooks "github.com/nodauth/nod/internal/endpoint"
	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/guard"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/notice/webhook"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
	"github.com/nodauth/nod/internal/user"
	"github.com/nodauth/nod/protocol"
)

const publicURL = "https://nod.example"

// server is the API over real services and a database of its own, with a clock that tests move.
type server struct {
	t        *testing.T
	handler  *Handler
	http     http.Handler
	mux      *http.ServeMux
	db       *sqlstore.Store
	hub      *challenge.Hub
	accounts *account.Service
	pipeline *authn.Service
	log      *logBuffer
	doc      *openapi3.T
	offset   atomic.Int64

	admin caller // scope administer
	app   caller // scopes authenticate, assert_first_factor
	other caller // as app, of another application

	mu   sync.Mutex
	seen map[string]bool // operations that gave a good answer
}

// caller is an application with its key.
type caller struct {
	id  mfa.ApplicationID
	key string
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, hub: challenge.NewHub(), log: new(logBuffer), seen: make(map[string]bool)}
	logger := slog.New(slog.NewTextHandler(s.log, nil))
	root, err := keys.NewRoot()
	must(t, err)
	ring, err := keys.Open(keys.Config{Root: root})
	must(t, err)
	s.db, err = sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:       filepath.Join(t.TempDir(), "nod.db"),
		Committed: func(keys []string) { s.hub.Wake(keys...) },
		Offset:    func() time.Duration { return time.Duration(s.offset.Load()) },
	})
	must(t, err)
	t.Cleanup(func() { _ = s.db.Close() }) // some tests close it themselves
	realms, err := realm.New(realm.Config{Store: s.db, Ring: ring, PublicURL: publicURL})
	must(t, err)
	must(t, realms.Ensure(t.Context()))
	policies, err := policy.New(policy.Config{Store: s.db})
	must(t, err)
	challenges, err := challenge.New(challenge.Config{Ring: ring})
	must(t, err)
	devices, err := device.New(device.Config{Ring: ring})
	must(t, err)
	factors, err := factor.New(factor.Config{Ring: ring})
	must(t, err)
	users, err := user.New(user.Config{Ring: ring})
	must(t, err)
	applications, err := application.New(application.Config{Store: s.db})
	must(t, err)
	events, err := audit.New(audit.Config{Store: s.db})
	must(t, err)
	replays, err := replay.New(replay.Config{
		Store: s.db, Ring: ring, Logger: logger,
		Listen: func(keys ...string) replay.Waiter { return s.hub.Register(keys...) },
	})
	must(t, err)
	s.pipeline, err = authn.New(authn.Config{
		Store: s.db, Challenges: challenges, Devices: devices, Hub: s.hub, Factors: factors, Users: users, Realms: realms,
		Policies: policies, Gate: guard.NewGate(guard.DefaultRates()), Logger: logger,
	})
	must(t, err)
	sealing, err := realm.NewSealing(ring, "node")
	must(t, err)
	s.accounts, err = account.New(account.Config{
		Store: s.db, Challenges: challenges, Devices: devices, Factors: factors, Users: users, Realms: realms, Policies: policies, Sealing: sealing, PublicURL: publicURL,
	})
	must(t, err)
	caller := egress.New(egress.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	hooks, err := webhooks.New(webhooks.Config{
		Store: s.db, Ring: ring, Outbox: deliver.NewOutbox(time.Second), Sender: webhook.New(caller), Check: caller.Check,
		NewSecret: webhook.NewSecret,
	})
	must(t, err)
	s.handler, err = New(Config{
		Pipeline: s.pipeline, Accounts: s.accounts, Applications: applications, Events: events, Realms: realms,
		Policies: policies, Replays: replays, Webhooks: hooks, Ring: ring, Shares: httpkit.NewShares(1000, 1000), Logger: logger,
	})
	must(t, err)
	s.mux = http.NewServeMux()
	s.handler.Mount(s.mux)
	s.http = httpkit.Entry{Logger: logger}.Wrap(httpkit.SecurityHeaders(false, httpkit.Routes(logger, s.mux)))
	s.doc, err = openapi3.NewLoader().LoadFromData(openapi)
	must(t, err)
	s.admin = s.application("administration", application.Administer)
	s.app = s.application("Portal", application.Authenticate, application.AssertFirstFactor)
	s.other = s.application("Wiki", application.Authenticate, application.AssertFirstFactor)
	return s
}

func (s *server) pass(d time.Duration) { s.offset.Add(int64(d)) }

func (s *server) application(name string, scopes ...application.Scope) caller {
	s.t.Helper()
	a, err := s.accounts.CreateApplication(s.t.Context(), mfa.DefaultRealm, account.NewApplication{
		ApplicationChange: account.ApplicationChange{Name: &name}, Scopes: scopes,
	})
	must(s.t, err)
	return caller{a.ID, a.Secret.Reveal()}
}

// answer is what came back.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

// is checks the status.
func (a answer) is(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("got %d %s, want %d", a.status, a.body, status)
	}
	return a
}

// refuses checks a problem.
func (a answer) refuses(status int, code mfa.Code, reason mfa.Reason) answer {
	a.t.Helper()
	p := a.into(new(httpkit.Problem)).(*httpkit.Problem)
	if a.status != status || p.Code != string(code) || p.Reason != string(reason) || p.Status != status {
		a.t.Fatalf("got %d %s, want %d %s %s", a.status, a.body, status, code, reason)
	}
	if got := a.header.Get("Content-Type"); got != httpkit.ProblemType {
		a.t.Errorf("a problem has type %s", got)
	}
	return a
}

func (a answer) into(v any) any {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("read answer %d %q: %v", a.status, a.body, err)
	}
	return v
}

// get gives a member of the answer, by a path such as match.digits.
func (a answer) get(path string) any {
	a.t.Helper()
	var v any
	a.into(&v)
	for name := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

func (a answer) text(path string) string {
	a.t.Helper()
	s, ok := a.get(path).(string)
	if !ok {
		a.t.Fatalf("answer %s has no text at %s", a.body, path)
	}
	return s
}

type option func(*http.Request)

func with(name, value string) option {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func key(k string) option { return with("Idempotency-Key", k) }

// call sends a request and holds the answer to the document.
func (s *server) call(by caller, method, target, body string, options ...option) answer {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, target, strings.NewReader(body))
	if body == "" {
		r = httptest.NewRequestWithContext(s.t.Context(), method, target, nil)
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	if by.key != "" {
		r.Header.Set("Authorization", "Bearer "+by.key)
	}
	for _, o := range options {
		o(r)
	}
	_, pattern := s.mux.Handler(r)
	w := httptest.NewRecorder()
	s.http.ServeHTTP(w, r)
	a := answer{t: s.t, status: w.Code, header: w.Header(), body: w.Body.Bytes()}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		s.t.Errorf("%s %s: Cache-Control %q", method, target, got)
	}
	if pattern != "" {
		s.documented(pattern, a)
	}
	return a
}

// documented checks that the document has this answer for the route.
func (s *server) documented(pattern string, a answer) {
	s.t.Helper()
	method, path, _ := strings.Cut(pattern, " ")
	op := s.doc.Paths.Value(path).GetOperation(method)
	response := op.Responses.Status(a.status)
	if response == nil {
		s.t.Errorf("%s: the document has no answer %d: %s", pattern, a.status, a.body)
		return
	}
	media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	content := response.Value.Content[media]
	if content == nil {
		if len(response.Value.Content) > 0 || len(a.body) > 0 {
			s.t.Errorf("%s: answer %d has type %q", pattern, a.status, media)
		}
	} else if media != "text/event-stream" {
		var v any
		a.into(&v)
		if err := content.Schema.Value.VisitJSON(v); err != nil {
			s.t.Errorf("%s: answer %d %s is not what the document says: %v", pattern, a.status, a.body, err)
		}
	}
	if a.status < 300 {
		s.mu.Lock()
		s.seen[op.OperationID] = true
		s.mu.Unlock()
	}
}

// user makes a person and gives the id.
func (s *server) user(name string, members ...string) string {
	s.t.Helper()
	body := fmt.Sprintf(`{"name":%q%s}`, name, strings.Join(append([]string{""}, members...), ","))
	return s.call(s.admin, "POST", "/v1/users", body).is(http.StatusCreated).text("id")
}

// phone is an authenticator of a user.
type phone struct {
	s   *server
	id  mfa.DeviceID
	key *ecdsa.PrivateKey
}

func newKey(t *testing.T) (*ecdsa.PrivateKey, protocol.JWK) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	jwk, err := protocol.NewJWK(&private.PublicKey)
	must(t, err)
	return private, jwk
}

// claim lets a new phone claim a ticket; it gives the digits that the phone shows.
func (s *server) claim(url string) (*phone, string) {
	s.t.Helper()
	link, err := protocol.ParseTicketLink(url)
	must(s.t, err)
	private, jwk := newKey(s.t)
	raw, err := s.accounts.Claim(s.t.Context(), "", protocol.Enrol{
		V: 1, Ticket: link.Ticket, Name: "phone", Platform: protocol.PlatformCLI, AppVersion: "1", Features: []string{},
	}, jwk)
	must(s.t, err)
	enrolled, _, err := protocol.OpenEnrolled(raw, link.PIN)
	must(s.t, err)
	return &phone{s, mfa.DeviceID(enrolled.Device), private}, enrolled.ConfirmCode
}

// phone enrols an authenticator.
func (s *server) phone(userID string) *phone {
	s.t.Helper()
	e := s.call(s.admin, "POST", "/v1/users/"+userID+"/enrolments", `{}`).is(http.StatusCreated)
	p, code := s.claim(e.text("url"))
	s.call(s.admin, "POST", "/v1/enrolments/"+e.text("id")+"/confirm", `{"code":"`+code+`"}`).is(http.StatusOK)
	return p
}

// decide sends what the device signed.
func (p *phone) decide(d protocol.Decision) authn.Decided {
	p.s.t.Helper()
	ctx := p.s.t.Context()
	seen, _, err := p.s.accounts.Identify(ctx, string(p.id))
	must(p.s.t, err)
	must(p.s.t, p.s.db.View(ctx, func(tx store.Tx) error {
		row, err := tx.Challenge(mfa.DefaultRealm, mfa.ChallengeID(d.Challenge))
		d.PromptSHA256 = row.Prompt
		return err
	}))
	d.V = protocol.Version
	raw, err := protocol.Sign(p.key, protocol.Header{KeyID: string(p.id), URL: publicURL + protocol.TypeDecision.Path()}, &d)
	must(p.s.t, err)
	m, err := protocol.Parse(protocol.TypeDecision, []byte(raw))
	must(p.s.t, err)
	sum := sha256.Sum256(m.Payload)
	out, err := p.s.pipeline.Decide(ctx, authn.Signed{
		Device: seen, Decision: d, Sighted: mfa.Sighted(base64.RawURLEncoding.EncodeToString(sum[:])), Raw: raw,
	})
	must(p.s.t, err)
	return out
}

func (p *phone) approve(id, digits string) {
	p.s.t.Helper()
	got := p.decide(protocol.Decision{Challenge: id, Decision: protocol.VerdictApprove, Match: protocol.MatchDigits, Answer: digits})
	if got.State != mfa.Approved {
		p.s.t.Fatalf("the approval left the challenge %s", got.State)
	}
}

// ask makes a challenge for a user whose first factor the application asserts.
func (s *server) ask(userID string, options ...option) answer {
	s.t.Helper()
	return s.call(s.app, "POST", "/v1/challenges", asked(userID), options...)
}

func asked(userID string) string {
	return `{"user":{"id":"` + userID + `"},"kind":"login","first_factor":"asserted"}`
}

// approved makes a challenge that the phone has approved.
func (s *server) approved(userID string, p *phone) string {
	s.t.Helper()
	a := s.ask(userID).is(http.StatusCreated)
	p.approve(a.text("id"), a.text("match.digits"))
	return a.text("id")
}

// problem gives a problem without what differs from request to request.
func (a answer) problem() string {
	a.t.Helper()
	p := a.into(new(httpkit.Problem)).(*httpkit.Problem)
	return strings.ReplaceAll(string(a.body), p.RequestID, "")
}
