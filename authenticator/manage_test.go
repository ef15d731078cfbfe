package authenticator

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/protocol"
)

// newer signs a prompt with a member that this version does not know.
func (s *server) newer(challenge string) string {
	p := s.promptPayload(challenge)
	raw, err := protocol.Encode(p)
	if err != nil {
		s.t.Fatal(err)
	}
	return signRaw(s.t, s.promptKey(), protocol.TypePrompt, append([]byte(`{"mood":"good",`), raw[1:]...))
}

func TestChanges(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		_, on := s.one()
		s.fail(protocol.PathNames, lostReply, cutReply, busy)
		if err := d.Rename(t.Context(), "desk"); err != nil || on.name != "desk" {
			t.Errorf("renamed to %q, %v", on.name, err)
		}
		if account, err := d.Account(); err != nil || account.Name != "desk" {
			t.Errorf("%+v, %v", account, err)
		}
		targets := []protocol.Target{{Kind: protocol.TargetNtfy, URL: "https://ntfy.example/x"}}
		if err := d.SetTargets(t.Context(), targets); err != nil || !cmp.Equal(on.targets, targets) {
			t.Errorf("targets %+v, %v", on.targets, err)
		}
		if err := d.SetTargets(t.Context(), []protocol.Target{{Kind: "smoke"}}); !errors.Is(err, protocol.ErrMalformed) {
			t.Errorf("bad target: %v", err)
		}
		if err := d.RegisterLock(t.Context(), protocol.Registration{ID: "AQID", ClientData: "e30", Attestation: "oA"}); err != nil {
			t.Error(err)
		}
		items, next, err := d.History(t.Context(), "")
		if err != nil || len(items) != 1 || next != "more" || items[0].App != `Pay\x1b[2Jroll` {
			t.Errorf("%+v, %q, %v", items, next, err)
		}
		if items, next, err = d.History(t.Context(), next); err != nil || len(items) != 0 || next != "" {
			t.Errorf("%+v, %q, %v", items, next, err)
		}
	})
}

func TestUnenrol(t *testing.T) {
	for name, faults := range map[string][]fault{"at once": nil, "reply lost": {lostReply}, "request lost": {lostRequest}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *server, a *Authenticator) {
				d := active(t, s, a)
				s.fail(protocol.PathUnenrol, faults...)
				if err := d.Unenrol(t.Context()); err != nil {
					t.Error(err)
				}
				if _, on := s.one(); !on.gone {
					t.Error("the server still knows the device")
				}
				if _, err := a.Device(d.ID()); !errors.Is(err, ErrNoAccount) {
					t.Errorf("got %v, want ErrNoAccount", err)
				}
			})
		})
	}
}

func TestUnenrolKeepsTheAccountOfASilentServer(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		s.fail(protocol.PathUnenrol, lostRequest, lostRequest, lostRequest, lostRequest)
		if err := d.Unenrol(t.Context()); !errors.Is(err, ErrNoReply) {
			t.Errorf("got %v", err)
		}
		if accounts, err := a.Accounts(); err != nil || len(accounts) != 1 {
			t.Errorf("%+v, %v", accounts, err)
		}
	})
}

// TestRotate: whatever is lost on the way, both sides end with the same key.
func TestRotate(t *testing.T) {
	for name, c := range map[string]struct {
		keys, polls []fault
		wantErr     error
		changed     bool
	}{
		"at once":                            {nil, nil, nil, true},
		"reply lost":                         {[]fault{lostReply}, nil, nil, true},
		"reply cut":                          {[]fault{cutReply}, nil, nil, true},
		"request lost":                       {[]fault{lostRequest}, nil, nil, true},
		"busy, then reply lost":              {[]fault{busy, lostReply}, nil, nil, true},
		"stale nonce":                        {[]fault{staleNonce}, nil, nil, true},
		"reply lost, then silence":           {[]fault{lostReply}, []fault{lostRequest, lostRequest, lostRequest, lostRequest}, ErrNoReply, true},
		"request lost, then silence":         {[]fault{lostRequest}, []fault{lostRequest, lostRequest, lostRequest, lostRequest}, ErrNoReply, false},
		"request never arrives, polls do so": {[]fault{lostRequest, lostRequest, lostRequest, lostRequest}, nil, ErrNoReply, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *server, a *Authenticator) {
				d := active(t, s, a)
				_, on := s.one()
				before := on.key
				s.fail(protocol.PathKeys, c.keys...)
				s.fail(protocol.PathPrompts, c.polls...)
				if err := d.Rotate(t.Context()); !errors.Is(err, c.wantErr) {
					t.Errorf("got %v, want %v", err, c.wantErr)
				}
				// A new process settles what is open.
				later, err := New(Config{Store: a.store, Client: s.client})
				if err != nil {
					t.Fatal(err)
				}
				d, err = later.Device(d.ID())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.Poll(t.Context(), 0); err != nil {
					t.Fatal(err)
				}
				if !d.PublicKey().Equal(on.key) {
					t.Error("the sides have different keys")
				}
				if changed := !before.Equal(on.key); changed != c.changed {
					t.Errorf("changed: %t", changed)
				}
				if err := d.Rename(t.Context(), "x"); err != nil {
					t.Error(err)
				}
				if r, err := a.store.get(d.ID()); err != nil || r.NewKey != nil {
					t.Errorf("the rotation is still open: %v", err)
				}
			})
		})
	}
}

// TestRotateGivenUp: a caller that goes away in the middle loses neither key.
func TestRotateGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		_, on := s.one()
		ctx, cancel := context.WithCancel(t.Context())
		s.fail(protocol.PathKeys, lostReply)
		s.fail(protocol.PathPrompts, lostRequest, lostRequest, lostRequest)
		go func() {
			time.Sleep(300 * time.Millisecond)
			cancel()
		}()
		if err := d.Rotate(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if _, err := d.Poll(t.Context(), 0); err != nil || !d.PublicKey().Equal(on.key) {
			t.Errorf("the sides have different keys, %v", err)
		}
	})
}

// TestRotateByAnotherProcess: a process that still has the old key learns of the new one.
func TestRotateByAnotherProcess(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		later, err := New(Config{Store: a.store, Client: s.client})
		if err != nil {
			t.Fatal(err)
		}
		for _, use := range []func() error{
			func() error { _, err := d.Poll(t.Context(), 0); return err },
			func() error { _, err := d.DenyUnseen(t.Context(), "ch_1"); return err },
			func() error { return d.Stamp(t.Context(), "ch_1", protocol.StampOpened, time.Now()) },
		} {
			other, err := later.Device(d.ID())
			if err != nil {
				t.Fatal(err)
			}
			if err := other.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.ask("ch_1", false, protocol.DecisionAnswer{State: "denied"})
			if err := use(); err != nil {
				t.Error(err)
			}
		}
		_, on := s.one()
		on.key = &newKey(t).PublicKey
		if _, err := d.Poll(t.Context(), 0); !isStatus(err, 401) {
			t.Errorf("a key that nobody knows: %v", err)
		}
	})
}

func TestTwoAccountsHaveKeysOfTheirOwn(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		s.mu.Lock()
		s.tickets["BBBBBBBBBBBBBBBBBBBBBB"] = ""
		s.mu.Unlock()
		l, err := protocol.ParseTicketLink(s.link())
		if err != nil {
			t.Fatal(err)
		}
		l.Ticket = "BBBBBBBBBBBBBBBBBBBBBB"
		e, err := a.Enrol(t.Context(), l.String(), "second")
		if err != nil {
			t.Fatal(err)
		}
		second, err := a.Device(e.Account.ID)
		if err != nil {
			t.Fatal(err)
		}
		if second.PublicKey().Equal(d.PublicKey()) || second.ID() == d.ID() {
			t.Error("two accounts share a key or an id")
		}
		if accounts, err := a.Accounts(); err != nil || len(accounts) != 2 {
			t.Errorf("%+v, %v", accounts, err)
		}
	})
}
