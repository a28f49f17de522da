"""When a slave starts its next spare, without a process."""

from dataclasses import replace

from snsnode.guard.view import View
from snsnode.node.config import PARTNERS
from snsnode.node.places import EMPTY, Seen
from snsnode.node.process import Identity
from snsnode.slave.keeping import RETRY, SETTLE_S, Keeping, view_of

MASTER, SPARE = Identity(1, 1, "boot"), Identity(2, 1, "boot")
SERVED = View(master=Seen(MASTER, True, "S"))


def test_a_spare_is_started_beside_a_live_master_only() -> None:
    assert Keeping().wants(SERVED, 0.0)
    assert not Keeping().wants(View(), 0.0)
    assert not Keeping().wants(replace(SERVED, wanted=frozenset({"slave"})), 0.0)


def test_there_is_one_spare_at_a_time() -> None:
    assert not Keeping().wants(replace(SERVED, ours=SPARE), 0.0)
    assert not Keeping().wants(replace(SERVED, dismissed=SPARE), 0.0)


def test_after_a_failover_the_cores_belong_to_the_clients() -> None:
    sent = Keeping().sent_in(10.0)
    assert not sent.wants(SERVED, 10.0 + SETTLE_S / 2)
    assert sent.wants(SERVED, 10.0 + SETTLE_S)


def test_spares_that_end_are_followed_ever_more_slowly_until_one_stands_by() -> None:
    once = Keeping().ended(10.0)
    twice = once.ended(10.0)
    assert once.not_before_s == 10.0 + RETRY.step_s(0)
    assert twice.not_before_s == 10.0 + RETRY.step_s(1)
    assert twice.stood_by().ended(20.0).not_before_s == 20.0 + RETRY.step_s(0)


def test_a_child_is_born_until_it_has_announced_itself_or_died() -> None:
    def born(spare: Seen, lives: bool) -> Identity | None:
        wanted = frozenset(PARTNERS)
        return view_of(
            EMPTY, spare, wanted, child=SPARE, child_lives=lives, sent=None, dismissed=None
        ).born  # fmt: skip

    assert born(EMPTY, True) == SPARE
    assert born(EMPTY, False) is None
    assert born(Seen(SPARE, True, "S"), True) is None


def test_a_spare_that_was_sent_in_is_looked_for_until_there_is_a_master() -> None:
    def sent(master: Seen) -> Identity | None:
        return view_of(
            master, EMPTY, frozenset(PARTNERS), child=None, child_lives=False, sent=SPARE, dismissed=None
        ).sent

    assert sent(EMPTY) == SPARE
    assert sent(Seen(MASTER, True, "S")) is None
