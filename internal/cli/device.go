package cli

import (
	"fmt"
	"io"

	"github.com/nodauth/nod/client"
)

type deviceCmd struct {
	connection
	List   deviceList   `cmd:"" help:"List a user's devices."`
	Show   deviceShow   `cmd:"" help:"Show a device."`
	Rename deviceRename `cmd:"" help:"Rename a device."`
	Revoke deviceRevoke `cmd:"" help:"End a device for good."`
	Settle deviceSettle `cmd:"" help:"Decide about a device that a veto stopped."`
}

func deviceTable(w io.Writer, devices []client.Device) {
	var rows [][]string
	for _, d := range devices {
		rows = append(rows, []string{d.Name, d.Platform, d.State, moment(d.LastSeenAt), d.ID})
	}
	table(w, "DEVICE PLATFORM STATE LAST-SEEN ID", rows)
}

func (a *app) showDevice(d client.Device) error {
	return a.show(d, func(w io.Writer) {
		fields(w, "id", d.ID, "user", d.UserID, "name", d.Name, "platform", d.Platform, "version", d.AppVersion, "state", d.State,
			"thumbprint", d.Thumbprint, "enrolment", d.EnrolmentID, "claimed", moment(d.ClaimedAt), "confirmed", moment(d.ConfirmedAt),
			"quarantine", moment(d.QuarantineUntil), "ended", moment(d.EndedAt), "last seen", moment(d.LastSeenAt))
	})
}

type deviceList struct{ userArg }

// Help gives an example.
func (deviceList) Help() string { return "Example:\n\n    nod device list jo\n" }

// Run lists devices.
func (v *deviceList) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		p, err := c.Devices.List(a.ctx, u.ID, client.Paging{Limit: mostPerPage})
		if err != nil {
			return err
		}
		return a.show(p, func(w io.Writer) { deviceTable(w, p.Items) })
	})
}

// deviceArg is the device that a verb is about.
type deviceArg struct {
	Device string `arg:"" help:"Id, as \"nod device list\" shows it."`
}

type deviceShow struct{ deviceArg }

// Help gives an example.
func (deviceShow) Help() string { return "Example:\n\n    nod device show dev_… --json\n" }

// Run shows a device.
func (v *deviceShow) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	d, err := c.Devices.Get(a.ctx, v.Device)
	if err != nil {
		return err
	}
	return a.showDevice(d)
}

type deviceRename struct {
	deviceArg
	Name string `arg:"" help:"New name."`
}

// Help gives an example.
func (deviceRename) Help() string {
	return "Example:\n\n    nod device rename dev_… \"Jo's phone\"\n"
}

// Run renames a device.
func (v *deviceRename) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	d, err := c.Devices.Rename(a.ctx, v.Device, v.Name)
	if err != nil {
		return err
	}
	return a.showDevice(d)
}

type deviceRevoke struct {
	deviceArg
	Yes bool `help:"Do not ask."`
}

// Help gives an example.
func (deviceRevoke) Help() string { return "Example:\n\n    nod device revoke dev_… --yes\n" }

// Run revokes a device.
func (v *deviceRevoke) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if err := a.sure(v.Yes, fmt.Sprintf("Revoke %s? It has to be enrolled anew after that.", v.Device)); err != nil {
		return err
	}
	if err := c.Devices.Revoke(a.ctx, v.Device); err != nil {
		return err
	}
	return a.show(map[string]string{"revoked": v.Device}, func(w io.Writer) { fmt.Fprintf(w, "Revoked %s.\n", v.Device) })
}

type deviceSettle struct {
	deviceArg
	Restore bool `xor:"what" required:"" help:"It is the user's: let it in."`
	Revoke  bool `xor:"what" required:"" help:"It is not: end it."`
}

// Help gives an example.
func (deviceSettle) Help() string { return "Example:\n\n    nod device settle dev_… --revoke\n" }

// Run settles a veto.
func (v *deviceSettle) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	d, err := c.Devices.Settle(a.ctx, v.Device, v.Restore)
	if err != nil {
		return err
	}
	return a.showDevice(d)
}
