package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// Version is the version of the schema that this program reads and writes.
const Version = 11

// Oldest is the oldest version whose programs may work with a database beside this one: nodes that
// are replaced one after the other share it for a while. What is migrated after it only adds (a test
// reads the migrations), and no program after it needs of the older ones what they do not do. It
// stands in the database for programs that are older than its schema.
const Oldest = 9

// settingOldest is where it stands.
const settingOldest = "schema.oldest"

//go:embed migrations
var migrations embed.FS

// migrationLock is the PostgreSQL advisory lock under which nodes that start together migrate one
// after the other. Any number does that no other program uses in the same database.
const migrationLock = 0x6e6f642d6d696772

// Migrate brings the schema of a database up to date and returns the version that it found, 0 for
// a new one. It refuses a database that a newer program has migrated. Open does the same.
func Migrate(ctx context.Context, c Config) (from int64, err error) {
	from, err = migrate(ctx, c.withDefaults(), Version)
	if err != nil {
		return from, fmt.Errorf("migrate the database: %w", explainMigration(err))
	}
	return from, nil
}

func migrate(ctx context.Context, c Config, to int64) (from int64, err error) {
	var db *sql.DB
	dialect, dir := goose.DialectSQLite3, "migrations/sqlite"
	if c.postgres() {
		dialect, dir = goose.DialectPostgres, "migrations/postgres"
		config, err := pgx.ParseConfig(c.DSN)
		if err != nil {
			return 0, err
		}
		db = stdlib.OpenDB(*config)
	} else if db, err = sqliteOpen(c); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	if c.postgres() {
		unlock, err := lockMigrations(ctx, db)
		if err != nil {
			return 0, err
		}
		defer unlock()
	}
	return migrateDB(ctx, c.Logger, db, dialect, dir, to)
}

// lockMigrations waits for the lock, which belongs to a connection and ends with it.
func lockMigrations(ctx context.Context, db *sql.DB) (unlock func(), err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, int64(migrationLock)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(migrationLock))
		_ = conn.Close()
	}, nil
}

func migrateDB(ctx context.Context, log *slog.Logger, db *sql.DB, d goose.Dialect, dir string, to int64) (int64, error) {
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return 0, err
	}
	p, err := goose.NewProvider(d, db, files, goose.WithDisableGlobalRegistry(true), goose.WithSlog(log))
	if err != nil {
		return 0, err
	}
	from, err := p.GetDBVersion(ctx)
	if err != nil {
		return 0, err
	}
	if from > Version {
		return from, mayServe(ctx, log, db, from)
	}
	if from < to {
		if _, err := p.UpTo(ctx, to); err != nil {
			return from, err
		}
		log.InfoContext(ctx, "database migrated", slog.Int64("from", from), slog.Int64("to", to))
	}
	return from, noteOldest(ctx, db)
}

// noteOldest writes down who may use the database as it is now.
func noteOldest(ctx context.Context, db *sql.DB) error {
	var found string
	err := db.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = $1`, settingOldest).Scan(&found)
	if err == nil && found == strconv.Itoa(Oldest) {
		return nil
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	_, err = db.ExecContext(ctx, `INSERT INTO settings (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, settingOldest, strconv.Itoa(Oldest))
	return err
}

// mayServe returns an error for a database that a newer program has migrated, unless that program
// said that this one may go on beside it.
func mayServe(ctx context.Context, log *slog.Logger, db *sql.DB, found int64) error {
	var text string
	err := db.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = $1`, settingOldest).Scan(&text)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	oldest, err := strconv.Atoi(text)
	if err == nil && oldest <= Version {
		log.WarnContext(ctx, "a newer nod has migrated the database; this one may go on until it is replaced",
			slog.Int64("schema", found), slog.Int("known", Version))
		return nil
	}
	return fmt.Errorf("its schema has version %d and this nod knows versions up to %d: start the newer nod that it was used with, or restore the copy made before that", found, Version)
}
