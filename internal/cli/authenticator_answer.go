package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/client"
	"github.com/nodauth/nod/internal/cli/card"
	"github.com/nodauth/nod/protocol"
)

type authAnswer struct {
	accountFlag
	Challenge string        `placeholder:"ID" help:"The prompt to answer; the only one there is if left out."`
	Wait      time.Duration `placeholder:"DURATION" help:"Wait so long for a prompt, such as 30s."`

	Approve bool `xor:"verdict" required:"" help:"Approve, with one of --match, --scan, --tap and --digits-back."`
	Deny    bool `xor:"verdict" required:"" help:"Deny."`
	Report  bool `xor:"verdict" required:"" help:"Deny, and say that it was not you."`

	Match      string `xor:"how" placeholder:"DIGITS" help:"The digits that the login page shows: six, or two."`
	Scan       string `xor:"how" placeholder:"NOD1:…" help:"The text of the login page's QR code; - reads it from standard input."`
	Tap        bool   `xor:"how" help:"Nothing; where the prompt takes that."`
	DigitsBack bool   `xor:"how" help:"Nothing; the digits that come back are printed, to be typed into the login page."`
	Remember   bool   `help:"Know the browser from now on."`
}

// Help gives examples.
func (authAnswer) Help() string {
	return "The text of a QR code is taken as the page shows it, never from a link.\n\n" +
		"Ends with 0 if it was approved, or denied or reported as asked for; 1 if the digits were wrong and may be tried again; 3 if it is denied, failed or cancelled; 4 if it has expired; 5 if there was too much of it.\n\n" +
		"Examples:\n\n    nod authenticator answer --wait 30s --approve --match 042137\n    nod authenticator answer --challenge ch_… --deny\n    nod authenticator answer --approve --scan NOD1:ch_….… --json\n"
}

// answerOutput is an answer as JSON.
type answerOutput struct {
	Challenge  string `json:"challenge"`
	State      string `json:"state"`
	TriesLeft  *int   `json:"tries_left,omitempty"`
	DigitsBack string `json:"digits_back,omitempty"`
	Device     string `json:"device"`
	App        string `json:"application,omitempty"`
}

// Run answers a prompt.
func (v *authAnswer) Run(a *app, parent *authenticatorCmd) error {
	if err := v.prepare(a); err != nil {
		return err
	}
	auth, err := parent.open(a, false)
	if err != nil {
		return err
	}
	accounts, err := v.some(auth)
	if err != nil {
		return err
	}
	var devices []*authenticator.Device
	for _, acc := range accounts {
		d, err := auth.Device(acc.ID)
		if err != nil {
			return err
		}
		devices = append(devices, d)
	}
	d, p, err := v.find(a, devices)
	if err != nil {
		return err
	}
	res, err := v.decide(a, d, p)
	if err != nil {
		return err
	}
	return v.finish(a, d, p, res)
}

// prepare checks what the grammar cannot.
func (v *authAnswer) prepare(a *app) error {
	how := v.Match != "" || v.Scan != "" || v.Tap || v.DigitsBack
	if !v.Approve && (how || v.Remember) {
		return usagef("--match, --scan, --tap, --digits-back and --remember go with --approve.")
	}
	if v.Approve && !how {
		return usagef("an approval needs one of --match DIGITS, --scan TEXT, --tap and --digits-back.")
	}
	if v.Scan == "-" {
		text, err := a.readLine()
		if err != nil {
			return err
		}
		v.Scan = strings.TrimSpace(text)
	}
	if v.Scan == "" {
		return nil
	}
	s, err := protocol.ParseScan(v.Scan)
	if err != nil {
		return usagef("this is not the text of a login page's QR code, which begins with NOD1: – no link will do.")
	}
	if v.Challenge != "" && v.Challenge != s.Challenge {
		return usagef("the QR code is of %s, not of %s.", s.Challenge, v.Challenge)
	}
	v.Challenge = s.Challenge
	return nil
}

// find gets the prompt, waiting for it if so wanted.
func (v *authAnswer) find(a *app, devices []*authenticator.Device) (*authenticator.Device, authenticator.Prompt, error) {
	deadline := time.Now().Add(v.Wait)
	if v.Wait > 0 {
		a.say("Waiting for a prompt …")
	}
	for {
		left := time.Until(deadline)
		d, p, err := v.look(a.ctx, devices, left)
		if !errors.Is(err, authenticator.ErrNoPrompt) || left <= 0 {
			return d, p, err
		}
	}
}

// look asks every account once. Only one account is asked to wait, since they are asked in turn. One
// whose device was removed is no reason not to ask the others.
func (v *authAnswer) look(ctx context.Context, devices []*authenticator.Device, left time.Duration) (*authenticator.Device, authenticator.Prompt, error) {
	var found *authenticator.Device
	var prompts []authenticator.Prompt
	wait, removed := 0, 0
	if left > 0 {
		wait = max(1, min(int(left.Seconds()), 25/len(devices)))
	}
	for _, d := range devices {
		if v.Challenge != "" {
			p, err := d.Find(ctx, v.Challenge)
			if err == nil {
				return d, p, nil
			}
			if errors.Is(err, authenticator.ErrRevoked) && removed+1 < len(devices) {
				removed++
				continue
			}
			if !errors.Is(err, authenticator.ErrNoPrompt) {
				return nil, authenticator.Prompt{}, err
			}
		}
		if v.Challenge != "" && left <= 0 {
			continue
		}
		u, err := d.Poll(ctx, wait)
		if errors.Is(err, authenticator.ErrRevoked) && removed+1 < len(devices) {
			removed++
			continue
		}
		if err != nil {
			return nil, authenticator.Prompt{}, err
		}
		for _, p := range u.Prompts {
			if v.Challenge == "" || p.Challenge == v.Challenge {
				found, prompts = d, append(prompts, p)
			}
		}
	}
	switch {
	case len(prompts) == 1:
		return found, prompts[0], nil
	case len(prompts) > 1:
		var lines []string
		for _, p := range prompts {
			lines = append(lines, "  --challenge "+p.Challenge+"   "+p.App.Name)
		}
		return nil, authenticator.Prompt{}, usagef("there are several prompts; choose one:\n%s", strings.Join(lines, "\n"))
	case v.Challenge != "" && !v.Approve && len(devices) == 1 && left <= 0:
		// What is over or out of sight can still be denied or reported by its id.
		return devices[0], authenticator.Prompt{Prompt: protocol.Prompt{Challenge: v.Challenge}}, nil
	}
	return nil, authenticator.Prompt{}, fmt.Errorf("there is no prompt to answer: %w", authenticator.ErrNoPrompt)
}

func (v *authAnswer) decide(a *app, d *authenticator.Device, p authenticator.Prompt) (authenticator.Result, error) {
	if !a.json {
		a.say("%s", describe(p))
	}
	switch {
	case v.Deny:
		return d.Deny(a.ctx, p)
	case v.Report:
		return d.Report(a.ctx, p)
	}
	approval, err := v.approval(p)
	if err != nil {
		return authenticator.Result{}, err
	}
	approval.Remember = v.Remember
	return d.Approve(a.ctx, p, approval)
}

// describe says in a few lines what is answered.
func describe(p authenticator.Prompt) string {
	if p.App.Name == "" {
		return p.Challenge
	}
	return strings.Join(append([]string{fmt.Sprintf("%s (%s) for %s", p.App.Name, p.Kind, p.User.Name)}, card.Lines(p)...), "\n  ")
}

// approval makes of what was given the kind that the prompt takes.
func (v *authAnswer) approval(p authenticator.Prompt) (authenticator.Approval, error) {
	if p.UpdateRequired {
		return authenticator.Approval{}, authenticator.ErrUpdate
	}
	if v.Scan != "" {
		return authenticator.ScanAnswer(p, v.Scan)
	}
	kind := protocol.MatchDigits
	switch {
	case v.Tap:
		kind = protocol.MatchTap
	case v.DigitsBack:
		kind = protocol.MatchDigitsBack
	case len(v.Match) == 2 && slices.Contains(p.Match, protocol.MatchChoice) && !slices.Contains(p.Match, protocol.MatchNumber):
		kind = protocol.MatchChoice
	case len(v.Match) == 2:
		kind = protocol.MatchNumber
	}
	if !slices.Contains(p.Match, kind) {
		return authenticator.Approval{}, usagef("this prompt does not take %s; it takes %s.", kind, joined(p.Match))
	}
	if err := kind.CheckAnswer(v.Match); err != nil {
		return authenticator.Approval{}, usagef("%q is not what %s asks for: six digits, or two where the prompt takes them.", v.Match, kind)
	}
	return authenticator.Approval{Match: kind, Answer: v.Match}, nil
}

// finish prints what came of it and ends as it ended.
func (v *authAnswer) finish(a *app, d *authenticator.Device, p authenticator.Prompt, res authenticator.Result) error {
	out := answerOutput{
		Challenge: p.Challenge, State: res.State, TriesLeft: res.TriesLeft, DigitsBack: res.DigitsBack, Device: d.ID().Device, App: p.App.Name,
	}
	err := a.show(out, func(w io.Writer) {
		switch {
		case res.DigitsBack != "":
			fmt.Fprintln(w, res.DigitsBack)
			a.say("Type these digits into the login page.")
		case v.Report:
			fmt.Fprintf(w, "Reported; it is %s.\n", res.State)
		case v.Approve && res.State == string(client.Pending):
			fmt.Fprintln(w, "Wrong.")
			if res.TriesLeft != nil {
				a.say("%d tries left.", *res.TriesLeft)
			}
		default:
			fmt.Fprintf(w, "It is %s.\n", res.State)
		}
	})
	if err != nil {
		return err
	}
	// Whoever asked to deny has what they wanted; whoever approves by digits_back did their part.
	if !v.Approve || res.DigitsBack != "" {
		return nil
	}
	return end(client.State(res.State))
}
