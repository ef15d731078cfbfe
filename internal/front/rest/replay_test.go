package rest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/replay"
)

func (s *server) prompts(userID string) int {
	s.t.Helper()
	return len(s.call(s.admin, "GET", "/v1/users/"+userID+"/prompts?limit=200", "").is(200).get("items").([]any))
}

func TestRepeatedCreation(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	first := s.ask(id, key("k")).is(201)
	second := s.ask(id, key("k")).is(201)
	if !bytes.Equal(first.body, second.body) || second.text("match.digits") == "" {
		t.Errorf("the repetition differs:\n%s\n%s", first.body, second.body)
	}
	s.call(s.app, "POST", "/v1/challenges", asked(id)+" ", key("k")).refuses(409, mfa.Conflict, mfa.ReasonIdempotency)
	if got := s.call(s.other, "POST", "/v1/challenges", asked(id), key("k")).is(201); got.text("id") == first.text("id") {
		t.Error("two applications share a key")
	}
	if n := s.prompts(id); n != 2 {
		t.Errorf("%d challenges were made, want 2", n)
	}
	s.pass(replay.SecretKept)
	late := s.ask(id, key("k")).refuses(409, mfa.Conflict, mfa.ReasonAlreadyCreated)
	if !strings.Contains(late.text("detail"), first.text("id")) {
		t.Errorf("%s does not name what was made", late.body)
	}
}

func TestKeyIsPerRouteAndObject(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	one, two := s.ask(id).is(201).text("id"), s.ask(id).is(201).text("id")
	s.call(s.app, "POST", "/v1/challenges/"+one+"/cancel", "", key("k")).is(200)
	s.call(s.app, "POST", "/v1/challenges/"+two+"/cancel", "", key("k")).refuses(409, mfa.Conflict, mfa.ReasonIdempotency)
	s.call(s.app, "POST", "/v1/challenges/"+one+"/verify", `{"method":"totp","code":"123456"}`, key("k")).refuses(409, mfa.Conflict, mfa.ReasonChallengeClosed)
	// The answer stands although the challenge could not be cancelled again.
	if got := s.call(s.app, "POST", "/v1/challenges/"+one+"/cancel", "", key("k")).is(200).text("state"); got != "cancelled" {
		t.Errorf("repeated cancel says %s", got)
	}
	s.call(s.app, "POST", "/v1/challenges/"+one+"/cancel", "", key("l")).refuses(409, mfa.Conflict, mfa.ReasonChallengeClosed)
}

func TestConcurrentCreationsWithOneKey(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	const n = 30
	answers := make([]answer, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { answers[i] = s.ask(id, key("k")) })
	}
	wg.Wait()
	for _, a := range answers {
		if a.status != 201 || !bytes.Equal(a.body, answers[0].body) {
			t.Fatalf("got %d %s, want %s", a.status, a.body, answers[0].body)
		}
	}
	if got := s.prompts(id); got != 1 {
		t.Errorf("%d challenges were made, want 1", got)
	}
}

// TestCrashBeforeTheAnswerWasKept: the node dies after the challenge was committed. The repetition
// finds it instead of ringing again.
func TestCrashBeforeTheAnswerWasKept(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	by, err := s.handler.c.Applications.Authenticate(t.Context(), s.app.key)
	must(t, err)
	var made mfa.ChallengeID
	func() {
		defer func() { _ = recover() }()
		_, _ = s.handler.c.Replays.Do(t.Context(), replay.Call{
			Realm: by.Realm, Application: by.Application.ID, Key: "k", Body: []byte(asked(id)),
			Route: "POST /v1/challenges", Target: "POST /v1/challenges",
		}, func(ctx context.Context, ids func(string) string) replay.Answer {
			v, err := s.pipeline.Create(ctx, by, authn.Request{
				ID: mfa.ChallengeID(ids("ch_")), UserID: mfa.UserID(id), Kind: mfa.Login, Asserted: true,
			})
			must(t, err)
			made = v.ID
			panic("the power fails")
		})
	}()
	again := s.ask(id, key("k")).refuses(409, mfa.Conflict, mfa.ReasonAlreadyCreated)
	if !strings.Contains(again.text("detail"), string(made)) {
		t.Errorf("%s does not name %s", again.body, made)
	}
	if got := s.prompts(id); got != 1 {
		t.Errorf("%d challenges were made, want 1", got)
	}
}

// TestRepeatedRefusalCostsNothing: a wrong password that is sent again under its key is one guess.
func TestRepeatedRefusalCostsNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim", `"password":"correct horse battery staple"`)
	wrong := `{"user":{"id":"` + id + `"},"kind":"login","password":"wrong horse"}`
	for range 25 {
		s.call(s.app, "POST", "/v1/challenges", wrong, key("k")).refuses(403, mfa.Forbidden, mfa.ReasonCredentials)
	}
	for range 19 {
		s.call(s.app, "POST", "/v1/challenges", wrong).refuses(403, mfa.Forbidden, mfa.ReasonCredentials)
	}
	spent := s.call(s.app, "POST", "/v1/challenges", wrong, key("l")).refuses(429, mfa.RateLimited, mfa.ReasonGuessesSpent)
	if spent.header.Get("Retry-After") == "" {
		t.Errorf("429 without Retry-After: %v", spent.header)
	}
	// It is not kept: an hour later the same request is looked at again.
	s.pass(61 * time.Minute)
	s.call(s.app, "POST", "/v1/challenges", wrong, key("l")).refuses(403, mfa.Forbidden, mfa.ReasonCredentials)
	right := `{"user":{"id":"` + id + `"},"kind":"login","password":"correct horse battery staple"}`
	if got := s.call(s.app, "POST", "/v1/challenges", right).is(201); got.get("delivery.sent") == nil {
		t.Errorf("made %s", got.body)
	}
	for _, secret := range []string{"wrong horse", "correct horse", s.app.key, s.admin.key} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

func TestRedeemOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	path := "/v1/challenges/" + s.approved(id, s.phone(id)) + "/redeem"
	s.call(s.app, "POST", path, "").refuses(400, mfa.Invalid, mfa.ReasonMalformed)
	const n = 50
	answers := make([]answer, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { answers[i] = s.call(s.app, "POST", path, "", key(fmt.Sprint("k", i))) })
	}
	wg.Wait()
	winner := -1
	for i, a := range answers {
		switch a.status {
		case http.StatusOK:
			if winner >= 0 {
				t.Fatal("two grants")
			}
			winner = i
		default:
			a.refuses(409, mfa.Conflict, mfa.ReasonAlreadyRedeemed)
		}
	}
	if winner < 0 {
		t.Fatal("no grant")
	}
	again := s.call(s.app, "POST", path, "", key(fmt.Sprint("k", winner))).is(200)
	if !bytes.Equal(again.body, answers[winner].body) {
		t.Errorf("the same key got other bytes:\n%s\n%s", answers[winner].body, again.body)
	}
}

// TestKeyIsPerRight repeats what an administrator's key did with a key of the same application that
// may only authenticate: it does not get the answer, which holds an enrolment link.
func TestKeyIsPerRight(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	keys := "/v1/applications/" + string(s.admin.id) + "/keys"
	weak := s.admin
	weak.key = s.call(s.admin, "POST", keys, `{"scopes":["authenticate"]}`).is(201).text("secret")
	path := "/v1/users/" + id + "/enrolments"
	s.call(s.admin, "POST", path, "{}", key("k")).is(201)
	s.call(weak, "POST", path, "{}", key("k")).refuses(409, mfa.Conflict, mfa.ReasonIdempotency)
	s.call(s.admin, "POST", path, "{}", key("k")).is(201)
}
