"""Reads a generated ``supervisord.conf`` with supervisor's own parser before it is written.

supervisor's parser passes over unknown keys and misspelt sections in silence, so that what it made of the
text is compared with what was planned. Nothing of ours is imported by it, and no process is started.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from supervisor.options import ProcessConfig, ServerOptions, UnhosedConfigParser

from snsnode.base.errors import ConfigError
from snsnode.node.config import PARTNERS
from snsnode.render.plan import CONF, Change, node_config
from snsnode.render.template import FILENAME
from snsnode.spec.model import Spec

PLUGIN = "snsnode.supervisord.plugin:make_rpcinterface"
SOCKET = "run/supervisor.sock"
PROGRAM_KEYS = {*ProcessConfig.req_param_names, *ProcessConfig.optional_param_names} - {"name", "uid"} | {
    *("user", "process_name", "numprocs", "numprocs_start")
}

# supervisor lists every environment variable by name.
_AVAILABLE = re.compile(r" Available names: .*?(?= in section|$)")


def check_changes(spec: Spec, changes: Iterable[Change]) -> None:
    """Check every ``supervisord.conf`` among ``changes``.

    Raises:
        ConfigError: supervisor would not read it as planned.
    """
    for change in changes:
        if change.name == CONF and change.after is not None:
            check(change.after, change.path, node_config(spec, change.vm).roles)


def check(conf_text: str, path: str, programs: Sequence[str]) -> None:
    """Check that supervisor reads ``conf_text`` as exactly ``programs``, in no group, with socket and plug-in.

    Args:
        path: where the text is meant to go, for messages.

    Raises:
        ConfigError: it does not.
    """
    with tempfile.TemporaryDirectory(prefix="snsctl-") as folder:
        # The parser checks that the folders of logs and of the pid file exist.
        for name in ("run", "log"):
            Path(folder, name).mkdir()
        copy = Path(folder, "supervisord.conf")
        copy.write_text(conf_text, encoding="utf-8")
        try:
            options = _Reader()
            options.realize(["-c", str(copy)], doc="", progname="snsctl")
        except _Unreadable as error:
            cause = str(error).replace(str(copy), path).replace(folder, "%(here)s")
            raise _refused(path, _AVAILABLE.sub("", cause)) from None
    for complaint in _complaints(options, conf_text, f"{folder}/{SOCKET}", programs):
        raise _refused(path, complaint)


class _Unreadable(Exception):
    """supervisor's parser gave up."""


class _Reader(ServerOptions):  # type: ignore[misc] # supervisor has no types
    """supervisor's options, which raise where the original prints to stderr and exits."""

    def __init__(self) -> None:
        super().__init__()
        self.specs: list[str] = []

    def usage(self, msg: object) -> NoReturn:
        raise _Unreadable(str(msg))

    def import_spec(self, spec: str) -> Any:
        """Note a plug-in instead of importing it: it belongs into supervisord's process."""
        self.specs.append(spec)
        return None


def _complaints(options: _Reader, conf_text: str, socket: str, programs: Sequence[str]) -> Iterator[str]:
    found = {group.name: group.process_configs for group in options.process_group_configs}
    names = sorted(f"{group}:{config.name}" for group, configs in found.items() for config in configs)
    if names != sorted(f"{name}:{name}" for name in programs):
        shown = ", ".join(name.partition(":")[2] if len(set(name.split(":"))) == 1 else name for name in names)
        yield f"its programs are {shown or 'none'}; they must be {', '.join(programs)}, in no group"
    elif any(found[name][0].autorestart for name in PARTNERS if name in found):
        yield "slave and master must have autorestart = false: they restart each other"
    if socket not in [config.get("file") for config in options.server_configs]:
        yield f"[unix_http_server] must have file = %(here)s/{SOCKET}, where snsctl looks for it"
    if PLUGIN not in options.specs:
        yield f"[rpcinterface:supervisor] must have supervisor.rpcinterface_factory = {PLUGIN}"
    parser = UnhosedConfigParser()
    parser.read_string(conf_text)
    for section in parser.sections():
        unknown = sorted(set(parser.options(section)) - PROGRAM_KEYS) if section.startswith("program:") else []
        if unknown:
            yield f"supervisor does not know the key {unknown[0]!r} in [{section}] and would pass over it"
    yield from options.parse_warnings


def _refused(path: str, cause: str) -> ConfigError:
    sentence = " ".join(cause.split()).rstrip(".")
    return ConfigError(f"cannot use {path} as {FILENAME} renders it: {sentence}; correct the template")
