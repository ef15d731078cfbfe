package syslog_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/sink/syslog"
	"github.com/nodauth/nod/internal/store"
)

var event = store.Event{
	Realm: "default", ID: "evt_1", At: 1_700_000_000_000_001, Kind: "challenge.denied", User: "usr_1", Actor: mfa.ActorUser,
	Data: map[string]string{"not": "in the structured data"},
}

const want = `<86>1 2023-11-14T22:13:20.000001Z mfa.example.com nod 77 challenge.denied ` +
	`[nod@32473 id="evt_1" realm="default" user="usr_1" actor="user"] {"a":1}`

func newSink(t *testing.T, network, address string, roots *tls.Config) *syslog.Sink {
	t.Helper()
	s, err := syslog.New(syslog.Config{
		Network: network, Address: address, TLS: roots, Facility: 10, Enterprise: 32473, Host: "mfa.example.com", Process: "77",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func send(t *testing.T, s *syslog.Sink, n int) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var events []store.Event
	var lines [][]byte
	for range n {
		events, lines = append(events, event), append(lines, []byte(`{"a":1}`))
	}
	return s.Send(ctx, events, lines)
}

// frame reads a message with its length before it.
func frame(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	n, err := r.ReadString(' ')
	if err != nil {
		t.Fatal(err)
	}
	length, err := strconv.Atoi(strings.TrimSuffix(n, " "))
	if err != nil {
		t.Fatal(err)
	}
	message := make([]byte, length)
	if _, err := io.ReadFull(r, message); err != nil {
		t.Fatal(err)
	}
	return string(message)
}

// TestStreams sends over TCP and TLS, and again after the server ended the connection.
func TestStreams(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if network == "tls" {
				l = tls.NewListener(l, &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12})
			}
			defer func() { _ = l.Close() }()
			s := newSink(t, network, l.Addr().String(), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
			for range 2 {
				sent := make(chan error, 1)
				go func() { sent <- send(t, s, 3) }()
				conn, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				r := bufio.NewReader(conn)
				for range 3 {
					if diff := cmp.Diff(want, frame(t, r)); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				}
				if err := <-sent; err != nil {
					t.Error(err)
				}
				_ = conn.Close()
				syslog.AwaitEnd(s)
			}
		})
	}
}

func TestDatagrams(t *testing.T) {
	t.Parallel()
	for network, address := range map[string]string{"udp": "127.0.0.1:0", "unixgram": filepath.Join(t.TempDir(), "log")} {
		l, err := new(net.ListenConfig).ListenPacket(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		s := newSink(t, network, l.LocalAddr().String(), nil)
		if err := send(t, s, 2); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		for range 2 {
			n, _, err := l.ReadFrom(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, string(b[:n])); diff != "" {
				t.Errorf("%s (-want +got):\n%s", network, diff)
			}
		}
		_ = l.Close()
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	if _, err := syslog.New(syslog.Config{Network: "carrier pigeon"}); err == nil {
		t.Error("a network that is none")
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	if err := send(t, newSink(t, "tcp", address, nil), 1); err == nil {
		t.Error("nobody listens")
	}
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	if err := send(t, newSink(t, "tls", web.Listener.Addr().String(), nil), 1); err == nil || strings.Contains(err.Error(), "evt_1") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}
