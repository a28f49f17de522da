"""Faults: what may go wrong, when, for how long; drawn from a seed as a plain list, so that it can shrink."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.network import Weather

if TYPE_CHECKING:
    from tests.simulation.vm import VM, Role
    from tests.simulation.world import World

FOR_GOOD = 1e9


@dataclass(frozen=True, slots=True)
class Fault:
    """``kind`` befalls ``target`` at ``at_s``, for ``for_s`` where it lasts."""

    at_s: float
    kind: str
    target: str
    for_s: float = 0.0

    def __str__(self) -> str:
        lasting = "" if self.for_s == 0 else " for good" if self.for_s >= FOR_GOOD else f" for {self.for_s:.2f} s"
        return f"{self.at_s:7.3f} s  {self.kind} {self.target}{lasting}"


# kind → how often, relatively; whose; how long at most (s)
OF_VM = {
    "kill master": (10, 0.0),
    "kill slave": (4, 0.0),
    "kill spare": (2, 0.0),
    "kill pair": (2, 0.0),
    "kill all three": (1, 0.0),
    "stop master": (3, 2.0),
    "stop slave": (2, 2.0),
    "freeze master for good": (3, FOR_GOOD),
    "freeze slave for good": (2, FOR_GOOD),
    "deadlock master": (2, FOR_GOOD),
    "deadlock slave": (1, FOR_GOOD),
    "freeze spare for good": (1, FOR_GOOD),
    "deadlock spare": (2, FOR_GOOD),
    "block master's loop": (2, FOR_GOOD),
    "starve master": (2, 2.0),
    "starve slave": (3, 8.0),
    "pause machine": (4, 12.0),
    "power off": (3, 8.0),
    "cut off from routers": (3, 15.0),
    "cut off from clients": (3, 8.0),
    "cut off from store": (2, 5.0),
    "cut off from all": (3, 15.0),
    "cut off, outgoing": (2, 8.0),
    "operator stops master": (2, 6.0),
    "operator stops pair": (1, 6.0),
    "operator drains": (3, 8.0),
    "operator switches over to": (3, 0.0),
}
OF_ROUTER = {"kill router": (5, 0.0), "freeze router": (3, 12.0), "cut router off": (3, 12.0)}
OF_ALL = {
    "lossy network": (2, 5.0),
    "slow network": (3, 8.0),
    "repeating network": (2, 8.0),
    "kill everything": (1, 0.0),
    "store's clock jumps": (1, 0.0),
}
WEATHER = {
    "lossy network": Weather(drop=0.2),
    "slow network": Weather(delay=0.1, delay_s=3.0),
    "repeating network": Weather(duplicate=0.3, delay=0.1, delay_s=2.0),
}


def draw(
    rng: random.Random,
    vms: list[str],
    routers: list[str],
    within_s: float,
    every_s: float,
    only: tuple[str, ...] = (),
) -> list[Fault]:
    """Draw faults before ``within_s``, ``every_s`` apart on average: of the kinds ``only``, or of all."""
    kinds: list[tuple[str, list[str], float]] = []
    weights: list[int] = []
    for table, targets in ((OF_VM, vms), (OF_ROUTER, routers), (OF_ALL, ["all"])):
        for kind, (weight, longest_s) in table.items():
            if only and kind not in only:
                continue
            kinds.append((kind, targets, longest_s))
            weights.append(weight)
    faults: list[Fault] = []
    at_s = rng.expovariate(1 / every_s)
    while at_s < within_s:
        kind, targets, longest_s = rng.choices(kinds, weights)[0]
        for_s = longest_s if longest_s in (0.0, FOR_GOOD) else rng.uniform(0.05, longest_s)
        faults.append(Fault(at_s, kind, rng.choice(targets), for_s))
        at_s += rng.expovariate(1 / every_s)
    return faults


class Hands:
    """Applies faults to a world, and takes them back: each when its time is over, all of them at the end."""

    def __init__(self, world: "World", faults: list[Fault]) -> None:
        self._world = world
        self._undo: dict[int, Callable[[], None]] = {}
        self._count = 0
        for fault in faults:
            world.clock.after(fault.at_s, None, self.apply, fault)

    def apply(self, fault: Fault) -> None:
        """Let ``fault`` happen now."""
        self._world.note(f"FAULT {fault.kind} {fault.target}" + (f" {fault.for_s:.2f} s" if fault.for_s else ""))
        vm = self._world.vms.get(fault.target)
        undo = self._to_vm(fault, vm) if vm is not None else self._to_others(fault)
        if undo is None:
            return
        self._count += 1
        self._undo[self._count] = undo
        if fault.for_s < FOR_GOOD:
            self._world.clock.after(fault.for_s, None, self._take_back, self._count, str(fault.kind))

    def heal(self) -> None:
        """Take everything back that still lasts."""
        self._world.note("all faults cease")
        for number in tuple(self._undo):
            self._take_back(number, "")

    def _take_back(self, number: int, kind: str) -> None:
        undo = self._undo.pop(number, None)
        if undo is not None:
            if kind:
                self._world.note(f"over: {kind}")
            undo()

    # --- machines and their processes ------------------------------------------------------------------------

    def _to_vm(self, fault: Fault, vm: "VM") -> Callable[[], None] | None:
        words = fault.kind.split()
        match words[0]:
            case "kill":
                roles = {"pair": ("master", "slave"), "all": ("master", "slave", "spare")}
                for role in roles.get(words[1], (words[1],)):
                    for process in vm.living(role):
                        vm.kill(process, "SIGKILL")
                return None
            case "stop" | "freeze" | "deadlock" | "block" | "starve":
                return self._stick(vm, words)
            case "pause":
                return self._pause(vm)
            case "power":
                if vm.up:
                    vm.crash()
                    return vm.boot
                return None
            case "cut":
                return self._cut(vm.name, words)
            case _ if "drains" in words:
                return self._drain(vm)
            case _ if "switches" in words:
                if vm.master is not None and not vm.master.frozen:
                    vm.master.take_over()
                return None
            case _:
                return self._operator_stops(vm, "slave" if words[-1] == "pair" else "master")

    def _operator_stops(self, vm: "VM", role: "Role") -> Callable[[], None]:
        vm.stop(role)
        return lambda: vm.start(role)

    def _stick(self, vm: "VM", words: list[str]) -> Callable[[], None] | None:
        role = next((word for word in words if word in ("slave", "spare")), "master")
        processes = vm.living(role)[:1]
        for process in processes:
            process.stick("T" if words[0] in ("stop", "freeze") else "S", answers=words[0] in ("block", "starve"))
            self._world.doubt(vm.name)

        def go_on() -> None:
            for process in processes:
                process.go_on()

        return go_on

    def _drain(self, vm: "VM") -> Callable[[], None]:
        vm.drained = True

        def undrain() -> None:
            vm.drained = False

        return undrain

    def _pause(self, vm: "VM") -> Callable[[], None] | None:
        if vm.paused or not vm.up:
            return None
        vm.paused, born = True, vm.born
        for process in vm.processes:
            process.halt()
        supervisord = vm.supervisord
        if supervisord is not None:
            self._world.clock.freeze(supervisord)
        self._world.doubt(vm.name)

        def resume() -> None:
            if born != vm.born:
                return  # its power was off meanwhile
            vm.paused = False
            for process in vm.processes:
                process.resume()
            if supervisord is not None:
                self._world.clock.thaw(supervisord)

        return resume

    # --- the network, the routers ----------------------------------------------------------------------------

    def _cut(self, host: str, words: list[str]) -> Callable[[], None]:
        world, oneway = self._world, "outgoing" in words
        groups = {"routers": world.router_hosts, "clients": world.client_hosts, "store": [world.store_port.host]}
        others = groups.get(words[-1], [name for group in groups.values() for name in group])
        pairs = [(host, other) for other in others if other != host]
        if not oneway:
            pairs += [(other, host) for other in others if other != host]
        for source, target in pairs:
            world.network.cut(source, target)
        world.doubt(host)

        def mend() -> None:
            for source, target in pairs:
                world.network.mend(source, target)

        return mend

    def _to_others(self, fault: Fault) -> Callable[[], None] | None:
        world = self._world
        site = next((site for site in world.routers if site.name == fault.target), None)
        if site is not None:
            if fault.kind == "kill router":
                world.kill_router(site)
                return None
            if fault.kind == "cut router off":
                return self._cut(site.name, ["all"])
            router = site.router
            world.clock.freeze(router)
            world.doubt(site.name)
            return lambda: world.clock.thaw(router) if router.alive else None
        if fault.kind in WEATHER:
            weather = WEATHER[fault.kind]
            world.network.weathers.append(weather)
            return lambda: world.network.weathers.remove(weather)
        if fault.kind == "store's clock jumps":
            world.store.wall_jump_s += world.rng(str(fault)).uniform(-7200, 7200)
            return None
        for each in world.routers:
            world.kill_router(each, for_s=4.0)
        for vm in world.vms.values():
            for process in tuple(vm.processes):
                vm.kill(process, "SIGKILL")
        return None
