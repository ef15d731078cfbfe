package bus

import "sync"

// MaxQueued is how many different keys a [Queue] keeps. It is far above what a node
// publishes in the second that a reconnection takes.
const MaxQueued = 1 << 16

// Queue collects keys for one reader. Equal keys are kept once. It may be used by several
// goroutines; make it with [NewQueue].
type Queue struct {
	ready chan struct{}

	mu   sync.Mutex
	keys []string
	seen map[string]struct{}
	lost bool
}

// NewQueue makes an empty queue.
func NewQueue() *Queue {
	return &Queue{ready: make(chan struct{}, 1), seen: make(map[string]struct{})}
}

// Put adds keys. When there are more than [MaxQueued], all are let go and the queue is
// marked as having lost some.
func (q *Queue) Put(keys ...string) {
	q.mu.Lock()
	for _, k := range keys {
		if _, twice := q.seen[k]; twice {
			continue
		}
		if len(q.keys) == MaxQueued {
			q.keys, q.lost = nil, true
			clear(q.seen)
		}
		q.keys = append(q.keys, k)
		q.seen[k] = struct{}{}
	}
	q.mu.Unlock()
	q.signal()
}

// Lose marks the queue as having lost keys.
func (q *Queue) Lose() {
	q.mu.Lock()
	q.lost = true
	q.mu.Unlock()
	q.signal()
}

func (q *Queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Ready receives once or more often after keys were put or lost.
func (q *Queue) Ready() <-chan struct{} { return q.ready }

// Take removes and gives all keys in the order of their coming, and whether some were lost.
func (q *Queue) Take() (keys []string, lost bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	keys, lost = q.keys, q.lost
	q.keys, q.lost = nil, false
	clear(q.seen)
	return keys, lost
}
