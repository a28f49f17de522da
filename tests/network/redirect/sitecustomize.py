"""Leads a process of a network test's VM to the proxies of its links; Python imports it at its start.

``NETWORK_TEST_LINKS`` names a JSON file: for "slave", and for "" (everybody else), from the target of a channel to
the proxy that stands for it. The map is read for each channel: listeners may be added later.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

CHANNELS = "snsnode.transport.channels"  # the only maker of channels


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the one module, to load it as ever and then change one name in it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != CHANNELS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                _redirect(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _redirect(module: Any) -> None:
    file = Path(os.environ["NETWORK_TEST_LINKS"])
    role = "slave" if "snsnode.slave" in sys.orig_argv else ""
    open_channel = module.open_channel

    def redirected(target: str) -> Any:
        return open_channel(json.loads(file.read_text())[role].get(target, target))

    module.open_channel = redirected


if "NETWORK_TEST_LINKS" in os.environ:
    sys.meta_path.insert(0, _Finder())
