package test

import (
	"encoding/base32"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/protocol"
)

// jumper is a server that sees a clock which the test moves.
type jumper struct {
	*process
	t       *testing.T
	file    string // holds by how much
	options processOptions
	app     string
}

var clockjump = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nod-test-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "clockjump")
	return file, exec.Command("go", "build", "-o", file, "github.com/nodauth/nod/test/clockjump").Run()
})

func newJumper(t *testing.T, env ...string) *jumper {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("clockjump is for Linux on amd64")
	}
	program, err := clockjump()
	if err != nil {
		t.Fatalf("build clockjump: %v", err)
	}
	j := &jumper{t: t, file: filepath.Join(t.TempDir(), "clock")}
	j.jump("0s")
	j.options = processOptions{dir: t.TempDir(), env: env, prefix: []string{program, j.file}}
	j.process = spawn(t, j.options)
	j.app = j.node.app("wiki")
	j.call(j.admin, "PUT", "/v1/policies/current", obj{"document": "decide_by: 10s\nredeem_by: 5s\n"}).want(t, 200)
	return j
}

// jump moves the clock of the server to so much from this one's.
func (j *jumper) jump(by string) {
	j.t.Helper()
	if err := os.WriteFile(j.file, []byte(by), 0o600); err != nil {
		j.t.Fatal(err)
	}
}

// typist is a user with a TOTP factor, and the codes that it shows at a moment.
type typist struct {
	name string
	code func(time.Time) string
}

func (j *jumper) typist(name string) typist {
	j.t.Helper()
	user := j.user(name)
	made := j.call(j.admin, "POST", "/v1/users/"+user+"/factors/totp", obj{}).want(j.t, 201)
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(made.get("secret"))
	if err != nil {
		j.t.Fatal(err)
	}
	u := typist{name, func(at time.Time) string { return hotp(seed, at.Unix()/30) }}
	j.call(j.admin, "POST", "/v1/users/"+user+"/factors/totp/"+made.get("id")+"/confirm", obj{"code": u.code(time.Now())}).want(j.t, 204)
	return u
}

// types asks for a sign-in and types a code, and tells whether that approved it.
func (j *jumper) types(u typist, code string) bool {
	j.t.Helper()
	id := j.challenge(j.app, u.name).get("id")
	approved := j.call(j.app, "POST", "/v1/challenges/"+id+"/verify", obj{"method": "totp", "code": code}).want(j.t, 200).get("state") == "approved"
	if got := j.redeem(j.app, id).status == 200; got != approved {
		j.t.Errorf("approved is %t, redeemed %t", approved, got)
	}
	return approved
}

// sees checks everything that depends on time, while the server's clock is by from the machine's and
// its deadlines have to follow the machine's.
func (j *jumper) sees(d *device, by time.Duration, u typist, used string) {
	t := j.t
	t.Helper()
	if j.types(u, used) {
		t.Errorf("at %s a used code was good again", by)
	}
	if j.types(u, u.code(time.Now().Add(by))) {
		t.Errorf("at %s a code of the moved clock was good", by)
	}
	fresh := j.typist("typist" + by.String())
	if !j.types(fresh, fresh.code(time.Now().Add(30*time.Second))) {
		t.Errorf("at %s a right code is not good", by)
	}
	d.poll("").want(t, 200) // with a nonce of the server
	for range 2 {
		c := j.challenge(j.app, "ada", obj{"context": obj{"browser_id": by.String()}})
		d.decide(approval(d.prompt(c.get("id")), protocol.MatchDigits, c.get("match.digits"))).want(t, 200)
		j.redeem(j.app, c.get("id")).want(t, 200)
	}
}

// waits waits until a challenge is over, and fails if that is before its time.
func (j *jumper) waits(id string, made time.Time, limit time.Duration) {
	j.t.Helper()
	for deadline := made.Add(time.Minute); ; pause(20 * time.Millisecond) {
		state, at := j.state(j.app, id), time.Now()
		if state == "expired" {
			if at.Sub(made) < limit-100*time.Millisecond {
				j.t.Errorf("a challenge of %s expired after %s", limit, at.Sub(made))
			}
			return
		}
		if at.After(deadline) {
			j.t.Fatalf("a challenge of %s is %s after %s", limit, state, at.Sub(made))
		}
	}
}

// TestClockMoved moves the wall clock of a server on SQLite by a day and by an hour, both ways, while
// challenges are pending and approved. Nothing of it follows: nothing is over early or late, no code
// is good twice. A restart takes the new time, but none that lies before what is stored.
func TestClockMoved(t *testing.T) {
	t.Parallel()
	j := newJumper(t)
	d := j.enrol(j.user("ada"))
	u := j.typist("tom")
	used := u.code(time.Now().Add(30 * time.Second))
	if !j.types(u, used) {
		t.Fatal("a right code is not good")
	}
	for _, by := range []string{"24h", "-24h", "1h", "-1h"} {
		made := time.Now()
		pending := j.challenge(j.app, "ada", obj{"context": obj{"browser_id": "pending"}})
		approved := j.challenge(j.app, "ada", obj{"context": obj{"browser_id": "approved"}})
		d.decide(approval(d.prompt(approved.get("id")), protocol.MatchDigits, approved.get("match.digits"))).want(t, 200)
		late := approval(d.prompt(pending.get("id")), protocol.MatchDigits, pending.get("match.digits"))
		j.jump(by)
		length, err := time.ParseDuration(by)
		if err != nil {
			t.Fatal(err)
		}
		if state := j.state(j.app, pending.get("id")); state != "pending" && time.Since(made) < 9*time.Second {
			t.Errorf("at %s a pending challenge is %s", by, state)
		}
		j.sees(d, length, u, used)
		if by != "24h" && long(t) == 0 {
			continue
		}
		j.waits(approved.get("id"), made, 5*time.Second)
		j.noGrant(j.app, approved.get("id"))
		j.waits(pending.get("id"), made, 10*time.Second)
		d.decide(late).want(t, 410)
		j.noGrant(j.app, pending.get("id"))
	}
	if long(t) > 0 { // that it is said is tested where the store is, too
		j.waitsForReadyz("restart to take it")
	}
	last := j.challenge(j.app, "ada").get("id")
	j.jump("24h")
	j.stop(t)
	j.process = spawn(t, j.options)
	d.n = &j.node
	if state := j.state(j.app, last); state != "expired" {
		t.Errorf("a challenge of yesterday is %s", state)
	}
	if j.types(u, used) {
		t.Error("a used code was good again a day later")
	}
	j.stop(t)
	j.jump("0s")
	said, err := startFails(t, j.options)
	if !exitedWith(err, 1) || !strings.Contains(said, "set the clock right and start again") {
		t.Errorf("a start before the newest row: %v\n%s", err, said)
	}
}

// waitsForReadyz waits until the server is not ready and says why.
func (j *jumper) waitsForReadyz(why string) {
	j.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); pause(100 * time.Millisecond) {
		if a := j.call("", "GET", "/readyz", nil); a.status == 503 && strings.Contains(string(a.body), why) {
			return
		}
	}
	j.t.Errorf("/readyz does not say %q", why)
}

// TestClockOfANode moves the clock of one node of a PostgreSQL installation. Its decisions follow the
// database's, and it says that its own is wrong.
func TestClockOfANode(t *testing.T) {
	t.Parallel()
	j := newJumper(t, "NOD_DATABASE="+pgtest.Database(t))
	d := j.enrol(j.user("ada"))
	u := j.typist("tom")
	used := u.code(time.Now().Add(30 * time.Second))
	if !j.types(u, used) {
		t.Fatal("a right code is not good")
	}
	for _, by := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		j.jump(by.String())
		j.waitsForReadyz("away from the database's: set it right")
		j.sees(d, by, u, used)
	}
	j.jump("0s")
	j.waitsReady()
	j.stop(t)
}

// waitsReady waits until the server is ready again.
func (j *jumper) waitsReady() {
	j.t.Helper()
	if err := j.await(j.t); err != nil {
		j.t.Errorf("%v", err)
	}
}
