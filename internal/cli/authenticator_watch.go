package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/internal/cli/card"
	"github.com/nodauth/nod/protocol"
)

type authWatch struct{ accountFlag }

// Help gives examples.
func (authWatch) Help() string {
	return "On a terminal each prompt is a card: type the six digits of the login page, or d to deny, or n if it is not you. Elsewhere, or with --json, each prompt is printed once and \"nod authenticator answer\" answers it.\n\n" +
		"Examples:\n\n    nod authenticator watch\n    nod authenticator watch --json\n"
}

// Run watches all accounts chosen.
func (v *authWatch) Run(a *app, parent *authenticatorCmd) error {
	auth, err := parent.open(a, false)
	if err != nil {
		return err
	}
	accounts, err := v.some(auth)
	if err != nil {
		return err
	}
	var watched []card.Account
	for _, acc := range accounts {
		d, err := auth.Device(acc.ID)
		if err != nil {
			return err
		}
		watched = append(watched, card.Account{Label: label(acc), Device: d})
	}
	if !a.json && isTerminal(a.stdin) && isTerminal(a.stdout) {
		err = card.Run(a.ctx, card.Config{Accounts: watched, In: a.stdin, Out: a.stdout, Color: a.colors(a.stdout)})
	} else {
		err = a.print(watched)
	}
	if errors.Is(err, context.Canceled) && a.ctx.Err() != nil {
		return nil // stopped by the person
	}
	return err
}

// promptOutput is a prompt as a line of JSON.
type promptOutput struct {
	Type      string           `json:"type"` // prompt or notice
	Account   string           `json:"account"`
	Challenge string           `json:"challenge,omitempty"`
	Prompt    *protocol.Prompt `json:"prompt,omitempty"`
	MatchNow  []protocol.Match `json:"match_now,omitempty"`
	Others    int              `json:"others,omitempty"`
	Update    bool             `json:"update_required,omitempty"`
	Notice    *protocol.Notice `json:"notice,omitempty"`
}

// print prints each prompt and notice once, until the person stops it or an account is lost.
func (a *app) print(accounts []card.Account) error {
	ctx, cancel := context.WithCancelCause(a.ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var all sync.WaitGroup
	a.say("Waiting for prompts …")
	for _, acc := range accounts {
		seen := make(map[string]bool)
		all.Go(func() {
			cancel(acc.Device.Watch(ctx, func(u authenticator.Update) error {
				mu.Lock()
				defer mu.Unlock()
				return a.printUpdate(acc, u, seen)
			}))
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

func (a *app) printUpdate(acc card.Account, u authenticator.Update, seen map[string]bool) error {
	for _, err := range u.Dropped {
		a.say("Left out: %s", err)
	}
	for _, p := range u.Prompts {
		if seen[p.Challenge] {
			continue
		}
		seen[p.Challenge] = true
		if err := a.printPrompt(acc, p); err != nil {
			return err
		}
	}
	for _, n := range u.Notices {
		if a.json {
			if err := a.line(promptOutput{Type: "notice", Account: acc.Device.ID().Device, Notice: &n}); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintln(a.stdout, "! "+card.Notice(n)); err != nil {
			return err
		}
		if n.Device != nil {
			a.say("If that is not yours: nod authenticator veto %s %s", n.Device.ID, n.Device.Enrolment)
		}
	}
	return nil
}

func (a *app) printPrompt(acc card.Account, p authenticator.Prompt) error {
	if a.json {
		return a.line(promptOutput{
			Type: "prompt", Account: acc.Device.ID().Device, Challenge: p.Challenge, Prompt: &p.Prompt, MatchNow: p.MatchNow, Others: p.Others, Update: p.UpdateRequired,
		})
	}
	_, err := fmt.Fprintf(a.stdout, "%s\n  takes     %s\n  challenge %s\n", describe(p), strings.TrimSpace(joined(p.MatchNow)), p.Challenge)
	return err
}
