// Package wait is a process full of waiters: applications that wait for their challenges, or
// devices that wait for prompts, one connection each. It holds the server to the time that each
// of them asked for.
package wait

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/nodauth/nod/bench/drive"
)

// The kinds of waiters.
const (
	Devices      = "devices"
	Applications = "applications"
)

// Plan says who waits how long. Every waiter waits twice, the second time over the connection of
// the first, and every News-th is told something in the middle of its second wait.
type Plan struct {
	Target  drive.Target `json:"target"`
	App     string       `json:"app"` // key of an application
	Kind    string       `json:"kind"`
	N       int          `json:"n"`
	Sources []string     `json:"sources"` // addresses to connect from, in turn
	Rounds  [2]Range     `json:"rounds"`
	News    int          `json:"news"`
}

// Range is the waits of one round in seconds: waiter i has one of them of its own.
type Range struct {
	From int `json:"from"`
	To   int `json:"to"`
}

func (r Range) of(i int) int { return r.From + i%(r.To-r.From+1) }

// Steps are what a process says when it has done it, and goes on when it is told to.
const (
	Ready  = "ready"  // there are users, with devices for those who wait as devices
	Made   = "made"   // there are challenges to wait for
	Parked = "parked" // everybody has asked
)

// Report is what the waiters met.
type Report struct {
	Answers int      `json:"answers"` // at the end of a wait
	News    int      `json:"news"`    // in the middle of one, for the reason there was
	Early   int      `json:"early"`   // in the middle of one, without any
	Lost    int      `json:"lost"`    // waits and news that were never answered
	Errors  []string `json:"errors"`  // the first few
	Late    Spread   `json:"late"`    // from the end of a wait to its answer
	Told    Spread   `json:"told"`    // from asking for the news to its answer
}

// Spread is a distribution in milliseconds.
type Spread struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func spread(d []time.Duration) Spread {
	if len(d) == 0 {
		return Spread{}
	}
	slices.Sort(d)
	ms := func(i int) float64 { return float64(d[i].Microseconds()) / 1000 }
	return Spread{ms(len(d) / 2), ms(len(d) * 99 / 100), ms(len(d) - 1)}
}

// Run reads a plan, then a line for each step that may begin, and writes a line of JSON for each
// that is done: the steps' names and the report.
func Run(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	text, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	var p Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	enc := json.NewEncoder(out)
	done := func(step string) error {
		if err := enc.Encode(step); err != nil {
			return err
		}
		_, err := lines.ReadBytes('\n')
		return err
	}
	c := &crowd{p: p, waiters: make([]*waiter, p.N)}
	if err := c.people(ctx); err != nil {
		return err
	}
	if err := done(Ready); err != nil {
		return err
	}
	if err := c.challenges(ctx); err != nil {
		return err
	}
	if err := done(Made); err != nil {
		return err
	}
	if err := c.park(ctx); err != nil {
		return err
	}
	if err := enc.Encode(Parked); err != nil { // nobody waits for a word now
		return err
	}
	return enc.Encode(c.wait(ctx))
}

type crowd struct {
	p       Plan
	waiters []*waiter

	mu         sync.Mutex
	r          Report
	late, told []time.Duration
}

// people enrols devices, or makes what stands for applications.
func (c *crowd) people(ctx context.Context) error {
	var devices []*drive.Device
	if c.p.Kind == Devices {
		var err error
		if devices, err = c.p.Target.Crowd(ctx, "waiter", c.p.N); err != nil {
			return err
		}
	}
	for i := range c.waiters {
		c.waiters[i] = &waiter{p: &c.p, user: fmt.Sprintf("waiter%d", i)}
		if devices != nil {
			c.waiters[i].device = devices[i]
		}
	}
	return nil
}

func (c *crowd) challenges(ctx context.Context) error {
	if c.p.Kind == Devices {
		return nil
	}
	ids, err := c.p.Target.Challenges(ctx, c.p.App, c.p.N)
	for i, id := range ids {
		c.waiters[i].challenge = id
	}
	return err
}

// park connects everybody and lets them ask for the first time.
func (c *crowd) park(ctx context.Context) error {
	return drive.Each(32, c.p.N, func() (func(int) error, func(), error) {
		return func(i int) error {
			w := c.waiters[i]
			source := ""
			if len(c.p.Sources) > 0 {
				source = c.p.Sources[i%len(c.p.Sources)]
			}
			var err error
			if w.conn, err = drive.Dial(ctx, c.p.Target.Address(), source); err != nil {
				return err
			}
			return w.ask(c.p.Rounds[0].of(i))
		}, func() {}, nil
	})
}

// wait collects what everybody is answered, over both rounds.
func (c *crowd) wait(ctx context.Context) Report {
	var all sync.WaitGroup
	for i, w := range c.waiters {
		all.Go(func() {
			defer w.conn.Close()
			if !c.hear(w, nil) {
				return
			}
			if err := w.ask(c.p.Rounds[1].of(i)); err != nil {
				c.lost(w, err)
				return
			}
			if c.p.News == 0 || i%c.p.News != 0 {
				c.hear(w, nil)
				return
			}
			n := &news{}
			all.Go(func() {
				time.Sleep(w.wait / 2)
				if err := n.happen(ctx, w); err != nil {
					c.lost(w, fmt.Errorf("make news: %w", err))
				}
			})
			c.hear(w, n)
		})
	}
	all.Wait()
	c.r.Late, c.r.Told = spread(c.late), spread(c.told)
	return c.r
}

// hear judges one answer. n, if not nil, is why there may be one before the end of the wait.
func (c *crowd) hear(w *waiter, n *news) bool {
	told, err := w.hear()
	took := time.Since(w.asked)
	if err != nil {
		c.lost(w, err)
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	asked, answered := n.at()
	switch {
	case told && !asked.IsZero():
		c.r.News++
		c.told = append(c.told, time.Since(asked))
	case !told && !answered.IsZero() && answered.Before(w.asked.Add(w.wait)): // it had happened, and was not told
		c.r.Lost++
		c.keep(fmt.Errorf("%s: not told what happened", w.user))
	case took < w.wait:
		c.r.Early++
		c.keep(fmt.Errorf("%s: answered after %v of %v", w.user, took, w.wait))
	default:
		c.r.Answers++
		c.late = append(c.late, took-w.wait)
	}
	return true
}

func (c *crowd) lost(w *waiter, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.r.Lost++
	c.keep(fmt.Errorf("%s: %w", w.user, err))
}

// keep keeps the first few errors. It is called with the lock held.
func (c *crowd) keep(err error) {
	if len(c.r.Errors) < 5 {
		c.r.Errors = append(c.r.Errors, err.Error())
	}
}
