package device_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

func TestEnrolment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user(realm, "ada")
	i := w.issue(u)
	link := ticketOf(t, i)
	if link.Origin != issuer || len(link.Ticket) != 22 {
		t.Errorf("got link %+v, want one of %s with a ticket of 22 characters", link, issuer)
	}
	sum := sha256.Sum256([]byte(link.Ticket))
	row := w.enrolment(realm, i.Enrolment.ID)
	if !bytes.Equal(row.TicketHash, sum[:]) {
		t.Error("the ticket is not kept as its SHA-256")
	}
	if row.ClaimBy != row.CreatedAt.Add(10*time.Minute) {
		t.Errorf("the ticket lives %s, want 10 minutes", row.ClaimBy.Sub(row.CreatedAt))
	}

	key := newKey(t)
	out, err := w.claim(link.Ticket, key)
	must(t, err)
	answer := enrolled(t, i, out.Answer)
	want := protocol.Enrolled{
		V: 1, Issuer: issuer, Realm: string(realm), Device: string(out.Device.ID),
		User: protocol.User{ID: string(u.ID), Name: "ada"}, Keys: w.voice[realm].Keys,
		ConfirmCode: answer.ConfirmCode, ConfirmBy: out.Enrolment.ConfirmBy.Millis(),
	}
	if d := cmp.Diff(want, answer); d != "" {
		t.Errorf("answer to the claim (-want +got):\n%s", d)
	}
	row = w.enrolment(realm, i.Enrolment.ID)
	if row.Code != "" || strings.Contains(row.Answer, out.Answer) || bytes.Contains(row.SealedCode, []byte(answer.ConfirmCode)) {
		t.Error("the code can be read in the row")
	}
	if d := w.device(out.Device.ID); d.State != mfa.DeviceClaimed || d.Thumbprint != key.Thumbprint() || d.Name != "phone" {
		t.Errorf("got device %+v", d)
	}

	again, err := w.claim(link.Ticket, key)
	must(t, err)
	if again.Answer != out.Answer {
		t.Error("the same key got another answer")
	}
	_, err = w.claim(link.Ticket, newKey(t))
	wants(t, err, mfa.Conflict, mfa.ReasonEnrolmentClosed)

	_, err = w.confirm(realm, i.Enrolment.ID, wrongCode(answer.ConfirmCode))
	wants(t, err, mfa.Forbidden, mfa.ReasonWrongCode)
	done, err := w.confirm(realm, i.Enrolment.ID, answer.ConfirmCode)
	must(t, err)
	if d := w.device(done.Device.ID); d.State != mfa.DeviceActive || d.QuarantineUntil != 0 || d.ConfirmedAt == 0 {
		t.Errorf("the first device is %+v, want it active without quarantine", d.Device)
	}
	if row = w.enrolment(realm, i.Enrolment.ID); row.State != mfa.EnrolmentConfirmed || row.SealedCode != nil {
		t.Errorf("got enrolment %+v, want it confirmed and its code forgotten", row)
	}
	_, err = w.confirm(realm, i.Enrolment.ID, answer.ConfirmCode)
	wants(t, err, mfa.Conflict, mfa.ReasonEnrolmentClosed)
	again, err = w.claim(link.Ticket, key)
	must(t, err)
	if again.Answer != out.Answer {
		t.Error("the same key got another answer after the confirmation")
	}
}

func wrongCode(code string) string {
	if code[0] == '0' {
		return "1" + code[1:]
	}
	return "0" + code[1:]
}

func TestClaimRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before func(w *world, u store.User, i device.Issued) (ticket string, key protocol.JWK)
		code   mfa.Code
		reason mfa.Reason
	}{
		{"unknown ticket", func(w *world, _ store.User, _ device.Issued) (string, protocol.JWK) {
			return strings.Repeat("A", 22), newKey(w.t)
		}, mfa.NotFound, ""},
		{"late", func(w *world, _ store.User, i device.Issued) (string, protocol.JWK) {
			w.pass(10 * time.Minute)
			return ticketOf(w.t, i).Ticket, newKey(w.t)
		}, mfa.Gone, mfa.ReasonExpired},
		{"a newer ticket", func(w *world, u store.User, i device.Issued) (string, protocol.JWK) {
			w.issue(u)
			return ticketOf(w.t, i).Ticket, newKey(w.t)
		}, mfa.Conflict, mfa.ReasonEnrolmentClosed},
		{"locked user", func(w *world, u store.User, i device.Issued) (string, protocol.JWK) {
			w.lock(u)
			return ticketOf(w.t, i).Ticket, newKey(w.t)
		}, mfa.Gone, mfa.ReasonExpired},
		{"key of another user", func(w *world, u store.User, i device.Issued) (string, protocol.JWK) {
			j := w.issue(w.user(realm, "eve"))
			key := newKey(w.t)
			_, err := w.claim(ticketOf(w.t, j).Ticket, key)
			must(w.t, err)
			return ticketOf(w.t, i).Ticket, key
		}, mfa.Conflict, mfa.ReasonKeyUsed},
		{"key of a refused device", func(w *world, u store.User, i device.Issued) (string, protocol.JWK) {
			key := newKey(w.t)
			_, err := w.claim(ticketOf(w.t, i).Ticket, key)
			must(w.t, err)
			return ticketOf(w.t, w.issue(u)).Ticket, key
		}, mfa.Conflict, mfa.ReasonKeyUsed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			u := w.user(realm, "ada")
			ticket, key := tt.before(w, u, w.issue(u))
			_, err := w.claim(ticket, key)
			wants(t, err, tt.code, tt.reason)
		})
	}
}

func TestKeyInAnotherRealm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := newKey(t)
	for _, r := range []mfa.RealmID{realm, other} {
		out, err := w.claim(ticketOf(t, w.issue(w.user(r, "ada"))).Ticket, key)
		must(t, err)
		if out.Device.Realm != r {
			t.Errorf("the device is in realm %s, want %s", out.Device.Realm, r)
		}
	}
}

func TestConfirmRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	claimed := func(name string) (device.Issued, device.Outcome, string, store.User) {
		u := w.user(realm, name)
		i := w.issue(u)
		out, err := w.claim(ticketOf(t, i).Ticket, newKey(t))
		must(t, err)
		return i, out, enrolled(t, i, out.Answer).ConfirmCode, u
	}

	i, out, code, _ := claimed("three")
	for range 2 {
		_, err := w.confirm(realm, i.Enrolment.ID, wrongCode(code))
		wants(t, err, mfa.Forbidden, mfa.ReasonWrongCode)
	}
	_, err := w.confirm(realm, i.Enrolment.ID, wrongCode(code))
	wants(t, err, mfa.Conflict, mfa.ReasonEnrolmentClosed)
	_, err = w.confirm(realm, i.Enrolment.ID, code)
	wants(t, err, mfa.Conflict, mfa.ReasonEnrolmentClosed)
	if d := w.device(out.Device.ID); d.State != mfa.DeviceRefused || d.EndedAt == 0 {
		t.Errorf("after three wrong codes the device is %s, want refused", d.State)
	}
	if e := w.enrolment(realm, i.Enrolment.ID); e.State != mfa.EnrolmentRefused || e.SealedCode != nil || e.Answer != "" {
		t.Errorf("got enrolment %+v, want it refused and its secrets forgotten", e)
	}

	i, _, code, u := claimed("locked")
	w.lock(u)
	_, err = w.confirm(realm, i.Enrolment.ID, code)
	wants(t, err, mfa.Conflict, mfa.ReasonEnrolmentClosed)

	i = w.issue(w.user(realm, "invited"))
	_, err = w.confirm(realm, i.Enrolment.ID, "123456")
	wants(t, err, mfa.Conflict, mfa.ReasonEnrolmentClosed)
	_, err = w.confirm(realm, "enr_unknown", "123456")
	wants(t, err, mfa.NotFound, "")
	_, err = w.confirm(other, i.Enrolment.ID, "123456")
	wants(t, err, mfa.NotFound, "")

	i, out, code, _ = claimed("late")
	w.pass(10 * time.Minute)
	_, err = w.confirm(realm, i.Enrolment.ID, code)
	wants(t, err, mfa.Gone, mfa.ReasonExpired)
	if d := w.device(out.Device.ID); d.State != mfa.DeviceRefused {
		t.Errorf("after a late code the device is %s, want refused", d.State)
	}
}

func TestNewerTicketRefusesClaimed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user(realm, "ada")
	i := w.issue(u)
	out, err := w.claim(ticketOf(t, i).Ticket, newKey(t))
	must(t, err)
	newer := w.issue(u)
	if len(newer.Ended) != 1 || newer.Ended[0].Enrolment.ID != i.Enrolment.ID || newer.Ended[0].Device.ID != out.Device.ID {
		t.Errorf("the newer ticket ended %+v", newer.Ended)
	}
	if d := w.device(out.Device.ID); d.State != mfa.DeviceRefused {
		t.Errorf("the claimed device is %s, want refused", d.State)
	}
	if e := w.enrolment(realm, i.Enrolment.ID); e.State != mfa.EnrolmentCancelled {
		t.Errorf("the older enrolment is %s, want cancelled", e.State)
	}
}

func TestParallelClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user(realm, "ada")
	ticket := ticketOf(t, w.issue(u)).Ticket
	const n = 50
	errs := make([]error, n)
	var wg sync.WaitGroup
	for k := range n {
		key := newKey(t)
		wg.Go(func() { _, errs[k] = w.claim(ticket, key) })
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
	if won != 1 {
		t.Errorf("%d claims won, want 1", won)
	}
	must(t, w.db.View(t.Context(), func(tx store.Tx) error {
		list, err := tx.UserDevices(realm, u.ID, true)
		if len(list) != 1 {
			t.Errorf("there are %d devices, want 1", len(list))
		}
		return err
	}))
}

func TestQuarantineAndLoss(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user(realm, "ada")
	first := w.enrol(u)
	second := w.enrol(u)
	d := w.device(second.ID)
	if d.QuarantineUntil != d.ConfirmedAt.Add(day) || !d.Vetoable {
		t.Errorf("the second device is %+v, want it a day in quarantine and vetoable", d.Device)
	}
	third := w.enrol(u, lost)
	d = w.device(third.ID)
	if d.State != mfa.DeviceActive || d.QuarantineUntil != 0 || d.Vetoable {
		t.Errorf("the device in place of a lost one is %+v, want it active, free and not vetoable", d.Device)
	}
	for _, old := range []store.Device{first, second} {
		if d := w.device(old.ID); d.State != mfa.DeviceRevoked || d.EndedAt == 0 {
			t.Errorf("the older device is %s, want revoked", d.State)
		}
	}
	// Nobody to protect is left, so the next one is free as well.
	w.do(func(tx store.Tx) error {
		d, err := tx.Device(third.ID)
		if err != nil {
			return err
		}
		_, err = w.s.Revoke(tx, &d)
		return err
	})
	if d := w.device(w.enrol(u).ID); d.QuarantineUntil != 0 {
		t.Error("a device that joins no active one is in quarantine")
	}
}

func TestRevokedBeforeConfirmation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i := w.issue(w.user(realm, "ada"))
	out, err := w.claim(ticketOf(t, i).Ticket, newKey(t))
	must(t, err)
	w.do(func(tx store.Tx) error {
		d, err := tx.Device(out.Device.ID)
		if err != nil {
			return err
		}
		_, err = w.s.Revoke(tx, &d)
		return err
	})
	if d := w.device(out.Device.ID); d.State != mfa.DeviceRefused {
		t.Errorf("the device is %s, want refused", d.State)
	}
	_, err = w.confirm(realm, i.Enrolment.ID, enrolled(t, i, out.Answer).ConfirmCode)
	wants(t, err, mfa.Conflict, mfa.ReasonEnrolmentClosed)
}

func TestExpire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i := w.issue(w.user(realm, "ada"))
	out, err := w.claim(ticketOf(t, i).Ticket, newKey(t))
	must(t, err)
	expire := func() (done device.Outcome) {
		w.do(func(tx store.Tx) error {
			e, err := tx.Enrolment(realm, i.Enrolment.ID)
			if err != nil {
				return err
			}
			done, err = w.s.Expire(tx, e)
			return err
		})
		return done
	}
	if done := expire(); done.Enrolment.State != mfa.EnrolmentClaimed || len(done.Effects.Record) != 0 {
		t.Errorf("an enrolment in time became %+v", done)
	}
	w.pass(10 * time.Minute)
	if done := expire(); done.Enrolment.State != mfa.EnrolmentExpired || len(done.Effects.Record) != 1 {
		t.Errorf("got %+v, want it expired with one record", done)
	}
	if d := w.device(out.Device.ID); d.State != mfa.DeviceRefused {
		t.Errorf("the device is %s, want refused", d.State)
	}
	if done := expire(); len(done.Effects.Record) != 0 {
		t.Error("the end was recorded twice")
	}
}

func TestAnswerSealedToItsRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i := w.issue(w.user(realm, "ada"))
	key := newKey(t)
	_, err := w.claim(ticketOf(t, i).Ticket, key)
	must(t, err)
	w.do(func(tx store.Tx) error {
		e, err := tx.Enrolment(realm, i.Enrolment.ID)
		if err != nil {
			return err
		}
		sealed, err := base64.RawURLEncoding.DecodeString(e.Answer)
		if err != nil {
			return err
		}
		sealed[len(sealed)-1] ^= 1
		e.Answer = base64.RawURLEncoding.EncodeToString(sealed)
		return tx.PutEnrolment(e)
	})
	if _, err := w.claim(ticketOf(t, i).Ticket, key); mfa.CodeOf(err) != mfa.Internal {
		t.Errorf("got %v for an answer that was changed, want an internal error", err)
	}
}
