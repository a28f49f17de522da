"""One supervisord process has several lives: a reload (also by SIGHUP) ends one and begins the next.

Used by ``plugin``. A new life reads the command line and the configuration again, but in the folder into which
``directory`` has led: relative paths would then name something else, or nothing, and supervisord would end itself.
And it closes all descriptors by number, behind the backs of their owners: an owner that lives on would later close
whatever has the number by then. So a life that ends goes back to the folder where the first one began, and
closes what it has opened.
"""

import contextlib
import getopt
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from supervisor.states import SupervisorStates

from snsnode.supervisord.adoption import guarded

_PATHS = ("configfile", "directory", "logfile", "pidfile", "childlogdir")

_start_folder: str | None = None  # where this process was started; None where that is not known


def begin(supervisord: Any) -> None:
    """Make the paths of this life absolute, and prepare its end. Called before supervisord changes its folder."""
    options = supervisord.options
    if options.first:
        _remember_start_folder()
    guarded(options.logger, "make the command line's paths absolute", lambda: _make_arguments_absolute(options))
    make_paths_absolute(options)
    if not options.first and not options.nodaemon and options.directory:
        with contextlib.suppress(OSError):  # as in the first life, where supervisord itself does it
            os.chdir(options.directory)
    stock: Callable[[], None] = options.close_httpservers

    def end() -> None:
        stock()
        guarded(options.logger, "close what this life has opened", lambda: _close_all(supervisord))
        if options.mood == SupervisorStates.RESTARTING:
            _go_to_start_folder()

    options.close_httpservers = end


@contextlib.contextmanager
def in_start_folder(options: Any) -> Iterator[None]:
    """Read the configuration again where relative paths mean what they meant at the start."""
    before = _folder()
    _go_to_start_folder()
    try:
        yield
    finally:
        make_paths_absolute(options)
        if before is not None:
            with contextlib.suppress(OSError):
                os.chdir(before)


def make_paths_absolute(options: Any) -> None:
    """Let ``options`` hold no relative path; to read the configuration again puts them back."""
    for name in _PATHS:
        path = getattr(options, name, None)
        if isinstance(path, str) and not (name == "logfile" and path == "syslog"):
            setattr(options, name, _absolute(path))


def _make_arguments_absolute(options: Any) -> None:
    """Rewrite ``sys.argv``, which the next life parses; also a configuration that was found by search is named."""
    with contextlib.suppress(getopt.error):
        parsed, _ = getopt.getopt(sys.argv[1:], "".join(options.short_options), options.long_options)
        if parsed != options.options or not isinstance(options.configfile, str):
            return  # it was started with arguments of another origin
        arguments = ["-c", _absolute(options.configfile)]
        for flag, value in parsed:
            name = options.options_map[flag][0]
            if name in _PATHS and not (name == "logfile" and value == "syslog"):
                value = _absolute(value)
            if name != "configfile":
                arguments += (
                    [f"{flag}={value}"] if value and flag.startswith("--") else [flag, *filter(None, [value])]
                )
        sys.argv[1:] = arguments


def _close_all(supervisord: Any) -> None:
    for group in supervisord.process_groups.values():
        for process in group.processes.values():
            for dispatcher in process.dispatchers.values():
                dispatcher.close()
    # Connections of clients: supervisord forgets them here, and would read whatever gets their numbers next.
    for channel in list(supervisord.options.get_socket_map().values()):
        channel.close()


def _remember_start_folder() -> None:
    global _start_folder
    _start_folder = _folder()


def _go_to_start_folder() -> None:
    if _start_folder is not None:
        with contextlib.suppress(OSError):  # it is gone; absolute paths still lead everywhere
            os.chdir(_start_folder)


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - a path to go back to, as it is
    except OSError:
        return None


def _absolute(path: str) -> str:
    return os.path.normpath(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 - as supervisord does
