package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nodauth/nod/bench/drive"
	"github.com/nodauth/nod/bench/machine"
	"github.com/nodauth/nod/bench/node"
)

// memory is what waiters cost, in bytes for each.
type memory struct {
	device, application             float64 // of the server's resident memory
	deviceKernel, applicationKernel float64 // of the kernel's, for the server's end of the connection
}

// waiting parks n devices and then n applications on a server and looks how it grows.
func (p *place) waiting(ctx context.Context, store string, n int) (m memory, err error) {
	o, err := p.node(ctx, store, "memory")
	if err != nil {
		return m, err
	}
	o.Program = p.serve
	srv, err := node.Start(ctx, o)
	if err != nil {
		return m, err
	}
	defer srv.Stop()
	devices, err := srv.Crowd(ctx, "w", n)
	if err != nil {
		return m, err
	}
	app, err := srv.Application(ctx, "waiting")
	if err != nil {
		return m, err
	}
	conns := make([]*drive.Conn, 0, 2*n)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	connect := func() (*drive.Conn, error) {
		c, err := drive.Dial(ctx, srv.Address(), "")
		if err == nil {
			conns = append(conns, c)
		}
		return c, err
	}
	m.device, m.deviceKernel, err = grows(ctx, srv, n, func() error {
		for _, d := range devices {
			c, err := connect()
			if err != nil {
				return err
			}
			if err := d.SendPoll(c, 25); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return m, fmt.Errorf("waiting devices: %w", err)
	}
	for _, c := range conns {
		c.Close()
	}
	conns = conns[:0]
	ids, err := srv.Challenges(ctx, app, n)
	if err != nil {
		return m, err
	}
	m.application, m.applicationKernel, err = grows(ctx, srv, n, func() error {
		for _, id := range ids {
			c, err := connect()
			if err != nil {
				return err
			}
			if err := c.SendWait(app, id, 60); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return m, fmt.Errorf("waiting applications: %w", err)
	}
	return m, nil
}

// grows is by how much a server grows, and the kernel for one of the two ends of a connection,
// through each of n that park.
func grows(ctx context.Context, srv *node.Server, n int, park func() error) (server, kernel float64, err error) {
	size := func() (rss, slab int64, err error) {
		if err := quiet(ctx, srv.PID); err != nil {
			return 0, 0, err
		}
		if err := srv.Free(ctx); err != nil {
			return 0, 0, err
		}
		if rss, err = machine.RSS(srv.PID); err != nil {
			return 0, 0, err
		}
		slab, err = machine.Slab()
		return rss, slab, err
	}
	rss, slab, err := size()
	if err != nil {
		return 0, 0, err
	}
	if err := park(); err != nil {
		return 0, 0, err
	}
	rss2, slab2, err := size()
	return float64(rss2-rss) / float64(n), float64(slab2-slab) / float64(2*n), err
}

// quiet returns when a server has next to nothing to do, so that the last request has reached its
// place, or after some seconds.
func quiet(ctx context.Context, pid int) error {
	const step = 300 * time.Millisecond
	before, err := machine.CPU(pid)
	for i := 0; i < 30 && err == nil; i++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(step):
		}
		var now time.Duration
		if now, err = machine.CPU(pid); now-before <= step/10 {
			break
		}
		before = now
	}
	return err
}
