-- +goose Up

-- What is to leave the server, written with its cause; what came of each attempt; the addresses
-- that are told of events.

CREATE TABLE deliveries (
    realm      TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    target     TEXT    NOT NULL,
    about      TEXT    NOT NULL,
    payload    BLOB,
    state      TEXT    NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    node       TEXT    NOT NULL,
    due_at     INTEGER NOT NULL,
    tries      INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (realm, id)
) STRICT;

CREATE INDEX deliveries_due ON deliveries (due_at, realm, id) WHERE state = 'pending';
CREATE INDEX deliveries_over ON deliveries (state, ended_at) WHERE state <> 'pending';
CREATE INDEX deliveries_by_target ON deliveries (realm, kind, target, created_at, id);
CREATE INDEX deliveries_pending ON deliveries (realm, kind, target, created_at, id) WHERE state = 'pending';
CREATE INDEX deliveries_dead ON deliveries (realm, kind, target, created_at, id) WHERE state = 'dead';

CREATE TABLE attempts (
    realm       TEXT    NOT NULL,
    delivery_id TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    outcome     TEXT    NOT NULL
                CHECK (outcome IN ('delivered', 'temporary', 'permanent', 'gone', 'interrupted')),
    status      INTEGER NOT NULL,
    took_ms     INTEGER NOT NULL,
    text        TEXT    NOT NULL,
    PRIMARY KEY (realm, delivery_id, number),
    FOREIGN KEY (realm, delivery_id) REFERENCES deliveries (realm, id) ON DELETE CASCADE
) STRICT;

CREATE TABLE webhooks (
    realm         TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    url           TEXT    NOT NULL,
    events        TEXT    NOT NULL,
    description   TEXT    NOT NULL,
    enabled       INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    disabled_why  TEXT    NOT NULL CHECK (disabled_why IN ('', 'administrator', 'gone')),
    secret        BLOB,
    former_secret BLOB,
    former_until  INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    PRIMARY KEY (realm, id)
) STRICT;

CREATE INDEX webhooks_enabled ON webhooks (realm, id) WHERE enabled;
