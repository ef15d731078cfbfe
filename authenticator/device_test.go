package authenticator

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/protocol"
)

func approved() protocol.DecisionAnswer { return protocol.DecisionAnswer{State: "approved"} }

func onlyPrompt(t *testing.T, d *Device) Prompt {
	t.Helper()
	u, err := d.Poll(t.Context(), 25)
	if err != nil || len(u.Prompts) != 1 {
		t.Fatalf("%+v, %v", u, err)
	}
	return u.Prompts[0]
}

func TestApprove(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		go func() {
			time.Sleep(3 * time.Second)
			s.ask("ch_1", true, approved())
		}()
		p := onlyPrompt(t, d)
		if got := time.Until(p.Deadline); got != 120*time.Second {
			t.Errorf("%s left", got)
		}
		if p.App.Name != "Payroll" || p.Others != 1 || p.TriesLeft != 3 || len(p.MatchNow) != 1 {
			t.Errorf("prompt %+v", p)
		}
		time.Sleep(1500 * time.Millisecond)
		if err := d.Stamp(t.Context(), p.Challenge, protocol.StampShown, p.Received); err != nil {
			t.Error(err)
		}
		r, err := d.Approve(t.Context(), p, Approval{Match: protocol.MatchDigits, Answer: "042137", Remember: true, Locale: "en"})
		if err != nil || r.State != "approved" {
			t.Fatalf("%+v, %v", r, err)
		}
		want := []protocol.Decision{{
			V: 1, Challenge: "ch_1", Decision: protocol.VerdictApprove, PromptSHA256: p.SHA256, Match: protocol.MatchDigits,
			Answer: "042137", Remember: true, ShownMS: 1500, Locale: "en",
		}}
		if diff := cmp.Diff(want, s.decided); diff != "" {
			t.Errorf("decided (-want +got)\n%s", diff)
		}
	})
}

func TestAnswersOfOtherKinds(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		two := 2
		s.ask("ch_1", true, protocol.DecisionAnswer{State: "pending", TriesLeft: &two})
		p := onlyPrompt(t, d)
		r, err := d.Approve(t.Context(), p, Approval{Match: protocol.MatchDigits, Answer: "000000"})
		if err != nil || r.State != "pending" || r.TriesLeft == nil || *r.TriesLeft != 2 {
			t.Errorf("wrong digits: %+v, %v", r, err)
		}
		s.code["ch_1"] = protocol.DecisionAnswer{State: "answered", DigitsBack: "314159"}
		r, err = d.Approve(t.Context(), p, Approval{Match: protocol.MatchDigitsBack})
		if err != nil || r.DigitsBack != "314159" {
			t.Errorf("digits back: %+v, %v", r, err)
		}
		s.code["ch_1"] = protocol.DecisionAnswer{State: "denied"}
		if r, err = d.Deny(t.Context(), p); err != nil || r.State != "denied" {
			t.Errorf("deny: %+v, %v", r, err)
		}
		if r, err = d.Report(t.Context(), p); err != nil || r.State != "denied" {
			t.Errorf("report: %+v, %v", r, err)
		}
		if r, err = d.DenyUnseen(t.Context(), "ch_1"); err != nil || r.State != "denied" {
			t.Errorf("deny unseen: %+v, %v", r, err)
		}
		if last := s.decided[len(s.decided)-1]; last.PromptSHA256 != "" || last.Decision != protocol.VerdictDeny {
			t.Errorf("deny unseen sent %+v", last)
		}
		s.code["ch_1"] = protocol.DecisionAnswer{State: "conflict"}
		_, err = d.ReportUnseen(t.Context(), "ch_1")
		var e *Error
		if !errors.As(err, &e) || e.Code != "conflict" || e.State != "denied" || e.Status != 409 {
			t.Errorf("after another decision: %v", err)
		}
		if strings.ContainsRune(err.Error(), '\x1b') {
			t.Errorf("the server steers the terminal: %q", err.Error())
		}
	})
}

func TestScan(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		s.ask("ch_1", false, approved())
		text := "NOD1:ch_1." + secret
		p, approval, err := d.Scan(t.Context(), text)
		if err != nil || p.Challenge != "ch_1" {
			t.Fatalf("%+v, %v", p, err)
		}
		if r, err := d.Approve(t.Context(), p, approval); err != nil || r.State != "approved" || s.decided[0].Answer != secret {
			t.Errorf("%+v, %v", r, err)
		}
		if got, err := ScanAnswer(p, text); err != nil || got != approval {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := ScanAnswer(p, "NOD1:ch_2."+secret); !errors.Is(err, ErrNoPrompt) {
			t.Errorf("code of another challenge: %v", err)
		}
		for _, text := range []string{"https://login.example.com/p#ch_1." + secret, "nod://NOD1:ch_1." + secret, secret, "ch_1." + secret} {
			if _, _, err := d.Scan(t.Context(), text); !errors.Is(err, protocol.ErrMalformed) {
				t.Errorf("%s: %v", text, err)
			}
			if _, err := ScanAnswer(p, text); !errors.Is(err, protocol.ErrMalformed) {
				t.Errorf("%s: %v", text, err)
			}
		}
		if _, _, err := d.Scan(t.Context(), "NOD1:ch_9."+secret); !errors.Is(err, ErrNoPrompt) {
			t.Errorf("unknown challenge: %v", err)
		}
	})
}

func TestApproveSendsNothingThatThePromptForbids(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		s.ask("ch_1", true, approved())
		p := onlyPrompt(t, d)
		for _, approval := range []Approval{
			{Match: protocol.MatchTap},
			{Match: protocol.MatchNumber, Answer: "07"},
			{},
			{Match: protocol.MatchDigits, Answer: "42"},
			{Match: protocol.MatchDigits},
			{Match: protocol.MatchScan, Answer: "https://x"},
			{Match: protocol.MatchDigitsBack, Answer: "042137"},
		} {
			if r, err := d.Approve(t.Context(), p, approval); err == nil {
				t.Errorf("%+v: %+v", approval, r)
			}
		}
		if n := s.count(protocol.PathDecisions); n != 0 {
			t.Errorf("%d decisions were sent", n)
		}
	})
}

// TestDecisionIsRepeatedAsTheSame: whatever happens to the reply, there is one decision, and the
// person learns its outcome, digits to type back included.
func TestDecisionIsRepeatedAsTheSame(t *testing.T) {
	for name, f := range map[string]fault{"request": lostRequest, "reply": lostReply, "half": cutReply, "json": halfJSON, "busy": busy, "500": serverFailed} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *server, a *Authenticator) {
				d := active(t, s, a)
				s.ask("ch_1", true, protocol.DecisionAnswer{State: "answered", DigitsBack: "314159"})
				p := onlyPrompt(t, d)
				s.fail(protocol.PathDecisions, f, f, f)
				r, err := d.Approve(t.Context(), p, Approval{Match: protocol.MatchDigitsBack})
				if err != nil || r.DigitsBack != "314159" {
					t.Errorf("%+v, %v", r, err)
				}
				if len(s.decided) != 1 || s.count(protocol.PathDecisions) != 4 {
					t.Errorf("%d decisions in %d requests", len(s.decided), s.count(protocol.PathDecisions))
				}
			})
		})
	}
}

func TestDecisionWithoutAnyReply(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		s.ask("ch_1", true, approved())
		p := onlyPrompt(t, d)
		s.fail(protocol.PathDecisions, lostReply, lostReply, lostReply, lostReply)
		if _, err := d.Deny(t.Context(), p); !errors.Is(err, ErrNoReply) {
			t.Errorf("got %v, want ErrNoReply", err)
		}
	})
}

func TestStaleNonceIsReplacedOnce(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		before := s.count(protocol.PathPrompts)
		s.fail(protocol.PathPrompts, staleNonce)
		if _, err := d.Poll(t.Context(), 0); err != nil {
			t.Error(err)
		}
		if n := s.count(protocol.PathPrompts) - before; n != 2 {
			t.Errorf("%d requests", n)
		}
		s.fail(protocol.PathPrompts, staleNonce, staleNonce)
		_, err := d.Poll(t.Context(), 0)
		var e *Error
		if !errors.As(err, &e) || e.Reason != "stale_nonce" {
			t.Errorf("stale twice: %v", err)
		}
		s.fail(protocol.PathNames, staleNonce)
		if err := d.Rename(t.Context(), "desk"); err != nil {
			t.Error(err)
		}
	})
}

func TestForeignPromptsAreDropped(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		foreignUser, foreignRealm := s.promptPayload("ch_user"), s.promptPayload("ch_realm")
		foreignUser.User.ID = "usr_2"
		foreignRealm.Realm = "other"
		s.offer("ch_key", s.sign(newKey(t), s.promptPayload("ch_key")), true, approved())
		s.offer("ch_user", s.sign(s.promptKey(), foreignUser), true, approved())
		s.offer("ch_realm", s.sign(s.promptKey(), foreignRealm), true, approved())
		s.offer("ch_junk", "x.y.z", true, approved())
		good := s.sign(s.promptKey(), s.promptPayload("ch_good"))
		s.offer("ch_changed", good[:len(good)-8]+"AAAAAAAA", true, approved())
		s.offer("ch_good", good, true, approved())
		u, err := d.Poll(t.Context(), 0)
		if err != nil || len(u.Prompts) != 1 || u.Prompts[0].Challenge != "ch_good" || len(u.Dropped) != 5 {
			t.Fatalf("%+v, %v", u, err)
		}
		for _, err := range u.Dropped {
			if !errors.Is(err, ErrNotTrusted) {
				t.Errorf("dropped for %v", err)
			}
		}
		if _, err := d.Find(t.Context(), "ch_key"); !errors.Is(err, ErrNoPrompt) || !errors.Is(err, ErrNotTrusted) {
			t.Errorf("found %v", err)
		}
	})
}

func TestRealmKeysAreFollowedBeforePrompts(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		s.rotateRealm()
		s.rotateRealm()
		s.ask("ch_1", true, approved())
		if p := onlyPrompt(t, d); p.Challenge != "ch_1" {
			t.Errorf("prompt %+v", p)
		}
		if account, err := d.Account(); err != nil || account.KeysSerial != 3 {
			t.Errorf("%+v, %v", account, err)
		}
		old := s.sign(s.keys[0], s.promptPayload("ch_2"))
		s.offer("ch_2", old, true, approved())
		u, err := d.Poll(t.Context(), 0)
		if err != nil || len(u.Prompts) != 1 || len(u.Dropped) != 1 {
			t.Errorf("a prompt by a key rotated away: %+v, %v", u, err)
		}
	})
}

// TestStolenKeyCannotRotate: a set signed by the current key only is not followed, and nothing
// that comes with it is shown.
func TestStolenKeyCannotRotate(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		thief := newKey(t)
		s.mu.Lock()
		s.sets = append(s.sets, s.sign(s.keys[0], &protocol.Keys{V: 1, Issuer: origin, Realm: "default", Serial: 2, Current: jwk(&s.keys[0].PublicKey), Next: jwk(&thief.PublicKey)}))
		s.mu.Unlock()
		s.offer("ch_1", s.sign(s.keys[0], s.promptPayload("ch_1")), true, approved())
		if u, err := d.Poll(t.Context(), 0); !errors.Is(err, ErrNotTrusted) || len(u.Prompts) != 0 {
			t.Errorf("%+v, %v", u, err)
		}
		if account, err := d.Account(); err != nil || account.KeysSerial != 1 {
			t.Errorf("%+v, %v", account, err)
		}
	})
}

func TestNewerPromptCannotBeApproved(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		s.offer("ch_1", s.newer("ch_1"), true, approved())
		p := onlyPrompt(t, d)
		if !p.UpdateRequired || p.Challenge != "ch_1" {
			t.Fatalf("%+v", p)
		}
		if _, err := d.Approve(t.Context(), p, Approval{Match: protocol.MatchTap}); !errors.Is(err, ErrUpdate) {
			t.Errorf("approved: %v", err)
		}
		if r, err := d.Deny(t.Context(), p); err != nil {
			t.Errorf("deny: %+v, %v", r, err)
		}
	})
}

func TestNoticesAreGivenOutOnce(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		device := protocol.NoticeDevice{ID: "dev_2", Name: "New phone", Enrolment: "enr_2"}
		s.notices = []string{
			s.sign(s.promptKey(), &protocol.Notice{V: 1, Issuer: origin, Realm: "default", ID: "evt_1", Kind: protocol.NoticeDeviceAdded, At: 1, Device: &device, By: protocol.ByUser}),
			s.sign(newKey(t), &protocol.Notice{V: 1, Issuer: origin, Realm: "default", ID: "evt_2", Kind: protocol.NoticeBypassIssued, At: 1, By: protocol.ByUser}),
		}
		u, err := d.Poll(t.Context(), 0)
		if err != nil || len(u.Notices) != 1 || len(u.Dropped) != 1 {
			t.Fatalf("%+v, %v", u, err)
		}
		if err := d.Veto(t.Context(), *u.Notices[0].Device); err != nil {
			t.Error(err)
		}
		if _, on := s.one(); !cmp.Equal(on.vetoed, []string{"dev_2 enr_2"}) {
			t.Errorf("vetoed %v", on.vetoed)
		}
		if u, err = d.Poll(t.Context(), 0); err != nil || len(u.Notices) != 0 {
			t.Errorf("again: %+v, %v", u, err)
		}
		if got := s.polls[len(s.polls)-1].Have; !cmp.Equal(got, []string{"evt_1"}) {
			t.Errorf("have %v", got)
		}
		if err := d.MarkSeen(t.Context(), protocol.Notice{ID: "evt_1"}); err != nil {
			t.Fatal(err)
		}
		later, err := New(Config{Store: a.store, Client: s.client})
		if err != nil {
			t.Fatal(err)
		}
		d, err = later.Device(d.ID())
		if err != nil {
			t.Fatal(err)
		}
		if u, err = d.Poll(t.Context(), 0); err != nil || len(u.Notices) != 0 {
			t.Errorf("after a restart: %+v, %v", u, err)
		}
	})
}

func TestWatch(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		s.fail(protocol.PathPrompts, lostRequest, busy, cutReply)
		updates := make(chan Update)
		done := make(chan error, 1)
		ctx := context.WithoutCancel(t.Context())
		go func() {
			done <- d.Watch(ctx, func(u Update) error {
				updates <- u
				return nil
			})
		}()
		if u := <-updates; u.State != protocol.DeviceActive {
			t.Errorf("first %+v", u)
		}
		synctest.Wait()
		s.ask("ch_1", true, approved())
		if u := <-updates; len(u.Prompts) != 1 {
			t.Errorf("second %+v", u)
		}
		polls := s.count(protocol.PathPrompts)
		started := time.Now()
		<-updates // nothing new: a whole wait later
		if waited := time.Since(started); waited < 25*time.Second || s.count(protocol.PathPrompts) > polls+2 {
			t.Errorf("polled %d times in %s", s.count(protocol.PathPrompts)-polls, waited)
		}
		s.revoke()
		if err := <-done; !errors.Is(err, ErrRevoked) {
			t.Errorf("got %v, want ErrRevoked", err)
		}
	})
}

func TestWatchStopsForItsCaller(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, a *Authenticator) {
		d := active(t, s, a)
		stop := errors.New("enough")
		if err := d.Watch(t.Context(), func(Update) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		if err := d.Watch(ctx, func(Update) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
