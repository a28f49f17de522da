"""The public client library: it finds the available master, survives its death, and goes on where it was.

Light on purpose: grpc, protobuf and the standard library. The interactive client is ``client.terminal`` and is
imported only by those who run it.
"""

import os

# gRPC reads this when it is loaded. Its own handlers would start its threads again in the child of a fork, where
# one child in twenty then dies of a segmentation fault before it runs a line. See ``transport.forked``.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from snsnode.client.client import Client
from snsnode.client.events import Connected, Event, Reconnecting
from snsnode.client.sync import SyncClient, SyncTimeline
from snsnode.client.timeline import Post, Timeline

__all__ = ["Client", "Connected", "Event", "Post", "Reconnecting", "SyncClient", "SyncTimeline", "Timeline"]
