package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nodauth/nod/client"
)

type applicationCmd struct {
	connection
	Create  applicationCreate  `cmd:"" help:"Create an application with its first API key."`
	List    applicationList    `cmd:"" help:"List applications."`
	Show    applicationShow    `cmd:"" help:"Show an application with its keys."`
	Update  applicationUpdate  `cmd:"" help:"Change an application."`
	Disable applicationDisable `cmd:"" help:"Refuse its keys and cancel what is live."`
	Enable  applicationEnable  `cmd:"" help:"Take a disabling back."`
	Key     keyCmd             `cmd:"" help:"API keys."`
}

// applicationArg is the application that a verb is about.
type applicationArg struct {
	Application string `arg:"" help:"Name or id."`
}

func (p applicationArg) with(a *app, do func(*client.Client, client.Application) error) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	app, err := a.application(c, p.Application)
	if err != nil {
		return err
	}
	return do(c, app)
}

func applicationFields(w io.Writer, p client.Application) {
	fields(w, "id", p.ID, "name", p.Name, "user names", p.UsernameForm, "icon", p.IconSHA256, "state", p.State, "disabled", moment(p.DisabledAt), "created", moment(p.CreatedAt))
}

func (a *app) showApplication(p client.Application) error {
	return a.show(p, func(w io.Writer) { applicationFields(w, p) })
}

type applicationCreate struct {
	Name         string   `arg:"" help:"Name, which prompts show."`
	UsernameForm string   `enum:"as_is,strip_domain,strip_suffix," default:"" placeholder:"FORM" help:"What is done to the names that it sends: as_is, strip_domain (EXAMPLE\\jo) or strip_suffix (jo@example.org)."`
	Scope        []string `enum:"authenticate,assert_first_factor,administer" default:"authenticate" help:"What its key may do: authenticate, assert_first_factor, administer. May be repeated."`
	KeyFile      string   `placeholder:"FILE" help:"Write the API key to this new file in place of showing it."`
}

// Help gives examples.
func (applicationCreate) Help() string {
	return "The API key is shown once.\n\nExamples:\n\n    nod application create Payroll\n    nod application create VPN --scope authenticate --scope assert_first_factor --key-file vpn.key\n"
}

// Run creates an application.
func (v *applicationCreate) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	write, err := newKeyFile(v.KeyFile)
	if err != nil {
		return err
	}
	got, err := c.Applications.Create(a.ctx, client.NewApplication{Name: v.Name, UsernameForm: v.UsernameForm, Scopes: v.Scope})
	if got.Key.Secret, err = write(got.Key.Secret, err); err != nil {
		return err
	}
	return a.show(got, func(w io.Writer) {
		applicationFields(w, got.Application)
		a.keyFields(w, got.Key, v.KeyFile)
	})
}

func (a *app) keyFields(w io.Writer, k client.Key, file string) {
	fields(w, "key", string(k.Secret), "key file", file, "key id", k.ID, "scopes", strings.Join(k.Scopes, ", "), "expires", moment(k.ExpiresAt))
	if k.Secret != "" {
		a.say("The key is shown this one time.")
	}
}

type applicationList struct {
	Limit int `default:"100" help:"How many at most; 0 for all."`
}

// Help gives an example.
func (applicationList) Help() string { return "Example:\n\n    nod app list\n" }

// Run lists applications.
func (v *applicationList) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	apps, err := collect(a, v.Limit, c.Applications.All(a.ctx))
	if err != nil {
		return err
	}
	return a.show(client.Page[client.Application]{Items: apps}, func(w io.Writer) {
		var rows [][]string
		for _, p := range apps {
			rows = append(rows, []string{p.Name, p.UsernameForm, moment(p.CreatedAt), moment(p.DisabledAt), p.ID})
		}
		table(w, "NAME USER-NAMES CREATED DISABLED ID", rows)
	})
}

type applicationShow struct{ applicationArg }

// Help gives an example.
func (applicationShow) Help() string { return "Example:\n\n    nod app show Payroll\n" }

// Run shows an application.
func (v *applicationShow) Run(a *app) error {
	return v.with(a, func(c *client.Client, p client.Application) error {
		keys, err := c.Keys.List(a.ctx, p.ID, client.Paging{Limit: mostPerPage})
		if err != nil {
			return err
		}
		all := struct {
			client.Application
			Keys []client.Key `json:"keys"`
		}{p, keys.Items}
		return a.show(all, func(w io.Writer) {
			applicationFields(w, p)
			fmt.Fprintln(w)
			keyTable(w, keys.Items)
		})
	})
}

type applicationUpdate struct {
	applicationArg
	Name         *string `placeholder:"NAME" help:"New name, which prompts show."`
	UsernameForm *string `placeholder:"FORM" help:"What is done to the names that it sends: as_is, strip_domain or strip_suffix."`
	IconSHA256   *string `name:"icon-sha256" placeholder:"DIGEST" help:"SHA-256 of the icon, in base64url; empty for none."`
}

// Help gives an example.
func (applicationUpdate) Help() string {
	return "Example:\n\n    nod app update Payroll --name \"Payroll (test)\"\n"
}

// Run changes an application.
func (v *applicationUpdate) Run(a *app) error {
	change := client.ApplicationChange{Name: v.Name, UsernameForm: v.UsernameForm, IconSHA256: v.IconSHA256}
	if change == (client.ApplicationChange{}) {
		return usagef("nothing is to be changed: name --name, --username-form or --icon-sha256.")
	}
	return v.with(a, func(c *client.Client, p client.Application) error {
		p, err := c.Applications.Update(a.ctx, p.ID, change)
		if err != nil {
			return err
		}
		return a.showApplication(p)
	})
}

type applicationDisable struct{ applicationArg }

// Help gives an example.
func (applicationDisable) Help() string { return "Example:\n\n    nod app disable Payroll\n" }

// Run disables an application.
func (v *applicationDisable) Run(a *app) error {
	return v.with(a, func(c *client.Client, p client.Application) error {
		p, err := c.Applications.Disable(a.ctx, p.ID)
		if err != nil {
			return err
		}
		return a.showApplication(p)
	})
}

type applicationEnable struct{ applicationArg }

// Help gives an example.
func (applicationEnable) Help() string { return "Example:\n\n    nod app enable Payroll\n" }

// Run enables an application.
func (v *applicationEnable) Run(a *app) error {
	return v.with(a, func(c *client.Client, p client.Application) error {
		p, err := c.Applications.Enable(a.ctx, p.ID)
		if err != nil {
			return err
		}
		return a.showApplication(p)
	})
}

type keyCmd struct {
	Create keyCreate `cmd:"" help:"Create a second key."`
	List   keyList   `cmd:"" help:"List keys, without their secrets."`
	Rotate keyRotate `cmd:"" help:"Create a key in place of the present one, which lives on for a while."`
	Revoke keyRevoke `cmd:"" help:"End a key at once."`
}

func keyTable(w io.Writer, keys []client.Key) {
	var rows [][]string
	for _, k := range keys {
		rows = append(rows, []string{k.ID, yes(k.Live), strings.Join(k.Scopes, ","), moment(k.CreatedAt), moment(k.ExpiresAt), moment(k.RevokedAt)})
	}
	table(w, "KEY LIVE SCOPES CREATED EXPIRES REVOKED", rows)
}

type keyCreate struct {
	applicationArg
	Scope    []string      `enum:"authenticate,assert_first_factor,administer" default:"authenticate" help:"What it may do: authenticate, assert_first_factor, administer. May be repeated."`
	ValidFor time.Duration `placeholder:"DURATION" help:"How long it lives, such as 720h; for good if left out."`
	KeyFile  string        `placeholder:"FILE" help:"Write the API key to this new file in place of showing it."`
}

// Help gives an example.
func (keyCreate) Help() string {
	return "At most two keys of an application live at a time.\n\nExample:\n\n    nod app key create Payroll --key-file payroll.key\n"
}

// Run creates a key.
func (v *keyCreate) Run(a *app) error {
	return v.with(a, func(c *client.Client, p client.Application) error {
		write, err := newKeyFile(v.KeyFile)
		if err != nil {
			return err
		}
		n := client.NewKey{Scopes: v.Scope}
		if v.ValidFor > 0 {
			n.ExpiresAt = a.now().Add(v.ValidFor).UTC().Truncate(time.Millisecond)
		}
		k, err := c.Keys.Create(a.ctx, p.ID, n)
		if k.Secret, err = write(k.Secret, err); err != nil {
			return err
		}
		return a.show(k, func(w io.Writer) { a.keyFields(w, k, v.KeyFile) })
	})
}

type keyList struct{ applicationArg }

// Help gives an example.
func (keyList) Help() string { return "Example:\n\n    nod app key list Payroll\n" }

// Run lists keys.
func (v *keyList) Run(a *app) error {
	return v.with(a, func(c *client.Client, p client.Application) error {
		keys, err := c.Keys.List(a.ctx, p.ID, client.Paging{Limit: mostPerPage})
		if err != nil {
			return err
		}
		return a.show(keys, func(w io.Writer) { keyTable(w, keys.Items) })
	})
}

type keyRotate struct {
	applicationArg
	Key     string         `placeholder:"ID" help:"The key to replace; the newest live one if left out."`
	Grace   *time.Duration `placeholder:"DURATION" help:"How long the present key lives on, such as 1h; a day if left out."`
	KeyFile string         `placeholder:"FILE" help:"Write the API key to this new file in place of showing it."`
}

// Help gives an example.
func (keyRotate) Help() string {
	return "Example:\n\n    nod app key rotate Payroll --grace 1h --key-file payroll.new\n"
}

// Run rotates a key.
func (v *keyRotate) Run(a *app) error {
	return v.with(a, func(c *client.Client, p client.Application) error {
		write, err := newKeyFile(v.KeyFile)
		if err != nil {
			return err
		}
		k, err := c.Keys.Rotate(a.ctx, p.ID, client.Rotation{Key: v.Key, Grace: v.Grace})
		if k.Secret, err = write(k.Secret, err); err != nil {
			return err
		}
		return a.show(k, func(w io.Writer) { a.keyFields(w, k, v.KeyFile) })
	})
}

type keyRevoke struct {
	applicationArg
	Key string `arg:"" help:"Id of the key."`
}

// Help gives an example.
func (keyRevoke) Help() string { return "Example:\n\n    nod app key revoke Payroll key_…\n" }

// Run revokes a key.
func (v *keyRevoke) Run(a *app) error {
	return v.with(a, func(c *client.Client, p client.Application) error {
		if err := c.Keys.Revoke(a.ctx, p.ID, v.Key); err != nil {
			return err
		}
		return a.show(map[string]string{"revoked": v.Key}, func(w io.Writer) { fmt.Fprintf(w, "Revoked %s of %s.\n", v.Key, p.Name) })
	})
}
