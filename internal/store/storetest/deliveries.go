package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

func newDelivery(realm mfa.RealmID, target string) store.Delivery {
	var d store.Delivery
	fill(&d)
	d.Realm, d.ID, d.Kind, d.Target = realm, id[string]("dlv_"), "webhook", target
	d.State, d.EndedAt = store.DeliveryPending, 0
	return d
}

func deliveries(t *testing.T, s store.Store) {
	realm := newRealm()
	d := newDelivery(realm, "whk_1")
	get := func(tx store.Tx) (store.Delivery, error) { return tx.Delivery(realm, d.ID) }
	missing(t, s, get)
	update(t, s, func(tx store.Tx) error { return tx.InsertDelivery(d) })
	equal(t, "Delivery", read(t, s, get), d)
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertDelivery(d) })

	// Who takes it must know until when it was somebody else's.
	until := d.DueAt + 100
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.TakeDelivery(realm, d.ID, d.DueAt+1, "n2", until) })
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.TakeDelivery(realm, "dlv_none", d.DueAt, "n2", until) })
	update(t, s, func(tx store.Tx) error { return tx.TakeDelivery(realm, d.ID, d.DueAt, "n2", until) })
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.TakeDelivery(realm, d.ID, d.DueAt, "n3", until+1) })

	// Who writes the outcome must hold it still.
	put := d
	put.State, put.Node, put.DueAt, put.Tries, put.Attempts, put.EndedAt = store.DeliveryDead, "", 0, 3, 9, 77
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.PutDelivery(put, "n1", until) })
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.PutDelivery(put, "n2", until+1) })
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.ReplayDelivery(realm, d.ID, "n1", 5) })
	update(t, s, func(tx store.Tx) error { return tx.PutDelivery(put, "n2", until) })
	equal(t, "after PutDelivery", read(t, s, get), put)
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.PutDelivery(put, "n2", until) })
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.TakeDelivery(realm, d.ID, 0, "n2", until) })

	update(t, s, func(tx store.Tx) error { return tx.ReplayDelivery(realm, d.ID, "n4", 500) })
	put.State, put.Node, put.DueAt, put.Tries, put.EndedAt = store.DeliveryPending, "n4", 500, 0, 0
	equal(t, "after ReplayDelivery", read(t, s, get), put)
	want(t, s, store.ErrUsed, func(tx store.Tx) error { return tx.ReplayDelivery(realm, "dlv_none", "n1", 5) })
}

func attempts(t *testing.T, s store.Store) {
	realm := newRealm()
	d := newDelivery(realm, "whk_1")
	update(t, s, func(tx store.Tx) error { return tx.InsertDelivery(d) })
	var all []store.Attempt
	for i, outcome := range []string{"temporary", "interrupted", "gone"} {
		var a store.Attempt
		fill(&a)
		a.Realm, a.Delivery, a.Number, a.Outcome = realm, d.ID, i+1, outcome
		update(t, s, func(tx store.Tx) error { return tx.InsertAttempt(a) })
		all = append(all, a)
	}
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertAttempt(all[0]) })
	equal(t, "DeliveryAttempts", read(t, s, func(tx store.Tx) ([]store.Attempt, error) {
		return tx.DeliveryAttempts(realm, d.ID)
	}), all)
}

func listDeliveries(t *testing.T, s store.Store) {
	realm := newRealm()
	var all []store.Delivery
	for i := range 9 {
		d := newDelivery(realm, "whk_1")
		d.CreatedAt = mfa.Instant(100 + i/2)
		d.State = []store.DeliveryState{store.DeliveryPending, store.DeliveryDelivered, store.DeliveryDead}[i%3]
		other := d
		other.ID, other.Target = id[string]("dlv_"), "whk_2"
		push := d
		push.ID, push.Kind = id[string]("dlv_"), "push"
		update(t, s, func(tx store.Tx) error {
			return errors.Join(tx.InsertDelivery(d), tx.InsertDelivery(other), tx.InsertDelivery(push))
		})
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b store.Delivery) int { return newestFirst(a.CreatedAt, a.ID, b.CreatedAt, b.ID) })
	for _, state := range []store.DeliveryState{"", store.DeliveryPending, store.DeliveryDelivered, store.DeliveryDead} {
		f := store.DeliveryFilter{Realm: realm, Kind: "webhook", Target: "whk_1", State: state}
		var kept []store.Delivery
		for _, d := range all {
			if state == "" || d.State == state {
				kept = append(kept, d)
			}
		}
		if state == store.DeliveryPending {
			for n := range len(kept) + 2 {
				equal(t, "PendingBeyond", read(t, s, func(tx store.Tx) (bool, error) {
					return tx.PendingBeyond(realm, "webhook", "whk_1", n)
				}), n < len(kept))
			}
		}
		equal(t, "ListDeliveries "+string(state), walk(t, s, func(tx store.Tx, p store.Page) ([]store.Delivery, error) {
			return tx.ListDeliveries(f, p)
		}, func(d store.Delivery) (mfa.Instant, string) { return d.CreatedAt, d.ID }), kept)
	}

	f := store.DeliveryFilter{Realm: realm, Kind: "webhook", Target: "whk_1"}
	revive := func(since mfa.Instant, limit, revived int) {
		t.Helper()
		update(t, s, func(tx store.Tx) error {
			n, err := tx.ReplayDead(f, since, 900, limit)
			equal(t, "ReplayDead", n, revived)
			return err
		})
	}
	revive(105, 10, 0)
	revive(102, 1, 1) // of the dead at 101, 102 and 104
	revive(102, 10, 1)
	revive(0, 10, 1)
	for _, d := range all {
		if d.State == store.DeliveryDead {
			d.State, d.Node, d.DueAt, d.Tries, d.EndedAt = store.DeliveryPending, "", 900, 0, 0
			equal(t, "after ReplayDead", read(t, s, func(tx store.Tx) (store.Delivery, error) { return tx.Delivery(realm, d.ID) }), d)
		}
	}
}

// dueDeliveries looks over all realms, so it has a database of its own.
func dueDeliveries(t *testing.T, o Opened) {
	s, realm := o.Store, newRealm()
	var due []store.Delivery
	for i, at := range []mfa.Instant{50, 40, 60, 10, 51} {
		d := newDelivery(realm, []string{"whk_a", "whk_b"}[i%2])
		d.DueAt = at
		if at == 10 {
			d.State = store.DeliveryDead
		}
		update(t, s, func(tx store.Tx) error { return tx.InsertDelivery(d) })
		due = append(due, d)
	}
	for _, test := range []struct {
		now    mfa.Instant
		except string
		limit  int
		want   []store.Delivery
	}{
		{39, "", 9, nil},
		{40, "", 9, []store.Delivery{due[1]}},
		{50, "", 9, []store.Delivery{due[1], due[0]}},
		{50, "", 1, []store.Delivery{due[1]}},
		{99, "whk_b", 9, []store.Delivery{due[0], due[4], due[2]}},
		{99, "whk_c whk_a", 9, []store.Delivery{due[1]}},
		{99, "whk_b whk_a", 9, nil},
	} {
		equal(t, "DueDeliveries", read(t, o.Other, func(tx store.Tx) ([]store.Delivery, error) {
			return tx.DueDeliveries(test.now, test.except, test.limit)
		}), test.want)
	}
}

// sweepDeliveries likewise.
func sweepDeliveries(t *testing.T, o Opened) {
	s, realm := o.Store, newRealm()
	left := map[string]bool{}
	for i, state := range []store.DeliveryState{store.DeliveryPending, store.DeliveryDelivered, store.DeliveryDead} {
		for at := mfa.Instant(8); at < 13; at++ {
			d := newDelivery(realm, "whk_1")
			d.State, d.EndedAt = state, at
			a := store.Attempt{Realm: realm, Delivery: d.ID, Number: 1, Outcome: "gone"}
			update(t, s, func(tx store.Tx) error { return errors.Join(tx.InsertDelivery(d), tx.InsertAttempt(a)) })
			left[d.ID] = i != 1 || at >= 10
		}
	}
	for _, swept := range []int{1, 1, 0} {
		update(t, s, func(tx store.Tx) error {
			n, err := tx.SweepDeliveries(store.DeliveryDelivered, 10, 1)
			equal(t, "SweepDeliveries", n, swept)
			_, pendingErr := tx.SweepDeliveries(store.DeliveryPending, 1000, 100)
			return errors.Join(err, pendingErr)
		})
	}
	for id, stays := range left {
		view(t, s, func(tx store.Tx) error {
			_, err := tx.Delivery(realm, id)
			equal(t, "the delivery is there", err == nil, stays)
			made, err := tx.DeliveryAttempts(realm, id)
			equal(t, "its attempt is there", len(made) == 1, stays)
			return err
		})
	}
}

// deliveryRace has nodes take one delivery: one gets it, and one again when its lease is over.
func deliveryRace(t *testing.T, o Opened) {
	realm := newRealm()
	d := newDelivery(realm, "whk_1")
	update(t, o.Store, func(tx store.Tx) error {
		d.DueAt = tx.Now()
		return tx.InsertDelivery(d)
	})
	held := d.DueAt
	for range 3 {
		until := make([]mfa.Instant, 8)
		winner := oneWinner(t, "TakeDelivery", race(o, len(until), func(s store.Store, i int) error {
			return s.Update(t.Context(), func(tx store.Tx) error {
				until[i] = tx.Now().Add(60e9 + 1000)
				return tx.TakeDelivery(realm, d.ID, held, fmt.Sprint("n", i), until[i])
			})
		}), store.ErrUsed)
		view(t, o.Store, func(tx store.Tx) error {
			early, err := tx.DueDeliveries(tx.Now(), "", 9)
			equal(t, "due while it is leased", len(early), 0)
			return err
		})
		o.Advance(61e9)
		held = until[winner]
		view(t, o.Other, func(tx store.Tx) error {
			late, err := tx.DueDeliveries(tx.Now(), "", 9)
			equal(t, "due when the lease is over", len(late), 1)
			return err
		})
	}
	// Outcomes: one is written, whoever still believes to hold it.
	done := d
	done.State, done.Node, done.EndedAt = store.DeliveryDelivered, "", 5
	now := read(t, o.Store, func(tx store.Tx) (store.Delivery, error) { return tx.Delivery(realm, d.ID) })
	oneWinner(t, "PutDelivery", race(o, 8, func(s store.Store, _ int) error {
		return s.Update(t.Context(), func(tx store.Tx) error { return tx.PutDelivery(done, now.Node, now.DueAt) })
	}), store.ErrUsed)
}

func webhooks(t *testing.T, s store.Store) {
	realm := newRealm()
	var first, second store.Webhook
	fill(&first)
	fill(&second)
	first.DisabledWhy, second.DisabledWhy = "", "gone"
	first.Realm, first.ID, first.Version, first.CreatedAt = realm, id[string]("whk_"), 1, 1
	second.Realm, second.ID, second.Version, second.CreatedAt, second.Enabled = realm, id[string]("whk_"), 1, 2, false
	get := func(tx store.Tx) (store.Webhook, error) { return tx.Webhook(realm, first.ID) }
	missing(t, s, get)
	update(t, s, func(tx store.Tx) error { return errors.Join(tx.InsertWebhook(second), tx.InsertWebhook(first)) })
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertWebhook(first) })
	equal(t, "Webhook", read(t, s, get), first)
	equal(t, "ListWebhooks", read(t, s, func(tx store.Tx) ([]store.Webhook, error) { return tx.ListWebhooks(realm) }),
		[]store.Webhook{first, second})
	var enabled []store.Webhook
	for _, w := range read(t, s, func(tx store.Tx) ([]store.Webhook, error) { return tx.EnabledWebhooks() }) {
		if w.Realm == realm {
			enabled = append(enabled, w)
		}
	}
	equal(t, "EnabledWebhooks", enabled, []store.Webhook{first})

	changed := second
	fill(&changed)
	changed.Realm, changed.ID, changed.Version, changed.DisabledWhy = realm, first.ID, 1, "administrator"
	changed.FormerSecret = nil
	update(t, s, func(tx store.Tx) error { return tx.PutWebhook(changed) })
	changed.Version = 2
	equal(t, "after PutWebhook", read(t, s, get), changed)
	update(t, s, func(tx store.Tx) error {
		is(t, "PutWebhook with an old version", tx.PutWebhook(first), store.ErrStale)
		none := first
		none.ID = "whk_none"
		is(t, "PutWebhook of none", tx.PutWebhook(none), store.ErrNotFound)
		return nil
	})
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.SetFailing(realm, first.ID, 77), tx.SetFailing(newRealm(), first.ID, 78), tx.SetFailing(realm, "whk_none", 79))
	})
	changed.FailingSince = 77
	equal(t, "after SetFailing", read(t, s, get), changed)
	update(t, s, func(tx store.Tx) error { return tx.DeleteWebhook(realm, first.ID) })
	missing(t, s, get)
	want(t, s, store.ErrNotFound, func(tx store.Tx) error { return tx.DeleteWebhook(realm, first.ID) })
}
