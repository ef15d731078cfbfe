package device_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// change runs fn on the device in a transaction and returns what the caller is told.
func (w *world) change(id mfa.DeviceID, fn func(tx store.Tx, d *store.Device) error) error {
	return w.db.Update(w.t.Context(), func(tx store.Tx) error {
		d, err := tx.Device(id)
		if err != nil {
			return err
		}
		return fn(tx, &d)
	})
}

func TestChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.enrol(w.user(realm, "ada"))
	target := protocol.Target{Kind: protocol.TargetNtfy, URL: "https://ntfy.example/t"}
	must(t, w.change(d.ID, func(tx store.Tx, d *store.Device) error { return w.s.Rename(tx, d, 1, "tablet") }))
	must(t, w.change(d.ID, func(tx store.Tx, d *store.Device) error {
		return w.s.Targets(tx, d, 5, []protocol.Target{target})
	}))
	got := w.device(d.ID)
	var targets []protocol.Target
	must(t, json.Unmarshal(got.Targets, &targets))
	if diff := cmp.Diff([]protocol.Target{target}, targets); diff != "" || got.Name != "tablet" || got.Seq != 5 {
		t.Errorf("got %+v, targets (-want +got):\n%s", got, diff)
	}
	must(t, w.change(d.ID, func(tx store.Tx, d *store.Device) error { return w.s.Targets(tx, d, 6, nil) }))
	if got := w.device(d.ID); got.Targets != nil {
		t.Errorf("got targets %s, want none", got.Targets)
	}
	must(t, w.change(d.ID, func(tx store.Tx, d *store.Device) error { return w.s.Label(tx, d, "Ada's tablet") }))
	if got := w.device(d.ID); got.Name != "Ada's tablet" || got.Seq != 6 {
		t.Errorf("got name %q and seq %d", got.Name, got.Seq)
	}

	key := newKey(t)
	must(t, w.change(d.ID, func(tx store.Tx, d *store.Device) error { return w.s.Rotate(tx, d, 7, key, day) }))
	got = w.device(d.ID)
	if got.Thumbprint != key.Thumbprint() || got.QuarantineUntil == 0 || got.Vetoable {
		t.Errorf("after the rotation the device is %+v", got)
	}
	var stored protocol.JWK
	must(t, json.Unmarshal(got.JWK, &stored))
	if stored != key {
		t.Errorf("got key %+v, want %+v", stored, key)
	}
}

func TestChangesRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.enrol(w.user(realm, "ada"))
	must(t, w.change(d.ID, func(tx store.Tx, d *store.Device) error { return w.s.Rename(tx, d, 3, "tablet") }))
	used := newKey(t)
	must(t, w.change(d.ID, func(tx store.Tx, d *store.Device) error { return w.s.Rotate(tx, d, 4, used, 0) }))
	must(t, w.change(d.ID, func(tx store.Tx, d *store.Device) error { return w.s.Rotate(tx, d, 5, newKey(t), 0) }))
	for _, tt := range []struct {
		name   string
		fn     func(tx store.Tx, d *store.Device) error
		code   mfa.Code
		reason mfa.Reason
	}{
		{"same seq", func(tx store.Tx, d *store.Device) error { return w.s.Rename(tx, d, 5, "x") }, mfa.Conflict, mfa.ReasonSequence},
		{"older seq", func(tx store.Tx, d *store.Device) error { return w.s.Targets(tx, d, 1, nil) }, mfa.Conflict, mfa.ReasonSequence},
		{"older seq of unenrol", func(tx store.Tx, d *store.Device) error {
			_, err := w.s.Unenrol(tx, d, 5)
			return err
		}, mfa.Conflict, mfa.ReasonSequence},
		{"former key", func(tx store.Tx, d *store.Device) error { return w.s.Rotate(tx, d, 9, used, 0) }, mfa.Conflict, mfa.ReasonKeyUsed},
		{"not a key", func(tx store.Tx, d *store.Device) error {
			return w.s.Rotate(tx, d, 9, protocol.JWK{Kty: "EC", Crv: "P-256", X: "AA", Y: "AA"}, 0)
		}, mfa.Invalid, mfa.ReasonMalformed},
		{"no name", func(tx store.Tx, d *store.Device) error { return w.s.Label(tx, d, "") }, mfa.Invalid, mfa.ReasonMalformed},
		{"long name", func(tx store.Tx, d *store.Device) error { return w.s.Label(tx, d, strings.Repeat("é", 65)) }, mfa.Invalid, mfa.ReasonMalformed},
		{"direction", func(tx store.Tx, d *store.Device) error { return w.s.Label(tx, d, "a\u202eb") }, mfa.Invalid, mfa.ReasonMalformed},
		{"line", func(tx store.Tx, d *store.Device) error { return w.s.Rename(tx, d, 9, "a\nb") }, mfa.Invalid, mfa.ReasonMalformed},
		{"bytes", func(tx store.Tx, d *store.Device) error { return w.s.Label(tx, d, "a\xff") }, mfa.Invalid, mfa.ReasonMalformed},
	} {
		before := w.device(d.ID)
		wants(t, w.change(d.ID, tt.fn), tt.code, tt.reason)
		if diff := cmp.Diff(before, w.device(d.ID)); diff != "" {
			t.Errorf("%s changed the device (-before +after):\n%s", tt.name, diff)
		}
	}
	must(t, w.change(d.ID, func(tx store.Tx, d *store.Device) error {
		_, err := w.s.Unenrol(tx, d, 9)
		return err
	}))
	wants(t, w.change(d.ID, func(tx store.Tx, d *store.Device) error { return w.s.Rename(tx, d, 10, "x") }), mfa.Forbidden, mfa.ReasonDeviceNotActive)
}

func TestCurrentAndState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user(realm, "ada")
	seen := w.device(w.enrol(u).ID)
	current := func() error {
		return w.db.View(t.Context(), func(tx store.Tx) error {
			_, err := w.s.Current(tx, seen)
			return err
		})
	}
	state := func(id mfa.DeviceID) (s protocol.DeviceState, err error) {
		err = w.db.View(t.Context(), func(tx store.Tx) error {
			d, err := tx.Device(id)
			if err != nil {
				return err
			}
			s, err = w.s.State(tx, d)
			return err
		})
		return s, err
	}
	is := func(id mfa.DeviceID, want protocol.DeviceState) {
		t.Helper()
		if got, err := state(id); err != nil || got != want {
			t.Errorf("got state %s, %v, want %s", got, err, want)
		}
	}
	must(t, current())
	is(seen.ID, protocol.DeviceActive)

	newcomer := w.enrol(u)
	is(newcomer.ID, protocol.DeviceQuarantined)
	i := w.issue(u)
	out, err := w.claim(ticketOf(t, i).Ticket, newKey(t))
	must(t, err)
	is(out.Device.ID, protocol.DeviceClaimed)
	w.pass(10 * time.Minute)
	_, err = state(out.Device.ID)
	wants(t, err, mfa.Forbidden, mfa.ReasonDeviceRevoked)

	must(t, w.change(seen.ID, func(tx store.Tx, d *store.Device) error { return w.s.Rotate(tx, d, 1, newKey(t), 0) }))
	wants(t, current(), mfa.Unauthenticated, mfa.ReasonSignature)
	seen = w.device(seen.ID)
	must(t, w.change(seen.ID, func(tx store.Tx, d *store.Device) error {
		_, _, err := w.s.Apply(tx, d, mfa.Suspend{})
		return err
	}))
	must(t, current())
	is(seen.ID, protocol.DeviceSuspended)
	must(t, w.change(seen.ID, func(tx store.Tx, d *store.Device) error {
		_, err := w.s.Revoke(tx, d)
		return err
	}))
	wants(t, current(), mfa.Forbidden, mfa.ReasonDeviceRevoked)
	_, err = state(seen.ID)
	wants(t, err, mfa.Forbidden, mfa.ReasonDeviceRevoked)

	w.do(func(tx store.Tx) error { return tx.DeleteUser(realm, u.ID) })
	wants(t, current(), mfa.Unauthenticated, mfa.ReasonSignature)
}

func TestLoadOfAnotherRealm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.enrol(w.user(realm, "ada"))
	err := w.db.View(t.Context(), func(tx store.Tx) error {
		_, err := w.s.Load(tx, other, d.ID)
		return err
	})
	wants(t, err, mfa.NotFound, "")
}

func TestAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.enrol(w.user(realm, "ada"))
	answer := func(right bool) (fx mfa.DeviceEffects) {
		must(t, w.change(d.ID, func(tx store.Tx, d *store.Device) error {
			var err error
			fx, err = w.s.Answered(tx, d, right)
			return err
		}))
		return fx
	}
	for range mfa.MaxFailures - 1 {
		answer(false)
	}
	answer(true)
	for range mfa.MaxFailures - 1 {
		if fx := answer(false); fx.Suspended {
			t.Fatal("suspended too early")
		}
	}
	if fx := answer(false); !fx.Suspended || !fx.CancelApprovals {
		t.Errorf("got %+v for the hundredth wrong answer in a row", fx)
	}
	if got := w.device(d.ID); got.State != mfa.DeviceSuspended {
		t.Errorf("the device is %s, want suspended", got.State)
	}
}

func TestSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.enrol(w.user(realm, "ada"))
	seen := func() mfa.Instant {
		must(t, w.change(d.ID, func(tx store.Tx, d *store.Device) error { return w.s.Seen(tx, d) }))
		return w.device(d.ID).SeenAt
	}
	first := seen()
	w.pass(50 * time.Minute)
	if seen() != first {
		t.Error("written within the hour")
	}
	w.pass(11 * time.Minute)
	if seen() == first {
		t.Error("not written after the hour")
	}
}

func TestVeto(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		before      func(w *world, u store.User, older, newcomer store.Device)
		enrolment   mfa.EnrolmentID
		unsuspected bool
		code        mfa.Code
		reason      mfa.Reason
	}{
		{name: "good", unsuspected: true},
		{name: "suspected then", code: mfa.Forbidden, reason: mfa.ReasonVetoNotAllowed},
		{name: "another enrolment", enrolment: "enr_other", unsuspected: true, code: mfa.NotFound},
		{
			name: "after the quarantine", unsuspected: true, code: mfa.Conflict, reason: mfa.ReasonVetoNotAllowed,
			before: func(w *world, _ store.User, _, _ store.Device) { w.pass(day) },
		},
		{
			name: "by a rotated device", unsuspected: true, code: mfa.Forbidden, reason: mfa.ReasonVetoNotAllowed,
			before: func(w *world, _ store.User, older, _ store.Device) {
				must(w.t, w.change(older.ID, func(tx store.Tx, d *store.Device) error {
					return w.s.Rotate(tx, d, 1, newKey(w.t), time.Hour)
				}))
			},
		},
		{
			name: "in the quarantine of a rotation", unsuspected: true, code: mfa.Conflict, reason: mfa.ReasonVetoNotAllowed,
			before: func(w *world, _ store.User, _, newcomer store.Device) {
				w.pass(day)
				must(w.t, w.change(newcomer.ID, func(tx store.Tx, d *store.Device) error {
					return w.s.Rotate(tx, d, 1, newKey(w.t), time.Hour)
				}))
			},
		},
		{
			name: "of a revoked one", unsuspected: true, code: mfa.Conflict, reason: mfa.ReasonVetoNotAllowed,
			before: func(w *world, _ store.User, _, newcomer store.Device) {
				must(w.t, w.change(newcomer.ID, func(tx store.Tx, d *store.Device) error {
					_, err := w.s.Revoke(tx, d)
					return err
				}))
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			u := w.user(realm, "ada")
			older := w.enrol(u)
			w.pass(time.Second)
			newcomer := w.enrol(u)
			if tt.before != nil {
				tt.before(w, u, older, newcomer)
			}
			was := w.device(newcomer.ID).State
			enrolment := newcomer.Enrolment
			if tt.enrolment != "" {
				enrolment = tt.enrolment
			}
			var fx mfa.DeviceEffects
			err := w.change(older.ID, func(tx store.Tx, d *store.Device) error {
				var err error
				_, fx, err = w.s.Veto(tx, *d, newcomer.ID, enrolment, tt.unsuspected)
				return err
			})
			wants(t, err, tt.code, tt.reason)
			want := was
			if tt.code == "" {
				want = mfa.DeviceSuspended
				if !fx.CancelApprovals || !fx.Suspended {
					t.Errorf("got effects %+v", fx)
				}
			}
			if got := w.device(newcomer.ID).State; got != want {
				t.Errorf("the newcomer is %s, want %s", got, want)
			}
		})
	}
}

func TestVetoOfAnotherUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.enrol(w.user(realm, "ada"))
	eve := w.user(realm, "eve")
	w.enrol(eve)
	newcomer := w.enrol(eve)
	veto := func(id mfa.DeviceID) error {
		return w.change(ada.ID, func(tx store.Tx, d *store.Device) error {
			_, _, err := w.s.Veto(tx, *d, id, newcomer.Enrolment, true)
			return err
		})
	}
	theirs, unknown := veto(newcomer.ID), veto("dev_unknown")
	wants(t, theirs, mfa.NotFound, "")
	if theirs.Error() != unknown.Error() {
		t.Errorf("another user's device and an unknown one differ: %v, %v", theirs, unknown)
	}
}

func TestNotices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user(realm, "ada")
	older := w.enrol(u)
	w.pass(time.Second)
	tell := func(kind protocol.NoticeKind, by mfa.Actor, about *store.Device) {
		w.do(func(tx store.Tx) error {
			return w.s.Notify(tx, device.News{Realm: realm, User: u.ID, Kind: kind, By: by, Device: about}, w.voice[realm])
		})
	}
	told := func(id mfa.DeviceID) []store.Notice {
		var list []store.Notice
		must(t, w.db.View(t.Context(), func(tx store.Tx) error {
			d, err := tx.Device(id)
			if err != nil {
				return err
			}
			list, err = w.s.Notices(tx, d)
			return err
		}))
		return list
	}
	tell(protocol.NoticeFactorChanged, mfa.ActorApplication, nil)
	w.pass(time.Second)
	newcomer := w.enrol(u)
	tell(protocol.NoticeDeviceAdded, mfa.ActorUser, &newcomer)

	list := told(older.ID)
	if len(list) != 2 {
		t.Fatalf("the older device is told %d things, want 2", len(list))
	}
	set, err := protocol.ParseKeySet(w.voice[realm].Keys)
	must(t, err)
	got, err := set.OpenNotice(list[1].JWS)
	must(t, err)
	want := protocol.Notice{
		V: 1, Issuer: issuer, Realm: string(realm), ID: list[1].ID, Kind: protocol.NoticeDeviceAdded,
		At: list[1].At.Millis(), By: protocol.ByUser,
		Device: &protocol.NoticeDevice{ID: string(newcomer.ID), Name: "phone", Enrolment: string(newcomer.Enrolment)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("notice (-want +got):\n%s", d)
	}
	if first, err := set.OpenNotice(list[0].JWS); err != nil || first.By != protocol.ByAdministrator {
		t.Errorf("an application's change is told as by %s, %v", first.By, err)
	}
	if list := told(newcomer.ID); len(list) != 0 {
		t.Errorf("the newcomer is told %d things from before and about itself", len(list))
	}
	must(t, w.change(older.ID, func(tx store.Tx, d *store.Device) error {
		_, _, err := w.s.Apply(tx, d, mfa.Suspend{})
		return err
	}))
	if list := told(older.ID); len(list) != 0 {
		t.Errorf("a suspended device is told %d things", len(list))
	}
	tell(protocol.NoticeReportLifted, mfa.ActorHelpDesk, nil)
	if list := told(newcomer.ID); len(list) != 1 {
		t.Errorf("the newcomer is told %d things, want 1", len(list))
	}
	w.pass(device.NoticeLife)
	if list := told(newcomer.ID); len(list) != 0 {
		t.Error("a notice outlived its time")
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user(realm, "ada")
	d := w.enrol(u)
	w.do(func(tx store.Tx) error {
		return w.s.Notify(tx, device.News{Realm: realm, User: u.ID, Kind: protocol.NoticeFactorChanged, By: mfa.ActorUser}, w.voice[realm])
	})
	var n store.Notice
	must(t, w.db.View(t.Context(), func(tx store.Tx) error {
		list, err := w.s.Notices(tx, w.device(d.ID))
		n = list[0]
		return err
	}))
	present := w.voice[realm].Signer.(*keys.Signer)
	same, err := device.Renew(present, n)
	must(t, err)
	if same != n.JWS {
		t.Error("signed again by the same key")
	}
	set, err := protocol.ParseKeySet(w.voice[other].Keys)
	must(t, err)
	renewed, err := device.Renew(w.voice[other].Signer.(*keys.Signer), n)
	must(t, err)
	got, err := set.OpenNotice(renewed)
	if got.ID != n.ID || !errors.Is(err, protocol.ErrKeySet) { // it names the realm that it was made in
		t.Errorf("got %+v, %v, want the same notice by the other key", got, err)
	}
	if _, err := device.Renew(present, store.Notice{JWS: "x"}); err == nil {
		t.Error("renewed what is no notice")
	}
}
