package card

import (
	"fmt"
	"slices"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/protocol"
)

const (
	maxTyped    = 128 // the length of the text of a QR code and some
	maxTogether = 8   // keys that come together and were typed; terminals do not always mark what is pasted
)

// key handles one key.
func (m *model) key(k tea.KeyMsg) tea.Cmd {
	if k.Type == tea.KeyCtrlC {
		return tea.Quit
	}
	if k.Paste || len(k.Runes) > maxTogether {
		m.say("Pasting is not taken: type what the login page shows")
		return nil
	}
	e := m.find(m.focus)
	if e == nil {
		return m.idleKey(k)
	}
	if m.now().Before(m.deaf) || e.busy {
		return nil
	}
	if e.back != "" {
		m.drop(e.prompt.Challenge)
		return nil
	}
	var opened tea.Cmd
	if !e.opened {
		e.opened = true
		opened = m.stamp(e.account, e.prompt.Challenge, protocol.StampOpened, m.now())
	}
	switch {
	case m.asking:
		return tea.Batch(opened, m.sureKey(e, k))
	case e.scan:
		return tea.Batch(opened, m.scanKey(e, k))
	default:
		return tea.Batch(opened, m.cardKey(e, k))
	}
}

// idleKey is for when there is no card.
func (m *model) idleKey(k tea.KeyMsg) tea.Cmd {
	switch k.String() {
	case "q", "esc":
		return tea.Quit
	case "v":
		return m.veto()
	case "x":
		m.alerts = m.alerts[min(1, len(m.alerts)):]
	}
	return nil
}

func (m *model) cardKey(e *entry, k tea.KeyMsg) tea.Cmd {
	switch name := k.String(); name {
	case "tab", "down", "right":
		m.move(1)
	case "shift+tab", "up", "left":
		m.move(-1)
	case "d":
		return m.send(e, act{verb: deny})
	case "n":
		m.asking, m.sure = true, report
	case "s":
		if scannable(e.prompt) && !e.prompt.UpdateRequired {
			e.scan, e.input, e.note = true, "", ""
		}
	case "r":
		e.keep = rememberable(e.prompt) && !e.keep
	case " ":
		m.part++
	case "backspace":
		e.input = e.input[:max(0, len(e.input)-1)]
	case "esc":
		e.input, e.note = "", ""
	case "q":
		return tea.Quit
	case "a":
		// Only where there is nothing to type is one key an approval.
		if kind, ok := wants(e.prompt)[0]; ok {
			return m.approve(e, authenticator.Approval{Match: kind})
		}
	case "enter":
		return m.enter(e)
	default:
		// Keys typed quickly come together.
		if digits(name) {
			e.input, e.note = (e.input + name)[:min(len(e.input+name), 6)], ""
		}
	}
	return nil
}

func (m *model) enter(e *entry) tea.Cmd {
	kind, ok := wants(e.prompt)[len(e.input)]
	switch {
	case e.prompt.UpdateRequired, len(e.input) == 0:
		return nil
	case !ok:
		e.note = "That is not as many digits as the page shows."
		return nil
	case kind == protocol.MatchChoice && !slices.Contains(e.prompt.Choices, e.input):
		e.note = "That is none of the numbers."
		return nil
	}
	return m.approve(e, authenticator.Approval{Match: kind, Answer: e.input})
}

func (m *model) scanKey(e *entry, k tea.KeyMsg) tea.Cmd {
	switch k.Type {
	case tea.KeyEsc:
		e.scan, e.input = false, ""
	case tea.KeyBackspace:
		e.input = e.input[:max(0, len(e.input)-1)]
	case tea.KeyEnter:
		approval, err := authenticator.ScanAnswer(e.prompt, e.input)
		if err != nil {
			e.note = err.Error()
			return nil
		}
		return m.approve(e, approval)
	case tea.KeyRunes:
		for _, r := range k.Runes {
			if r > ' ' && r <= '~' && len(e.input) < maxTyped {
				e.input += string(r)
			}
		}
	default:
	}
	return nil
}

// sureKey takes the second key of what has great effect.
func (m *model) sureKey(e *entry, k tea.KeyMsg) tea.Cmd {
	m.asking = false
	if m.sure == report && k.String() == "n" {
		return m.send(e, act{verb: report})
	}
	return nil
}

// rememberable says whether a browser asks that is not known.
func rememberable(p authenticator.Prompt) bool {
	return p.Kind == protocol.KindLogin && p.Context.Browser != "" && !p.Context.KnownBrowser
}

func (m *model) move(by int) {
	i := slices.IndexFunc(m.entries, func(e entry) bool { return e.prompt.Challenge == m.focus })
	n := len(m.entries)
	m.focus, m.part = m.entries[((i+by)%n+n)%n].prompt.Challenge, 0
}

func (m *model) approve(e *entry, a authenticator.Approval) tea.Cmd {
	if e.prompt.UpdateRequired {
		return nil
	}
	a.Shown, a.Remember = e.shown, e.keep
	return m.send(e, act{verb: approve, approval: a})
}

func (m *model) send(e *entry, a act) tea.Cmd {
	e.busy, e.note = true, ""
	a.account, a.prompt = e.account, e.prompt
	return m.act(a)
}

// veto stops the device that the oldest alert tells of.
func (m *model) veto() tea.Cmd {
	if len(m.alerts) == 0 {
		return nil
	}
	first := m.alerts[0]
	if first.notice.Device == nil || first.notice.Kind != protocol.NoticeDeviceAdded && first.notice.Kind != protocol.NoticeDeviceClaimed {
		return nil
	}
	m.alerts = m.alerts[1:]
	m.say(fmt.Sprintf("Stopping %s …", first.notice.Device.Name))
	return m.act(act{account: first.account, verb: veto, newcomer: *first.notice.Device})
}
