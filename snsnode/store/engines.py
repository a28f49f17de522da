"""From a store's URL to an open store.

Called by a master's wiring and by tools; imports an engine only when it is used.
"""

from importlib.util import find_spec
from pathlib import Path

from snsnode.base import trust
from snsnode.base.errors import ConfigError
from snsnode.base.ids import shown
from snsnode.store.protocol import Store
from snsnode.store.transfer import Target

SIDE_FILES = ("", "-wal", "-shm", "-journal")  # what SQLite keeps beside a file, and the file itself
_KNOWN = "write sqlite:///PATH or postgresql://USER@HOST/DATABASE"


async def open_store(url: str, home: Path) -> Store:
    """Open the store at ``url``; a SQLite path is relative to ``home`` (four slashes: absolute).

    Connections are opened and the schema is read. Nothing is written, except that a missing file is made and an
    old one migrated or added to, before the first write: a warm spare can hold a store open.

    Raises:
        ConfigError: the URL is not known, or what it names cannot be used before somebody acts.
        Unavailable, Exhausted, StoreFailed: as the engine says.
    """
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        return await _open_sqlite(url, home)
    if scheme == "postgresql":
        return await _open_postgresql(url, home)
    raise ConfigError(f"cannot open the store {shown(url)}: its kind is not known; {_KNOWN}")


def sqlite_path(url: str, home: Path) -> Path:
    """Return the file that the URL of a SQLite store names.

    Raises:
        ConfigError: it names none.
    """
    rest = url.partition("://")[2]
    path = rest.removeprefix("/")
    if path == rest or not path or path.endswith("/") or "?" in path or "#" in path or "\0" in path:
        raise ConfigError(
            f"cannot open the store {shown(url)}: write sqlite:///PATH, a file relative to the home, or "
            "sqlite:////PATH for an absolute one; options after '?' or '#' are not taken"
        )
    return home / path


def check_sqlite_files(path: Path) -> None:
    """Refuse a SQLite file, and what SQLite keeps beside it, where somebody else may write to them.

    Raises:
        ConfigError: with the path, and its owner or mode.
    """
    trust.check_store(path, SIDE_FILES)


async def _open_sqlite(url: str, home: Path) -> Store:
    path = sqlite_path(url, home)
    check_sqlite_files(path)
    from snsnode.store.sqlite import SqliteStore

    return await SqliteStore.open(path)


async def examine_postgresql(url: str, home: Path) -> str:
    """Return a line about a PostgreSQL store that works; nothing is changed.

    Raises:
        ConfigError, Unavailable, StoreFailed: as ``open_store``.
    """
    _check_driver()
    from snsnode.store.postgresql import probe

    return await probe(url, home)


async def open_postgresql_target(url: str, home: Path) -> Target:
    """Open the database at ``url`` to be filled by a copy.

    Raises:
        ConfigError, Unavailable: as ``open_store``.
    """
    _check_driver()
    from snsnode.store.postgresql_transfer import PostgresqlTarget

    return await PostgresqlTarget.open(url, home)


async def _open_postgresql(url: str, home: Path) -> Store:
    _check_driver()
    from snsnode.store.postgresql import PostgresqlStore

    return await PostgresqlStore.open(url, home)


def _check_driver() -> None:
    if find_spec("asyncpg") is None:
        raise ConfigError(
            "cannot open a postgresql:// store: its driver is not installed here; run "
            "pip install 'snsnode[postgresql]'"
        )
