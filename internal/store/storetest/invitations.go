package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// newInvitation is a live one.
func newInvitation(realm mfa.RealmID, user mfa.UserID, at mfa.Instant) store.Invitation {
	var i store.Invitation
	fill(&i)
	i.Realm, i.ID, i.User = realm, id[mfa.InvitationID]("inv_"), user
	i.State, i.CreatedAt, i.ExpiresAt, i.EndedAt = mfa.InvitationLive, at, at+10, 0
	return i
}

func invitations(t *testing.T, s store.Store) {
	realm := newRealm()
	u, other := addUser(t, s, realm), addUser(t, s, realm)
	first, second, theirs := newInvitation(realm, u.ID, 1), newInvitation(realm, u.ID, 2), newInvitation(realm, other.ID, 3)
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.InsertInvitation(first), tx.InsertInvitation(theirs))
	})
	want(t, s, store.ErrExists, func(tx store.Tx) error { return tx.InsertInvitation(second) })
	equal(t, "InvitationByHash", read(t, s, func(tx store.Tx) (store.Invitation, error) {
		return tx.InvitationByHash(first.Hash)
	}), first)
	equal(t, "LiveInvitation", read(t, s, func(tx store.Tx) (store.Invitation, error) {
		return tx.LiveInvitation(realm, u.ID)
	}), first)
	equal(t, "InvitationByEnrolment", read(t, s, func(tx store.Tx) (store.Invitation, error) {
		return tx.InvitationByEnrolment(realm, theirs.Enrolment)
	}), theirs)
	missing(t, s, func(tx store.Tx) (store.Invitation, error) { return tx.InvitationByHash([]byte("none")) })
	missing(t, s, func(tx store.Tx) (store.Invitation, error) { return tx.Invitation(newRealm(), first.ID) })
	missing(t, s, func(tx store.Tx) (store.Invitation, error) { return tx.InvitationByEnrolment(realm, "") })

	update(t, s, func(tx store.Tx) error {
		return errors.Join(
			tx.BindInvitation(realm, first.ID, "enr_1"),
			tx.EndInvitation(realm, first.ID, mfa.InvitationSuperseded, 5), tx.InsertInvitation(second),
		)
	})
	first.State, first.EndedAt, first.Enrolment = mfa.InvitationSuperseded, 5, "enr_1"
	equal(t, "after EndInvitation", read(t, s, func(tx store.Tx) (store.Invitation, error) {
		return tx.Invitation(realm, first.ID)
	}), first)
	update(t, s, func(tx store.Tx) error {
		is(t, "EndInvitation of one that is over", tx.EndInvitation(realm, first.ID, mfa.InvitationRevoked, 6), store.ErrUsed)
		is(t, "BindInvitation of one that is over", tx.BindInvitation(realm, first.ID, "enr_2"), store.ErrUsed)
		is(t, "UseInvitation of one that is over", tx.UseInvitation(realm, first.ID, 6), store.ErrUsed)
		is(t, "UseInvitation in another realm", tx.UseInvitation(newRealm(), second.ID, 6), store.ErrUsed)
		is(t, "UseInvitation too late", tx.UseInvitation(realm, second.ID, 12), store.ErrUsed)
		return tx.UseInvitation(realm, second.ID, 11)
	})
	second.State, second.EndedAt = mfa.InvitationUsed, 11
	list := func(f store.InvitationFilter, p store.Page) []store.Invitation {
		t.Helper()
		return read(t, s, func(tx store.Tx) ([]store.Invitation, error) { return tx.ListInvitations(realm, f, p) })
	}
	equal(t, "ListInvitations", list(store.InvitationFilter{}, store.Page{Limit: 9}), []store.Invitation{theirs, second, first})
	equal(t, "a page", list(store.InvitationFilter{}, store.Page{At: 3, ID: string(theirs.ID), Limit: 1}), []store.Invitation{second})
	equal(t, "of a user", list(store.InvitationFilter{User: u.ID}, store.Page{Limit: 9}), []store.Invitation{second, first})
	equal(t, "in a state", list(store.InvitationFilter{State: mfa.InvitationLive}, store.Page{Limit: 9}), []store.Invitation{theirs})
	equal(t, "of a user in a state", list(store.InvitationFilter{User: u.ID, State: mfa.InvitationUsed}, store.Page{Limit: 9}), []store.Invitation{second})

	update(t, s, func(tx store.Tx) error { return tx.DeleteUser(realm, u.ID) })
	missing(t, s, func(tx store.Tx) (store.Invitation, error) { return tx.Invitation(realm, first.ID) })
}

// invitationRace has many use the same invitation at once, and looks at what time does to others.
func invitationRace(t *testing.T, o Opened) {
	s, realm := o.Store, newRealm()
	u, other := addUser(t, s, realm), addUser(t, s, realm)
	i, late := newInvitation(realm, u.ID, 1), newInvitation(realm, other.ID, 5)
	update(t, s, func(tx store.Tx) error { return errors.Join(tx.InsertInvitation(i), tx.InsertInvitation(late)) })
	oneWinner(t, "UseInvitation", race(o, 50, func(s store.Store, _ int) error {
		return s.Update(t.Context(), func(tx store.Tx) error { return tx.UseInvitation(realm, i.ID, 2) })
	}), store.ErrUsed)

	view(t, s, func(tx store.Tx) error {
		early, err := tx.DueInvitations(14, 9)
		equal(t, "due too early", len(early), 0)
		due, dueErr := tx.DueInvitations(late.ExpiresAt, 9)
		equal(t, "DueInvitations", due, []store.Invitation{late})
		return errors.Join(err, dueErr)
	})
	update(t, s, func(tx store.Tx) error { return tx.SweepInvitations(2) })
	view(t, s, func(tx store.Tx) error {
		_, err := tx.Invitation(realm, i.ID) // ended at this very moment
		return err
	})
	update(t, s, func(tx store.Tx) error { return tx.SweepInvitations(mfa.At(time.Now())) })
	missing(t, s, func(tx store.Tx) (store.Invitation, error) { return tx.Invitation(realm, i.ID) })
	view(t, s, func(tx store.Tx) error {
		_, err := tx.Invitation(realm, late.ID) // live, however old
		return err
	})
}
