"""The reads of the SQLite engine: functions over a connection, each one snapshot.

Called on a reader's thread. They know neither threads nor the event loop.
"""

import json
from collections.abc import Sequence
from typing import cast

import apsw

from snsnode.base.ids import PostId, UserName
from snsnode.store.protocol import History, Page, Post
from snsnode.store.statements import statements

_SQL = statements("sqlite")


def users(db: apsw.Connection, after: str, limit: int) -> Page:
    """As ``Store.users``."""
    return _page(db, "users", {"after": after}, limit)


def followers(db: apsw.Connection, username: UserName, after: str, limit: int) -> Page:
    """As ``Store.followers``."""
    return _page(db, "followers", {"username": username, "after": after}, limit)


def history(db: apsw.Connection, username: UserName, limit: int) -> History:
    """As ``Store.history``: both statements see the same snapshot."""
    with db:
        posts = _posts(db, "history", {"username": username, "limit": limit})
        cursor = last_post_id(db)
    return History(tuple(posts), cursor)


def timeline_after(db: apsw.Connection, username: UserName, after: PostId, limit: int) -> Sequence[Post]:
    """As ``Store.timeline_after``."""
    return _posts(db, "timeline_after", {"username": username, "after": after, "limit": limit})


def posts_after(db: apsw.Connection, after: PostId, limit: int) -> Sequence[Post]:
    """As ``Store.posts_after``."""
    return _posts(db, "posts_after", {"after": after, "limit": limit})


def last_post_id(db: apsw.Connection) -> PostId:
    """As ``Store.last_post_id``."""
    ((newest,),) = db.execute(_SQL["last_post_id"]).fetchall()
    return PostId(cast(int, newest))


def audience(db: apsw.Connection, post: Post, among: Sequence[UserName]) -> frozenset[UserName]:
    """As ``Store.audience``."""
    wanted = {"author": post.username, "post_id": post.post_id, "among": json.dumps(among)}
    return frozenset(UserName(str(name)) for (name,) in db.execute(_SQL["audience"], wanted).fetchall())


def _page(db: apsw.Connection, name: str, bindings: dict[str, str], limit: int) -> Page:
    # One row more than asked for tells whether others follow.
    rows = db.execute(_SQL[name], {**bindings, "limit": limit + 1}).fetchall()
    return Page(tuple(UserName(str(row[0])) for row in rows[:limit]), more=len(rows) > limit)


def _posts(db: apsw.Connection, name: str, bindings: dict[str, str | int]) -> list[Post]:
    rows = db.execute(_SQL[name], bindings).fetchall()
    return [Post(*cast(tuple[PostId, UserName, int, str], row)) for row in rows]
