package test

import (
	"testing"
	"time"

	"github.com/nodauth/nod/protocol"
)

// TestDeviceNotConfirmedInTime lets a claimed device speak after its time, before anything was swept:
// it is told that it was removed, whatever it says.
func TestDeviceNotConfirmedInTime(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	app := n.app("wiki")
	who := n.user("ada")
	d, _ := n.claim(who)
	n.offset.Add(int64(11 * time.Minute))
	c := n.challenge(app, "ada")
	for name, a := range map[string]answer{
		"poll":     d.poll(c.get("id")),
		"name":     d.say(&protocol.Name{V: 1, Seq: 1, Name: "new name"}),
		"decision": d.decide(refuse(c.get("id"), protocol.VerdictDeny)),
	} {
		if a.status != 403 || a.get("reason") != "device_revoked" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}
