package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/pgtest"
)

// releases are the fixtures that scripts/release-fixture has made.
const releases = "testdata/releases"

// fixture is what a release left behind, ready to be used by this program.
type fixture struct {
	from string // directory of the fixture
	dir  string // data directory
	env  []string
}

// everyRelease runs test with what each release left behind on each database.
func everyRelease(t *testing.T, test func(t *testing.T, kind string, fresh func(t *testing.T) fixture)) {
	t.Helper()
	all, err := filepath.Glob(releases + "/*/*")
	if err != nil || len(all) < 2 {
		t.Fatalf("the fixtures are gone: %q, %v", all, err)
	}
	for _, from := range all {
		kind := filepath.Base(from)
		t.Run(filepath.Base(filepath.Dir(from))+"/"+kind, func(t *testing.T) {
			t.Parallel()
			test(t, kind, func(t *testing.T) fixture { return setDown(t, from, kind) })
		})
	}
}

// setDown puts a fixture into a data directory and a database of its own.
func setDown(t *testing.T, from, kind string) fixture {
	t.Helper()
	f := fixture{from: from, dir: t.TempDir()}
	f.env = []string{"NOD_DATA_DIR=" + f.dir, "NOD_CONFIG=" + abs(t, filepath.Join(from, "nod.yaml"))}
	for _, name := range []string{"seal.json", "admin.key", "application.key", "authenticator.json"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(f.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dump := filepath.Join(from, "dump.sql")
	var cmd *exec.Cmd
	if kind == "postgres" {
		dsn := pgtest.Database(t)
		f.env = append(f.env, "NOD_DATABASE="+dsn)
		cmd = exec.Command("psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file="+dump, dsn)
	} else {
		if _, err := exec.LookPath("sqlite3"); err != nil {
			if os.Getenv("NOD_TEST_REQUIRE") == "all" {
				t.Fatal("sqlite3 is not installed: run scripts/needs")
			}
			t.Skip("left out without sqlite3: run scripts/needs")
		}
		cmd = exec.Command("sqlite3", "-bail", filepath.Join(f.dir, "nod.db"), ".read "+abs(t, dump))
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("load %s: %v\n%s", dump, err, out)
	}
	return f
}

func abs(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// alone keeps other runs of this test away from the addresses that the fixtures speak of.
func alone(t *testing.T, address string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "nod-test-"+address), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
}

// member reads a member of a JSON file of the fixture.
func (f fixture) member(t *testing.T, file, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.from, file))
	if err != nil {
		t.Fatal(err)
	}
	v := answer{body: text}.get(path)
	if v == "" {
		t.Fatalf("%s has no %s", file, path)
	}
	return v
}

// TestAnOldReleaseGoesOn starts this program on what an old release left behind, with its
// configuration, and signs in with its API keys, its authenticator and its codes.
func TestAnOldReleaseGoesOn(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, kind string, fresh func(*testing.T) fixture) {
		listen := map[string]string{"sqlite": "127.83.0.1:8663", "postgres": "127.83.0.2:8663"}[kind]
		alone(t, listen)
		f := fresh(t)
		succeeds(t, f.env, "config", "check")
		p := spawn(t, processOptions{dir: f.dir, listen: listen, env: f.env})
		if p.url != "http://"+listen {
			t.Fatalf("it is at %s", p.url)
		}
		admin := []string{"NOD_URL=" + p.url, "NOD_API_KEY_FILE=" + filepath.Join(f.dir, "admin.key")}
		app := []string{
			"NOD_URL=" + p.url, "NOD_API_KEY_FILE=" + filepath.Join(f.dir, "application.key"),
			"NOD_AUTHENTICATOR_FILE=" + filepath.Join(f.dir, "authenticator.json"),
		}
		if out := succeeds(t, admin, "user", "show", "jo@example.org"); !strings.Contains(out, "laptop") {
			t.Errorf("jo's device is gone:\n%s", out)
		}
		if out := succeeds(t, admin, "event", "list"); !strings.Contains(out, "challenge.redeemed") {
			t.Errorf("the record is gone:\n%s", out)
		}

		// The old sign-in is what it was.
		old := f.member(t, "challenge.json", "id")
		fails(t, "", app, "challenge", "redeem", old, "--key", "one")
		if diff := cmp.Diff(f.json(t, "receipt.json"), decoded(t, succeeds(t, app, "receipt", "show", old, "--json"))); diff != "" {
			t.Errorf("the receipt (-then +now):\n%s", diff)
		}
		keys := filepath.Join(f.from, "keys.json")
		succeeds(t, nil, "receipt", "verify", filepath.Join(f.from, "receipt.json"), "--device-key", keys, "--realm-key", keys)
		f.grantVerifies(t, &p.node)

		// A new one, from the old device: scanned, since the prompt that nobody answered at the time of
		// the release makes the next one wait.
		c := answer{body: []byte(succeeds(t, app, "challenge", "create", "jo", "--asserted", "--json"))}
		succeeds(t, app, "authenticator", "answer", "--approve", "--scan", c.get("match.qr"))
		succeeds(t, app, "challenge", "redeem", c.get("id"), "--key", "new")

		// A backup code, once.
		code := first(answer{body: must(os.ReadFile(filepath.Join(f.from, "codes.json")))}, "codes")
		if code == "" {
			code = between(string(must(os.ReadFile(filepath.Join(f.from, "codes.json")))), "\"1-", "\"")
			code = "1-" + code
		}
		key := strings.TrimSpace(string(must(os.ReadFile(filepath.Join(f.dir, "application.key")))))
		if a := p.verify(key, "jo", "backup_code", code); a.get("state") != "approved" {
			t.Errorf("a backup code: %s", a.body)
		}
		if a := p.verify(key, "jo", "backup_code", code); a.get("state") == "approved" {
			t.Error("a backup code counts twice")
		}
		p.stop(t)
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

func (f fixture) json(t *testing.T, file string) any {
	t.Helper()
	return decoded(t, string(must(os.ReadFile(filepath.Join(f.from, file)))))
}

// grantVerifies checks the old grant with the keys that are published now.
func (f fixture) grantVerifies(t *testing.T, n *node) {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(n.call("", "GET", "/.well-known/jwks.json", nil).want(t, 200).body, &set); err != nil {
		t.Fatal(err)
	}
	grant, err := jose.ParseSignedCompact(f.member(t, "grant.json", "grant"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := grant.Verify(&set); err != nil {
		t.Errorf("the old grant: %v", err)
	}
}

// TestNodesMigrateOnce starts several programs at once on the database of an old release.
func TestNodesMigrateOnce(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, kind string, fresh func(*testing.T) fixture) {
		if kind != "postgres" { // a SQLite database has one process at a time
			return
		}
		f := fresh(t)
		var all sync.WaitGroup
		var migrated lockedBuffer
		for range 4 {
			all.Go(func() {
				_, errs, code := execute(t, f.env, "migrate")
				if code != 0 {
					t.Errorf("exit code %d: %s", code, errs)
				}
				_, _ = migrated.Write([]byte(errs))
			})
		}
		all.Wait()
		if n := strings.Count(migrated.String(), "database migrated"); n != 1 {
			t.Errorf("migrated %d times:\n%s", n, migrated.String())
		}
	})
}

// TestMigrationIsResumedAfterAKill kills migrations of an old release's database at many moments.
// NOD_TEST_MIGRATION_KILLS says how often; 50 is a good number before a release.
func TestMigrationIsResumedAfterAKill(t *testing.T) {
	t.Parallel()
	kills := 3
	if s := os.Getenv("NOD_TEST_MIGRATION_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	prog, err := program()
	if err != nil {
		t.Fatal(err)
	}
	everyRelease(t, func(t *testing.T, _ string, fresh func(*testing.T) fixture) {
		killed := 0
		for i := range kills {
			f := fresh(t)
			cmd := exec.Command(prog, "migrate")
			cmd.Env = append(os.Environ(), f.env...)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pause(time.Duration(20+i*400/kills) * time.Millisecond)
			_ = cmd.Process.Kill()
			var exit *exec.ExitError
			if err := cmd.Wait(); errors.As(err, &exit) && !exit.Exited() {
				killed++
			}
			succeeds(t, f.env, "migrate")
			if _, errs, _ := execute(t, f.env, "migrate"); strings.Contains(errs, "database migrated") {
				t.Errorf("migrated again: %s", errs)
			}
		}
		t.Logf("%d of %d were killed before they ended", killed, kills)
	})
}
