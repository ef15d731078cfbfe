package account_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

func (w *world) restore() account.RestoreConfig {
	return account.RestoreConfig{Store: w.db, Challenges: w.challenges, Devices: w.devices, Realms: w.realms, Told: func(int) {}}
}

// TestFinishRestoreGivesUpDeliveries in batches, in every realm, and lets them be replayed.
func TestFinishRestoreGivesUpDeliveries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := make([]string, 120)
	must(t, w.db.Update(t.Context(), func(tx store.Tx) error {
		for i := range ids {
			ids[i] = fmt.Sprintf("dlv_%d", i)
			d := store.Delivery{Realm: in, ID: ids[i], Kind: "webhook", Target: "whk_1", State: store.DeliveryPending, DueAt: tx.Now(), CreatedAt: tx.Now()}
			if i%2 == 0 {
				d.Node, d.DueAt = "node", tx.Now().Add(time.Hour)
			}
			if err := tx.InsertDelivery(d); err != nil {
				return err
			}
		}
		return account.MarkRestored(tx, account.Restore{})
	}))
	_, _, err := account.FinishRestore(t.Context(), w.restore())
	must(t, err)
	must(t, w.db.View(t.Context(), func(tx store.Tx) error {
		for _, id := range ids {
			if d, err := tx.Delivery(in, id); err != nil || d.State != store.DeliveryDead || d.EndedAt == 0 {
				t.Fatalf("%+v, %v", d, err)
			}
		}
		return nil
	}))
	must(t, w.db.Update(t.Context(), func(tx store.Tx) error {
		return tx.ReplayDelivery(in, ids[0], "", tx.Now())
	}))
}

// TestFinishRestoreRaisesTheEpoch once for each restore, however often it is asked, and tells each
// realm.
func TestFinishRestoreRaisesTheEpoch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, err := account.FinishRestore(t.Context(), w.restore())
	if err == nil {
		t.Fatal("a database that was not restored is finished")
	}
	made := time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC)
	for n := int64(1); n <= 2; n++ {
		w.ahead.Add(int64(time.Minute))
		must(t, w.db.Update(t.Context(), func(tx store.Tx) error {
			return account.MarkRestored(tx, account.Restore{Backup: made})
		}))
		r, _, err := account.FinishRestore(t.Context(), w.restore())
		must(t, err)
		must(t, w.db.View(t.Context(), func(tx store.Tx) error {
			e, err := store.ReadEpoch(tx)
			if err != nil || e.N != n || e.At != r.Begun || r.Epoch != n {
				t.Errorf("epoch %+v, %v, want %d", e, err, n)
			}
			if p, err := account.PendingRestore(tx); p != nil || err != nil {
				t.Errorf("still pending: %+v, %v", p, err)
			}
			return nil
		}))
		e := w.recorded(audit.StoreRestored, mfa.ActorServer)
		if e.Data["epoch"] != fmt.Sprint(n) || e.Data["backup"] != "2026-11-20T03:00:00Z" {
			t.Errorf("got event %+v", e)
		}
	}
}

// TestFinishRestoreRevokesInvitations wants no link from before a restore to open anything.
func TestFinishRestoreRevokesInvitations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, err := w.s.CreateUser(w.ctx, in, account.NewUser{Name: "ada"})
	must(t, err)
	link := w.invited(u, account.Invite{})
	must(t, w.db.Update(t.Context(), func(tx store.Tx) error { return account.MarkRestored(tx, account.Restore{}) }))
	_, _, err = account.FinishRestore(t.Context(), w.restore())
	must(t, err)
	if got := w.invitation(link.ID); got != mfa.InvitationRevoked {
		t.Errorf("the invitation is %s", got)
	}
	if _, err := w.walk(link, account.Answers{}); err == nil {
		t.Error("a link from before is followed")
	}
}
