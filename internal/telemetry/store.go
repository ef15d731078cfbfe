package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// transactions counts what is asked of the store, and times its commits.
type transactions struct {
	total  [2][4]prometheus.Counter // by kind and outcome
	batch  prometheus.Histogram
	commit prometheus.Histogram
}

// The outcomes of a transaction.
const (
	committed = iota
	refused   // its function returned an error: it was undone
	failed    // the database could not do it
	unclear   // nobody knows whether it was committed
)

const (
	viewed = iota
	updated
)

func newTransactions(r *prometheus.Registry) *transactions {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nod_store_transactions_total",
		Help: "Transactions, by kind (view, update) and result: done, refused by their own function, failed in the database, unknown.",
	}, []string{"kind", "result"})
	x := &transactions{
		batch: prometheus.NewHistogram(histogram("nod_store_batch_transactions",
			"Updating transactions that are committed together.", []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512})),
		commit: prometheus.NewHistogram(histogram("nod_store_commit_duration_seconds",
			"What the database takes to commit a batch and make it durable, the sync of the disk included.",
			[]float64{.0005, .001, .005, .025, .1, .5, 2.5})),
	}
	for kind, k := range []string{"view", "update"} {
		for result, s := range []string{"done", "refused", "failed", "unknown"} {
			x.total[kind][result] = total.WithLabelValues(k, s)
		}
	}
	r.MustRegister(total, x.batch, x.commit)
	return x
}

func outcome(err error) int {
	switch {
	case err == nil:
		return committed
	case errors.Is(err, store.ErrUnknown):
		return unclear
	case mfa.CodeOf(err) == mfa.Unavailable:
		return failed
	}
	return refused
}

// Committed is told of each batch that the database committed.
func (t *Telemetry) Committed(transactions int, took time.Duration) {
	t.stores.batch.Observe(float64(transactions))
	t.stores.commit.Observe(took.Seconds())
}

// Store gives s, seen: its transactions are counted and traced, and what they write is counted
// once it is committed.
func (t *Telemetry) Store(s store.Store) store.Store { return &seenStore{Store: s, t: t} }

type seenStore struct {
	store.Store
	t *Telemetry
}

// View implements store.Store.
func (s *seenStore) View(ctx context.Context, fn func(store.Tx) error) error {
	ctx, end := s.t.Span(ctx, "store.view")
	err := s.Store.View(ctx, fn)
	end(err)
	s.t.stores.total[viewed][outcome(err)].Inc()
	return err
}

// Update implements store.Store.
func (s *seenStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	ctx, end := s.t.Span(ctx, "store.update")
	var last *seenTx
	err := s.Store.Update(ctx, func(tx store.Tx) error {
		last = newSeenTx(tx, s.t.outbox)
		return fn(last)
	})
	end(err)
	s.t.stores.total[updated][outcome(err)].Inc()
	if err == nil && last != nil {
		s.t.audit.count(last, s.t.traceOf(ctx))
		for _, c := range last.more {
			c.Inc()
		}
	}
	return err
}

// seenTx remembers what is counted of what one run of a transaction writes.
type seenTx struct {
	store.Tx
	events     []written
	challenges []put
	outbox     *outbox
	more       []prometheus.Counter // each for something that was written

	// Most transactions write no more than this, and so need no other room.
	someEvents   [2]written
	oneChallenge [1]put
}

func newSeenTx(tx store.Tx, o *outbox) *seenTx {
	t := &seenTx{Tx: tx, outbox: o}
	t.events, t.challenges = t.someEvents[:0], t.oneChallenge[:0]
	return t
}

type written struct {
	kind      string
	at        mfa.Instant
	challenge mfa.ChallengeID
	data      map[string]string
}

type put struct {
	id         mfa.ChallengeID
	created    mfa.Instant
	provenance mfa.ProvenanceClass
	method     mfa.Method
	match      mfa.Match
}

// InsertEvent implements store.Events.
func (t *seenTx) InsertEvent(e store.Event) error {
	err := t.Tx.InsertEvent(e)
	if err == nil {
		t.events = append(t.events, written{e.Kind, e.At, e.Challenge, e.Data})
	}
	return err
}

// PutChallenge implements store.Challenges.
func (t *seenTx) PutChallenge(c store.Challenge) error {
	err := t.Tx.PutChallenge(c)
	if err != nil {
		return err
	}
	p := put{c.ID, c.CreatedAt, c.Provenance.Class, c.Evidence.Method, c.Evidence.Match}
	for i := range t.challenges {
		if t.challenges[i].id == c.ID {
			t.challenges[i] = p // the last one is what is committed
			return nil
		}
	}
	t.challenges = append(t.challenges, p)
	return nil
}
