"""The page of ``snsctl status``: whole, however long its words are."""

import pytest

from snsnode.cli import streams
from snsnode.cli.main import main
from snsnode.cli.status_page import page
from snsnode.control.answers import Process, RouterStatus, ServerStatus, Status

HOST = "a-host-name-that-goes-on." * 9 + "example.org"


def status(servers: int = 1, note: str = "all is well") -> Status:
    process = Process(4242, "RUNNING", 7200.0, 3, "frozen (SIGSTOP)")
    return Status(
        "local",
        "vm2",
        [RouterStatus("vm1", f"{HOST}:3010", "UP", process, "vm2", {"vm2": "AVAILABLE"})],
        [
            ServerStatus(
                f"vm{2 + i}", f"{HOST}:{3020 + i}", "AVAILABLE", 1, 5, False, True, process, process, True
            )
            for i in range(servers)
        ],
        [note],
    )


def lines(found: Status) -> list[str]:
    return ["".join(text for text, _ in line) for line in page(found)]


@pytest.mark.parametrize("columns", ["20", "80", "0", "x"])
def test_nothing_is_cut_whatever_the_width(
    columns: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = status(servers=300, note="n" * 500)
    with streams.installed() as (out, _):
        for line in page(shown):
            out.write_styled([*line, ("\n", "")])
    text = capfd.readouterr().out
    assert "…" not in text
    assert all(f"{HOST}:{3020 + i} " in text for i in range(300))
    assert "n" * 500 in text
    assert len(text.splitlines()) == 1 + 1 + 1 + 3 * 300 + 1


def test_columns_stand_below_each_other() -> None:
    head, router, server, master = lines(status())[1:5]
    assert head.split() == ["VM", "ROLE", "STATE", "ADDRESS", "PID", "UPTIME", "RESTARTS"]
    assert head.index("STATE") == router.index("UP") == server.index("AVAILABLE") == master.index("RUNNING")
    assert head.index("PID") + 3 == master.index("4242") + 4
    assert router.split()[4:7] == ["4242", "2h00m", "3"]
    assert server.endswith("epoch 1, 5 clients, draining, degraded")


def test_a_name_from_elsewhere_cannot_shift_or_steer(capfd: pytest.CaptureFixture[str]) -> None:
    found = status(note="said \x1b[2J")
    found.routers[0] = RouterStatus("vm1", "h:1", "UP", Process(), "evil\x1b[8m\nvm9", {})
    with streams.installed() as (out, _):
        for line in page(found):
            out.write_styled([*line, ("\n", "")])
    text = capfd.readouterr().out
    assert "evil\\x1b[8m\\nvm9" in text
    assert "\x1b" not in text


def test_watch_ends_when_its_reader_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    from snsnode.cli import status as command

    looks: list[int] = []

    def look(*_: object) -> Status:
        looks.append(1)
        return status()

    monkeypatch.setattr(command, "look", look)
    monkeypatch.setattr(command, "question_of", lambda *_: None)
    monkeypatch.setattr(command, "WATCH_EVERY_S", 0.0)
    import os

    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert main(["status", "--watch"]) == 1
    assert len(looks) == 1
