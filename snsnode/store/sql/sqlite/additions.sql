-- What this version adds to the last migration without a new number, so that the version before still opens the
-- store. Run when the store is opened and "has_additions" in queries.sql misses any of it; it may run again. A store
-- that cannot take it now is served without. A later migration may rely neither on it nor on its absence.

-- Finds the names that differ from one only in case.
CREATE INDEX IF NOT EXISTS users_by_case ON users (username COLLATE NOCASE);
