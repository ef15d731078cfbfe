package factor_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

func (w *world) backupCodes(user mfa.UserID) []string {
	w.t.Helper()
	codes, rows, err := w.MakeBackupCodes(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	w.update(func(tx store.Tx) error { return factor.ReplaceBackupCodes(tx, realm, user, rows) })
	return reveal(codes)
}

func reveal(codes []secret.Value) []string {
	var out []string
	for _, c := range codes {
		out = append(out, c.Reveal())
	}
	return out
}

func (w *world) backupCandidate(user mfa.UserID, code string) factor.Candidate {
	w.t.Helper()
	var c factor.Candidate
	w.update(func(tx store.Tx) (err error) {
		c, err = w.BackupCandidate(tx, realm, user, code)
		return err
	})
	return c
}

func (w *world) backup(user mfa.UserID, code string) factor.Verdict {
	w.t.Helper()
	return w.answer(w.backupCandidate(user, code), code)
}

func (w *world) backupLeft(user mfa.UserID) int {
	w.t.Helper()
	var left int
	w.update(func(tx store.Tx) (err error) {
		left, err = factor.BackupCodesLeft(tx, realm, user)
		return err
	})
	return left
}

func TestBackupCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.user("alice"), w.user("bob")
	codes, bobs := w.backupCodes(alice.ID), w.backupCodes(bob.ID)
	if got := w.backupLeft(alice.ID); len(codes) != 10 || got != 10 || !w.usable(alice.ID).Has(mfa.BackupCode) {
		t.Errorf("%d codes, %d left", len(codes), got)
	}
	for name, code := range map[string]string{
		"another user's": bobs[0], "other spelling": " " + codes[0], "without hyphens": strings.ReplaceAll(codes[0], "-", ""),
		"another's index": "2" + codes[0][1:], "empty": "", "no index": codes[0][2:],
	} {
		if v := w.backup(alice.ID, code); v.Right {
			t.Errorf("%s: %+v", name, v)
		}
	}
	ids := make(map[string]bool)
	for i, code := range codes {
		if i%2 == 1 {
			code = strings.ToUpper(code)
		}
		v := w.backup(alice.ID, code)
		if !v.Right || ids[v.ID] || v.ID == "" {
			t.Errorf("code %d: %+v", i+1, v)
		}
		ids[v.ID] = true
		if v := w.backup(alice.ID, code); v.Right {
			t.Errorf("code %d is right again", i+1)
		}
	}
	if got := w.backupLeft(alice.ID); got != 0 || w.usable(alice.ID) != 0 {
		t.Errorf("%d left", got)
	}
	if v := w.backup(mfa.UserID(secret.ID("usr_")), bobs[0]); v.Right {
		t.Error("right for nobody")
	}
	if v := w.backup(bob.ID, bobs[0]); !v.Right {
		t.Error("the other user's code was used up")
	}
}

func TestBackupCodeOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	code := w.backupCodes(alice.ID)[4]
	c := w.backupCandidate(alice.ID, code)
	right, err := w.Compare(t.Context(), c, code)
	if err != nil || !right {
		t.Fatalf("%v, %v", right, err)
	}
	var used atomic.Int32
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			var v factor.Verdict
			err := w.store.Update(context.Background(), func(tx store.Tx) (err error) {
				v, err = factor.Consume(tx, c, right)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			if v.Right {
				used.Add(1)
			}
		})
	}
	wg.Wait()
	if got := used.Load(); got != 1 {
		t.Errorf("used %d times", got)
	}
	if got := w.backupLeft(alice.ID); got != 9 {
		t.Errorf("%d left", got)
	}
}

// TestBackupCodesOfAFormerGeneration uses codes that were replaced, also while they were compared,
// also by deleting them in between.
func TestBackupCodesOfAFormerGeneration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	old := w.backupCodes(alice.ID)
	c := w.backupCandidate(alice.ID, old[0])
	right, err := w.Compare(t.Context(), c, old[0])
	if err != nil || !right {
		t.Fatalf("%v, %v", right, err)
	}
	w.backupCodes(alice.ID)
	if v := w.consume(c, right); v.Right {
		t.Error("a code that was replaced while it was compared is right")
	}
	if v := w.backup(alice.ID, old[1]); v.Right {
		t.Error("a code of before is right")
	}
	w.update(func(tx store.Tx) error { return factor.RemoveBackupCodes(tx, realm, alice.ID) })
	if v := w.consume(c, right); v.Right {
		t.Error("a code that was removed while it was compared is right")
	}
	w.backupCodes(alice.ID)
	if v := w.consume(c, right); v.Right {
		t.Error("numbers of generations are given out again")
	}
	if got := w.backupLeft(alice.ID); got != 10 {
		t.Errorf("%d of the new codes left", got)
	}
	bob := w.user("bob")
	w.update(func(tx store.Tx) error { return factor.RemoveBackupCodes(tx, realm, bob.ID) })
}

func TestBackupCodesAreDisabled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	codes := w.backupCodes(alice.ID)
	c := w.backupCandidate(alice.ID, codes[0])
	for range mfa.MaxFailures - 1 {
		if v := w.consume(c, false); v.Disabled != nil {
			t.Fatalf("a wrong code: %+v", v)
		}
	}
	if v := w.backup(alice.ID, codes[1]); !v.Right {
		t.Fatal("disabled too early")
	}
	for range mfa.MaxFailures - 1 {
		w.consume(c, false)
	}
	if v := w.consume(c, false); len(v.Disabled) != 1 {
		t.Errorf("the hundredth wrong code in a row: %+v", v)
	}
	if v := w.consume(c, true); v.Right {
		t.Error("a code that was compared before its set was disabled is right")
	}
	if v := w.backup(alice.ID, codes[2]); v.Right {
		t.Error("a code of a disabled set is right")
	}
	if got := w.backupLeft(alice.ID); got != 0 || w.usable(alice.ID) != 0 {
		t.Errorf("%d left of a disabled set", got)
	}
}

func (w *world) bypassCode(user mfa.UserID, o factor.BypassOptions) (string, store.BypassCode) {
	w.t.Helper()
	o.Reason, o.By, o.Actor = "lost the phone", "key_x", mfa.ActorHelpDesk
	code, b, err := w.MakeBypass(context.Background(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	var row store.BypassCode
	w.update(func(tx store.Tx) (err error) {
		row, err = factor.IssueBypass(tx, realm, user, b)
		return err
	})
	return code.Reveal(), row
}

func (w *world) bypassCandidate(user mfa.UserID) factor.Candidate {
	w.t.Helper()
	var c factor.Candidate
	w.update(func(tx store.Tx) (err error) {
		c, err = w.BypassCandidate(tx, realm, user)
		return err
	})
	return c
}

func TestBypassCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	code, row := w.bypassCode(alice.ID, factor.BypassOptions{})
	if row.UsesLeft != 1 || row.ExpiresAt.Sub(row.CreatedAt) != time.Hour || !w.usable(alice.ID).Has(mfa.BypassCode) {
		t.Errorf("row is %+v", row)
	}
	row.Hash, row.ID, row.CreatedAt, row.ExpiresAt = "", "", 0, 0
	want := store.BypassCode{Realm: realm, User: alice.ID, Reason: "lost the phone", By: "key_x", Actor: mfa.ActorHelpDesk, UsesLeft: 1}
	if d := cmp.Diff(want, row); d != "" {
		t.Error(d)
	}
	for name, typed := range map[string]string{"space": " " + code, "short": code[:18], "empty": "", "another": "0000-0000-0000-0000"} {
		if v := w.answer(w.bypassCandidate(alice.ID), typed); v.Right {
			t.Errorf("%s: %+v", name, v)
		}
	}
	for name, user := range map[string]mfa.UserID{"nobody": mfa.UserID(secret.ID("usr_")), "another user": w.user("bob").ID} {
		if v := w.answer(w.bypassCandidate(user), code); v.Right {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if v := w.answer(w.bypassCandidate(alice.ID), strings.ReplaceAll(code, "-", "")); !v.Right || v.ID == "" {
		t.Errorf("the right code: %+v", v)
	}
	if v := w.answer(w.bypassCandidate(alice.ID), code); v.Right || w.usable(alice.ID) != 0 {
		t.Errorf("the right code again: %+v", v)
	}
}

func TestBypassUses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	code, _ := w.bypassCode(alice.ID, factor.BypassOptions{Uses: 3})
	c := w.bypassCandidate(alice.ID)
	right, err := w.Compare(t.Context(), c, code)
	if err != nil || !right {
		t.Fatalf("%v, %v", right, err)
	}
	w.consume(c, false)
	ids := make(chan string, 200)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			var v factor.Verdict
			err := w.store.Update(context.Background(), func(tx store.Tx) (err error) {
				v, err = factor.Consume(tx, c, right)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			if v.Right {
				ids <- v.ID
			}
		})
	}
	wg.Wait()
	close(ids)
	seen := make(map[string]bool)
	for id := range ids {
		seen[id] = true
	}
	if len(ids) != 0 || len(seen) != 3 {
		t.Errorf("used as %v", seen)
	}
}

func TestBypassEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	compared := func(o factor.BypassOptions) factor.Candidate {
		code, _ := w.bypassCode(alice.ID, o)
		c := w.bypassCandidate(alice.ID)
		if right, err := w.Compare(t.Context(), c, code); err != nil || !right {
			t.Fatalf("%v, %v", right, err)
		}
		return c
	}
	c := compared(factor.BypassOptions{Life: 24 * time.Hour, Uses: 10})
	w.forward(24 * time.Hour)
	if v := w.consume(c, true); v.Right || w.usable(alice.ID) != 0 {
		t.Error("right after its time")
	}
	c = compared(factor.BypassOptions{})
	compared(factor.BypassOptions{})
	if v := w.consume(c, true); v.Right {
		t.Error("right after it was replaced")
	}
	if v := w.consume(c, false); v.Disabled != nil {
		t.Error("a wrong code is counted against its successor")
	}
	c = compared(factor.BypassOptions{})
	w.update(func(tx store.Tx) error { return factor.RemoveBypass(tx, realm, alice.ID) })
	w.update(func(tx store.Tx) error { return factor.RemoveBypass(tx, realm, alice.ID) })
	if v := w.consume(c, true); v.Right {
		t.Error("right after it was removed")
	}
	c = compared(factor.BypassOptions{Uses: 10})
	for range mfa.MaxFailures - 1 {
		if v := w.consume(c, false); v.Disabled != nil {
			t.Fatalf("a wrong code: %+v", v)
		}
	}
	if v := w.consume(c, false); len(v.Disabled) != 1 {
		t.Errorf("the hundredth wrong code in a row: %+v", v)
	}
	if v := w.consume(c, true); v.Right || w.usable(alice.ID) != 0 {
		t.Error("right after it was disabled")
	}
}

func TestBypassOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, o := range map[string]factor.BypassOptions{
		"no reason":             {},
		"reason of space":       {Reason: " \u00a0"},
		"long reason":           {Reason: strings.Repeat("x", 201)},
		"reason of two lines":   {Reason: "a\nb"},
		"reason with direction": {Reason: "a\u202eb"},
		"eleven uses":           {Reason: "x", Uses: 11},
		"fewer than no uses":    {Reason: "x", Uses: -1},
		"more than a day":       {Reason: "x", Life: 24*time.Hour + 1},
		"less than no time":     {Reason: "x", Life: -1},
	} {
		if _, _, err := w.MakeBypass(t.Context(), o); mfa.CodeOf(err) != mfa.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, b, err := w.MakeBypass(t.Context(), factor.BypassOptions{Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	owner := w.user("owner")
	w.update(func(tx store.Tx) error {
		owner.Owner = true
		return tx.PutUser(owner)
	})
	for want, user := range map[mfa.Code]mfa.UserID{mfa.Forbidden: owner.ID, mfa.NotFound: mfa.UserID(secret.ID("usr_"))} {
		err := w.refused(func(tx store.Tx) error {
			_, err := factor.IssueBypass(tx, realm, user, b)
			return err
		})
		if mfa.CodeOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestRandomAnswers is the negative control: a thousand wrong answers, none of which is right.
func TestRandomAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	w.backupCodes(alice.ID)
	backup := w.backupCandidate(alice.ID, "1-aaaa-aaaa-aaaa-aaaa")
	g := w.enrol(alice.ID, factor.TOTPOptions{Digits: 8})
	wrong := w.wrong(g)
	for range 1000 {
		if v := w.check(alice.ID, wrong); v.Right {
			t.Fatal("a wrong code is right")
		}
	}
	for range 10 {
		if v := w.answer(backup, "1-"+secret.Token("", 20)+"-aaaa-aaaa-aaaa"); v.Right {
			t.Fatal("a wrong backup code is right")
		}
	}
}
