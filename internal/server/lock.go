package server

import (
	"errors"
	"fmt"
	"os"
)

var errLocked = errors.New("locked by another process")

// lockDatabase keeps every other process away from a SQLite database: servers that share one do
// not wake each other's waiters, and have a clock each. PostgreSQL is made to be shared, and needs
// no lock: it gives nil.
func (c Config) lockDatabase() (*os.File, error) {
	path := c.sqlitePath()
	if path == "" {
		return nil, nil //nolint:nilnil // nothing to lock is no error
	}
	f, err := lock(path + ".lock")
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("another nod serves the database %s: stop it first, or give this one another data_dir; servers that are to share a database need PostgreSQL", path)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the database: %w", err)
	}
	return f, nil
}
