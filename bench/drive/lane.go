package drive

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Lane is one person who signs in over and over at the same browser: an application's connection
// and a device's, each of which carries one request at a time. It is for one goroutine.
//
// A round trip is at least five exchanges of HTTP: the device's poll, which was parked before; the
// application's create; its wait; the device's decision; the application's redeem. Polls that are
// answered without a prompt come on top.
type Lane struct {
	t       Target
	user    string
	header  string
	request []byte
	d       *Device
	app     *Conn
	dev     *Conn
	polling bool // a poll of the device is under way

	// Polls is how many polls were answered in all.
	Polls int
}

// Lanes makes n people, each with a device, and lets each sign in once, so that their browsers are
// known as sources of their sign-ins.
func (t Target) Lanes(ctx context.Context, app, prefix string, n int) ([]*Lane, error) {
	devices, err := t.Crowd(ctx, prefix, n)
	if err != nil {
		return nil, err
	}
	lanes := make([]*Lane, n)
	for i, d := range devices {
		lanes[i] = t.Lane(app, fmt.Sprintf("%s%d", prefix, i), d)
	}
	return lanes, Known(ctx, lanes)
}

// Known lets each of the lanes sign in once, so that it is a known source afterwards.
func Known(ctx context.Context, lanes []*Lane) error {
	if err := Prepare(ctx, lanes); err != nil {
		return err
	}
	for _, l := range lanes {
		if _, err := l.RoundTrip(); err != nil {
			return err
		}
	}
	return nil
}

// Lane is the lane of a user who has that device.
func (t Target) Lane(app, user string, d *Device) *Lane {
	return &Lane{t: t, user: user, d: d, header: bearer(app), request: fmt.Appendf(nil,
		`{"user":{"name":%q},"kind":"login","first_factor":"asserted","context":{"browser_id":%q}}`, user, user)}
}

// Prepare connects the lanes anew and parks their devices' polls. It is done before what is
// measured: a connection that lay idle may have been closed, a poll answered.
func Prepare(ctx context.Context, lanes []*Lane) error {
	for _, l := range lanes {
		l.Close()
		var err error
		if l.app, err = Dial(ctx, l.t.Address(), ""); err != nil {
			return err
		}
		if l.dev, err = Dial(ctx, l.t.Address(), ""); err != nil {
			return err
		}
		if err := l.d.Ready(l.dev); err != nil {
			return err
		}
		if err := l.poll(); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the lane's connections.
func (l *Lane) Close() {
	l.polling = false
	for _, c := range []*Conn{l.app, l.dev} {
		if c != nil {
			c.Close()
		}
	}
	l.app, l.dev = nil, nil
}

func (l *Lane) poll() error {
	l.polling = true
	return l.d.SendPoll(l.dev, 25)
}

type made struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Match struct {
		Digits string `json:"digits"`
	} `json:"match"`
}

// RoundTrip is one complete sign-in. It tells how long it took from sending the approval until the
// waiting application had its answer.
func (l *Lane) RoundTrip() (told time.Duration, err error) {
	if !l.polling {
		if err := l.poll(); err != nil {
			return 0, err
		}
	}
	a, err := l.app.Do("POST", "/v1/challenges", l.header, l.request)
	c, err := Want[made](a, err, 201)
	if err != nil {
		return 0, fmt.Errorf("create: %w", err)
	}
	if err := l.app.Send("GET", "/v1/challenges/"+c.ID+"?wait=60", l.header, nil); err != nil {
		return 0, err
	}
	prompt, err := l.prompt(c.ID)
	if err != nil {
		return 0, err
	}
	decision, err := l.d.approve(prompt, c.ID, c.Match.Digits)
	if err != nil {
		return 0, err
	}
	sent := time.Now()
	if err := l.dev.Send("POST", "/device/v1/decisions", joseHeader, decision); err != nil {
		return 0, err
	}
	a, err = l.app.Receive()
	told = time.Since(sent)
	if w, err := Want[made](a, err, 200); err != nil || w.State != "approved" {
		return 0, fmt.Errorf("wait: %q %w", w.State, err)
	}
	a, err = l.dev.Receive()
	if r, err := Want[made](a, err, 200); err != nil || r.State != "approved" {
		return 0, fmt.Errorf("decide: %q %w", r.State, err)
	}
	l.d.nonce = a.Nonce
	if err := l.poll(); err != nil { // as an open authenticator does
		return 0, err
	}
	if err := l.redeem(c.ID); err != nil {
		return 0, err
	}
	return told, l.park()
}

// park polls again if the poll was answered already, so that the next challenge finds the device
// waiting: an answer comes at once when the prompt that was decided has left the list.
func (l *Lane) park() error {
	for l.dev.Arrived() {
		if _, _, err := l.d.ReceivePoll(l.dev); err != nil {
			return err
		}
		l.Polls++
		if err := l.poll(); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lane) redeem(id string) error {
	a, err := l.app.Do("POST", "/v1/challenges/"+id+"/redeem", l.header+"Idempotency-Key: "+rand.Text()+"\r\n", nil)
	g, err := Want[struct {
		Grant string `json:"grant"`
	}](a, err, 200)
	if err == nil && g.Grant == "" {
		err = errors.New("no grant")
	}
	if err != nil {
		return fmt.Errorf("redeem: %w", err)
	}
	return nil
}

// prompt reads polls until one brings the prompt of the challenge.
func (l *Lane) prompt(id string) (string, error) {
	for range 8 {
		prompts, _, err := l.d.ReceivePoll(l.dev)
		if err != nil {
			return "", err
		}
		l.Polls++
		l.polling = false
		for _, p := range prompts {
			payload, err := promptPayload(p)
			if err != nil {
				return "", err
			}
			if bytes.Contains(payload, []byte(`"`+id+`"`)) {
				return p, nil
			}
		}
		if err := l.poll(); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("the device of %s is not shown its prompt", l.user)
}

func promptPayload(jws string) ([]byte, error) {
	_, rest, _ := strings.Cut(jws, ".")
	middle, _, _ := strings.Cut(rest, ".")
	return base64.RawURLEncoding.DecodeString(middle)
}
