package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/nodauth/nod/client"
)

type realmCmd struct {
	connection
	Create  realmCreate  `cmd:"" help:"Make a realm, with an API key that administers it."`
	List    realmList    `cmd:"" help:"List the realms."`
	Show    realmShow    `cmd:"" help:"Show the realm of the API key, with its public keys."`
	Hosts   realmHosts   `cmd:"" help:"Say which hosts belong to a realm."`
	Disable realmDisable `cmd:"" help:"Refuse everything of a realm and cancel what is live."`
	Enable  realmEnable  `cmd:"" help:"Take a disabling back."`
}

func realmFields(w io.Writer, r client.Realm) {
	fields(w, "name", r.Name, "issuer", r.Issuer, "hosts", strings.Join(r.Hosts, ", "), "state", r.State, "disabled", moment(r.DisabledAt), "created", moment(r.CreatedAt))
}

type realmCreate struct {
	Name    string   `arg:"" help:"Lower-case letters, digits and hyphens."`
	Host    []string `placeholder:"HOST" help:"A host that belongs to it, such as login.shop.example. May be repeated."`
	KeyFile string   `placeholder:"FILE" help:"Write its API key to this new file in place of showing it."`
}

// Help gives examples.
func (realmCreate) Help() string {
	return "The API key is shown once. It administers the new realm and nothing else.\n\nExamples:\n\n" +
		"    nod realm create shop --key-file shop.key\n    nod user create jo --api-key-file shop.key\n"
}

// Run makes a realm.
func (v *realmCreate) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	write, err := newKeyFile(v.KeyFile)
	if err != nil {
		return err
	}
	got, err := c.Realms.Create(a.ctx, v.Name, v.Host)
	if got.Key.Secret, err = write(got.Key.Secret, err); err != nil {
		return err
	}
	return a.show(got, func(w io.Writer) {
		realmFields(w, got.Realm)
		a.keyFields(w, got.Key, v.KeyFile)
	})
}

type realmHosts struct {
	Realm string   `arg:"" help:"Name."`
	Host  []string `arg:"" optional:"" help:"All hosts that belong to it; none takes them away."`
}

// Help gives examples.
func (realmHosts) Help() string {
	return "On these hosts nothing of another realm is served. The issuer stays.\n\nExamples:\n\n" +
		"    nod realm hosts shop login.shop.example\n    nod realm hosts shop\n"
}

// Run changes a realm's hosts.
func (v *realmHosts) Run(a *app) error {
	return a.changeRealm(func(c *client.Client) (client.Realm, error) { return c.Realms.SetHosts(a.ctx, v.Realm, v.Host) })
}

func (a *app) changeRealm(do func(*client.Client) (client.Realm, error)) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	r, err := do(c)
	if err != nil {
		return err
	}
	return a.show(r, func(w io.Writer) { realmFields(w, r) })
}

type realmDisable struct {
	Realm string `arg:"" help:"Name."`
}

// Help gives an example.
func (realmDisable) Help() string {
	return "Its API keys and devices are refused at once. Its grant keys stay published.\n\nExample:\n\n    nod realm disable shop\n"
}

// Run stops a realm.
func (v *realmDisable) Run(a *app) error {
	return a.changeRealm(func(c *client.Client) (client.Realm, error) { return c.Realms.Disable(a.ctx, v.Realm) })
}

type realmEnable struct {
	Realm string `arg:"" help:"Name."`
}

// Help gives an example.
func (realmEnable) Help() string { return "Example:\n\n    nod realm enable shop\n" }

// Run lets a realm work again.
func (v *realmEnable) Run(a *app) error {
	return a.changeRealm(func(c *client.Client) (client.Realm, error) { return c.Realms.Enable(a.ctx, v.Realm) })
}

type realmList struct{}

// Help gives an example.
func (realmList) Help() string { return "Example:\n\n    nod realm list\n" }

// Run lists realms.
func (realmList) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.Realms.List(a.ctx, client.Paging{Limit: 200})
	if err != nil {
		return err
	}
	return a.show(p, func(w io.Writer) {
		var rows [][]string
		for _, r := range p.Items {
			rows = append(rows, []string{r.Name, r.Issuer, strings.Join(r.Hosts, ","), moment(r.CreatedAt), moment(r.DisabledAt)})
		}
		table(w, "NAME ISSUER HOSTS CREATED DISABLED", rows)
	})
}

type realmShow struct{}

// Help gives an example.
func (realmShow) Help() string {
	return "The prompt keys are those that devices pin at enrolment.\n\nExamples:\n\n    nod realm show\n    nod realm show --json\n"
}

// Run shows the realm.
func (realmShow) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	r, err := c.Realms.Current(a.ctx)
	if err != nil {
		return err
	}
	return a.show(r, func(w io.Writer) {
		fields(w, "name", r.Name, "issuer", r.Issuer, "grant keys", r.GrantKeysURL, "key set", strconv.FormatInt(r.KeySetSerial, 10), "pin", r.PIN)
		if keys, err := json.Marshal(r.PromptKeys); err == nil {
			fmt.Fprintf(w, "prompt keys\n%s\n", keys)
		}
	})
}
