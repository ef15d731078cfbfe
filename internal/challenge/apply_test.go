package challenge_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// TestApply runs steps on stored challenges: state and records are stored together, and whoever
// waits is woken.
func TestApply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kind := func(k mfa.Recorded, data ...string) recorded {
		r := recorded{kind: string(k)}
		for i := 0; i < len(data); i += 2 {
			if r.data == nil {
				r.data = map[string]string{}
			}
			r.data[data[i]] = data[i+1]
		}
		return r
	}
	for _, test := range []struct {
		name    string
		matches []mfa.Match
		event   func(challenge.Held) mfa.Event
		state   mfa.State
		said    []recorded
	}{
		{
			"approved by digits",
			[]mfa.Match{mfa.Scan, mfa.Digits},
			func(h challenge.Held) mfa.Event { return approval(h, mfa.Digits, h.Expect.Digits) },
			mfa.Approved,
			[]recorded{kind(mfa.RecordApproved, "method", "push", "match", "digits")},
		},
		{
			"approved by scan",
			[]mfa.Match{mfa.Scan},
			func(h challenge.Held) mfa.Event { return approval(h, mfa.Scan, h.Expect.Scan) },
			mfa.Approved,
			[]recorded{kind(mfa.RecordApproved, "method", "push", "match", "scan")},
		},
		{
			"approved by a typed code",
			[]mfa.Match{mfa.Scan},
			func(challenge.Held) mfa.Event {
				return mfa.Typed{Application: "app_vpn", Method: mfa.TOTP, Right: true, Code: "totp_1", RedeemWithin: time.Minute}
			},
			mfa.Approved,
			[]recorded{kind(mfa.RecordApproved, "method", "totp")},
		},
		{
			"a wrong code",
			[]mfa.Match{mfa.Scan},
			func(challenge.Held) mfa.Event { return mfa.Typed{Application: "app_vpn", Method: mfa.TOTP} },
			mfa.Pending,
			[]recorded{kind(mfa.RecordWrongCode)},
		},
		{
			"wrong digits",
			[]mfa.Match{mfa.Digits},
			func(h challenge.Held) mfa.Event { return approval(h, mfa.Digits, other(h.Expect.Digits)) },
			mfa.Pending,
			[]recorded{kind(mfa.RecordWrong, "wrong", "1")},
		},
		{
			"a wrong number",
			[]mfa.Match{mfa.Number, mfa.Scan, mfa.Digits},
			func(h challenge.Held) mfa.Event { return approval(h, mfa.Number, other(h.Expect.Number)) },
			mfa.Failed,
			[]recorded{kind(mfa.RecordWrong, "wrong", "1"), kind(mfa.RecordFailed)},
		},
		{
			"denied",
			[]mfa.Match{mfa.Scan},
			func(h challenge.Held) mfa.Event { return mfa.Deny{Decision: decision(h, "1")} },
			mfa.Denied,
			[]recorded{kind(mfa.RecordDenied)},
		},
		{
			"reported",
			[]mfa.Match{mfa.Scan},
			func(h challenge.Held) mfa.Event { return mfa.Report{Decision: decision(h, "1")} },
			mfa.Denied,
			[]recorded{kind(mfa.RecordDenied), kind(mfa.RecordReported)},
		},
		{
			"cancelled",
			[]mfa.Match{mfa.Scan},
			func(challenge.Held) mfa.Event { return mfa.Cancel{Reason: mfa.CancelUserLocked} },
			mfa.Cancelled,
			[]recorded{kind(mfa.RecordCancelled, "reason", "user_locked")},
		},
	} {
		h := w.make(spec(test.matches...))
		w.woken()
		got, _, refused := w.apply(h.ID, test.event(h))
		if refused != nil {
			t.Errorf("%s: refused: %v", test.name, refused)
		}
		row := w.load(h.ID)
		if got.State != test.state || row.State != test.state {
			t.Errorf("%s: state %q, stored %q, want %q", test.name, got.State, row.State, test.state)
		}
		if got.Version != row.Version || row.Version != 2 {
			t.Errorf("%s: version %d, stored %d", test.name, got.Version, row.Version)
		}
		if row.RingReturned != (test.state == mfa.Approved) {
			t.Errorf("%s: the place in the budget is given back: %t", test.name, row.RingReturned)
		}
		if diff := cmp.Diff(test.said, w.said(), cmp.AllowUnexported(recorded{})); diff != "" {
			t.Errorf("%s: records (-want +got):\n%s", test.name, diff)
		}
		if diff := cmp.Diff(wakes(h), w.woken()); diff != "" {
			t.Errorf("%s: wakes (-want +got):\n%s", test.name, diff)
		}
	}
}

// TestApplyRefused wants what changes nothing to write, record and wake nothing.
func TestApplyRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.make(spec(mfa.Scan, mfa.Digits))
	w.woken()
	before := stored(t, w, h.ID)
	stranger := approval(h, mfa.Digits, h.Expect.Digits)
	stranger.By.User = "usr_bob"
	unoffered := approval(h, mfa.Tap, "")
	for name, test := range map[string]struct {
		e    mfa.Event
		code mfa.Code
	}{
		"another user's device":         {stranger, mfa.NotFound},
		"a kind that was not offered":   {unoffered, mfa.Invalid},
		"another application's code":    {mfa.Typed{Application: "app_mail", Method: mfa.TOTP, Right: true}, mfa.NotFound},
		"a method that is not allowed":  {mfa.Typed{Application: "app_vpn", Method: mfa.BypassCode, Right: true}, mfa.Forbidden},
		"digits back without an answer": {mfa.TypedBack{Application: "app_vpn", Answer: "000000"}, mfa.Conflict},
		"redemption before approval":    {mfa.Redeem{Application: "app_vpn", Key: "k"}, mfa.Conflict},
		"time that changes nothing":     {mfa.Tick{}, ""},
	} {
		_, fx, refused := w.apply(h.ID, test.e)
		if mfa.CodeOf(refused) != test.code || len(fx.Record) != 0 {
			t.Errorf("%s: %v, %+v; want code %q", name, refused, fx, test.code)
		}
	}
	if diff := cmp.Diff(before, stored(t, w, h.ID)); diff != "" {
		t.Errorf("the row changed:\n%s", diff)
	}
	if said, woken := w.said(), w.woken(); len(said) != 0 || len(woken) != 0 {
		t.Errorf("recorded %v, woke %v", said, woken)
	}
}

// TestApplyLate answers after the end: the caller is refused and the expiry is stored all the same.
func TestApplyLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.make(spec(mfa.Scan, mfa.Digits))
	w.woken()
	w.forward(120 * time.Second)
	_, _, refused := w.apply(h.ID, approval(h, mfa.Digits, h.Expect.Digits))
	if mfa.CodeOf(refused) != mfa.Gone {
		t.Errorf("got %v, want Gone", refused)
	}
	if row := w.load(h.ID); row.State != mfa.Expired {
		t.Errorf("stored as %q", row.State)
	}
	if said := w.said(); len(said) != 1 || said[0].kind != string(mfa.RecordExpired) {
		t.Errorf("recorded %v", said)
	}
	if len(w.woken()) != 3 {
		t.Error("nobody was woken")
	}
	_, _, _ = w.apply(h.ID, mfa.Tick{})
	if said := w.said(); len(said) != 0 {
		t.Errorf("expired a second time: %v", said)
	}
}

// TestApplyDigitsBack keeps the digits that a decision makes, sealed, for its repetition and for
// the page.
func TestApplyDigitsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.make(spec(mfa.DigitsBack))
	yes := approval(h, mfa.DigitsBack, "")
	got, _, refused := w.apply(h.ID, yes)
	if refused != nil || got.State != mfa.Answered || got.Expect.Back != yes.FreshBack {
		t.Fatalf("%v, %q, digits %q of %q", refused, got.State, got.Expect.Back, yes.FreshBack)
	}
	again := yes
	again.FreshBack = other(yes.FreshBack)
	got, fx, refused := w.apply(h.ID, again)
	if refused != nil || !fx.Repeat || got.Expect.Back != yes.FreshBack {
		t.Errorf("its repetition: %v, %+v, digits %q", refused, fx, got.Expect.Back)
	}
	typed := mfa.TypedBack{Application: "app_vpn", Answer: other(yes.FreshBack), RedeemWithin: time.Minute}
	if got, _, refused = w.apply(h.ID, typed); refused != nil || got.State != mfa.Answered || got.Wrong != 1 {
		t.Errorf("wrong digits: %v, %q", refused, got.State)
	}
	typed.Answer = yes.FreshBack
	if got, _, refused = w.apply(h.ID, typed); refused != nil || got.State != mfa.Approved {
		t.Errorf("the right digits: %v, %q", refused, got.State)
	}
}

// TestApplyRecordFails wants nothing stored of a step whose record cannot be written.
func TestApplyRecordFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.make(spec(mfa.Scan))
	err := w.store.Update(t.Context(), func(tx store.Tx) error {
		held, err := w.Load(tx, realm, h.ID)
		if err != nil {
			return err
		}
		_, _, err = w.Apply(tx, &held, mfa.Cancel{Reason: mfa.CancelPolicy}, facts, func(string, map[string]string) error { return errUndone }, nil)
		return err
	})
	if !errors.Is(err, errUndone) {
		t.Errorf("got %v", err)
	}
	if row := w.load(h.ID); row.State != mfa.Pending || row.Version != 1 {
		t.Errorf("stored as %q, version %d", row.State, row.Version)
	}
}

// TestApplyStale wants a challenge that somebody else changed meanwhile to be read again.
func TestApplyStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.make(spec(mfa.Scan))
	_, _, _ = w.apply(h.ID, mfa.Deny{Decision: decision(h, "1")})
	err := w.store.View(t.Context(), func(tx store.Tx) error {
		old := h
		_, _, err := w.Apply(tx, &old, mfa.Cancel{Reason: mfa.CancelPolicy}, facts, w.record, nil)
		return err
	})
	if err == nil {
		t.Error("a step was written in a transaction that reads")
	}
	runs := 0
	w.update(func(tx store.Tx) error {
		held := h // as it was made, on the first run
		if runs++; runs > 1 {
			var err error
			if held, err = w.Load(tx, realm, h.ID); err != nil {
				return err
			}
		}
		_, _, err := w.Apply(tx, &held, mfa.Cancel{Reason: mfa.CancelPolicy}, facts, w.record, nil)
		return err
	})
	if row := w.load(h.ID); runs != 2 || row.State != mfa.Denied {
		t.Errorf("%d runs, stored as %q", runs, row.State)
	}
}

// TestComplete stores what completes a change with the change, in one write.
func TestComplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.make(spec(mfa.Scan))
	w.woken()
	undone := errors.New("undone")
	for _, fails := range []error{undone, nil} {
		err := w.store.Update(t.Context(), func(tx store.Tx) error {
			held, err := w.Load(tx, realm, h.ID)
			if err != nil {
				return err
			}
			_, _, err = w.Apply(tx, &held, mfa.Cancel{Reason: mfa.CancelPolicy}, facts, w.record, func(before mfa.State, _ mfa.Effects) error {
				if before != mfa.Pending || held.State != mfa.Cancelled {
					t.Errorf("completed from %s to %s", before, held.State)
				}
				held.Decision = "added"
				return fails
			})
			return err
		})
		if !errors.Is(err, fails) {
			t.Fatal(err)
		}
	}
	if row := w.load(h.ID); row.State != mfa.Cancelled || row.Decision != "added" || row.Version != 2 {
		t.Errorf("stored %s, %q, version %d", row.State, row.Decision, row.Version)
	}
	if diff := cmp.Diff(wakes(h), w.woken()); diff != "" {
		t.Errorf("wakes (-want +got):\n%s", diff)
	}
}

func TestCancelLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pending, byOne, byTwo, denied := w.make(spec(mfa.Digits)), w.make(spec(mfa.Digits)), w.make(spec(mfa.Digits)), w.make(spec(mfa.Digits))
	_, _, _ = w.apply(byOne.ID, approval(byOne, mfa.Digits, byOne.Expect.Digits))
	two := approval(byTwo, mfa.Digits, byTwo.Expect.Digits)
	two.By.ID = "dev_2"
	_, _, _ = w.apply(byTwo.ID, two)
	_, _, _ = w.apply(denied.ID, mfa.Deny{Decision: decision(denied, "1")})
	w.said()

	cancelLive := func(e mfa.Cancel, rows ...mfa.ChallengeID) (ended []mfa.ChallengeID) {
		w.update(func(tx store.Tx) error {
			ended = nil
			var list []store.Challenge
			for _, id := range rows {
				row, err := tx.Challenge(realm, id)
				if err != nil {
					return err
				}
				list = append(list, row)
			}
			done, err := w.CancelLive(tx, list, e, func(challenge.Held) challenge.Recorder { return w.record })
			for _, h := range done {
				ended = append(ended, h.ID)
			}
			return err
		})
		return ended
	}
	all := []mfa.ChallengeID{pending.ID, byOne.ID, byTwo.ID, denied.ID}
	got := cancelLive(mfa.Cancel{Reason: mfa.CancelDeviceGone, Device: "dev_1"}, all...)
	if !slices.Equal(got, []mfa.ChallengeID{byOne.ID}) || len(w.said()) != 1 {
		t.Errorf("one device's approvals: %v ended, want %v", got, byOne.ID)
	}
	got = cancelLive(mfa.Cancel{Reason: mfa.CancelUserLocked}, all...)
	if !slices.Equal(got, []mfa.ChallengeID{pending.ID, byTwo.ID}) || len(w.said()) != 2 {
		t.Errorf("all that live: %v ended, want %v and %v", got, pending.ID, byTwo.ID)
	}
	if got = cancelLive(mfa.Cancel{Reason: mfa.CancelUserLocked}, all...); len(got) != 0 || len(w.said()) != 0 {
		t.Errorf("a second time: %v ended", got)
	}
	for id, want := range map[mfa.ChallengeID]mfa.CancelReason{
		pending.ID: mfa.CancelUserLocked, byOne.ID: mfa.CancelDeviceGone, byTwo.ID: mfa.CancelUserLocked, denied.ID: "",
	} {
		if row := w.load(id); row.Challenge.Challenge.Reason != want {
			t.Errorf("%s is cancelled for %q, want %q", id, row.Challenge.Challenge.Reason, want)
		}
	}
}
