"""The process that serves the social network, answers its slave, and restarts a silent one."""

import os

# gRPC reads this as it is imported. Its own lines tell in local time, on stderr, what our errors tell anyway.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
