-- +goose Up

-- Every key begins with the realm. Times are microseconds since 1970 by the store's clock, 0 where
-- there is none yet. Lists and maps are JSON in TEXT.

CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE realms (
    realm       TEXT    NOT NULL PRIMARY KEY,
    created_at  INTEGER NOT NULL,
    disabled_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE realm_keys (
    realm      TEXT    NOT NULL,
    purpose    TEXT    NOT NULL CHECK (purpose IN ('prompt', 'grant')),
    kid        TEXT    NOT NULL,
    public     TEXT,
    sealed     BLOB,
    created_at INTEGER NOT NULL,
    active_at  INTEGER NOT NULL,
    retired_at INTEGER NOT NULL,
    PRIMARY KEY (realm, purpose, kid)
) STRICT;

CREATE TABLE key_sets (
    realm  TEXT    NOT NULL,
    serial INTEGER NOT NULL,
    jws    TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (realm, serial)
) STRICT;

CREATE TABLE policies (
    realm    TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    document TEXT,
    at       INTEGER NOT NULL,
    made_by  TEXT    NOT NULL,
    PRIMARY KEY (realm, version)
) STRICT;

CREATE TABLE users (
    realm       TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    display     TEXT    NOT NULL,
    external_id TEXT    NOT NULL,
    groups      TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('active', 'locked')),
    owner       INTEGER NOT NULL CHECK (owner IN (0, 1)),
    password    TEXT    NOT NULL,
    password_at INTEGER NOT NULL,
    had_factor  INTEGER NOT NULL CHECK (had_factor IN (0, 1)),
    reported_at INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    PRIMARY KEY (realm, id)
) STRICT;

CREATE UNIQUE INDEX users_by_external_id ON users (realm, external_id) WHERE external_id <> '';
CREATE INDEX users_by_creation ON users (realm, created_at, id);

CREATE TABLE user_names (
    realm   TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    user_id TEXT    NOT NULL,
    alias   INTEGER NOT NULL CHECK (alias IN (0, 1)),
    display TEXT    NOT NULL,
    PRIMARY KEY (realm, name),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX user_names_by_user ON user_names (realm, user_id, alias, name);

CREATE TABLE applications (
    realm         TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    icon_sha256   TEXT    NOT NULL,
    username_form TEXT    NOT NULL CHECK (username_form IN ('as_is', 'strip_domain', 'strip_suffix')),
    disabled_at   INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    PRIMARY KEY (realm, id),
    UNIQUE (realm, name)
) STRICT;

CREATE INDEX applications_by_creation ON applications (realm, created_at, id);

CREATE TABLE api_keys (
    realm          TEXT    NOT NULL,
    id             TEXT    NOT NULL,
    application_id TEXT    NOT NULL,
    hash           BLOB    NOT NULL,
    scopes         TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    revoked_at     INTEGER NOT NULL,
    PRIMARY KEY (realm, id),
    UNIQUE (realm, hash)
) STRICT;

CREATE INDEX api_keys_by_hash ON api_keys (hash);
CREATE INDEX api_keys_by_application ON api_keys (realm, application_id, created_at, id);

CREATE TABLE devices (
    realm            TEXT    NOT NULL,
    id               TEXT    NOT NULL,
    user_id          TEXT    NOT NULL,
    enrolment_id     TEXT    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('claimed', 'active', 'suspended', 'revoked', 'refused')),
    confirmed_at     INTEGER NOT NULL,
    quarantine_until INTEGER NOT NULL,
    vetoable         INTEGER NOT NULL CHECK (vetoable IN (0, 1)),
    failures         INTEGER NOT NULL,
    seq              INTEGER NOT NULL,
    name             TEXT    NOT NULL,
    platform         TEXT    NOT NULL,
    app_version      TEXT    NOT NULL,
    features         TEXT    NOT NULL,
    jwk              TEXT,
    thumbprint       TEXT    NOT NULL,
    targets          TEXT,
    app_lock         BLOB,
    claimed_at       INTEGER NOT NULL,
    ended_at         INTEGER NOT NULL,
    seen_at          INTEGER NOT NULL,
    version          INTEGER NOT NULL,
    PRIMARY KEY (realm, id),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX devices_by_id ON devices (id);
CREATE INDEX devices_by_user ON devices (realm, user_id, claimed_at, id);

CREATE TABLE thumbprints (
    realm      TEXT NOT NULL,
    thumbprint TEXT NOT NULL,
    PRIMARY KEY (realm, thumbprint)
) STRICT, WITHOUT ROWID;

CREATE TABLE enrolments (
    realm       TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    user_id     TEXT    NOT NULL,
    state       TEXT    NOT NULL
                CHECK (state IN ('invited', 'claimed', 'confirmed', 'expired', 'cancelled', 'refused')),
    made_by     TEXT    NOT NULL
                CHECK (made_by IN ('user', 'administrator', 'help_desk', 'application', 'server')),
    lost        INTEGER NOT NULL CHECK (lost IN (0, 1)),
    created_at  INTEGER NOT NULL,
    claim_by    INTEGER NOT NULL,
    confirm_by  INTEGER NOT NULL,
    device_id   TEXT    NOT NULL,
    thumbprint  TEXT    NOT NULL,
    wrong       INTEGER NOT NULL,
    ticket_hash BLOB    NOT NULL,
    sealed_code BLOB,
    asker       TEXT    NOT NULL,
    answer      TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    PRIMARY KEY (realm, id),
    UNIQUE (realm, ticket_hash)
) STRICT;

CREATE INDEX enrolments_by_ticket ON enrolments (ticket_hash);
CREATE INDEX enrolments_live ON enrolments (realm, user_id, created_at, id)
    WHERE state IN ('invited', 'claimed');

CREATE TABLE challenges (
    realm                  TEXT    NOT NULL,
    id                     TEXT    NOT NULL,
    user_id                TEXT    NOT NULL,
    application_id         TEXT    NOT NULL,
    kind                   TEXT    NOT NULL CHECK (kind IN ('login', 'step_up', 'transaction')),
    provenance_class       TEXT    NOT NULL CHECK (provenance_class IN ('known_browser', 'source', 'stranger')),
    provenance_key         TEXT    NOT NULL,
    first_factor           TEXT    NOT NULL CHECK (first_factor IN ('none', 'asserted', 'password')),
    matches                TEXT    NOT NULL,
    methods                TEXT    NOT NULL,
    min_bits               INTEGER NOT NULL,
    prompt                 TEXT    NOT NULL,
    answerable             INTEGER NOT NULL CHECK (answerable IN (0, 1)),
    name                   TEXT    NOT NULL,
    match_order            TEXT    NOT NULL,
    reason                 TEXT    NOT NULL,
    details                TEXT,
    context                TEXT,
    nonce                  TEXT    NOT NULL,
    browser                TEXT    NOT NULL,
    browser_jwk            TEXT,
    source                 TEXT    NOT NULL,
    prompt_jws             TEXT    NOT NULL,
    policy_version         INTEGER NOT NULL,
    others                 INTEGER NOT NULL,
    created_at             INTEGER NOT NULL,
    decide_by              INTEGER NOT NULL,
    state                  TEXT    NOT NULL
                           CHECK (state IN ('pending', 'answered', 'approved', 'redeemed', 'denied', 'failed', 'expired', 'cancelled')),
    cancel_reason          TEXT    NOT NULL
                           CHECK (cancel_reason IN ('', 'user_locked', 'device_revoked', 'application_disabled', 'policy', 'superseded', 'reported', 'application')),
    reported               INTEGER NOT NULL CHECK (reported IN (0, 1)),
    wrong                  INTEGER NOT NULL,
    seen                   TEXT    NOT NULL,
    sealed                 BLOB,
    redeem_by              INTEGER NOT NULL,
    evidence_method        TEXT    NOT NULL
                           CHECK (evidence_method IN ('', 'push', 'totp', 'backup_code', 'bypass_code', 'passkey', 'sms', 'email', 'oath')),
    evidence_at            INTEGER NOT NULL,
    evidence_match         TEXT    NOT NULL
                           CHECK (evidence_match IN ('', 'scan', 'digits', 'digits_back', 'number', 'choice', 'tap')),
    evidence_device        TEXT    NOT NULL,
    evidence_quarantined   INTEGER NOT NULL CHECK (evidence_quarantined IN (0, 1)),
    evidence_user_verified INTEGER NOT NULL CHECK (evidence_user_verified IN (0, 1)),
    evidence_code          TEXT    NOT NULL,
    evidence_remember      INTEGER NOT NULL CHECK (evidence_remember IN (0, 1)),
    evidence_first_factor  TEXT    NOT NULL CHECK (evidence_first_factor IN ('', 'none', 'asserted', 'password')),
    redeem_key             TEXT    NOT NULL,
    grant_ends             INTEGER NOT NULL,
    rung                   INTEGER NOT NULL CHECK (rung IN (0, 1)),
    ring_reason            TEXT    NOT NULL
                           CHECK (ring_reason IN ('', 'budget', 'slot_taken', 'wait', 'reported', 'name_only', 'unavailable')),
    retry_at               INTEGER NOT NULL,
    ring_returned          INTEGER NOT NULL CHECK (ring_returned IN (0, 1)),
    decision               TEXT    NOT NULL,
    decision_key           TEXT,
    grant_sealed           BLOB,
    changed_at             INTEGER NOT NULL,
    version                INTEGER NOT NULL,
    PRIMARY KEY (realm, id)
) STRICT;

CREATE INDEX challenges_by_user ON challenges (realm, user_id, created_at, id);
CREATE INDEX challenges_by_change ON challenges (realm, application_id, changed_at, id);
CREATE INDEX challenges_live_by_user ON challenges (realm, user_id, created_at, id)
    WHERE state IN ('pending', 'answered', 'approved');
CREATE INDEX challenges_live_by_application ON challenges (realm, application_id, created_at, id)
    WHERE state IN ('pending', 'answered', 'approved');
CREATE INDEX challenges_rung ON challenges (realm, user_id, created_at)
    WHERE rung AND NOT ring_returned;

CREATE TABLE guesses (
    realm   TEXT    NOT NULL,
    user_id TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    bucket  TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (realm, user_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX guesses_by_bucket ON guesses (realm, user_id, bucket, at);

CREATE TABLE waits (
    realm      TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    provenance TEXT    NOT NULL,
    micros     INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL,
    PRIMARY KEY (realm, user_id, provenance)
) STRICT, WITHOUT ROWID;

CREATE TABLE sources (
    realm   TEXT    NOT NULL,
    user_id TEXT    NOT NULL,
    source  TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (realm, user_id, source),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE browsers (
    realm      TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    thumbprint TEXT    NOT NULL,
    jwk        TEXT,
    name       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (realm, user_id, thumbprint),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE browser_proofs (
    realm      TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    thumbprint TEXT    NOT NULL,
    jwk        TEXT,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (realm, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE totps (
    realm        TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    user_id      TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    sealed       BLOB,
    algorithm    TEXT    NOT NULL CHECK (algorithm IN ('SHA1', 'SHA256', 'SHA512')),
    digits       INTEGER NOT NULL,
    period       INTEGER NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('pending', 'active', 'disabled')),
    last_step    INTEGER NOT NULL,
    failures     INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    confirmed_at INTEGER NOT NULL,
    version      INTEGER NOT NULL,
    PRIMARY KEY (realm, id),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX totps_by_user ON totps (realm, user_id, created_at, id);

CREATE TABLE backup_sets (
    realm      TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    failures   INTEGER NOT NULL,
    disabled   INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (realm, user_id),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE backup_codes (
    realm      TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    idx        INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    hash       TEXT    NOT NULL,
    used_at    INTEGER NOT NULL,
    PRIMARY KEY (realm, user_id, idx),
    FOREIGN KEY (realm, user_id) REFERENCES backup_sets (realm, user_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE bypass_codes (
    realm      TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    hash       TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    made_by    TEXT    NOT NULL,
    actor      TEXT    NOT NULL
               CHECK (actor IN ('user', 'administrator', 'help_desk', 'application', 'server')),
    uses_left  INTEGER NOT NULL CHECK (uses_left >= 0),
    failures   INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (realm, user_id),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE notices (
    realm         TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    user_id       TEXT    NOT NULL,
    except_device TEXT    NOT NULL,
    jws           TEXT    NOT NULL,
    at            INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    PRIMARY KEY (realm, id)
) STRICT;

CREATE INDEX notices_by_user ON notices (realm, user_id, at, id);

CREATE TABLE events (
    realm          TEXT    NOT NULL,
    at             INTEGER NOT NULL,
    id             TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    user_id        TEXT    NOT NULL,
    application_id TEXT    NOT NULL,
    device_id      TEXT    NOT NULL,
    challenge_id   TEXT    NOT NULL,
    actor          TEXT    NOT NULL
                   CHECK (actor IN ('user', 'administrator', 'help_desk', 'application', 'server')),
    made_by        TEXT    NOT NULL,
    address        TEXT    NOT NULL,
    request        TEXT    NOT NULL,
    data           TEXT    NOT NULL,
    PRIMARY KEY (realm, at, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_by_kind ON events (realm, kind, at, id);
CREATE INDEX events_by_user ON events (realm, user_id, at, id) WHERE user_id <> '';
CREATE INDEX events_by_application ON events (realm, application_id, at, id) WHERE application_id <> '';
CREATE INDEX events_by_device ON events (realm, device_id, at, id) WHERE device_id <> '';
CREATE INDEX events_by_challenge ON events (realm, challenge_id, at, id) WHERE challenge_id <> '';

CREATE TABLE replays (
    realm           TEXT    NOT NULL,
    application_id  TEXT    NOT NULL,
    route           TEXT    NOT NULL,
    idempotency_key TEXT    NOT NULL,
    body_hash       BLOB,
    seed            BLOB,
    done            INTEGER NOT NULL CHECK (done IN (0, 1)),
    lease_until     INTEGER NOT NULL,
    status          INTEGER NOT NULL,
    object          TEXT    NOT NULL,
    secret          INTEGER NOT NULL CHECK (secret IN (0, 1)),
    answer          BLOB,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (realm, application_id, route, idempotency_key)
) STRICT;
