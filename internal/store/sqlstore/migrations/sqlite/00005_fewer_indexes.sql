-- +goose Up

-- Each index is written several times in a sign-in. What lists the live challenges of a user does with
-- one; the kinds of events of which every sign-in makes some are found by going back in time.

DROP INDEX challenges_live_by_user;
DROP INDEX challenges_live_by_application;
DROP INDEX challenges_live_by_provenance;
DROP INDEX challenges_listed;
CREATE INDEX challenges_live ON challenges
    (realm, user_id, rung, created_at, id, provenance_class, provenance_key, state, decide_by, redeem_by)
    WHERE state IN ('pending', 'answered', 'approved');

DROP INDEX events_by_kind;
CREATE INDEX events_by_rare_kind ON events (realm, kind, at, id)
    WHERE kind NOT IN ('challenge.created', 'challenge.delivered', 'challenge.approved', 'challenge.told', 'challenge.redeemed');
