package syslog

import (
	"crypto/tls"
	"net"

	"golang.org/x/sys/unix"
)

// unacknowledged is how many bytes of a TCP connection the other side has not acknowledged.
func unacknowledged(conn net.Conn) (n int, err error) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	if failed != nil {
		return 0, failed
	}
	return n, err
}
