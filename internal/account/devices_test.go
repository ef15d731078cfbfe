package account_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/protocol"
)

func TestRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	first, second := w.add(u), w.add(u)
	byFirst, bySecond, open := w.approved(u, first), w.approved(u, second), w.pending(u, w.app)
	must(t, w.s.Revoke(w.ctx, in, first.id, byAdmin))
	must(t, w.s.Revoke(w.ctx, in, first.id, byAdmin))
	if s, why := w.state(byFirst); s != mfa.Cancelled || why != mfa.CancelDeviceGone {
		t.Errorf("what it approved is %s %s, want cancelled device_revoked", s, why)
	}
	if s, _ := w.state(bySecond); s != mfa.Approved {
		t.Errorf("what another device approved is %s", s)
	}
	if s, _ := w.state(open); s != mfa.Pending {
		t.Errorf("what nobody answered is %s", s)
	}
	if n := len(w.events(audit.DeviceRevoked)); n != 1 {
		t.Errorf("recorded %d times, want once", n)
	}
	if !slices.Contains(w.told(second), protocol.NoticeFactorChanged) {
		t.Error("the other device is not told")
	}
	wants(t, w.s.Revoke(w.ctx, in, "dev_unknown", byAdmin), mfa.NotFound, "")
	wants(t, w.s.Revoke(w.ctx, "other", second.id, byAdmin), mfa.NotFound, "")
	wants(t, w.s.Revoke(w.ctx, in, second.id, w.byUser("")), mfa.Forbidden, mfa.ReasonFreshFactor)
	must(t, w.s.Revoke(w.ctx, in, second.id, w.byUser(w.redeemed(u, totp))))

	live, err := w.s.Devices(w.ctx, in, u.ID, false)
	must(t, err)
	all, err := w.s.Devices(w.ctx, in, u.ID, true)
	must(t, err)
	if len(live) != 0 || len(all) != 2 {
		t.Errorf("%d devices live and %d in all, want 0 and 2", len(live), len(all))
	}
	_, err = w.s.Devices(w.ctx, in, "usr_unknown", false)
	wants(t, err, mfa.NotFound, "")
}

func TestRevokeClaimed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, err := w.invite(w.user("ada"), account.Enrol{Authority: byAdmin})
	must(t, err)
	must(t, w.claim(p))
	must(t, w.s.Revoke(w.ctx, in, p.id, byAdmin))
	w.recorded(string(mfa.RecordEnrolmentCancelled), mfa.ActorAdministrator)
	wants(t, w.confirm(p), mfa.Conflict, mfa.ReasonEnrolmentClosed)
}

func TestRename(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.add(w.user("ada"))
	d, err := w.s.Rename(w.ctx, in, p.id, "Ada's phone")
	must(t, err)
	if d.Name != "Ada's phone" || w.recorded(audit.DeviceRenamed, mfa.ActorAdministrator).Data["name"] != d.Name {
		t.Errorf("got %+v", d)
	}
	_, err = w.s.Rename(w.ctx, in, p.id, "")
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	_, err = w.s.Rename(w.ctx, in, "dev_unknown", "x")
	wants(t, err, mfa.NotFound, "")
	must(t, w.s.Revoke(w.ctx, in, p.id, byAdmin))
	_, err = w.s.Rename(w.ctx, in, p.id, "x")
	wants(t, err, mfa.Conflict, mfa.ReasonDeviceNotActive)
}

// veto is the message by which a phone objects to another.
func veto(of *phone) protocol.Veto {
	return protocol.Veto{V: 1, Device: string(of.id), Enrolment: string(of.enrolment)}
}

func TestVetoAndSettlement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	older, newcomer := w.add(u), w.add(u)
	ch := w.approved(u, newcomer)
	must(t, w.s.Veto(w.ctx, w.says(older), veto(newcomer)))
	must(t, w.s.Veto(w.ctx, w.says(older), veto(newcomer)))
	if d := w.device(newcomer.id); d.State != mfa.DeviceSuspended {
		t.Errorf("the newcomer is %s, want suspended", d.State)
	}
	if s, why := w.state(ch); s != mfa.Cancelled || why != mfa.CancelDeviceGone {
		t.Errorf("what the newcomer approved is %s %s", s, why)
	}
	if e := w.recorded(audit.DeviceVetoed, mfa.ActorUser); e.By != string(older.id) || e.Device != newcomer.id {
		t.Errorf("got event %+v", e)
	}
	if n := len(w.events(audit.DeviceSuspended)); n != 1 {
		t.Errorf("the suspension is recorded %d times, want once", n)
	}
	wants(t, w.s.RenameSelf(w.ctx, w.says(newcomer), protocol.Name{V: 1, Seq: 1, Name: "x"}), mfa.Forbidden, mfa.ReasonDeviceNotActive)
	wants(t, w.s.Veto(w.ctx, w.says(newcomer), veto(older)), mfa.Forbidden, mfa.ReasonVetoNotAllowed)

	wants(t, w.s.Restore(w.ctx, in, newcomer.id, w.byUser(w.redeemed(u, totp))), mfa.Forbidden, mfa.ReasonFreshFactor)
	wants(t, w.s.Restore(w.ctx, in, newcomer.id, w.byUser("")), mfa.Forbidden, mfa.ReasonFreshFactor)
	must(t, w.s.Restore(w.ctx, in, newcomer.id, w.byUser(w.redeemed(u, mfa.Evidence{Method: mfa.BackupCode}))))
	w.recorded(audit.DeviceRestored, mfa.ActorAdministrator)
	if d := w.device(newcomer.id); d.State != mfa.DeviceActive || !d.Quarantined {
		t.Errorf("the restored device is %+v, want it active and still in quarantine", d)
	}
	wants(t, w.s.Veto(w.ctx, w.says(older), veto(newcomer)), mfa.Conflict, mfa.ReasonVetoNotAllowed)
	wants(t, w.s.Restore(w.ctx, in, newcomer.id, byAdmin), mfa.Conflict, mfa.ReasonDeviceNotActive)
	wants(t, w.s.Restore(w.ctx, in, "dev_unknown", byAdmin), mfa.NotFound, "")
}

func TestVetoNotAllowed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		run    func(w *world, u account.User) error
		code   mfa.Code
		reason mfa.Reason
	}{
		{"by a device that joined in quarantine", func(w *world, u account.User) error {
			w.add(u)
			second, third := w.add(u), w.add(u)
			w.pass(day - 2*time.Second) // the second is free, the third is not
			return w.s.Veto(w.ctx, w.says(second), veto(third))
		}, mfa.Forbidden, mfa.ReasonVetoNotAllowed},
		{"by a newer device", func(w *world, u account.User) error {
			w.add(u)
			second, third := w.add(u), w.add(u)
			return w.s.Veto(w.ctx, w.says(third), veto(second))
		}, mfa.Forbidden, mfa.ReasonVetoNotAllowed},
		{"by itself", func(w *world, u account.User) error {
			w.add(u)
			second := w.add(u)
			return w.s.Veto(w.ctx, w.says(second), veto(second))
		}, mfa.NotFound, ""},
		{"by a revoked device", func(w *world, u account.User) error {
			older, newcomer := w.add(u), w.add(u)
			seen := w.says(older)
			must(w.t, w.s.Revoke(w.ctx, in, older.id, byAdmin))
			return w.s.Veto(w.ctx, seen, veto(newcomer))
		}, mfa.Forbidden, mfa.ReasonDeviceRevoked},
		{"by one that was suspended then", func(w *world, u account.User) error {
			w.add(u)
			second := w.add(u)
			w.suspend(second)
			w.pass(day)
			third := w.add(u)
			must(w.t, w.s.Restore(w.ctx, in, second.id, byAdmin))
			return w.s.Veto(w.ctx, w.says(second), veto(third))
		}, mfa.Forbidden, mfa.ReasonVetoNotAllowed},
		{"after the quarantine", func(w *world, u account.User) error {
			older, newcomer := w.add(u), w.add(u)
			w.pass(day)
			return w.s.Veto(w.ctx, w.says(older), veto(newcomer))
		}, mfa.Conflict, mfa.ReasonVetoNotAllowed},
		{"of another user's device", func(w *world, u account.User) error {
			eve := w.user("eve")
			w.add(eve)
			return w.s.Veto(w.ctx, w.says(w.add(u)), veto(w.add(eve)))
		}, mfa.NotFound, ""},
		{"of an unknown device", func(w *world, u account.User) error {
			return w.s.Veto(w.ctx, w.says(w.add(u)), protocol.Veto{V: 1, Device: "dev_unknown", Enrolment: "enr_unknown"})
		}, mfa.NotFound, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			u := w.user("ada")
			wants(t, tt.run(w, u), tt.code, tt.reason)
			refused := w.events(audit.AccountRefused)
			if want := tt.code == mfa.Forbidden; want != (len(refused) == 1) {
				t.Fatalf("%d refusals are recorded", len(refused))
			} else if want && (refused[0].User != u.ID || refused[0].Actor != mfa.ActorUser || refused[0].Data["reason"] != string(tt.reason)) {
				t.Errorf("got event %+v", refused[0])
			}
		})
	}
}

// A device that was suspended and restored after the newcomer was confirmed was active then, so it
// keeps its veto.
func TestVetoAfterLaterRestoration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	doc := policyOf(t, "quarantine: 168h")
	u := w.user("ada")
	w.add(u)
	second := w.add(u)
	w.pass(day + time.Second)
	_, _, err := w.s.ApplyPolicy(w.ctx, in, doc, -1)
	must(t, err)
	third := w.add(u)
	w.suspend(second)
	w.pass(time.Second)
	must(t, w.s.Restore(w.ctx, in, second.id, byAdmin))
	must(t, w.s.Veto(w.ctx, w.says(second), veto(third)))
}

func rotation(t *testing.T, p *phone, id mfa.DeviceID, old string, sign bool) protocol.Rotate {
	t.Helper()
	key, jwk := newKey(t)
	inner, err := protocol.Sign(key, protocol.Header{}, &protocol.NewKey{V: 1, Device: string(id), OldThumbprint: old})
	must(t, err)
	if !sign {
		inner = inner[:len(inner)-86] + mustSign(t, p, id, old)
	}
	p.key, p.jwk = key, jwk
	return protocol.Rotate{V: 1, Seq: p.next(), Inner: inner}
}

// mustSign gives the signature of the phone's present key over such a message of its own.
func mustSign(t *testing.T, p *phone, id mfa.DeviceID, old string) string {
	t.Helper()
	jws, err := protocol.Sign(p.key, protocol.Header{}, &protocol.NewKey{V: 1, Device: string(id), OldThumbprint: old})
	must(t, err)
	return jws[len(jws)-86:]
}

func TestRotate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	p, mate := w.add(u), w.add(u)
	before, old := w.says(p), p.jwk.Thumbprint()
	must(t, w.s.Rotate(w.ctx, before, rotation(t, p, p.id, old, true)))
	if d := w.device(p.id); d.Thumbprint != p.jwk.Thumbprint() || !d.Quarantined {
		t.Errorf("got device %+v, want it with the new key and in quarantine", d)
	}
	if e := w.recorded(audit.DeviceRotated, mfa.ActorUser); e.Data["old"] != old || e.Data["new"] != p.jwk.Thumbprint() {
		t.Errorf("got event %+v", e)
	}
	if !slices.Contains(w.told(mate), protocol.NoticeFactorChanged) {
		t.Error("the other device is not told")
	}
	w.says(p)
	// What the old key signed before its end says nothing any more.
	wants(t, w.s.RenameSelf(w.ctx, before, protocol.Name{V: 1, Seq: p.next(), Name: "x"}), mfa.Unauthenticated, mfa.ReasonSignature)
	wants(t, w.s.Unenrol(w.ctx, before, protocol.Unenrol{V: 1, Seq: p.next()}), mfa.Unauthenticated, mfa.ReasonSignature)
	wants(t, w.s.Veto(w.ctx, before, veto(mate)), mfa.Unauthenticated, mfa.ReasonSignature)
}

func TestRotateRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.add(w.user("ada"))
	seen := w.says(p)
	old, key := p.jwk.Thumbprint(), p.key
	for _, tt := range []struct {
		name   string
		m      func(p *phone) protocol.Rotate
		code   mfa.Code
		reason mfa.Reason
	}{
		{"another device", func(p *phone) protocol.Rotate { return rotation(t, p, "dev_other", old, true) }, mfa.Invalid, mfa.ReasonMalformed},
		{"another old key", func(p *phone) protocol.Rotate {
			_, jwk := newKey(t)
			return rotation(t, p, p.id, jwk.Thumbprint(), true)
		}, mfa.Invalid, mfa.ReasonMalformed},
		{"signed by another key", func(p *phone) protocol.Rotate { return rotation(t, p, p.id, old, false) }, mfa.Unauthenticated, mfa.ReasonSignature},
		{"not a message", func(*phone) protocol.Rotate { return protocol.Rotate{V: 1, Seq: 9, Inner: "x"} }, mfa.Invalid, mfa.ReasonMalformed},
		{"the same key", func(p *phone) protocol.Rotate {
			inner, err := protocol.Sign(key, protocol.Header{}, &protocol.NewKey{V: 1, Device: string(p.id), OldThumbprint: old})
			must(t, err)
			return protocol.Rotate{V: 1, Seq: 9, Inner: inner}
		}, mfa.Conflict, mfa.ReasonKeyUsed},
	} {
		attempt := *p
		wants(t, w.s.Rotate(w.ctx, seen, tt.m(&attempt)), tt.code, tt.reason)
		if d := w.device(p.id); d.Thumbprint != old || d.Quarantined {
			t.Errorf("%s changed the device", tt.name)
		}
	}
}

func TestSelf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	p, mate := w.add(u), w.add(u)
	must(t, w.s.RenameSelf(w.ctx, w.says(p), protocol.Name{V: 1, Seq: 1, Name: "tablet"}))
	wants(t, w.s.RenameSelf(w.ctx, w.says(p), protocol.Name{V: 1, Seq: 1, Name: "tablet"}), mfa.Conflict, mfa.ReasonSequence)
	if e := w.recorded(audit.DeviceRenamed, mfa.ActorUser); e.By != string(p.id) || e.Data["name"] != "tablet" {
		t.Errorf("got event %+v", e)
	}
	targets := []protocol.Target{{Kind: protocol.TargetNtfy, URL: "https://ntfy.example/secret-topic"}}
	must(t, w.s.SetTargets(w.ctx, w.says(p), protocol.Targets{V: 1, Seq: 2, Targets: targets}))
	if e := w.recorded(audit.DeviceTargets, mfa.ActorUser); cmp.Diff(map[string]string{"targets": "1"}, e.Data) != "" {
		t.Errorf("got event data %v, want the number of targets alone", e.Data)
	}
	wants(t, w.s.Lock(w.ctx, in, "usr_unknown"), mfa.NotFound, "")
	wants(t, w.s.LockSelf(w.ctx, w.says(p), protocol.Lock{V: 1, Seq: 3}), mfa.Unsupported, mfa.ReasonNotOffered)

	ch := w.approved(u, p)
	must(t, w.s.Unenrol(w.ctx, w.says(p), protocol.Unenrol{V: 1, Seq: 3}))
	if s, why := w.state(ch); s != mfa.Cancelled || why != mfa.CancelDeviceGone {
		t.Errorf("what it approved is %s %s", s, why)
	}
	w.recorded(audit.DeviceUnenrolled, mfa.ActorUser)
	if !slices.Contains(w.told(mate), protocol.NoticeFactorChanged) {
		t.Error("the other device is not told")
	}
	wants(t, w.s.Unenrol(w.ctx, w.says(p), protocol.Unenrol{V: 1, Seq: 3}), mfa.Forbidden, mfa.ReasonDeviceRevoked)
	_, _, err := w.s.Identify(w.ctx, "dev_unknown")
	wants(t, err, mfa.Unauthenticated, mfa.ReasonSignature)
}
