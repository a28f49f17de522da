"""The exit of ``snsctl``: nothing that it prints steers a terminal, and no reader of it fails a command."""

import ast
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import snsnode.cli
from snsnode.base.harmless import harmless
from snsnode.cli import streams
from snsnode.cli.main import main
from tests.processes import STEP_S, sleeper

EVIL = "a\x1b[31mb\x9bc\u202ed\x07\r\te"
SAFE = "a\\x1b[31mb\\x9bc\\u202ed\\x07\\r\te"
SNSCTL = [sys.executable, "-m", "snsnode.cli.main"]
CONF = Path(__file__).parents[2] / "conf"


def test_what_is_printed_cannot_steer_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with streams.installed() as (out, _):
        streams.tell(EVIL)
        streams.complain(EVIL)
        out.write_styled([(EVIL, "bold red"), ("\n", "")])
        print(EVIL)
    captured = capfd.readouterr()
    assert captured.out == f"{SAFE}\n" * 3
    assert captured.err == f"{SAFE}\n"


def test_json_stays_json(capfd: pytest.CaptureFixture[str]) -> None:
    with streams.installed():
        streams.tell_json({"said": EVIL + "\udcff\x7fżółw"})
    out = capfd.readouterr().out
    assert harmless(out, keep="\n") == out
    assert "żółw" in out
    assert json.loads(out) == {"said": EVIL + "\udcff\x7fżółw"}


def test_an_error_cannot_steer_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "no\x1b[2Jsuch\u202efile"]) == 78
    assert main(["\x1b]0;title\x07"]) == 2
    assert main(["status", "--spec", "x\x9b2J"]) == 78
    err = capfd.readouterr().err
    assert harmless(err, keep="\n") == err


def test_commands_print_through_the_exit_only() -> None:
    for path in Path(snsnode.cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
            direct = name in ("print", "click.echo", "click.secho", "sys.stdout", "sys.stderr", "os.write")
            assert path.name == "streams.py" or not direct, f"{path.name}: {name}"


@pytest.mark.parametrize("closed", [(1,), (2,), (0,), (0, 1, 2)])
@pytest.mark.parametrize(("arguments", "code"), [(["validate"], 0), (["validate", "nowhere"], 78), ([], 2)])
def test_a_closed_descriptor_changes_no_exit_code(
    closed: tuple[int, ...], arguments: list[str], code: int
) -> None:
    done = _run(arguments, "; ".join(f"os.close({number})" for number in closed))
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_a_file_that_a_command_opens_does_not_get_the_number_of_a_closed_one(tmp_path: Path) -> None:
    """Else what it prints would stand in its own file."""
    prepare = "os.close(1)"
    done = _run(["generate", "--home", str(tmp_path / "h")], prepare)
    assert done.returncode == 0
    assert (tmp_path / "h" / "vm1" / "node.json").read_text().startswith("{")


def test_output_that_nobody_takes_does_not_end_the_work(tmp_path: Path) -> None:
    """The reader has left, or the disk is full: everything is done all the same, and the exit code tells."""
    for number, (target, words) in enumerate((("pipe", ""), ("/dev/full", "cannot write the output: No space"))):
        home = tmp_path / str(number)
        prepare = "r, w = os.pipe(); os.close(r)" if target == "pipe" else f"w = os.open({target!r}, os.O_WRONLY)"
        done = _run(["generate", "--home", str(home)], f"{prepare}; os.dup2(w, 1)")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1 if words else 0)
        assert words in done.stderr
        assert (home / "vm3" / "node.json").exists()


def test_a_reader_of_errors_who_left_changes_nothing() -> None:
    assert _run(["validate", "nowhere"], "r, w = os.pipe(); os.close(r); os.dup2(w, 2)").returncode == 78


def test_a_pipe_that_does_not_block_gets_all() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # so that the writer soon finds it full
    process = subprocess.Popen(
        [*SNSCTL, "generate", "--diff", "--home", "nowhere"], stdout=writing, cwd=CONF.parent
    )
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    assert process.wait(STEP_S * 3) == 0
    assert [name in text for name in ("+++ vm1/node.json", "+++ vm3/node.json")] == [True, True]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_gives_the_terminal_back(number: signal.Signals) -> None:
    controller, terminal = pty.openpty()
    program = (
        "import os, resource, signal, time\nfrom snsnode.cli import streams\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        # A shell's background jobs ignore them, and so would their children.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGQUIT, signal.SIG_DFL)\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        f"os.dup2({terminal}, 1)\n"
        "with streams.installed() as (out, _), out.alternate_screen() as screen:\n"
        "    screen.show([[('hello', 'bold')]])\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        pass_fds=(terminal,),
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(terminal)
    shown = b""
    while b"hello" not in shown:
        shown += os.read(controller, 1000)
    process.send_signal(number)
    process.wait(STEP_S * 3)
    while b"\x1b[?1049l" not in shown:  # an OSError where the terminal was left as it was
        shown += os.read(controller, 1000)
    os.close(controller)
    assert shown.startswith(b"\x1b[?1049h\x1b[?25l")
    assert b"\x1b[?25h" in shown
    assert process.returncode in (-number, 1)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    program = (
        "import os, signal\nfrom snsnode.cli import streams\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with streams.unwound_by_signals():\n    os.kill(os.getpid(), signal.SIGHUP)\n    hold()\n"
    )
    with sleeper(program) as held:
        assert held.process.poll() is None


def _run(arguments: list[str], prepare: str) -> "subprocess.CompletedProcess[str]":
    """Run ``snsctl`` in a process that first did ``prepare`` to its own descriptors."""
    program = f"import os, sys; {prepare}; os.execv(sys.executable, {[*SNSCTL, *arguments]!r})"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=CONF.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=STEP_S * 6,
        check=False,
    )
