package test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"
)

// hearing is somebody who is told of sign-ins by webhook, and compares that with the record.
type hearing struct {
	*receiver
	since time.Time       // nothing before it is new
	known map[string]bool // events of the record so far
}

func newHearing(t testing.TB, n *node) *hearing {
	t.Helper()
	h := &hearing{receiver: newReceiver(t), since: time.Now(), known: map[string]bool{}}
	h.webhook(n, "/", "challenge.approved", "challenge.redeemed", "enrolment.confirmed")
	return h
}

// record reads what is new in the record, and gives the challenges that were redeemed.
func (h *hearing) record(n *node) map[string]bool {
	n.t.Helper()
	next, redeemed := time.Now(), map[string]bool{}
	for _, kind := range []string{"challenge.approved", "challenge.redeemed", "enrolment.confirmed"} {
		for id, text := range listed(n, "kind="+kind+"&since="+h.since.Add(-10*time.Second).UTC().Format(time.RFC3339)) {
			var e struct{ Challenge string }
			if err := json.Unmarshal(text, &e); err != nil {
				n.t.Fatal(err)
			}
			h.known[id] = true
			if kind == "challenge.redeemed" {
				redeemed[e.Challenge] = true
			}
		}
	}
	h.since = next
	return redeemed
}

// check waits until everything in the record was told, and fails the test if a grant that was
// acknowledged is not in the record, or if something was told that is not.
func (h *hearing) check(t testing.TB, n *node, grants []string) {
	t.Helper()
	redeemed := h.record(n)
	for _, id := range grants {
		if !redeemed[id] {
			t.Fatalf("the grant of %s was acknowledged, and there is no event of it", id)
		}
	}
	h.until(t, "a webhook for every event", func() bool {
		for id := range h.known {
			if h.events[id] == 0 {
				return false
			}
		}
		return true
	})
	h.mu.Lock()
	told := slices.Collect(maps.Keys(h.events))
	h.mu.Unlock()
	for _, id := range told {
		if !h.known[id] {
			h.record(n)
		}
		if !h.known[id] {
			t.Fatalf("event %s was told and did not happen", id)
		}
	}
	h.clean(t)
}

// again is how many events came more than once.
func (h *hearing) again() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, times := range h.events {
		if times > 1 {
			n++
		}
	}
	return n
}

// grants gives the challenges whose grants were acknowledged since the last check.
func (l *ledger) grants() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.redeemed))
}
