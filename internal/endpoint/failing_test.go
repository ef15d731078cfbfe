package endpoint_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/endpoint"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/notice"
	"github.com/nodauth/nod/internal/store"
)

func (w *world) why(in mfa.RealmID, id string) string {
	w.t.Helper()
	v, err := w.Webhook(w.t.Context(), in, id)
	must(w.t, err)
	if v.Enabled {
		return "enabled"
	}
	return v.DisabledWhy
}

// TestFailing has a receiver take nothing for days.
func TestFailing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	defer w.close()
	made := w.create(realm, "https://a.test", "challenge.approved")
	told := w.create(realm, "https://b.test", audit.WebhookDisabled)
	after := func(d time.Duration, c notice.Class, want string) {
		t.Helper()
		w.offset.Add(int64(d))
		if c != "" {
			w.out.outcome = notice.Outcome{Class: c}
			w.attempt(realm, made.ID)
		}
		must(t, w.Sweep(t.Context()))
		if got := w.why(realm, made.ID); got != want {
			t.Errorf("after %s and %q: %s, want %s", d, c, got, want)
		}
	}
	const most = endpoint.FailingLife
	after(0, notice.Temporary, "enabled")
	after(most-time.Minute, notice.Delivered, "enabled") // which begins anew
	after(time.Hour, notice.Temporary, "enabled")
	after(most-time.Minute, notice.Permanent, "enabled")
	before := w.pending()[told.ID]
	after(time.Minute, "", "failing")
	if n := w.pending()[told.ID] - before; n != 1 {
		t.Errorf("the other webhook is told %d times", n)
	}
	on := true
	_, err := w.Update(t.Context(), realm, made.ID, endpoint.Change{Enabled: &on})
	must(t, err)
	after(time.Hour, "", "enabled")
	after(0, notice.Temporary, "enabled")
	url := "https://c.test"
	_, err = w.Update(t.Context(), realm, made.ID, endpoint.Change{URL: &url})
	must(t, err)
	after(2*most, "", "enabled")
	after(0, notice.Temporary, "enabled")

	must(t, w.GiveUp(t.Context(), realm, made.ID, 100))
	if got := w.why(realm, made.ID); got != "enabled" {
		t.Errorf("with a few pending: %s", got)
	}
	must(t, w.GiveUp(t.Context(), realm, made.ID, 2))
	if got := w.why(realm, made.ID); got != "failing" {
		t.Errorf("with too many pending: %s", got)
	}
	must(t, w.GiveUp(t.Context(), realm, told.ID, 0))
	if got := w.why(realm, told.ID); got != "enabled" {
		t.Errorf("one that does not fail: %s", got)
	}
}

// TestDisabledRealm has deliveries of a disabled realm wait: nothing of it leaves the server.
func TestDisabledRealm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	defer w.close()
	set := func(at mfa.Instant) {
		t.Helper()
		must(t, w.below.Update(t.Context(), func(tx store.Tx) error {
			r, err := tx.Realm(other)
			if err != nil {
				return err
			}
			r.DisabledAt = at
			return tx.PutRealm(r)
		}))
	}
	must(t, w.below.Update(t.Context(), func(tx store.Tx) error { return tx.InsertRealm(store.Realm{ID: other, CreatedAt: 1}) }))
	made := w.create(other, "https://a.test")
	set(1)
	want := notice.Outcome{Class: notice.Temporary, Text: "The realm is disabled."}
	if diff := cmp.Diff(want, w.attempt(other, made.ID)); diff != "" {
		t.Errorf("disabled (-want +got):\n%s", diff)
	}
	if len(w.out.got) != 0 {
		t.Error("the receiver of a disabled realm is called")
	}
	w.offset.Add(int64(2 * endpoint.FailingLife))
	must(t, w.Sweep(t.Context()))
	set(0)
	if got := w.attempt(other, made.ID); got.Class != notice.Delivered || w.why(other, made.ID) != "enabled" {
		t.Errorf("enabled again: %+v, %s", got, w.why(other, made.ID))
	}
}
