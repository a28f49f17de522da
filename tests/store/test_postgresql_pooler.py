"""Through a real PgBouncer: served with pool_mode = session, recognised with the others."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snsnode.base.errors import ConfigError
from snsnode.base.ids import ClientId, RequestId
from snsnode.store.engines import open_store
from snsnode.store.postgresql import probe
from snsnode.store.protocol import Login
from tests.eventually import eventually
from tests.ports import free_port
from tests.postgresql_rig import Postgresql, as_user
from tests.store.conftest import ALICE, BOB

WITHIN_S = 20.0
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs PgBouncer: apt-get install pgbouncer")


@contextmanager
def pooler(server: Postgresql, mode: str) -> Iterator[int]:
    """Run a PgBouncer before ``server``, as the same user, and yield its port."""
    assert PROGRAM is not None
    port = free_port()
    ini, log = (server.folder / f"pooler-{port}.{end}" for end in ("ini", "log"))
    users = ini.with_suffix(".users")
    users.write_text('"sns" "x"\n')
    ini.write_text(
        f"""
[databases]
* = host={server.folder} port={server.port} user=sns
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {users}
pool_mode = {mode}
"""
    )
    with log.open("w") as output:
        process = subprocess.Popen([*as_user(), PROGRAM, str(ini)], stderr=output, stdout=output)
    try:
        eventually(lambda: "process up" in log.read_text() or process.poll() is not None, WITHIN_S)
        assert process.poll() is None, log.read_text()
        yield port
    finally:
        process.kill()
        process.wait(WITHIN_S)


def url(port: int, database: str) -> str:
    return f"postgresql://sns@127.0.0.1:{port}/{database}?sslmode=disable"


async def test_pooler_of_sessions_serves(postgresql: Postgresql, database: str, tmp_path: Path) -> None:
    with pooler(postgresql, "session") as port:
        store = await open_store(url(port, database), tmp_path)
        try:
            for name in (ALICE, BOB):
                assert not await store.login(Login(name, ClientId("c")), 60)
            await store.follow(ALICE, BOB, RequestId("r1"))
            posted = await store.post(BOB, RequestId("r1"), "hello")
            assert [post.post_id for post in (await store.history(ALICE)).posts] == [posted.post_id]
        finally:
            await store.close()
        assert "takes writes" in await probe(url(port, database), tmp_path)


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_pooler_of_less_is_recognised(
    mode: str, postgresql: Postgresql, database: str, tmp_path: Path
) -> None:
    with (
        pooler(postgresql, mode) as port,
        pytest.raises(ConfigError, match=r"pooler .* set pool_mode = session"),
    ):
        await probe(url(port, database), tmp_path)


async def test_settings_hold_on_a_plain_connection(postgresql: Postgresql, database: str, tmp_path: Path) -> None:
    store = await open_store(postgresql.url(database), tmp_path)
    try:
        session = store._posts.session  # type: ignore[attr-defined]
        for name, value in (("enable_seqscan", "off"), ("statement_timeout", "0"), ("jit", "off")):
            assert await (await session.open()).fetchval(f"SHOW {name}") == value
    finally:
        await store.close()
