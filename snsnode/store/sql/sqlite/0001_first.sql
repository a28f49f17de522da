-- The first schema. A migration is never edited after a release: add 0002_*.sql instead.

CREATE TABLE users (
    username      TEXT PRIMARY KEY,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: an id is never given twice, so an "after" cursor stays valid even if rows are removed by hand.
CREATE TABLE posts (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    author       TEXT NOT NULL,
    posted_at_ms INTEGER NOT NULL,
    text         TEXT NOT NULL CHECK (text <> ''),
    request_id   TEXT NOT NULL,
    UNIQUE (author, request_id)
) STRICT;

-- Timelines seek here once for each followee and read newest or oldest first.
CREATE INDEX posts_by_author ON posts (author, id);

-- Only posts with an id above after_id show: those made after the follow.
CREATE TABLE follows (
    follower TEXT NOT NULL,
    followee TEXT NOT NULL,
    after_id INTEGER NOT NULL,
    PRIMARY KEY (follower, followee),
    CHECK (follower <> followee)
) STRICT, WITHOUT ROWID;

CREATE INDEX follows_by_followee ON follows (followee, follower);

-- A lease runs on the machine's boot clock: one from another boot has expired.
CREATE TABLE sessions (
    username      TEXT PRIMARY KEY,
    client_id     TEXT NOT NULL,
    boot_id       TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE servers (
    vm    TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The follows and unfollows of the last day, so that a repeated one is answered as the first was.
CREATE TABLE requests (
    username   TEXT NOT NULL,
    request_id TEXT NOT NULL,
    kind       TEXT NOT NULL,
    target     TEXT NOT NULL,
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (username, request_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_by_age ON requests (at_ms);
