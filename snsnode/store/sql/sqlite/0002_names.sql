-- Finds the names that differ from one only in case.
CREATE INDEX users_by_case ON users (username COLLATE NOCASE);
