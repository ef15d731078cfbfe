-- +goose Up

-- What certificates are made of, shared by all nodes. Like settings these belong to the
-- installation and to no realm.

CREATE TABLE certificates (
    name       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sealed     BYTEA,
    changed_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    version    BIGINT NOT NULL
);

CREATE INDEX certificates_by_age ON certificates (expires_at) WHERE expires_at > 0;

CREATE TABLE certificate_orders (
    host      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    failures  BIGINT NOT NULL,
    not_again BIGINT NOT NULL
);
