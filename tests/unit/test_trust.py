"""Who else could decide what runs from a home: then nothing in it is read."""

import grp
import os
import pwd
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from snsnode.base import trust
from snsnode.base.errors import ConfigError
from snsnode.cli.main import main
from snsnode.store.engines import SIDE_FILES, open_store

STRANGER = 54321
CONF = Path(__file__).parents[2] / "conf"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to somebody else")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home as ``generate`` makes it, with what runs there."""
    home = tmp_path / "var"
    for folder in trust.FOLDERS:
        (home / "vm1" / folder).mkdir(parents=True)
    for name in ("node.json", "supervisord.conf", "run/router.pid", "state/epoch", "local/x.conf"):
        (home / "vm1" / name).touch()
    (home / "sns.db").touch()
    return home


def refused(check: Callable[[], None]) -> str:
    with pytest.raises(ConfigError) as caught:
        check()
    assert "\n" not in caught.value.message
    return caught.value.message


def test_what_is_ours_alone_is_taken(home: Path) -> None:
    trust.check_home(home)
    trust.check_vm(home / "vm1")
    trust.check_logs(home / "vm1")
    trust.check_store(home / "sns.db", SIDE_FILES)
    trust.check_home(home.parent / "not" / "there" / "yet")


@pytest.mark.parametrize("place", ["", "vm1", *(f"vm1/{name}" for name in trust.FOLDERS)])
@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777])
def test_a_folder_that_others_may_write_to_is_refused(home: Path, place: str, mode: int) -> None:
    (home / place).chmod(mode)
    message = refused(lambda: trust.check_home(home))
    assert f"others may write to {home / place} (mode {mode:04o})" in message
    assert f"chmod go-w {home / place}" in message
    assert message == refused(lambda: trust.check_vm(home / "vm1")).replace(
        f"use {home / 'vm1'}:", f"use the home {home}:"
    )


@as_root
@pytest.mark.parametrize(
    "place", ["", "vm1", "vm1/run", "vm1/node.json", "vm1/supervisord.conf", "vm1/local/x.conf", "vm1/state/epoch"]
)
def test_what_belongs_to_somebody_else_is_refused(home: Path, place: str) -> None:
    os.chown(home / place, STRANGER, STRANGER)
    message = refused(lambda: trust.check_home(home))
    assert f"{home / place} belongs to uid {STRANGER}, and this is run by root (uid 0)" in message
    assert f"chown 0 {home / place}" in message
    refused(lambda: trust.check_vm(home / "vm1"))


@as_root
def test_a_log_of_somebody_else_is_named_and_only_who_writes_it_is_refused(home: Path) -> None:
    log = home / "vm1" / "log" / "router.log"
    log.touch()
    os.chown(log, STRANGER, STRANGER)
    trust.check_home(home)
    assert f"cannot write the log {log}: {log} belongs to uid {STRANGER}" in refused(
        lambda: trust.check_logs(home / "vm1")
    )


def test_a_folder_above_may_be_sticky_but_not_open(home: Path) -> None:
    home.parent.chmod(0o1777)
    trust.check_home(home)
    home.parent.chmod(0o777)
    assert f"others may write to {home.parent}" in refused(lambda: trust.check_home(home))
    assert f"others may write to {home.parent}" in refused(lambda: trust.check_home(home.parent / "new"))
    home.parent.chmod(0o755)


@as_root
def test_a_link_on_the_way_that_somebody_else_may_turn_is_refused(home: Path) -> None:
    link = home.parent / "link"
    link.symlink_to("var")
    trust.check_home(link)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    assert f"the link {link} belongs to uid {STRANGER}" in refused(lambda: trust.check_home(link))


def test_a_private_group_is_nobody_else(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With umask 002, as many systems have it, everything is writable by the user's own group."""
    for place in (home.parent, home, home / "vm1", home / "vm1" / "run"):
        place.chmod(0o775)
    monkeypatch.setattr(trust, "_is_shared", lambda gid: False)
    trust.check_home(home)
    monkeypatch.setattr(trust, "_is_shared", lambda gid: True)
    assert "(mode 0775)" in refused(lambda: trust.check_home(home))


def test_an_access_control_list_counts(home: Path) -> None:
    """The owner's group is nobody else, and its bits are only the mask of what the list gives to a stranger."""
    conf = home / "vm1" / "supervisord.conf"
    #        the version; then tag, permissions and id of: owner, named user, owning group, mask, others
    entries = ((1, 6), (2, 6, STRANGER), (4, 4), (16, 6), (32, 4))
    packed = b"".join(struct.pack("<HHI", *(*entry, 2**32 - 1)[:3]) for entry in entries)
    try:
        os.setxattr(conf, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    except OSError:
        pytest.skip("this filesystem has no access control lists")
    assert f"others may write to {conf}" in refused(lambda: trust.check_home(home))
    conf.chmod(0o644)  # which takes the right to write out of the mask
    trust.check_home(home)


def test_a_home_that_is_no_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not taken for one that is not there yet: a stop would find nothing in it, and say no word."""
    home = tmp_path / "var"
    os.mkfifo(home)
    for command in ("stop", "status", "why"):
        assert main(["--spec", str(CONF / "local.yaml"), "--home", str(home), command]) == 78
        assert f"{home} is no folder" in capsys.readouterr().err


def test_a_group_counts_where_somebody_else_is_in_it() -> None:
    assert not trust._is_shared(os.getegid())
    assert trust._is_shared(987_654)  # without a name, and not one of ours


@pytest.mark.parametrize(("members", "shared"), [(["daemon"], True), (["root"], False), (["gone"], False)])
def test_a_group_counts_by_who_is_in_it(members: list[str], shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group(("staff", "x", gid, members)))
    known = {"root": 0, "daemon": STRANGER}
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.struct_passwd((name, "x", known[name], 1, "", "/", "")))
    monkeypatch.setattr(pwd, "getpwall", list)
    assert trust._is_shared(987_654) is shared


def test_what_nobody_else_can_reach_may_have_any_mode(home: Path) -> None:
    """A umask of 000 is no reason to refuse what we wrote ourselves, where the folder is closed."""
    (home / "vm1" / "state" / "epoch").chmod(0o666)
    (home / "vm1").chmod(0o700)
    trust.check_home(home)
    (home / "vm1").chmod(0o755)
    assert "state/epoch (mode 0666)" in refused(lambda: trust.check_home(home))


def test_what_else_lies_in_a_home_is_nobodys_business(home: Path) -> None:
    (home / "lost+found").mkdir()
    (home / "lost+found").chmod(0o777)
    trust.check_home(home)


@pytest.mark.parametrize("suffix", SIDE_FILES)
async def test_a_store_that_others_may_write_to_is_not_opened(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"sns.db{suffix}"
    file.touch()
    file.chmod(0o666)
    with pytest.raises(ConfigError, match=f"others may write to {file}"):
        await open_store("sqlite:///sns.db", tmp_path)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ConfigError, match="is no regular file"):
        await open_store("sqlite:///sns.db", tmp_path)


async def test_a_store_in_a_folder_of_all_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o1777)
    with pytest.raises(ConfigError, match="others may write to"):
        await open_store("sqlite:///open/sns.db", tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        ["generate"],
        ["generate", "--check"],
        ["generate", "--diff"],
        ["start"],
        ["start", "slave"],
        ["stop"],
        ["restart"],
        ["status"],
        ["status", "--json"],
        ["why"],
        ["doctor"],
        ["doctor", "--json"],
        ["backup", "copy.db"],
        ["store", "copy", "sqlite:///sns.db", "sqlite:///new.db"],
        ["drain", "vm2"],
        ["undrain", "vm2"],
        ["switchover", "vm2"],
        ["pause", "vm2"],
        ["resume"],
    ],
)
def test_every_command_refuses_a_home_of_others(
    command: list[str], home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home.parent)
    home.chmod(0o777)
    spec = [] if command[0] == "store" else ["--spec", str(CONF / "local.yaml")]
    assert main([*command, *spec, "--home", "var"]) == 78
    said = "".join(capfd.readouterr())
    assert "others may write to " in said
    assert "Traceback" not in said
    assert not (home.parent / "copy.db").exists()


def test_what_needs_no_home_looks_at_none(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    home.chmod(0o777)
    assert main(["validate", str(CONF / "local.yaml"), "--home", str(home)]) == 0
    assert main(["start", "client", "no name", "--spec", str(CONF / "local.yaml"), "--home", str(home)]) == 2
    assert "as a user name" in capfd.readouterr().err
