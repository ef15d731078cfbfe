package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/deliver"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/notice"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

const (
	realm   = mfa.DefaultRealm
	timeout = 10 * time.Second
)

// receivers answer attempts as their targets are told to.
type receivers struct {
	mu     sync.Mutex
	answer map[string]func(ctx context.Context, attempt int) notice.Outcome
	got    map[string][]time.Time // attempts by delivery
	most   map[string]int         // attempts at once by target
	now    map[string]int
}

func (r *receivers) Send(ctx context.Context, d store.Delivery, _ mfa.Instant) notice.Outcome {
	r.mu.Lock()
	r.got[d.ID] = append(r.got[d.ID], time.Now())
	n := len(r.got[d.ID])
	r.now[d.Target]++
	r.most[d.Target] = max(r.most[d.Target], r.now[d.Target])
	answer := r.answer[d.Target]
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.now[d.Target]--
		r.mu.Unlock()
	}()
	if answer == nil {
		return notice.Outcome{Class: notice.Delivered, Status: 204}
	}
	return answer(ctx, n)
}

// will has a target answer so from now on; nil for well.
func (r *receivers) will(target string, answer func(context.Context, int) notice.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer[target] = answer
}

func (r *receivers) attempts(id string) []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[id]
}

// hang waits as long as it is let.
func hang(ctx context.Context, _ int) notice.Outcome {
	<-ctx.Done()
	return notice.Outcome{Class: notice.Temporary, Text: "timed out"}
}

func fail(context.Context, int) notice.Outcome {
	return notice.Outcome{Class: notice.Temporary, Status: 500, Text: "no"}
}

// world is a database with one node or several.
type world struct {
	t     *testing.T
	store *sqlstore.Store
	nodes []*deliver.Outbox
	*receivers
	offset atomic.Int64 // of the store's clock
	lost   atomic.Bool  // commits are not handed over: their node dies at that moment
}

func newWorld(t *testing.T, nodes int) *world {
	t.Helper()
	w := &world{t: t, receivers: &receivers{
		answer: map[string]func(context.Context, int) notice.Outcome{}, got: map[string][]time.Time{}, most: map[string]int{}, now: map[string]int{},
	}}
	for range nodes {
		w.nodes = append(w.nodes, deliver.NewOutbox(timeout))
	}
	var err error
	w.store, err = sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:    filepath.Join(t.TempDir(), "nod.db"),
		Offset: func() time.Duration { return time.Duration(w.offset.Load()) },
		Committed: func(keys []string) {
			if !w.lost.Load() {
				w.nodes[0].Committed(keys)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// run runs the worker of a node until stop is called.
func (w *world) run(node int) (stop func()) {
	w.t.Helper()
	k, err := deliver.New(deliver.Config{
		Outbox: w.nodes[node], Store: w.store, Logger: slog.New(slog.DiscardHandler),
		Senders: map[string]deliver.Sender{"test": w.receivers},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

// close ends the store, inside the bubble.
func (w *world) close() {
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
}

// add adds deliveries to a target in one transaction.
func (w *world) add(target string, n int) []string {
	w.t.Helper()
	var ids []string
	err := w.store.Update(w.t.Context(), func(tx store.Tx) error {
		ids = nil
		for range n {
			d, err := w.nodes[0].Add(tx, deliver.Message{Realm: realm, Kind: "test", Target: target, About: "x", Payload: []byte("p")})
			if err != nil {
				return err
			}
			ids = append(ids, d.ID)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return ids
}

func (w *world) delivery(id string) (d store.Delivery, made []store.Attempt) {
	w.t.Helper()
	err := w.store.View(w.t.Context(), func(tx store.Tx) error {
		var err error
		if d, err = tx.Delivery(realm, id); err != nil {
			return err
		}
		made, err = tx.DeliveryAttempts(realm, id)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return d, made
}

func (w *world) ends(id string, state store.DeliveryState, outcomes ...string) {
	w.t.Helper()
	d, made := w.delivery(id)
	var got []string
	for i, a := range made {
		got = append(got, a.Outcome)
		if a.Number != i+1 {
			w.t.Errorf("attempt %d has the number %d", i+1, a.Number)
		}
	}
	if diff := cmp.Diff(outcomes, got); diff != "" || d.State != state || d.Node != "" || d.EndedAt == 0 {
		w.t.Errorf("%+v, want %s; attempts (-want +got):\n%s", d, state, diff)
	}
}

func bubble(t *testing.T, nodes int, fn func(*testing.T, *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nodes)
		defer w.close()
		fn(t, w)
	})
}

func TestHandedOverAtOnce(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		defer w.run(0)()
		synctest.Wait()
		start := time.Now()
		ids := w.add("a", 3)
		synctest.Wait()
		for _, id := range ids {
			w.ends(id, store.DeliveryDelivered, "delivered")
			if at := w.attempts(id); len(at) != 1 || !at[0].Equal(start) {
				t.Errorf("attempted at %v, made at %v", at, start)
			}
		}
		undone := errors.New("undone")
		var id string
		err := w.store.Update(t.Context(), func(tx store.Tx) error {
			d, err := w.nodes[0].Add(tx, deliver.Message{Realm: realm, Kind: "test", Target: "a"})
			id = d.ID
			return errors.Join(undone, err)
		})
		if !errors.Is(err, undone) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if at := w.attempts(id); at != nil {
			t.Errorf("what did not happen was sent at %v", at)
		}
	})
}

// TestSchedule lets every attempt fail and looks at when the next one is due.
func TestSchedule(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		defer w.run(0)()
		w.will("a", fail)
		id := w.add("a", 1)[0]
		outcomes := []string{"temporary"}
		for i, wait := range []time.Duration{
			5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
		} {
			synctest.Wait()
			d, made := w.delivery(id)
			if len(made) != i+1 {
				t.Fatalf("%d attempts before wait %d", len(made), i+1)
			}
			if got := d.DueAt.Sub(made[i].At); got < wait || got > wait+wait/10 {
				t.Errorf("wait %d is %s, want about %s", i+1, got, wait)
			}
			w.offset.Add(int64(d.DueAt.Sub(made[i].At)))
			time.Sleep(2 * time.Second) // until the node looks
			outcomes = append(outcomes, "temporary")
		}
		w.ends(id, store.DeliveryDead, outcomes...)
	})
}

func TestOutcomes(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		defer w.run(0)()
		then := func(first, later notice.Outcome) func(context.Context, int) notice.Outcome {
			return func(_ context.Context, n int) notice.Outcome {
				if n == 1 {
					return first
				}
				return later
			}
		}
		good := notice.Outcome{Class: notice.Delivered}
		w.will("mended", then(notice.Outcome{Class: notice.Temporary}, good))
		w.will("patient", then(notice.Outcome{Class: notice.Temporary, RetryAfter: time.Hour}, good))
		w.will("gone", then(notice.Outcome{Class: notice.Gone, Status: 410}, good))
		w.will("never", then(notice.Outcome{Class: notice.Permanent}, good))
		w.will("hangs", hang)
		ids := map[string]string{}
		for _, target := range []string{"mended", "patient", "gone", "never", "hangs"} {
			ids[target] = w.add(target, 1)[0]
		}
		time.Sleep(2 * time.Minute)
		w.ends(ids["mended"], store.DeliveryDelivered, "temporary", "delivered")
		w.ends(ids["gone"], store.DeliveryDead, "gone")
		w.ends(ids["never"], store.DeliveryDead, "permanent")
		if _, made := w.delivery(ids["hangs"]); len(made) != 2 || made[0].TookMS != int(timeout.Milliseconds()) {
			t.Errorf("what hangs: %+v", made)
		}
		if d, made := w.delivery(ids["patient"]); len(made) != 1 || d.State != store.DeliveryPending {
			t.Errorf("asked for an hour: %+v", made)
		}
		w.offset.Add(int64(time.Hour))
		time.Sleep(2 * time.Second)
		w.ends(ids["patient"], store.DeliveryDelivered, "temporary", "delivered")
	})
}

// TestLeaseEnds has a node die between a commit and its hand-over, and in the middle of an attempt.
func TestLeaseEnds(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.lost.Store(true)
		id := w.add("a", 1)[0]
		stop := w.run(1)
		time.Sleep(3*timeout - time.Second)
		if at := w.attempts(id); at != nil {
			t.Errorf("another node's was attempted at %v", at)
		}
		time.Sleep(4 * time.Second)
		w.ends(id, store.DeliveryDelivered, "delivered")
		stop()
	})
}

// TestNodesShare has two nodes look for the same deliveries, many times.
func TestNodesShare(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.lost.Store(true)
		var ids []string
		for i := range 20 {
			ids = append(ids, w.add(fmt.Sprint("t", i), 10)...)
		}
		time.Sleep(3 * timeout)
		stop0, stop1 := w.run(0), w.run(1)
		time.Sleep(10 * time.Second)
		stop0()
		stop1()
		for _, id := range ids {
			w.ends(id, store.DeliveryDelivered, "delivered")
		}
	})
}

// TestHangingTargetHoldsUpNobody floods targets that hang and looks at one that answers.
func TestHangingTargetHoldsUpNobody(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		defer w.run(0)()
		for i := range 3 {
			target := fmt.Sprint("hangs", i)
			w.will(target, hang)
			w.add(target, 300)
		}
		time.Sleep(30 * time.Second)
		start := time.Now()
		ids := w.add("good", 50)
		time.Sleep(time.Second)
		for _, id := range ids {
			w.ends(id, store.DeliveryDelivered, "delivered")
			if late := w.attempts(id)[0].Sub(start); late > time.Second {
				t.Errorf("it waited %s", late)
			}
		}
		time.Sleep(2 * time.Minute)
		// What another node left, behind all of that, is found as well.
		w.lost.Store(true)
		ids = w.add("left", 5)
		time.Sleep(3*timeout + 5*time.Second)
		for _, id := range ids {
			w.ends(id, store.DeliveryDelivered, "delivered")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := w.most["hangs0"]; n > 8 {
			t.Errorf("%d attempts at once at one target", n)
		}
	})
}

// TestStop stops a node in the middle: what it had in hand is due at once, and counts for nothing.
func TestStop(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		stop := w.run(0)
		w.will("a", hang)
		ids := w.add("a", 20)
		time.Sleep(time.Second)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("stopping took %s", took)
		}
		tried := 0
		for _, id := range ids {
			d, made := w.delivery(id)
			tried += len(made)
			if d.State != store.DeliveryPending || d.Node != "" || d.Tries != 0 || (len(made) == 1 && made[0].Outcome != "interrupted") {
				t.Errorf("left as %+v, %+v", d, made)
			}
		}
		if tried != 8 {
			t.Errorf("%d were under way", tried)
		}
		w.will("a", nil)
		stop = w.run(1)
		time.Sleep(2 * time.Second)
		for _, id := range ids {
			if d, _ := w.delivery(id); d.State != store.DeliveryDelivered {
				t.Errorf("not taken over: %+v", d)
			}
		}
		stop()
	})
}

// TestReplay sends once more what was given up.
func TestReplay(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		defer w.run(0)()
		w.will("a", func(context.Context, int) notice.Outcome { return notice.Outcome{Class: notice.Permanent} })
		id := w.add("a", 1)[0]
		time.Sleep(time.Second)
		w.ends(id, store.DeliveryDead, "permanent")
		w.will("a", nil)
		replay := func() {
			t.Helper()
			err := w.store.Update(t.Context(), func(tx store.Tx) error {
				_, err := w.nodes[0].Replay(tx, realm, id)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		replay()
		w.ends(id, store.DeliveryDelivered, "permanent", "delivered")
		replay()
		w.ends(id, store.DeliveryDelivered, "permanent", "delivered", "delivered")
	})
}

func TestUnknownKind(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		defer w.run(0)()
		var id string
		err := w.store.Update(t.Context(), func(tx store.Tx) error {
			d, err := w.nodes[0].Add(tx, deliver.Message{Realm: realm, Kind: "pigeon", Target: "a"})
			id = d.ID
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.ends(id, store.DeliveryDead, "permanent")
	})
}

func TestSweep(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.will("dead", func(context.Context, int) notice.Outcome { return notice.Outcome{Class: notice.Permanent} })
		stop := w.run(0)
		good, dead := w.add("good", 1)[0], w.add("dead", 1)[0]
		time.Sleep(time.Second)
		stop()
		k, err := deliver.New(deliver.Config{
			Outbox: w.nodes[0], Store: w.store, Logger: slog.New(slog.DiscardHandler), Senders: map[string]deliver.Sender{"test": w.receivers},
		})
		if err != nil {
			t.Fatal(err)
		}
		there := func(id string) bool {
			err := w.store.View(t.Context(), func(tx store.Tx) error {
				_, err := tx.Delivery(realm, id)
				return err
			})
			return err == nil
		}
		for _, test := range []struct {
			after      time.Duration
			good, dead bool
		}{{29 * 24 * time.Hour, true, true}, {2 * 24 * time.Hour, false, true}, {60 * 24 * time.Hour, false, false}} {
			time.Sleep(test.after)
			if err := k.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if there(good) != test.good || there(dead) != test.dead {
				t.Errorf("after %s more: delivered %t, dead %t", test.after, there(good), there(dead))
			}
		}
	})
}

func TestCommittedKeepsOtherKeys(t *testing.T) {
	t.Parallel()
	o := deliver.NewOutbox(timeout)
	for _, test := range []struct{ keys, want []string }{
		{nil, nil},
		{[]string{"a", "b"}, []string{"a", "b"}},
		{[]string{"a", "d/5 r dlv_1 test t", "u", "d/6 r dlv_2 test t", "w"}, []string{"a", "u", "w"}},
		{[]string{"d/5 r dlv_1 test t"}, nil},
	} {
		if diff := cmp.Diff(test.want, o.Committed(test.keys)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.keys, diff)
		}
	}
}

func TestNewWantsAll(t *testing.T) {
	t.Parallel()
	if _, err := deliver.New(deliver.Config{}); err == nil {
		t.Error("a worker without anything")
	}
}
