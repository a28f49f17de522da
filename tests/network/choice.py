"""Which networks the network tests run on, and the line that says so.

Namespaces where they are permitted, and then some tests through proxies too, so that what others fall back on is
itself tested. ``NETWORK_TESTS=namespaces``, ``=proxies`` or ``=both`` decides it for all of them.
"""

import os
from typing import Any

import pytest

from tests.network.namespaces import obstacle

KINDS = ("namespaces", "proxies")
FORCE = "NETWORK_TESTS"
_FOUND = "NETWORK_TESTS_OBSTACLE"  # what the first process of a test run found; its workers must agree


def settle() -> None:
    """Find out what is possible, once for this process and its children."""
    if FORCE not in os.environ and _FOUND not in os.environ:
        os.environ[_FOUND] = obstacle() or ""


def kinds(*, on_both: bool) -> tuple[str, ...]:
    """Return what a test runs on; ``on_both``: one of those that run on both where that is possible."""
    settle()
    forced = os.environ.get(FORCE)
    if forced == "both":
        return KINDS
    if forced is not None:
        assert forced in KINDS, f"{FORCE}={forced} is none of {', '.join(KINDS)}, both"
        return (forced,)
    if os.environ[_FOUND]:
        return ("proxies",)
    return KINDS if on_both else ("namespaces",)


def only(kind: str) -> Any:
    """Return ``kind`` for a test that can run on nothing else, skipped where that is not to be."""
    skip = pytest.mark.skipif(kind not in kinds(on_both=True), reason=f"it needs {kind}; {headline()}")
    return pytest.param(kind, marks=skip)


def headline() -> str:
    """Say what the network tests run on, and why."""
    settle()
    if FORCE in os.environ:
        return f"network tests: {os.environ[FORCE]}, as {FORCE} says"
    if os.environ[_FOUND]:
        return f"network tests: proxies, because {os.environ[_FOUND]}"
    return "network tests: namespaces, and some on proxies too"
