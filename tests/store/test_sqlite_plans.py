"""The hot queries' plans: which index each seeks in, and that its cost does not grow with the posts."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from snsnode.store.sqlite import SqliteStore
from snsnode.store.statements import statements

SQL = statements("sqlite")
FOLLOWEES = 200
POSTS_OF_EACH = 100
TIMELINES: dict[str, dict[str, str | int]] = {
    "history": {"username": "reader", "limit": 20},
    "timeline_after": {"username": "reader", "limit": 20, "after": 0},
}


@pytest.fixture
async def db(store: SqliteStore, path: Path) -> AsyncIterator[apsw.Connection]:
    """A connection to a store with 20,000 posts by 200 followees of "reader"."""
    await store.close()
    db = apsw.Connection(str(path))
    names = [f"user{number}" for number in range(FOLLOWEES)]
    rows = ((name, f"r{number}") for number in range(POSTS_OF_EACH) for name in names)
    with db:
        db.executemany("INSERT INTO follows VALUES ('reader', ?, 0)", ((name,) for name in names))
        db.executemany("INSERT INTO posts (author, posted_at_ms, text, request_id) VALUES (?, 0, 'x', ?)", rows)
    yield db
    db.close()


def plan(db: apsw.Connection, name: str) -> list[str]:
    bindings = dict.fromkeys(re.findall(r":(\w+)", SQL[name]))
    return [str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", bindings).fetchall()]


def steps(db: apsw.Connection, name: str, bindings: dict[str, str | int]) -> int:
    """Return how many steps of SQLite's virtual machine the query takes, to the hundred."""
    hundreds = 0

    def count() -> bool:
        nonlocal hundreds
        hundreds += 1
        return False

    db.set_progress_handler(count, 100)
    assert len(db.execute(SQL[name], bindings).fetchall()) == bindings["limit"]
    db.set_progress_handler(None)
    return hundreds * 100


@pytest.mark.parametrize("name", TIMELINES)
def test_timeline_seeks_once_for_each_followee(db: apsw.Connection, name: str) -> None:
    index = "COVERING INDEX" if name == "history" else "INDEX"
    assert f"SEARCH posts USING {index} posts_by_author (author=? AND id>?)" in plan(db, name)
    # Some 27 steps a followee. Reading all 20,000 posts would take above 200,000.
    assert steps(db, name, TIMELINES[name]) < 50 * FOLLOWEES


def test_no_statement_scans_a_table(db: apsw.Connection) -> None:
    tables = "users|posts|follows|sessions|servers|requests"
    scans = {name: line for name in SQL for line in plan(db, name) if re.match(rf"SCAN ({tables})\b", line)}
    assert scans == {}


def test_each_section_is_one_statement() -> None:
    assert len(SQL) > 20
    assert all(re.fullmatch(r"[^;]+;", re.sub(r"--.*", "", text).strip()) for text in SQL.values())
