package guard

import (
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
}

// maxLimiters bounds the memory of a Gate; when it is reached all are forgotten, which admits at
// most one more burst each.
const maxLimiters = 100_000

// NewGate makes a Gate.
func NewGate(r Rates) *Gate {
	return &Gate{rates: r, by: make(map[string]*rate.Limiter)}
}

// Admit returns RateLimited when the application, or the address it names, asks too fast. now is
// only compared with earlier calls.
func (g *Gate) Admit(realm mfa.RealmID, app mfa.ApplicationID, address string, now time.Time) error {
	if err := g.take(join(string(realm), string(app)), g.rates.PerApplication, now); err != nil {
		return err
	}
	if address == "" {
		return nil
	}
	return g.take(join(string(realm), string(app), address), g.rates.PerAddress, now)
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
