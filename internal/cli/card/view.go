package card

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/protocol"
)

const (
	widest  = 72 // columns
	noWidth = 80 // until the terminal says
)

// look is how things are drawn on this terminal.
type look struct {
	bold, faint, warn, good lipgloss.Style
	signIn, transaction     lipgloss.Style
	focused                 lipgloss.Color
}

func newLook(r *lipgloss.Renderer) look {
	box := r.NewStyle().Padding(0, 1)
	return look{
		bold: r.NewStyle().Bold(true), faint: r.NewStyle().Faint(true), warn: r.NewStyle().Bold(true).Foreground(lipgloss.Color("3")),
		good: r.NewStyle().Bold(true).Foreground(lipgloss.Color("2")), focused: lipgloss.Color("6"),
		signIn: box.Border(lipgloss.RoundedBorder()), transaction: box.Border(lipgloss.DoubleBorder()),
	}
}

// View draws the screen, or of what does not fit the part that the person turned to: first the
// beginning of the chosen card, which says who asks, and where its end is answered the end.
func (m *model) View() string {
	text, begin, end := m.draw()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	room := m.height - 1
	if room < 1 || len(lines) <= room {
		return text
	}
	if end <= room {
		begin = 0
	}
	if e := m.find(m.focus); e != nil && (m.asking || e.scan || e.busy || e.input+e.note+e.back != "") {
		return strings.Join(lines[max(0, end-room):max(end, room)], "\n")
	}
	parts := slices.Collect(slices.Chunk(lines[begin:], room))
	part := m.part % len(parts)
	return strings.Join(parts[part], "\n") + "\n" + m.look.warn.Render(fmt.Sprintf("%d of %d · space shows more", part+1, len(parts)))
}

// draw draws everything, and says which lines the chosen card has.
func (m *model) draw() (_ string, begin, end int) {
	width := m.width
	if width == 0 {
		width = noWidth
	}
	width = min(width, widest)
	var b strings.Builder
	faint, warn := m.look.faint.Width(width), m.look.warn.Width(width) // which wrap
	if len(m.entries) == 0 {
		b.WriteString(faint.Render("Waiting for prompts of "+strings.Join(m.accounts, ", ")+" …") + "\n")
	}
	for _, e := range m.entries {
		at := strings.Count(b.String(), "\n")
		b.WriteString(m.card(e, width) + "\n")
		if e.prompt.Challenge == m.focus {
			begin, end = at, strings.Count(b.String(), "\n")
		}
	}
	for i, a := range m.alerts {
		b.WriteString(warn.Render("! "+Notice(a.notice)) + "\n")
		if i == 0 && len(m.entries) == 0 {
			b.WriteString(faint.Render(alertKeys(a.notice)) + "\n")
		}
	}
	for account, err := range m.lost {
		b.WriteString(warn.Render(m.accounts[account]+": "+err.Error()) + "\n")
	}
	for _, line := range m.log {
		b.WriteString(faint.Render(line) + "\n")
	}
	if len(m.entries) == 0 {
		b.WriteString(faint.Render("A page whose prompt does not come: nod authenticator answer --approve --scan NOD1:…\nq quits") + "\n")
	}
	return b.String(), begin, end
}

func alertKeys(n protocol.Notice) string {
	if n.Device != nil && (n.Kind == protocol.NoticeDeviceAdded || n.Kind == protocol.NoticeDeviceClaimed) {
		return "  v stops that device if it is not yours · x puts this away"
	}
	return "  x puts this away"
}

// Notice says in a line what a notice tells.
func Notice(n protocol.Notice) string {
	at := time.UnixMilli(n.At).Local().Format("2 Jan 15:04")
	name := "a device"
	if n.Device != nil {
		name = fmt.Sprintf("the device %q", n.Device.Name)
	}
	by := map[protocol.Actor]string{
		protocol.ByUser: "you", protocol.ByAdministrator: "an administrator", protocol.ByHelpDesk: "the help desk",
	}[n.By]
	switch n.Kind {
	case protocol.NoticeDeviceClaimed:
		return at + ": " + name + " wants to be enrolled for you, asked for by " + by
	case protocol.NoticeDeviceAdded:
		return at + ": " + name + " was enrolled for you, by " + by
	case protocol.NoticeFactorChanged:
		return at + ": a way to sign in was changed by " + by
	case protocol.NoticeBypassIssued:
		return at + ": a bypass code was issued for you by " + by
	case protocol.NoticeLockLifted:
		return at + ": your lock was lifted by " + by
	case protocol.NoticeReportLifted:
		return at + ": your report was lifted by " + by
	}
	return at + ": " + string(n.Kind) + " by " + by
}

func (m *model) card(e entry, width int) string {
	p := e.prompt
	box := m.look.signIn
	if p.Kind == protocol.KindTransaction {
		box = m.look.transaction
	}
	chosen := p.Challenge == m.focus
	if chosen {
		box = box.BorderForeground(m.look.focused)
	}
	text := strings.Join(slices.Concat(m.head(e), Lines(p), m.foot(e, chosen)), "\n")
	return box.Width(width - 2).Render(text)
}

// head is what the card is about.
func (m *model) head(e entry) []string {
	p := e.prompt
	if p.UpdateRequired {
		return []string{m.look.bold.Render("UPDATE THE AUTHENTICATOR"), "Something asks that this version cannot show. It can be denied, not approved."}
	}
	out := []string{m.look.bold.Render(heading(p.Kind)) + "   " + m.countdown(p)}
	if len(m.accounts) > 1 {
		out = append(out, m.look.faint.Render(m.accounts[e.account]))
	}
	switch p.Kind {
	case protocol.KindTransaction:
		out = append(out, m.look.bold.Render(p.App.Name)+" asks you, "+p.User.Name+", to approve what it describes.")
	case protocol.KindStepUp:
		out = append(out, m.look.bold.Render(p.App.Name)+" asks you, "+p.User.Name+", to confirm that it is still you.")
	default:
		out = append(out, m.look.bold.Render(p.App.Name)+" asks whether you, "+p.User.Name+", are signing in.")
	}
	if p.Others > 0 {
		out = append(out, m.look.warn.Render("Somebody signs in elsewhere with your name at the same time."), m.look.warn.Render("Approve only if this is the page before you."))
	}
	return out
}

func heading(k protocol.Kind) string {
	switch k {
	case protocol.KindTransaction:
		return "TRANSACTION"
	case protocol.KindStepUp:
		return "STILL YOU?"
	case protocol.KindLogin:
	}
	return "SIGN-IN"
}

func (m *model) countdown(p authenticator.Prompt) string {
	left := max(p.Deadline.Sub(m.now()), 0).Round(time.Second)
	text := fmt.Sprintf("%d:%02d", int(left.Minutes()), int(left.Seconds())%60)
	if left < 20*time.Second {
		return m.look.warn.Render(text)
	}
	return m.look.faint.Render(text)
}

// Lines describes a prompt for a person, a line for each thing known.
func Lines(p authenticator.Prompt) []string {
	if p.UpdateRequired {
		return nil
	}
	var out []string
	line := func(label, value string) {
		if value != "" {
			out = append(out, fmt.Sprintf("%-9s %s", label, value))
		}
	}
	about := func() {
		line("Reason", p.Reason)
		for _, d := range p.Details {
			out = append(out, fmt.Sprintf("%-9s %s", d.Label, d.Value))
		}
	}
	if p.Kind == protocol.KindTransaction {
		about()
	}
	place := p.Context.Place
	if place != "" && p.Context.PlaceConfidence != protocol.ConfidenceHigh {
		place = "perhaps " + place
	}
	line("Place", place)
	line("Address", reported(p, p.Context.IP))
	browser := reported(p, p.Context.Browser)
	if p.Context.KnownBrowser {
		browser = strings.TrimPrefix(browser+", one that you know", ", ")
	}
	line("Browser", browser)
	if p.Kind != protocol.KindTransaction {
		about()
	}
	return out
}

// reported marks what only the application says.
func reported(p authenticator.Prompt, value string) string {
	if value != "" && p.Context.ReportedBy == protocol.ReportedByApp {
		return value + " (reported by " + p.App.Name + ")"
	}
	return value
}

// foot is what the person can do.
func (m *model) foot(e entry, chosen bool) []string {
	switch {
	case e.back != "":
		return []string{
			"", "Type this into the login page:", m.look.good.Render(e.back[:min(3, len(e.back))] + " " + e.back[min(3, len(e.back)):]),
			m.look.faint.Render("any key puts this away"),
		}
	case e.busy:
		return []string{"", "Sending …"}
	case !chosen:
		return []string{m.look.faint.Render("tab chooses this one")}
	case m.asking:
		return []string{"", m.look.warn.Render("Not you? It is denied, and strangers are no longer let through to you."), "n again reports it · any other key goes back"}
	}
	out := []string{""}
	if e.note != "" {
		out = append(out, m.look.warn.Render(e.note))
	}
	if e.scan {
		return append(out, "Text of the QR code, which begins with NOD1: — "+e.input+"_", m.look.faint.Render("enter approves · esc goes back"))
	}
	if !e.prompt.UpdateRequired {
		out = append(out, m.ask(e)...)
	}
	keys := "d denies · n it is not me"
	if len(m.entries) > 1 {
		keys += " · tab next"
	}
	return append(out, m.look.faint.Render(keys+" · q quits"))
}

// ask says which answers approve.
func (m *model) ask(e entry) []string {
	var out []string
	want := wants(e.prompt)
	switch {
	case want[2] == protocol.MatchChoice:
		out = append(out, "Which number does the page show: "+strings.Join(e.prompt.Choices, ", ")+"?  "+e.input+"_")
	case want[2] != "" && want[6] != "":
		out = append(out, "Type the digits that the page shows:  "+e.input+"_")
	case want[2] != "":
		out = append(out, "Type the two digits that the page shows:  "+e.input+"_")
	case want[6] != "":
		out = append(out, "Type the six digits that the page shows:  "+spaced(e.input)+"_")
	}
	more := []string{}
	if len(want) > 0 && (want[2] != "" || want[6] != "") {
		more = append(more, "enter approves")
	}
	if want[0] != "" {
		more = append(more, "a approves")
	}
	if scannable(e.prompt) {
		more = append(more, "s types the QR code")
	}
	if rememberable(e.prompt) && e.keep {
		out = append(out, "The browser is remembered if you approve.")
		more = append(more, "r does not")
	} else if rememberable(e.prompt) {
		more = append(more, "r remembers the browser")
	}
	if len(want) == 0 && !scannable(e.prompt) {
		return append(out, "This can be approved with another authenticator only.")
	}
	return append(out, m.look.faint.Render(strings.Join(more, " · ")))
}

func spaced(s string) string {
	if len(s) > 3 {
		return s[:3] + " " + s[3:]
	}
	return s
}
