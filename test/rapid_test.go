package test

import (
	"flag"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/nodauth/nod/internal/pgtest"
)

// The rules that are explored exhaustively around the pure functions of the core are tried here
// on whole servers, over HTTP: applications, devices, browsers, an administrator and a clock do
// what they like in any order, and an oracle that knows nothing but what was sent and answered says
// what every answer has to be.
//
//	applications ─┐                      ┌─ server ─┐
//	devices ──────┼─ HTTP ─ one address ─┤          ├─ one database     restarted at any time
//	administrator ┘                      └─ server ─┘
//	clock: stands still, and is moved by the test alone
//
// The oracle keeps one ghost for each challenge, device, ticket, code and allowance
// (rapid_model_test.go). A request is judged by laws (rapid_laws_test.go) before its answer is looked
// at: where all of them hold it has to be carried out, where one is broken it has to be refused
// with a status of one of those that are broken, and to change nothing. After each action what
// the API shows is compared with the ghosts (rapid_check_test.go). The laws have the names of the
// invariants I1 to I12, E1, E2, Q1, V1, N1 and L1 of the exhaustive exploration.
//
// NOD_TEST_RAPID=long tries for long; -rapid.checks, -rapid.steps and -rapid.seed work as ever.

// tries says how often and how long the machines run, unless the command line does.
var tries = sync.OnceValue(func() error {
	given := make(map[string]bool)
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	values := map[string]string{"rapid.checks": "30", "rapid.steps": "40", "rapid.shrinktime": "60s"}
	if os.Getenv("NOD_TEST_RAPID") != "" {
		values = map[string]string{"rapid.checks": "1000", "rapid.steps": "100", "rapid.shrinktime": "10m"}
	}
	for name, value := range values {
		if given[name] {
			continue
		}
		if err := flag.Set(name, value); err != nil {
			return err
		}
	}
	return nil
})

func explore(t *testing.T, o machineOptions) {
	t.Helper()
	if err := tries(); err != nil {
		t.Fatal(err)
	}
	sum := newTally()
	rapid.Check(t, func(rt *rapid.T) { run(t, rt, o, sum) })
	sum.report(t)
}

// TestAnythingGoes runs the machine on one server with SQLite.
func TestAnythingGoes(t *testing.T) {
	t.Parallel()
	explore(t, machineOptions{})
}

// TestAnythingGoesOnTwoServers runs it on two servers over one PostgreSQL, which take turns in
// answering.
func TestAnythingGoesOnTwoServers(t *testing.T) {
	t.Parallel()
	pgtest.Server(t) // or leave it out, and say so
	explore(t, machineOptions{two: true, part: 5})
}

// FuzzAnythingGoes lets the fuzzer choose what happens.
func FuzzAnythingGoes(f *testing.F) {
	for seed := range uint64(2) {
		r, long := rand.NewChaCha8([32]byte{byte(seed)}), make([]byte, 8<<10)
		_, _ = r.Read(long) // never fails
		f.Add(long)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		rapid.MakeFuzz(func(rt *rapid.T) { run(t, rt, machineOptions{}, newTally()) })(t, choices)
	})
}
