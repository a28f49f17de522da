"""The routing server: which masters live, and which one is available."""

import os

# gRPC reads this as it is imported. Its own lines tell in local time, on stderr, what our errors tell anyway.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
