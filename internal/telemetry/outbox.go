package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/notice"
	"github.com/nodauth/nod/internal/store"
)

// outbox counts what is to leave the server: rows that were written, like everything that a
// transaction does.
type outbox struct {
	made     prometheus.Counter
	attempts map[string]prometheus.Counter // by outcome
	ended    map[store.DeliveryState]prometheus.Counter
}

// interrupted is the outcome of an attempt of which nobody knows more.
const interrupted = "interrupted"

func newOutbox(r *prometheus.Registry) *outbox {
	o := &outbox{attempts: make(map[string]prometheus.Counter), ended: make(map[store.DeliveryState]prometheus.Counter)}
	o.made = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "nod_deliveries_created_total", Help: "Messages that are to leave the server: webhooks and the like.",
	})
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nod_delivery_attempts_total", Help: "Attempts at deliveries, by outcome.",
	}, []string{"outcome"})
	ended := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nod_deliveries_ended_total", Help: "Deliveries that ended: delivered, or given up (dead).",
	}, []string{"state"})
	for _, outcome := range []string{
		string(notice.Delivered), string(notice.Temporary), string(notice.Permanent), string(notice.Gone), interrupted,
	} {
		o.attempts[outcome] = attempts.WithLabelValues(outcome)
	}
	for _, state := range []store.DeliveryState{store.DeliveryDelivered, store.DeliveryDead} {
		o.ended[state] = ended.WithLabelValues(string(state))
	}
	r.MustRegister(o.made, attempts, ended)
	return o
}

// note remembers what is to be counted after the commit.
func (t *seenTx) note(err error, c prometheus.Counter) error {
	if err == nil && c != nil {
		t.more = append(t.more, c)
	}
	return err
}

// InsertDelivery implements store.Deliveries.
func (t *seenTx) InsertDelivery(d store.Delivery) error {
	return t.note(t.Tx.InsertDelivery(d), t.outbox.made)
}

// PutDelivery implements store.Deliveries.
func (t *seenTx) PutDelivery(d store.Delivery, node string, until mfa.Instant) error {
	return t.note(t.Tx.PutDelivery(d, node, until), t.outbox.ended[d.State])
}

// InsertAttempt implements store.Attempts.
func (t *seenTx) InsertAttempt(a store.Attempt) error {
	return t.note(t.Tx.InsertAttempt(a), t.outbox.attempts[a.Outcome])
}
