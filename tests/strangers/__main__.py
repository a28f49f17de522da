"""Attack a real cluster and see who is served: python -m tests.strangers [--full] [--attack NAME]... [--json].

Each attack gets a cluster of its own: a router and two servers with their spares, as shipped. It runs in a process
of its own, on the same cores, beside a newcomer who logs in, posts and leaves each second, a bystander who is
logged in and calls all the time, and ``snsctl status --json``. Exit code 1 where something is not as it must be.
"""

import argparse
import dataclasses
import json
import signal
import sys

from tests.strangers.kinds import KINDS
from tests.strangers.table import line, title
from tests.strangers.trial import run


def main() -> int:
    """Run the attacks, one after the other."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is ended, too
    bad = 0
    if not options.json:
        print("\n".join(title()), flush=True)
    for name in options.attack or KINDS:
        outcome = run(KINDS[name], full=options.full)
        problems = outcome.problems(KINDS[name])
        bad += bool(problems)
        if options.json:
            print(json.dumps(dataclasses.asdict(outcome) | {"problems": problems}), flush=True)
        else:
            print(line(outcome), flush=True)
            for problem in problems:
                print(f"    NOT SO: {problem}", flush=True)
    return 1 if bad else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.strangers", description=__doc__)
    parser.add_argument("--full", action="store_true", help="at full size, 30 to 40 s each; else about a tenth")
    parser.add_argument("--attack", action="append", choices=sorted(KINDS), help="this one; may be repeated")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, with all that was seen")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
