package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"zombiezen.com/go/sqlite"

	"github.com/nodauth/nod/internal/checkup"
	"github.com/nodauth/nod/internal/disk"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	checkDatabase    = "database"
	checkSchema      = "schema"
	checkDurability  = "durability"
	checkConnections = "connections"
	checkClock       = "clock of the database"
	checkLog         = "write-ahead log"
	checkContent     = "content of the database"

	// nodeConnections is how many connections a node holds at most.
	nodeConnections = postgresReaders + 4
	// tooLongLog is far above what the log grows to while checkpoints get through.
	tooLongLog = 1 << 30
)

// Inspect says how a database is, whether or not a server uses it. It changes nothing, makes
// nothing, and takes no lock that a server would wait for. read is called in a transaction if the
// schema is that of this program. Deep reads all of a SQLite database.
func Inspect(ctx context.Context, c Config, deep bool, read func(store.Tx) error) []checkup.Check {
	c = c.withDefaults()
	if c.postgres() {
		return inspectPostgres(ctx, c, read)
	}
	path, err := c.path()
	if err != nil {
		return []checkup.Check{checkup.Bad(checkDatabase, "correct database", "%v", err)}
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return []checkup.Check{checkup.Doubt(checkDatabase, "start nod serve, or correct data_dir and database", "SQLite; there is no file %s yet", path)}
	}
	return inspectSQLite(ctx, c, path, deep, read)
}

func inspectSQLite(ctx context.Context, c Config, path string, deep bool, read func(store.Tx) error) []checkup.Check {
	const advice = "look at the file's permissions; if it is damaged, restore a backup"
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	if err != nil {
		return []checkup.Check{checkup.Bad(checkDatabase, advice, "SQLite at %s cannot be opened: %v", path, err)}
	}
	conn.SetBusyTimeout(sqliteBusy)
	s := &sqliteSession{conn: conn, statements: make(map[string]sqliteStatement)}
	s.scan = s.scanRow
	defer func() { _ = s.close() }() // nothing was written
	t := &tx{session: s, ctx: ctx, now: mfa.At(time.Now().Add(c.Offset())), viewing: true}
	if _, err := s.exec(`BEGIN`, nil); err != nil {
		return []checkup.Check{checkup.Bad(checkDatabase, advice, "SQLite at %s cannot be read: %v", path, err)}
	}
	version, err := schema(t)
	if err != nil {
		return []checkup.Check{checkup.Bad(checkDatabase, advice, "SQLite at %s cannot be read: %v", path, err)}
	}
	all := []checkup.Check{checkup.Good(checkDatabase, "SQLite at %s", path), judgeSchema(version)}
	if kind, err := disk.Network(path); err == nil && kind != "" {
		all = append(all, checkup.Bad(checkDurability, "keep the file on a local disk, or use PostgreSQL",
			"%s is on %s: SQLite's locks and syncs cannot be relied upon over a network", path, kind))
	}
	all = append(all, judgeLog(path))
	if version == Version {
		all = append(all, asked(read(t))...)
	}
	if deep {
		all = append(all, quickCheck(t))
	}
	return all
}

// judgeLog looks at how long the write-ahead log has become.
func judgeLog(path string) checkup.Check {
	info, err := os.Stat(path + "-wal")
	if err != nil {
		return checkup.Good(checkLog, "empty")
	}
	if info.Size() > tooLongLog {
		return checkup.Doubt(checkLog, "end whatever else reads the database file for long, such as a backup that hangs",
			"%d MiB: checkpoints do not get through", info.Size()>>20)
	}
	return checkup.Good(checkLog, "%d MiB", info.Size()>>20)
}

func quickCheck(t *tx) checkup.Check {
	var found string
	err := t.read(`SELECT quick_check FROM pragma_quick_check LIMIT 1`, nil, func(scan func(...any) error) error { return scan(&found) })
	if err != nil || found != "ok" {
		return checkup.Bad(checkContent, "stop the server, keep a copy of the files, and restore a backup", "damaged: %s %v", found, err)
	}
	return checkup.Good(checkContent, "read wholly, and consistent")
}

// asked says what reading came to.
func asked(err error) []checkup.Check {
	if err == nil {
		return nil
	}
	return []checkup.Check{checkup.Bad(checkContent, "look at what the database says", "cannot be read: %v", err)}
}

// schema is the version of the schema, 0 for an empty database.
func schema(t *tx) (int64, error) {
	there, err := t.there(`SELECT 1 FROM sqlite_master WHERE name = 'goose_db_version'`)
	if err != nil || !there {
		return 0, err
	}
	return one(t, itself[int64], `SELECT max(version_id) FROM goose_db_version WHERE is_applied`)
}

func judgeSchema(version int64) checkup.Check {
	switch {
	case version == 0:
		return checkup.Doubt(checkSchema, "start nod serve", "none yet")
	case version < Version:
		return checkup.Doubt(checkSchema, "nod serve and nod migrate bring it up to date; make a backup before",
			"version %d, older than this program's %d", version, Version)
	case version > Version:
		return checkup.Bad(checkSchema, "use the newer nod that the database was used with", "version %d, newer than this program's %d", version, Version)
	}
	return checkup.Good(checkSchema, "version %d", version)
}

func inspectPostgres(ctx context.Context, c Config, read func(store.Tx) error) []checkup.Check {
	ctx, cancel := context.WithTimeout(ctx, postgresPatience)
	defer cancel()
	config, err := pgx.ParseConfig(c.DSN)
	if err != nil {
		return []checkup.Check{checkup.Bad(checkDatabase, "correct database", "the URL of PostgreSQL cannot be read")}
	}
	config.ConnectTimeout = postgresPatience / 3
	config.RuntimeParams["application_name"] = "nod doctor"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return []checkup.Check{checkup.Bad(checkDatabase, "start it, and look at its address, user and password in database, and at pg_hba.conf",
			"PostgreSQL at %s cannot be reached: %v", config.Host, err)}
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing was written
	facts, err := postgresFacts(ctx, conn)
	if err != nil {
		return []checkup.Check{checkup.Bad(checkDatabase, "look at the log of PostgreSQL", "PostgreSQL at %s does not say how it is: %v", config.Host, err)}
	}
	all := facts.judge(config.Host)
	at := postgresSession{conn}
	now, err := at.now(`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ` + nowText)
	if err != nil {
		return append(all, asked(err)...)
	}
	all = append(all, judgeClock(now, time.Now()))
	var version *int64
	if err := conn.QueryRow(ctx, `SELECT CASE WHEN to_regclass('goose_db_version') IS NULL THEN 0 ELSE 1 END::bigint`).Scan(&version); err != nil {
		return append(all, asked(err)...)
	}
	if *version > 0 {
		if err := conn.QueryRow(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&version); err != nil {
			return append(all, asked(err)...)
		}
	}
	all = append(all, judgeSchema(*version))
	if *version == Version {
		all = append(all, asked(read(&tx{session: at, ctx: ctx, now: now.Add(c.Offset()), viewing: true}))...)
	}
	return all
}

func judgeClock(there mfa.Instant, here time.Time) checkup.Check {
	if off := apart(there.Time(), here); off > clockGap {
		return checkup.Bad(checkClock, "set both clocks right by NTP", "%s away from this machine's", off.Round(time.Millisecond))
	}
	return checkup.Good(checkClock, "that of this machine")
}

// facts are the settings of a PostgreSQL server that nod depends on.
type facts struct {
	version                         string
	fsync, commits, pages, encoding string
	standby                         bool
	connections, reserved, others   int
}

func postgresFacts(ctx context.Context, conn *pgx.Conn) (facts, error) {
	var f facts
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num'), current_setting('fsync'), current_setting('synchronous_commit'),
		current_setting('full_page_writes'), current_setting('server_encoding'), pg_is_in_recovery(),
		current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int,
		(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> 'nod')::int`).Scan(
		&f.version, &f.fsync, &f.commits, &f.pages, &f.encoding, &f.standby, &f.connections, &f.reserved, &f.others)
	return f, err
}

// judge says which of the settings break what nod promises.
func (f facts) judge(host string) []checkup.Check {
	var all []checkup.Check
	number, err := strconv.Atoi(f.version)
	name := fmt.Sprintf("PostgreSQL %d.%d at %s", number/10000, number%10000, host)
	switch {
	case err != nil || number < postgresOldest:
		all = append(all, checkup.Bad(checkDatabase, "use PostgreSQL 15 or newer", "%s is too old", name))
	case f.encoding != "UTF8":
		all = append(all, checkup.Bad(checkDatabase, "create the database with the encoding UTF8", "%s has the encoding %s", name, f.encoding))
	case f.standby:
		all = append(all, checkup.Bad(checkDatabase, "name the primary in database", "%s is a standby and takes no writes", name))
	default:
		all = append(all, checkup.Good(checkDatabase, "%s", name))
	}
	switch {
	case f.fsync == "off" || f.commits == "off":
		all = append(all, checkup.Bad(checkDurability, "set both to on for this database and role",
			"fsync is %s and synchronous_commit %s: a crash takes back what was acknowledged, and nod does not start", f.fsync, f.commits))
	case f.pages == "off":
		all = append(all, checkup.Doubt(checkDurability, "set it to on, unless the file system cannot tear a page (ZFS)",
			"full_page_writes is off: a power cut can damage the database"))
	default:
		all = append(all, checkup.Good(checkDurability, "fsync, synchronous_commit = %s and full_page_writes", f.commits))
	}
	free := f.connections - f.reserved - f.others
	if free < 2*nodeConnections {
		return append(all, checkup.Doubt(checkConnections, "raise max_connections, or let others use fewer",
			"%d of %d are left for nod, and a node takes up to %d", max(free, 0), f.connections, nodeConnections))
	}
	return append(all, checkup.Good(checkConnections, "%d of %d are left for nod, enough for %d nodes", free, f.connections, free/nodeConnections))
}
