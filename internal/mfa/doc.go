// Package mfa is the vocabulary of nod and its pure rules: what a challenge, a device and an
// enrolment are, which states they have, and what moves them. It imports nothing but the standard
// library, does no input or output, reads no clock and draws no random number; whatever it needs
// to know of the world is an argument. The product, the property tests and the exhaustive
// exploration run the same functions.
//
// A challenge ([Step]):
//
//	                   ┌─ Approve (device active, match right) ─► approved ─ Redeem ─► redeemed
//	                   ├─ Typed (code consumed) ────────────────► approved
//	create ─► pending ─┼─ Approve by digits_back ───────────────► answered ─ TypedBack ─► approved
//	                   ├─ Deny ─────────────────────────────────► denied  (Report: also from answered, approved)
//	                   ├─ wrong, no tries left ─────────────────► failed  (also from answered)
//	                   ├─ now ≥ decide_by ──────────────────────► expired (also from answered;
//	                   │                                                   from approved at now ≥ redeem_by)
//	                   └─ Cancel ───────────────────────────────► cancelled (also from answered, approved)
//
// An enrolment ([StepEnrolment]):
//
//	invited ─ Claim (ticket, key) ─► claimed ─ Confirm (code) ─► confirmed
//	   │                                │
//	   └──────── expired, cancelled ────┴─ three wrong codes ─► refused
//
// A device ([StepDevice]):
//
//	claimed ─ confirmed ─► active ⇄ suspended (veto, or a hundred wrong answers in a row)
//	   │                     │          │
//	   └─────────────────────┴──────────┴──► revoked
//
// A step function returns the state to store, the effects to carry out in the same transaction and
// what to answer. The returned state and effects are committed even when the answer is an error:
// a wrong guess is paid for and an expiry is recorded although the caller is refused.
package mfa
