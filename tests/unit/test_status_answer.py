"""What ``snsctl status`` makes of what it was told: the routers' words, together and against each other."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from snsnode.base.ids import VmName
from snsnode.control import status
from snsnode.control.answers import Status
from snsnode.control.asking import MasterSaid, RouterSaid, ServerSaid
from snsnode.control.status import Question
from snsnode.node.config import Endpoint

FAR = "192.0.2.7"  # of nobody here: no folder is looked at


def endpoint(vm: str) -> Endpoint:
    return Endpoint(VmName(vm), FAR, 3000)


def said(available: str, **servers: tuple[str, int]) -> RouterSaid:
    known = {vm: ServerSaid(state, epoch, 0, leaving=False) for vm, (state, epoch) in servers.items()}
    return RouterSaid(available, known, 5.0)


def answer(
    *words: RouterSaid | None, selection: str = "single", silent: Mapping[str, bool] | None = None
) -> Status:
    question = Question(
        "local",
        tuple(endpoint(f"r{number}") for number in range(len(words))),
        (endpoint("vm2"), endpoint("vm3")),
        Path("nowhere"),
        selection=selection,
    )
    masters = [None if (silent or {}).get(vm) else MasterSaid(7, 1) for vm in ("vm2", "vm3")]
    visits = {router.vm: visited(router.vm) for router in (*question.routers, *question.servers)}
    return status._answer(question, words, masters, visits)


def visited(vm: VmName) -> status._Visit:
    visit = status._Visit(Path("nowhere") / vm, FAR, 0.0)
    visit.resolved = True
    return visit


def states(found: Status) -> dict[str, str]:
    return {server.vm: server.state for server in found.servers}


AGREED = said("vm2", vm2=("AVAILABLE", 1), vm3=("STANDBY", 1))


def test_routers_that_agree_are_told_as_one() -> None:
    found = answer(AGREED, AGREED)
    assert (found.available, states(found)) == ("vm2", {"vm2": "AVAILABLE", "vm3": "STANDBY"})
    assert found.routers_agree
    assert not any("disagree" in note for note in found.notes)
    assert [(router.state, router.available) for router in found.routers] == [("UP", "vm2")] * 2
    assert found.routers[0].servers == {"vm2": "AVAILABLE", "vm3": "STANDBY"}


def test_routers_with_other_choices_disagree() -> None:
    found = answer(AGREED, said("vm3", vm2=("STANDBY", 1), vm3=("AVAILABLE", 1)))
    assert not found.routers_agree
    [note] = [note for note in found.notes if "disagree" in note]
    assert note.startswith("the routers disagree: r0 gives clients vm2, r1 gives clients vm3; they agree again")


def test_with_spread_another_choice_is_no_disagreement() -> None:
    both = {"vm2": ("AVAILABLE", 1), "vm3": ("AVAILABLE", 1)}
    assert answer(said("vm2", **both), said("vm3", **both), selection="spread").routers_agree


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (said("vm2", vm2=("AVAILABLE", 1)), "of vm3 r0 says epoch 1, alive, r1 says nothing"),
        (
            said("vm2", vm2=("AVAILABLE", 1), vm3=("STANDBY", 2)),
            "of vm3 r0 says epoch 1, alive, r1 says epoch 2, alive",
        ),
        (
            said("vm2", vm2=("AVAILABLE", 1), vm3=("DOWN", 1)),
            "of vm3 r0 says epoch 1, alive, r1 says epoch 1, dead",
        ),
    ],
)
def test_routers_that_know_other_lives_disagree(other: RouterSaid, words: str) -> None:
    found = answer(AGREED, other)
    assert not found.routers_agree
    assert any(words in note for note in found.notes)


def test_a_router_that_began_while_a_server_was_dead_does_not_disagree() -> None:
    dead = said("vm2", vm2=("AVAILABLE", 1), vm3=("DOWN", 4))
    unheard = said("vm2", vm2=("AVAILABLE", 1))
    assert answer(dead, unheard).routers_agree and answer(unheard, dead).routers_agree
    assert not answer(dead, said("vm2", vm2=("AVAILABLE", 1), vm3=("DOWN", 5)), unheard).routers_agree


def test_a_silent_router_is_named_and_disagrees_with_nobody() -> None:
    found = answer(None, AGREED)
    assert found.routers_agree
    assert f"router r0 at {FAR}:3000 does not answer" in found.notes
    assert (found.routers[0].state, found.routers[0].available, found.routers[0].servers) == ("DOWN", None, None)
    assert found.available == "vm2"


@pytest.mark.parametrize(
    ("one", "other", "state"),
    [
        (("SUSPECT", 1), ("AVAILABLE", 1), "AVAILABLE"),
        (("STANDBY", 1), ("SUSPECT", 1), "STANDBY"),
        (("DOWN", 1), ("AVAILABLE", 2), "AVAILABLE"),
        (("STANDBY", 3), ("DOWN", 2), "STANDBY"),
    ],
)
def test_the_later_truth_of_two_routers_counts(one: tuple[str, int], other: tuple[str, int], state: str) -> None:
    for words in ((one, other), (other, one)):
        assert states(answer(*(said("", vm2=word) for word in words)))["vm2"] == state


def test_one_that_is_silent_and_dead_at_a_router_is_down() -> None:
    words = [said("vm3", vm2=("DOWN", 1), vm3=("AVAILABLE", 1)), said("vm3", vm2=("STANDBY", 1))]
    assert states(answer(*words, silent={"vm2": True}))["vm2"] == "DOWN"
