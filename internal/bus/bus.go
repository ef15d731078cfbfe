// Package bus is the contract of the wake-ups between the nodes of a server.
//
// A bus carries keys, such as the id of a challenge that changed. A key says only "read
// this again": the store is the truth, and a wake-up may come twice, late, in another
// order, or not at all. Whoever waits therefore registers, reads, and then parks, and reads
// again after [Subscriber.Resync]; a sweep makes what is lost harmless.
//
// Publish is called after the commit, never inside the transaction.
package bus

import "context"

// Bus wakes the subscribers of all nodes. All methods may be called by any number of
// goroutines at any time, also before Run and after it ended.
type Bus interface {
	// Publish wakes every subscriber on every node, this one included, with each key. It
	// never blocks and tells nothing of the outcome. Equal keys that are waiting to be sent
	// become one. A key that is not [Valid] is a bug of the caller: Publish panics.
	Publish(keys ...string)

	// Subscribe has s called from now on. After cancel returned, s is not called any more; a
	// call under way is waited for, so cancel must not be called by s itself.
	Subscribe(s Subscriber) (cancel func())

	// Healthy tells whether wake-ups flow to and from other nodes at this moment, as far as
	// this node can see.
	Healthy() bool

	// Run moves the wake-ups until ctx ends, which is not an error. It is called once.
	Run(ctx context.Context) error
}

// Subscriber is whom a bus wakes. Both functions are called by one goroutine of the bus, one
// call at a time, so they are short and never wait: they hand over and return.
type Subscriber struct {
	// Wake is told a key that was published after the subscription, or shortly before.
	Wake func(key string)
	// Resync is called when wake-ups may have been lost: after a connection to the other
	// nodes was made (the first one included) and after more keys piled up than are kept.
	// Everything that is waited for is to be read once. It may be nil.
	Resync func()
}

// MaxKey is the greatest length of a key in bytes.
const MaxKey = 200

// Valid tells whether key may be published: 1 to [MaxKey] characters of visible ASCII.
func Valid(key string) bool {
	if key == "" || len(key) > MaxKey {
		return false
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return true
}
