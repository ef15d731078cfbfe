//go:build unix

package server

import "syscall"

// openFiles is how many files this process may have open. Go has raised it as far as it may.
func openFiles() (uint64, bool) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return uint64(l.Max), true
}
