package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	modernc "modernc.org/sqlite" // for migrations
	"zombiezen.com/go/sqlite"

	"github.com/nodauth/nod/internal/disk"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	sqliteReaders = 4
	sqliteBatch   = 512
	// sqliteViews is how often a function that reads is run before it has to do without the cache.
	sqliteViews = 3
	// checkpointAfter is how many jobs the checkpointer lets come together.
	checkpointAfter = 200
	// longLog is the length of the write-ahead log, in pages of 4 KiB, from which the writer
	// stops to finish a checkpoint: while it writes, the log cannot begin anew.
	longLog = 16384
)

// sqliteDB is a database file.
type sqliteDB struct {
	config  Config
	health  *health
	clock   *clock
	path    string
	cache   *cache
	marks   marks
	writer  *sqliteSession
	readers chan *sqliteSession

	kick         chan struct{} // wakes the checkpointer
	checkpointer sync.WaitGroup
	sessions     []*sqliteSession // all of them, to be closed
	long         atomic.Bool      // the log is longer than longLog
	longLog      int64            // pages
	full         atomic.Bool      // the disk was, when it was asked last

	space func(dir string) (disk.Space, error)
}

// openSQLite opens a file whose schema is up to date.
func openSQLite(c Config, h *health) (engine, error) {
	path, err := sqlitePath(c)
	if err != nil {
		return nil, err
	}
	s := &sqliteDB{
		space:  disk.SpaceOf,
		config: c, health: h, clock: newClock(c.Offset), path: path, cache: newCache(),
		readers: make(chan *sqliteSession, sqliteReaders), kick: make(chan struct{}, 1), longLog: longLog,
	}
	if err := s.connect(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	checkpoints, err := s.session()
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.checkpointer.Go(func() { s.checkpoint(checkpoints) })
	return s, nil
}

// sqlitePath makes the file, unless it is there, and gives its absolute path.
func sqlitePath(c Config) (string, error) {
	path, err := c.path()
	if err != nil {
		return "", err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := createFile(path); err != nil {
		return "", fmt.Errorf("database file: %w", err)
	}
	return path, nil
}

// sqliteOpen makes a handle for migrations, which opens no connection yet.
func sqliteOpen(c Config) (*sql.DB, error) {
	path, err := sqlitePath(c)
	if err != nil {
		return nil, err
	}
	query := url.Values{"_pragma": {
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
	}}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String())
}

// explainMigration names what stands in the way of a migration where the driver does not.
func explainMigration(err error) error {
	if e, ok := errors.AsType[*modernc.Error](err); ok {
		switch e.Code() {
		case int(sqlite.ResultFull), int(sqlite.ResultIOErrSHMSize):
			return fmt.Errorf("the disk of the database is full: %w", err)
		}
	}
	return err
}

// createFile makes an empty file that its owner alone can read, and makes its name durable. SQLite
// gives its other files the same permissions.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// session opens a connection that close closes.
func (s *sqliteDB) session() (*sqliteSession, error) {
	session, err := sqliteConnect(s.path)
	if err == nil {
		s.sessions = append(s.sessions, session)
	}
	return session, err
}

func (s *sqliteDB) connect() error {
	var err error
	if s.writer, err = s.session(); err != nil {
		return err
	}
	newest, err := s.newest()
	if err != nil {
		return err
	}
	if err := s.clock.behind(newest); err != nil {
		return err
	}
	s.clock.goOn(newest)
	for range sqliteReaders {
		r, err := s.session()
		if err != nil {
			return err
		}
		if _, err := r.exec(`PRAGMA query_only = 1`, nil); err != nil {
			return err
		}
		s.readers <- r
	}
	return nil
}

// newest is the moment of the newest row: every change of state has its event, and what has none
// is a guess or a challenge. Each part reads the end of an index.
func (s *sqliteDB) newest() (mfa.Instant, error) {
	var at mfa.Instant
	err := s.writer.query(`SELECT max(
		coalesce((SELECT max(at) FROM events), 0),
		coalesce((SELECT max(at) FROM guesses), 0),
		coalesce((SELECT max((SELECT max(c.changed_at) FROM challenges c
			WHERE c.realm = a.realm AND c.application_id = a.id)) FROM applications a), 0))`, nil,
		func(scan func(...any) error) error { return scan(&at) })
	return at, err
}

// view runs fn again, without the cache in the end, if what it took from the cache was changed
// while it ran: rows taken before and after that would be of two states.
func (s *sqliteDB) view(ctx context.Context, fn func(*tx) error) error {
	for range sqliteViews {
		v := &sqliteViewing{marks: &s.marks}
		err := s.viewOnce(ctx, &lazySession{db: s, ctx: ctx, viewing: v}, v, fn)
		if v.consistent() {
			return err
		}
	}
	return s.viewOnce(ctx, &lazySession{db: s, ctx: ctx}, nil, fn)
}

func (s *sqliteDB) viewOnce(ctx context.Context, l *lazySession, v *sqliteViewing, fn func(*tx) error) error {
	defer l.end()
	t := &tx{session: l, ctx: ctx, now: s.clock.now(), viewing: true}
	if v != nil {
		t.cache, t.keeper = s.cache, v
	}
	defer func() { t.over = true }()
	err := t.outcome(fn(t))
	if t.failed != nil && sqliteClass(t.failed) != classStatement {
		return s.explain(t.failed)
	}
	return err
}

// lazySession takes a connection when it is first asked for something, and reads one state with it.
type lazySession struct {
	db      *sqliteDB
	ctx     context.Context
	viewing *sqliteViewing // nil without the cache
	taken   *sqliteSession
	begun   bool
}

func (l *lazySession) begin() error {
	if l.begun {
		return nil
	}
	select {
	case l.taken = <-l.db.readers:
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
	l.begun = true
	if l.viewing != nil {
		l.viewing.begun, l.viewing.epoch = true, l.db.marks.epoch.Load() // before anything is read
	}
	_, err := l.taken.exec(`BEGIN`, nil)
	return err
}

func (l *lazySession) end() {
	if l.taken == nil {
		return
	}
	if _, err := l.taken.exec(`ROLLBACK`, nil); err != nil {
		l.db.config.Logger.ErrorContext(l.ctx, "end of a reading transaction", slog.Any("error", err))
	}
	l.db.readers <- l.taken
	l.taken = nil
}

func (l *lazySession) exec(text string, args []any) (int64, error) {
	if err := l.begin(); err != nil {
		return 0, err
	}
	return l.taken.exec(text, args)
}

func (l *lazySession) query(text string, args []any, row func(scan func(...any) error) error) error {
	if err := l.begin(); err != nil {
		return err
	}
	return l.taken.query(text, args, row)
}

// explain turns an error of the database itself into what callers are told, and ends the store if
// it is a fault.
func (s *sqliteDB) explain(err error) error {
	switch sqliteClass(err) {
	case classFault:
		return s.health.fault(err)
	case classFull:
		s.full.Store(true)
		return s.health.outOfRoom(err)
	case classBusy:
		return unavailable("The database is busy.", err)
	case classStatement, classConflict, classLost:
	}
	return err
}

func (s *sqliteDB) write(q *queue) {
	sinceKick := 0
	for first := q.next(true); first != nil; first = q.next(true) {
		sinceKick += s.batch(q, first)
		if sinceKick >= checkpointAfter {
			sinceKick = 0
			select {
			case s.kick <- struct{}{}:
			default:
			}
		}
		if s.long.Swap(false) && s.health.error() == nil {
			_, _ = s.finishCheckpoint(s.writer) // which says what is wrong
		}
	}
	close(s.kick)
}

// batch runs the first job and those that come meanwhile in one transaction, commits it, and
// tells all of them. It returns how many they were.
//
// Savepoints, which cost every job two statements and a copy of each page that it changes, are made
// only for jobs that are run again because one of them failed after it had written. That one has its
// answer, and is not run again.
func (s *sqliteDB) batch(q *queue, first *job) int {
	jobs, spoilt, err := s.attempt(q, []*job{first}, false)
	if err == nil && spoilt {
		jobs, _, err = s.attempt(nil, jobs, true)
	}
	s.marks.over()
	settle(jobs, err, s.config.Committed)
	return len(jobs)
}

// attempt runs jobs, and those that come meanwhile if there is a queue, in one transaction. Spoilt
// means that it was rolled back because of one of them.
func (s *sqliteDB) attempt(q *queue, jobs []*job, savepoints bool) (_ []*job, spoilt bool, err error) {
	if err = s.health.error(); err == nil && s.full.Swap(false) {
		// What room there is now is the database's first: else the log takes all of it, and can never
		// be moved.
		_, err = s.finishCheckpoint(s.writer)
		err = s.explain(err)
	}
	if err == nil {
		err = s.wrap(s.writer.exec(`BEGIN IMMEDIATE`, nil))
	}
	for i := 0; err == nil && !spoilt; i++ {
		if i == len(jobs) {
			if q == nil || len(jobs) == sqliteBatch {
				break
			}
			j := q.next(false)
			if j == nil {
				break
			}
			jobs = append(jobs, j)
		}
		spoilt, err = s.job(jobs[i], savepoints)
		err = s.explain(err)
	}
	if err == nil && !spoilt {
		began := time.Now()
		if err = s.wrap(s.writer.exec(`COMMIT`, nil)); err == nil {
			s.config.Observe(len(jobs), time.Since(began))
		}
	}
	if spoilt || (err != nil && s.health.error() == nil) {
		// SQLite may have rolled back on its own, and a failed COMMIT may have left the
		// transaction open. If it is still there after this, BEGIN of the next batch says so.
		_, _ = s.writer.exec(`ROLLBACK`, nil)
	}
	return jobs, spoilt, err
}

func (s *sqliteDB) wrap(_ int64, err error) error { return s.explain(err) }

// job runs one job. The error it returns concerns the whole batch, and so does it if a job has
// spoilt the transaction: its writes are to be undone, and there is no savepoint.
func (s *sqliteDB) job(j *job, savepoint bool) (spoilt bool, err error) {
	if j.gone || j.spoilt {
		return false, nil
	}
	if j.result = j.ctx.Err(); j.result != nil {
		return false, nil
	}
	if savepoint {
		if _, err := s.writer.exec(`SAVEPOINT job`, nil); err != nil {
			return false, err
		}
	}
	t := &tx{session: s.writer, ctx: j.ctx, now: s.clock.now(), cache: s.cache, keeper: sqliteWriting{&s.marks}}
	failed := j.lend(t)
	if failed != nil && sqliteClass(failed) != classStatement {
		return false, failed
	}
	if !savepoint {
		j.spoilt = j.result != nil && t.wrote
		return j.spoilt, nil
	}
	if j.result != nil {
		if _, err := s.writer.exec(`ROLLBACK TO job`, nil); err != nil {
			return false, err
		}
	}
	_, err = s.writer.exec(`RELEASE job`, nil)
	return false, err
}

// checkpoint moves what is committed from the log to the database whenever the writer says that
// enough has come together. A failed sync of the database is a fault: asked again, the system
// would report success for what it has lost.
func (s *sqliteDB) checkpoint(c *sqliteSession) {
	for range s.kick {
		if pages, _ := s.finishCheckpoint(c); pages > s.longLog {
			s.long.Store(true)
		}
	}
}

// finishCheckpoint returns how many pages the log holds.
func (s *sqliteDB) finishCheckpoint(c *sqliteSession) (int64, error) {
	var busy, pages, moved int64
	err := c.query(`PRAGMA wal_checkpoint(PASSIVE)`, nil, func(scan func(...any) error) error {
		return scan(&busy, &pages, &moved)
	})
	if err != nil {
		if sqliteClass(err) == classFault {
			return 0, s.health.fault(err)
		}
		s.config.Logger.Warn("checkpoint of the database", slog.Any("error", err))
	}
	return pages, err
}

// horizon is the moment of a transaction that does nothing: there is one writer, whose transactions
// carry moments that only grow, and those before this one are committed with it or were before.
func (s *sqliteDB) horizon(ctx context.Context, q *queue) (mfa.Instant, error) {
	var at mfa.Instant
	err := q.do(ctx, func(tx store.Tx) error {
		at = tx.Now()
		return nil
	})
	return at, err
}

func (s *sqliteDB) ready(ctx context.Context) error {
	if err := s.clock.trusted(); err != nil {
		return err
	}
	if space, err := s.space(filepath.Dir(s.path)); err == nil && space.Short() {
		return fmt.Errorf("the disk of the database is full but for %d MiB: make room", space.Free>>20)
	}
	return s.view(ctx, func(t *tx) error {
		_, err := t.there(`SELECT 1`)
		return err
	})
}

func (s *sqliteDB) close() error {
	s.checkpointer.Wait()
	var errs []error
	for _, session := range s.sessions {
		errs = append(errs, session.close())
	}
	return errors.Join(errs...)
}

// class says whom an error of the database concerns.
type class int

const (
	classStatement class = iota // the job whose statement it was
	classConflict               // the whole transaction, which can be run again
	classLost                   // the connection, before anything was committed
	classBusy                   // the whole transaction, which cannot be written now
	classFull                   // likewise, because the disk is full
	classFault                  // the database itself
)
