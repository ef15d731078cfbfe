package sqlstore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const challengeColumns = `realm, id, user_id, application_id, kind, provenance_class, provenance_key,
	first_factor, matches, methods, min_bits, prompt, answerable, name, match_order, reason, details,
	context, nonce, browser, browser_jwk, source, prompt_jws, policy_version, others, created_at, decide_by,
	state, cancel_reason, reported, wrong, seen, sealed, redeem_by, evidence_method, evidence_at,
	evidence_match, evidence_device, evidence_quarantined, evidence_user_verified, evidence_code,
	evidence_remember, evidence_first_factor, redeem_key, grant_ends, rung, ring_reason, retry_at,
	ring_returned, decision, decision_key, grant_sealed, received, shown, opened, changed_at, version`

func challengeFields(c *store.Challenge) []any {
	ev := &c.Evidence
	return []any{
		&c.Realm, &c.ID, &c.User, &c.Application, &c.Kind, &c.Provenance.Class, &c.Provenance.Key,
		&c.FirstFactor,
		matches{&c.Matches},
		methods{&c.Methods},
		&c.MinBits, &c.Prompt, &c.Answerable,
		&c.Name,
		words[mfa.Match]{&c.MatchOrder},
		&c.Reason,
		document{&c.Details},
		document{&c.Context},
		&c.Nonce, &c.Browser,
		document{&c.BrowserJWK},
		&c.Source, &c.PromptJWS, &c.PolicyVersion, &c.Others,
		&c.CreatedAt, &c.DecideBy, &c.State, &c.Challenge.Reason, &c.Reported, &c.Wrong,
		seen{&c.Seen},
		&c.Sealed, &c.RedeemBy, &ev.Method, &ev.At, &ev.Match, &ev.Device, &ev.Quarantined,
		&ev.UserVerified, &ev.Code, &ev.RememberAsked, &ev.FirstFactorToo, &c.RedeemKey, &c.GrantEnds,
		&c.Rung, &c.RingReason, &c.RetryAt, &c.RingReturned, &c.Decision,
		document{&c.DecisionKey},
		&c.Grant,
		&c.Received, &c.Shown, &c.Opened, &c.ChangedAt, &c.Version,
	}
}

func rungFields(r *mfa.Rung) []any { return []any{&r.At, &r.Provenance.Class, &r.Provenance.Key} }

var insertChallenge = insertText("challenges", challengeColumns)

const live = `state IN ('pending', 'answered', 'approved')`

// Challenge implements store.Challenges.
func (t *tx) Challenge(realm mfa.RealmID, id mfa.ChallengeID) (store.Challenge, error) {
	return keptOne(t, oneFlow(realm, id), cacheKey{"challenge", string(realm), string(id), ""}, func() (store.Challenge, error) {
		return one(t, challengeFields, `SELECT `+challengeColumns+` FROM challenges
			WHERE realm = $1 AND id = $2`, realm, id)
	})
}

// touchChallenge comes before every write of a challenge.
func (t *tx) touchChallenge(realm mfa.RealmID, id mfa.ChallengeID, user mfa.UserID) error {
	if err := t.touch(oneFlow(realm, id)); err != nil {
		return err
	}
	return t.touch(flow(realm, user))
}

// InsertChallenge implements store.Challenges.
func (t *tx) InsertChallenge(c store.Challenge) error {
	c.ChangedAt, c.Version = t.now, 1
	if err := t.touchChallenge(c.Realm, c.ID, c.User); err != nil {
		return err
	}
	return t.insert(insertChallenge, challengeFields(&c)...)
}

// PutChallenge implements store.Challenges. What the prompt says, and for whom, stays.
func (t *tx) PutChallenge(c store.Challenge) error {
	if err := t.touchChallenge(c.Realm, c.ID, c.User); err != nil {
		return err
	}
	ev := &c.Evidence
	return t.put(`SELECT 1 FROM challenges WHERE realm = $1 AND id = $2`, []any{c.Realm, c.ID},
		`UPDATE challenges SET state = $4, cancel_reason = $5, reported = $6, wrong = $7, seen = $8,
		sealed = $9, redeem_by = $10, evidence_method = $11, evidence_at = $12, evidence_match = $13,
		evidence_device = $14, evidence_quarantined = $15, evidence_user_verified = $16,
		evidence_code = $17, evidence_remember = $18, evidence_first_factor = $19, redeem_key = $20,
		grant_ends = $21, rung = $22, ring_reason = $23, retry_at = $24, ring_returned = $25,
		decision = $26, decision_key = $27, grant_sealed = $28, changed_at = $29, version = version + 1
		WHERE realm = $1 AND id = $2 AND version = $3`,
		c.Realm, c.ID, c.Version, c.State, c.Challenge.Reason, c.Reported, c.Wrong, seen{&c.Seen},
		c.Sealed, c.RedeemBy, ev.Method, ev.At, ev.Match,
		ev.Device, ev.Quarantined, ev.UserVerified,
		ev.Code, ev.RememberAsked, ev.FirstFactorToo, c.RedeemKey,
		c.GrantEnds, c.Rung, c.RingReason, c.RetryAt, c.RingReturned,
		c.Decision, document{&c.DecisionKey}, c.Grant, t.now)
}

// LiveChallenges implements store.Challenges. They are sorted here: the index has those that rang
// apart from the others.
func (t *tx) LiveChallenges(realm mfa.RealmID, user mfa.UserID) ([]store.Challenge, error) {
	rows, err := list(t, challengeFields, `SELECT `+challengeColumns+` FROM challenges
		WHERE realm = $1 AND user_id = $2 AND `+live, realm, user)
	slices.SortFunc(rows, func(a, b store.Challenge) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	return rows, err
}

// liveRow is what counting needs of a live challenge.
type liveRow struct {
	from  mfa.Provenance
	until mfa.Instant // live before that
	count int
}

func liveFields(r *liveRow) []any { return []any{&r.from.Class, &r.from.Key, &r.until, &r.count} }

// LiveCounts implements store.Challenges.
func (t *tx) LiveCounts(realm mfa.RealmID, user mfa.UserID, now mfa.Instant) (map[mfa.Provenance]int, error) {
	rows, err := keptOne(t, flow(realm, user), cacheKey{"live", string(realm), string(user), ""}, func() ([]liveRow, error) {
		return list(t, liveFields, `SELECT provenance_class, provenance_key, until, COUNT(*) FROM (
				SELECT provenance_class, provenance_key,
					CASE WHEN state = 'approved' THEN redeem_by ELSE decide_by END AS until
				FROM challenges WHERE realm = $1 AND user_id = $2 AND `+live+`) live
			GROUP BY provenance_class, provenance_key, until`, realm, user)
	})
	counts := make(map[mfa.Provenance]int)
	for _, r := range rows {
		if r.until > now {
			counts[r.from] += r.count
		}
	}
	return counts, err
}

// ListedChallenges implements store.Challenges.
func (t *tx) ListedChallenges(realm mfa.RealmID, user mfa.UserID) ([]store.Challenge, error) {
	return keptList(t, flow(realm, user), cacheKey{"listed", string(realm), string(user), ""}, func() ([]store.Challenge, error) {
		return list(t, challengeFields, `SELECT `+challengeColumns+` FROM challenges
			WHERE realm = $1 AND user_id = $2 AND rung = TRUE AND `+live+` AND state <> 'approved'
			ORDER BY created_at DESC, id DESC`, realm, user)
	})
}

// LiveInRealm implements store.Challenges. It looks at all that are live, as ApplicationLive does.
func (t *tx) LiveInRealm(realm mfa.RealmID, n int) (map[mfa.ApplicationID]int, error) {
	type part struct {
		app mfa.ApplicationID
		n   int
	}
	fields := func(p *part) []any { return []any{&p.app, &p.n} }
	out, left := make(map[mfa.ApplicationID]int), n
	for _, live := range []string{`state = 'approved' AND redeem_by > 0`, `state IN ('pending', 'answered') AND decide_by > 0`} {
		parts, err := list(t, fields, `SELECT application_id, COUNT(*) FROM (SELECT application_id FROM challenges
			WHERE `+live+` AND realm || '' = $1 LIMIT $2) AS counted GROUP BY application_id`, realm, limit(left))
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			out[p.app] += p.n
			left -= p.n
		}
	}
	return out, nil
}

// ApplicationLive implements store.Challenges. It looks at all that are live, of all applications, by
// the time at which they end; the empty texts keep planners from going through all that ever were.
func (t *tx) ApplicationLive(realm mfa.RealmID, app mfa.ApplicationID, n int) ([]store.Challenge, error) {
	decided, err := list(t, challengeFields, `SELECT `+challengeColumns+` FROM challenges
		WHERE state = 'approved' AND redeem_by > 0 AND realm || '' = $1 AND application_id || '' = $2
		ORDER BY redeem_by LIMIT $3`, realm, app, limit(n))
	if err != nil {
		return nil, err
	}
	more, err := list(t, challengeFields, `SELECT `+challengeColumns+` FROM challenges
		WHERE state IN ('pending', 'answered') AND decide_by > 0 AND realm || '' = $1 AND application_id || '' = $2
		ORDER BY decide_by LIMIT $3`, realm, app, limit(n-len(decided)))
	return append(decided, more...), err
}

// Rung implements store.Challenges, oldest first.
func (t *tx) Rung(realm mfa.RealmID, user mfa.UserID, since mfa.Instant) ([]mfa.Rung, error) {
	return list(t, rungFields, `SELECT created_at, provenance_class, provenance_key FROM challenges
		WHERE realm = $1 AND user_id = $2 AND created_at >= $3 AND rung AND NOT ring_returned
		ORDER BY created_at`, realm, user, since)
}

// UserChallenges implements store.Challenges.
func (t *tx) UserChallenges(realm mfa.RealmID, user mfa.UserID, p store.Page) ([]store.Challenge, error) {
	at, id := before(p)
	return list(t, challengeFields, `SELECT `+challengeColumns+` FROM challenges
		WHERE realm = $1 AND user_id = $2 AND (created_at, id) < ($3, $4)
		ORDER BY created_at DESC, id DESC LIMIT $5`, realm, user, at, id, limit(p.Limit))
}

// ApplicationChanges implements store.Challenges.
func (t *tx) ApplicationChanges(realm mfa.RealmID, app mfa.ApplicationID, p store.Page) ([]store.Challenge, error) {
	at, id := after(p)
	return list(t, challengeFields, `SELECT `+challengeColumns+` FROM challenges
		WHERE realm = $1 AND application_id = $2 AND (changed_at, id) > ($3, $4)
		ORDER BY changed_at, id LIMIT $5`, realm, app, at, id, limit(p.Limit))
}

// DueChallenges implements store.Challenges, the longest overdue of each kind first.
func (t *tx) DueChallenges(now mfa.Instant, n int) ([]store.Challenge, error) {
	due, err := list(t, challengeFields, `SELECT `+challengeColumns+` FROM challenges
		WHERE state = 'approved' AND redeem_by <= $1 ORDER BY redeem_by LIMIT $2`, now, limit(n))
	if err != nil {
		return nil, err
	}
	more, err := list(t, challengeFields, `SELECT `+challengeColumns+` FROM challenges
		WHERE state IN ('pending', 'answered') AND decide_by <= $1 ORDER BY decide_by LIMIT $2`,
		now, limit(n-len(due)))
	return append(due, more...), err
}

// PutStamp implements store.Challenges. What the application is shown is a change of the challenge,
// and none of its version.
func (t *tx) PutStamp(s store.Stamp) (first bool, err error) {
	switch s.Stamp {
	case store.StampReceived, store.StampShown, store.StampOpened:
	default:
		return false, fmt.Errorf("unknown stamp %q", s.Stamp)
	}
	user, err := one(t, itself[mfa.UserID], `UPDATE challenges SET `+s.Stamp+` = $3, changed_at = $4
		WHERE realm = $1 AND id = $2 AND `+s.Stamp+` = 0 RETURNING user_id`, s.Realm, s.Challenge, s.At, t.now)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, t.touchChallenge(s.Realm, s.Challenge, user)
}

// SweepChallenges implements store.Challenges.
func (t *tx) SweepChallenges(realm mfa.RealmID, before mfa.Instant, n int) (int, error) {
	type key struct {
		id   mfa.ChallengeID
		user mfa.UserID
	}
	swept, err := list(t, func(k *key) []any { return []any{&k.id, &k.user} }, `DELETE FROM challenges
		WHERE realm = $1 AND id IN (
		SELECT c.id FROM challenges c WHERE c.realm = $1 AND c.created_at < $2
		AND c.state IN ('redeemed', 'denied', 'failed', 'expired', 'cancelled')
		ORDER BY c.created_at LIMIT $3) RETURNING id, user_id`, realm, before, limit(n))
	if err != nil {
		return 0, err
	}
	for _, k := range swept {
		if err := t.touchChallenge(realm, k.id, k.user); err != nil {
			return 0, err
		}
	}
	return len(swept), nil
}
