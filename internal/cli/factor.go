package cli

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/nodauth/nod/client"
)

func showFactors(w io.Writer, f client.FactorList) {
	if len(f.TOTP) > 0 {
		fmt.Fprintln(w)
		var rows [][]string
		for _, t := range f.TOTP {
			rows = append(rows, []string{t.Name, t.Algorithm, strconv.Itoa(t.Digits), t.State, moment(t.CreatedAt), t.ID})
		}
		table(w, "TOTP ALGORITHM DIGITS STATE CREATED ID", rows)
	}
	if f.BackupCodes == nil && f.BypassCode == nil {
		return
	}
	fmt.Fprintln(w)
	var pairs []string
	if f.BackupCodes != nil {
		disabled := ""
		if f.BackupCodes.Disabled {
			disabled = ", disabled by too many wrong ones"
		}
		pairs = append(pairs, "backup codes", fmt.Sprintf("%d left of those made %s%s", f.BackupCodes.Left, moment(f.BackupCodes.CreatedAt), disabled))
	}
	if f.BypassCode != nil {
		pairs = append(pairs, "bypass code", fmt.Sprintf("%d left until %s, by %s: %s", f.BypassCode.UsesLeft, moment(f.BypassCode.ExpiresAt), f.BypassCode.By, f.BypassCode.Reason))
	}
	fields(w, pairs...)
}

type totpCmd struct {
	Add     totpAdd     `cmd:"" help:"Make a seed for an app, shown once."`
	Confirm totpConfirm `cmd:"" help:"Give the app's first code; it counts from then on."`
	Remove  totpRemove  `cmd:"" help:"Remove a seed."`
}

type totpAdd struct {
	userArg
	Name      string `placeholder:"TEXT" help:"What the user calls it."`
	Algorithm string `enum:"SHA1,SHA256,SHA512," default:"" placeholder:"HASH" help:"SHA1, SHA256 or SHA512. Not every app knows the last two."`
	Digits    int    `placeholder:"N" help:"6 to 8."`
	Period    int    `placeholder:"SECONDS" help:"How long one code counts: 30 or 60."`
	NoQR      bool   `name:"no-qr" help:"Draw no QR code."`
}

// Help gives an example.
func (totpAdd) Help() string {
	return "On a terminal it asks for the first code at once.\n\nExample:\n\n    nod user totp add jo --name \"Jo's phone\"\n"
}

// Run makes a seed.
func (v *totpAdd) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		t, err := c.Factors.AddTOTP(a.ctx, u.ID, client.NewTOTP{Name: v.Name, Algorithm: v.Algorithm, Digits: v.Digits, Period: v.Period})
		if err != nil {
			return err
		}
		err = a.show(t, func(w io.Writer) {
			fields(w, "id", t.ID, "secret", string(t.Secret), "uri", string(t.URI))
		})
		if err != nil || a.json {
			return err
		}
		if isTerminal(a.stdout) && !v.NoQR {
			if err := drawQR(a.stdout, string(t.URI), a.colors(a.stdout)); err != nil {
				return err
			}
		}
		if !a.talks() {
			a.say("It counts once its first code is confirmed: nod user totp confirm %s %s", u.Name, t.ID)
			return nil
		}
		return a.confirmTOTP(c, u, t.ID)
	})
}

func (a *app) confirmTOTP(c *client.Client, u client.User, factor string) error {
	code, err := a.code("Code that the app shows")
	if err != nil {
		return err
	}
	if err := c.Factors.ConfirmTOTP(a.ctx, u.ID, factor, client.Secret(code)); err != nil {
		return err
	}
	return a.show(map[string]string{"confirmed": factor}, func(w io.Writer) { fmt.Fprintf(w, "Confirmed %s for %s.\n", factor, u.Name) })
}

type totpConfirm struct {
	userArg
	Factor string `arg:"" help:"Id of the seed."`
}

// Help gives an example.
func (totpConfirm) Help() string {
	return "The code is asked for, or read from standard input.\n\nExample:\n\n    echo 042137 | nod user totp confirm jo totp_…\n"
}

// Run confirms a seed.
func (v *totpConfirm) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error { return a.confirmTOTP(c, u, v.Factor) })
}

type totpRemove struct {
	userArg
	Factor string `arg:"" help:"Id of the seed."`
}

// Help gives an example.
func (totpRemove) Help() string { return "Example:\n\n    nod user totp remove jo totp_…\n" }

// Run removes a seed.
func (v *totpRemove) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		if err := c.Factors.RemoveTOTP(a.ctx, u.ID, v.Factor); err != nil {
			return err
		}
		return a.show(map[string]string{"removed": v.Factor}, func(w io.Writer) { fmt.Fprintf(w, "Removed %s of %s.\n", v.Factor, u.Name) })
	})
}

type userBackup struct {
	userArg
	Remove bool `help:"Remove them; make none."`
}

// Help gives examples.
func (userBackup) Help() string {
	return "Makes ten codes, shown once; the user's former ones end.\n\nExamples:\n\n    nod user backup-codes jo\n    nod user backup-codes jo --remove\n"
}

// Run makes or removes backup codes.
func (v *userBackup) Run(a *app) error {
	return v.with(a, func(c *client.Client, u client.User) error {
		if v.Remove {
			if err := c.Factors.RemoveBackupCodes(a.ctx, u.ID); err != nil {
				return err
			}
			return a.show(map[string]string{"removed": "backup_codes"}, func(w io.Writer) { fmt.Fprintf(w, "Removed the backup codes of %s.\n", u.Name) })
		}
		codes, err := c.Factors.MakeBackupCodes(a.ctx, u.ID)
		if err != nil {
			return err
		}
		return a.show(map[string][]client.Secret{"codes": codes}, func(w io.Writer) {
			for _, code := range codes {
				fmt.Fprintln(w, string(code))
			}
			a.say("Each is good once. They are shown this one time.")
		})
	})
}

type userBypass struct {
	userArg
	Reason   string        `placeholder:"TEXT" help:"Why; the audit record keeps it. Needed to issue."`
	Uses     int           `default:"1" help:"How often it can be used, up to 10."`
	ValidFor time.Duration `default:"1h" help:"How long it can be used, up to 24h."`
	By       string        `enum:"administrator,help_desk" default:"administrator" help:"Who gives it: administrator or help_desk."`
	Revoke   bool          `help:"End the user's code; issue none."`
}

// Help gives examples.
func (userBypass) Help() string {
	return "All devices of the user are told. A former code ends.\n\nExamples:\n\n    nod user bypass jo --reason \"lost the phone, known by voice\" --by help_desk\n    nod user bypass jo --revoke\n"
}

// Run issues or revokes a bypass code.
func (v *userBypass) Run(a *app) error {
	if !v.Revoke && v.Reason == "" {
		return usagef("why does %s get a code? Say it with --reason.", v.User)
	}
	return v.with(a, func(c *client.Client, u client.User) error {
		if v.Revoke {
			if err := c.Bypass.Revoke(a.ctx, u.ID); err != nil {
				return err
			}
			return a.show(map[string]string{"revoked": "bypass_code"}, func(w io.Writer) { fmt.Fprintf(w, "Revoked the bypass code of %s.\n", u.Name) })
		}
		b, err := c.Bypass.Issue(a.ctx, u.ID, client.NewBypass{Uses: v.Uses, ValidFor: v.ValidFor, Reason: v.Reason, By: v.By})
		if err != nil {
			return err
		}
		return a.show(b, func(w io.Writer) {
			fields(w, "code", string(b.Code), "uses", strconv.Itoa(b.Uses), "until", moment(b.ExpiresAt), "id", b.ID)
			a.say("It is shown this one time.")
		})
	})
}
