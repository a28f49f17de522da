"""The real ``snsctl validate`` and ``snsctl generate``, in a process of their own."""

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

CONF = Path(__file__).parents[2] / "conf"
SPEC = (CONF / "local.yaml").read_text()


class Rig:
    """A folder to work in, with ``conf/local.yaml`` and a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "var"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("SNS_")}
        self.write(SPEC)

    def write(self, text: str, name: str = "conf/local.yaml") -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "snsnode.cli.main", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def files(self) -> Mapping[str, str]:
        return {
            str(path.relative_to(self.home)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.home.rglob("*")
            if path.is_file()
        }

    def fails(self, code: int, *arguments: str, **environment: str) -> str:
        """Run, expect ``code`` and one line on stderr; return it."""
        result = self.run(*arguments, **environment)
        assert result.returncode == code, result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
        assert "Traceback" not in result.stderr
        return result.stderr.strip()


@pytest.fixture
def rig() -> Iterator[Rig]:
    # Not tmp_path: with a test's name in it, it can be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="sns ") as folder:
        yield Rig(Path(folder))


def test_generate_writes_a_folder_for_each_vm(rig: Rig) -> None:
    result = rig.run("generate")
    assert (result.returncode, result.stderr) == (0, "")
    everywhere = {f"vm{i}/{name}" for i in (1, 2, 3) for name in ("supervisord.conf", "node.json")}
    assert set(rig.files()) == {*everywhere, "vm1/cluster.json"}
    assert result.stdout.splitlines()[0] == "wrote var/vm1/supervisord.conf"


def test_check_right_after_generate_agrees_and_generate_twice_writes_nothing(rig: Rig) -> None:
    rig.run("generate")
    before = rig.files()
    assert rig.run("generate", "--check").returncode == 0
    assert rig.run("generate").stdout == "var is up to date\n"
    assert rig.files() == before


def test_same_spec_gives_the_same_bytes_in_another_home(rig: Rig) -> None:
    rig.run("generate")
    first = rig.files()
    rig.home = rig.folder / "elsewhere" / "deeper"
    assert rig.run("generate", "--home", str(rig.home)).returncode == 0
    assert rig.files() == first
    assert not any(str(rig.folder) in path.read_text() for path in rig.home.rglob("*") if path.is_file())


def test_check_and_diff_write_nothing(rig: Rig) -> None:
    for flags in (["--check"], ["--diff"], ["--check", "--diff"]):
        result = rig.run("generate", *flags)
        assert result.returncode == (1 if "--check" in flags else 0)
        assert "vm3/node.json" in result.stdout
        assert not rig.home.exists()


def test_edit_is_shown_by_diff_and_then_written(rig: Rig) -> None:
    rig.run("generate")
    rig.write(SPEC.replace("3030", "3031"))
    assert rig.run("generate", "--check").stdout == "differs: var/vm1/cluster.json\ndiffers: var/vm3/node.json\n"
    assert '+  "server_port": 3031,\n' in rig.run("generate", "--diff").stdout
    assert rig.run("generate").stdout == "wrote var/vm1/cluster.json\nwrote var/vm3/node.json\n"
    assert rig.run("generate", "--check").returncode == 0


def test_damage_on_disk_is_seen_and_repaired(rig: Rig) -> None:
    rig.run("generate")
    good = rig.files()
    (rig.home / "vm1" / "supervisord.conf").write_bytes(b"\xff\n")
    (rig.home / "vm2" / "node.json").unlink()
    assert rig.run("generate", "--check").returncode == 1
    assert rig.run("generate", "--diff").returncode == 0
    rig.run("generate")
    assert rig.files() == good


def test_vm_that_leaves_the_spec_is_retired_and_can_come_back(rig: Rig) -> None:
    rig.run("generate")
    full = rig.files()
    rig.write("".join(line for line in SPEC.splitlines(keepends=True) if "vm3" not in line))
    assert rig.run("generate", "--check").returncode == 1
    assert "--- vm3/supervisord.conf\n+++ /dev/null\n" in rig.run("generate", "--diff").stdout
    assert "retired vm3" in rig.run("generate").stdout
    kept = {path: content for path, content in full.items() if path != "vm1/cluster.json"}  # the router's own list
    assert rig.files().items() >= kept.items()
    assert (rig.home / "vm3" / "retired").read_text().count("\n") == 1
    assert rig.run("generate", "--check").returncode == 0
    rig.write(SPEC)
    assert rig.run("generate").stdout == "wrote var/vm1/cluster.json\nremoved var/vm3/retired\n"
    assert rig.files() == full


def test_only_the_named_vms_are_written(rig: Rig) -> None:
    assert rig.run("generate", "--vm", "vm3", "--vm", "vm1").returncode == 0
    assert {path.split("/")[0] for path in rig.files()} == {"vm1", "vm3"}
    assert rig.run("generate", "--check", "--vm", "vm1").returncode == 0
    assert rig.run("generate", "--check", "--vm", "vm2").returncode == 1


def test_unknown_vm_is_a_usage_error_that_names_the_known(rig: Rig) -> None:
    line = rig.fails(2, "generate", "--vm", "vm9")
    assert line == "snsctl: cannot take --vm 'vm9': no such VM in the spec; it has vm1, vm2, vm3"
    assert not rig.home.exists()


@pytest.mark.parametrize("command", ["validate", "generate"])
def test_bad_spec_shows_every_problem_and_writes_nothing(rig: Rig, command: str) -> None:
    rig.write(SPEC.replace("3020", "x").replace("local", "LOCAL").replace("3030", "3010"))
    result = rig.run(command)
    assert (result.returncode, result.stdout) == (78, "")
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [
        "conf/local.yaml:3:10",
        "conf/local.yaml:6:44",
        "conf/local.yaml:7:44",
    ]
    assert not rig.home.exists()


def test_validate_counts_what_it_saw_and_warns_on_stderr(rig: Rig) -> None:
    rig.write(SPEC.replace("3030", "40000"))
    result = rig.run("validate")
    assert (result.returncode, result.stdout) == (0, "conf/local.yaml: ok, 3 VMs, 1 router, 2 servers\n")
    assert result.stderr.startswith("conf/local.yaml:7:44: warning: port 40000")


def test_positional_spec_wins_over_option_over_environment_over_default(rig: Rig) -> None:
    for name in ("arg", "option", "env"):
        rig.write(SPEC, f"conf/{name}.yaml")
    env = {"SNS_SPEC": "conf/env.yaml"}
    before, after = ("--spec", "conf/option.yaml"), ("validate", "--spec", "conf/option.yaml")
    assert rig.run(*after, "conf/arg.yaml", **env).stdout.startswith("conf/arg.yaml: ok")
    assert rig.run(*after, **env).stdout.startswith("conf/option.yaml: ok")
    assert rig.run(*before, "validate", **env).stdout.startswith("conf/option.yaml: ok")
    assert rig.run("validate", **env).stdout.startswith("conf/env.yaml: ok")
    assert rig.run("validate").stdout.startswith("conf/local.yaml: ok")


@pytest.mark.parametrize("arguments", [("--home", "h", "generate"), ("generate", "--home", "h"), ("generate",)])
def test_home_is_taken_before_and_after_the_command_and_from_the_environment(
    rig: Rig, arguments: tuple[str, ...]
) -> None:
    rig.run(*arguments, SNS_HOME="ignored" if "--home" in arguments else "h")
    assert (rig.folder / "h" / "vm1" / "node.json").is_file()
    assert not (rig.folder / "ignored").exists()


def test_spec_that_cannot_be_read_is_one_line(rig: Rig) -> None:
    assert "no such file; give --spec FILE" in rig.fails(78, "validate", "nope.yaml")
    assert "it is a folder" in rig.fails(78, "validate", "conf")
    (rig.folder / "latin.yaml").write_bytes("cluster: a\n# Köln\n".encode("latin-1"))
    assert rig.fails(78, "validate", "latin.yaml").startswith("latin.yaml:2:4: the byte 0xf6 is not UTF-8")
    assert "the file is longer than 1048576 characters" in rig.fails(78, "validate", "/dev/zero")
    shutil.rmtree(rig.folder / "conf")
    assert "neither conf/cluster.yaml nor conf/local.yaml" in rig.fails(78, "validate")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generat"], "No such command 'generat'"),
        (["generate", "--chek"], "No such option"),
        (["generate", "--home"], "requires an argument"),
        (["validate", "a", "b"], "extra argument"),
    ],
)
def test_usage_error_is_one_line_and_exits_2(rig: Rig, arguments: list[str], words: str) -> None:
    assert words in rig.fails(2, *arguments)


def test_home_of_another_cluster_is_left_alone(rig: Rig) -> None:
    rig.run("generate")
    before = rig.files()
    rig.write(SPEC.replace("cluster: local", "cluster: other"))
    for flags in ([], ["--check"], ["--diff"], ["--vm", "vm2"]):
        assert "give another --home" in rig.fails(78, "generate", *flags)
    assert rig.files() == before


def test_home_that_is_too_long_for_a_socket_is_refused(rig: Rig) -> None:
    assert "give a --home that is at least" in rig.fails(78, "generate", "--home", "x" * 100)
    assert not (rig.folder / ("x" * 100)).exists()


def test_home_that_cannot_be_written_is_one_line(rig: Rig) -> None:
    rig.write("in the way", "file")
    assert "file is no folder; move it away" in rig.fails(78, "generate", "--home", "file")
    assert rig.fails(1, "generate", "--home", "/proc/x").startswith("snsctl: cannot write /proc/x")


def test_file_that_cannot_grow_leaves_nothing_behind(rig: Rig) -> None:
    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    result = subprocess.run(
        [sys.executable, "-B", "-m", "snsnode.cli.main", "generate"],
        cwd=rig.folder,
        env=rig.environment | {"TMPDIR": str(rig.folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=no_room,
    )
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "File too large" in result.stderr
    assert [path.name for path in rig.folder.iterdir()] == ["conf"]


def test_reader_that_goes_away_is_no_traceback(rig: Rig) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "snsnode.cli.main", "generate", "--diff"],
            cwd=rig.folder,
            env=rig.environment,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (1, "")


def test_installed_command_is_the_same_program(rig: Rig) -> None:
    script = Path(sys.executable).with_name("snsctl")
    result = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.startswith("snsctl, version ")


def test_generated_file_is_what_the_real_supervisorctl_takes(rig: Rig) -> None:
    rig.run("generate")
    script = Path(sys.executable).with_name("supervisorctl")
    conf = rig.home / "vm1" / "supervisord.conf"
    result = subprocess.run([script, "-c", conf, "pid"], capture_output=True, text=True, timeout=60, check=False)
    assert f"unix://{rig.home}/vm1/run/supervisor.sock no such file" in result.stdout
