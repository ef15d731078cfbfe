package test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/server"
	"github.com/nodauth/nod/protocol"
)

// docs is where the documentation stands, seen from here.
const docs = "../docs"

// block is a block of shell commands of a page.
type block struct {
	line   int
	name   string // "" for one that is not run
	script string
}

var (
	runMark  = regexp.MustCompile(`^<!-- test: (\S.*) -->$`)
	skipMark = regexp.MustCompile(`^<!-- not run: (\S.*) -->$`)
)

// blocks takes the shell commands out of a page. Each block says by a comment in the line above
// that it is run, or why it cannot be; anything else is a fault, so that none is forgotten.
func blocks(page string) (out []block, faults []string) {
	above, fence := "", ""
	var b block
	s := bufio.NewScanner(strings.NewReader(page))
	for n := 1; s.Scan(); n++ {
		line := s.Text()
		switch {
		case fence != "" && line == "```":
			if fence == "sh" {
				out = append(out, b)
			}
			above, fence = "", ""
			continue
		case fence != "":
			b.script += line + "\n"
			continue
		case line == "```":
			fence = "text"
			continue
		case strings.HasPrefix(line, "```"):
			fence = strings.TrimPrefix(line, "```")
			b = block{line: n}
			if m := runMark.FindStringSubmatch(above); m != nil {
				b.name = m[1]
			}
			switch marked := b.name != "" || skipMark.MatchString(above); {
			case slices.Contains([]string{"bash", "shell", "console", "shell-session"}, fence):
				faults = append(faults, fmt.Sprintf("line %d: mark commands as sh, not as %s", n, fence))
			case fence == "sh" && !marked:
				faults = append(faults, fmt.Sprintf("line %d: say above the commands <!-- test: NAME -->, or <!-- not run: WHY -->", n))
			case fence != "sh" && marked:
				faults = append(faults, fmt.Sprintf("line %d: the comment above belongs to commands, marked as sh", n))
			}
		}
		above = line
	}
	if fence != "" {
		faults = append(faults, "a block is not closed")
	}
	return out, faults
}

func TestBlocksAreTakenOutOfAPage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, page string
		want       []block
		faults     int
	}{
		{"none", "# Page\n\ntext\n", nil, 0},
		{"run", "<!-- test: one -->\n```sh\nnod version\ntrue\n```\n", []block{{2, "one", "nod version\ntrue\n"}}, 0},
		{"not run", "<!-- not run: needs a telephone -->\n```sh\nring\n```\n", []block{{2, "", "ring\n"}}, 0},
		{"no comment", "```sh\nnod version\n```\n", []block{{1, "", "nod version\n"}}, 1},
		{"comment too far above", "<!-- test: one -->\n\n```sh\nx\n```\n", []block{{3, "", "x\n"}}, 1},
		{"no reason", "<!-- not run: -->\n```sh\nx\n```\n", []block{{2, "", "x\n"}}, 1},
		{"another word for shell", "```bash\nx\n```\n", nil, 1},
		{"comment of something else", "<!-- test: one -->\n```go\nx\n```\n", nil, 1},
		{"not closed", "<!-- test: one -->\n```sh\nx\n", nil, 1},
		{"text", "```\n```sh\n```\n", nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, faults := blocks(tt.page)
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(block{})); diff != "" {
				t.Errorf("blocks (-want +got):\n%s", diff)
			}
			if len(faults) != tt.faults {
				t.Errorf("got faults %q, want %d", faults, tt.faults)
			}
		})
	}
}

// pages gives the documentation's pages by name, with their text.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, where := range []string{docs + "/*.md", docs + "/*/*.md", "../README*.md"} {
		files, err := filepath.Glob(where)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all[strings.TrimPrefix(file, "../")] = string(text)
		}
	}
	return all
}

// leastBlocks is how many blocks of a page are run at least. A page that loses them loses its test.
var leastBlocks = map[string]int{
	"docs/api.md": 2, "docs/certificates.md": 3, "docs/authenticator.md": 6, "docs/backup.md": 2, "docs/cli.md": 2, "docs/events.md": 2, "docs/factors.md": 5,
	"docs/observability.md": 1, "docs/install.md": 1, "docs/upgrade.md": 1, "docs/operations.md": 4, "docs/people.md": 5, "docs/policy.md": 5, "docs/webhooks.md": 1, "README.md": 7,
	"docs/operations/README.md": 20, "docs/operations/at-night.md": 20,
}

// outputs is what the commands of a page print among other things, where that they end well says
// too little.
var outputs = map[string][]string{
	"README.md":             {"The application was told: approved", `"reason":"already_redeemed"`, "\n200\n", "\n409\n", "\n400\n"},
	"docs/authenticator.md": {"It is approved.", "It is denied.", "Verified: this device decided so"},
	"docs/api.md":           {`"state":"pending"`, `"state":"cancelled"`},
	"docs/operations/README.md": {
		"created 2000, changed 0", "created 0, changed 1, unchanged 1999", "Invited 2000.", `"done":true`, "It is approved.", "webhook.pinged",
		"unreadable    0", "default,usr_", "backup_codes", "cancelled (policy)", "consistent",
	},
	"docs/operations/at-night.md": {"unreadable    0", "challenge.reported", "webhook.disabled", "gone     410"},
}

// TestDocumentationRuns carries out what the documentation shows: the blocks of a page in their
// order, in one shell, in a folder of its own, beside a server whose data directory is ./nod-data
// unless the page starts one itself.
func TestDocumentationRuns(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl", "openssl", "perl"} {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("NOD_TEST_REQUIRE") == "all" {
			t.Fatalf("NOD_TEST_REQUIRE=all, and %s is not installed: run make test", tool)
		}
		t.Skipf("the documentation's commands are left out: %s is not installed", tool)
	}
	all := pages(t)
	for page, least := range leastBlocks {
		if _, ok := all[page]; !ok {
			t.Errorf("%s is gone, which has at least %d blocks that are run", page, least)
		}
	}
	for page, text := range all {
		list, faults := blocks(text)
		for _, f := range faults {
			t.Errorf("%s: %s", page, f)
		}
		list = slices.DeleteFunc(list, func(b block) bool { return b.name == "" })
		if len(list) < leastBlocks[page] {
			t.Errorf("%s has %d blocks that are run, want at least %d", page, len(list), leastBlocks[page])
		}
		if len(list) == 0 {
			continue
		}
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			out := runPage(t, list)
			for _, want := range outputs[page] {
				if !strings.Contains(out, want) {
					t.Errorf("the commands do not print %q:\n%s", want, out)
				}
			}
		})
	}
}

// runPage carries out a page's blocks and gives what they print.
func runPage(t *testing.T, list []block) string {
	t.Helper()
	nod, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(nod, filepath.Join(dir, "bin", "nod")); err != nil {
		t.Fatal(err)
	}
	script := "set -euo pipefail\n"
	for _, b := range list {
		script += fmt.Sprintf("echo '--- line %d'\n%s", b.line, b.script)
	}
	env := []string{"PATH=" + filepath.Dir(nod) + ":" + os.Getenv("PATH"), "HOME=" + dir, "TERM=dumb", "LC_ALL=C.UTF-8"}
	switch {
	case strings.Contains(script, "${PORT:-"):
		env = append(env, freePorts(t, "PORT", "OPERATIONS_PORT", "HOOK_PORT")...)
	case strings.Contains(script, "nod serve "):
		env = append(env, "NOD_LISTEN=127.0.0.1:0") // any free port
	default:
		spawn(t, processOptions{dir: filepath.Join(dir, "nod-data")})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // of a command that never ends
	defer cancel()
	file := filepath.Join(t.TempDir(), "page.sh")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "bash", file)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the last block below failed: %v\n%s", err, out)
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what the page left running, if anything
	return string(out)
}

// freePorts gives each of the variables a port of this machine that nobody listens on: for a page
// whose server has to know its own address before it starts.
func freePorts(t *testing.T, variables ...string) (env []string) {
	t.Helper()
	for _, name := range variables {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }() // after all of them, so that none is given twice
		env = append(env, fmt.Sprintf("%s=%d", name, l.Addr().(*net.TCPAddr).Port))
	}
	return env
}

// TestDocumentationIsComplete names what a page promises to list and does not.
func TestDocumentationIsComplete(t *testing.T) {
	t.Parallel()
	all := pages(t)
	wants := map[string][]string{
		"docs/events.md": audit.Kinds(),
		"docs/protocol.md": {
			string(protocol.TypeEnrol), string(protocol.TypePoll), string(protocol.TypeDecision), string(protocol.TypeStamp),
			string(protocol.TypeTarget), string(protocol.TypeRotate), string(protocol.TypeNewKey), string(protocol.TypeName),
			string(protocol.TypeLock), string(protocol.TypeHistory), string(protocol.TypeVeto), string(protocol.TypeUnenrol),
			string(protocol.TypeBrowser), string(protocol.TypeEnrolled), string(protocol.TypePrompt), string(protocol.TypeNotice),
			string(protocol.TypeKeys),
		},
	}
	for _, r := range mfa.Reasons() {
		wants["docs/api.md"] = append(wants["docs/api.md"], string(r))
	}
	for _, c := range mfa.Codes() {
		wants["docs/api.md"] = append(wants["docs/api.md"], string(c))
	}
	for _, s := range server.DefaultConfig().Settings() {
		wants["docs/operations.md"] = append(wants["docs/operations.md"], s.Key)
	}
	for line := range strings.Lines(string(policy.Default().Canonical())) {
		if key, _, ok := strings.Cut(strings.TrimLeft(line, " -"), ":"); ok {
			wants["docs/policy.md"] = append(wants["docs/policy.md"], key)
		}
	}
	for page, names := range wants {
		for _, name := range names {
			if !strings.Contains(all[page], name) {
				t.Errorf("%s does not name %s", page, name)
			}
		}
	}
	nod, err := program()
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range verbs(t, nod) {
		if !strings.Contains(all["docs/cli.md"], "`nod "+verb) {
			t.Errorf("docs/cli.md does not name nod %s", verb)
		}
	}
}

// verbs asks the program for all that it can be told to do.
func verbs(t *testing.T, nod string, words ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), nod, append(append([]string{"__complete"}, words...), "")...).Output()
	if err != nil {
		t.Fatalf("ask for the verbs of nod %s: %v", strings.Join(words, " "), err)
	}
	found := strings.Fields(string(out))
	if len(found) == 0 || slices.Contains(words, "completion") {
		return []string{strings.Join(words, " ")}
	}
	var list []string
	for _, w := range found {
		list = append(list, verbs(t, nod, append(slices.Clone(words), w)...)...)
	}
	return list
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notSlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestDocumentationLinks follows the links from page to page.
func TestDocumentationLinks(t *testing.T) {
	t.Parallel()
	followed := 0
	all := pages(t)
	for _, page := range []string{"README.md", "docs/README.md", "docs/architecture.md", "docs/protocol.md"} {
		if all[page] == "" {
			t.Errorf("%s is not there", page)
		}
	}
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			to, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			followed++
			file := filepath.Join("..", filepath.Dir(page), to)
			if to == "" {
				file = filepath.Join("..", page)
			}
			info, err := os.Stat(file)
			if err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
				continue
			}
			if anchor == "" || info.IsDir() {
				continue
			}
			target, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, h := range heading.FindAllStringSubmatch(string(target), -1) {
				slug := strings.ReplaceAll(notSlug.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")
				found = found || slug == anchor
			}
			if !found {
				t.Errorf("%s links to %s, which has no such heading", page, m[1])
			}
		}
	}
	if followed < 30 {
		t.Errorf("only %d links were followed", followed)
	}
}
