package account_test

import (
	"testing"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// TestRestoreRevokesInvitations: a link may have been used or revoked since the backup.
func TestRestoreRevokesInvitations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i := w.invited(w.person("jo", phrase), account.Invite{})
	p, err := w.walk(i, answer(phrase, "", ""))
	must(t, err)
	must(t, w.db.Update(w.ctx, func(tx store.Tx) error { return account.MarkRestored(tx, account.Restore{}) }))
	_, _, err = account.FinishRestore(t.Context(), w.restore())
	must(t, err)
	w.over(i)
	if got := w.invitation(i.ID); got != mfa.InvitationRevoked {
		t.Errorf("it is %s", got)
	}
	if w.finish(i, p) == nil {
		t.Error("what was begun is confirmed")
	}
}
