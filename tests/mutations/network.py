"""Guards of routers, servers and clients against each other and against strangers."""

from tests.mutations.entry import Mutation

MUTATIONS = (
    Mutation(
        "the child of a fork touches nothing of gRPC's",
        "snsnode/transport/forked.py",
        "_used_by is not None and _used_by != os.getpid()",
        "False",
        "tests/integration/test_client_fork.py",
    ),
    Mutation(
        "a name is looked up also where threads are refused",
        "snsnode/router/peer.py",
        "while self._waiting and self._threads < LOOKUPS_AT_ONCE:",
        "if self._waiting and self._threads < LOOKUPS_AT_ONCE:",
        "tests/unit/test_router_peer.py",
    ),
    Mutation(
        "routers refuse an epoch that was replaced",
        "snsnode/router/table.py",
        "    if known is None or server.epoch > known.epoch or (server.epoch == known.epoch and not known.down):",
        "    if True:",
        "tests/unit/test_router_table.py",
    ),
    Mutation(
        "routers take only servers of the spec, at their addresses",
        "snsnode/router/table.py",
        "    if not is_member(table, server):",
        "    if False:",
        "tests/unit/test_router_table.py",
    ),
    Mutation(
        "an epoch that is not known, or leaps, counts only when it is confirmed",
        "snsnode/router/table.py",
        "        if confirmed or not is_doubtful(table, server):",
        "        if True:",
        "tests/unit/test_router_table.py",
    ),
    Mutation(
        "an epoch that leaps is taken from no other router",
        "snsnode/router/merge.py",
        "    return known is None or news.epoch > known.epoch + EPOCH_LEAP",
        "    return known is None",
        "tests/unit/test_router_merge.py",
    ),
    Mutation(
        "what another machine says of a server is asked of that server",
        "snsnode/router/service.py",
        "            if not is_own or tables.is_doubtful(self._table, server):",
        "            if tables.is_doubtful(self._table, server):",
        "tests/integration/test_router_strangers.py",
    ),
    Mutation(
        "a router that did not run expires nobody",
        "snsnode/router/table.py",
        "    if late or cut_off:",
        "    if cut_off:",
        "tests/unit/test_router_leases.py",
    ),
    Mutation(
        "silence of all servers is the router's own fault",
        "snsnode/router/table.py",
        "    if late or cut_off:",
        "    if late:",
        "tests/unit/test_router_leases.py",
    ),
)
