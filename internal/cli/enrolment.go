package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nodauth/nod/client"
)

type enrolmentCmd struct {
	connection
	Create  enrolmentCreate  `cmd:"" help:"Make a link by which a device is enrolled."`
	Show    enrolmentShow    `cmd:"" help:"Show how far an enrolment is."`
	Confirm enrolmentConfirm `cmd:"" help:"Give the six digits that the new device shows."`
	Cancel  enrolmentCancel  `cmd:"" help:"End an enrolment that is not confirmed."`
}

const (
	claimPace = time.Second // between two looks at whether the link was used
	triesMade = 3           // wrong codes end an enrolment
)

// The states of an enrolment that a person waits through.
const (
	stateInvited = "invited"
	stateClaimed = "claimed"
)

func (a *app) showEnrolment(e client.Enrolment) error {
	return a.show(e, func(w io.Writer) {
		fields(w, "id", e.ID, "user", e.UserID, "state", e.State, "device", e.DeviceID, "expires", moment(e.ExpiresAt))
	})
}

type enrolmentCreate struct {
	userArg
	Lost   bool   `help:"The user's devices are lost or stolen: confirming the new one revokes them."`
	By     string `enum:"administrator,help_desk" default:"administrator" help:"Who asks: administrator or help_desk."`
	NoQR   bool   `name:"no-qr" help:"Draw no QR code."`
	NoWait bool   `help:"Do not wait for the device, also on a terminal."`
}

// Help gives examples.
func (enrolmentCreate) Help() string {
	return "Prints the link, and on a terminal its QR code. There it also waits until a device has used the link, and asks for the six digits that the device shows. The link is good once, for ten minutes; it is shown this one time.\n\n" +
		"Examples:\n\n    nod enrolment create jo\n    nod enrolment create jo --lost --by help_desk\n    nod enrolment create jo --json | jq -r .url\n"
}

// Run makes an enrolment.
func (v *enrolmentCreate) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		e, err := c.Enrolments.Create(a.ctx, u.ID, client.NewEnrolment{Lost: v.Lost, By: v.By})
		if err != nil {
			return err
		}
		err = a.show(e, func(w io.Writer) {
			fmt.Fprintln(w, string(e.URL))
			a.say("For %s, until %s, as %s.", u.Name, moment(e.ExpiresAt), e.ID)
		})
		if err != nil {
			return err
		}
		if isTerminal(a.stdout) && !a.json && !v.NoQR {
			if err := drawQR(a.stdout, string(e.URL), a.colors(a.stdout)); err != nil {
				return err
			}
		}
		if v.NoWait || !a.talks() {
			a.say("When a device shows six digits: nod enrolment confirm %s DIGITS", e.ID)
			return nil
		}
		return a.attend(c, e.ID)
	})
}

// attend waits for the device and asks for its code.
func (a *app) attend(c *client.Client, id string) error {
	a.say("Waiting for a device to open the link …")
	e, err := a.waitClaimed(c, id)
	if err != nil {
		return err
	}
	if e.State != stateClaimed {
		return fmt.Errorf("the enrolment is %s; no device was added", e.State)
	}
	for i := 1; ; i++ {
		code, err := a.ask("Six digits that the device shows: ")
		if err != nil {
			return err
		}
		e, err = c.Enrolments.Confirm(a.ctx, id, client.Secret(digitsOf(code)))
		if err == nil {
			return a.showEnrolment(e)
		}
		if refused, ok := errors.AsType[*client.Error](err); !ok || refused.Reason != "wrong_code" || i == triesMade {
			return err
		}
		a.say("That is not what the device shows.")
	}
}

func (a *app) waitClaimed(c *client.Client, id string) (client.Enrolment, error) {
	for {
		e, err := c.Enrolments.Get(a.ctx, id)
		if err != nil || e.State != stateInvited {
			return e, err
		}
		if err := pause(a.ctx, claimPace); err != nil {
			return e, err
		}
	}
}

// digitsOf drops the spaces that people put between digits.
func digitsOf(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), " ", "") }

// pause waits, or returns the context's error as soon as it ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// enrolmentArg is the enrolment that a verb is about.
type enrolmentArg struct {
	Enrolment string `arg:"" help:"Id, as create said."`
}

type enrolmentShow struct{ enrolmentArg }

// Help gives an example.
func (enrolmentShow) Help() string { return "Example:\n\n    nod enrolment show enr_…\n" }

// Run shows an enrolment.
func (v *enrolmentShow) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	e, err := c.Enrolments.Get(a.ctx, v.Enrolment)
	if err != nil {
		return err
	}
	return a.showEnrolment(e)
}

type enrolmentConfirm struct {
	enrolmentArg
	Code string `arg:"" optional:"" help:"Six digits that the device shows; asked for, or read from standard input, if left out."`
}

// Help gives examples.
func (enrolmentConfirm) Help() string {
	return "The third wrong code refuses the device.\n\nExamples:\n\n    nod enrolment confirm enr_… 042137\n    nod enrolment confirm enr_…\n"
}

// Run confirms an enrolment.
func (v *enrolmentConfirm) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	code := v.Code
	if code == "" {
		if code, err = a.code("Six digits that the device shows"); err != nil {
			return err
		}
	}
	e, err := c.Enrolments.Confirm(a.ctx, v.Enrolment, client.Secret(digitsOf(code)))
	if err != nil {
		return err
	}
	return a.showEnrolment(e)
}

type enrolmentCancel struct{ enrolmentArg }

// Help gives an example.
func (enrolmentCancel) Help() string { return "Example:\n\n    nod enrolment cancel enr_…\n" }

// Run cancels an enrolment.
func (v *enrolmentCancel) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	e, err := c.Enrolments.Cancel(a.ctx, v.Enrolment)
	if err != nil {
		return err
	}
	return a.showEnrolment(e)
}
