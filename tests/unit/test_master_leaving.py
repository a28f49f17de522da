"""A server's departure: the clients are told while they have somewhere to go, and a planned end is bounded."""

import asyncio
import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from snsnode.master import departure, leaving, registration, run
from snsnode.master.leaving import Leaving
from snsnode.master.registration import Registration
from snsnode.node import intent
from snsnode.node.paths import VmDir
from snsnode.observe.journal import Journal, read
from snsnode.social import service
from snsnode.social.service import SocialService
from tests.eventually import eventually_async

TEMPLATE = Path(__file__).parents[2] / "supervisord.conf.tmpl"


class FakeRegistration:
    """Notes what the routers are told; ``elsewhere`` is whether they have another server."""

    def __init__(self, elsewhere: bool = True) -> None:
        self.leaving = False
        self.ending = False
        self.elsewhere = elsewhere
        self.told: list[str] = []

    @property
    def may_move(self) -> bool:
        return self.leaving and self.elsewhere

    def begin(self, *, leaving: bool) -> None:
        self.leaving = leaving

    async def leave(self, *, ending: bool = False) -> int:
        self.leaving, self.ending = True, self.ending or ending
        self.told.append("end" if ending else "leave")
        return 1

    async def stay(self) -> int:
        self.leaving = self.ending
        self.told.append("stay")
        return 1


class FakeSocial:
    """Clients that leave when they are told, but for ``stubborn`` ones."""

    def __init__(self, clients: int, stubborn: int = 0, on_told: Callable[[bool], None] | None = None) -> None:
        self.clients = clients
        self._stubborn = stubborn
        self._on_told = on_told
        self.told: list[bool] = []

    def announce_leaving(self, on: bool) -> None:
        self.told.append(on)
        if on:
            self.clients = min(self.clients, self._stubborn)
        if self._on_told is not None:
            self._on_told(on)


@pytest.fixture
def vm(tmp_path: Path) -> VmDir:
    vm = VmDir(tmp_path / "vm2")
    vm.make()
    return vm


def made(vm: VmDir, told: FakeRegistration, social: FakeSocial) -> Leaving:
    journal = Journal(vm.journal, "vm2", "master")
    return Leaving(vm, cast(Registration, told), cast(SocialService, social), journal)


def moved(vm: VmDir) -> list[dict[str, Any]]:
    return [entry.fields for entry in read(vm.journal) if entry.event == "moved"]


def test_a_planned_end_takes_less_than_supervisord_waits() -> None:
    waits_s = [int(number) for number in re.findall(r"^stopwaitsecs = (\d+)$", TEMPLATE.read_text(), re.MULTILINE)]
    takes_s = departure.MOVE_WITHIN_S + 2 * registration.TELL_S + 2 * service.DRAIN_WITHIN_S + run.GRACE_S
    assert takes_s + 1.0 < min(waits_s)


async def test_a_mark_that_stood_before_is_honoured_from_the_first_registration(vm: VmDir) -> None:
    intent.drain(vm)
    told = FakeRegistration()
    made(vm, told, FakeSocial(0))
    assert told.leaving


async def test_the_mark_is_followed_both_ways(vm: VmDir) -> None:
    told, social = FakeRegistration(), FakeSocial(5)
    going = made(vm, told, social)
    assert await going.look() is None
    intent.drain(vm)
    await going.look()
    assert (told.told, social.told, social.clients) == (["leave"], [True], 0)
    intent.undrain(vm)
    await going.look()
    assert (told.told, social.told) == (["leave", "stay"], [True, False])


async def test_clients_are_not_told_to_go_where_nobody_is(vm: VmDir) -> None:
    told, social = FakeRegistration(elsewhere=False), FakeSocial(5)
    going = made(vm, told, social)
    intent.drain(vm)
    await going.look()
    assert social.told == []
    told.elsewhere = True
    await going.look()
    assert social.told == [True]
    told.elsewhere = False  # the other one died: whoever is still here may stay
    await going.look()
    assert social.told == [True, False]


async def test_a_planned_end_waits_until_all_have_moved(vm: VmDir) -> None:
    told, social = FakeRegistration(), FakeSocial(5)
    await made(vm, told, social).end()
    assert (told.told[0], social.told, social.clients) == ("end", [True], 0)
    assert [(fields["clients"], fields["left"]) for fields in moved(vm)] == [(5, 0)]


@pytest.mark.parametrize("social", [FakeSocial(5), FakeSocial(0)], ids=["clients", "none"])
async def test_a_planned_end_without_another_server_waits_for_nobody(vm: VmDir, social: FakeSocial) -> None:
    told = FakeRegistration(elsewhere=False)
    await made(vm, told, social).end()
    assert (told.told, social.told) == (["end"], [])


async def test_a_planned_end_stops_waiting_when_the_other_server_is_gone(vm: VmDir) -> None:
    told = FakeRegistration()

    def gone(on: bool) -> None:
        told.elsewhere = False

    await made(vm, told, FakeSocial(5, stubborn=2, on_told=gone)).end()
    assert [fields["left"] for fields in moved(vm)] == [2]


async def test_a_planned_end_is_bounded(vm: VmDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "MOVE_WITHIN_S", 0.1)
    await made(vm, FakeRegistration(), FakeSocial(5, stubborn=2)).end()
    assert [fields["left"] for fields in moved(vm)] == [2]


async def test_a_mark_that_cannot_be_read_for_a_moment_ends_no_master(
    vm: VmDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = FakeRegistration()
    going = made(vm, told, FakeSocial(0))
    failed: list[VmDir] = []

    def fails_twice(asked: VmDir) -> bool:
        if len(failed) < 2:
            failed.append(asked)
            raise OSError(errno.EIO, "input/output error")
        return True

    monkeypatch.setattr(leaving, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(intent, "is_drained", fails_twice)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(going.run())
        await eventually_async(lambda: told.told == ["leave"], within_s=10)
        following.cancel()
    assert len(failed) == 2


@pytest.mark.parametrize(
    ("elsewhere", "drained", "told"),
    [(True, False, ["leave"]), (False, False, ["leave", "stay"]), (False, True, ["leave"])],
    ids=["another-server", "nobody-else", "drained-and-nobody-else"],
)
async def test_a_master_that_asks_whether_it_may_end_is_not_brought_back_meanwhile(
    vm: VmDir, elsewhere: bool, drained: bool, told: list[str]
) -> None:
    if drained:
        intent.drain(vm)

    class SlowRouters(FakeRegistration):
        async def leave(self, *, ending: bool = False) -> int:
            took = await super().leave(ending=ending)
            await going.look()  # the mark's next look comes while the routers answer
            return took

    routers = SlowRouters(elsewhere)
    going = made(vm, routers, FakeSocial(0))
    assert await going.may_end() is elsewhere
    assert routers.told == told
    assert [entry.event for entry in read(vm.journal)] == []
