-- +goose Up

-- Stamps are random, and so none is given twice: not by a standby that was promoted and lacked some, nor
-- after a database was put back, to nodes that have rows in memory of what is gone.

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION touch_house() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE cache_stamps SET stamp = 1 + (random() * 9e18)::bigint WHERE place = 0;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION touch_place() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    r JSONB;
    i INTEGER;
BEGIN
    FOREACH r IN ARRAY CASE TG_OP
        WHEN 'INSERT' THEN ARRAY[to_jsonb(NEW)]
        WHEN 'DELETE' THEN ARRAY[to_jsonb(OLD)]
        ELSE ARRAY[to_jsonb(OLD), to_jsonb(NEW)]
    END LOOP
        FOR i IN 0 .. TG_NARGS / 3 - 1 LOOP
            UPDATE cache_stamps SET stamp = 1 + (random() * 9e18)::bigint WHERE place =
                cache_place(coalesce(r ->> TG_ARGV[3 * i], ''), TG_ARGV[3 * i + 1] || (r ->> TG_ARGV[3 * i + 2]));
        END LOOP;
    END LOOP;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

DROP SEQUENCE cache_stamp;
