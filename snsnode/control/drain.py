"""Move a server's clients away, or make it the available one: the wish first, then the master, then wait."""

import time
from collections.abc import Callable, Sequence

from snsnode.base.errors import DeadlineExceeded, Exhausted, NotAllowed, Refused, SnsError, Unavailable
from snsnode.base.ids import VmName
from snsnode.control import orders
from snsnode.control.local import LocalVm
from snsnode.node import intent
from snsnode.node.config import Endpoint
from snsnode.node.lock import live_holder
from snsnode.rpc import router_pb2

LOOK_EVERY_S = 0.2
ALONE_S = 2.0  # a router that has another server says so within this
SWITCH_WITHIN_S = 5.0

Tell = Callable[[str], None]


def drain(vm: LocalVm, timeout_s: float, tell: Tell) -> bool:
    """Keep clients away from ``vm`` and wait until none is left; False where some stay. The mark stands anyway.

    Raises:
        Exhausted: the wish cannot be recorded; nothing was done.
        SnsError: the master runs and does not take the order; it will follow the mark.
    """
    _record(vm)
    if live_holder(vm.dir, "master") is None:
        tell(f"{vm.name}: drained; its master does not run, and will take no clients when it does")
        return True
    began_s = time.monotonic()
    while True:
        waited_s = time.monotonic() - began_s
        try:
            reply = orders.drain(vm.dir)
        except (Unavailable, Refused, DeadlineExceeded):
            if waited_s > timeout_s:
                raise
            time.sleep(LOOK_EVERY_S)  # its successor looks at the mark, too
            continue
        count = f"{reply.clients} client{'' if reply.clients == 1 else 's'}"
        if reply.may_move and not reply.clients:
            tell(f"{vm.name}: drained; 'snsctl undrain {vm.name}' ends it")
            return True
        if not reply.may_move and waited_s > min(ALONE_S, timeout_s):
            # Nobody else would serve them: they stay where they are, and those who come are still sent there.
            tell(f"{vm.name} is the only server that a router offers: its clients stay ({count})")
            return not reply.clients
        if waited_s > timeout_s:
            tell(f"{vm.name}: {count} left after {timeout_s:g} s; it stays drained")
            return False
        time.sleep(LOOK_EVERY_S)


def _record(vm: LocalVm) -> None:
    try:
        intent.drain(vm.dir)
    except OSError as error:
        raise Exhausted(
            f"cannot drain {vm.name}: this cannot be recorded ({error.strerror}), so its next master would not "
            "know it; make room"
        ) from None


def undrain(vm: LocalVm, tell: Tell) -> None:
    """Let clients come to ``vm`` again; its master looks at the mark by itself where it does not answer now."""
    if not intent.is_drained(vm.dir):
        tell(f"{vm.name}: was not drained")
        return
    intent.undrain(vm.dir)
    if live_holder(vm.dir, "master") is not None:
        try:
            orders.drain(vm.dir)
        except SnsError as error:
            tell(f"{vm.name}: {error.message}; it will see that by itself")
    tell(f"{vm.name}: takes clients again")


def switch_over(vm: LocalVm, routers: Sequence[Endpoint], tell: Tell) -> None:
    """Make ``vm`` the available server of every router that answers, and wait until they say so.

    Raises:
        Refused: it is drained, or busy; nothing was changed.
        Unavailable: it does not run, no router answers, or one does not follow in time.
        DeadlineExceeded: it was told and did not answer, and the routers do not say yet that it happened.
    """
    if intent.is_drained(vm.dir):
        raise NotAllowed(f"cannot switch over to {vm.name}: it is drained; 'snsctl undrain {vm.name}' ends that")
    before = _answers(orders.tables(routers))
    if not before:
        raise Unavailable(f"cannot switch over to {vm.name}: no router answers ({_names(routers)})")
    lost: DeadlineExceeded | None = None
    try:
        orders.take_over(vm.dir)
    except (Unavailable, Refused) as error:
        raise type(error)(f"cannot switch over to {vm.name}: {error.message}") from None
    except DeadlineExceeded as error:
        lost = error  # the routers tell
    until_s = time.monotonic() + SWITCH_WITHIN_S
    while True:
        asked = orders.tables(routers)
        after = _answers(asked)
        others = [router.vm for router, table in after.items() if table.available_vm != vm.name]
        if after and not others:
            break
        if time.monotonic() > until_s:
            if lost is not None:
                raise DeadlineExceeded(f"cannot tell whether {vm.name} becomes available: {lost.message}")
            raise Unavailable(
                f"cannot switch over to {vm.name}: {', '.join(others) or 'no router'} "
                f"{'still has another server available' if others else 'answers any more'}; see 'snsctl status'"
            )
        time.sleep(LOOK_EVERY_S)
    was = sorted({VmName(table.available_vm) or "nobody" for table in before.values()})
    tell(f"available: {vm.name} (was {' and '.join(was)}), says {', '.join(router.vm for router in after)}")
    silent = [router for router, table in asked.items() if table is None]
    if silent:
        tell(f"not answering, and to be told by the others: {_names(silent)}")


def _answers(asked: dict[Endpoint, router_pb2.TableReply | None]) -> dict[Endpoint, router_pb2.TableReply]:
    return {router: table for router, table in asked.items() if table is not None}


def _names(routers: Sequence[Endpoint]) -> str:
    return ", ".join(f"{router.vm} at {router.target}" for router in routers)
