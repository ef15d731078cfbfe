// Package bustest is the suite that every implementation of the bus runs.
package bustest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/bus"
)

// patience is how long a wake-up may take before the suite gives up on it.
const patience = 30 * time.Second

// Subject is an implementation under test.
type Subject struct {
	// Open gives n nodes that are not running yet and share one bus. An implementation
	// without other nodes gives the same one n times. The second result cuts the
	// connections of all these nodes, which then are to come back by themselves; it is nil
	// where there is nothing to cut.
	Open func(t testing.TB, n int) (nodes []bus.Bus, cut func())
}

// Run runs the suite.
func Run(t *testing.T, s Subject) {
	for name, test := range map[string]func(*testing.T, Subject){
		"every subscriber of every node":  everySubscriber,
		"many and long keys":              manyKeys,
		"cancelled":                       cancelled,
		"cancel waits":                    cancelWaits,
		"stuck subscriber":                stuckSubscriber,
		"concurrent use":                  concurrentUse,
		"what was written before is seen": seesWhatWasWritten,
		"publishing subscriber":           publishingSubscriber,
		"only what is asked for":          optionalResync,
		"bad keys":                        badKeys,
		"broken connection":               brokenConnection,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

// start opens n nodes and runs them until the test ends.
func start(t *testing.T, s Subject, n int) []bus.Bus {
	t.Helper()
	nodes, _ := startWithCut(t, s, n)
	return nodes
}

func startWithCut(t *testing.T, s Subject, n int) (nodes []bus.Bus, cut func()) {
	t.Helper()
	nodes, cut = s.Open(t, n)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	seen := map[bus.Bus]bool{}
	for _, b := range nodes {
		if !seen[b] {
			seen[b] = true
			wg.Go(func() {
				if err := b.Run(ctx); err != nil {
					t.Errorf("run: %v", err)
				}
			})
		}
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	for _, b := range nodes {
		reach(t, b, nodes)
	}
	return nodes, cut
}

// reach publishes until every node was woken by from, so that what a test publishes
// afterwards has a way to all of them.
func reach(t *testing.T, from bus.Bus, nodes []bus.Bus) {
	t.Helper()
	const key = "suite:hello"
	for _, b := range nodes {
		in := listen(b)
		again := time.NewTicker(20 * time.Millisecond)
		late := time.NewTimer(patience)
		for reached := false; !reached; {
			from.Publish(key)
			select {
			case <-again.C:
			case <-late.C:
				t.Fatal("the nodes do not find each other")
			case <-in.changed:
				reached = in.has(key)
			}
		}
		again.Stop()
		late.Stop()
		in.cancel()
	}
}

// inbox records what a subscriber was told.
type inbox struct {
	cancel  func()
	changed chan struct{}

	mu      sync.Mutex
	keys    map[string]int
	resyncs int
}

func listen(b bus.Bus) *inbox {
	in := &inbox{changed: make(chan struct{}, 1), keys: map[string]int{}}
	in.cancel = b.Subscribe(bus.Subscriber{
		Wake:   func(key string) { in.note(func() { in.keys[key]++ }) },
		Resync: func() { in.note(func() { in.resyncs++ }) },
	})
	return in
}

func (in *inbox) note(f func()) {
	in.mu.Lock()
	f()
	in.mu.Unlock()
	select {
	case in.changed <- struct{}{}:
	default:
	}
}

func (in *inbox) has(key string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.keys[key] > 0
}

func (in *inbox) resynced() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.resyncs
}

// await waits until ok, which is asked after each wake-up.
func (in *inbox) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for !ok() {
		select {
		case <-in.changed:
		case <-late.C:
			t.Fatalf("no wake-up: %s", what)
		}
	}
}

func (in *inbox) awaitKey(t *testing.T, key string) {
	t.Helper()
	in.await(t, key, func() bool { return in.has(key) })
}

func everySubscriber(t *testing.T, s Subject) {
	nodes := start(t, s, 3)
	var all []*inbox
	for _, b := range nodes {
		all = append(all, listen(b), listen(b))
	}
	for i, b := range nodes {
		if !b.Healthy() {
			t.Errorf("node %d is not healthy", i)
		}
		b.Publish(fmt.Sprintf("ch_%d", i), "usr_x")
	}
	for _, in := range all {
		for _, key := range []string{"ch_0", "ch_1", "ch_2", "usr_x"} {
			in.awaitKey(t, key)
		}
	}
}

func manyKeys(t *testing.T, s Subject) {
	nodes := start(t, s, 2)
	near, far := listen(nodes[0]), listen(nodes[1])
	keys := make([]string, 3000)
	for i := range keys {
		keys[i] = fmt.Sprintf("%04d", i) + strings.Repeat("~", (i*7)%(bus.MaxKey-4)+1)
	}
	nodes[0].Publish(keys...)
	nodes[0].Publish()
	for _, in := range []*inbox{near, far} {
		for _, key := range keys {
			in.awaitKey(t, key)
		}
	}
}

func cancelled(t *testing.T, s Subject) {
	nodes := start(t, s, 2)
	for _, b := range nodes {
		gone, stays := listen(b), listen(b)
		gone.cancel()
		gone.cancel()
		nodes[0].Publish("ch_after")
		stays.awaitKey(t, "ch_after")
		if gone.has("ch_after") {
			t.Error("a cancelled subscriber was woken")
		}
	}
}

func cancelWaits(t *testing.T, s Subject) {
	b := start(t, s, 1)[0]
	entered, release := make(chan struct{}), make(chan struct{})
	var inside atomic.Bool
	cancel := b.Subscribe(bus.Subscriber{Wake: func(string) {
		inside.Store(true)
		close(entered)
		<-release
		inside.Store(false)
	}})
	b.Publish("ch_a")
	<-entered
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		cancel()
		if inside.Load() {
			t.Error("cancel returned during a call")
		}
	}()
	close(release)
	<-returned
}

func stuckSubscriber(t *testing.T, s Subject) {
	b := start(t, s, 1)[0]
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	defer b.Subscribe(bus.Subscriber{Wake: func(string) {
		once.Do(func() {
			close(entered)
			<-release
		})
	}})()
	in := listen(b)
	b.Publish("ch_first")
	<-entered
	before := in.resynced()
	for i := range 3 * bus.MaxQueued {
		b.Publish(fmt.Sprintf("ch_%d", i))
	}
	close(release)
	in.await(t, "resync after an overflow", func() bool { return in.resynced() > before })
	b.Publish("ch_last")
	in.awaitKey(t, "ch_last")
}

func concurrentUse(t *testing.T, s Subject) {
	nodes := start(t, s, 2)
	var all []*inbox
	for _, b := range nodes {
		all = append(all, listen(b))
	}
	const publishers, each = 16, 200
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			b := nodes[p%len(nodes)]
			for i := range each {
				in := listen(b)
				b.Publish(fmt.Sprintf("ch_%d_%d", p, i), "usr_shared")
				in.cancel()
			}
		})
	}
	wg.Wait()
	for _, in := range all {
		for p := range publishers {
			for i := range each {
				in.awaitKey(t, fmt.Sprintf("ch_%d_%d", p, i))
			}
		}
	}
}

// seesWhatWasWritten checks that a wake-up that follows a write and its Publish is not
// swallowed as the twin of an earlier one: the last value is always read.
func seesWhatWasWritten(t *testing.T, s Subject) {
	nodes := start(t, s, 2)
	var written, read atomic.Int64
	changed := make(chan struct{}, 1)
	defer nodes[1].Subscribe(bus.Subscriber{Wake: func(key string) {
		if key == "ch_a" {
			read.Store(written.Load())
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}})()
	late := time.NewTimer(patience)
	defer late.Stop()
	for i := range int64(300) {
		written.Store(i)
		nodes[0].Publish("ch_a")
		for read.Load() != i {
			select {
			case <-changed:
			case <-late.C:
				t.Fatalf("write %d was not read", i)
			}
		}
	}
}

func publishingSubscriber(t *testing.T, s Subject) {
	nodes := start(t, s, 2)
	in := listen(nodes[1])
	defer nodes[0].Subscribe(bus.Subscriber{Wake: func(key string) {
		if key == "ch_question" {
			nodes[0].Publish("ch_answer")
		}
	}})()
	nodes[1].Publish("ch_question")
	in.awaitKey(t, "ch_answer")
}

func optionalResync(t *testing.T, s Subject) {
	nodes, _ := s.Open(t, 1)
	b := nodes[0]
	defer b.Subscribe(bus.Subscriber{Wake: func(string) {}})()
	in := listen(b)
	for i := range bus.MaxQueued + 1 {
		b.Publish(fmt.Sprintf("ch_%d", i))
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	in.await(t, "resync", func() bool { return in.resynced() > 0 })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	b.Publish("ch_after")
	in.cancel()
}

func badKeys(t *testing.T, s Subject) {
	b := start(t, s, 1)[0]
	in := listen(b)
	for _, key := range []string{"", " ", "a b", "a\n", "\x00", "ü", "\x7f", strings.Repeat("a", bus.MaxKey+1)} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was published", key)
				}
			}()
			b.Publish("ch_before", key)
		}()
	}
	b.Publish("ch_good")
	in.awaitKey(t, "ch_good")
	if in.has("ch_before") {
		t.Error("half of a refused call was published")
	}
}

func brokenConnection(t *testing.T, s Subject) {
	nodes, cut := startWithCut(t, s, 2)
	if cut == nil {
		return
	}
	near, far := listen(nodes[0]), listen(nodes[1])
	for round := range 3 {
		before := far.resynced()
		cut()
		key := fmt.Sprintf("ch_%d", round)
		nodes[0].Publish(key)
		near.awaitKey(t, key) // a node's own waiters need no connection
		far.await(t, "resync after a reconnection", func() bool { return far.resynced() > before })
		reach(t, nodes[0], nodes)
		reach(t, nodes[1], nodes)
	}
}
