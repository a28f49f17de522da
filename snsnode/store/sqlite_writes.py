"""The writes of the SQLite engine: functions over a connection, inside a transaction that the caller owns.

Called on the writer's thread. A refusal may be raised after rows were changed: the caller's savepoint takes
them back. Messages are shown to users as they stand.
"""

from collections.abc import Sequence
from typing import cast

import apsw

from snsnode.base.errors import AlreadyDone, NotAllowed, NotFound
from snsnode.base.ids import Epoch, PostId, RequestId, UserName, VmName, shown
from snsnode.store.clock import Clock
from snsnode.store.names import ambiguous, taken_in_another_case
from snsnode.store.protocol import Login, NoWriter, Posted
from snsnode.store.statements import statements

_SQL = statements("sqlite")
_REQUEST_KEPT_MS = 24 * 3600 * 1000  # far beyond any client's deadline for repeating a follow
_PRUNED_AT_ONCE = 4  # each follow adds one request and removes up to so many: no sweep ever takes long


def stored_epoch(db: apsw.Connection, vm: VmName) -> Epoch:
    """Return the epoch of ``vm``'s newest incarnation, 0 where none ever claimed one."""
    rows = db.execute(_SQL["stored_epoch"], {"vm": vm}).fetchall()
    return Epoch(cast(int, rows[0][0]) if rows else 0)


def claim_epoch(db: apsw.Connection, vm: VmName, at_least: Epoch) -> Epoch:
    """As ``Store.claim_epoch``."""
    epoch = Epoch(max(at_least, stored_epoch(db, vm) + 1))
    db.execute(_SQL["store_epoch"], {"vm": vm, "epoch": epoch})
    return epoch


def login(db: apsw.Connection, clock: Clock, who: Login, lease_s: float) -> bool:
    """As ``Store.login``."""
    now = {"username": who.username, "boot_id": clock.boot_id, "now_ms": clock.boot_ms()}
    held = db.execute(_SQL["session"], now).fetchall()
    ours = bool(held) and held[0][0] == who.client_id
    if held and held[0][1] and not ours:
        raise AlreadyDone(
            f"cannot log in as {shown(who.username)}: the name is in use by another live client; wait a few "
            "seconds after it left, or choose another name"
        )
    alike = _named(db, who.username)
    if alike and who.username not in alike:
        raise taken_in_another_case(who.username, alike[0])
    db.execute(_SQL["add_user"], {"username": who.username, "now_ms": clock.wall_ms()})
    db.execute(_SQL["take_session"], _lease(clock, who, lease_s))
    return ours


def renew(db: apsw.Connection, clock: Clock, logins: Sequence[Login], lease_s: float) -> frozenset[Login]:
    """As ``Store.renew``."""
    return frozenset(
        who for who in logins if not db.execute(_SQL["renew_session"], _lease(clock, who, lease_s)).fetchall()
    )


def logout(db: apsw.Connection, who: Login) -> None:
    """As ``Store.logout``."""
    db.execute(_SQL["drop_session"], who._asdict())


def follow(
    db: apsw.Connection, clock: Clock, username: UserName, followee: UserName, request_id: RequestId
) -> None:
    """As ``Store.follow``."""
    verb = f"cannot follow {shown(followee)}"
    followee = _found(db, verb, followee)
    if username == followee:
        raise NotAllowed(f"{verb}: that is yourself, and your own posts are on your timeline anyway")
    if _is_replay(db, verb, username, request_id, ("follow", followee)):
        return
    _require_user(db, verb, followee)
    _require_writer(db, verb, username)
    if not db.execute(_SQL["add_follow"], {"username": username, "followee": followee}).fetchall():
        raise AlreadyDone(f"{verb}: you follow this user already")
    _remember(db, clock, username, request_id, ("follow", followee))


def unfollow(
    db: apsw.Connection, clock: Clock, username: UserName, followee: UserName, request_id: RequestId
) -> None:
    """As ``Store.unfollow``."""
    verb = f"cannot unfollow {shown(followee)}"
    followee = _found(db, verb, followee)
    if _is_replay(db, verb, username, request_id, ("unfollow", followee)):
        return
    _require_user(db, verb, followee)
    if not db.execute(_SQL["drop_follow"], {"username": username, "followee": followee}).fetchall():
        raise NotAllowed(f"{verb}: you do not follow this user")
    _remember(db, clock, username, request_id, ("unfollow", followee))


def post(db: apsw.Connection, clock: Clock, username: UserName, request_id: RequestId, text: str) -> Posted:
    """As ``Store.post``. The common case is one statement; only a refusal or a repeat asks why."""
    request = {"username": username, "request_id": request_id}
    added = db.execute(_SQL["add_post"], {**request, "text": text, "now_ms": clock.wall_ms()}).fetchall()
    if added:
        return Posted(*cast(tuple[PostId, int], added[0]))
    for post_id, posted_at_ms, first_text in db.execute(_SQL["post_of_request"], request).fetchall():
        if first_text == text:
            return Posted(PostId(cast(int, post_id)), cast(int, posted_at_ms))
    _require_writer(db, "cannot post", username)
    raise _reused("cannot post", request_id)


def _lease(clock: Clock, who: Login, lease_s: float) -> dict[str, str | int]:
    expires_at_ms = clock.boot_ms() + int(lease_s * 1000)
    return {**who._asdict(), "boot_id": clock.boot_id, "expires_at_ms": expires_at_ms}


def _named(db: apsw.Connection, username: UserName) -> list[UserName]:
    """Return the user of that name; where there is none, up to two whose names differ from it only in case."""
    if db.execute(_SQL["user_exists"], {"username": username}).fetchall():
        return [username]
    return [UserName(str(name)) for (name,) in db.execute(_SQL["like_user"], {"username": username}).fetchall()]


def _found(db: apsw.Connection, verb: str, username: UserName) -> UserName:
    """Return the one user who is meant: the name in another case where that is one's alone; else ``username``."""
    alike = _named(db, username)
    if len(alike) > 1:
        raise ambiguous(verb, username)
    return alike[0] if alike else username


def _require_user(db: apsw.Connection, verb: str, username: UserName) -> None:
    if not db.execute(_SQL["user_exists"], {"username": username}).fetchall():
        raise NotFound(f"{verb}: there is no user {shown(username)}")


def _require_writer(db: apsw.Connection, verb: str, username: UserName) -> None:
    if not db.execute(_SQL["user_exists"], {"username": username}).fetchall():
        raise NoWriter(f"{verb}: there is no user {shown(username)}")


def _is_replay(
    db: apsw.Connection, verb: str, username: UserName, request_id: RequestId, request: tuple[str, str]
) -> bool:
    """Tell whether this very request was answered before."""
    known = db.execute(_SQL["known_request"], {"username": username, "request_id": request_id}).fetchall()
    if known and known[0] != request:
        raise _reused(verb, request_id)
    return bool(known)


def _remember(
    db: apsw.Connection, clock: Clock, username: UserName, request_id: RequestId, request: tuple[str, str]
) -> None:
    kind, target = request
    now_ms = clock.wall_ms()
    row = {"username": username, "request_id": request_id, "kind": kind, "target": target, "now_ms": now_ms}
    db.execute(_SQL["add_request"], row)
    db.execute(_SQL["prune_requests"], {"before_ms": now_ms - _REQUEST_KEPT_MS, "limit": _PRUNED_AT_ONCE})


def _reused(verb: str, request_id: RequestId) -> AlreadyDone:
    return AlreadyDone(
        f"{verb}: the request id {shown(request_id)} was used for something else; make a new one for each"
    )
