package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/backup"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/server"
)

type backupCmd struct {
	Make   backupMake   `cmd:"" default:"withargs" help:"Write a backup, also while the server runs."`
	Verify backupVerify `cmd:"" help:"Read a backup and check all of it."`
}

// dataDir says where an installation is, for verbs that need no server.
type dataDir struct {
	configured
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory, instead of the configuration's."`
}

func (d dataDir) load() (server.Config, error) {
	cfg, err := d.configured.load()
	if d.DataDir != "" {
		cfg.DataDir = d.DataDir
	}
	return cfg, err
}

type backupMake struct {
	dataDir
	Out            string   `name:"out" required:"" placeholder:"FILE" help:"File to write; it must not be there."`
	Recipient      []string `name:"recipient" placeholder:"AGE1" help:"Who can read it: a public key that age-keygen printed. May be repeated."`
	PassphraseFile string   `name:"passphrase-file" placeholder:"FILE" help:"File with a passphrase instead; - for standard input."`
	Unencrypted    bool     `name:"unencrypted" help:"Do not encrypt: whoever reads the file is the server."`
}

// Help gives examples.
func (backupMake) Help() string {
	return "The backup holds the database and the sealing key, but neither the configuration nor admin.key. Keep the\n" +
		"identity that opens it away from this machine. PostgreSQL has tools of its own: docs/backup.md.\n\nExamples:\n\n" +
		"    age-keygen -o backup.key          # elsewhere; prints the public key\n" +
		"    nod backup --out nod.backup --recipient age1…\n    nod backup --config /etc/nod/nod.yaml --out nod.backup --passphrase-file passphrase\n"
}

// Run writes a backup.
func (c backupMake) Run(a *app) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	to := backup.Recipients{Public: c.Recipient, Plain: c.Unencrypted}
	if to.Passphrase, err = a.backupPassphrase(c.PassphraseFile); err != nil {
		return err
	}
	if err := to.Check(); err != nil {
		return usagef("%s: --recipient, --passphrase-file or, for tests, --unencrypted", err)
	}
	if c.Unencrypted {
		a.say("Warning: the backup is not encrypted. Whoever reads it can sign in as anybody, and whoever writes it decides what is restored.")
	}
	m, err := server.Backup(a.ctx, cfg, server.BackupOptions{
		File: c.Out, To: to, Version: buildVersion().Version, Say: func(text string) { a.say("%s", text) },
	})
	if err != nil {
		return err
	}
	return a.showManifest(c.Out, m, !c.Unencrypted)
}

// backupPassphrase reads a passphrase from a file, "-" being standard input; none without a name.
func (a *app) backupPassphrase(file string) (secret.Value, error) {
	if file == "" {
		return secret.Value{}, nil
	}
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(io.LimitReader(a.stdin, 64<<10))
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("read the passphrase: %w", err)
	}
	line := strings.TrimRight(string(text), "\r\n")
	if line == "" {
		return secret.Value{}, errors.New("the passphrase is empty")
	}
	return secret.New(line), nil
}

// opened says what opens a backup.
type opened struct {
	Identity       string `name:"identity" short:"i" placeholder:"FILE" help:"File with the identity that age-keygen made."`
	PassphraseFile string `name:"passphrase-file" placeholder:"FILE" help:"File with the passphrase instead; - for standard input."`
}

func (o opened) identity(a *app) (i backup.Identity, err error) {
	if o.Identity != "" && o.PassphraseFile != "" {
		return i, usagef("--identity and --passphrase-file: one of the two")
	}
	if i.Passphrase, err = a.backupPassphrase(o.PassphraseFile); err != nil || o.Identity == "" {
		return i, err
	}
	if i.File, err = os.ReadFile(o.Identity); err != nil {
		return i, fmt.Errorf("read the identity: %w", err)
	}
	return i, nil
}

type backupVerify struct {
	opened
	File string `arg:"" help:"The backup."`
}

// Help gives an example.
func (backupVerify) Help() string {
	return "Everything is decrypted, compared with its digests, and SQLite checks the database. It needs as much room as\n" +
		"the database where temporary files go.\n\nExample:\n\n    nod backup verify nod.backup --identity backup.key\n"
}

// Run checks a backup.
func (c backupVerify) Run(a *app) error {
	by, err := c.identity(a)
	if err != nil {
		return err
	}
	m, encrypted, err := server.VerifyBackup(a.ctx, c.File, by)
	if err != nil {
		return err
	}
	return a.showManifest(c.File, m, encrypted)
}

func (a *app) showManifest(file string, m backup.Manifest, encrypted bool) error {
	type shown struct {
		File string `json:"file"`
		backup.Manifest
		Encrypted bool `json:"encrypted"`
	}
	return a.show(shown{file, m, encrypted}, func(w io.Writer) {
		sealKey := "in it"
		if len(m.Members) == 1 {
			sealKey = "not in it: keep a copy of what seal_key is"
		}
		fields(w, "backup", file, "made", m.Made.Format(time.RFC3339), "issuer", m.Issuer, "realms", strings.Join(m.Realms, ", "),
			"nod", m.Nod, "schema", strconv.FormatInt(m.Schema, 10), "sealing key", sealKey, "encrypted", strconv.FormatBool(encrypted))
	})
}

type restoreCmd struct {
	Put    restorePut    `cmd:"" default:"withargs" help:"Put a backup into a data directory, and void what may have been used since."`
	Finish restoreFinish `cmd:"" help:"Void what may have been used since a backup that other tools restored."`
}

// lostFile says where to write who lost codes.
type lostFile struct {
	Lost string `name:"lost" placeholder:"FILE" help:"Write who lost backup and bypass codes as CSV to this new file."`
}

type restorePut struct {
	dataDir
	opened
	lostFile
	File        string `arg:"" help:"The backup."`
	Replace     bool   `name:"replace" help:"Keep what is in the data directory aside, in a directory in there."`
	Unencrypted bool   `name:"unencrypted" help:"Accept a backup that is not encrypted."`
}

// Help gives examples.
func (restorePut) Help() string {
	return "No server may run on the data directory. All that counts once and may have been used or given out since the\n" +
		"backup is void afterwards: docs/backup.md. If it is interrupted, run it again.\n\nExamples:\n\n" +
		"    nod restore nod.backup --identity backup.key --data-dir /var/lib/nod\n    nod restore nod.backup --identity backup.key --replace --lost lost.csv\n"
}

// Run restores a backup.
func (c restorePut) Run(a *app) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	by, err := c.identity(a)
	if err != nil {
		return err
	}
	if c.File, err = filepath.Abs(c.File); err != nil {
		return err
	}
	out, err := server.Restore(a.ctx, cfg, server.RestoreOptions{
		File: c.File, By: by, Replace: c.Replace, Plain: c.Unencrypted, Log: a.stderr,
		Say: func(text string) { a.say("%s", text) },
	})
	if err != nil {
		return err
	}
	return c.report(a, out)
}

type restoreFinish struct {
	dataDir
	lostFile
	Begin  bool      `name:"begin" help:"The database was put back by other tools, such as PostgreSQL's."`
	Backup time.Time `name:"backup" placeholder:"TIME" help:"When the backup was made, RFC 3339, for the record."`
}

// Help gives examples.
func (restoreFinish) Help() string {
	return "Stop every server of the database first. The same goes for a standby that was promoted and lacks commits.\n\nExamples:\n\n" +
		"    nod restore finish --config /etc/nod/nod.yaml --begin\n    nod restore finish --begin --backup 2026-11-20T03:00:00Z --lost lost.csv\n"
}

// Run finishes a restore.
func (c restoreFinish) Run(a *app) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	out, err := server.FinishRestore(a.ctx, cfg, c.Begin, c.Backup, a.stderr, func(text string) { a.say("%s", text) })
	if err != nil {
		return err
	}
	return c.report(a, out)
}

// bereft is who lost codes, as it is printed.
type bereft struct {
	Realm string   `json:"realm"`
	User  string   `json:"user"`
	Name  string   `json:"name"`
	Lost  []string `json:"lost"`
}

// report says what was restored, what is lost, and what to do now.
func (c lostFile) report(a *app, r server.Restored) error {
	lost := make([]bereft, len(r.Bereft))
	for i, b := range r.Bereft {
		lost[i] = bereft{string(b.Realm), string(b.ID), b.Name, b.Lost}
	}
	if c.Lost != "" {
		if err := writeLost(c.Lost, lost); err != nil {
			return err
		}
	}
	v := struct {
		Epoch int64     `json:"epoch"`
		From  time.Time `json:"from,omitzero"`
		To    time.Time `json:"to"`
		Aside string    `json:"aside,omitempty"`
		Lost  []bereft  `json:"lost_codes"`
	}{r.Epoch, r.Backup, r.At.Time(), r.Aside, lost}
	return a.show(v, func(w io.Writer) {
		from := "the moment of the backup"
		if !r.Backup.IsZero() {
			from = r.Backup.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "Restored. This is epoch %d.\n\n", r.Epoch)
		fmt.Fprintf(w, "What happened between %s and %s is not known any more:\n"+
			"devices and API keys that were revoked then live again, people who were locked are not, new ones are gone.\n"+
			"Do those again (nod device revoke, nod application key revoke, nod user lock) before you let people in.\n"+
			"Grants that were given out then are good until they expire.\n", from, r.At.Time().Format(time.RFC3339))
		if r.Aside != "" {
			fmt.Fprintf(w, "\nThe former files are in %s.\n", r.Aside)
		}
		if len(lost) == 0 {
			return
		}
		fmt.Fprintf(w, "\nPeople who lost codes: %d. \"nod user backup-codes\" makes new ones.\n\n", len(lost))
		rows := make([][]string, len(lost))
		for i, b := range lost {
			rows[i] = []string{b.Realm, b.Name, b.User, strings.Join(b.Lost, ",")}
		}
		table(w, "REALM NAME USER LOST", rows)
	})
}

func writeLost(file string, lost []bereft) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write who lost codes: %w; everything else is done, \"nod event list --kind backup_codes.removed\" tells too", err)
	}
	w := csv.NewWriter(f)
	_ = w.Write([]string{"realm", "user", "name", "lost"}) // Error tells
	for _, b := range lost {
		_ = w.Write([]string{b.Realm, b.User, b.Name, strings.Join(b.Lost, " ")})
	}
	w.Flush()
	return errors.Join(w.Error(), f.Sync(), f.Close())
}
