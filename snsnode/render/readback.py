"""Reads a generated ``supervisord.conf`` with supervisor's own parser before it is written.

supervisor's parser passes over unknown keys and misspelt sections in silence, so that what it made of the
text is compared with what was planned. Nothing of ours is imported by it, and no process is started.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from supervisor.options import ProcessConfig, ServerOptions, UnhosedConfigParser

from snsnode.base.errors import ConfigError
from snsnode.node.config import PARTNERS, ROLES
from snsnode.node.paths import VmDir
from snsnode.render.local_files import files, refuse_odd, without_names
from snsnode.render.plan import CONF, Change, node_config
from snsnode.render.template import FILENAME
from snsnode.spec.model import Spec

PLUGIN = "snsnode.supervisord.plugin:make_rpcinterface"
SOCKET = "run/supervisor.sock"
PROGRAM_KEYS = {*ProcessConfig.req_param_names, *ProcessConfig.optional_param_names} - {"name", "uid"} | {
    *("user", "process_name", "numprocs", "numprocs_start")
}

_NOTHING_INCLUDED = "No file matches via include"


def check_changes(
    spec: Spec, changes: Iterable[Change], on_disk: Mapping[str, str] | None = None, home: Path | None = None
) -> None:
    """Check every ``supervisord.conf`` among ``changes``, and those on disk that include an operator's files.

    Raises:
        ConfigError: supervisor would not read it as planned.
    """
    local = {name: VmDir(home / name).local for name in spec.vms} if home is not None else {}
    texts = {
        name: (on_disk or {})[f"{name}/{CONF}"]
        for name, folder in local.items()
        if f"{name}/{CONF}" in (on_disk or {}) and any(folder.glob("*.conf"))
    }
    texts |= {change.vm: change.after for change in changes if change.name == CONF and change.after is not None}
    for name, text in texts.items():
        if name in spec.vms:
            check(text, f"{name}/{CONF}", node_config(spec, name).roles, local.get(name))


def check(conf_text: str, path: str, programs: Sequence[str], local: Path | None = None) -> None:
    """Check that supervisor reads ``conf_text`` with ``programs`` in no group, with socket and plug-in.

    Other programs, groups and event listeners may stand beside them, and in the files that it includes.

    Args:
        path: where the text is meant to go, for messages.
        local: the folder that will be ``%(here)s/local``.

    Raises:
        ConfigError: it does not.
    """
    with tempfile.TemporaryDirectory(prefix="snsctl-") as folder:
        # The parser checks that the folders of logs and of the pid file exist.
        for name in ("run", "log"):
            Path(folder, name).mkdir()
        if local is not None and local.is_dir():
            refuse_odd(local)
            Path(folder, "local").symlink_to(local.absolute())
        copy = Path(folder, "supervisord.conf")
        copy.write_text(conf_text, encoding="utf-8")
        try:
            options = _Reader()
            options.realize(["-c", str(copy)], doc="", progname="snsctl")
        except _Unreadable as error:
            cause = str(error).replace(str(copy), path).replace(folder, "%(here)s")
            raise _refused(path, without_names(cause)) from None
        for complaint in _complaints(options, conf_text, f"{folder}/{SOCKET}", programs):
            raise _refused(path, complaint.replace(folder, "%(here)s"))
        if local is not None:
            _refuse_redefined(conf_text, local)


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
    ours = {f"{name}:{name}" for name in programs}
    others = [name for name in names if name not in ours]
    if not ours <= set(names):
        shown = ", ".join(name.partition(":")[2] if len(set(name.split(":"))) == 1 else name for name in names)
        yield f"its programs are {shown or 'none'}; they must be {', '.join(programs)}, in no group"
    elif taken := [name for name in others if set(name.split(":")) & set(ROLES)]:
        yield f"it has the program {taken[0]}: {', '.join(ROLES)} are names of snsnode's own; take another"
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
    # Where no file is there to be included, nothing is wrong.
    yield from (each for each in options.parse_warnings if not each.startswith(_NOTHING_INCLUDED))


def _refuse_redefined(conf_text: str, local: Path) -> None:
    """Refuse an operator's file that says otherwise what a program of ours is: supervisor would merge the two."""
    ours = {section for section in _sections(conf_text) if section.startswith("program:")}
    for file in files(local):
        if taken := sorted(ours.intersection(_sections(file.read_text(encoding="utf-8")))):
            raise ConfigError(
                f"cannot include {file}: [{taken[0]}] is a program of snsnode's own; take another name"
            )


def _sections(text: str) -> list[str]:
    parser = UnhosedConfigParser()
    parser.read_string(text)
    return [str(section) for section in parser.sections()]


def _refused(path: str, cause: str) -> ConfigError:
    sentence = " ".join(cause.split()).rstrip(".")
    return ConfigError(
        f"cannot use {path} as {FILENAME} renders it: {sentence}; correct the template, or what it includes"
    )
