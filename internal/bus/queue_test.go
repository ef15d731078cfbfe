package bus_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/bus"
)

func TestQueue(t *testing.T) {
	t.Parallel()
	q := bus.NewQueue()
	check := func(wantLost bool, want ...string) {
		t.Helper()
		got, lost := q.Take()
		if d := cmp.Diff(want, got); d != "" || lost != wantLost {
			t.Errorf("lost %v, want %v; keys (-want +got):\n%s", lost, wantLost, d)
		}
	}
	check(false)
	q.Put("b", "a", "b")
	q.Put("a", "c")
	<-q.Ready()
	check(false, "b", "a", "c")
	q.Put("a") // was taken, so it is news
	check(false, "a")
	q.Lose()
	check(true)
	check(false)
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	q := bus.NewQueue()
	for i := range bus.MaxQueued {
		q.Put(strconv.Itoa(i))
	}
	q.Put("0")
	if keys, lost := q.Take(); len(keys) != bus.MaxQueued || lost {
		t.Errorf("%d keys, lost %v", len(keys), lost)
	}
	for i := range bus.MaxQueued {
		q.Put(strconv.Itoa(i))
	}
	q.Put("one more")
	if keys, lost := q.Take(); !cmp.Equal(keys, []string{"one more"}) || !lost {
		t.Errorf("%d keys, lost %v", len(keys), lost)
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]bool{
		"ch_a": true, "!": true, "~": true, strings.Repeat("a", bus.MaxKey): true,
		"": false, " ": false, "a b": false, "a\tb": false, "é": false, "\x7f": false,
		strings.Repeat("a", bus.MaxKey+1): false,
	} {
		if got := bus.Valid(key); got != want {
			t.Errorf("Valid(%q) = %v, want %v", key, got, want)
		}
	}
}
