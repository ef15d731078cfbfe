package sqlstore

import (
	"fmt"
	"sync"
	"time"

	"github.com/nodauth/nod/internal/mfa"
)

const (
	// clockGap is by how much two clocks may differ.
	clockGap = 2 * time.Second
	// clockPatience is how long the wall clock may differ by more than clockGap.
	clockPatience = 60 * time.Second
)

// clock is the one clock of a SQLite store: the wall clock at the start plus the monotonic time
// since, so that setting the machine's clock moves no deadline. It is safe for concurrent use.
type clock struct {
	start  time.Time                     // with its monotonic reading
	wall   func() time.Time              // what the machine says now
	since  func(time.Time) time.Duration // monotonic
	offset func() time.Duration
	ahead  time.Duration // what the newest row was ahead of the wall clock at the start

	mu    sync.Mutex
	apart time.Time // when the wall clock was first seen to differ; zero while it does not
}

func newClock(offset func() time.Duration) *clock {
	return &clock{start: time.Now(), wall: time.Now, since: time.Since, offset: offset}
}

// steady is the clock without the offset.
func (c *clock) steady() time.Time { return c.start.Add(c.since(c.start) + c.ahead) }

func (c *clock) now() mfa.Instant { return mfa.At(c.steady().Add(c.offset())) }

// trusted returns an error once the wall clock has differed for clockPatience. It is asked often.
func (c *clock) trusted() error {
	steady, wall := c.steady(), c.wall()
	gap := apart(wall, steady)
	c.mu.Lock()
	defer c.mu.Unlock()
	if gap <= clockGap {
		c.apart = time.Time{}
		return nil
	}
	if c.apart.IsZero() {
		c.apart = steady
	}
	if steady.Sub(c.apart) < clockPatience {
		return nil
	}
	return fmt.Errorf("the machine's clock says %s and the store's says %s: if the machine's is right, restart to take it",
		wall.UTC().Format(time.RFC3339), steady.UTC().Format(time.RFC3339))
}

// behind refuses a clock that lies before the newest row.
func (c *clock) behind(newest mfa.Instant) error {
	now := c.now()
	if newest.Sub(now) <= clockGap {
		return nil
	}
	return fmt.Errorf("the clock says %s, but the newest row of the database was written at %s: set the clock right and start again; if it is right, wait until it has passed that moment",
		now.Time().Format(time.RFC3339), newest.Time().Format(time.RFC3339))
}

// goOn begins after the newest row, so that moments grow over a restart too. It is called before
// anybody asks for the time.
func (c *clock) goOn(newest mfa.Instant) {
	if lag := newest.Sub(c.now()); lag >= 0 {
		c.ahead += lag + time.Microsecond
	}
}

// apart is by how much two wall clocks differ.
func apart(a, b time.Time) time.Duration { return a.Round(0).Sub(b.Round(0)).Abs() }
