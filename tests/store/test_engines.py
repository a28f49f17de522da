"""From a store's URL to an engine."""

# ruff: noqa: ASYNC221, ASYNC240 - these tests look at small files, and nothing else runs in their event loops

import subprocess
import sys
from pathlib import Path

import pytest

from snsnode.base.errors import ConfigError
from snsnode.store.engines import open_store


async def test_path_is_relative_to_the_home(tmp_path: Path) -> None:
    await (await open_store("sqlite:///my data.db", tmp_path)).close()
    assert (tmp_path / "my data.db").is_file()


async def test_four_slashes_are_an_absolute_path(tmp_path: Path) -> None:
    await (await open_store(f"sqlite:///{tmp_path}/abs.db", Path("/nowhere"))).close()
    assert (tmp_path / "abs.db").is_file()


async def test_postgresql_without_its_driver_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snsnode.store.engines.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'snsnode\[postgresql\]'"):
        await open_store("postgresql://sns@db1/sns", tmp_path)


async def test_driver_is_imported_only_for_postgresql(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys; from snsnode.store.engines import open_store; import snsnode.master.run\n"
        "asyncio.run(open_store('sqlite:///sns.db', pathlib.Path(sys.argv[1])))\n"
        "assert 'asyncpg' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=30)


async def test_password_in_a_url_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its URL holds a password") as refusal:
        await open_store("postgresql://sns:secret@db1/sns", tmp_path)
    assert "secret" not in refusal.value.message


@pytest.mark.parametrize("url", ["mysql://host/sns", "sns.db", "", "sqlite:sns.db"])
async def test_unknown_kind_is_refused_with_the_known_ones(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="sqlite:///PATH or postgresql://"):
        await open_store(url, tmp_path)


@pytest.mark.parametrize("url", ["sqlite://sns.db", "sqlite:///", "sqlite:///folder/", "sqlite:///a?mode=ro"])
async def test_malformed_sqlite_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="write sqlite:///PATH"):
        await open_store(url, tmp_path)
    assert list(tmp_path.iterdir()) == []
