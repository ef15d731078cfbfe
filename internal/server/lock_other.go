//go:build !unix

package server

import "os"

// lock has no lock to take here; only one process should use the file.
func lock(path string) (*os.File, error) { return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) }
