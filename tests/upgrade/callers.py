"""Clients of both versions at work, and what became of their posts."""

import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.chaos import history
from tests.eventually import eventually
from tests.upgrade.versions import Version, environment

CALLER = Path(__file__).with_name("caller.py")
STEP_S = 60.0


class Caller:
    """One client's process; ``heard`` is what it has said so far."""

    def __init__(self, version: Version, *arguments: str) -> None:
        self.heard: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [str(version.folder / "bin" / "python"), "-P", str(CALLER), *arguments],
            cwd="/", env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._listening = threading.Thread(target=self._listen, name="caller")
        self._listening.start()
        self.await_word("version")

    def all_of(self, word: str) -> list[Any]:
        return [said[word] for said in list(self.heard) if word in said]

    def await_word(self, word: str) -> None:
        def said() -> bool:
            assert self._process.poll() is None or self.all_of(word), "a client has ended"
            return bool(self.all_of(word))

        eventually(said, STEP_S)

    def await_more(self, word: str, than: int) -> None:
        eventually(lambda: len(self.all_of(word)) > than, STEP_S)

    def begin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(STEP_S + 30)

    def remove(self) -> None:
        self._process.kill()
        self._process.wait(STEP_S)
        self._listening.join(STEP_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.heard.append(json.loads(line))


class Callers:
    """A poster and a reader of each version."""

    def __init__(self, versions: Sequence[Version], targets: Sequence[str]) -> None:
        self._all: list[Caller] = []
        self.posters: dict[str, Caller] = {}
        self._readers: dict[str, Caller] = {}
        try:
            for version in versions:
                self.posters[version.number] = self._started(version, "post", _name("poster", version), *targets)
            authors = [_name("poster", version) for version in versions]
            for version in versions:
                arguments = ("read", _name("reader", version), *targets, "--", *authors)
                self._readers[version.number] = self._started(version, *arguments)
            for reader in self._readers.values():
                reader.await_word("entered")
        except BaseException:
            self.remove()
            raise

    def begin(self) -> None:
        for poster in self.posters.values():
            poster.begin()

    def remove(self) -> None:
        for caller in self._all:
            caller.remove()

    def finish(self) -> list[str]:
        """End the posters; return what went wrong with them."""
        codes = {name: poster.end() for name, poster in self.posters.items()}
        problems = [f"the poster of {name} exits with {code}" for name, code in codes.items() if code]
        return problems + [said for caller in self._all for said in caller.all_of("problem")]

    def check(self, stored: Sequence[str]) -> list[str]:
        """Return what is wrong between what was acknowledged, ``stored`` and seen; the readers end."""
        acknowledged = [text for poster in self.posters.values() for text in poster.all_of("acknowledged")]
        problems = history.check_stored(stored, acknowledged)
        for name, reader in self._readers.items():
            with suppress(AssertionError):  # what is missing is told by the check
                reader.await_more("seen", len(stored) - 1)
            problems += [f"reader of {name}: {each}" for each in history.check_seen(reader.all_of("seen"), stored)]
            if reader.end():
                problems.append(f"the reader of {name} failed")
        return problems

    def _started(self, version: Version, *arguments: str) -> Caller:
        self._all.append(Caller(version, *arguments))
        return self._all[-1]


@contextmanager
def calling(versions: Sequence[Version], targets: Sequence[str]) -> Iterator[Callers]:
    """Run the callers for the block; they post from the beginning of it."""
    callers = Callers(versions, targets)
    try:
        callers.begin()
        yield callers
    finally:
        callers.remove()


def _name(kind: str, version: Version) -> str:
    return f"{kind}-of-{version.number.replace('.', '-')}"
