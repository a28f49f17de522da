"""Whole clusters on a virtual clock, by seed: no invariant is broken, and the same seed is the same run."""

import pytest

from tests.simulation.__main__ import kind_of
from tests.simulation.faults import Fault
from tests.simulation.world import Setup, run, schedule, settings_of

SMALL = Setup(seconds=15.0, fault_every_s=0.7)


@pytest.mark.parametrize("selection", ["single", "spread"])
@pytest.mark.parametrize("begin", range(0, 50, 10))
def test_small_clusters_live_through_ten_seeds_of_faults(begin: int, selection: str) -> None:
    for seed in range(begin, begin + 10, 2) if selection == "single" else range(begin + 1, begin + 10, 2):
        setup = Setup(seed=seed, seconds=15.0, fault_every_s=0.7, selection=selection)  # type: ignore[arg-type]
        result = run(setup)
        assert result.violation is None, f"repeat: python -m tests.simulation {settings_of(setup)}"
        assert result.posts > 100
        assert result.shown > result.posts  # each author has two readers


def test_larger_cluster_with_three_routers_lives_through_its_faults() -> None:
    setup = Setup(seed=1, vms=10, clients=60, routers=3, seconds=12.0, fault_every_s=0.3, selection="spread")
    result = run(setup)
    assert result.violation is None, f"repeat: python -m tests.simulation {settings_of(setup)}"


def test_same_seed_is_the_same_run_and_another_is_not() -> None:
    setup = Setup(seed=7, seconds=8.0, fault_every_s=0.7)
    first, again, other = run(setup), run(setup), run(Setup(seed=8, seconds=8.0, fault_every_s=0.7))
    assert (first.trace, first.steps, first.posts) == (again.trace, again.steps, again.posts)
    assert first.trace != other.trace
    assert schedule(setup) == first.faults


def test_without_faults_no_call_fails_and_nobody_is_replaced() -> None:
    result = run(Setup(seed=3, seconds=15.0), [])
    assert result.violation is None
    assert result.failed_calls == 0
    assert not [line for line in result.trace if "replaces" in line or ("ends" in line and "spare" not in line)]


def test_machine_that_was_paused_kills_nobody_when_it_goes_on() -> None:
    faults = [Fault(5.0, "pause machine", "vm1", 11.0), Fault(6.0, "pause machine", "vm2", 3.0)]
    result = run(Setup(seed=2, seconds=20.0), faults)
    assert result.violation is None
    assert not [line for line in result.trace if "replaces" in line]


def test_router_that_began_anew_remembers_the_crash_of_a_server_it_did_not_know() -> None:
    """Another router, which was frozen since before, tells it of the dead one as if it lived."""
    faults = [
        Fault(5.741, "cut off, outgoing", "vm2", 7.39),
        Fault(6.451, "kill router", "r2"),
        Fault(8.037, "freeze router", "r1", 8.44),
        Fault(11.187, "kill pair", "vm3"),
        Fault(11.789, "cut off from all", "vm2", 4.04),
        Fault(12.611, "cut off from routers", "vm1", 5.34),
        Fault(12.896, "kill master", "vm2"),
        Fault(13.951, "lossy network", "all", 1.48),
    ]
    result = run(Setup(seed=24, seconds=25.0), faults)
    assert kind_of(result) is None, result.violation
