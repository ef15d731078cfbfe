//go:build unix

package server

import (
	"errors"
	"os"
	"syscall"
)

// lock takes the exclusive lock on a file, made if it is not there, until it is closed or the
// process ends. It returns errLocked if somebody has it. The file stays: removing it would let two
// processes lock two files of one name.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
