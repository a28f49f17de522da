"""The docs are true: their commands run as written, generated pages are current, links lead somewhere.

In a ``console`` block a line with ``$`` is run, and each line below it must stand in its output, whatever the
numbers. A ``python`` block is run too. Both run in order, on a home and on ports of the test's own.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import BIN, Cluster
from tests.eventually import eventually
from tests.ports import free_port

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PORTS = {"vm1": "3010", "vm2": "3020", "vm3": "3030"}
LOOKS = ("snsctl status", "snsctl why", "snsctl doctor", "supervisorctl")  # may be repeated until they show it
TRUE_WITHIN_S = 15.0

_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


class Reader:
    """Somebody who types what a page says, in a clone of their own."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder, servers=2)
        self.cluster.ports["vm4"] = free_port()  # a VM that a page adds
        self.folder = folder
        (folder / ".venv").symlink_to(sys.prefix)
        shutil.copytree(ROOT / "bin", folder / "bin")
        (folder / "bin" / "setup-venv").write_text("setup_venv() { :; }\n")  # it is set up: the link above
        shutil.copytree(ROOT / "conf", folder / "conf")
        spec = folder / "conf" / "local.yaml"
        spec.write_text(self.with_own_ports(spec.read_text()))

    def with_own_ports(self, text: str) -> str:
        for vm, port in PORTS.items():
            text = text.replace(port, str(self.cluster.ports[vm]))
        return text.replace("3040", str(self.cluster.ports["vm4"]))

    def read(self, page: Path) -> None:
        for kind, block in _BLOCK.findall(self.with_own_ports(page.read_text())):
            if kind == "python":
                code, said = self.run([sys.executable, "-c", block])
                assert code == 0, said
                continue
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, *expected = part.splitlines()
                self.type(command, expected)

    def type(self, command: str, expected: list[str]) -> None:
        code = int(match[1]) if (match := re.search(r"# exit (\d+)$", command)) else 0

        def is_so() -> bool:
            got, said = self.run(["bash", "-c", command])
            assert got == code, f"$ {command}\nexited with {got}\n{said}"
            for line in expected:
                if not re.search(pattern_of(line), said):
                    message = f"$ {command}\ndoes not show\n{line}\nbut\n{said}"
                    if not command.startswith(LOOKS):
                        pytest.fail(message)
                    raise AssertionError(message)
            return True

        eventually(is_so, TRUE_WITHIN_S, every_s=0.3)

    def run(self, command: list[str]) -> tuple[int, str]:
        environment = self.cluster.environment | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )
        return done.returncode, done.stdout


def pattern_of(line: str) -> str:
    """Return a pattern for the line of a page: any number, any spaces, either of two servers."""
    pattern = re.sub(r"\d+", "0", re.escape(line.strip()).replace("\\ ", " "))
    pattern = re.sub(r"0 ms\b", r"[0-9.]+ m?s", pattern)
    pattern = re.sub(r"\b(0h|0m|0s)\b", r"[0-9hms]+", pattern)
    pattern = re.sub(r"AVAILABLE|STANDBY", "(AVAILABLE|STANDBY)", pattern)
    return re.sub(r" +", r"\\s+", pattern.replace("0", r"\d+").replace(r"[\d+-9", "[0-9"))


@pytest.fixture
def reader() -> Iterator[Reader]:
    with tempfile.TemporaryDirectory(prefix="sns-") as folder:
        reader = Reader(Path(folder))
        try:
            yield reader
            reader.run(["snsctl", "stop"])
            reader.cluster.assert_nothing_left()
        finally:
            reader.cluster.end_all()


def after_quickstart(reader: Reader) -> None:
    for command in ("snsctl generate", "snsctl start"):
        assert reader.run(["bash", "-c", command])[0] == 0
    for user in ("bob", "alice"):
        assert reader.run(["bash", "-c", f"echo LIST | snsctl start client {user}"])[0] == 0


@pytest.mark.parametrize("name", ["README.md", "docs/client.md"])
def test_page_for_after_the_quickstart_is_true(reader: Reader, name: str) -> None:
    after_quickstart(reader)
    reader.read(ROOT / name)


def test_operations_page_is_true(reader: Reader) -> None:
    reader.read(ROOT / "docs" / "operations.md")


def test_pattern_of_a_line_takes_other_numbers_only() -> None:
    line = "19:42:41 vm2: master (process 23509) died; restarted as process 23614, epoch 2, in 105 ms"
    assert re.search(pattern_of(line), line.replace("105 ms", "1.2 s").replace("23614", "7"))
    assert not re.search(pattern_of(line), line.replace("master", "slave"))
    assert re.search(pattern_of("vm1  router  UP  127.0.0.1:3010  2s"), "vm1 router UP 127.0.0.1:12 1m02s")


def test_reference_pages_are_what_the_code_gives() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), f"{done.stdout}{done.stderr}run 'make docs'"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} in {page}"
        if anchor:
            assert anchor in anchors(target), f"{link} in {page}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 150
