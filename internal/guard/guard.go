// Package guard rations what can be done against a person: ringing their devices and guessing
// their codes. Allowances are kept per user, known or not, and per provenance, so that a stranger
// cannot spend what belongs to the owner. What is counted is rows; what is decided is mfa's pure
// rules over them.
package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

// SourceLife is how long a source stays known after an approval from it.
const SourceLife = 30 * 24 * time.Hour

// Origin is where a challenge says it comes from.
type Origin struct {
	Application mfa.ApplicationID
	Source      string // host or NAS that the person signs in to
	IP          string // calling address
	BrowserID   string // the application's own name for the browser
	Browser     string // thumbprint of a key that was proved
}

// SourceKey names the source of an origin: the application with its own browser id, or with the
// host and the calling network (/24 or /64). It is "" when the origin names no source. Parts are
// length-prefixed, so that no two origins share a key.
func (o Origin) SourceKey() string {
	if o.BrowserID != "" {
		return join("browser", string(o.Application), o.BrowserID)
	}
	if o.Source == "" {
		return ""
	}
	network := ""
	if a, err := netip.ParseAddr(o.IP); err == nil {
		bits := 64
		if a = a.Unmap().WithZone(""); a.Is4() {
			bits = 24
		}
		if p, err := a.Prefix(bits); err == nil {
			network = p.String()
		}
	}
	return join("host", string(o.Application), strings.ToLower(o.Source), network)
}

func join(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(strconv.Itoa(len(p)))
		b.WriteByte(':')
		b.WriteString(p)
	}
	return b.String()
}

// Provenance says where an origin stands with a user.
func Provenance(tx interface {
	Now() mfa.Instant
	store.Browsers
	store.Rations
}, realm mfa.RealmID, user mfa.UserID, o Origin,
) (mfa.Provenance, error) {
	now := tx.Now()
	if o.Browser != "" {
		b, err := tx.Browser(realm, user, o.Browser)
		if err == nil && now < b.ExpiresAt && now >= b.CreatedAt.Add(-mfa.ClockSlack) {
			return mfa.Provenance{Class: mfa.KnownBrowser, Key: o.Browser}, nil
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return mfa.Provenance{}, fmt.Errorf("read browser: %w", err)
		}
	}
	if key := o.SourceKey(); key != "" {
		at, err := tx.Source(realm, user, key)
		if err != nil {
			return mfa.Provenance{}, fmt.Errorf("read source: %w", err)
		}
		if at != 0 && now < at.Add(SourceLife) && now >= at.Add(-mfa.ClockSlack) {
			return mfa.Provenance{Class: mfa.KnownSource, Key: key}, nil
		}
	}
	return mfa.Strangers, nil
}

// Ring decides whether a new challenge of the user is rung and listed. live are the user's live
// challenges.
func Ring(tx interface {
	Now() mfa.Instant
	store.Challenges
	store.Rations
}, realm mfa.RealmID, user mfa.UserID, b mfa.Bell, live []store.Challenge,
) (mfa.Ringing, error) {
	now := tx.Now()
	rung, err := tx.Rung(realm, user, now.Add(-longest(b.Budget)))
	if err != nil {
		return mfa.Ringing{}, fmt.Errorf("read rung prompts: %w", err)
	}
	wait, err := tx.Wait(realm, user, b.From.String())
	if err != nil {
		return mfa.Ringing{}, fmt.Errorf("read wait: %w", err)
	}
	b.Rung, b.WaitUntil = rung, wait.Until
	for _, c := range live {
		if c.Rung && (c.State == mfa.Pending || c.State == mfa.Answered) {
			b.Live = append(b.Live, mfa.Listed{ID: c.ID, Provenance: c.Provenance, DecideBy: c.DecideBy})
		}
	}
	return mfa.Ring(b, now), nil
}

func longest(b mfa.RingBudget) time.Duration {
	var d time.Duration
	for _, w := range append(append([]mfa.Window(nil), b.Strangers...), b.Known...) {
		d = max(d, w.Per)
	}
	return d
}

// Kind is a kind of guess. Each has allowances of its own.
type Kind string

// The kinds of guesses.
const (
	Typed    Kind = "typed"
	Password Kind = "password"
)

// Guess pays for one guess, before it is looked at. It returns RateLimited when the allowance of
// this provenance is spent; nothing is then paid. The id gives the guess back if it was right.
//
// After a restore nobody knows how many guesses were paid since the backup. Two thirds of each
// allowance count as paid at that moment, for every name alike, known or not: guessing gains a
// third of an allowance at most, and people who mistype can still sign in.
func Guess(tx interface {
	Now() mfa.Instant
	Setting(name string) (string, error)
	store.Rations
}, realm mfa.RealmID, user mfa.UserID, k Kind, from mfa.Provenance, b mfa.GuessBudget,
) (id string, err error) {
	now := tx.Now()
	window := b.Typed
	if k == Password {
		window = b.Password
	}
	bucket := string(k) + "|" + from.String()
	paid, err := tx.Guesses(realm, user, bucket, now.Add(-window.Per))
	if err != nil {
		return "", fmt.Errorf("read guesses: %w", err)
	}
	epoch, err := store.ReadEpoch(tx)
	if err != nil {
		return "", err
	}
	if epoch.At > now.Add(-window.Per) {
		paid = append(paid, slices.Repeat([]mfa.Instant{epoch.At}, window.Max*2/3)...)
	}
	if free := mfa.WindowFree(paid, []mfa.Window{window}, now); free > now {
		return "", &mfa.Error{
			Code: mfa.RateLimited, Reason: mfa.ReasonGuessesSpent, RetryAfter: free.Sub(now),
			Message: "Too many wrong answers. Use another method, or wait.",
		}
	}
	g := store.Guess{Realm: realm, User: user, Bucket: bucket, ID: secret.ID("gs_"), At: now}
	if err := tx.InsertGuess(g); err != nil {
		return "", fmt.Errorf("pay for guess: %w", err)
	}
	return g.ID, nil
}

// Settle carries out what a step asks for beyond its challenge: the wait of its provenance, and
// its source becoming known.
func Settle(tx interface {
	Now() mfa.Instant
	store.Rations
}, c store.Challenge, fx mfa.Effects,
) error {
	prov := c.Provenance.String()
	switch fx.Wait {
	case mfa.WaitSame:
	case mfa.WaitClear:
		w, err := tx.Wait(c.Realm, c.User, prov)
		if err != nil {
			return fmt.Errorf("read wait: %w", err)
		}
		if w.Length == 0 {
			break
		}
		if err := tx.PutWait(store.Wait{Realm: c.Realm, User: c.User, Provenance: prov}); err != nil {
			return fmt.Errorf("clear wait: %w", err)
		}
	case mfa.WaitDouble:
		if !c.Rung {
			break // nobody was asked, so nobody ignored or denied it
		}
		w, err := tx.Wait(c.Realm, c.User, prov)
		if err != nil {
			return fmt.Errorf("read wait: %w", err)
		}
		next := mfa.NextWait(time.Duration(w.Length) * time.Microsecond)
		w = store.Wait{Realm: c.Realm, User: c.User, Provenance: prov, Length: next.Microseconds(), Until: tx.Now().Add(next)}
		if err := tx.PutWait(w); err != nil {
			return fmt.Errorf("write wait: %w", err)
		}
	}
	// A source becomes known by the user's own strong factor, not by a help desk's code.
	_, acr := mfa.Assurance(c.FirstFactor, c.Evidence)
	if c.State == mfa.Approved && fx.ReturnRing && c.Source != "" && !c.Evidence.Quarantined && acr != mfa.ACRLow {
		at, err := tx.Source(c.Realm, c.User, c.Source)
		if err != nil {
			return fmt.Errorf("read source: %w", err)
		}
		if at != 0 && tx.Now() < at.Add(sourceEvery) {
			return nil
		}
		if err := tx.PutSource(c.Realm, c.User, c.Source, tx.Now()); err != nil {
			return fmt.Errorf("remember source: %w", err)
		}
	}
	return nil
}

// sourceEvery is how old the note of a source's last approval may grow before it is written anew.
const sourceEvery = time.Hour
