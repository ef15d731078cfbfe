package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nodauth/nod/client"
	"github.com/nodauth/nod/internal/cli/roster"
)

const inviteBatch = 100

type userInvite struct {
	User             string        `arg:"" optional:"" help:"Name, alias or id."`
	AllWithoutDevice bool          `help:"Everybody who has no device and no time-based codes."`
	Again            bool          `help:"With --all-without-device: a new link also for those who have a live one, which ends."`
	Reset            bool          `help:"The link leads to a new password, not to a device."`
	SetPassword      bool          `help:"A person without a password may set one."`
	ExpiresIn        time.Duration `default:"168h" placeholder:"TIME" help:"How long it is good for, 1h to 30d."`
	Out              string        `placeholder:"FILE" help:"Write name,link,expires to this new file, which only you can read."`
}

// Help gives examples.
func (userInvite) Help() string {
	return "A link is shown once, here. It asks for the person's first factor before it does anything.\n\n" +
		"Examples:\n\n    nod user invite jo\n    nod user invite jo --reset\n    nod user invite --all-without-device --out links.csv\n"
}

// Run invites one user or many.
func (v *userInvite) Run(a *app) error {
	switch {
	case (v.User == "") != v.AllWithoutDevice:
		return usagef("name a user, or --all-without-device.")
	case v.AllWithoutDevice && v.Reset:
		return usagef("passwords are reset one by one: name a user.")
	case v.Again && !v.AllWithoutDevice:
		return usagef("--again goes with --all-without-device; a user who is named always gets a new link.")
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	n := client.NewInvitation{ExpiresIn: v.ExpiresIn, SetPassword: v.SetPassword}
	if v.Reset {
		n.Purpose = client.ToReset
	}
	if v.AllWithoutDevice {
		return v.many(a, c, n)
	}
	u, err := a.user(c, v.User)
	if err != nil {
		return err
	}
	links, err := newLinks(v.Out)
	if err != nil {
		return err
	}
	i, err := c.Invitations.Create(a.ctx, u.ID, n)
	if err == nil {
		err = links.add(i)
	}
	if err := errors.Join(err, links.close()); err != nil {
		return err
	}
	return a.showInvitation(i)
}

func (a *app) showInvitation(i client.Invitation) error {
	return a.show(i, func(w io.Writer) {
		fields(w, "id", i.ID, "user", i.Name, "leads to", i.Purpose, "state", i.State, "link", string(i.URL),
			"created", moment(i.CreatedAt), "expires", moment(i.ExpiresAt), "ended", moment(i.EndedAt))
	})
}

// invitedMany is what came of inviting many.
type invitedMany struct {
	Invited int              `json:"invited"`
	Skipped map[string]int   `json:"skipped"`
	Links   []invitationLink `json:"links,omitzero"` // unless they went to a file
}

type invitationLink struct {
	Name      string    `json:"name"`
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (v *userInvite) many(a *app, c *client.Client, n client.NewInvitation) (err error) {
	links, err := newLinks(v.Out)
	if err != nil {
		return err
	}
	result := invitedMany{Skipped: map[string]int{}}
	defer func() { err = errors.Join(err, links.close()) }()
	if v.Out == "" && !a.json {
		links = linksTo(a.stdout)
	}
	var batch []string
	send := func() error {
		if len(batch) == 0 {
			return nil
		}
		got, err := c.Invitations.CreateMany(a.ctx, batch, n, !v.Again)
		if err != nil {
			return err
		}
		batch = batch[:0]
		for _, i := range got {
			if i.Invitation == nil {
				result.Skipped[i.Skipped]++
				continue
			}
			result.Invited++
			if v.Out == "" {
				result.Links = append(result.Links, invitationLink{i.Invitation.Name, string(i.Invitation.URL), i.Invitation.ExpiresAt})
			}
			if err := links.add(*i.Invitation); err != nil {
				return err
			}
		}
		return links.flush() // what is on disk is not lost if the next batch fails
	}
	for u, err := range c.Users.All(a.ctx, client.UserQuery{State: "active", Enrolled: "no", Paging: client.Paging{Limit: 200}}) {
		if err != nil {
			return err
		}
		if batch = append(batch, u.ID); len(batch) == inviteBatch {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if err := send(); err != nil {
		return err
	}
	var skipped []string
	for _, why := range []string{"invited", "enrolled", "locked", "unknown"} {
		if k := result.Skipped[why]; k > 0 {
			skipped = append(skipped, fmt.Sprintf("%d %s", k, skippedWords(why)))
		}
	}
	a.say("Invited %d.", result.Invited)
	if len(skipped) > 0 {
		a.say("Left out: %s.", strings.Join(skipped, ", "))
	}
	if a.json {
		return a.show(result, nil)
	}
	return nil
}

func skippedWords(why string) string {
	switch why {
	case "invited":
		return "with a live invitation (--again ends it)"
	case "enrolled":
		return "who had a factor before (\"nod enrolment create\")"
	}
	return why
}

// links is a CSV of links. A nil one takes and forgets them.
type links struct {
	csv  *csv.Writer
	file *os.File
}

// newLinks makes the file, which must be new: the links in another one are nowhere else.
func newLinks(path string) (*links, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no file was asked for
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already, and may hold links that are nowhere else: name another file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("make the file of links: %w", err)
	}
	l := linksTo(f)
	l.file = f
	return l, nil
}

func linksTo(w io.Writer) *links {
	l := &links{csv: csv.NewWriter(w)}
	_ = l.csv.Write([]string{"name", "link", "expires"}) // flush tells of an error
	return l
}

func (l *links) add(i client.Invitation) error {
	if l == nil {
		return nil
	}
	return l.csv.Write([]string{roster.Cell(i.Name), string(i.URL), i.ExpiresAt.UTC().Format(time.RFC3339)})
}

func (l *links) flush() error {
	if l == nil {
		return nil
	}
	l.csv.Flush()
	return l.csv.Error()
}

func (l *links) close() error {
	if l == nil || l.file == nil {
		return l.flush()
	}
	return errors.Join(l.flush(), l.file.Sync(), l.file.Close())
}

type invitationCmd struct {
	connection
	List   invitationList   `cmd:"" help:"List invitations."`
	Show   invitationShow   `cmd:"" help:"Show an invitation."`
	Revoke invitationRevoke `cmd:"" help:"End an invitation."`
	Resend invitationResend `cmd:"" help:"Make another link in place of one; the old one is dead."`
}

type invitationList struct {
	User  string `placeholder:"NAME" help:"Only those of this user."`
	State string `enum:"live,used,revoked,superseded,expired," default:"" placeholder:"STATE" help:"Only those in this state."`
	Limit int    `default:"100" help:"How many at most; 0 for all."`
}

// Help gives an example.
func (invitationList) Help() string {
	return "Example:\n\n    nod invitation list --state live\n"
}

// Run lists invitations.
func (v *invitationList) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	q := client.InvitationQuery{State: v.State, Paging: client.Paging{Limit: pageSize(v.Limit)}}
	if v.User != "" {
		u, err := a.user(c, v.User)
		if err != nil {
			return err
		}
		q.User = u.ID
	}
	list, err := collect(a, v.Limit, c.Invitations.All(a.ctx, q))
	if err != nil {
		return err
	}
	return a.show(client.Page[client.Invitation]{Items: list}, func(w io.Writer) {
		var rows [][]string
		for _, i := range list {
			rows = append(rows, []string{i.Name, i.Purpose, i.State, moment(i.CreatedAt), moment(i.ExpiresAt), i.ID})
		}
		table(w, "USER LEADS-TO STATE CREATED EXPIRES ID", rows)
	})
}

// invitationArg is the invitation that a verb is about.
type invitationArg struct {
	ID string `arg:"" help:"Id of the invitation."`
}

func (v invitationArg) with(a *app, do func(*client.Client) (client.Invitation, error)) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	i, err := do(c)
	if err != nil {
		return err
	}
	return a.showInvitation(i)
}

type invitationShow struct{ invitationArg }

// Help gives an example.
func (invitationShow) Help() string {
	return "Example:\n\n    nod invitation show inv_2abcdefghijklmnopqrstuvwxy\n"
}

// Run shows an invitation.
func (v *invitationShow) Run(a *app) error {
	return v.with(a, func(c *client.Client) (client.Invitation, error) { return c.Invitations.Get(a.ctx, v.ID) })
}

type invitationRevoke struct{ invitationArg }

// Help gives an example.
func (invitationRevoke) Help() string {
	return "What was begun through it ends too.\n\nExample:\n\n    nod invitation revoke inv_2abcdefghijklmnopqrstuvwxy\n"
}

// Run revokes an invitation.
func (v *invitationRevoke) Run(a *app) error {
	return v.with(a, func(c *client.Client) (client.Invitation, error) { return c.Invitations.Revoke(a.ctx, v.ID) })
}

type invitationResend struct{ invitationArg }

// Help gives an example.
func (invitationResend) Help() string {
	return "Example:\n\n    nod invitation resend inv_2abcdefghijklmnopqrstuvwxy\n"
}

// Run makes another link.
func (v *invitationResend) Run(a *app) error {
	return v.with(a, func(c *client.Client) (client.Invitation, error) { return c.Invitations.Resend(a.ctx, v.ID) })
}
