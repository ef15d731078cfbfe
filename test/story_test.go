package test

import (
	"encoding/base32"
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestStories tells whole stories with the program alone, as a person types them: each script has
// a server of its own, whose clock it can move.
func TestStories(t *testing.T) {
	t.Parallel()
	nod, err := program()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/stories", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			offset := new(atomic.Int64)
			n, stop := startUntil(e.T().(testing.TB), nodeOptions{offset: offset})
			e.Defer(stop)
			e.Values["offset"] = offset
			e.Setenv("PATH", filepath.Dir(nod)+string(filepath.ListSeparator)+e.Getenv("PATH"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("NOD_URL", n.url)
			e.Setenv("NOD_API_KEY_FILE", filepath.Join(n.dir, "admin.key"))
			e.Setenv("ADMIN", filepath.Join(n.dir, "admin.key"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"get": get, "advance": advance, "wrong": wrong, "totp": totpCode,
		},
	})
}

// get VARIABLE FILE MEMBER takes a value out of a JSON file, or of one line of several.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: get VARIABLE FILE MEMBER")
	}
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(args[1])))
	for {
		var v any
		if err := d.Decode(&v); err != nil {
			ts.Fatalf("%s has no %s: %v", args[1], args[2], err)
		}
		for _, name := range strings.Split(args[2], ".") {
			m, ok := v.(map[string]any)
			if !ok {
				v = nil
				break
			}
			v = m[name]
		}
		if text, ok := v.(string); ok {
			ts.Setenv(args[0], text)
			return
		}
	}
}

// advance DURATION moves the server's clock.
func advance(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: advance DURATION")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	ts.Value("offset").(*atomic.Int64).Add(int64(d))
}

// totp VARIABLE SECRET STEP gives the code of a step relative to now by the server's clock.
func totpCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: totp VARIABLE SECRET STEP")
	}
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(args[1])
	ts.Check(err)
	step, err := strconv.ParseInt(args[2], 10, 64)
	ts.Check(err)
	now := time.Now().Add(time.Duration(ts.Value("offset").(*atomic.Int64).Load()))
	ts.Setenv(args[0], hotp(seed, now.Unix()/30+step))
}

// wrong VARIABLE DIGITS gives other digits.
func wrong(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || args[1] == "" {
		ts.Fatalf("usage: wrong VARIABLE DIGITS")
	}
	first := "1"
	if args[1][0] == '1' {
		first = "2"
	}
	ts.Setenv(args[0], first+args[1][1:])
}
