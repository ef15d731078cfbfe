package rest

import (
	"testing"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/protocol"
)

// TestRealmsDoNotSeeEachOther: for a key of another realm nothing of this one exists.
func TestRealmsDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const elsewhere mfa.RealmID = "elsewhere"
	must(t, s.accounts.CreateRealm(t.Context(), elsewhere))
	name := "administration"
	a, err := s.accounts.CreateApplication(t.Context(), elsewhere, account.NewApplication{
		ApplicationChange: account.ApplicationChange{Name: &name},
		Scopes:            []application.Scope{application.Authenticate, application.Administer},
	})
	must(t, err)
	stranger := caller{a.ID, a.Secret.Reveal()}

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
