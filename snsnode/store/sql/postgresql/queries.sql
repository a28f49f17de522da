-- Every statement of the PostgreSQL engine outside the migrations. A section begins with "-- name: NAME"; the
-- text up to the next one is one statement.

-- name: introduce
-- Asked on every new connection. Not synchronous would mean acknowledged and lost; what the operator set beyond
-- "on" stays. A backend whose client is gone shall not wait on for a lock.
SELECT
    pg_is_in_recovery() AS standby,
    CASE
        WHEN NOT pg_is_in_recovery() THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
        ELSE 0
    END AS timeline,
    current_setting('server_version_num')::int AS version,
    current_setting('server_encoding') AS encoding,
    current_setting('fsync') AS fsync,
    CASE
        WHEN current_setting('synchronous_commit') IN ('off', 'local')
            THEN set_config('synchronous_commit', 'on', false)
    END AS synchronous,
    CASE
        WHEN current_setting('server_version_num')::int >= 140000
            THEN set_config('client_connection_check_interval', '1s', false)
    END AS checked;

-- name: process
SELECT pg_backend_pid();

-- name: lock_schema
SELECT pg_advisory_xact_lock(7303, 0);

-- name: has_schema
-- From pg_class, not to_regclass alone: that remembers what it found before the wait for the lock.
SELECT count(*) > 0 FROM pg_class WHERE oid = to_regclass('sns_schema');

-- name: has_copy
-- The mark of "snsctl store copy": until it is complete no server opens the store.
SELECT to_regclass('copying') IS NOT NULL;

-- name: make_schema
CREATE TABLE sns_schema (version int NOT NULL);

-- name: first_version
INSERT INTO sns_schema (version) VALUES (0);

-- name: version
SELECT version FROM sns_schema;

-- name: set_version
UPDATE sns_schema SET version = $1;

-- name: has_additions
-- All that additions.sql makes.
SELECT
    to_regclass('users_by_case') IS NOT NULL
    AND to_regprocedure('sns_named(text)') IS NOT NULL
    AND to_regprocedure('sns_login_named(text, text, bigint)') IS NOT NULL
    AND to_regprocedure('sns_follow_named(text, text, text, text)') IS NOT NULL
    AND to_regprocedure('sns_write_named(text, bigint, jsonb)') IS NOT NULL;

-- name: may_add
-- An index takes the owner of its table, a function the right to CREATE in the schema.
SELECT pg_has_role(relowner, 'USAGE') AND has_schema_privilege(current_schema(), 'CREATE')
FROM pg_class WHERE oid = to_regclass('users');

-- name: claim
SELECT sns_claim($1, $2);

-- name: post
SELECT outcome, post_id, post_ms FROM sns_post($1, $2, $3, $4, $5);

-- name: write
SELECT sns_write_named($1, $2, $3);

-- name: users
SELECT username FROM users WHERE username > $1 ORDER BY username LIMIT $2;

-- name: followers
SELECT follower FROM follows WHERE followee = $1 AND follower > $2 ORDER BY follower LIMIT $3;

-- name: history
-- Two steps: the $2 authors who posted last are found by one seek each, and only they can have written the
-- newest $2 posts; then the posts of those that are at least as new as the last one's newest. The highest id
-- is of the same snapshot, and comes in a row of its own where there are no posts.
WITH authors (author, after_id) AS MATERIALIZED (
    SELECT followee, after_id FROM follows WHERE follower = $1
    UNION ALL
    SELECT $1, 0
),
active AS MATERIALIZED (
    SELECT authors.author, authors.after_id, newest.id
    FROM authors CROSS JOIN LATERAL (
        SELECT posts.id + 0 AS id FROM posts
        WHERE posts.author = authors.author AND posts.id + 0 > authors.after_id
        ORDER BY posts.id + 0 DESC LIMIT 1
    ) AS newest
    ORDER BY newest.id DESC LIMIT $2
),
floor (id) AS MATERIALIZED (
    SELECT CASE WHEN count(*) < $2 THEN 0 ELSE min(active.id) END FROM active
),
shown AS MATERIALIZED (
    SELECT each.id, each.author, each.posted_at_ms, each.text
    FROM floor CROSS JOIN active CROSS JOIN LATERAL (
        SELECT posts.id, posts.author, posts.posted_at_ms, posts.text FROM posts
        WHERE posts.author = active.author AND posts.id + 0 > greatest(active.after_id, floor.id - 1)
        ORDER BY posts.id + 0 DESC LIMIT $2
    ) AS each
    ORDER BY each.id DESC LIMIT $2
)
SELECT head.id AS head, shown.id, shown.author, shown.posted_at_ms, shown.text
FROM (SELECT coalesce(max(posts.id), 0) AS id FROM posts) AS head LEFT JOIN shown ON true
ORDER BY shown.id DESC;

-- name: timeline_after
-- As "history", from the other end.
WITH authors (author, after_id) AS MATERIALIZED (
    SELECT followee, greatest(after_id, $2) FROM follows WHERE follower = $1
),
active AS MATERIALIZED (
    SELECT authors.author, authors.after_id, oldest.id
    FROM authors CROSS JOIN LATERAL (
        SELECT posts.id + 0 AS id FROM posts
        WHERE posts.author = authors.author AND posts.id + 0 > authors.after_id
        ORDER BY posts.id + 0 LIMIT 1
    ) AS oldest
    ORDER BY oldest.id LIMIT $3
)
SELECT each.id, each.author, each.posted_at_ms, each.text
FROM active CROSS JOIN LATERAL (
    SELECT posts.id, posts.author, posts.posted_at_ms, posts.text FROM posts
    WHERE posts.author = active.author AND posts.id + 0 > active.after_id
    ORDER BY posts.id + 0 LIMIT $3
) AS each
ORDER BY each.id LIMIT $3;

-- name: posts_after
SELECT id, author, posted_at_ms, text FROM posts WHERE id > $1 ORDER BY id LIMIT $2;

-- name: last_post_id
SELECT coalesce(max(id), 0) FROM posts;

-- name: audience
-- One seek for each name asked about, whatever the number of followers.
SELECT follows.follower
FROM unnest($1::text[]) AS wanted (name) JOIN follows ON follows.follower = wanted.name
WHERE follows.followee = $2 AND follows.after_id < $3;

-- name: other_connections
-- Of servers, or of another copy; a connection for a glance is none of them for long.
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'snsnode' AND pid <> pg_backend_pid();

-- name: make_copy
-- Of one row: what is copied, and how far it has come.
CREATE TABLE copying (origin text NOT NULL, position text NOT NULL);

-- name: begin_copy
INSERT INTO copying (origin, position) VALUES ($1, $2);

-- name: copy
SELECT origin, position FROM copying;

-- name: move_copy
UPDATE copying SET position = $1 WHERE position = $2 RETURNING true;

-- name: end_copy
DROP TABLE copying;

-- name: epochs
SELECT vm, epoch FROM servers ORDER BY vm;

-- name: raise_epoch
INSERT INTO servers (vm, epoch) VALUES ($1, $2)
ON CONFLICT (vm) DO UPDATE SET epoch = greatest(servers.epoch, excluded.epoch);

-- name: last_given_post_id
SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('posts', 'id')::regclass), 0);

-- name: set_last_post_id
SELECT setval(pg_get_serial_sequence('posts', 'id'), $1);
