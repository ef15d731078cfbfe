// Package notice is the contract between nod and whoever carries its messages to the outside. Each
// adapter below it speaks one protocol.
package notice

import (
	"context"
	"time"

	"github.com/nodauth/nod/internal/secret"
)

// Class is what an attempt to send came to.
type Class string

// The classes.
const (
	Delivered Class = "delivered"
	Temporary Class = "temporary" // worth another attempt
	Permanent Class = "permanent" // another attempt comes to the same
	Gone      Class = "gone"      // permanent, and the receiver wants nothing more at all
)

// Message is one message to one receiver.
type Message struct {
	ID      string         // the same at every attempt
	At      time.Time      // of the attempt
	To      string         // the receiver's address, in the words of its adapter
	Keys    []secret.Value // that sign it; the receiver needs one of them
	Payload []byte
}

// Outcome is what an attempt came to.
type Outcome struct {
	Class      Class
	Status     int           // of the reply; 0 without one
	Text       string        // for people: why it failed; at most MaxText printable characters
	RetryAfter time.Duration // that the receiver asks for; 0 if it does not
}

// MaxText is how many characters of an outcome are kept.
const MaxText = 400

// Sender sends messages. It is safe for concurrent use.
type Sender interface {
	// Send makes one attempt, which ends when ctx does. It never sends to an address that is not
	// permitted, and what went wrong is in the outcome without secrets.
	Send(ctx context.Context, m Message) Outcome
}
