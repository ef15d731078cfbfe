-- +goose Up

-- What certificates are made of, shared by all nodes. Like settings these belong to the
-- installation and to no realm.

CREATE TABLE certificates (
    name       TEXT    NOT NULL PRIMARY KEY,
    sealed     BLOB,
    changed_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT;

CREATE INDEX certificates_by_age ON certificates (expires_at) WHERE expires_at > 0;

CREATE TABLE certificate_orders (
    host      TEXT    NOT NULL PRIMARY KEY,
    failures  INTEGER NOT NULL,
    not_again INTEGER NOT NULL
) STRICT;
