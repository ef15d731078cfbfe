package authenticator

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"slices"
	"time"

	"github.com/nodauth/nod/protocol"
)

// Approval is how a person approves a prompt.
type Approval struct {
	// Match is the kind used, one of the prompt's.
	Match protocol.Match
	// Answer is the six digits, the two digits or the scanned secret (see ScanAnswer); empty
	// for tap and digits_back.
	Answer string
	// Remember asks the server to know the browser again.
	Remember bool
	// Shown is when the person saw the prompt; zero for when it was received.
	Shown time.Time
	// Locale is what it was shown in, such as pt-PT; may be empty.
	Locale string
	// UV is the assertion of the app lock, if any.
	UV *protocol.Assertion
}

// Result is what the server says to a decision.
type Result struct {
	// State of the challenge now: pending after a wrong answer with tries left.
	State string
	// TriesLeft is set after a wrong answer.
	TriesLeft *int
	// DigitsBack is set after an approval by digits_back: the person types it into the login
	// page.
	DigitsBack string
}

// ScanAnswer gives the answer of the match scan from the text of the login page's QR, as the
// person's own camera or hands supplied it. It refuses links, and the code of another challenge.
func ScanAnswer(p Prompt, text string) (Approval, error) {
	s, err := protocol.ParseScan(text)
	if err != nil {
		return Approval{}, fmt.Errorf("read the scanned code: %w", err)
	}
	if s.Challenge != p.Challenge {
		return Approval{}, fmt.Errorf("read the scanned code: it is of another sign-in than this prompt: %w", ErrNoPrompt)
	}
	return Approval{Match: protocol.MatchScan, Answer: s.Secret}, nil
}

// Scan asks for the prompt that a scanned code names, listed or not, and gives the approval that
// the code allows once the person has looked at the prompt. It returns what ScanAnswer and Find
// return.
func (d *Device) Scan(ctx context.Context, text string) (Prompt, Approval, error) {
	s, err := protocol.ParseScan(text)
	if err != nil {
		return Prompt{}, Approval{}, fmt.Errorf("read the scanned code: %w", err)
	}
	p, err := d.Find(ctx, s.Challenge)
	if err != nil {
		return Prompt{}, Approval{}, err
	}
	return p, Approval{Match: protocol.MatchScan, Answer: s.Secret}, nil
}

// Approve signs and sends an approval of exactly the bytes that the prompt was read from. A
// decision whose reply is lost is sent again, byte for byte, so that the server knows it as the
// same one. It returns ErrUpdate, an error for a match or answer that the prompt does not allow
// (nothing is sent then), ErrNoReply if the outcome stays unknown, or an [Error]: conflict if
// the challenge was decided otherwise, gone if it is too late; both have State.
func (d *Device) Approve(ctx context.Context, p Prompt, a Approval) (Result, error) {
	if p.UpdateRequired {
		return Result{}, ErrUpdate
	}
	if !slices.Contains(p.Match, a.Match) {
		return Result{}, fmt.Errorf("approve %s: the prompt does not offer the match %q", p.Challenge, a.Match)
	}
	if err := a.Match.CheckAnswer(a.Answer); err != nil {
		return Result{}, fmt.Errorf("approve %s: %w", p.Challenge, err)
	}
	shown := a.Shown
	if shown.IsZero() {
		shown = p.Received
	}
	return d.decide(ctx, &protocol.Decision{
		V: protocol.Version, Challenge: p.Challenge, Decision: protocol.VerdictApprove, PromptSHA256: p.SHA256,
		Match: a.Match, Answer: a.Answer, Remember: a.Remember, ShownMS: since(shown), Locale: a.Locale, UV: a.UV,
	})
}

// Deny refuses a prompt; errors as Approve.
func (d *Device) Deny(ctx context.Context, p Prompt) (Result, error) {
	return d.refuse(ctx, p, protocol.VerdictDeny)
}

// Report says that the prompt was not asked for by this person; errors as Approve.
func (d *Device) Report(ctx context.Context, p Prompt) (Result, error) {
	return d.refuse(ctx, p, protocol.VerdictReport)
}

// DenyUnseen refuses a challenge of which only the id is known, as from a notification.
func (d *Device) DenyUnseen(ctx context.Context, challenge string) (Result, error) {
	return d.Deny(ctx, Prompt{Prompt: protocol.Prompt{Challenge: challenge}})
}

// ReportUnseen reports a challenge of which only the id is known, such as one of the history.
func (d *Device) ReportUnseen(ctx context.Context, challenge string) (Result, error) {
	return d.Report(ctx, Prompt{Prompt: protocol.Prompt{Challenge: challenge}})
}

func (d *Device) refuse(ctx context.Context, p Prompt, v protocol.Verdict) (Result, error) {
	return d.decide(ctx, &protocol.Decision{V: protocol.Version, Challenge: p.Challenge, Decision: v, PromptSHA256: p.SHA256})
}

func (d *Device) decide(ctx context.Context, dec *protocol.Decision) (Result, error) {
	if err := d.settle(ctx); err != nil {
		return Result{}, err
	}
	var got protocol.DecisionAnswer
	err := d.withKey(func(key *ecdsa.PrivateKey) error {
		raw, err := d.sign(key, dec)
		if err != nil {
			return err
		}
		return insist(ctx, func() error {
			got, err = d.postDecision(ctx, raw)
			return err
		})
	})
	if err != nil {
		return Result{}, fmt.Errorf("%s %s: %w", dec.Decision, dec.Challenge, err)
	}
	return Result{State: printable(got.State), TriesLeft: got.TriesLeft, DigitsBack: got.DigitsBack}, nil
}

func (d *Device) postDecision(ctx context.Context, raw string) (protocol.DecisionAnswer, error) {
	body, err := d.post(ctx, protocol.PathDecisions, raw, replyTimeout)
	if err != nil {
		return protocol.DecisionAnswer{}, err
	}
	got, err := readAnswer[protocol.DecisionAnswer](body)
	if err == nil && got.DigitsBack != "" && protocol.MatchDigits.CheckAnswer(got.DigitsBack) != nil {
		return got, fmt.Errorf("%w: digits_back is not six digits", ErrNoReply)
	}
	return got, err
}

// Stamp tells how far a prompt came and when. Stamps decide nothing; an error may be ignored.
func (d *Device) Stamp(ctx context.Context, challenge string, kind protocol.StampKind, at time.Time) error {
	err := d.withKey(func(key *ecdsa.PrivateKey) error {
		raw, err := d.sign(key, &protocol.Stamp{V: protocol.Version, Challenge: challenge, Stamp: kind, MS: since(at)})
		if err != nil {
			return err
		}
		_, err = d.post(ctx, protocol.PathStamps, raw, replyTimeout)
		return err
	})
	if err != nil {
		return fmt.Errorf("stamp %s: %w", challenge, err)
	}
	return nil
}

// sign makes a message that names no nonce, and can therefore be sent again as it is.
func (d *Device) sign(key *ecdsa.PrivateKey, p protocol.Payload) (string, error) {
	return protocol.Sign(key, protocol.Header{KeyID: d.id.Device, URL: d.base + p.Type().Path()}, p)
}

// since is the milliseconds from a moment to now by this machine's timer, never negative.
func since(t time.Time) int64 { return max(time.Since(t).Milliseconds(), 0) }
