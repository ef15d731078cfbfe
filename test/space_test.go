package test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// absent ends a test for which something is missing on this machine. Under make test it fails.
func absent(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("NOD_TEST_REQUIRE") == "all" {
		t.Fatalf("NOD_TEST_REQUIRE=all: "+format, args...)
	}
	t.Skipf(format+"; make test runs this", args...)
}

// program finds a program that a fault is made with.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		absent(t, "%s is not installed", name)
	}
	return path
}

// space is a small file system in memory that only the processes started in it see.
type space struct {
	pid int
	dir string // where it is mounted
}

// newSpace makes a file system of a size such as 8m. It is gone when the test ends.
func newSpace(t testing.TB, size string) *space {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "nod-space-") // a short path, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	args := []string{"-m", "--propagation", "private"}
	if os.Getuid() != 0 {
		args = append(args, "-r")
	}
	cmd := exec.Command(tool(t, "unshare"), append(args, "sh", "-c",
		`mount -t tmpfs -o "size=$1,mode=1777" tmpfs "$2" && echo mounted && exec cat`, "sh", size, dir)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := new(strings.Builder)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // which ends it
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "mounted\n" {
		absent(t, "no file system can be mounted in a namespace of its own: %v %s", err, said)
	}
	return &space{cmd.Process.Pid, dir}
}

// enter is the prefix of a command that runs in the namespace.
func (s *space) enter(t testing.TB) []string {
	t.Helper()
	args := []string{tool(t, "nsenter"), "-t", strconv.Itoa(s.pid), "-m"}
	if os.Getuid() != 0 {
		args = append(args, "-U", "--preserve-credentials")
	}
	return args
}

// path is where this process sees a file of the file system.
func (s *space) path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(s.pid), "root", s.dir, name)
}

// fill writes until there is no room.
func (s *space) fill(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile(s.path("filler"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // which loses nothing that is wanted
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// free takes away what fill wrote.
func (s *space) free(t testing.TB) {
	t.Helper()
	if err := os.Remove(s.path("filler")); err != nil {
		t.Fatal(err)
	}
}
