"""A master's registrations: a lease with each router, renewed each interval, and at once where there is news."""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from snsnode.base.errors import NotAllowed, Refused, SnsError, Unavailable
from snsnode.base.ids import Epoch, VmName
from snsnode.master import standing
from snsnode.master.standing import Said, Standing, Then
from snsnode.node.config import Endpoint
from snsnode.pair.routers import Router, retry_delay_s
from snsnode.rpc import server_pb2

log = logging.getLogger(__name__)

TELL_S = 0.3  # a router that is silent now is not waited for: its own line tells it later, or the lease does


class Load(NamedTuple):
    """What routers balance by: clients that are here now, and logins since this incarnation began."""

    clients: int
    logins: int


class Rising(Protocol):
    """Who owns our epoch: ``Incarnations``."""

    def epoch(self) -> Epoch:
        """Return the epoch that we have now."""

    async def rise_above(self, known: Epoch) -> None:
        """Rise above the epoch that a router knows, ``known``, where that is possible."""


class Registration:
    """Registers the incarnation that we are now, and has it rise when a router knows ours as old."""

    def __init__(
        self,
        endpoint: Endpoint,
        interval_s: float,
        load: Callable[[], Load],
        incarnations: Rising,
    ) -> None:
        self._endpoint = endpoint
        self._interval_s = interval_s
        self._load = load
        self._incarnations = incarnations
        self._lines: dict[Endpoint, Router] = {}
        self._standing = Standing()

    @property
    def leaving(self) -> bool:
        """Tell whether the routers are told that no client should come."""
        return self._standing.leaving

    @property
    def ending(self) -> bool:
        """Tell whether we leave for good."""
        return self._standing.ending

    @property
    def may_move(self) -> bool:
        """Tell whether a router has another server for our clients: it took our leaving, and chose one."""
        return self._standing.may_move

    def info(self) -> server_pb2.ServerInfo:
        """Return what we register with."""
        load = self._load()
        return server_pb2.ServerInfo(
            vm=self._endpoint.vm,
            hostname=self._endpoint.address,
            port=self._endpoint.port,
            epoch=self._incarnations.epoch(),
            leaving=self.leaving,
            clients=load.clients,
            logins=load.logins,
            claim=self._standing.claim,
        )

    async def serve(self, router: Router) -> None:
        """Stay registered with ``router`` until cancelled."""
        self._lines[router.endpoint] = router
        try:
            await self._serve(router)
        finally:
            if self._lines.get(router.endpoint) is router:  # else it was taken out and put back meanwhile
                del self._lines[router.endpoint]
                self._standing = self._standing.unheard(router.endpoint)

    def begin(self, *, leaving: bool) -> None:
        """Set what the first registration tells."""
        self._standing = self._standing.left() if leaving else self._standing.stayed()

    async def leave(self, *, ending: bool = False) -> int:
        """Tell the routers that no client should come; return how many took it. ``ending``: ever again."""
        self._standing = self._standing.left(ending=ending)
        return len(await self._tell_all())

    async def stay(self) -> int:
        """Tell the routers that clients may come again; return how many took it."""
        self._standing = self._standing.stayed()
        return len(await self._tell_all())

    async def take_over(self, begin: Callable[[], None] = lambda: None) -> tuple[int, list[VmName]]:
        """Become available: register with a claim above all that the routers know.

        ``begin`` is called before the first router hears of it; where it raises, nothing was changed. Returns the
        claim, and the routers that took it.

        Raises:
            NotAllowed: we leave.
            Unavailable: no router answers.
        """
        self._may_take_over()
        if not await self._tell_all():
            raise Unavailable(f"cannot switch over to {self._endpoint.vm}: it reaches no router")
        self._may_take_over()
        begin()
        self._standing = self._standing.claiming()
        return self._standing.claim, await self._tell_all()

    def _may_take_over(self) -> None:
        if self.leaving:
            raise NotAllowed(f"cannot switch over to {self._endpoint.vm}: it is drained or about to end")

    async def _serve(self, router: Router) -> None:
        attempt = 0
        while True:
            router.news.clear()
            sent = self.info()
            try:
                reply = await router.register(sent)
            except SnsError as error:
                if attempt == 0:
                    level = logging.WARNING if isinstance(error, Refused) else logging.INFO
                    log.log(level, "cannot register with %s: %s", router.endpoint.target, error.message)
                self._standing = self._standing.unheard(router.endpoint)
                await asyncio.sleep(retry_delay_s(attempt))
                attempt += 1
                continue
            attempt = 0
            if reply.accepted:
                self._take(router, reply)
                then = Then.REST
            else:
                log.warning("%s refused epoch %d: %s", router.endpoint.target, sent.epoch, reply.message)
                then = await self._follow(router, Epoch(sent.epoch), Epoch(reply.epoch))
            if then is Then.REST:
                await router.rest(self._interval_s)

    async def _tell_all(self) -> list[VmName]:
        """Register with every router now, and return those that took it; the others hear it when they can."""
        lines = list(self._lines.values())
        told = await asyncio.gather(*(self._tell(router) for router in lines))
        return [router.endpoint.vm for router, took in zip(lines, told, strict=True) if took]

    async def _tell(self, router: Router) -> bool:
        try:
            reply = await router.register(self.info(), TELL_S)
        except SnsError:
            self._standing = self._standing.unheard(router.endpoint)
            router.news.set()  # its line tries again
            return False
        if reply.accepted:
            self._take(router, reply)
        return reply.accepted

    def _take(self, router: Router, reply: server_pb2.KeepAliveReply) -> None:
        """Note what ``router`` says of us; a claim that it granted is told to the others at once."""
        standby = reply.state == server_pb2.SERVER_STATE_STANDBY
        said = Said(standby, highest_claim=reply.claim, granted_claim=reply.granted_claim)
        self._standing, is_news = standing.take(self._standing, router.endpoint, said)
        if is_news:
            for other in self._lines.values():
                if other is not router:
                    other.news.set()

    async def _follow(self, router: Router, sent: Epoch, known: Epoch) -> Then:
        """Rise above the epoch that ``router`` knows, unless we end or it is beyond belief."""
        ours = self._incarnations.epoch()
        if standing.is_beyond_belief(ours, known):
            log.error(
                "%s knows epoch %d, too far above our %d to follow; restart that router",
                router.endpoint.target,
                known,
                ours,
            )
        if standing.after_refusal(self._standing, ours, known) is Then.RISE:
            await self._incarnations.rise_above(known)
        return standing.after_rise(sent, self._incarnations.epoch())
