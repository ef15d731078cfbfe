package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// Facts are what a SQLite file says of itself.
type Facts struct {
	Schema int64
	Epoch  int64
	Realms []mfa.RealmID
	KeySet string // the default realm's newest, as signed; "" before there is one
}

// Snapshot copies a SQLite database, which a server may be writing, to a new file: all that was
// committed when it began and nothing later. It reads beside the writer and makes it wait for
// nothing; until it ends the write-ahead log cannot begin anew. The copy is readable by its owner
// alone and not yet durable.
func Snapshot(ctx context.Context, from, to string) (err error) {
	db, err := beside(from, "rw")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) // which VACUUM takes, while it is empty
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `VACUUM INTO $1`, to); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	return nil
}

// Check reads all of a SQLite file that nobody writes and says what it is. It returns an error for
// one that is damaged, or no database of nod.
func Check(ctx context.Context, path string) (f Facts, err error) {
	db, err := beside(path, "ro")
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var verdict string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil {
		return f, fmt.Errorf("check the database: %w", err)
	}
	if verdict != "ok" {
		return f, fmt.Errorf("the database is damaged: %s", verdict)
	}
	var loose int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM pragma_foreign_key_check`).Scan(&loose); err != nil {
		return f, fmt.Errorf("check the database: %w", err)
	}
	if loose > 0 {
		return f, fmt.Errorf("the database is damaged: %d rows refer to others that are not there", loose)
	}
	return readFacts(ctx, db)
}

func readFacts(ctx context.Context, db *sql.DB) (f Facts, err error) {
	row := db.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`)
	if err := row.Scan(&f.Schema); err != nil {
		return f, fmt.Errorf("this is no database of nod: %w", err)
	}
	if f.Schema > Version {
		return f, fmt.Errorf("its schema has version %d and this nod knows versions up to %d: use the newer nod that it was made with", f.Schema, Version)
	}
	var realms, epoch, set sql.NullString
	err = db.QueryRowContext(ctx, `SELECT
		(SELECT group_concat(realm, ' ') FROM (SELECT realm FROM realms ORDER BY realm)),
		(SELECT value FROM settings WHERE name = $1),
		(SELECT jws FROM key_sets WHERE realm = $2 ORDER BY serial DESC LIMIT 1)`,
		store.SettingEpoch, mfa.DefaultRealm).Scan(&realms, &epoch, &set)
	if err != nil {
		return f, fmt.Errorf("read what the database is: %w", err)
	}
	for _, realm := range strings.Fields(realms.String) {
		f.Realms = append(f.Realms, mfa.RealmID(realm))
	}
	f.KeySet = set.String
	if epoch.Valid {
		e, err := store.ParseEpoch(epoch.String)
		f.Epoch = e.N
		return f, err
	}
	return f, nil
}

// ReadSetting reads one setting of a SQLite database, whatever its schema is and whoever has it
// open. It returns store.ErrNotFound.
func ReadSetting(ctx context.Context, path, name string) (value string, err error) {
	db, err := beside(path, "rw") // reading alone cannot read a write-ahead log that nobody has open
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = $1`, name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", store.ErrNotFound
	}
	return value, err
}

// NoteBackup notes in a SQLite database, which a server may be writing, when it was backed up.
func NoteBackup(ctx context.Context, path, at string) (err error) {
	db, err := beside(path, "rw")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, `INSERT INTO settings (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, store.SettingBackup, at)
	return err
}

// beside opens a database that is there, next to whoever has it open.
func beside(path, mode string) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	query := url.Values{"mode": {mode}, "_pragma": {
		"busy_timeout(10000)", "synchronous(FULL)", "wal_autocheckpoint(0)",
	}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}
