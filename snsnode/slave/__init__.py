"""The process that watches its master, tells the routers of its death, and restarts it."""

import os

# gRPC reads this as it is imported. Its own lines tell in local time, on stderr, what our errors tell anyway.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
