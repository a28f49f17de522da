"""Versions of the package to run beside each other, each in a virtual environment of its own.

A version is built from git or from this working tree. Its own packages are installed by pip, as an operator would;
``shared`` borrows this environment's instead, which takes no network and a second.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RELEASED = "eeddde69923f2e2cddf104746b3491333bdc0970"  # version 0.1.0
BUILD_WITHIN_S = 600.0  # pip downloads some 40 MB
_NEEDED = ("snsnode", "proto", "supervisord.conf.tmpl", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def environment() -> dict[str, str]:
    """Return an environment in which a version's Python finds that version alone."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("SNS_")}


@dataclass(frozen=True, slots=True)
class Version:
    """``folder`` is its virtual environment; ``number`` is what it says it is."""

    number: str
    folder: Path


def has(revision: str) -> bool:
    """Tell whether this clone has ``revision``; a shallow one has not, and a copy without git neither."""
    command = ["git", "cat-file", "-e", f"{revision}^{{commit}}"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def build(revision: str | None, folder: Path, *, shared: bool) -> Version:
    """Make the version of ``revision`` (None: of this working tree) in the new ``folder``."""
    source, venv = folder / "source", folder / "venv"
    source.mkdir(parents=True)
    if revision is None:
        for name in _NEEDED:
            _copy(ROOT / name, source / name)
    else:
        command = ["git", "archive", revision, *_NEEDED]
        archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=BUILD_WITHIN_S).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(source, filter="tar")
    number = re.search(r'__version__ = "(.+)"', (source / "snsnode" / "__init__.py").read_text())
    assert number is not None
    if shared:
        _run(sys.executable, "-m", "venv", "--without-pip", str(venv))
        packages = venv / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
        _copy(source / "snsnode", packages / "snsnode")
        # The path alone: a .pth file there is not read, so that this working tree is not found by it.
        (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        _run(str(venv / "bin" / "python"), "-m", "compileall", "-qq", str(packages / "snsnode"))
    else:
        _run(sys.executable, "-m", "venv", str(venv))
        wanted = f"{source}[postgresql]"
        _run(str(venv / "bin" / "python"), "-m", "pip", "install", "-q", "--no-input", "--compile", wanted)
    return Version(number[1], venv)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _run(*command: str) -> None:
    done = subprocess.run(
        command, cwd="/", env=environment(), capture_output=True, text=True, timeout=BUILD_WITHIN_S, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
