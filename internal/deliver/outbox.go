// Package deliver carries what leaves the server: webhooks now, and whatever else has a sender.
//
// A delivery is a row, written in the transaction that causes it ([Outbox.Add]): nothing is sent for
// what did not happen, and nothing that happened is forgotten. The row is leased to the node that
// writes it. After the commit that node hands it over to its own [Worker] in memory, so that the
// first attempt starts at once and without a search; if the node dies, or has too much in hand, the
// lease ends and any node takes it.
//
//	cause ─► row, leased here ─commit─► in memory ─► attempt ─► delivered
//	                  │                                 │ ▲
//	                  └── lease over: any node ◄────────┘ └── dead: replayed by hand
//	                                          due again
//
// Every delivery is attempted at least once, and now and then more often than it had to be: who
// gets it tells repetitions by its id. There is no order.
package deliver

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

const (
	// DefaultTimeout is how long an attempt may take.
	DefaultTimeout = 15 * time.Second
	// leaseTimeouts is how many of these a lease lasts: one for the attempt, one to write down what
	// came of it, one to wait for its turn. Who waits longer takes the lease anew.
	leaseTimeouts = 3
	// maxHanded is how many deliveries wait between their commit and the worker. More are left to
	// the end of their leases.
	maxHanded = 8192
)

// Message is what is to be delivered.
type Message struct {
	Realm   mfa.RealmID
	Kind    string // of its sender
	Target  string // whom the sender is to reach: an id without white space
	About   string // what it tells, for people
	Payload []byte
}

// Tx is what adding a delivery needs of a transaction.
type Tx interface {
	Now() mfa.Instant
	Wake(keys ...string)
	InsertDelivery(store.Delivery) error
}

// Outbox adds deliveries. It is made before the store, whose commits it is to be told of, and is safe
// for concurrent use.
type Outbox struct {
	node  string
	lease time.Duration

	mu     sync.Mutex
	handed []item
	ready  chan struct{}
}

// item is a delivery that this node has in hand.
type item struct {
	realm  mfa.RealmID
	id     string
	target targetKey
	until  mfa.Instant // the end of the lease, which is also its token
	since  time.Time   // when it was got, by this process's clock
}

type targetKey struct {
	realm        mfa.RealmID
	kind, target string
}

// NewOutbox makes an Outbox whose attempts may take as long as timeout.
func NewOutbox(timeout time.Duration) *Outbox {
	return &Outbox{node: secret.ID("node_"), lease: leaseTimeouts * timeout, ready: make(chan struct{}, 1)}
}

// Add writes a delivery, to be handed over when the transaction has committed, and returns it.
func (o *Outbox) Add(tx Tx, m Message) (store.Delivery, error) {
	now := tx.Now()
	d := store.Delivery{
		Realm: m.Realm, ID: secret.ID("dlv_"), Kind: m.Kind, Target: m.Target, About: m.About, Payload: m.Payload,
		State: store.DeliveryPending, Node: o.node, DueAt: now.Add(o.lease), CreatedAt: now,
	}
	if err := tx.InsertDelivery(d); err != nil {
		return store.Delivery{}, fmt.Errorf("add delivery: %w", err)
	}
	o.wake(tx, d)
	return d, nil
}

// ReplayTx is what replaying a delivery needs of a transaction.
type ReplayTx interface {
	Now() mfa.Instant
	Wake(keys ...string)
	store.Deliveries
}

// Replay makes a delivery pending again, with all its attempts before it, and returns it. One that
// is pending stays as it is. It returns store.ErrNotFound.
func (o *Outbox) Replay(tx ReplayTx, realm mfa.RealmID, id string) (store.Delivery, error) {
	d, err := tx.Delivery(realm, id)
	if err != nil || d.State == store.DeliveryPending {
		return d, err
	}
	d.State, d.Node, d.DueAt, d.Tries, d.EndedAt = store.DeliveryPending, o.node, tx.Now().Add(o.lease), 0, 0
	if err := tx.ReplayDelivery(realm, id, d.Node, d.DueAt); err != nil {
		return store.Delivery{}, fmt.Errorf("replay delivery %s: %w", id, err)
	}
	o.wake(tx, d)
	return d, nil
}

// handOver begins the keys by which a commit hands deliveries over. They stay on their node.
const handOver = "d/"

func (o *Outbox) wake(tx interface{ Wake(keys ...string) }, d store.Delivery) {
	tx.Wake(handOver + strings.Join([]string{
		strconv.FormatInt(int64(d.DueAt), 10), string(d.Realm), d.ID, d.Kind, d.Target,
	}, " "))
}

// Committed is told the keys that a commit wakes. It takes those that hand a delivery over, and
// returns the others. It does not wait.
func (o *Outbox) Committed(keys []string) []string {
	var own []item
	others := keys
	for i, key := range keys {
		text, ok := strings.CutPrefix(key, handOver)
		if !ok {
			if own != nil {
				others = append(others, key)
			}
			continue
		}
		if own == nil {
			others = append([]string(nil), keys[:i]...)
		}
		part := strings.SplitN(text, " ", 5)
		until, _ := strconv.ParseInt(part[0], 10, 64) // wake has written it
		own = append(own, item{
			realm: mfa.RealmID(part[1]), id: part[2], target: targetKey{mfa.RealmID(part[1]), part[3], part[4]},
			until: mfa.Instant(until), since: time.Now(),
		})
	}
	o.hand(own)
	return others
}

func (o *Outbox) hand(items []item) {
	if len(items) == 0 {
		return
	}
	o.mu.Lock()
	o.handed = append(o.handed, items[:min(len(items), maxHanded-len(o.handed))]...)
	o.mu.Unlock()
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// take gives what was handed over.
func (o *Outbox) take() []item {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.handed
	o.handed = nil
	return all
}
