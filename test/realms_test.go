package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/protocol"
)

// in is the server as an administrator of a new realm sees it.
func (n *node) in(realm string, hosts ...string) *node {
	n.t.Helper()
	made := n.call(n.admin, "POST", "/v1/realms", obj{"name": realm, "hosts": append([]string{}, hosts...)}).want(n.t, 201)
	inside := *n
	inside.admin = made.get("key.secret")
	return &inside
}

// tenant is a realm with one of everything that has an id.
type tenant struct {
	n       *node
	app     string // a key that may authenticate
	device  *device
	browser *browser
	ids     map[string]string // by what the rules call them
}

func newTenant(n *node) *tenant {
	t := n.t
	t.Helper()
	made := n.call(n.admin, "POST", "/v1/applications", obj{"name": "Till", "scopes": []string{"authenticate", "assert_first_factor"}}).want(t, 201)
	x := &tenant{n: n, app: made.get("key.secret"), browser: n.browser()}
	user := n.user("jo")
	x.device = n.enrol(user)
	n.call(n.admin, "PUT", "/v1/policies/current", obj{"document": "decide_by: 400s\nmin_bits: 20\n"}).want(t, 200)
	done := n.challenge(x.app, "jo")
	n.approve(x.app, x.device, done)
	totp := n.call(n.admin, "POST", "/v1/users/"+user+"/factors/totp", obj{}).want(t, 201)
	enrolment := n.call(n.admin, "POST", "/v1/users/"+user+"/enrolments", obj{}).want(t, 201)
	invitation := n.call(n.admin, "POST", "/v1/users/"+n.user("guest")+"/invitations", obj{}).want(t, 201)
	_, text, _ := strings.Cut(invitation.get("url"), "#")
	x.ids = map[string]string{
		"invitation": invitation.get("id"), "secret": text,
		"user": user, "application": made.get("application.id"), "key": made.get("key.id"), "device": x.device.id,
		"enrolment": enrolment.get("id"), "factor": totp.get("id"), "redeemed": done.get("id"),
		"challenge": n.challenge(x.app, "jo").get("id"), "browser": secret.Base64(32), "version": "2",
	}
	return x
}

// webhook gives the tenant a webhook that nobody answers, and a delivery.
func (x *tenant) webhook() {
	x.n.t.Helper()
	hook := x.n.call(x.n.admin, "POST", "/v1/webhooks", obj{"url": "https://127.0.0.1:9/", "events": []string{"user.deleted"}}).want(x.n.t, 201)
	x.ids["webhook"] = hook.get("id")
	x.ids["delivery"] = x.n.call(x.n.admin, "POST", "/v1/webhooks/"+hook.get("id")+"/ping", nil).want(x.n.t, 202).get("id")
}

// random is an id of the same form that nothing has.
func random(kind string) string {
	prefix := map[string]string{
		"user": "usr_", "application": "app_", "key": "key_", "device": "dev_", "enrolment": "enr_", "factor": "totp_",
		"challenge": "ch_", "redeemed": "ch_", "webhook": "whk_", "delivery": "dlv_", "invitation": "inv_",
	}
	switch kind {
	case "browser":
		return secret.Base64(32)
	case "secret":
		return secret.Base64(16)
	case "version":
		return "77"
	case "realm":
		return "nowhere"
	}
	return secret.ID(prefix[kind])
}

// kinds says what an id in a path is, by the segment before it and its name. "" is for what is no id.
var kinds = map[string]string{
	"applications/{id}": "application", "keys/{key}": "key", "challenges/{id}": "challenge", "devices/{id}": "device",
	"enrolments/{id}": "enrolment", "users/{id}": "user", "browsers/{thumbprint}": "browser", "totp/{factor}": "factor",
	"policies/{version}": "version", "realms/{realm}": "realm", "keys/{purpose}": "", "r/{realm}": "",
	"webhooks/{id}": "webhook", "deliveries/{delivery}": "delivery",
	"invitations/{id}": "invitation",
}

// bodies are good ones, where none is not good: else a request is refused before anybody looks for
// what it names.
var bodies = map[string]obj{
	"updateApplication": {"name": "Mine"}, "verifyChallenge": {"method": "totp", "code": "123456"},
	"renameDevice": {"name": "mine"}, "settleDevice": {"restore": true}, "confirmEnrolment": {"code": "123456"},
	"updateUser": {"groups": []string{"mine"}}, "issueBypassCode": {"reason": "lost"}, "confirmTOTP": {"code": "123456"},
	"setPassword": {"password": "correct horse battery staple"}, "updateRealm": {"hosts": []string{}},
	"createEnrolment": {}, "createTOTP": {}, "createKey": {}, "rotateKey": {}, "liftReport": {},
	"updateWebhook": {"description": "mine"}, "replayDead": {},
}

// named are the ids that bodies and queries name: route, what is asked with an id, and its kind. {user}
// and {application} are the caller's own.
var named = []struct {
	op, method, path, kind string
	body                   func(id string) any
}{
	{"createEnrolment", "POST", "/v1/users/{user}/enrolments", "redeemed", func(id string) any { return obj{"challenge": id} }},
	{"liftReport", "POST", "/v1/users/{user}/lift-report", "redeemed", func(id string) any { return obj{"challenges": []string{id, random("challenge")}} }},
	{"rotateKey", "POST", "/v1/applications/{application}/keys/rotate", "key", func(id string) any { return obj{"key": id} }},
	{"listEvents", "GET", "/v1/events?user=", "user", nil},
	{"listEvents", "GET", "/v1/events?application=", "application", nil},
	{"listEvents", "GET", "/v1/events?device=", "device", nil},
	{"listEvents", "GET", "/v1/events?challenge=", "challenge", nil},
	{"listInvitations", "GET", "/v1/invitations?user=", "user", nil},
	{"createInvitations", "POST", "/v1/invitations", "user", func(id string) any { return obj{"users": []string{id}} }},
	{"setPassword", "PUT", "/v1/users/{user}/password", "redeemed", func(id string) any {
		return obj{"challenge": id, "password": "correct horse battery staple"}
	}},
	{"createFirstEnrolment", "POST", "/v1/enrolments", "user", func(id string) any {
		return obj{"user": obj{"id": id}, "first_factor": "asserted"}
	}},
	{"createFirstEnrolment", "POST", "/v1/enrolments", "secret", func(id string) any {
		return obj{"user": obj{"name": "guest"}, "first_factor": "asserted", "invitation": id}
	}},
	// The last, since the record of one realm names what its own applications ask for.
	{"createChallenge", "POST", "/v1/challenges", "user", func(id string) any {
		return obj{"user": obj{"id": id}, "kind": "login", "first_factor": "asserted"}
	}},
}

// plainMembers are members of bodies and queries that name nothing which a realm has.
var plainMembers = strings.Fields(`icon_sha256 name scopes username_form expires_at grace_seconds context details first_factor kind match
	min_bits nonce password reason code method restore emergency document dry_run expect_version hosts aliases external_id groups owner
	by uses valid_for_seconds lost algorithm digits period limit cursor wait state qr since until order prefix enrolled all display_name
	url events description expires_in fresh purpose set_password people enabled email send valid_for source rows csv format`)

type operation struct {
	id, method, path string
	members          []string
}

// operations reads the document that the server gives.
func (n *node) operations() []operation {
	n.t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string
			Parameters  []struct{ In, Name string }
			RequestBody struct {
				Content map[string]struct {
					Schema struct {
						Ref        string `json:"$ref"`
						Properties map[string]any
					}
				}
			}
		}
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(n.call("", "GET", "/openapi.json", nil).want(n.t, 200).body, &doc); err != nil {
		n.t.Fatal(err)
	}
	var out []operation
	for path, item := range doc.Paths {
		for method, op := range item {
			o := operation{id: op.OperationID, method: strings.ToUpper(method), path: path}
			for _, p := range op.Parameters {
				if p.In == "query" {
					o.members = append(o.members, p.Name)
				}
			}
			for _, c := range op.RequestBody.Content {
				o.members = slices.AppendSeq(o.members, maps.Keys(c.Schema.Properties))
				o.members = slices.AppendSeq(o.members, maps.Keys(doc.Components.Schemas[c.Schema.Ref[strings.LastIndex(c.Schema.Ref, "/")+1:]].Properties))
			}
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return out
}

var pathParameter = regexp.MustCompile(`([^/]+)/(\{[a-z_]+\})`)

// essence is what an answer says, without what differs from one request to the next.
func essence(a answer, id string) string {
	h := a.header.Clone()
	for _, own := range []string{"Date", "X-Request-Id", "Content-Length"} {
		h.Del(own)
	}
	body := string(a.body)
	if id != "" {
		body = strings.ReplaceAll(body, id, "ID")
	}
	return fmt.Sprintf("%d\n%v\n%s", a.status, h, requestID.ReplaceAllString(body, ""))
}

var requestID = regexp.MustCompile(`,?"request_id":"[^"]*"`)

// TestRealmsOnEveryRoute walks every operation of the document with the keys of one realm and the ids of another:
// the answer is that to an id which nothing has. An operation whose ids have no rule here fails it.
func TestRealmsOnEveryRoute(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{config: outbound})
	one, two := newTenant(n.in("one")), newTenant(n.in("two"))
	one.webhook()
	two.webhook()
	two.ids["realm"] = "two"
	two.n.call(two.n.admin, "PUT", "/v1/policies/current", obj{"document": "decide_by: 300s\nmin_bits: 20\n"}).want(t, 200) // its version 2
	walked := 0
	for _, op := range n.operations() {
		for _, m := range op.members {
			known := slices.Contains(plainMembers, m)
			for _, r := range named {
				known = known || r.op == op.id
			}
			if !known {
				t.Errorf("%s takes %q: is it an id? Say so in named, or in plainMembers", op.id, m)
			}
		}
		for _, fill := range foreign(t, op, one, two) {
			for _, key := range []string{one.n.admin, one.app} {
				ask := func(ids []string) answer {
					path := op.path
					for _, id := range ids {
						path = path[:strings.Index(path, "{")] + id + path[strings.Index(path, "}")+1:]
					}
					var body any
					if b, ok := bodies[op.id]; ok {
						body = b
					}
					return n.call(key, op.method, path, body, "Idempotency-Key", secret.ID("k_"))
				}
				known, unknown := ask(fill.known), ask(fill.random)
				if diff := cmp.Diff(essence(unknown, fill.random[fill.last]), essence(known, fill.known[fill.last])); diff != "" {
					t.Errorf("%s %s with %v (-random +of another realm):\n%s", op.method, op.path, fill.known, diff)
				}
				if unknown.status == 400 || (key == one.n.admin && unknown.status < 300) {
					t.Errorf("%s %s answers %d to a random id: give it a body here\n%s", op.method, op.path, unknown.status, unknown.body)
				}
				walked++
			}
		}
		anyVerb(t, n, op, one, two)
	}
	if walked < 60 {
		t.Errorf("only %d requests were compared", walked)
	}
	for _, r := range named {
		for _, key := range []string{one.n.admin, one.app} {
			ask := func(id string) answer {
				path := strings.NewReplacer("{user}", one.ids["user"], "{application}", one.ids["application"]).Replace(r.path)
				if r.body == nil {
					return n.call(key, r.method, path+id, nil)
				}
				return n.call(key, r.method, path, r.body(id))
			}
			id := random(r.kind)
			unknown, known := ask(id), ask(two.ids[r.kind])
			if unknown.status == http.StatusCreated { // a challenge that nobody can answer: it has the same members
				unknown.body, known.body = members(t, unknown.body), members(t, known.body)
				unknown.header.Del("Location")
				known.header.Del("Location")
			}
			if diff := cmp.Diff(essence(unknown, id), essence(known, two.ids[r.kind])); diff != "" {
				t.Errorf("%s %s (-random +of another realm):\n%s", r.method, r.path, diff)
			}
		}
	}
	two.intact(t)
}

type ids struct {
	known, random []string
	last          int // the one that belongs to the other realm
}

// foreign gives the ids for a path: those of the other realm, and below an own one, that of the other.
func foreign(t *testing.T, op operation, one, two *tenant) []ids {
	var kindsOf []string
	for _, m := range pathParameter.FindAllStringSubmatch(op.path, -1) {
		kind, ok := kinds[m[1]+"/"+m[2]]
		if !ok {
			t.Errorf("%s %s: say in kinds what %s is", op.method, op.path, m[2])
			return nil
		}
		if kind == "" {
			return nil
		}
		kindsOf = append(kindsOf, kind)
	}
	if strings.Count(op.path, "{") != len(kindsOf) {
		t.Errorf("%s %s: not every part of the path is understood", op.method, op.path)
	}
	switch len(kindsOf) {
	case 0:
		return nil
	case 1:
		k := kindsOf[0]
		return []ids{{known: []string{two.ids[k]}, random: []string{random(k)}}}
	}
	outer, inner := kindsOf[0], kindsOf[1]
	r := random(inner)
	return []ids{
		{known: []string{two.ids[outer], r}, random: []string{random(outer), r}},
		{known: []string{two.ids[outer], two.ids[inner]}, random: []string{random(outer), random(inner)}, last: 1},
		{known: []string{one.ids[outer], two.ids[inner]}, random: []string{one.ids[outer], random(inner)}, last: 1},
	}
}

// anyVerb sends verbs that the path does not have.
func anyVerb(t *testing.T, n *node, op operation, one, two *tenant) {
	for _, fill := range foreign(t, op, one, two) {
		for _, verb := range []string{"GET", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			if verb == op.method {
				continue
			}
			path := func(ids []string) string {
				p := op.path
				for _, id := range ids {
					p = p[:strings.Index(p, "{")] + id + p[strings.Index(p, "}")+1:]
				}
				return p
			}
			known, unknown := n.call(one.app, verb, path(fill.known), nil), n.call(one.app, verb, path(fill.random), nil)
			if diff := cmp.Diff(essence(unknown, fill.random[fill.last]), essence(known, fill.known[fill.last])); diff != "" {
				t.Errorf("%s %s (-random +of another realm):\n%s", verb, op.path, diff)
			}
		}
	}
}

// members gives the names of a JSON object's members.
func members(t *testing.T, body []byte) []byte {
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Error(err)
	}
	return []byte(strings.Join(slices.Sorted(maps.Keys(v)), " "))
}

// intact holds that nothing of the tenant was changed.
func (x *tenant) intact(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/users/" + x.ids["user"]:               "active",
		"/v1/devices/" + x.ids["device"]:           "active",
		"/v1/enrolments/" + x.ids["enrolment"]:     "invited",
		"/v1/applications/" + x.ids["application"]: "active",
	} {
		if got := x.n.call(x.n.admin, "GET", path, nil).want(t, 200).get("state"); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if got := x.n.state(x.app, x.ids["challenge"]); got != "pending" {
		t.Errorf("the challenge is %s", got)
	}
}

// TestRealmsOfDevices does the same with the device protocol and the login page's route.
func TestRealmsOfDevices(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	one, two := newTenant(n.in("one")), newTenant(n.in("two"))
	d := one.device
	same := func(what, id, other string, ask func(id string) answer) {
		t.Helper()
		known, unknown := ask(id), ask(other)
		for _, a := range []answer{known, unknown} {
			a.header.Del(protocol.NonceHeader)
		}
		now := regexp.MustCompile(`"now":[0-9]+`)
		known.body, unknown.body = now.ReplaceAll(known.body, nil), now.ReplaceAll(unknown.body, nil)
		if diff := cmp.Diff(essence(unknown, other), essence(known, id)); diff != "" {
			t.Errorf("%s (-random +of another realm):\n%s", what, diff)
		}
	}
	challenge, device := two.ids["challenge"], two.device.id
	enrolment := two.device.enrol
	same("poll", challenge, random("challenge"), d.poll)
	same("deny", challenge, random("challenge"), func(id string) answer { return d.decide(refuse(id, protocol.VerdictDeny)) })
	same("report", challenge, random("challenge"), func(id string) answer { return d.decide(refuse(id, protocol.VerdictReport)) })
	same("approve", challenge, random("challenge"), func(id string) answer {
		p := two.device.prompt(challenge)
		p.Challenge = id
		return d.decide(approval(p, protocol.MatchDigits, "123456"))
	})
	same("stamp", challenge, random("challenge"), func(id string) answer {
		return d.post(protocol.PathStamps, d.sign(&protocol.Stamp{V: 1, Challenge: id, Stamp: protocol.StampShown, MS: 1},
			protocol.Header{KeyID: d.id, URL: n.url + protocol.PathStamps}))
	})
	same("veto", device, random("device"), func(id string) answer { return d.say(&protocol.Veto{V: 1, Device: id, Enrolment: enrolment}) })
	same("speak as", device, random("device"), func(id string) answer {
		liar := *d
		liar.id, liar.nonce = id, ""
		return liar.say(&protocol.Poll{V: 1, KeysSerial: 1, Have: []string{}})
	})
	two.intact(t)

	// The login page: nonces and proofs of one realm are strange to the other.
	for _, realm := range []string{"one", "two"} {
		b := n.browser()
		b.path = "/r/" + realm
		b.prove("jo")
		b.path = map[string]string{"one": "/r/two", "two": "/r/one"}[realm]
		if a := b.once("jo"); a.get("reason") != "stale_nonce" {
			t.Errorf("a nonce of %s gets %d %s elsewhere", realm, a.status, a.body)
		}
	}
	b := two.browser
	b.path = "/r/two"
	b.remembered(two.app, "jo", two.device)
	b.path = "/r/two"
	foreign := one.n.challenge(one.app, "jo", obj{"context": obj{"browser_proof": b.prove("jo")}})
	strange := one.n.challenge(one.app, "jo", obj{"context": obj{"browser_proof": secret.Base64(32)}})
	if foreign.get("push.reason") != strange.get("push.reason") || foreign.get("delivery") != strange.get("delivery") {
		t.Errorf("a browser that another realm knows gets %s, an unknown proof %s", foreign.body, strange.body)
	}
	for _, path := range []string{"/r/nowhere", "/r/One", "/r/one%2f"} {
		b.path = path
		if a := b.once("jo"); a.status != 404 {
			t.Errorf("%s answers %d", path, a.status)
		}
	}
}
