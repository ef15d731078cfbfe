package test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// have skips the test without a tool, and fails it where everything is required.
func have(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("NOD_TEST_REQUIRE") == "all" {
			t.Fatalf("%s is not installed: run scripts/needs", tool)
		}
		t.Skipf("left out without %s", tool)
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestDebianPackage builds the package, looks at what is in it, and runs what it installs.
func TestDebianPackage(t *testing.T) {
	t.Parallel()
	have(t, "dpkg-deb", "dpkg", "git", "xz")
	deb := strings.TrimSpace(output(t, "../scripts/deb", t.TempDir()))
	if os.Getenv("NOD_TEST_REQUIRE") == "all" {
		again := strings.TrimSpace(output(t, "../scripts/deb", t.TempDir()))
		if a, b := must(os.ReadFile(deb)), must(os.ReadFile(again)); !bytes.Equal(a, b) {
			t.Error("two builds of one commit differ")
		}
	}
	list := output(t, "dpkg-deb", "--contents", deb)
	for _, want := range []string{
		`-rwxr-xr-x root/root +\d+ \S+ \S+ \./usr/bin/nod\n`,
		`-rw-r--r-- root/root +\d+ \S+ \S+ \./etc/nod/nod\.yaml\n`,
		`-rw-r--r-- root/root +\d+ \S+ \S+ \./usr/lib/systemd/system/nod\.service\n`,
		`-rw-r--r-- root/root +\d+ \S+ \S+ \./usr/share/bash-completion/completions/nod\n`,
		`drwxr-xr-x root/root +0 \S+ \S+ \./\n`,
	} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("the package lacks %s:\n%s", want, list)
		}
	}
	if bad := regexp.MustCompile(`(?m)^.(.....w|..s|.....s|........w).*`).FindString(list); bad != "" {
		t.Errorf("too much may be done with %s", bad)
	}
	root := t.TempDir()
	output(t, "dpkg-deb", "--raw-extract", deb, root)
	if got := string(must(os.ReadFile(filepath.Join(root, "DEBIAN/conffiles")))); got != "/etc/nod/nod.yaml\n" {
		t.Errorf("conffiles: %q", got)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		output(t, "sh", "-n", filepath.Join(root, "DEBIAN", script))
	}
	nod := filepath.Join(root, "usr/bin/nod")
	// The go command knows what it builds from in a clone, and not in a worktree beside one.
	info, err := os.Stat("../.git")
	if out := output(t, nod, "version", "--json"); err == nil && info.IsDir() && !strings.Contains(out, `"commit"`) {
		t.Errorf("it does not know what it was built from: %s", out)
	}
	static(t, nod)
	serveAsService(t, nod, filepath.Join(root, "etc/nod/nod.yaml"))
	if _, err := exec.LookPath("systemd-analyze"); err == nil {
		// The program is where the package will have put it.
		unit := filepath.Join(t.TempDir(), "nod.service")
		text := strings.Replace(string(must(os.ReadFile(filepath.Join(root, "usr/lib/systemd/system/nod.service")))), "/usr/bin/nod", nod, 1)
		if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(output(t, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit), "\n") {
			if strings.Contains(line, "nod.service") {
				t.Errorf("systemd: %s", line)
			}
		}
		output(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
	}
}

// static wants a program that needs no other file.
func static(t *testing.T, file string) {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	libs, err := f.ImportedLibraries()
	if err != nil || len(libs) > 0 {
		t.Errorf("it wants %q, %v", libs, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("it is linked dynamically")
		}
	}
}

// serveAsService starts the program with the configuration that is shipped, as systemd does, and
// waits to be told that it is ready and that it stops.
func serveAsService(t *testing.T, nod, config string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "nod") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	if err := socket.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	cmd := exec.Command(nod, "serve", "--config", config)
	cmd.Env = []string{"NOD_DATA_DIR=" + filepath.Join(dir, "data"), "NOD_LISTEN=127.0.0.1:0", "NOTIFY_SOCKET=" + filepath.Join(dir, "notify")}
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := func(want string) {
		t.Helper()
		b := make([]byte, 100)
		n, err := socket.Read(b)
		if err != nil || string(b[:n]) != want {
			_ = cmd.Process.Kill()
			t.Fatalf("told %q, %v, want %s\n%s", b[:n], err, want, log.String())
		}
	}
	told("READY=1")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	told("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, log.String())
	}
}

// TestServiceUnit wants the shipped unit to keep what makes it safe, for machines without systemd.
func TestServiceUnit(t *testing.T) {
	t.Parallel()
	unit := string(must(os.ReadFile("../contrib/systemd/nod.service")))
	for _, want := range []string{
		"Type=notify", "User=nod", "StateDirectory=nod", "StateDirectoryMode=0700", "UMask=0077", "NoNewPrivileges=yes",
		"ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
		"LimitNOFILE=1048576", "Restart=on-failure", "SystemCallFilter=@system-service", "MemoryDenyWriteExecute=yes",
	} {
		if !strings.Contains(unit, "\n"+want+"\n") {
			t.Errorf("the unit lacks %s", want)
		}
	}
}

// TestContainerfile reads the file as a builder would, as far as that goes without one: what it
// copies is there, and what it makes runs as nobody, on nothing else.
func TestContainerfile(t *testing.T) {
	t.Parallel()
	var last [][]string // the instructions of the last stage
	for n, line := range strings.Split(string(must(os.ReadFile("../Containerfile"))), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if !slices.Contains([]string{"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD"}, words[0]) {
			t.Errorf("line %d: %s", n+1, words[0])
		}
		if words[0] == "FROM" {
			last = nil
		}
		if words[0] == "COPY" && !strings.HasPrefix(words[1], "--") {
			for _, from := range words[1 : len(words)-1] {
				if _, err := os.Stat(filepath.Join("..", from)); err != nil {
					t.Errorf("line %d: %v", n+1, err)
				}
			}
		}
		last = append(last, words)
	}
	text := fmt.Sprint(last)
	for _, want := range []string{"[FROM scratch]", "[USER 65532:65532]", `[ENTRYPOINT ["/usr/bin/nod"]]`, `[CMD ["serve"]]`, "NOD_DATA_DIR=/data"} {
		if !strings.Contains(text, want) {
			t.Errorf("the image lacks %s", want)
		}
	}
}
