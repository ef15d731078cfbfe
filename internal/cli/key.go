package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodauth/nod/client"
	"github.com/nodauth/nod/internal/server"
)

// sealPoll is how often the walk is asked about.
const sealPoll = 200 * time.Millisecond

type signingKeyCmd struct {
	connection
	List   signingKeyList   `cmd:"" help:"List the realm's signing keys."`
	Rotate signingKeyRotate `cmd:"" help:"Replace a key."`
}

type signingKeyList struct {
	Seal bool `help:"List the sealing keys instead, and the nodes that hold them."`
}

// Help gives examples.
func (signingKeyList) Help() string {
	return "Examples:\n\n    nod key list\n    nod key list --seal\n"
}

// Run lists keys.
func (v *signingKeyList) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if v.Seal {
		s, err := c.SigningKeys.Seal(a.ctx)
		if err != nil {
			return err
		}
		return a.showSeal(s)
	}
	keys, err := c.SigningKeys.List(a.ctx)
	if err != nil {
		return err
	}
	return a.showSigningKeys(keys)
}

func (a *app) showSigningKeys(keys []client.SigningKey) error {
	return a.show(map[string][]client.SigningKey{"keys": keys}, func(w io.Writer) {
		rows := make([][]string, len(keys))
		for i, k := range keys {
			until := moment(k.RetiredAt)
			if k.RetiredAt.Before(k.ActiveAt) { // withdrawn: put back, so that it left the JWKS at once
				until = "-"
			}
			rows[i] = []string{k.Purpose, k.State, moment(k.ActiveAt), until, k.KID}
		}
		table(w, "PURPOSE STATE SIGNS-FROM SIGNS-UNTIL KID", rows)
	})
}

func (a *app) showSeal(s client.Seal) error {
	return a.show(s, func(w io.Writer) {
		fields(w, "sealing key", s.Key, "walk", s.Walk, "column", s.Column, "sealed again", strconv.Itoa(s.Sealed),
			"unreadable", strconv.Itoa(s.Unreadable), "done", moment(s.DoneAt))
		rows := make([][]string, len(s.Nodes))
		for i, n := range s.Nodes {
			rows[i] = []string{n.Seals, strings.Join(n.Holds, ","), moment(n.SeenAt), n.Node}
		}
		table(w, "SEALS-WITH HOLDS SEEN NODE", rows)
	})
}

type signingKeyRotate struct {
	Prompt rotatePrompt `cmd:"" help:"What prompts are signed with: devices follow."`
	Grant  rotateGrant  `cmd:"" help:"What grants are signed with: applications follow."`
	Seal   rotateSeal   `cmd:"" help:"What secrets in the database are sealed with."`
}

type rotatePrompt struct{}

// Help gives an example.
func (rotatePrompt) Help() string {
	return "The next key signs at once and devices follow with their next poll. Pending challenges are cancelled.\n\nExample:\n\n    nod key rotate prompt\n"
}

// Run rotates the prompt key.
func (rotatePrompt) Run(a *app) error {
	return a.rotate(func(c *client.Client) ([]client.SigningKey, error) { return c.SigningKeys.RotatePrompt(a.ctx) })
}

func (a *app) rotate(do func(*client.Client) ([]client.SigningKey, error)) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	keys, err := do(c)
	if err != nil {
		return err
	}
	return a.showSigningKeys(keys)
}

type rotateGrant struct {
	Emergency bool `help:"The key may be stolen: the new one signs at once and all others leave the JWKS."`
}

// Help gives examples.
func (rotateGrant) Help() string {
	return "The new key is published at once and signs a day later.\n\nExamples:\n\n    nod key rotate grant\n    nod key rotate grant --emergency\n"
}

// Run rotates the grant key.
func (v rotateGrant) Run(a *app) error {
	return a.rotate(func(c *client.Client) ([]client.SigningKey, error) {
		return c.SigningKeys.RotateGrant(a.ctx, v.Emergency)
	})
}

type rotateSeal struct {
	configured
	Add     bool   `xor:"step" required:"" help:"Step 1: add a key to the sealing key document. All nodes need the document before step 2."`
	Reseal  bool   `xor:"step" required:"" help:"Step 2: seal everything in the database with the new key, and wait for it."`
	DropOld bool   `xor:"step" required:"" help:"Step 3: take the old keys out of the document, once nothing is sealed with them."`
	Out     string `placeholder:"FILE" help:"New file for the changed document, where the configuration holds it as seal_key."`
}

// Help gives examples.
func (rotateSeal) Help() string {
	return "Steps 1 and 3 change seal.json in the data directory, where running servers find it within seconds. With\n" +
		"several nodes, copy it to all of them; with seal_key, write the changed document to a new file by --out\n" +
		"and restart the nodes with it.\n\nExamples:\n\n" +
		"    nod key rotate seal --add\n    nod key rotate seal --reseal\n    nod key rotate seal --drop-old\n"
}

// Run does one step.
func (v *rotateSeal) Run(a *app) error {
	switch {
	case v.Add:
		return v.add(a)
	case v.Reseal:
		s, err := a.reseal("")
		if err != nil {
			return err
		}
		return a.showSeal(s)
	}
	return v.dropOld(a)
}

func (v *rotateSeal) config(a *app) (server.Config, error) {
	cfg, err := v.load()
	if err == nil && v.Config == "" {
		cfg.DataDir = a.conn.DataDir
	}
	if err == nil && cfg.SealKey.IsZero() == (v.Out != "") {
		if v.Out != "" {
			return cfg, errors.New("--out is for a document in seal_key; this one is a file, which is changed where it is")
		}
		return cfg, errors.New("the document is in seal_key: name a new file for the changed one by --out")
	}
	return cfg, err
}

func (v *rotateSeal) add(a *app) error {
	cfg, err := v.config(a)
	if err != nil {
		return err
	}
	write, err := newKeyFile(v.Out)
	if err != nil {
		return err
	}
	id, document, err := server.AddSealKey(cfg)
	if _, err = write(client.Secret(document.Reveal()), err); err != nil {
		return err
	}
	return a.show(map[string]string{"added": id}, func(w io.Writer) {
		fields(w, "added", id)
		a.say("Give the document to every node, then: nod key rotate seal --reseal")
	})
}

// reseal has everything sealed with a key, the newest for "", and waits until it is.
func (a *app) reseal(with string) (client.Seal, error) {
	c, err := a.connect()
	if err != nil {
		return client.Seal{}, err
	}
	s, err := c.SigningKeys.Reseal(a.ctx)
	told := ""
	for err == nil && s.Walk != "done" {
		now := "Waiting until every node seals with the new key."
		if s.Walk == "running" {
			now = "Sealing " + s.Column + "."
		}
		if now != told {
			told = now
			a.say("%s", now)
		}
		select {
		case <-time.After(sealPoll):
			s, err = c.SigningKeys.Seal(a.ctx)
		case <-a.ctx.Done():
			err = a.ctx.Err()
		}
	}
	if err == nil && with != "" && s.Key != with {
		err = fmt.Errorf("the key in use became %s meanwhile, not %s: begin again", s.Key, with)
	}
	return s, err
}

// dropOld walks once more first, so that nothing is left under an old key at this moment, and not
// only when the last walk ended.
func (v *rotateSeal) dropOld(a *app) error {
	cfg, err := v.config(a)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	before, err := c.SigningKeys.Seal(a.ctx)
	if err != nil {
		return err
	}
	if before.Walk != "done" || len(before.Holds) == 0 || before.Key != before.Holds[len(before.Holds)-1] {
		return errors.New("not everything is sealed with the newest key: first nod key rotate seal --reseal")
	}
	s, err := a.reseal(before.Key)
	if err != nil {
		return err
	}
	for _, n := range s.Nodes {
		if n.Seals != s.Key || !slices.Contains(n.Holds, s.Key) {
			return fmt.Errorf("the node %s seals with %s still", n.Node, n.Seals)
		}
	}
	write, err := newKeyFile(v.Out)
	if err != nil {
		return err
	}
	document, err := server.KeepSealKey(cfg, s.Key)
	if _, err = write(client.Secret(document.Reveal()), err); err != nil {
		return err
	}
	return a.show(map[string]string{"kept": s.Key}, func(w io.Writer) {
		fields(w, "kept", s.Key)
		a.say("Give the document to every node. Keep an old one with the backups that need it, and nowhere else.")
	})
}
