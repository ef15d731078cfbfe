package test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ioErrors are the calls that fail, and which of them in each thread: a few in make test, the first
// IOERRORS of each with that variable.
func ioErrors(t *testing.T) map[string][]string {
	if text := os.Getenv("IOERRORS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("IOERRORS=%q is not a number", text)
		}
		all := map[string][]string{}
		for _, call := range []string{"fsync,fdatasync", "pwrite64", "pread64", "ftruncate", "openat"} {
			for i := 1; i <= n; i += 1 + i/10 { // thinner further on
				all[call] = append(all[call], strconv.Itoa(i))
			}
		}
		return all
	}
	return map[string][]string{
		"fsync,fdatasync": {"1", "7", "20+"}, "pwrite64": {"3", "40"}, "pread64": {"9"}, "ftruncate": {"1"}, "openat": {"30"},
	}
}

// TestIOErrors has the n-th call of a kind fail, at the start or under sign-ins. The server denies, or
// stops and says why. After the next start everything acknowledged is there, and each grant has its
// event.
func TestIOErrors(t *testing.T) {
	t.Parallel()
	strace := tool(t, "strace")
	dir := t.TempDir()
	p := spawn(t, processOptions{dir: dir})
	o := newLoad(t, &p.node, 4)
	o.run(func() bool { return o.l.completed.Load() > 4 }, &p.node)
	p.stop(t)
	listen := p.url[len("http://"):]
	stopped, started := 0, 0
	for call, times := range ioErrors(t) {
		for _, when := range times {
			what := fmt.Sprintf("call %s of %s", when, call)
			p, err := trySpawn(t, processOptions{dir: dir, listen: listen, prefix: []string{
				strace, "-f", "--seccomp-bpf", "-qqq", "-e", "signal=none", "-o", "/dev/null",
				"-e", "trace=" + call, "-e", "inject=" + call + ":error=EIO:when=" + when,
			}})
			if err == nil {
				started++
				end := o.l.completed.Load() + 20
				o.run(func() bool { return o.l.completed.Load() > end || p.ended() }, &p.node)
			}
			if p.ended() {
				stopped++
				if err := <-p.done; !exitedWith(err, 1) {
					t.Errorf("%s: nod ended with %v\n%s", what, err, tail(p.log.String()))
				} else {
					p.done <- err
				}
				if log := p.log.String(); !strings.Contains(log, "nod: ") {
					t.Errorf("%s: nod ended without a word\n%s", what, tail(log))
				}
			}
			p.kill()
			p = spawn(t, processOptions{dir: dir, listen: listen})
			o.check(&p.node)
			p.stop(t)
			if t.Failed() {
				t.Fatalf("after %s", what)
			}
		}
	}
	if stopped == 0 || started == 0 {
		t.Errorf("%d servers stopped, %d started: the faults do not fall where they should", stopped, started)
	}
	t.Logf("%d sign-ins, %d unknown; %d servers stopped, %d started; refused: %v",
		o.l.completed.Load(), o.l.unknown.Load(), stopped, started, o.refused)
}

// ended says whether the process is gone.
func (p *process) ended() bool {
	select {
	case err := <-p.done:
		p.done <- err
		return true
	default:
		return false
	}
}

func exitedWith(err error, code int) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == code
}

// TestNoFilesLeft takes all the files that a server may open: it neither ends nor spins, and answers
// when some are free again.
func TestNoFilesLeft(t *testing.T) {
	t.Parallel()
	p := spawn(t, processOptions{dir: t.TempDir(), prefix: []string{tool(t, "prlimit"), "--nofile=64:64"}})
	o := newLoad(t, &p.node, 1)
	var open []net.Conn
	for range 100 { // the kernel takes them; the server cannot
		c, err := net.Dial("tcp", p.url[len("http://"):])
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	o.await("the server has no files left", func() bool { return strings.Contains(p.log.String(), "no connection can be taken") })
	before := p.cpu(t)
	pause(time.Second)
	if used := p.cpu(t) - before; used > 400*time.Millisecond {
		t.Errorf("the server used %s of a second in which it could do nothing", used)
	}
	for _, c := range open {
		_ = c.Close()
	}
	o.run(func() bool { return o.l.completed.Load() > 3 }, &p.node)
	o.check(&p.node)
	p.stop(t)
}

// cpu is the processor time that the process has used.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
