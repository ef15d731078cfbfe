package sqlstore

import "os"

// Stats is the state of a store at a moment, and what it has counted since it was opened.
type Stats struct {
	Queued    int   // Updates that wait for the writer
	Stale     int64 // runs of an Update that found its rows changed
	Conflicts int64 // batches that conflicted with another node's (PostgreSQL)
	WALBytes  int64 // length of the write-ahead log (SQLite)
	Ran       int64 // statements (SQLite; PostgreSQL counts its own)
	Pool      *Pool // nil with SQLite
}

// Pool is the state of the pool of connections that read.
type Pool struct {
	Busy, Idle, Most int
	Waits            int64 // for a connection
}

// Stats reads the state of the store. It may be called at any time.
func (s *Store) Stats() Stats {
	out := Stats{Queued: len(s.queue.jobs), Stale: s.stale.Load()}
	s.engine.stats(&out)
	return out
}

func (s *sqliteDB) stats(to *Stats) {
	for _, session := range s.sessions {
		to.Ran += session.ran.Load()
	}
	path, err := s.config.path()
	if err != nil {
		return
	}
	if info, err := os.Stat(path + "-wal"); err == nil {
		to.WALBytes = info.Size()
	}
}

func (p *postgresDB) stats(to *Stats) {
	pool := p.pool.Stat()
	to.Conflicts = p.conflicts.Load()
	to.Pool = &Pool{
		Busy: int(pool.AcquiredConns()), Idle: int(pool.IdleConns()), Most: int(pool.MaxConns()),
		Waits: pool.EmptyAcquireCount(),
	}
}
