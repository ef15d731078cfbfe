// Package node starts the servers that are measured, each in a process of its own, and the
// databases that they use.
package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nodauth/nod/bench/drive"
)

// Options say what is started.
type Options struct {
	Program string   // nod, run with "serve"; or the benchmarks' own server, run without
	Dir     string   // data directory
	DSN     string   // PostgreSQL database; SQLite in Dir if empty
	Env     []string // more settings
	Prefix  []string // a command that runs it, such as strace
}

// Server is a running server.
type Server struct {
	drive.Target
	PID int // of the server, or of what Prefix runs

	dir  string
	ops  string // address of its listener for operations
	cmd  *exec.Cmd
	log  *output
	done chan struct{}
	err  error // once done is closed
}

type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write keeps what the server says.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is all that it said.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Start starts a server and returns when it is ready. The limits on what one application may ask
// are raised, since here one asks as a whole company does.
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	_ = os.Remove(filepath.Join(o.Dir, "url"))
	args := append(append([]string(nil), o.Prefix...), o.Program)
	if filepath.Base(o.Program) == "nod" {
		args = append(args, "serve")
	}
	ops, err := free(ctx)
	if err != nil {
		return nil, err
	}
	s := &Server{
		ops: ops, dir: o.Dir, log: new(output), done: make(chan struct{}),
		cmd: exec.Command(args[0], args[1:]...), //nolint:gosec,noctx // our own programs, stopped by Stop
	}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "NOD_") {
			s.cmd.Env = append(s.cmd.Env, e)
		}
	}
	s.cmd.Env = append(s.cmd.Env, "NOD_DATA_DIR="+o.Dir, "NOD_LISTEN=127.0.0.1:0", "NOD_OPERATIONS_LISTEN="+ops, "NOD_LOG_LEVEL=error",
		"NOD_LIMITS_CREATE_PER_ADDRESS=1000000", "NOD_LIMITS_CREATE_PER_APPLICATION=1000000")
	if o.DSN != "" {
		s.cmd.Env = append(s.cmd.Env, "NOD_DATABASE="+o.DSN)
	}
	s.cmd.Env = append(s.cmd.Env, o.Env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Program, err)
	}
	s.PID = s.cmd.Process.Pid
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	if err := s.await(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// free is a loopback address that nobody listens on.
func free(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute) // for a database of years
	defer cancel()
	for {
		select {
		case <-s.done:
			return fmt.Errorf("the server ended before it was ready: %w\n%s", s.err, s.log)
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w\n%s", ctx.Err(), s.log)
		case <-time.After(20 * time.Millisecond):
		}
		text, err := os.ReadFile(filepath.Join(s.dir, "url"))
		if err != nil || len(text) == 0 {
			continue
		}
		s.URL = strings.TrimSpace(string(text))
		if _, err := ask(ctx, http.MethodGet, "http://"+s.ops+"/readyz"); err != nil {
			continue
		}
		key, err := os.ReadFile(filepath.Join(s.dir, "admin.key"))
		s.Admin = strings.TrimSpace(string(key))
		return err
	}
}

func ask(ctx context.Context, method, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, res.Status)
	}
	return io.ReadAll(res.Body)
}

// Stop ends the server as an operator does, and waits for its end.
func (s *Server) Stop() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM) // it may have ended
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.done
	}
}

// Figure is the value of one of the server's metrics, one that has no labels.
func (s *Server) Figure(ctx context.Context, name string) (float64, error) {
	text, err := ask(ctx, http.MethodGet, "http://"+s.ops+"/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("the server has no figure %s", name)
}

// own asks the benchmarks' own server for something that only it has.
func (s *Server) own(ctx context.Context, method, path string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, "profiles"))
	if err != nil {
		return nil, errors.New("only the benchmarks' own server has profiles")
	}
	return ask(ctx, method, "http://"+string(text)+path)
}

// Free lets the benchmarks' own server collect garbage and give free memory back.
func (s *Server) Free(ctx context.Context) error {
	_, err := s.own(ctx, http.MethodPost, "/free")
	return err
}

// Profile writes a processor profile of the benchmarks' own server.
func (s *Server) Profile(ctx context.Context, file string, d time.Duration) error {
	text, err := s.own(ctx, http.MethodGet, fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(d.Seconds())))
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
