package account_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

func TestSweepEnrolments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	phones := make([]*phone, 3)
	for i := range phones {
		p, err := w.invite(w.user(fmt.Sprintf("user%d", i)), account.Enrol{Authority: byAdmin})
		must(t, err)
		phones[i] = p
	}
	must(t, w.claim(phones[0]))
	w.pass(mfa.TicketLife - time.Minute)
	must(t, w.s.Sweep(t.Context()))
	if n := len(w.events(string(mfa.RecordEnrolmentExpired))); n != 0 {
		t.Fatalf("%d expired before their time", n)
	}
	w.pass(time.Minute)
	for range 2 {
		must(t, w.s.Sweep(t.Context()))
	}
	w.recorded(string(mfa.RecordEnrolmentExpired), mfa.ActorServer)
	if n := len(w.events(string(mfa.RecordEnrolmentExpired))); n != 3 {
		t.Errorf("%d ends are recorded, want 3", n)
	}
	if d := w.device(phones[0].id); d.State != mfa.DeviceRefused {
		t.Errorf("the claimed device is %s, want refused", d.State)
	}
}

func TestSweepRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, err := w.s.ApplyPolicy(w.ctx, in, policyOf(t, "retention: {challenges: 48h, events: 240h}"), -1)
	must(t, err)
	u := w.user("ada")
	p := w.add(u)
	old := w.redeemed(u, totp)
	must(t, w.s.LiftReport(w.ctx, in, func() mfa.UserID { w.report(u); return u.ID }()))
	w.pass(48*time.Hour + time.Minute)
	kept := w.redeemed(u, totp)
	must(t, w.s.Sweep(t.Context()))
	err = w.db.View(t.Context(), func(tx store.Tx) error {
		if _, err := tx.Challenge(in, kept); err != nil {
			return err
		}
		_, err := tx.Challenge(in, old)
		return err
	})
	if err == nil {
		t.Error("an old challenge is still there")
	}
	if len(w.events(audit.UserCreated)) == 0 {
		t.Error("an event went before its time")
	}
	if len(w.told(p)) != 1 {
		t.Error("a notice went before its time")
	}
	w.pass(240 * time.Hour)
	must(t, w.s.Sweep(t.Context()))
	if len(w.events(audit.UserCreated)) != 0 {
		t.Error("an old event is still there")
	}
	w.pass(30 * day)
	must(t, w.s.Sweep(t.Context()))
	must(t, w.db.View(t.Context(), func(tx store.Tx) error {
		list, err := tx.UserNotices(in, u.ID, 0)
		if len(list) != 0 {
			t.Errorf("%d notices outlived their time", len(list))
		}
		return err
	}))
}

// Events on which a veto may rest stay as long as the longest quarantine, whatever policy says.
func TestSweepKeepsWhatVetoesNeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, err := w.s.ApplyPolicy(w.ctx, in, policyOf(t, "quarantine: 168h\nretention: {events: 24h}"), -1)
	must(t, err)
	u := w.user("ada")
	w.add(u)
	second := w.add(u)
	w.pass(7 * day)
	w.suspend(second)
	third := w.add(u)
	must(t, w.s.Restore(w.ctx, in, second.id, byAdmin))
	w.pass(6 * day)
	must(t, w.s.Sweep(t.Context()))
	wants(t, w.s.Veto(w.ctx, w.says(second), veto(third)), mfa.Forbidden, mfa.ReasonVetoNotAllowed)
}

// What is over is forgotten in its time, and the key of a removed device never.
func TestSweepEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	p := w.add(u)
	kept := w.add(u)
	d := w.device(p.id)
	must(t, w.s.Revoke(w.ctx, in, p.id, byAdmin))
	there := func(device, enrolment bool) {
		t.Helper()
		must(t, w.s.Sweep(t.Context()))
		must(t, w.db.View(t.Context(), func(tx store.Tx) error {
			if _, err := tx.Device(p.id); (err == nil) != device {
				t.Errorf("the removed device: %v", err)
			}
			if _, err := tx.Enrolment(in, d.Enrolment); (err == nil) != enrolment {
				t.Errorf("its enrolment: %v", err)
			}
			used, err := tx.ThumbprintUsed(in, d.Thumbprint)
			if err != nil || !used {
				t.Errorf("its key can be enrolled again: %v, %v", used, err)
			}
			_, err = tx.Device(kept.id)
			return err
		}))
	}
	w.pass(29 * day)
	there(true, true)
	w.pass(2 * day)
	there(true, false)
	w.pass(370 * day)
	there(false, false)
}
