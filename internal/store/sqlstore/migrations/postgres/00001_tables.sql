-- +goose Up

-- Every key begins with the realm. Times are microseconds since 1970 by the store's clock, 0 where
-- there is none yet. Lists and maps are JSON in TEXT.

CREATE TABLE settings (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

CREATE TABLE realms (
    realm       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    created_at  BIGINT NOT NULL,
    disabled_at BIGINT NOT NULL
);

CREATE TABLE realm_keys (
    realm      TEXT COLLATE "C" NOT NULL,
    purpose    TEXT COLLATE "C" NOT NULL CHECK (purpose IN ('prompt', 'grant')),
    kid        TEXT COLLATE "C" NOT NULL,
    public     TEXT COLLATE "C",
    sealed     BYTEA,
    created_at BIGINT NOT NULL,
    active_at  BIGINT NOT NULL,
    retired_at BIGINT NOT NULL,
    PRIMARY KEY (realm, purpose, kid)
);

CREATE TABLE key_sets (
    realm  TEXT COLLATE "C" NOT NULL,
    serial BIGINT NOT NULL,
    jws    TEXT COLLATE "C" NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (realm, serial)
);

CREATE TABLE policies (
    realm    TEXT COLLATE "C" NOT NULL,
    version  BIGINT NOT NULL,
    document TEXT COLLATE "C",
    at       BIGINT NOT NULL,
    made_by  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (realm, version)
);

CREATE TABLE users (
    realm       TEXT COLLATE "C" NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C" NOT NULL,
    display     TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C" NOT NULL,
    groups      TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('active', 'locked')),
    owner       BOOLEAN NOT NULL,
    password    TEXT COLLATE "C" NOT NULL,
    password_at BIGINT NOT NULL,
    had_factor  BOOLEAN NOT NULL,
    reported_at BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    seen_at     BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    PRIMARY KEY (realm, id)
);

CREATE UNIQUE INDEX users_by_external_id ON users (realm, external_id) WHERE external_id <> '';
CREATE INDEX users_by_creation ON users (realm, created_at, id);

CREATE TABLE user_names (
    realm   TEXT COLLATE "C" NOT NULL,
    name    TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    alias   BOOLEAN NOT NULL,
    display TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (realm, name),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
);

CREATE INDEX user_names_by_user ON user_names (realm, user_id, alias, name);

CREATE TABLE applications (
    realm         TEXT COLLATE "C" NOT NULL,
    id            TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    icon_sha256   TEXT COLLATE "C" NOT NULL,
    username_form TEXT COLLATE "C" NOT NULL CHECK (username_form IN ('as_is', 'strip_domain', 'strip_suffix')),
    disabled_at   BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    PRIMARY KEY (realm, id),
    UNIQUE (realm, name)
);

CREATE INDEX applications_by_creation ON applications (realm, created_at, id);

CREATE TABLE api_keys (
    realm          TEXT COLLATE "C" NOT NULL,
    id             TEXT COLLATE "C" NOT NULL,
    application_id TEXT COLLATE "C" NOT NULL,
    hash           BYTEA NOT NULL,
    scopes         TEXT COLLATE "C" NOT NULL,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    revoked_at     BIGINT NOT NULL,
    PRIMARY KEY (realm, id),
    UNIQUE (realm, hash)
);

CREATE INDEX api_keys_by_hash ON api_keys (hash);
CREATE INDEX api_keys_by_application ON api_keys (realm, application_id, created_at, id);

CREATE TABLE devices (
    realm            TEXT COLLATE "C" NOT NULL,
    id               TEXT COLLATE "C" NOT NULL,
    user_id          TEXT COLLATE "C" NOT NULL,
    enrolment_id     TEXT COLLATE "C" NOT NULL,
    state            TEXT COLLATE "C" NOT NULL CHECK (state IN ('claimed', 'active', 'suspended', 'revoked', 'refused')),
    confirmed_at     BIGINT NOT NULL,
    quarantine_until BIGINT NOT NULL,
    vetoable         BOOLEAN NOT NULL,
    failures         BIGINT NOT NULL,
    seq              BIGINT NOT NULL,
    name             TEXT COLLATE "C" NOT NULL,
    platform         TEXT COLLATE "C" NOT NULL,
    app_version      TEXT COLLATE "C" NOT NULL,
    features         TEXT COLLATE "C" NOT NULL,
    jwk              TEXT COLLATE "C",
    thumbprint       TEXT COLLATE "C" NOT NULL,
    targets          TEXT COLLATE "C",
    app_lock         BYTEA,
    claimed_at       BIGINT NOT NULL,
    ended_at         BIGINT NOT NULL,
    seen_at          BIGINT NOT NULL,
    version          BIGINT NOT NULL,
    PRIMARY KEY (realm, id),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
);

CREATE INDEX devices_by_id ON devices (id);
CREATE INDEX devices_by_user ON devices (realm, user_id, claimed_at, id);

CREATE TABLE thumbprints (
    realm      TEXT COLLATE "C" NOT NULL,
    thumbprint TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (realm, thumbprint)
);

CREATE TABLE enrolments (
    realm       TEXT COLLATE "C" NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    user_id     TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL
                CHECK (state IN ('invited', 'claimed', 'confirmed', 'expired', 'cancelled', 'refused')),
    made_by     TEXT COLLATE "C" NOT NULL
                CHECK (made_by IN ('user', 'administrator', 'help_desk', 'application', 'server')),
    lost        BOOLEAN NOT NULL,
    created_at  BIGINT NOT NULL,
    claim_by    BIGINT NOT NULL,
    confirm_by  BIGINT NOT NULL,
    device_id   TEXT COLLATE "C" NOT NULL,
    thumbprint  TEXT COLLATE "C" NOT NULL,
    wrong       BIGINT NOT NULL,
    ticket_hash BYTEA NOT NULL,
    sealed_code BYTEA,
    asker       TEXT COLLATE "C" NOT NULL,
    answer      TEXT COLLATE "C" NOT NULL,
    version     BIGINT NOT NULL,
    PRIMARY KEY (realm, id),
    UNIQUE (realm, ticket_hash)
);

CREATE INDEX enrolments_by_ticket ON enrolments (ticket_hash);
CREATE INDEX enrolments_live ON enrolments (realm, user_id, created_at, id)
    WHERE state IN ('invited', 'claimed');

CREATE TABLE challenges (
    realm                  TEXT COLLATE "C" NOT NULL,
    id                     TEXT COLLATE "C" NOT NULL,
    user_id                TEXT COLLATE "C" NOT NULL,
    application_id         TEXT COLLATE "C" NOT NULL,
    kind                   TEXT COLLATE "C" NOT NULL CHECK (kind IN ('login', 'step_up', 'transaction')),
    provenance_class       TEXT COLLATE "C" NOT NULL CHECK (provenance_class IN ('known_browser', 'source', 'stranger')),
    provenance_key         TEXT COLLATE "C" NOT NULL,
    first_factor           TEXT COLLATE "C" NOT NULL CHECK (first_factor IN ('none', 'asserted', 'password')),
    matches                TEXT COLLATE "C" NOT NULL,
    methods                TEXT COLLATE "C" NOT NULL,
    min_bits               BIGINT NOT NULL,
    prompt                 TEXT COLLATE "C" NOT NULL,
    answerable             BOOLEAN NOT NULL,
    name                   TEXT COLLATE "C" NOT NULL,
    match_order            TEXT COLLATE "C" NOT NULL,
    reason                 TEXT COLLATE "C" NOT NULL,
    details                TEXT COLLATE "C",
    context                TEXT COLLATE "C",
    nonce                  TEXT COLLATE "C" NOT NULL,
    browser                TEXT COLLATE "C" NOT NULL,
    browser_jwk            TEXT COLLATE "C",
    source                 TEXT COLLATE "C" NOT NULL,
    prompt_jws             TEXT COLLATE "C" NOT NULL,
    policy_version         BIGINT NOT NULL,
    others                 BIGINT NOT NULL,
    created_at             BIGINT NOT NULL,
    decide_by              BIGINT NOT NULL,
    state                  TEXT COLLATE "C" NOT NULL
                           CHECK (state IN ('pending', 'answered', 'approved', 'redeemed', 'denied', 'failed', 'expired', 'cancelled')),
    cancel_reason          TEXT COLLATE "C" NOT NULL
                           CHECK (cancel_reason IN ('', 'user_locked', 'device_revoked', 'application_disabled', 'policy', 'superseded', 'reported', 'application')),
    reported               BOOLEAN NOT NULL,
    wrong                  BIGINT NOT NULL,
    seen                   TEXT COLLATE "C" NOT NULL,
    sealed                 BYTEA,
    redeem_by              BIGINT NOT NULL,
    evidence_method        TEXT COLLATE "C" NOT NULL
                           CHECK (evidence_method IN ('', 'push', 'totp', 'backup_code', 'bypass_code', 'passkey', 'sms', 'email', 'oath')),
    evidence_at            BIGINT NOT NULL,
    evidence_match         TEXT COLLATE "C" NOT NULL
                           CHECK (evidence_match IN ('', 'scan', 'digits', 'digits_back', 'number', 'choice', 'tap')),
    evidence_device        TEXT COLLATE "C" NOT NULL,
    evidence_quarantined   BOOLEAN NOT NULL,
    evidence_user_verified BOOLEAN NOT NULL,
    evidence_code          TEXT COLLATE "C" NOT NULL,
    evidence_remember      BOOLEAN NOT NULL,
    evidence_first_factor  TEXT COLLATE "C" NOT NULL CHECK (evidence_first_factor IN ('', 'none', 'asserted', 'password')),
    redeem_key             TEXT COLLATE "C" NOT NULL,
    grant_ends             BIGINT NOT NULL,
    rung                   BOOLEAN NOT NULL,
    ring_reason            TEXT COLLATE "C" NOT NULL
                           CHECK (ring_reason IN ('', 'budget', 'slot_taken', 'wait', 'reported', 'name_only', 'unavailable')),
    retry_at               BIGINT NOT NULL,
    ring_returned          BOOLEAN NOT NULL,
    decision               TEXT COLLATE "C" NOT NULL,
    decision_key           TEXT COLLATE "C",
    grant_sealed           BYTEA,
    changed_at             BIGINT NOT NULL,
    version                BIGINT NOT NULL,
    PRIMARY KEY (realm, id)
);

CREATE INDEX challenges_by_user ON challenges (realm, user_id, created_at, id);
CREATE INDEX challenges_by_change ON challenges (realm, application_id, changed_at, id);
CREATE INDEX challenges_live_by_user ON challenges (realm, user_id, created_at, id)
    WHERE state IN ('pending', 'answered', 'approved');
CREATE INDEX challenges_live_by_application ON challenges (realm, application_id, created_at, id)
    WHERE state IN ('pending', 'answered', 'approved');
CREATE INDEX challenges_rung ON challenges (realm, user_id, created_at)
    WHERE rung AND NOT ring_returned;

CREATE TABLE guesses (
    realm   TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    id      TEXT COLLATE "C" NOT NULL,
    bucket  TEXT COLLATE "C" NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (realm, user_id, id)
);

CREATE INDEX guesses_by_bucket ON guesses (realm, user_id, bucket, at);

CREATE TABLE waits (
    realm      TEXT COLLATE "C" NOT NULL,
    user_id    TEXT COLLATE "C" NOT NULL,
    provenance TEXT COLLATE "C" NOT NULL,
    micros     BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL,
    PRIMARY KEY (realm, user_id, provenance)
);

CREATE TABLE sources (
    realm   TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    source  TEXT COLLATE "C" NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (realm, user_id, source),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
);

CREATE TABLE browsers (
    realm      TEXT COLLATE "C" NOT NULL,
    user_id    TEXT COLLATE "C" NOT NULL,
    thumbprint TEXT COLLATE "C" NOT NULL,
    jwk        TEXT COLLATE "C",
    name       TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (realm, user_id, thumbprint),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
);

CREATE TABLE browser_proofs (
    realm      TEXT COLLATE "C" NOT NULL,
    hash       BYTEA NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    thumbprint TEXT COLLATE "C" NOT NULL,
    jwk        TEXT COLLATE "C",
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (realm, hash)
);

CREATE TABLE totps (
    realm        TEXT COLLATE "C" NOT NULL,
    id           TEXT COLLATE "C" NOT NULL,
    user_id      TEXT COLLATE "C" NOT NULL,
    name         TEXT COLLATE "C" NOT NULL,
    sealed       BYTEA,
    algorithm    TEXT COLLATE "C" NOT NULL CHECK (algorithm IN ('SHA1', 'SHA256', 'SHA512')),
    digits       BIGINT NOT NULL,
    period       BIGINT NOT NULL,
    state        TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'active', 'disabled')),
    last_step    BIGINT NOT NULL,
    failures     BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    confirmed_at BIGINT NOT NULL,
    version      BIGINT NOT NULL,
    PRIMARY KEY (realm, id),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
);

CREATE INDEX totps_by_user ON totps (realm, user_id, created_at, id);

CREATE TABLE backup_sets (
    realm      TEXT COLLATE "C" NOT NULL,
    user_id    TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    failures   BIGINT NOT NULL,
    disabled   BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (realm, user_id),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
);

CREATE TABLE backup_codes (
    realm      TEXT COLLATE "C" NOT NULL,
    user_id    TEXT COLLATE "C" NOT NULL,
    idx        BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    hash       TEXT COLLATE "C" NOT NULL,
    used_at    BIGINT NOT NULL,
    PRIMARY KEY (realm, user_id, idx),
    FOREIGN KEY (realm, user_id) REFERENCES backup_sets (realm, user_id) ON DELETE CASCADE
);

CREATE TABLE bypass_codes (
    realm      TEXT COLLATE "C" NOT NULL,
    user_id    TEXT COLLATE "C" NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    hash       TEXT COLLATE "C" NOT NULL,
    reason     TEXT COLLATE "C" NOT NULL,
    made_by    TEXT COLLATE "C" NOT NULL,
    actor      TEXT COLLATE "C" NOT NULL
               CHECK (actor IN ('user', 'administrator', 'help_desk', 'application', 'server')),
    uses_left  BIGINT NOT NULL CHECK (uses_left >= 0),
    failures   BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (realm, user_id),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
);

CREATE TABLE notices (
    realm         TEXT COLLATE "C" NOT NULL,
    id            TEXT COLLATE "C" NOT NULL,
    user_id       TEXT COLLATE "C" NOT NULL,
    except_device TEXT COLLATE "C" NOT NULL,
    jws           TEXT COLLATE "C" NOT NULL,
    at            BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    PRIMARY KEY (realm, id)
);

CREATE INDEX notices_by_user ON notices (realm, user_id, at, id);

CREATE TABLE events (
    realm          TEXT COLLATE "C" NOT NULL,
    at             BIGINT NOT NULL,
    id             TEXT COLLATE "C" NOT NULL,
    kind           TEXT COLLATE "C" NOT NULL,
    user_id        TEXT COLLATE "C" NOT NULL,
    application_id TEXT COLLATE "C" NOT NULL,
    device_id      TEXT COLLATE "C" NOT NULL,
    challenge_id   TEXT COLLATE "C" NOT NULL,
    actor          TEXT COLLATE "C" NOT NULL
                   CHECK (actor IN ('user', 'administrator', 'help_desk', 'application', 'server')),
    made_by        TEXT COLLATE "C" NOT NULL,
    address        TEXT COLLATE "C" NOT NULL,
    request        TEXT COLLATE "C" NOT NULL,
    data           TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (realm, at, id)
);

CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_by_kind ON events (realm, kind, at, id);
CREATE INDEX events_by_user ON events (realm, user_id, at, id) WHERE user_id <> '';
CREATE INDEX events_by_application ON events (realm, application_id, at, id) WHERE application_id <> '';
CREATE INDEX events_by_device ON events (realm, device_id, at, id) WHERE device_id <> '';
CREATE INDEX events_by_challenge ON events (realm, challenge_id, at, id) WHERE challenge_id <> '';

CREATE TABLE replays (
    realm           TEXT COLLATE "C" NOT NULL,
    application_id  TEXT COLLATE "C" NOT NULL,
    route           TEXT COLLATE "C" NOT NULL,
    idempotency_key TEXT COLLATE "C" NOT NULL,
    body_hash       BYTEA,
    seed            BYTEA,
    done            BOOLEAN NOT NULL,
    lease_until     BIGINT NOT NULL,
    status          BIGINT NOT NULL,
    object          TEXT COLLATE "C" NOT NULL,
    secret          BOOLEAN NOT NULL,
    answer          BYTEA,
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (realm, application_id, route, idempotency_key)
);
