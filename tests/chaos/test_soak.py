"""The seeded soak, a short one; and that its checks find what they are for."""

import pytest

from tests.chaos import history
from tests.chaos.faults import schedule
from tests.chaos.outside import Answer
from tests.chaos.soak import soak

pytestmark = pytest.mark.chaos


@pytest.mark.soak
def test_random_faults_lose_double_and_split_nothing(pytestconfig: pytest.Config) -> None:
    faults = pytestconfig.getoption("--soak-faults")
    report = soak(faults, seed=3)
    assert not report.problems, str(report)
    assert report.done == faults
    assert report.posts > 3 * faults


@pytest.mark.chaos_long
def test_many_random_faults_lose_double_and_split_nothing() -> None:
    report = soak(1000, seed=4)
    assert not report.problems, str(report)


def test_a_seed_replays() -> None:
    assert schedule(5, 50, ("vm2", "vm3")) == schedule(5, 50, ("vm2", "vm3"))
    assert schedule(5, 50, ("vm2", "vm3")) != schedule(6, 50, ("vm2", "vm3"))


def test_a_lost_and_a_doubled_post_are_found() -> None:
    assert history.check_stored(["a", "b"], ["a", "b"]) == []
    assert history.check_stored(["a"], ["a", "b"]) == ["acknowledged and not stored: b"]
    assert history.check_stored(["a", "b", "a"], ["a", "b"]) == ["stored 2 times: a"]


def test_a_missed_a_doubled_and_a_late_post_of_a_timeline_are_found() -> None:
    assert history.check_seen(["a", "b"], ["a", "b"]) == []
    assert history.check_seen(["a"], ["a", "b"]) == ["never seen: b"]
    assert history.check_seen(["a", "a"], ["a"]) == ["seen 2 times: a"]
    assert history.check_seen(["a", "x"], ["a"]) == ["seen and not stored: x"]
    assert history.check_seen(["b", "a"], ["a", "b"]) == ["seen out of order: b where a was due"]


def test_a_falling_and_a_shared_epoch_are_found() -> None:
    one, two, three = (Answer(float(n), "vm2", 10 + n, n) for n in (1, 2, 3))
    assert history.check_answers([one, two, three]) == []
    assert history.check_answers([two, three, two]) == ["vm2: epoch 2 answered after epoch 3"]
    [shared] = history.check_answers([one, Answer(2.0, "vm2", 99, 1)])
    assert "11 and 99 both answered as epoch 1" in shared
    assert history.check_served({"vm2": [1, 2, 5], "vm3": [1]}) == []
    assert history.check_served({"vm2": [1, 2, 2]}) == ["vm2: served as epoch 2 after epoch 2"]
