"""What a test learns of clients that post and read on a VM of their own (``calling``), and the check of it."""

import asyncio
import json
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.chaos import history
from tests.eventually import eventually
from tests.network.cluster import NetworkCluster
from tests.stored import stored_texts

READY_WITHIN_S = 30.0
END_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """A post: ``error`` is "" where it was acknowledged; ``server`` is the one that it ended at."""

    text: str
    began_s: float
    ended_s: float
    error: str
    server: str

    @property
    def took_s(self) -> float:
        """How long the caller waited."""
        return self.ended_s - self.began_s


@dataclass(frozen=True, slots=True)
class Move:
    """A client, by its user's name, that was connected to a server, or turned to it."""

    who: str
    at_s: float
    server: str


class Callers(AbstractContextManager["Callers"]):
    """The callers on one VM, from their first post to the check of their histories.

    Times are of the monotonic clock, which all VMs of a test share.
    """

    def __init__(
        self,
        cluster: NetworkCluster,
        vm: str = "c1",
        *,
        posters: int = 2,
        every_s: float = 0.02,
        reader: bool = True,
    ) -> None:
        self._cluster = cluster
        order = {
            "routers": cluster.router_targets,
            "posters": posters,
            "every_s": every_s,
            "reader": reader,
        }
        self._process = cluster.open_on(vm, ["-m", "tests.network.calling", json.dumps(order)])
        self._ears = threading.Thread(target=self._listen, name=f"callers-{vm}")
        self._reads = reader
        self._posters = posters
        self.calls: list[Call] = []
        self.moves: list[Move] = []
        self.turns: list[Move] = []  # before the moves: the server was named, the login follows
        self.seen: list[str] = []
        self.problems: list[str] = []

    def __enter__(self) -> Self:
        self._ears.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._hang_up()

    # --- what a test asks ---------------------------------------------------------------------------------------

    def await_call(self, began_after_s: float, within_s: float, server: str | None = None) -> Call:
        """Wait for an acknowledged post that began after that moment (at ``server``); return the first."""

        def found() -> Call | None:
            return next(
                (
                    call
                    for call in tuple(self.calls)
                    if call.began_s >= began_after_s and not call.error and server in (None, call.server)
                ),
                None,
            )

        call = eventually(found, within_s)
        assert call is not None
        return call

    def await_answer(self, after_s: float, within_s: float, server: str) -> Call:
        """Wait for a post that was acknowledged by ``server`` after that moment, whenever it began."""

        def found() -> Call | None:
            calls = tuple(self.calls)
            return next((c for c in calls if c.ended_s >= after_s and not c.error and c.server == server), None)

        call = eventually(found, within_s)
        assert call is not None
        return call

    def await_seen(self, text: str, within_s: float) -> None:
        """Wait until the open timeline showed ``text``."""
        eventually(lambda: text in self.seen, within_s)

    def server(self) -> str:
        """Return where the clients are, once each of them has called: the server of the last call.

        From then on whoever is connected anew has moved; before, it may just have come.
        """

        def last() -> str:
            calls = tuple(self.calls)
            posters = {call.text.rpartition("-")[0] for call in calls}
            return calls[-1].server if len(posters) == self._posters else ""

        return eventually(last, READY_WITHIN_S)

    def moves_after(self, at_s: float) -> list[Move]:
        """Return which clients were connected anew since then."""
        return [move for move in self.moves if move.at_s >= at_s]

    def slowest_s(self, began_after_s: float) -> float:
        """Return how long the longest call since then took."""
        return max((call.took_s for call in self.calls if call.ended_s >= began_after_s), default=0.0)

    def finish(self) -> None:
        """End the callers; fail where a call was refused, or a post was lost, doubled or out of order."""
        self._hang_up()
        problems = [*self.problems]
        problems += [f"{call.text}: {call.error}" for call in self.calls if call.error]
        mine = [
            text
            for text in asyncio.run(stored_texts(self._cluster.store, self._cluster.folder))
            if text.startswith(self._prefix)
        ]
        problems += history.check_stored(mine, [call.text for call in self.calls if not call.error])
        if self._reads:
            problems += history.check_seen(self.seen, mine)
        assert not problems, "\n".join(problems) + self._cluster.tails()
        assert self.calls

    # --- what the program tells -----------------------------------------------------------------------------

    @property
    def _prefix(self) -> str:
        return f"{self._process.pid}-"

    def _hang_up(self) -> None:
        """End the program's input, with which it ends, and wait for that."""
        process = self._process
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
        try:
            code = process.wait(END_WITHIN_S)
        finally:
            process.kill()
            process.wait()
            self._ears.join()
            assert process.stdout is not None
            process.stdout.close()
        if code:
            self.problems.append(f"the callers ended with {code}")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told: dict[str, Any] = json.loads(line)
            what = told.pop("what")
            if what == "call":
                self.calls.append(Call(**told))
            elif what == "move":
                self.moves.append(Move(**told))
            elif what == "turn":
                self.turns.append(Move(**told))
            elif what == "seen":
                self.seen.append(told["text"])
            else:
                self.problems.append(told["text"])
