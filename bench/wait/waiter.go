package wait

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nodauth/nod/bench/drive"
)

// grace is how long after the end of its wait an answer counts as lost.
const grace = 20 * time.Second

// waiter is one connection that waits.
type waiter struct {
	p         *Plan
	user      string
	device    *drive.Device // of a waiting device
	challenge string        // of a waiting application
	conn      *drive.Conn
	wait      time.Duration
	asked     time.Time
}

// ask begins a wait of so many seconds.
func (w *waiter) ask(seconds int) error {
	w.wait = time.Duration(seconds) * time.Second
	w.conn.Patience = w.wait + grace
	w.asked = time.Now()
	if w.device != nil {
		return w.device.SendPoll(w.conn, seconds)
	}
	return w.conn.SendWait(w.p.App, w.challenge, seconds)
}

// hear reads the answer, and says whether it tells anything new.
func (w *waiter) hear() (told bool, err error) {
	if w.device != nil {
		prompts, stale, err := w.device.ReceivePoll(w.conn)
		if stale {
			err = errors.New("the nonce is stale")
		}
		return len(prompts) > 0, err
	}
	state, err := w.conn.ReceiveState()
	return state != "pending", err
}

// news is something that happens to one waiter.
type news struct {
	mu              sync.Mutex
	asked, answered time.Time
}

// at is when it was asked for, and when that was answered; zero where it was not yet.
func (n *news) at() (asked, answered time.Time) {
	if n == nil {
		return asked, answered
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked, n.answered
}

// happen cancels the challenge of a waiting application, or makes one for the user of a waiting device.
func (n *news) happen(ctx context.Context, w *waiter) error {
	conn, err := drive.Dial(ctx, w.p.Target.Address(), "")
	if err != nil {
		return err
	}
	defer conn.Close()
	n.mu.Lock()
	n.asked = time.Now()
	n.mu.Unlock()
	if w.device != nil {
		err = conn.Challenge(w.p.App, w.user)
	} else {
		err = conn.Cancel(w.p.App, w.challenge)
	}
	n.mu.Lock()
	n.answered = time.Now()
	n.mu.Unlock()
	return err
}
