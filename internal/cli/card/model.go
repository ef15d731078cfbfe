package card

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/protocol"
)

// verb is what a person does with a card.
type verb int

const (
	approve verb = iota
	deny
	report
	veto
)

// act is an answer to be sent.
type act struct {
	account  int
	verb     verb
	prompt   authenticator.Prompt
	approval authenticator.Approval
	newcomer protocol.NoticeDevice // of a veto
}

// Messages of the model.
type (
	updated struct {
		account int
		update  authenticator.Update
	}
	ended struct {
		account int
		err     error
	}
	answered struct {
		act    act
		result authenticator.Result
		err    error
	}
	tick time.Time
)

// entry is one card.
type entry struct {
	account int
	prompt  authenticator.Prompt
	shown   time.Time
	opened  bool   // the person began to answer it
	input   string // typed so far
	keep    bool   // remember the browser
	scan    bool   // the text of a QR code is being typed
	note    string // what came of the last try
	back    string // digits to be typed into the login page
	busy    bool   // an answer is on its way
}

// alert is a notice that the person has not put away.
type alert struct {
	account int
	notice  protocol.Notice
}

type model struct {
	accounts []string // labels
	now      func() time.Time
	act      func(act) tea.Cmd
	stamp    func(account int, challenge string, kind protocol.StampKind, at time.Time) tea.Cmd
	look     look

	entries []entry
	focus   string    // challenge of the card that has the keys
	deaf    time.Time // until then keys are dropped, since the focus moved by itself
	sure    verb      // that the next key confirms
	asking  bool      // whether sure is being asked
	alerts  []alert
	log     []string
	lost    map[int]error
	width   int
	height  int
	part    int // of what does not fit, turned to by the person
}

const (
	logLines = 5
	deafness = time.Second
)

func (m *model) Init() tea.Cmd { return wake() }

func wake() tea.Cmd {
	return tea.Tick(time.Second, func(t time.Time) tea.Msg { return tick(t) })
}

// Update handles one message.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height, m.part = msg.Width, msg.Height, 0
	case tick:
		m.expire()
		return m, wake()
	case updated:
		return m, m.update(msg)
	case ended:
		m.lost[msg.account] = msg.err
		m.remove(func(e entry) bool { return e.account == msg.account })
		if len(m.lost) == len(m.accounts) {
			return m, tea.Quit
		}
	case answered:
		m.answered(msg)
	case tea.KeyMsg:
		return m, m.key(msg)
	}
	return m, nil
}

// update takes over what one account's server says now.
func (m *model) update(msg updated) tea.Cmd {
	var cmds []tea.Cmd
	listed := make(map[string]bool)
	for _, p := range msg.update.Prompts {
		if p.Challenge == "" {
			m.say("Something asks that this version cannot show: update the authenticator")
			continue
		}
		listed[p.Challenge] = true
		if e := m.find(p.Challenge); e != nil {
			// The bytes that were shown stay; what stands beside them may change.
			e.prompt.Others, e.prompt.MatchNow, e.prompt.TriesLeft = p.Others, p.MatchNow, p.TriesLeft
			continue
		}
		now := m.now()
		m.entries = append(m.entries, entry{account: msg.account, prompt: p, shown: now})
		cmds = append(cmds, m.stamp(msg.account, p.Challenge, protocol.StampReceived, p.Received), m.stamp(msg.account, p.Challenge, protocol.StampShown, now))
	}
	slices.SortStableFunc(m.entries, func(a, b entry) int {
		known := func(e entry) int {
			if e.prompt.Context.KnownBrowser {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(known(a), known(b)), cmp.Compare(a.prompt.At, b.prompt.At))
	})
	m.remove(func(e entry) bool {
		return e.account == msg.account && !listed[e.prompt.Challenge] && !e.busy && e.back == ""
	})
	for _, n := range msg.update.Notices {
		m.alerts = append(m.alerts, alert{msg.account, n})
	}
	for _, err := range msg.update.Dropped {
		m.say("Left out: " + err.Error())
	}
	if m.focus == "" && len(m.entries) > 0 {
		m.refocus()
	}
	return tea.Batch(cmds...)
}

func (m *model) find(challenge string) *entry {
	for i := range m.entries {
		if m.entries[i].prompt.Challenge == challenge {
			return &m.entries[i]
		}
	}
	return nil
}

// remove drops cards. If the one with the keys is among them, what the person was about to type
// must not reach the next.
func (m *model) remove(gone func(entry) bool) {
	m.entries = slices.DeleteFunc(m.entries, gone)
	if m.focus != "" && m.find(m.focus) == nil {
		m.refocus()
	}
}

func (m *model) refocus() {
	m.focus, m.asking, m.part, m.deaf = "", false, 0, m.now().Add(deafness)
	if len(m.entries) > 0 {
		m.focus = m.entries[0].prompt.Challenge
	}
}

func (m *model) expire() {
	now := m.now()
	m.remove(func(e entry) bool {
		over := !e.prompt.Deadline.IsZero() && !now.Before(e.prompt.Deadline) && !e.busy
		if over && e.back == "" {
			m.say("Expired: " + m.title(e))
		}
		return over
	})
}

func (m *model) answered(msg answered) {
	if msg.act.verb == veto {
		if msg.err != nil {
			m.say("The veto did not arrive: " + msg.err.Error())
		} else {
			m.say("Stopped: " + msg.act.newcomer.Name)
		}
		return
	}
	e := m.find(msg.act.prompt.Challenge)
	if e == nil {
		return
	}
	e.busy, e.input, e.scan = false, "", false
	switch {
	case msg.err != nil:
		e.note = explain(msg.err)
		if refused, ok := errors.AsType[*authenticator.Error](msg.err); ok && refused.State != "" {
			m.say(e.note + ": " + m.title(*e))
			m.drop(e.prompt.Challenge)
		}
	case msg.act.verb == approve && msg.result.DigitsBack != "":
		e.back = msg.result.DigitsBack
	case msg.act.verb == approve && msg.result.State == "pending":
		e.note = "Wrong."
		if msg.result.TriesLeft != nil {
			e.prompt.TriesLeft = *msg.result.TriesLeft
			e.note = fmt.Sprintf("Wrong, %d left.", *msg.result.TriesLeft)
		}
	default:
		m.say(done(msg) + ": " + m.title(*e))
		m.drop(e.prompt.Challenge)
	}
}

func done(msg answered) string {
	switch {
	case msg.act.verb == deny:
		return "Denied"
	case msg.act.verb == report:
		return "Reported as not you"
	case msg.result.State == "approved":
		return "Approved"
	default:
		return "Not approved, it is " + msg.result.State
	}
}

func explain(err error) string {
	if refused, ok := errors.AsType[*authenticator.Error](err); ok {
		switch {
		case refused.State == "expired":
			return "Too late"
		case refused.State != "":
			return "Decided already, it is " + refused.State
		}
	}
	return err.Error()
}

func (m *model) drop(challenge string) {
	m.remove(func(e entry) bool { return e.prompt.Challenge == challenge })
}

func (m *model) say(line string) {
	m.log = append(m.log, m.now().Format("15:04:05 ")+line)
	m.log = m.log[max(0, len(m.log)-logLines):]
}

func (m *model) title(e entry) string {
	name := e.prompt.App.Name
	if name == "" {
		name = e.prompt.Challenge
	}
	if len(m.accounts) > 1 {
		name += " for " + m.accounts[e.account]
	}
	return name
}

// wants says what the card takes typed now: kinds of match and how many digits.
func wants(p authenticator.Prompt) map[int]protocol.Match {
	counts := func(kind protocol.Match) bool {
		return slices.Contains(p.Match, kind) && slices.Contains(p.MatchNow, kind)
	}
	out := make(map[int]protocol.Match)
	if counts(protocol.MatchDigits) {
		out[6] = protocol.MatchDigits
	}
	switch {
	case counts(protocol.MatchNumber):
		out[2] = protocol.MatchNumber
	case counts(protocol.MatchChoice):
		out[2] = protocol.MatchChoice
	}
	switch {
	case counts(protocol.MatchDigitsBack):
		out[0] = protocol.MatchDigitsBack
	case counts(protocol.MatchTap):
		out[0] = protocol.MatchTap
	}
	return out
}

func scannable(p authenticator.Prompt) bool {
	return slices.Contains(p.Match, protocol.MatchScan) && slices.Contains(p.MatchNow, protocol.MatchScan)
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
