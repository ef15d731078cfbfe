-- +goose Up

-- Nodes keep rows in memory as long as the stamp of the row's place is the one that they read with it.
-- Place 0 stands for realms, their keys, policies and applications; 1 to 1024 for people, by the hash of
-- whose row it is. Triggers change the stamps, so whatever writes is noticed: an older nod, or a person.

CREATE TABLE cache_stamps (
    place INTEGER NOT NULL PRIMARY KEY,
    stamp BIGINT  NOT NULL
) WITH (fillfactor = 10);

CREATE SEQUENCE cache_stamp;

INSERT INTO cache_stamps (place, stamp) SELECT p, nextval('cache_stamp') FROM generate_series(0, 1024) p;

-- +goose StatementBegin
CREATE FUNCTION cache_place(realm TEXT, id TEXT) RETURNS INTEGER LANGUAGE sql IMMUTABLE AS $$
    SELECT 1 + ((get_byte(h, 0) & 3) * 256 + get_byte(h, 1))
    FROM (SELECT sha256(convert_to(realm || '/' || id, 'UTF8')) AS h) x
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION touch_house() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE cache_stamps SET stamp = nextval('cache_stamp') WHERE place = 0;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- The arguments name the columns that say whose the row is, and what comes before it in the hash.
-- +goose StatementBegin
CREATE FUNCTION touch_place() RETURNS trigger LANGUAGE plpgsql AS $$
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
            UPDATE cache_stamps SET stamp = nextval('cache_stamp') WHERE place =
                cache_place(coalesce(r ->> TG_ARGV[3 * i], ''), TG_ARGV[3 * i + 1] || (r ->> TG_ARGV[3 * i + 2]));
        END LOOP;
    END LOOP;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON realms FOR EACH STATEMENT EXECUTE FUNCTION touch_house();
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON realm_keys FOR EACH STATEMENT EXECUTE FUNCTION touch_house();
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON key_sets FOR EACH STATEMENT EXECUTE FUNCTION touch_house();
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON policies FOR EACH STATEMENT EXECUTE FUNCTION touch_house();
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON applications FOR EACH STATEMENT EXECUTE FUNCTION touch_house();
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION touch_house();

CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION touch_place('realm', '', 'id');
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON user_names FOR EACH ROW EXECUTE FUNCTION touch_place('realm', 'name ', 'name');
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON devices FOR EACH ROW EXECUTE FUNCTION touch_place('realm', '', 'user_id', '', 'device ', 'id');
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON totps FOR EACH ROW EXECUTE FUNCTION touch_place('realm', '', 'user_id');
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON backup_sets FOR EACH ROW EXECUTE FUNCTION touch_place('realm', '', 'user_id');
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON backup_codes FOR EACH ROW EXECUTE FUNCTION touch_place('realm', '', 'user_id');
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON bypass_codes FOR EACH ROW EXECUTE FUNCTION touch_place('realm', '', 'user_id');
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON notices FOR EACH ROW EXECUTE FUNCTION touch_place('realm', '', 'user_id');
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON waits FOR EACH ROW EXECUTE FUNCTION touch_place('realm', '', 'user_id');
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON sources FOR EACH ROW EXECUTE FUNCTION touch_place('realm', '', 'user_id');
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON browsers FOR EACH ROW EXECUTE FUNCTION touch_place('realm', '', 'user_id');
