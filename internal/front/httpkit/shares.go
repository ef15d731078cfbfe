package httpkit

import (
	"sync"
	"time"

	"github.com/nodauth/nod/internal/mfa"
)

// Shares divides the places for requests in progress, so that one realm, application or device
// that fills its own part leaves the rest to others. It is safe for concurrent use.
type Shares struct {
	perRealm, perApplication int

	mu    sync.Mutex
	taken map[share]int
}

// share is who has places: a realm, or an application or a device in it.
type share struct{ realm, application, device string }

// perDevice is how many places a device has: one for its poll, and some for what it says meanwhile.
const perDevice = 32

// NewShares makes Shares with so many places for each realm and for each application.
func NewShares(perRealm, perApplication int) *Shares {
	return &Shares{perRealm: perRealm, perApplication: perApplication, taken: make(map[share]int)}
}

// Take takes a place of a realm and of an application in it. release gives it back and is called
// once. It returns RateLimited when there is none left.
func (s *Shares) Take(realm, application string) (release func(), err error) {
	return s.take(share{realm: realm}, share{realm: realm, application: application}, s.perApplication)
}

// TakeDevice takes a place of a realm and of a device in it, as Take does: a device that asks for all
// of them leaves those of others.
func (s *Shares) TakeDevice(realm, device string) (release func(), err error) {
	return s.take(share{realm: realm}, share{realm: realm, device: device}, perDevice)
}

func (s *Shares) take(whole, part share, most int) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[whole] >= s.perRealm || s.taken[part] >= most {
		return nil, &mfa.Error{
			Code: mfa.RateLimited, Reason: mfa.ReasonTooManyRequests, RetryAfter: time.Second,
			Message: "Too many requests of this application or device, or of its realm, are in progress. Try again shortly.",
		}
	}
	s.taken[whole]++
	s.taken[part]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leave(whole)
		s.leave(part)
	}, nil
}

// leave forgets who has no place, so that the map is as long as there are callers.
func (s *Shares) leave(of share) {
	if s.taken[of]--; s.taken[of] == 0 {
		delete(s.taken, of)
	}
}
