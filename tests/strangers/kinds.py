"""The attacks that ``python -m tests.strangers`` runs, and how large they are."""

from tests.strangers.trial import DESCRIPTORS, Kind

_ALL = (
    Kind("watches", "server", 32_768, 3_000),
    Kind("watches", "router", 32_768, 3_000),
    Kind("names", "server", 10_050, 1_000, 40.0),
    Kind("connections", "server", 1_000, 1_000, 25.0, descriptors=DESCRIPTORS),
    Kind("connections", "router", 1_000, 1_000, 25.0, descriptors=DESCRIPTORS, saturates=True),  # it has no other
    Kind("machines", "router", 1_000, 1_000, rate=500),
    Kind("registrations", "router", 1_000, 1_000, rate=500),
    Kind("crashes", "router", 1_000, 1_000, rate=500),
    Kind("exchanges", "router", 1_000, 1_000, rate=200),
    Kind("rubbish", "server", 1_000, 1_000, 40.0, rate=1_000),
    Kind("rubbish", "router", 1_000, 1_000, 40.0, rate=1_000),
    Kind("half-calls", "server", 20_000, 2_000),
    Kind("half-calls", "router", 20_000, 2_000, saturates=True),
    Kind("slow-calls", "server", 4_000, 500),
    Kind("slow-calls", "router", 4_000, 500),
    Kind("silent", "server", 4_000, 500),
    Kind("silent", "router", 4_000, 500),
    Kind("continuations", "server", 20, 2, 40.0, ends_roles=True),
    Kind("continuations", "router", 20, 2, 40.0, ends_roles=True, routers=2),
)
KINDS = {kind.name: kind for kind in _ALL}
