package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nodauth/nod/internal/backup"
	"github.com/nodauth/nod/internal/store/sqlstore"
	"github.com/nodauth/nod/protocol"
)

// BackupOptions say what a backup is to be.
type BackupOptions struct {
	File    string // which must not be there
	To      backup.Recipients
	Version string            // of this program
	Say     func(text string) // hears what is being done; nil for nobody
}

// Backup writes a backup of a SQLite installation, on which a server may be running, to a file that
// is there wholly and durably or not at all. It returns an error for an installation on PostgreSQL,
// which has tools of its own.
func Backup(ctx context.Context, c Config, o BackupOptions) (m backup.Manifest, err error) {
	if c.postgres() {
		return m, errors.New("the database is PostgreSQL: back it up with pg_dump or pg_basebackup, keep seal.json beside, and run \"nod restore finish\" after restoring; docs/backup.md shows how")
	}
	if err := o.To.Check(); err != nil {
		return m, err
	}
	if _, err := os.Lstat(o.File); err == nil {
		return m, fmt.Errorf("%s is there already: a backup replaces no file", o.File)
	}
	db := c.sqlitePath()
	if _, err := os.Stat(db); err != nil {
		return m, fmt.Errorf("there is no database to back up: %w", err)
	}
	held, err := lock(db + ".backup.lock")
	if errors.Is(err, errLocked) {
		return m, errors.New("another backup of this database is being made")
	}
	if err != nil {
		return m, fmt.Errorf("lock the database against other backups: %w", err)
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	// The copy is as secret as the database, so it stands beside it and nowhere else. One that an
	// interrupted backup left is removed first.
	copied := db + ".backup"
	if err := removeIfThere(copied); err != nil {
		return m, fmt.Errorf("remove an unfinished backup: %w", err)
	}
	defer func() { err = errors.Join(err, removeIfThere(copied)) }()

	made := time.Now().UTC().Truncate(time.Second)
	say(o.Say, "Copying the database.")
	if err := sqlstore.Snapshot(ctx, db, copied); err != nil {
		return m, err
	}
	say(o.Say, "Checking the copy.")
	files := map[string]string{backup.Database: copied}
	if c.SealKey.IsZero() {
		files[backup.SealKey] = filepath.Join(c.DataDir, backup.SealKey)
	}
	if m, err = describe(ctx, files, made, o.Version); err != nil {
		return m, err
	}
	say(o.Say, "Writing "+o.File+".")
	if err := writeBackup(o, m, files); err != nil {
		return m, fmt.Errorf("write %s: %w", o.File, err)
	}
	if err := sqlstore.NoteBackup(ctx, db, made.Format(time.RFC3339)); err != nil {
		return m, fmt.Errorf("the backup is written, but the database could not be told: %w", err)
	}
	return m, nil
}

func say(to func(string), text string) {
	if to != nil {
		to(text)
	}
}

func removeIfThere(file string) error {
	err := os.Remove(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// describe reads the files of a backup and makes its manifest.
func describe(ctx context.Context, files map[string]string, made time.Time, version string) (backup.Manifest, error) {
	facts, err := sqlstore.Check(ctx, files[backup.Database])
	if err != nil {
		return backup.Manifest{}, err
	}
	if facts.KeySet == "" {
		return backup.Manifest{}, errors.New("there is nothing to back up: no server was ever started on this database")
	}
	set, err := protocol.ParseKeySet(facts.KeySet)
	if err != nil {
		return backup.Manifest{}, fmt.Errorf("read the key set of the default realm: %w", err)
	}
	m := backup.Manifest{
		Format: backup.Format, Nod: version, Schema: facts.Schema, Issuer: set.Issuer, Epoch: facts.Epoch, Made: made,
	}
	for _, realm := range facts.Realms {
		m.Realms = append(m.Realms, string(realm))
	}
	for _, name := range []string{backup.Database, backup.SealKey} {
		file, ok := files[name]
		if !ok {
			continue
		}
		f := backup.Member{Name: name}
		if f.Size, f.SHA256, err = digest(file); err != nil {
			return backup.Manifest{}, fmt.Errorf("read %s: %w", name, err)
		}
		m.Members = append(m.Members, f)
	}
	return m, nil
}

func digest(file string) (size int64, sum string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, "", err
	}
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Close())
}

// writeBackup writes the file under another name, reads it again, and gives it its name.
func writeBackup(o BackupOptions, m backup.Manifest, files map[string]string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(o.File), ".nod-backup-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	sum := sha256.New()
	err = seal(io.MultiWriter(f, sum), o.To, m, files)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if _, again, err := digest(f.Name()); err != nil || again != hex.EncodeToString(sum.Sum(nil)) {
		return errors.Join(errors.New("what was written reads otherwise"), err)
	}
	if err := os.Link(f.Name(), o.File); err != nil {
		return err
	}
	return syncDir(filepath.Dir(o.File))
}

func seal(w io.Writer, to backup.Recipients, m backup.Manifest, files map[string]string) error {
	sealed, err := backup.Encrypt(w, to)
	if err != nil {
		return err
	}
	err = backup.Write(sealed, m, func(name string) (io.ReadCloser, error) { return os.Open(files[name]) })
	if err != nil {
		return err // what was not closed does not decrypt
	}
	return sealed.Close()
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// VerifyBackup decrypts a backup, compares it with its manifest and checks the database in it. The
// content stands, for its owner alone, in the directory for temporary files until it returns.
func VerifyBackup(ctx context.Context, file string, by backup.Identity) (m backup.Manifest, encrypted bool, err error) {
	dir, err := os.MkdirTemp("", "nod-verify-") // made with mode 0700
	if err != nil {
		return m, false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return unpack(ctx, file, by, dir)
}

// unpack writes the content of a backup, checked and durable, into an empty directory.
func unpack(ctx context.Context, file string, by backup.Identity, dir string) (m backup.Manifest, encrypted bool, err error) {
	f, err := os.Open(file)
	if err != nil {
		return m, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	archive, encrypted, err := backup.Decrypt(f, by)
	if err != nil {
		return m, encrypted, fmt.Errorf("open %s: %w", file, err)
	}
	known := func(m backup.Manifest) error {
		if m.Schema > sqlstore.Version {
			return fmt.Errorf("the backup was made by nod %s with schema %d, and this nod knows schemas up to %d: use that nod or a newer one", m.Nod, m.Schema, sqlstore.Version)
		}
		return nil
	}
	m, err = backup.Read(archive, known, func(name string) (io.WriteCloser, error) {
		w, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		return durable{w}, err
	})
	if err != nil {
		return m, encrypted, fmt.Errorf("read %s: %w", file, err)
	}
	facts, err := sqlstore.Check(ctx, filepath.Join(dir, backup.Database))
	if err == nil && facts.Schema != m.Schema {
		err = fmt.Errorf("%w: its database has another schema than it says", backup.ErrDamaged)
	}
	if err != nil {
		return m, encrypted, fmt.Errorf("check %s: %w", file, err)
	}
	return m, encrypted, nil
}

// durable is a file that is synced before it is closed.
type durable struct{ *os.File }

// Close syncs and closes the file.
func (d durable) Close() error { return errors.Join(d.Sync(), d.File.Close()) }
