-- +goose Up

-- The hosts that belong to a realm, and which sealing keys each running node holds.

ALTER TABLE realms ADD COLUMN hosts TEXT COLLATE "C" NOT NULL DEFAULT '[]';
ALTER TABLE realms ADD COLUMN version BIGINT NOT NULL DEFAULT 1;

CREATE TABLE ring_nodes (
    node    TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    holds   TEXT COLLATE "C"   NOT NULL,
    seals   TEXT COLLATE "C"   NOT NULL,
    since   BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

CREATE INDEX ring_nodes_by_age ON ring_nodes (seen_at);
