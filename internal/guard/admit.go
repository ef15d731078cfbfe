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
	// LivePerApplication is likewise how many of one application are, so that one of them leaves
	// room in its realm for the others; no bound of its own if 0.
	LivePerApplication int
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

// live counts a realm's live challenges.
type live struct {
	all tally
	by  map[mfa.ApplicationID]tally
}

// tally is what was counted last, and what was asked for since.
type tally struct{ counted, since int }

func (t tally) full(most int) bool { return most > 0 && t.counted+t.since >= most }

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
	return g.room(realm, app)
}

// recountEvery is how often the realms' live challenges are counted.
const recountEvery = 5 * time.Second

func (g *Gate) room(realm mfa.RealmID, app mfa.ApplicationID) error {
	if g.rates.LivePerRealm == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.live[realm]
	if l == nil {
		l = &live{by: make(map[mfa.ApplicationID]tally)}
		g.live[realm] = l
	}
	own := l.by[app]
	if l.all.full(g.rates.LivePerRealm) || own.full(g.rates.LivePerApplication) {
		return &mfa.Error{
			Code: mfa.RateLimited, Reason: mfa.ReasonTooManyRequests, RetryAfter: recountEvery,
			Message: "The application, or its realm, has as many challenges in progress as it may. Try again shortly.",
		}
	}
	l.all.since++
	own.since++
	l.by[app] = own
	return nil
}

// Recount counts the live challenges of the realms that made some on this node since they had none.
// count counts up to a limit, by application.
func (g *Gate) Recount(count func(realm mfa.RealmID, limit int) (map[mfa.ApplicationID]int, error)) error {
	g.mu.Lock()
	realms := slices.Sorted(maps.Keys(g.live))
	g.mu.Unlock()
	for _, r := range realms {
		g.mu.Lock()
		before := live{all: g.live[r].all, by: maps.Clone(g.live[r].by)}
		g.mu.Unlock()
		n, err := count(r, g.rates.LivePerRealm)
		if err != nil {
			return err
		}
		g.mu.Lock()
		if l := g.live[r]; l.recount(before, n) {
			delete(g.live, r)
		}
		g.mu.Unlock()
	}
	return nil
}

// recount takes what was counted after before, and says whether there is nothing left.
func (l *live) recount(before live, counted map[mfa.ApplicationID]int) (empty bool) {
	l.all = tally{since: l.all.since - before.all.since}
	for app, own := range l.by {
		own = tally{counted: counted[app], since: own.since - before.by[app].since}
		if l.by[app] = own; own == (tally{}) {
			delete(l.by, app)
		}
	}
	for app, n := range counted {
		l.all.counted += n
		if _, known := l.by[app]; !known && n > 0 {
			l.by[app] = tally{counted: n}
		}
	}
	return l.all == tally{} && len(l.by) == 0
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
