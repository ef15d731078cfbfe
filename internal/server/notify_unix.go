//go:build unix

package server

import (
	"os"
	"syscall"
)

// notify tells the service manager how the server is, where there is one that wants to know
// (sd_notify(3)). It is told by a datagram to a local socket, which calls nobody outside.
func notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(fd) }()
	return syscall.Sendto(fd, []byte(state), 0, &syscall.SockaddrUnix{Name: name})
}
