"""VMs on one machine, with a TCP proxy for each directed link between them: where namespaces are not permitted.

All listen on 127.0.0.1. Whoever on VM a opens a channel to a listener of VM b is led to the proxy of that link, by
a ``sitecustomize`` in the processes of a (``redirect``): the roles themselves are the real ones. A slave has links
of its own, named ``VM/slave``, so that it can be cut off while its master is not.
"""

import asyncio
import json
import os
import threading
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from snsnode.node.config import RoleName
from tests.network.links import LOOPBACK, Lane, Link
from tests.ports import free_port

STEP_S = 10.0
REDIRECT = Path(__file__).with_name("redirect")

Result = TypeVar("Result")


class Proxies:
    """The links between ``vms``, run by an event loop in a thread; their maps are written to ``folder``."""

    kind = "proxies"

    def __init__(self, vms: Sequence[str], folder: Path) -> None:
        self._vms = tuple(vms)
        self._folder = folder
        self._ports: dict[tuple[str, RoleName], int] = {}
        self._lanes = {
            lane: Lane()
            for vm in vms
            for target in self._others(vm)
            for by in (vm, f"{vm}/slave")
            for lane in ((by, target), (target, by))
        }
        self._links: dict[tuple[str, str, RoleName], Link] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network-proxies")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- what the tests ask -----------------------------------------------------------------------------------

    def address(self, vm: str) -> str:
        """Return the one address of all VMs."""
        return LOOPBACK

    def port(self, vm: str, role: RoleName) -> int:
        """Return the port that the listener itself has; links from all other VMs lead there."""
        if (vm, role) not in self._ports:
            self._ports[vm, role] = free_port()
            self._run(self._add_links(vm, role))
            self._write_maps()
        return self._ports[vm, role]

    def command(self, vm: str, arguments: Sequence[str]) -> list[str]:
        """Return ``arguments``: what makes them run on ``vm`` is the environment."""
        return list(arguments)

    def environment(self, vm: str) -> Mapping[str, str]:
        """Return what leads the processes of ``vm`` to its links."""
        paths = (str(REDIRECT), os.environ.get("PYTHONPATH", ""))
        return {
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "NETWORK_TEST_LINKS": str(self._map_file(vm)),
        }

    def cut(self, source: str, target: str) -> None:
        """Let everything from ``source`` to ``target`` wait, and what is new not come through."""
        self._set(source, target, cut=True)

    def heal(self, source: str, target: str) -> None:
        """Undo ``cut``."""
        self._set(source, target, cut=False)

    def vanish(self, vm: str) -> None:
        """Cut ``vm`` off from everybody, both ways."""
        for other in self._others(vm):
            self._set(vm, other, cut=True)
            self._set(other, vm, cut=True)

    def come_back(self, vm: str) -> None:
        """Undo ``vanish``."""
        for other in self._others(vm):
            self._set(vm, other, cut=False)
            self._set(other, vm, cut=False)

    def delay(self, source: str, target: str, seconds: float) -> None:
        """Let everything from ``source`` to ``target`` take so long; 0 ends it."""
        for lane in self._lanes_between(source, target):
            lane.delay_s = seconds

    def reset(self, one: str, other: str) -> None:
        """Break every connection between two VMs."""
        self._run(self._reset(one, other))

    # --- how it is made ---------------------------------------------------------------------------------------

    def _others(self, vm: str) -> list[str]:
        return [other for other in self._vms if other != vm]

    async def _add_links(self, target: str, role: RoleName) -> None:
        for vm in self._others(target):
            for source in (vm, f"{vm}/slave"):
                up, down = self._lanes[source, target], self._lanes[target, source]
                link = Link(up, down, self._ports[target, role])
                self._links[source, target, role] = link
                link.open()

    def _write_maps(self) -> None:
        for vm in self._vms:
            maps: dict[str, dict[str, str]] = {"": {}, "slave": {}}
            for (source, target, role), link in self._links.items():
                name, _, by = source.partition("/")
                if name == vm:
                    maps[by][f"{LOOPBACK}:{self._ports[target, role]}"] = f"{LOOPBACK}:{link.port}"
            self._map_file(vm).write_text(json.dumps(maps))

    def _map_file(self, vm: str) -> Path:
        return self._folder / f"links-{vm}.json"

    def _lanes_between(self, source: str, target: str) -> list[Lane]:
        """Return the lanes from ``source`` to ``target``; a VM's are also its slave's."""
        return [
            lane
            for (a, b), lane in self._lanes.items()
            if source in (a, a.partition("/")[0]) and target in (b, b.partition("/")[0])
        ]

    def _set(self, source: str, target: str, *, cut: bool) -> None:
        lanes = self._lanes_between(source, target)
        assert lanes, f"cannot cut {source} from {target}: one is no VM of this network"

        async def act() -> None:
            for lane in lanes:
                lane.set(cut=cut)
            for link in self._links.values():
                link.follow()

        self._run(act())

    async def _reset(self, one: str, other: str) -> None:
        for (source, target, _), link in self._links.items():
            if {source.partition("/")[0], target} == {one, other}:
                link.reset()

    async def _close(self) -> None:
        await asyncio.gather(*(link.close() for link in self._links.values()))
        await asyncio.sleep(0)  # transports close their sockets in the loop's next turn

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STEP_S)
