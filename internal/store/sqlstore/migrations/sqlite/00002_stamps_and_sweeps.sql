-- +goose Up

-- What devices say they did with a prompt, and what lets the sweeper find what is over.

ALTER TABLE challenges ADD COLUMN received INTEGER NOT NULL DEFAULT 0;
ALTER TABLE challenges ADD COLUMN shown    INTEGER NOT NULL DEFAULT 0;
ALTER TABLE challenges ADD COLUMN opened   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE challenges ADD COLUMN delivered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE challenges ADD COLUMN told     INTEGER NOT NULL DEFAULT 0;

CREATE INDEX challenges_due_to_decide ON challenges (decide_by) WHERE state IN ('pending', 'answered');
CREATE INDEX challenges_due_to_redeem ON challenges (redeem_by) WHERE state = 'approved';
CREATE INDEX challenges_over ON challenges (realm, created_at)
    WHERE state IN ('redeemed', 'denied', 'failed', 'expired', 'cancelled');
CREATE INDEX challenges_live_by_provenance ON challenges
    (realm, user_id, provenance_class, provenance_key, state, decide_by, redeem_by)
    WHERE state IN ('pending', 'answered', 'approved');
CREATE INDEX challenges_listed ON challenges (realm, user_id, created_at, id)
    WHERE rung AND state IN ('pending', 'answered');
CREATE INDEX enrolments_due_to_claim ON enrolments (claim_by) WHERE state = 'invited';
CREATE INDEX enrolments_due_to_confirm ON enrolments (confirm_by) WHERE state = 'claimed';

CREATE INDEX guesses_by_age ON guesses (at);
CREATE INDEX waits_by_age ON waits (ends_at);
CREATE INDEX sources_by_age ON sources (at);
CREATE INDEX browser_proofs_by_age ON browser_proofs (expires_at);
CREATE INDEX notices_by_age ON notices (expires_at);
CREATE INDEX replays_by_age ON replays (created_at);
CREATE INDEX replays_secret ON replays (created_at) WHERE secret AND answer IS NOT NULL;
