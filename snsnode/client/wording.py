"""What gRPC says about a connection that failed, in words for people. Pure; called by ``retry`` and ``calls``."""

import re

# gRPC 1.85 says "errors resolving HOST:PORT: […]", earlier ones "DNS resolution failed for HOST:PORT: …".
_UNRESOLVED = re.compile(r"(?:errors resolving|DNS resolution failed for) (?P<host>\S+):\d+: ")


def brief(why: str) -> str:
    """Return the last and only telling part of what gRPC says about a connection that failed."""
    if unresolved := _UNRESOLVED.search(why):
        return f"cannot find the host {unresolved['host']!r}: correct its name, or write its IP address"
    return why.rpartition(": ")[2] if "last error: " in why else why
