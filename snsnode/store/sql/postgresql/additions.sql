-- What this version adds to the last migration without a new number, so that the version before still opens the
-- store. Run when the store is opened and "has_additions" in queries.sql misses any of it; it may run again.
--
-- Only new names stand here: the version before may be at work beside this one, and what it calls stays as it is. A
-- released function is never changed, its successor has a name of its own. A later migration finds all of this, or
-- nothing of it, and may rely on neither.

-- A name in another case: found where it is one user's alone, and refused to a new user.

CREATE INDEX IF NOT EXISTS users_by_case ON users (lower(username));

-- The user of that name; where there is none, up to two whose names differ from it only in case.
CREATE OR REPLACE FUNCTION sns_named(p_username text) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM users WHERE username = p_username) THEN
        RETURN ARRAY[p_username];
    END IF;
    RETURN ARRAY(
        SELECT username FROM users WHERE lower(username) = lower(p_username COLLATE "C") ORDER BY username LIMIT 2
    );
END
$$;

-- 'like:NAME', or what sns_login answers.
CREATE OR REPLACE FUNCTION sns_login_named(p_username text, p_client_id text, p_lease_ms bigint)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    alike text[] := sns_named(p_username);
BEGIN
    IF p_username <> ALL (alike) AND cardinality(alike) > 0 THEN
        RETURN 'like:' || alike[1];
    END IF;
    RETURN sns_login(p_username, p_client_id, p_lease_ms);
END
$$;

-- 'self' and 'ambiguous', or what sns_follow and sns_unfollow answer.
CREATE OR REPLACE FUNCTION sns_follow_named(p_kind text, p_username text, p_followee text, p_request_id text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    alike text[] := sns_named(p_followee);
    followee text := coalesce(alike[1], p_followee);
BEGIN
    IF cardinality(alike) > 1 THEN
        RETURN 'ambiguous';
    END IF;
    IF p_kind = 'unfollow' THEN
        RETURN sns_unfollow(p_username, followee, p_request_id);
    END IF;
    IF followee = p_username THEN
        RETURN 'self';
    END IF;
    RETURN sns_follow(p_username, followee, p_request_id);
END
$$;

-- As sns_write, by these rules of names.
CREATE OR REPLACE FUNCTION sns_write_named(p_vm text, p_epoch bigint, p_operations jsonb)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    asked jsonb;
    answer jsonb;
    answers jsonb := '[]';
BEGIN
    PERFORM sns_fence(p_vm, p_epoch);
    -- The lock of sns_write: of two servers, also of two versions, that take one name in different cases, the second
    -- sees the first.
    PERFORM pg_advisory_xact_lock(7302, 0);
    FOR asked IN SELECT value FROM jsonb_array_elements(p_operations) LOOP
        CASE asked ->> 'kind'
            WHEN 'login' THEN
                answer := to_jsonb(sns_login_named(
                    asked ->> 'username', asked ->> 'client_id', (asked ->> 'lease_ms')::bigint
                ));
            WHEN 'follow', 'unfollow' THEN
                answer := to_jsonb(sns_follow_named(
                    asked ->> 'kind', asked ->> 'username', asked ->> 'followee', asked ->> 'request_id'
                ));
            ELSE
                -- Fenced above.
                answer := sns_write(NULL, NULL, jsonb_build_array(asked)) -> 0;
        END CASE;
        answers := answers || jsonb_build_array(answer);
    END LOOP;
    PERFORM sns_await_standby();
    RETURN answers;
END
$$;
