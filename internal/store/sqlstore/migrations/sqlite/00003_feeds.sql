-- +goose Up

-- How far the places have come to which events are sent, and what lets the sweeper find devices and
-- enrolments that are long over.

CREATE TABLE feeds (
    name        TEXT NOT NULL PRIMARY KEY,
    owner       TEXT NOT NULL,
    lease_until INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    id          TEXT NOT NULL
);

CREATE INDEX devices_over ON devices (realm, ended_at) WHERE state IN ('revoked', 'refused');
CREATE INDEX enrolments_over ON enrolments (claim_by)
    WHERE state IN ('confirmed', 'expired', 'cancelled', 'refused');
