package factor_test

import (
	"context"
	"encoding/base32"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/factor/totp"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

// generator is the person's own authenticator program.
type generator struct {
	totp.Code
	id   string
	user mfa.UserID
}

func (w *world) begin(user mfa.UserID, o factor.TOTPOptions) generator {
	w.t.Helper()
	w.settle()
	g := generator{user: user}
	w.update(func(tx store.Tx) error {
		row, seed, _, err := w.NewTOTP(tx, realm, user, o)
		if err != nil {
			return err
		}
		raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(seed.Reveal())
		g.id = row.ID
		g.Code = totp.Code{
			Seed: raw, Algorithm: totp.Algorithm(row.Algorithm), Digits: row.Digits,
			Period: time.Duration(row.Period) * time.Second,
		}
		return err
	})
	return g
}

func (w *world) confirm(g generator, code string) bool {
	w.t.Helper()
	var right bool
	w.update(func(tx store.Tx) (err error) {
		right, err = w.ConfirmTOTP(tx, realm, g.user, g.id, code)
		return err
	})
	return right
}

// enrol begins and confirms a factor, and moves the clock past the step that this used.
func (w *world) enrol(user mfa.UserID, o factor.TOTPOptions) generator {
	w.t.Helper()
	g := w.begin(user, o)
	if !w.confirm(g, w.code(g, 0)) {
		w.t.Fatal("not confirmed")
	}
	w.forward(3 * g.Period)
	return g
}

// code is what the program shows at a distance of some steps from now.
func (w *world) code(g generator, steps int64) string {
	w.t.Helper()
	return g.At(g.Step(w.now()) + steps)
}

// settle moves the clock to the middle of a step, so that none ends while a test runs.
func (w *world) settle() {
	w.t.Helper()
	const step = 30 * time.Second
	into := time.Duration(w.now().UnixNano()) % step
	w.forward((step + step/2 - into) % step)
}

func (w *world) now() time.Time {
	w.t.Helper()
	var now mfa.Instant
	w.update(func(tx store.Tx) error {
		now = tx.Now()
		return nil
	})
	return now.Time()
}

func (w *world) check(user mfa.UserID, code string) factor.Verdict {
	w.t.Helper()
	var v factor.Verdict
	w.update(func(tx store.Tx) (err error) {
		v, err = w.CheckTOTP(tx, realm, user, code)
		return err
	})
	return v
}

// wrong is a code that is not right at any step near.
func (w *world) wrong(g generator) string {
	w.t.Helper()
	for n := 0; ; n++ {
		code := fmt.Sprintf("%0*d", g.Digits, n)
		near := false
		for s := int64(-3); s <= 3; s++ {
			near = near || w.code(g, s) == code
		}
		if !near {
			return code
		}
	}
}

func TestTOTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, o := range []factor.TOTPOptions{
		{},
		{Algorithm: "SHA1", Digits: 8},
		{Algorithm: "SHA256", Digits: 6},
		{Algorithm: "SHA512", Digits: 7, Period: time.Minute, Name: "key ring"},
	} {
		alice := w.user(fmt.Sprintf("alice%d", i))
		g := w.enrol(alice.ID, o)
		v := w.check(alice.ID, w.code(g, 0))
		if !v.Right || !strings.HasPrefix(v.ID, g.id+":") {
			t.Errorf("%+v: %+v", o, v)
		}
		if v := w.check(alice.ID, w.code(g, 0)); v.Right {
			t.Errorf("%+v: the same code is right again", o)
		}
		if !w.usable(alice.ID).Has(mfa.TOTP) {
			t.Errorf("%+v: not usable", o)
		}
	}
}

func TestTOTPWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	g := w.enrol(alice.ID, factor.TOTPOptions{Digits: 8})
	for _, steps := range []int64{-3, -2, 2, 3} {
		if v := w.check(alice.ID, w.code(g, steps)); v.Right {
			t.Errorf("the code of %+d steps is right", steps)
		}
	}
	if v := w.check(alice.ID, w.code(g, -1)); !v.Right {
		t.Error("the code of the step before is wrong")
	}
	if v := w.check(alice.ID, w.code(g, 1)); !v.Right {
		t.Error("the code of the step after is wrong")
	}
	for _, steps := range []int64{-1, 0, 1} {
		if v := w.check(alice.ID, w.code(g, steps)); v.Right {
			t.Errorf("the code of %+d steps is right after a later one was used", steps)
		}
	}
	w.forward(-10 * time.Minute)
	if v := w.check(alice.ID, w.code(g, 1)); v.Right {
		t.Error("a clock that went back revives a code")
	}
}

func TestTOTPOtherSpellings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	g := w.enrol(alice.ID, factor.TOTPOptions{})
	right := w.code(g, 0)
	wide := strings.Map(func(r rune) rune { return r - '0' + '０' }, right)
	for _, code := range []string{
		"", " " + right, right + " ", right + "\n", right[:3] + " " + right[3:], "+" + right, "0" + right, right + "0",
		right[:5], wide, strings.Repeat("0", 4000),
	} {
		if v := w.check(alice.ID, code); v.Right {
			t.Errorf("%q is right", code)
		}
	}
	if v := w.check(alice.ID, right); !v.Right {
		t.Error("the right code is wrong after that")
	}
}

func TestTOTPOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.user("alice"), w.user("bob")
	g := w.enrol(bob.ID, factor.TOTPOptions{})
	w.enrol(alice.ID, factor.TOTPOptions{Digits: 8})
	for name, id := range map[string]mfa.UserID{"another user": alice.ID, "nobody": mfa.UserID(secret.ID("usr_"))} {
		if v := w.check(id, w.code(g, 0)); v.Right {
			t.Errorf("%s: %+v", name, v)
		}
	}
	var v factor.Verdict
	w.update(func(tx store.Tx) (err error) {
		v, err = w.CheckTOTP(tx, "other", bob.ID, w.codeAt(g, tx.Now()))
		return err
	})
	if v.Right {
		t.Error("right in another realm")
	}
}

func (w *world) codeAt(g generator, at mfa.Instant) string { return g.At(g.Step(at.Time())) }

// TestTOTPOnce uses one right code two hundred times at once.
func TestTOTPOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	g := w.enrol(alice.ID, factor.TOTPOptions{})
	code := w.code(g, 0)
	var right atomic.Int32
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			var v factor.Verdict
			err := w.store.Update(context.Background(), func(tx store.Tx) (err error) {
				v, err = w.CheckTOTP(tx, realm, alice.ID, code)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			if v.Right {
				right.Add(1)
			}
		})
	}
	wg.Wait()
	if got := right.Load(); got != 1 {
		t.Errorf("right %d times", got)
	}
	w.forward(g.Period)
	if v := w.check(alice.ID, w.code(g, 0)); !v.Right {
		t.Error("repeating a code disabled the factor")
	}
}

func TestTOTPIsDisabled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	g := w.enrol(alice.ID, factor.TOTPOptions{Digits: 8})
	wrong := w.wrong(g)
	for range mfa.MaxFailures - 1 {
		if v := w.check(alice.ID, wrong); v.Right || v.Disabled != nil {
			t.Fatalf("a wrong code: %+v", v)
		}
	}
	if v := w.check(alice.ID, w.code(g, 0)); !v.Right {
		t.Fatal("disabled too early")
	}
	for range mfa.MaxFailures - 1 {
		w.check(alice.ID, wrong)
	}
	if v := w.check(alice.ID, wrong); len(v.Disabled) != 1 || v.Disabled[0] != g.id {
		t.Errorf("the hundredth wrong code in a row: %+v", v)
	}
	if v := w.check(alice.ID, w.code(g, 1)); v.Right {
		t.Error("a disabled factor is right")
	}
	if w.usable(alice.ID).Has(mfa.TOTP) {
		t.Error("a disabled factor is usable")
	}
}

func TestTOTPConfirm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.user("alice"), w.user("bob")
	g := w.begin(alice.ID, factor.TOTPOptions{})
	if v := w.check(alice.ID, w.code(g, 0)); v.Right {
		t.Error("a factor counts before it is confirmed")
	}
	if w.usable(alice.ID) != 0 {
		t.Error("a factor is usable before it is confirmed")
	}
	if w.confirm(g, w.wrong(g)) || w.confirm(g, " "+w.code(g, 0)) || w.confirm(g, "") {
		t.Error("confirmed by a wrong code")
	}
	err := w.refused(func(tx store.Tx) error {
		_, err := w.ConfirmTOTP(tx, realm, bob.ID, g.id, "000000")
		return err
	})
	if mfa.CodeOf(err) != mfa.NotFound {
		t.Errorf("confirmed by another user: %v", err)
	}
	code := w.code(g, 0)
	if !w.confirm(g, code) {
		t.Fatal("the right code is wrong")
	}
	if v := w.check(alice.ID, code); v.Right {
		t.Error("the confirming code is right once more")
	}
	err = w.refused(func(tx store.Tx) error {
		_, err := w.ConfirmTOTP(tx, realm, alice.ID, g.id, code)
		return err
	})
	if mfa.CodeOf(err) != mfa.Conflict {
		t.Errorf("confirmed twice: %v", err)
	}
	if v := w.check(alice.ID, w.code(g, 1)); !v.Right {
		t.Error("the factor does not count")
	}
}

func TestTOTPPendingEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	confirming := func(g generator) mfa.Code {
		code := w.code(g, 0)
		return mfa.CodeOf(w.refused(func(tx store.Tx) error {
			_, err := w.ConfirmTOTP(tx, realm, alice.ID, g.id, code)
			return err
		}))
	}
	first := w.begin(alice.ID, factor.TOTPOptions{})
	second := w.begin(alice.ID, factor.TOTPOptions{})
	if got := confirming(first); got != mfa.NotFound {
		t.Errorf("one that was replaced: %s", got)
	}
	wrong := w.wrong(second)
	for range factor.MaxConfirmations {
		if w.confirm(second, wrong) {
			t.Fatal("confirmed by a wrong code")
		}
	}
	if got := confirming(second); got != mfa.NotFound {
		t.Errorf("one that was answered wrong ten times: %s", got)
	}
	third := w.begin(alice.ID, factor.TOTPOptions{})
	w.forward(factor.PendingLife)
	if got := confirming(third); got != mfa.Gone {
		t.Errorf("one that is an hour old: %s", got)
	}
}

func TestTOTPRemove(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.user("alice"), w.user("bob")
	g := w.enrol(alice.ID, factor.TOTPOptions{})
	err := w.refused(func(tx store.Tx) error {
		_, err := factor.RemoveTOTP(tx, realm, bob.ID, g.id)
		return err
	})
	if mfa.CodeOf(err) != mfa.NotFound {
		t.Errorf("removed by another user: %v", err)
	}
	w.update(func(tx store.Tx) error {
		row, err := factor.RemoveTOTP(tx, realm, alice.ID, g.id)
		if row.ID != g.id {
			t.Errorf("removed %s", row.ID)
		}
		return err
	})
	if v := w.check(alice.ID, w.code(g, 0)); v.Right {
		t.Error("a removed factor is right")
	}
}

func TestTOTPOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	for field, o := range map[string]factor.TOTPOptions{
		"algorithm": {Algorithm: "MD5"}, "digits": {Digits: 5}, "digits ": {Digits: 9}, "period": {Period: time.Second},
		"period ": {Period: time.Hour}, "name": {Name: strings.Repeat("x", 65)}, "name ": {Name: "a\nb"},
	} {
		err := w.refused(func(tx store.Tx) error {
			_, _, _, err := w.NewTOTP(tx, realm, alice.ID, o)
			return err
		})
		if mfa.CodeOf(err) != mfa.Invalid {
			t.Errorf("%s: %v", field, err)
		}
	}
	for range factor.MaxTOTPs {
		w.enrol(alice.ID, factor.TOTPOptions{})
	}
	err := w.refused(func(tx store.Tx) error {
		_, _, _, err := w.NewTOTP(tx, realm, alice.ID, factor.TOTPOptions{})
		return err
	})
	if mfa.ReasonOf(err) != mfa.ReasonLimit {
		t.Errorf("one too many: %v", err)
	}
}

// TestTOTPSeedIsShownOnce looks for the seed in everything that can be read afterwards.
func TestTOTPSeedIsShownOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.user("alice")
	w.update(func(tx store.Tx) error {
		row, seed, uri, err := w.NewTOTP(tx, realm, alice.ID, factor.TOTPOptions{Issuer: "nod", Account: "alice", Algorithm: "SHA256"})
		if err != nil {
			return err
		}
		if n := len(seed.Reveal()); n != 52 {
			t.Errorf("the seed has %d characters", n)
		}
		if want := "otpauth://totp/nod:alice?"; !strings.HasPrefix(uri.Reveal(), want) || !strings.Contains(uri.Reveal(), "secret="+seed.Reveal()) {
			t.Error("the address is another one's")
		}
		raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(seed.Reveal())
		if err != nil || strings.Contains(string(row.Sealed), string(raw)) {
			t.Errorf("the seed stands in the row, %v", err)
		}
		// Another row's sealed seed does not open in this one.
		other := row
		other.ID, other.State, other.User = secret.ID("totp_"), store.FactorActive, alice.ID
		if err := tx.InsertTOTP(other); err != nil {
			return err
		}
		if _, err := w.CheckTOTP(tx, realm, alice.ID, "000000"); err == nil {
			t.Error("a seed opens in another row")
		}
		return nil
	})
}
