package authn_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/user"
)

// between runs do after the next transaction of the services: between the payment for a guess and
// the use of what was compared.
func (w *world) between(do func()) {
	w.t.Helper()
	f := func() {
		w.db.after.Store(nil)
		do()
	}
	w.db.after.Store(&f)
}

// TestChangedWhileCompared: what was right when it was compared counts only if it still does when
// it is used.
func TestChangedWhileCompared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	codes, err := w.accounts.MakeBackupCodes(w.ctx, in, u.ID, byAdmin)
	must(t, err)
	_, rows, err := w.factors.MakeBackupCodes(t.Context())
	must(t, err)
	type outcome struct {
		state  mfa.State
		reason mfa.Reason
	}
	for _, c := range []struct {
		name string
		do   func(v authn.View)
		undo func()
		want outcome
	}{
		{"the user is locked", func(authn.View) { setUser(store.UserLocked)(w, u, p) }, func() { setUser(store.UserActive)(w, u, p) }, outcome{mfa.Pending, ""}},
		{"the challenge ends", func(v authn.View) {
			w.change(func(tx store.Tx) error {
				row, err := tx.Challenge(in, v.ID)
				if err != nil {
					return err
				}
				row.State, row.Challenge.Reason = mfa.Cancelled, mfa.CancelByApplication
				return tx.PutChallenge(row)
			})
		}, func() {}, outcome{"", mfa.ReasonChallengeClosed}},
		{"its time is over", func(v authn.View) { w.move(v.DecideBy) }, func() {}, outcome{"", mfa.ReasonExpired}},
		{"policy forbids it", func(authn.View) { w.policy("methods: [push]\n") }, func() { w.policy("") }, outcome{"", mfa.ReasonMethodNotAllowed}},
		{"the application is disabled", func(authn.View) { setApplication(true)(w, u, p) }, func() { setApplication(false)(w, u, p) }, outcome{"", mfa.ReasonMethodNotAllowed}},
	} {
		v := w.create(login("alice"))
		w.between(func() { c.do(v) })
		got, err := w.verify(v.ID, mfa.BackupCode, codes[0].Reveal())
		if (outcome{got.State, mfa.ReasonOf(err)}) != c.want {
			t.Errorf("%s: %s, %v", c.name, got.State, err)
		}
		c.undo()
	}
	v := w.create(login("alice"))
	w.types(v.ID, mfa.BackupCode, codes[0].Reveal()) // nothing used it up
	w.redeemed(v.ID)
	v = w.create(login("alice"))
	w.between(func() {
		w.change(func(tx store.Tx) error {
			set, _, err := tx.BackupSet(in, u.ID)
			if err != nil {
				return err
			}
			set.Generation++
			return tx.ReplaceBackupSet(set, rows)
		})
	})
	got, err := w.verify(v.ID, mfa.BackupCode, codes[1].Reveal())
	must(t, err)
	equal(t, "state after the codes were replaced", got.State, mfa.Pending)
	equal(t, "guesses paid", w.guesses(u.ID, typedByStrangers), 6)
}

// TestPasswordChangedWhileCompared: the password that was checked is not the user's any more.
func TestPasswordChangedWhileCompared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	w.password(u)
	for _, hash := range []string{"", hashed() + "x"} {
		w.between(func() {
			w.change(func(tx store.Tx) error {
				_, err := user.Update(tx, in, u.ID, user.Changes{Password: &hash})
				return err
			})
		})
		_, err := w.s.Create(t.Context(), w.app, withPassword(login("alice"), rightPassword))
		wants(t, err, mfa.Forbidden, mfa.ReasonCredentials)
		w.password(u)
	}
	equal(t, "guesses paid", w.guesses(u.ID, passwordByStrangers), 2)
	w.signIn(p, withPassword(login("alice"), rightPassword))
}

// TestGuessesOfEachSide: each known browser and each source has ten guesses of its own, and each of
// them comes back a day after it was paid.
func TestGuessesOfEachSide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	b := w.remembered(u, p)
	w.signIn(p, source("alice", "vpn"))
	totp := w.totp(u)
	sides := map[string]func() authn.Request{
		"strangers": func() authn.Request { return login("alice") },
		"a browser": func() authn.Request { return w.from(b, login("alice")) },
		"a source":  func() authn.Request { return source("alice", "vpn") },
	}
	begin := w.now()
	try := func(side string, spent bool) {
		t.Helper()
		_, err := w.verify(w.create(sides[side]()).ID, mfa.TOTP, other(totp.code(w.now()), 60))
		if spent != (mfa.ReasonOf(err) == mfa.ReasonGuessesSpent) || !spent && err != nil {
			t.Fatalf("%s: got %v", side, err)
		}
	}
	for side := range sides {
		for range 10 {
			try(side, false)
		}
		try(side, true)
		w.pass(time.Hour)
	}
	w.move(begin.Add(day - time.Microsecond))
	for side := range sides {
		try(side, true)
	}
	w.move(begin.Add(day + 3*time.Hour))
	for side := range sides {
		v := w.create(sides[side]())
		w.types(v.ID, mfa.TOTP, totp.code(w.now()))
		w.redeemed(v.ID)
		w.pass(time.Minute)
	}
}

// TestBorrowedNames: what makes an origin known at one application, or for one user, makes it known
// nowhere else.
func TestBorrowedNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	_, q := w.person("bob")
	cookie := login("alice")
	cookie.BrowserID = "cookie"
	w.signIn(p, cookie)
	w.signIn(p, source("alice", "vpn"))
	b := w.remembered(u, p)
	equal(t, "own name", w.provenance(w.create(cookie)), mfa.KnownSource)
	byID := w.from(b, login("alice"))
	byID.UserID, byID.UserName = u.ID, ""
	equal(t, "by the user's id", w.provenance(w.create(byID)), mfa.KnownBrowser)
	for name, r := range map[string]authn.Request{
		"bob's cookie": {UserName: "bob", Kind: mfa.Login, Asserted: true, BrowserID: "cookie"},
		"bob's source": source("bob", "vpn"),
		"bob's key":    w.from(b, login("bob")),
		"mixed parts":  {UserName: "alice", Kind: mfa.Login, Asserted: true, BrowserID: "3:vpn"},
		"made up":      {UserName: "alice", Kind: mfa.Login, Asserted: true, BrowserProof: "AAAA"},
	} {
		equal(t, name, w.provenance(w.create(r)), mfa.Stranger)
	}
	own := w.app
	w.app = w.application("Other")
	equal(t, "another application's cookie", w.provenance(w.create(cookie)), mfa.Stranger)
	equal(t, "another application's source", w.provenance(w.create(source("alice", "vpn"))), mfa.Stranger)
	w.app = own
	w.signIn(q, login("bob"))
}

// TestNothingSecretIsKept: no answer, code, password or grant stands in the open, in the events or
// anywhere in the database.
func TestNothingSecretIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newNode(t, newSite(t, filepath.Join(dir, "nod.db")))
	w.app = w.application("Portal")
	u, p := w.person("alice")
	w.password(u)
	backup, err := w.accounts.MakeBackupCodes(w.ctx, in, u.ID, byAdmin)
	must(t, err)
	issued, err := w.accounts.IssueBypass(w.ctx, in, u.ID, account.BypassOptions{Reason: "lost"})
	must(t, err)
	v := w.create(withPassword(login("alice"), rightPassword))
	qr := right(v, mfa.Scan)
	w.wrong(p, v, mfa.Digits, 0)
	w.approve(p, v, mfa.Digits)
	g := w.redeemed(v.ID)
	_, err = w.s.Create(t.Context(), w.app, withPassword(login("alice"), "a wrong password"))
	wants(t, err, mfa.Forbidden, mfa.ReasonCredentials)
	typed := w.create(login("alice"))
	_, err = w.verify(typed.ID, mfa.BypassCode, "1234-5678-9012")
	must(t, err)
	w.types(typed.ID, mfa.BackupCode, backup[0].Reveal())
	other := w.create(login("alice"))
	w.types(other.ID, mfa.BypassCode, issued.Code.Reveal())

	secrets := map[string]string{
		"the scan secret": qr, "the password": rightPassword, "a wrong password": "a wrong password",
		"the grant": g.JWT, "a backup code": backup[0].Reveal(), "a bypass code": issued.Code.Reveal(), "a wrong code": "1234-5678-9012",
	}
	events := fmt.Sprint(w.events(store.EventFilter{}))
	must(t, w.db.Close())
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no database")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		for name, value := range secrets {
			if bytes.Contains(text, []byte(value)) {
				t.Errorf("%s holds %s", filepath.Base(file), name)
			}
		}
		if !bytes.Contains(text, []byte("alice")) && strings.HasSuffix(file, ".db") {
			t.Error("the database does not even hold the user's name")
		}
	}
	for name, value := range secrets {
		if strings.Contains(events, value) {
			t.Errorf("an event holds %s", name)
		}
	}
	if strings.Contains(events, v.Secrets.Digits) {
		t.Error("an event holds the digits")
	}
}

// TestHistory lists a user's challenges for the user's active devices, a page at a time.
func TestHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	_, other := w.person("mallory")
	waiting := w.claimed(u)
	var made []mfa.ChallengeID
	for range 5 {
		v := w.create(login("alice"))
		w.approve(p, v, mfa.Digits)
		made = append(made, v.ID)
		w.pass(time.Second)
	}
	var got []mfa.ChallengeID
	var at authn.Place
	for page := 0; ; page++ {
		items, next, err := w.s.History(t.Context(), w.says(p), at.At, at.ID, 2)
		must(t, err)
		for _, i := range items {
			got = append([]mfa.ChallengeID{mfa.ChallengeID(i.Challenge)}, got...)
			if i.App != "Portal" || i.State != "approved" || i.Device != string(p.id) || !i.Rung {
				t.Errorf("%+v", i)
			}
		}
		if next == nil {
			equal(t, "pages", page, 2)
			break
		}
		at = *next
	}
	equal(t, "history", fmt.Sprint(got), fmt.Sprint(made))
	for _, d := range []*phone{other, waiting} {
		items, _, err := w.s.History(t.Context(), w.says(d), 0, "", 10)
		must(t, err)
		equal(t, "another's history", len(items), 0)
	}
}
