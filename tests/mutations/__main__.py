"""Take one guard away at a time and see its test fail: python -m tests.mutations [WORD…] [--markdown]

Works on copies of the tree, ``--jobs`` at a time, each with its copy first on the path of everything that is
started. Each mutation is the least edit that takes a guard away; its tests must fail with it, and ``--without``
shows that they pass before. WORD chooses the mutations whose guard contains it. Exit code 1 where no test missed
a guard. A test of the suite keeps the list in step with the sources.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from snsnode.base.signals import exit_on_signals
from tests.mutations import MUTATIONS
from tests.mutations.entry import Mutation

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 300
ENDING_S = 30  # for the fixtures of tests that were interrupted
JOBS = 2
_COPIED = (
    "supervisord.conf.tmpl",
    "snsnode",
    "tests",
    "conf",
    "proto",
    "docs",
    "bench",
    "bin",
    "pyproject.toml",
    "setup.cfg",
    "README.md",
)


class Unclear(Exception):
    """The tests did not run to an end that says anything."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen mutations and print what became of each."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only guards that contain it")
    parser.add_argument("--markdown", action="store_true", help="print a table")
    parser.add_argument("--without", action="store_true", help="first run the tests without the mutation")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"so many at a time (default: {JOBS})")
    chosen = parser.parse_args(arguments)
    wanted = [one for one in MUTATIONS if not chosen.words or any(word in one.guard for word in chosen.words)]
    if chosen.markdown:
        print("| guard taken away | in | test that fails |\n|---|---|---|")
    unnoticed = 0
    with ThreadPoolExecutor(chosen.jobs) as pool:
        outcomes = pool.map(lambda one: outcome(one, without=chosen.without), wanted)
        for mutation, (test, took_s) in zip(wanted, outcomes, strict=True):
            unnoticed += not test.startswith("test_")
            shown = f"`{test}`" if test.startswith("test_") else test or "NONE"
            if chosen.markdown:
                print(f"| {mutation.guard} | `{'/'.join(Path(mutation.file).parts[1:])}` | {shown} |", flush=True)
            else:
                print(f"{mutation.guard}: {shown} ({took_s:.0f} s)", flush=True)
    print(f"{len(wanted) - unnoticed} of {len(wanted)} were missed by a test", file=sys.stderr)
    return 1 if unnoticed else 0


def outcome(mutation: Mutation, *, without: bool) -> tuple[str, float]:
    """Return the test that fails with ``mutation``, or why there is none, and how long that took."""
    began_s = time.monotonic()
    try:
        if without and (failed := failing(None, mutation.tests)):
            test = f"{failed} fails without the mutation"
        else:
            test = failing(mutation, mutation.tests)
    except Unclear as error:
        test = f"UNCLEAR: {error}"
    return test, time.monotonic() - began_s


def failing(mutation: Mutation | None, tests: str) -> str:
    """Return the first of ``tests`` that fails with ``mutation``; "" where none does.

    Raises:
        Unclear: they could not be run, or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="sns-") as folder:
        copy = Path(folder)
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, symlinks=False)  # with the compiled code: it is as old
            else:
                shutil.copy(source, copy / name)
        if mutation is not None:
            file = copy / mutation.file
            file.write_text(file.read_text().replace(mutation.old, mutation.new))
        returned, said = _tested(copy, tests)
    found = re.search(r"^(?:FAILED|ERROR) \S+?::(?:\w+::)*(test_\w+)", said, re.MULTILINE)
    if returned not in (0, 1) or (returned == 1 and not found):
        raise Unclear(said[-2000:])
    return found[1] if found else ""


def _tested(copy: Path, tests: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests.split()]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            raise Unclear(f"it took more than {WITHIN_S} s") from None
        finally:
            _end(process)
        output.seek(0)
        return process.returncode, output.read()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt tests that still run, so that they end what they began."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # tests that send it, in a job that a shell has put behind
    with exit_on_signals():  # what it started is ended, too
        sys.exit(main())
