package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/protocol"
)

// scene is a user with a device and a challenge that waits for it.
type scene struct {
	n   *node
	app string
	who string
	d   *device
	c   answer
	id  string
	p   shown
}

func newScene(t *testing.T) *scene {
	t.Helper()
	n := start(t, nodeOptions{})
	s := &scene{n: n, app: n.app("wiki"), who: n.user("ada")}
	s.d = n.enrol(s.who)
	s.again()
	return s
}

// again asks for one more challenge, from a browser of its own that the user knows as a source
// after the first approval.
func (s *scene) again() {
	s.n.t.Helper()
	s.c = s.n.challenge(s.app, "ada")
	s.id = s.c.get("id")
	s.p = s.d.prompt(s.id)
}

// right is the decision that would approve.
func (s *scene) right() *protocol.Decision {
	return approval(s.p, protocol.MatchDigits, s.c.get("match.digits"))
}

// refused fails the test unless the answer is a refusal with this status, the challenge is as it
// was, and nothing can be redeemed.
func (s *scene) refused(a answer, status int) {
	s.n.t.Helper()
	if a.status != status {
		s.n.t.Errorf("got status %d, want %d: %s", a.status, status, a.body)
	}
	if got := s.n.state(s.app, s.id); got != "pending" {
		s.n.t.Errorf("the challenge is %s after a refused decision", got)
	}
	s.n.noGrant(s.app, s.id)
}

// honest proves that the challenge could be approved all along.
func (s *scene) honest() {
	s.n.t.Helper()
	s.d.decide(s.right()).want(s.n.t, 200)
	s.n.redeem(s.app, s.id).want(s.n.t, 200)
}

func TestWrongDigits(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	wrong := "000000"
	if s.c.get("match.digits") == wrong {
		wrong = "000001"
	}
	for left := 2; left > 0; left-- {
		d := approval(s.p, protocol.MatchDigits, wrong)
		d.ShownMS = int64(left) // another message each time
		a := s.d.decide(d).want(t, 200)
		if a.get("state") != "pending" || a.get("tries_left") != fmt.Sprint(left) {
			t.Errorf("wrong digits: %s", a.body)
		}
		if again := s.d.decide(d).want(t, 200); again.get("tries_left") != fmt.Sprint(left) {
			t.Errorf("the same wrong answer again cost a try: %s", again.body)
		}
		s.n.noGrant(s.app, s.id)
	}
	if a := s.d.decide(approval(s.p, protocol.MatchDigits, wrong)).want(t, 200); a.get("state") != "failed" {
		t.Errorf("third wrong answer: %s", a.body)
	}
	s.d.decide(s.right()).want(t, 409)
	s.n.noGrant(s.app, s.id)
}

func TestLateApproval(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.n.offset.Add(int64(121 * time.Second))
	if a := s.d.decide(s.right()).want(t, 410); a.get("state") != "expired" {
		t.Errorf("late approval: %s", a.body)
	}
	s.n.noGrant(s.app, s.id)
	s.n.offset.Add(-int64(time.Hour)) // a clock that goes back revives nothing
	if a := s.d.decide(s.right()); a.status == 200 {
		t.Errorf("approved after the clock went back: %s", a.body)
	}
	s.n.noGrant(s.app, s.id)
}

func TestLateRedemption(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.d.decide(s.right()).want(t, 200)
	s.n.offset.Add(int64(61 * time.Second))
	if a := s.n.redeem(s.app, s.id).want(t, 410); a.get("state") != "expired" {
		t.Errorf("late redemption: %s", a.body)
	}
}

func TestAnotherUsersDevice(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	mallory := s.n.enrol(s.n.user("mallory"))
	unknown := mallory.decide(refuse("ch_aaaaaaaaaaaaaaaaaaaaaaaaaa", protocol.VerdictDeny)).want(t, 404)
	a := mallory.decide(s.right())
	s.refused(a, 404)
	s.refused(mallory.decide(refuse(s.id, protocol.VerdictDeny)), 404)
	s.refused(mallory.decide(refuse(s.id, protocol.VerdictReport)), 404)
	if strip(a) != strip(unknown) {
		t.Errorf("another user's challenge differs from an unknown one:\n%s\n%s", a.body, unknown.body)
	}
	if list := mallory.prompts(s.id); len(list) != 0 {
		t.Errorf("a poll that names another user's challenge shows %d prompts", len(list))
	}
	s.honest()
}

// strip is a body without the id of the request, which is the only thing that may differ.
func strip(a answer) string {
	return strings.ReplaceAll(string(a.body), a.get("request_id"), "")
}

func TestClaimedDevice(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	claimed, _ := s.n.claim(s.who)
	s.refused(claimed.decide(s.right()), 403)
	if a := claimed.poll(s.id).want(t, 200); a.get("device_state") != "claimed" || len(claimed.prompts(s.id)) != 0 {
		t.Errorf("a claimed device is shown: %s", a.body)
	}
	s.honest()
}

func TestSuspendedDevice(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	newcomer := s.n.enrol(s.who)
	a := s.d.say(&protocol.Veto{V: 1, Device: newcomer.id, Enrolment: newcomer.enrol}).want(t, 200)
	_ = a
	s.refused(newcomer.decide(s.right()), 403)
	s.honest()
}

func TestVetoCancelsApproval(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	newcomer := s.n.enrol(s.who)
	newcomer.decide(s.right()).want(t, 200)
	s.d.say(&protocol.Veto{V: 1, Device: newcomer.id, Enrolment: newcomer.enrol}).want(t, 200)
	if got := s.n.state(s.app, s.id); got != "cancelled" {
		t.Errorf("the vetoed device's approval is %s", got)
	}
	s.n.noGrant(s.app, s.id)
	s.again()
	s.honest()
}

func TestRevokedDevice(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	second := s.n.enrol(s.who)
	s.n.call(s.n.admin, "DELETE", "/v1/devices/"+second.id, nil)
	a := second.decide(s.right())
	s.refused(a, 403)
	if a.get("reason") != "device_revoked" {
		t.Errorf("revoked device is told %s", a.body)
	}
	s.honest()
}

func TestRevokedAfterApproval(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.d.decide(s.right()).want(t, 200)
	s.n.call(s.n.admin, "DELETE", "/v1/devices/"+s.d.id, nil)
	if a := s.n.redeem(s.app, s.id).want(t, 409); a.get("state") != "cancelled" {
		t.Errorf("redeeming what a revoked device approved: %s", a.body)
	}
}

func TestDecisionOfAnotherChallenge(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	first := *s
	s.again()
	crossed := s.right()
	crossed.Challenge = first.id // its prompt digest and digits are the other's
	s.refused(s.d.decide(crossed), 400)
	crossed = first.right()
	crossed.Challenge = s.id
	s.refused(s.d.decide(crossed), 400)
	s.honest()
}

func TestReplay(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	raw := s.d.decision(s.right())
	for range 2 {
		if a := s.d.post(protocol.PathDecisions, raw).want(t, 200); a.get("state") != "approved" {
			t.Errorf("the same approval: %s", a.body)
		}
	}
	s.n.redeem(s.app, s.id).want(t, 200)
	if a := s.d.post(protocol.PathDecisions, raw).want(t, 200); a.get("state") != "redeemed" {
		t.Errorf("replayed after the redemption: %s", a.body)
	}
	s.n.noGrant(s.app, s.id)
	count := 0
	for _, e := range s.n.events("challenge=" + s.id) {
		if e == "challenge.approved" {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d approvals are recorded, want 1", count)
	}
}

// events gives the kinds of the events that a query finds, oldest first.
func (n *node) events(query string) []string {
	n.t.Helper()
	a := n.call(n.admin, "GET", "/v1/events?order=asc&limit=200&"+query, nil).want(n.t, 200)
	var kinds []string
	for _, part := range strings.Split(string(a.body), `"kind":"`)[1:] {
		kinds = append(kinds, part[:strings.IndexByte(part, '"')])
	}
	return kinds
}

func TestDenyThenApprove(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.d.decide(refuse(s.id, protocol.VerdictDeny)).want(t, 200)
	s.d.decide(s.right()).want(t, 409)
	if got := s.n.state(s.app, s.id); got != "denied" {
		t.Errorf("denied and then approved is %s", got)
	}
	s.n.noGrant(s.app, s.id)
}

func TestAnotherTyp(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	// A well-signed stamp, poll and veto, sent where a decision belongs.
	stamp := s.d.sign(&protocol.Stamp{V: 1, Challenge: s.id, Stamp: protocol.StampShown, MS: 1},
		protocol.Header{KeyID: s.d.id, URL: s.n.url + protocol.PathDecisions})
	s.refused(s.d.post(protocol.PathDecisions, stamp), 401)
	poll := s.d.sign(&protocol.Poll{V: 1, Challenge: s.id, KeysSerial: 1, Have: []string{}},
		protocol.Header{KeyID: s.d.id, URL: s.n.url + protocol.PathDecisions})
	s.refused(s.d.post(protocol.PathDecisions, poll), 401)
	// A decision, sent where other messages belong, and signed for another address.
	raw := s.d.decision(s.right())
	for _, path := range []string{protocol.PathStamps, protocol.PathPrompts, protocol.PathVetoes, protocol.PathEnrol} {
		s.refused(s.d.post(path, raw), 401)
	}
	elsewhere := s.d.sign(s.right(), protocol.Header{KeyID: s.d.id, URL: "https://nod.example.com" + protocol.PathDecisions})
	s.refused(s.d.post(protocol.PathDecisions, elsewhere), 401)
	s.honest()
}

// parts cuts a message into header, payload and signature.
func parts(raw string) [3]string {
	p := strings.Split(raw, ".")
	return [3]string{p[0], p[1], p[2]}
}

func TestSignatureOfTheDenial(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	yes := parts(s.d.decision(s.right()))
	no := parts(s.d.decision(refuse(s.id, protocol.VerdictDeny)))
	s.refused(s.d.post(protocol.PathDecisions, yes[0]+"."+yes[1]+"."+no[2]), 401)
	s.refused(s.d.post(protocol.PathDecisions, no[0]+"."+yes[1]+"."+no[2]), 401)
	s.refused(s.d.post(protocol.PathDecisions, no[0]+"."+no[1]+"."+yes[2]), 401)
	s.refused(s.d.post(protocol.PathDecisions, yes[0]+"."+yes[1]+"."), 400)
	s.refused(s.d.post(protocol.PathDecisions, yes[0]+"."+yes[1]), 400)
	s.honest()
}

// TestEveryCharacter changes every character of a signed approval to every other character of the
// alphabet, and to a line break and an equals sign.
func TestEveryCharacter(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	raw := s.d.decision(s.right())
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_\n="
	sent := 0
	for i := range len(raw) {
		for _, c := range []byte(alphabet) {
			if raw[i] == c {
				continue
			}
			a := s.d.post(protocol.PathDecisions, raw[:i]+string(c)+raw[i+1:])
			sent++
			// A changed kid can name no device, a changed payload another challenge; none may pass.
			if a.status != 400 && a.status != 401 {
				t.Fatalf("character %d as %q: status %d: %s", i, c, a.status, a.body)
			}
		}
	}
	for i := 0; i <= len(raw); i++ {
		for _, c := range []byte("\n= A") {
			if a := s.d.post(protocol.PathDecisions, raw[:i]+string(c)+raw[i:]); a.status != 400 && a.status != 401 {
				t.Fatalf("%q put in at %d: status %d: %s", c, i, a.status, a.body)
			}
			sent++
		}
	}
	if got := s.n.state(s.app, s.id); got != "pending" {
		t.Fatalf("the challenge is %s after %d changed decisions", got, sent)
	}
	s.n.noGrant(s.app, s.id)
	s.d.post(protocol.PathDecisions, raw).want(t, 200)
	s.n.redeem(s.app, s.id).want(t, 200)
	t.Logf("%d changed decisions refused", sent)
}

// TestMembers sends decisions whose members are doubled, differently cased, missing, unknown, null
// or of another type, each with a right signature over exactly these bytes.
func TestMembers(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	good := fmt.Sprintf(`{"v":1,"challenge":%q,"decision":"approve","prompt_sha256":%q,"match":"digits","answer":%q,"shown_ms":1,"locale":"en"}`,
		s.id, s.p.sum, s.c.get("match.digits"))
	for name, bad := range map[string]string{
		"decision twice, deny first": strings.Replace(good, `"decision":"approve"`, `"decision":"deny","decision":"approve"`, 1),
		"decision twice, deny last":  strings.Replace(good, `"decision":"approve"`, `"decision":"approve","decision":"deny"`, 1),
		"answer twice":               strings.Replace(good, `"answer":`, `"answer":"000000","answer":`, 1),
		"challenge twice":            strings.Replace(good, `"v":1`, `"v":1,"challenge":"ch_x"`, 1),
		"capital letters":            strings.Replace(good, `"decision"`, `"DECISION"`, 1),
		"other capitals beside":      strings.Replace(good, `"v":1`, `"v":1,"Decision":"deny"`, 1),
		"unknown member":             strings.Replace(good, `"v":1`, `"v":1,"extra":1`, 1),
		"missing member":             strings.Replace(good, `"locale":"en"`, `"locale2":"en"`, 1),
		"null answer":                strings.Replace(good, fmt.Sprintf(`"answer":%q`, s.c.get("match.digits")), `"answer":null`, 1),
		"answer as number":           strings.Replace(good, fmt.Sprintf(`"answer":%q`, s.c.get("match.digits")), `"answer":`+strings.TrimLeft(s.c.get("match.digits"), "0")+`1`, 1),
		"answer as list":             strings.Replace(good, fmt.Sprintf(`"answer":%q`, s.c.get("match.digits")), fmt.Sprintf(`"answer":[%q]`, s.c.get("match.digits")), 1),
		"no answer":                  strings.Replace(good, fmt.Sprintf(`"answer":%q,`, s.c.get("match.digits")), ``, 1),
		"empty answer":               strings.Replace(good, fmt.Sprintf(`"answer":%q`, s.c.get("match.digits")), `"answer":""`, 1),
		"full-width digits":          strings.Replace(good, fmt.Sprintf(`"answer":%q`, s.c.get("match.digits")), `"answer":"１２３４５６"`, 1),
		"space around the answer":    strings.Replace(good, fmt.Sprintf(`"answer":%q`, s.c.get("match.digits")), fmt.Sprintf(`"answer":" %s"`, s.c.get("match.digits")), 1),
		"version 2":                  strings.Replace(good, `"v":1`, `"v":2`, 1),
		"fraction":                   strings.Replace(good, `"v":1`, `"v":1.0`, 1),
		"huge number":                strings.Replace(good, `"shown_ms":1`, `"shown_ms":90071992547409930`, 1),
		"deep":                       strings.Replace(good, `"locale":"en"`, `"locale":`+strings.Repeat("[", 9)+strings.Repeat("]", 9), 1),
		"trailing text":              good + "{}",
		"not an object":              "[" + good + "]",
		"match not offered":          strings.Replace(good, `"match":"digits"`, `"match":"tap"`, 1),
		"NUL":                        strings.Replace(good, `"locale":"en"`, "\"locale\":\"e\x00n\"", 1),
		"invalid UTF-8":              strings.Replace(good, `"locale":"en"`, "\"locale\":\"\xff\"", 1),
	} {
		a := s.d.post(protocol.PathDecisions, s.d.signBytes([]byte(bad)))
		if a.status != 400 {
			t.Errorf("%s: status %d, want 400: %s", name, a.status, a.body)
		}
	}
	if got := s.n.state(s.app, s.id); got != "pending" {
		t.Fatalf("the challenge is %s", got)
	}
	s.n.noGrant(s.app, s.id)
	s.d.post(protocol.PathDecisions, s.d.signBytes([]byte(good))).want(t, 200)
	s.n.redeem(s.app, s.id).want(t, 200)
}

// TestScanSecretInLinks shows that the secret of the code on the login page is a text of its own
// and is refused in every form of a link.
func TestScanSecretInLinks(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	text := s.c.get("match.qr")
	scan, err := protocol.ParseScan(text)
	if err != nil {
		t.Fatalf("the code holds %q: %v", text, err)
	}
	if strings.Contains(text, "://") || !strings.HasPrefix(text, "NOD1:") {
		t.Errorf("the code is a link: %q", text)
	}
	for _, link := range []string{
		s.n.url + "/p#" + text, s.n.url + "/p#" + s.id + "." + scan.Secret, "nod:" + text, "https://nod.example/" + text,
		"nod1:" + s.id + "." + scan.Secret, " " + text, text + "\n", "NOD1://" + s.id + "." + scan.Secret,
		"intent://" + text + "#Intent;end",
	} {
		if got, err := protocol.ParseScan(link); err == nil {
			t.Errorf("%q is taken as a scanned code: %v", link, got)
		}
	}
	for _, path := range []string{"/p", "/p/" + s.id + "." + scan.Secret, "/p?s=" + scan.Secret} {
		if a := s.n.call("", "GET", path, nil); a.status == 200 {
			t.Errorf("GET %s: %d", path, a.status)
		}
	}
	if got := s.n.state(s.app, s.id); got != "pending" {
		t.Fatalf("the challenge is %s", got)
	}
	s.d.decide(approval(s.p, protocol.MatchScan, scan.Secret)).want(t, 200)
	s.n.redeem(s.app, s.id).want(t, 200)
}
