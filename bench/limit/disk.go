package limit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	_ "modernc.org/sqlite"

	"github.com/nodauth/nod/bench/machine"
)

// inFlight is how many want to commit at any moment, as in the load that the limits stand beside.
const inFlight = 64

// Disk measures syncs and commits in dir, with so many syncs and ten times as many commits.
func Disk(ctx context.Context, dir string, rounds int, into Parts) error {
	file, err := os.CreateTemp(dir, "limit-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // the directory goes too
	record := make([]byte, 512)
	took := make([]time.Duration, rounds)
	start := machine.Self()
	for i := range took {
		at := time.Now()
		if err := write(file, record); err != nil {
			return err
		}
		took[i] = time.Since(at)
	}
	into[SyncCPU] = micros(machine.Self()-start) / float64(rounds)
	slices.Sort(took)
	into[Sync] = micros(took[len(took)/2])

	into[LogCommit], err = together(rounds*10, func(rows [][]byte) error {
		return write(file, slices.Concat(rows...))
	})
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("commit to a log: %w", err)
	}
	into[TableCommit], err = table(ctx, filepath.Join(dir, "limit.db"), rounds*10)
	return err
}

func write(f *os.File, b []byte) error {
	if _, err := f.Write(b); err != nil {
		return err
	}
	return syscall.Fdatasync(int(f.Fd()))
}

// together commits n rows of 512 bytes by 64 at a time and gives the processor time of each. One
// flusher takes what is queued; it yields until nobody is about to queue, since one commit for many
// is what makes it cheap.
func together(n int, flush func(rows [][]byte) error) (float64, error) {
	type job struct {
		row  []byte
		done chan error
	}
	queue := make(chan job, inFlight)
	start := machine.Self()
	var clients, flusher sync.WaitGroup
	flusher.Go(func() {
		for first := range queue {
			jobs := []job{first}
			for quiet := 0; quiet < 2 && len(jobs) < inFlight; {
				select {
				case j, ok := <-queue:
					if ok {
						jobs, quiet = append(jobs, j), 0
						continue
					}
				default:
				}
				runtime.Gosched()
				quiet++
			}
			rows := make([][]byte, len(jobs))
			for i, j := range jobs {
				rows[i] = j.row
			}
			err := flush(rows)
			for _, j := range jobs {
				j.done <- err
			}
		}
	})
	errs := make([]error, inFlight)
	for c := range inFlight {
		clients.Go(func() {
			j := job{make([]byte, 512), make(chan error, 1)}
			for range n / inFlight {
				queue <- j
				if errs[c] = <-j.done; errs[c] != nil {
					return
				}
			}
		})
	}
	clients.Wait()
	close(queue)
	flusher.Wait()
	return micros(machine.Self()-start) / float64(n/inFlight*inFlight), errors.Join(errs...)
}

// table is the cost of a commit of one row in a SQLite database of the product's settings.
func table(ctx context.Context, file string, n int) (float64, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return 0, err
	}
	defer func() {
		_ = db.Close() // nothing in it is wanted
		for _, end := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(file + end)
		}
	}()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, `CREATE TABLE rows (id INTEGER PRIMARY KEY, row BLOB)`); err != nil {
		return 0, err
	}
	insert, err := db.PrepareContext(ctx, `INSERT INTO rows (row) VALUES ($1)`)
	if err != nil {
		return 0, err
	}
	defer func() { _ = insert.Close() }()
	cost, err := together(n, func(rows [][]byte) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing
		in := tx.StmtContext(ctx, insert)
		defer func() { _ = in.Close() }() // it is the transaction's, and ends with it
		for _, r := range rows {
			if _, err := in.ExecContext(ctx, r); err != nil {
				return err
			}
		}
		return tx.Commit()
	})
	if err != nil {
		return 0, fmt.Errorf("commit to SQLite: %w", err)
	}
	return cost, nil
}
