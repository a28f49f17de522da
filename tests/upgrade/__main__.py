"""Run an older version and this one beside each other: python -m tests.upgrade [--from REV] [--only SCENARIO].

Each has an environment of its own, and each VM an installation and a home of its own, as machines have. Exit code
1 where a call failed, a post was lost, doubled or never shown, or a log has a traceback.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from snsnode.base.signals import exit_on_signals
from tests.bounds import deadline
from tests.postgresql_rig import running
from tests.upgrade.scenarios import Outcome, in_turn, mixed, rolling
from tests.upgrade.store import Place
from tests.upgrade.versions import RELEASED, Version, build, has

SCENARIO_MAX_S = 600
STORES = ("sqlite", "postgresql")

Play = Callable[[Place, Version, Version], Outcome]
SCENARIOS: dict[str, Play] = {
    "old": lambda place, old, new: mixed(place, "all old", old, (old, old), (old, new)),
    "new": lambda place, old, new: mixed(place, "all new", new, (new, new), (old, new)),
    "new-router": lambda place, old, new: mixed(place, "new router, old pairs", new, (old, old), (old, new)),
    "old-router": lambda place, old, new: mixed(place, "old router, new pairs", old, (new, new), (old, new)),
    "mixed": lambda place, old, new: mixed(place, "an old pair and a new one", new, (old, new), (old, new)),
    "in-turn": in_turn,
    "rolling": rolling,
}


def main() -> int:
    """Build both versions, play the scenarios and print what came of them."""
    options = _options()
    if not has(options.revision):
        text = f"cannot build {options.revision}: this clone has no such commit; fetch it (git fetch --unshallow)"
        print(text, file=sys.stderr)
        return 2
    failed = 0
    with exit_on_signals(), tempfile.TemporaryDirectory(prefix="sns-versions-") as name:
        old = build(options.revision, Path(name) / "old", shared=options.shared)
        new = build(None, Path(name) / "new", shared=options.shared)
        print(f"{old.number} ({options.revision[:7]}) and {new.number} (this tree)", flush=True)
        for kind in options.store or STORES:
            with _place(kind) as place:
                for each in options.only or SCENARIOS:
                    with deadline(SCENARIO_MAX_S):
                        outcome = SCENARIOS[each](place, old, new)
                    print("\n".join(outcome.lines()), flush=True)
                    failed += bool(outcome.problems)
    return 1 if failed else 0


@contextmanager
def _place(kind: str) -> Iterator[Place]:
    if kind == "sqlite":
        yield Place("SQLite")
        return
    with running() as server:
        server.make_user()
        yield Place("PostgreSQL", server)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.add_argument("--from", dest="revision", default=RELEASED, metavar="REV", help="default: version 0.1.0")
    parser.add_argument("--store", action="append", choices=STORES, help="may be repeated; default: both")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="may be repeated; default: all")
    parser.add_argument(
        "--shared", action="store_true", help="borrow this environment's packages: needs no network"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
