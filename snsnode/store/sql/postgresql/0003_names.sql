-- A name in another case: found where it is one user's alone, and refused to a new user.

CREATE INDEX users_by_case ON users (lower(username));

-- The user of that name; where there is none, up to two whose names differ from it only in case.
CREATE FUNCTION sns_named(p_username text) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM users WHERE username = p_username) THEN
        RETURN ARRAY[p_username];
    END IF;
    RETURN ARRAY(
        SELECT username FROM users WHERE lower(username) = lower(p_username COLLATE "C") ORDER BY username LIMIT 2
    );
END
$$;

-- As sns_login. A server of the version before calls that one, for it knows no such answer: 'like:NAME'.
CREATE FUNCTION sns_login_named(p_username text, p_client_id text, p_lease_ms bigint)
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
CREATE FUNCTION sns_follow_named(p_kind text, p_username text, p_followee text, p_request_id text)
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

-- As before, and with 'named' the three functions above. Runs a batch in its order.
CREATE OR REPLACE FUNCTION sns_write(p_vm text, p_epoch bigint, p_operations jsonb)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    asked jsonb;
    answer jsonb;
    answers jsonb := '[]';
BEGIN
    PERFORM sns_fence(p_vm, p_epoch);
    -- One batch at a time: the same request may arrive through two servers at once, and finds its first answer; and
    -- batches that lock the rows of the same logins, each in its own order, do not wait for each other. So, too, of
    -- two that take one name in different cases the second sees the first.
    PERFORM pg_advisory_xact_lock(7302, 0);
    FOR asked IN SELECT value FROM jsonb_array_elements(p_operations) LOOP
        CASE asked ->> 'kind'
            WHEN 'login' THEN
                answer := to_jsonb(sns_login(
                    asked ->> 'username', asked ->> 'client_id', (asked ->> 'lease_ms')::bigint
                ));
            WHEN 'login-named' THEN
                answer := to_jsonb(sns_login_named(
                    asked ->> 'username', asked ->> 'client_id', (asked ->> 'lease_ms')::bigint
                ));
            WHEN 'renew' THEN
                answer := sns_renew(asked -> 'logins', (asked ->> 'lease_ms')::bigint);
            WHEN 'logout' THEN
                DELETE FROM sessions
                WHERE username = asked ->> 'username' AND client_id = asked ->> 'client_id';
                answer := to_jsonb('done'::text);
            WHEN 'follow' THEN
                answer := to_jsonb(sns_follow(
                    asked ->> 'username', asked ->> 'followee', asked ->> 'request_id'
                ));
            WHEN 'unfollow' THEN
                answer := to_jsonb(sns_unfollow(
                    asked ->> 'username', asked ->> 'followee', asked ->> 'request_id'
                ));
            WHEN 'follow-named' THEN
                answer := to_jsonb(sns_follow_named(
                    'follow', asked ->> 'username', asked ->> 'followee', asked ->> 'request_id'
                ));
            WHEN 'unfollow-named' THEN
                answer := to_jsonb(sns_follow_named(
                    'unfollow', asked ->> 'username', asked ->> 'followee', asked ->> 'request_id'
                ));
        END CASE;
        answers := answers || jsonb_build_array(answer);
    END LOOP;
    PERFORM sns_await_standby();
    RETURN answers;
END
$$;
