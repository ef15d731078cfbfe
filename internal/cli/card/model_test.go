package card

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/protocol"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// screen is a model with what it sent.
type screen struct {
	*model
	clock  time.Time
	sent   []act
	stamps []string
}

func newScreen(accounts ...string) *screen {
	s := &screen{clock: began}
	s.model = &model{accounts: accounts, look: newLook(lipgloss.NewRenderer(io.Discard)), lost: make(map[int]error)}
	s.now = func() time.Time { return s.clock }
	s.act = func(a act) tea.Cmd {
		s.sent = append(s.sent, a)
		return nil
	}
	s.stamp = func(_ int, challenge string, kind protocol.StampKind, _ time.Time) tea.Cmd {
		s.stamps = append(s.stamps, challenge+" "+string(kind))
		return nil
	}
	return s
}

func (s *screen) list(account int, prompts ...authenticator.Prompt) {
	s.Update(updated{account, authenticator.Update{Prompts: prompts}})
}

// press types each character, or the one named key.
func (s *screen) press(keys ...string) {
	named := map[string]tea.KeyType{"enter": tea.KeyEnter, "tab": tea.KeyTab, "esc": tea.KeyEsc, "backspace": tea.KeyBackspace}
	for _, k := range keys {
		if kind, ok := named[k]; ok {
			s.Update(tea.KeyMsg{Type: kind})
			continue
		}
		for _, r := range k {
			s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}})
		}
	}
}

func (s *screen) settle() { s.clock = s.clock.Add(deafness) }

func prompt(id string, match ...protocol.Match) authenticator.Prompt {
	return authenticator.Prompt{
		Prompt: protocol.Prompt{
			V: 1, Challenge: id, User: protocol.User{ID: "usr_a", Name: "jo"}, App: protocol.App{ID: "app_a", Name: "Payroll"},
			Kind: protocol.KindLogin, Match: match, At: began.UnixMilli(), DecideBy: began.Add(2 * time.Minute).UnixMilli(),
			Context: protocol.Context{IP: "203.0.113.7", Place: "Lisbon, Portugal", PlaceConfidence: protocol.ConfidenceLow, Browser: "Firefox on Linux", ReportedBy: protocol.ReportedByApp},
		},
		SHA256: "digest-" + id, MatchNow: match, TriesLeft: 3, Received: began, Deadline: began.Add(2 * time.Minute),
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	scan := "NOD1:ch_a.Dw4NDAsKCQgHBgUEAwIBAA"
	choice := prompt("ch_a", protocol.MatchScan, protocol.MatchDigits, protocol.MatchChoice)
	choice.Choices = []string{"12", "34", "56"}
	for _, tc := range []struct {
		name   string
		prompt authenticator.Prompt
		keys   []string
		want   *act
	}{
		{"six digits", prompt("ch_a", protocol.MatchScan, protocol.MatchDigits), []string{"042137", "enter"}, &act{verb: approve, approval: authenticator.Approval{Match: protocol.MatchDigits, Answer: "042137"}}},
		{"corrected", prompt("ch_a", protocol.MatchDigits), []string{"04213", "8", "backspace", "7", "enter"}, &act{verb: approve, approval: authenticator.Approval{Match: protocol.MatchDigits, Answer: "042137"}}},
		{"a seventh is not taken", prompt("ch_a", protocol.MatchDigits), []string{"0421379", "enter"}, &act{verb: approve, approval: authenticator.Approval{Match: protocol.MatchDigits, Answer: "042137"}}},
		{"five digits", prompt("ch_a", protocol.MatchDigits), []string{"04213", "enter"}, nil},
		{"enter alone", prompt("ch_a", protocol.MatchDigits), []string{"enter"}, nil},
		{"a where digits are asked for", prompt("ch_a", protocol.MatchDigits), []string{"a"}, nil},
		{"number", prompt("ch_a", protocol.MatchScan, protocol.MatchDigits, protocol.MatchNumber), []string{"42", "enter"}, &act{verb: approve, approval: authenticator.Approval{Match: protocol.MatchNumber, Answer: "42"}}},
		{"choice", choice, []string{"34", "enter"}, &act{verb: approve, approval: authenticator.Approval{Match: protocol.MatchChoice, Answer: "34"}}},
		{"none of the choices", choice, []string{"35", "enter"}, nil},
		{"tap", prompt("ch_a", protocol.MatchScan, protocol.MatchDigits, protocol.MatchTap), []string{"a"}, &act{verb: approve, approval: authenticator.Approval{Match: protocol.MatchTap}}},
		{"digits back", prompt("ch_a", protocol.MatchDigitsBack), []string{"a"}, &act{verb: approve, approval: authenticator.Approval{Match: protocol.MatchDigitsBack}}},
		{"typed code", prompt("ch_a", protocol.MatchScan), []string{"s", scan, "enter"}, &act{verb: approve, approval: authenticator.Approval{Match: protocol.MatchScan, Answer: "Dw4NDAsKCQgHBgUEAwIBAA"}}},
		{"a link in its place", prompt("ch_a", protocol.MatchScan), []string{"s", "https://nod.test/p#ch_a.Dw4NDAsKCQgHBgUEAwIBAA", "enter"}, nil},
		{"another page's code", prompt("ch_b", protocol.MatchScan), []string{"s", scan, "enter"}, nil},
		{"remembered", prompt("ch_a", protocol.MatchDigits), []string{"r", "042137", "enter"}, &act{verb: approve, approval: authenticator.Approval{Match: protocol.MatchDigits, Answer: "042137", Remember: true}}},
		{"not remembered", prompt("ch_a", protocol.MatchDigits), []string{"r", "042137", "r", "enter"}, &act{verb: approve, approval: authenticator.Approval{Match: protocol.MatchDigits, Answer: "042137"}}},
		{"deny", prompt("ch_a", protocol.MatchDigits), []string{"12", "d"}, &act{verb: deny}},
		{"not me", prompt("ch_a", protocol.MatchDigits), []string{"n", "n"}, &act{verb: report}},
		{"not me, taken back", prompt("ch_a", protocol.MatchDigits), []string{"n", "d"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newScreen("jo")
			s.list(0, tc.prompt)
			s.settle()
			s.press(tc.keys...)
			var want []act
			if tc.want != nil {
				a := *tc.want
				a.prompt = tc.prompt
				if a.verb == approve {
					a.approval.Shown = began
				}
				want = []act{a}
			}
			if d := cmp.Diff(want, s.sent, cmp.AllowUnexported(act{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPasteIsNotTaken(t *testing.T) {
	t.Parallel()
	s := newScreen("jo")
	s.list(0, prompt("ch_a", protocol.MatchDigits, protocol.MatchScan))
	s.settle()
	s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("042137"), Paste: true})
	s.press("enter", "s")
	s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("NOD1:ch_a.Dw4NDAsKCQgHBgUEAwIBAA"), Paste: true})
	s.press("enter")
	s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("NOD1:ch_a.Dw4NDAsKCQgHBgUEAwIBAA")})
	s.press("enter")
	if len(s.sent) != 0 {
		t.Errorf("pasted text approved: %+v", s.sent)
	}
}

func TestKeysTypedQuicklyComeTogether(t *testing.T) {
	t.Parallel()
	s := newScreen("jo")
	s.list(0, prompt("ch_a", protocol.MatchDigits))
	s.settle()
	s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("0421")})
	s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("d1")})
	s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("379")})
	s.press("enter")
	if len(s.sent) != 1 || s.sent[0].approval.Answer != "042137" {
		t.Errorf("got %+v, want 042137 approved", s.sent)
	}
}

func TestWeakKindsStopCountingWhileTwoAreAsked(t *testing.T) {
	t.Parallel()
	s := newScreen("jo")
	p := prompt("ch_a", protocol.MatchScan, protocol.MatchDigits, protocol.MatchTap)
	s.list(0, p)
	s.settle()
	p.MatchNow, p.Others = []protocol.Match{protocol.MatchScan, protocol.MatchDigits}, 1
	s.list(0, p)
	s.press("a")
	if len(s.sent) != 0 {
		t.Errorf("a tap was sent: %+v", s.sent)
	}
	if view := s.View(); !strings.Contains(view, "signs in elsewhere") || !strings.Contains(view, "six digits") {
		t.Errorf("the card does not say so:\n%s", view)
	}
}

func TestKeysNeverReachACardThatCameUpMeanwhile(t *testing.T) {
	t.Parallel()
	s := newScreen("jo")
	first, second := prompt("ch_a", protocol.MatchDigits), prompt("ch_b", protocol.MatchDigits)
	second.Context.KnownBrowser = true
	s.list(0, first)
	s.settle()
	s.press("12")
	s.list(0, first, second) // the known one goes before, the keys stay
	s.press("3456", "enter")
	if len(s.sent) != 1 || s.sent[0].prompt.Challenge != "ch_a" || s.sent[0].approval.Answer != "123456" {
		t.Fatalf("got %+v, want 123456 for ch_a", s.sent)
	}
	if view := s.View(); strings.Index(view, "one that you know") > strings.Index(view, "Sending") {
		t.Errorf("the card of the known browser is not first:\n%s", view)
	}
	s.Update(answered{act: s.sent[0], result: authenticator.Result{State: "approved"}})
	s.press("d")
	if len(s.sent) != 1 {
		t.Error("a key at the moment when the card changed was taken for the other")
	}
	s.settle()
	s.press("d")
	if len(s.sent) != 2 || s.sent[1].prompt.Challenge != "ch_b" {
		t.Errorf("got %+v, want ch_b denied", s.sent)
	}
}

func TestWhatComesBack(t *testing.T) {
	t.Parallel()
	left := 2
	gone := &authenticator.Error{Status: 410, Code: "gone", State: "expired"}
	for _, tc := range []struct {
		name   string
		result authenticator.Result
		err    error
		stays  bool
		shows  string
	}{
		{"approved", authenticator.Result{State: "approved"}, nil, false, "Approved: Payroll"},
		{"wrong", authenticator.Result{State: "pending", TriesLeft: &left}, nil, true, "Wrong, 2 left."},
		{"failed", authenticator.Result{State: "failed"}, nil, false, "Not approved, it is failed"},
		{"digits back", authenticator.Result{State: "answered", DigitsBack: "123456"}, nil, true, "123 456"},
		{"too late", authenticator.Result{}, gone, false, "Too late: Payroll"},
		{"no reply", authenticator.Result{}, authenticator.ErrNoReply, true, "no reply from the server"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newScreen("jo")
			s.list(0, prompt("ch_a", protocol.MatchDigits))
			s.settle()
			s.press("042137", "enter", "9")
			s.Update(answered{act: s.sent[0], result: tc.result, err: tc.err})
			if stays := len(s.entries) == 1; stays != tc.stays {
				t.Errorf("the card stays: got %v, want %v", stays, tc.stays)
			}
			if view := s.View(); !strings.Contains(view, tc.shows) {
				t.Errorf("%q is not shown:\n%s", tc.shows, view)
			}
		})
	}
}

func TestCardsGo(t *testing.T) {
	t.Parallel()
	s := newScreen("jo", "max")
	s.list(0, prompt("ch_a", protocol.MatchDigits))
	s.list(1, prompt("ch_b", protocol.MatchDigits))
	if len(s.entries) != 2 {
		t.Fatalf("got %d cards, want 2", len(s.entries))
	}
	s.list(0)
	if len(s.entries) != 1 || s.focus != "ch_b" {
		t.Errorf("after it was answered elsewhere: got %d cards, keys on %q", len(s.entries), s.focus)
	}
	s.clock = began.Add(2 * time.Minute)
	s.Update(tick(s.clock))
	if len(s.entries) != 0 || !strings.Contains(s.View(), "Expired: Payroll for max") {
		t.Errorf("an expired card stays:\n%s", s.View())
	}
}

func TestLostAccounts(t *testing.T) {
	t.Parallel()
	s := newScreen("jo", "max")
	s.list(0, prompt("ch_a", protocol.MatchDigits))
	if _, cmd := s.Update(ended{0, authenticator.ErrRevoked}); cmd != nil || len(s.entries) != 0 {
		t.Error("one lost account ends the other, or leaves its card")
	}
	_, cmd := s.Update(ended{1, errors.New("gone")})
	if cmd == nil || cmd() != tea.Quit() {
		t.Error("without accounts it goes on")
	}
}

func TestTooNewAPromptIsNotApproved(t *testing.T) {
	t.Parallel()
	s := newScreen("jo")
	s.list(0, authenticator.Prompt{Prompt: protocol.Prompt{Challenge: "ch_a"}, UpdateRequired: true, MatchNow: []protocol.Match{protocol.MatchDigits, protocol.MatchTap}}, authenticator.Prompt{UpdateRequired: true})
	s.settle()
	s.press("a", "042137", "enter", "s", "enter")
	if len(s.sent) != 0 {
		t.Errorf("approved: %+v", s.sent)
	}
	s.press("esc", "d")
	if len(s.sent) != 1 || s.sent[0].verb != deny {
		t.Errorf("got %+v, want a deny", s.sent)
	}
}

func TestVeto(t *testing.T) {
	t.Parallel()
	s := newScreen("jo")
	newcomer := protocol.NoticeDevice{ID: "dev_b", Name: "A stranger's phone", Enrolment: "enr_b"}
	s.Update(updated{0, authenticator.Update{Notices: []protocol.Notice{
		{Kind: protocol.NoticeBypassIssued, By: protocol.ByHelpDesk, At: began.UnixMilli()},
		{Kind: protocol.NoticeDeviceAdded, By: protocol.ByUser, At: began.UnixMilli(), Device: &newcomer},
	}}})
	s.press("v")
	if len(s.sent) != 0 {
		t.Error("a veto of what is no device")
	}
	s.press("x", "v")
	want := []act{{verb: veto, newcomer: newcomer}}
	if d := cmp.Diff(want, s.sent, cmp.AllowUnexported(act{})); d != "" {
		t.Error(d)
	}
}

func TestWhatDoesNotFitIsTurnedTo(t *testing.T) {
	t.Parallel()
	s := newScreen("jo")
	s.Update(tea.WindowSizeMsg{Width: 40, Height: 10})
	pay := prompt("ch_b", protocol.MatchScan, protocol.MatchDigits)
	pay.Kind, pay.Reason = protocol.KindTransaction, strings.Repeat("for this and for that ", 9)
	s.list(0, prompt("ch_a", protocol.MatchDigits), pay)
	s.settle()
	shows := func(key string, want ...string) {
		t.Helper()
		if key != "" {
			s.press(key)
		}
		got := s.View()
		if n := strings.Count(got, "\n") + 1; n > 10 {
			t.Errorf("%d lines after %q", n, key)
		}
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("no %q after %q:\n%s", w, key, got)
			}
		}
	}
	shows("", "SIGN-IN", "space shows more")
	shows("tab", "TRANSACTION", "1 of 3")
	shows(" ", "2 of 3")
	shows("0", "0_", "d denies")
	shows("esc", "2 of 3")
	shows("n", "n again reports it")
	shows("esc", "2 of 3")
	shows(" ", "3 of 3", "d denies")
	shows(" ", "TRANSACTION")
	s.Update(tea.WindowSizeMsg{Width: 40, Height: 60})
	if got := s.View(); strings.Contains(got, "space shows more") {
		t.Errorf("all fits, and more is offered:\n%s", got)
	}
}

func TestLinesWrap(t *testing.T) {
	t.Parallel()
	s := newScreen("jo at https://auth.example.org")
	s.Update(tea.WindowSizeMsg{Width: 40, Height: 24})
	s.Update(updated{0, authenticator.Update{Notices: []protocol.Notice{{Kind: protocol.NoticeLockLifted, By: protocol.ByHelpDesk, At: began.UnixMilli()}}}})
	got := s.View()
	for _, line := range strings.Split(got, "\n") {
		if lipgloss.Width(line) > 40 {
			t.Errorf("%q does not fit into 40 columns", line)
		}
	}
	for _, want := range []string{"help desk", "NOD1:…"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q:\n%s", want, got)
		}
	}
}

func TestCardsLook(t *testing.T) {
	t.Parallel()
	s := newScreen("jo")
	pay := prompt("ch_b", protocol.MatchScan, protocol.MatchDigits)
	pay.Kind, pay.Reason, pay.Details = protocol.KindTransaction, "Transfer", []protocol.Detail{{Label: "Amount", Value: "12 EUR"}, {Label: "To", Value: "PT50"}}
	pay.At++
	s.list(0, prompt("ch_a", protocol.MatchScan, protocol.MatchDigits), pay)
	want := strings.TrimPrefix(`
╭──────────────────────────────────────────────────────────────────────╮
│ SIGN-IN   2:00                                                       │
│ Payroll asks whether you, jo, are signing in.                        │
│ Place     perhaps Lisbon, Portugal                                   │
│ Address   203.0.113.7 (reported by Payroll)                          │
│ Browser   Firefox on Linux (reported by Payroll)                     │
│                                                                      │
│ Type the six digits that the page shows:  _                          │
│ enter approves · s types the QR code · r remembers the browser       │
│ d denies · n it is not me · tab next · q quits                       │
╰──────────────────────────────────────────────────────────────────────╯
╔══════════════════════════════════════════════════════════════════════╗
║ TRANSACTION   2:00                                                   ║
║ Payroll asks you, jo, to approve what it describes.                  ║
║ Reason    Transfer                                                   ║
║ Amount    12 EUR                                                     ║
║ To        PT50                                                       ║
║ Place     perhaps Lisbon, Portugal                                   ║
║ Address   203.0.113.7 (reported by Payroll)                          ║
║ Browser   Firefox on Linux (reported by Payroll)                     ║
║ tab chooses this one                                                 ║
╚══════════════════════════════════════════════════════════════════════╝
`, "\n")
	if d := cmp.Diff(want, s.View()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"ch_a received", "ch_a shown", "ch_b received", "ch_b shown"}, s.stamps); d != "" {
		t.Error(d)
	}
	s.settle()
	s.press("1", "2")
	if got := s.stamps[4:]; len(got) != 1 || got[0] != "ch_a opened" {
		t.Errorf("got stamps %v, want ch_a opened once", got)
	}
}
