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
	take("two", "a", true)  // a name that another realm has too
	for _, release := range held {
		release()
	}
	held = nil
	take("one", "b", true)
	take("one", "b", true)
	take("one", "a", true)
	take("one", "a", false)
}

// TestSharesOfDevices has a device ask for all places of its realm.
func TestSharesOfDevices(t *testing.T) {
	t.Parallel()
	s := httpkit.NewShares(1000, 500)
	got := 0
	for range 1000 {
		if _, err := s.TakeDevice("one", "dev_1"); err == nil {
			got++
		}
	}
	if got < 8 || got > 100 {
		t.Errorf("one device has %d of 1000 places", got)
	}
	for name, take := range map[string]func() (func(), error){
		"another device":          func() (func(), error) { return s.TakeDevice("one", "dev_2") },
		"an application":          func() (func(), error) { return s.Take("one", "app") },
		"its name in other realm": func() (func(), error) { return s.TakeDevice("two", "dev_1") },
	} {
		if _, err := take(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s = httpkit.NewShares(2, 1)
	for i := range 3 {
		_, err := s.TakeDevice("one", string(rune('a'+i)))
		if (err == nil) != (i < 2) {
			t.Errorf("device %d of a realm with two places: %v", i, err)
		}
	}
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
