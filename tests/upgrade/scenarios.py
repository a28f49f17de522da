"""What is tried with two versions: each side of each call, one store, and the way there and back.

In each, a poster and a reader of both versions are at work from the beginning to the end. ``Outcome.problems``
says what must not be: a call that failed, a post that was acknowledged and lost, doubled or never shown, a
traceback, a role of another version than the one that was started.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from tests.upgrade.callers import Callers, calling
from tests.upgrade.machines import Machines, machines
from tests.upgrade.store import Place
from tests.upgrade.versions import Version

WHILE_S = 1.0  # of calls between two steps
BACK_WITHIN_S = 30.0


@dataclass
class Outcome:
    """``slowest_s``: the longest post of each version's client, by the step during which it ended."""

    name: str
    posts: dict[str, int] = field(default_factory=dict)
    slowest_s: dict[str, dict[str, float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def lines(self) -> list[str]:
        """Return what to print."""
        posts = ", ".join(f"{count} posts by {name}" for name, count in self.posts.items())
        lines = [f"{self.name}: {posts or 'no posts'}, {self.took_s:.0f} s"]
        for step, by in self.slowest_s.items():
            slowest = ", ".join(f"{s * 1000:.0f} ms ({name})" for name, s in by.items())
            lines.append(f"    {step}: slowest post {slowest}")
        return [*lines, *(f"    PROBLEM {each}" for each in self.problems)]


class Scene:
    """One cluster under its callers; a step is given a name, and time to show what comes of it."""

    def __init__(self, cluster: Machines, callers: Callers, outcome: Outcome) -> None:
        self.cluster = cluster
        self._callers = callers
        self._outcome = outcome

    def step(self, name: str, act: Callable[[], object]) -> None:
        """Do ``act``, let the callers work on, and note their slowest post meanwhile."""
        before = {each: len(poster.all_of("took_s")) for each, poster in self._callers.posters.items()}
        act()
        time.sleep(WHILE_S)
        for each, poster in self._callers.posters.items():
            poster.await_more("took_s", before[each])
            took_s = poster.all_of("took_s")[before[each] :]
            by = self._outcome.slowest_s.setdefault(name, {})
            by[each] = max(by.get(each, 0.0), *took_s)  # of all steps of that name

    def fail_over(self, vm: str) -> None:
        """Kill the master of ``vm``, and wait until another one of it and a spare stand."""
        before = self.cluster.pid(vm, "master")
        self.cluster.kill(vm, "master")
        self.cluster.await_role(vm, "master", BACK_WITHIN_S, other_than=before)
        self.cluster.await_role(vm, "spare", BACK_WITHIN_S)

    def install(self, vm: str, version: Version) -> None:
        """Install and generate, as the upgrade notes say; nothing is restarted."""
        self.cluster.install(vm, version)
        self.cluster.on(vm, "generate", "--vm", vm)

    def restart(self, vm: str, version: Version, *, drained: bool = False) -> None:
        """Restart all of ``vm``, its supervisord too; every process must then be of ``version``."""
        if drained:
            self.cluster.on(vm, "drain", vm)
        self.cluster.on(vm, "restart", "--vm", vm)
        if drained:
            self.cluster.on(vm, "undrain", vm)
        if vm in self.cluster.server_vms:
            self.cluster.await_role(vm, "spare", BACK_WITHIN_S)
        found = set(self.cluster.versions(vm).values())
        if found != {version.number}:
            self._outcome.problems.append(f"{vm} runs {found} after a restart, instead of {version.number}")

    def look(self) -> None:
        """Ask the installed snsctl of every machine for the status: all must be well."""
        for vm in self.cluster.vms:
            self.cluster.await_well(vm)


def mixed(
    place: Place, name: str, router: Version, servers: Sequence[Version], both: Sequence[Version]
) -> Outcome:
    """Kill every master once and restart every VM once, whatever versions they are of."""
    installed = {"vm1": router, "vm2": servers[0], "vm3": servers[1]}

    def play(scene: Scene) -> None:
        scene.look()
        for vm in scene.cluster.server_vms:
            scene.step(f"the master of {vm} killed", partial(scene.fail_over, vm))
        for vm in scene.cluster.server_vms:
            scene.step(f"{vm} drained and restarted", partial(scene.restart, vm, installed[vm], drained=True))
        scene.step("the router restarted", partial(scene.restart, "vm1", router))
        scene.look()

    return _played(place, name, installed, both, play)


def in_turn(place: Place, old: Version, new: Version) -> Outcome:
    """Let one server open the store as the one version and as the other, twice."""

    def play(scene: Scene) -> None:
        for version in (new, old, new, old):
            scene.install("vm2", version)
            scene.step(f"restarted as {version.number}", partial(scene.restart, "vm2", version))

    return _played(place, "one server, old and new in turn", {"vm1": new, "vm2": old}, (old, new), play)


def beside(place: Place, old: Version, new: Version) -> Outcome:
    """Let each version serve beside the other, and take the new one back: in short, what the others show."""

    def play(scene: Scene) -> None:
        for vm in scene.cluster.server_vms:
            scene.step(f"the master of {vm} killed", partial(scene.fail_over, vm))
        scene.install("vm3", old)
        scene.step(f"vm3 restarted as {old.number}", partial(scene.restart, "vm3", old, drained=True))

    return _played(place, "beside each other", {"vm1": new, "vm2": old, "vm3": new}, (old, new), play)


def rolling(place: Place, old: Version, new: Version) -> Outcome:
    """Take the steps of the upgrade notes, and then the same ones back; masters die in the middle of each way."""

    def play(scene: Scene) -> None:
        for version in (new, old):
            for vm in scene.cluster.vms:
                scene.step(f"{version.number} installed on {vm}", partial(scene.install, vm, version))
            # What dies before it is restarted comes back with the other code, launched by what still runs.
            for vm in scene.cluster.server_vms:
                scene.step(f"the master of {vm} killed, then", partial(scene.fail_over, vm))
            scene.step(f"the router restarted as {version.number}", partial(scene.restart, "vm1", version))
            for vm in scene.cluster.server_vms:
                name = f"{vm} drained and restarted as {version.number}"
                scene.step(name, partial(scene.restart, vm, version, drained=True))
            scene.look()

    return _played(place, "rolling upgrade and back", dict.fromkeys(("vm1", "vm2", "vm3"), old), (old, new), play)


def _played(
    place: Place,
    name: str,
    installed: Mapping[str, Version],
    both: Sequence[Version],
    play: Callable[[Scene], None],
) -> Outcome:
    outcome = Outcome(f"{place.name}, {name}")
    began_s = time.monotonic()
    more = f"store: {place.url()}\nselection: spread"
    with machines(installed, servers=len(installed) - 1, more=more) as cluster:
        with calling(both, cluster.router_targets) as callers:
            try:
                play(Scene(cluster, callers, outcome))
            except AssertionError as error:
                outcome.problems.append(f"{error}{cluster.tails(4)}")
            outcome.problems += callers.finish()
            outcome.problems += callers.check(place.texts(cluster.folder))
        outcome.posts = {each: len(poster.all_of("acknowledged")) for each, poster in callers.posters.items()}
        outcome.problems += _tracebacks(cluster)
    outcome.took_s = time.monotonic() - began_s
    return outcome


def _tracebacks(cluster: Machines) -> list[str]:
    texts = ((name, text.splitlines()) for name, text in cluster.logs().items())
    return list(
        chain.from_iterable(
            (f"{name}: {line}" for line in lines if line.startswith("Traceback")) for name, lines in texts
        )
    )
