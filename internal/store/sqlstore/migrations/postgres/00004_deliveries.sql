-- +goose Up

-- What is to leave the server, written with its cause; what came of each attempt; the addresses
-- that are told of events.

CREATE TABLE deliveries (
    realm      TEXT COLLATE "C" NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    kind       TEXT COLLATE "C" NOT NULL,
    target     TEXT COLLATE "C" NOT NULL,
    about      TEXT COLLATE "C" NOT NULL,
    payload    BYTEA,
    state      TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    node       TEXT COLLATE "C" NOT NULL,
    due_at     BIGINT NOT NULL,
    tries      BIGINT NOT NULL,
    attempts   BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (realm, id)
);

CREATE INDEX deliveries_due ON deliveries (due_at, realm, id) WHERE state = 'pending';
CREATE INDEX deliveries_over ON deliveries (state, ended_at) WHERE state <> 'pending';
CREATE INDEX deliveries_by_target ON deliveries (realm, kind, target, created_at, id);
CREATE INDEX deliveries_pending ON deliveries (realm, kind, target, created_at, id) WHERE state = 'pending';
CREATE INDEX deliveries_dead ON deliveries (realm, kind, target, created_at, id) WHERE state = 'dead';

CREATE TABLE attempts (
    realm       TEXT COLLATE "C" NOT NULL,
    delivery_id TEXT COLLATE "C" NOT NULL,
    number      BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    outcome     TEXT COLLATE "C" NOT NULL
                CHECK (outcome IN ('delivered', 'temporary', 'permanent', 'gone', 'interrupted')),
    status      BIGINT NOT NULL,
    took_ms     BIGINT NOT NULL,
    text        TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (realm, delivery_id, number),
    FOREIGN KEY (realm, delivery_id) REFERENCES deliveries (realm, id) ON DELETE CASCADE
);

CREATE TABLE webhooks (
    realm         TEXT COLLATE "C" NOT NULL,
    id            TEXT COLLATE "C" NOT NULL,
    url           TEXT COLLATE "C" NOT NULL,
    events        TEXT COLLATE "C" NOT NULL,
    description   TEXT COLLATE "C" NOT NULL,
    enabled       BOOLEAN NOT NULL,
    disabled_why  TEXT COLLATE "C" NOT NULL CHECK (disabled_why IN ('', 'administrator', 'gone')),
    secret        BYTEA,
    former_secret BYTEA,
    former_until  BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    changed_at    BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    PRIMARY KEY (realm, id)
);

CREATE INDEX webhooks_enabled ON webhooks (realm, id) WHERE enabled;
