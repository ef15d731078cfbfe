package account_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

func TestEnrolment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	older := w.add(u)
	if got, err := w.s.User(w.ctx, in, u.ID); err != nil || !got.HadFactor {
		t.Errorf("after the first device the user is %+v, %v", got, err)
	}

	p, err := w.invite(u, account.Enrol{Authority: account.Authority{By: mfa.ActorAdministrator, Asker: w.app.ID}})
	must(t, err)
	state := func(want mfa.EnrolmentState) account.Enrolment {
		t.Helper()
		e, err := w.s.Enrolment(w.ctx, in, p.enrolment)
		must(t, err)
		if e.State != want || e.Asker != w.app.ID || e.User != u.ID {
			t.Errorf("got enrolment %+v, want it %s", e, want)
		}
		return e
	}
	state(mfa.EnrolmentInvited)
	must(t, w.claim(p))
	if e := state(mfa.EnrolmentClaimed); e.Name != "phone" || e.Device != p.id {
		t.Errorf("got %+v, want the phone", e)
	}
	if e := w.recorded(string(mfa.RecordEnrolmentClaimed), mfa.ActorUser); e.Device != p.id || e.By != string(p.id) {
		t.Errorf("got event %+v", e)
	}

	code := p.answer.ConfirmCode
	p.answer.ConfirmCode = "x"
	wants(t, w.confirm(p), mfa.Forbidden, mfa.ReasonWrongCode)
	if e := w.recorded(string(mfa.RecordEnrolmentWrong), mfa.ActorAdministrator); e.Data["wrong"] != "1" {
		t.Errorf("got event %+v", e)
	}
	p.answer.ConfirmCode = code
	must(t, w.confirm(p))
	state(mfa.EnrolmentConfirmed)
	wants(t, w.confirm(p), mfa.Conflict, mfa.ReasonEnrolmentClosed)
	if d := w.device(p.id); d.State != mfa.DeviceActive || !d.Quarantined || d.QuarantineUntil != d.ConfirmedAt.Add(day) {
		t.Errorf("got device %+v, want it a day in quarantine", d)
	}
	e := w.recorded(audit.DeviceAdded, mfa.ActorAdministrator)
	if e.Device != p.id || e.Data["quarantined"] != "true" || e.Address != "192.0.2.1" || e.Request != "req_1" {
		t.Errorf("got event %+v", e)
	}
	if d := cmp.Diff([]protocol.NoticeKind{protocol.NoticeDeviceClaimed, protocol.NoticeDeviceAdded}, w.told(older)); d != "" {
		t.Errorf("the older device is told (-want +got):\n%s", d)
	}
	if got := w.told(p); len(got) != 0 {
		t.Errorf("the newcomer is told %v", got)
	}
}

func TestEnrolByUser(t *testing.T) {
	t.Parallel()
	scan := func(p *phone) mfa.Evidence { return mfa.Evidence{Method: mfa.Push, Match: mfa.Scan, Device: p.id} }
	for _, tt := range []struct {
		name    string
		show    func(w *world, u account.User, p *phone) mfa.ChallengeID
		refused bool
	}{
		{name: "TOTP", show: func(w *world, u account.User, _ *phone) mfa.ChallengeID { return w.redeemed(u, totp) }},
		{name: "backup code", show: func(w *world, u account.User, _ *phone) mfa.ChallengeID {
			return w.redeemed(u, mfa.Evidence{Method: mfa.BackupCode})
		}},
		{name: "scan", show: func(w *world, u account.User, p *phone) mfa.ChallengeID { return w.redeemed(u, scan(p)) }},
		{name: "just in time", show: func(w *world, u account.User, _ *phone) mfa.ChallengeID {
			id := w.redeemed(u, totp)
			w.pass(mfa.FreshFor - time.Minute)
			return id
		}},
		{name: "too old", refused: true, show: func(w *world, u account.User, _ *phone) mfa.ChallengeID {
			id := w.redeemed(u, totp)
			w.pass(mfa.FreshFor)
			return id
		}},
		{name: "none", refused: true, show: func(*world, account.User, *phone) mfa.ChallengeID { return "" }},
		{name: "unknown", refused: true, show: func(*world, account.User, *phone) mfa.ChallengeID { return "ch_unknown" }},
		{name: "bypass code", refused: true, show: func(w *world, u account.User, _ *phone) mfa.ChallengeID {
			return w.redeemed(u, mfa.Evidence{Method: mfa.BypassCode})
		}},
		{name: "two digits", refused: true, show: func(w *world, u account.User, p *phone) mfa.ChallengeID {
			return w.redeemed(u, mfa.Evidence{Method: mfa.Push, Match: mfa.Number, Device: p.id})
		}},
		{name: "not redeemed", refused: true, show: func(w *world, u account.User, p *phone) mfa.ChallengeID { return w.approved(u, p) }},
		{name: "of somebody else", refused: true, show: func(w *world, _ account.User, _ *phone) mfa.ChallengeID {
			return w.redeemed(w.user("eve"), totp)
		}},
		{name: "of another application", refused: true, show: func(w *world, u account.User, _ *phone) mfa.ChallengeID {
			return w.challenge(u, w.application("Other"), func(c *store.Challenge, now mfa.Instant) { redeem(c, totp, now) })
		}},
		{name: "reported", refused: true, show: func(w *world, u account.User, _ *phone) mfa.ChallengeID {
			return w.challenge(u, w.app, func(c *store.Challenge, now mfa.Instant) {
				redeem(c, totp, now)
				c.Reported = true
			})
		}},
		{name: "in quarantine then", refused: true, show: func(w *world, u account.User, p *phone) mfa.ChallengeID {
			e := scan(p)
			e.Quarantined = true
			return w.redeemed(u, e)
		}},
		{name: "in quarantine now", refused: true, show: func(w *world, u account.User, _ *phone) mfa.ChallengeID {
			return w.redeemed(u, scan(w.add(u)))
		}},
		{name: "by a revoked device", refused: true, show: func(w *world, u account.User, p *phone) mfa.ChallengeID {
			id := w.redeemed(u, scan(p))
			must(w.t, w.s.Revoke(w.ctx, in, p.id, byAdmin))
			return id
		}},
		{name: "policy says no", refused: true, show: func(w *world, u account.User, _ *phone) mfa.ChallengeID {
			_, _, err := w.s.ApplyPolicy(w.ctx, in, policyOf(w.t, "enrolment: {self: false}"), -1)
			must(w.t, err)
			return w.redeemed(u, totp)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			u := w.user("ada")
			p := w.add(u)
			right := w.byUser(tt.show(w, u, p))
			_, err := w.invite(u, account.Enrol{Authority: right})
			_, errTOTP := w.s.CreateTOTP(w.ctx, in, u.ID, right, account.TOTPOptions{})
			_, errCodes := w.s.MakeBackupCodes(w.ctx, in, u.ID, right)
			for what, err := range map[string]error{"enrol": err, "add a TOTP factor": errTOTP, "make backup codes": errCodes} {
				if tt.refused && mfa.CodeOf(err) != mfa.Forbidden || !tt.refused && err != nil {
					t.Errorf("to %s: got %v", what, err)
				}
			}
			if tt.refused && len(w.events(audit.TOTPCreated))+len(w.events(audit.BackupCodesMade)) != 0 {
				t.Error("a factor was added")
			}
		})
	}
}

func TestEnrolRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	for _, by := range []mfa.Actor{mfa.ActorUser, mfa.ActorHelpDesk} {
		_, err := w.invite(u, account.Enrol{Authority: account.Authority{By: by}, Lost: true})
		wants(t, err, mfa.Forbidden, mfa.ReasonScope)
	}
	_, err := w.s.Enrol(w.ctx, in, "usr_unknown", account.Enrol{Authority: byAdmin})
	wants(t, err, mfa.NotFound, "")
	p, err := w.invite(u, account.Enrol{Authority: byAdmin})
	must(t, err)
	must(t, w.s.Lock(w.ctx, in, u.ID))
	_, err = w.invite(u, account.Enrol{Authority: byAdmin})
	wants(t, err, mfa.Conflict, mfa.ReasonEnrolmentClosed)
	wants(t, w.claim(p), mfa.Conflict, mfa.ReasonEnrolmentClosed) // cancelled by the lock
	must(t, w.s.Unlock(w.ctx, in, u.ID))

	p, err = w.invite(u, account.Enrol{Authority: byAdmin})
	must(t, err)
	must(t, w.claim(p))
	must(t, w.s.Lock(w.ctx, in, u.ID))
	wants(t, w.confirm(p), mfa.Conflict, mfa.ReasonEnrolmentClosed)
	if d := w.device(p.id); d.State != mfa.DeviceRefused {
		t.Errorf("after the lock the claimed device is %s, want refused", d.State)
	}

	_, err = w.s.Enrolment(w.ctx, in, "enr_unknown")
	wants(t, err, mfa.NotFound, "")
	_, err = w.s.Confirm(w.ctx, in, "enr_unknown", "123456")
	wants(t, err, mfa.NotFound, "")
	wants(t, w.s.CancelEnrolment(w.ctx, in, "enr_unknown"), mfa.NotFound, "")
	_, err = w.s.Confirm(w.ctx, "other", p.enrolment, p.answer.ConfirmCode)
	wants(t, err, mfa.NotFound, "")
}

func TestCancelEnrolment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	p, err := w.invite(u, account.Enrol{Authority: byAdmin})
	must(t, err)
	must(t, w.claim(p))
	must(t, w.s.CancelEnrolment(w.ctx, in, p.enrolment))
	w.recorded(string(mfa.RecordEnrolmentCancelled), mfa.ActorAdministrator)
	wants(t, w.confirm(p), mfa.Conflict, mfa.ReasonEnrolmentClosed)
	wants(t, w.s.CancelEnrolment(w.ctx, in, p.enrolment), mfa.Conflict, mfa.ReasonEnrolmentClosed)
	if d := w.device(p.id); d.State != mfa.DeviceRefused {
		t.Errorf("the device is %s, want refused", d.State)
	}
	p, err = w.invite(u, account.Enrol{Authority: byAdmin})
	must(t, err)
	w.pass(mfa.TicketLife)
	wants(t, w.s.CancelEnrolment(w.ctx, in, p.enrolment), mfa.Conflict, mfa.ReasonEnrolmentClosed)
	wants(t, w.claim(p), mfa.Gone, mfa.ReasonExpired)
	if n := len(w.events(string(mfa.RecordEnrolmentExpired))); n != 1 {
		t.Errorf("the end was recorded %d times, want once", n)
	}
}

func TestLostReplacesAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	first, second := w.add(u), w.add(u)
	mine, theirs := w.approved(u, first), w.pending(u, w.app)
	p := w.enrol(u, account.Enrol{Authority: byAdmin, Lost: true})
	for _, old := range []*phone{first, second} {
		if d := w.device(old.id); d.State != mfa.DeviceRevoked {
			t.Errorf("an older device is %s, want revoked", d.State)
		}
	}
	if d := w.device(p.id); d.Quarantined || d.State != mfa.DeviceActive {
		t.Errorf("got device %+v, want it active and free", d)
	}
	if s, why := w.state(mine); s != mfa.Cancelled || why != mfa.CancelDeviceGone {
		t.Errorf("what the lost device approved is %s %s", s, why)
	}
	if s, _ := w.state(theirs); s != mfa.Pending {
		t.Errorf("a pending challenge became %s", s)
	}
	if e := w.events(audit.DeviceRevoked); len(e) != 2 {
		t.Errorf("%d devices are recorded as revoked, want 2", len(e))
	}
	// Nobody is left to veto, and nothing could be.
	_, _, err := w.s.Identify(w.ctx, string(first.id))
	must(t, err)
	wants(t, w.s.Veto(w.ctx, w.says(first), protocol.Veto{V: 1, Device: string(p.id), Enrolment: string(p.enrolment)}), mfa.Forbidden, mfa.ReasonDeviceRevoked)
}

func TestLostEnrolmentCancelledKeepsAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	first := w.add(u)
	p, err := w.invite(u, account.Enrol{Authority: byAdmin, Lost: true})
	must(t, err)
	must(t, w.claim(p))
	must(t, w.s.CancelEnrolment(w.ctx, in, p.enrolment))
	if d := w.device(first.id); d.State != mfa.DeviceActive {
		t.Errorf("the older device is %s before anything was confirmed", d.State)
	}
}

func TestParallelClaimsAndConfirmations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	p, err := w.invite(u, account.Enrol{Authority: byAdmin})
	must(t, err)
	const n = 50
	phones, errs := make([]*phone, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		phones[i] = newPhone(t)
		phones[i].enrolment, phones[i].ticket, phones[i].pin = p.enrolment, p.ticket, p.pin
		wg.Go(func() { errs[i] = w.claim(phones[i]) })
	}
	wg.Wait()
	var winner *phone
	for i, err := range errs {
		if err == nil && winner != nil {
			t.Fatal("two claims won")
		}
		if err == nil {
			winner = phones[i]
			continue
		}
		wants(t, err, mfa.Conflict, mfa.ReasonEnrolmentClosed)
	}
	if winner == nil {
		t.Fatal("no claim won")
	}
	for i := range n {
		wg.Go(func() { errs[i] = w.confirm(winner) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wants(t, err, mfa.Conflict, mfa.ReasonEnrolmentClosed)
	}
	if won != 1 || len(w.events(audit.DeviceAdded)) != 1 {
		t.Errorf("%d confirmations won, %d are recorded, want 1", won, len(w.events(audit.DeviceAdded)))
	}
}
