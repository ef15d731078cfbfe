package account_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

func TestApplications(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.application("Wiki")
	_, err := w.s.CreateApplication(w.ctx, in, account.NewApplication{ApplicationChange: account.ApplicationChange{Name: ptr("Wiki")}})
	wants(t, err, mfa.Conflict, mfa.ReasonNameTaken)
	_, err = w.s.UpdateApplication(w.ctx, in, a.ID, account.ApplicationChange{Name: ptr("Portal")})
	wants(t, err, mfa.Conflict, mfa.ReasonNameTaken)
	_, err = w.s.UpdateApplication(w.ctx, in, a.ID, account.ApplicationChange{UsernameForm: ptr("upper")})
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	a, err = w.s.UpdateApplication(w.ctx, in, a.ID, account.ApplicationChange{Name: ptr("Handbook"), UsernameForm: ptr("strip_domain")})
	must(t, err)
	if e := w.recorded(audit.ApplicationChanged, mfa.ActorAdministrator); e.Data["was"] != "Wiki" || e.Application != a.ID {
		t.Errorf("got event %+v", e)
	}
	got, err := w.s.Application(w.ctx, in, a.ID)
	must(t, err)
	if got.Name != "Handbook" || got.UsernameForm != "strip_domain" {
		t.Errorf("got %+v", got)
	}
	list, err := w.s.Applications(w.ctx, in, account.Page{Limit: 10})
	must(t, err)
	if len(list) != 2 {
		t.Errorf("got %d applications, want 2", len(list))
	}
	_, err = w.s.Application(w.ctx, "other", a.ID)
	wants(t, err, mfa.NotFound, "")
	_, err = w.s.UpdateApplication(w.ctx, in, "app_unknown", account.ApplicationChange{})
	wants(t, err, mfa.NotFound, "")
	wants(t, w.s.DisableApplication(w.ctx, in, "app_unknown"), mfa.NotFound, "")
	wants(t, w.s.EnableApplication(w.ctx, in, "app_unknown"), mfa.NotFound, "")
}

func TestDisableApplication(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	other := w.application("Other")
	mine, theirs := w.pending(u, w.app), w.pending(u, other)
	for range 2 {
		must(t, w.s.DisableApplication(w.ctx, in, w.app.ID))
	}
	if s, why := w.state(mine); s != mfa.Cancelled || why != mfa.CancelApplicationOff {
		t.Errorf("its challenge is %s %s", s, why)
	}
	if s, _ := w.state(theirs); s != mfa.Pending {
		t.Errorf("another application's challenge is %s", s)
	}
	if n := len(w.events(audit.ApplicationDisabled)); n != 1 {
		t.Errorf("recorded %d times, want once", n)
	}
	for range 2 {
		must(t, w.s.EnableApplication(w.ctx, in, w.app.ID))
	}
	if n := len(w.events(audit.ApplicationEnabled)); n != 1 {
		t.Errorf("recorded %d times, want once", n)
	}
	if got, _ := w.s.Application(w.ctx, in, w.app.ID); got.DisabledAt != 0 {
		t.Error("still disabled")
	}
}

func TestDisableApplicationWithManyChallenges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	ids := w.many(u, w.app, 450)
	must(t, w.s.DisableApplication(w.ctx, in, w.app.ID))
	for _, id := range ids {
		if s, _ := w.state(id); s != mfa.Cancelled {
			t.Fatalf("a challenge is %s", s)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	scopes := []application.Scope{application.Authenticate}
	first, err := w.s.CreateKey(w.ctx, in, w.app.ID, scopes, 0)
	must(t, err)
	if first.Secret.IsZero() || !first.Live || len(first.Scopes) != 1 {
		t.Errorf("got %+v", first)
	}
	second, err := w.s.RotateKey(w.ctx, in, w.app.ID, first.ID, time.Hour)
	must(t, err)
	if e := w.recorded(audit.KeyCreated, mfa.ActorAdministrator); e.Data["replaces"] != first.ID || e.Data["key"] != second.ID {
		t.Errorf("got event %+v", e)
	}
	_, err = w.s.CreateKey(w.ctx, in, w.app.ID, scopes, 0)
	wants(t, err, mfa.Conflict, mfa.ReasonLimit)
	w.pass(time.Hour)
	list, err := w.s.Keys(w.ctx, in, w.app.ID)
	must(t, err)
	live := map[string]bool{}
	for _, k := range list {
		live[k.ID] = k.Live
	}
	if len(list) != 2 || live[first.ID] || !live[second.ID] {
		t.Errorf("got keys %+v", list)
	}
	third, err := w.s.RotateKey(w.ctx, in, w.app.ID, "", 0)
	must(t, err)
	if e := w.recorded(audit.KeyCreated, mfa.ActorAdministrator); e.Data["replaces"] != second.ID {
		t.Errorf("got event %+v, want the newest live key replaced", e)
	}
	must(t, w.s.RevokeKey(w.ctx, in, w.app.ID, third.ID))
	_, err = w.s.RotateKey(w.ctx, in, w.app.ID, "", 0)
	wants(t, err, mfa.NotFound, "")
	w.recorded(audit.KeyRevoked, mfa.ActorAdministrator)
	wants(t, w.s.RevokeKey(w.ctx, in, w.app.ID, "key_unknown"), mfa.NotFound, "")
	_, err = w.s.RotateKey(w.ctx, in, w.app.ID, second.ID, 0)
	wants(t, err, mfa.Conflict, "")
	_, err = w.s.CreateKey(w.ctx, in, "app_unknown", scopes, 0)
	wants(t, err, mfa.NotFound, "")
	_, err = w.s.CreateKey(w.ctx, in, w.app.ID, nil, 0)
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	_, err = w.s.Keys(w.ctx, in, "app_unknown")
	wants(t, err, mfa.NotFound, "")
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, changed, err := w.s.ApplyPolicy(w.ctx, in, policyOf(t, "quarantine: 48h\napplications: {Portal: {decide_by: 60s}}"), 0)
	must(t, err)
	again, repeated, err := w.s.ApplyPolicy(w.ctx, in, p.Document, p.Version)
	must(t, err)
	if !changed || repeated {
		t.Errorf("changed %t, then %t", changed, repeated)
	}
	if p.Version != 1 || again.Version != 1 || len(w.events(audit.PolicyApplied)) != 1 {
		t.Errorf("applied as versions %d and %d, recorded %d times", p.Version, again.Version, len(w.events(audit.PolicyApplied)))
	}
	if e := w.recorded(audit.PolicyApplied, mfa.ActorAdministrator); e.Data["version"] != "1" || e.Data["before"] != "0" {
		t.Errorf("got event %+v", e)
	}
	now, changes, err := w.s.TryPolicy(w.ctx, in, policyOf(t, "quarantine: 1h"), -1)
	if err != nil || !changes || now.Version != 1 {
		t.Errorf("tried: version %d, changes %v, %v", now.Version, changes, err)
	}
	if got, changed, err := w.s.ApplyPolicy(w.ctx, in, p.Document, -1); err != nil || changed || got.Version != 1 {
		t.Errorf("trying changed the policy: version %d, %v", got.Version, err)
	}
	_, _, err = w.s.TryPolicy(w.ctx, in, policyOf(t, "applications: {Nowhere: {decide_by: 60s}}"), -1)
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	_, _, err = w.s.TryPolicy(w.ctx, in, p.Document, 0)
	wants(t, err, mfa.Conflict, mfa.ReasonVersion)
	_, _, err = w.s.ApplyPolicy(w.ctx, in, policyOf(t, "quarantine: 1h"), 0)
	wants(t, err, mfa.Conflict, mfa.ReasonVersion)
	_, _, err = w.s.ApplyPolicy(w.ctx, in, policyOf(t, "applications: {Nowhere: {decide_by: 60s}}"), -1)
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	field(t, err, "applications.Nowhere")
	byID := "applications: {" + string(w.app.ID) + ": {decide_by: 60s}}"
	_, _, err = w.s.ApplyPolicy(w.ctx, in, policyOf(t, byID), -1)
	must(t, err)
}

func TestRealms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.s.CreateRealm(w.ctx, "staging", nil)
	must(t, err)
	_, err = w.s.CreateRealm(w.ctx, "staging", nil)
	wants(t, err, mfa.Conflict, mfa.ReasonNameTaken)
	_, err = w.s.CreateRealm(w.ctx, "Staging", nil)
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	if n := len(w.events(audit.RealmCreated)); n != 1 {
		t.Errorf("the default realm has %d events of the new one, want 1", n)
	}
	u := w.user("ada")
	p := w.add(u)
	unread := w.pending(u, w.app)
	read := w.approved(u, p)
	w.pass(time.Second)
	must(t, w.s.RotatePromptKey(w.ctx, in))
	if s, why := w.state(unread); s != mfa.Cancelled || why != mfa.CancelPolicy {
		t.Errorf("a prompt by the former key is %s %s", s, why)
	}
	if s, _ := w.state(read); s != mfa.Approved {
		t.Errorf("what was approved became %s", s)
	}
	w.recorded(audit.RealmKeysRotated, mfa.ActorAdministrator)
	q := w.add(u) // its link pins the new set, by whose current key the answer is signed
	if p.answer.Keys == q.answer.Keys {
		t.Error("the keys are the same after their rotation")
	}
	must(t, w.s.RotateGrantKey(w.ctx, in, false))
	wants(t, w.s.RotatePromptKey(w.ctx, "nowhere"), mfa.NotFound, "")
	wants(t, w.s.RotateGrantKey(w.ctx, "nowhere", false), mfa.NotFound, "")
}

func TestCreateApplicationWithKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := account.NewApplication{
		ApplicationChange: account.ApplicationChange{Name: ptr("Wiki")},
		Scopes:            []application.Scope{application.Authenticate},
	}
	made, err := w.s.CreateApplication(w.ctx, in, n)
	must(t, err)
	if made.Name != "Wiki" || made.Secret.IsZero() || made.Key.Application != made.ID {
		t.Errorf("got %+v", made)
	}
	w.recorded(audit.KeyCreated, mfa.ActorAdministrator)
	n.Name, n.Scopes = ptr("Blog"), []application.Scope{"everything"}
	_, err = w.s.CreateApplication(w.ctx, in, n)
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	if n := len(w.events(audit.ApplicationCreated)); n != 2 {
		t.Errorf("%d applications are recorded, want 2: a refused one is none", n)
	}
}

func TestBootstrap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, w.db.Update(w.ctx, func(tx store.Tx) error { return w.realms.Create(tx, "staging") }))
	_, err := w.s.Bootstrap(w.ctx, "staging", secret.New("nod_sk_short"))
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	made, err := w.s.Bootstrap(w.ctx, "staging", application.NewSecret())
	must(t, err)
	if !made {
		t.Error("no key for a realm without applications")
	}
	list, err := w.s.Applications(w.ctx, "staging", account.Page{Limit: 2})
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("there are %d applications, want 1", len(list))
	}
	keys, err := w.s.Keys(w.ctx, "staging", list[0].ID)
	must(t, err)
	if len(keys) != 1 || len(keys[0].Scopes) != 2 || keys[0].Scopes[1] != application.Administer {
		t.Errorf("got keys %+v", keys)
	}
	made, err = w.s.Bootstrap(w.ctx, "staging", application.NewSecret())
	must(t, err)
	if made {
		t.Error("a second key was made")
	}
}

// TestInvitationsOfADisabledRealm holds that a link of a disabled realm is as one that nobody has.
func TestInvitationsOfADisabledRealm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.s.CreateRealm(w.ctx, "shop", nil)
	must(t, err)
	u, err := w.s.CreateUser(w.ctx, "shop", account.NewUser{Name: "jo"})
	must(t, err)
	made, err := w.s.Invite(w.ctx, "shop", u.ID, account.Invite{})
	must(t, err)
	_, text, _ := strings.Cut(made.Link.Reveal(), "#")
	_, err = w.s.OpenInvitation(w.ctx, secret.New(text))
	must(t, err)
	must(t, w.s.DisableRealm(w.ctx, "shop"))
	_, err = w.s.OpenInvitation(w.ctx, secret.New(text))
	wants(t, err, mfa.NotFound, mfa.ReasonInvitation)
	must(t, w.s.EnableRealm(w.ctx, "shop"))
	_, err = w.s.OpenInvitation(w.ctx, secret.New(text))
	must(t, err)
}
