--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: api_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_keys (
    realm text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    application_id text NOT NULL COLLATE pg_catalog."C",
    hash bytea NOT NULL,
    scopes text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    revoked_at bigint NOT NULL
);


--
-- Name: applications; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.applications (
    realm text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    icon_sha256 text NOT NULL COLLATE pg_catalog."C",
    username_form text NOT NULL COLLATE pg_catalog."C",
    disabled_at bigint NOT NULL,
    created_at bigint NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT applications_username_form_check CHECK ((username_form = ANY (ARRAY['as_is'::text, 'strip_domain'::text, 'strip_suffix'::text])))
);


--
-- Name: backup_codes; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.backup_codes (
    realm text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    idx bigint NOT NULL,
    generation bigint NOT NULL,
    hash text NOT NULL COLLATE pg_catalog."C",
    used_at bigint NOT NULL
);


--
-- Name: backup_sets; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.backup_sets (
    realm text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    generation bigint NOT NULL,
    failures bigint NOT NULL,
    disabled boolean NOT NULL,
    created_at bigint NOT NULL
);


--
-- Name: browser_proofs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.browser_proofs (
    realm text NOT NULL COLLATE pg_catalog."C",
    hash bytea NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    thumbprint text NOT NULL COLLATE pg_catalog."C",
    jwk text COLLATE pg_catalog."C",
    expires_at bigint NOT NULL
);


--
-- Name: browsers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.browsers (
    realm text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    thumbprint text NOT NULL COLLATE pg_catalog."C",
    jwk text COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    expires_at bigint NOT NULL
);


--
-- Name: bypass_codes; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.bypass_codes (
    realm text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    hash text NOT NULL COLLATE pg_catalog."C",
    reason text NOT NULL COLLATE pg_catalog."C",
    made_by text NOT NULL COLLATE pg_catalog."C",
    actor text NOT NULL COLLATE pg_catalog."C",
    uses_left bigint NOT NULL,
    failures bigint NOT NULL,
    expires_at bigint NOT NULL,
    created_at bigint NOT NULL,
    CONSTRAINT bypass_codes_actor_check CHECK ((actor = ANY (ARRAY['user'::text, 'administrator'::text, 'help_desk'::text, 'application'::text, 'server'::text]))),
    CONSTRAINT bypass_codes_uses_left_check CHECK ((uses_left >= 0))
);


--
-- Name: challenges; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.challenges (
    realm text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    application_id text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    provenance_class text NOT NULL COLLATE pg_catalog."C",
    provenance_key text NOT NULL COLLATE pg_catalog."C",
    first_factor text NOT NULL COLLATE pg_catalog."C",
    matches text NOT NULL COLLATE pg_catalog."C",
    methods text NOT NULL COLLATE pg_catalog."C",
    min_bits bigint NOT NULL,
    prompt text NOT NULL COLLATE pg_catalog."C",
    answerable boolean NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    match_order text NOT NULL COLLATE pg_catalog."C",
    reason text NOT NULL COLLATE pg_catalog."C",
    details text COLLATE pg_catalog."C",
    context text COLLATE pg_catalog."C",
    nonce text NOT NULL COLLATE pg_catalog."C",
    browser text NOT NULL COLLATE pg_catalog."C",
    browser_jwk text COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    prompt_jws text NOT NULL COLLATE pg_catalog."C",
    policy_version bigint NOT NULL,
    others bigint NOT NULL,
    created_at bigint NOT NULL,
    decide_by bigint NOT NULL,
    state text NOT NULL COLLATE pg_catalog."C",
    cancel_reason text NOT NULL COLLATE pg_catalog."C",
    reported boolean NOT NULL,
    wrong bigint NOT NULL,
    seen text NOT NULL COLLATE pg_catalog."C",
    sealed bytea,
    redeem_by bigint NOT NULL,
    evidence_method text NOT NULL COLLATE pg_catalog."C",
    evidence_at bigint NOT NULL,
    evidence_match text NOT NULL COLLATE pg_catalog."C",
    evidence_device text NOT NULL COLLATE pg_catalog."C",
    evidence_quarantined boolean NOT NULL,
    evidence_user_verified boolean NOT NULL,
    evidence_code text NOT NULL COLLATE pg_catalog."C",
    evidence_remember boolean NOT NULL,
    evidence_first_factor text NOT NULL COLLATE pg_catalog."C",
    redeem_key text NOT NULL COLLATE pg_catalog."C",
    grant_ends bigint NOT NULL,
    rung boolean NOT NULL,
    ring_reason text NOT NULL COLLATE pg_catalog."C",
    retry_at bigint NOT NULL,
    ring_returned boolean NOT NULL,
    decision text NOT NULL COLLATE pg_catalog."C",
    decision_key text COLLATE pg_catalog."C",
    grant_sealed bytea,
    changed_at bigint NOT NULL,
    version bigint NOT NULL,
    received bigint DEFAULT 0 NOT NULL,
    shown bigint DEFAULT 0 NOT NULL,
    opened bigint DEFAULT 0 NOT NULL,
    delivered bigint DEFAULT 0 NOT NULL,
    told bigint DEFAULT 0 NOT NULL,
    CONSTRAINT challenges_cancel_reason_check CHECK ((cancel_reason = ANY (ARRAY[''::text, 'user_locked'::text, 'device_revoked'::text, 'application_disabled'::text, 'policy'::text, 'superseded'::text, 'reported'::text, 'application'::text]))),
    CONSTRAINT challenges_evidence_first_factor_check CHECK ((evidence_first_factor = ANY (ARRAY[''::text, 'none'::text, 'asserted'::text, 'password'::text]))),
    CONSTRAINT challenges_evidence_match_check CHECK ((evidence_match = ANY (ARRAY[''::text, 'scan'::text, 'digits'::text, 'digits_back'::text, 'number'::text, 'choice'::text, 'tap'::text]))),
    CONSTRAINT challenges_evidence_method_check CHECK ((evidence_method = ANY (ARRAY[''::text, 'push'::text, 'totp'::text, 'backup_code'::text, 'bypass_code'::text, 'passkey'::text, 'sms'::text, 'email'::text, 'oath'::text]))),
    CONSTRAINT challenges_first_factor_check CHECK ((first_factor = ANY (ARRAY['none'::text, 'asserted'::text, 'password'::text]))),
    CONSTRAINT challenges_kind_check CHECK ((kind = ANY (ARRAY['login'::text, 'step_up'::text, 'transaction'::text]))),
    CONSTRAINT challenges_provenance_class_check CHECK ((provenance_class = ANY (ARRAY['known_browser'::text, 'source'::text, 'stranger'::text]))),
    CONSTRAINT challenges_ring_reason_check CHECK ((ring_reason = ANY (ARRAY[''::text, 'budget'::text, 'slot_taken'::text, 'wait'::text, 'reported'::text, 'name_only'::text, 'unavailable'::text]))),
    CONSTRAINT challenges_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'answered'::text, 'approved'::text, 'redeemed'::text, 'denied'::text, 'failed'::text, 'expired'::text, 'cancelled'::text])))
);


--
-- Name: devices; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.devices (
    realm text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    enrolment_id text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    confirmed_at bigint NOT NULL,
    quarantine_until bigint NOT NULL,
    vetoable boolean NOT NULL,
    failures bigint NOT NULL,
    seq bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    platform text NOT NULL COLLATE pg_catalog."C",
    app_version text NOT NULL COLLATE pg_catalog."C",
    features text NOT NULL COLLATE pg_catalog."C",
    jwk text COLLATE pg_catalog."C",
    thumbprint text NOT NULL COLLATE pg_catalog."C",
    targets text COLLATE pg_catalog."C",
    app_lock bytea,
    claimed_at bigint NOT NULL,
    ended_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT devices_state_check CHECK ((state = ANY (ARRAY['claimed'::text, 'active'::text, 'suspended'::text, 'revoked'::text, 'refused'::text])))
);


--
-- Name: enrolments; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.enrolments (
    realm text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    made_by text NOT NULL COLLATE pg_catalog."C",
    lost boolean NOT NULL,
    created_at bigint NOT NULL,
    claim_by bigint NOT NULL,
    confirm_by bigint NOT NULL,
    device_id text NOT NULL COLLATE pg_catalog."C",
    thumbprint text NOT NULL COLLATE pg_catalog."C",
    wrong bigint NOT NULL,
    ticket_hash bytea NOT NULL,
    sealed_code bytea,
    asker text NOT NULL COLLATE pg_catalog."C",
    answer text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    CONSTRAINT enrolments_made_by_check CHECK ((made_by = ANY (ARRAY['user'::text, 'administrator'::text, 'help_desk'::text, 'application'::text, 'server'::text]))),
    CONSTRAINT enrolments_state_check CHECK ((state = ANY (ARRAY['invited'::text, 'claimed'::text, 'confirmed'::text, 'expired'::text, 'cancelled'::text, 'refused'::text])))
);


--
-- Name: events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.events (
    realm text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    application_id text NOT NULL COLLATE pg_catalog."C",
    device_id text NOT NULL COLLATE pg_catalog."C",
    challenge_id text NOT NULL COLLATE pg_catalog."C",
    actor text NOT NULL COLLATE pg_catalog."C",
    made_by text NOT NULL COLLATE pg_catalog."C",
    address text NOT NULL COLLATE pg_catalog."C",
    request text NOT NULL COLLATE pg_catalog."C",
    data text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT events_actor_check CHECK ((actor = ANY (ARRAY['user'::text, 'administrator'::text, 'help_desk'::text, 'application'::text, 'server'::text])))
);


--
-- Name: goose_db_version; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.goose_db_version (
    id integer NOT NULL,
    version_id bigint NOT NULL,
    is_applied boolean NOT NULL,
    tstamp timestamp without time zone DEFAULT now() NOT NULL
);


--
-- Name: goose_db_version_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.goose_db_version ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.goose_db_version_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: guesses; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.guesses (
    realm text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    bucket text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL
);


--
-- Name: key_sets; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.key_sets (
    realm text NOT NULL COLLATE pg_catalog."C",
    serial bigint NOT NULL,
    jws text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL
);


--
-- Name: notices; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.notices (
    realm text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    except_device text NOT NULL COLLATE pg_catalog."C",
    jws text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    expires_at bigint NOT NULL
);


--
-- Name: policies; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.policies (
    realm text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    document text COLLATE pg_catalog."C",
    at bigint NOT NULL,
    made_by text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: realm_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.realm_keys (
    realm text NOT NULL COLLATE pg_catalog."C",
    purpose text NOT NULL COLLATE pg_catalog."C",
    kid text NOT NULL COLLATE pg_catalog."C",
    public text COLLATE pg_catalog."C",
    sealed bytea,
    created_at bigint NOT NULL,
    active_at bigint NOT NULL,
    retired_at bigint NOT NULL,
    CONSTRAINT realm_keys_purpose_check CHECK ((purpose = ANY (ARRAY['prompt'::text, 'grant'::text])))
);


--
-- Name: realms; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.realms (
    realm text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    disabled_at bigint NOT NULL
);


--
-- Name: replays; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.replays (
    realm text NOT NULL COLLATE pg_catalog."C",
    application_id text NOT NULL COLLATE pg_catalog."C",
    route text NOT NULL COLLATE pg_catalog."C",
    idempotency_key text NOT NULL COLLATE pg_catalog."C",
    body_hash bytea,
    seed bytea,
    done boolean NOT NULL,
    lease_until bigint NOT NULL,
    status bigint NOT NULL,
    object text NOT NULL COLLATE pg_catalog."C",
    secret boolean NOT NULL,
    answer bytea,
    created_at bigint NOT NULL
);


--
-- Name: settings; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.settings (
    name text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: sources; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.sources (
    realm text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL
);


--
-- Name: thumbprints; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.thumbprints (
    realm text NOT NULL COLLATE pg_catalog."C",
    thumbprint text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: totps; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.totps (
    realm text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    sealed bytea,
    algorithm text NOT NULL COLLATE pg_catalog."C",
    digits bigint NOT NULL,
    period bigint NOT NULL,
    state text NOT NULL COLLATE pg_catalog."C",
    last_step bigint NOT NULL,
    failures bigint NOT NULL,
    created_at bigint NOT NULL,
    confirmed_at bigint NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT totps_algorithm_check CHECK ((algorithm = ANY (ARRAY['SHA1'::text, 'SHA256'::text, 'SHA512'::text]))),
    CONSTRAINT totps_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'active'::text, 'disabled'::text])))
);


--
-- Name: user_names; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.user_names (
    realm text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    alias boolean NOT NULL,
    display text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: users; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.users (
    realm text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    display text NOT NULL COLLATE pg_catalog."C",
    external_id text NOT NULL COLLATE pg_catalog."C",
    groups text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    owner boolean NOT NULL,
    password text NOT NULL COLLATE pg_catalog."C",
    password_at bigint NOT NULL,
    had_factor boolean NOT NULL,
    reported_at bigint NOT NULL,
    created_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT users_state_check CHECK ((state = ANY (ARRAY['active'::text, 'locked'::text])))
);


--
-- Name: waits; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.waits (
    realm text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    provenance text NOT NULL COLLATE pg_catalog."C",
    micros bigint NOT NULL,
    ends_at bigint NOT NULL
);


--
-- Data for Name: api_keys; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.api_keys VALUES ('default', 'key_vzgjqnuvnkrzkn7nmrblqfymqx', 'app_sxedlh2bwi6s7dbgps352jp47w', '\x243b936d3abd580047fef84c7559e437e6187c11e45c904688c7ce99217b3e25', '["authenticate","administer"]', 1795342256382780, 0, 0);
INSERT INTO public.api_keys VALUES ('default', 'key_5p5w5pp75whojddw5tcd6zq2lg', 'app_rj4cljziowz2fppvwe35pd3sou', '\xd099fd2cc213088d60d7ebe1bc992400fb3cbfa6efe6ccdcf1559a842198ef3b', '["authenticate","assert_first_factor"]', 1795342258717340, 0, 0);


--
-- Data for Name: applications; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.applications VALUES ('default', 'app_sxedlh2bwi6s7dbgps352jp47w', 'administration', '', 'as_is', 0, 1795342256382780, 1);
INSERT INTO public.applications VALUES ('default', 'app_rj4cljziowz2fppvwe35pd3sou', 'Payroll', '', 'as_is', 0, 1795342258717340, 1);


--
-- Data for Name: backup_codes; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_codes VALUES ('default', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 1, 1795342258502562, '$argon2id$v=19$m=19456,t=2,p=1$v38pp5chZRYG/Nbsofzs6g$4JzjjUw6W+3BcWzKnr4qDidOTxLEVANEK6CVgK2QHdg', 0);
INSERT INTO public.backup_codes VALUES ('default', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 2, 1795342258502562, '$argon2id$v=19$m=19456,t=2,p=1$b4wjvMlEhXOmaTysbMiBOQ$YHgyxyBssbYXm0qFGMotWWnAkjRja9hTUGjfUYp627s', 0);
INSERT INTO public.backup_codes VALUES ('default', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 3, 1795342258502562, '$argon2id$v=19$m=19456,t=2,p=1$C/SmwOIGvODCHJirdHpd7A$t8Lg91p+7B+ALywgH753CUUMH87TSnpoNz3v45DegyY', 0);
INSERT INTO public.backup_codes VALUES ('default', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 4, 1795342258502562, '$argon2id$v=19$m=19456,t=2,p=1$pu8nLO9kVnyrJD/B5ocgUQ$Swd56b/MOG8YEwuCCa4M4i8QMW7jZxfew4pzAi9Z2Ns', 0);
INSERT INTO public.backup_codes VALUES ('default', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 5, 1795342258502562, '$argon2id$v=19$m=19456,t=2,p=1$Gz/D27hzPGipNPtEal/hPA$9EIYoFleUrN3j3vioPJBoRL3T+hOeQlAgIRYL55we/o', 0);
INSERT INTO public.backup_codes VALUES ('default', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 6, 1795342258502562, '$argon2id$v=19$m=19456,t=2,p=1$i8+RHwN6q+Dq7ivS5WMEgw$SCBo+yCFc/sveq/g4bvbaWJeY2u+v11nZ9K5neSbQKo', 0);
INSERT INTO public.backup_codes VALUES ('default', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 7, 1795342258502562, '$argon2id$v=19$m=19456,t=2,p=1$V1ZoyfYvN1knfPkgMdsJCw$I88TMJBrFRVs5IAuKTV5qQ2jCusJA/A4KLCQdTk/CBA', 0);
INSERT INTO public.backup_codes VALUES ('default', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 8, 1795342258502562, '$argon2id$v=19$m=19456,t=2,p=1$GFp+pnVvgfKIT6FAOHfdKg$iWJl/V+13J7W9DGo/IhCqkuPpKTLVy0qK5GZQaKJzF4', 0);
INSERT INTO public.backup_codes VALUES ('default', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 9, 1795342258502562, '$argon2id$v=19$m=19456,t=2,p=1$TrQ+FWwPMgvsyThIJhDAYA$L5REVR7ucIRccWdfL0LLOjoGqrcobS5Q9raXnqVSXrs', 0);
INSERT INTO public.backup_codes VALUES ('default', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 10, 1795342258502562, '$argon2id$v=19$m=19456,t=2,p=1$MZW4NMC9fGWRpdCmO4IHDw$Nn0MA9sjroDOBf4Tr8+l9LqQycETt4K53pAeUdUHK88', 0);


--
-- Data for Name: backup_sets; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_sets VALUES ('default', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 1795342258502562, 0, false, 1795342258502562);


--
-- Data for Name: browser_proofs; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: browsers; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: bypass_codes; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: challenges; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.challenges VALUES ('default', 'ch_q63uzj65k6sjug5olou3hy4n4u', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'app_rj4cljziowz2fppvwe35pd3sou', 'login', 'stranger', '', 'asserted', '["scan","digits"]', '["push","totp","backup_code","bypass_code"]', 0, 'UKQ1JAGw07315YRQZEthflfJln7IKIQ3-UOOya6jS6s', true, 'jo', '["scan","digits"]', '', NULL, '{}', 'n-1', '', NULL, '', 'eyJhbGciOiJFUzI1NiIsImtpZCI6Im56ZTQwbmVkYVFDdDlXMTZxV3RXWUhmdU54cUs4S29PVGNQdzFoTnpsaW8iLCJ0eXAiOiJub2QtcHJvbXB0K2p3cyJ9.eyJ2IjoxLCJpc3MiOiJodHRwOi8vMTI3LjgzLjAuMjo4NjYzIiwicmVhbG0iOiJkZWZhdWx0IiwiY2hhbGxlbmdlIjoiY2hfcTYzdXpqNjVrNnNqdWc1b2xvdTNoeTRuNHUiLCJ1c2VyIjp7ImlkIjoidXNyXzZ2aDJqcGlsN25ncW55M2czbXl4Z3JibXpzIiwibmFtZSI6ImpvIn0sImFwcCI6eyJpZCI6ImFwcF9yajRjbGp6aW93ejJmcHB2d2UzNXBkM3NvdSIsIm5hbWUiOiJQYXlyb2xsIiwiaWNvbl9zaGEyNTYiOiIifSwia2luZCI6ImxvZ2luIiwicmVhc29uIjoiIiwiZGV0YWlscyI6W10sImNvbnRleHQiOnsiaXAiOiIiLCJwbGFjZSI6IiIsInBsYWNlX2NvbmZpZGVuY2UiOiJub25lIiwiYnJvd3NlciI6IiIsInJlcG9ydGVkX2J5IjoiYXBwIiwia25vd25fYnJvd3NlciI6ZmFsc2V9LCJtYXRjaCI6WyJzY2FuIiwiZGlnaXRzIl0sImF0IjoxNzk1MzQyMjU4OTA5LCJkZWNpZGVfYnkiOjE3OTUzNDIzNzg5MDl9.Wey45TFzWhHTq3QkZN2rrME-NFJEmj6B1Sg5lkRF1DGvJL2x6DJfiZrMVnNJFgwOuDubo1oWjmWb6hj0Qm6zUw', 0, 0, 1795342258909517, 1795342378909517, 'redeemed', '', false, 0, '["lrbMTO1hwIjFx9tth6bqaH2dXHIH2rlSNf1n5q0Ur7g"]', '\x0162e27f191c8086e8c3f1a4b1121f1728af717a324353988db4e2e3675425b919dc317a5fa86344261d45041471cb921e42d1cbe3d9c4cce64f020fb32dc77ab0a544d669ab7feb8d8721980ca29f13aa8bd18c6a90749c4dae2fb51e1154a0f54d80e5c1fdc71e7333db721b50401a0660c325b61e', 1795342319288980, 'push', 1795342259288980, 'digits', 'dev_hxhywhh76gckmckzl4jtsycevm', false, false, '', false, 'asserted', 'one', 1795342379000000, true, '', 0, true, 'eyJhbGciOiJFUzI1NiIsImtpZCI6ImRldl9oeGh5d2hoNzZnY2ttY2t6bDRqdHN5Y2V2bSIsInVybCI6Imh0dHA6Ly8xMjcuODMuMC4yOjg2NjMvZGV2aWNlL3YxL2RlY2lzaW9ucyIsInR5cCI6Im5vZC1kZWNpc2lvbitqd3MifQ.eyJ2IjoxLCJjaGFsbGVuZ2UiOiJjaF9xNjN1emo2NWs2c2p1ZzVvbG91M2h5NG40dSIsImRlY2lzaW9uIjoiYXBwcm92ZSIsInByb21wdF9zaGEyNTYiOiJVS1ExSkFHdzA3MzE1WVJRWkV0aGZsZkpsbjdJS0lRMy1VT095YTZqUzZzIiwibWF0Y2giOiJkaWdpdHMiLCJhbnN3ZXIiOiI5OTA0OTYiLCJzaG93bl9tcyI6MCwibG9jYWxlIjoiIn0.a1CDuw0TKC6VClh8-wJlNxgJmxsjm13Ib0_Y-wbvfWzpax0k2VvdH9vfwkzsRARxRmeaBV0DStFPKyudFUFBiQ', '{"kty":"EC","crv":"P-256","x":"zjlUeku7ywPKIAqj8VkBOVdOOTEx4iYYZn-NfWCDa-E","y":"gxoAIu-Q-PL35C7z2GBX22ERUKa8oSRWiqyGrISACN4"}', '\x0162e27f19277c7bb9010a27ede191cce4cd71e0bce351c48f6dd7d6e2eec89c6e94634eb73ca754285fee5e997496df7e986dcd3cd72b8a1d962b0b3518583722411af572e61e6cd66c6efa1aa12bb1f0695dfc393426e68fa0c448a49b8bb8b74e29c09f0b66389facc2afba74fc94e5335bf1b58dc6cb33127470b185d015448a5cef8a67b8dee6f69f9558c7d100d8f40bd30d7b99ba08fcce00dc7bf148fe2a062e9dbbcd17fe7db795d335551017faec3c144869ff69532df37410b2e11e104b971f8228c4690c27eaa18938710429937bb969517fd3bd448c9066d7b75b18b0b41377f51cab6a0d27f1f94991db45ee25b991fa735fca1bf858cac6ab6892b386eb9da378abb4b9ff31d418a3858801522a4dd8287db2c8ff3906a4402580ba3e289ee901efd91af30bb4b60131fe04892d747025babd7f6690e97d8d9323b136729667b2c0c710d13b1445fcefb701017b8a841fa540e456d46f5007531aca29c713101d321a9458d38efa9f100dbfbe34ce88f35c71432db8bdf3a38a336741b9050676f711c6a84a735ee60bb318ebbcc65de08de80b95e2115b2ce1886b7e5c8063a66df5eb2106997f99c49a88641804b39bde846898983b8d38b41d90d3d2249f78d3aebd52f840c7d12b703203ff34bdeedafb8cbe50848f41a35fd5487185439201b002f16aace3a122b13a184da13678a5778431499af5a68d4c8dcd802f609d549ef7c15f444f29d74bf9f00dc50ef5ef163eaaab4eda581410179c4fc67bee2fcd8553c92caf2902d47e4d6427ff3fa58724078cabc9be27cc39c84ea6daba2ef042f37f6a5ec52a7cb2ab727c1b597c8d632bee0802590cee5151868473c0c14247b1f918f272fbf906d196fb7680c76a4a60095573a4640d14ec9f473f0d2e53b91401b1b4f360e597c77bb7693e7cf8937ebf42816c665a79cbe38ac2cbab9a9b6156a240a379cc3340fd207e2cecdc2fe70b5c272f88c275777b596ef9f42131d8c088e9dd31eacddefc1342d6f1555842af20abe53e18d31a33c252faba724927bc0d6ffb40d81e9652112576bffa1294c4eac501093fd1df4141f7627bc91a5ca5ef1e689142f9de0d9b0dd24934ddb9a3965edb43630bc82a3e3d9078f5840dcc3732e763d12cefb0a3a2448c793c809a346b210c476fb34fb635cf40f76f908c017d1401c78427de00994ca37df8fdb7ee6235158e5b8ef4c84c82c84e463c6a9cd6de', 1795342259457535, 5, 0, 0, 0, 1795342259264000, 0);
INSERT INTO public.challenges VALUES ('default', 'ch_duzlzaif2cv6veexym6unqewre', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'app_rj4cljziowz2fppvwe35pd3sou', 'login', 'stranger', '', 'asserted', '["scan","digits"]', '["push","totp","backup_code","bypass_code"]', 0, 'DIiaXXB06wQCOq_LEJGx_VDmBv8peQvlb56GrbDc2WA', true, 'jo', '["scan","digits"]', '', NULL, '{}', '', '', NULL, '', 'eyJhbGciOiJFUzI1NiIsImtpZCI6Im56ZTQwbmVkYVFDdDlXMTZxV3RXWUhmdU54cUs4S29PVGNQdzFoTnpsaW8iLCJ0eXAiOiJub2QtcHJvbXB0K2p3cyJ9.eyJ2IjoxLCJpc3MiOiJodHRwOi8vMTI3LjgzLjAuMjo4NjYzIiwicmVhbG0iOiJkZWZhdWx0IiwiY2hhbGxlbmdlIjoiY2hfZHV6bHphaWYyY3Y2dmVleHltNnVucWV3cmUiLCJ1c2VyIjp7ImlkIjoidXNyXzZ2aDJqcGlsN25ncW55M2czbXl4Z3JibXpzIiwibmFtZSI6ImpvIn0sImFwcCI6eyJpZCI6ImFwcF9yajRjbGp6aW93ejJmcHB2d2UzNXBkM3NvdSIsIm5hbWUiOiJQYXlyb2xsIiwiaWNvbl9zaGEyNTYiOiIifSwia2luZCI6ImxvZ2luIiwicmVhc29uIjoiIiwiZGV0YWlscyI6W10sImNvbnRleHQiOnsiaXAiOiIiLCJwbGFjZSI6IiIsInBsYWNlX2NvbmZpZGVuY2UiOiJub25lIiwiYnJvd3NlciI6IiIsInJlcG9ydGVkX2J5IjoiYXBwIiwia25vd25fYnJvd3NlciI6ZmFsc2V9LCJtYXRjaCI6WyJzY2FuIiwiZGlnaXRzIl0sImF0IjoxNzk1MzQyMjYwNzE4LCJkZWNpZGVfYnkiOjE3OTUzNDIzODA3MTh9.PYyJjyQTXRi4s1Kapz9-BVepJnviwQ5mh8ygZjFvKlrXVJAv14gSJcnN8P-S7Oqbd40Zbi2k14C-Bmu6WqUm2A', 0, 0, 1795342260718256, 1795342380718256, 'pending', '', false, 0, '[]', '\x0162e27f195422990943a63f9a16a00b1ee9fd1ccbe9f2bccb29de91ec2ba05d2fd3ce1a371a4c746f5efcdadc327201c0ecf71987b2c2e4181aca7e592f7771d73c546cdaf3173c8f544974284a307fa95aa615e834c453ca11b47e34e81b99e937f3c85be7905801ade9b2d7bbbff3e7d50bebfced', 0, '', 0, '', '', false, false, '', false, '', '', 0, true, '', 0, false, '', NULL, NULL, 1795342260718256, 1, 0, 0, 0, 0, 0);


--
-- Data for Name: devices; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.devices VALUES ('default', 'dev_hxhywhh76gckmckzl4jtsycevm', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'enr_x653jbc2jeahoglmh74k56jg2u', 'active', 1795342257211950, 0, false, 0, 0, 'laptop', 'cli', 'nod (devel)', '[]', '{"kty":"EC","crv":"P-256","x":"zjlUeku7ywPKIAqj8VkBOVdOOTEx4iYYZn-NfWCDa-E","y":"gxoAIu-Q-PL35C7z2GBX22ERUKa8oSRWiqyGrISACN4"}', '-0ZPnIA-0rhgMW1KUqRRjuB8MuaeC_8tB-HY3oMvuV4', NULL, NULL, 1795342257005461, 0, 1795342257005461, 2);


--
-- Data for Name: enrolments; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.enrolments VALUES ('default', 'enr_x653jbc2jeahoglmh74k56jg2u', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'confirmed', 'administrator', false, 1795342256699501, 1795342856699501, 1795342857005461, 'dev_hxhywhh76gckmckzl4jtsycevm', '-0ZPnIA-0rhgMW1KUqRRjuB8MuaeC_8tB-HY3oMvuV4', 0, '\x4f95af8f6dce9031e1c9e77fba5a4d683c5ff0b5822118727d8d39221bf84a4f', NULL, 'app_sxedlh2bwi6s7dbgps352jp47w', 'AWLifxlPGjLeT6x5Or2JS2I_mEpLZFqioHK_KD9jWQndk-U2O94Lt21v09p6fhGof4o8tpCyZ7YNYparedF6zNvo5WHOenghyeGpMUkKTRiJxDSlPIl5wuNPPYX29gHI_hai6U6_T_k2TYcz_qagSUHAZ0iU1BUbHYbotRphb5KCtfMxRByC1KYwI2QZQsumud6CXtl5iGku6paHojDs_t_96sV5t03JL-vbUNSVg80_cgiZ8Uq6oswv44BiAf0MUCEXjAUOez3kZW6gpotZUVMr1o269bmgZpsaFJdUGR_h0hlcrN5PgbIbLl6efAMOKYTYbQWQ2iVPXYQ5z1AJvEtHiGPO5kKHfTU-8z1NM_EvlL5hcfi80NV7xnQmuelSY6irJUtI4JmwxG9SUz3UZK6keNKg83AZ86Cwia-Jp_C2BKxklY06oSj1gGi86q_kOYDIH4IGOuRsL4tF389qm-XD-f5NcHOqRSjXGwBI9Tn40j229KOXDIv-oYvIJ9if7pz7RH7Ccre23YmmdRoRNwDlmFPXRWavrp2E_ZE_ZlTBB1eQKIt3kAjc_6VIe1Ap26VMxvlZYRdk2mgN-pZXDqFe4Z37gG1eRBjDjgUsj-ybs990eKqW0BWjSqxnil7uL2XwcJookhDoSlvl4NfGAvQKEdOvfh4R3BuBOR38fjAyzmqClbEXQUjBsatOx5z0UTamzcfUgz1_1dQBHkOmcMko8MDmPTehw2tr3uKkftVGZuez67n-bIfK4ADjhcOwLrq43WSLcuYn1GKrcHzM74rHBPhQr0xtD9KcATkUkX8_FpU6y7hXJdtl0o7pdF-ggtuKwHxHBJx5P7vblkz8Dz8gFU7kEDJA2L3ErwwVhZciw1m6h34bPBG4IiiJlni6V38Ne_MGky_LCq1PnrespLrjI3qUlahLtdn3H_KmcE10YkSFn_-iQ3SzPw6wf1a9h2m6jWxaLBACs9thXL9DhA6ndrNtZryVstNZ9EWCQFrUyvxzhfTj8BcN1DzXYOpRgP0glQ8RI5S7VgS7fItDTAjgOgqzz1NCs8tAh6BrrsI7h7yXo9AM48DXsoYKFnvNIKQX22Uu5J3WPo8Neil2dT7UEREUuceKXKm9q3FaOJJd1uWmhBRKKwVbDKoxKHjhSwFwsbOAt0fi-0MyPrzxcRp2AW9LP6MgMl8ADV_cpXQvuwLqv7rcYD7BPu3Sn1C7_Ww9Vm-0Yw_JZcrppQ2vQ5I5lIToaFovEp2fybzFO1pGAHcJTrU7WMfHIgckhW09jqMUdN2AH1v3JqhlnRpb2qYHks2dWmuZBk2nJjlGjx-Pk6Th1MG0Y-9-yCyjkg6kYkEB6PPi59ye-BNrPaAL81Jv5nVt5ttFUM902zk9c7A3FPVTtEifrmNXtxf_RNbcfas1l5Yg0uZjntyFUH7LVgAIJqMth9jm5LjdlYSQsD7JgYbaqDmDSeA21KLmybMjBix0WYocb_2PVBePoMOswBDN-sPAvZsn5cek8WXny4__zEmbcyvVFLUFV0PJdUxKKVOVVagrYEbW8S0nZhKq3KpA70vjqdIf4frIwr-rnsfFVuuAtyylC4SfXJjZXmo3rTKpc5DXDDL_kmIuHt_otFVR3cRorHa80D2dbyEx_LGfEsO-IE01p4beCsd3uOTUtY9IFeY-v0bqYBLPuLpmO7Xs-8JjFJBRU3zMZsA34KSH3C_AP7KdwVgmfGV6mAI8r9XjsYDNM67SdqcwubbISbDx0uagWJKhRputsrfTYnaW4GoMR0CKGTTIwYNOGEGQ-6tQnKRajtuLvPGV1C65-Gx90T7OaZm7JkSepOpldzQLKBJ8QqKQ94popy7ym33KyIR-l2ivdvjePH2YB3VgmmxPkKLGMMAnslnCFehvXg', 3);


--
-- Data for Name: events; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.events VALUES ('default', 1795342256382780, 'evt_gfo7betikpnizltyb5o3qjns33', 'application.created', '', 'app_sxedlh2bwi6s7dbgps352jp47w', '', '', 'server', '', '', '', '{"name":"administration"}');
INSERT INTO public.events VALUES ('default', 1795342256382780, 'evt_3rtavsdzbvtgxkkfouunbvylnz', 'application.key_created', '', 'app_sxedlh2bwi6s7dbgps352jp47w', '', '', 'server', '', '', '', '{"key":"key_vzgjqnuvnkrzkn7nmrblqfymqx","scopes":"authenticate administer"}');
INSERT INTO public.events VALUES ('default', 1795342256550063, 'evt_yaxhc2aqvgwr27cbkza6nom6xz', 'user.created', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', '', '', '', 'administrator', 'key_vzgjqnuvnkrzkn7nmrblqfymqx', '127.0.0.1', 'req_ngzleyudabgpzjn57f4hrhwxtd', '{"name":"jo"}');
INSERT INTO public.events VALUES ('default', 1795342256699501, 'evt_t6qlmmfo5walax7qnkito6cj3p', 'enrolment.created', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'app_sxedlh2bwi6s7dbgps352jp47w', '', '', 'administrator', 'key_vzgjqnuvnkrzkn7nmrblqfymqx', '127.0.0.1', 'req_mjovihututq7epxrbf2m4ayg4k', '{"enrolment":"enr_x653jbc2jeahoglmh74k56jg2u","lost":"false"}');
INSERT INTO public.events VALUES ('default', 1795342257005461, 'evt_y4yaowvbhwkpqctc5xnoqitkde', 'enrolment.claimed', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'app_sxedlh2bwi6s7dbgps352jp47w', 'dev_hxhywhh76gckmckzl4jtsycevm', '', 'user', 'dev_hxhywhh76gckmckzl4jtsycevm', '127.0.0.1', 'req_4owmuq6nkx7jderk4tz33ipcis', '{"enrolment":"enr_x653jbc2jeahoglmh74k56jg2u"}');
INSERT INTO public.events VALUES ('default', 1795342257211950, 'evt_t35gmzgpz4oe2tkhtu57kh4l2j', 'enrolment.confirmed', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'app_sxedlh2bwi6s7dbgps352jp47w', 'dev_hxhywhh76gckmckzl4jtsycevm', '', 'administrator', 'key_vzgjqnuvnkrzkn7nmrblqfymqx', '127.0.0.1', 'req_getxmfdecxptejvgovi7gboqea', '{"enrolment":"enr_x653jbc2jeahoglmh74k56jg2u"}');
INSERT INTO public.events VALUES ('default', 1795342257211950, 'evt_ese2hy3ufgxoxgz7unknklkcxa', 'device.added', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', '', 'dev_hxhywhh76gckmckzl4jtsycevm', '', 'administrator', 'key_vzgjqnuvnkrzkn7nmrblqfymqx', '127.0.0.1', 'req_getxmfdecxptejvgovi7gboqea', '{"enrolment":"enr_x653jbc2jeahoglmh74k56jg2u","lost":"false","name":"laptop","platform":"cli","quarantined":"false"}');
INSERT INTO public.events VALUES ('default', 1795342258502562, 'evt_yodwz6lmlpiabzyjv2wncyrwcc', 'backup_codes.created', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', '', '', '', 'administrator', 'key_vzgjqnuvnkrzkn7nmrblqfymqx', '127.0.0.1', 'req_e52tdipvlfcdiy2ef3ni2pm4qb', '{"codes":"10"}');
INSERT INTO public.events VALUES ('default', 1795342258717340, 'evt_pjftlmrzr7slwv6764pbokm4d4', 'application.created', '', 'app_rj4cljziowz2fppvwe35pd3sou', '', '', 'administrator', 'key_vzgjqnuvnkrzkn7nmrblqfymqx', '127.0.0.1', 'req_isu5md2jid2gj22dvx4l2im33n', '{"name":"Payroll"}');
INSERT INTO public.events VALUES ('default', 1795342258717340, 'evt_gheytcrcp47buwqz5qndoyfclw', 'application.key_created', '', 'app_rj4cljziowz2fppvwe35pd3sou', '', '', 'administrator', 'key_vzgjqnuvnkrzkn7nmrblqfymqx', '127.0.0.1', 'req_isu5md2jid2gj22dvx4l2im33n', '{"key":"key_5p5w5pp75whojddw5tcd6zq2lg","scopes":"authenticate assert_first_factor"}');
INSERT INTO public.events VALUES ('default', 1795342258909517, 'evt_yinwaychztnbdz6ivo42vvbpsl', 'challenge.created', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'app_rj4cljziowz2fppvwe35pd3sou', '', 'ch_q63uzj65k6sjug5olou3hy4n4u', 'application', 'key_5p5w5pp75whojddw5tcd6zq2lg', '127.0.0.1', 'req_btjerrxb3f4s4vtfwzpbepm3yi', '{"first_factor":"asserted","kind":"login","provenance":"stranger","rung":"yes"}');
INSERT INTO public.events VALUES ('default', 1795342259288980, 'evt_mluwjxlcafhodxfuofybj4ogf3', 'challenge.approved', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'app_rj4cljziowz2fppvwe35pd3sou', 'dev_hxhywhh76gckmckzl4jtsycevm', 'ch_q63uzj65k6sjug5olou3hy4n4u', 'user', 'dev_hxhywhh76gckmckzl4jtsycevm', '127.0.0.1', 'req_b5ikumgelygo4solonw4jeoqwm', '{"match":"digits","method":"push"}');
INSERT INTO public.events VALUES ('default', 1795342259264000, 'evt_nm36whq6bvz7iszdvpmkn73zul', 'challenge.delivered', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', '', 'dev_hxhywhh76gckmckzl4jtsycevm', 'ch_q63uzj65k6sjug5olou3hy4n4u', 'user', 'dev_hxhywhh76gckmckzl4jtsycevm', '', '', '{}');
INSERT INTO public.events VALUES ('default', 1795342259457535, 'evt_m2z5wzpnhul7yxe2djisjz2a4e', 'challenge.redeemed', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'app_rj4cljziowz2fppvwe35pd3sou', 'dev_hxhywhh76gckmckzl4jtsycevm', 'ch_q63uzj65k6sjug5olou3hy4n4u', 'application', 'key_5p5w5pp75whojddw5tcd6zq2lg', '127.0.0.1', 'req_vzot5rxdxbalztgpuxsvsa273i', '{"match":"digits","method":"push"}');
INSERT INTO public.events VALUES ('default', 1795342260718256, 'evt_stgtzdzb3yvukerems7ngmmybj', 'challenge.created', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'app_rj4cljziowz2fppvwe35pd3sou', '', 'ch_duzlzaif2cv6veexym6unqewre', 'application', 'key_5p5w5pp75whojddw5tcd6zq2lg', '127.0.0.1', 'req_vex777s46qsqse7sizkqo3pgpe', '{"first_factor":"asserted","kind":"login","provenance":"stranger","rung":"yes"}');


--
-- Data for Name: goose_db_version; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.goose_db_version VALUES (1, 0, true, '2026-11-22 10:10:55.441383');
INSERT INTO public.goose_db_version VALUES (2, 1, true, '2026-11-22 10:10:55.530587');
INSERT INTO public.goose_db_version VALUES (3, 2, true, '2026-11-22 10:10:56.200694');


--
-- Data for Name: guesses; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: key_sets; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.key_sets VALUES ('default', 1, 'eyJhbGciOiJFUzI1NiIsImtpZCI6Im56ZTQwbmVkYVFDdDlXMTZxV3RXWUhmdU54cUs4S29PVGNQdzFoTnpsaW8iLCJ0eXAiOiJub2Qta2V5cytqd3MifQ.eyJ2IjoxLCJpc3MiOiJodHRwOi8vMTI3LjgzLjAuMjo4NjYzIiwicmVhbG0iOiJkZWZhdWx0Iiwic2VyaWFsIjoxLCJjdXJyZW50Ijp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiRG5HVVNXNk00UzBwaktzcVRBblQ3bTZkdkxVc3pRaHA3U3ppamFOVWlEVSIsInkiOiJuMEJ1U05WMnpoTXJEREIyODA1SDB0b25CUXAtTFQ1STVIOU5LdHJfU2ZNIn0sIm5leHQiOnsia3R5IjoiRUMiLCJjcnYiOiJQLTI1NiIsIngiOiJIbHgzelUzR2tBWW4yMTF5Rl9VLWR4WVpST2lHTzN0TXpROWJrZTBvRTZjIiwieSI6Imt6elVkMF9BSW5vckRObG80ZzJuTWNDdnpKRmtSTzQ0bFAtUXdoQ3FKcDQifX0.EfmKwokC5QHxctIb_NpYHTfWiEThFv6amG4b2BO14G_X9jG15XyeSq9kedzzFquceqLqbAaTj1qHUigM62DiAQ', 1795342256352954);


--
-- Data for Name: notices; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.notices VALUES ('default', 'ntc_cgc6dykredzsp4h65o5okotiif', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'dev_hxhywhh76gckmckzl4jtsycevm', 'eyJhbGciOiJFUzI1NiIsImtpZCI6Im56ZTQwbmVkYVFDdDlXMTZxV3RXWUhmdU54cUs4S29PVGNQdzFoTnpsaW8iLCJ0eXAiOiJub2Qtbm90aWNlK2p3cyJ9.eyJ2IjoxLCJpc3MiOiJodHRwOi8vMTI3LjgzLjAuMjo4NjYzIiwicmVhbG0iOiJkZWZhdWx0IiwiaWQiOiJudGNfY2djNmR5a3JlZHpzcDRoNjVvNW9rb3RpaWYiLCJraW5kIjoiZGV2aWNlX2NsYWltZWQiLCJhdCI6MTc5NTM0MjI1NzAwNSwiZGV2aWNlIjp7ImlkIjoiZGV2X2h4aHl3aGg3Nmdja21ja3psNGp0c3ljZXZtIiwibmFtZSI6ImxhcHRvcCIsImVucm9sbWVudCI6ImVucl94NjUzamJjMmplYWhvZ2xtaDc0azU2amcydSJ9LCJieSI6ImFkbWluaXN0cmF0b3IifQ.blq0VYAiE6y6cfbt5ChUOkCgbLlcpOxtUU-cWnAWbGb2e84THMtPpLlDF_ahFE7gWHnKdQvXfrV09CN7zbtFSQ', 1795342257005461, 1797934257005461);
INSERT INTO public.notices VALUES ('default', 'ntc_w4cikcbgevucigcoui2djagwjj', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'dev_hxhywhh76gckmckzl4jtsycevm', 'eyJhbGciOiJFUzI1NiIsImtpZCI6Im56ZTQwbmVkYVFDdDlXMTZxV3RXWUhmdU54cUs4S29PVGNQdzFoTnpsaW8iLCJ0eXAiOiJub2Qtbm90aWNlK2p3cyJ9.eyJ2IjoxLCJpc3MiOiJodHRwOi8vMTI3LjgzLjAuMjo4NjYzIiwicmVhbG0iOiJkZWZhdWx0IiwiaWQiOiJudGNfdzRjaWtjYmdldnVjaWdjb3VpMmRqYWd3amoiLCJraW5kIjoiZGV2aWNlX2FkZGVkIiwiYXQiOjE3OTUzNDIyNTcyMTEsImRldmljZSI6eyJpZCI6ImRldl9oeGh5d2hoNzZnY2ttY2t6bDRqdHN5Y2V2bSIsIm5hbWUiOiJsYXB0b3AiLCJlbnJvbG1lbnQiOiJlbnJfeDY1M2piYzJqZWFob2dsbWg3NGs1NmpnMnUifSwiYnkiOiJhZG1pbmlzdHJhdG9yIn0.s49_5TmdCxNKjniJ_mqEccnmMTNIiLp-cTiFKvT6sXAJtBuGpnb8Bm7fIqeU9B_LR1tMmBq4fDEnmM-nSU49AA', 1795342257211950, 1797934257211950);
INSERT INTO public.notices VALUES ('default', 'ntc_wmohxouxhcbypl57agrpglxmju', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', '', 'eyJhbGciOiJFUzI1NiIsImtpZCI6Im56ZTQwbmVkYVFDdDlXMTZxV3RXWUhmdU54cUs4S29PVGNQdzFoTnpsaW8iLCJ0eXAiOiJub2Qtbm90aWNlK2p3cyJ9.eyJ2IjoxLCJpc3MiOiJodHRwOi8vMTI3LjgzLjAuMjo4NjYzIiwicmVhbG0iOiJkZWZhdWx0IiwiaWQiOiJudGNfd21vaHhvdXhoY2J5cGw1N2FncnBnbHhtanUiLCJraW5kIjoiZmFjdG9yX2NoYW5nZWQiLCJhdCI6MTc5NTM0MjI1ODUwMiwiYnkiOiJhZG1pbmlzdHJhdG9yIn0.oS667XgmoAXu0Q2sTL1C151YGzad2TDi0_TKe_rjPWNErWfJ8CZByApxDpqsBKSscKhISVx_5b6eXXZocu2CFg', 1795342258502562, 1797934258502562);


--
-- Data for Name: policies; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: realm_keys; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.realm_keys VALUES ('default', 'grant', 'CEDjO5zOCBEnPAz5u3xCunatETFvng5gxqDFac9MBK8', '{"use":"sig","kty":"EC","kid":"CEDjO5zOCBEnPAz5u3xCunatETFvng5gxqDFac9MBK8","crv":"P-256","alg":"ES256","x":"J9CALnOOyfXy4zilMHj1Dfkxpdod6g5SZGTJMc60-w8","y":"DfQSEK9UU9zil_bW2rY8_Q10T8upuLueOLTkhaA5_y4"}', '\x0162e27f190e29791872fa0d6afab12c56aedf0ae126adf74126219016105305e5687ba9bed604a44f51182e7ffabcea248c3e27eee4289486cf4c98c0b26813c6fc5945b018c668e17a8684f1ea7266d1b9fcb26e13898e638416412125de6bbaf9a40e0d1c0865237ce60db0df43eab7096d1dfacba115d46ca957d5f998676e0912011c690a7e1ae00206d7a0870158005af2a5d1dd613d168c64b5074838f4f7d479e237cd759160814e92442ed82af869e2df1d1d', 1795342256352954, 1795342256352954, 0);
INSERT INTO public.realm_keys VALUES ('default', 'prompt', 'nze40nedaQCt9W16qWtWYHfuNxqK8KoOTcPw1hNzlio', '{"use":"sig","kty":"EC","kid":"nze40nedaQCt9W16qWtWYHfuNxqK8KoOTcPw1hNzlio","crv":"P-256","alg":"ES256","x":"DnGUSW6M4S0pjKsqTAnT7m6dvLUszQhp7SzijaNUiDU","y":"n0BuSNV2zhMrDDB2805H0tonBQp-LT5I5H9NKtr_SfM"}', '\x0162e27f1928d690806441556818522b40fe5a3a54b09b014f5ea1f38dd0f90014f8d1b444961648b835acad77c4de3d8766034978d6d13dc1b90e37b8feee908ef0f07d4060ccaf9690967eee6e35e0e319975beb81d2c2d26f61138be4c57c8cbabef7020856ce38c2272ceb5eac12e1d55dcb615b43ce870417d7bbf6c7bf7a6dbe3d14c085971cf47112621852bd7ffba76f8f730b6ad6e59bc0764c17471848db60615f1390ee7a34b4ab42ad5a1afababb21ba3c', 1795342256352954, 1795342256352954, 0);
INSERT INTO public.realm_keys VALUES ('default', 'prompt', 'sCtkEln8l6l4cmsJ883Md4o6Gjtp6vmAxSR0NFHEZ1U', '{"use":"sig","kty":"EC","kid":"sCtkEln8l6l4cmsJ883Md4o6Gjtp6vmAxSR0NFHEZ1U","crv":"P-256","alg":"ES256","x":"Hlx3zU3GkAYn211yF_U-dxYZROiGO3tMzQ9bke0oE6c","y":"kzzUd0_AInorDNlo4g2nMcCvzJFkRO44lP-QwhCqJp4"}', '\x0162e27f198084dbd84b7ca386ca9e57c64f6ed1914d4e6ddca89c71197015ce58c97df41887ed394e823a2ead404b85eab37d1323e8afd1d1da56c35c2f3bc113863d7f67d1318a36c09f445d8ba635b72a5d3527374d6540fe8fd360d1c120153753d963e6ff9ccb7989f5654e18e7e1db84b87020523729f0ec513ae2e7f0d21e2eea4611e8e4e24b1e41d12438db261589d90c51ce5552a7f6f86bb759232ae6a3f232dbb75d785b907369d14ada1937f16fa87474', 1795342256352954, 0, 0);


--
-- Data for Name: realms; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.realms VALUES ('default', 1795342256352954, 0);


--
-- Data for Name: replays; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.replays VALUES ('default', 'app_sxedlh2bwi6s7dbgps352jp47w', 'POST /v1/users', 'T655XCUZ6TETNH7U4YIPEGMCV7', '\x18f990fa69d8c46476596e854fded2b5d3c67f73b494259a4a85a679164ce0d4', '\x4f43e5bebffdb126aef5bfc9c75e6d78e1a560b5a555df53f9efb6df5ec03448', true, 1795342286544500, 201, 'usr_6vh2jpil7ngqny3g3myxgrbmzs', false, '\x0162e27f19e7dc5767367b4db80605a67c60aaf40d604638a5b122e0b9a1cb7bf2b4c660eb8849ffad8be19a0963c2b497cf8a3adf484322fb4987719aa57a91a9a849833f3a8f3bac08152510b3f1022c62633908a7425d62d7bd8d571882212595786219e904e9029a571d4d6c30099bd4a15eb23c877ee0a26e9dc01682a9c0b64d1e4531925933555b15a68b9c1de4837942627161fddd68f0b61bb60bb4a42aed0c62faa17186245ca448e127f1e0d2a2c994d24b5e20d337714cb741caa51df964672d0e908ede82e436dbcb80e03f1ce4da008e43e2674421b90b1c7ec8a33e501cda5a1f4b4ead9c1c2365fbdd5ecceafc0efaf50b', 1795342256544500);
INSERT INTO public.replays VALUES ('default', 'app_sxedlh2bwi6s7dbgps352jp47w', 'POST /v1/users/{id}/enrolments', '6M52U4W2NYH46YPAHNVCFUHUZ2', '\xcd4801894a97fc5ecc6a69f7529595a39b34cc45b5ffad24c60ad0b1e95ad49f', '\xe377311b66425a3b91c334e3ccf7a3f404afb08dc61b1a0b9eb04604a3f7095a', true, 1795342286690196, 201, 'enr_x653jbc2jeahoglmh74k56jg2u', true, '\x0162e27f19e552319bafd3cf8d0305341833dbed383e26332bc75bd9b1090761f8264eca09c4b40be45260ce629afdba286198d71d298d395fc634aaff193318f75fd5167db29332037818320822419a59dae927c083c9578c07b5c7b6de7c9fd9070c4ed63f45710e601b62e46a3101cf2e00407487ed66e75c19042709eb82c9fcab4f390854d89be82c67e49eb3583069d2be3a1a89a5145ef448f95575162d55f4af41fa74dcbe77200358a63b7ca7cc7d53268a2c378f0e586a31e43172ae4cb7232b83f7e644ad94cf46eba51a04856f70982e351eeef6312a82e65ed33c9fddf8131ce07e6534be8f94de4ab21e8f1152341f2f3683d279ccbf71f1b3d0ba9724bee450efc26b0f91', 1795342256690196);
INSERT INTO public.replays VALUES ('default', 'app_sxedlh2bwi6s7dbgps352jp47w', 'POST /v1/enrolments/{id}/confirm', 'NTHO7E7L7L3ODHH62G3VDZHCXD', '\x7b3cb75d173b7a8c4bf56bef29d734a078a28cc0c635de06e22c1b9a3319a5b5', '\xccbcda422dc6db2b7494fbdca8ac89355728b7b9ebdd74bcd9a814596e2b4b66', true, 1795342287205109, 200, '', false, '\x0162e27f19aaf5c647a296a828d977311476ddeab0be37ad6260b8500943d2ff3f99f768ef6d80e1c2b719bd984e6b93eee399d259b96ff379ec799dcf33c07f8ddea58aa6d793cba30af733f6b5efaa51ff805105dd98a7c1418d8c9bebdc850e5498c82727c1e876e82e07456f72f37f8d90cf3cd82f4603128d1426c6b78eabcf82821b2c1bdf5f9fcd1a8872998c6411029eb89fcc453c57d35b4ef8963bb4a0d9d4ad767dfcc4ec8374aac23b21d094a8082141c59a9f6b5fb613e506dc9d3d9752b6fbdc39854e18ab5c95dab61c0662571bf5810a0b399585a213c3b9c04a7643ca952d27', 1795342257205109);
INSERT INTO public.replays VALUES ('default', 'app_sxedlh2bwi6s7dbgps352jp47w', 'POST /v1/users/{id}/factors/backup-codes', 'HYA6JAEHUU6UIN2LWLY6R3C77E', '\x2ddf73c3515256c23dbff7f1173440236304bc8e2fc8b449d963d4153212fab0', '\x350e0b15cace2e84060a7872d8c879007d571138285e791374a5b4c6c745d64e', true, 1795342287433644, 201, 'backup codes', true, '\x0162e27f1901d93031abbaf84f5841019b7c1e290fa7ae2dccb9c96633070a060e213e0262a7eae7a5313afb951855de9fa7841ef002f74fa49ff29fcafbf752059fca3bb106c9bbdb5f850798ec64c7b85024ffeaa27913c744ed95ccb7a51af78ac2f2d3a9049dd2ff3871f1a3ad15905b093263eff98c50781ed0bd2c2c14cc03626471f2ba9109c4a7365c7fecf05f0ef409859c0555dbfef76792d4e45fd19a75ffb342d5f58cb2e5c5fed4caccae0201fdc7bd8c58bbf8a0d2ed7ce4cc4791b44d01713f59cdf73de0ecf14497d164dac9904eeeb198c199fefce7552502f6c2ea55995445c7d04c381eda8f64504414558bde9773a3d7531e852ae91f39f9308576b82f0bdec1b0f8ec775030066c398e105d7fc49d5a8a652046be2885ba1eb30cd44fb2c8', 1795342257433644);
INSERT INTO public.replays VALUES ('default', 'app_sxedlh2bwi6s7dbgps352jp47w', 'POST /v1/applications', 'VQZIIERNYAFCKAJOOV7CGFZYL3', '\x3811b5d060c61e27e0bed6d2cf6b823bf1eecd7360eb8397a4282335b8da5d97', '\xf1b3fb33e27b7704a12937e8c14057136ee59fd62f38f8dffcac9b85b39c7427', true, 1795342288714163, 201, 'app_rj4cljziowz2fppvwe35pd3sou', true, '\x0162e27f1978c2f977d23a9dc74cfb2e2045bc0a69e24792a18b631c52a4c4abf5b1bf6881b159e9c7a207b413367bf40473fe71e42d7aa90fa1348fcc95c2d2560deb5a4f33c38b243362e237787abebe44182a3dd7271cdc7345faf82e16f37e536e667350d991f581a17026c79646fb8262461d54b89b04497de04989b8e1740471a152c529d3d1db5616581e4baa37b5c52f25aeb57eae9ce05fcbf4493ab27c62ab15e0062088e3b3614d80e215c3933bd51d5c5897711fa0e4fbaf2cb2286b4265b0dd9181557324bcb78a999c507af0dc93d0544abbd43d2bae760a3372286bf62a7436706688e06795650c40fd632010b2a99dee77ecf691e8c0283997af26d566e590ae403bb9be85104132ad3f433524fce96e4fe13af626c84cf7eeab715015bfa4e25017d8297975c58d7a8b547cf9ae9c58fe53bff36a87c334bc96155f0e3976e59680d6dcbee0d3dcaa8c39f2856abd509638ca53b5b7f2506d0e853c1101025099c9cc70b474e7ad1d0521aba6fbd6acb53e41cdeba312cc3a627f6423738b5fb38239', 1795342258714163);
INSERT INTO public.replays VALUES ('default', 'app_rj4cljziowz2fppvwe35pd3sou', 'POST /v1/challenges', 'XYL6D7CI4HCTTKDPX4JZBRAEQG', '\x82ed0790b185a63966bc36d35670c4d27505388ef9d3583253fa95323ea0641d', '\xa35deff59081807075af0b76251ae3fd5a2a669f58ba93f7f1ae602cc7135540', true, 1795342288908662, 201, 'ch_q63uzj65k6sjug5olou3hy4n4u', true, '\x0162e27f19cf0b8e952d7c66d2fecf79c2582a7d0113ed50a5fefb34f9dcc47294aa4719f5de1eaf6a77e9acde548e3cb7f766a496b613346f4eb40c18070b9c1c8b0e65c0a3c01d55652bd6550e535d6db1c55ed82b544bd353a753cbdc7c42380d5d09b9d679242e885ad4f9a10a7d7c8553d62dec697fce783b9eed8e84b4c6d71c6e1231499b02defdb07a80395872d8054545315b522479f93cc9bbb19e344f299d167d514e70db903b35e74ed9fe4d3badd0b7c330a7fe55a4df2a3f5e9d41974fe26f01ada7577c8b19acc7c78a185732ec908e29385ac744c4261c993c1782d6df7021b668d45e4a02005b27ca8ddd14784e60060222ee07ca0595e89797b8d7f9aaf5c2e12895cb1c68fb6e668f55a6a00e86f01b24ef0d3341bad882deea5a25496133a8f2b0acc3a0ee64e9b4740ca6d861d167a4fd84d233d503e006c9ff5a3c248568366df807e29a11a9dff65784ccbd320a38c99a77777ecd0840787c282364e7bac9d1d1c327ddb8e71d8d8a341e37afcc3f437ed4a2211187a06c6acfe3de2a663c526989be0bed693edad8755bde5dac43bca552effbc75f4579fc1ed1e12c450ea5b616991901185dd97e523d7968cd4252c74a82d5d1', 1795342258908662);
INSERT INTO public.replays VALUES ('default', 'app_rj4cljziowz2fppvwe35pd3sou', 'POST /v1/challenges', 'OA3I76VDRI4UTWS3WTACEIPTRX', '\x17c6b2e6e84e50621e14254344c00cae123a714033b643c2dcab546ff755d39b', '\x59d8fa7c39aa9a4091b7ae601311e549ead180e37ec10d951f23e53b5fe90807', true, 1795342290708147, 201, 'ch_duzlzaif2cv6veexym6unqewre', true, '\x0162e27f1912c87d5794ac6305e212ea8388f19d2468274feb0a28cbee2ced27984f9dc1af4741d4d193c3fb72195e3a353b5412adffcdabbc64c2c0e3a87153129a7d10400da9fdf93d676cc0760020228701c72dea267b1de42eb6096b48f1920cb451173f6c4ccf9bec240f9730de627e297796a024e61116da6750e10c69a27d6e496fd85d2cdbff477883b1f334d0b2425f4a020b99369cf7df152d49c24a644631b5b9bee6714cb587a52cfd8df4eb8b19c26151847cf5a37be7a401db8116e90fb2a3ee81490614dfd3f70ba8a96335a43cd3c4e40ac27c98a34aa418af2a4d34b66721b0761f941b7bb712bb98efc4e0718ff58250585e473ac6f717dc4f3c607d69f5cf55993c1c35c7e6b6e02d03671a1e6f5cb31031c3b868c5568805f5d8d0986761c734d0e276177652a700fc0f28a058d6491923929b0d64efdd33bc916951a70f5920322e46bd4ee3edc79189e2562222f4a778a12c3ba619583ab822077fc0f5bc8c09432d3265da790ff64278ab972654c75b177422765036727bcafe4f912216306bd0d9317aef4969c55e17a42717d7def72a98c9b9af47506ba43872eb0abf9b3e8e9b282086657767dcafcc04ebe3ebe032476ff505', 1795342260708147);


--
-- Data for Name: settings; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: sources; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: thumbprints; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.thumbprints VALUES ('default', '-0ZPnIA-0rhgMW1KUqRRjuB8MuaeC_8tB-HY3oMvuV4');


--
-- Data for Name: totps; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: user_names; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.user_names VALUES ('default', 'jo', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', false, 'jo');
INSERT INTO public.user_names VALUES ('default', 'jo@example.org', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', true, 'jo@example.org');


--
-- Data for Name: users; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.users VALUES ('default', 'usr_6vh2jpil7ngqny3g3myxgrbmzs', 'jo', 'jo', '', '[]', 'active', false, '', 0, true, 0, 1795342256550063, 1795342259288980, 3);


--
-- Data for Name: waits; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Name: goose_db_version_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.goose_db_version_id_seq', 3, true);


--
-- Name: api_keys api_keys_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (realm, id);


--
-- Name: api_keys api_keys_realm_hash_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_realm_hash_key UNIQUE (realm, hash);


--
-- Name: applications applications_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.applications
    ADD CONSTRAINT applications_pkey PRIMARY KEY (realm, id);


--
-- Name: applications applications_realm_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.applications
    ADD CONSTRAINT applications_realm_name_key UNIQUE (realm, name);


--
-- Name: backup_codes backup_codes_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup_codes
    ADD CONSTRAINT backup_codes_pkey PRIMARY KEY (realm, user_id, idx);


--
-- Name: backup_sets backup_sets_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup_sets
    ADD CONSTRAINT backup_sets_pkey PRIMARY KEY (realm, user_id);


--
-- Name: browser_proofs browser_proofs_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.browser_proofs
    ADD CONSTRAINT browser_proofs_pkey PRIMARY KEY (realm, hash);


--
-- Name: browsers browsers_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.browsers
    ADD CONSTRAINT browsers_pkey PRIMARY KEY (realm, user_id, thumbprint);


--
-- Name: bypass_codes bypass_codes_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.bypass_codes
    ADD CONSTRAINT bypass_codes_pkey PRIMARY KEY (realm, user_id);


--
-- Name: challenges challenges_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.challenges
    ADD CONSTRAINT challenges_pkey PRIMARY KEY (realm, id);


--
-- Name: devices devices_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.devices
    ADD CONSTRAINT devices_pkey PRIMARY KEY (realm, id);


--
-- Name: enrolments enrolments_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.enrolments
    ADD CONSTRAINT enrolments_pkey PRIMARY KEY (realm, id);


--
-- Name: enrolments enrolments_realm_ticket_hash_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.enrolments
    ADD CONSTRAINT enrolments_realm_ticket_hash_key UNIQUE (realm, ticket_hash);


--
-- Name: events events_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (realm, at, id);


--
-- Name: goose_db_version goose_db_version_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.goose_db_version
    ADD CONSTRAINT goose_db_version_pkey PRIMARY KEY (id);


--
-- Name: guesses guesses_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.guesses
    ADD CONSTRAINT guesses_pkey PRIMARY KEY (realm, user_id, id);


--
-- Name: key_sets key_sets_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.key_sets
    ADD CONSTRAINT key_sets_pkey PRIMARY KEY (realm, serial);


--
-- Name: notices notices_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.notices
    ADD CONSTRAINT notices_pkey PRIMARY KEY (realm, id);


--
-- Name: policies policies_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.policies
    ADD CONSTRAINT policies_pkey PRIMARY KEY (realm, version);


--
-- Name: realm_keys realm_keys_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.realm_keys
    ADD CONSTRAINT realm_keys_pkey PRIMARY KEY (realm, purpose, kid);


--
-- Name: realms realms_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.realms
    ADD CONSTRAINT realms_pkey PRIMARY KEY (realm);


--
-- Name: replays replays_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.replays
    ADD CONSTRAINT replays_pkey PRIMARY KEY (realm, application_id, route, idempotency_key);


--
-- Name: settings settings_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.settings
    ADD CONSTRAINT settings_pkey PRIMARY KEY (name);


--
-- Name: sources sources_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sources
    ADD CONSTRAINT sources_pkey PRIMARY KEY (realm, user_id, source);


--
-- Name: thumbprints thumbprints_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.thumbprints
    ADD CONSTRAINT thumbprints_pkey PRIMARY KEY (realm, thumbprint);


--
-- Name: totps totps_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.totps
    ADD CONSTRAINT totps_pkey PRIMARY KEY (realm, id);


--
-- Name: user_names user_names_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.user_names
    ADD CONSTRAINT user_names_pkey PRIMARY KEY (realm, name);


--
-- Name: users users_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (realm, id);


--
-- Name: waits waits_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.waits
    ADD CONSTRAINT waits_pkey PRIMARY KEY (realm, user_id, provenance);


--
-- Name: api_keys_by_application; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_keys_by_application ON public.api_keys USING btree (realm, application_id, created_at, id);


--
-- Name: api_keys_by_hash; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_keys_by_hash ON public.api_keys USING btree (hash);


--
-- Name: applications_by_creation; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX applications_by_creation ON public.applications USING btree (realm, created_at, id);


--
-- Name: browser_proofs_by_age; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX browser_proofs_by_age ON public.browser_proofs USING btree (expires_at);


--
-- Name: challenges_by_change; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX challenges_by_change ON public.challenges USING btree (realm, application_id, changed_at, id);


--
-- Name: challenges_by_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX challenges_by_user ON public.challenges USING btree (realm, user_id, created_at, id);


--
-- Name: challenges_due_to_decide; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX challenges_due_to_decide ON public.challenges USING btree (decide_by) WHERE (state = ANY (ARRAY['pending'::text, 'answered'::text]));


--
-- Name: challenges_due_to_redeem; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX challenges_due_to_redeem ON public.challenges USING btree (redeem_by) WHERE (state = 'approved'::text);


--
-- Name: challenges_listed; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX challenges_listed ON public.challenges USING btree (realm, user_id, created_at, id) WHERE (rung AND (state = ANY (ARRAY['pending'::text, 'answered'::text])));


--
-- Name: challenges_live_by_application; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX challenges_live_by_application ON public.challenges USING btree (realm, application_id, created_at, id) WHERE (state = ANY (ARRAY['pending'::text, 'answered'::text, 'approved'::text]));


--
-- Name: challenges_live_by_provenance; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX challenges_live_by_provenance ON public.challenges USING btree (realm, user_id, provenance_class, provenance_key, state, decide_by, redeem_by) WHERE (state = ANY (ARRAY['pending'::text, 'answered'::text, 'approved'::text]));


--
-- Name: challenges_live_by_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX challenges_live_by_user ON public.challenges USING btree (realm, user_id, created_at, id) WHERE (state = ANY (ARRAY['pending'::text, 'answered'::text, 'approved'::text]));


--
-- Name: challenges_over; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX challenges_over ON public.challenges USING btree (realm, created_at) WHERE (state = ANY (ARRAY['redeemed'::text, 'denied'::text, 'failed'::text, 'expired'::text, 'cancelled'::text]));


--
-- Name: challenges_rung; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX challenges_rung ON public.challenges USING btree (realm, user_id, created_at) WHERE (rung AND (NOT ring_returned));


--
-- Name: devices_by_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX devices_by_id ON public.devices USING btree (id);


--
-- Name: devices_by_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX devices_by_user ON public.devices USING btree (realm, user_id, claimed_at, id);


--
-- Name: enrolments_by_ticket; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX enrolments_by_ticket ON public.enrolments USING btree (ticket_hash);


--
-- Name: enrolments_due_to_claim; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX enrolments_due_to_claim ON public.enrolments USING btree (claim_by) WHERE (state = 'invited'::text);


--
-- Name: enrolments_due_to_confirm; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX enrolments_due_to_confirm ON public.enrolments USING btree (confirm_by) WHERE (state = 'claimed'::text);


--
-- Name: enrolments_live; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX enrolments_live ON public.enrolments USING btree (realm, user_id, created_at, id) WHERE (state = ANY (ARRAY['invited'::text, 'claimed'::text]));


--
-- Name: events_by_application; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX events_by_application ON public.events USING btree (realm, application_id, at, id) WHERE (application_id <> ''::text);


--
-- Name: events_by_challenge; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX events_by_challenge ON public.events USING btree (realm, challenge_id, at, id) WHERE (challenge_id <> ''::text);


--
-- Name: events_by_device; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX events_by_device ON public.events USING btree (realm, device_id, at, id) WHERE (device_id <> ''::text);


--
-- Name: events_by_kind; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX events_by_kind ON public.events USING btree (realm, kind, at, id);


--
-- Name: events_by_time; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX events_by_time ON public.events USING btree (at);


--
-- Name: events_by_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX events_by_user ON public.events USING btree (realm, user_id, at, id) WHERE (user_id <> ''::text);


--
-- Name: guesses_by_age; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX guesses_by_age ON public.guesses USING btree (at);


--
-- Name: guesses_by_bucket; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX guesses_by_bucket ON public.guesses USING btree (realm, user_id, bucket, at);


--
-- Name: notices_by_age; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX notices_by_age ON public.notices USING btree (expires_at);


--
-- Name: notices_by_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX notices_by_user ON public.notices USING btree (realm, user_id, at, id);


--
-- Name: replays_by_age; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX replays_by_age ON public.replays USING btree (created_at);


--
-- Name: replays_secret; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX replays_secret ON public.replays USING btree (created_at) WHERE (secret AND (answer IS NOT NULL));


--
-- Name: sources_by_age; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX sources_by_age ON public.sources USING btree (at);


--
-- Name: totps_by_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX totps_by_user ON public.totps USING btree (realm, user_id, created_at, id);


--
-- Name: user_names_by_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX user_names_by_user ON public.user_names USING btree (realm, user_id, alias, name);


--
-- Name: users_by_creation; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX users_by_creation ON public.users USING btree (realm, created_at, id);


--
-- Name: users_by_external_id; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX users_by_external_id ON public.users USING btree (realm, external_id) WHERE (external_id <> ''::text);


--
-- Name: waits_by_age; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX waits_by_age ON public.waits USING btree (ends_at);


--
-- Name: backup_codes backup_codes_realm_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup_codes
    ADD CONSTRAINT backup_codes_realm_user_id_fkey FOREIGN KEY (realm, user_id) REFERENCES public.backup_sets(realm, user_id) ON DELETE CASCADE;


--
-- Name: backup_sets backup_sets_realm_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup_sets
    ADD CONSTRAINT backup_sets_realm_user_id_fkey FOREIGN KEY (realm, user_id) REFERENCES public.users(realm, id) ON DELETE CASCADE;


--
-- Name: browsers browsers_realm_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.browsers
    ADD CONSTRAINT browsers_realm_user_id_fkey FOREIGN KEY (realm, user_id) REFERENCES public.users(realm, id) ON DELETE CASCADE;


--
-- Name: bypass_codes bypass_codes_realm_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.bypass_codes
    ADD CONSTRAINT bypass_codes_realm_user_id_fkey FOREIGN KEY (realm, user_id) REFERENCES public.users(realm, id) ON DELETE CASCADE;


--
-- Name: devices devices_realm_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.devices
    ADD CONSTRAINT devices_realm_user_id_fkey FOREIGN KEY (realm, user_id) REFERENCES public.users(realm, id) ON DELETE CASCADE;


--
-- Name: sources sources_realm_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sources
    ADD CONSTRAINT sources_realm_user_id_fkey FOREIGN KEY (realm, user_id) REFERENCES public.users(realm, id) ON DELETE CASCADE;


--
-- Name: totps totps_realm_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.totps
    ADD CONSTRAINT totps_realm_user_id_fkey FOREIGN KEY (realm, user_id) REFERENCES public.users(realm, id) ON DELETE CASCADE;


--
-- Name: user_names user_names_realm_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.user_names
    ADD CONSTRAINT user_names_realm_user_id_fkey FOREIGN KEY (realm, user_id) REFERENCES public.users(realm, id) ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--


