package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	// postgresBatch keeps the savepoints of a transaction that needs them below the 64 that
	// PostgreSQL holds in memory; with more, every reader of the server slows down.
	postgresBatch = 60
	// postgresTries is how often a job is run that conflicts even on its own.
	postgresTries = 20
	// conflictLock is the advisory lock under which what has conflicted is run again: two nodes
	// that meet over the same rows take turns then. Any number does that no other program uses in
	// the same database.
	conflictLock = 0x6e6f642d636f6e66

	begin      = `BEGIN ISOLATION LEVEL SERIALIZABLE; ` + houseText
	keepJob    = `RELEASE SAVEPOINT job; `
	discardJob = `ROLLBACK TO SAVEPOINT job; RELEASE SAVEPOINT job; `
)

// postgresWriter commits batches on a connection of its own.
type postgresWriter struct {
	db   *postgresDB
	conn *pgx.Conn // nil or closed when there is none

	// Of the transaction under way:
	now    mfa.Instant
	stamps *postgresStamps
	head   string        // what the next message to the server begins with
	events []store.Event // that are written together at its end
	places int           // of events that were given
	others bool          // events were refused that may be those of another job than the one that had them written
}

func (p *postgresDB) write(q *queue) {
	w := &postgresWriter{db: p}
	for first := q.next(true); first != nil; first = q.next(true) {
		w.batch(gather(q, first))
	}
	w.disconnect()
}

// gather returns the first job and those that wait with it. Who comes later has to wait for the
// next transaction: this one sees the database as it was at its beginning, and not what another
// node may have told the caller since.
func gather(q *queue, first *job) []*job {
	jobs := []*job{first}
	for len(jobs) < postgresBatch {
		j := q.next(false)
		if j == nil {
			break
		}
		jobs = append(jobs, j)
	}
	return jobs
}

func (w *postgresWriter) disconnect() {
	if w.conn != nil {
		ctx, cancel := patience()
		defer cancel()
		_ = w.conn.Close(ctx)
		w.conn = nil
	}
}

func (w *postgresWriter) connect() error {
	if w.conn != nil && !w.conn.IsClosed() {
		return nil
	}
	ctx, cancel := patience()
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, w.db.single.Copy())
	if err != nil {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	w.conn = conn
	return nil
}

// batch runs jobs, commits them together and tells all of them. A connection that is found broken
// before the commit is replaced once; a server that did not answer is not waited for twice.
//
// Savepoints, which cost every job a message, are made only for jobs that are run again because one
// of them failed when there was something to undo. That one has its answer, and is not run again.
func (w *postgresWriter) batch(jobs []*job) {
	begun := time.Now()
	spoilt, err := w.attempt(jobs, false)
	if err != nil && w.class(err) == classLost && time.Since(begun) < postgresTurn {
		spoilt, err = w.attempt(jobs, false)
	}
	if err == nil && spoilt {
		_, err = w.attempt(jobs, true)
	}
	if err != nil && w.class(err) == classConflict {
		w.db.conflicts.Add(1)
		w.again(jobs)
		return
	}
	settle(jobs, w.db.explain(err), w.db.config.Committed)
}

// class is the class of an error of attempt.
func (w *postgresWriter) class(err error) class {
	if isUnknown(err) {
		return classStatement
	}
	return postgresClass(err)
}

// again runs jobs that have conflicted with another writer: together, and then each for itself so
// that one that never gets through takes nobody with it.
func (w *postgresWriter) again(jobs []*job) {
	defer w.takeTurns()()
	for _, j := range jobs {
		j.spoilt = false // what it saw is not what will be
	}
	for try := range 2 {
		_, err := w.attempt(jobs, true)
		if err == nil || w.class(err) != classConflict {
			settle(jobs, w.db.explain(err), w.db.config.Committed)
			return
		}
		pause(try)
	}
	for _, j := range jobs {
		alone := []*job{j}
		settle(alone, w.db.explain(w.alone(alone)), w.db.config.Committed)
	}
}

func (w *postgresWriter) alone(j []*job) error {
	var err error
	for try := range postgresTries {
		if _, err = w.attempt(j, true); err == nil || w.class(err) != classConflict {
			return err
		}
		pause(try)
	}
	return err
}

// pause spreads those who conflict.
func pause(try int) {
	time.Sleep(rand.N(time.Millisecond << min(try, 6))) //nolint:gosec // decides nothing
}

// takeTurns waits for the conflict lock. Without it all goes on as well, only with more conflicts.
func (w *postgresWriter) takeTurns() (done func()) {
	lock := func(name string) error {
		if err := w.connect(); err != nil {
			return err
		}
		_, err := postgresSession{w.conn}.exec(`SELECT `+name+`($1)`, []any{int64(conflictLock)})
		return err
	}
	if err := lock("pg_advisory_lock"); err != nil {
		w.db.config.Logger.Warn("no turn among conflicting writers", slog.Any("error", err))
		return func() {}
	}
	return func() {
		if err := lock("pg_advisory_unlock"); err != nil {
			w.disconnect() // the lock ends with the connection
		}
	}
}

// attempt runs jobs in one transaction and commits it. The error concerns all of them; none of them
// is told yet. Spoilt means that it was rolled back because of one of them.
func (w *postgresWriter) attempt(jobs []*job, savepoints bool) (spoilt bool, err error) {
	if err = w.db.health.error(); err == nil {
		err = w.connect()
	}
	w.head, w.stamps, w.events, w.places, w.others = "", nil, nil, 0, false
	for i := 0; err == nil && !spoilt && i < len(jobs); i++ {
		spoilt, err = w.job(jobs[i], savepoints)
	}
	if err == nil && !spoilt && w.stamps != nil {
		var refused error
		refused, err = w.flushed(w.flush(nil))
		spoilt = refused != nil
	}
	if err == nil && !spoilt {
		began := time.Now()
		if err = w.commit(); err == nil {
			w.db.config.Observe(len(jobs), time.Since(began))
		}
	}
	if err != nil || spoilt {
		w.giveUp(err)
	}
	return spoilt, err
}

// begin starts the transaction, and takes the moment that all its jobs carry: they have asked before.
func (w *postgresWriter) begin() error {
	now, stamp, err := postgresSession{w.conn}.house(begin)
	if err != nil {
		return err
	}
	w.now, w.stamps = now.Add(w.db.config.Offset()), newPostgresStamps(stamp)
	w.stamps.read = postgresSession{w.conn}.stamps
	return nil
}

// job runs one job. The error it returns concerns the whole transaction, and so does it if a job
// has spoilt it: something is to be undone, and there is no savepoint.
func (w *postgresWriter) job(j *job, savepoint bool) (spoilt bool, err error) {
	if j.gone || j.spoilt {
		return false, nil
	}
	if j.result = j.ctx.Err(); j.result != nil {
		return false, nil
	}
	if w.stamps == nil {
		if err := w.begin(); err != nil {
			return false, err
		}
	}
	s := postgresSession{w.conn}
	if savepoint {
		if _, err := s.now(w.head + `SAVEPOINT job; ` + nowText); err != nil {
			return false, err
		}
	}
	t := &tx{
		session: s, ctx: j.ctx, now: w.now, cache: w.db.cache, keeper: w.stamps,
		flush: w.flush, later: new([]store.Event), events: w.places,
	}
	failed := j.lend(t)
	w.places = t.events
	if failed != nil && postgresClass(failed) != classStatement {
		return false, failed
	}
	if !savepoint {
		if j.result == nil {
			w.events = append(w.events, *t.later...)
		}
		j.spoilt = !w.others && (failed != nil || (j.result != nil && t.wrote))
		return j.spoilt || w.others, nil
	}
	if j.result == nil {
		if j.result, err = w.flushed(w.flush(t.later)); err != nil {
			return false, err
		}
	}
	w.head = keepJob
	if j.result != nil {
		w.head = discardJob
	}
	return false, nil
}

// flushed tells an error of flush that concerns the events alone.
func (w *postgresWriter) flushed(err error) (refused, _ error) {
	if err == nil || w.class(err) == classStatement {
		return err, nil
	}
	return nil, err
}

// flush writes the events that are to be written together.
func (w *postgresWriter) flush(more *[]store.Event) error {
	events := w.events
	others := len(events) > 0
	if more != nil {
		events = append(events, *more...)
		*more = nil
	}
	w.events = nil
	if len(events) == 0 {
		return nil
	}
	err := postgresSession{w.conn}.insertEvents(events)
	w.others = err != nil && others
	return err
}

// commit ends the transaction. An error of the server means that it was rolled back; without an
// answer nobody knows.
func (w *postgresWriter) commit() error {
	if w.stamps == nil {
		return nil // nobody was there any more
	}
	ctx, cancel := patience()
	defer cancel()
	results, err := w.conn.PgConn().Exec(ctx, w.head+`COMMIT`).ReadAll()
	if err == nil {
		if tag := results[len(results)-1].CommandTag.String(); tag != "COMMIT" {
			return fmt.Errorf("the database answered COMMIT with %s", tag)
		}
		return nil
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.SeverityUnlocalized == "ERROR" {
		return err
	}
	return unknown(err)
}

// giveUp leaves the connection outside any transaction, or closes it.
func (w *postgresWriter) giveUp(cause error) {
	if w.conn == nil || w.conn.IsClosed() {
		return
	}
	if cause == nil || (!isUnknown(cause) && w.class(cause) != classLost) {
		ctx, cancel := context.WithTimeout(context.Background(), postgresPatience)
		defer cancel()
		if _, err := w.conn.Exec(ctx, `ROLLBACK`); err == nil {
			return
		}
	}
	w.disconnect()
}
