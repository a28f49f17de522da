-- Every statement of the SQLite engine. A section begins with "-- name: NAME"; the text up to the next one is
-- one statement.

-- name: has_additions
-- All that additions.sql makes.
SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = 'users_by_case';

-- name: stored_epoch
SELECT epoch FROM servers WHERE vm = :vm;

-- name: store_epoch
INSERT INTO servers (vm, epoch) VALUES (:vm, :epoch)
ON CONFLICT (vm) DO UPDATE SET epoch = excluded.epoch;

-- name: user_exists
SELECT 1 FROM users WHERE username = :username;

-- name: like_user
-- One is enough to find, two to know that there is more than one.
SELECT username FROM users WHERE username = :username COLLATE NOCASE ORDER BY username LIMIT 2;

-- name: add_user
INSERT INTO users (username, created_at_ms) VALUES (:username, :now_ms)
ON CONFLICT (username) DO NOTHING;

-- name: session
SELECT client_id, boot_id = :boot_id AND expires_at_ms > :now_ms FROM sessions WHERE username = :username;

-- name: take_session
INSERT INTO sessions (username, client_id, boot_id, expires_at_ms)
VALUES (:username, :client_id, :boot_id, :expires_at_ms)
ON CONFLICT (username) DO UPDATE SET
    client_id = excluded.client_id, boot_id = excluded.boot_id, expires_at_ms = excluded.expires_at_ms;

-- name: renew_session
UPDATE sessions SET boot_id = :boot_id, expires_at_ms = :expires_at_ms
WHERE username = :username AND client_id = :client_id
RETURNING 1;

-- name: drop_session
DELETE FROM sessions WHERE username = :username AND client_id = :client_id;

-- name: known_request
SELECT kind, target FROM requests WHERE username = :username AND request_id = :request_id
UNION ALL
SELECT 'post', '' FROM posts WHERE author = :username AND request_id = :request_id;

-- name: add_request
INSERT INTO requests (username, request_id, kind, target, at_ms)
VALUES (:username, :request_id, :kind, :target, :now_ms);

-- name: prune_requests
DELETE FROM requests WHERE (username, request_id) IN (
    SELECT username, request_id FROM requests WHERE at_ms < :before_ms ORDER BY at_ms LIMIT :limit
);

-- name: add_follow
INSERT INTO follows (follower, followee, after_id)
VALUES (:username, :followee, (SELECT coalesce(max(id), 0) FROM posts))
ON CONFLICT (follower, followee) DO NOTHING
RETURNING 1;

-- name: drop_follow
DELETE FROM follows WHERE follower = :username AND followee = :followee RETURNING 1;

-- name: add_post
-- Time never falls along the ids, even when the machine's clock does. No row comes back where the user is
-- unknown or the request id was used before.
INSERT INTO posts (author, posted_at_ms, text, request_id)
SELECT
    username,
    max(:now_ms, coalesce((SELECT posted_at_ms FROM posts WHERE id = (SELECT max(id) FROM posts)), 0)),
    :text,
    :request_id
FROM users
WHERE
    username = :username
    AND NOT EXISTS (SELECT 1 FROM requests WHERE username = :username AND request_id = :request_id)
ON CONFLICT (author, request_id) DO NOTHING
RETURNING id, posted_at_ms;

-- name: post_of_request
SELECT id, posted_at_ms, text FROM posts WHERE author = :username AND request_id = :request_id;

-- name: users
SELECT username FROM users WHERE username > :after ORDER BY username LIMIT :limit;

-- name: followers
SELECT follower FROM follows WHERE followee = :username AND follower > :after ORDER BY follower LIMIT :limit;

-- name: history
-- CROSS JOIN pins the order: for each author one seek in posts_by_author, read newest first, and left as soon
-- as its next post is older than the newest :limit found so far. Only ids, from the index alone; the posts
-- themselves are read once it is known which. A test asserts the plan and its cost.
WITH authors (author, after_id) AS (
    SELECT followee, after_id FROM follows WHERE follower = :username
    UNION ALL
    SELECT :username, 0
),
newest (id) AS (
    SELECT posts.id
    FROM authors CROSS JOIN posts
    WHERE posts.author = authors.author AND posts.id > authors.after_id
    ORDER BY posts.id DESC
    LIMIT :limit
)
SELECT posts.id, posts.author, posts.posted_at_ms, posts.text
FROM newest CROSS JOIN posts
WHERE posts.id = newest.id
ORDER BY newest.id DESC;

-- name: timeline_after
-- As "history", from the other end.
SELECT posts.id, posts.author, posts.posted_at_ms, posts.text
FROM follows CROSS JOIN posts
WHERE
    follows.follower = :username
    AND posts.author = follows.followee
    AND posts.id > max(follows.after_id, :after)
ORDER BY posts.id
LIMIT :limit;

-- name: posts_after
SELECT id, author, posted_at_ms, text FROM posts WHERE id > :after ORDER BY id LIMIT :limit;

-- name: last_post_id
SELECT coalesce(max(id), 0) FROM posts;

-- name: audience
-- One seek for each name asked about, whatever the number of followers.
SELECT follows.follower
FROM json_each(:among) AS wanted CROSS JOIN follows
WHERE follows.follower = wanted.value AND follows.followee = :author AND follows.after_id < :post_id;
