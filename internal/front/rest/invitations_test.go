package rest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
)

func (s *server) tourOfInvitations() {
	t := s.t
	people := `{"people":[{"name":"Una","external_id":"7","groups":["b","a"]},{"name":"duo"},{"name":"no such name"}]%s}`
	got := s.call(s.admin, "POST", "/v1/users/import", fmt.Sprintf(people, `,"dry_run":true`)).is(200)
	if got.text("items.0.outcome") != "created" || got.text("items.2.refusal.code") != "invalid" {
		t.Errorf("dry run %s", got.body)
	}
	if got := string(s.call(s.admin, "GET", "/v1/users?name=una", "").is(200).body); got != `{"items":[]}` {
		t.Errorf("a dry run made %s", got)
	}
	made := s.call(s.admin, "POST", "/v1/users/import", fmt.Sprintf(people, "")).is(200)
	una, duo := made.text("items.0.user_id"), made.text("items.1.user_id")
	again := s.call(s.admin, "POST", "/v1/users/import", `{"people":[{"name":"una","external_id":"7","groups":["a","c"]},{"name":"duo"}]}`).is(200)
	if again.text("items.0.outcome") != "changed" || again.text("items.0.changes.0.after.1") != "c" || again.text("items.1.outcome") != "unchanged" {
		t.Errorf("second import %s", again.body)
	}

	i := s.call(s.admin, "POST", "/v1/users/"+una+"/invitations", `{"set_password":true,"expires_in":3600}`).is(201)
	path := "/v1/invitations/" + i.text("id")
	if i.header.Get("Location") != path || !strings.HasPrefix(i.text("url"), publicURL+"/invitation#") || i.text("name") != "una" {
		t.Errorf("invitation %s", i.body)
	}
	if got := s.call(s.admin, "GET", path, "").is(200); got.text("state") != "live" || got.get("url") != nil {
		t.Errorf("read again: %s", got.body)
	}
	newer := s.call(s.admin, "POST", path+"/resend", "").is(201)
	if got := s.call(s.admin, "GET", path, "").is(200).text("state"); got != "superseded" {
		t.Errorf("the old one is %s", got)
	}
	many := s.call(s.admin, "POST", "/v1/invitations", fmt.Sprintf(`{"users":[%q,%q,"usr_x"],"fresh":true}`, una, duo)).is(200)
	if many.text("items.0.skipped") != "invited" || many.text("items.1.invitation.user_id") != duo || many.text("items.2.skipped") != "unknown" {
		t.Errorf("many: %s", many.body)
	}
	live := s.call(s.admin, "GET", "/v1/invitations?state=live&user="+duo, "").is(200)
	if live.text("items.0.id") != many.text("items.1.invitation.id") {
		t.Errorf("live ones: %s", live.body)
	}
	s.call(s.admin, "POST", "/v1/invitations/"+live.text("items.0.id")+"/revoke", "").is(200)
	s.call(s.admin, "POST", "/v1/invitations/"+live.text("items.0.id")+"/revoke", "").refuses(409, mfa.Conflict, mfa.ReasonInvitation)

	_, secret, _ := strings.Cut(newer.text("url"), "#")
	ask := fmt.Sprintf(`{"user":{"name":"Una"},"first_factor":"asserted","invitation":%q}`, secret)
	e := s.call(s.app, "POST", "/v1/enrolments?qr=svg", ask).is(201)
	_, code := s.claim(e.text("url"))
	s.call(s.app, "POST", "/v1/enrolments/"+e.text("id")+"/confirm", `{"code":"`+code+`"}`).is(200)
	if got := s.call(s.admin, "GET", "/v1/invitations/"+newer.text("id"), "").is(200).text("state"); got != "used" {
		t.Errorf("after the confirmation it is %s", got)
	}
	s.call(s.app, "POST", "/v1/enrolments", ask).refuses(403, mfa.Forbidden, mfa.ReasonFirstEnrolment)
}

// TestFirstEnrolmentTellsNothing: without the scope nothing is asserted, and who cannot be enrolled,
// exists or not, gets one answer.
func TestFirstEnrolmentTellsNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	plain := s.application("plain", "authenticate")
	known := s.user("kim")
	s.phone(known)
	s.user("new")
	ask := `{"user":{"name":%q},"first_factor":"asserted"}`
	s.call(plain, "POST", "/v1/enrolments", fmt.Sprintf(ask, "new")).refuses(403, mfa.Forbidden, mfa.ReasonScope)
	var answers []string
	for _, name := range []string{"nobody", "kim", "new"} {
		answers = append(answers, s.call(s.app, "POST", "/v1/enrolments", fmt.Sprintf(ask, name)).refuses(403, mfa.Forbidden, mfa.ReasonFirstEnrolment).problem())
	}
	for _, a := range answers[1:] {
		if a != answers[0] {
			t.Errorf("%s\n%s", answers[0], a)
		}
	}
	pw := `{"user":{"name":%q},"password":"correct horse battery staple"}`
	for _, name := range []string{"nobody", "kim", "new"} {
		s.call(plain, "POST", "/v1/enrolments", fmt.Sprintf(pw, name)).refuses(403, mfa.Forbidden, mfa.ReasonCredentials)
	}
	s.call(s.app, "POST", "/v1/enrolments", `{"user":{"name":"new","id":"x"},"first_factor":"asserted"}`).refuses(400, mfa.Invalid, mfa.ReasonMalformed)
	s.call(s.app, "POST", "/v1/enrolments", `{"user":{"name":"new"}}`).refuses(400, mfa.Invalid, mfa.ReasonMalformed)
}
