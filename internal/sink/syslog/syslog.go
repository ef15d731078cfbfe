// Package syslog sends events to a syslog server: over TLS (RFC 5425) or TCP, with octet counting, or
// as datagrams over UDP (RFC 5426) or a Unix socket.
package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/wire/syslog"
)

// Config of a Sink.
type Config struct {
	Network    string      // tls, tcp, udp or unixgram
	Address    string      // host and port, or the path of a socket
	TLS        *tls.Config // for tls; nil for the system's roots
	Facility   int
	Enterprise int    // private enterprise number in the name of the structured data
	Host       string // of this node
	Process    string
}

// connectTime is how long a connection may take to be made.
const connectTime = 10 * time.Second

// Sink sends to one server. Make it with New.
type Sink struct {
	c     Config
	data  string // name of the structured data
	conn  net.Conn
	ended chan struct{} // closed when the server has ended the connection
}

// New makes a Sink, which connects when there is something to send.
func New(c Config) (*Sink, error) {
	switch c.Network {
	case "tls", "tcp", "udp", "unixgram":
	default:
		return nil, fmt.Errorf("syslog: no network %q", c.Network)
	}
	return &Sink{c: c, data: fmt.Sprintf("nod@%d", c.Enterprise)}, nil
}

// Send writes the events. Over TLS and TCP it returns when the server's machine has acknowledged
// every byte, where this machine can tell (Linux); whether the server has stored them nobody is told.
func (s *Sink) Send(ctx context.Context, events []store.Event, lines [][]byte) error {
	err := s.connect(ctx)
	if err == nil {
		err = s.write(ctx, events, lines)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("syslog %s: %w", s.c.Address, err), s.Close())
	}
	return nil
}

func (s *Sink) write(ctx context.Context, events []store.Event, lines [][]byte) error {
	deadline, _ := ctx.Deadline()
	if err := s.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	stream := s.stream()
	var message, out []byte
	for i, e := range events {
		message = s.message(e, lines[i]).Append(message[:0])
		if stream {
			out = syslog.Frame(out, message)
			continue
		}
		if _, err := s.conn.Write(message); err != nil {
			return err
		}
	}
	if !stream {
		return nil
	}
	if _, err := s.conn.Write(out); err != nil {
		return err
	}
	return s.acknowledged(ctx)
}

// acknowledged waits until the other side has acknowledged what was written.
func (s *Sink) acknowledged(ctx context.Context) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		n, err := unacknowledged(s.conn)
		if err != nil || n == 0 {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-s.ended:
			t.Stop()
			return errors.New("the server ended the connection")
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("%d bytes are not acknowledged: %w", n, ctx.Err())
		}
	}
}

func (s *Sink) stream() bool { return s.c.Network == "tls" || s.c.Network == "tcp" }

// connect makes a connection where there is none, or none any more.
func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil {
		select {
		case <-s.ended:
			_ = s.Close() // the other side has closed it
		default:
			return nil
		}
	}
	d := net.Dialer{Timeout: connectTime, KeepAlive: 30 * time.Second}
	var err error
	if s.c.Network == "tls" {
		s.conn, err = (&tls.Dialer{NetDialer: &d, Config: s.c.TLS}).DialContext(ctx, "tcp", s.c.Address)
	} else {
		s.conn, err = d.DialContext(ctx, s.c.Network, s.c.Address)
	}
	if err != nil {
		s.conn = nil
		return err
	}
	s.ended = make(chan struct{})
	if s.stream() {
		go func(conn net.Conn, ended chan struct{}) {
			_, _ = io.Copy(io.Discard, conn) // a server has nothing to say but that it is gone
			close(ended)
		}(s.conn, s.ended)
	}
	return nil
}

// Close ends the connection.
func (s *Sink) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}

// message is the form of an event.
func (s *Sink) message(e store.Event, line []byte) syslog.Message {
	m := syslog.Message{
		Facility: s.c.Facility, Severity: severity(e.Kind), Time: e.At.Time(), Host: s.c.Host, App: "nod", Process: s.c.Process,
		ID: e.Kind, DataID: s.data, Text: string(line),
	}
	for _, p := range []syslog.Param{
		{Name: "id", Value: string(e.ID)},
		{Name: "realm", Value: string(e.Realm)},
		{Name: "user", Value: string(e.User)},
		{Name: "application", Value: string(e.Application)},
		{Name: "device", Value: string(e.Device)},
		{Name: "challenge", Value: string(e.Challenge)},
		{Name: "actor", Value: string(e.Actor)},
		{Name: "by", Value: e.By},
		{Name: "address", Value: e.Address},
		{Name: "request_id", Value: e.Request},
	} {
		if p.Value != "" {
			m.Data = append(m.Data, p)
		}
	}
	return m
}

// severity is a warning for what somebody should look at, a notice for what changes who may do what,
// and an information for the rest.
func severity(kind string) syslog.Severity {
	switch kind {
	case string(mfa.RecordReported), "device.vetoed", "device.suspended", "factor.disabled", "guesses.spent", "user.reported":
		return syslog.Warning
	}
	if strings.HasSuffix(kind, ".refused") || strings.Contains(kind, ".wrong") {
		return syslog.Warning
	}
	if strings.HasPrefix(kind, "challenge.") {
		return syslog.Info
	}
	return syslog.Notice
}
