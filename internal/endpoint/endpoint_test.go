package endpoint_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/deliver"
	"github.com/nodauth/nod/internal/endpoint"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/notice"
	"github.com/nodauth/nod/internal/notice/webhook"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

const (
	realm = mfa.DefaultRealm
	other = mfa.RealmID("other")
)

// counted counts the reads of webhooks inside transactions that write.
type counted struct {
	store.Store
	reads *atomic.Int64
}

func (c counted) Update(ctx context.Context, fn func(store.Tx) error) error {
	return c.Store.Update(ctx, func(tx store.Tx) error { return fn(countedTx{tx, c.reads}) })
}

type countedTx struct {
	store.Tx
	reads *atomic.Int64
}

func (c countedTx) ListWebhooks(r mfa.RealmID) ([]store.Webhook, error) {
	c.reads.Add(1)
	return c.Tx.ListWebhooks(r)
}

// sent keeps what the adapter is given, and answers with one outcome.
type sent struct {
	got     []notice.Message
	outcome notice.Outcome
}

func (s *sent) Send(_ context.Context, m notice.Message) notice.Outcome {
	s.got = append(s.got, m)
	return s.outcome
}

// world is one node; reads are those that an event has cost.
type world struct {
	*endpoint.Service
	t       *testing.T
	watcher *endpoint.Watcher
	below   store.Store
	store   store.Store
	out     *sent
	reads   atomic.Int64
	deaf    atomic.Bool // wake-ups are lost
	offset  atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, out: &sent{outcome: notice.Outcome{Class: notice.Delivered}}}
	outbox := deliver.NewOutbox(time.Second)
	w.watcher = endpoint.NewWatcher(outbox, slog.New(slog.DiscardHandler))
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:    filepath.Join(t.TempDir(), "nod.db"),
		Offset: func() time.Duration { return time.Duration(w.offset.Load()) },
		Committed: func(keys []string) {
			if keys = outbox.Committed(keys); !w.deaf.Load() {
				w.watcher.Wake(keys...)
			}
		},
	})
	must(t, err)
	w.below = db
	w.store = w.watcher.Over(counted{db, &w.reads})
	root, err := keys.NewRoot()
	must(t, err)
	ring, err := keys.Open(keys.Config{Root: root})
	must(t, err)
	w.Service, err = endpoint.New(endpoint.Config{
		Store: w.store, Ring: ring, Outbox: outbox, Sender: w.out, NewSecret: webhook.NewSecret,
		Check: func(_ context.Context, field, url string) error {
			if strings.Contains(url, "private") {
				return mfa.InvalidField(field, "No.")
			}
			return nil
		},
	})
	must(t, err)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) close() { must(w.t, w.below.Close()) }

func (w *world) create(in mfa.RealmID, url string, events ...string) endpoint.MadeWebhook {
	w.t.Helper()
	made, err := w.Create(w.t.Context(), in, endpoint.Change{URL: &url, Events: &events})
	must(w.t, err)
	return made
}

// record records an event and gives what is to be sent for it, by webhook.
func (w *world) record(in mfa.RealmID, kind string) map[string]int {
	w.t.Helper()
	before := w.pending()
	must(w.t, w.store.Update(w.t.Context(), func(tx store.Tx) error {
		return audit.Record(w.t.Context(), tx, store.Event{Realm: in, Kind: kind, User: "usr_1"})
	}))
	after := w.pending()
	for hook, n := range before {
		if after[hook] -= n; after[hook] == 0 {
			delete(after, hook)
		}
	}
	return after
}

func (w *world) pending() map[string]int {
	w.t.Helper()
	out := map[string]int{}
	must(w.t, w.below.View(w.t.Context(), func(tx store.Tx) error {
		all, err := tx.DueDeliveries(1<<60, "", 1000)
		for _, d := range all {
			out[d.Target]++
		}
		return err
	}))
	return out
}

// TestEventsFindTheirWebhooks also wants an event to cost no read of webhooks while the watcher's
// memory is fresh, whether there are webhooks or not.
func TestEventsFindTheirWebhooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.watcher.Run(ctx) }()
		defer func() { must(t, <-done) }()
		defer cancel()
		synctest.Wait()
		for range 5 {
			if got := w.record(realm, audit.UserLocked); len(got) != 0 {
				t.Errorf("told without webhooks: %v", got)
			}
			time.Sleep(3 * time.Second)
		}
		all := w.create(realm, "https://a.test")
		users := w.create(realm, "https://b.test", "user.")
		exact := w.create(realm, "https://c.test", audit.UserLocked, audit.ChallengeTold)
		theirs := w.create(other, "https://d.test")
		synctest.Wait()
		w.reads.Store(0)
		for _, test := range []struct {
			realm mfa.RealmID
			kind  string
			want  map[string]int
		}{
			{realm, audit.UserLocked, map[string]int{all.ID: 1, users.ID: 1, exact.ID: 1}},
			{realm, audit.UserUnlocked, map[string]int{all.ID: 1, users.ID: 1}},
			{realm, audit.ChallengeTold, map[string]int{all.ID: 1, exact.ID: 1}},
			{realm, audit.DeviceAdded, map[string]int{all.ID: 1}},
			{other, audit.UserLocked, map[string]int{theirs.ID: 1}},
			{"third", audit.UserLocked, map[string]int{}},
		} {
			if diff := cmp.Diff(test.want, w.record(test.realm, test.kind)); diff != "" {
				t.Errorf("%s in %s (-want +got):\n%s", test.kind, test.realm, diff)
			}
		}
		if n := w.reads.Load(); n != 0 {
			t.Errorf("%d reads of webhooks in the transactions of events", n)
		}
		off := false
		_, err := w.Update(t.Context(), realm, all.ID, endpoint.Change{Enabled: &off})
		must(t, err)
		must(t, w.Delete(t.Context(), realm, users.ID))
		if diff := cmp.Diff(map[string]int{exact.ID: 1}, w.record(realm, audit.UserLocked)); diff != "" {
			t.Errorf("after a change (-want +got):\n%s", diff)
		}
	})
}

// TestLostWakeUp wants a webhook of which this node was not told to miss events for five seconds at
// most, even if nothing renews the watcher's memory.
func TestLostWakeUp(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.close()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- w.watcher.Run(ctx) }()
			stop := func() {
				cancel()
				must(t, <-done)
				done <- nil
			}
			defer stop()
			synctest.Wait()
			if !running {
				stop()
			}
			w.deaf.Store(true)
			made := w.create(realm, "https://a.test")
			time.Sleep(endpoint.Stale)
			if got := w.record(realm, audit.UserLocked); got[made.ID] != 1 {
				t.Errorf("after five seconds, refreshed %t: %v", running, got)
			}
		})
	}
}

// TestUndone has nothing sent for what did not happen.
func TestUndone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	defer w.close()
	w.create(realm, "https://a.test")
	before := w.pending()
	undone := errors.New("undone")
	err := w.store.Update(t.Context(), func(tx store.Tx) error {
		must(t, audit.Record(t.Context(), tx, store.Event{Realm: realm, Kind: audit.UserLocked}))
		return undone
	})
	if !errors.Is(err, undone) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, w.pending()); diff != "" {
		t.Error(diff)
	}
}

// attempt makes one attempt at a new ping.
func (w *world) attempt(in mfa.RealmID, id string) notice.Outcome {
	w.t.Helper()
	d, err := w.Ping(w.t.Context(), in, id)
	must(w.t, err)
	var now mfa.Instant
	must(w.t, w.store.View(w.t.Context(), func(tx store.Tx) error {
		now = tx.Now()
		return nil
	}))
	return w.Send(w.t.Context(), d, now)
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	defer w.close()
	made := w.create(realm, "https://a.test")
	keysOf := func() []string {
		t.Helper()
		w.attempt(realm, made.ID)
		var out []string
		for _, k := range w.out.got[len(w.out.got)-1].Keys {
			out = append(out, k.Reveal())
		}
		return out
	}
	first := made.Secret.Reveal()
	if diff := cmp.Diff([]string{first}, keysOf()); diff != "" {
		t.Errorf("at first (-want +got):\n%s", diff)
	}
	rotate := func() string {
		t.Helper()
		again, err := w.RotateSecret(t.Context(), realm, made.ID)
		must(t, err)
		return again.Secret.Reveal()
	}
	second := rotate()
	if diff := cmp.Diff([]string{second, first}, keysOf()); diff != "" {
		t.Errorf("after one rotation (-want +got):\n%s", diff)
	}
	third := rotate()
	if diff := cmp.Diff([]string{third, second}, keysOf()); diff != "" {
		t.Errorf("after two rotations (-want +got):\n%s", diff)
	}
	w.offset.Store(int64(endpoint.FormerLife))
	if diff := cmp.Diff([]string{third}, keysOf()); diff != "" {
		t.Errorf("a day later (-want +got):\n%s", diff)
	}
}

// TestSend has deliveries end whose webhook is not to be called any more.
func TestSend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	defer w.close()
	made := w.create(realm, "https://a.test")
	w.out.outcome = notice.Outcome{Class: notice.Gone, Status: 410}
	if got := w.attempt(realm, made.ID); got.Class != notice.Gone {
		t.Errorf("gone: %+v", got)
	}
	v, err := w.Webhook(t.Context(), realm, made.ID)
	must(t, err)
	if v.Enabled || v.DisabledWhy != "gone" {
		t.Errorf("after 410: %+v", v)
	}
	if _, err := w.Ping(t.Context(), realm, made.ID); mfa.ReasonOf(err) != mfa.ReasonWebhookOff {
		t.Errorf("ping of a disabled one: %v", err)
	}
	n := len(w.out.got)
	for _, target := range []string{made.ID, "whk_none"} {
		d := store.Delivery{Realm: realm, ID: "dlv_1", Kind: endpoint.Kind, Target: target}
		if got := w.Send(t.Context(), d, 1); got.Class != notice.Permanent {
			t.Errorf("%s: %+v", target, got)
		}
	}
	if len(w.out.got) != n {
		t.Error("it was called")
	}
}

// TestRealmsApart uses ids of one realm in another.
func TestRealmsApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	defer w.close()
	ctx := t.Context()
	mine, second := w.create(realm, "https://a.test"), w.create(realm, "https://a.test")
	theirs := w.create(other, "https://b.test")
	d, err := w.Ping(ctx, other, theirs.ID)
	must(t, err)
	url := "https://c.test"
	for name, call := range map[string]func(in mfa.RealmID, hook string) error{
		"read": func(in mfa.RealmID, hook string) error { _, err := w.Webhook(ctx, in, hook); return err },
		"update": func(in mfa.RealmID, hook string) error {
			_, err := w.Update(ctx, in, hook, endpoint.Change{URL: &url})
			return err
		},
		"delete": func(in mfa.RealmID, hook string) error { return w.Delete(ctx, in, hook) },
		"rotate": func(in mfa.RealmID, hook string) error { _, err := w.RotateSecret(ctx, in, hook); return err },
		"ping":   func(in mfa.RealmID, hook string) error { _, err := w.Ping(ctx, in, hook); return err },
		"list": func(in mfa.RealmID, hook string) error {
			_, err := w.Deliveries(ctx, in, hook, "", endpoint.Page{Limit: 9})
			return err
		},
		"delivery":  func(in mfa.RealmID, hook string) error { _, _, err := w.Delivery(ctx, in, hook, d.ID); return err },
		"replay":    func(in mfa.RealmID, hook string) error { _, err := w.Replay(ctx, in, hook, d.ID); return err },
		"all again": func(in mfa.RealmID, hook string) error { _, _, err := w.ReplayDead(ctx, in, hook, 0); return err },
	} {
		unknown := call(realm, "whk_none")
		if err := call(realm, theirs.ID); mfa.CodeOf(err) != mfa.NotFound || err.Error() != unknown.Error() {
			t.Errorf("%s: %v, of an unknown one %v", name, err, unknown)
		}
	}
	// A delivery is its own webhook's only, in its own realm only.
	for _, hook := range []string{mine.ID, second.ID} {
		if _, err := w.Replay(ctx, realm, hook, d.ID); mfa.CodeOf(err) != mfa.NotFound {
			t.Errorf("replayed through %s: %v", hook, err)
		}
	}
	if list, err := w.Webhooks(ctx, other); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}
