package test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/pgtest"
)

// starved is two nodes on a PostgreSQL server of their own, with sign-ins to come.
type starved struct {
	*load
	c    *pgtest.Cluster
	a, b *process
}

func newStarved(t *testing.T) *starved {
	t.Helper()
	s := &starved{c: pgtest.NewCluster(t)}
	env := []string{"NOD_DATABASE=" + s.c.Database(t, "nod")}
	first := t.TempDir()
	s.a = spawn(t, processOptions{dir: first, env: env})
	s.b = spawn(t, processOptions{dir: t.TempDir(), env: append(env, "NOD_SEAL_KEY_FILE="+filepath.Join(first, "seal.json"))})
	s.b.admin = s.a.admin
	s.load = newLoad(t, &s.a.node, 8)
	s.more(20)
	return s
}

// more signs in so many times on both nodes, which have to come to themselves for that.
func (s *starved) more(n int64) {
	s.t.Helper()
	end := s.l.completed.Load() + n
	s.run(func() bool { return s.l.completed.Load() >= end }, &s.a.node, &s.b.node)
}

// during does something while sign-ins go on, and then asks for all that was acknowledged.
func (s *starved) during(what string, do func()) {
	s.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run(func() bool {
			select {
			case done <- struct{}{}:
				return true
			default:
				return false
			}
		}, &s.a.node, &s.b.node)
	}()
	do()
	<-done // the load may stop
	<-done // and has
	s.more(20)
	s.check(&s.a.node)
	s.check(&s.b.node)
	if s.t.Failed() {
		s.t.Fatalf("after %s; the log of a node ends with\n%s", what, tail(s.a.log.String()))
	}
}

// long is how long something lasts in the long form, and how often: PAUSE=1m.
func long(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("PAUSE")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("PAUSE=%q is not a duration", text)
	}
	return d
}

// TestDatabaseTroubles pauses PostgreSQL under sign-ins on two nodes, crashes and starts it, ends
// its connections and takes them all. Requests are refused in words meanwhile, both nodes go on by
// themselves, and what was acknowledged is there, with one grant for a challenge.
func TestDatabaseTroubles(t *testing.T) {
	t.Parallel()
	s := newStarved(t)
	s.c.Run(t, "ALTER SYSTEM SET max_connections = 40") // from its next start
	s.during("a pause", func() {
		s.c.Pause(t)
		s.mu.Lock()
		known := s.made[0]
		s.mu.Unlock()
		var asking sync.WaitGroup
		defer asking.Wait()
		defer s.c.Resume(t)
		for range 100 { // many more than there are connections: they do not pile up
			asking.Go(func() {
				a, err := s.a.try(s.app, "GET", "/v1/challenges/"+known, nil)
				s.good(a, err, 200)
			})
		}
		s.await("requests are refused", func() bool { return s.saw("503 The database does not answer") > 50 })
		pause(long(t))
	})
	s.during("a crash", func() {
		before := s.saw("503 ")
		s.c.Crash(t)
		s.await("requests are refused", func() bool { return s.saw("503 The database cannot be reached") > 0 && s.saw("503 ") > before+20 })
		pause(long(t))
		s.c.Restart(t)
	})
	s.during("ends of sessions", func() {
		for range 10 {
			s.c.EndSessions(t)
			pause(20 * time.Millisecond)
		}
	})
	s.during("a famine", func() {
		before := s.saw("503 ")
		feed := s.c.Starve(t)
		defer feed()
		s.await("requests are refused", func() bool { return s.saw("503 ") > before+20 })
		pause(long(t))
	})
	s.a.stop(t)
	s.b.stop(t)
	t.Logf("%d sign-ins, %d without an answer, refused: %v", s.l.completed.Load(), s.l.unknown.Load(), s.refused)
}
