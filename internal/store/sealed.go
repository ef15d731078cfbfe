package store

import (
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/wire/sealed"
)

// SealedValue is one value of a column of sealed values.
type SealedValue struct {
	Realm  mfa.RealmID
	Key    []string // of its row, as the column's Key names them
	Sealed []byte   // nil where the row has none
}

// RingNode is a running node and the sealing keys that it holds.
type RingNode struct {
	Node   string
	Holds  []string
	Seals  string      // the key with which it seals
	Since  mfa.Instant // when it began to
	SeenAt mfa.Instant
}

// Sealed reads and replaces sealed values, in whichever table they stand, and knows which nodes
// hold which sealing keys.
type Sealed interface {
	// SealedValues goes through a column by realm and key: at most limit rows after the one given,
	// from the beginning for the zero value. Rows without a value are among them.
	SealedValues(c sealed.Column, after SealedValue, limit int) ([]SealedValue, error)
	// PutSealedValue replaces a value. It returns ErrStale if the row does not hold it any more.
	PutSealedValue(c sealed.Column, v SealedValue, fresh []byte) error

	// PutRingNode inserts or replaces.
	PutRingNode(RingNode) error
	DeleteRingNode(node string) error
	// RingNodes lists the nodes seen at or after since, by name.
	RingNodes(since mfa.Instant) ([]RingNode, error)
	// SweepRingNodes deletes the nodes last seen before a moment.
	SweepRingNodes(before mfa.Instant) error
}
