package endpoint

import (
	"context"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// GiveUp is giveUp with another bound.
func (s *Service) GiveUp(ctx context.Context, in mfa.RealmID, id string, most int) error {
	return s.c.Store.Update(ctx, func(tx store.Tx) error { return giveUp(ctx, tx, in, id, most) })
}
