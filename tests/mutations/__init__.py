"""Guards that are taken away, one at a time, to see their tests fail: ``python -m tests.mutations``."""

from tests.mutations import commands, network, pair, store, strangers, supervisord

MUTATIONS = (
    *commands.MUTATIONS,
    *pair.MUTATIONS,
    *supervisord.MUTATIONS,
    *store.MUTATIONS,
    *network.MUTATIONS,
    *strangers.MUTATIONS,
)
