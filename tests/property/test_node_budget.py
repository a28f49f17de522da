"""The restart budget, whatever happens: against the contract's words."""

from hypothesis import given
from hypothesis import strategies as st

from snsnode.node.budget import FIRST_DELAY_S, Budget, spend
from snsnode.node.config import Restart

rules = st.builds(
    Restart,
    intensity=st.integers(1, 20),
    period_s=st.floats(1.0, 3600.0),
    backoff_max_s=st.floats(0.1, 300.0),
)
units = st.floats(0, 1, exclude_max=True)
# How long each restarted partner lives, as a part of the period.
lives = st.lists(st.tuples(st.floats(0.0, 1.5), units, st.booleans()), max_size=80)


@given(rules, lives)
def test_the_contract_is_kept_word_by_word(rule: Restart, history: list[tuple[float, float, bool]]) -> None:
    """Immediate at first, then doubling waits, and a quiet period resets."""
    spent, now_s = Budget(), 1000.0
    restarted_s: list[float] = []
    expected_s: float | None = None  # the next delay where one was delayed already
    for lives_s, unit, is_master in history:
        now_s += lives_s * rule.period_s
        within = [at_s for at_s in restarted_s if now_s - at_s < rule.period_s]
        if not within:
            expected_s = None
        spent, wait_s = spend(spent, rule, "master" if is_master else "slave", now_s, unit)
        if expected_s is None and len(within) < rule.intensity:
            assert wait_s == 0.0
        else:
            step_s = min(expected_s or FIRST_DELAY_S, rule.backoff_max_s)
            assert 0.8 * step_s * 0.999999 <= wait_s <= 1.2 * step_s * 1.000001
            expected_s = step_s * 2
        assert spent.degraded == (expected_s is not None)
        assert len(spent.recent_s) <= rule.intensity + 1
        now_s += wait_s
        restarted_s.append(now_s)
    assert sum(spent.totals.values()) == len(history)


@given(rules, st.lists(st.tuples(st.floats(0.0, 2.0), units, st.booleans(), st.booleans()), max_size=80))
def test_no_wait_is_longer_than_the_maximum_and_no_loop_is_hot(
    rule: Restart, history: list[tuple[float, float, bool, bool]]
) -> None:
    """Also where both partners withdraw while the other still waits, and where a cause is hopeless."""
    spent, now_s = Budget(), 1000.0
    immediate: list[float] = []
    for passed, unit, is_master, hopeless in history:
        now_s += passed * rule.period_s / 4
        role = "master" if is_master else "slave"
        spent, wait_s = spend(spent, rule, role, now_s, unit, hopeless=hopeless)
        assert 0.0 <= wait_s <= 1.2 * rule.backoff_max_s
        assert not hopeless or wait_s >= 0.8 * rule.backoff_max_s
        if wait_s == 0.0:
            immediate.append(now_s)
        assert len([at_s for at_s in immediate if now_s - at_s < rule.period_s]) <= rule.intensity


@given(
    rules,
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=50),
    st.integers(0, 10**9),
    st.booleans(),
    units,
)
def test_no_ledger_stops_or_delays_for_ever(
    rule: Restart, recent_s: list[float], delayed: int, hopeless: bool, unit: float
) -> None:
    spent = Budget(tuple(recent_s), delayed)
    spent, wait_s = spend(spent, rule, "master", 1e6, unit, hopeless=hopeless)
    assert 0.0 <= wait_s <= 1.2 * rule.backoff_max_s
    _, wait_s = spend(spent, rule, "master", 1e6 + wait_s + rule.period_s * 1.01, unit)
    assert wait_s == 0.0
