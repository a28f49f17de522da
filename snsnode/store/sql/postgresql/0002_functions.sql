-- What the writer calls: one function, one transaction, one commit for each batch.
--
-- Advisory locks, by class: 7300 the order of posts; 7301 the epoch of a server; 7302 the order of all else.
-- A lock is given back after the commit is durable, with a synchronous standby after that has it too.

CREATE FUNCTION sns_now_ms() RETURNS bigint LANGUAGE sql AS $$
    SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
$$;

-- Makes the commit wait for the synchronous standby also where nothing was changed: the answer may repeat one whose
-- wait was cancelled, and which no standby has yet. A number of its own is not enough, it takes a record in the log.
CREATE FUNCTION sns_await_standby() RETURNS void LANGUAGE sql AS $$
    SELECT pg_logical_emit_message(true, 'sns', '')
$$;

-- Raises SN001, with the newest epoch as its detail, where another incarnation of the server replaced this one.
-- Shared with the other writes of the server; a claim waits for them, so none commits after it unseen.
CREATE FUNCTION sns_fence(p_vm text, p_epoch bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    newest bigint;
BEGIN
    IF p_vm IS NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(7301, hashtext(p_vm));
    SELECT epoch INTO newest FROM servers WHERE vm = p_vm;
    IF newest > p_epoch THEN
        RAISE EXCEPTION 'epoch % of % was replaced', p_epoch, p_vm USING ERRCODE = 'SN001', DETAIL = newest::text;
    END IF;
END
$$;

CREATE FUNCTION sns_claim(p_vm text, p_at_least bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    claimed bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(7301, hashtext(p_vm));
    INSERT INTO servers (vm, epoch) VALUES (p_vm, greatest(p_at_least, 1))
    ON CONFLICT (vm) DO UPDATE SET epoch = greatest(servers.epoch + 1, excluded.epoch)
    RETURNING epoch INTO claimed;
    RETURN claimed;
END
$$;

-- Stores a batch of posts. Outcomes: 'posted' (now, or by the same request before), 'no-user', 'reused'.
CREATE FUNCTION sns_post(p_vm text, p_epoch bigint, p_authors text[], p_request_ids text[], p_texts text[])
RETURNS TABLE (outcome text, post_id bigint, post_ms bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    now_ms bigint;
    newest_ms bigint;
BEGIN
    PERFORM sns_fence(p_vm, p_epoch);
    -- From here to the commit no other batch takes ids: their order is the order of the commits.
    PERFORM pg_advisory_xact_lock(7300, 0);
    -- Time never falls along the ids, even when the machine's clock does.
    SELECT posted_at_ms INTO newest_ms FROM posts ORDER BY id DESC LIMIT 1;
    now_ms := greatest(sns_now_ms(), newest_ms);
    -- Filtered before, not by ON CONFLICT: that would use up an id for each repeat.
    INSERT INTO posts (author, posted_at_ms, text, request_id)
    SELECT firsts.author, now_ms, firsts.text, firsts.request_id
    FROM (
        SELECT DISTINCT ON (asked.author, asked.request_id) asked.author, asked.request_id, asked.text, asked.n
        FROM unnest(p_authors, p_request_ids, p_texts) WITH ORDINALITY AS asked (author, request_id, text, n)
        ORDER BY asked.author, asked.request_id, asked.n
    ) AS firsts
    WHERE
        EXISTS (SELECT FROM users WHERE users.username = firsts.author)
        AND NOT EXISTS (
            SELECT FROM posts AS known WHERE known.author = firsts.author AND known.request_id = firsts.request_id
        )
        AND NOT EXISTS (
            SELECT FROM requests
            WHERE requests.username = firsts.author AND requests.request_id = firsts.request_id
        )
    ORDER BY firsts.n;
    IF FOUND THEN
        PERFORM pg_notify('sns_posts', '');
    END IF;
    PERFORM sns_await_standby();
    RETURN QUERY
    SELECT
        CASE
            WHEN stored.text = asked.text THEN 'posted'
            WHEN NOT EXISTS (SELECT FROM users WHERE users.username = asked.author) THEN 'no-user'
            ELSE 'reused'
        END,
        stored.id,
        stored.posted_at_ms
    FROM unnest(p_authors, p_request_ids, p_texts) WITH ORDINALITY AS asked (author, request_id, text, n)
    LEFT JOIN posts AS stored ON stored.author = asked.author AND stored.request_id = asked.request_id
    ORDER BY asked.n;
END
$$;

-- 'new', 'resumed' (this client had the name), or 'taken' (another one has it, and lives).
CREATE FUNCTION sns_login(p_username text, p_client_id text, p_lease_ms bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    holder text;
    expires timestamptz;
BEGIN
    SELECT client_id, expires_at INTO holder, expires FROM sessions WHERE username = p_username;
    IF holder <> p_client_id AND expires > clock_timestamp() THEN
        RETURN 'taken';
    END IF;
    INSERT INTO users (username, created_at_ms) VALUES (p_username, sns_now_ms()) ON CONFLICT DO NOTHING;
    INSERT INTO sessions (username, client_id, expires_at)
    VALUES (p_username, p_client_id, clock_timestamp() + p_lease_ms * interval '1 millisecond')
    ON CONFLICT (username) DO UPDATE SET client_id = excluded.client_id, expires_at = excluded.expires_at;
    RETURN CASE WHEN holder = p_client_id THEN 'resumed' ELSE 'new' END;
END
$$;

-- Extends what is still held; returns the numbers, from 0, of the logins that lost their name.
CREATE FUNCTION sns_renew(p_logins jsonb, p_lease_ms bigint) RETURNS jsonb LANGUAGE sql AS $$
    WITH asked AS MATERIALIZED (
        SELECT n - 1 AS n, login ->> 0 AS username, login ->> 1 AS client_id
        FROM jsonb_array_elements(p_logins) WITH ORDINALITY AS each (login, n)
    ),
    held AS MATERIALIZED (
        SELECT asked.n, sessions.username
        FROM asked JOIN sessions ON sessions.username = asked.username AND sessions.client_id = asked.client_id
    ),
    renewed AS (
        UPDATE sessions SET expires_at = clock_timestamp() + p_lease_ms * interval '1 millisecond'
        FROM held WHERE sessions.username = held.username
    )
    SELECT coalesce(jsonb_agg(asked.n), '[]') FROM asked WHERE asked.n NOT IN (SELECT held.n FROM held)
$$;

-- 'known' (this very request was answered before), 'reused' (it was another one), NULL (it is new).
CREATE FUNCTION sns_request(p_username text, p_request_id text, p_kind text, p_target text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    known record;
BEGIN
    SELECT requests.kind, requests.target INTO known FROM requests
    WHERE requests.username = p_username AND requests.request_id = p_request_id
    UNION ALL
    SELECT 'post', '' FROM posts WHERE posts.author = p_username AND posts.request_id = p_request_id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN CASE WHEN known.kind = p_kind AND known.target = p_target THEN 'known' ELSE 'reused' END;
END
$$;

CREATE FUNCTION sns_remember(p_username text, p_request_id text, p_kind text, p_target text)
RETURNS void LANGUAGE sql AS $$
    -- Each adds one and removes up to four: no sweep ever takes long.
    DELETE FROM requests WHERE (username, request_id) IN (
        SELECT username, request_id FROM requests
        WHERE at_ms < sns_now_ms() - 24 * 3600 * 1000 ORDER BY at_ms LIMIT 4
    );
    INSERT INTO requests (username, request_id, kind, target, at_ms)
    VALUES (p_username, p_request_id, p_kind, p_target, sns_now_ms());
$$;

-- 'done', 'reused', 'no-followee', 'no-user', 'already'.
CREATE FUNCTION sns_follow(p_username text, p_followee text, p_request_id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answered text := sns_request(p_username, p_request_id, 'follow', p_followee);
BEGIN
    IF answered IS NOT NULL THEN
        RETURN CASE answered WHEN 'known' THEN 'done' ELSE answered END;
    END IF;
    IF NOT EXISTS (SELECT FROM users WHERE username = p_followee) THEN
        RETURN 'no-followee';
    END IF;
    IF NOT EXISTS (SELECT FROM users WHERE username = p_username) THEN
        RETURN 'no-user';
    END IF;
    INSERT INTO follows (follower, followee, after_id)
    VALUES (p_username, p_followee, (SELECT coalesce(max(id), 0) FROM posts))
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN 'already';
    END IF;
    PERFORM sns_remember(p_username, p_request_id, 'follow', p_followee);
    RETURN 'done';
END
$$;

-- 'done', 'reused', 'no-followee', 'not-followed'.
CREATE FUNCTION sns_unfollow(p_username text, p_followee text, p_request_id text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answered text := sns_request(p_username, p_request_id, 'unfollow', p_followee);
BEGIN
    IF answered IS NOT NULL THEN
        RETURN CASE answered WHEN 'known' THEN 'done' ELSE answered END;
    END IF;
    IF NOT EXISTS (SELECT FROM users WHERE username = p_followee) THEN
        RETURN 'no-followee';
    END IF;
    DELETE FROM follows WHERE follower = p_username AND followee = p_followee;
    IF NOT FOUND THEN
        RETURN 'not-followed';
    END IF;
    PERFORM sns_remember(p_username, p_request_id, 'unfollow', p_followee);
    RETURN 'done';
END
$$;

-- Runs a batch of everything that is no post, in its order: [{"kind": "login", …}, …] to their answers.
CREATE FUNCTION sns_write(p_vm text, p_epoch bigint, p_operations jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    asked jsonb;
    answer jsonb;
    answers jsonb := '[]';
BEGIN
    PERFORM sns_fence(p_vm, p_epoch);
    -- One batch at a time: the same request may arrive through two servers at once, and finds its first answer; and
    -- batches that lock the rows of the same logins, each in its own order, do not wait for each other.
    PERFORM pg_advisory_xact_lock(7302, 0);
    FOR asked IN SELECT value FROM jsonb_array_elements(p_operations) LOOP
        CASE asked ->> 'kind'
            WHEN 'login' THEN
                answer := to_jsonb(sns_login(
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
        END CASE;
        answers := answers || jsonb_build_array(answer);
    END LOOP;
    PERFORM sns_await_standby();
    RETURN answers;
END
$$;
