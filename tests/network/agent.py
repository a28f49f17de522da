"""Somebody on a VM whom a test can ask to look, or to act, from there."""

import json
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from tests.network.cluster import NetworkCluster

END_WITHIN_S = 10.0


class Agent(AbstractContextManager["Agent"]):
    """A process on ``vm`` that runs ``asking``."""

    def __init__(self, cluster: NetworkCluster, vm: str) -> None:
        self._cluster = cluster
        self._vm = vm
        self._process = cluster.open_on(vm, ["-m", "tests.network.asking"])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=END_WITHIN_S)

    def table(self, router: str) -> dict[str, Any]:
        """Return what the router on VM ``router`` knows: ``available``, ``states``, ``epochs``."""
        return self._ask("table", target=self._cluster.target(router))

    def crash(self, router: str, vm: str, epoch: int) -> dict[str, Any]:
        """Report to the router on VM ``router`` that the master of ``vm`` crashed at ``epoch``."""
        return self._ask("crash", target=self._cluster.target(router), vm=vm, epoch=epoch, **self._place(vm))

    def register(
        self, router: str, vm: str, epoch: int, *, claim: int = 0, leaving: bool = False
    ) -> dict[str, Any]:
        """Register with the router on VM ``router`` as the master of ``vm``."""
        target = self._cluster.target(router)
        place = self._place(vm)
        return self._ask("register", target=target, vm=vm, epoch=epoch, claim=claim, leaving=leaving, **place)

    def exchange(self, router: str, teller: str, down: str, epoch: int) -> dict[str, Any]:
        """Tell the router on VM ``router``, as the one on ``teller``, that the master of ``down`` crashed."""
        target = self._cluster.target(router)
        return self._ask("exchange", target=target, vm=teller, down=down, epoch=epoch, **self._place(down))

    def visit(self, username: str, deadline_s: float = 30.0) -> dict[str, Any]:
        """Log in and out as a new client; ``took_s``, or ``error``."""
        return self._ask("visit", routers=self._cluster.router_targets, username=username, deadline_s=deadline_s)

    def _place(self, vm: str) -> dict[str, Any]:
        return {"host": self._cluster.fabric.address(vm), "port": self._cluster.ports[vm]}

    def _ask(self, what: str, **order: Any) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"do": what, **order}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"the agent on {self._vm} ended"
        answer: dict[str, Any] = json.loads(line)
        return answer
