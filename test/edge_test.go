package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/protocol"
)

// TestSlowMessages begins messages that never end. The server does not wait for their end, whoever
// sends them.
func TestSlowMessages(t *testing.T) {
	t.Parallel()
	n := start(t, nodeOptions{})
	for _, path := range []string{protocol.PathEnrol, protocol.PathPrompts, protocol.PathBrowserProofs, "/v1/challenges"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 900\r\n\r\nab", path, protocol.ContentType)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("no answer in a minute: %v", err)
			}
			if res.StatusCode < 400 || res.StatusCode >= 500 {
				t.Errorf("status %d", res.StatusCode)
			}
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Errorf("the connection is held: %v", err)
			}
		})
	}
}
