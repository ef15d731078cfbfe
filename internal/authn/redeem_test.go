package authn_test

import (
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// ground is something that a sign-in stands on and that is taken away in the middle of it.
type ground struct {
	name    string
	take    func(w *world, u account.User, p *phone)
	restore func(w *world, u account.User, p *phone)
	why     mfa.CancelReason // of the challenge after redemption was refused
	early   mfa.Reason       // what an approval is refused for if it was taken before; "" if none
	typed   bool             // it takes a typed answer's ground too
}

func setUser(state store.UserState) func(*world, account.User, *phone) {
	return func(w *world, u account.User, _ *phone) {
		w.change(func(tx store.Tx) error {
			row, err := tx.User(in, u.ID)
			if err != nil {
				return err
			}
			row.State = state
			return tx.PutUser(row)
		})
	}
}

func setApplication(off bool) func(*world, account.User, *phone) {
	return func(w *world, _ account.User, _ *phone) {
		w.change(func(tx store.Tx) error {
			row, err := tx.Application(in, w.app.Application.ID)
			if err != nil {
				return err
			}
			row.DisabledAt = 0
			if off {
				row.DisabledAt = tx.Now()
			}
			return tx.PutApplication(row)
		})
	}
}

func setDevice(e mfa.DeviceEvent) func(*world, account.User, *phone) {
	return func(w *world, _ account.User, p *phone) {
		w.change(func(tx store.Tx) error {
			row, err := tx.Device(p.id)
			if err != nil {
				return err
			}
			_, refused, err := w.devices.Apply(tx, &row, e)
			if err == nil {
				err = refused
			}
			return err
		})
	}
}

func setPolicy(text string) func(*world, account.User, *phone) {
	return func(w *world, _ account.User, _ *phone) { w.policy(text) }
}

func nothing(*world, account.User, *phone) {}

// grounds are taken behind the back of the services, so that nothing but the step's own reading of
// them can tell, and by the services as well.
func grounds() []ground {
	return []ground{
		{"user locked", setUser(store.UserLocked), setUser(store.UserActive), mfa.CancelUserLocked, mfa.ReasonMethodNotAllowed, true},
		{"application disabled", setApplication(true), setApplication(false), mfa.CancelApplicationOff, mfa.ReasonMethodNotAllowed, true},
		{"device revoked", setDevice(mfa.Revoke{}), nothing, mfa.CancelDeviceGone, mfa.ReasonDeviceRevoked, false},
		{"device suspended", setDevice(mfa.Suspend{}), setDevice(mfa.Restore{}), mfa.CancelDeviceGone, mfa.ReasonDeviceNotActive, false},
		{"methods without it", setPolicy("methods: [backup_code]\n"), setPolicy(""), mfa.CancelPolicy, mfa.ReasonMatchNotAllowed, true},
		{"matches without it", setPolicy("matches: [scan]\n"), setPolicy(""), mfa.CancelPolicy, mfa.ReasonMatchNotAllowed, false},
		{"more bits", setPolicy("min_bits: 128\n"), setPolicy(""), mfa.CancelPolicy, mfa.ReasonMatchNotAllowed, true},
		{"password wanted", setPolicy("first_factor: password\n"), setPolicy(""), mfa.CancelPolicy, "", true},
		{"the user locked by an administrator", func(w *world, u account.User, _ *phone) {
			must(w.t, w.accounts.Lock(w.ctx, in, u.ID))
		}, func(w *world, u account.User, _ *phone) {
			must(w.t, w.accounts.Unlock(w.ctx, in, u.ID))
		}, mfa.CancelUserLocked, mfa.ReasonChallengeClosed, true},
		{"the application disabled by an administrator", func(w *world, _ account.User, _ *phone) {
			must(w.t, w.accounts.DisableApplication(w.ctx, in, w.app.Application.ID))
		}, func(w *world, _ account.User, _ *phone) {
			must(w.t, w.accounts.EnableApplication(w.ctx, in, w.app.Application.ID))
		}, mfa.CancelApplicationOff, mfa.ReasonChallengeClosed, true},
		{"the device revoked by an administrator", func(w *world, _ account.User, p *phone) {
			must(w.t, w.accounts.Revoke(w.ctx, in, p.id, byAdmin))
		}, nothing, mfa.CancelDeviceGone, mfa.ReasonDeviceRevoked, false},
		{"the device removed by itself", func(w *world, _ account.User, p *phone) {
			must(w.t, w.accounts.Unenrol(w.t.Context(), w.says(p), protocol.Unenrol{V: 1, Seq: 1}))
		}, nothing, mfa.CancelDeviceGone, mfa.ReasonDeviceRevoked, false},
	}
}

// TestTakenBeforeRedemption: what an approval stood on is looked at again when it is redeemed.
func TestTakenBeforeRedemption(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, g := range grounds() {
		u, p := w.person("user" + string(rune('a'+i)))
		w.signIn(p, login(u.Name))
		v := w.create(login(u.Name))
		w.approve(p, v, mfa.Digits)
		g.take(w, u, p)
		_, err := w.redeem(v.ID)
		wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
		w.state(v.ID, mfa.Cancelled, g.why)
		g.restore(w, u, p)
		_, err = w.redeem(v.ID)
		wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
		equal(t, g.name+": cancelled events", w.recorded(string(mfa.RecordCancelled), v.ID), 1)
		equal(t, g.name+": grants", w.recorded(string(mfa.RecordRedeemed), v.ID), 0)
		if g.why == mfa.CancelDeviceGone && w.stateOf(p) != mfa.DeviceActive {
			p = w.phone(u)
		}
		w.signIn(p, login(u.Name))
	}
}

// TestTakenBeforeRedemptionOfCode is the same for a code, which stands on no device.
func TestTakenBeforeRedemptionOfCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	g := w.totp(u)
	for _, c := range grounds() {
		if !c.typed {
			continue
		}
		w.pass(time.Minute)
		v := w.create(login("alice"))
		w.types(v.ID, mfa.TOTP, g.code(w.now()))
		c.take(w, u, p)
		_, err := w.redeem(v.ID)
		wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
		w.state(v.ID, mfa.Cancelled, c.why)
		c.restore(w, u, p)
	}
	w.pass(time.Minute)
	v := w.create(login("alice"))
	w.types(v.ID, mfa.TOTP, g.code(w.now()))
	must(t, w.accounts.Revoke(w.ctx, in, p.id, byAdmin)) // it is not the device's
	w.redeemed(v.ID)
}

func (w *world) stateOf(p *phone) mfa.DeviceState {
	w.t.Helper()
	d, err := w.accounts.Device(w.ctx, in, p.id)
	must(w.t, err)
	return d.State
}

// TestTakenBeforeApproval: what is gone when the device answers approves nothing, and nothing that
// was refused can be redeemed.
func TestTakenBeforeApproval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, g := range grounds() {
		u, p := w.person("user" + string(rune('a'+i)))
		w.signIn(p, login(u.Name))
		v := w.create(login(u.Name))
		g.take(w, u, p)
		_, err := w.decide(p, w.answers(v.ID, mfa.Digits, right(v, mfa.Digits)))
		equal(t, g.name+": refused for", mfa.ReasonOf(err), g.early)
		_, err = w.redeem(v.ID)
		wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
		equal(t, g.name+": wrong answers counted", w.row(v.ID).Wrong, 0)
		g.restore(w, u, p)
		if w.stateOf(p) != mfa.DeviceActive {
			p = w.phone(u)
		}
		if w.row(v.ID).State == mfa.Pending { // as if nothing had been
			w.approve(p, v, mfa.Digits)
			w.redeemed(v.ID)
		}
		w.pass(time.Hour)
		w.signIn(p, login(u.Name))
	}
}

// TestReportedBeforeRedemption: the report reaches an approval that nobody redeemed yet.
func TestReportedBeforeRedemption(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, p := w.person("alice")
	w.signIn(p, login("alice"))
	v := w.create(login("alice"))
	w.approve(p, v, mfa.Digits)
	equal(t, "state", w.report(p, v.ID).State, mfa.Denied)
	_, err := w.redeem(v.ID)
	wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
	if v := w.get(v.ID); v.State != mfa.Denied || !v.Reported {
		t.Errorf("the challenge is %s, reported %v", v.State, v.Reported)
	}
	w.signIn(p, login("alice")) // by scanning
}

// TestSuspendedByWrongAnswers: the hundredth wrong answer in a row suspends the device, and takes
// back what it approved and nobody redeemed.
func TestSuspendedByWrongAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	quiet := w.phone(u)
	w.signIn(p, login("alice"))
	approved, others := w.create(login("alice")), w.create(login("alice"))
	w.approve(p, approved, mfa.Digits)
	w.approve(quiet, others, mfa.Scan)
	w.change(func(tx store.Tx) error {
		d, err := tx.Device(p.id)
		if err != nil {
			return err
		}
		d.Failures = mfa.MaxFailures - 1
		return tx.PutDevice(d)
	})
	v := w.create(login("alice"))
	w.wrong(p, v, mfa.Digits, 0)
	equal(t, "state of the device", w.stateOf(p), mfa.DeviceSuspended)
	w.state(approved.ID, mfa.Cancelled, mfa.CancelDeviceGone)
	_, err := w.decide(p, w.answers(v.ID, mfa.Digits, right(v, mfa.Digits)))
	wants(t, err, mfa.Forbidden, mfa.ReasonDeviceNotActive)
	w.redeemed(others.ID)
	if n := len(w.poll(quiet, "").Notices); n != 1 {
		t.Errorf("the other device got %d notices of the suspension", n)
	}
	w.approve(quiet, v, mfa.Scan)
	w.redeemed(v.ID)
}

// TestDeletedUser: what was redeemed for somebody who is gone can be asked for again, and what was
// not redeemed is gone.
func TestDeletedUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	done, open := w.create(login("alice")), w.create(login("alice"))
	w.approve(p, done, mfa.Scan)
	w.approve(p, open, mfa.Scan)
	g := w.redeemed(done.ID)
	must(t, w.accounts.DeleteUser(w.ctx, in, u.ID))
	again, err := w.redeem(done.ID)
	must(t, err)
	equal(t, "grant", again, g)
	_, err = w.redeem(open.ID)
	wants(t, err, mfa.Conflict, mfa.ReasonChallengeClosed)
	w.state(open.ID, mfa.Cancelled, mfa.CancelUserLocked)
	_, err = w.s.Receipt(t.Context(), w.app, done.ID)
	wants(t, err, mfa.NotFound, "")
	_, p = w.person("bob")
	w.signIn(p, login("bob"))
}

// TestLimits meets every limit to the microsecond.
func TestLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy("matches: [digits, scan, digits_back]\n")
	u, p := w.person("alice")
	totp := w.totp(u)
	back := map[mfa.ChallengeID]string{}
	answered := func(v authn.View) {
		out, err := w.decide(p, w.answers(v.ID, mfa.DigitsBack, ""))
		must(t, err)
		back[v.ID] = out.DigitsBack
	}
	approved := func(v authn.View) { w.approve(p, v, mfa.Digits) }
	decideBy := func(c store.Challenge) mfa.Instant { return c.DecideBy }
	redeemBy := func(c store.Challenge) mfa.Instant { return c.RedeemBy }
	for _, step := range []struct {
		name  string
		first func(authn.View)
		limit func(store.Challenge) mfa.Instant
		act   func(authn.View) error
		after mfa.State
	}{
		{"approve", nil, decideBy, func(v authn.View) error {
			_, err := w.decide(p, w.answers(v.ID, mfa.Scan, right(v, mfa.Scan)))
			return err
		}, mfa.Approved},
		{"answer", nil, decideBy, func(v authn.View) error {
			_, err := w.decide(p, w.answers(v.ID, mfa.DigitsBack, ""))
			return err
		}, mfa.Answered},
		{"deny", nil, decideBy, func(v authn.View) error {
			_, err := w.decide(p, protocol.Decision{Challenge: string(v.ID), Decision: protocol.VerdictDeny})
			return err
		}, mfa.Denied},
		{"digits back", answered, decideBy, func(v authn.View) error {
			_, err := w.verify(v.ID, "digits_back", back[v.ID])
			return err
		}, mfa.Approved},
		{"code", nil, decideBy, func(v authn.View) error {
			_, err := w.verify(v.ID, mfa.TOTP, totp.code(w.now()))
			return err
		}, mfa.Approved},
		{"cancel", nil, decideBy, func(v authn.View) error {
			_, err := w.s.Cancel(t.Context(), w.app, v.ID)
			return err
		}, mfa.Cancelled},
		{"redeem", approved, redeemBy, func(v authn.View) error {
			_, err := w.redeem(v.ID)
			return err
		}, mfa.Redeemed},
		{"cancel the approved", approved, redeemBy, func(v authn.View) error {
			_, err := w.s.Cancel(t.Context(), w.app, v.ID)
			return err
		}, mfa.Cancelled},
	} {
		for _, off := range []time.Duration{-time.Microsecond, 0, time.Microsecond} {
			v := w.create(login("alice"))
			if step.first != nil {
				step.first(v)
			}
			w.move(step.limit(w.row(v.ID)).Add(off))
			err := step.act(v)
			if off < 0 {
				must(t, err)
				equal(t, step.name+": state", w.get(v.ID).State, step.after)
			} else {
				if mfa.CodeOf(err) != mfa.Gone || mfa.ReasonOf(err) != mfa.ReasonExpired {
					t.Errorf("%s at %s: got %v", step.name, off, err)
				}
				w.state(v.ID, mfa.Expired, "")
				must(t, w.s.Expire(t.Context()))
				equal(t, step.name+": expiries recorded", w.recorded(string(mfa.RecordExpired), v.ID), 1)
			}
			w.pass(day)
		}
	}
}

// TestClockBack: a clock that went back by a day revives nothing.
func TestClockBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pass(day)
	u, p := w.person("alice")
	totp := w.totp(u)
	code := totp.code(w.now())
	used := w.create(login("alice"))
	w.types(used.ID, mfa.TOTP, code)
	w.redeemed(used.ID)
	for i := range 9 {
		_, err := w.verify(w.create(login("alice")).ID, mfa.TOTP, other(code, i))
		must(t, err)
	}
	pending, approved := w.create(login("alice")), w.create(login("alice"))
	w.approve(p, approved, mfa.Scan)
	expired := w.create(login("alice"))
	w.change(func(tx store.Tx) error {
		c, err := tx.Challenge(in, expired.ID)
		if err != nil {
			return err
		}
		c.State = mfa.Expired
		return tx.PutChallenge(c)
	})
	w.back(day)
	_, err := w.decide(p, w.answers(pending.ID, mfa.Scan, right(pending, mfa.Scan)))
	wants(t, err, mfa.Unavailable, mfa.ReasonBusy)
	_, err = w.decide(p, w.answers(expired.ID, mfa.Scan, right(expired, mfa.Scan)))
	if err == nil {
		t.Error("an expired challenge was approved")
	}
	_, err = w.redeem(approved.ID)
	wants(t, err, mfa.Unavailable, mfa.ReasonBusy)
	if got := w.listed(p, pending.ID); len(got) != 0 {
		t.Errorf("the device lists %v", got)
	}
	v := w.create(login("alice"))
	got, err := w.verify(v.ID, mfa.TOTP, totp.code(w.now())) // its step is dead
	must(t, err)
	equal(t, "state after a code of the past", got.State, mfa.Pending)
	_, err = w.verify(v.ID, mfa.TOTP, totp.code(w.now()))
	wants(t, err, mfa.RateLimited, mfa.ReasonGuessesSpent)
	w.pass(day)
	w.approve(p, pending, mfa.Scan)
	w.redeemed(pending.ID)
	w.redeemed(approved.ID)
}
