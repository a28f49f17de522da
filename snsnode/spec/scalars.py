"""The small languages inside a spec: names, durations, sizes and store URLs.

Each ``parse_…`` takes what the YAML holds and returns the value, or raises ``ValueError`` with a sentence that
says what is wrong and what to write instead. Called by ``model`` (for the fields) and ``rules`` (for what can
be read of a file that is wrong elsewhere).
"""

import re
from decimal import Decimal
from urllib.parse import parse_qsl, unquote

from snsnode.base.ids import shown

NAME_PATTERN = r"[a-z][a-z0-9-]{0,31}"
DURATION_PATTERN = r"[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)"
SIZE_PATTERN = r"[0-9]{1,9}(MiB|GiB|TiB)"
STORE_PATTERN = r"(sqlite:///|postgresql://).+"

STORE_MAX = 4_000  # characters of its URL; node.json takes no longer text

SQLITE = "sqlite:///"
POSTGRESQL = "postgresql://"
# The options of its URL that the store takes; a test compares them with the store's own.
POSTGRESQL_OPTIONS = (
    "passfile",
    "target_session_attrs",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
)

# A name, an IPv4 address, a percent-encoded socket folder or nothing; or a bracketed IPv6 address; then a port.
_HOST = re.compile(r"(?:[A-Za-z0-9._%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_UNITS_S = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_UNITS_BYTES = {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def parse_name(value: object) -> str:
    """Return ``value`` as the name of a cluster or a VM."""
    if not isinstance(value, str) or not re.fullmatch(NAME_PATTERN, value):
        raise ValueError(f"{shown(str(value))} is not a name: write 1 to 32 of a-z, 0-9 and '-', a letter first")
    return value


def parse_duration(value: object) -> float:
    """Return a duration such as ``3s``, ``500ms``, ``1.5s``, ``2m`` or ``1h`` in seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f'the duration {value} has no unit: write "{value}s" for seconds')
    if not isinstance(value, str) or not re.fullmatch(DURATION_PATTERN, value, re.ASCII):
        what = shown(value) if isinstance(value, str) else "this"
        raise ValueError(f"{what} is not a duration: write a number and its unit, such as 500ms, 1.5s, 2m or 1h")
    number = value.rstrip("msh")
    return float(Decimal(number) * _UNITS_S[value[len(number) :]])


def parse_size(value: object) -> int:
    """Return a size such as ``512MiB``, ``2GiB`` or ``1TiB`` in bytes."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"the size {value} has no unit: write it as 512MiB, 2GiB or 1TiB")
    if not isinstance(value, str) or not re.fullmatch(SIZE_PATTERN, value, re.ASCII):
        what = shown(value) if isinstance(value, str) else "this"
        raise ValueError(f"{what} is not a size: write a whole number and its unit, such as 512MiB, 2GiB or 1TiB")
    return int(value[:-3]) * _UNITS_BYTES[value[-3:]]


def parse_store(value: object) -> str:
    """Return the URL of a store: ``sqlite:///PATH`` or ``postgresql://…``, without a password.

    What is refused is never quoted whole: it may hold a password.
    """
    if not isinstance(value, str):
        raise ValueError("this is not a store: write sqlite:///PATH or postgresql://USER@HOST/DATABASE")
    if re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError("a store's URL holds no spaces or control characters: leave them out")
    if len(value) > STORE_MAX:
        raise ValueError(f"the store's URL has {len(value)} characters: write at most {STORE_MAX}")
    if value.startswith(SQLITE):
        return _sqlite(value)
    if value.startswith(POSTGRESQL):
        return _postgresql(value)
    scheme = value.partition("://")[0] if "://" in value else value.partition(":")[0]
    raise ValueError(
        f"the store {shown(scheme)} is not known: write sqlite:///PATH (relative to the home), sqlite:////PATH "
        "(absolute) or postgresql://USER@HOST/DATABASE"
    )


def _sqlite(url: str) -> str:
    path = url.removeprefix(SQLITE)
    if not path or path.endswith("/") or re.search(r"[?#]", path) or path == ":memory:":
        raise ValueError(f"{shown(url)} names no file: write sqlite:///sns.db, or sqlite:////var/lib/sns.db")
    return url


def _postgresql(url: str) -> str:
    authority, _, query = url.removeprefix(POSTGRESQL).partition("?")
    # From the last '@' backwards, slashes included: a password with a slash in it is a password all the same.
    user, at, place = authority.rpartition("@")
    options = parse_qsl(query, keep_blank_values=True)
    if (at and ":" in unquote(user)) or any("password" in key.lower() for key, _ in options):
        raise ValueError(
            "the store's URL holds a password, which every reader of this file would learn: leave it out and "
            "write it to the file that PGPASSFILE or ?passfile=FILE names (by default ~/.pgpass)"
        )
    hosts, slash, database = place.partition("/")
    if not (slash and database) or not all(map(_HOST.fullmatch, hosts.split(","))) or "#" in url or "/" in user:
        raise ValueError("the store's URL is malformed: write postgresql://USER@HOST[:PORT][,HOST…]/DATABASE")
    for key, value in options:
        if key not in POSTGRESQL_OPTIONS:
            known = ", ".join(POSTGRESQL_OPTIONS)
            raise ValueError(f"the store's URL has the option {shown(key)}, which is not known: write {known}")
        if key == "target_session_attrs" and value not in ("read-write", "primary"):
            raise ValueError(
                "target_session_attrs can only be read-write, which is what is done anyway: leave it out"
            )
    return url
