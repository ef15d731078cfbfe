package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/protocol"
)

type authEnrol struct {
	Link   string `arg:"" help:"The link; - reads it from standard input."`
	Name   string `placeholder:"TEXT" help:"Name of this device; the host's name if left out."`
	NoWait bool   `help:"Do not wait for the confirmation."`
}

// Help gives examples.
func (authEnrol) Help() string {
	return "Shows six digits, which are typed where the enrolment was asked for, and waits for that. With --json the digits are the first line, the enrolled account the second.\n\n" +
		"Examples:\n\n    nod authenticator enrol 'https://auth.example.org/enrol#…'\n    nod authenticator enrol - --name laptop --json < link\n"
}

// enrolOutput is a claimed enrolment as JSON.
type enrolOutput struct {
	accountOutput
	ConfirmCode string `json:"confirm_code"`
	ConfirmBy   string `json:"confirm_by"`
}

// Run enrols this machine.
func (v *authEnrol) Run(a *app, parent *authenticatorCmd) error {
	link := v.Link
	if link == "-" {
		var err error
		if link, err = a.readLine(); err != nil {
			return err
		}
	}
	if _, err := protocol.ParseTicketLink(link); err != nil {
		return fmt.Errorf("this is no enrolment link: %w\nIt looks like https://HOST/enrol#TICKET.PIN; quote it, since shells know what # means", err)
	}
	name := v.Name
	if name == "" {
		if name, _ = os.Hostname(); name == "" {
			name = "command line"
		}
	}
	auth, err := parent.open(a, true)
	if err != nil {
		return err
	}
	if err := samePassphrase(auth); err != nil {
		return err
	}
	e, err := auth.Enrol(a.ctx, link, name)
	if err != nil {
		return err
	}
	if a.json {
		err = a.line(enrolOutput{accountJSON(e.Account), e.ConfirmCode, e.ConfirmBy.UTC().Format("2006-01-02T15:04:05.000Z")})
		if err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.stdout, "This device is to be enrolled for %s.\nType this where the enrolment was asked for: %s %s\n", label(e.Account), e.ConfirmCode[:3], e.ConfirmCode[3:])
	}
	if v.NoWait {
		return nil
	}
	a.say("Waiting for the digits to be typed there …")
	acc, err := e.Wait(a.ctx)
	if errors.Is(err, authenticator.ErrRevoked) {
		return fmt.Errorf("this device was not enrolled: the digits were wrong or did not come in time")
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.line(accountJSON(acc))
	}
	fmt.Fprintf(a.stdout, "Enrolled.\n")
	accountFields(a.stdout, acc)
	return nil
}

// samePassphrase refuses to seal a second account with another passphrase than the first.
func samePassphrase(auth *authenticator.Authenticator) error {
	accounts, err := auth.Accounts()
	if err != nil || len(accounts) == 0 {
		return err
	}
	_, err = auth.Device(accounts[0].ID)
	return err
}

type authList struct{}

// Help gives an example.
func (authList) Help() string { return "Example:\n\n    nod authenticator list\n" }

// Run lists accounts.
func (authList) Run(a *app, parent *authenticatorCmd) error {
	// The list needs no key, and so no passphrase.
	path := parent.path(a)
	kind, err := keyringOf(path)
	if errors.Is(err, os.ErrNotExist) {
		return a.showAccounts(nil)
	}
	if err != nil {
		return err
	}
	ring := authenticator.Plain()
	if kind != ring.Kind() {
		ring = authenticator.Passphrase(nil)
	}
	store, err := authenticator.OpenFile(path, ring)
	if err != nil {
		return err
	}
	auth, err := authenticator.New(authenticator.Config{Store: store})
	if err != nil {
		return err
	}
	accounts, err := auth.Accounts()
	if err != nil {
		return err
	}
	return a.showAccounts(accounts)
}

func (a *app) showAccounts(accounts []authenticator.Account) error {
	list := make([]accountOutput, 0, len(accounts))
	for _, acc := range accounts {
		list = append(list, accountJSON(acc))
	}
	return a.show(map[string]any{"items": list}, func(w io.Writer) {
		if len(accounts) == 0 {
			a.say("This machine is not enrolled. Enrol it with: nod authenticator enrol LINK")
			return
		}
		var rows [][]string
		for _, acc := range accounts {
			rows = append(rows, []string{acc.User.Name, acc.ID.Issuer, acc.ID.Realm, acc.Name, string(acc.State), acc.ID.Device})
		}
		table(w, "USER SERVER REALM NAME STATE DEVICE", rows)
	})
}

type authHistory struct {
	accountFlag
	Limit int `default:"50" help:"How many at most; 0 for all."`
}

// Help gives an example.
func (authHistory) Help() string {
	return "What was not you can be reported within a day: nod authenticator answer --challenge ID --report\n\nExample:\n\n    nod authenticator history\n"
}

// Run lists the history.
func (v *authHistory) Run(a *app, parent *authenticatorCmd) error {
	_, d, _, err := v.one(a, parent)
	if err != nil {
		return err
	}
	items := []protocol.HistoryItem{}
	for cursor := ""; ; {
		page, next, err := d.History(a.ctx, cursor)
		if err != nil {
			return err
		}
		items = append(items, page...)
		if next == "" || next == cursor || v.Limit > 0 && len(items) >= v.Limit {
			break
		}
		cursor = next
	}
	if v.Limit > 0 && len(items) > v.Limit {
		items = items[:v.Limit]
	}
	return a.show(map[string]any{"items": items}, func(w io.Writer) {
		var rows [][]string
		for _, i := range items {
			state := i.State
			if i.Reported {
				state += ", reported"
			}
			rows = append(rows, []string{moment(time.UnixMilli(i.At)), i.App, string(i.Kind), state, yes(i.Listed), i.Challenge})
		}
		table(w, "AT APPLICATION KIND STATE LISTED CHALLENGE", rows)
	})
}

type authRename struct {
	accountFlag
	Name string `arg:"" help:"New name."`
}

// Help gives an example.
func (authRename) Help() string {
	return "Example:\n\n    nod authenticator rename \"Laptop at home\"\n"
}

// Run renames the device.
func (v *authRename) Run(a *app, parent *authenticatorCmd) error {
	_, d, _, err := v.one(a, parent)
	if err != nil {
		return err
	}
	if err := d.Rename(a.ctx, v.Name); err != nil {
		return err
	}
	acc, err := d.Account()
	if err != nil {
		return err
	}
	return a.showAccount(acc)
}

type authRotate struct {
	accountFlag
	Yes bool `help:"Do not ask."`
}

// Help gives an example.
func (authRotate) Help() string {
	return "A quarantine begins: for a day this device may sign in, deny and report, and no more.\n\nExample:\n\n    nod authenticator rotate --yes\n"
}

// Run rotates the device's key.
func (v *authRotate) Run(a *app, parent *authenticatorCmd) error {
	_, d, acc, err := v.one(a, parent)
	if err != nil {
		return err
	}
	if err := a.sure(v.Yes, "Replace the key for "+label(acc)+"? A quarantine of a day begins."); err != nil {
		return err
	}
	if err := d.Rotate(a.ctx); err != nil {
		return err
	}
	// What the server makes of it is told by a poll; prompts are left for who watches.
	if _, err := d.Poll(a.ctx, 0); err != nil {
		return err
	}
	if acc, err = d.Account(); err != nil {
		return err
	}
	return a.showAccount(acc)
}

type authVeto struct {
	accountFlag
	Device    string `arg:"" help:"Id of the device to stop, as the notice says."`
	Enrolment string `arg:"" help:"Id of its enrolment, likewise."`
}

// Help gives an example.
func (authVeto) Help() string {
	return "Works while the new device is in quarantine. \"nod authenticator watch\" shows the notice and takes v.\n\nExample:\n\n    nod authenticator veto dev_… enr_…\n"
}

// Run vetoes a device.
func (v *authVeto) Run(a *app, parent *authenticatorCmd) error {
	_, d, _, err := v.one(a, parent)
	if err != nil {
		return err
	}
	if err := d.Veto(a.ctx, protocol.NoticeDevice{ID: v.Device, Enrolment: v.Enrolment}); err != nil {
		return err
	}
	return a.show(map[string]string{"vetoed": v.Device}, func(w io.Writer) {
		fmt.Fprintf(w, "Stopped %s. An administrator settles what becomes of it.\n", v.Device)
	})
}

type authRemove struct {
	accountFlag
	Yes    bool `help:"Do not ask."`
	Forget bool `help:"Remove it here only, without a word to the server; for servers that are gone."`
}

// Help gives an example.
func (authRemove) Help() string { return "Example:\n\n    nod authenticator remove --yes\n" }

// Run removes the device.
func (v *authRemove) Run(a *app, parent *authenticatorCmd) error {
	auth, d, acc, err := v.one(a, parent)
	if err != nil {
		return err
	}
	if err := a.sure(v.Yes, "Remove this device for "+label(acc)+"? It has to be enrolled anew after that."); err != nil {
		return err
	}
	if v.Forget {
		err = auth.Forget(a.ctx, acc.ID)
	} else {
		err = d.Unenrol(a.ctx)
	}
	if err != nil {
		return err
	}
	return a.show(map[string]string{"removed": acc.ID.Device}, func(w io.Writer) { fmt.Fprintf(w, "Removed %s for %s.\n", acc.ID.Device, label(acc)) })
}

type authKeys struct{ accountFlag }

// Help gives an example.
func (authKeys) Help() string {
	return "The public key of this device and the realm's prompt keys as pinned here. Kept apart from the server, they are what a receipt is verified with.\n\nExample:\n\n    nod authenticator keys --json > keys.json\n"
}

// Run prints keys.
func (v *authKeys) Run(a *app, parent *authenticatorCmd) error {
	_, d, acc, err := v.one(a, parent)
	if err != nil {
		return err
	}
	own, err := protocol.NewJWK(d.PublicKey())
	if err != nil {
		return err
	}
	set, err := d.KeySet()
	if err != nil {
		return err
	}
	pin, err := protocol.KeyPIN(set.Raw())
	if err != nil {
		return err
	}
	out := keysOutput{Issuer: acc.ID.Issuer, Realm: acc.ID.Realm, Device: acc.ID.Device, DeviceKey: own, Serial: set.Serial, PIN: pin}
	out.RealmKeys.Keys = []protocol.JWK{set.Current, set.Next}
	return a.show(out, func(w io.Writer) {
		fields(w, "server", acc.ID.Issuer, "realm", acc.ID.Realm, "device", acc.ID.Device, "device key", own.Thumbprint(),
			"key set", strconv.FormatInt(set.Serial, 10), "realm key", set.Current.Thumbprint(), "next realm key", set.Next.Thumbprint(), "pin", pin)
		a.say("These are thumbprints; --json prints the keys.")
	})
}
