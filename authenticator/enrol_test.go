package authenticator

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodauth/nod/protocol"
)

// bubble runs a test with a strict server and an empty authenticator on a clock of its own.
func bubble(t *testing.T, fn func(t *testing.T, s *server, a *Authenticator)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		a, err := New(Config{Store: NewMemory(), Client: s.client, Platform: protocol.PlatformCLI, AppVersion: "1"})
		if err != nil {
			t.Fatal(err)
		}
		fn(t, s, a)
	})
}

// active enrols and confirms the one device.
func active(t *testing.T, s *server, a *Authenticator) *Device {
	t.Helper()
	e, err := a.Enrol(t.Context(), s.link(), "laptop")
	if err != nil {
		t.Fatal(err)
	}
	s.setState(protocol.DeviceActive)
	if _, err := e.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	d, err := a.Device(e.Account.ID)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEnrol(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		e, err := a.Enrol(t.Context(), s.link(), "laptop")
		if err != nil {
			t.Fatal(err)
		}
		if e.ConfirmCode != "013579" || e.Account.State != protocol.DeviceClaimed || e.Account.User.Name != "jo" || e.Account.ID.Issuer != origin {
			t.Errorf("enrolment %+v", e)
		}
		confirmed := make(chan Account, 1)
		go func() {
			account, err := e.Wait(context.WithoutCancel(t.Context()))
			if err != nil {
				t.Error(err)
			}
			confirmed <- account
		}()
		synctest.Wait()
		select {
		case <-confirmed:
			t.Fatal("confirmed before the code was typed")
		default:
		}
		s.setState(protocol.DeviceQuarantined)
		if got := (<-confirmed).State; got != protocol.DeviceQuarantined {
			t.Errorf("state %s", got)
		}
		accounts, err := a.Accounts()
		if err != nil || len(accounts) != 1 || accounts[0].Name != "laptop" || accounts[0].KeysSerial != 1 {
			t.Errorf("accounts %+v, %v", accounts, err)
		}
	})
}

func TestEnrolRefusedByTheOtherSide(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		e, err := a.Enrol(t.Context(), s.link(), "laptop")
		if err != nil {
			t.Fatal(err)
		}
		s.revoke()
		if _, err := e.Wait(t.Context()); !errors.Is(err, ErrRevoked) {
			t.Errorf("got %v, want ErrRevoked", err)
		}
		if accounts, err := a.Accounts(); err != nil || len(accounts) != 0 {
			t.Errorf("accounts %+v, %v", accounts, err)
		}
	})
}

func TestEnrolSurvivesLostReplies(t *testing.T) {
	for _, f := range []fault{lostRequest, lostReply, cutReply, halfJSON, busy, serverFailed} {
		t.Run("", func(t *testing.T) {
			bubble(t, func(t *testing.T, s *server, a *Authenticator) {
				s.fail(protocol.PathWellKnown, f)
				s.fail(protocol.PathEnrol, f, f)
				active(t, s, a)
				s.mu.Lock()
				defer s.mu.Unlock()
				if len(s.devices) != 1 {
					t.Errorf("%d devices", len(s.devices))
				}
			})
		})
	}
}

func TestEnrolRefusals(t *testing.T) {
	wrongPIN := func(s *server) string {
		l, err := protocol.ParseTicketLink(s.link())
		if err != nil {
			s.t.Fatal(err)
		}
		l.PIN = secret
		return l.String()
	}
	for _, c := range []struct {
		name  string
		link  func(*server) string
		setup func(*server)
		want  string
		is    error
	}{
		{"another PIN", wrongPIN, nil, "does not fit the enrolment link", ErrNotTrusted},
		{"used ticket", nil, func(s *server) { s.tickets[ticket] = "by another" }, "was used, or replaced", nil},
		{"old ticket", nil, func(s *server) { delete(s.tickets, ticket) }, "too old", nil},
		{"no link", func(*server) string { return "https://x.example/p#" + ticket }, nil, "read the enrolment link", protocol.ErrMalformed},
		{"plain http elsewhere", func(s *server) string { return strings.Replace(s.link(), "127.0.0.1", "10.0.0.1", 1) }, nil, "https", protocol.ErrMalformed},
		{"a redirect is not followed", nil, func(s *server) { s.fail(protocol.PathWellKnown, redirect) }, "307", nil},
		{"another web server", nil, func(s *server) { s.fail(protocol.PathWellKnown, notNod) }, "not an answer of nod", nil},
		{"an endless answer", nil, func(s *server) { s.fail(protocol.PathEnrol, longReply) }, "longer than 1 MiB", nil},
		{"no server", nil, func(s *server) {
			s.fail(protocol.PathWellKnown, lostRequest, lostRequest, lostRequest, lostRequest)
		}, "no reply", ErrNoReply},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *server, a *Authenticator) {
				if c.setup != nil {
					c.setup(s)
				}
				link := s.link()
				if c.link != nil {
					link = c.link(s)
				}
				_, err := a.Enrol(t.Context(), link, "laptop")
				if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				if accounts, err := a.Accounts(); err != nil || len(accounts) != 0 {
					t.Errorf("accounts %+v, %v", accounts, err)
				}
				if s.count("/elsewhere") != 0 {
					t.Error("the redirect was followed")
				}
			})
		})
	}
}

// TestEnrolByAnotherRealm: whoever answers in the server's place has no key that the PIN names.
func TestEnrolByAnotherRealm(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		link := s.link()
		s.mu.Lock()
		s.keys[0] = newKey(t)
		s.mu.Unlock()
		s.sets[0] = s.keySet(1)
		if _, err := a.Enrol(t.Context(), link, "laptop"); !errors.Is(err, ErrNotTrusted) {
			t.Errorf("got %v, want ErrNotTrusted", err)
		}
	})
}

func TestWaitOutlastsAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		e, err := a.Enrol(t.Context(), s.link(), "laptop")
		if err != nil {
			t.Fatal(err)
		}
		s.setState(protocol.DeviceActive)
		s.fail(protocol.PathPrompts, lostRequest, busy, cutReply, lostReply)
		if account, err := e.Wait(t.Context()); err != nil || account.State != protocol.DeviceActive {
			t.Errorf("%+v, %v", account, err)
		}
	})
}

func TestWaitEndsWithTheContext(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		e, err := a.Enrol(t.Context(), s.link(), "laptop")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		if _, err := e.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCheckServer(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"https://login.example.com": true, "https://login.example.com/nod": true, "http://127.0.0.1:8080": true, "http://localhost": true,
		"http://[::1]:1": true, "http://login.example.com": false, "ftp://x": false, "https://user@x": false, "https://x?y": false, "https://x#y": false,
		"https://x/": false, "": false, "//x": false, "http://127.0.0.1.example.com": false,
	} {
		if err := checkServer(address); (err == nil) != want {
			t.Errorf("%q: %v", address, err)
		}
	}
}
