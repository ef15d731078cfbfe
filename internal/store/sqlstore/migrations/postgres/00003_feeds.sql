-- +goose Up

-- How far the places have come to which events are sent, and what lets the sweeper find devices and
-- enrolments that are long over.

CREATE TABLE feeds (
    name        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    owner       TEXT COLLATE "C" NOT NULL,
    lease_until BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    id          TEXT COLLATE "C" NOT NULL
);

CREATE INDEX devices_over ON devices (realm, ended_at) WHERE state IN ('revoked', 'refused');
CREATE INDEX enrolments_over ON enrolments (claim_by)
    WHERE state IN ('confirmed', 'expired', 'cancelled', 'refused');

-- Rows of these tables come and go at the rate of sign-ins. Without this a vacuum waits until a fifth
-- of a table is dead, and then takes long; so it comes often and is short.
ALTER TABLE challenges SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 1);
ALTER TABLE replays SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 1);
ALTER TABLE guesses SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
ALTER TABLE notices SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
