"""The public client library: it finds the available master, survives its death, and goes on where it was.

Light on purpose: grpc, protobuf and the standard library. The interactive client is ``client.terminal`` and is
imported only by those who run it.
"""

from snsnode.client.client import Client
from snsnode.client.events import Connected, Event, Reconnecting
from snsnode.client.sync import SyncClient, SyncTimeline
from snsnode.client.timeline import Post, Timeline

__all__ = ["Client", "Connected", "Event", "Post", "Reconnecting", "SyncClient", "SyncTimeline", "Timeline"]
