"""A ``postgresql://`` URL as the engine uses it: hosts, user, database, and where the password is. Pure.

Called by the PostgreSQL engine. The spec checks the same language (``spec.scalars``), so what is refused here came
from a tool's command line or a node.json of another version. A password in a URL would stand in node.json, in
``ps`` and in logs: it is refused, and nothing that might be one is repeated in a message.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

from snsnode.base.errors import ConfigError
from snsnode.base.ids import shown

SCHEME = "postgresql://"
PORT = 5432
# As libpq knows them; the files of TLS are given to the driver as they are.
TLS_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl")
OPTIONS = ("passfile", "target_session_attrs", *TLS_OPTIONS)

_FORM = "write postgresql://USER@HOST[:PORT][,HOST…]/DATABASE"


@dataclass(frozen=True, slots=True)
class Host:
    """A name, an address, or the folder of a Unix socket ("/…"); "" is where the driver looks by default."""

    address: str
    port: int

    def __str__(self) -> str:
        """As people write it."""
        name = f"[{self.address}]" if ":" in self.address else self.address
        return f"{name or 'this machine'}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """What to connect to. ``tls`` is the query of a URL, "" for the driver's default."""

    hosts: tuple[Host, ...]
    user: str | None
    database: str
    passfile: Path | None
    tls: str

    def __str__(self) -> str:
        """As it may be shown: it holds no secret."""
        user = f"{self.user}@" if self.user else ""
        return f"{SCHEME}{user}{','.join(map(str, self.hosts))}/{self.database}"


def parse_url(url: str, home: Path) -> Target:
    """Return what ``url`` names; a relative ``passfile`` is in ``home``.

    Raises:
        ConfigError: it is malformed, or holds a password.
    """
    authority, _, query = url.removeprefix(SCHEME).partition("?")
    user, _, place = authority.rpartition("@")
    hosts, slash, database = place.partition("/")
    options = parse_qsl(query, keep_blank_values=True)
    if ":" in unquote(user) or any("password" in key.lower() for key, _ in options):
        raise ConfigError(
            "cannot open the store: its URL holds a password, which would stand in files and process lists; leave "
            "it out and write it to the file that PGPASSFILE or ?passfile=FILE names (by default ~/.pgpass)"
        )
    if not url.startswith(SCHEME) or not slash or not database or "/" in database or "#" in url or "/" in user:
        raise ConfigError(f"cannot open the store: its URL is malformed; {_FORM}")
    known = _known(options)
    passfile = known.pop("passfile", None)
    known.pop("target_session_attrs", None)
    return Target(
        hosts=tuple(_host(text) for text in hosts.split(",")),
        user=unquote(user) or None,
        database=unquote(database),
        passfile=home / passfile if passfile else None,
        tls="&".join(f"{key}={quote(value)}" for key, value in known.items()),
    )


def _known(options: list[tuple[str, str]]) -> dict[str, str]:
    known = dict(options)
    for key in known:
        if key not in OPTIONS:
            raise ConfigError(
                f"cannot open the store: its URL has the option {shown(key)}, which is not known; known are "
                f"{', '.join(OPTIONS)}"
            )
    if known.get("target_session_attrs", "read-write") not in ("read-write", "primary"):
        raise ConfigError("cannot open the store: target_session_attrs can only be read-write; leave it out")
    return known


def _host(text: str) -> Host:
    address, bracket, rest = text.removeprefix("[").partition("]") if text.startswith("[") else ("", "", text)
    if not bracket:
        address, _, rest = rest.partition(":")
    port = rest.removeprefix(":") if bracket else rest
    if port and not (port.isdecimal() and 1 <= int(port) <= 65535):
        raise ConfigError(f"cannot open the store: its URL has the port {shown(port)}; write a number, 1 to 65535")
    return Host(unquote(address), int(port) if port else PORT)
