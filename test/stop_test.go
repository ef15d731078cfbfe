package test

import (
	"testing"
	"time"

	"github.com/nodauth/nod/protocol"
)

// TestStopAnswersTheWaiting stops a server while an application and a device wait: both are told what
// is, and nothing is cut.
func TestStopAnswersTheWaiting(t *testing.T) {
	t.Parallel()
	n, stop := startUntil(t, nodeOptions{})
	app := n.app("wiki")
	d := n.enrol(n.user("ada"))
	d.poll("") // so that nothing is news any more
	c := n.challenge(app, "ada", obj{"first_factor": "asserted"})
	d.prompts("")
	waits := make(chan answer, 2)
	go func() {
		a, _ := n.try(app, "GET", "/v1/challenges/"+c.get("id")+"?wait=60", nil)
		waits <- a
	}()
	go func() {
		p := &protocol.Poll{V: 1, Wait: 25, KeysSerial: d.serial, Have: []string{c.get("id")}}
		body := d.sign(p, protocol.Header{KeyID: d.id, URL: n.url + protocol.PathPrompts, Nonce: d.nonce})
		a, _ := d.tryPost(protocol.PathPrompts, body)
		waits <- a
	}()
	pause(200 * time.Millisecond) // both are most likely waiting by now; the outcome is the same if they are not
	stop()
	for range 2 {
		if a := <-waits; a.status != 200 {
			t.Errorf("who waited was answered %d %s", a.status, a.body)
		}
	}
}

// TestRevokedDeviceSaysNothing sends every message of the device protocol from a revoked device.
func TestRevokedDeviceSaysNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	d := s.n.enrol(s.who)
	s.n.call(s.n.admin, "DELETE", "/v1/devices/"+d.id, nil)
	for _, p := range []protocol.Payload{
		&protocol.Poll{V: 1, KeysSerial: 1, Have: []string{}},
		&protocol.History{V: 1},
		&protocol.Targets{V: 1, Seq: 9, Targets: []protocol.Target{}},
		&protocol.Name{V: 1, Seq: 9, Name: "new name"},
		&protocol.Veto{V: 1, Device: s.d.id, Enrolment: s.d.enrol},
		&protocol.Unenrol{V: 1, Seq: 9},
	} {
		if a := d.say(p); a.status != 403 || a.get("reason") != "device_revoked" {
			t.Errorf("%s: %d %s", p.Type(), a.status, a.body)
		}
	}
	stamp := d.sign(&protocol.Stamp{V: 1, Challenge: s.id, Stamp: protocol.StampShown, MS: 1}, protocol.Header{KeyID: d.id, URL: s.n.url + protocol.PathStamps})
	d.post(protocol.PathStamps, stamp).want(t, 204)
	s.honest()
}
