package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/nodauth/nod/client"
)

type realmCmd struct {
	connection
	List realmList `cmd:"" help:"List the realms."`
	Show realmShow `cmd:"" help:"Show the realm of the API key, with its public keys."`
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
			rows = append(rows, []string{r.Name, r.Issuer, moment(r.CreatedAt)})
		}
		table(w, "NAME ISSUER CREATED", rows)
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
