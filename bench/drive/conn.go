// Package drive is the load of the benchmarks: applications and devices that are as cheap as
// they can be made, so that what they cost takes little from the server beside them.
package drive

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/nodauth/nod/protocol"
)

// patience is how long an answer may take where nothing else is said: longer than the longest wait.
const patience = 90 * time.Second

// Conn is one connection that carries one request at a time: HTTP/1.1 kept alive, without the
// goroutines of net/http's transport. It is for one goroutine.
type Conn struct {
	Patience time.Duration // how long an answer may take

	nc   net.Conn
	r    *bufio.Reader
	host string
	out  []byte
}

// Answer is what a request came to.
type Answer struct {
	Status int
	Nonce  string // for a device's next message
	Body   []byte
}

// Dial connects to the address, from the source address if it is not "".
func Dial(ctx context.Context, address, source string) (*Conn, error) {
	var d net.Dialer
	if source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	nc, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Conn{Patience: patience, nc: nc, r: bufio.NewReaderSize(nc, 2048), host: address}, nil
}

// Close ends the connection, and with it whatever the server still does for it.
func (c *Conn) Close() { _ = c.nc.Close() } // nothing is lost: what was sent was answered or is not wanted

// Send writes a request. header is whole lines, each with its line end.
func (c *Conn) Send(method, path, header string, body []byte) error {
	b := c.out[:0]
	b = append(b, method...)
	b = append(b, ' ')
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.host...)
	b = append(b, "\r\n"...)
	b = append(b, header...)
	if body != nil || method != http.MethodGet {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	b = append(b, body...)
	c.out = b
	_, err := c.nc.Write(b)
	return err
}

// Arrived says whether an answer has begun to arrive, without waiting for one.
func (c *Conn) Arrived() bool {
	if c.r.Buffered() > 0 {
		return true
	}
	tcp, ok := c.nc.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Read(func(fd uintptr) bool {
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT) // an error is nothing arrived
		return true
	})
	return err == nil && n > 0
}

// Receive reads the answer to the request before.
func (c *Conn) Receive() (Answer, error) {
	if err := c.nc.SetReadDeadline(time.Now().Add(c.Patience)); err != nil {
		return Answer{}, err
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return Answer{}, fmt.Errorf("read answer: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("read answer: %w", err)
	}
	return Answer{res.StatusCode, res.Header.Get(protocol.NonceHeader), body}, nil
}

// Do sends and receives.
func (c *Conn) Do(method, path, header string, body []byte) (Answer, error) {
	if err := c.Send(method, path, header, body); err != nil {
		return Answer{}, err
	}
	return c.Receive()
}

// Want reads the answer's JSON, or makes an error of an answer with another status.
func Want[T any](a Answer, err error, status int) (T, error) {
	var v T
	if err != nil {
		return v, err
	}
	if a.Status != status {
		return v, fmt.Errorf("answered %d, not %d: %.300s", a.Status, status, a.Body)
	}
	return v, json.Unmarshal(a.Body, &v)
}

// bearer is the header of an application's requests.
func bearer(key string) string {
	return "Authorization: Bearer " + key + "\r\nContent-Type: application/json\r\n"
}
