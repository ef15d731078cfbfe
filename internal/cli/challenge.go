package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/nodauth/nod/client"
)

type challengeCmd struct {
	connection
	Create challengeCreate `cmd:"" help:"Ask for somebody's answer."`
	Show   challengeShow   `cmd:"" help:"Show a challenge."`
	Wait   challengeWait   `cmd:"" help:"Wait until a challenge is decided."`
	Verify challengeVerify `cmd:"" help:"Give a code that the user typed."`
	Cancel challengeCancel `cmd:"" help:"End a challenge that is not decided."`
	Redeem challengeRedeem `cmd:"" help:"Get the grant of an approved challenge, once."`
}

// challengeArg is the challenge that a verb is about.
type challengeArg struct {
	Challenge string `arg:"" help:"Id, as create said."`
}

func (p challengeArg) with(a *app, do func(*client.Client) error) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	return do(c)
}

// showChallenge prints a challenge. Without an error the program ends well; end makes it end as
// the challenge did.
func (a *app) showChallenge(ch client.Challenge) error {
	return a.show(ch, func(w io.Writer) {
		state := string(ch.State)
		if ch.Reason != "" {
			state += " (" + ch.Reason + ")"
		}
		if ch.Reported {
			state += ", reported as not them"
		}
		tries := ""
		if ch.TriesLeft != nil {
			tries = strconv.Itoa(*ch.TriesLeft)
		}
		others := ""
		if ch.Others > 0 {
			others = strconv.Itoa(ch.Others) + " for this user at the same time"
		}
		fields(w, "id", ch.ID, "kind", string(ch.Kind), "state", a.colored(ch.State, state), "digits", string(ch.Match.Digits), "number", string(ch.Match.Number),
			"qr", string(ch.Match.QR), "match", joined(ch.MatchNow), "methods", joined(ch.Methods), "others", others, "push", pushed(ch.Push),
			"delivery", delivered(ch.Delivery), "tries left", tries, "decide by", moment(ch.DecideBy), "redeem by", moment(ch.RedeemBy))
	})
}

func joined[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return strings.Join(out, ", ")
}

func pushed(p client.PushStatus) string {
	out := "not listed on devices"
	if p.Listed {
		out = "listed on devices"
	}
	if p.Rung {
		out += ", rung"
	}
	if p.Reason != "" {
		out += " (" + p.Reason + ")"
	}
	if !p.RetryAt.IsZero() {
		out += ", again at " + moment(p.RetryAt)
	}
	return out
}

// unlisted says why no device shows a prompt, and how it is answered nevertheless.
func unlisted(ch client.Challenge) string {
	why := map[string]string{
		"budget":     "the user was asked as often as policy lets places like this ask",
		"slot_taken": "another one is being shown",
		"wait":       "one was denied or ignored a short time ago",
		"reported":   "the user reported one as not them",
		"name_only":  "nobody checked a first factor",
	}[ch.Push.Reason]
	text := "No device shows this prompt"
	if why != "" {
		text += ", since " + why
	}
	if ch.Match.QR == "" {
		return text + "."
	}
	return text + ". Scan the QR code, in a terminal by: nod authenticator answer --approve --scan TEXT"
}

func delivered(d client.Delivery) string {
	out := "not sent"
	if d.Sent {
		out = "sent"
	}
	for _, step := range []struct {
		name string
		at   time.Time
	}{{"received", d.Received}, {"shown", d.Shown}, {"opened", d.Opened}} {
		if !step.at.IsZero() {
			out += ", " + step.name + " " + step.at.Local().Format("15:04:05.000")
		}
	}
	return out
}

func (a *app) colored(s client.State, text string) string {
	if !a.colors(a.stdout) {
		return text
	}
	color := "31"
	switch s {
	case client.Approved, client.Redeemed:
		color = "32"
	case client.Pending, client.Answered:
		color = "33"
	case client.Denied, client.Failed, client.Expired, client.Cancelled:
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// end makes the exit code of how the challenge stands.
func end(s client.State) error {
	if code := codeOfState(s); code != codeOK {
		return outcome(code)
	}
	return nil
}

type challengeCreate struct {
	User         string   `arg:"" help:"Name, alias or id of the user."`
	Kind         string   `enum:"login,step_up,transaction" default:"login" help:"What is asked for: login, step_up or transaction."`
	Match        []string `enum:"scan,digits,digits_back,number,choice,tap" placeholder:"KIND" help:"How the prompt is bound to the page: scan, digits, digits_back, number, choice, tap. May be repeated."`
	MinBits      int      `placeholder:"BITS" help:"Least strength of that; above 20 leaves scan."`
	Reason       string   `placeholder:"TEXT" help:"Why, as the prompt shows it."`
	Detail       []string `sep:"none" placeholder:"LABEL=VALUE" help:"A line of what is approved. May be repeated."`
	IP           string   `name:"ip" placeholder:"ADDRESS" help:"Address of the browser that asks."`
	UserAgent    string   `placeholder:"TEXT" help:"User agent of that browser."`
	BrowserID    string   `name:"browser-id" placeholder:"ID" help:"The application's own name for that browser."`
	BrowserProof string   `placeholder:"PROOF" help:"Proof of a known browser."`
	Source       string   `placeholder:"NAME" help:"Host or NAS that asks."`
	PasswordFile string   `placeholder:"FILE" help:"File with the user's password; - for standard input."`
	Asserted     bool     `help:"The application checked a first factor itself."`
	Nonce        string   `placeholder:"TEXT" help:"Text that the grant will carry."`
	Wait         bool     `help:"Wait until it is decided."`
	NoQR         bool     `name:"no-qr" help:"Draw no QR code."`
}

// Help gives examples.
func (challengeCreate) Help() string {
	return "On a terminal it draws the QR code of the login page. With --wait it ends with 0 if approved, 3 if denied, 4 if expired.\n\n" +
		"Examples:\n\n    nod challenge create jo --asserted --wait\n    nod challenge create jo --asserted --kind transaction --reason \"Transfer\" --detail Amount=\"12 EUR\" --detail To=PT50 --json\n"
}

// Run makes a challenge.
func (v *challengeCreate) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	n, err := v.request(a)
	if err != nil {
		return err
	}
	ch, err := c.Challenges.Create(a.ctx, n)
	if err != nil {
		return err
	}
	if !v.Wait || !a.json {
		if err := a.showChallenge(ch); err != nil {
			return err
		}
	}
	if ch.Match.QR != "" && isTerminal(a.stdout) && !a.json && !v.NoQR {
		if err := drawQR(a.stdout, string(ch.Match.QR), a.colors(a.stdout)); err != nil {
			return err
		}
		if d := string(ch.Match.Digits); d != "" {
			fmt.Fprintf(a.stdout, "digits     %s\n", d) // again, where the code has scrolled the first ones away
		}
	}
	if !ch.Push.Listed {
		a.say("%s", unlisted(ch))
	}
	if !v.Wait {
		return nil
	}
	if a.json {
		// The digits are needed now, the outcome later: a line for each.
		if err := a.line(ch); err != nil {
			return err
		}
	}
	a.say("Waiting for the answer …")
	if ch, err = c.Challenges.Wait(a.ctx, ch.ID); err != nil {
		return err
	}
	if a.json {
		err = a.line(ch)
	} else {
		err = a.showChallenge(ch)
	}
	if err != nil {
		return err
	}
	return end(ch.State)
}

func (v *challengeCreate) request(a *app) (client.NewChallenge, error) {
	n := client.NewChallenge{
		User: client.UserRef{Name: v.User}, Kind: client.Kind(v.Kind), MinBits: v.MinBits, Reason: v.Reason, Nonce: v.Nonce,
	}
	if isID(v.User, "usr_") {
		n.User = client.UserRef{ID: v.User}
	}
	for _, m := range v.Match {
		n.Match = append(n.Match, client.MatchKind(m))
	}
	for _, d := range v.Detail {
		label, value, ok := strings.Cut(d, "=")
		if !ok {
			return n, usagef("--detail %q is not LABEL=VALUE.", d)
		}
		n.Details = append(n.Details, client.Detail{Label: label, Value: value})
	}
	if where := (client.RequestContext{
		IP: v.IP, UserAgent: v.UserAgent, BrowserID: v.BrowserID, BrowserProof: v.BrowserProof, Source: v.Source,
	}); where != (client.RequestContext{}) {
		n.Context = &where
	}
	if v.Asserted {
		n.FirstFactor = client.FirstFactorAsserted
	}
	if v.PasswordFile == "" {
		return n, nil
	}
	password, err := a.secret("Password", v.PasswordFile, false)
	n.Password = client.Secret(password)
	return n, err
}

type challengeShow struct{ challengeArg }

// Help gives an example.
func (challengeShow) Help() string { return "Example:\n\n    nod challenge show ch_…\n" }

// Run shows a challenge.
func (v *challengeShow) Run(a *app) error {
	return v.with(a, func(c *client.Client) error {
		ch, err := c.Challenges.Get(a.ctx, v.Challenge)
		if err != nil {
			return err
		}
		return a.showChallenge(ch)
	})
}

type challengeWait struct {
	challengeArg
	For   time.Duration `placeholder:"DURATION" help:"How long at most, such as 90s; until its time is over if left out."`
	State string        `enum:"pending,answered," default:"" placeholder:"STATE" help:"Return as soon as it is in another state than this one: pending or answered."`
}

// Help gives examples.
func (challengeWait) Help() string {
	return "Ends with 0 if approved, 3 if denied, failed or cancelled, 4 if expired, 1 if it is not decided yet.\n\nExamples:\n\n    nod challenge wait ch_…\n    nod challenge wait ch_… --for 30s --json\n"
}

// Run waits for a challenge.
func (v *challengeWait) Run(a *app) error {
	return v.with(a, func(c *client.Client) error {
		ctx, cancel := a.ctx, context.CancelFunc(func() {})
		if v.For > 0 {
			ctx, cancel = context.WithTimeout(a.ctx, v.For)
		}
		defer cancel()
		a.say("Waiting for the answer …")
		var ch client.Challenge
		var err error
		if v.State != "" {
			ch, err = c.Challenges.Next(ctx, v.Challenge, client.State(v.State))
		} else {
			ch, err = c.Challenges.Wait(ctx, v.Challenge)
		}
		if errors.Is(err, context.DeadlineExceeded) && a.ctx.Err() == nil {
			ch, err = c.Challenges.Get(a.ctx, v.Challenge)
		}
		if err != nil {
			return err
		}
		if err := a.showChallenge(ch); err != nil {
			return err
		}
		return end(ch.State)
	})
}

type challengeVerify struct {
	challengeArg
	Method string `enum:"totp,backup_code,bypass_code,digits_back" default:"totp" help:"What the code is: totp, backup_code, bypass_code or digits_back."`
}

// Help gives examples.
func (challengeVerify) Help() string {
	return "The code is asked for, or read from standard input. Ends with 0 if that approves it, 1 if the code is wrong, 5 if guesses are spent.\n\n" +
		"Examples:\n\n    nod challenge verify ch_…\n    echo 042137 | nod challenge verify ch_… --method digits_back\n"
}

// Run verifies a typed code.
func (v *challengeVerify) Run(a *app) error {
	return v.with(a, func(c *client.Client) error {
		code, err := a.code("Code")
		if err != nil {
			return err
		}
		ch, err := c.Challenges.Verify(a.ctx, v.Challenge, client.Method(v.Method), client.Secret(code))
		if err != nil {
			return err
		}
		if err := a.showChallenge(ch); err != nil {
			return err
		}
		if ch.State.Undecided() {
			a.say("The code is wrong.")
		}
		return end(ch.State)
	})
}

type challengeCancel struct{ challengeArg }

// Help gives an example.
func (challengeCancel) Help() string { return "Example:\n\n    nod challenge cancel ch_…\n" }

// Run cancels a challenge.
func (v *challengeCancel) Run(a *app) error {
	return v.with(a, func(c *client.Client) error {
		ch, err := c.Challenges.Cancel(a.ctx, v.Challenge)
		if err != nil {
			return err
		}
		return a.showChallenge(ch)
	})
}

type challengeRedeem struct {
	challengeArg
	Key         string `placeholder:"KEY" help:"Idempotency key: the same key gives the same grant again."`
	Application string `placeholder:"ID" help:"Verify the grant, as one for this application."`
	Issuer      string `placeholder:"URL" help:"Verify the grant as this issuer's, where that differs from the server's URL."`
	Nonce       string `placeholder:"TEXT" help:"Verify that the grant carries this nonce."`
}

// Help gives examples.
func (challengeRedeem) Help() string {
	return "Prints the grant, a JWT. With --application it is verified first and its claims are shown.\n\n" +
		"Examples:\n\n    nod challenge redeem ch_…\n    nod challenge redeem ch_… --application app_… --json\n"
}

// Run redeems a challenge.
func (v *challengeRedeem) Run(a *app) error {
	if v.Application == "" && (v.Issuer != "" || v.Nonce != "") {
		return usagef("verifying a grant needs --application beside --issuer and --nonce.")
	}
	c, err := a.connectWith(client.Config{Application: v.Application, Issuer: v.Issuer})
	if err != nil {
		return err
	}
	ctx := a.ctx
	if v.Key != "" {
		ctx = client.WithIdempotencyKey(ctx, v.Key)
	}
	got, err := c.Challenges.Redeem(ctx, v.Challenge)
	if err != nil {
		return err
	}
	if v.Application == "" {
		return a.show(got, func(w io.Writer) { fmt.Fprintln(w, got.Grant) })
	}
	g, err := c.VerifyGrant(a.ctx, got.Grant, client.GrantWanted{Challenge: v.Challenge, Nonce: v.Nonce})
	if err != nil {
		return err
	}
	all := struct {
		client.RedeemedGrant
		Claims client.Grant `json:"claims"`
	}{got, g}
	return a.show(all, func(w io.Writer) {
		fmt.Fprintln(w, got.Grant)
		fields(w, "user", g.Username+" ("+g.Subject+")", "method", string(g.Method), "match", g.Match, "bits", strconv.Itoa(g.MatchBits),
			"amr", strings.Join(g.AMR, ", "), "acr", g.ACR, "first factor", g.FirstFactor, "device", g.Device, "expires", moment(got.ExpiresAt))
	})
}
