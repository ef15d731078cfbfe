package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/protocol"
)

type authenticatorCmd struct {
	File         string `env:"NOD_AUTHENTICATOR_FILE" placeholder:"FILE" help:"Key file; authenticator.json in ${config_dir} if left out."`
	NoPassphrase bool   `help:"A new key file gets no passphrase: only its permissions protect it."`

	Enrol   authEnrol   `cmd:"" help:"Enrol this machine with the link of an enrolment."`
	Watch   authWatch   `cmd:"" help:"Show prompts as they come, and take the answers."`
	Answer  authAnswer  `cmd:"" help:"Answer one prompt, for scripts."`
	List    authList    `cmd:"" help:"List the accounts in the key file."`
	History authHistory `cmd:"" help:"List what was asked of the user lately."`
	Rename  authRename  `cmd:"" help:"Rename this device."`
	Rotate  authRotate  `cmd:"" help:"Replace this device's key."`
	Veto    authVeto    `cmd:"" help:"Stop a device that was added to the user and is not theirs."`
	Keys    authKeys    `cmd:"" help:"Print the public keys that receipts are verified with."`
	Remove  authRemove  `cmd:"" help:"Remove this device, at the server and here."`
}

// configDir is where this user's key file is.
func (a *app) configDir() string {
	if dir := a.getenv("XDG_CONFIG_HOME"); dir != "" {
		return filepath.Join(dir, "nod")
	}
	return filepath.Join(a.getenv("HOME"), ".config", "nod")
}

func (v *authenticatorCmd) path(a *app) string {
	if v.File != "" {
		return v.File
	}
	return filepath.Join(a.configDir(), "authenticator.json")
}

// open opens the key file, and makes it ready to be made where that is wanted.
func (v *authenticatorCmd) open(a *app, create bool) (*authenticator.Authenticator, error) {
	path := v.path(a)
	kind, err := keyringOf(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	switch {
	case fresh && !create:
		return nil, fmt.Errorf("this machine is not enrolled: there is no key file %s\nEnrol it with: nod authenticator enrol LINK", path)
	case err != nil && !fresh:
		return nil, err
	}
	ring := authenticator.Plain()
	switch {
	case fresh && !v.NoPassphrase, !fresh && kind != ring.Kind():
		passphrase, err := a.passphrase(fresh)
		if err != nil {
			return nil, err
		}
		if len(passphrase) > 0 {
			ring = authenticator.Passphrase(passphrase)
		}
	case !fresh && v.NoPassphrase && kind != ring.Kind():
		return nil, fmt.Errorf("%s has a passphrase already", path)
	}
	if create {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("make the folder of the key file: %w", err)
		}
	}
	store, err := authenticator.OpenFile(path, ring)
	if err != nil {
		return nil, err
	}
	return authenticator.New(authenticator.Config{Store: store, Platform: protocol.PlatformCLI, AppVersion: version()})
}

// version is what the server is told; it keeps to what a message may hold.
func version() string {
	const most = 32 // characters
	v := "nod " + buildVersion().Version
	return v[:min(len(v), most)]
}

// keyringOf reads how a key file is sealed.
func keyringOf(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var doc struct {
		Keyring string `json:"keyring"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return "", fmt.Errorf("read the key file: %s is damaged: %w", path, err)
	}
	return doc.Keyring, nil
}

// passphrase gets the passphrase of the key file: from the environment, a file that it names, or
// the person. An empty one, which only the person can give for a new file, means none.
func (a *app) passphrase(fresh bool) ([]byte, error) {
	if file := a.getenv("NOD_AUTHENTICATOR_PASSPHRASE_FILE"); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the passphrase: %w", err)
		}
		if data = bytes.TrimRight(data, "\r\n"); len(data) == 0 {
			return nil, fmt.Errorf("read the passphrase: %s is empty", file)
		}
		return data, nil
	}
	if text := a.getenv("NOD_AUTHENTICATOR_PASSPHRASE"); text != "" {
		return []byte(text), nil
	}
	if !a.talks() {
		if fresh {
			return nil, usagef("the new key file needs a passphrase, and nobody is at the terminal to give it.\nSet NOD_AUTHENTICATOR_PASSPHRASE_FILE, or take --no-passphrase.")
		}
		return nil, usagef("the key file has a passphrase, and nobody is at the terminal to give it.\nSet NOD_AUTHENTICATOR_PASSPHRASE_FILE.")
	}
	if !fresh {
		text, err := a.unseen("Passphrase of the key file: ")
		return []byte(text), err
	}
	first, err := a.unseen("New passphrase for the key file (empty for none): ")
	if err != nil || first == "" {
		return nil, err
	}
	second, err := a.unseen("Once more: ")
	if err == nil && first != second {
		err = errors.New("the two are not the same; nothing was done")
	}
	return []byte(first), err
}

// accountFlag chooses among several accounts.
type accountFlag struct {
	Account string `short:"a" placeholder:"WHICH" help:"The account, where there are several: device id, user name or server."`
}

func (f accountFlag) matches(acc authenticator.Account) bool {
	host := ""
	if u, err := url.Parse(acc.ID.Issuer); err == nil {
		host = u.Host
	}
	for _, s := range []string{acc.ID.Device, acc.User.Name, acc.User.ID, acc.ID.Issuer, host, acc.Name} {
		if s == f.Account {
			return true
		}
	}
	return false
}

// label names an account for people.
func label(acc authenticator.Account) string {
	out := acc.User.Name + " at " + acc.ID.Issuer
	if acc.ID.Realm != "default" {
		out += " (" + acc.ID.Realm + ")"
	}
	return out
}

// some gives the accounts chosen, all without a choice.
func (f accountFlag) some(auth *authenticator.Authenticator) ([]authenticator.Account, error) {
	accounts, err := auth.Accounts()
	if err != nil {
		return nil, err
	}
	if len(accounts) == 0 {
		return nil, errors.New("the key file has no account\nEnrol this machine with: nod authenticator enrol LINK")
	}
	if f.Account == "" {
		return accounts, nil
	}
	var out []authenticator.Account
	for _, acc := range accounts {
		if f.matches(acc) {
			out = append(out, acc)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the key file has no account %q\n\"nod authenticator list\" shows which there are", f.Account)
	}
	return out, nil
}

// one opens the one account chosen.
func (f accountFlag) one(a *app, v *authenticatorCmd) (*authenticator.Authenticator, *authenticator.Device, authenticator.Account, error) {
	auth, err := v.open(a, false)
	if err != nil {
		return nil, nil, authenticator.Account{}, err
	}
	accounts, err := f.some(auth)
	if err != nil {
		return nil, nil, authenticator.Account{}, err
	}
	if len(accounts) > 1 {
		var names []string
		for _, acc := range accounts {
			names = append(names, "  --account "+acc.ID.Device+"   "+label(acc))
		}
		return nil, nil, authenticator.Account{}, usagef("which account? Choose one:\n%s", strings.Join(names, "\n"))
	}
	d, err := auth.Device(accounts[0].ID)
	return auth, d, accounts[0], err
}

// accountOutput is an account as JSON.
type accountOutput struct {
	Issuer     string `json:"issuer"`
	Realm      string `json:"realm"`
	Device     string `json:"device"`
	UserID     string `json:"user_id"`
	User       string `json:"user"`
	Name       string `json:"name"`
	State      string `json:"state"`
	EnrolledAt string `json:"enrolled_at"`
}

func accountJSON(acc authenticator.Account) accountOutput {
	return accountOutput{
		Issuer: acc.ID.Issuer, Realm: acc.ID.Realm, Device: acc.ID.Device, UserID: acc.User.ID, User: acc.User.Name, Name: acc.Name,
		State: string(acc.State), EnrolledAt: acc.EnrolledAt.UTC().Format("2006-01-02T15:04:05.000Z"),
	}
}

func (a *app) showAccount(acc authenticator.Account) error {
	return a.show(accountJSON(acc), func(w io.Writer) { accountFields(w, acc) })
}

func accountFields(w io.Writer, acc authenticator.Account) {
	fields(w, "user", acc.User.Name+" ("+acc.User.ID+")", "server", acc.ID.Issuer, "realm", acc.ID.Realm, "device", acc.ID.Device,
		"name", acc.Name, "state", stateForPeople(acc.State), "enrolled", moment(acc.EnrolledAt))
}

func stateForPeople(s protocol.DeviceState) string {
	if s == protocol.DeviceQuarantined {
		return "quarantined: it may sign in, deny and report; more after the quarantine"
	}
	return string(s)
}
