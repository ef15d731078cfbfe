package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is the nod program, built once for all tests that need a process to kill.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nod-test-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "nod")
	build := exec.Command("go", "build", "-o", file, "github.com/nodauth/nod/cmd/nod")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build nod: %w\n%s", err, out)
	}
	return file, nil
})

// process is a nod server in a process of its own.
type process struct {
	node
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan error
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// processOptions say how a process is started.
type processOptions struct {
	dir    string   // data directory
	listen string   // address; a free port if empty
	env    []string // more settings
	prefix []string // a command that runs it, such as strace
	seen   string   // the data directory as this test sees it, where that is elsewhere
}

// spawn starts a server process and waits until it is ready.
func spawn(t testing.TB, o processOptions) *process {
	t.Helper()
	p, err := trySpawn(t, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
	return p
}

// trySpawn is as spawn, for a process that may end before it is ready.
func trySpawn(t testing.TB, o processOptions) (*process, error) {
	t.Helper()
	p := launch(t, o)
	err := p.await(t)
	if key, err := os.ReadFile(filepath.Join(p.dir, "admin.key")); err == nil {
		p.admin = strings.TrimSpace(string(key))
	}
	return p, err
}

// launch starts a server process.
func launch(t testing.TB, o processOptions) *process {
	t.Helper()
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if o.listen == "" {
		o.listen = "127.0.0.1:0"
	}
	if o.seen == "" {
		o.seen = o.dir
	}
	_ = os.Remove(filepath.Join(o.seen, "url"))
	args := append(append([]string(nil), o.prefix...), file, "serve")
	p := &process{cmd: exec.Command(args[0], args[1:]...), log: new(lockedBuffer), done: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), append([]string{
		"NOD_DATA_DIR=" + o.dir, "NOD_LISTEN=" + o.listen, "NOD_LIMITS_CREATE_PER_ADDRESS=100000",
	}, o.env...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start nod: %v", err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(func() { p.kill() })
	p.node = node{t: t, dir: o.seen}
	return p
}

// await returns when the server says that it is ready, or when it has ended.
func (p *process) await(t testing.TB) error {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		select {
		case err := <-p.done:
			p.done <- err
			return fmt.Errorf("nod ended before it was ready: %w", err)
		default:
		}
		if text, err := os.ReadFile(filepath.Join(p.dir, "url")); err == nil && len(text) > 0 {
			p.url = strings.TrimSpace(string(text))
			req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, p.url+"/readyz", nil)
			if err != nil {
				t.Fatal(err)
			}
			if a, err := do(req); err == nil && a.status == http.StatusOK {
				return nil
			}
		}
		pause(10 * time.Millisecond)
	}
	return errors.New("nod is not ready after a minute")
}

// pause lets another process go on; nothing is asserted about how long it takes.
func pause(d time.Duration) { <-time.After(d) }

// kill ends the process and all it started, at once.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	err := <-p.done
	p.done <- err
}

// stop ends the process as an operator does and fails the test if it does not end well.
func (p *process) stop(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	err := <-p.done
	p.done <- err
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Errorf("nod ended with %v:\n%s", exit, p.log)
	}
}
