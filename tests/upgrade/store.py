"""Where the posts of a scenario are kept, and what is there in the end."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from tests.postgresql_rig import Postgresql
from tests.stored import stored_texts


@dataclass
class Place:
    """A fresh store of its kind for each scenario; ``server`` is None for SQLite."""

    name: str
    server: Postgresql | None = None
    _url: str = "sqlite:///{folder}/sns.db"

    def url(self) -> str:
        """Return the URL of a new store; ``{folder}`` stands for the cluster's."""
        if self.server is not None:
            # Empty: the version that comes first makes the schema.
            self._url = self.server.url(self.server.make_database("template0"))
        return self._url

    def texts(self, folder: Path) -> list[str]:
        """Return what is stored, in its order."""
        return asyncio.run(stored_texts(self._url.format(folder=folder), folder))
