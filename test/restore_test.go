package test

import (
	"bytes"
	"context"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/protocol"
)

// execute runs nod to its end and gives what it printed and its exit code.
func execute(t testing.TB, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), file, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "NOD_") }), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// succeeds runs nod and fails the test unless it ends well.
func succeeds(t testing.TB, env []string, args ...string) string {
	t.Helper()
	out, errs, code := execute(t, env, args...)
	if code != 0 {
		t.Fatalf("nod %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
	}
	return out
}

// fails runs nod and fails the test unless it refuses, in words that hold these.
func fails(t testing.TB, words string, env []string, args ...string) {
	t.Helper()
	out, errs, code := execute(t, env, args...)
	if code == 0 || !strings.Contains(errs, words) {
		t.Errorf("nod %s: exit code %d, want a refusal with %q\n%s%s", strings.Join(args, " "), code, words, out, errs)
	}
}

// identity makes an age identity, and gives its file and the recipient.
func identity(t testing.TB) (file, recipient string) {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "backup.key")
	if err := os.WriteFile(file, []byte(i.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, i.Recipient().String()
}

// past is what an attacker keeps from before a restore, and the people it belongs to.
type past struct {
	n           *node
	app         string
	ada, bob    string // ids
	phone       *device
	code        func(int64) string // of ada's TOTP factor
	typed       string             // a code of hers that was used
	unused      string             // a code of cy's that was not used yet
	codes       []string           // her backup codes, the first of which was used
	bypass      string             // bob's, of two uses one
	pending     answer             // challenges
	prompt      shown
	approved    string
	redeemed    string
	key         string // with which it was redeemed
	ticket      string // nobody claimed it
	waiting     *device
	waitingCode string
	browser     *browser
	proof       string
	unconfirmed string // a TOTP factor
	seed        []byte // of that
}

func (n *node) codes(user string) []string {
	n.t.Helper()
	var made struct{ Codes []string }
	a := n.call(n.admin, "POST", "/v1/users/"+user+"/factors/backup-codes", nil, "Idempotency-Key", "codes").want(n.t, 201)
	if err := json.Unmarshal(a.body, &made); err != nil || len(made.Codes) != 10 {
		n.t.Fatalf("%v: %s", err, a.body)
	}
	return made.Codes
}

// verify types a code for a new challenge of the user.
func (n *node) verify(app, user, method, code string) answer {
	n.t.Helper()
	id := n.challenge(app, user).get("id")
	return n.call(app, "POST", "/v1/challenges/"+id+"/verify", obj{"method": method, "code": code})
}

// live makes everything that counts once, in every state that it can be in.
func live(n *node) *past {
	n.t.Helper()
	t := n.t
	p := &past{n: n, app: n.app("wiki"), key: "again", browser: n.browser()}
	p.ada, p.bob = n.user("ada"), n.user("bob")
	p.phone = n.enrol(p.ada)
	p.browser.remembered(p.app, "ada", p.phone)
	p.code = n.totp(p.ada)
	p.typed = p.code(1)
	if a := n.verify(p.app, "ada", "totp", p.typed).want(t, 200); a.get("state") != "approved" {
		t.Fatalf("a code is not accepted: %s", a.body)
	}
	p.codes = n.codes(p.ada)
	if a := n.verify(p.app, "ada", "backup_code", p.codes[0]).want(t, 200); a.get("state") != "approved" {
		t.Fatalf("a backup code is not accepted: %s", a.body)
	}
	p.bypass = n.call(n.admin, "POST", "/v1/users/"+p.bob+"/bypass-codes", obj{"reason": "lost", "uses": 2}).want(t, 201).get("code")
	if a := n.verify(p.app, "bob", "bypass_code", p.bypass).want(t, 200); a.get("state") != "approved" {
		t.Fatalf("a bypass code is not accepted: %s", a.body)
	}
	made := n.call(n.admin, "POST", "/v1/users/"+p.bob+"/factors/totp", obj{}).want(t, 201)
	p.unconfirmed = made.get("id")
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(made.get("secret"))
	if err != nil {
		t.Fatal(err)
	}
	p.seed = seed
	p.waiting, p.waitingCode = n.claim(p.bob)
	cy := n.user("cy")
	p.unused = n.totp(cy)(1)
	link, err := protocol.ParseTicketLink(n.call(n.admin, "POST", "/v1/users/"+cy+"/enrolments", obj{}).want(t, 201).get("url"))
	if err != nil {
		t.Fatal(err)
	}
	p.ticket = link.Ticket

	c := n.challenge(p.app, "ada", p.browser.from("ada"))
	p.phone.decide(approval(p.phone.prompt(c.get("id")), protocol.MatchDigits, c.get("match.digits"))).want(t, 200)
	n.call(p.app, "POST", "/v1/challenges/"+c.get("id")+"/redeem", nil, "Idempotency-Key", p.key).want(t, 200)
	p.redeemed = c.get("id")
	c = n.challenge(p.app, "ada")
	p.phone.decide(approval(p.phone.prompt(c.get("id")), protocol.MatchDigits, c.get("match.digits"))).want(t, 200)
	p.approved = c.get("id")
	p.pending = n.challenge(p.app, "ada")
	p.prompt = p.phone.prompt(p.pending.get("id"))
	p.proof = p.browser.prove("ada")
	p.phone.poll("").want(t, 200)
	return p
}

// load signs people in until the context ends.
func (p *past) load(ctx context.Context) (wait func()) {
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() {
			for ctx.Err() == nil {
				a, err := p.n.try(p.app, "POST", "/v1/challenges", request("cy", obj{"context": obj{"browser_id": fmt.Sprint(i)}}))
				if err == nil {
					_, _ = p.n.try(p.app, "POST", "/v1/challenges/"+a.get("id")+"/cancel", nil)
				}
			}
		})
	}
	return all.Wait
}

// refused tries all that was used or given out before on the restored server.
func (p *past) refused(t *testing.T, n *node) {
	t.Helper()
	moved := func(d *device) *device {
		c := *d
		c.n = n
		return &c
	}
	not := func(what string, a answer) {
		t.Helper()
		if a.status < 400 && a.get("state") != "pending" { // a wrong code leaves the challenge as it is
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}
	phone := moved(p.phone)
	stale := phone.post(protocol.PathPrompts, phone.sign(&protocol.Poll{V: 1, KeysSerial: phone.serial, Have: []string{}},
		protocol.Header{KeyID: phone.id, URL: n.url + protocol.PathPrompts, Nonce: phone.nonce}))
	if phone.nonce == "" || stale.get("reason") != "stale_nonce" {
		t.Errorf("a nonce %q from before: %s", phone.nonce, stale.body)
	}
	not("the code that was used", n.verify(p.app, "ada", "totp", p.typed))
	not("a code that was not used", n.verify(p.app, "cy", "totp", p.unused))
	not("a backup code that was used", n.verify(p.app, "ada", "backup_code", p.codes[0]))
	not("a backup code that was not used", n.verify(p.app, "ada", "backup_code", p.codes[5]))
	not("the bypass code", n.verify(p.app, "bob", "bypass_code", p.bypass))
	not("a decision on a prompt from before", phone.decide(approval(p.prompt, protocol.MatchDigits, p.pending.get("match.digits"))))
	for what, id := range map[string]string{"pending": p.pending.get("id"), "approved": p.approved} {
		not("redeeming what was "+what, n.redeem(p.app, id))
		if got := n.state(p.app, id); got != "cancelled" && got != "expired" { // on a slow machine
			t.Errorf("what was %s is %s", what, got)
		}
	}
	again := n.call(p.app, "POST", "/v1/challenges/"+p.redeemed+"/redeem", nil, "Idempotency-Key", p.key)
	not("the grant once more", again)
	if again.get("reason") != "grant_expired" {
		t.Errorf("the grant once more: %s", again.body)
	}
	d := moved(p.phone)
	not("a ticket", d.post(protocol.PathEnrol, d.sign(&protocol.Enrol{
		V: 1, Ticket: p.ticket, Name: "mine", Platform: protocol.PlatformCLI, AppVersion: "1", Features: []string{},
	}, protocol.Header{URL: n.url + protocol.PathEnrol})))
	not("a claim that waits", n.call(n.admin, "POST", "/v1/enrolments/"+p.waiting.enrol+"/confirm", obj{"code": p.waitingCode}))
	not("a TOTP factor that waits", n.call(n.admin, "POST", "/v1/users/"+p.bob+"/factors/totp/"+p.unconfirmed+"/confirm", obj{"code": hotp(p.seed, time.Now().Unix()/30)}))
	for _, proof := range []obj{{"context": obj{"browser_proof": p.proof}}, (&browser{n: n, key: p.browser.key}).from("ada")} {
		c := n.challenge(p.app, "ada", proof)
		if phone.prompt(c.get("id")).Context.KnownBrowser {
			t.Error("a browser is known still")
		}
		n.call(p.app, "POST", "/v1/challenges/"+c.get("id")+"/cancel", nil).want(t, 200)
	}
}

// goesOn wants the people to sign in as before, and to be told.
func (p *past) goesOn(t *testing.T, n *node) {
	t.Helper()
	phone := *p.phone
	phone.n, phone.nonce = n, ""
	body, err := protocol.ReadAnswer[protocol.PollAnswer](phone.poll("").want(t, 200).body)
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for _, raw := range body.Notices {
		notice, err := phone.keys.OpenNotice(raw)
		if err != nil {
			t.Fatal(err)
		}
		told = told || notice.Kind == protocol.NoticeFactorChanged
	}
	if !told {
		t.Error("ada was not told")
	}
	n.approve(p.app, &phone, n.challenge(p.app, "ada"))
	if a := n.verify(p.app, "ada", "totp", p.code(0)); a.get("state") != "approved" {
		t.Errorf("a fresh code: %s", a.body)
	}
	if again := n.codes(p.ada); again[0] == p.codes[0] { // asked for with the key of before
		t.Error("an answer from before is repeated")
	}
	if got := n.events("kind=store.restored"); len(got) != 1 {
		t.Errorf("the record says %q", got)
	}
}

// TestRestore backs a server up while it works, lets more happen, restores it elsewhere, and tries
// all that was used or given out before.
func TestRestore(t *testing.T) {
	t.Parallel()
	key, recipient := identity(t)
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "new")
	n, stop := startUntil(t, nodeOptions{dir: dir})
	p := live(n)
	file := filepath.Join(t.TempDir(), "nod.backup")
	ctx, cancel := context.WithCancel(t.Context())
	wait := p.load(ctx)
	succeeds(t, nil, "backup", "--data-dir", dir, "--out", file, "--recipient", recipient)
	cancel()
	wait()
	fails(t, "is there already", nil, "backup", "--data-dir", dir, "--out", file, "--recipient", recipient)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "nod.db.backup")); left != nil {
		t.Errorf("%q is left", left)
	}
	// What was live is used now; a copy from before does not know.
	if a := p.n.verify(p.app, "cy", "totp", p.unused); a.get("state") != "approved" {
		t.Logf("cy's code is too old already: %s", a.body)
	}
	p.n.verify(p.app, "ada", "backup_code", p.codes[5]).want(t, 200)
	p.n.verify(p.app, "bob", "bypass_code", p.bypass).want(t, 200)
	p.phone.decide(approval(p.prompt, protocol.MatchDigits, p.pending.get("match.digits"))).want(t, 200)
	p.n.redeem(p.app, p.pending.get("id")).want(t, 200)
	p.n.redeem(p.app, p.approved).want(t, 200)

	fails(t, "another nod serves", nil, "restore", file, "--data-dir", dir, "--identity", key, "--replace")
	stop()
	fails(t, "already", nil, "restore", file, "--data-dir", dir, "--identity", key)
	lost := filepath.Join(t.TempDir(), "lost.csv")
	out := succeeds(t, nil, "restore", file, "--data-dir", elsewhere, "--identity", key, "--lost", lost, "--json")
	for _, want := range []string{`"epoch": 1`, `"name": "ada"`, `"backup_codes"`, `"name": "bob"`, `"bypass_code"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the restore does not say %s:\n%s", want, out)
		}
	}
	if text, err := os.ReadFile(lost); err != nil || !strings.Contains(string(text), ",ada,backup_codes\n") {
		t.Errorf("who lost codes: %s, %v", text, err)
	}
	again, stop := startUntil(t, nodeOptions{dir: elsewhere, offset: n.offset})
	again.admin = n.admin
	p.refused(t, again)
	n.offset.Add(int64(2 * time.Minute))
	p.goesOn(t, again)
	stop()

	// Once more, in place: the former files are kept.
	succeeds(t, nil, "restore", file, "--data-dir", elsewhere, "--identity", key, "--replace")
	if kept, _ := filepath.Glob(filepath.Join(elsewhere, "replaced-by-*", "nod.db")); len(kept) != 1 {
		t.Errorf("the former database is not kept: %q", kept)
	}
}

// TestRestoreIsFinishedAfterAKill kills a restore at many moments, and runs it again.
func TestRestoreIsFinishedAfterAKill(t *testing.T) {
	t.Parallel()
	key, recipient := identity(t)
	dir := t.TempDir()
	n, stop := startUntil(t, nodeOptions{dir: dir})
	p := live(n)
	for i := range 200 {
		n.user(fmt.Sprintf("user-%d", i))
	}
	stop()
	file := filepath.Join(t.TempDir(), "nod.backup")
	succeeds(t, nil, "backup", "--data-dir", dir, "--out", file, "--recipient", recipient)
	prog, err := program()
	if err != nil {
		t.Fatal(err)
	}
	// The words that it says on its way are where it is killed.
	for _, moment := range []string{"Reading", "Preparing", "Voiding", "100 people", "200 people"} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			target := filepath.Join(t.TempDir(), "data")
			cmd := exec.Command(prog, "restore", file, "--data-dir", target, "--identity", key)
			at := &trigger{word: moment, do: func() { _ = cmd.Process.Kill() }}
			cmd.Stderr = at
			err := cmd.Run()
			if !at.seen.Load() {
				t.Fatalf("it never said %q: %v", moment, err)
			}
			if err != nil {
				if _, err := os.Stat(filepath.Join(target, "nod.db")); err == nil {
					_, errs, code := execute(t, []string{"NOD_DATA_DIR=" + target, "NOD_LISTEN=127.0.0.1:0"}, "serve")
					if code == 0 || !strings.Contains(errs, "nod restore finish") {
						t.Errorf("a server starts on what was not finished: %s", errs)
					}
				}
			}
			args := []string{"restore", file, "--data-dir", target, "--identity", key}
			if err == nil { // it was faster than the kill
				args = append(args, "--replace")
			}
			out := succeeds(t, nil, append(args, "--json")...)
			if !strings.Contains(out, `"name": "ada"`) || !strings.Contains(out, `"name": "bob"`) {
				t.Errorf("who lost codes is forgotten:\n%s", out)
			}
			offset := new(atomic.Int64)
			again, stop := startUntil(t, nodeOptions{dir: target, offset: offset})
			again.admin = n.admin
			defer stop()
			q := *p
			was := *p.phone
			q.phone = &was
			q.refused(t, again)
		})
	}
}

// trigger acts when a word is written.
type trigger struct {
	word string
	do   func()
	seen atomic.Bool
	buf  lockedBuffer
}

func (g *trigger) Write(b []byte) (int, error) {
	n, err := g.buf.Write(b)
	if strings.Contains(g.buf.String(), g.word) && !g.seen.Swap(true) {
		g.do()
	}
	return n, err
}

// TestRestoreRefuses what it should not take.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	key, recipient := identity(t)
	otherKey, _ := identity(t)
	dir, out := t.TempDir(), t.TempDir()
	n, stop := startUntil(t, nodeOptions{dir: dir})
	n.user("ada")
	stop()
	file, plain := filepath.Join(out, "nod.backup"), filepath.Join(out, "plain.backup")
	fails(t, "encrypted to recipients or with a passphrase", nil, "backup", "--data-dir", dir, "--out", file)
	fails(t, "no recipient of age", nil, "backup", "--data-dir", dir, "--out", file, "--recipient", "age1nobody")
	fails(t, "no database", nil, "backup", "--data-dir", out, "--out", file, "--recipient", recipient)
	fails(t, "docs/backup.md", []string{"NOD_DATABASE=postgres:///x"}, "backup", "--data-dir", dir, "--out", file, "--recipient", recipient)
	if left, err := os.ReadDir(out); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	succeeds(t, nil, "backup", "--data-dir", dir, "--out", file, "--recipient", recipient)
	_, errs, _ := execute(t, nil, "backup", "--data-dir", dir, "--out", plain, "--unencrypted")
	if !strings.Contains(errs, "Warning") {
		t.Errorf("no warning: %s", errs)
	}
	succeeds(t, nil, "backup", "verify", file, "--identity", key)
	fails(t, "does not open", nil, "backup", "verify", file, "--identity", otherKey)
	fails(t, "name the identity", nil, "backup", "verify", file)
	target := filepath.Join(t.TempDir(), "data")
	fails(t, "does not open", nil, "restore", file, "--identity", otherKey, "--data-dir", target)
	fails(t, "not encrypted", nil, "restore", plain, "--data-dir", target)
	fails(t, "not marked as restored", []string{"NOD_DATA_DIR=" + dir}, "restore", "finish")
	good, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(out, "bad.backup")
	for i := range 12 {
		b := bytes.Clone(good)
		b[i*(len(b)-1)/11] ^= 1 << (i % 8)
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		fails(t, "damaged", nil, "restore", bad, "--unencrypted", "--data-dir", target)
	}
	if left, err := filepath.Glob(filepath.Join(target, "nod.db")); err != nil || left != nil {
		t.Errorf("a database is there: %q, %v", left, err)
	}
	succeeds(t, nil, "restore", plain, "--unencrypted", "--data-dir", target)
}

// TestFinishOfAPostgresRestore puts a database back with PostgreSQL's own tools under servers that
// go on, and finishes it.
func TestFinishOfAPostgresRestore(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	dump := filepath.Join(t.TempDir(), "nod.dump")
	for _, tool := range []string{"pg_dump", "psql"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	n, stop := startUntil(t, nodeOptions{dir: dir, dsn: dsn})
	p := live(n)
	if out, err := exec.Command("pg_dump", "--format=custom", "--file="+dump, dsn).CombinedOutput(); err != nil {
		t.Fatalf("pg_dump: %v\n%s", err, out)
	}
	p.n.verify(p.app, "ada", "backup_code", p.codes[5]).want(t, 200)
	p.n.redeem(p.app, p.approved).want(t, 200)
	stop()
	restored := pgtest.Database(t)
	if out, err := exec.Command("pg_restore", "--no-owner", "--dbname="+restored, dump).CombinedOutput(); err != nil {
		t.Fatalf("pg_restore: %v\n%s", err, out)
	}
	env := []string{"NOD_DATA_DIR=" + dir, "NOD_DATABASE=" + restored}
	fails(t, "not marked as restored", env, "restore", "finish")
	out := succeeds(t, env, "restore", "finish", "--begin", "--backup", "2026-11-20T03:00:00Z", "--json")
	if !strings.Contains(out, `"name": "ada"`) || !strings.Contains(out, `"from": "2026-11-20T03:00:00Z"`) {
		t.Error(out)
	}
	again, stop := startUntil(t, nodeOptions{dir: dir, dsn: restored, offset: n.offset})
	defer stop()
	again.admin = n.admin
	p.refused(t, again)
	n.offset.Add(int64(2 * time.Minute))
	p.goesOn(t, again)
}
