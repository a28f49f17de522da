"""The schema's version, its migrations and additions, under a lock: several servers may start at once.

Called when the PostgreSQL engine is opened. Each migration is a transaction of its own, and nothing of it is left
where it fails.
"""

import logging
from typing import Any

from snsnode.base.errors import ConfigError, Unavailable
from snsnode.store.postgresql_connect import limited
from snsnode.store.postgresql_errors import DRIVER_ERRORS, not_the_owner, schema_error
from snsnode.store.statements import additions, migrations, statements

MIGRATE_S = 60.0  # a new schema may build an index over all posts

_SQL = statements("postgresql")
_log = logging.getLogger(__name__)


async def migrate_in_time(connection: Any, what: str) -> None:
    """As ``migrate``, which another process or a server that hangs may hold up.

    Raises:
        Unavailable: for ``MIGRATE_S``; the connection is cut.
    """
    overdue = Unavailable(f"cannot open {what}: its schema is locked, or its server hangs; try again")
    with limited(connection, MIGRATE_S, overdue):
        await migrate(connection, what)


async def migrate(connection: Any, what: str) -> int:
    """Bring the database to this version's schema and return its number; ``what`` names it in messages.

    Raises:
        ConfigError: it is from a newer version, or may not be changed by this user.
        Unavailable, StoreFailed: the server failed.
    """
    latest = migrations("postgresql")[-1].number
    try:
        # Looked at first without the lock: as a rule there is nothing to do, and a standby's wait costs nothing.
        found = await version(connection)
        while found < latest:
            found = await _step(connection, what)
    except DRIVER_ERRORS as error:
        raise schema_error(error, f"cannot bring the schema of {what} to version {latest}") from error
    refuse_newer(found, what)
    try:
        if not await connection.fetchval(_SQL["has_additions"]):
            await _add(connection, what)
    except DRIVER_ERRORS as error:
        raise schema_error(error, f"cannot add to the schema of {what} what this version needs") from error
    return found


async def version(connection: Any) -> int:
    """Return the schema's version, 0 where there is none.

    Raises:
        ConfigError: it is being filled by a copy.
    """
    if await connection.fetchval(_SQL["has_copy"]):
        raise ConfigError(
            "cannot open the store: it holds a copy that is not complete; run the same 'snsctl store copy' again"
        )
    if not await connection.fetchval(_SQL["has_schema"]):
        return 0
    return int(await connection.fetchval(_SQL["version"]))


def refuse_newer(found: int, what: str) -> None:
    """Refuse a schema that this version does not know; ``what`` names the store in the message.

    Raises:
        ConfigError: it is one.
    """
    latest = migrations("postgresql")[-1].number
    if found > latest:
        raise ConfigError(
            f"cannot open {what}: its schema has version {found}, and this snsnode knows up to {latest}; upgrade "
            "snsnode on this machine"
        )


async def awaits_additions(connection: Any, what: str) -> bool:
    """Tell whether the next open adds to the schema; ``what`` names the store in messages. Nothing is changed.

    Raises:
        ConfigError: it would have to, and this user may not.
    """
    if await connection.fetchval(_SQL["has_additions"]):
        return False
    if not await connection.fetchval(_SQL["may_add"]):
        raise not_the_owner(what)
    return True


async def _step(connection: Any, what: str) -> int:
    """Run the next migration, unless another process has meanwhile; return the version."""
    async with connection.transaction():
        await connection.execute(_SQL["lock_schema"])
        if not await connection.fetchval(_SQL["has_schema"]):
            await connection.execute(_SQL["make_schema"])
            await connection.execute(_SQL["first_version"])
        found = int(await connection.fetchval(_SQL["version"]))
        step = next((each for each in migrations("postgresql") if each.number == found + 1), None)
        if step is None:
            return found
        await connection.execute(step.path.read_text(encoding="utf-8"))
        await connection.execute(_SQL["set_version"], step.number)
    _log.info("the schema of %s has version %d now", what, step.number)
    return step.number


async def _add(connection: Any, what: str) -> None:
    """Add what is missing; where another process has meanwhile, this changes nothing of it. The number stays."""
    async with connection.transaction():
        await connection.execute(_SQL["lock_schema"])
        if not await connection.fetchval(_SQL["may_add"]):
            raise not_the_owner(what)
        await connection.execute(additions("postgresql").read_text(encoding="utf-8"))
    _log.info("the schema of %s has this version's additions now", what)
