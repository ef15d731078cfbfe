package rest

import (
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

func (s *server) tourOfWebhooks() {
	t := s.t
	made := s.call(s.admin, "POST", "/v1/webhooks", `{"url":"https://127.0.0.1/a","events":["user.","challenge.approved"],"description":"Chat"}`).is(201)
	path := "/v1/webhooks/" + made.text("id")
	if made.header.Get("Location") != path || !strings.HasPrefix(made.text("secret"), "whsec_") || made.text("state") != "enabled" {
		t.Errorf("made %s at %s", made.body, made.header.Get("Location"))
	}
	for _, read := range []answer{s.call(s.admin, "GET", path, "").is(200), s.call(s.admin, "GET", "/v1/webhooks", "").is(200)} {
		if strings.Contains(string(read.body), "whsec_") {
			t.Errorf("the secret is shown again: %s", read.body)
		}
	}
	changed := s.call(s.admin, "PATCH", path, `{"events":[],"description":"Log"}`).is(200)
	if changed.text("description") != "Log" || changed.get("events.0") != nil || changed.text("url") != "https://127.0.0.1/a" {
		t.Errorf("changed to %s", changed.body)
	}
	rotated := s.call(s.admin, "POST", path+"/rotate-secret", "").is(200)
	if rotated.text("secret") == made.text("secret") || rotated.text("former_secret_until") == "" {
		t.Errorf("rotated to %s", rotated.body)
	}
	sent := s.call(s.admin, "POST", path+"/ping", "").is(202)
	delivery := path + "/deliveries/" + sent.text("id")
	if got := s.call(s.admin, "GET", path+"/deliveries?state=pending", "").is(200).text("items.0.type"); got != "webhook.pinged" {
		t.Errorf("sent %s", got)
	}
	if got := s.call(s.admin, "GET", delivery, "").is(200); !strings.Contains(got.text("payload"), `"type":"webhook.pinged"`) {
		t.Errorf("delivery %s", got.body)
	}
	if got := s.call(s.admin, "POST", delivery+"/replay", "").is(202).text("state"); got != "pending" {
		t.Errorf("a replay of what is pending is %s", got)
	}
	must(t, s.db.Update(t.Context(), func(tx store.Tx) error {
		d, err := tx.Delivery(mfa.DefaultRealm, sent.text("id"))
		if err != nil {
			return err
		}
		node, until := d.Node, d.DueAt
		d.State, d.Node, d.DueAt, d.EndedAt = store.DeliveryDead, "", 0, tx.Now()
		return tx.PutDelivery(d, node, until)
	}))
	if got := s.call(s.admin, "POST", path+"/replay", `{"since":"2000-01-01T00:00:00Z"}`).is(202).get("replayed"); got != float64(1) {
		t.Errorf("replayed %v", got)
	}
	if got := s.call(s.admin, "PATCH", path, `{"state":"disabled"}`).is(200).text("disabled_reason"); got != "administrator" {
		t.Errorf("disabled for %s", got)
	}
	for _, refused := range []string{path + "/ping", path + "/replay", delivery + "/replay"} {
		s.call(s.admin, "POST", refused, "").refuses(409, mfa.Conflict, mfa.ReasonWebhookOff)
	}
	s.call(s.admin, "DELETE", path, "").is(204)
	for _, gone := range []string{path, path + "/deliveries", delivery} {
		s.call(s.admin, "GET", gone, "").refuses(404, mfa.NotFound, "")
	}
}

func TestWebhookRefusals(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, body := range []string{
		`{}`, `{"url":""}`, `{"url":"https://10.0.0.1/"}`, `{"url":"http://8.8.8.8/"}`, `{"url":"https://169.254.169.254/latest"}`,
		`{"url":"https://[::ffff:10.0.0.1]/"}`, `{"url":"file:///etc/passwd"}`, `{"url":"https://127.0.0.1/\r\nX: y"}`,
		`{"url":"https://127.0.0.1/","events":["challenge.none"]}`, `{"url":"https://127.0.0.1/","events":["challenge"]}`,
		`{"url":"https://127.0.0.1/","events":["user.","user."]}`, `{"url":"https://127.0.0.1/","description":"a\nb"}`,
		`{"url":"https://127.0.0.1/","secret":"whsec_AAAA"}`,
	} {
		if a := s.call(s.admin, "POST", "/v1/webhooks", body); a.status != 400 {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	s.call(s.app, "GET", "/v1/webhooks", "").refuses(403, mfa.Forbidden, mfa.ReasonScope)
	for range 20 {
		s.call(s.admin, "POST", "/v1/webhooks", `{"url":"https://127.0.0.1/"}`).is(201)
	}
	s.call(s.admin, "POST", "/v1/webhooks", `{"url":"https://127.0.0.1/"}`).refuses(409, mfa.Conflict, mfa.ReasonLimit)
}
