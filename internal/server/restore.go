package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/backup"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

// epochEvery is how often a server looks whether its database was put back.
const epochEvery = 10 * time.Second

// currentEpoch reads the epoch of a database that may be served. What was restored and not finished
// may not: codes that were used since the backup would count again.
func currentEpoch(ctx context.Context, st store.Store) (n int64, err error) {
	err = st.View(ctx, func(tx store.Tx) error {
		pending, err := account.PendingRestore(tx)
		if err != nil {
			return err
		}
		if pending != nil {
			return errors.New("this database was restored from a backup, and codes that were used since would count again: run \"nod restore finish\" first")
		}
		e, err := store.ReadEpoch(tx)
		n = e.N
		return err
	})
	return n, err
}

// watchEpoch ends the server if its database is put back under it, as PostgreSQL's own tools can.
func (s *Server) watchEpoch(ctx context.Context) error {
	t := time.NewTicker(epochEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		now, err := currentEpoch(ctx, s.store)
		switch {
		case ctx.Err() != nil:
			return nil
		case mfa.CodeOf(err) == mfa.Unavailable:
			s.log.WarnContext(ctx, "epoch not read", slog.Any("error", err))
		case err != nil:
			return err
		case now != s.epoch:
			return fmt.Errorf("the database was restored while this server ran (epoch %d, was %d): start it again", now, s.epoch)
		}
	}
}

// RestoreOptions say what is restored, and how.
type RestoreOptions struct {
	File    string
	By      backup.Identity
	Replace bool // what is in the data directory is kept aside
	Plain   bool // a backup that is not encrypted is accepted
	Log     io.Writer
	Say     func(text string) // hears what is being done; nil for nobody
}

// Restored is what came of a restore.
type Restored struct {
	Backup time.Time // when the backup was made; zero if that is not known
	Epoch  int64
	At     mfa.Instant // when the epoch was raised
	Aside  string      // directory in which the former files are; "" if there were none
	Bereft []account.Bereft
}

// Restore puts a backup into the data directory and finishes the restore. It returns an error while
// a server uses the directory, and for a directory that has a database, unless that is to be
// replaced. One that was interrupted goes on when it is asked for again.
func Restore(ctx context.Context, c Config, o RestoreOptions) (out Restored, err error) {
	if c.postgres() {
		return out, errors.New("the configuration names PostgreSQL: restore it with its own tools, then run \"nod restore finish --begin\"")
	}
	if c.sqlitePath() != filepath.Join(c.DataDir, backup.Database) {
		return out, fmt.Errorf("database: a backup is restored as %s in data_dir; leave this key out meanwhile", backup.Database)
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return out, fmt.Errorf("make data directory: %w", err)
	}
	held, err := c.lockDatabase()
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	_, sum, err := digest(o.File)
	if err != nil {
		return out, err
	}
	going := c.pending(ctx)
	if going == nil || going.Digest != sum {
		if out.Aside, err = c.place(ctx, o, sum); err != nil {
			return out, err
		}
	}
	aside := out.Aside
	out, err = c.finish(ctx, o.Log, o.Say)
	out.Aside = aside
	return out, err
}

// pending says how far a restore into the data directory is; nil if there is none. Of a database
// that cannot be read any more there is none: that may be why another is restored.
func (c Config) pending(ctx context.Context) *account.Restore {
	text, err := sqlstore.ReadSetting(ctx, c.sqlitePath(), store.SettingRestore)
	if err != nil || text == "" {
		return nil
	}
	r, err := account.ParseRestore(text)
	if err != nil {
		return nil
	}
	return r
}

func (c Config) withStore(ctx context.Context, log io.Writer, fn func(store.Store) error) error {
	st, err := sqlstore.Open(ctx, sqlstore.Config{DSN: c.database(), Logger: newLogger(c, log)})
	if err != nil {
		return err
	}
	return errors.Join(fn(st), st.Close())
}

// place puts the content of a backup where the files of the data directory are, marked as restored.
// The database comes last: without it nothing was restored.
func (c Config) place(ctx context.Context, o RestoreOptions, sum string) (aside string, err error) {
	if _, err := os.Lstat(c.sqlitePath()); err == nil && !o.Replace {
		return "", fmt.Errorf("%s has a database already: name another directory, or say --replace to keep it aside", c.DataDir)
	}
	staging := filepath.Join(c.DataDir, ".restoring")
	if err := os.RemoveAll(staging); err != nil { // of an interrupted restore
		return "", err
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return "", err
	}
	say(o.Say, "Reading "+o.File+".")
	m, encrypted, err := unpack(ctx, o.File, o.By, staging)
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(staging))
	}
	if !encrypted && !o.Plain {
		return "", errors.Join(errors.New("the backup is not encrypted, so anybody can have made or changed it: say --unencrypted if you know where it comes from"), os.RemoveAll(staging))
	}
	if err := c.prepare(ctx, o, staging, account.Restore{Backup: m.Made, Digest: sum}); err != nil {
		return "", errors.Join(err, os.RemoveAll(staging))
	}
	old, err := c.inTheWay(m)
	if err != nil {
		return "", err
	}
	if len(old) > 0 {
		if !o.Replace {
			return "", errors.Join(fmt.Errorf("%s has another sealing key already: name another directory, or say --replace to keep it aside", c.DataDir), os.RemoveAll(staging))
		}
		// The name is that of the backup: a run that was interrupted here goes on with it.
		aside = filepath.Join(c.DataDir, "replaced-by-"+sum[:12])
		if err := setAside(c.DataDir, aside, old); err != nil {
			return "", fmt.Errorf("keep the former files aside: %w", err)
		}
	}
	for _, name := range []string{backup.SealKey, backup.Database} {
		err := os.Rename(filepath.Join(staging, name), filepath.Join(c.DataDir, name))
		if err != nil && (name != backup.SealKey || !errors.Is(err, fs.ErrNotExist)) {
			return aside, err
		}
		if err := syncDir(c.DataDir); err != nil {
			return aside, err
		}
	}
	return aside, os.RemoveAll(staging)
}

// inTheWay lists the files of the data directory whose places those of the backup take. A sealing key
// stays if the backup has the same, or none.
func (c Config) inTheWay(m backup.Manifest) ([]string, error) {
	var old []string
	for _, name := range []string{"nod.db-shm", "nod.db-wal", backup.Database, backup.SealKey} {
		file := filepath.Join(c.DataDir, name)
		_, err := os.Lstat(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if name == backup.SealKey {
			_, sum, err := digest(file)
			if err != nil {
				return nil, err
			}
			if len(m.Members) == 1 || m.Members[1].SHA256 == sum {
				continue
			}
		}
		old = append(old, name)
	}
	return old, nil
}

// setAside moves files into a directory. It may be run again.
func setAside(from, to string, names []string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(to), syncDir(from))
}

// prepare brings an unpacked database to this program's schema and marks it as restored, before it
// gets its name: nobody can start a server on it in between.
func (c Config) prepare(ctx context.Context, o RestoreOptions, staging string, r account.Restore) error {
	say(o.Say, "Preparing the database.")
	staged := c
	staged.DataDir = staging
	if err := staged.withStore(ctx, o.Log, func(st store.Store) error {
		return st.Update(ctx, func(tx store.Tx) error { return account.MarkRestored(tx, r) })
	}); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(staging, "nod.db-wal")); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errors.New("the database keeps a write-ahead log"), err) // which would be left behind
	}
	return nil
}

// FinishRestore finishes a restore that was interrupted or, with begin, that of a database which
// other tools have put back. made is when their backup was made, zero if that is not known. No
// server may run on the database.
func FinishRestore(ctx context.Context, c Config, begin bool, made time.Time, log io.Writer, told func(string)) (out Restored, err error) {
	held, err := c.lockDatabase()
	if err != nil {
		return out, err
	}
	if held != nil {
		defer func() { err = errors.Join(err, held.Close()) }()
	}
	if begin {
		err := c.withStore(ctx, log, func(st store.Store) error {
			return st.Update(ctx, func(tx store.Tx) error {
				pending, err := account.PendingRestore(tx)
				if err != nil || pending != nil {
					return err
				}
				return account.MarkRestored(tx, account.Restore{Backup: made})
			})
		})
		if err != nil {
			return out, err
		}
	}
	return c.finish(ctx, log, told)
}

// finish raises the epoch.
func (c Config) finish(ctx context.Context, log io.Writer, told func(string)) (out Restored, err error) {
	ring, err := c.ring(false)
	if errors.Is(err, fs.ErrNotExist) {
		return out, fmt.Errorf("the backup holds no sealing key: put seal.json into %s, or give seal_key, and run \"nod restore finish\"", c.DataDir)
	}
	if err != nil {
		return out, err
	}
	err = c.withStore(ctx, log, func(st store.Store) error {
		finishing, err := c.finishing(ctx, st, ring)
		if err != nil {
			return err
		}
		done := 0
		finishing.Told = func(people int) {
			step := 1000 // lines enough for the eye
			if people < step {
				step = 100
			}
			if people/step > done/step {
				say(told, fmt.Sprintf("%d people done.", people))
			}
			done = people
		}
		say(told, "Voiding what was used or given out before.")
		r, bereft, err := account.FinishRestore(ctx, finishing)
		out = Restored{Backup: r.Backup, Epoch: r.Epoch, At: r.Begun, Bereft: bereft}
		return err
	})
	if errors.Is(err, account.ErrNotRestored) {
		err = fmt.Errorf("%w: if other tools have put it back, say --begin", err)
	}
	return out, err
}

// finishing makes the services that finishing a restore needs.
func (c Config) finishing(ctx context.Context, st store.Store, ring *keys.Ring) (f account.RestoreConfig, err error) {
	err = st.View(ctx, func(tx store.Tx) error {
		_, err := tx.Realm(mfa.DefaultRealm)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return f, errors.New("no server was ever started on this database: it was not restored from one of nod's")
	}
	if err != nil {
		return f, err
	}
	address := "http://127.0.0.1" // which Ensure replaces by the issuer that the database has
	if len(c.PublicURL) > 0 {
		address = c.PublicURL[0]
	}
	f.Store = st
	if f.Challenges, err = challenge.New(challenge.Config{Ring: ring}); err != nil {
		return f, err
	}
	if f.Devices, err = device.New(device.Config{Ring: ring}); err != nil {
		return f, err
	}
	if f.Realms, err = realm.New(realm.Config{Store: st, Ring: ring, PublicURL: address}); err != nil {
		return f, err
	}
	return f, f.Realms.Ensure(ctx) // it sees that the key is the right one, too
}
