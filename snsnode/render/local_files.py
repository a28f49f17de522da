"""The files that an operator puts into a VM's ``local`` folder, which supervisord includes.

Called by ``generate`` and by what starts a supervisord, before anything includes them, and for what it then says.
"""

import re
from pathlib import Path

from snsnode.base.errors import ConfigError

_AVAILABLE = re.compile(r" Available names: .*?(?= in section|$)")


def files(local: Path) -> list[Path]:
    """Return what supervisord would include of the folder ``local``, in order."""
    return sorted(local.glob("*.conf"))


def refuse_odd(local: Path) -> None:
    """Refuse what is no regular file: supervisord would wait for somebody to write into a pipe.

    Raises:
        ConfigError: there is one.
    """
    for file in files(local):
        if not file.is_file():
            raise ConfigError(f"cannot include {file}: it is no regular file; move it away")


def without_names(complaint: str) -> str:
    """Return what supervisor says of a configuration without the names of all environment variables."""
    return _AVAILABLE.sub("", complaint)
