package account

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// LiftReport ends, at an administrator's word, what a person's "not me" began. It returns NotFound,
// and Conflict report_not_liftable if nothing is reported.
func (s *Service) LiftReport(ctx context.Context, in mfa.RealmID, who mfa.UserID) error {
	return s.update(ctx, in, func(j *job) error {
		u, err := j.reported(who)
		if err != nil {
			return err
		}
		return j.lift(u, nil)
	})
}

// maxEvidence is how many challenges are looked at.
const maxEvidence = 8

// LiftReportByUser ends it at the person's own word. shown are challenges that the application
// redeemed for them since the report and within the last 20 minutes, answered by a passkey, or by
// two of: scan on a device out of quarantine, TOTP, backup code. It returns NotFound, Conflict
// report_not_liftable if nothing is reported, and Forbidden fresh_factor_required.
func (s *Service) LiftReportByUser(ctx context.Context, in mfa.RealmID, who mfa.UserID, asker mfa.ApplicationID, shown []mfa.ChallengeID) error {
	if len(shown) > maxEvidence {
		return mfa.InvalidField("challenges", "At most %d challenges are looked at.", maxEvidence)
	}
	return s.update(ctx, in, func(j *job) error {
		u, err := j.reported(who)
		if err != nil {
			return err
		}
		kinds := make(map[mfa.Method]bool)
		for _, id := range shown {
			c, err := j.evidence(u, asker, id)
			if err != nil {
				return err
			}
			if counts(c.Evidence) && c.Evidence.At >= u.ReportedAt {
				kinds[c.Evidence.Method] = true
			}
		}
		if !kinds[mfa.Passkey] && len(kinds) < 2 {
			return mfa.Errorf(mfa.Forbidden, mfa.ReasonFreshFactor, "Sign in twice first, in two of these ways: scanning with a device that is not new, a TOTP code, a backup code. An administrator can lift the report too.")
		}
		return j.lift(u, shown)
	})
}

func counts(e mfa.Evidence) bool {
	switch e.Method {
	case mfa.Passkey, mfa.TOTP, mfa.BackupCode:
		return true
	case mfa.Push:
		return e.Match == mfa.Scan
	case mfa.BypassCode, mfa.SMS, mfa.Email, mfa.OATH:
	}
	return false
}

func (j *job) reported(who mfa.UserID) (store.User, error) {
	u, err := j.user(who)
	if err == nil && u.ReportedAt == 0 {
		err = mfa.Errorf(mfa.Conflict, mfa.ReasonReportNotLiftable, "Nothing is reported.")
	}
	return u, err
}

func (j *job) lift(u store.User, shown []mfa.ChallengeID) error {
	u.ReportedAt = 0
	if err := j.put(u); err != nil {
		return err
	}
	var data map[string]string
	if len(shown) > 0 {
		data = map[string]string{"evidence": fmt.Sprint(slices.Compact(slices.Sorted(slices.Values(shown))))}
	}
	if err := j.record(store.Event{Kind: audit.UserReportLifted, User: u.ID, Data: data}); err != nil {
		return err
	}
	j.tx.Wake(store.WakeUser(j.realm, u.ID))
	return j.tell(u.ID, protocol.NoticeReportLifted, nil)
}

// Browser is a known browser of a person.
type Browser struct {
	Thumbprint string // of its key
	Name       string
	CreatedAt  mfa.Instant
	SeenAt     mfa.Instant
	ExpiresAt  mfa.Instant
}

// Browsers lists a person's known browsers, the one that was not seen for longest first. It
// returns NotFound.
func (s *Service) Browsers(ctx context.Context, in mfa.RealmID, who mfa.UserID) ([]Browser, error) {
	out := []Browser{}
	err := s.view(ctx, in, func(j *job) error {
		if _, err := j.user(who); err != nil {
			return err
		}
		list, err := j.tx.ListBrowsers(in, who)
		if err != nil {
			return fmt.Errorf("list browsers of %s: %w", who, err)
		}
		for _, b := range list {
			if j.tx.Now() < b.ExpiresAt {
				out = append(out, Browser{Thumbprint: b.Thumbprint, Name: b.Name, CreatedAt: b.CreatedAt, SeenAt: b.SeenAt, ExpiresAt: b.ExpiresAt})
			}
		}
		return nil
	})
	return out, err
}

// ForgetBrowser makes a known browser a stranger. It returns NotFound.
func (s *Service) ForgetBrowser(ctx context.Context, in mfa.RealmID, who mfa.UserID, thumbprint string) error {
	return s.update(ctx, in, func(j *job) error {
		err := j.tx.DeleteBrowser(in, who, thumbprint)
		if errors.Is(err, store.ErrNotFound) {
			return mfa.ErrNotFound()
		}
		if err != nil {
			return fmt.Errorf("forget browser of %s: %w", who, err)
		}
		return j.record(store.Event{Kind: audit.BrowserForgotten, User: who, Data: map[string]string{"browser": thumbprint}})
	})
}
