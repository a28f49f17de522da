"""``snsctl backup`` and ``snsctl store copy`` on a real cluster and as real processes that are killed."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import apsw
import pytest

from snsnode.base.ids import ClientId, PostId, UserName
from snsnode.client import Client
from snsnode.store.engines import open_store
from snsnode.store.protocol import Login
from tests.cluster import Cluster, running
from tests.eventually import eventually, eventually_async

pytestmark = pytest.mark.integration

POSTS = 30_000
COPY_MAX_S = 60.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running() as started:
        yield started


def test_backup_made_under_load_brings_back_what_was_acknowledged_before(cluster: Cluster) -> None:
    file = cluster.folder / "copy.db"

    async def post_and_back_up() -> list[str]:
        async with Client([f"127.0.0.1:{cluster.ports['vm1']}"], username="alice") as alice:
            acknowledged: list[str] = []

            async def post() -> None:
                while True:
                    text = f"post {len(acknowledged)}"
                    await alice.post(text)
                    acknowledged.append(text)

            posting = asyncio.create_task(post())
            await eventually_async(lambda: len(acknowledged) >= 50, within_s=COPY_MAX_S)
            before = list(acknowledged)
            done = await asyncio.to_thread(cluster.ctl, "backup", str(file))
            assert done.stdout.startswith(f"wrote {file}: 1 user, ")
            posting.cancel()
            await asyncio.wait((posting,))
            return before

    before = asyncio.run(post_and_back_up())
    cluster.stop()
    shutil.copy(file, cluster.home / "sns.db")
    for suffix in ("-wal", "-shm"):
        (cluster.home / f"sns.db{suffix}").unlink(missing_ok=True)
    cluster.start()

    async def look() -> list[str]:
        async with Client([f"127.0.0.1:{cluster.ports['vm1']}"], username="bob") as bob:
            # Not alice: in the copy she is still logged in, for as long as her lease.
            await bob.post("and on")
            store = await open_store("sqlite:///sns.db", cluster.home)
            posts = await store.posts_after(PostId(0), 100_000)
            await store.close()
            return [post.text for post in posts]

    texts = asyncio.run(look())
    assert texts[: len(before)] == before
    assert texts[-1] == "and on"


def test_backup_says_what_is_wrong_and_leaves_nothing(cluster: Cluster) -> None:
    for file, code, words in (
        (str(cluster.home / "sns.db"), 2, "that is the store itself"),
        (str(cluster.home), 2, "it is a folder"),
        ("none/copy.db", 2, "there is no folder"),
        ("/proc/copy.db", 1, "cannot write the backup '/proc/copy.db'"),
    ):
        done = cluster.ctl("backup", file, code=code)
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
    before = {path.name for path in cluster.home.iterdir()}
    assert cluster.ctl("backup", "copy.db").stdout.startswith("wrote copy.db: 0 users")
    assert cluster.ctl("backup", "copy.db", code=2).stderr.count("--force") == 1
    cluster.ctl("backup", "copy.db", "--force")
    assert {path.name for path in cluster.home.iterdir()} == before
    assert sorted(path.name for path in cluster.folder.iterdir()) == ["cluster.yaml", "copy.db", "var"]


def test_store_of_a_running_cluster_is_not_copied(cluster: Cluster) -> None:
    done = cluster.ctl("store", "copy", "sqlite:///sns.db", "sqlite:///new.db", code=1)
    assert f"process {cluster.pid('vm2', 'master')}" in done.stderr or "process " in done.stderr
    assert "run 'snsctl stop'" in done.stderr
    cluster.stop()
    cluster.ctl("store", "copy", "sqlite:///sns.db", "sqlite:///new.db")


def test_damage_is_found_by_doctor() -> None:
    with running(start=False, more="store: sqlite:///old.db") as cluster:
        asyncio.run(make_store(cluster.home))
        assert "store integrity: checked, no fault" in cluster.ctl("doctor").stdout
        with (cluster.home / "old.db").open("r+b") as file:
            file.seek(4096 * 2)
            file.write(b"\xff" * 4096)
        done = cluster.ctl("doctor", code=1)
        assert "FAIL  store integrity: " in done.stdout
        assert "restore a backup" in done.stdout


def test_copy_that_is_killed_again_and_again_is_complete_in_the_end(tmp_path: Path) -> None:
    asyncio.run(make_store(tmp_path))
    with closing(apsw.Connection(str(tmp_path / "old.db"))) as db, db:
        insert = "INSERT INTO posts (author, posted_at_ms, text, request_id) VALUES ('alice', ?, ?, ?)"
        db.executemany(insert, ((n, f"text {n}", f"r{n}") for n in range(POSTS)))

    command = [sys.executable, "-m", "snsnode.cli.main", "--home", str(tmp_path), "store", "copy"]
    command += ["sqlite:///old.db", "sqlite:///new.db"]
    killed_at = []
    for part in (0.2, 0.6):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        eventually(partial(has_come, tmp_path, part, process), COPY_MAX_S, every_s=0.002)
        process.kill()
        process.communicate(timeout=COPY_MAX_S)
        killed_at.append(copied(tmp_path))
    assert 0 < killed_at[0] < POSTS
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COPY_MAX_S)
    assert done.returncode == 0, done.stderr
    assert "had been copied before" in done.stdout
    assert rows(tmp_path / "new.db") == rows(tmp_path / "old.db")
    assert rows(tmp_path / "new.db")[-1][0] == POSTS


async def make_store(home: Path) -> None:
    store = await open_store("sqlite:///old.db", home)
    await store.login(Login(UserName("alice"), ClientId("c")), 1)
    await store.close()


def has_come(folder: Path, part: float, process: "subprocess.Popen[bytes]") -> bool:
    """Tell whether so much of the store has arrived, by the files' sizes: who opens them is refused a copy."""
    sizes = [path.stat().st_size for path in folder.glob("new.db*") if not path.name.endswith("-shm")]
    return sum(sizes) >= part * (folder / "old.db").stat().st_size or process.poll() is not None


def copied(folder: Path) -> int:
    """Return how many posts have arrived."""
    if not (folder / "new.db").exists():
        return 0
    db = apsw.Connection(str(folder / "new.db"))
    try:
        return int(next(db.execute("SELECT count(*) FROM posts"))[0])
    except apsw.Error:
        return 0
    finally:
        db.close()


def rows(path: Path) -> list[tuple[object, ...]]:
    db = apsw.Connection(str(path))
    try:
        return list(db.execute("SELECT * FROM posts ORDER BY id"))
    finally:
        db.close()
