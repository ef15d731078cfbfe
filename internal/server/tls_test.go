package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/keys"
)

// TestTickets seals with the key of the day, and takes those of the days before, on every node.
func TestTickets(t *testing.T) {
	t.Parallel()
	root, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	node := func(root []byte, now *time.Time) *tickets {
		t.Helper()
		ring, err := keys.Open(keys.Config{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		return &tickets{base: &tls.Config{MinVersion: tls.VersionTLS12}, ring: ring, now: func() time.Time { return *now }}
	}
	pair, err := tls.LoadX509KeyPair(pairFiles(t))
	if err != nil {
		t.Fatal(err)
	}
	// resumes begins a session with one node at a time, and says whether another goes on with it.
	resumes := func(first, second *tickets) bool {
		t.Helper()
		client := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "nod"}
		handshake(t, client, first, pair)
		return handshake(t, client, second, pair)
	}
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(after time.Duration) *time.Time {
		moment := noon.Add(after)
		return &moment
	}
	a := node(root, &noon)
	if today := a.config(); a.config() != today {
		t.Error("the configuration is made anew within the day")
	}
	for _, tc := range []struct {
		after time.Duration
		want  bool
	}{
		{0, true},
		{-24 * time.Hour, true}, // a node whose midnight comes later
		{24 * time.Hour, true},
		{6 * 24 * time.Hour, true},
		{7 * 24 * time.Hour, false},
		{-48 * time.Hour, false},
	} {
		if got := resumes(a, node(root, at(tc.after))); got != tc.want {
			t.Errorf("after %v: resumed %v", tc.after, got)
		}
	}
	moving := at(0)
	b := node(root, moving)
	if !resumes(a, b) {
		t.Error("a session of today is not resumed")
	}
	*moving = noon.Add(7 * 24 * time.Hour)
	if resumes(a, b) {
		t.Error("the keys do not change with the day")
	}
	stranger, err := keys.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	if resumes(a, node(stranger, &noon)) {
		t.Error("another installation takes the ticket")
	}
}

func pairFiles(t *testing.T) (cert, key string) {
	t.Helper()
	p := pairOf(t, 1, time.Now().Add(time.Hour))
	return p.CertFile, p.KeyFile
}

// handshake says whether the session was resumed.
func handshake(t *testing.T, client *tls.Config, n *tickets, pair tls.Certificate) bool {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		config := n.config().Clone()
		config.Certificates = []tls.Certificate{pair}
		server := tls.Server(conn, config)
		_, err = server.Write([]byte("x")) // after the ticket
		done <- errors.Join(err, conn.Close())
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	c := tls.Client(conn, client)
	_, err = io.ReadFull(c, make([]byte, 1))
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().DidResume
}
