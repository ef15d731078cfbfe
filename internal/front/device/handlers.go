package device

import (
	"context"
	"net/http"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/authn"
	"github.com/nodauth/nod/internal/front/httpkit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/wire/cursor"
	"github.com/nodauth/nod/protocol"
)

// speech is a message together with the device that signed it.
type speech struct {
	m      *protocol.Message
	device account.Speaker
}

// historyPage is how many challenges one page of the history has.
const historyPage = 50

func (f *Front) enrol(r *http.Request, _ http.Header) (reply, error) {
	m, err := f.read(r, protocol.TypeEnrol)
	if err != nil {
		return reply{}, err
	}
	e, err := protocol.Decode[protocol.Enrol](m)
	if err != nil {
		return reply{}, refusal(err)
	}
	if _, err := m.VerifySelf(); err != nil {
		return reply{}, refusal(err)
	}
	ctx := audit.With(r.Context(), audit.Origin{Actor: mfa.ActorUser, Address: httpkit.Address(r), Request: httpkit.RequestID(r)})
	enrolled, err := f.c.Accounts.Claim(ctx, f.at(r, m), e, *m.Header.JWK)
	if err != nil {
		return reply{}, err
	}
	return reply{http.StatusCreated, protocol.EnrolAnswer{Enrolled: enrolled}}, nil
}

func (f *Front) prompts(ctx context.Context, s speech) (reply, error) {
	p, err := protocol.Decode[protocol.Poll](s.m)
	if err != nil {
		return reply{}, refusal(err)
	}
	a, err := f.c.Pipeline.Prompts(ctx, authn.Poll{
		Device: s.device, Wait: time.Duration(p.Wait) * time.Second, Named: mfa.ChallengeID(p.Challenge),
		KeysSerial: p.KeysSerial, Have: p.Have,
	})
	if err != nil {
		return reply{}, err
	}
	return ok(a)
}

func (f *Front) decide(ctx context.Context, s speech) (reply, error) {
	d, err := protocol.Decode[protocol.Decision](s.m)
	if err != nil {
		return reply{}, refusal(err)
	}
	if d.UV != nil {
		return reply{}, &mfa.Error{
			Code: mfa.Unsupported, Reason: mfa.ReasonMethodNotSupported, Field: "uv",
			Message: "This server has no app lock registered for the device.",
		}
	}
	out, err := f.c.Pipeline.Decide(ctx, authn.Signed{
		Device: s.device, Decision: d, Sighted: mfa.Sighted(s.m.RepetitionKey()), Raw: s.m.Raw(),
	})
	if err != nil {
		return reply{}, err
	}
	a := protocol.DecisionAnswer{State: string(out.State), DigitsBack: out.DigitsBack}
	if out.Wrong && out.State == mfa.Pending {
		a.TriesLeft = &out.TriesLeft
	}
	return ok(a)
}

func (f *Front) stamp(ctx context.Context, s speech) (reply, error) {
	p, err := protocol.Decode[protocol.Stamp](s.m)
	if err != nil {
		return reply{}, refusal(err)
	}
	err = f.c.Pipeline.Stamp(ctx, s.device, mfa.ChallengeID(p.Challenge), string(p.Stamp), time.Duration(p.MS)*time.Millisecond)
	return reply{status: http.StatusNoContent}, err
}

func (f *Front) history(ctx context.Context, s speech) (reply, error) {
	p, err := protocol.Decode[protocol.History](s.m)
	if err != nil {
		return reply{}, refusal(err)
	}
	scope := string(s.device.Realm) + "/" + string(s.device.User)
	var after cursor.Position
	if p.Cursor != "" {
		if after, err = f.cursor.Parse(scope, p.Cursor); err != nil {
			return reply{}, mfa.InvalidField("cursor", "This cursor is not one that the server gave.")
		}
	}
	items, next, err := f.c.Pipeline.History(ctx, s.device, mfa.Instant(after.At), after.ID, historyPage)
	if err != nil {
		return reply{}, err
	}
	a := protocol.HistoryAnswer{Items: items}
	if next != nil {
		a.Next = f.cursor.Encode(scope, cursor.Position{At: int64(next.At), ID: next.ID})
	}
	return ok(a)
}

// change wraps what changes the device itself, or another one in its name.
func change[T any](do func(context.Context, account.Speaker, T) error) handler {
	return func(ctx context.Context, s speech) (reply, error) {
		p, err := protocol.Decode[T](s.m)
		if err != nil {
			return reply{}, refusal(err)
		}
		if err := do(ctx, s.device, p); err != nil {
			return reply{}, err
		}
		return ok(struct{}{})
	}
}
