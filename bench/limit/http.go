package limit

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodauth/nod/bench/drive"
	"github.com/nodauth/nod/bench/machine"
)

// body has as many members as a challenge's request and answer have.
type body struct {
	A string         `json:"a"`
	B string         `json:"b"`
	C int            `json:"c"`
	D bool           `json:"d"`
	E []string       `json:"e"`
	F map[string]any `json:"f"`
	G string         `json:"g"`
	H int64          `json:"h"`
	I string         `json:"i"`
}

// Serve is the bare server, on standard output's word where it listens: an echo of JSON, and an
// approval in memory. It ends when standard input does.
func Serve(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(nil)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return err
	}
	var mu sync.Mutex
	parked := map[string]chan struct{}{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", echo)
	mux.HandleFunc("POST /park/{id}", func(w http.ResponseWriter, r *http.Request) {
		c := make(chan struct{})
		mu.Lock()
		parked[r.PathValue("id")] = c
		mu.Unlock()
		select {
		case <-c:
		case <-r.Context().Done():
		}
		echo(w, r)
	})
	mux.HandleFunc("POST /approve/{id}", func(w http.ResponseWriter, r *http.Request) {
		var c chan struct{}
		for c == nil && r.Context().Err() == nil { // it was sent before, and may arrive after
			mu.Lock()
			c = parked[r.PathValue("id")]
			delete(parked, r.PathValue("id"))
			mu.Unlock()
			runtime.Gosched()
		}
		if c == nil || !ecdsa.VerifyASN1(&key.PublicKey, sum[:], sig) {
			http.Error(w, "nobody waits", http.StatusConflict)
			return
		}
		close(c)
		echo(w, r)
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = srv.Close() // whoever started this wants no more
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func echo(w http.ResponseWriter, r *http.Request) {
	var b body
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&b); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(b) // the caller is gone if this fails
}

// Bare is the bare server in a process of its own, which is this program run again.
type Bare struct {
	cmd     *exec.Cmd
	in      io.Closer
	address string
}

// StartBare starts it with the word that lets this program be Serve, and more environment.
func StartBare(ctx context.Context, word string, env []string) (*Bare, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &Bare{cmd: exec.CommandContext(ctx, self, word)} //nolint:gosec // this program
	b.cmd.Env = append(os.Environ(), env...)
	b.cmd.Stderr = os.Stderr
	in, err := b.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	b.in = in
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Stop()
		return nil, fmt.Errorf("the bare server does not say where it listens: %w", err)
	}
	b.address = strings.TrimSpace(line)
	return b, nil
}

// Stop ends it.
func (b *Bare) Stop() {
	_ = b.in.Close() // what ends it
	_ = b.cmd.Wait() // it serves nothing that could be lost
}

var members = []byte(`{"a":"ch_abcdefghijklmnopqrstuvwxyz","b":"pending","c":3,"d":true,"e":["scan","digits"],` +
	`"f":{"digits":"123456"},"g":"2026-11-20T10:00:00.000Z","h":1763632800000,"i":"login"}`)

const jsonHeader = "Content-Type: application/json\r\n"

// Measure loads the bare server: n requests for its processor time, n/4 approvals for their time.
func (b *Bare) Measure(ctx context.Context, n int, into Parts) error {
	before, err := machine.CPU(b.cmd.Process.Pid)
	if err != nil {
		return err
	}
	err = drive.Each(inFlight, n, func() (func(int) error, func(), error) {
		c, err := drive.Dial(ctx, b.address, "")
		if err != nil {
			return nil, nil, err
		}
		return func(int) error {
			a, err := c.Do("POST", "/echo", jsonHeader, members)
			_, err = drive.Want[body](a, err, 200)
			return err
		}, c.Close, nil
	})
	if err != nil {
		return fmt.Errorf("load the bare server: %w", err)
	}
	after, err := machine.CPU(b.cmd.Process.Pid)
	if err != nil {
		return err
	}
	into[Request] = micros(after-before) / float64(n)
	into[MemoryTold], err = b.told(ctx, n/4)
	return err
}

func (b *Bare) told(ctx context.Context, n int) (float64, error) {
	app, err := drive.Dial(ctx, b.address, "")
	if err != nil {
		return 0, err
	}
	defer app.Close()
	dev, err := drive.Dial(ctx, b.address, "")
	if err != nil {
		return 0, err
	}
	defer dev.Close()
	var took []time.Duration
	for len(took) < n {
		if err := app.Send("POST", "/park/1", jsonHeader, members); err != nil {
			return 0, err
		}
		sent, err := approved(dev)
		if err != nil {
			return 0, err
		}
		if _, err := app.Receive(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(sent))
		if a, err := dev.Receive(); err != nil || a.Status != http.StatusOK {
			return 0, fmt.Errorf("approve in memory: %d %w", a.Status, err)
		}
	}
	slices.Sort(took)
	return micros(took[len(took)/2]), nil
}

// approved sends an approval once somebody waits for it, and says when.
func approved(dev *drive.Conn) (time.Time, error) {
	time.Sleep(200 * time.Microsecond) // as long as the waiter takes to be parked
	sent := time.Now()
	return sent, dev.Send("POST", "/approve/1", jsonHeader, members)
}
