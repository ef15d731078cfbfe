package httpkit_test

import (
	"sync"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
)

func TestShares(t *testing.T) {
	t.Parallel()
	s := httpkit.NewShares(3, 2)
	var held []func()
	take := func(realm, app string, want bool) {
		t.Helper()
		release, err := s.Take(realm, app)
		if (err == nil) != want {
			t.Fatalf("%s/%s: %v, want a place: %v", realm, app, err, want)
		}
		if err == nil {
			held = append(held, release)
			return
		}
		e, ok := err.(*mfa.Error) //nolint:errorlint // exactly this is answered
		if !ok || e.Code != mfa.RateLimited || e.RetryAfter != time.Second {
			t.Errorf("refused with %v", err)
		}
	}
	take("one", "a", true)
	take("one", "a", true)
	take("one", "a", false) // its own part is full
	take("one", "b", true)
	take("one", "b", false) // the realm's is
	take("one", "", false)
	take("two", "a", true) // a name that another realm has too
	take("two", "", true)
	for _, release := range held {
		release()
	}
	held = nil
	take("one", "b", true)
	take("one", "b", true)
	take("one", "", true)
	take("one", "", false)
}

func TestSharesInParallel(t *testing.T) {
	t.Parallel()
	s := httpkit.NewShares(4, 4)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if release, err := s.Take("r", "a"); err == nil {
					release()
				}
			}
		})
	}
	all.Wait()
	for i := range 4 {
		if _, err := s.Take("r", "a"); err != nil {
			t.Fatalf("place %d was lost: %v", i, err)
		}
	}
}
