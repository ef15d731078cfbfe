package rest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// TestRefusedBodies: what is not exactly as the document says is refused, not repaired, and the
// value that was sent is not in the answer.
func TestRefusedBodies(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	const sentinel = "S3ntinel"
	user := `"user":{"id":"` + id + `"},"kind":"login","first_factor":"asserted"`
	tests := []struct {
		name  string
		body  string
		field string
	}{
		{"no JSON", `{"user"`, ""},
		{"array", `[]`, ""},
		{"text", `"` + sentinel + `"`, ""},
		{"two values", `{` + user + `}{}`, ""},
		{"empty", ` `, ""},
		{"unknown member", `{` + user + `,"passwort":"` + sentinel + `"}`, "passwort"},
		{"other case", `{` + user + `,"Nonce":"` + sentinel + `"}`, "Nonce"},
		{"twice", `{` + user + `,"nonce":"a","nonce":"` + sentinel + `"}`, "nonce"},
		{"nested twice", `{"user":{"name":"a","name":"` + sentinel + `"},"kind":"login"}`, "user.name"},
		{"null", `{` + user + `,"nonce":null}`, "nonce"},
		{"too deep", `{"user":` + strings.Repeat(`[`, 20) + strings.Repeat(`]`, 20) + `,"kind":"login"}`, ""},
		{"no user", `{"kind":"login"}`, ""},
		{"neither id nor name", `{"user":{},"kind":"login"}`, "user"},
		{"both id and name", `{"user":{"id":"` + id + `","name":"kim"},"kind":"login"}`, "user"},
		{"id of another kind", `{"user":{"id":"` + sentinel + `"},"kind":"login"}`, "user.id"},
		{"name refused", `{"user":{"name":"` + sentinel + ` x"},"kind":"login","first_factor":"asserted"}`, "user.name"},
		{"name too long", `{"user":{"name":"` + strings.Repeat("a", 256) + `"},"kind":"login"}`, "user.name"},
		{"kind", `{"user":{"id":"` + id + `"},"kind":"` + sentinel + `"}`, "kind"},
		{"password no text", `{` + user + `,"password":["` + sentinel + `"]}`, "password"},
		{"password empty", `{` + user + `,"password":""}`, "password"},
		{"password too long", `{` + user + `,"password":"` + strings.Repeat(sentinel, 200) + `"}`, "password"},
		{"match", `{` + user + `,"match":["` + sentinel + `"]}`, "match.0"},
		{"match empty", `{` + user + `,"match":[]}`, "match"},
		{"match twice", `{` + user + `,"match":["scan","scan"]}`, "match"},
		{"min_bits no integer", `{` + user + `,"min_bits":20.5}`, "min_bits"},
		{"min_bits too great", `{` + user + `,"min_bits":129}`, "min_bits"},
		{"first factor", `{"user":{"id":"` + id + `"},"kind":"login","first_factor":"` + sentinel + `"}`, "first_factor"},
		{"reason too long", `{` + user + `,"reason":"` + strings.Repeat("ä", 201) + `"}`, "reason"},
		{"reason with a line", `{` + user + `,"reason":"` + sentinel + `\nx"}`, "reason"},
		{"reason with a control", `{` + user + `,"reason":"` + sentinel + `\u0007"}`, "reason"},
		{"reason with a direction", `{` + user + `,"reason":"` + sentinel + `\u202e"}`, "reason"},
		{"reason with a line separator", `{` + user + `,"reason":"` + sentinel + `\u2028"}`, "reason"},
		{"label empty", `{` + user + `,"details":[{"label":"","value":"x"}]}`, "details.0.label"},
		{"label too long", `{` + user + `,"details":[{"label":"` + strings.Repeat("l", 41) + `","value":"x"}]}`, "details.0.label"},
		{"label with a tab", `{` + user + `,"details":[{"label":"a\tb","value":"x"}]}`, "details.0.label"},
		{"value too long", `{` + user + `,"details":[{"label":"a","value":"` + strings.Repeat("v", 201) + `"}]}`, "details.0.value"},
		{"value with a direction", `{` + user + `,"details":[{"label":"a","value":"b"},{"label":"a","value":"` + sentinel + `\u2066"}]}`, "details.1.value"},
		{"value missing", `{` + user + `,"details":[{"label":"a"}]}`, "details.0"},
		{"eleven details", `{` + user + `,"details":[` + strings.Repeat(`{"label":"a","value":"b"},`, 10) + `{"label":"a","value":"b"}]}`, "details"},
		{"ip", `{` + user + `,"context":{"ip":"` + sentinel + `"}}`, "context.ip"},
		{"source with a line", `{` + user + `,"context":{"source":"` + sentinel + `\r"}}`, "context.source"},
		{"context unknown member", `{` + user + `,"context":{"` + sentinel + `":1}}`, "context." + sentinel},
		{"nonce too long", `{` + user + `,"nonce":"` + strings.Repeat("n", 256) + `"}`, "nonce"},
		{"invalid UTF-8", `{` + user + `,"nonce":"` + "\xff" + `"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := s.call(s.app, "POST", "/v1/challenges", tt.body).refuses(400, mfa.Invalid, mfa.ReasonMalformed)
			if strings.Contains(string(a.body), sentinel) && !strings.HasSuffix(tt.field, sentinel) {
				t.Errorf("the answer repeats what was sent: %s", a.body)
			}
			if got, _ := a.get("field").(string); tt.field != "" && got != tt.field {
				t.Errorf("field %q, want %q: %s", got, tt.field, a.body)
			}
		})
	}
	if strings.Contains(s.log.String(), sentinel) {
		t.Error("the log repeats what was sent")
	}
}

// TestTakenBodies: the limits are inclusive.
func TestTakenBodies(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	user := `"user":{"id":"` + id + `"},"kind":"login","first_factor":"asserted"`
	for name, body := range map[string]string{
		"reason of 200 characters": `{` + user + `,"reason":"` + strings.Repeat("ä", 200) + `"}`,
		"ten longest details": `{` + user + `,"details":[` + strings.Repeat(`{"label":"`+strings.Repeat("ä", 40)+`","value":"`+strings.Repeat("ß", 200)+`"},`, 9) +
			`{"label":"a","value":""}]}`,
		"emoji with joiner": `{` + user + `,"reason":"👩‍🚀"}`,
		"no context":        `{` + user + `}`,
		"IPv6":              `{` + user + `,"context":{"ip":"2001:db8::1"}}`,
		"charset":           `{` + user + `}`,
	} {
		s.call(s.app, "POST", "/v1/challenges", body, with("Content-Type", "application/json; charset=utf-8")).is(201)
		_ = name
	}
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	body := asked(id)
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", ""} {
		s.call(s.app, "POST", "/v1/challenges", body, with("Content-Type", kind)).refuses(415, mfa.Invalid, mfa.ReasonMediaType)
	}
	large := `{"nonce":"` + strings.Repeat("a", maxBody) + `"}`
	s.call(s.app, "POST", "/v1/challenges", large).refuses(413, mfa.Invalid, mfa.ReasonBodyTooLarge)
	s.call(s.app, "POST", "/v1/challenges", large, func(r *http.Request) { r.ContentLength = -1 }).refuses(413, mfa.Invalid, mfa.ReasonBodyTooLarge)
	s.call(caller{}, "POST", "/v1/challenges", large).refuses(401, mfa.Unauthenticated, "") // before anything is read

	s.call(s.app, "GET", "/v1/nothing", "").refuses(404, mfa.NotFound, "")
	a := s.call(s.app, "DELETE", "/v1/challenges", "")
	if a.status != 405 || !strings.Contains(a.header.Get("Allow"), "POST") || a.text("code") != "invalid" {
		t.Errorf("wrong method: %d %s, Allow %q", a.status, a.body, a.header.Get("Allow"))
	}
	for _, query := range []string{
		"?wait=61", "?wait=-1", "?wait=1.5", "?wait=", "?wait=1&wait=1", "?wait=%zz", "?state=done", "?State=pending", "?unknown=1", "?wait=01",
	} {
		s.call(s.app, "GET", "/v1/challenges/ch_aaaaaaaaaaaaaaaaaaaaaaaaaa"+query, "").refuses(400, mfa.Invalid, mfa.ReasonMalformed)
	}
	for _, query := range []string{"?limit=0", "?limit=201", "?limit=x", "?cursor=", "?cursor=AAAA", "?since=yesterday", "?order=up", "?kind="} {
		s.call(s.admin, "GET", "/v1/events"+query, "").refuses(400, mfa.Invalid, mfa.ReasonMalformed)
	}
	for _, k := range []string{"", " ", "a b", "é", strings.Repeat("k", 256)} {
		s.call(s.app, "POST", "/v1/challenges", body, key(k)).refuses(400, mfa.Invalid, mfa.ReasonMalformed)
	}
	s.call(s.app, "POST", "/v1/challenges", body, func(r *http.Request) { r.Header["Idempotency-Key"] = []string{"a", "b"} }).refuses(400, mfa.Invalid, mfa.ReasonMalformed)
}

// TestNotFoundIsOneAnswer: an unknown id, another application's and another realm's object are
// answered byte for byte the same, apart from the id of the request.
func TestNotFoundIsOneAnswer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	mine := s.ask(id).is(201).text("id")
	for i, tt := range []struct{ method, path, body string }{
		{"GET", "/v1/challenges/{}", ""},
		{"GET", "/v1/challenges/{}?wait=60", ""},
		{"GET", "/v1/challenges/{}/receipt", ""},
		{"POST", "/v1/challenges/{}/cancel", ""},
		{"POST", "/v1/challenges/{}/redeem", ""},
		{"POST", "/v1/challenges/{}/verify", `{"method":"totp","code":"123456"}`},
		{"POST", "/v1/challenges/{}/verify", `{"method":"backup_code","code":"1-aaaa"}`},
		{"POST", "/v1/challenges/{}/verify", `{"method":"digits_back","code":"123456"}`},
	} {
		var answers []string
		for _, at := range []struct {
			by caller
			id string
		}{{s.other, mine}, {s.other, "ch_aaaaaaaaaaaaaaaaaaaaaaaaaa"}, {s.app, "ch_aaaaaaaaaaaaaaaaaaaaaaaaaa"}, {s.app, "x"}, {s.app, id}} {
			a := s.call(at.by, tt.method, strings.ReplaceAll(tt.path, "{}", at.id), tt.body, key(fmt.Sprint(i, at.by.id, at.id))).refuses(404, mfa.NotFound, "")
			answers = append(answers, a.problem())
		}
		for _, a := range answers[1:] {
			if a != answers[0] {
				t.Errorf("%s %s:\n%s\n%s", tt.method, tt.path, answers[0], a)
			}
		}
	}
	for _, path := range []string{
		"/v1/users/usr_aaaaaaaaaaaaaaaaaaaaaaaaaa", "/v1/devices/dev_aaaaaaaaaaaaaaaaaaaaaaaaaa", "/v1/enrolments/enr_aaaaaaaaaaaaaaaaaaaaaaaaaa",
		"/v1/applications/app_aaaaaaaaaaaaaaaaaaaaaaaaaa", "/v1/users/x/factors", "/v1/users/x/devices", "/v1/users/x/prompts",
		"/v1/users/x/browsers", "/v1/applications/x/keys",
	} {
		s.call(s.admin, "GET", path, "").refuses(404, mfa.NotFound, "")
	}
}

// TestEveryCode reaches each code of the API.
func TestEveryCode(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.user("kim")
	path := "/v1/challenges/" + s.ask(id).is(201).text("id")
	reached := map[mfa.Code]bool{}
	refuse := func(a answer, status int, code mfa.Code, reason mfa.Reason) answer {
		t.Helper()
		reached[code] = true
		return a.refuses(status, code, reason)
	}
	refuse(s.call(s.app, "POST", path+"/verify", `{"method":"push","code":"1"}`), 400, mfa.Invalid, mfa.ReasonMalformed)
	refuse(s.call(s.app, "POST", path+"/redeem", ""), 400, mfa.Invalid, mfa.ReasonMalformed)
	refuse(s.call(caller{}, "GET", path, ""), 401, mfa.Unauthenticated, "")
	refuse(s.call(s.admin, "GET", path, ""), 403, mfa.Forbidden, mfa.ReasonScope)
	refuse(s.call(s.other, "GET", path, ""), 404, mfa.NotFound, "")
	refuse(s.call(s.app, "POST", path+"/verify", `{"method":"sms","code":"123456"}`), 422, mfa.Unsupported, mfa.ReasonMethodNotSupported)
	refuse(s.call(s.app, "POST", "/v1/challenges", `{"user":{"id":"`+id+`"},"kind":"transaction","match":["digits"],"min_bits":64,"first_factor":"asserted"}`),
		422, mfa.Unsupported, mfa.ReasonUnsatisfiable)
	refuse(s.call(s.app, "POST", path+"/redeem", "", key("k")), 409, mfa.Conflict, mfa.ReasonChallengeClosed).text("state")

	for range 10 {
		s.call(s.app, "POST", path+"/verify", `{"method":"totp","code":"123456"}`).is(200)
	}
	limited := refuse(s.call(s.app, "POST", path+"/verify", `{"method":"totp","code":"123456"}`), 429, mfa.RateLimited, mfa.ReasonGuessesSpent)
	if limited.header.Get("Retry-After") == "" || limited.get("retry_after") == nil {
		t.Errorf("429 says not when to come again: %v %s", limited.header, limited.body)
	}

	ch := s.approved(s.user("lou"), s.phone(s.call(s.admin, "GET", "/v1/users?name=lou", "").text("items.0.id")))
	s.call(s.app, "POST", "/v1/challenges/"+ch+"/redeem", "", key("a")).is(200)
	refuse(s.call(s.app, "POST", "/v1/challenges/"+ch+"/redeem", "", key("b")), 409, mfa.Conflict, mfa.ReasonAlreadyRedeemed)
	s.pass(3 * time.Minute)
	refuse(s.call(s.app, "POST", "/v1/challenges/"+ch+"/redeem", "", key("a")), 410, mfa.Gone, mfa.ReasonGrantExpired)
	gone := refuse(s.call(s.app, "POST", path+"/cancel", ""), 410, mfa.Gone, mfa.ReasonExpired)
	if gone.text("state") != "expired" {
		t.Errorf("gone says %s", gone.body)
	}

	refuse(s.call(s.app, "GET", path, "", func(r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		*r = *r.WithContext(ctx)
	}), 503, mfa.Unavailable, mfa.ReasonTimeout)
	must(t, s.db.Update(t.Context(), func(tx store.Tx) error {
		row, err := tx.Challenge(mfa.DefaultRealm, mfa.ChallengeID(ch))
		if err != nil {
			return err
		}
		row.DecisionKey = []byte(`{"broken`)
		return tx.PutChallenge(row)
	}))
	broken := refuse(s.call(s.app, "GET", "/v1/challenges/"+ch+"/receipt", ""), 500, mfa.Internal, "")
	if broken.text("detail") != "The server failed." || !strings.Contains(s.log.String(), "read stored key") {
		t.Errorf("an internal error tells %s and logs\n%s", broken.body, s.log)
	}
	for _, c := range mfa.Codes() {
		if !reached[c] {
			t.Errorf("code %s was not reached", c)
		}
	}
}

// TestStrangersLearnNothing: for a user who is enrolled, unknown, locked or without a device, every
// answer is the same apart from ids, secrets and times.
func TestStrangersLearnNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	enrolled, locked := s.user("enrolled"), s.user("locked")
	s.user("bare")
	s.phone(enrolled)
	s.phone(locked)
	s.call(s.admin, "POST", "/v1/users/"+locked+"/lock", "").is(200)
	s.call(s.admin, "PUT", "/v1/policies/current", `{"document":"first_factor: none\nbudgets:\n  strangers_by_name: true\n"}`).is(200)
	trail := func(name string) []string {
		var out []string
		note := func(a answer) {
			var v map[string]any
			a.into(&v)
			for _, secret := range []string{"id", "created_at", "decide_by", "request_id"} {
				delete(v, secret)
			}
			if m, ok := v["match"].(map[string]any); ok {
				for _, k := range []string{"digits", "qr"} {
					if text, ok := m[k].(string); ok {
						m[k] = len(text)
					}
				}
			}
			out = append(out, string(mustJSON(t, v)))
		}
		made := s.call(s.app, "POST", "/v1/challenges", `{"user":{"name":"`+name+`"},"kind":"login"}`)
		note(made)
		path := "/v1/challenges/" + made.text("id")
		note(s.call(s.app, "GET", path, ""))
		note(s.call(s.app, "POST", path+"/redeem", "", key("k")))
		note(s.call(s.app, "GET", path+"/receipt", ""))
		note(s.call(s.app, "POST", path+"/verify", `{"method":"digits_back","code":"123456"}`))
		for range 11 {
			note(s.call(s.app, "POST", path+"/verify", `{"method":"totp","code":"123456"}`))
		}
		note(s.call(s.app, "POST", path+"/verify", `{"method":"bypass_code","code":"123456"}`))
		note(s.call(s.app, "POST", path+"/cancel", ""))
		note(s.call(s.app, "POST", path+"/cancel", ""))
		note(s.call(s.app, "POST", "/v1/challenges", `{"user":{"name":"`+name+`"},"kind":"login","password":"wrong and wrong again"}`))
		return out
	}
	want := trail("enrolled")
	for _, name := range []string{"nobody", "locked", "bare"} {
		got := trail(name)
		for i := range want {
			w, g := withoutRetry(want[i]), withoutRetry(got[i])
			if w != g {
				t.Errorf("step %d:\nenrolled %s\n%-8s %s", i, w, name, g)
			}
		}
	}
}
