package sqlstore_test

import (
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
	"github.com/nodauth/nod/internal/store/storetest"
)

// recorder opens stores that share a clock and remember which keys they woke.
type recorder struct {
	offset atomic.Int64
	mu     sync.Mutex
	woken  []string
}

func (r *recorder) open(t *testing.T, dsn string) store.Store {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{
		DSN:    dsn,
		Offset: func() time.Duration { return time.Duration(r.offset.Load()) },
		Fatal:  func(err error) { t.Errorf("fatal: %v", err) },
		Committed: func(keys []string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.woken = append(r.woken, keys...)
		},
	})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func (r *recorder) opened(s, other store.Store) storetest.Opened {
	return storetest.Opened{
		Store: s, Other: other,
		Woken: func() []string {
			r.mu.Lock()
			defer r.mu.Unlock()
			return slices.Clone(r.woken)
		},
		Advance: func(d time.Duration) { r.offset.Add(int64(d)) },
	}
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Opened {
		r := &recorder{}
		s := r.open(t, filepath.Join(t.TempDir(), "nod.db"))
		return r.opened(s, s)
	})
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	pgtest.Server(t)
	storetest.Run(t, func(t *testing.T) storetest.Opened {
		r := &recorder{}
		dsn := pgtest.Database(t)
		return r.opened(r.open(t, dsn), r.open(t, dsn))
	})
}
