"""``snsctl store``: what is done to a store as a whole."""

from snsnode.cli.lazy import Entry, LazyGroup

COMMANDS = {"copy": Entry("snsnode.cli.store_copy", "Copy a store into another, also of another engine.")}

command = LazyGroup(
    "store", table=COMMANDS, no_args_is_help=False, help="Move a store, while its cluster is stopped."
)
