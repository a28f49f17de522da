"""The contract of every store engine.

Called by ``social`` and by a master's wiring; never by a router, a slave or a client. An engine decides nothing
about the network: it keeps rows, in transactions that are durable before they are acknowledged.

Three promises that every engine keeps, and that one conformance suite checks:

- **Ids in commit order.** A reader that has seen post *n* never meets a smaller id later, so ``after`` cursors
  skip nothing.
- **One transaction** holds the epoch check, the request id and the effect. A write from a replaced incarnation
  raises ``Fenced``; a repeated request id replays its first answer; with another content it raises
  ``AlreadyDone``.
- **Outcome unknown.** When a write raises ``StoreFailed``, ``Unavailable`` or ``Exhausted``, or is cancelled,
  it may have been committed. Repeat it with the same request id.

Every method may raise ``StoreFailed`` and ``Unavailable`` (closed, locked by another process for seconds, or too
many are waiting). A write raises ``Exhausted`` where the disk is full or read-only, while reads go on; every write
may raise ``Fenced``. Names, texts and ids are checked by the caller (``base.ids``); a row that an engine cannot
hold all the same raises ``InvalidInput`` and harms no other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from snsnode.base.errors import NotFound
from snsnode.base.ids import ClientId, Epoch, PostId, RequestId, UserName, VmName

TIMELINE_POSTS = 20  # what entering a timeline shows at most


class NoWriter(NotFound):
    """The user who writes is not in the store: its login could not record it."""


@dataclass(frozen=True, slots=True)
class Post:
    """One stored post; ``posted_at_ms`` is Unix time by the store's clock."""

    post_id: PostId
    username: UserName
    posted_at_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Posted:
    """The acknowledgement of a post: it is durable."""

    post_id: PostId
    posted_at_ms: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page of names, ascending; ``more`` when others follow the last one."""

    names: tuple[UserName, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class History:
    """What a timeline shows on entry: ``posts`` newest first.

    ``cursor`` is the highest post id of the same snapshot: ``timeline_after(cursor)`` goes on without a gap.
    """

    posts: tuple[Post, ...]
    cursor: PostId


class Login(NamedTuple):
    """Who is logged in from where."""

    username: UserName
    client_id: ClientId


class Store(Protocol):
    """An open store. One instance serves one process, from one event loop."""

    async def claim_epoch(self, vm: VmName, at_least: Epoch) -> Epoch:
        """Make this store write as the next incarnation of ``vm``'s server.

        Returns the epoch claimed: ``at_least``, or 1 + the stored one where that is higher. From then on every
        write of this instance checks it, and writes of earlier incarnations raise ``Fenced``. An instance that
        never claimed is not checked (tests, tools).
        """

    async def login(self, login: Login, lease_s: float) -> bool:
        """Give the name to this client until ``lease_s`` from now; create the user at the first login.

        Returns True where this client id had the name already (a client that comes back after a crash, also
        when its lease had expired and nobody took the name).

        Raises:
            AlreadyDone: another client holds the name and its lease has not expired.
            NotAllowed: there is no such user, and one whose name differs only in case.
        """

    async def renew(self, logins: Sequence[Login], lease_s: float) -> frozenset[Login]:
        """Extend the leases, in one transaction; an expired one that nobody took is extended too.

        Returns those that no longer hold their name.
        """

    async def logout(self, login: Login) -> None:
        """Free the name at once, where this client holds it; otherwise do nothing."""

    async def follow(self, username: UserName, followee: UserName, request_id: RequestId) -> None:
        """Let ``username`` see the posts that ``followee`` makes from now on.

        Where nobody is called ``followee``, its case is ignored if that leaves one user; so in ``unfollow``.
        A repeat within 24 h of the first is answered as that was.

        Raises:
            NotAllowed: they are the same user.
            NotFound: there is no user ``followee``.
            NoWriter: there is no user ``username``.
            AlreadyDone: followed already, or the request id was used for something else.
        """

    async def unfollow(self, username: UserName, followee: UserName, request_id: RequestId) -> None:
        """Undo ``follow``.

        Raises:
            NotFound: there is no user ``followee``.
            NotAllowed: ``username`` does not follow ``followee``.
            AlreadyDone: the request id was used for something else.
        """

    async def post(self, username: UserName, request_id: RequestId, text: str) -> Posted:
        """Store a post, once for each ``request_id`` of ``username``, for ever.

        Raises:
            NoWriter: there is no user ``username``.
            AlreadyDone: the request id was used for something else.
        """

    async def users(self, after: str, limit: int) -> Page:
        """Return at most ``limit`` (≥ 1) names above ``after`` ("" for the first page)."""

    async def followers(self, username: UserName, after: str, limit: int) -> Page:
        """Return at most ``limit`` names of those who follow ``username``, above ``after``."""

    async def pages(
        self, username: UserName, users_after: str, followers_after: str, limit: int
    ) -> tuple[Page, Page]:
        """Return a page of ``users`` and one of the ``followers`` of ``username``, in one go if that is faster."""

    async def history(self, username: UserName, limit: int = TIMELINE_POSTS) -> History:
        """Return the newest posts of ``username`` and of those it follows, made after it followed."""

    async def timeline_after(self, username: UserName, after: PostId, limit: int) -> Sequence[Post]:
        """Return, oldest first, at most ``limit`` posts with an id above ``after`` that ``username`` follows.

        Its own posts are not among them: what comes live is not echoed to its author.
        """

    async def posts_after(self, after: PostId, limit: int) -> Sequence[Post]:
        """Return everybody's posts with an id above ``after``, oldest first, at most ``limit``."""

    async def last_post_id(self) -> PostId:
        """Return the highest post id, 0 in an empty store."""

    async def audience(self, post: Post, among: Sequence[UserName]) -> frozenset[UserName]:
        """Return those of ``among`` who see ``post`` live: they follow its author since before it was made."""

    def watch(self, on_posts: Callable[[], None]) -> Callable[[], None]:
        """Call ``on_posts`` in the event loop soon after posts were committed, by this process or another.

        It is a hint: it may come late, in vain, or once for many. Returns the function that ends the watch.
        """

    async def close(self) -> None:
        """Finish what is queued, then close; safe to call twice."""
