-- +goose Up

-- Links that were given to people. The secret in a link is kept as its hash alone.

CREATE TABLE invitations (
    realm        TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    user_id      TEXT    NOT NULL,
    secret_hash  BLOB    NOT NULL,
    purpose      TEXT    NOT NULL CHECK (purpose IN ('enrol', 'reset')),
    state        TEXT    NOT NULL CHECK (state IN ('live', 'used', 'revoked', 'superseded', 'expired')),
    set_password INTEGER NOT NULL CHECK (set_password IN (0, 1)),
    enrolment_id TEXT    NOT NULL,
    actor        TEXT    NOT NULL
                 CHECK (actor IN ('user', 'administrator', 'help_desk', 'application', 'server')),
    made_by      TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    ended_at     INTEGER NOT NULL,
    PRIMARY KEY (realm, id),
    UNIQUE (realm, secret_hash),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX invitations_by_secret ON invitations (secret_hash);
CREATE INDEX invitations_by_creation ON invitations (realm, created_at, id);
CREATE INDEX invitations_by_user ON invitations (realm, user_id, created_at, id);
CREATE UNIQUE INDEX invitations_live ON invitations (realm, user_id) WHERE state = 'live';
CREATE INDEX invitations_by_enrolment ON invitations (realm, enrolment_id) WHERE enrolment_id <> '';
CREATE INDEX invitations_due ON invitations (expires_at) WHERE state = 'live';
CREATE INDEX invitations_over ON invitations (ended_at) WHERE state <> 'live';
