package sqlstore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nodauth/nod/internal/disk"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

func setting(t *testing.T, s *Store, name string) (v string) {
	t.Helper()
	if err := s.View(t.Context(), func(tx store.Tx) (err error) {
		v, err = tx.Setting(name)
		return err
	}); err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return v
}

func TestDSN(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for dsn, want := range map[string]string{
		"":                                  "neither a file path",
		":memory:":                          "neither a file path",
		"sqlite:":                           "neither a file path",
		"sqlite::memory:":                   "neither a file path",
		"file:/x?mode=memory":               "neither a file path",
		"mysql://user:hunter2@host/db":      "neither a file path",
		filepath.Join(dir, "no", "nod.db"):  "no such file or directory",
		"postgres://%zz":                    "",
		"postgres:///x?host=" + dir:         "",
		"postgresql://u@localhost:notaport": "",
	} {
		_, err := Open(t.Context(), Config{DSN: dsn})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q): %v, want %q", dsn, err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error of Open tells the password: %v", err)
		}
	}
	for _, name := range []string{"plain.db", "with space?and&query#.db", "100%.db", "ü.db"} {
		path := filepath.Join(dir, name)
		for _, dsn := range []string{path, "sqlite:" + path} {
			s := mustOpen(t, Config{DSN: dsn})
			if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting("a", "b") }); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				info, err := os.Stat(f)
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s has the mode %v, %v", f, info.Mode(), err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		}
	}
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("garbage!"), 1024), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{DSN: garbage}); err == nil {
		t.Error("Open takes a file that is no database")
	}
}

// hold keeps the writer busy until the function that it returns is called.
func hold(t *testing.T, s *Store) (release func() error) {
	t.Helper()
	started, end, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- s.Update(context.WithoutCancel(t.Context()), func(store.Tx) error {
			close(started)
			<-end
			return nil
		})
	}()
	<-started
	return func() error {
		close(end)
		return <-done
	}
}

// waiting returns when n jobs are in the queue.
func waiting(s *Store, n int) {
	for len(s.queue.jobs) < n {
		runtime.Gosched()
	}
}

func TestJoinedUpdatesAreOneCommit(t *testing.T) {
	t.Parallel()
	everyDatabase(t, func(t *testing.T, c Config) {
		var mu sync.Mutex
		var commits [][]string
		returned := atomic.Int64{}
		c.Committed = func(keys []string) {
			mu.Lock()
			defer mu.Unlock()
			if returned.Load() > 0 {
				t.Error("an Update has returned before its keys are woken")
			}
			commits = append(commits, keys)
		}
		s := mustOpen(t, c)
		release := hold(t, s)
		const n = 50
		var group sync.WaitGroup
		for i := range n {
			group.Go(func() {
				if err := s.Update(t.Context(), func(tx store.Tx) error {
					tx.Wake("all", fmt.Sprintf("%02d", i))
					return tx.PutSetting(fmt.Sprint(i), "x")
				}); err != nil {
					t.Error(err)
				}
				returned.Add(1)
			})
		}
		waiting(s, n)
		if err := release(); err != nil {
			t.Error(err)
		}
		group.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(commits) != 1 || len(commits[0]) != n+1 || !slices.Contains(commits[0], "all") {
			t.Errorf("%d commits: %v", len(commits), commits)
		}
	})
}

func TestCallerLeavesTheQueue(t *testing.T) {
	t.Parallel()
	everyDatabase(t, func(t *testing.T, c Config) {
		s := mustOpen(t, c)
		release := hold(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		var ran atomic.Bool
		go func() {
			left <- s.Update(ctx, func(store.Tx) error {
				ran.Store(true)
				return nil
			})
		}()
		waiting(s, 1)
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) { // while the writer is still held
			t.Errorf("Update: %v", err)
		}
		if err := release(); err != nil {
			t.Error(err)
		}
		if err := s.Update(t.Context(), func(store.Tx) error { return nil }); err != nil {
			t.Error(err)
		}
		if ran.Load() {
			t.Error("a function runs although its caller has left")
		}
	})
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	c := Config{
		DSN:   filepath.Join(t.TempDir(), "nod.db"),
		Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	}
	s := mustOpen(t, c)
	pages := func(n int64) {
		t.Helper()
		if err := s.Update(t.Context(), func(tx store.Tx) error {
			return tx.(*transaction).session.query(fmt.Sprintf(`PRAGMA max_page_count = %d`, n), nil,
				func(scan func(...any) error) error { return scan(&n) })
		}); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, size int) error {
		return s.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting(name, strings.Repeat("x", size)) })
	}
	pages(1) // which SQLite takes for as many as there are
	written := 0
	var err error
	for ; err == nil && written < 1000; written++ {
		err = write(strconv.Itoa(written), 5000)
	}
	written--
	if mfa.CodeOf(err) != mfa.Unavailable || errors.Is(err, store.ErrUnknown) {
		t.Fatalf("with the disk full: %v, want unavailable", err)
	}

	// All those that are joined are told; none is there afterwards.
	release := hold(t, s)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if err := write(fmt.Sprint("joined ", i), 5000*(i%2)); err == nil {
				if setting(t, s, fmt.Sprint("joined ", i)) == "" && i%2 == 1 {
					t.Errorf("joined %d is acknowledged and not there", i)
				}
			} else if mfa.CodeOf(err) != mfa.Unavailable {
				t.Errorf("joined %d: %v", i, err)
			}
		})
	}
	waiting(s, 20)
	if err := release(); mfa.CodeOf(err) != mfa.Unavailable {
		t.Errorf("who shares the commit: %v, want unavailable", err)
	}
	group.Wait()

	if err := s.Ready(t.Context()); mfa.CodeOf(err) != mfa.Unavailable || !strings.Contains(err.Error(), "full") {
		t.Errorf("ready with the disk full: %v", err)
	}
	pages(1 << 30)
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("ready with space again: %v", err)
	}
	if s.health.full.Load() {
		t.Error("the full disk is not forgotten")
	}
	if err := write("again", 5000); err != nil {
		t.Errorf("with space again: %v", err)
	}
	for i := range written {
		if len(setting(t, s, strconv.Itoa(i))) != 5000 {
			t.Errorf("%d of %d is lost", i, written)
		}
	}
	if setting(t, s, strconv.Itoa(written)) != "" {
		t.Error("what was refused is there")
	}
}

// TestShortOfSpace is not ready before the disk is full, and ready again by itself.
func TestShortOfSpace(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Config{DSN: filepath.Join(t.TempDir(), "nod.db")})
	var free atomic.Uint64
	s.engine.(*sqliteDB).space = func(string) (disk.Space, error) {
		return disk.Space{Free: free.Load(), Total: 1 << 40}, nil
	}
	if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "full but for 0 MiB") {
		t.Errorf("without room: %v", err)
	}
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting("a", "b") }); err != nil {
		t.Errorf("what still fits is refused: %v", err)
	}
	free.Store(1 << 30)
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("with room: %v", err)
	}
}

func TestLogStaysShort(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nod.db")
	s := mustOpen(t, Config{DSN: path})
	s.engine.(*sqliteDB).longLog = 1000
	var group sync.WaitGroup
	for c := range 8 {
		group.Go(func() {
			for range 400 {
				if err := s.Update(t.Context(), func(tx store.Tx) error {
					return tx.PutSetting(strconv.Itoa(c), strings.Repeat("x", 20000))
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	log, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if log.Size() > 24<<20 { // of the 64 MB that were written
		t.Errorf("the log has grown to %d bytes", log.Size())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log is left after Close: %v", err)
	}
}

// TestMain lets the binary be the process whose disk fails.
func TestMain(m *testing.M) {
	if path := os.Getenv("NOD_TEST_HELPER"); path != "" {
		helper(path)
	}
	os.Exit(m.Run())
}

// helper writes one row after the other and says of each that it is acknowledged.
func helper(path string) {
	stop := func(err error) {
		fmt.Fprintln(os.Stderr, "stopped:", err)
		os.Exit(3)
	}
	s, err := Open(context.Background(), Config{DSN: path, Fatal: stop})
	if err != nil {
		fmt.Fprintln(os.Stderr, "not opened:", err)
		os.Exit(4)
	}
	if os.Getenv("NOD_TEST_HELPER_SYNC") == "OFF" {
		if _, err := s.engine.(*sqliteDB).writer.exec(`PRAGMA synchronous = OFF`, nil); err != nil {
			os.Exit(8)
		}
	}
	rows, err := strconv.Atoi(os.Getenv("NOD_TEST_HELPER_ROWS"))
	if err != nil {
		os.Exit(7)
	}
	for i := range rows {
		err := s.Update(context.Background(), func(tx store.Tx) error {
			return tx.PutSetting(strconv.Itoa(i), strings.Repeat("x", 2000))
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, "refused:", err)
			continue
		}
		if _, err := fmt.Fprintf(os.Stdout, "acknowledged %d\n", i); err != nil {
			os.Exit(5)
		}
	}
	if err := s.Close(); err != nil {
		os.Exit(6)
	}
	os.Exit(0)
}

// traced runs the helper under strace and returns what it says.
func traced(t *testing.T, path string, rows int, options ...string) (stdout, stderr, trace string, code int) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("NOD_TEST_REQUIRE") == "all" {
			t.Fatal("NOD_TEST_REQUIRE=all, and strace is not installed: run make test")
		}
		t.Skip("tests of failing syncs left out: install strace or run make test")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "trace")
	cmd := exec.CommandContext(t.Context(), strace, append(append([]string{"-f", "-o", log}, options...), self)...)
	cmd.Env = append(os.Environ(), "NOD_TEST_HELPER="+path, fmt.Sprintf("NOD_TEST_HELPER_ROWS=%d", rows))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), string(lines), cmd.ProcessState.ExitCode()
}

func TestFailedSyncStopsTheProcess(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		file string // whose syncs fail
		from int    // on
	}{
		"of the log":      {"nod.db-wal", 30},
		"of a checkpoint": {"nod.db", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "nod.db")
			s := mustOpen(t, Config{DSN: path}) // so that the helper finds it made
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			stdout, stderr, trace, code := traced(t, path, 10_000, "-P", filepath.Join(filepath.Dir(path), test.file),
				"-e", "trace=fsync,fdatasync", "-e", fmt.Sprintf("inject=fsync,fdatasync:error=EIO:when=%d+", test.from))
			if failed := strings.Count(trace, "(INJECTED)"); code != 3 || failed != 1 {
				t.Errorf("exit code %d after %d failed syncs, want 3 after one: it must not be tried again\n%s", code, failed, stderr)
			}
			if !strings.Contains(stderr, "stopped:") || !strings.Contains(stderr, "the database is at fault and nod cannot go on") {
				t.Errorf("the message is not clear: %s", stderr)
			}
			last := acknowledged(t, stdout)
			if last < 10 || last == 9999 {
				t.Fatalf("%d acknowledged", last)
			}
			s = mustOpen(t, Config{DSN: path})
			for i := range last + 1 {
				if setting(t, s, strconv.Itoa(i)) == "" {
					t.Errorf("%d was acknowledged and is lost", i)
				}
			}
		})
	}
}

// acknowledged returns the last number; they come in order.
func acknowledged(t *testing.T, stdout string) int {
	t.Helper()
	last := -1
	for lines := bufio.NewScanner(strings.NewReader(stdout)); lines.Scan(); {
		n, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "acknowledged "))
		if err != nil || n != last+1 {
			t.Fatalf("%q comes after %d", lines.Text(), last)
		}
		last = n
	}
	return last
}

// TestSyncBeforeAnswer reads from the trace that each acknowledgement comes after a sync of its own,
// and that the same audit finds a database that does not sync.
func TestSyncBeforeAnswer(t *testing.T) {
	t.Parallel()
	for level, synced := range map[string]bool{"FULL": true, "OFF": false} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "nod.db")
			_, stderr, trace, code := traced(t, path, 300, "-s", "64", "-e", "trace=fsync,fdatasync,write", "-E", "NOD_TEST_HELPER_SYNC="+level)
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			answers, unsynced := audit(trace)
			if answers != 300 || (unsynced == 0) != synced {
				t.Errorf("%d answers, %d of them without a sync", answers, unsynced)
			}
		})
	}
}

// audit counts the acknowledgements in a trace, and those that no sync came before.
func audit(trace string) (answers, unsynced int) {
	synced := false
	for lines := bufio.NewScanner(strings.NewReader(trace)); lines.Scan(); {
		line := lines.Text()
		switch {
		case strings.Contains(line, "sync(") || strings.Contains(line, "sync resumed"):
			synced = synced || strings.HasSuffix(line, "= 0")
		case strings.Contains(line, `write(1, "acknowledged`):
			answers++
			if !synced {
				unsynced++
			}
			synced = false
		}
	}
	return answers, unsynced
}
