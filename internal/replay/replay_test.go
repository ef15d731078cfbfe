package replay

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

type bench struct {
	*Service
	store  *sqlstore.Store
	offset atomic.Int64
}

func (b *bench) pass(d time.Duration) { b.offset.Add(int64(d)) }

func (b *bench) row(t *testing.T, c Call) store.Replay {
	t.Helper()
	var r store.Replay
	err := b.store.View(t.Context(), func(tx store.Tx) (err error) {
		r, err = tx.Replay(c.Realm, c.Application, c.Route, c.Key)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func open(t *testing.T) *bench {
	t.Helper()
	b := new(bench)
	hub := challenge.NewHub()
	var err error
	b.store, err = sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:       filepath.Join(t.TempDir(), "nod.db"),
		Committed: func(keys []string) { hub.Wake(keys...) },
		Offset:    func() time.Duration { return time.Duration(b.offset.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.store.Close(); err != nil {
			t.Error(err)
		}
	})
	err = b.store.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.InsertRealm(store.Realm{ID: mfa.DefaultRealm, CreatedAt: tx.Now()}); err != nil {
			return err
		}
		for _, id := range []mfa.ApplicationID{"app_a", "app_b"} {
			err := tx.InsertApplication(store.Application{
				Realm: mfa.DefaultRealm, ID: id, Name: string(id), UsernameForm: "as_is", CreatedAt: tx.Now(),
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	root, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keys.Open(keys.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	b.Service, err = New(Config{
		Store: b.store, Ring: ring, Logger: slog.New(slog.DiscardHandler),
		Listen: func(keys ...string) Waiter { return hub.Register(keys...) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func call(change ...func(*Call)) Call {
	c := Call{
		Realm: mfa.DefaultRealm, Application: "app_a", Route: "POST /v1/things", Target: "POST /v1/things",
		Key: "k1", Body: []byte(`{"a":1}`),
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

// counted answers with a number that grows with each run.
type counted struct {
	runs   atomic.Int64
	answer Answer
}

func (r *counted) run(_ context.Context, ids func(string) string) Answer {
	a := r.answer
	a.Body = fmt.Appendf(nil, `{"run":%d,"id":%q}`, r.runs.Add(1), ids("ch_"))
	return a
}

func TestRepetition(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		second func(*Call)
		runs   int64
		reason mfa.Reason
	}{
		{"same", func(*Call) {}, 1, ""},
		{"other body", func(c *Call) { c.Body = []byte(`{"a":2}`) }, 1, mfa.ReasonIdempotency},
		{"other spacing", func(c *Call) { c.Body = []byte(`{"a": 1}`) }, 1, mfa.ReasonIdempotency},
		{"other target", func(c *Call) { c.Target += "?qr=svg" }, 1, mfa.ReasonIdempotency},
		{"other key", func(c *Call) { c.Key = "k2" }, 2, ""},
		{"other route", func(c *Call) { c.Route = "POST /v1/others" }, 2, ""},
		{"other application", func(c *Call) { c.Application = "app_b" }, 2, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			r := &counted{answer: Answer{Status: 201, Object: "ch_x"}}
			first, err := b.Do(t.Context(), call(), r.run)
			if err != nil {
				t.Fatal(err)
			}
			second, err := b.Do(t.Context(), call(tt.second), r.run)
			if got := mfa.ReasonOf(err); got != tt.reason || (err != nil) != (tt.reason != "") {
				t.Errorf("second: %v, want reason %q", err, tt.reason)
			}
			if got := r.runs.Load(); got != tt.runs {
				t.Errorf("%d runs, want %d", got, tt.runs)
			}
			if tt.runs == 1 && tt.reason == "" {
				if diff := cmp.Diff(first, second); diff != "" {
					t.Errorf("second answer differs (-first +second):\n%s", diff)
				}
			}
			if tt.runs == 2 && bytes.Contains(second.Body, idIn(first.Body)) {
				t.Error("two requests have one seed")
			}
		})
	}
}

func idIn(body []byte) []byte { return body[bytes.Index(body, []byte("ch_")) : len(body)-2] }

func TestConcurrentRepetitionsRunOnce(t *testing.T) {
	t.Parallel()
	b := open(t)
	r := &counted{answer: Answer{Status: 200}}
	const n = 50
	answers := make([]Answer, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var err error
			if answers[i], err = b.Do(t.Context(), call(), r.run); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := r.runs.Load(); got != 1 {
		t.Errorf("%d runs, want 1", got)
	}
	for i := range answers {
		if diff := cmp.Diff(answers[0], answers[i]); diff != "" {
			t.Fatalf("answer %d differs:\n%s", i, diff)
		}
	}
}

func TestSecondWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	b := open(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	first := make(chan Answer, 1)
	go func() {
		a, err := b.Do(t.Context(), call(), func(context.Context, func(string) string) Answer {
			close(begun)
			<-goOn
			return Answer{Status: 200, Body: []byte("first")}
		})
		if err != nil {
			t.Error(err)
		}
		first <- a
	}()
	<-begun
	never := func(context.Context, func(string) string) Answer {
		t.Error("ran twice")
		return Answer{}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Do(over, call(), never); mfa.CodeOf(err) != mfa.Unavailable {
		t.Errorf("a second whose time is over: %v, want unavailable", err)
	}
	second := make(chan Answer, 1)
	go func() {
		a, err := b.Do(t.Context(), call(), never)
		if err != nil {
			t.Error(err)
		}
		second <- a
	}()
	close(goOn)
	if diff := cmp.Diff(<-first, <-second); diff != "" {
		t.Errorf("answers differ:\n%s", diff)
	}
}

func TestRunGoesOnWithoutItsCaller(t *testing.T) {
	t.Parallel()
	b := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.Do(ctx, call(), func(ctx context.Context, _ func(string) string) Answer {
		cancel()
		if ctx.Err() != nil {
			t.Error("the run ended with its caller")
		}
		return Answer{Status: 200, Body: []byte("kept")}
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := b.row(t, call()); !r.Done {
		t.Error("the answer was not kept")
	}
}

func TestCrashedRunIsRunAgainWithItsSeed(t *testing.T) {
	t.Parallel()
	b := open(t)
	// The node dies after it opened the row.
	lost, _, begun, err := b.begin(t.Context(), call(), b.digest(call()))
	if err != nil || !begun {
		t.Fatal(begun, err)
	}
	ids := b.c.Ring.DeriveID("ch_", "replay", lost.Seed)
	b.pass(lease)
	r := &counted{answer: Answer{Status: 201}}
	a, err := b.Do(t.Context(), call(), r.run)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(a.Body), ids) {
		t.Errorf("second run made %s, want %s", a.Body, ids)
	}
	// The first comes back from the dead: its answer is too late.
	b.finish(t.Context(), lost, Answer{Status: 201, Body: []byte("late")})
	again, err := b.Do(t.Context(), call(), r.run)
	if err != nil || r.runs.Load() != 1 {
		t.Fatalf("%d runs, %v", r.runs.Load(), err)
	}
	if diff := cmp.Diff(a, again); diff != "" {
		t.Errorf("answer changed:\n%s", diff)
	}
}

func TestLateFinishDoesNotCloseAnothersRun(t *testing.T) {
	t.Parallel()
	b := open(t)
	lost, _, _, err := b.begin(t.Context(), call(), b.digest(call()))
	if err != nil {
		t.Fatal(err)
	}
	b.pass(lease)
	if _, _, begun, err := b.begin(t.Context(), call(), b.digest(call())); err != nil || !begun {
		t.Fatal(begun, err)
	}
	b.finish(t.Context(), lost, Answer{Status: 200})
	if b.row(t, call()).Done {
		t.Error("a run that lost its lease closed the row")
	}
}

func TestWhatIsForgotten(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		seed   bool // the second run has the first one's seed
	}{{429, false}, {500, true}, {503, true}} {
		t.Run(fmt.Sprint(tt.status), func(t *testing.T) {
			t.Parallel()
			b := open(t)
			r := &counted{answer: Answer{Status: tt.status}}
			one, err := b.Do(t.Context(), call(), r.run)
			if err != nil {
				t.Fatal(err)
			}
			r.answer.Status = 200
			two, err := b.Do(t.Context(), call(), r.run)
			if err != nil {
				t.Fatal(err)
			}
			if r.runs.Load() != 2 {
				t.Errorf("%d runs, want 2", r.runs.Load())
			}
			if got := bytes.Equal(idIn(one.Body), idIn(two.Body)); got != tt.seed {
				t.Errorf("same seed: %t, want %t", got, tt.seed)
			}
		})
	}
}

func TestPanicReopens(t *testing.T) {
	t.Parallel()
	b := open(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = b.Do(t.Context(), call(), func(context.Context, func(string) string) Answer { panic("bug") })
	}()
	r := &counted{answer: Answer{Status: 200}}
	if _, err := b.Do(t.Context(), call(), r.run); err != nil || r.runs.Load() != 1 {
		t.Errorf("%d runs, %v", r.runs.Load(), err)
	}
}

func TestHowLongAnswersAreKept(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		secret bool
		after  time.Duration
		sweep  bool
		runs   int64
		reason mfa.Reason
	}{
		{"plain", false, Kept - time.Second, false, 1, ""},
		{"plain swept", false, Kept - time.Second, true, 1, ""},
		{"plain over", false, Kept, false, 2, ""},
		{"secret", true, SecretKept - time.Second, false, 1, ""},
		{"secret over", true, SecretKept, false, 1, mfa.ReasonAlreadyCreated},
		{"secret swept", true, SecretKept + time.Second, true, 1, mfa.ReasonAlreadyCreated},
		{"secret forgotten", true, Kept + time.Second, true, 2, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			r := &counted{answer: Answer{Status: 201, Object: "ch_made", Secret: tt.secret}}
			if _, err := b.Do(t.Context(), call(), r.run); err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b.row(t, call()).Answer, []byte("run")) {
				t.Error("the answer is stored unsealed")
			}
			b.pass(tt.after)
			if tt.sweep {
				if err := b.store.Update(t.Context(), func(tx store.Tx) error { return Sweep(tx) }); err != nil {
					t.Fatal(err)
				}
			}
			_, err := b.Do(t.Context(), call(), r.run)
			if got := mfa.ReasonOf(err); got != tt.reason || (err != nil) != (tt.reason != "") {
				t.Errorf("got %v, want reason %q", err, tt.reason)
			}
			if tt.reason == mfa.ReasonAlreadyCreated && !strings.Contains(err.Error(), "ch_made") {
				t.Errorf("%v does not name what was made", err)
			}
			if got := r.runs.Load(); got != tt.runs {
				t.Errorf("%d runs, want %d", got, tt.runs)
			}
		})
	}
}

func TestSealedAnswerOpensInItsRowOnly(t *testing.T) {
	t.Parallel()
	b := open(t)
	r := &counted{answer: Answer{Status: 200}}
	other := call(func(c *Call) { c.Key = "k2" })
	for _, c := range []Call{call(), other} {
		if _, err := b.Do(t.Context(), c, r.run); err != nil {
			t.Fatal(err)
		}
	}
	moved := b.row(t, other)
	moved.Key = "k1"
	if err := b.store.Update(t.Context(), func(tx store.Tx) error { return tx.PutReplay(moved) }); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Do(t.Context(), call(), r.run); mfa.CodeOf(err) != mfa.Internal {
		t.Errorf("an answer from another row was opened: %v", err)
	}
}

func TestCheckKey(t *testing.T) {
	t.Parallel()
	for key, good := range map[string]bool{
		"a": true, "~!": true, strings.Repeat("k", MaxKey): true,
		"": false, " ": false, "a b": false, "a\n": false, "\x7f": false, "é": false, strings.Repeat("k", MaxKey+1): false,
	} {
		if err := CheckKey(key); (err == nil) != good {
			t.Errorf("CheckKey(%q) = %v", key, err)
		}
	}
}

func TestNewWantsEverything(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil {
		t.Error("New took an empty Config")
	}
}
