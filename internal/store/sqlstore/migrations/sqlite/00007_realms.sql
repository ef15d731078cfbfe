-- +goose Up

-- The hosts that belong to a realm, and which sealing keys each running node holds.

ALTER TABLE realms ADD COLUMN hosts TEXT NOT NULL DEFAULT '[]';
ALTER TABLE realms ADD COLUMN version INTEGER NOT NULL DEFAULT 1;

CREATE TABLE ring_nodes (
    node    TEXT    NOT NULL PRIMARY KEY,
    holds   TEXT    NOT NULL,
    seals   TEXT    NOT NULL,
    since   INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX ring_nodes_by_age ON ring_nodes (seen_at);
