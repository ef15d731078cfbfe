package rest

import (
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/protocol"
)

// TestRealmsDoNotSeeEachOther: for a key of another realm nothing of this one exists.
func TestRealmsDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const elsewhere mfa.RealmID = "elsewhere"
	made, err := s.accounts.CreateRealm(t.Context(), elsewhere, nil)
	must(t, err)
	stranger := caller{made.Administration.ID, made.Administration.Secret.Reveal()}

	id := s.user("kim")
	phone := s.phone(id)
	ch := s.ask(id).is(201).text("id")
	enrolment := s.call(s.admin, "POST", "/v1/users/"+id+"/enrolments", "").is(201).text("id")
	for _, tt := range []struct{ method, path, known, unknown string }{
		{"GET", "/v1/challenges/", ch, "ch_aaaaaaaaaaaaaaaaaaaaaaaaaa"},
		{"GET", "/v1/users/", id, "usr_aaaaaaaaaaaaaaaaaaaaaaaaaa"},
		{"DELETE", "/v1/users/", id, "usr_aaaaaaaaaaaaaaaaaaaaaaaaaa"},
		{"GET", "/v1/devices/", string(phone.id), "dev_aaaaaaaaaaaaaaaaaaaaaaaaaa"},
		{"DELETE", "/v1/devices/", string(phone.id), "dev_aaaaaaaaaaaaaaaaaaaaaaaaaa"},
		{"GET", "/v1/enrolments/", enrolment, "enr_aaaaaaaaaaaaaaaaaaaaaaaaaa"},
		{"GET", "/v1/applications/", string(s.app.id), "app_aaaaaaaaaaaaaaaaaaaaaaaaaa"},
	} {
		known := s.call(stranger, tt.method, tt.path+tt.known, "").refuses(404, mfa.NotFound, "").problem()
		unknown := s.call(stranger, tt.method, tt.path+tt.unknown, "").refuses(404, mfa.NotFound, "").problem()
		if known != unknown {
			t.Errorf("%s %s:\n%s\n%s", tt.method, tt.path, known, unknown)
		}
	}
	for path, want := range map[string]int{"/v1/users": 0, "/v1/applications": 1, "/v1/realms": 1} {
		if items := s.call(stranger, "GET", path, "").is(200).get("items").([]any); len(items) != want {
			t.Errorf("%s: %v, want %d", path, items, want)
		}
	}
	if items := s.call(s.admin, "GET", "/v1/realms", "").is(200).get("items").([]any); len(items) != 2 {
		t.Errorf("the default realm sees %v, want 2 realms", items)
	}
	if got := s.call(stranger, "GET", "/v1/realms/current", "").is(200).text("issuer"); got != publicURL+"/r/elsewhere" {
		t.Errorf("issuer %s", got)
	}
	keys := s.call(caller{}, "GET", "/r/elsewhere"+jwksPath, "").is(200).text("keys.0.kid")
	if s.call(caller{}, "GET", jwksPath, "").text("keys.0.kid") == keys {
		t.Error("two realms sign with one key")
	}
}

// tourOfRealms makes a realm, uses it, and rotates keys.
func (s *server) tourOfRealms() {
	t := s.t
	made := s.call(s.admin, "POST", "/v1/realms", `{"name":"shop","hosts":["shop.example:8443"]}`).is(201)
	if made.text("realm.issuer") != publicURL+"/r/shop" || made.text("realm.hosts.0") != "shop.example:8443" || made.header.Get("Location") != "/v1/realms/shop" {
		t.Errorf("made %s", made.body)
	}
	shop := caller{mfa.ApplicationID(made.text("application.id")), made.text("key.secret")}
	s.call(s.admin, "POST", "/v1/realms", `{"name":"shop"}`).refuses(409, mfa.Conflict, mfa.ReasonNameTaken)
	s.call(s.admin, "POST", "/v1/realms", `{"name":"Shop"}`).refuses(400, mfa.Invalid, mfa.ReasonMalformed)
	if got := s.call(shop, "GET", "/v1/realms/shop", "").is(200).text("state"); got != "active" {
		t.Errorf("state %s", got)
	}
	s.call(shop, "GET", "/v1/realms/default", "").refuses(404, mfa.NotFound, "")
	for _, name := range []string{"shop", "default", "nowhere"} {
		for _, act := range []string{"/disable", "/enable"} {
			s.call(shop, "POST", "/v1/realms/"+name+act, "").refuses(403, mfa.Forbidden, mfa.ReasonScope)
		}
		s.call(shop, "PATCH", "/v1/realms/"+name, `{"hosts":[]}`).refuses(403, mfa.Forbidden, mfa.ReasonScope)
	}
	s.call(shop, "POST", "/v1/realms", `{"name":"mine"}`).refuses(403, mfa.Forbidden, mfa.ReasonScope)
	s.call(shop, "GET", "/v1/keys/seal", "").refuses(403, mfa.Forbidden, mfa.ReasonScope)
	s.call(shop, "POST", "/v1/keys/seal/reseal", "").refuses(403, mfa.Forbidden, mfa.ReasonScope)

	for _, hosts := range []string{`["Shop.example"]`, `["shop.example:443"]`, `["shop.example."]`, `["a/b"]`, `[""]`, `["a.example","a.example"]`, `["-a.example"]`, `["[::1]:80"]`} {
		s.call(s.admin, "PATCH", "/v1/realms/shop", `{"hosts":`+hosts+`}`).refuses(400, mfa.Invalid, mfa.ReasonMalformed)
	}
	own := strings.TrimPrefix(publicURL, "https://")
	s.call(s.admin, "PATCH", "/v1/realms/shop", `{"hosts":["`+own+`"]}`).refuses(409, mfa.Conflict, mfa.ReasonNameTaken)
	s.call(s.admin, "POST", "/v1/realms", `{"name":"other","hosts":["shop.example:8443"]}`).refuses(409, mfa.Conflict, mfa.ReasonNameTaken)
	s.call(s.admin, "GET", "/v1/realms/other", "").refuses(404, mfa.NotFound, "")
	s.call(s.admin, "PATCH", "/v1/realms/shop", `{"hosts":["shop.example","old.shop.example"]}`).is(200)
	s.call(s.admin, "PATCH", "/v1/realms/nowhere", `{"hosts":[]}`).refuses(404, mfa.NotFound, "")

	s.call(s.admin, "POST", "/v1/realms/default/disable", "").refuses(409, mfa.Conflict, "")
	s.call(s.admin, "POST", "/v1/realms/nowhere/disable", "").refuses(404, mfa.NotFound, "")
	if got := s.call(s.admin, "POST", "/v1/realms/shop/disable", "").is(200).text("state"); got != "disabled" {
		t.Errorf("disabled is %s", got)
	}
	gone := s.call(shop, "GET", "/v1/users", "").refuses(401, mfa.Unauthenticated, "").problem()
	if unknown := s.call(caller{key: "nod_sk_" + strings.Repeat("a", 32)}, "GET", "/v1/users", "").problem(); gone != unknown {
		t.Errorf("a key of a disabled realm gets\n%s\nan unknown one\n%s", gone, unknown)
	}
	s.call(caller{}, "GET", "/r/shop"+jwksPath, "").is(200) // what it granted can be verified
	s.call(s.admin, "POST", "/v1/realms/shop/enable", "").is(200)
	s.call(shop, "GET", "/v1/users", "").is(200)

	if got := s.call(shop, "POST", "/v1/keys/prompt/rotate", "").is(200); got.text("keys.0.state") != "retired" || got.text("keys.1.state") != "signs" || got.text("keys.2.state") != "next" {
		t.Errorf("prompt keys after a rotation: %s", got.body)
	}
	s.call(shop, "POST", "/v1/keys/prompt/rotate", `{"emergency":true}`).refuses(400, mfa.Invalid, mfa.ReasonMalformed)
	s.call(shop, "POST", "/v1/keys/audit/rotate", "").refuses(404, mfa.NotFound, "")
	before := s.call(caller{}, "GET", "/r/shop"+jwksPath, "").is(200).text("keys.0.kid")
	s.call(shop, "POST", "/v1/keys/grant/rotate", "").is(200)
	if got := s.call(caller{}, "GET", "/r/shop"+jwksPath, "").is(200); got.get("keys.1") == nil || got.text("keys.0.kid") != before {
		t.Errorf("a new grant key is not published beside the other: %s", got.body)
	}
	s.call(shop, "POST", "/v1/keys/grant/rotate", `{"emergency":true}`).is(200)
	if got := s.call(caller{}, "GET", "/r/shop"+jwksPath, "").is(200); got.get("keys.1") != nil || got.text("keys.0.kid") == before {
		t.Errorf("after an emergency these are published: %s", got.body)
	}
	s.call(shop, "GET", "/v1/keys", "").is(200).text("keys.4.kid")

	must(t, s.accounts.FollowSeal(t.Context()))
	seal := s.call(s.admin, "GET", "/v1/keys/seal", "").is(200)
	if seal.text("walk") != "none" || seal.text("nodes.0.seals") != seal.text("key") {
		t.Errorf("sealing %s", seal.body)
	}
	if got := s.call(s.admin, "POST", "/v1/keys/seal/reseal", "").is(200).text("walk"); got != "waiting" {
		t.Errorf("asked for, the walk is %s", got)
	}
}

// TestAdministratorsEnrolment holds that what an administrator began is confirmed by administrators
// alone, although a key of the same application asks.
func TestAdministratorsEnrolment(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	made := s.call(s.admin, "POST", "/v1/applications", `{"name":"both","scopes":["authenticate","administer"]}`).is(201)
	app := mfa.ApplicationID(made.text("application.id"))
	admin := caller{app, made.text("key.secret")}
	lesser := caller{app, s.call(s.admin, "POST", "/v1/applications/"+string(app)+"/keys", `{"scopes":["authenticate"]}`).is(201).text("secret")}
	path := "/v1/enrolments/" + s.call(admin, "POST", "/v1/users/"+s.user("kim")+"/enrolments", "").is(201).text("id")
	for _, tt := range []struct{ method, path, body string }{
		{"GET", path, ""},
		{"POST", path + "/confirm", `{"code":"123456"}`},
		{"POST", path + "/cancel", ""},
	} {
		s.call(lesser, tt.method, tt.path, tt.body).refuses(404, mfa.NotFound, "")
	}
	s.call(admin, "GET", path, "").is(200)
	s.call(s.admin, "POST", path+"/cancel", "").is(200)
}

// TestDigitsBack: the digits that the device shows are typed at the login page, in three tries.
func TestDigitsBack(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	phone := s.phone(id)
	s.call(s.admin, "PUT", "/v1/policies/current", `{"document":"matches: [digits_back]\n"}`).is(200)
	ch := s.ask(id).is(201).text("id")
	path := "/v1/challenges/" + ch + "/verify"
	s.call(s.app, "POST", path, `{"method":"digits_back","code":"123456"}`).refuses(409, mfa.Conflict, mfa.ReasonChallengeClosed)
	got := phone.decide(protocol.Decision{Challenge: ch, Decision: protocol.VerdictApprove, Match: protocol.MatchDigitsBack})
	if got.State != mfa.Answered || len(got.DigitsBack) != 6 {
		t.Fatalf("the device is told %+v", got)
	}
	wrong := "000000"
	if got.DigitsBack == wrong {
		wrong = "000001"
	}
	if a := s.call(s.app, "POST", path, `{"method":"digits_back","code":"`+wrong+`"}`).is(200); a.text("state") != "answered" || a.get("tries_left") != 2.0 {
		t.Errorf("wrong digits: %s", a.body)
	}
	if a := s.call(s.app, "POST", path, `{"method":"digits_back","code":"`+got.DigitsBack+`"}`).is(200); a.text("state") != "approved" || a.get("tries_left") != nil {
		t.Errorf("right digits: %s", a.body)
	}
}
