"""``snsctl``: one command a file, loaded only when it is called; errors become a message and an exit code."""

import os

# gRPC reads this as it is imported. Its own lines tell in local time, on stderr, what our errors tell anyway.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
