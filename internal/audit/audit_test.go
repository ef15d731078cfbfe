package audit_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

const realm = mfa.DefaultRealm

// world is the record over a store with two realms.
type world struct {
	*audit.Service
	t     *testing.T
	store store.Store
	ahead atomic.Int64 // of the real time, in nanoseconds
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	st, err := sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:    filepath.Join(t.TempDir(), "nod.db"),
		Offset: func() time.Duration { return time.Duration(w.ahead.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	if w.Service, err = audit.New(audit.Config{Store: st}); err != nil {
		t.Fatal(err)
	}
	w.store = st
	for _, id := range []mfa.RealmID{realm, "other"} {
		w.update(func(tx store.Tx) error { return tx.InsertRealm(store.Realm{ID: id, CreatedAt: tx.Now()}) })
	}
	return w
}

func (w *world) update(fn func(store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.WithoutCancel(w.t.Context()), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) list(f audit.Filter) []audit.Event {
	w.t.Helper()
	out, err := w.List(w.t.Context(), f, audit.Page{Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestNewNeedsAStore(t *testing.T) {
	t.Parallel()
	if _, err := audit.New(audit.Config{}); err == nil {
		t.Error("a service without a store")
	}
}

func TestFrom(t *testing.T) {
	t.Parallel()
	if got := audit.From(context.Background()); got != (audit.Origin{Actor: mfa.ActorServer}) {
		t.Errorf("nobody named: %+v", got)
	}
	o := audit.Origin{Actor: mfa.ActorHelpDesk, By: "key_1", Address: "192.0.2.1", Request: "req_1"}
	if got := audit.From(audit.With(context.Background(), o)); got != o {
		t.Errorf("got %+v, want %+v", got, o)
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	named := audit.With(t.Context(), audit.Origin{Actor: mfa.ActorApplication, By: "key_1", Address: "192.0.2.1", Request: "req_1"})
	full := audit.Event{
		Realm: realm, Kind: audit.UserLocked, User: "usr_1", Application: "app_1", Device: "dev_1", Challenge: "ch_1",
		Data: map[string]string{"reason": "leave"},
	}
	var now mfa.Instant
	tests := []struct {
		name string
		ctx  context.Context
		e    audit.Event
		edit func(*audit.Event)
	}{
		{"by the server", t.Context(), full, func(e *audit.Event) { e.Actor, e.At = mfa.ActorServer, now }},
		{"by whom the context names", named, full, func(e *audit.Event) {
			e.Actor, e.By, e.Address, e.Request, e.At = mfa.ActorApplication, "key_1", "192.0.2.1", "req_1", now
		}},
		{"by whom the event names, through the same request", named, with(full, func(e *audit.Event) {
			e.Actor, e.By, e.Address, e.Request = mfa.ActorUser, "dev_1", "forged", "forged"
		}), func(e *audit.Event) {
			e.Actor, e.By, e.Address, e.Request, e.At = mfa.ActorUser, "dev_1", "192.0.2.1", "req_1", now
		}},
		{"at another time", t.Context(), with(full, func(e *audit.Event) { e.At = 77 }), func(e *audit.Event) {
			e.Actor, e.At = mfa.ActorServer, now
		}},
		{"little", t.Context(), audit.Event{Realm: realm, Kind: audit.PolicyApplied}, func(e *audit.Event) {
			e.Actor, e.At = mfa.ActorServer, now
		}},
	}
	id := regexp.MustCompile(`^evt_[a-z2-7]{26}$`)
	for _, test := range tests { // one after the other: each looks at the newest
		w.ahead.Add(int64(time.Second))
		before := w.list(audit.Filter{Realm: realm})
		w.update(func(tx store.Tx) error {
			now = tx.Now()
			return audit.Record(test.ctx, tx, test.e)
		})
		want := test.e
		test.edit(&want)
		after := w.list(audit.Filter{Realm: realm})
		added := slices.DeleteFunc(after, func(e audit.Event) bool {
			return slices.ContainsFunc(before, func(b audit.Event) bool { return b.ID == e.ID })
		})
		if diff := cmp.Diff([]audit.Event{want}, added, cmpopts.IgnoreFields(audit.Event{}, "ID")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if len(added) == 1 && !id.MatchString(string(added[0].ID)) {
			t.Errorf("%s: id %q", test.name, added[0].ID)
		}
	}
	if others := w.list(audit.Filter{Realm: "other"}); len(others) != 0 {
		t.Errorf("another realm sees %d events", len(others))
	}
}

func with(e audit.Event, edit func(*audit.Event)) audit.Event {
	edit(&e)
	return e
}

// TestRecordGoesWithItsCause wants no event of what did not happen.
func TestRecordGoesWithItsCause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	undone := errors.New("undone")
	err := w.store.Update(t.Context(), func(tx store.Tx) error {
		if err := audit.Record(t.Context(), tx, audit.Event{Realm: realm, Kind: audit.UserLocked}); err != nil {
			return err
		}
		return undone
	})
	if !errors.Is(err, undone) {
		t.Fatal(err)
	}
	if list := w.list(audit.Filter{Realm: realm}); len(list) != 0 {
		t.Errorf("%d events of nothing", len(list))
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, e := range []audit.Event{
		{Realm: realm, Kind: audit.UserCreated, User: "usr_1"},
		{Realm: realm, Kind: audit.ChallengeCreated, User: "usr_1", Application: "app_1", Challenge: "ch_1"},
		{Realm: realm, Kind: audit.ChallengeShown, User: "usr_1", Device: "dev_1", Challenge: "ch_1"},
		{Realm: realm, Kind: audit.UserCreated, User: "usr_2"},
		{Realm: "other", Kind: audit.UserCreated, User: "usr_1"},
	} {
		e.At, e.ID, e.Actor = mfa.Instant(100+i), mfa.EventID(secret.ID("evt_")), mfa.ActorServer
		w.update(func(tx store.Tx) error { return tx.InsertEvent(e) })
	}
	for _, test := range []struct {
		name string
		f    audit.Filter
		want []mfa.Instant
	}{
		{"a realm's, newest first", audit.Filter{Realm: realm}, []mfa.Instant{103, 102, 101, 100}},
		{"oldest first", audit.Filter{Realm: realm, OldestFirst: true}, []mfa.Instant{100, 101, 102, 103}},
		{"of a user", audit.Filter{Realm: realm, User: "usr_2"}, []mfa.Instant{103}},
		{"of an application", audit.Filter{Realm: realm, Application: "app_1"}, []mfa.Instant{101}},
		{"of a device", audit.Filter{Realm: realm, Device: "dev_1"}, []mfa.Instant{102}},
		{"of a challenge", audit.Filter{Realm: realm, Challenge: "ch_1"}, []mfa.Instant{102, 101}},
		{"of a kind", audit.Filter{Realm: realm, Kind: audit.UserCreated}, []mfa.Instant{103, 100}},
		{"of kinds", audit.Filter{Realm: realm, Kind: "challenge."}, []mfa.Instant{102, 101}},
		{"since and until", audit.Filter{Realm: realm, Since: 101, Until: 103}, []mfa.Instant{102, 101}},
		{"of nobody", audit.Filter{Realm: realm, User: "usr_3"}, nil},
	} {
		var got []mfa.Instant
		for _, e := range w.list(test.f) {
			got = append(got, e.At)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	first, err := w.List(t.Context(), audit.Filter{Realm: realm}, audit.Page{Limit: 3})
	if err != nil || len(first) != 3 {
		t.Fatalf("a page of three: %d, %v", len(first), err)
	}
	rest, err := w.List(t.Context(), audit.Filter{Realm: realm}, audit.Page{At: first[2].At, ID: string(first[2].ID), Limit: 3})
	if err != nil || len(rest) != 1 || rest[0].At != 100 {
		t.Errorf("the next page: %v, %v", rest, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.List(ctx, audit.Filter{Realm: realm}, audit.Page{Limit: 3}); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who went away: %v", err)
	}
}

// TestOrder wants the events of one transaction, which have one time, in the order in which they
// were written.
func TestOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []string
	w.update(func(tx store.Tx) error {
		want = nil
		for i := range 1100 { // more than one and two characters of the id tell apart
			want = append(want, strconv.Itoa(i))
			e := audit.Event{Realm: realm, Kind: audit.UserChanged, Data: map[string]string{"n": want[i]}}
			if err := audit.Record(t.Context(), tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	w.ahead.Add(int64(time.Second))
	list, until, err := w.Settled(t.Context(), audit.Filter{Realm: realm}, audit.Page{Limit: 2000})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, e.Data["n"])
		if e.At >= until {
			t.Errorf("an event of %d, and nothing before %d is written any more", e.At, until)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if list, _, err := w.Settled(t.Context(), audit.Filter{Realm: realm, Until: list[0].At}, audit.Page{Limit: 9}); err != nil || len(list) != 0 {
		t.Errorf("before the first of them: %d, %v", len(list), err)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	kinds := audit.Kinds()
	form := regexp.MustCompile(`^[a-z_]+\.[a-z_]+$`)
	for i, k := range kinds {
		if !form.MatchString(k) {
			t.Errorf("%q has another form than the rest", k)
		}
		if slices.Contains(kinds[:i], k) {
			t.Errorf("%q stands there twice", k)
		}
	}
	for _, k := range declared(t) {
		if !slices.Contains(kinds, k) {
			t.Errorf("%q is declared and not there", k)
		}
	}
	for _, r := range mfa.Records() {
		if !slices.Contains(kinds, string(r)) {
			t.Errorf("%q, which a step asks for, is not there", r)
		}
	}
}

// declared reads the constants of kinds.go.
func declared(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "kinds.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			for _, value := range v.Values {
				text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, text)
			}
		}
		return true
	})
	if len(out) < 40 {
		t.Fatalf("only %d constants were read", len(out))
	}
	return out
}
