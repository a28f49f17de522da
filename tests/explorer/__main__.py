"""Search every state that a pair can reach: python -m tests.explorer --faults N [--within SECONDS] [WORD…]

WORD chooses the configurations whose name contains it. Prints a row for each: states, seconds, and the longest way
from any state back to service without a further fault. A violation prints its shortest story. Exit code 1 after a
violation, or where a search was not finished.
"""

import argparse
import sys

from tests.explorer.configurations import CONFIGURATIONS
from tests.explorer.search import HOUR_S, search, told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.explorer", description=__doc__)
    parser.add_argument("word", nargs="*", help="part of a configuration's name")
    parser.add_argument("--faults", type=int, default=1, metavar="N")
    parser.add_argument("--within", type=float, default=HOUR_S, metavar="SECONDS", help="for each configuration")
    arguments = parser.parse_args()
    code = 0
    print("| configuration | faults | states | seconds | back within | |\n|---|---|---|---|---|---|")
    for setup in CONFIGURATIONS:
        if arguments.word and not any(word in setup.name for word in arguments.word):
            continue
        report = search(setup, arguments.faults, within_s=arguments.within)
        state = "VIOLATION" if report.found else "" if report.finished else "INCOMPLETE"
        bound = f"{report.bound_s:.1f} s" if report.finished and not report.found else ""
        print(f"| {setup.name} | {report.faults} | {report.states:,} | {report.seconds:.0f} | {bound} | {state} |",
              flush=True)  # fmt: skip
        code = code or int(bool(state))
        if report.found:
            print(f"\n{report.found.what}:\n{told(report.found.story)}\n")
        elif report.finished:
            print(f"\nthe longest way back begins after:\n{told(report.slowest)}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
