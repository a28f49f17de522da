"""What a clean run is worth: each planted bug is found within few seeds, and the same seeds pass without it."""

from dataclasses import replace
from functools import cache

import pytest

from tests.simulation.__main__ import kind_of, main
from tests.simulation.faults import FOR_GOOD, Fault
from tests.simulation.planted import BUGS, Bug
from tests.simulation.shrink import shrink
from tests.simulation.world import Setup, run


@cache
def violation_without_bug(setup: Setup) -> str | None:
    """Run a setup once for all bugs that are looked for in it."""
    return run(setup).violation


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_planted_bug_is_found_and_is_not_there_without_it(bug: Bug) -> None:
    for seed in range(bug.seeds_max):
        setup = replace(bug.setup, seed=seed)
        assert violation_without_bug(setup) is None, f"seed {seed} fails without the bug"
        violation = run(setup, machines=bug.machines).violation
        if violation is not None:
            assert bug.finding in violation
            return
    pytest.fail(f"{bug.name}: not found in {bug.seeds_max} seeds")


def test_schedule_shrinks_to_the_faults_that_matter() -> None:
    faults = [Fault(float(at), "kill master", f"vm{at}", 8.0 if at == 5 else 0.0) for at in range(20)]

    def fails(part: list[Fault]) -> bool:
        return {"vm5", "vm11"} <= {fault.target for fault in part}

    shortest = shrink(faults, fails)
    assert [fault.target for fault in shortest] == ["vm5", "vm11"]
    assert shortest[0].for_s == 4.0  # half of it is enough as well


def test_shrinking_asks_a_bounded_number_of_questions() -> None:
    asked = 0

    def fails(part: list[Fault]) -> bool:
        nonlocal asked
        asked += 1
        return len(part) > 30

    shrink([Fault(float(at), "kill master", "vm1", FOR_GOOD) for at in range(200)], fails, runs_max=25)
    assert asked <= 25


def test_shortest_schedule_of_a_planted_bug_still_finds_it() -> None:
    bug = next(bug for bug in BUGS if bug.name == "request id forgotten")
    result = run(bug.setup, machines=bug.machines)
    kind = kind_of(result)
    assert kind is not None

    def fails(part: list[Fault]) -> bool:
        return kind_of(run(bug.setup, part, bug.machines)) == kind

    shortest = shrink(result.faults, fails, runs_max=20)
    assert len(shortest) < len(result.faults) / 2
    assert fails(shortest)


def test_command_tells_the_schedule_and_how_to_repeat_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["simulation", "--seconds", "12", "--every", "0.7", "--seeds", "4"]
    monkeypatch.setattr("sys.argv", [*arguments, "--bug", "request id forgotten"])
    assert main() == 1
    told = capsys.readouterr().out
    assert "is stored twice" in told
    assert "the shortest schedule found" in told
    assert "repeat: python -m tests.simulation --seed" in told
    monkeypatch.setattr("sys.argv", [*arguments, "--seeds", "1"])
    assert main() == 0
    assert "seed 0: " in capsys.readouterr().out
