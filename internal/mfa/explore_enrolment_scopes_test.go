package mfa_test

import (
	"github.com/nodauth/nod/internal/mfa"
)

// enrolmentScopes gives the scopes of the enrolment world, smaller ones unless the whole
// exploration is wanted.
func enrolmentScopes(whole bool) []*enrolScope {
	return []*enrolScope{scopeTickets(whole), scopeVeto(whole), scopeChanges(whole)}
}

// scopeTickets is about how a device comes to be: proofs, claims, guesses, time, locks.
func scopeTickets(whole bool) *enrolScope {
	var acts []enrolAct
	for _, p := range proofs() {
		acts = append(acts, issue(0, "the user with "+p.name, mfa.ActorUser, false, &p))
	}
	acts = append(
		acts,
		issue(0, "an administrator", mfa.ActorAdministrator, false, nil),
		issue(1, "an administrator", mfa.ActorAdministrator, false, nil),
		lockUser, unlockUser, onDevice(ticketDevice1, "revoke", true, mfa.Revoke{}),
		onDevice(ticketDevice1, "misled confirmation of", false, mfa.Activate{Enrolment: wrongEnrolment}),
		onDevice(ticketDevice1, "stray refusal of", false, mfa.Refuse{}),
	)
	for t := range 2 {
		acts = append(acts, claims(t, 0), confirms(t, codeOf(t, 0)))
		if t == 1 && !whole {
			break
		}
		acts = append(
			acts,
			claims(t, 1), claims(t, 2),
			confirms(t, codeOf(t, 1)), confirms(t, "000000"), confirms(t, ""),
			onTicket(t, "cancel", mfa.CancelEnrolment{}), onTicket(t, "time passes for", mfa.EnrolmentTick{}),
		)
	}
	return &enrolScope{
		name: "tickets", acts: acts, left: 1, clock: bound(whole, [2]int8{0, 3}, [2]int8{0, 2}),
		want: []string{
			"ticket invited", "ticket claimed", "ticket confirmed", "ticket expired", "ticket cancelled", "ticket refused",
			"device claimed", "device active", "device refused", "a newcomer in quarantine",
		},
	}
}

// scopeVeto is about newcomers that older devices object to, among lost and replaced ones.
func scopeVeto(whole bool) *enrolScope {
	acts := []enrolAct{
		issue(0, "an administrator", mfa.ActorAdministrator, false, nil),
		issue(0, "an administrator for a lost device", mfa.ActorAdministrator, true, nil),
		issue(1, "an administrator", mfa.ActorAdministrator, false, nil),
		issue(1, "an administrator for a lost device", mfa.ActorAdministrator, true, nil),
		claims(0, 0), confirms(0, codeOf(0, 0)), claims(1, 1), confirms(1, codeOf(1, 1)),
		vetoes(strangersDevice, ticketDevice1, true), vetoes(firstDevice, ticketDevice1, false),
		onDevice(firstDevice, "rotate", true, mfa.Change{Seq: 1, NewKey: true, Quarantine: quarantine}),
		onDevice(ticketDevice1, "rotate", true, mfa.Change{Seq: 1, NewKey: true, Quarantine: quarantine}),
	}
	for d := range 3 {
		acts = append(
			acts,
			onDevice(d, "suspend", true, mfa.Suspend{}), onDevice(d, "restore", true, mfa.Restore{}),
			onDevice(d, "revoke", true, mfa.Revoke{}),
		)
		for by := range 3 {
			acts = append(acts, vetoes(by, d, true))
		}
	}
	return &enrolScope{
		name: "veto", acts: acts, left: bound[uint8](whole, 2, 1), clock: [2]int8{1, 4},
		want: []string{
			"device active", "device suspended", "device revoked", "a newcomer in quarantine", "a newcomer out of quarantine",
		},
	}
}

// scopeChanges is about what a device does to itself: rotations, replayed, and wrong answers in a
// row; the old one starts one short of the limit.
func scopeChanges(whole bool) *enrolScope {
	acts := []enrolAct{
		issue(0, "an administrator", mfa.ActorAdministrator, false, nil), claims(0, 0), confirms(0, codeOf(0, 0)),
		vetoes(firstDevice, ticketDevice1, true), onDevice(ticketDevice1, "wrong answer by", true, mfa.DeviceAnswered{}),
	}
	for d := range 2 {
		acts = append(
			acts,
			onDevice(d, "rename", false, mfa.Change{Seq: 1}),
			onDevice(d, "rotate", false, mfa.Change{Seq: 2, NewKey: true, Quarantine: quarantine}),
			onDevice(d, "rotate with app lock", false, mfa.Change{Seq: 3, NewKey: true}),
			onDevice(d, "restore", true, mfa.Restore{}), onDevice(d, "revoke", true, mfa.Revoke{}),
		)
	}
	return &enrolScope{
		name: "changes", left: bound[uint8](whole, 3, 2), clock: bound(whole, [2]int8{1, 4}, [2]int8{1, 3}),
		acts: append(
			acts,
			onDevice(firstDevice, "wrong answer by", true, mfa.DeviceAnswered{}),
			onDevice(firstDevice, "right answer by", false, mfa.DeviceAnswered{Right: true}),
		),
		want: []string{"device active", "device suspended", "device revoked", "a newcomer in quarantine"},
	}
}
