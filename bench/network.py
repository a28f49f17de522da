"""How soon clients of a vanished VM are served again: python bench/network.py [--n N] [--json] [--network KIND]

A client on a machine of its own posts again and again, 10 ms after each answer. The available server's VM is
black-holed N times (no reset, no refusal, nobody left to report a crash), and comes back each time. Times are from
just before the cable is pulled, so they include the few milliseconds that this itself takes: ``asked`` until a
router named another server, ``client`` until the first post was acknowledged by it. Needs network namespaces
(tests/network), or ``--network proxies``.
"""

import argparse
import json
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from figures import summary

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the network is the tests' own

from snsnode.base.signals import exit_on_signals
from tests.network.agent import Agent
from tests.network.callers import Callers
from tests.network.cluster import AS_SHIPPED, joined
from tests.network.scene import await_settled, other_than, vanished, vm_at

SETTLE_S = 1.2  # between faults: a client backs off from a server that it loses within a second
FAULT_WITHIN_S = 60.0
PAUSE_S = 0.01  # between two posts


@dataclass
class Times:
    """What was measured, in milliseconds from the fault."""

    asked: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """Return p50, p99 and max of each."""
        rows: dict[str, object] = {"n": len(self.client), "failed_calls": 0}  # one that failed ends the bench
        for name in ("asked", "client"):
            if values := getattr(self, name):
                rows[name] = summary(values)
        return rows


def vm_black_hole(n: int, kind: str = "namespaces", keepalive: str = AS_SHIPPED) -> Times:
    """Let the available server's VM vanish ``n`` times under a calling client.

    Raises:
        AssertionError: a call failed, a post was lost or doubled, or a client was not served in time.
    """
    times = Times()
    with (
        joined(kind, keepalive=keepalive) as cluster,
        Agent(cluster, "r1") as agent,
        Callers(cluster, posters=1, every_s=PAUSE_S) as callers,
    ):
        for _ in range(n):
            await_settled(agent)
            time.sleep(SETTLE_S + random.random())  # anywhere between two pings and two registrations
            lost = vm_at(cluster, callers.server())
            other = cluster.target(other_than(cluster, lost))
            who = callers.calls[-1].text.split("-")[1]
            with vanished(cluster, lost) as at_s:
                served = callers.await_answer(at_s, FAULT_WITHIN_S, other)
            turned = [turn for turn in callers.turns if turn.who == who and turn.at_s > at_s]
            times.asked.append((turned[0].at_s - at_s) * 1000)
            times.client.append((served.ended_s - at_s) * 1000)
        await_settled(agent)
        callers.finish()
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--network", choices=("namespaces", "proxies"), default="namespaces")
    options = parser.parse_args()
    summary = {"vm-black-hole": vm_black_hole(options.n, options.network).summary()}
    print(json.dumps(summary, indent=2 if not options.json else None))


if __name__ == "__main__":
    with exit_on_signals():  # what it started is ended, too
        main()
