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
)

const (
	// postgresBatch keeps the savepoints of a transaction below the 64 that PostgreSQL holds in
	// memory; with more, every reader of the server slows down.
	postgresBatch = 60
	// postgresTries is how often a job is run that conflicts even on its own.
	postgresTries = 20
	// conflictLock is the advisory lock under which what has conflicted is run again: two nodes
	// that meet over the same rows take turns then. Any number does that no other program uses in
	// the same database.
	conflictLock = 0x6e6f642d636f6e66

	begin      = `BEGIN ISOLATION LEVEL SERIALIZABLE; `
	keepJob    = `RELEASE SAVEPOINT job; `
	discardJob = `ROLLBACK TO SAVEPOINT job; RELEASE SAVEPOINT job; `
)

// postgresWriter commits batches on a connection of its own.
type postgresWriter struct {
	db   *postgresDB
	conn *pgx.Conn // nil or closed when there is none
	head string    // what the next message to the server begins with
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
func (w *postgresWriter) batch(jobs []*job) {
	begun := time.Now()
	err := w.attempt(jobs)
	if err != nil && w.class(err) == classLost && time.Since(begun) < postgresTurn {
		err = w.attempt(jobs)
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
	for try := range 2 {
		err := w.attempt(jobs)
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
		if err = w.attempt(j); err == nil || w.class(err) != classConflict {
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
// is told yet.
func (w *postgresWriter) attempt(jobs []*job) error {
	err := w.db.health.error()
	if err == nil {
		err = w.connect()
	}
	w.head = begin
	for i := 0; err == nil && i < len(jobs); i++ {
		err = w.job(jobs[i])
	}
	if err == nil {
		began := time.Now()
		if err = w.commit(); err == nil {
			w.db.config.Observe(len(jobs), time.Since(began))
		}
	}
	if err != nil {
		w.giveUp(err)
	}
	return err
}

// job runs one job under a savepoint. The error it returns concerns the whole transaction.
func (w *postgresWriter) job(j *job) error {
	if j.gone {
		return nil
	}
	if j.result = j.ctx.Err(); j.result != nil {
		return nil
	}
	s := postgresSession{w.conn}
	now, err := s.now(w.head + `SAVEPOINT job; ` + nowText)
	if err != nil {
		return err
	}
	failed := j.lend(&tx{session: s, ctx: j.ctx, now: now.Add(w.db.config.Offset())})
	if failed != nil && postgresClass(failed) != classStatement {
		return failed
	}
	w.head = keepJob
	if j.result != nil {
		w.head = discardJob
	}
	return nil
}

// commit ends the transaction. An error of the server means that it was rolled back; without an
// answer nobody knows.
func (w *postgresWriter) commit() error {
	if w.head == begin {
		return nil
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
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Severity == "ERROR" {
		return err
	}
	return unknown(err)
}

// giveUp leaves the connection outside any transaction, or closes it.
func (w *postgresWriter) giveUp(cause error) {
	if w.conn == nil || w.conn.IsClosed() {
		return
	}
	if !isUnknown(cause) && w.class(cause) != classLost {
		ctx, cancel := context.WithTimeout(context.Background(), postgresPatience)
		defer cancel()
		if _, err := w.conn.Exec(ctx, `ROLLBACK`); err == nil {
			return
		}
	}
	w.disconnect()
}
