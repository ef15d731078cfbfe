package account_test

import (
	"testing"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

func (w *world) policy(text string) {
	w.t.Helper()
	must(w.t, w.db.Update(w.ctx, func(tx store.Tx) error {
		old, err := tx.ListPolicies(in, 1)
		if err != nil {
			return err
		}
		version := 1
		if len(old) > 0 {
			version = old[0].Version + 1
		}
		return tx.InsertPolicy(store.Policy{Realm: in, Version: version, Document: policyOf(w.t, text).Canonical(), At: tx.Now()})
	}))
}

func (w *world) first(f account.FirstEnrolment) error {
	f.Asker, f.Form = w.app.ID, "as_is"
	_, err := w.s.EnrolFirst(w.ctx, in, f)
	return err
}

func (w *world) notFirst(f account.FirstEnrolment, why string) {
	w.t.Helper()
	wants(w.t, w.first(f), mfa.Forbidden, mfa.ReasonFirstEnrolment)
	events := w.events(audit.AccountRefused)
	if got := events[len(events)-1].Data["why"]; got != why {
		w.t.Errorf("refused for %q, want %q", got, why)
	}
}

func TestFirstEnrolmentAtSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	jo, locked, had := w.person("jo", phrase), w.user("locked"), w.user("had")
	p := w.add(had)
	must(t, w.s.Revoke(w.ctx, in, p.id, byAdmin))
	must(t, w.s.Lock(w.ctx, in, locked.ID))
	w.notFirst(account.FirstEnrolment{UserName: "JO"}, "policy")
	w.policy("enrolment: {at_sign_in: true}")
	must(t, w.first(account.FirstEnrolment{UserName: "JO"}))
	must(t, w.first(account.FirstEnrolment{UserID: jo.ID, Password: secret.New(phrase)}))
	wants(t, w.first(account.FirstEnrolment{UserID: jo.ID, Password: secret.New(another)}), mfa.Forbidden, mfa.ReasonCredentials)
	w.notFirst(account.FirstEnrolment{UserName: "nobody"}, "unknown")
	w.notFirst(account.FirstEnrolment{UserID: "usr_aaaaaaaaaaaaaaaaaaaaaaaaaa"}, "unknown")
	w.notFirst(account.FirstEnrolment{UserID: locked.ID}, "locked")
	w.notFirst(account.FirstEnrolment{UserID: had.ID}, "had_factor")
	w.policy("enrolment: {at_sign_in: true}\nfirst_factor: password")
	w.notFirst(account.FirstEnrolment{UserID: jo.ID}, "first_factor")
	must(t, w.first(account.FirstEnrolment{UserID: jo.ID, Password: secret.New(phrase)}))
	w.policy("enrolment: {at_sign_in: true}")
	w.pass(7*day - 2*mfa.ClockSlack)
	must(t, w.first(account.FirstEnrolment{UserID: jo.ID}))
	w.pass(2 * mfa.ClockSlack)
	w.notFirst(account.FirstEnrolment{UserID: jo.ID}, "too_late")
	must(t, w.db.Update(w.ctx, func(tx store.Tx) error {
		u, err := tx.User(in, jo.ID)
		if err != nil {
			return err
		}
		u.HadFactor = true // TOTP and backup codes note it too
		return tx.PutUser(u)
	}))
	w.notFirst(account.FirstEnrolment{UserID: jo.ID}, "had_factor")
}

// TestFirstEnrolmentByInvitation: what an application hands in is the user's own live invitation.
func TestFirstEnrolmentByInvitation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	jo, ada := w.user("jo"), w.user("ada")
	w.pass(60 * day) // however long ago they were made
	mine, theirs := w.invited(jo, account.Invite{}), w.invited(ada, account.Invite{Purpose: mfa.InviteToReset})
	w.notFirst(account.FirstEnrolment{UserID: jo.ID, Invitation: secret.New("x")}, "invitation")
	w.notFirst(account.FirstEnrolment{UserID: jo.ID, Invitation: secretOf(t, theirs)}, "invitation")
	w.notFirst(account.FirstEnrolment{UserID: ada.ID, Invitation: secretOf(t, mine)}, "invitation")
	w.notFirst(account.FirstEnrolment{UserID: ada.ID, Invitation: secretOf(t, theirs)}, "invitation") // to reset, not to enrol
	must(t, w.first(account.FirstEnrolment{UserID: jo.ID, Invitation: secretOf(t, mine)}))
	_, err := w.s.RevokeInvitation(w.ctx, in, mine.ID)
	must(t, err)
	w.notFirst(account.FirstEnrolment{UserID: jo.ID, Invitation: secretOf(t, mine)}, "invitation")
}

func TestFirstEnrolmentBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person("jo", phrase)
	for _, name := range []string{"jo", "nobody"} {
		for range 20 {
			wants(t, w.first(account.FirstEnrolment{UserName: name, Password: secret.New("wrong")}), mfa.Forbidden, mfa.ReasonCredentials)
		}
		wants(t, w.first(account.FirstEnrolment{UserName: name, Password: secret.New(phrase)}), mfa.RateLimited, mfa.ReasonGuessesSpent)
	}
}
