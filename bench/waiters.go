package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/nodauth/nod/bench/machine"
	"github.com/nodauth/nod/bench/node"
	"github.com/nodauth/nod/bench/wait"
)

// spare are the files and ports that are needed for other things than waiting.
const spare = 200

// waiters lets n applications and n devices wait at one server, from two processes, each for a
// time of its own and once more. It fails if one is answered before its time for no reason, or not.
func waiters(ctx context.Context, args []string) error {
	var c common
	f := c.flags("bench waiters")
	n := f.Int("n", 9000, "waiting applications, and as many waiting devices")
	if err := f.Parse(args); err != nil {
		return err
	}
	applications, devices := [2]wait.Range{{From: 40, To: 60}, {From: 10, To: 50}}, [2]wait.Range{{From: 20, To: 25}, {From: 10, To: 25}}
	if c.quick {
		*n = 50
		applications, devices = [2]wait.Range{{From: 4, To: 6}, {From: 2, To: 4}}, [2]wait.Range{{From: 2, To: 3}, {From: 2, To: 4}}
	}
	if *n < 1 {
		return errors.New("-n must be positive")
	}
	sources, err := room(*n)
	if err != nil {
		return err
	}
	p, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer p.close(ctx)
	var failed []error
	for _, store := range p.names() {
		w := &waiting{n: *n, store: store}
		plan := wait.Plan{N: *n, Sources: sources, News: 10}
		plan.Kind, plan.Rounds = wait.Applications, applications
		w.plans[0] = plan
		plan.Kind, plan.Rounds = wait.Devices, devices
		w.plans[1] = plan
		failed = append(failed, w.run(ctx, p))
	}
	return errors.Join(failed...)
}

// room makes sure that there are files and ports for 2n connections to one server, n from each of
// two processes, and gives the addresses to connect from.
func room(n int) (sources []string, err error) {
	files, err := machine.Files()
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	if need := uint64(2*n + spare); files < need { //nolint:gosec // n is positive
		return nil, fmt.Errorf("the server needs %d open files for %d waiters, and may have %d: raise the hard limit (ulimit -Hn) or lower -n", need, 2*n, files)
	}
	first, last, err := machine.Ports()
	if err != nil {
		return nil, err
	}
	ports := last - first + 1 - spare
	if ports < 1 {
		return nil, fmt.Errorf("there are %d ports to connect from (net.ipv4.ip_local_port_range): widen the range", last-first+1)
	}
	// Every address of the loopback network has all the ports.
	for i := range (2*n + ports - 1) / ports {
		sources = append(sources, fmt.Sprintf("127.0.0.%d", i+1))
	}
	if len(sources) > 250 {
		return nil, fmt.Errorf("%d waiters need more ports than %d addresses have: lower -n", 2*n, len(sources))
	}
	return sources, nil
}

// waiting is one server and its waiters.
type waiting struct {
	n     int
	store string
	plans [2]wait.Plan
	srv   *node.Server
}

func (w *waiting) run(ctx context.Context, p *place) error {
	o, err := p.node(ctx, w.store, "waiters")
	if err != nil {
		return err
	}
	o.Program = p.serve
	o.Env = append(o.Env, fmt.Sprintf("NOD_LIMITS_WAITING=%d", max(50_000, 3*w.n)))
	if w.srv, err = node.Start(ctx, o); err != nil {
		return err
	}
	defer w.srv.Stop()
	if err := w.srv.Policy(ctx, "decide_by: 540s"); err != nil {
		return err
	}
	app, err := w.srv.Application(ctx, "waiting")
	if err != nil {
		return err
	}
	var crowds [2]*crowd
	for i, plan := range w.plans {
		plan.Target, plan.App = w.srv.Target, app
		say("%s: %d waiting %s", w.store, plan.N, plan.Kind)
		if crowds[i], err = startCrowd(ctx, plan); err != nil {
			return err
		}
		defer crowds[i].stop()
	}
	var failed []error
	for i, c := range crowds { // the applications wait longer, and are waiting when the devices begin
		if err := c.step(wait.Ready, wait.Made); err != nil {
			return err
		}
		server, kernel, err := grows(ctx, w.srv, w.n, func() error { return c.step(wait.Made, wait.Parked) })
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d waiting %s: %.0f bytes of the server and %.0f of the kernel each\n", w.store, w.n, w.plans[i].Kind, server, kernel)
	}
	for i, c := range crowds {
		r, err := c.report()
		if err != nil {
			return err
		}
		kind := w.plans[i].Kind
		fmt.Printf("%s: %s: %d answered at the end of their wait, %.1f ms late (p99 %.1f, at most %.1f); %d told in the middle of it what had happened, after %.1f ms (p99 %.1f, at most %.1f)\n",
			w.store, kind, r.Answers, r.Late.P50, r.Late.P99, r.Late.Max, r.News, r.Told.P50, r.Told.P99, r.Told.Max)
		if r.Early > 0 || r.Lost > 0 || r.Answers+r.News != 2*w.n {
			failed = append(failed, fmt.Errorf("%s: %s: %d answered early, %d lost, of %d waits: %q", w.store, kind, r.Early, r.Lost, 2*w.n, r.Errors))
		}
	}
	return errors.Join(failed...)
}

// crowd is a process full of waiters.
type crowd struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// startCrowd starts it with a plan, and returns when it is ready.
func startCrowd(ctx context.Context, p wait.Plan) (*crowd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &crowd{cmd: exec.CommandContext(ctx, self, waitWord)} //nolint:gosec // this program
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = json.NewDecoder(bufio.NewReader(out))
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(p)
	if err == nil {
		_, err = c.in.Write(append(text, '\n'))
	}
	if err == nil {
		err = c.expect(wait.Ready)
	}
	if err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// step lets it go on after one step, and returns when it has done the next.
func (c *crowd) step(after, next string) error {
	if _, err := c.in.Write([]byte("\n")); err != nil {
		return fmt.Errorf("after %s: %w", after, err)
	}
	return c.expect(next)
}

func (c *crowd) expect(step string) error {
	var said string
	if err := c.out.Decode(&said); err != nil || said != step {
		return fmt.Errorf("a process of waiters says %q where it should be %s: %w", said, step, err)
	}
	return nil
}

func (c *crowd) report() (wait.Report, error) {
	var r wait.Report
	err := c.out.Decode(&r)
	return r, err
}

func (c *crowd) stop() {
	_ = c.in.Close()
	gone := time.AfterFunc(10*time.Second, func() { _ = c.cmd.Process.Kill() }) // it has nothing to lose
	_ = c.cmd.Wait()
	gone.Stop()
}
