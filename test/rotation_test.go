package test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/server"
	"github.com/nodauth/nod/protocol"
)

// signIns goes on signing somebody in until it is told to stop. A challenge that the rotation of the
// prompt key cancels is asked for again, as an application does; anything else is a failure.
func (n *node) signIns(app, user string, d *device, stop *atomic.Bool) (done, again int, failed error) {
	for !stop.Load() {
		ok, err := n.signIn(app, user, d)
		switch {
		case err != nil:
			return done, again, err
		case ok:
			done++
		default:
			again++
		}
	}
	return done, again, nil
}

func (n *node) signIn(app, user string, d *device) (bool, error) {
	c, err := n.try(app, "POST", "/v1/challenges", request(user))
	if err != nil || c.status != http.StatusCreated {
		return false, fmt.Errorf("create: %w %d %s", err, c.status, c.body)
	}
	id := c.get("id")
	// What the former key signed is cancelled right after the rotation, not with it.
	cancelled := func() bool {
		s, err := n.try(app, "GET", "/v1/challenges/"+id+"?state=pending&wait=10", nil)
		return err == nil && s.get("state") == "cancelled" && s.get("reason") == "policy"
	}
	poll, err := d.tryPost(protocol.PathPrompts, d.sign(&protocol.Poll{V: 1, Challenge: id, KeysSerial: d.serial, Have: []string{}},
		protocol.Header{KeyID: d.id, URL: n.url + protocol.PathPrompts}))
	if err != nil || poll.status != http.StatusOK {
		return false, fmt.Errorf("poll: %w %d %s", err, poll.status, poll.body)
	}
	body, err := protocol.ReadAnswer[protocol.PollAnswer](poll.body)
	if err != nil {
		return false, err
	}
	if d.keys, err = d.keys.Follow(body.Keys); err != nil {
		return false, fmt.Errorf("follow: %w", err)
	}
	d.serial = d.keys.Keys.Serial
	for _, item := range body.Prompts {
		p, sum, err := d.keys.OpenPrompt(item.JWS)
		if err != nil && !cancelled() {
			return false, fmt.Errorf("open prompt: %w", err)
		}
		if err != nil || p.Challenge != id {
			continue
		}
		a, err := d.tryPost(protocol.PathDecisions, d.decision(approval(shown{p, sum, item}, protocol.MatchDigits, c.get("match.digits"))))
		if err != nil || (a.status != http.StatusOK && !cancelled()) {
			return false, fmt.Errorf("decide: %w %d %s", err, a.status, a.body)
		}
		if a.status != http.StatusOK {
			return false, nil
		}
		g := n.redeem(app, id)
		if g.status != http.StatusOK {
			return false, fmt.Errorf("redeem: %d %s", g.status, g.body)
		}
		return true, n.verifies(g.get("grant"))
	}
	if cancelled() {
		return false, nil
	}
	return false, fmt.Errorf("challenge %s is not shown: %s", id, poll.body)
}

// verifies looks for the key of a grant in the JWKS, as an application does.
func (n *node) verifies(grant string) error {
	head, err := base64.RawURLEncoding.DecodeString(strings.Split(grant, ".")[0])
	if err != nil {
		return err
	}
	kid := between(string(head), `"kid":"`, `"`)
	a, err := n.try("", "GET", "/.well-known/jwks.json", nil)
	if err != nil || kid == "" || !strings.Contains(string(a.body), kid) {
		return fmt.Errorf("the key of a grant is not published: %w %s %s", err, head, a.body)
	}
	return nil
}

// TestRotationUnderLoad rotates every kind of key while people sign in.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n, halt := startUntil(t, nodeOptions{dir: dir})
	cfg := server.DefaultConfig()
	cfg.DataDir = dir
	app := n.app("shop")
	var stop atomic.Bool
	var load sync.WaitGroup
	var done, again atomic.Int64
	for i := range 4 {
		name := fmt.Sprintf("jo-%d", i)
		d := n.enrol(n.user(name))
		load.Go(func() {
			ok, more, err := n.signIns(app, name, d, &stop)
			done.Add(int64(ok))
			again.Add(int64(more))
			if err != nil {
				t.Errorf("%s, after %d sign-ins: %v", name, ok, err)
			}
		})
	}
	progress := func(of int64) {
		t.Helper()
		extra := n.app(fmt.Sprintf("extra-%d", of))
		d := n.enrol(n.user(fmt.Sprintf("extra-%d", of)))
		for range of {
			if ok, err := n.signIn(extra, fmt.Sprintf("extra-%d", of), d); err != nil || !ok {
				t.Fatalf("sign-in: %v %v", ok, err)
			}
		}
	}
	progress(1)
	for range 3 {
		n.call(n.admin, "POST", "/v1/keys/prompt/rotate", nil).want(t, 200)
		n.call(n.admin, "POST", "/v1/keys/grant/rotate", nil).want(t, 200)
	}
	progress(2)

	old, err := os.ReadFile(filepath.Join(dir, "seal.json"))
	if err != nil {
		t.Fatal(err)
	}
	added, _, err := server.AddSealKey(cfg)
	if err != nil {
		t.Fatal(err)
	}
	seal := func() answer { return n.call(n.admin, "GET", "/v1/keys/seal", nil).want(t, 200) }
	eventually(t, "the new sealing key", func() (bool, bool) { return true, strings.Contains(seal().get("holds"), added) })
	progress(4)
	n.call(n.admin, "POST", "/v1/keys/seal/reseal", nil).want(t, 200)
	eventually(t, "nodes that have turned", func() (bool, bool) {
		return true, strings.Contains(string(seal().body), `"seals":"`+added+`"`)
	})
	n.offset.Add(int64(6 * time.Second)) // what was sealed before is committed
	progress(5)
	eventually(t, "the end of the walk", func() (bool, bool) { return true, seal().get("walk") == "done" })
	if _, err := server.KeepSealKey(cfg, added); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old key to go", func() (bool, bool) { return true, seal().get("holds") == "["+added+"]" })
	progress(6)
	stop.Store(true)
	load.Wait()
	n.call(n.admin, "POST", "/v1/keys/grant/rotate", obj{"emergency": true}).want(t, 200)
	progress(7)
	if done.Load() < 20 {
		t.Errorf("only %d sign-ins were made", done.Load())
	}
	t.Logf("%d sign-ins, %d asked again", done.Load(), again.Load())
	if got := n.events("kind=seal."); len(got) < 4 {
		t.Errorf("the record has %v", got)
	}
	halt()

	// The old key opens nothing and is not needed.
	file := filepath.Join(dir, "seal.json")
	fresh, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := server.New(context.Background(), withPort(cfg), server.Options{}); err == nil {
		t.Error("a server starts with the old key")
	}
	if err := os.WriteFile(file, fresh, 0o600); err != nil {
		t.Fatal(err)
	}
	n = start(t, nodeOptions{dir: dir, offset: n.offset})
	d := n.enrol(n.user("last"))
	if ok, err := n.signIn(app, "last", d); !ok || err != nil {
		t.Errorf("sign-in after the rotation: %v %v", ok, err)
	}
}

func withPort(c server.Config) server.Config {
	c.Listen = "127.0.0.1:0"
	return c
}
