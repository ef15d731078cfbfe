package pgtest

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Cluster is a PostgreSQL server that one test has for itself, to pause, crash and starve it.
type Cluster struct {
	url string // of a superuser
	dir string
}

// NewCluster starts a server through scripts/postgres, behind the words of prefix, and stops it when
// t ends. Where tests do without PostgreSQL, t is skipped or fails as with Server.
func NewCluster(t testing.TB, prefix ...string) *Cluster {
	t.Helper()
	Server(t)
	args := append(slices.Clone(prefix), script(t), "sh", "-c", `echo "$NOD_TEST_POSTGRES" && exec cat`)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), args[0], args[1:]...) //nolint:gosec // a test's own command
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := new(Cluster)
	t.Cleanup(func() {
		_ = in.Close() // which stops the server
		if err := cmd.Wait(); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	c.url = strings.TrimSpace(line)
	at, err := url.Parse(c.url)
	if err != nil {
		t.Fatal(err)
	}
	c.dir = filepath.Join(at.Query().Get("host"), "data")
	return c
}

// script finds scripts/postgres above the directory of the test.
func script(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if path := filepath.Join(dir, "scripts", "postgres"); exists(path) {
			return path
		}
	}
	t.Fatal("there is no scripts/postgres above the test")
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Database makes an empty database and returns its URL.
func (c *Cluster) Database(t testing.TB, name string) string {
	t.Helper()
	c.Run(t, "CREATE DATABASE "+name)
	at, err := url.Parse(c.url)
	if err != nil {
		t.Fatal(err)
	}
	at.Path = "/" + name
	return at.String()
}

// Run carries out one statement.
func (c *Cluster) Run(t testing.TB, statement string) {
	t.Helper()
	if err := run(context.WithoutCancel(t.Context()), c.url, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// Starve takes connections until the server gives none, and ends those that nod has, so that it
// finds none either. The function that it returns gives all back.
func (c *Cluster) Starve(t testing.TB) (feed func()) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	var taken []*pgx.Conn
	for refused := 0; refused < 20; {
		conn, err := pgx.Connect(ctx, c.url)
		if err != nil {
			refused++
		} else {
			refused = 0
			taken = append(taken, conn)
		}
		if len(taken) == 0 {
			t.Fatalf("the server gives no connection: %v", err)
		}
		if _, err := taken[0].Exec(ctx, endNod); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for _, conn := range taken {
			_ = conn.Close(ctx)
		}
	}
}

const endNod = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'nod%'`

// EndSessions ends every connection of nod.
func (c *Cluster) EndSessions(t testing.TB) {
	t.Helper()
	c.Run(t, endNod)
}

// Pause stops every process of the server where it is, until Resume.
func (c *Cluster) Pause(t testing.TB) { c.signal(t, syscall.SIGSTOP) }

// Resume ends a Pause.
func (c *Cluster) Resume(t testing.TB) { c.signal(t, syscall.SIGCONT) }

func (c *Cluster) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	main := c.pid(t)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", main, main))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(main, s); err != nil {
		t.Fatal(err)
	}
	for _, f := range strings.Fields(string(children)) {
		if pid, err := strconv.Atoi(f); err == nil {
			_ = syscall.Kill(pid, s) // it may be gone
		}
	}
}

func (c *Cluster) pid(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// Crash ends the server as a failure does: at once, with everything that only it knew.
func (c *Cluster) Crash(t testing.TB) {
	t.Helper()
	c.control(t, "stop", "--mode=immediate")
}

// Restart starts a server that has crashed, which recovers.
func (c *Cluster) Restart(t testing.TB) {
	t.Helper()
	c.control(t, "start", "--log="+filepath.Join(c.dir, "server.log"))
}

func (c *Cluster) control(t testing.TB, verb string, more ...string) {
	t.Helper()
	programs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_ctl") // its pattern is right
	program := "pg_ctl"
	if len(programs) > 0 {
		program = programs[len(programs)-1]
	}
	args := append([]string{program, verb, "--silent", "--wait", "--pgdata=" + c.dir}, more...)
	if os.Getuid() == 0 {
		args = append([]string{"runuser", "-u", "postgres", "--"}, args...)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), args[0], args[1:]...) //nolint:gosec // a test's own command
	cmd.Dir = "/"
	if err := cmd.Run(); err != nil { // without its output, which the started server would keep open
		t.Fatalf("pg_ctl %s: %v", verb, err)
	}
}
