package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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

	nowText      = `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`
	houseText    = nowText + `, (SELECT stamp FROM cache_stamps WHERE place = 0)`
	beginReading = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`
)

// postgresDB is a PostgreSQL database.
type postgresDB struct {
	config Config
	health *health
	pool   *pgxpool.Pool
	single *pgx.ConnConfig // for the writer, which keeps its connection
	cache  *cache

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
	p := &postgresDB{config: c, health: h, cache: newCache(), single: config.ConnConfig.Copy()}
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

// view runs fn again, in a transaction from the beginning, if what it took from the cache was changed
// before it began to read the database.
func (p *postgresDB) view(ctx context.Context, fn func(*tx) error) error {
	for eager := false; ; eager = true {
		err := p.viewOnce(ctx, fn, eager)
		if !errors.Is(err, errChanged) || eager {
			return err
		}
	}
}

func (p *postgresDB) viewOnce(ctx context.Context, fn func(*tx) error, eager bool) error {
	conn, at, stamp, err := p.first(ctx, eager)
	if err != nil {
		return err
	}
	l := &postgresReading{postgresSession: postgresSession{conn.Conn()}, stamps: newPostgresStamps(stamp), begun: eager}
	l.stamps.read = l.together
	defer conn.Release() // which closes a connection that is still in a transaction
	defer l.end()
	t := &tx{session: l, ctx: ctx, now: at, viewing: true, cache: p.cache, keeper: l.stamps}
	defer func() { t.over = true }()
	err = t.outcome(fn(t))
	if errors.Is(t.failed, errChanged) {
		return errChanged
	}
	if t.failed != nil && postgresClass(t.failed) != classStatement {
		return p.explain(t.failed)
	}
	return err
}

// postgresReading is a session that begins its transaction when it is first asked for something that
// is in no cache.
type postgresReading struct {
	postgresSession
	stamps *postgresStamps
	begun  bool
}

// together reads stamps with those that are known already, so that all hold at one moment.
func (r *postgresReading) together(places []int64) ([]int64, mfa.Instant, error) {
	asked := slices.Clone(places)
	for s := range r.stamps.known {
		asked = append(asked, int64(s))
	}
	got, at, err := r.postgresSession.stamps(asked)
	if err != nil {
		return nil, 0, err
	}
	for i, s := range asked[len(places):] {
		if r.stamps.known[scope(s)] != got[len(places)+i] {
			return nil, 0, errChanged
		}
	}
	return got[:len(places)], at, nil
}

// begin sends BEGIN, asks for the stamps that are known already, and runs the first statement, all in
// one message.
func (r *postgresReading) begin(text string, args []any, row func(scan func(...any) error) error) error {
	places := make([]int64, 0, len(r.stamps.known))
	for s := range r.stamps.known {
		places = append(places, int64(s))
	}
	b := new(pgx.Batch)
	b.Queue(beginReading)
	b.Queue(`SELECT place, stamp FROM cache_stamps WHERE place = ANY($1::int[])`, places).Query(func(rows pgx.Rows) error {
		var place, stamp int64
		_, err := pgx.ForEachRow(rows, []any{&place, &stamp}, func() error {
			if r.stamps.known[scope(place)] != stamp {
				return errChanged
			}
			return nil
		})
		return err
	})
	b.Queue(text, args...).Query(func(rows pgx.Rows) error { return eachRow(rows, row) })
	ctx, cancel := patience()
	defer cancel()
	r.begun = true
	return r.explain(r.conn.SendBatch(ctx, b).Close())
}

func (r *postgresReading) end() {
	if r.begun && !r.conn.IsClosed() {
		_, _ = r.postgresSession.exec(`ROLLBACK`, nil)
	}
}

func (*postgresReading) exec(string, []any) (int64, error) {
	return 0, errViewing
}

func (r *postgresReading) query(text string, args []any, row func(scan func(...any) error) error) error {
	if r.begun {
		return r.postgresSession.query(text, args, row)
	}
	return r.begin(text, args, row)
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

// first asks for the moment and the stamp of the house, in a transaction if that is to begin. A
// connection that broke while nobody used it is replaced.
func (p *postgresDB) first(ctx context.Context, begin bool) (*pgxpool.Conn, mfa.Instant, int64, error) {
	text := houseText
	if begin {
		text = beginReading + `; ` + houseText
	}
	var failed error
	for range 2 {
		conn, err := p.acquire(ctx)
		if err != nil {
			return nil, 0, 0, err
		}
		at, stamp, err := postgresSession{conn.Conn()}.house(text)
		if err == nil {
			return conn, at.Add(p.config.Offset()), stamp, nil
		}
		conn.Release()
		if failed = err; postgresClass(err) != classLost {
			break
		}
	}
	return nil, 0, 0, p.explain(failed)
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
	return s.explain(eachRow(rows, row))
}

func eachRow(rows pgx.Rows, row func(scan func(...any) error) error) error {
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// now sends several statements at once, of which the last one asks for the time.
func (s postgresSession) now(text string) (mfa.Instant, error) {
	row, err := s.last(text)
	if err != nil {
		return 0, err
	}
	at, err := strconv.ParseInt(string(row[0]), 10, 64)
	return mfa.Instant(at), err
}

// house sends several statements at once, of which the last one is houseText.
func (s postgresSession) house(text string) (mfa.Instant, int64, error) {
	row, err := s.last(text)
	if err != nil {
		return 0, 0, err
	}
	at, err := strconv.ParseInt(string(row[0]), 10, 64)
	if err != nil {
		return 0, 0, err
	}
	stamp, err := strconv.ParseInt(string(row[1]), 10, 64)
	return mfa.Instant(at), stamp, err
}

// last sends several statements at once and gives the single row of the last one.
func (s postgresSession) last(text string) ([][]byte, error) {
	ctx, cancel := patience()
	defer cancel()
	results, err := s.conn.PgConn().Exec(ctx, text).ReadAll()
	if err != nil {
		return nil, s.explain(err)
	}
	last := results[len(results)-1]
	if len(last.Rows) != 1 {
		return nil, fmt.Errorf("the database did not say what time it is: %s", last.CommandTag)
	}
	return last.Rows[0], nil
}

// stamps reads the stamps of places, in their order, and the moment.
func (s postgresSession) stamps(places []int64) ([]int64, mfa.Instant, error) {
	found := make(map[int64]int64, len(places))
	var at int64
	err := s.query(nowText+`, place, stamp FROM cache_stamps WHERE place = ANY($1::int[])`, []any{places},
		func(scan func(...any) error) error {
			var place, stamp int64
			err := scan(&at, &place, &stamp)
			found[place] = stamp
			return err
		})
	if err != nil {
		return nil, 0, err
	}
	out := make([]int64, len(places))
	for i, p := range places {
		if out[i] = found[p]; out[i] == 0 {
			return nil, 0, fmt.Errorf("the database has no stamp of place %d", p)
		}
	}
	return out, mfa.Instant(at), nil
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
	case errors.Is(err, errLost), e.SeverityUnlocalized == "FATAL", e.SeverityUnlocalized == "PANIC", e.Code[:2] == "57" && e.Code != "57014":
		return classLost
	case e.Code[:2] == "53": // insufficient_resources
		return classBusy
	}
	return classStatement
}
