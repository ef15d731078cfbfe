package store

import "github.com/nodauth/nod/internal/mfa"

// DeliveryState is how far a delivery is.
type DeliveryState string

// The states. Only pending moves by itself; a person may make either of the others pending again.
const (
	DeliveryPending   DeliveryState = "pending"
	DeliveryDelivered DeliveryState = "delivered"
	DeliveryDead      DeliveryState = "dead" // given up
)

// Delivery is a message that is to leave the server, written with its cause. Nothing in its payload
// is secret.
type Delivery struct {
	Realm    mfa.RealmID
	ID       string // dlv_
	Kind     string // of its sender: "webhook"
	Target   string // whom the sender is to reach, in the sender's own words
	About    string // what it tells, for people who read the list
	Payload  []byte
	State    DeliveryState
	Node     string      // that has it in hand; "" for none
	DueAt    mfa.Instant // when any node may take it: the end of that node's lease, or the next attempt
	Tries    int         // since it was made, or made pending again
	Attempts int         // ever
	EndedAt  mfa.Instant // 0 while it is pending

	CreatedAt mfa.Instant
}

// Attempt is what came of one attempt at a delivery.
type Attempt struct {
	Realm    mfa.RealmID
	Delivery string
	Number   int // from 1
	At       mfa.Instant
	Outcome  string // delivered, temporary, permanent, gone or interrupted
	Status   int    // of the reply, 0 without one
	TookMS   int
	Text     string // why it failed, and how the reply begins
}

// DeliveryFilter narrows a list of deliveries to those of one target.
type DeliveryFilter struct {
	Realm  mfa.RealmID
	Kind   string
	Target string
	State  DeliveryState // "" for all
}

// Deliveries reads and writes what is to leave the server.
type Deliveries interface {
	InsertDelivery(Delivery) error
	Delivery(realm mfa.RealmID, id string) (Delivery, error)
	// DueDeliveries lists, over all realms and longest due first, pending ones with DueAt at or
	// before now, without those whose target stands in except, a text of targets.
	DueDeliveries(now mfa.Instant, except string, limit int) ([]Delivery, error)
	// TakeDelivery gives a pending delivery that still has DueAt was to a node until then. It
	// returns ErrUsed if somebody else has taken it.
	TakeDelivery(realm mfa.RealmID, id string, was mfa.Instant, node string, until mfa.Instant) error
	// PutDelivery writes state, node, moments and counts of a pending delivery that node still
	// holds until then, and ErrUsed if it does not.
	PutDelivery(d Delivery, node string, until mfa.Instant) error
	// ReplayDelivery makes a delivery that has ended pending again, for node until then. It
	// returns ErrUsed if it is pending.
	ReplayDelivery(realm mfa.RealmID, id, node string, until mfa.Instant) error
	// ReplayDead makes at most limit dead deliveries of the target, made at or after since, due
	// at now; it returns how many.
	ReplayDead(f DeliveryFilter, since, now mfa.Instant, limit int) (int, error)
	// ListDeliveries goes by (CreatedAt, id), newest first.
	ListDeliveries(f DeliveryFilter, p Page) ([]Delivery, error)
	// PendingBeyond says whether more than n deliveries are pending for a target.
	PendingBeyond(realm mfa.RealmID, kind, target string, n int) (bool, error)
}

// Attempts reads and writes the attempts at deliveries.
type Attempts interface {
	// InsertAttempt returns ErrExists if the delivery has an attempt of this number.
	InsertAttempt(Attempt) error
	// DeliveryAttempts lists a delivery's attempts, first to last.
	DeliveryAttempts(realm mfa.RealmID, delivery string) ([]Attempt, error)
	// SweepDeliveries deletes, with their attempts, at most limit deliveries that ended in the
	// state before a moment; it returns how many.
	SweepDeliveries(state DeliveryState, before mfa.Instant, limit int) (int, error)
}

// Webhook is an address of a realm that is told of events.
type Webhook struct {
	Realm        mfa.RealmID
	ID           string // whk_
	URL          string
	Events       []string // kinds, or beginnings of kinds that end in "."; none for all
	Description  string
	Enabled      bool
	DisabledWhy  string // "" or who disabled it: administrator, gone
	Secret       []byte // sealed
	FormerSecret []byte // sealed; signs as well until FormerUntil
	FormerUntil  mfa.Instant
	CreatedAt    mfa.Instant
	ChangedAt    mfa.Instant
	Version      int64
	FailingSince mfa.Instant // the first attempt that failed since one succeeded; 0 if the last one did, and if it is gone by its own word
}

// Webhooks reads and writes webhooks.
type Webhooks interface {
	InsertWebhook(Webhook) error
	Webhook(realm mfa.RealmID, id string) (Webhook, error)
	// ListWebhooks lists a realm's, oldest first. There are few.
	ListWebhooks(realm mfa.RealmID) ([]Webhook, error)
	// EnabledWebhooks lists those of all realms that are enabled.
	EnabledWebhooks() ([]Webhook, error)
	PutWebhook(Webhook) error
	// SetFailing notes since when a webhook fails, 0 for not, and nothing else of it. It does
	// nothing for one that is not there.
	SetFailing(realm mfa.RealmID, id string, since mfa.Instant) error
	DeleteWebhook(realm mfa.RealmID, id string) error
}
