// Package disk asks the system about the file systems that hold nod's files.
package disk

import "errors"

// ErrUnknown is what the functions give where the system cannot be asked.
var ErrUnknown = errors.New("this system does not say")

// Space is how much room a file system has, in bytes.
type Space struct {
	Free  uint64 // for those who are not root
	Total uint64
}

const (
	reserve      = 64 << 20 // what a write-ahead log grows to before it begins anew
	reservePart  = 20       // of a small file system
	comfort      = 1 << 30
	comfortParts = 10
)

// Short says that a database should take no more sign-ins: fewer than 64 MiB are left, or a
// twentieth of a file system that is small.
func (s Space) Short() bool { return s.Free < min(reserve, s.Total/reservePart) }

// Low says that somebody should look at it: less than 1 GiB is left, or a tenth of a file system
// that is small.
func (s Space) Low() bool { return s.Free < min(comfort, s.Total/comfortParts) }
