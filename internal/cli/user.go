package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/nodauth/nod/client"
)

type userCmd struct {
	connection
	Create      userCreate   `cmd:"" help:"Create a user."`
	List        userList     `cmd:"" help:"List users."`
	Show        userShow     `cmd:"" help:"Show a user with devices and codes."`
	Update      userUpdate   `cmd:"" help:"Change aliases, groups and the like. Names never change."`
	Lock        userLock     `cmd:"" help:"Let nobody sign in by this name, and cancel what is live."`
	Unlock      userUnlock   `cmd:"" help:"Take a lock away."`
	Delete      userDelete   `cmd:"" help:"Delete a user with devices and factors."`
	Import      userImport   `cmd:"" help:"Create or change many users from a CSV file."`
	Invite      userInvite   `cmd:"" help:"Make a link for a user, or for everybody without a device."`
	Password    userPassword `cmd:"" help:"Set a user's password, and end what began under the former one."`
	LiftReport  userLift     `cmd:"" help:"End what a \"not me\" brought about."`
	TOTP        totpCmd      `cmd:"" name:"totp" help:"Time-based codes of a user."`
	BackupCodes userBackup   `cmd:"" help:"Make or remove a user's backup codes."`
	Bypass      userBypass   `cmd:"" help:"Issue or revoke a code that lets a user in without a device."`
	Prompts     userPrompts  `cmd:"" help:"List what was asked of a user."`
	Browsers    userBrowsers `cmd:"" help:"List or forget a user's known browsers."`
}

// userArg is the user that a verb is about.
type userArg struct {
	User string `arg:"" help:"Name, alias or id."`
}

// with finds the user and does something to them.
func (u userArg) with(a *app, do func(*client.Client, client.User) error) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	user, err := a.user(c, u.User)
	if err != nil {
		return err
	}
	return do(c, user)
}

// again reads the user anew and shows what became of them.
func (a *app) again(c *client.Client, id string) error {
	u, err := c.Users.Get(a.ctx, id)
	if err != nil {
		return err
	}
	return a.showUser(u)
}

func (a *app) showUser(u client.User) error { return a.show(u, func(w io.Writer) { userFields(w, u) }) }

func userFields(w io.Writer, u client.User) {
	owner := ""
	if u.Owner {
		owner = "yes"
	}
	display := u.DisplayName
	if display == u.Name {
		display = ""
	}
	fields(w, "id", u.ID, "name", u.Name, "display name", display, "aliases", strings.Join(u.Aliases, ", "), "groups", strings.Join(u.Groups, ", "),
		"external id", u.ExternalID, "state", u.State, "owner", owner, "password", yes(u.HasPassword),
		"reported", moment(u.ReportedAt), "created", moment(u.CreatedAt), "last seen", moment(u.LastSeenAt))
}

type userCreate struct {
	Name         string   `arg:"" help:"Name by which the user signs in."`
	Alias        []string `sep:"none" placeholder:"NAME" help:"Another name, such as an e-mail address. May be repeated."`
	Group        []string `sep:"none" placeholder:"NAME" help:"A group. May be repeated."`
	ExternalID   string   `name:"external-id" placeholder:"ID" help:"The directory's id."`
	Owner        bool     `help:"An owner, whom no bypass code helps."`
	PasswordFile string   `placeholder:"FILE" help:"File with the password; - for standard input."`
}

// Help gives examples.
func (userCreate) Help() string {
	return "Examples:\n\n    nod user create jo\n    nod user create jo --alias jo@example.org --group staff\n    pass show jo | nod user create jo --password-file -\n"
}

// Run creates a user.
func (v *userCreate) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	n := client.NewUser{Name: v.Name, Aliases: v.Alias, Groups: v.Group, ExternalID: v.ExternalID, Owner: v.Owner}
	if v.PasswordFile != "" {
		password, err := a.secret("Password", v.PasswordFile, true)
		if err != nil {
			return err
		}
		n.Password = client.Secret(password)
	}
	u, err := c.Users.Create(a.ctx, n)
	if err != nil {
		return err
	}
	return a.showUser(u)
}

type userList struct {
	Prefix   string `placeholder:"TEXT" help:"Only names and aliases that begin so."`
	State    string `enum:"active,locked," default:"" placeholder:"STATE" help:"Only active or locked ones."`
	Enrolled string `enum:"yes,no," default:"" placeholder:"YES|NO" help:"Only those with or without a device: yes or no."`
	Limit    int    `default:"100" help:"How many at most; 0 for all."`
}

// Help gives examples.
func (userList) Help() string {
	return "Examples:\n\n    nod user list\n    nod user list --enrolled no --json\n"
}

// Run lists users.
func (v *userList) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	users, err := collect(a, v.Limit, c.Users.All(a.ctx, client.UserQuery{
		Prefix: v.Prefix, State: v.State, Enrolled: v.Enrolled, Paging: client.Paging{Limit: pageSize(v.Limit)},
	}))
	if err != nil {
		return err
	}
	return a.show(client.Page[client.User]{Items: users}, func(w io.Writer) {
		var rows [][]string
		for _, u := range users {
			rows = append(rows, []string{u.Name, u.State, strings.Join(u.Aliases, ","), strings.Join(u.Groups, ","), moment(u.LastSeenAt), u.ID})
		}
		table(w, "NAME STATE ALIASES GROUPS LAST-SEEN ID", rows)
	})
}

type userShow struct{ userArg }

// Help gives an example.
func (userShow) Help() string { return "Example:\n\n    nod user show jo\n" }

// Run shows a user.
func (v *userShow) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		devices, err := c.Devices.List(a.ctx, u.ID, client.Paging{Limit: 200})
		if err != nil {
			return err
		}
		factors, err := c.Factors.Get(a.ctx, u.ID)
		if err != nil {
			return err
		}
		all := struct {
			client.User
			Devices []client.Device   `json:"devices"`
			Factors client.FactorList `json:"factors"`
		}{u, devices.Items, factors}
		return a.show(all, func(w io.Writer) {
			userFields(w, u)
			if len(devices.Items) > 0 {
				fmt.Fprintln(w)
				deviceTable(w, devices.Items)
			}
			showFactors(w, factors)
		})
	})
}

type userUpdate struct {
	userArg
	Alias        []string `sep:"none" placeholder:"NAME" help:"The aliases from now on. May be repeated."`
	ClearAliases bool     `help:"No aliases from now on."`
	Group        []string `sep:"none" placeholder:"NAME" help:"The groups from now on. May be repeated."`
	ClearGroups  bool     `help:"No groups from now on."`
	ExternalID   *string  `name:"external-id" placeholder:"ID" help:"The directory's id."`
	Owner        *bool    `negatable:"" help:"An owner, whom no bypass code helps."`
}

// Help gives examples.
func (userUpdate) Help() string {
	return "What is not named stays as it is; lists are replaced as a whole.\n\nExamples:\n\n    nod user update jo --alias jo@example.org --alias jsmith\n    nod user update jo --no-owner\n"
}

// Run changes a user.
func (v *userUpdate) Run(a *app) error {
	change := client.UserChange{ExternalID: v.ExternalID, Owner: v.Owner}
	if len(v.Alias) > 0 || v.ClearAliases {
		change.Aliases = new(append([]string{}, v.Alias...))
	}
	if len(v.Group) > 0 || v.ClearGroups {
		change.Groups = new(append([]string{}, v.Group...))
	}
	switch {
	case v.ClearAliases && len(v.Alias) > 0, v.ClearGroups && len(v.Group) > 0:
		return usagef("some are given and none are wanted: leave one of the two out.")
	case change == (client.UserChange{}):
		return usagef("nothing is to be changed: name --alias, --group, --external-id or --owner.")
	}
	return v.with(a, func(c *client.Client, u client.User) error {
		u, err := c.Users.Update(a.ctx, u.ID, change)
		if err != nil {
			return err
		}
		return a.showUser(u)
	})
}

type userLock struct{ userArg }

// Help gives an example.
func (userLock) Help() string { return "Example:\n\n    nod user lock jo\n" }

// Run locks a user.
func (v *userLock) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		u, err := c.Users.Lock(a.ctx, u.ID)
		if err != nil {
			return err
		}
		return a.showUser(u)
	})
}

type userUnlock struct{ userArg }

// Help gives an example.
func (userUnlock) Help() string { return "Example:\n\n    nod user unlock jo\n" }

// Run unlocks a user.
func (v *userUnlock) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		u, err := c.Users.Unlock(a.ctx, u.ID)
		if err != nil {
			return err
		}
		return a.showUser(u)
	})
}

type userDelete struct {
	userArg
	Yes bool `help:"Do not ask."`
}

// Help gives an example.
func (userDelete) Help() string {
	return "The events stay.\n\nExample:\n\n    nod user delete jo --yes\n"
}

// Run deletes a user.
func (v *userDelete) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		if err := a.sure(v.Yes, fmt.Sprintf("Delete %s (%s) with all devices and factors?", u.Name, u.ID)); err != nil {
			return err
		}
		if err := c.Users.Delete(a.ctx, u.ID); err != nil {
			return err
		}
		return a.show(map[string]string{"deleted": u.ID}, func(w io.Writer) { fmt.Fprintf(w, "Deleted %s (%s).\n", u.Name, u.ID) })
	})
}

type userPassword struct {
	userArg
	PasswordFile string `placeholder:"FILE" help:"File with the password; - for standard input."`
}

// Help gives examples.
func (userPassword) Help() string {
	return "Asks for the password at the terminal, or reads one line of standard input.\n\nExamples:\n\n    nod user password jo\n    pass show jo | nod user password jo\n"
}

// Run sets a password.
func (v *userPassword) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		password, err := a.secret("New password", v.PasswordFile, true)
		if err != nil {
			return err
		}
		if err := c.Users.SetPassword(a.ctx, u.ID, client.Secret(password)); err != nil {
			return err
		}
		return a.again(c, u.ID)
	})
}

type userLift struct {
	userArg
	Challenge []string `sep:"none" placeholder:"ID" help:"A challenge by which the user proved that it is them. May be repeated; an administrator needs none."`
}

// Help gives an example.
func (userLift) Help() string { return "Example:\n\n    nod user lift-report jo\n" }

// Run lifts a report.
func (v *userLift) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		u, err := c.Users.LiftReport(a.ctx, u.ID, v.Challenge...)
		if err != nil {
			return err
		}
		return a.showUser(u)
	})
}

type userPrompts struct {
	userArg
	Limit int `default:"50" help:"How many at most, up to 200."`
}

// Help gives an example.
func (userPrompts) Help() string { return "Example:\n\n    nod user prompts jo\n" }

// Run lists a user's prompts.
func (v *userPrompts) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		p, err := c.Prompts.List(a.ctx, u.ID, client.Paging{Limit: v.Limit})
		if err != nil {
			return err
		}
		return a.show(p, func(w io.Writer) {
			var rows [][]string
			for _, ch := range p.Items {
				state := string(ch.State)
				if ch.Reported {
					state += ", reported"
				}
				rows = append(rows, []string{moment(ch.CreatedAt), string(ch.Kind), state, string(ch.Method), string(ch.Match), yes(ch.Listed), yes(ch.Rung), ch.ID})
			}
			table(w, "CREATED KIND STATE METHOD MATCH LISTED RUNG ID", rows)
		})
	})
}

type userBrowsers struct {
	userArg
	Forget string `placeholder:"THUMBPRINT" help:"Make this one a stranger."`
}

// Help gives examples.
func (userBrowsers) Help() string {
	return "Examples:\n\n    nod user browsers jo\n    nod user browsers jo --forget NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs\n"
}

// Run lists or forgets browsers.
func (v *userBrowsers) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		if v.Forget != "" {
			if err := c.Browsers.Forget(a.ctx, u.ID, v.Forget); err != nil {
				return err
			}
			return a.show(map[string]string{"forgotten": v.Forget}, func(w io.Writer) { fmt.Fprintf(w, "Forgot %s.\n", v.Forget) })
		}
		p, err := c.Browsers.List(a.ctx, u.ID, client.Paging{Limit: 200})
		if err != nil {
			return err
		}
		return a.show(p, func(w io.Writer) {
			var rows [][]string
			for _, b := range p.Items {
				rows = append(rows, []string{b.Name, moment(b.LastSeenAt), moment(b.ExpiresAt), b.Thumbprint})
			}
			table(w, "NAME LAST-SEEN EXPIRES THUMBPRINT", rows)
		})
	})
}
