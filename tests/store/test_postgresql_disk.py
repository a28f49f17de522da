"""A database whose disk is full: posts are refused, reads go on, and with room again so do posts."""

import os
import pwd

import pytest

from snsnode.base.errors import Exhausted
from snsnode.base.ids import Epoch, PostId, RequestId, VmName
from snsnode.store import postgresql as engine
from snsnode.store import postgresql_writer
from tests.full_disk import small_disk
from tests.postgresql_rig import Postgresql
from tests.store.conftest import ALICE, OpenPostgresql, make_users

pytestmark = pytest.mark.chaos

VM = VmName("vm2")


async def test_full_disk_refuses_posts_and_keeps_reads(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    with small_disk() as disk:
        space = disk.folder / "space"
        space.mkdir()
        disk.folder.chmod(0o711)  # PostgreSQL runs as another user, and must get as far as its own folder
        nobody = pwd.getpwnam("nobody")
        os.chown(space, nobody.pw_uid, nobody.pw_gid)
        postgresql.psql(f"CREATE TABLESPACE small LOCATION '{space}'")
        postgresql.psql("ALTER TABLE posts SET TABLESPACE small", database)
        store = await open_postgresql(database)
        await make_users(store)
        await store.post(ALICE, RequestId("first"), "first")
        disk.fill()
        with pytest.raises(Exhausted, match=r"its server takes no more .*53100.*free space there"):
            for n in range(100):
                await store.post(ALICE, RequestId(f"r{n}"), "x" * 2000)
        assert [post.text for post in await store.posts_after(PostId(0), 1)] == ["first"]
        assert (await store.history(ALICE)).posts
        disk.free()
        await store.post(ALICE, RequestId("last"), "y" * 2000)
        await store.close()
        postgresql.drop_database(database)
        postgresql.psql("DROP TABLESPACE small")


NO_ROOM = """
ALTER FUNCTION sns_claim(text, bigint) RENAME TO sns_claim_with_room;
CREATE FUNCTION sns_claim(p_vm text, p_at_least bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full';
END $$;
"""
ROOM = (
    "DROP FUNCTION sns_claim(text, bigint); ALTER FUNCTION sns_claim_with_room(text, bigint) RENAME TO sns_claim;"
)


async def test_claim_without_room_says_so_to_every_write_and_keeps_reads(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    """A master that starts on a full disk grants logins for reading where it hears that there is no room."""
    store = await open_postgresql(database)
    await make_users(store)
    postgresql.psql(NO_ROOM, database)
    with pytest.raises(Exhausted):
        await store.claim_epoch(VM, Epoch(1))
    with pytest.raises(Exhausted):
        await store.post(ALICE, RequestId("r"), "text")
    assert not (await store.history(ALICE)).posts
    postgresql.psql(ROOM, database)
    await store.claim_epoch(VM, Epoch(1))
    await store.post(ALICE, RequestId("r"), "text")


async def test_read_only_database_refuses_writes_as_a_full_disk_does(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some services set it when the disk is nearly full; a master then serves reads, and is not restarted."""
    for module in (engine, postgresql_writer):
        monkeypatch.setattr(module, "PATIENCE_S", 1.0)
    before = await open_postgresql(database)
    await make_users(before)
    await before.post(ALICE, RequestId("first"), "first")
    postgresql.psql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    store = await open_postgresql(database)
    with pytest.raises(Exhausted, match="it is read-only"):
        await store.claim_epoch(VM, Epoch(1))
    with pytest.raises(Exhausted, match="claim of an epoch is not settled"):
        await store.post(ALICE, RequestId("r"), "text")
    assert [post.text for post in await store.posts_after(PostId(0), 10)] == ["first"]
    postgresql.psql(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    assert await store.claim_epoch(VM, Epoch(1)) == 1
    await store.post(ALICE, RequestId("second"), "second")
