package authenticator

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodauth/nod/protocol"
)

const (
	origin = "http://127.0.0.1:8080"
	ticket = "AAECAwQFBgcICQoLDA0ODw"
	secret = "Dw4NDAsKCQgHBgUEAwIBAA"
)

// server is the outside world: a server that holds to the protocol strictly.
type server struct {
	t      *testing.T
	client *http.Client

	mu       sync.Mutex
	keys     []*ecdsa.PrivateKey // one per serial, and the next
	sets     []string
	tickets  map[string]string // to the enrol payload's digest, "" when unused
	enrolled map[string]string // answer by repetition key
	devices  map[string]*enrolled
	prompts  map[string]string
	listed   []string
	notices  []string
	answers  map[string]protocol.DecisionAnswer // by repetition key
	decided  []protocol.Decision
	nonces   int
	code     map[string]protocol.DecisionAnswer // to give for a challenge
	faults   map[string][]fault                 // by path, one per request
	seen     []string                           // paths, in order
	polls    []protocol.Poll
	changed  chan struct{}
}

type enrolled struct {
	key     *ecdsa.PublicKey
	state   protocol.DeviceState
	name    string
	seq     int64
	targets []protocol.Target
	vetoed  []string
	gone    bool
}

// fault is what goes wrong with one request.
type fault int

const (
	none         fault = iota
	lostRequest        // never arrives
	lostReply          // arrives, takes effect, the reply does not
	cutReply           // half of the reply's bytes arrive
	halfJSON           // a whole reply with half of the JSON
	busy               // 503, no effect
	staleNonce         // as after five minutes
	longReply          // more than may be read
	redirect           // to elsewhere
	notNod             // an answer of something else
	serverFailed       // took effect, answers 500
)

// pipes lets HTTP run inside a synctest bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	mine, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return mine, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{
		t: t, tickets: map[string]string{ticket: ""}, enrolled: map[string]string{}, devices: map[string]*enrolled{}, prompts: map[string]string{},
		answers: map[string]protocol.DecisionAnswer{}, code: map[string]protocol.DecisionAnswer{}, faults: map[string][]fault{}, changed: make(chan struct{}),
	}
	s.keys = []*ecdsa.PrivateKey{newKey(t), newKey(t)}
	s.sets = []string{s.keySet(1)}
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	h := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	_ = h.Listener.Close()
	h.Listener = p
	h.Start()
	transport := &http.Transport{DialContext: p.dial}
	s.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		h.CloseClientConnections()
		h.Close()
	})
	return s
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func jwk(k *ecdsa.PublicKey) protocol.JWK {
	j, err := protocol.NewJWK(k)
	if err != nil {
		panic(err)
	}
	return j
}

func (s *server) sign(k *ecdsa.PrivateKey, p protocol.Payload) string {
	raw, err := protocol.Sign(k, protocol.Header{}, p)
	if err != nil {
		s.t.Errorf("sign %s: %v", p.Type(), err)
	}
	return raw
}

func (s *server) keySet(serial int) string {
	return s.sign(s.keys[serial-1], &protocol.Keys{
		V: 1, Issuer: origin, Realm: "default", Serial: int64(serial),
		Current: jwk(&s.keys[serial-1].PublicKey), Next: jwk(&s.keys[serial].PublicKey),
	})
}

func (s *server) promptKey() *ecdsa.PrivateKey { return s.keys[len(s.sets)-1] }

// rotateRealm gives the realm a new key set.
func (s *server) rotateRealm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, newKey(s.t))
	s.sets = append(s.sets, s.keySet(len(s.sets)+1))
	s.wake()
}

func (s *server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *server) link() string {
	pin, err := protocol.KeyPIN(s.sets[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return protocol.TicketLink{Origin: origin, Ticket: ticket, PIN: pin}.String()
}

func (s *server) promptPayload(challenge string) *protocol.Prompt {
	now := time.Now().UnixMilli()
	return &protocol.Prompt{
		V: 1, Issuer: origin, Realm: "default", Challenge: challenge, User: protocol.User{ID: "usr_1", Name: "jo"},
		App: protocol.App{ID: "app_1", Name: "Payroll"}, Kind: protocol.KindLogin,
		Context: protocol.Context{IP: "192.0.2.7", PlaceConfidence: protocol.ConfidenceNone, ReportedBy: protocol.ReportedByNod},
		Match:   []protocol.Match{protocol.MatchScan, protocol.MatchDigits, protocol.MatchDigitsBack},
		At:      now, DecideBy: now + 120_000,
	}
}

// ask makes a challenge, listed or not, and says how its decisions are answered.
func (s *server) ask(challenge string, listed bool, answer protocol.DecisionAnswer) {
	s.offer(challenge, s.sign(s.promptKey(), s.promptPayload(challenge)), listed, answer)
}

func (s *server) offer(challenge, raw string, listed bool, answer protocol.DecisionAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prompts[challenge] = raw
	if listed {
		s.listed = append(s.listed, challenge)
	}
	s.code[challenge] = answer
	s.wake()
}

func (s *server) fail(path string, f ...fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[path] = append(s.faults[path], f...)
}

func (s *server) setState(state protocol.DeviceState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		d.state = state
	}
	s.wake()
}

func (s *server) revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		d.gone = true
	}
	s.wake()
}

// one gives the only device.
func (s *server) one() (string, *enrolled) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, d := range s.devices {
		return id, d
	}
	s.t.Fatal("no device is enrolled")
	return "", nil
}

func (s *server) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, p := range s.seen {
		if p == path {
			n++
		}
	}
	return n
}

// problem is a refusal.
type problem struct {
	status       int
	code, reason string
	state        string
}

func (p problem) Error() string { return p.code + " " + p.reason }

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, r.URL.Path)
	f := none
	if list := s.faults[r.URL.Path]; len(list) > 0 {
		f, s.faults[r.URL.Path] = list[0], list[1:]
	}
	s.mu.Unlock()
	switch f {
	case lostRequest:
		panic(http.ErrAbortHandler)
	case busy:
		s.write(w, problem{503, "unavailable", "", ""}, nil)
		return
	case redirect:
		http.Redirect(w, r, origin+"/elsewhere", http.StatusTemporaryRedirect)
		return
	case notNod:
		http.Error(w, "<html>welcome to nginx</html>", http.StatusNotFound)
		return
	case longReply:
		_, _ = w.Write(make([]byte, maxAnswer+1))
		return
	default:
	}
	got, err := s.answer(r, f)
	switch f {
	case lostReply:
		panic(http.ErrAbortHandler)
	case cutReply:
		w.Header().Set("Content-Length", "400")
		_, _ = io.WriteString(w, `{"state":"appro`)
		panic(http.ErrAbortHandler)
	case halfJSON:
		_, _ = io.WriteString(w, `{"state":"appro`)
	case serverFailed:
		s.write(w, problem{500, "internal", "", ""}, nil)
	default:
		s.write(w, err, got)
	}
}

func (s *server) write(w http.ResponseWriter, err error, got any) {
	s.mu.Lock()
	nonce := fmt.Sprintf("n%d", s.nonces)
	s.mu.Unlock()
	w.Header().Set(protocol.NonceHeader, nonce)
	if err == nil {
		body, err := protocol.Encode(got)
		if err != nil {
			s.t.Errorf("encode: %v", err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
		return
	}
	p := problem{500, "internal", "", ""}
	switch {
	case errors.As(err, &p):
	case errors.Is(err, protocol.ErrMalformed):
		p = problem{400, "invalid", "", ""}
		s.t.Errorf("the authenticator sent something malformed: %v", err)
	case errors.Is(err, protocol.ErrType), errors.Is(err, protocol.ErrURL), errors.Is(err, protocol.ErrSignature):
		p = problem{401, "unauthenticated", "", ""}
	default:
		s.t.Errorf("%v", err)
	}
	body, _ := protocol.Encode(protocol.Problem{Type: "about:blank", Title: p.code, Status: p.status, Detail: "no\x1b[2Jway", Code: p.code, Reason: p.reason, State: p.state})
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.status)
	_, _ = w.Write(body)
}

func (s *server) answer(r *http.Request, f fault) (any, error) {
	if r.URL.Path == protocol.PathWellKnown && r.Method == http.MethodGet {
		return protocol.WellKnown{V: 1, DeviceURL: origin, AuthenticatorURL: origin}, nil
	}
	types := []protocol.Type{
		protocol.TypeEnrol, protocol.TypePoll, protocol.TypeDecision, protocol.TypeStamp, protocol.TypeTarget, protocol.TypeRotate,
		protocol.TypeName, protocol.TypeLock, protocol.TypeHistory, protocol.TypeVeto, protocol.TypeUnenrol,
	}
	i := slices.IndexFunc(types, func(t protocol.Type) bool { return t.Path() == r.URL.Path })
	if i < 0 || r.Method != http.MethodPost || r.Header.Get("Content-Type") != protocol.ContentType {
		return nil, problem{404, "not_found", "", ""}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, problem{400, "invalid", "", ""}
	}
	m, err := protocol.Parse(types[i], body)
	if err != nil {
		return nil, err
	}
	if err := m.CheckURL(origin + r.URL.Path); err != nil {
		return nil, err
	}
	if types[i] == protocol.TypeEnrol {
		return s.enrol(m)
	}
	d, err := s.who(m, f)
	if err != nil {
		return nil, err
	}
	return s.dispatch(r.Context(), m, d)
}

// who checks nonce, key and state, in that order.
func (s *server) who(m *protocol.Message, f fault) (*enrolled, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == staleNonce {
		s.nonces++
	}
	if m.NonceWanted() && m.Header.Nonce != fmt.Sprintf("n%d", s.nonces) {
		return nil, problem{401, "unauthenticated", "stale_nonce", ""}
	}
	d := s.devices[m.Header.KeyID]
	if d == nil {
		return nil, problem{401, "unauthenticated", "", ""}
	}
	if err := m.Verify(d.key); err != nil {
		return nil, err
	}
	if d.gone {
		return nil, problem{403, "forbidden", "device_revoked", ""}
	}
	return d, nil
}

func (s *server) enrol(m *protocol.Message) (any, error) {
	pub, err := m.VerifySelf()
	if err != nil {
		return nil, err
	}
	e, err := protocol.Decode[protocol.Enrol](m)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	again := jwk(pub).Thumbprint() + m.RepetitionKey()
	if raw, ok := s.enrolled[again]; ok {
		return protocol.EnrolAnswer{Enrolled: raw}, nil
	}
	used, known := s.tickets[e.Ticket]
	switch {
	case !known:
		return nil, problem{410, "gone", "", ""}
	case used != "":
		return nil, problem{409, "conflict", "", ""}
	}
	s.tickets[e.Ticket] = again
	id := fmt.Sprintf("dev_%d", len(s.devices)+1)
	s.devices[id] = &enrolled{key: pub, state: protocol.DeviceClaimed, name: e.Name}
	raw := s.sign(s.promptKey(), &protocol.Enrolled{
		V: 1, Issuer: origin, Realm: "default", Device: id, User: protocol.User{ID: "usr_1", Name: "jo"},
		Keys: s.sets[len(s.sets)-1], ConfirmCode: "013579", ConfirmBy: time.Now().Add(10 * time.Minute).UnixMilli(),
	})
	s.enrolled[again] = raw
	return protocol.EnrolAnswer{Enrolled: raw}, nil
}

func (s *server) dispatch(ctx context.Context, m *protocol.Message, d *enrolled) (any, error) {
	switch m.Header.Type {
	case protocol.TypePoll:
		p, err := protocol.Decode[protocol.Poll](m)
		if err != nil {
			return nil, err
		}
		return s.poll(ctx, d, p)
	case protocol.TypeDecision:
		dec, err := protocol.Decode[protocol.Decision](m)
		if err != nil {
			return nil, err
		}
		return s.decide(m, dec)
	case protocol.TypeHistory:
		h, err := protocol.Decode[protocol.History](m)
		if err != nil {
			return nil, err
		}
		item := protocol.HistoryItem{Challenge: "ch_1", App: "Pay\x1b[2Jroll", Kind: protocol.KindLogin, At: 1, State: "denied"}
		if h.Cursor == "" {
			return protocol.HistoryAnswer{Items: []protocol.HistoryItem{item}, Next: "more"}, nil
		}
		return protocol.HistoryAnswer{}, nil
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		return struct{}{}, s.alter(m, d)
	}
}

func (s *server) poll(ctx context.Context, d *enrolled, p protocol.Poll) (any, error) {
	deadline := time.NewTimer(time.Duration(p.Wait) * time.Second)
	defer deadline.Stop()
	s.mu.Lock()
	s.polls = append(s.polls, p)
	state := d.state
	s.mu.Unlock()
	for {
		s.mu.Lock()
		if d.gone {
			s.mu.Unlock()
			return nil, problem{403, "forbidden", "device_revoked", ""}
		}
		a := protocol.PollAnswer{Now: time.Now().UnixMilli(), DeviceState: d.state}
		ids := slices.Clone(s.listed)
		if p.Challenge != "" {
			ids = nil
			if s.prompts[p.Challenge] != "" {
				ids = []string{p.Challenge}
			}
		}
		fresh := d.state != state || p.Challenge != ""
		if d.state == protocol.DeviceActive || d.state == protocol.DeviceQuarantined {
			for _, id := range ids {
				a.Prompts = append(a.Prompts, protocol.PromptItem{JWS: s.prompts[id], MatchNow: []protocol.Match{protocol.MatchDigits}, TriesLeft: 3, Others: 1})
				fresh = fresh || !slices.Contains(p.Have, id)
			}
			a.Notices = slices.Clone(s.notices)
			fresh = fresh || len(s.notices) > 0
		}
		if int(p.KeysSerial) < len(s.sets) {
			a.Keys = slices.Clone(s.sets[p.KeysSerial:])
			fresh = true
		}
		changed := s.changed
		s.mu.Unlock()
		if fresh {
			return a, nil
		}
		select {
		case <-changed:
		case <-deadline.C:
			return a, nil
		case <-ctx.Done():
			return nil, problem{503, "unavailable", "", ""}
		}
	}
}

func (s *server) decide(m *protocol.Message, dec protocol.Decision) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.answers[m.RepetitionKey()]; ok {
		return a, nil
	}
	a, ok := s.code[dec.Challenge]
	if !ok {
		return nil, problem{404, "not_found", "", ""}
	}
	if a.State == "conflict" {
		return nil, problem{409, "conflict", "", "denied"}
	}
	s.answers[m.RepetitionKey()] = a
	s.decided = append(s.decided, dec)
	return a, nil
}

// alter does the messages that change a device.
func (s *server) alter(m *protocol.Message, d *enrolled) error {
	seq := func(n int64) error {
		if n <= d.seq {
			return problem{409, "conflict", "stale_seq", ""}
		}
		d.seq = n
		return nil
	}
	switch m.Header.Type {
	case protocol.TypeStamp:
		_, err := protocol.Decode[protocol.Stamp](m)
		return err
	case protocol.TypeVeto:
		v, err := protocol.Decode[protocol.Veto](m)
		d.vetoed = append(d.vetoed, v.Device+" "+v.Enrolment)
		return err
	case protocol.TypeName:
		n, err := protocol.Decode[protocol.Name](m)
		d.name = n.Name
		return errors.Join(err, seq(n.Seq))
	case protocol.TypeTarget:
		n, err := protocol.Decode[protocol.Targets](m)
		d.targets = n.Targets
		return errors.Join(err, seq(n.Seq))
	case protocol.TypeLock:
		n, err := protocol.Decode[protocol.Lock](m)
		return errors.Join(err, seq(n.Seq))
	case protocol.TypeUnenrol:
		n, err := protocol.Decode[protocol.Unenrol](m)
		if err := errors.Join(err, seq(n.Seq)); err != nil {
			return err
		}
		d.gone = true
		return nil
	case protocol.TypeRotate:
		r, err := protocol.Decode[protocol.Rotate](m)
		if err != nil {
			return err
		}
		n, key, err := r.Open()
		if err != nil {
			return err
		}
		if n.OldThumbprint != jwk(d.key).Thumbprint() || s.devices[n.Device] != d || strings.Contains(key.X, "=") {
			return problem{401, "unauthenticated", "", ""}
		}
		if err := seq(r.Seq); err != nil {
			return err
		}
		d.key, err = key.PublicKey()
		return err
	default:
		return problem{404, "not_found", "", ""}
	}
}
