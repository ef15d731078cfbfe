package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	postgresReaders = 8
	// postgresPatience is for the network; the server itself gives up a statement after ten
	// seconds.
	postgresPatience = 15 * time.Second
	// postgresTurn is how long a caller waits for one of the connections that read. When they all
	// wait for a server that does not answer, callers would only pile up.
	postgresTurn = 2 * time.Second
	// postgresOldest is the first version that nod is tested with.
	postgresOldest = 150000

	nowText = `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`
)

// postgresDB is a PostgreSQL database.
type postgresDB struct {
	config Config
	health *health
	pool   *pgxpool.Pool
	single *pgx.ConnConfig // for the writer, which keeps its connection

	conflicts atomic.Int64 // batches that had to run again
}

// openPostgres opens a database whose schema is up to date.
func openPostgres(ctx context.Context, c Config, h *health) (engine, error) {
	config, err := pgxpool.ParseConfig(c.DSN)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"application_name":                    "nod",
		"statement_timeout":                   "10s",
		"idle_in_transaction_session_timeout": "10s",
		// A scan of a whole table conflicts with every writer of the table, and small tables
		// would be scanned.
		"enable_seqscan": "off",
	} {
		config.ConnConfig.RuntimeParams[name] = value
	}
	config.MaxConns = postgresReaders
	p := &postgresDB{config: c, health: h, single: config.ConnConfig.Copy()}
	if p.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	if err := p.suitable(ctx); err != nil {
		p.pool.Close()
		return nil, err
	}
	return p, nil
}

// suitable refuses a server that would break what the store promises.
func (p *postgresDB) suitable(ctx context.Context) error {
	setting := func(name string) (string, error) {
		var v string
		err := p.pool.QueryRow(ctx, `SELECT current_setting($1)`, name).Scan(&v)
		return v, err
	}
	version, err := setting("server_version_num")
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(version); err != nil || n < postgresOldest {
		return fmt.Errorf("PostgreSQL 15 or newer is needed, the server has version %s", version)
	}
	encoding, err := setting("server_encoding")
	if err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database has the encoding %s: create it with UTF8", encoding)
	}
	for _, name := range []string{"synchronous_commit", "fsync"} {
		v, err := setting(name)
		if err != nil {
			return err
		}
		if v == "off" {
			p.config.Logger.WarnContext(ctx, "database refused", slog.String("setting", name), slog.String("value", v))
			return fmt.Errorf("PostgreSQL has %s = off and would acknowledge what a crash can take back: set it to on for this database and role", name)
		}
	}
	return nil
}

func (p *postgresDB) view(ctx context.Context, fn func(*tx) error) error {
	conn, now, err := p.begin(ctx)
	if err != nil {
		return err
	}
	s := postgresSession{conn.Conn()}
	defer conn.Release() // which closes a connection that is still in a transaction
	defer func() {
		if !conn.Conn().IsClosed() {
			_, _ = s.exec(`ROLLBACK`, nil)
		}
	}()
	t := &tx{session: s, ctx: ctx, now: now, viewing: true}
	defer func() { t.over = true }()
	err = t.outcome(fn(t))
	if t.failed != nil && postgresClass(t.failed) != classStatement {
		return p.explain(t.failed)
	}
	return err
}

// acquire takes a connection from the pool.
func (p *postgresDB) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	inside, cancel := context.WithTimeout(ctx, postgresTurn)
	defer cancel()
	conn, err := p.pool.Acquire(inside)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case inside.Err() != nil:
		return nil, unavailable("The database does not answer.", err)
	}
	return nil, unavailable("The database cannot be reached.", err)
}

// begin starts a transaction that reads. A connection that broke while nobody used it is replaced.
func (p *postgresDB) begin(ctx context.Context) (*pgxpool.Conn, mfa.Instant, error) {
	var failed error
	for range 2 {
		conn, err := p.acquire(ctx)
		if err != nil {
			return nil, 0, err
		}
		at, err := postgresSession{conn.Conn()}.now(`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ` + nowText)
		if err == nil {
			return conn, at.Add(p.config.Offset()), nil
		}
		conn.Release()
		if failed = err; postgresClass(err) != classLost {
			break
		}
	}
	return nil, 0, p.explain(failed)
}

// explain turns an error of the database itself into what callers are told, and ends the store if
// it is a fault.
func (p *postgresDB) explain(err error) error {
	if err == nil || isUnknown(err) {
		return err
	}
	switch postgresClass(err) {
	case classFault:
		return p.health.fault(err)
	case classLost:
		return unavailable("The connection to the database broke.", err)
	case classFull:
		return p.health.outOfRoom(err)
	case classBusy, classConflict:
		return unavailable("The database is busy.", err)
	case classStatement:
	}
	return err
}

// horizonText is the beginning of the oldest transaction that any node has under way, or the
// beginning of this statement. Whoever began later carries a later moment. The rows of a node that
// uses another role may not be read: such a transaction has ended within the time that a connection
// may be idle in it and a statement may take.
const horizonText = `SELECT (extract(epoch FROM least(statement_timestamp(), min(
		CASE WHEN query = '<insufficient privilege>' THEN statement_timestamp() - interval '60 s' ELSE xact_start END
	))) * 1000000)::bigint
	FROM pg_stat_activity
	WHERE datname = current_database() AND application_name = 'nod' AND pid <> pg_backend_pid()`

// horizon asks the server, since other nodes write too and a transaction may be committed long after
// its node has lost the connection.
func (p *postgresDB) horizon(ctx context.Context, _ *queue) (mfa.Instant, error) {
	var at int64
	if err := p.pool.QueryRow(ctx, horizonText).Scan(&at); err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, unavailable("The database cannot be reached.", err)
	}
	return mfa.Instant(at).Add(p.config.Offset()), nil
}

func (p *postgresDB) ready(ctx context.Context) error {
	if err := p.health.error(); err != nil {
		return err
	}
	var at int64
	var standby bool
	before := time.Now()
	err := p.pool.QueryRow(ctx, nowText+`, pg_is_in_recovery()`).Scan(&at, &standby)
	if err != nil {
		return unavailable("The database cannot be reached.", err)
	}
	took := time.Since(before)
	if standby {
		return errors.New("the database is a standby and takes no writes")
	}
	if off := apart(mfa.Instant(at).Time(), before.Add(took/2)); off > clockGap+took/2 {
		return fmt.Errorf("this node's clock is %s away from the database's: set it right", off.Round(time.Millisecond))
	}
	return nil
}

func (p *postgresDB) close() error {
	p.pool.Close()
	return nil
}

// postgresSession is one connection. Its statements have a time limit of their own and not the
// caller's context, whose end would cost the connection, and the transaction that others share.
type postgresSession struct{ conn *pgx.Conn }

func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), postgresPatience)
}

func (s postgresSession) exec(text string, args []any) (int64, error) {
	ctx, cancel := patience()
	defer cancel()
	tag, err := s.conn.Exec(ctx, text, args...)
	return tag.RowsAffected(), s.explain(err)
}

func (s postgresSession) query(text string, args []any, row func(scan func(...any) error) error) error {
	ctx, cancel := patience()
	defer cancel()
	rows, err := s.conn.Query(ctx, text, args...)
	if err != nil {
		return s.explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return s.explain(rows.Err())
}

// now sends several statements at once, of which the last one asks for the time.
func (s postgresSession) now(text string) (mfa.Instant, error) {
	ctx, cancel := patience()
	defer cancel()
	results, err := s.conn.PgConn().Exec(ctx, text).ReadAll()
	if err != nil {
		return 0, s.explain(err)
	}
	last := results[len(results)-1]
	if len(last.Rows) != 1 {
		return 0, fmt.Errorf("the database did not say what time it is: %s", last.CommandTag)
	}
	at, err := strconv.ParseInt(string(last.Rows[0][0]), 10, 64)
	return mfa.Instant(at), err
}

// errLost marks errors after which there is no connection any more.
var errLost = errors.New("connection to the database lost")

// explain gives some errors of the driver a name that tells what to do about them.
func (s postgresSession) explain(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case s.conn.IsClosed() || s.conn.PgConn().IsClosed():
		return fmt.Errorf("%w: %w", errLost, err)
	case ok && e.Code == "23503": // foreign_key_violation
		return fmt.Errorf("%w: %w", store.ErrNotFound, err)
	case ok && e.Code == "57014": // query_canceled
		return unavailable("The database took too long.", err)
	}
	return err
}

func postgresClass(err error) class {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		if errors.Is(err, errLost) {
			return classLost
		}
		return classStatement
	}
	switch e.Code {
	case "40001", "40P01", // serialization_failure, deadlock_detected
		"23505": // unique_violation: inserts do nothing then, so somebody else was faster than a check
		return classConflict
	case "58030", "XX001", "XX002": // io_error, data_corrupted, index_corrupted
		return classFault
	case "53100": // disk_full
		return classFull
	case "25006": // read_only_sql_transaction: the server became a standby
		return classLost
	}
	switch {
	case errors.Is(err, errLost), e.Severity == "FATAL", e.Severity == "PANIC", e.Code[:2] == "57" && e.Code != "57014":
		return classLost
	case e.Code[:2] == "53": // insufficient_resources
		return classBusy
	}
	return classStatement
}
