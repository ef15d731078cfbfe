package authn_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// patience is how long a poll waits that is to be ended by what happens.
const patience = 5 * time.Minute

// reply is what a poll was answered with.
type reply struct {
	protocol.PollAnswer
	err error
}

// park begins a poll of a phone that holds all there is, and returns after it has read the store
// once. Had it answered then, its answer would lack whatever happens from now on.
func (w *world) park(p *phone, named mfa.ChallengeID, have ...string) <-chan reply {
	w.t.Helper()
	w.poll(p, named, have...) // so that this node knows what the device was told
	return w.wait(w.asks(p, named, patience, have...))
}

func (w *world) wait(poll authn.Poll) <-chan reply {
	w.t.Helper()
	w.db.viewed = make(chan struct{}, 1024)
	c := make(chan reply, 1)
	go func() {
		a, err := w.s.Prompts(w.t.Context(), poll)
		c <- reply{a, err}
	}()
	<-w.db.viewed
	return c
}

// stray wakes the phone for nothing and waits until it has looked.
func (w *world) stray(u account.User) {
	w.t.Helper()
	for len(w.db.viewed) > 0 {
		<-w.db.viewed
	}
	w.hub.Wake(store.WakeUser(in, u.ID))
	<-w.db.viewed
}

func (w *world) shown(p *phone, r reply) []string {
	w.t.Helper()
	must(w.t, r.err)
	ids := []string{}
	for _, prompt := range w.prompts(p, r.PollAnswer) {
		ids = append(ids, prompt.Challenge)
	}
	return ids
}

// TestPollForNews: each thing that is told ends a poll that waits, and a wake-up without news does
// not.
func TestPollForNews(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(everyMatch)
	u, p := w.person("alice")
	b := w.remembered(u, p)

	waits := w.park(p, "")
	w.stray(u)
	own := w.create(w.from(b, login("alice")))
	if got := w.shown(p, <-waits); !slices.Equal(got, []string{string(own.ID)}) {
		t.Fatalf("a new prompt: %v", got)
	}
	if got := w.shown(p, reply{w.poll(p, ""), nil}); len(got) != 1 {
		t.Errorf("a prompt comes every time: %v", got)
	}

	held := string(own.ID)
	waits = w.park(p, "", held)
	w.stray(u)
	strange := w.create(login("alice"))
	r := <-waits
	if got := w.shown(p, r); !slices.Equal(got, []string{held, string(strange.ID)}) {
		t.Fatalf("a second card: %v", got)
	}
	if c := r.Prompts[0]; c.Others != 1 || slices.Contains(c.MatchNow, protocol.MatchNumber) {
		t.Errorf("the first card says %+v", c)
	}

	waits = w.park(p, "", held, string(strange.ID))
	hidden := w.create(login("alice")) // not listed, and changes what stands beside the others
	r = <-waits
	w.shown(p, r)
	equal(t, "others", r.Prompts[0].Others, 2)

	waits = w.park(p, "", held, string(strange.ID))
	w.wrong(p, own, mfa.Digits, 0)
	r = <-waits
	w.shown(p, r)
	equal(t, "tries left", r.Prompts[0].TriesLeft, 2)

	waits = w.park(p, "", held, string(strange.ID))
	w.cancel(hidden)
	w.shown(p, <-waits)
	waits = w.park(p, "", held, string(strange.ID))
	w.cancel(strange)
	r = <-waits
	if got := w.shown(p, r); !slices.Equal(got, []string{held}) {
		t.Errorf("a prompt that is over: %v", got)
	}
	if c := r.Prompts[0]; c.Others != 0 || !slices.Contains(c.MatchNow, protocol.MatchNumber) {
		t.Errorf("alone again, the card says %+v", c)
	}

	waits = w.park(p, "", held)
	w.policy("")
	r = <-waits
	w.shown(p, r)
	if c := r.Prompts[0]; slices.Contains(c.MatchNow, protocol.MatchNumber) {
		t.Errorf("after a stricter policy the card says %+v", c)
	}

	w.move(own.DecideBy - 1000)
	waits = w.park(p, "", held)
	w.move(own.DecideBy)
	if got := w.shown(p, <-waits); len(got) != 0 {
		t.Errorf("after its time: %v", got)
	}
	w.signIn(p, login("alice"))
}

// TestPollHave: what a device holds and is not there any more is news, what it lacks too.
func TestPollHave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	v := w.create(login("alice"))
	w.poll(p, "")
	for _, have := range [][]string{{}, {"ch_gone"}, {string(v.ID), "ch_gone"}} {
		a, err := w.s.Prompts(t.Context(), w.asks(p, "", patience, have...))
		must(t, err)
		equal(t, "prompts", len(a.Prompts), 1)
	}
	waits := w.park(p, "", string(v.ID))
	must(t, w.accounts.Lock(w.ctx, in, u.ID))
	if got := w.shown(p, <-waits); len(got) != 0 {
		t.Errorf("after the lock: %v", got)
	}
	must(t, w.accounts.Unlock(w.ctx, in, u.ID))
	w.signIn(p, login("alice"))
}

// TestPollNotices: a notice ends a poll, comes until the device says that it has it, and then not.
func TestPollNotices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	waits := w.park(p, "")
	must(t, w.accounts.Lock(w.ctx, in, u.ID))
	must(t, w.accounts.Unlock(w.ctx, in, u.ID))
	r := <-waits
	for r.err == nil && len(r.Notices) == 0 { // the lock may have been news before
		r = <-w.park(p, "")
	}
	must(t, r.err)
	n, err := p.keys.OpenNotice(r.Notices[0])
	must(t, err)
	equal(t, "kind", n.Kind, protocol.NoticeLockLifted)
	equal(t, "notices before it is held", len(w.poll(p, "").Notices), 1)
	waits = w.park(p, "", n.ID)
	w.stray(u)
	v := w.create(login("alice"))
	r = <-waits
	if got := w.shown(p, r); !slices.Equal(got, []string{string(v.ID)}) || len(r.Notices) != 0 {
		t.Errorf("a notice that is held: %v, %d notices", got, len(r.Notices))
	}
}

// TestPollKeys: a rotation ends every poll of the realm, and the device follows.
func TestPollKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, p := w.person("alice")
	waits := w.park(p, "")
	must(t, w.db.Update(w.ctx, func(tx store.Tx) error { return second(w.realms.RotatePrompt(tx, in)) }))
	r := <-waits
	must(t, r.err)
	equal(t, "key sets", len(r.Keys), 1)
	keys, err := p.keys.Follow(r.Keys)
	must(t, err)
	p.keys = keys
	equal(t, "key sets held", len(w.poll(p, "").Keys), 0)
	v := w.create(login("alice"))
	equal(t, "prompts by the new key", len(w.listed(p, "")), 1)
	w.approve(p, v, mfa.Digits)
	w.redeemed(v.ID)
}

func second[T any](_ T, err error) error { return err }

// TestPollOfDeviceThatMayNot: claimed and suspended devices get nothing, and hear when that
// changes; a revoked one is cut off while it waits.
func TestPollOfDeviceThatMayNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, old := w.person("alice")
	p := w.claimed(u)
	v := w.create(login("alice"))
	a := w.poll(p, v.ID)
	if a.DeviceState != protocol.DeviceClaimed || len(a.Prompts)+len(a.Notices) != 0 {
		t.Fatalf("claimed: %+v", a)
	}
	waits := w.park(p, "")
	_, err := w.accounts.Confirm(w.ctx, in, p.enrol, p.claim.ConfirmCode)
	must(t, err)
	r := <-waits
	equal(t, "prompts once it is confirmed", len(w.shown(p, r)), 1)
	equal(t, "device state", r.DeviceState, protocol.DeviceQuarantined)

	w.pass(time.Second)
	waits = w.park(p, v.ID, string(v.ID))
	must(t, w.accounts.Veto(t.Context(), w.says(old), protocol.Veto{V: 1, Device: string(p.id), Enrolment: string(p.enrol)}))
	r = <-waits
	must(t, r.err)
	if r.DeviceState != protocol.DeviceSuspended || len(r.Prompts)+len(r.Notices) != 0 {
		t.Fatalf("suspended: %+v", r)
	}
	waits = w.park(p, v.ID)
	w.stray(u)
	must(t, w.accounts.Restore(w.ctx, in, p.id, byAdmin))
	equal(t, "prompts once it is restored", len(w.shown(p, <-waits)), 1)

	waits = w.park(p, "", string(v.ID), w.noticed(p))
	must(t, w.accounts.Revoke(w.ctx, in, p.id, byAdmin))
	wants(t, (<-waits).err, mfa.Forbidden, mfa.ReasonDeviceRevoked)
	_, err = w.s.Prompts(t.Context(), w.asks(p, "", 0))
	wants(t, err, mfa.Forbidden, mfa.ReasonDeviceRevoked)

	refused := w.claimed(u)
	waits = w.park(refused, "")
	must(t, w.accounts.CancelEnrolment(w.ctx, in, refused.enrol))
	wants(t, (<-waits).err, mfa.Forbidden, mfa.ReasonDeviceRevoked)
	w.approve(old, v, mfa.Scan)
	w.redeemed(v.ID)
}

// noticed gives the id of a notice that waits for the phone, "" if there is none.
func (w *world) noticed(p *phone) string {
	w.t.Helper()
	for _, raw := range w.poll(p, "").Notices {
		n, err := p.keys.OpenNotice(raw)
		must(w.t, err)
		return n.ID
	}
	return ""
}

// TestPollIsLetGo when the server stops, with what there is, or its caller leaves.
func TestPollIsLetGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, p := w.person("alice")
	v := w.create(login("alice"))
	w.poll(p, "")
	ctx, leave := context.WithCancel(t.Context())
	poll := w.asks(p, "", patience, string(v.ID))
	w.db.viewed = make(chan struct{}, 16)
	c := make(chan error, 1)
	go func() {
		_, err := w.s.Prompts(ctx, poll)
		c <- err
	}()
	<-w.db.viewed
	leave()
	if <-c == nil {
		t.Error("a caller that left was answered")
	}
	waits := w.park(p, "", string(v.ID))
	w.hub.Stop()
	equal(t, "prompts", len(w.shown(p, <-waits)), 1)
	equal(t, "registered waiters", w.hub.Waiting(), 0)
}

// TestSilentBus: what no wake-up told reaches waiting devices and applications by the sweep.
func TestSilentBus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, p := w.person("alice")
	w.silent.Store(true)
	sweep := func() {
		t.Helper()
		if _, err := w.s.WakeSweep(t.Context(), w.now().Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(time.Hour) // so that nothing from before is swept
	waits := w.park(p, "")
	w.create(login("alice"))
	sweep()
	equal(t, "prompts", len(w.shown(p, <-waits)), 1)

	w.pass(time.Hour)
	w.poll(p, "")
	poll := w.asks(p, "", patience)
	waits = w.wait(poll)
	w.policy(everyMatch)
	must(t, w.db.Update(w.ctx, func(tx store.Tx) error {
		if _, err := w.realms.RotatePrompt(tx, in); err != nil {
			return err
		}
		return audit.Record(w.ctx, tx, store.Event{Realm: in, Kind: audit.RealmKeysRotated})
	}))
	sweep()
	r := <-waits
	must(t, r.err)
	equal(t, "key sets", len(r.Keys), 1)
	keys, err := p.keys.Follow(r.Keys)
	must(t, err)
	p.keys = keys

	v := w.create(login("alice"))
	changes := make(chan []authn.View, 1)
	w.db.viewed = make(chan struct{}, 16)
	after := store.Page{At: w.row(v.ID).ChangedAt, ID: string(v.ID), Limit: 10}
	go func() {
		list, err := w.s.Changes(t.Context(), w.app, after, patience)
		if err != nil {
			t.Error(err)
		}
		changes <- list
	}()
	<-w.db.viewed
	w.approve(p, v, mfa.Digits)
	sweep()
	if list := <-changes; len(list) != 1 || list[0].ID != v.ID || list[0].State != mfa.Approved {
		t.Errorf("the stream says %+v", list)
	}
	w.redeemed(v.ID)
}

// TestGetWaits returns at once for another state than the one that is known.
func TestGetWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, p := w.person("alice")
	v := w.create(login("alice"))
	got, err := w.s.Get(t.Context(), w.app, v.ID, mfa.Approved, patience)
	must(t, err)
	equal(t, "state", got.State, mfa.Pending)
	for _, step := range []struct {
		known, want mfa.State
		do          func()
	}{
		{mfa.Pending, mfa.Approved, func() { w.approve(p, v, mfa.Digits) }},
		{mfa.Approved, mfa.Redeemed, func() { w.redeemed(v.ID) }},
	} {
		w.db.viewed = make(chan struct{}, 1024)
		c := make(chan authn.View, 1)
		go func() {
			got, err := w.s.Get(t.Context(), w.app, v.ID, step.known, patience)
			if err != nil {
				t.Error(err)
			}
			c <- got
		}()
		<-w.db.viewed
		step.do()
		equal(t, "state", (<-c).State, step.want)
	}
}

// TestStamps: the first of each counts, of the user's own active devices only.
func TestStamps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, p := w.person("alice")
	_, other := w.person("mallory")
	b := w.remembered(u, p)
	w.pass(time.Minute)
	v, strange := w.create(w.from(b, login("alice"))), w.create(login("alice"))
	w.poll(p, "")
	w.pass(10 * time.Second)
	stamp := func(p *phone, id mfa.ChallengeID, what string, ago time.Duration) {
		t.Helper()
		must(t, w.s.Stamp(t.Context(), w.says(p), id, what, ago))
	}
	stamp(other, v.ID, "opened", 0)
	stamp(p, "ch_none", "opened", 0)
	stamp(p, v.ID, "shown", 3*time.Second)
	stamp(p, v.ID, "shown", time.Second)
	stamp(p, v.ID, "received", time.Hour) // not before it was made
	stamp(p, strange.ID, "shown", 0)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	must(t, w.s.RunNotes(ctx))
	want := authn.Delivery{Received: v.CreatedAt, Shown: w.now().Add(-3 * time.Second)}
	equal(t, "delivery", *w.get(v.ID).Delivery, want)
	if d := w.get(strange.ID).Delivery; d != nil {
		t.Errorf("a stranger is shown %+v", d)
	}
	equal(t, "told that it was delivered", w.recorded(audit.ChallengeDelivered, v.ID), 1)
	equal(t, "told that it was shown", w.recorded(audit.ChallengeShown, v.ID), 1)
	w.approve(p, v, mfa.Scan)
	w.redeemed(v.ID)
}
