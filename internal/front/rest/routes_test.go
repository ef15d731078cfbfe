package rest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image/png"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/session"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// TestEveryRoute goes through the whole API once and then walks the document: an operation that
// gave no good answer on the way has no test.
func TestEveryRoute(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.tourOfUsers()
	s.tourOfChallenges()
	s.tourOfInvitations()
	s.tourOfFactors()
	s.tourOfApplications()
	s.tourOfTheRest()
	s.tourOfRealms()
	s.tourOfWebhooks()
	for path, item := range s.doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.OperationID != "streamChallenges" && !s.seen[op.OperationID] {
				t.Errorf("%s %s (%s) has no test", method, path, op.OperationID)
			}
		}
	}
}

func (s *server) tourOfUsers() {
	t := s.t
	made := s.call(s.admin, "POST", "/v1/users",
		`{"name":"Jo","aliases":["jo@example.org"],"groups":["staff"],"external_id":"42","password":"correct horse battery staple"}`).is(201)
	id := made.text("id")
	if made.header.Get("Location") != "/v1/users/"+id || made.text("name") != "jo" || made.text("display_name") != "Jo" {
		t.Errorf("made %s at %s", made.body, made.header.Get("Location"))
	}
	path := "/v1/users/" + id
	if got := s.call(s.admin, "GET", "/v1/users?name=JO@example.ORG", "").is(200).text("items.0.id"); got != id {
		t.Errorf("found %s by alias, want %s", got, id)
	}
	if got := string(s.call(s.admin, "GET", "/v1/users?name=nobody", "").is(200).body); got != `{"items":[]}` {
		t.Errorf("nobody is %s", got)
	}
	s.call(s.admin, "GET", "/v1/users?prefix=j&state=active&enrolled=no", "").is(200).text("items.0.id")
	changed := s.call(s.admin, "PATCH", path, `{"groups":[],"owner":true,"external_id":""}`).is(200)
	if string(changed.body) == "" || changed.get("owner") != true || changed.get("external_id") != nil || changed.get("aliases.0") == nil {
		t.Errorf("changed to %s", changed.body)
	}
	s.call(s.admin, "PATCH", path, `{"owner":false}`).is(200)
	if got := s.call(s.admin, "POST", path+"/lock", "").is(200).text("state"); got != "locked" {
		t.Errorf("locked is %s", got)
	}
	s.call(s.admin, "POST", path+"/unlock", "").is(200)
	s.call(s.admin, "PUT", path+"/password", `{"password":"another long enough phrase"}`).is(204)
	s.call(s.admin, "GET", path, "").is(200)

	_, jwk := newKey(t)
	browser := jwk.Thumbprint()
	must(t, s.db.Update(t.Context(), func(tx store.Tx) error {
		_, err := session.Remember(tx, mfa.DefaultRealm, mfa.UserID(id), browser, []byte("{}"), "Firefox on Linux")
		return err
	}))
	if got := s.call(s.admin, "GET", path+"/browsers", "").is(200).text("items.0.thumbprint"); got != browser {
		t.Errorf("browser %s, want %s", got, browser)
	}
	s.call(s.admin, "DELETE", path+"/browsers/"+browser, "").is(204)

	phone := s.phone(id)
	device := "/v1/devices/" + string(phone.id)
	s.call(s.admin, "GET", path+"/devices", "").is(200).text("items.0.jwk.x")
	if got := s.call(s.admin, "GET", device, "").is(200).text("state"); got != "active" {
		t.Errorf("device is %s", got)
	}
	if got := s.call(s.admin, "PATCH", device, `{"name":"Old phone"}`).is(200).text("name"); got != "Old phone" {
		t.Errorf("device is called %s", got)
	}
	must(t, s.db.Update(t.Context(), func(tx store.Tx) error {
		row, err := tx.Device(phone.id)
		if err != nil {
			return err
		}
		row.State = mfa.DeviceSuspended
		return tx.PutDevice(row)
	}))
	if got := s.call(s.admin, "POST", device+"/settle", `{"restore":true}`).is(200).text("state"); got != "active" {
		t.Errorf("settled device is %s", got)
	}
	phone.decide(protocol.Decision{Challenge: s.ask(id).is(201).text("id"), Decision: protocol.VerdictReport})
	if s.call(s.admin, "POST", path+"/lift-report", "").is(200).get("reported_at") != nil {
		t.Error("a lifted report stands")
	}
	s.call(s.admin, "DELETE", device, "").is(204)
	if got := string(s.call(s.admin, "GET", path+"/devices", "").is(200).body); got != `{"items":[]}` {
		t.Errorf("revoked device is listed: %s", got)
	}
	s.call(s.admin, "GET", path+"/devices?all=yes", "").is(200).text("items.0.ended_at")
	s.call(s.admin, "DELETE", path, "").is(204)
	s.call(s.admin, "GET", path, "").refuses(404, mfa.NotFound, "")
}

func (s *server) tourOfChallenges() {
	t := s.t
	id := s.user("kim")
	e := s.call(s.admin, "POST", "/v1/users/"+id+"/enrolments?qr=svg", `{"by":"help_desk"}`).is(201)
	if !strings.HasPrefix(e.text("qr"), "<svg ") || e.text("state") != "invited" {
		t.Errorf("enrolment %s", e.body)
	}
	enrolment := "/v1/enrolments/" + e.text("id")
	s.call(s.admin, "GET", enrolment, "").is(200)
	if got := s.call(s.admin, "POST", enrolment+"/cancel", "").is(200).text("state"); got != "cancelled" {
		t.Errorf("cancelled enrolment is %s", got)
	}
	phone := s.phone(id)

	made := s.call(s.app, "POST", "/v1/challenges", `{"user":{"name":"KIM"},"kind":"login","match":["digits"],"min_bits":20,`+
		`"reason":"Payroll","details":[{"label":"From","value":"Berlin"}],"context":{"ip":"192.0.2.7","user_agent":"curl/8","source":"vpn"},`+
		`"first_factor":"asserted","nonce":"n-1"}`).is(201)
	ch := "/v1/challenges/" + made.text("id")
	if made.header.Get("Location") != ch || made.text("state") != "pending" || made.get("push.rung") != true || made.get("user_id") != nil {
		t.Errorf("made %s", made.body)
	}
	if got := s.call(s.app, "GET", ch, "").is(200); got.get("match.digits") != nil || got.get("delivery.sent") != true {
		t.Errorf("read %s", got.body)
	}
	phone.approve(made.text("id"), made.text("match.digits"))
	if got := s.call(s.app, "GET", ch+"?wait=60&state=pending", "").is(200); got.text("state") != "approved" || got.text("user_id") != id {
		t.Errorf("approved %s", got.body)
	}
	grant := s.call(s.app, "POST", ch+"/redeem", "", key("r1")).is(200)
	if grant.text("grant") == "" || strings.Count(grant.text("grant"), ".") != 2 {
		t.Errorf("grant %s", grant.body)
	}
	receipt := s.call(s.app, "GET", ch+"/receipt", "").is(200)
	if receipt.text("device.id") != string(phone.id) || receipt.text("decision") == "" {
		t.Errorf("receipt %s", receipt.body)
	}
	pending := s.ask(id).is(201).text("id")
	if got := s.call(s.app, "POST", "/v1/challenges/"+pending+"/cancel", "").is(200).text("reason"); got != "application" {
		t.Errorf("cancelled because of %s", got)
	}
	prompts := s.call(s.admin, "GET", "/v1/users/"+id+"/prompts", "").is(200)
	if prompts.text("items.1.state") != "redeemed" || prompts.text("items.1.device_id") != string(phone.id) {
		t.Errorf("prompts %s", prompts.body)
	}
}

func (s *server) tourOfFactors() {
	t := s.t
	id := s.user("lou")
	path := "/v1/users/" + id + "/factors"
	seed := s.call(s.admin, "POST", path+"/totp?qr=png", `{"name":"Watch","digits":6}`).is(201)
	raw, err := base64.StdEncoding.DecodeString(seed.text("qr"))
	must(t, err)
	if _, err := png.Decode(bytes.NewReader(raw)); err != nil {
		t.Errorf("no PNG: %v", err)
	}
	code := totpAt(t, seed.text("secret"), time.Now())
	s.call(s.admin, "POST", path+"/totp/"+seed.text("id")+"/confirm", `{"code":"`+code+`"}`).is(204)
	codes := s.call(s.admin, "POST", path+"/backup-codes", "").is(201)
	s.call(s.admin, "POST", "/v1/users/"+id+"/bypass-codes", `{"reason":"Lost phone","by":"help_desk","uses":2,"valid_for_seconds":600}`).is(201).text("code")
	all := s.call(s.admin, "GET", path, "").is(200)
	if all.text("totp.0.state") != "active" || all.get("backup_codes.left") != 10.0 || all.text("bypass_code.reason") != "Lost phone" {
		t.Errorf("factors %s", all.body)
	}
	ch := s.ask(id).is(201).text("id")
	got := s.call(s.app, "POST", "/v1/challenges/"+ch+"/verify", `{"method":"backup_code","code":"`+codes.text("codes.0")+`"}`).is(200)
	if got.text("state") != "approved" {
		t.Errorf("verified %s", got.body)
	}
	s.call(s.app, "GET", "/v1/challenges/"+ch+"/receipt", "").is(200).text("method")
	s.call(s.admin, "DELETE", path+"/totp/"+seed.text("id"), "").is(204)
	s.call(s.admin, "DELETE", path+"/backup-codes", "").is(204)
	s.call(s.admin, "DELETE", "/v1/users/"+id+"/bypass-codes", "").is(204)
	if got := string(s.call(s.admin, "GET", path, "").is(200).body); got != `{"totp":[]}` {
		t.Errorf("factors are left: %s", got)
	}
}

func (s *server) tourOfApplications() {
	t := s.t
	made := s.call(s.admin, "POST", "/v1/applications", `{"name":"Shop","username_form":"strip_domain","scopes":["authenticate"]}`).is(201)
	first := caller{mfa.ApplicationID(made.text("application.id")), made.text("key.secret")}
	path := "/v1/applications/" + string(first.id)
	s.call(first, "GET", "/v1/challenges/ch_aaaaaaaaaaaaaaaaaaaaaaaaaa", "").refuses(404, mfa.NotFound, "")
	s.call(s.admin, "GET", path, "").is(200)
	s.call(s.admin, "GET", "/v1/applications", "").is(200).text("items.0.name")
	if got := s.call(s.admin, "PATCH", path, `{"name":"Big shop"}`).is(200).text("name"); got != "Big shop" {
		t.Errorf("called %s", got)
	}
	second := s.call(s.admin, "POST", path+"/keys", `{"scopes":["administer"],"expires_at":"2090-01-01T00:00:00Z"}`).is(201)
	s.call(s.admin, "POST", path+"/keys", "").refuses(409, mfa.Conflict, mfa.ReasonLimit)
	keys := s.call(s.admin, "GET", path+"/keys", "").is(200)
	if strings.Contains(string(keys.body), "nod_sk_") || keys.get("items.1.id") == nil {
		t.Errorf("keys %s", keys.body)
	}
	s.call(s.admin, "DELETE", path+"/keys/"+second.text("id"), "").is(204)
	rotated := s.call(s.admin, "POST", path+"/keys/rotate", `{"grace_seconds":0}`).is(201).text("secret")
	s.call(first, "GET", "/v1/challenges/x", "").refuses(401, mfa.Unauthenticated, "")
	if got := s.call(s.admin, "POST", path+"/disable", "").is(200).text("state"); got != "disabled" {
		t.Errorf("disabled is %s", got)
	}
	s.call(caller{key: rotated}, "GET", "/v1/challenges/x", "").refuses(403, mfa.Forbidden, mfa.ReasonApplicationOff)
	s.call(s.admin, "POST", path+"/enable", "").is(200)
}

func (s *server) tourOfTheRest() {
	t := s.t
	if got := s.call(s.admin, "GET", "/v1/policies/current", "").is(200); got.get("version") != 0.0 || got.text("document") == "" {
		t.Errorf("built-in policy %s", got.body)
	}
	s.call(s.admin, "GET", "/v1/policies/0", "").is(200)
	s.call(s.admin, "GET", "/v1/policies/1", "").refuses(404, mfa.NotFound, "")
	applied := s.call(s.admin, "PUT", "/v1/policies/current", `{"document":"min_bits: 20\ndecide_by: 90s\n","expect_version":0}`).is(200)
	if applied.get("version") != 1.0 || applied.get("changed") != true {
		t.Errorf("applied %s", applied.body)
	}
	if s.call(s.admin, "PUT", "/v1/policies/current", `{"document":"decide_by: 90s\nmin_bits: 20\n"}`).is(200).get("changed") != false {
		t.Error("the same policy changed something")
	}
	s.call(s.admin, "PUT", "/v1/policies/current", `{"document":"decide_by: 80s\n","expect_version":0}`).refuses(409, mfa.Conflict, mfa.ReasonVersion)
	if got := s.call(s.admin, "GET", "/v1/policies/0", "").is(200); got.get("version") != 0.0 || !strings.Contains(got.text("document"), "decide_by: 2m0s") {
		t.Errorf("the built-in policy, once another is in force: %s", got.body)
	}
	if got := s.call(s.admin, "GET", "/v1/policies", "").is(200); got.get("items.0.version") != 1.0 || got.get("items.0.document") != nil {
		t.Errorf("policies %s", got.body)
	}
	s.call(s.admin, "GET", "/v1/policies/1", "").is(200).text("at")

	events := s.call(s.admin, "GET", "/v1/events?kind=user.created&order=asc&limit=1&since=2020-01-01T00:00:00Z&until=2090-01-01T00:00:00.000Z", "").is(200)
	if events.text("items.0.kind") != "user.created" || events.text("items.0.actor") != "administrator" || events.text("items.0.request_id") == "" {
		t.Errorf("events %s", events.body)
	}
	if got := s.call(s.admin, "GET", "/v1/events?kind=policy.", "").is(200).text("items.0.kind"); got != "policy.applied" {
		t.Errorf("last event of the policy is %s", got)
	}
	if got := s.call(s.admin, "GET", "/v1/realms", "").is(200).text("items.0.issuer"); got != publicURL {
		t.Errorf("issuer %s", got)
	}
	if got := s.call(s.admin, "GET", "/v1/realms/current", "").is(200); got.text("grant_keys_url") != publicURL+jwksPath || got.get("prompt_keys.keys.1") == nil {
		t.Errorf("realm %s", got.body)
	}
	keys := s.call(caller{}, "GET", jwksPath, "").is(200)
	if keys.text("keys.0.kty") != "EC" || keys.get("keys.0.d") != nil {
		t.Errorf("keys %s", keys.body)
	}
	if got := s.call(caller{}, "GET", "/r/default"+jwksPath, "").is(200); !bytes.Equal(got.body, keys.body) {
		t.Errorf("keys below /r/default are %s", got.body)
	}
	s.call(caller{}, "GET", "/r/nowhere"+jwksPath, "").refuses(404, mfa.NotFound, "")
	if got := s.call(caller{}, "GET", "/openapi.json", "").is(200); !bytes.Equal(got.body, openapi) {
		t.Error("the document that is served is another")
	}
}

// TestScopes sends every operation with keys of each scope and without one.
func TestScopes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	byID := map[string]access{}
	for _, a := range []struct {
		access access
		ids    string
	}{
		{public, "getGrantKeys getRealmGrantKeys getDocument"},
		{authenticate, "createChallenge getChallenge streamChallenges verifyChallenge cancelChallenge redeemChallenge getReceipt createFirstEnrolment"},
		{selfService, "createEnrolment getEnrolment confirmEnrolment cancelEnrolment liftReport setPassword"},
		{administer, "createUser listUsers getUser updateUser deleteUser lockUser unlockUser listPrompts listBrowsers " +
			"forgetBrowser listDevices getDevice renameDevice revokeDevice settleDevice getFactors createTOTP confirmTOTP removeTOTP " +
			"makeBackupCodes removeBackupCodes issueBypassCode revokeBypassCode createApplication listApplications getApplication " +
			"updateApplication disableApplication enableApplication listKeys createKey rotateKey revokeKey listPolicies " +
			"getCurrentPolicy getPolicy applyPolicy listEvents listRealms getCurrentRealm importUsers " +
			"createInvitation createInvitations listInvitations getInvitation revokeInvitation resendInvitation " +
			"createRealm getRealm updateRealm disableRealm enableRealm listSigningKeys rotateSigningKey getSeal reseal createWebhook listWebhooks getWebhook " +
			"updateWebhook deleteWebhook rotateWebhookSecret pingWebhook listDeliveries getDelivery replayDelivery replayDead"},
	} {
		for id := range strings.FieldsSeq(a.ids) {
			byID[id] = a.access
		}
	}
	asserter := s.application("asserter", "assert_first_factor")
	for path, item := range s.doc.Paths.Map() {
		for method, op := range item.Operations() {
			want, ok := byID[op.OperationID]
			if !ok {
				t.Errorf("%s %s (%s) is in no scope", method, path, op.OperationID)
				continue
			}
			if want == public || op.OperationID == "streamChallenges" {
				continue
			}
			target := strings.NewReplacer("{", "", "}", "").Replace(path)
			for _, tt := range []struct {
				by      caller
				allowed bool
			}{
				{s.admin, want != authenticate},
				{s.app, want != administer},
				{asserter, false},
			} {
				a := s.call(tt.by, method, target, `{"no such member":1}`)
				refused := a.status == http.StatusForbidden
				if refused == tt.allowed {
					t.Errorf("%s with %s: %d %s", op.OperationID, tt.by.id, a.status, a.body)
				}
				if refused {
					a.refuses(403, mfa.Forbidden, mfa.ReasonScope)
				}
			}
			for _, o := range []option{
				func(*http.Request) {},
				with("Authorization", "Bearer nod_sk_"+strings.Repeat("a", 32)),
				with("Authorization", "Basic "+s.admin.key),
				with("Authorization", s.admin.key),
				func(r *http.Request) {
					r.Header["Authorization"] = []string{"Bearer " + s.admin.key, "Bearer " + s.app.key}
				},
			} {
				a := s.call(caller{}, method, target, "", o).refuses(401, mfa.Unauthenticated, "")
				if a.header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: 401 without WWW-Authenticate", op.OperationID)
				}
			}
		}
	}
}

// TestAssertingNeedsItsScope: an application may not say by itself that it checked a first factor.
func TestAssertingNeedsItsScope(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	plain := s.application("plain", "authenticate")
	id := s.user("kim")
	s.call(plain, "POST", "/v1/challenges", asked(id)).refuses(403, mfa.Forbidden, mfa.ReasonScope)
	s.call(s.app, "POST", "/v1/challenges", asked(id)).is(201)
}

// TestSelfService: an application without administration enrols a device for a user who has just
// signed in with a strong factor, and sees no other enrolment.
func TestSelfService(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	phone := s.phone(id)
	path := "/v1/users/" + id + "/enrolments"
	s.call(s.app, "POST", path, "").refuses(403, mfa.Forbidden, mfa.ReasonScope)
	ch := s.approved(id, phone)
	s.call(s.app, "POST", path, `{"challenge":"`+ch+`"}`).refuses(403, mfa.Forbidden, mfa.ReasonFreshFactor)
	s.call(s.app, "POST", "/v1/challenges/"+ch+"/redeem", "", key("k")).is(200)
	s.call(s.other, "POST", path, `{"challenge":"`+ch+`"}`).refuses(403, mfa.Forbidden, mfa.ReasonFreshFactor)
	s.call(s.app, "POST", path, `{"challenge":"`+ch+`","lost":true}`).refuses(400, mfa.Invalid, mfa.ReasonMalformed)
	e := s.call(s.app, "POST", path, `{"challenge":"`+ch+`"}`).is(201)
	_, code := s.claim(e.text("url"))
	own := "/v1/enrolments/" + e.text("id")
	hidden := s.call(s.other, "GET", own, "").refuses(404, mfa.NotFound, "").problem()
	if unknown := s.call(s.other, "GET", "/v1/enrolments/enr_aaaaaaaaaaaaaaaaaaaaaaaaaa", "").problem(); hidden != unknown {
		t.Errorf("another's enrolment: %s\nunknown: %s", hidden, unknown)
	}
	s.call(s.other, "POST", own+"/confirm", `{"code":"`+code+`"}`).refuses(404, mfa.NotFound, "")
	wrong := "000000"
	if code == wrong {
		wrong = "000001"
	}
	s.call(s.app, "POST", own+"/confirm", `{"code":"`+wrong+`"}`).refuses(403, mfa.Forbidden, mfa.ReasonWrongCode)
	if got := s.call(s.app, "POST", own+"/confirm", `{"code":"`+code+`"}`).is(200).text("state"); got != "confirmed" {
		t.Errorf("confirmed is %s", got)
	}
	s.call(s.app, "POST", "/v1/users/"+id+"/lift-report", "").refuses(403, mfa.Forbidden, mfa.ReasonScope)
	s.call(s.app, "POST", "/v1/users/"+id+"/lift-report", fmt.Sprintf(`{"challenges":[%q]}`, ch)).refuses(409, mfa.Conflict, mfa.ReasonReportNotLiftable)
}
