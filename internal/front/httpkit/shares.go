package httpkit

import (
	"sync"
	"time"

	"github.com/nodauth/nod/internal/mfa"
)

// Shares divides the places for requests in progress, so that one realm or one application that
// fills its own part leaves the rest to others. It is safe for concurrent use.
type Shares struct {
	perRealm, perApplication int

	mu    sync.Mutex
	taken map[share]int
}

type share struct{ realm, application string }

// NewShares makes Shares with so many places for each realm and for each application.
func NewShares(perRealm, perApplication int) *Shares {
	return &Shares{perRealm: perRealm, perApplication: perApplication, taken: make(map[share]int)}
}

// Take takes a place of a realm and, unless that is "", of an application in it. release gives it
// back and is called once. It returns RateLimited when there is none left.
func (s *Shares) Take(realm, application string) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, part := share{realm: realm}, share{realm, application}
	if s.taken[whole] >= s.perRealm || (application != "" && s.taken[part] >= s.perApplication) {
		return nil, &mfa.Error{
			Code: mfa.RateLimited, Reason: mfa.ReasonTooManyRequests, RetryAfter: time.Second,
			Message: "Too many requests of this application, or of its realm, are in progress. Try again shortly.",
		}
	}
	s.taken[whole]++
	if part != whole {
		s.taken[part]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leave(whole)
		if part != whole {
			s.leave(part)
		}
	}, nil
}

// leave forgets who has no place, so that the map is as long as there are callers.
func (s *Shares) leave(of share) {
	if s.taken[of]--; s.taken[of] == 0 {
		delete(s.taken, of)
	}
}
