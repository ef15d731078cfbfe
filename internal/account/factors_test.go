package account_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// codeOf is an authenticator program of SHA-1, six digits and 30 seconds.
func (w *world) codeOf(seed secret.Value) string {
	w.t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(seed.Reveal())
	must(w.t, err)
	var now mfa.Instant
	must(w.t, w.db.View(w.ctx, func(tx store.Tx) error {
		now = tx.Now()
		return nil
	}))
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(now.Seconds()/30)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:at+4])&0x7fffffff%1_000_000)
}

func TestTOTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	made, err := w.s.CreateTOTP(w.ctx, in, u.ID, byAdmin, account.TOTPOptions{Name: "watch"})
	must(t, err)
	uri, err := url.Parse(made.URI.Reveal())
	must(t, err)
	if uri.Scheme != "otpauth" || uri.Query().Get("issuer") != "nod.example" || !strings.HasSuffix(uri.Path, "ada") {
		t.Errorf("got address %s", uri)
	}
	code := w.codeOf(made.Seed)
	wrong := "000000"
	if code == wrong {
		wrong = "000001"
	}
	wants(t, w.s.ConfirmTOTP(w.ctx, in, u.ID, made.ID, wrong), mfa.Forbidden, mfa.ReasonWrongCode)
	if got, _ := w.s.User(w.ctx, in, u.ID); got.HadFactor {
		t.Error("a factor that was not confirmed counts")
	}
	must(t, w.s.ConfirmTOTP(w.ctx, in, u.ID, made.ID, code))
	if got, _ := w.s.User(w.ctx, in, u.ID); !got.HadFactor {
		t.Error("the user is one who never had a factor")
	}
	list, err := w.s.TOTPs(w.ctx, in, u.ID)
	must(t, err)
	if len(list) != 1 || list[0].State != store.FactorActive || list[0].Name != "watch" || list[0].Period != 30*time.Second {
		t.Errorf("got %+v", list)
	}
	p := w.add(u)
	wants(t, w.s.RemoveTOTP(w.ctx, in, u.ID, w.byUser(""), made.ID), mfa.Forbidden, mfa.ReasonFreshFactor)
	wants(t, w.s.RemoveTOTP(w.ctx, in, u.ID, byAdmin, "totp_unknown"), mfa.NotFound, "")
	wants(t, w.s.RemoveTOTP(w.ctx, in, w.user("eve").ID, byAdmin, made.ID), mfa.NotFound, "")
	must(t, w.s.RemoveTOTP(w.ctx, in, u.ID, w.byUser(w.redeemed(u, totp)), made.ID))
	if !slices.Contains(w.told(p), protocol.NoticeFactorChanged) {
		t.Error("the device is not told")
	}
	for _, kind := range []string{audit.TOTPCreated, audit.TOTPConfirmed, audit.TOTPRemoved} {
		if e := w.recorded(kind, mfa.ActorAdministrator); strings.Contains(fmt.Sprint(e), made.Seed.Reveal()) {
			t.Errorf("event %s holds the seed", kind)
		}
	}
	_, err = w.s.CreateTOTP(w.ctx, in, u.ID, byAdmin, account.TOTPOptions{Digits: 5})
	wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	_, err = w.s.CreateTOTP(w.ctx, in, "usr_unknown", byAdmin, account.TOTPOptions{})
	wants(t, err, mfa.NotFound, "")
	_, err = w.s.TOTPs(w.ctx, in, "usr_unknown")
	wants(t, err, mfa.NotFound, "")
	wants(t, w.s.ConfirmTOTP(w.ctx, in, u.ID, "totp_unknown", code), mfa.NotFound, "")
}

// A wrong confirmation is paid for although it is refused.
func TestTOTPConfirmationsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	made, err := w.s.CreateTOTP(w.ctx, in, u.ID, byAdmin, account.TOTPOptions{})
	must(t, err)
	for range 10 {
		err = w.s.ConfirmTOTP(w.ctx, in, u.ID, made.ID, "12345678")
		if mfa.CodeOf(err) != mfa.Forbidden {
			t.Fatalf("got %v", err)
		}
	}
	if err := w.s.ConfirmTOTP(w.ctx, in, u.ID, made.ID, w.codeOf(made.Seed)); err == nil {
		t.Error("confirmed after ten wrong codes")
	}
}

func TestBackupCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	p := w.add(u)
	state := func(left int) {
		t.Helper()
		got, err := w.s.BackupCodes(w.ctx, in, u.ID)
		must(t, err)
		if got.Left != left || (got.CreatedAt == 0) != (left == 0) {
			t.Errorf("got %+v, want %d left", got, left)
		}
	}
	state(0)
	wants(t, w.s.RemoveBackupCodes(w.ctx, in, u.ID, byAdmin), mfa.NotFound, "")
	codes, err := w.s.MakeBackupCodes(w.ctx, in, u.ID, byAdmin)
	must(t, err)
	state(10)
	again, err := w.s.MakeBackupCodes(w.ctx, in, u.ID, byAdmin)
	must(t, err)
	if len(codes) != 10 || len(again) != 10 || codes[0].Equal(again[0]) {
		t.Error("the new codes are not ten new ones")
	}
	wants(t, w.s.RemoveBackupCodes(w.ctx, in, u.ID, w.byUser("")), mfa.Forbidden, mfa.ReasonFreshFactor)
	must(t, w.s.RemoveBackupCodes(w.ctx, in, u.ID, byAdmin))
	state(0)
	w.recorded(audit.BackupCodesMade, mfa.ActorAdministrator)
	w.recorded(audit.BackupCodesGone, mfa.ActorAdministrator)
	if n := len(w.told(p)); n != 3 {
		t.Errorf("the device is told %d things, want 3", n)
	}
	_, err = w.s.MakeBackupCodes(w.ctx, in, "usr_unknown", byAdmin)
	wants(t, err, mfa.NotFound, "")
	_, err = w.s.BackupCodes(w.ctx, in, "usr_unknown")
	wants(t, err, mfa.NotFound, "")
}

func TestBypass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.user("ada")
	p, q := w.add(u), w.add(u)
	help := audit.With(w.ctx, audit.Origin{Actor: mfa.ActorHelpDesk, By: "key_help"})
	_, err := w.s.Bypass(w.ctx, in, u.ID)
	wants(t, err, mfa.NotFound, "")
	made, err := w.s.IssueBypass(help, in, u.ID, account.BypassOptions{Reason: "left the phone at home"})
	must(t, err)
	if made.UsesLeft != 1 || made.ExpiresAt != made.CreatedAt.Add(time.Hour) || made.By != "key_help" || made.Actor != mfa.ActorHelpDesk {
		t.Errorf("got %+v, want one use within the hour by the help desk", made)
	}
	e := w.recorded(audit.BypassIssued, mfa.ActorHelpDesk)
	if e.Data["reason"] != "left the phone at home" || strings.Contains(fmt.Sprint(e), made.Code.Reveal()) {
		t.Errorf("got event %+v", e)
	}
	for _, d := range []*phone{p, q} {
		if !slices.Contains(w.told(d), protocol.NoticeBypassIssued) {
			t.Error("a device is not told")
		}
	}
	if got, err := w.s.Bypass(w.ctx, in, u.ID); err != nil || got != made.Bypass {
		t.Errorf("got %+v, %v, want %+v", got, err, made)
	}
	if got, err := w.s.User(w.ctx, in, w.user("eve").ID); err != nil || got.HadFactor {
		t.Errorf("got %+v, %v", got, err)
	}
	w.pass(time.Hour)
	_, err = w.s.Bypass(w.ctx, in, u.ID)
	wants(t, err, mfa.NotFound, "")
	must(t, w.s.RevokeBypass(w.ctx, in, u.ID))
	wants(t, w.s.RevokeBypass(w.ctx, in, u.ID), mfa.NotFound, "")
	w.recorded(audit.BypassRevoked, mfa.ActorAdministrator)
}

func TestBypassRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, err := w.s.CreateUser(w.ctx, in, account.NewUser{Name: "ada", UserChange: account.UserChange{Owner: ptr(true)}})
	must(t, err)
	eve := w.user("eve")
	self := audit.With(w.ctx, audit.Origin{Actor: mfa.ActorUser, By: string(eve.ID)})
	good := account.BypassOptions{Reason: "r"}
	_, err = w.s.IssueBypass(w.ctx, in, ada.ID, good)
	wants(t, err, mfa.Forbidden, mfa.ReasonOwner)
	if e := w.recorded(audit.AccountRefused, mfa.ActorAdministrator); e.User != ada.ID || e.Data["reason"] != "owner" {
		t.Errorf("got event %+v", e)
	}
	_, err = w.s.IssueBypass(self, in, eve.ID, good)
	wants(t, err, mfa.Forbidden, mfa.ReasonScope)
	_, err = w.s.IssueBypass(w.ctx, in, "usr_unknown", good)
	wants(t, err, mfa.NotFound, "")
	for _, o := range []account.BypassOptions{
		{}, {Reason: "r", Uses: 11}, {Reason: "r", Uses: -1}, {Reason: "r", Life: 25 * time.Hour}, {Reason: "r", Life: -1},
	} {
		_, err = w.s.IssueBypass(w.ctx, in, eve.ID, o)
		wants(t, err, mfa.Invalid, mfa.ReasonMalformed)
	}
	if n := len(w.events(audit.BypassIssued)); n != 0 {
		t.Errorf("%d codes were issued", n)
	}
}
