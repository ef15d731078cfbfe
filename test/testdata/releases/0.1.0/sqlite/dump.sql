PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE goose_db_version (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
INSERT INTO goose_db_version VALUES(1,0,1,'2026-11-22 10:10:49');
INSERT INTO goose_db_version VALUES(2,1,1,'2026-11-22 10:10:49');
INSERT INTO goose_db_version VALUES(3,2,1,'2026-11-22 10:10:49');
CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE realms (
    realm       TEXT    NOT NULL PRIMARY KEY,
    created_at  INTEGER NOT NULL,
    disabled_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO realms VALUES('default',1795342249647685,0);
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
INSERT INTO realm_keys VALUES('default','grant','dWVNjj_0m3qynBwbnMHf03FGrt9_nLS9YayB5DRq9rI','{"use":"sig","kty":"EC","kid":"dWVNjj_0m3qynBwbnMHf03FGrt9_nLS9YayB5DRq9rI","crv":"P-256","alg":"ES256","x":"8bSMZ8FT3T5RzNqIjJUnBlqFXxKeagvyYMrmc_5orYc","y":"CYnrXY6y6dAw2vLhG2X5bMyfGCHKDp0S9cj3YmC6EyY"}',X'01a4ae25783bf52453db0d81637f44ba2100594276760a0334f33d8d108efea85528f80ec68269df40150394a946d1bf1012fa6785a1db06fdb93c4346eca8c71f974e5f74821a3a53143029637e83ed1afe7a6665bc6fc39216569eeab86731bdc7f0242d7a32d14e608a9af77ee9e31d3aff79077e7c9cee8250e83a7de7f1b198bf6a75cecdd77121e1f8c770d1bac68dbf2ba87251bf0d8c5883337bfa47e29c805b6e8acdd023fd0c0e1c7f49e4980ce2f4b742fd',1795342249647685,1795342249647685,0);
INSERT INTO realm_keys VALUES('default','prompt','qfC7CQviVFIWjDg7AoC8sAoArOXZNcYG7_iJFta920c','{"use":"sig","kty":"EC","kid":"qfC7CQviVFIWjDg7AoC8sAoArOXZNcYG7_iJFta920c","crv":"P-256","alg":"ES256","x":"dgxTM0mHS2lYyKHQblc2nmUp8MYyGflp1wo0s-KUufk","y":"wS-W2UNKMihKiqvfjGSR_kk-qsWn6X0TWW0LKZoP_Oc"}',X'01a4ae25784e1f1489272d060385f9ac3f526b5aa71eac60b6e9a2f51869a00a079147aa29e756abc57394bd76bff308951f1a5ea6f179b8790ab0c2fb6eaa1c1864545003f2729be205d7f1ad2c325e7546cab0ebdad734bf0c8b3e4b4ece7e247daa20e0351856e7f5cd9692e85d3491627a8bba7099bc3c2d23ea4b8a43971e722a5dbcf8fbedc207f73b9fb54948e621213f97fb291418518e3602523bd545c45e01a4991664277581e0640ae200627bb6806e709a',1795342249647685,1795342249647685,0);
INSERT INTO realm_keys VALUES('default','prompt','gCAyU5-0MSA-KtNJZQDavY9C69bdsgsa5fICewCebJc','{"use":"sig","kty":"EC","kid":"gCAyU5-0MSA-KtNJZQDavY9C69bdsgsa5fICewCebJc","crv":"P-256","alg":"ES256","x":"Gbr9lZio-Ht-JqNPV4MNc-a7avszm82In26umtDBw-k","y":"rpgq5vUqzi6DhvYhyHenFPQG0rIpziGcyUvBCQu8cns"}',X'01a4ae25789dbbd7535acb1bd12f4da103c8367487e81997dbd14a3669ce00cf81460b861d4ae0edef130414c05a9d6434b812a25dd1608e09ab2305ca952bf2c38289b15a584778e1bcd9d50f953df6916c0607093875e747bff841c44105d92d2028584b1a11949f0830fe9c65743f7a7263c9d87523f3b4ea2447f24d147393e2fd1a0b9a75e95613a75d47c0e4e5a1228ff49cad0b76ce952432d6d866c1ebb14778ce125130b1c11250c29bd375fb484f98bbb4f5',1795342249647685,0,0);
CREATE TABLE key_sets (
    realm  TEXT    NOT NULL,
    serial INTEGER NOT NULL,
    jws    TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (realm, serial)
) STRICT;
INSERT INTO key_sets VALUES('default',1,'eyJhbGciOiJFUzI1NiIsImtpZCI6InFmQzdDUXZpVkZJV2pEZzdBb0M4c0FvQXJPWFpOY1lHN19pSkZ0YTkyMGMiLCJ0eXAiOiJub2Qta2V5cytqd3MifQ.eyJ2IjoxLCJpc3MiOiJodHRwOi8vMTI3LjgzLjAuMTo4NjYzIiwicmVhbG0iOiJkZWZhdWx0Iiwic2VyaWFsIjoxLCJjdXJyZW50Ijp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZGd4VE0wbUhTMmxZeUtIUWJsYzJubVVwOE1ZeUdmbHAxd28wcy1LVXVmayIsInkiOiJ3Uy1XMlVOS01paEtpcXZmakdTUl9ray1xc1duNlgwVFdXMExLWm9QX09jIn0sIm5leHQiOnsia3R5IjoiRUMiLCJjcnYiOiJQLTI1NiIsIngiOiJHYnI5bFppby1IdC1KcU5QVjRNTmMtYTdhdnN6bTgySW4yNnVtdERCdy1rIiwieSI6InJwZ3E1dlVxemk2RGh2WWh5SGVuRlBRRzBySXB6aUdjeVV2QkNRdThjbnMifX0.sDm4GAEYusRgoVyTMIUd2H7X3Re33gC5aYIGfUeiO0BuVzbfOyLQVPH74PE75--GKPHrMbKfj-L7B5KUuVTKxQ',1795342249647685);
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
INSERT INTO users VALUES('default','usr_g4bfrofzm3edqnreeeyydli2x7','jo','jo','','[]','active',0,'',0,1,0,1795342249864340,1795342252772029,3);
CREATE TABLE user_names (
    realm   TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    user_id TEXT    NOT NULL,
    alias   INTEGER NOT NULL CHECK (alias IN (0, 1)),
    display TEXT    NOT NULL,
    PRIMARY KEY (realm, name),
    FOREIGN KEY (realm, user_id) REFERENCES users (realm, id) ON DELETE CASCADE
) STRICT;
INSERT INTO user_names VALUES('default','jo','usr_g4bfrofzm3edqnreeeyydli2x7',0,'jo');
INSERT INTO user_names VALUES('default','jo@example.org','usr_g4bfrofzm3edqnreeeyydli2x7',1,'jo@example.org');
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
INSERT INTO applications VALUES('default','app_byfadg47wauupdjqmu3c4ebtcr','administration','','as_is',0,1795342249662343,1);
INSERT INTO applications VALUES('default','app_wxleddr7m4hiipfjvqfzx2jlwm','Payroll','','as_is',0,1795342252392472,1);
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
INSERT INTO api_keys VALUES('default','key_ry54h36hm2ehtri6vzu67ytpvc','app_byfadg47wauupdjqmu3c4ebtcr',X'a87441d31b1a3d41901b2d2b7fa17780550232b2106a1d7fb3567ad1e4867986','["authenticate","administer"]',1795342249662343,0,0);
INSERT INTO api_keys VALUES('default','key_ptfnpvornophanbijb5xem7p4o','app_wxleddr7m4hiipfjvqfzx2jlwm',X'898c29373eca803e9d5277fb442aadec02142565af40abc9a55a247b5e0ea7c9','["authenticate","assert_first_factor"]',1795342252392472,0,0);
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
INSERT INTO devices VALUES('default','dev_ch3joe7yerxlcbn4z5lc3i4jza','usr_g4bfrofzm3edqnreeeyydli2x7','enr_27baww53td2me3jorwrw2f4kwg','active',1795342250263211,0,0,0,0,'laptop','cli','nod (devel)','[]','{"kty":"EC","crv":"P-256","x":"TGQkRpR09E7693oHXZRRjgUN_4hP33pGjgFhsoOB3xE","y":"uUswHgSpO2g-iW7qPjobbhs1-uoRgrxkGfFAgkPZ-KU"}','UVwndB7eBc798sw3Xv9hbNHSBl1eBfk6sBD_VfhS-Yc',NULL,NULL,1795342250093666,0,1795342250093666,2);
CREATE TABLE thumbprints (
    realm      TEXT NOT NULL,
    thumbprint TEXT NOT NULL,
    PRIMARY KEY (realm, thumbprint)
) STRICT, WITHOUT ROWID;
INSERT INTO thumbprints VALUES('default','UVwndB7eBc798sw3Xv9hbNHSBl1eBfk6sBD_VfhS-Yc');
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
INSERT INTO enrolments VALUES('default','enr_27baww53td2me3jorwrw2f4kwg','usr_g4bfrofzm3edqnreeeyydli2x7','confirmed','administrator',0,1795342249940058,1795342849940058,1795342850093666,'dev_ch3joe7yerxlcbn4z5lc3i4jza','UVwndB7eBc798sw3Xv9hbNHSBl1eBfk6sBD_VfhS-Yc',0,X'35f97930997138d342a9a4d3a9952a1064eb5c08e7f4ac83d859c5302cb27372',NULL,'app_byfadg47wauupdjqmu3c4ebtcr','AaSuJXh0am8iJTHcYeTIHOEdDk4UOM7Fb7rv4u65tuvy2inhwoJE76IIwVd1G0ih_ZpetxzIpUJ7N8XFwikFs1DljoE6gLHEMx_JseyCu0dO4grQuepmHNVRb4xtWNyW_TC8qAtwk9mGFoaek0WMjWVvO4QzJxHngfXSh9vj5WQSSL_ShDPlMhUrE7mr3xh-B22sJ-DKGbzlE04YZGlqPomVRECWxRbCY9KZaGHFqduEVVh6700GN1JlLy1qivlkyn2TZJOUfKdjW_LmqvHkYcoBKEDNgAU4jRsZxidJktYyYZvwxJkqKNl379kvmMYabbP02M8BoYoSprdFpLKTBoFF25yA9haiN_4DAvA1JeT0uYbMXbHRKmeLou5EYtZZ_PlJEPwu5xhyiGdRnEAu5Ahni4_tfyOoNMbeFjbQhOwh79bIspDfaX-8y4BhbA_pB89DNiJfMLpi2auDSDyUYxy7PksoSM7_j2LxN2aJPa-N_BuISKeGvUktZJeojd4FnnEvRBaihsx13fKM0GHk3LvzprFLgo8ddJ9YnehoVr5-0nrVA9Pzd5WdGhXweCKeN-rQCAb2Edd9cgsuEoGt4PTkTezGKCm6ld8Guvsk_gwB4KtmUXT2P9-MQGsacT8AxZ5bKbs4nVcIZwOMI-OWBiLZ5kz4qEtQBHU-gZjzrTkpQIEw8Oja2UwlbPayqbJb13wxvCTPxQF4A0lBoHmCUAcSyydBtmwQfODIWUB95uvmYwEBvNgu1OBsUTVvD8wgs11xGVWMsohPact47Za4BELjP_hgroFL14JCJJUVvrZa5pF3JEZLzaRbu7AF8Cyav_EsDeWC1kCKfMDI5UDEQppGkNLGQ4-aYIkcN5Ie5rSdRyzSjcUffktuMM1vjZsTB9CamQ7WuDsRksvohs04V4H-HGe-g4TMziVfHZvhYo-Q4B8V28h8LFNbgu8FbnzABeS32iKkgo4yvliBI-TGw9q2bI_P5EMJXiAxoG9BHkBz4UkhNxVzewD5hrPvIbmGG-X3nKRMbQNyDVWmRXwws9cpousr-rNi4h60CLWpQ_22gd3lSmBfF2WwAQawNVYh2UgkpoDabycqVv2lh3BjFrdHCzBAzTEX2U__GDKypjqKsl4PRvxZodfPEN8BA1CG-ZSkS52a4CY9-yCH5VVU3RK4ONpZkqzKy6jZJqeECoreQmQ8zjPkil2dARdSgzntsIrycwdMtzzckyn_HsFz5TaogFOB4-yqR1YaTq_Zy-VgTfOUKibNXDJbldZ5LuaDwLtiaY1xxXjTMLW4CDf-jbcmXlaYgi-OJ527EadJ2OfdSnKzYoDJmnaYb9qP72xFFijqLp38AOANq1JHolFDPgL6H1X9CBuqyKqTuZtkIgtxqETiqwbc03u2Mkl5sAjG5qgmNexWU9KG2sg2yfL01SY9novCNJWmM4ikurBuFyQiwbDLxAu1-r5bj5d3kyc2ieREfcTFJ_ILoOoWfKwJ2ZfigGQiFcBsl6UDuaa3zA5j6Mf0D4FXj75l5ayjOkOsq-vxvd1RREoMp4HPZ_WZJZTbgKkfA9rciBkpegOrHrNrPu4dgF3we-by-DCCLp9qr8oKEvyFFMFgE2_CxwN7UozJCQXem_anc5RcszadQ5BLWhpKW0xIy8dnFmwm-pqMT6qvUACb03xbNavuHiUtHVbzgVgfxajY7RWv1QXnh9GS7znfBUvkq_HneTjbno5CcDGt_mUrTYlp8908eo8fPldR-O9MWXynrNb1KZQ4vroUcaZJogU5a-MBvzQdLOAs9p0fUewQF4aOXq0WaCFnonOBgrUq_5KwUs261RxMcJt1N2Q7POsK0w64Ah1Y6zrfPJRGUCSHibMEHzjhKV0sFMjss15ZEMG8lD21k8-yaQ',3);
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
    version                INTEGER NOT NULL, received INTEGER NOT NULL DEFAULT 0, shown    INTEGER NOT NULL DEFAULT 0, opened   INTEGER NOT NULL DEFAULT 0, delivered INTEGER NOT NULL DEFAULT 0, told     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (realm, id)
) STRICT;
INSERT INTO challenges VALUES('default','ch_lw7mdi6oedoo24eoh6sxor3wnf','usr_g4bfrofzm3edqnreeeyydli2x7','app_wxleddr7m4hiipfjvqfzx2jlwm','login','stranger','','asserted','["scan","digits"]','["push","totp","backup_code","bypass_code"]',0,'ultAbZtB8Znetpg9Fo7WFm9rQptHdbabyJUPqQFjoEo',1,'jo','["scan","digits"]','',NULL,'{}','n-1','',NULL,'','eyJhbGciOiJFUzI1NiIsImtpZCI6InFmQzdDUXZpVkZJV2pEZzdBb0M4c0FvQXJPWFpOY1lHN19pSkZ0YTkyMGMiLCJ0eXAiOiJub2QtcHJvbXB0K2p3cyJ9.eyJ2IjoxLCJpc3MiOiJodHRwOi8vMTI3LjgzLjAuMTo4NjYzIiwicmVhbG0iOiJkZWZhdWx0IiwiY2hhbGxlbmdlIjoiY2hfbHc3bWRpNm9lZG9vMjRlb2g2c3hvcjN3bmYiLCJ1c2VyIjp7ImlkIjoidXNyX2c0YmZyb2Z6bTNlZHFucmVlZXl5ZGxpMng3IiwibmFtZSI6ImpvIn0sImFwcCI6eyJpZCI6ImFwcF93eGxlZGRyN200aGlpcGZqdnFmengyamx3bSIsIm5hbWUiOiJQYXlyb2xsIiwiaWNvbl9zaGEyNTYiOiIifSwia2luZCI6ImxvZ2luIiwicmVhc29uIjoiIiwiZGV0YWlscyI6W10sImNvbnRleHQiOnsiaXAiOiIiLCJwbGFjZSI6IiIsInBsYWNlX2NvbmZpZGVuY2UiOiJub25lIiwiYnJvd3NlciI6IiIsInJlcG9ydGVkX2J5IjoiYXBwIiwia25vd25fYnJvd3NlciI6ZmFsc2V9LCJtYXRjaCI6WyJzY2FuIiwiZGlnaXRzIl0sImF0IjoxNzk1MzQyMjUyNTMwLCJkZWNpZGVfYnkiOjE3OTUzNDIzNzI1MzB9.pA_sjwVD1-UhRKfkWWlleSkUKWB5dwvx5iq0X1rRw5DXDq9106UeZDXAGu7PX_Z82QJx0pkwHppxxHaQgYMZfw',0,0,1795342252530634,1795342372530634,'redeemed','',0,0,'["doC65A4OBRxNni0ybPr4uba32zFUfPeAg20C1lDdfMM"]',X'01a4ae2578028a63dfeb44740e749de1203cfc4235fd980e47789a9eea83774bfde296d08b043dda38a5fe2d9690605ce831d875310339f92508267d7db358e0c821e8f0c1eb3d1493c68ad2c3a517013d97af5e3a317f4016a33e4fdb609b5f3b8dbc83c4d4114820beb2c2be88aa9cfe43dad1ca44',1795342312772029,'push',1795342252772029,'digits','dev_ch3joe7yerxlcbn4z5lc3i4jza',0,0,'',0,'asserted','one',1795342373000000,1,'',0,1,'eyJhbGciOiJFUzI1NiIsImtpZCI6ImRldl9jaDNqb2U3eWVyeGxjYm40ejVsYzNpNGp6YSIsInVybCI6Imh0dHA6Ly8xMjcuODMuMC4xOjg2NjMvZGV2aWNlL3YxL2RlY2lzaW9ucyIsInR5cCI6Im5vZC1kZWNpc2lvbitqd3MifQ.eyJ2IjoxLCJjaGFsbGVuZ2UiOiJjaF9sdzdtZGk2b2Vkb28yNGVvaDZzeG9yM3duZiIsImRlY2lzaW9uIjoiYXBwcm92ZSIsInByb21wdF9zaGEyNTYiOiJ1bHRBYlp0QjhabmV0cGc5Rm83V0ZtOXJRcHRIZGJhYnlKVVBxUUZqb0VvIiwibWF0Y2giOiJkaWdpdHMiLCJhbnN3ZXIiOiI1NzM2NjkiLCJzaG93bl9tcyI6MCwibG9jYWxlIjoiIn0.cAWtQtkXQ7Pa-sMZOQId95bJSjmxTvpIwf_9hLvoJcgsLn5yf4hrFYm66aTqmaSut87V9oAlNswliEF7PsPajw','{"kty":"EC","crv":"P-256","x":"TGQkRpR09E7693oHXZRRjgUN_4hP33pGjgFhsoOB3xE","y":"uUswHgSpO2g-iW7qPjobbhs1-uoRgrxkGfFAgkPZ-KU"}',X'01a4ae2578a0e6e269ea29885732fd67e3b6cfcbd1f22460f8dfa0ed67ebf8abcfd6d59623401234e3c947aa38271e552c0aa0d70278a830f6bea432a9fb2e73baac49be9d7db92e2eb2b0a925c559e72d63405edcfacbadef38974e83a15ceed777e13be1a3ca28a75d3c36e2033c8583267b891b9d8d5a9fd848949dabf46773d190f260f6dcda7496181642c4c2d7c6f6a58d7d9759f967f094ce94d76be94995c633641d5e5310bed63781124db69ea35ee02507745b84e0ae26e2ff3ad1cad35f5b49d80ee28302332a1e935329a98d517bb3f635f9a5200504d86814aa557e301abcbfcad9659ae575364effd4e061cda811c738c1d9341421f0d5ec90defd2b7b4103eaeeb1689ef9194dd64b314323cc81c72a3dd296ec67ce32c65cde504137e9cfd08f066be63ef1c639e021bde12a591e2af542775a3b6d2230f2e588a0035e8985793694fb1ce1246c5889afc78ef7c2d705a7f76cbab9d88261c7a4a9c01bd456d247ad280a4f9d419b3f30b147ba5e7c5500ce32200924d26182f407adad465fdb82e52445244bd522ad3e2762f053f1c3257781a12e19714ac807040099a2b0fe11316c46e42207918a16670808b699edc07dedfec46bfb1e4cc40345687d3de180dc26619045b9683fe709d80646931601f83462968d9756fc06494fc7ca59d4c10217a03899e4ac606b16d0d563527cd077b01e32c6e71739ade6a6efd8a7f20ac26092223cf2e720ced48900ed3ea8faf9bd663d01b6ebf1c91cde08f48f5ec35a8f0a0cd700bb835674aec4bdae2d1ae73c2647e2ea8f1f39fb90425b0710d689c4e3ec91a7585573eb82b3900f36d7a4ed010f44dafb184d79fb187fe773e9587d6f9fccd486c02385d92f6cd24291dcccfcb15b9c15265a4d5b96cfadcad154a1a0b19342414cf5576f52f320cd586e19204134e554fa86e4d84e9a9c8c22984117e20b5192bf706b81a308098a717b9e402d35e006a29ac7b140cd238736317cfca7476b773566f5c5d8089fc6529caa00ce04b01de335ada594ad993e29fa9329985d9a23e711f0b32c2c4e5602c8398b0dbd3dcf71e1c4478da8ca592272bae97428be20cb2d66c660a0375ef0fcc45c3e6d8e294cb9c2510a5812f1c114aaea6b6ed48fb96703ad5ec6bdcfa9f3591ce9e4d231e708f37971000094a96766e9be2ced1d556cc2501399c5637b8d4b5635a9d3c7f14b12e70225305c6b46de2b4e39b077',1795342253151824,5,0,0,0,1795342252750000,0);
INSERT INTO challenges VALUES('default','ch_6j4byxc2xf3luitvv5ykcnhphn','usr_g4bfrofzm3edqnreeeyydli2x7','app_wxleddr7m4hiipfjvqfzx2jlwm','login','stranger','','asserted','["scan","digits"]','["push","totp","backup_code","bypass_code"]',0,'4Cnw8DEpVgy-pQOttn48ZGlzj695QQbV6aXM75XrGv4',1,'jo','["scan","digits"]','',NULL,'{}','','',NULL,'','eyJhbGciOiJFUzI1NiIsImtpZCI6InFmQzdDUXZpVkZJV2pEZzdBb0M4c0FvQXJPWFpOY1lHN19pSkZ0YTkyMGMiLCJ0eXAiOiJub2QtcHJvbXB0K2p3cyJ9.eyJ2IjoxLCJpc3MiOiJodHRwOi8vMTI3LjgzLjAuMTo4NjYzIiwicmVhbG0iOiJkZWZhdWx0IiwiY2hhbGxlbmdlIjoiY2hfNmo0Ynl4YzJ4ZjNsdWl0dnY1eWtjbmhwaG4iLCJ1c2VyIjp7ImlkIjoidXNyX2c0YmZyb2Z6bTNlZHFucmVlZXl5ZGxpMng3IiwibmFtZSI6ImpvIn0sImFwcCI6eyJpZCI6ImFwcF93eGxlZGRyN200aGlpcGZqdnFmengyamx3bSIsIm5hbWUiOiJQYXlyb2xsIiwiaWNvbl9zaGEyNTYiOiIifSwia2luZCI6ImxvZ2luIiwicmVhc29uIjoiIiwiZGV0YWlscyI6W10sImNvbnRleHQiOnsiaXAiOiIiLCJwbGFjZSI6IiIsInBsYWNlX2NvbmZpZGVuY2UiOiJub25lIiwiYnJvd3NlciI6IiIsInJlcG9ydGVkX2J5IjoiYXBwIiwia25vd25fYnJvd3NlciI6ZmFsc2V9LCJtYXRjaCI6WyJzY2FuIiwiZGlnaXRzIl0sImF0IjoxNzk1MzQyMjUzNDcwLCJkZWNpZGVfYnkiOjE3OTUzNDIzNzM0NzB9.ISUU13HI33hXG7dy2dkqZmg0rRmxOaCXITeOpN09QyPnOeJH40XeZZ1y5xOZh6FqgR_jiuzWjYL1e0UqdTdEfQ',0,0,1795342253470325,1795342373470325,'pending','',0,0,'[]',X'01a4ae257821f7725548bc3fb3f112e17ad05dab1c30661909be9cb689eb1a85e939c1e557d78f43ac8cdf454f3669988b03a84c4af11e5b9409ac1bcd017a220f967306d8b1b9293cee685613625fbb2b9d9552f9ec87b051ea6628a48db7f928283c85a7472dd9c9ef7184b50078efeda5de826dd4',0,'',0,'','',0,0,'',0,'','',0,1,'',0,0,'',NULL,NULL,1795342253470325,1,0,0,0,0,0);
CREATE TABLE guesses (
    realm   TEXT    NOT NULL,
    user_id TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    bucket  TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (realm, user_id, id)
) STRICT, WITHOUT ROWID;
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
INSERT INTO backup_sets VALUES('default','usr_g4bfrofzm3edqnreeeyydli2x7',1795342252324642,0,0,1795342252324642);
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
INSERT INTO backup_codes VALUES('default','usr_g4bfrofzm3edqnreeeyydli2x7',1,1795342252324642,'$argon2id$v=19$m=19456,t=2,p=1$bLvW/QaSsNkaBFGOHgZX5g$g1r2UIpnGTbd7hLWbmhii1Dym0I0gXP6oltZV+TwfVo',0);
INSERT INTO backup_codes VALUES('default','usr_g4bfrofzm3edqnreeeyydli2x7',2,1795342252324642,'$argon2id$v=19$m=19456,t=2,p=1$zjWyVzWdQxhPUaTGhLTFTQ$M2x9CgumRNxp4nFfROIr0SXh6qil64qKsEyd1jr8QQs',0);
INSERT INTO backup_codes VALUES('default','usr_g4bfrofzm3edqnreeeyydli2x7',3,1795342252324642,'$argon2id$v=19$m=19456,t=2,p=1$H+xYJJ0pwqT48Px5V0onnA$4hJPgghyileV42SYtqyhUVJUdTONG8s1coYEF7VaAIY',0);
INSERT INTO backup_codes VALUES('default','usr_g4bfrofzm3edqnreeeyydli2x7',4,1795342252324642,'$argon2id$v=19$m=19456,t=2,p=1$HCopg8+wXlAmjUdy+yvOcw$M7akx3HZrfkxUTKYCr1Raf9BdhW8Dni2S7QiUfh4jE0',0);
INSERT INTO backup_codes VALUES('default','usr_g4bfrofzm3edqnreeeyydli2x7',5,1795342252324642,'$argon2id$v=19$m=19456,t=2,p=1$qGiPew0rCoo8mFh9d1ehRw$ECqxDa3vqo7T1yDA9Q95x9P7EBmbyIcMwQiqjAxNqgA',0);
INSERT INTO backup_codes VALUES('default','usr_g4bfrofzm3edqnreeeyydli2x7',6,1795342252324642,'$argon2id$v=19$m=19456,t=2,p=1$38rvg7kvnKCaTvlb4d1XCg$nrmlxJ6zhTJzATKNzH4hSSxgoHeS1nfrlv1gG4q1FDs',0);
INSERT INTO backup_codes VALUES('default','usr_g4bfrofzm3edqnreeeyydli2x7',7,1795342252324642,'$argon2id$v=19$m=19456,t=2,p=1$jdzloVZMu+rW+QtFCIpaSQ$707Ax2LREKek5MgZj22U7CQRA6PNPqxYVImD+4PThwU',0);
INSERT INTO backup_codes VALUES('default','usr_g4bfrofzm3edqnreeeyydli2x7',8,1795342252324642,'$argon2id$v=19$m=19456,t=2,p=1$OUA02K/M2fF2ouTDkb52oQ$6fiSUVW0VssN6kFYpoosA5ey9zlos72rma0D6WbBGf8',0);
INSERT INTO backup_codes VALUES('default','usr_g4bfrofzm3edqnreeeyydli2x7',9,1795342252324642,'$argon2id$v=19$m=19456,t=2,p=1$vc2nIioHNACk3PM817CZuA$Lw+M1XPPkZZpQxZmZqCZl2CTUB+2/+v9e285yNA3Crg',0);
INSERT INTO backup_codes VALUES('default','usr_g4bfrofzm3edqnreeeyydli2x7',10,1795342252324642,'$argon2id$v=19$m=19456,t=2,p=1$UfWk9kUHro7vCIi89XxYww$fvyA9eSASENZi2DPxzoNwfC1xVkajstv2iMP7XOJqKk',0);
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
INSERT INTO notices VALUES('default','ntc_xcsk7l7zp7t46g7dje2lxnq5co','usr_g4bfrofzm3edqnreeeyydli2x7','dev_ch3joe7yerxlcbn4z5lc3i4jza','eyJhbGciOiJFUzI1NiIsImtpZCI6InFmQzdDUXZpVkZJV2pEZzdBb0M4c0FvQXJPWFpOY1lHN19pSkZ0YTkyMGMiLCJ0eXAiOiJub2Qtbm90aWNlK2p3cyJ9.eyJ2IjoxLCJpc3MiOiJodHRwOi8vMTI3LjgzLjAuMTo4NjYzIiwicmVhbG0iOiJkZWZhdWx0IiwiaWQiOiJudGNfeGNzazdsN3pwN3Q0Nmc3ZGplMmx4bnE1Y28iLCJraW5kIjoiZGV2aWNlX2NsYWltZWQiLCJhdCI6MTc5NTM0MjI1MDA5MywiZGV2aWNlIjp7ImlkIjoiZGV2X2NoM2pvZTd5ZXJ4bGNibjR6NWxjM2k0anphIiwibmFtZSI6ImxhcHRvcCIsImVucm9sbWVudCI6ImVucl8yN2Jhd3c1M3RkMm1lM2pvcndydzJmNGt3ZyJ9LCJieSI6ImFkbWluaXN0cmF0b3IifQ.K0SmBlDG1fK5sfLu7TRwSd9DhRYz46HbO2A4KU460bkhLzmekLViQq6WGyEF9J_rMWi_6ePqKnMob7fd1XmI_Q',1795342250093666,1797934250093666);
INSERT INTO notices VALUES('default','ntc_r5jvlblcj6vnaqplculuwveffn','usr_g4bfrofzm3edqnreeeyydli2x7','dev_ch3joe7yerxlcbn4z5lc3i4jza','eyJhbGciOiJFUzI1NiIsImtpZCI6InFmQzdDUXZpVkZJV2pEZzdBb0M4c0FvQXJPWFpOY1lHN19pSkZ0YTkyMGMiLCJ0eXAiOiJub2Qtbm90aWNlK2p3cyJ9.eyJ2IjoxLCJpc3MiOiJodHRwOi8vMTI3LjgzLjAuMTo4NjYzIiwicmVhbG0iOiJkZWZhdWx0IiwiaWQiOiJudGNfcjVqdmxibGNqNnZuYXFwbGN1bHV3dmVmZm4iLCJraW5kIjoiZGV2aWNlX2FkZGVkIiwiYXQiOjE3OTUzNDIyNTAyNjMsImRldmljZSI6eyJpZCI6ImRldl9jaDNqb2U3eWVyeGxjYm40ejVsYzNpNGp6YSIsIm5hbWUiOiJsYXB0b3AiLCJlbnJvbG1lbnQiOiJlbnJfMjdiYXd3NTN0ZDJtZTNqb3J3cncyZjRrd2cifSwiYnkiOiJhZG1pbmlzdHJhdG9yIn0.MIglDgM56Ta1Os8992CJ9Kn_AMJDAP-4lLG_lXGbe5jhbBLcbvFxUPsCQlCdfeHDbRaajXf7y7QhggDTLfreTw',1795342250263211,1797934250263211);
INSERT INTO notices VALUES('default','ntc_33tffbnbdz2mm557uyuupz3qpv','usr_g4bfrofzm3edqnreeeyydli2x7','','eyJhbGciOiJFUzI1NiIsImtpZCI6InFmQzdDUXZpVkZJV2pEZzdBb0M4c0FvQXJPWFpOY1lHN19pSkZ0YTkyMGMiLCJ0eXAiOiJub2Qtbm90aWNlK2p3cyJ9.eyJ2IjoxLCJpc3MiOiJodHRwOi8vMTI3LjgzLjAuMTo4NjYzIiwicmVhbG0iOiJkZWZhdWx0IiwiaWQiOiJudGNfMzN0ZmZibmJkejJtbTU1N3V5dXVwejNxcHYiLCJraW5kIjoiZmFjdG9yX2NoYW5nZWQiLCJhdCI6MTc5NTM0MjI1MjMyNCwiYnkiOiJhZG1pbmlzdHJhdG9yIn0.dRtZ7zNeyKdkONeY5FHryiVlYeB72ViK6ByobmE03ZqeIFUJ5Ilj43RXC5Endh0EodvCHB2jLWZrQQNzoFwHsw',1795342252324642,1797934252324642);
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
INSERT INTO events VALUES('default',1795342249662343,'evt_ucjq7k3cnpwiwl3s4s3uuhybsz','application.created','','app_byfadg47wauupdjqmu3c4ebtcr','','','server','','','','{"name":"administration"}');
INSERT INTO events VALUES('default',1795342249662343,'evt_wwlwgoc5arq3mjehougrbrhvaw','application.key_created','','app_byfadg47wauupdjqmu3c4ebtcr','','','server','','','','{"key":"key_ry54h36hm2ehtri6vzu67ytpvc","scopes":"authenticate administer"}');
INSERT INTO events VALUES('default',1795342249864340,'evt_heenkjskmi7g3rq4yx7cm2f75w','user.created','usr_g4bfrofzm3edqnreeeyydli2x7','','','','administrator','key_ry54h36hm2ehtri6vzu67ytpvc','127.0.0.1','req_b34uk5pczwz6bayd7tqyyxjto5','{"name":"jo"}');
INSERT INTO events VALUES('default',1795342249940058,'evt_7djry7y3mgfq7n5nmgb7ws4v6f','enrolment.created','usr_g4bfrofzm3edqnreeeyydli2x7','app_byfadg47wauupdjqmu3c4ebtcr','','','administrator','key_ry54h36hm2ehtri6vzu67ytpvc','127.0.0.1','req_54457eepjqae5msapow6txiggr','{"enrolment":"enr_27baww53td2me3jorwrw2f4kwg","lost":"false"}');
INSERT INTO events VALUES('default',1795342250093666,'evt_7fh3r3oestm7nhtcynwb67727s','enrolment.claimed','usr_g4bfrofzm3edqnreeeyydli2x7','app_byfadg47wauupdjqmu3c4ebtcr','dev_ch3joe7yerxlcbn4z5lc3i4jza','','user','dev_ch3joe7yerxlcbn4z5lc3i4jza','127.0.0.1','req_aa4qlmgz2vyh4wxycn5tvnkgpb','{"enrolment":"enr_27baww53td2me3jorwrw2f4kwg"}');
INSERT INTO events VALUES('default',1795342250263211,'evt_imcnqjmxoon2oosrv4nslkrctf','device.added','usr_g4bfrofzm3edqnreeeyydli2x7','','dev_ch3joe7yerxlcbn4z5lc3i4jza','','administrator','key_ry54h36hm2ehtri6vzu67ytpvc','127.0.0.1','req_dxqkxk3ups4xo3h4anz2jhjvrp','{"enrolment":"enr_27baww53td2me3jorwrw2f4kwg","lost":"false","name":"laptop","platform":"cli","quarantined":"false"}');
INSERT INTO events VALUES('default',1795342250263211,'evt_kab6usq6gshghtpp366vlyttj3','enrolment.confirmed','usr_g4bfrofzm3edqnreeeyydli2x7','app_byfadg47wauupdjqmu3c4ebtcr','dev_ch3joe7yerxlcbn4z5lc3i4jza','','administrator','key_ry54h36hm2ehtri6vzu67ytpvc','127.0.0.1','req_dxqkxk3ups4xo3h4anz2jhjvrp','{"enrolment":"enr_27baww53td2me3jorwrw2f4kwg"}');
INSERT INTO events VALUES('default',1795342252324642,'evt_nx6tkqkqslwtmneb6hxr6as2iw','backup_codes.created','usr_g4bfrofzm3edqnreeeyydli2x7','','','','administrator','key_ry54h36hm2ehtri6vzu67ytpvc','127.0.0.1','req_pr4gz3ftebsvizvqrmtmpw2c76','{"codes":"10"}');
INSERT INTO events VALUES('default',1795342252392472,'evt_dmj7tthhfgv5zcccbfa3iy66n6','application.key_created','','app_wxleddr7m4hiipfjvqfzx2jlwm','','','administrator','key_ry54h36hm2ehtri6vzu67ytpvc','127.0.0.1','req_rjrhdps6pz27e4uhvkkcach7x6','{"key":"key_ptfnpvornophanbijb5xem7p4o","scopes":"authenticate assert_first_factor"}');
INSERT INTO events VALUES('default',1795342252392472,'evt_dzhzxrcwzbzi5b4gzoeqgj7ksu','application.created','','app_wxleddr7m4hiipfjvqfzx2jlwm','','','administrator','key_ry54h36hm2ehtri6vzu67ytpvc','127.0.0.1','req_rjrhdps6pz27e4uhvkkcach7x6','{"name":"Payroll"}');
INSERT INTO events VALUES('default',1795342252530634,'evt_kxgranmprkwuovulkz255uj4qm','challenge.created','usr_g4bfrofzm3edqnreeeyydli2x7','app_wxleddr7m4hiipfjvqfzx2jlwm','','ch_lw7mdi6oedoo24eoh6sxor3wnf','application','key_ptfnpvornophanbijb5xem7p4o','127.0.0.1','req_nsy7zlzddpbojo5geldzimyvi7','{"first_factor":"asserted","kind":"login","provenance":"stranger","rung":"yes"}');
INSERT INTO events VALUES('default',1795342252750000,'evt_a3orwndoy6elgszaf7qnhtzrhe','challenge.delivered','usr_g4bfrofzm3edqnreeeyydli2x7','','dev_ch3joe7yerxlcbn4z5lc3i4jza','ch_lw7mdi6oedoo24eoh6sxor3wnf','user','dev_ch3joe7yerxlcbn4z5lc3i4jza','','','{}');
INSERT INTO events VALUES('default',1795342252772029,'evt_g7oxnknbjy57fzrocptpjjfmbk','challenge.approved','usr_g4bfrofzm3edqnreeeyydli2x7','app_wxleddr7m4hiipfjvqfzx2jlwm','dev_ch3joe7yerxlcbn4z5lc3i4jza','ch_lw7mdi6oedoo24eoh6sxor3wnf','user','dev_ch3joe7yerxlcbn4z5lc3i4jza','127.0.0.1','req_uptka2wyhpsnpxhkdaype4he4a','{"match":"digits","method":"push"}');
INSERT INTO events VALUES('default',1795342253151824,'evt_3wvhkwtpqccmieixpruvbvciem','challenge.redeemed','usr_g4bfrofzm3edqnreeeyydli2x7','app_wxleddr7m4hiipfjvqfzx2jlwm','dev_ch3joe7yerxlcbn4z5lc3i4jza','ch_lw7mdi6oedoo24eoh6sxor3wnf','application','key_ptfnpvornophanbijb5xem7p4o','127.0.0.1','req_vdo5nzt54duifs65vzvibmskh5','{"match":"digits","method":"push"}');
INSERT INTO events VALUES('default',1795342253470325,'evt_7fwarcxhn6utxooqrufdthmfhb','challenge.created','usr_g4bfrofzm3edqnreeeyydli2x7','app_wxleddr7m4hiipfjvqfzx2jlwm','','ch_6j4byxc2xf3luitvv5ykcnhphn','application','key_ptfnpvornophanbijb5xem7p4o','127.0.0.1','req_sd6qodrt75ruznqxghpul33vwd','{"first_factor":"asserted","kind":"login","provenance":"stranger","rung":"yes"}');
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
INSERT INTO replays VALUES('default','app_byfadg47wauupdjqmu3c4ebtcr','POST /v1/users','OZDP73H72XKUHAZSSWX3H2KWUS',X'7ad1e1f2160f22e627c117348d795dff8cd6d5fd67504a1dcbe848f4e9ae199e',X'c00e0cdce87766abae29399503398ca5f442b2cef6b5eeaf2abf610e388eacde',1,1795342279859489,201,'usr_g4bfrofzm3edqnreeeyydli2x7',0,X'01a4ae2578706ec48b92bf15c117e8ff5ed17c8486a500675149a71cf7063a9c59a2a1987b346ea5e13a55c07468460ed133822fd99a2b61dd95b69de54d175173fb80c0feb37e97f195277e0b6e26b8c55df654a1d84334c5559f81b1e273105997c1cbca593506b4ca4ae94f22e3074f2a89261b662f769bdd8b6bed5ecf3bdd6362a62c2c18f1e66430276baa976153f84033b56b17a79d18f9e59267a1128c9e6290c2cbf171421b1cc7411676e261a2bafd5e8b1869b230b399091ceb9f3c37ed0287941c649bc315b72c6fd3d4cf19ac58c6a8dd87a0354c8eba7398dedec653c917fd14ced3292ab167b97b1e4e696a01f2148e6dc2',1795342249859489);
INSERT INTO replays VALUES('default','app_byfadg47wauupdjqmu3c4ebtcr','POST /v1/users/{id}/enrolments','ITJWBIBDRACHXKDBMRIS55ZVXM',X'5740f74bc008f1acf9664571a31c072ab030416c994aa8b76dff00964842a545',X'621ba215fce968af8e1e65bd960e673514212b11d6d33d88e4a42901a1aff184',1,1795342279935026,201,'enr_27baww53td2me3jorwrw2f4kwg',1,X'01a4ae2578c3cbcd353d2096f311f1014d4957cf95c57fb10bb1ce9ef8129a86454346bbbcd5060dbd04d254985b609ca19d2bbea60b33d8505a6394aaa2c9c5b02350257c366879cfedea421e3f1f548acdb10c7fbfda4ba6db557b1778a7b8bde629e23fbd109c4d3bf301776050c578fa2fb930873d6ea62c1a1c77a9dbb65be3830379b3ba7e14c1652bcc7a6af2dfd52f59d81e19d5291097db48ffd64dd9dbe7d672ee9cc06121cf1c7a81bb3592ed5d8e28a71ae95fc6a7cc6f5e0f95c1f86bbbf678d26355e011246b60d1392f3b1a3c3bfcf0cdf7da8addc19060c62d4134a82dde9ec8bd9802072cc07ff27d624bc2ada31a40ee0d09d51db6c5450d5930c556def917899ee4d1',1795342249935026);
INSERT INTO replays VALUES('default','app_byfadg47wauupdjqmu3c4ebtcr','POST /v1/enrolments/{id}/confirm','E2QKDPHAYV7KIWKMVZAAC6K6PF',X'0710bab1e8f8803822d52f3062f3ea8b40dddbbd0e7db829163e5663892bdada',X'4598337795998b67eeb0586b3a731ad2ab0077e402b8b401cb79739b7dbe6e07',1,1795342280253778,200,'',0,X'01a4ae2578e1e28fd846e9816b28a407464efb3147e5412160094dce0dd63fd7d62c4936ff49ac0645be02fc1077ee92d589d8f50aaf5eef7dfc2a64f55137a467dcc264ce110fed1e039e8da3b69801c0e27d2863340ee10f56ebc731f64cefc3826a46394677c63710e527f18fb30f00af49e107319b8f651674289d872dbf370c032e8599d1633289d9f42bf7c37f80e6449c96a6dcf92e0680f4833d0b28eb25422c2dc0913716487468565f8b3163faf1f87b07b3f66b716fd3319a21cade673529950fcfd1f9e11a6ee4e9911bd6a746f06735cc5d3d62c7e40095aa52a6b9c7b2896b7730',1795342250253778);
INSERT INTO replays VALUES('default','app_byfadg47wauupdjqmu3c4ebtcr','POST /v1/users/{id}/factors/backup-codes','IKFIDE32FAHJTREGQEGA6LJTOK',X'dd9144cad7b3308e5a1481d425f1bd4d435565499616ef32dede32f95fb36e87',X'd2e55acb5430fa0a0b6a75831cd92267081c78b0916c264ff7a6fa9418d781c8',1,1795342280536588,201,'backup codes',1,X'01a4ae2578c77838b1940b7b723736738fa24437544d32d133808c0b1e02502fc12ea4802135bec510e832e6ebacccd81a23667591ca96bfc4ee71c17310f632b63576762a65efbe87230975138a677b8fce1880406518ad11810a73efeafb91445495a250cd98c753b3c1b8b713708985348f2821bf551340965c99f614861762aba1ba1b959f0f82a741430055973c4ba9f7a893643bf17f41ccde6f67f985a6d42d656ec2a0320aa247fc91eee3afed89350f475708e94ab4858cd6cc8584ceaf64e4be966735e545ba26fbf1d2084a69a5063b4c3a5366348ef28eee95155486ceabe0d7643949820e4b27f6189f35bc8cdec76f7d9077a7d2ff2aa54b43028f546e49d0b01c8e1f73ff74a0286de5ca2b6186a325f6d6e86fed30595d80788dc12ef95c09d8d3',1795342250536588);
INSERT INTO replays VALUES('default','app_byfadg47wauupdjqmu3c4ebtcr','POST /v1/applications','RJVWTLAFD4RMXOZOSNZLW4ICOO',X'f4fd89597d4811c0c7b39bbaa884f610c6ab5e523571dbcb6be6f1bafa490529',X'bd5da94499ec07e1d5f6fb7d2685bf61dcf9cd8cb9c54adaab2d8888ea1c6f45',1,1795342282387609,201,'app_wxleddr7m4hiipfjvqfzx2jlwm',1,X'01a4ae2578f2170b0a9d38c004b7596f92387ac3025dacd00cb06c734b38348365afc5d94b4971588fbcd174e08404f96c2c9dceed31f4975edbee304fd4dd3961ccbdf4bae57e611d1c3b8fc0911192edc18a1ee5aab200fde0d9ea99e2cd87d7a955f5d8019cecc8946c42d19a2300e5f78c782769c487ebb42427bdd3765e08fbd60df8585709bbc43ee88938e8bc67a9e6a253199543f3aa6118b8e8f5c6af66fc2c762c348257685861726db1f7bf98968ea3feceb52507502bbfcec89e093d3aececc2b3b784b40eebb616c84744a963f4d6813241dd7c73115ba22581dbb5c84ba162e45f2842827423f8603adc0aaa6fcf5fd81e51e5534a3686e9db0a5f73f320d529f989d3d53e9fd8012efd4662785a1428bd181a89861cc6a691a963ffa10de0e37cbe283704763824475f91d936a027900c6c1ec0af68e5f6f88accf153254a69ddacdcbad39f122bdce22fe0b5753a7836687a7828d37992146f910ea5470205e8ee437c11187e4aa999f3460e0f7d7cce0ca780c03353e26472440c9f703fe995391db6',1795342252387609);
INSERT INTO replays VALUES('default','app_wxleddr7m4hiipfjvqfzx2jlwm','POST /v1/challenges','4ANSTI4CBBD2DMVJXEZKYZAR5C',X'b74b730002b3d21db95164e7327ae809ecbacf16f9e6cd1057ea0768044e2abb',X'5d091103754d10edf588dda538bd4d4ce400afc9e741a0b5fe261cdb47e6d944',1,1795342282517797,201,'ch_lw7mdi6oedoo24eoh6sxor3wnf',1,X'01a4ae2578941d1ccd79e0f2f42fc6647a54483f62571f70738f10f4274ded28587ce52827897565789a325b01313c8f3a6ebb9891cba8dffb19200989cb75eb4db191285805c47a5066afa1592abca1254aaa70dc30b3747c9a13797a7457db58605b6e4db74ad4e4e5a20b2a6c10d55701a1e9a69cb29975baa66321808337bd61469b12069e341308755c142eb7fca112b17d026d014bfdbd706d3ca009a5a9e3f29b1263a27dbbd3845939e7f42563389bab0e3bcd842c5a7b5f3a807d384aa929ae7337cf4c63c46b89802cee277bf9e95b143daff50d792f4ceb09f6299f8c1dcb234857134711616e2f3fd8e56fb765b24054aaa93b05d1c8aca714640d57729ce1e806a237d244d525ae7c041d3a79d4642b8bafb6fbbe47ebb79fac82397f9bb96f1625c5971a398cef84a791a00fe50b14f4d16e21d683deb3203c5ef2c4da20c2de21bf0fe4408f398460fe34c587cf15b7ae0cd34066ac011f529ae4ff30248fb6442416d2c4ed042591ac17f852253c23e4eab85bbaf889b0ed164bcc55c922bb4d0feb67650138a414c07b53cbfa24bacd88786f0449727f63de5ca9d8c506fa6669f6ac9898f67243cf92aafa19c7f9a0a3d61bb9af04b08f',1795342252517797);
INSERT INTO replays VALUES('default','app_wxleddr7m4hiipfjvqfzx2jlwm','POST /v1/challenges','HIGKO7KPTYL774LIV6MT74HSCB',X'973070882ec72ea6c7f0397ca1f5559625f1d0596a3127269f13ba114c8710b7',X'42affa6e1c21e1039e60c63fd151307094c351607d6ba40d41f7ee7bacfec811',1,1795342283468413,201,'ch_6j4byxc2xf3luitvv5ykcnhphn',1,X'01a4ae2578b9bc0376e2a68f8575c2d1e87efe205716b1a4beb3c731f09523a9c9e76034c7dd9b65bc3c4ec58fc009d5f75caf2a893d27c623c538449d9156be81a10a3352ab81346b74b1ea7723fe52b2a2ffe5a8a99cfbfbb42d0cb7ed24ab08bd79d3c5571c514a77a5573c272e265c95a1545f62866e59e6287aa5cdfaa3deb1eedbad232b74b5cd3f39cecf5d03221d3c24801a1683ed3714d263a7fa86c44e503a88b205339a442788f663b2ab0aa897ed830997561bc72862a2f73aae34a44514f7f3097b12c2d31305fd1c993829a69f667001830821b575b4d0baef4844b15cd9a75e5639ca7654cd5361444ac522bd722cd3b347a829c1d5348d70a8277dca805bdac20a3634c8029fb0aa1a1997944dc6d484e80a15e1048066188a10e27cec689e6d77cb5268248b249efe2e1ab43b152517a1988245b11895ff6381f5324e476bde42f720936a06491d52d997fff1481268c221848f98a6bda8c4546283f7614a0fe7194eff785980dc658b3836c038b7b9db9435cd6996d9c4baecb2433be89211dab67795f99b368fccc16fecd8893a14097184f4fd51b612657fa8ebc1702de2a2d20f5a1e2a88626d985b5a887a4862bf1ceecf6c725299',1795342253468413);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('goose_db_version',3);
CREATE UNIQUE INDEX users_by_external_id ON users (realm, external_id) WHERE external_id <> '';
CREATE INDEX users_by_creation ON users (realm, created_at, id);
CREATE INDEX user_names_by_user ON user_names (realm, user_id, alias, name);
CREATE INDEX applications_by_creation ON applications (realm, created_at, id);
CREATE INDEX api_keys_by_hash ON api_keys (hash);
CREATE INDEX api_keys_by_application ON api_keys (realm, application_id, created_at, id);
CREATE INDEX devices_by_id ON devices (id);
CREATE INDEX devices_by_user ON devices (realm, user_id, claimed_at, id);
CREATE INDEX enrolments_by_ticket ON enrolments (ticket_hash);
CREATE INDEX enrolments_live ON enrolments (realm, user_id, created_at, id)
    WHERE state IN ('invited', 'claimed');
CREATE INDEX challenges_by_user ON challenges (realm, user_id, created_at, id);
CREATE INDEX challenges_by_change ON challenges (realm, application_id, changed_at, id);
CREATE INDEX challenges_live_by_user ON challenges (realm, user_id, created_at, id)
    WHERE state IN ('pending', 'answered', 'approved');
CREATE INDEX challenges_live_by_application ON challenges (realm, application_id, created_at, id)
    WHERE state IN ('pending', 'answered', 'approved');
CREATE INDEX challenges_rung ON challenges (realm, user_id, created_at)
    WHERE rung AND NOT ring_returned;
CREATE INDEX guesses_by_bucket ON guesses (realm, user_id, bucket, at);
CREATE INDEX totps_by_user ON totps (realm, user_id, created_at, id);
CREATE INDEX notices_by_user ON notices (realm, user_id, at, id);
CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_by_kind ON events (realm, kind, at, id);
CREATE INDEX events_by_user ON events (realm, user_id, at, id) WHERE user_id <> '';
CREATE INDEX events_by_application ON events (realm, application_id, at, id) WHERE application_id <> '';
CREATE INDEX events_by_device ON events (realm, device_id, at, id) WHERE device_id <> '';
CREATE INDEX events_by_challenge ON events (realm, challenge_id, at, id) WHERE challenge_id <> '';
CREATE INDEX challenges_due_to_decide ON challenges (decide_by) WHERE state IN ('pending', 'answered');
CREATE INDEX challenges_due_to_redeem ON challenges (redeem_by) WHERE state = 'approved';
CREATE INDEX challenges_over ON challenges (realm, created_at)
    WHERE state IN ('redeemed', 'denied', 'failed', 'expired', 'cancelled');
CREATE INDEX challenges_live_by_provenance ON challenges
    (realm, user_id, provenance_class, provenance_key, state, decide_by, redeem_by)
    WHERE state IN ('pending', 'answered', 'approved');
CREATE INDEX challenges_listed ON challenges (realm, user_id, created_at, id)
    WHERE rung AND state IN ('pending', 'answered');
CREATE INDEX enrolments_due_to_claim ON enrolments (claim_by) WHERE state = 'invited';
CREATE INDEX enrolments_due_to_confirm ON enrolments (confirm_by) WHERE state = 'claimed';
CREATE INDEX guesses_by_age ON guesses (at);
CREATE INDEX waits_by_age ON waits (ends_at);
CREATE INDEX sources_by_age ON sources (at);
CREATE INDEX browser_proofs_by_age ON browser_proofs (expires_at);
CREATE INDEX notices_by_age ON notices (expires_at);
CREATE INDEX replays_by_age ON replays (created_at);
CREATE INDEX replays_secret ON replays (created_at) WHERE secret AND answer IS NOT NULL;
COMMIT;
