package authn_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// seen is a view without what differs between any two challenges. The user's id is told to nobody
// before the approval.
func seen(v authn.View) authn.View {
	v.ID, v.User, v.Name, v.ChangedAt = "", "", "", 0
	if v.Secrets != nil {
		v.Secrets = &authn.Secrets{
			Digits: form(v.Secrets.Digits), Number: form(v.Secrets.Number), QR: form(v.Secrets.QR),
		}
	}
	return v
}

// form keeps the length of a secret.
func form(s string) string { return string(slices.Repeat([]byte{'x'}, len(s))) }

// TestNobodyIsToldApart compares, step for step, what an application sees of challenges for a user
// with everything, an unknown name, a locked user and one with nothing.
func TestNobodyIsToldApart(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{
		"first_factor: none\n",
		"first_factor: none\nbudgets: {strangers_by_name: true}\n",
		"first_factor: none\nmatches: [digits_back, number, scan, digits]\nmin_bits: 0\nmethods: [push, totp, backup_code]\n",
	} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.policy(policy)
			names := map[string]string{"whole": "whole", "unknown": "unknown", "locked": "locked", "deviceless": "deviceless"}
			whole, p := w.person("whole")
			w.password(whole)
			w.totp(whole)
			codes, err := w.accounts.MakeBackupCodes(w.ctx, in, whole.ID, byAdmin)
			must(t, err)
			locked, _ := w.person("locked")
			must(t, w.accounts.Lock(w.ctx, in, locked.ID))
			w.user("deviceless")
			_ = p
			same := func(step string, of func(name string) any) {
				t.Helper()
				want := of(names["whole"])
				for kind, name := range names {
					if kind == "whole" {
						continue
					}
					if diff := cmp.Diff(want, of(name)); diff != "" {
						t.Errorf("%s: %s differs from a user with everything: %s", step, kind, diff)
					}
				}
			}
			ask := func(change func(*authn.Request)) func(string) any {
				return func(name string) any {
					r := login(name)
					r.Asserted = false
					if change != nil {
						change(&r)
					}
					v, err := w.s.Create(t.Context(), w.app, r)
					return []any{seen(v), told(err)}
				}
			}
			same("a sign-in", ask(nil))
			same("a second one", ask(nil))
			same("of a source", ask(func(r *authn.Request) { r.Source, r.IP = "vpn", "198.51.100.7" }))
			same("with more bits", ask(func(r *authn.Request) { r.MinBits = 128 }))
			same("a transaction", ask(func(r *authn.Request) { r.Kind, r.Reason = mfa.Transaction, "pay" }))
			same("by digits alone", ask(func(r *authn.Request) { r.Matches = []mfa.Match{mfa.Digits} }))
			same("what is not allowed", ask(func(r *authn.Request) { r.Matches, r.MinBits = []mfa.Match{mfa.Digits}, 128 }))
			same("a wrong password", ask(func(r *authn.Request) { *r = withPassword(*r, "wrong") }))
			same("a browser's proof", ask(func(r *authn.Request) { *r = w.from(w.newBrowser(), *r) }))

			life := map[string]authn.View{}
			for _, name := range names {
				r := login(name)
				r.Asserted = false
				life[name] = w.create(r)
			}
			read := func(name string) any { return seen(w.get(life[name].ID)) }
			same("while it waits", read)
			for range 11 {
				same("a wrong code", func(name string) any {
					v, err := w.verify(life[name].ID, mfa.TOTP, "000000")
					return []any{seen(v), told(err)}
				})
			}
			for _, m := range []mfa.Method{mfa.BackupCode, mfa.BypassCode, "digits_back", mfa.Push, mfa.SMS, "magic"} {
				same("by "+string(m), func(name string) any {
					v, err := w.verify(life[name].ID, m, codes[0].Reveal())
					return []any{seen(v), told(err)}
				})
			}
			same("a grant", func(name string) any {
				_, err := w.redeem(life[name].ID)
				return told(err)
			})
			same("a receipt", func(name string) any {
				_, err := w.s.Receipt(t.Context(), w.app, life[name].ID)
				return told(err)
			})
			w.move(life["whole"].DecideBy - 1)
			same("at the last moment", read)
			w.pass(time.Microsecond)
			same("at the end", read)
			must(t, w.s.Expire(t.Context()))
			same("recorded", read)
			same("after one that was ignored", ask(nil))
			same("a cancelled one", func(name string) any {
				r := login(name)
				r.Asserted = false
				v := w.create(r)
				v, err := w.s.Cancel(t.Context(), w.app, v.ID)
				return []any{seen(v), told(err)}
			})
			w.pass(20 * time.Minute)
			same("later", ask(nil))
			w.pass(day)
			same("a day later", ask(nil))
			r := login("whole") // and the one who is there signs in
			r.Asserted = false
			w.signIn(p, r)
		})
	}
}

// told is an error as a front passes it on.
func told(err error) any {
	if err == nil {
		return nil
	}
	return err.Error()
}

// TestNobodyAnswers: a challenge for somebody who cannot sign in is answered by nothing, also when
// they come to exist or are unlocked meanwhile.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	locked, p := w.person("locked")
	totp := w.totp(locked)
	w.signIn(p, login("locked"))
	must(t, w.accounts.Lock(w.ctx, in, locked.ID))
	v := w.create(login("locked"))
	unknown := w.create(login("newcomer"))
	equal(t, "prompts of a locked user", len(w.poll(p, v.ID).Prompts), 0)
	try := func() {
		t.Helper()
		_, err := w.decide(p, w.answers(v.ID, mfa.Scan, right(v, mfa.Scan)))
		wants(t, err, mfa.NotFound, "")
		got, err := w.verify(v.ID, mfa.TOTP, totp.code(w.now()))
		must(t, err)
		equal(t, "state after a right code", got.State, mfa.Pending)
	}
	try()
	must(t, w.accounts.Unlock(w.ctx, in, locked.ID))
	try()
	_, p2 := w.person("newcomer")
	_, err := w.decide(p2, w.answers(unknown.ID, mfa.Scan, right(unknown, mfa.Scan)))
	wants(t, err, mfa.NotFound, "")
	w.pass(time.Minute)
	v = w.create(login("locked"))
	w.types(v.ID, mfa.TOTP, totp.code(w.now())) // the refused ones used nothing up
	w.redeemed(v.ID)
	w.signIn(p, login("locked"))
	w.signIn(p2, login("newcomer"))
}

// TestMethodsAfterTheFirstFactor: only then are the methods the user's own.
func TestMethodsAfterTheFirstFactor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy("first_factor: none\n")
	u, p := w.person("alice")
	w.password(u)
	all := []mfa.Method{mfa.Push, mfa.TOTP, mfa.BackupCode, mfa.BypassCode}
	bare := login("alice")
	bare.Asserted = false
	for _, c := range []struct {
		name string
		r    authn.Request
		want []mfa.Method
	}{
		{"nothing checked", bare, all},
		{"unknown", authn.Request{UserName: "nobody", Kind: mfa.Login}, all},
		{"password checked", withPassword(bare, rightPassword), []mfa.Method{mfa.Push}},
	} {
		v := w.create(c.r)
		if diff := cmp.Diff(c.want, v.Methods); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if (v.Delivery != nil) != c.r.HasPassword {
			t.Errorf("%s: delivery %v", c.name, v.Delivery)
		}
		w.cancel(v)
	}
	w.signIn(p, bare)
}

// TestSpentBudgetNamesWhatRemains: the answer after the budget was spent names no method that is
// weaker than policy demands.
func TestSpentBudgetNamesWhatRemains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	w.totp(u)
	_, err := w.accounts.IssueBypass(w.ctx, in, u.ID, account.BypassOptions{Reason: "lost"})
	must(t, err)
	w.policy("methods: [push, totp]\nmin_bits: 128\n")
	v := w.create(login("alice"))
	if diff := cmp.Diff([]mfa.Method{mfa.Push}, v.Methods); diff != "" {
		t.Errorf("methods: %s", diff)
	}
	if diff := cmp.Diff([]mfa.Match{mfa.Scan}, v.MatchNow); diff != "" {
		t.Errorf("matches: %s", diff)
	}
	for _, m := range []mfa.Method{mfa.TOTP, mfa.BypassCode, mfa.BackupCode} {
		_, err := w.verify(v.ID, m, "123456")
		wants(t, err, mfa.Forbidden, mfa.ReasonMethodNotAllowed)
	}
	equal(t, "guesses paid for what could not answer", w.guesses(u.ID, typedByStrangers), 0)
	equal(t, "wrong codes recorded", len(w.events(store.EventFilter{Kind: string(mfa.RecordWrongCode)})), 0)
	w.approve(p, v, mfa.Scan)
	w.redeemed(v.ID)
}

// TestOtherApplications see nothing of a challenge, and the answer is the one for no challenge.
func TestOtherApplications(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, p := w.person("alice")
	v := w.create(login("alice"))
	other := w.application("Other")
	elsewhere := w.app
	elsewhere.Realm = "elsewhere"
	for _, by := range []authn.Caller{other, elsewhere} {
		for _, id := range []mfa.ChallengeID{v.ID, "ch_none"} {
			_, err := w.s.Get(t.Context(), by, id, mfa.Pending, 0)
			equal(t, "get", told(err), told(mfa.ErrNotFound()))
			_, err = w.s.Verify(t.Context(), by, id, mfa.TOTP, "123456")
			equal(t, "verify", told(err), told(mfa.ErrNotFound()))
			_, err = w.s.Cancel(t.Context(), by, id)
			equal(t, "cancel", told(err), told(mfa.ErrNotFound()))
			_, err = w.s.Redeem(t.Context(), by, id, "key-1")
			equal(t, "redeem", told(err), told(mfa.ErrNotFound()))
			_, err = w.s.Receipt(t.Context(), by, id)
			equal(t, "receipt", told(err), told(mfa.ErrNotFound()))
		}
	}
	w.state(v.ID, mfa.Pending, "")
	w.approve(p, v, mfa.Scan)
	_, err := w.s.Redeem(t.Context(), other, v.ID, "key-1")
	equal(t, "redeem", told(err), told(mfa.ErrNotFound()))
	w.redeemed(v.ID)
}
