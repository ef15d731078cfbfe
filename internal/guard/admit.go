package guard

import (
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/nodauth/nod/internal/mfa"
)

// Rates limits how fast challenges are made, per node. It says nothing about users: those are
// rationed by Ring and Guess, durably.
type Rates struct {
	PerApplication rate.Limit // challenges a second
	PerAddress     rate.Limit // challenges a second that one application asks for from one address
	Burst          time.Duration
	// LivePerRealm is how many challenges of one realm are live at once; no bound if 0. What this
	// node makes counts at once, what others made within a few seconds.
	LivePerRealm int
}

// DefaultRates bound what one application or one address can cost the server.
func DefaultRates() Rates {
	return Rates{PerApplication: 5000, PerAddress: 50, Burst: 4 * time.Second}
}

// Gate admits challenges. It is safe for concurrent use and bounded in memory.
type Gate struct {
	rates Rates
	mu    sync.Mutex
	by    map[string]*rate.Limiter
	live  map[mfa.RealmID]*live
}

// live counts a realm's live challenges: those that were counted last, and those asked for since.
type live struct{ counted, since int }

// maxLimiters bounds the memory of a Gate; when it is reached all are forgotten, which admits at
// most one more burst each.
const maxLimiters = 100_000

// NewGate makes a Gate.
func NewGate(r Rates) *Gate {
	return &Gate{rates: r, by: make(map[string]*rate.Limiter), live: make(map[mfa.RealmID]*live)}
}

// Admit returns RateLimited when the application, or the address it names, asks too fast. now is
// only compared with earlier calls.
func (g *Gate) Admit(realm mfa.RealmID, app mfa.ApplicationID, address string, now time.Time) error {
	if err := g.take(join(string(realm), string(app)), g.rates.PerApplication, now); err != nil {
		return err
	}
	if address != "" {
		if err := g.take(join(string(realm), string(app), address), g.rates.PerAddress, now); err != nil {
			return err
		}
	}
	return g.room(realm)
}

// recountEvery is how often the realms' live challenges are counted.
const recountEvery = 5 * time.Second

func (g *Gate) room(realm mfa.RealmID) error {
	if g.rates.LivePerRealm == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.live[realm]
	if l == nil {
		l = &live{}
		g.live[realm] = l
	}
	if l.counted+l.since >= g.rates.LivePerRealm {
		return &mfa.Error{
			Code: mfa.RateLimited, Reason: mfa.ReasonTooManyRequests, RetryAfter: recountEvery,
			Message: "The realm has as many challenges in progress as it may. Try again shortly.",
		}
	}
	l.since++
	return nil
}

// Recount counts the live challenges of the realms that made some on this node since they had none.
// count counts up to a limit.
func (g *Gate) Recount(count func(realm mfa.RealmID, limit int) (int, error)) error {
	g.mu.Lock()
	realms := slices.Sorted(maps.Keys(g.live))
	g.mu.Unlock()
	for _, r := range realms {
		g.mu.Lock()
		before := g.live[r].since
		g.mu.Unlock()
		n, err := count(r, g.rates.LivePerRealm)
		if err != nil {
			return err
		}
		g.mu.Lock()
		l := g.live[r]
		l.counted, l.since = n, l.since-before
		if n == 0 && l.since == 0 {
			delete(g.live, r)
		}
		g.mu.Unlock()
	}
	return nil
}

func (g *Gate) take(key string, limit rate.Limit, now time.Time) error {
	g.mu.Lock()
	l := g.by[key]
	if l == nil {
		if len(g.by) >= maxLimiters {
			clear(g.by)
		}
		l = rate.NewLimiter(limit, max(1, int(float64(limit)*g.rates.Burst.Seconds())))
		g.by[key] = l
	}
	g.mu.Unlock()
	if l.AllowN(now, 1) {
		return nil
	}
	return &mfa.Error{
		Code: mfa.RateLimited, Reason: mfa.ReasonTooManyRequests, RetryAfter: time.Second,
		Message: "Challenges are asked for too fast. Slow down.",
	}
}
