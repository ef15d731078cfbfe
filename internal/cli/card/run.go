package card

import (
	"context"
	"errors"
	"io"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/protocol"
)

// Account is one device whose prompts are shown.
type Account struct {
	Label  string // for people, such as jo at https://auth.example.org
	Device *authenticator.Device
}

// Config is what Run needs.
type Config struct {
	Accounts []Account
	In       io.Reader // a terminal
	Out      io.Writer // a terminal
	Color    bool
}

// Run shows prompts and takes answers until the person quits, the context ends or no account can
// be watched any more. Its error is that of the first account lost, or of the terminal.
func Run(ctx context.Context, c Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	styled := c.Out
	if !c.Color {
		styled = io.Discard // which is no terminal, and so has no colours
	}
	m := &model{now: time.Now, look: newLook(lipgloss.NewRenderer(styled)), lost: make(map[int]error)}
	for _, a := range c.Accounts {
		m.accounts = append(m.accounts, a.Label)
	}
	m.act = func(a act) tea.Cmd { return func() tea.Msg { return perform(ctx, c.Accounts[a.account].Device, a) } }
	m.stamp = func(account int, challenge string, kind protocol.StampKind, at time.Time) tea.Cmd {
		return func() tea.Msg {
			_ = c.Accounts[account].Device.Stamp(ctx, challenge, kind, at) // decides nothing
			return nil
		}
	}
	program := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(c.In), tea.WithOutput(c.Out), tea.WithAltScreen())
	for i, a := range c.Accounts {
		go func() {
			err := a.Device.Watch(ctx, func(u authenticator.Update) error {
				program.Send(updated{i, u})
				return nil
			})
			program.Send(ended{i, err})
		}()
	}
	_, err := program.Run()
	switch {
	case errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	}
	if len(m.lost) == len(c.Accounts) {
		return m.lost[0]
	}
	return nil
}

func perform(ctx context.Context, d *authenticator.Device, a act) tea.Msg {
	out := answered{act: a}
	switch a.verb {
	case approve:
		out.result, out.err = d.Approve(ctx, a.prompt, a.approval)
	case deny:
		out.result, out.err = d.Deny(ctx, a.prompt)
	case report:
		out.result, out.err = d.Report(ctx, a.prompt)
	case veto:
		out.err = d.Veto(ctx, a.newcomer)
	}
	return out
}
