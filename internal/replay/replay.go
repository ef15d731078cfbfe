// Package replay carries a request with an idempotency key out once and gives its answer to every
// repetition.
//
//	first ──► open row: lease, seed ──► run ──► closed row: status, answer (sealed)
//	second, while it runs ──► parked ──► the first one's answer
//	second, after a crash ──► lease over ──► run again, with the same seed
//	second, other request ──► 409
//
// A node may die between what a request did and the row that says so. What makes something
// therefore closes the row in its own transaction ([Made]). A challenge, which is asked for most,
// has another way: its id comes from the seed, which survives, so that a second run finds what the
// first one made instead of making another.
package replay

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

// How long answers are kept, and how long a run may take.
const (
	// Kept is how long a key is remembered, and SecretKept how long an answer is that holds a
	// secret.
	Kept       = 24 * time.Hour
	SecretKept = 10 * time.Minute
	// MaxRun is how long a request may run. The lease is longer, so that two runs of one request
	// never overlap.
	MaxRun = 25 * time.Second
	lease  = 30 * time.Second
	// slack is by how much this node's timers may be ahead of the store's clock.
	slack = 100 * time.Millisecond
	// MaxKey is the greatest length of a key.
	MaxKey = 255
)

// Waiter parks until a key that it listens on is woken.
type Waiter interface {
	// Park waits until a wake-up, for d, until ctx ends or until the server stops; it returns
	// whether there is any use in waiting again.
	Park(ctx context.Context, d time.Duration) bool
	// Close ends the listening.
	Close()
}

// Config of the Service. All members are required.
type Config struct {
	Store  store.Store
	Ring   *keys.Ring
	Logger *slog.Logger
	// Listen registers a waiter on keys that transactions wake.
	Listen func(keys ...string) Waiter
}

// Service keeps idempotency records. It is safe for concurrent use, on as many nodes as share the
// store.
type Service struct{ c Config }

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Ring == nil || c.Logger == nil || c.Listen == nil {
		return nil, errors.New("replay: every member of Config is required")
	}
	return &Service{c: c}, nil
}

// Call is a request with an idempotency key.
type Call struct {
	Realm       mfa.RealmID
	Application mfa.ApplicationID
	Route       string // method and pattern; a key is good per application and route
	Target      string // method and path with query, as they were sent
	Key         string // 1 to MaxKey visible ASCII characters
	Body        []byte
}

// Answer is what a request was answered.
type Answer struct {
	Status int
	Object string // id of what was made, for a repetition that comes too late; "" for nothing
	Secret bool   // Body is kept for a short time only
	Body   []byte
}

// Run carries a request out. An id that it makes with ids is the same in a second run after a
// crash.
type Run func(ctx context.Context, ids func(prefix string) string) Answer

// CheckKey returns Invalid for a text that is no idempotency key.
func CheckKey(key string) error {
	good := key != "" && len(key) <= MaxKey
	for i := range len(key) {
		good = good && key[i] > ' ' && key[i] <= '~'
	}
	if !good {
		return mfa.InvalidField("Idempotency-Key", "An idempotency key has 1 to %d visible ASCII characters.", MaxKey)
	}
	return nil
}

// Do carries the request out, unless that was done before: then it gives that answer again. What
// has begun goes on when ctx ends, so that a repetition finds the answer. An answer of 429 is
// forgotten, and so is one of 500 and above, of which the seed stays: the next run may find what
// this one made. Do returns Invalid for a bad key, Conflict for another request under the same key
// (ReasonIdempotency) and for an answer whose secret is gone (ReasonAlreadyCreated), and
// Unavailable when ctx ends, or the server stops, while another run of the request goes on.
func (s *Service) Do(ctx context.Context, c Call, run Run) (Answer, error) {
	if err := CheckKey(c.Key); err != nil {
		return Answer{}, err
	}
	hash := s.digest(c)
	w := s.c.Listen(wakeKey(c))
	defer w.Close()
	for again := true; ; {
		row, now, begun, err := s.begin(context.WithoutCancel(ctx), c, hash)
		switch {
		case err != nil:
			return Answer{}, err
		case begun:
			return s.run(ctx, row, run), nil
		case row.Done:
			return s.recall(row, now)
		case !again:
			return Answer{}, &mfa.Error{
				Code: mfa.Unavailable, Reason: mfa.ReasonBusy, RetryAfter: time.Second,
				Message: "The first request with this idempotency key is still being carried out.",
			}
		}
		again = w.Park(ctx, row.LeaseUntil.Sub(now)+slack)
	}
}

// begin opens the row of a request, or takes over one whose run was lost, or gives the row that
// stands. begun says that the caller is to run.
func (s *Service) begin(ctx context.Context, c Call, hash []byte) (row store.Replay, now mfa.Instant, begun bool, err error) {
	seed := secret.Random(32)
	err = s.c.Store.Update(ctx, func(tx store.Tx) error {
		begun = false
		now = tx.Now()
		var err error
		row, err = tx.Replay(c.Realm, c.Application, c.Route, c.Key)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return fmt.Errorf("read idempotency record: %w", err)
		case row.CreatedAt.Add(Kept) <= now:
			if err := tx.DeleteReplay(c.Realm, c.Application, c.Route, c.Key); err != nil {
				return fmt.Errorf("delete idempotency record: %w", err)
			}
		case subtle.ConstantTimeCompare(row.BodyHash, hash) != 1:
			return mfa.Errorf(mfa.Conflict, mfa.ReasonIdempotency, "This idempotency key was used for another request.")
		case row.Done || row.LeaseUntil > now:
			return nil
		default:
			begun = true
			row.LeaseUntil = now.Add(lease)
			return tx.PutReplay(row)
		}
		row = store.Replay{
			Realm: c.Realm, Application: c.Application, Route: c.Route, Key: c.Key, BodyHash: hash,
			Seed: seed, LeaseUntil: now.Add(lease), CreatedAt: now,
		}
		err = tx.InsertReplay(row)
		if errors.Is(err, store.ErrExists) {
			return nil // another node was first; it holds the lease
		}
		if err != nil {
			return fmt.Errorf("write idempotency record: %w", err)
		}
		begun = true
		return nil
	})
	return row, now, begun, err
}

// run carries the request out under its lease and closes or reopens the row.
func (s *Service) run(ctx context.Context, row store.Replay, run Run) Answer {
	ctx = context.WithoutCancel(ctx)
	inside, cancel := context.WithTimeout(ctx, MaxRun)
	defer cancel()
	a := Answer{Status: 500} // of a run that panics
	r := &running{service: s, row: row}
	defer func() {
		if !r.kept || a.Status >= 300 { // or the transaction that kept it may be undone
			s.finish(ctx, row, a)
		}
	}()
	a = run(context.WithValue(inside, runningKey{}, r), func(prefix string) string { return s.c.Ring.DeriveID(prefix, "replay", row.Seed) })
	return a
}

// finish stores the answer, if it is one to keep and no other run has taken over, and wakes those
// who wait for it. That this fails does not undo what the request did, so it is only logged: a
// repetition runs again when the lease is over.
func (s *Service) finish(ctx context.Context, row store.Replay, a Answer) {
	ctx, cancel := context.WithTimeout(ctx, lease-MaxRun)
	defer cancel()
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		now, err := tx.Replay(row.Realm, row.Application, row.Route, row.Key)
		if errors.Is(err, store.ErrNotFound) || (err == nil && (now.Done || now.LeaseUntil != row.LeaseUntil)) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read idempotency record: %w", err)
		}
		switch {
		case a.Status == 429:
			tx.Wake(wakeOf(row))
			return tx.DeleteReplay(row.Realm, row.Application, row.Route, row.Key)
		case a.Status >= 500:
			tx.Wake(wakeOf(row))
			now.LeaseUntil = tx.Now()
			return tx.PutReplay(now)
		}
		return s.close(tx, now, a)
	})
	if err != nil {
		s.c.Logger.WarnContext(ctx, "answer not kept", slog.String("route", row.Route), slog.Any("error", err))
	}
}

// recall gives the answer of a closed row again.
func (s *Service) recall(row store.Replay, now mfa.Instant) (Answer, error) {
	a := Answer{Status: row.Status, Object: row.Object, Secret: row.Secret}
	if row.Secret && (row.Answer == nil || row.CreatedAt.Add(SecretKept) <= now) {
		return a, mfa.Errorf(mfa.Conflict, mfa.ReasonAlreadyCreated,
			"This request made %s before. Its secrets were in that answer only.", row.Object)
	}
	var err error
	if a.Body, err = s.c.Ring.Open(row.Answer, place(row)); err != nil {
		return Answer{}, fmt.Errorf("open answer of %s: %w", row.Route, err)
	}
	return a, nil
}

// Sweep deletes what is kept no longer.
func Sweep(tx interface {
	Now() mfa.Instant
	SweepReplays(all, secrets mfa.Instant) error
},
) error {
	if err := tx.SweepReplays(tx.Now().Add(-Kept), tx.Now().Add(-SecretKept)); err != nil {
		return fmt.Errorf("sweep idempotency records: %w", err)
	}
	return nil
}

// digest covers everything that makes a request the same one. It is keyed, since a body may hold a
// password that a plain hash would let somebody guess.
func (s *Service) digest(c Call) []byte {
	return s.c.Ring.Derive("replay-body", keys.Encode(c.Target, string(c.Body)), sha256.Size)
}

func place(r store.Replay) keys.AAD {
	return keys.AAD{
		Realm: string(r.Realm), Table: "replays", Column: "answer",
		Row: string(keys.Encode(string(r.Application), r.Route, r.Key)),
	}
}

func wakeOf(r store.Replay) string {
	return wakeKey(Call{Realm: r.Realm, Application: r.Application, Route: r.Route, Key: r.Key})
}

func wakeKey(c Call) string {
	sum := sha256.Sum256(keys.Encode(string(c.Realm), string(c.Application), c.Route, c.Key))
	return "i/" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
}
