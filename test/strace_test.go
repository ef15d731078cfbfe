package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodauth/nod/protocol"
)

// TestSyncBeforeReply watches a server's system calls from outside: between the request and the reply of
// every decision there is a sync. That the same audit finds a database that does not sync is shown
// where the store is tested.
func TestSyncBeforeReply(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("NOD_TEST_REQUIRE") == "all" {
			t.Fatal("NOD_TEST_REQUIRE=all, and strace is not installed: run make test")
		}
		t.Skip("the audit of syncs is left out: install strace or run make test")
	}
	trace := filepath.Join(t.TempDir(), "trace")
	p := spawn(t, processOptions{dir: t.TempDir(), prefix: []string{
		strace, "-f", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-o", trace,
	}})
	app := p.app("wiki")
	who := p.user("ada")
	d := p.enrol(who)
	syncs := func() int {
		text, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "= 0\n")
	}
	for i := range 10 {
		c := p.challenge(app, "ada", obj{"context": obj{"browser_id": "one"}})
		prompt := d.prompt(c.get("id"))
		before := syncs()
		d.decide(approval(prompt, protocol.MatchDigits, c.get("match.digits"))).want(t, 200)
		if after := syncs(); after == before {
			t.Errorf("decision %d was acknowledged without a sync", i)
		}
		p.redeem(app, c.get("id")).want(t, 200)
	}
}
