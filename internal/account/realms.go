package account

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// CreateRealm makes a realm with keys of its own. It returns Invalid and Conflict name_taken.
func (s *Service) CreateRealm(ctx context.Context, name mfa.RealmID) error {
	return s.update(ctx, name, func(j *job) error {
		if err := j.c.Realms.Create(j.tx, name); err != nil {
			return err
		}
		return j.record(store.Event{Kind: audit.RealmCreated})
	})
}

// RotatePromptKey makes the realm's next prompt key the current one: devices follow with their next
// poll. Pending challenges whose prompt the former key signed are cancelled, since a device that has
// followed refuses it. It returns NotFound.
func (s *Service) RotatePromptKey(ctx context.Context, in mfa.RealmID) error {
	var at mfa.Instant
	err := s.update(ctx, in, func(j *job) error {
		at = j.tx.Now()
		set, err := j.c.Realms.RotatePrompt(j.tx, in)
		if err != nil {
			return err
		}
		data := map[string]string{"purpose": "prompt", "serial": strconv.FormatInt(set.Serial, 10)}
		return j.record(store.Event{Kind: audit.RealmKeysRotated, Data: data})
	})
	if err != nil {
		return err
	}
	p := Page{Limit: liveBatch}
	for {
		apps, err := s.Applications(ctx, in, p)
		if err != nil {
			return err
		}
		for _, a := range apps {
			p.At, p.ID = a.CreatedAt, string(a.ID)
			if err := s.cancelUnreadable(ctx, a, at); err != nil {
				return err
			}
		}
		if len(apps) < p.Limit {
			return nil
		}
	}
}

// cancelUnreadable cancels an application's pending challenges from before the rotation.
func (s *Service) cancelUnreadable(ctx context.Context, a Application, rotated mfa.Instant) error {
	for more := true; more; {
		err := s.update(ctx, a.Realm, func(j *job) error {
			rows, err := j.tx.ApplicationLive(a.Realm, a.ID, liveBatch)
			if err != nil {
				return fmt.Errorf("list live challenges of %s: %w", a.ID, err)
			}
			rows = slices.DeleteFunc(rows, func(c store.Challenge) bool {
				return c.State != mfa.Pending || c.PromptJWS == "" || c.CreatedAt > rotated
			})
			n, err := j.cancel(rows, mfa.Cancel{Reason: mfa.CancelPolicy})
			more = n > 0
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// RotateGrantKey makes a grant key that signs a day from now; applications find it in the JWKS
// until then. It returns NotFound.
func (s *Service) RotateGrantKey(ctx context.Context, in mfa.RealmID) error {
	return s.update(ctx, in, func(j *job) error {
		if err := j.c.Realms.RotateGrant(j.tx, in); err != nil {
			return err
		}
		data := map[string]string{"purpose": "grant"}
		return j.record(store.Event{Kind: audit.RealmKeysRotated, Data: data})
	})
}
