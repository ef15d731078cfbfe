package drive

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Result is what a load came to.
type Result struct {
	RoundTrips int
	Polls      int
	Elapsed    time.Duration
	Told       []time.Duration // from each approval sent to its application told
	Late       int             // round trips that found no free lane at their time; open loop only
}

// Closed runs n round trips, or as many as there is time for until ctx ends, with all lanes busy
// at every moment.
func Closed(ctx context.Context, lanes []*Lane, n int) (Result, error) {
	var next atomic.Int64
	before := polls(lanes)
	told := make([][]time.Duration, len(lanes))
	errs := make(chan error, len(lanes))
	start := time.Now()
	var wg sync.WaitGroup
	for i, l := range lanes {
		wg.Go(func() {
			for ctx.Err() == nil && next.Add(1) <= int64(n) {
				d, err := l.RoundTrip()
				if err != nil {
					next.Store(int64(n)) // the others stop too
					errs <- err
					return
				}
				told[i] = append(told[i], d)
			}
		})
	}
	wg.Wait()
	r := Result{Elapsed: time.Since(start), Polls: polls(lanes) - before}
	select {
	case err := <-errs:
		return Result{}, err
	default:
	}
	for _, t := range told {
		r.Told = append(r.Told, t...)
	}
	r.RoundTrips = len(r.Told)
	return r, nil
}

func polls(lanes []*Lane) int {
	n := 0
	for _, l := range lanes {
		n += l.Polls
	}
	return n
}

// Open begins n round trips at an even rate, whatever becomes of those before, as people do.
func Open(ctx context.Context, lanes []*Lane, rate float64, n int) (Result, error) {
	before := polls(lanes)
	free := make(chan *Lane, len(lanes))
	for _, l := range lanes {
		free <- l
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var r Result
	var first error
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range n {
		timer.Reset(time.Until(start.Add(time.Duration(float64(i) / rate * float64(time.Second)))))
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-timer.C:
		}
		var l *Lane
		select {
		case l = <-free:
		default:
			r.Late++
			l = <-free
		}
		wg.Go(func() {
			told, err := l.RoundTrip()
			mu.Lock()
			defer mu.Unlock()
			r.Told = append(r.Told, told)
			if first == nil {
				first = err
			}
			free <- l
		})
	}
	wg.Wait()
	if first != nil {
		return Result{}, first
	}
	r.Elapsed, r.RoundTrips, r.Polls = time.Since(start), n, polls(lanes)-before
	return r, nil
}
