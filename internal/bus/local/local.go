// Package local is the bus of a server of one node.
package local

import (
	"context"

	"github.com/nodauth/nod/internal/bus"
)

// Bus wakes the subscribers of its own process. It is a [bus.Bus].
type Bus struct {
	*bus.Fanout
}

var _ bus.Bus = (*Bus)(nil)

// New makes a Bus.
func New() *Bus { return &Bus{bus.NewFanout()} }

// Healthy is always true: there is no other node.
func (b *Bus) Healthy() bool { return true }

// Run calls the subscribers until ctx ends.
func (b *Bus) Run(ctx context.Context) error { return b.Fanout.Run(ctx) }
