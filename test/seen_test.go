package test

import (
	"testing"
	"time"
)

// TestLastSeen shows that an administrator sees, to the hour, when a device was last heard of.
func TestLastSeen(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	d := n.enrol(n.user("ada"))
	seen := func() string {
		return n.call(n.admin, "GET", "/v1/devices/"+d.id, nil).want(t, 200).get("last_seen_at")
	}
	d.poll("")
	first := seen()
	n.offset.Add(int64(59 * time.Minute))
	d.poll("")
	if got := seen(); got != first {
		t.Errorf("seen at %s and, within the hour, at %s", first, got)
	}
	n.offset.Add(int64(2 * time.Minute))
	d.nonce = ""
	d.poll("")
	if got := seen(); got <= first {
		t.Errorf("seen at %s, and %s more than an hour later", first, got)
	}
}
